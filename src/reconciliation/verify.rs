//! What the reports say at the end is what the accounts hold.

use super::{available, committed, outstanding, payable, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::ledger::{self, AccountKind, Finding, Totals};
use crate::programme;

/// Returns how many agreements there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let mut count = 0;
    for programme in programme::all(conn)? {
        for agreement in programme::agreements_of(conn, programme)? {
            count += 1;
            let (all, none) = (ledger::totals(conn, agreement.id, None, None)?, Totals::default());
            let held = store::held(conn, agreement.id)?;
            for (kind, reported) in [
                (AccountKind::Available, available(&all, &none).closing),
                (AccountKind::Committed, committed(&all, &none).closing),
                (AccountKind::Allowance, outstanding(&all, &none).closing),
                (AccountKind::Payable, payable(&all, &none).closing),
            ] {
                let held = held.get(&kind).copied().unwrap_or_default();
                if held != reported {
                    let what = format!("its {kind} accounts hold {held} but its report would say {reported}");
                    findings.push(Finding::new("agreements", agreement.id, what));
                }
            }
        }
    }
    Ok(count)
}
