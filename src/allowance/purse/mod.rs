//! A purse: what an enrolment can spend at one moment.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Allowance, allowances_of};
use super::{PartKey, PursePart, State, bonus};
use crate::db::{Ask, Conn, ask};
use crate::kit::error::{Error, Result};
use crate::kit::id::{AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use store::{Freed, Live};

pub use store::HELD;

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
    let read = ask(conn, 1, ask_purses(now, &[enrolment]))?;
    let found = purses(conn, now, &[enrolment], read)?.remove(&enrolment);
    found.map(|found| found.purse).ok_or_else(|| Error::internal("a purse was not read"))
}

/// What purses are made of.
pub type Read = (Vec<Allowance>, Vec<Live>, Vec<Freed>);

/// What is in some purses.
pub fn ask_purses(now: Instant, enrolments: &[EnrolmentId]) -> impl Ask<Answer = Read> {
    (allowances_of(enrolments), store::live(enrolments, now), store::over_due(enrolments, now))
}

/// Some purses, out of what was read of them.
pub fn purses(
    conn: &mut Conn,
    now: Instant,
    enrolments: &[EnrolmentId],
    (allowances, live, freed): Read,
) -> Result<BTreeMap<EnrolmentId, Found>> {
    let earned = bonus::earned(conn, &allowances)?;
    let matured = bonus::matured(conn, &allowances, &earned, now)?;
    let begun = allowances.iter().filter(|a| a.state != State::Released && a.opens_at <= now);
    let begun: BTreeMap<AllowanceId, &Allowance> = begun.map(|allowance| (allowance.id, allowance)).collect();
    let mut sums = BTreeMap::<PartId, Cents>::new();
    freed.iter().for_each(|held| *sums.entry(held.part).or_default() += held.amount);
    let mut parts = BTreeMap::<EnrolmentId, Vec<PursePart>>::new();
    for part in &live {
        let Some(allowance) = begun.get(&part.allowance) else { continue };
        let (granted, freed) = (matured.get(&part.id).copied(), sums.get(&part.id).copied());
        let spendable = spendable(allowance, part, granted, freed.unwrap_or_default(), now);
        parts.entry(allowance.enrolment_id).or_default().extend(spendable);
    }
    let mut theirs = BTreeMap::<EnrolmentId, Vec<&Allowance>>::new();
    allowances.iter().for_each(|allowance| theirs.entry(allowance.enrolment_id).or_default().push(allowance));
    let purse = |&enrolment: &EnrolmentId| {
        let own = || theirs.get(&enrolment).into_iter().flatten().copied();
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

/// A part with what may be spent of it now. That of a due period counts whole before it is issued, that of a bonus with what
/// of it is `granted` by now, and each with what of it is `freed`.
fn spendable(
    allowance: &Allowance,
    part: &Live,
    granted: Option<Cents>,
    freed: Cents,
    now: Instant,
) -> Option<PursePart> {
    let left = match allowance.state {
        // opened, by this clock too: another server may be a moment ahead
        State::Issued if part.open && allowance.opens_at <= now => {
            part.balance.unwrap_or_default() + granted.unwrap_or_default() + freed
        }
        State::Committed if !allowance.is_given() => granted?,
        State::Committed if allowance.waits => return None,
        State::Committed if allowance.opens_at <= now && now < allowance.closes_at => part.amount,
        _ => return None,
    };
    let key = PartKey { part: part.id, allowance: part.allowance, agreement: part.agreement };
    let &Live { position, spendable_until, .. } = part;
    Some(PursePart { key, period: allowance.period, purse: allowance.purse.clone(), position, left, spendable_until })
}
