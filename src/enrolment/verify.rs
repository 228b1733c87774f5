//! Every enrolment against the allowances that keep its promise.

use super::{State, store};
use crate::allowance;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::money::Cents;
use crate::ledger::Finding;

/// Enrolments read at a time.
const PAGE: i64 = 1_000;

/// Returns how many enrolments there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { return Ok(count) };
        last = Some(end.id);
        count += page.len();
        for enrolment in page {
            let allowances = allowance::allowances(conn, enrolment.id)?;
            let whole: Cents = allowances.iter().map(|(allowance, _)| allowance.amount_cents).sum();
            let promised = enrolment.activated_at.map_or(Cents::ZERO, |_| enrolment.promised_cents);
            if whole != promised {
                let what = format!("was promised {promised} but its allowances are {whole}");
                findings.push(Finding::new("enrolments", enrolment.id, what));
            }
            let pending = allowances.iter().any(|(allowance, _)| allowance.state == allowance::State::Committed);
            if pending && matches!(enrolment.state, State::Left | State::Waiting) {
                findings.push(Finding::new(
                    "enrolments",
                    enrolment.id,
                    format!("is {} but money is committed to it", enrolment.state),
                ));
            }
        }
    }
}
