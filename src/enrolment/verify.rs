//! Every enrolment against its programme's rules and the allowances that keep its promise.

use std::collections::{BTreeMap, BTreeSet};

use super::{Enrolment, State, store};
use crate::allowance::{self, Allowance};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::ProgrammeId;
use crate::kit::money::Cents;
use crate::kit::time::Zone;
use crate::ledger::Finding;
use crate::programme::{self, Rules};

/// Enrolments read at a time.
const PAGE: i64 = 1_000;

/// What a programme fixes for all its enrolments.
struct Terms {
    rules: Rules,
    zone: Zone,
    communes: BTreeSet<String>,
}

/// Returns how many enrolments there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let terms = terms(conn)?;
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { return Ok(count) };
        last = Some(end.id);
        count += page.len();
        for enrolment in page {
            let allowances: Vec<Allowance> =
                allowance::allowances(conn, enrolment.id)?.into_iter().map(|(allowance, _)| allowance).collect();
            let Some(terms) = terms.get(&enrolment.programme_id) else {
                findings.push(Finding::new("enrolments", enrolment.id, "is in no programme"));
                continue;
            };
            let wrong = wrong(&enrolment, &allowances, terms);
            findings.extend(wrong.into_iter().map(|what| Finding::new("enrolments", enrolment.id, what)));
            verify_windows(&enrolment, &allowances, terms, findings);
        }
    }
}

fn terms(conn: &mut Conn) -> Result<BTreeMap<ProgrammeId, Terms>> {
    let mut terms = BTreeMap::new();
    for id in programme::all(conn)? {
        let programme = programme::by_id(conn, id)?;
        let communes = programme::territory(conn, id)?.into_iter().map(|commune| commune.code).collect();
        terms.insert(id, Terms { rules: programme.rules()?, zone: programme.zone()?, communes });
    }
    Ok(terms)
}

fn wrong(enrolment: &Enrolment, allowances: &[Allowance], terms: &Terms) -> Vec<String> {
    let mut wrong = Vec::new();
    let whole: Cents = allowances.iter().map(|allowance| allowance.amount_cents).sum();
    let promised = enrolment.activated_at.map_or(Cents::ZERO, |_| enrolment.promised_cents);
    if whole != promised {
        wrong.push(format!("was promised {promised} but its allowances are {whole}"));
    }
    let period = terms.rules.amount_for(enrolment.adults, enrolment.children);
    let due = Cents(period.0 * i64::from(terms.rules.period.count));
    if enrolment.promised_cents != due {
        wrong.push(format!("was promised {} but its composition gives {due}", enrolment.promised_cents));
    }
    if !terms.communes.contains(&enrolment.commune_code) {
        wrong.push(format!("is of {}, which is not in its programme's territory", enrolment.commune_code));
    }
    let pending = allowances.iter().any(|allowance| allowance.state == allowance::State::Committed);
    if pending && matches!(enrolment.state, State::Left | State::Ended | State::Waiting) {
        wrong.push(format!("is {} but money is committed to it", enrolment.state));
    }
    wrong
}

/// The windows of an enrolment's allowances are those that its programme's rules give for its first day.
fn verify_windows(enrolment: &Enrolment, allowances: &[Allowance], terms: &Terms, findings: &mut Vec<Finding>) {
    if enrolment.activated_at.is_none() {
        return;
    }
    let periods = programme::periods(&terms.rules, &terms.zone, enrolment.starts_on);
    if periods.len() != allowances.len() {
        let what = format!("has {} allowances for {} periods", allowances.len(), periods.len());
        findings.push(Finding::new("enrolments", enrolment.id, what));
    }
    for (period, allowance) in periods.iter().zip(allowances) {
        let days = (allowance.period, allowance.starts_on, allowance.ends_on);
        let window = (allowance.opens_at, allowance.closes_at);
        if days != (period.number, period.starts_on, period.ends_on) || window != (period.opens_at, period.closes_at) {
            let what = format!(
                "is open from {} to {} for {} to {}, but the rules say from {} to {} for {} to {}",
                allowance.opens_at,
                allowance.closes_at,
                allowance.starts_on,
                allowance.ends_on,
                period.opens_at,
                period.closes_at,
                period.starts_on,
                period.ends_on
            );
            findings.push(Finding::new("allowances", allowance.id, what));
        }
    }
    let closes_at = periods.iter().map(|period| period.closes_at).max();
    let runs = matches!(enrolment.state, State::Active | State::Suspended | State::Ended);
    if runs && enrolment.closes_at != closes_at {
        findings.push(Finding::new("enrolments", enrolment.id, "does not close with its last window"));
    }
}
