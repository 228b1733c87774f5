//! Allowances: money promised period by period, issued when a window opens, returned when it closes.
//!
//! An allowance is the sum of its parts, one an agreement. Once issued, each part is an account of the ledger.

pub mod bonus;
mod close;
mod draw;
mod issue;
mod own;
mod promise;
mod purse;
mod shares;
mod store;
mod verify;

use std::collections::BTreeMap;

use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;

pub use close::{close, enrolments_to_close, release, restore, return_closed};
pub use draw::{Draw, PursePart, draw};
pub use issue::{enrolments_due, issue, oldest_to_issue};
pub use own::{own_moved, paid_for, pay_back, pay_in, wait_no_longer};
pub use promise::{Funds, Planned, Promise, covered, funds, plan, promise};
pub use purse::{Found, HELD, Purse, Read, ask_purses, lock, lock_all, lock_free, purse, purses};
pub use shares::in_proportion;
pub use store::{Allowance, oldest_to_close};
pub use verify::verify;

crate::text_enum! {
    pub enum State {
        /// Promised; its window has not opened.
        Committed = "committed",
        Issued = "issued",
        /// The promise was taken back before it was issued.
        Released = "released",
    }
}

/// When the last of an enrolment's money can no longer be spent, as things stand.
pub fn spendable_until(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Instant> {
    store::spendable_until(conn, enrolment)
}

/// An enrolment's allowances in order of period, each with what its parts still hold.
pub fn allowances(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<(Allowance, Cents)>> {
    let allowances = store::allowances(conn, enrolment)?;
    let held = store::held(conn, &allowances)?;
    Ok(allowances.into_iter().map(|a| (held.get(&a.id).copied().unwrap_or_default(), a)).map(|(c, a)| (a, c)).collect())
}

/// A part of an allowance as the ledger knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartKey {
    pub part: PartId,
    pub allowance: AllowanceId,
    pub agreement: AgreementId,
}

/// Whose a part is, and when it may be spent.
#[derive(Clone, Copy, Debug)]
pub struct PartWindow {
    pub agreement: AgreementId,
    pub enrolment: EnrolmentId,
    pub opens_at: Instant,
    /// The first instant that is too late.
    pub spendable_until: Instant,
}

/// The windows of some parts; ids of no part are left out.
pub fn windows(conn: &mut Conn, parts: &[PartId]) -> Result<BTreeMap<PartId, PartWindow>> {
    store::windows(conn, parts)
}
