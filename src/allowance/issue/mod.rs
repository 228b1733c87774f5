//! Issuing what is due: committed → allowance. Read together, decided one by one, written together.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use super::store::{self as allowance_store, Allowance, Part};
use super::{State, bonus, lock_all};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId};
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};

pub use store::{enrolments_due, oldest_to_issue};

/// Issues every due period of some enrolments; returns how many. What is already issued is left as it is.
///
/// A period whose whole window has passed unissued (the service was down, and nobody came; nothing of a bonus was earned)
/// goes back unissued.
/// Enrolments must come in order of id, and each purse is taken before any money moves.
pub fn issue(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    lock_all(conn, enrolments)?;
    let due = store::due(conn, enrolments, now)?;
    if due.is_empty() {
        return Ok(0);
    }
    if due.iter().any(|allowance| !allowance.is_given()) {
        bonus::lose_closed(conn, now, enrolments)?;
    }
    let mut parts = BTreeMap::<AllowanceId, Vec<Part>>::new();
    for part in allowance_store::parts_of(conn, &due)? {
        // all of it, or what of a bonus was not given up before
        if part.committed().is_positive() {
            parts.entry(part.allowance_id).or_default().push(part);
        }
    }
    let agreements: BTreeSet<AgreementId> = parts.values().flatten().map(|part| part.agreement_id).collect();
    let accounts = ledger::agreement_accounts(conn, &agreements.into_iter().collect::<Vec<_>>())?;

    let is_late = |allowance: &&Allowance| allowance.closes_at <= now;
    let (late, given): (Vec<&Allowance>, Vec<&Allowance>) = due.iter().partition(is_late);
    let ids = |of: &[&Allowance]| of.iter().map(|allowance| allowance.id).collect::<Vec<_>>();
    let parts_of = |of: &[&Allowance]| -> Vec<&Part> {
        of.iter().filter_map(|allowance| parts.get(&allowance.id)).flatten().collect()
    };
    let (issued, released) = (parts_of(&given), parts_of(&late));
    store::settle(conn, &ids(&given), State::Issued, Some(now))?;
    store::settle(conn, &ids(&late), State::Released, None)?;
    store::issue_parts(conn, &issued)?;
    store::release_parts(conn, &released)?;
    let opened: Vec<(PartId, AgreementId)> = issued.iter().map(|part| (part.id, part.agreement_id)).collect();
    ledger::open_parts(conn, &opened)?;

    let entry = |part: &Part, credit, code| Entry {
        debit: accounts[&part.agreement_id].0.committed,
        credit,
        agreement: part.agreement_id,
        amount: part.committed(),
        code,
        reference: part.allowance_id.cast(),
        reverses: None,
        occurred_at: now,
    };
    let issue = issued.into_iter().map(|part| entry(part, part.id.cast(), TransferCode::Issue));
    let release =
        released.into_iter().map(|part| entry(part, accounts[&part.agreement_id].0.available, TransferCode::Release));
    ledger::post(conn, now, &issue.chain(release).collect::<Vec<_>>())?;
    Ok(given.len())
}
