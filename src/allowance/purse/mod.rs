//! A purse: what an enrolment can spend at one moment.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Allowance, allowances_of};
use super::{PursePart, State, bonus};
use crate::db::Conn;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AllowanceId, EnrolmentId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;

/// What an enrolment can spend at one moment.
#[derive(Clone, Debug)]
pub struct Purse {
    /// The parts that may be spent now, drained ones included.
    pub parts: Vec<PursePart>,
    /// Whether a first window has opened.
    pub started: bool,
    /// Whether nothing can be spent any more, now or later.
    pub over: bool,
}

/// A purse as it was read.
#[derive(Clone, Debug)]
pub struct Found {
    pub purse: Purse,
    /// Whether something that it counts is still to be written: a period that is due, a bonus that has matured, a hold whose
    /// time is over.
    pub behind: bool,
}

impl Purse {
    pub fn spendable(&self) -> Cents {
        self.parts.iter().map(|part| part.left).sum()
    }
}

/// Takes an enrolment's purse for this transaction: issuing, spending, voiding and closing happen one after the other.
pub fn lock(conn: &mut Conn, enrolment: EnrolmentId) -> Result<()> {
    store::lock(conn, &[enrolment])
}

/// Takes the purses of some enrolments, whatever their order here, in the order that all take them in.
pub fn lock_all(conn: &mut Conn, enrolments: &[EnrolmentId]) -> Result<()> {
    store::lock(conn, enrolments)
}

/// The same without waiting: those that nobody else has, and only they, are taken.
pub fn lock_free(conn: &mut Conn, enrolments: &[EnrolmentId]) -> Result<BTreeSet<EnrolmentId>> {
    store::lock_free(conn, enrolments)
}

/// Reads a purse. A period that is due but not yet issued counts: nobody is refused at 00:00:01.
pub fn purse(conn: &mut Conn, now: Instant, enrolment: EnrolmentId) -> Result<Purse> {
    let found = purses(conn, now, &[enrolment])?.remove(&enrolment);
    found.map(|found| found.purse).ok_or_else(|| Error::internal("a purse was not read"))
}

/// Reads some purses.
pub fn purses(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<BTreeMap<EnrolmentId, Found>> {
    let allowances = allowances_of(conn, enrolments)?;
    let earned = bonus::earned(conn, &allowances)?;
    let matured = bonus::matured(conn, &allowances, &earned, now)?;
    let begun = allowances.iter().filter(|a| a.state != State::Released && a.opens_at <= now);
    let begun: BTreeMap<AllowanceId, &Allowance> = begun.map(|allowance| (allowance.id, allowance)).collect();
    let freed = store::over_due(conn, enrolments, now)?;
    let mut parts = BTreeMap::<EnrolmentId, Vec<PursePart>>::new();
    for part in store::parts(conn, &begun, &matured, &freed, now)? {
        parts.entry(begun[&part.key.allowance].enrolment_id).or_default().push(part);
    }
    let purse = |&enrolment: &EnrolmentId| {
        let own = || allowances.iter().filter(|allowance| allowance.enrolment_id == enrolment);
        let live = || own().filter(|allowance| allowance.state != State::Released);
        let comes = |a: &Allowance| a.is_given() || bonus::is_earned(&earned, a);
        let to_come = live().any(|a| a.state == State::Committed && a.closes_at > now && comes(a));
        let parts = parts.remove(&enrolment).unwrap_or_default();
        let behind = own().any(|a| a.is_due(now) || bonus::is_matured(&earned, a, now))
            || freed.iter().any(|held| held.enrolment == enrolment);
        let started = live().any(|allowance| allowance.opens_at <= now);
        let purse = Purse { over: parts.is_empty() && !to_come, started, parts };
        (enrolment, Found { purse, behind })
    };
    Ok(enrolments.iter().map(purse).collect())
}
