//! Issuing what is due: committed → allowance.

use super::{State, bonus, lock_all, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, EnrolmentId};
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};

/// Some enrolments that have a period to issue, in order of id.
pub fn enrolments_due(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    store::enrolments_due(conn, now, after, limit)
}

/// Issues every due period of some enrolments; returns how many. What is already issued is left as it is.
///
/// A period whose whole window has passed unissued (the service was down, and nobody came; nothing of a bonus was earned)
/// goes back unissued.
/// Enrolments must come in order of id, and each purse is taken before any money moves.
pub fn issue(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    lock_all(conn, enrolments)?;
    let due = store::due(conn, enrolments, now)?;
    if due.iter().any(|allowance| !allowance.is_given()) {
        bonus::lose_closed(conn, now, enrolments)?;
    }
    let parts = store::parts_of(conn, &due)?;
    let agreements: Vec<AgreementId> = parts.iter().map(|part| part.agreement_id).collect();
    let accounts = ledger::agreement_accounts(conn, &agreements)?;

    let (mut issued, mut entries) = (0, Vec::new());
    for allowance in &due {
        let late = allowance.closes_at <= now;
        let (state, issued_at) = if late { (State::Released, None) } else { (State::Issued, Some(now)) };
        store::settle(conn, allowance.id, state, issued_at)?;
        issued += usize::from(!late);
        for part in parts.iter().filter(|part| part.allowance_id == allowance.id) {
            let (agreement, _) = accounts[&part.agreement_id];
            // all of it, or what of a bonus was not given up before
            let amount = part.committed();
            if !amount.is_positive() {
                continue;
            }
            let (credit, code) = if late {
                store::release_part(conn, part.id, amount)?;
                (agreement.available, TransferCode::Release)
            } else {
                store::issue_part(conn, part.id, amount)?;
                (ledger::open_part(conn, part.id, part.agreement_id)?, TransferCode::Issue)
            };
            entries.push(Entry {
                debit: agreement.committed,
                credit,
                agreement: part.agreement_id,
                amount,
                code,
                reference: allowance.id.cast(),
                reverses: None,
                occurred_at: now,
            });
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(issued)
}
