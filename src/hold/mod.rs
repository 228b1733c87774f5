//! Money set aside out of a purse: for a basket that waits to be fetched, or behind a voucher of a fixed value.
//!
//! A hold is the sum of its parts, each of one part of an allowance. Each is an account of the ledger, filled as the hold
//! is made and empty once it is settled: what is set aside can be spent by nothing else.

mod store;
mod verify;

use std::collections::BTreeMap;

use crate::allowance::{self, Draw, Purse};
use crate::db::{Ask, Conn, Page};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{AccountId, EnrolmentId, HoldId, HoldPartId, OrganisationId, PartId, VoucherId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::Category;

pub use store::{Filter, Hold, Line, Reserved, Waiting};
pub use verify::verify;

crate::text_enum! {
    pub enum State {
        Held = "held",
        /// A purchase has taken it, or as much of it as it needed.
        Captured = "captured",
        /// It was given up, or its time is over.
        Released = "released",
    }
}

/// What a basket is made of, as it is written down.
#[derive(Clone, Debug)]
pub struct NewLine {
    pub category: Category,
    /// In order, by spaces.
    pub labels: String,
    pub amount: Cents,
}

impl Hold {
    /// Whether it can be captured. One whose time is over is free, whether or not that is written yet.
    pub fn stands(&self, now: Instant) -> bool {
        self.state == State::Held && now < self.expires_at
    }

    /// Its state, as it will be written at the latest by the next look of the scheduler.
    pub fn state_at(&self, now: Instant) -> State {
        if self.state == State::Held && !self.stands(now) { State::Released } else { self.state }
    }
}

/// Until when what some draws take may be spent, all of it; none where they take nothing.
pub fn good_until(purse: &Purse, draws: &[Draw]) -> Option<Instant> {
    let drawn = |part: &&allowance::PursePart| draws.iter().any(|draw| draw.key.part == part.key.part);
    purse.parts.iter().filter(drawn).map(|part| part.spendable_until).min()
}

/// Until when a basket may wait: as long as all that is left in its purse, whatever the programme pays of it. Else the hours
/// that it waits would tell a tariff that draws nothing from one that does. None where nothing is left.
pub fn may_wait_until(purse: &Purse) -> Option<Instant> {
    purse.parts.iter().filter(|part| part.left.is_positive()).map(|part| part.spendable_until).min()
}

/// Sets money aside: allowance → reserved. The purse is locked, and what is due in it is issued.
pub fn place(conn: &mut Conn, now: Instant, hold: &Hold, lines: &[NewLine], draws: &[Draw]) -> Result<Vec<Line>> {
    store::insert(conn, hold)?;
    let lines = store::insert_lines(conn, hold.id, lines)?;
    let mut entries = Vec::new();
    for draw in draws {
        let id = HoldPartId::new(now);
        store::insert_part(conn, id, hold.id, draw.key.part, draw.amount)?;
        entries.push(Entry {
            debit: draw.key.part.cast(),
            credit: ledger::open_reserved(conn, id, draw.key.agreement)?,
            agreement: draw.key.agreement,
            amount: draw.amount,
            code: TransferCode::Hold,
            reference: hold.id.cast(),
            reverses: None,
            occurred_at: now,
        });
    }
    ledger::post(conn, now, &entries)?;
    Ok(lines)
}

/// What a hold can pay: nothing else is in this purse, and nothing any more once it no longer stands.
pub fn purse(conn: &mut Conn, now: Instant, hold: &Hold) -> Result<Purse> {
    let stands = hold.stands(now);
    let parts = if stands { store::purse_parts(conn, hold.id)? } else { Vec::new() };
    Ok(Purse { parts, started: true, over: !stands })
}

/// The account that holds what was set aside of each part.
pub fn accounts(conn: &mut Conn, hold: HoldId) -> Result<BTreeMap<PartId, AccountId>> {
    Ok(store::parts(conn, &[hold])?.into_iter().map(|part| (part.part_id, part.id.cast())).collect())
}

/// Settles a hold whose purchase has been paid out of it; what that left goes back to the purse.
pub fn capture(conn: &mut Conn, now: Instant, hold: &Hold) -> Result<()> {
    store::settle(conn, hold.id, State::Captured, now)?;
    let parts = free(conn, now, std::slice::from_ref(hold))?;
    allowance::return_closed(conn, now, &parts)
}

/// Gives some holds up. What is free of a part that has closed meanwhile goes back to its agreement.
pub fn release(conn: &mut Conn, now: Instant, holds: &[Hold]) -> Result<()> {
    for hold in holds {
        store::settle(conn, hold.id, State::Released, now)?;
    }
    let parts = free(conn, now, holds)?;
    allowance::return_closed(conn, now, &parts)
}

/// Moves whatever the accounts of some holds have back to the parts it came from: reserved → allowance. Tells the parts.
pub fn free(conn: &mut Conn, now: Instant, holds: &[Hold]) -> Result<Vec<PartId>> {
    let parts = store::parts(conn, &holds.iter().map(|hold| hold.id).collect::<Vec<_>>())?;
    let held = ledger::balances(conn, &parts.iter().map(|part| part.id.cast()).collect::<Vec<_>>())?;
    let windows = allowance::windows(conn, &parts.iter().map(|part| part.part_id).collect::<Vec<_>>())?;
    let mut entries = Vec::new();
    for part in &parts {
        let amount = held.get(&part.id.cast()).copied().unwrap_or_default();
        let expires_at = holds.iter().find(|hold| hold.id == part.hold_id).map_or(now, |hold| hold.expires_at);
        let window = windows.get(&part.part_id).ok_or_else(|| Error::internal("a hold of no part"))?;
        if amount.is_positive() {
            entries.push(Entry {
                debit: part.id.cast(),
                credit: part.part_id.cast(),
                agreement: window.agreement,
                amount,
                code: TransferCode::Free,
                reference: part.hold_id.cast(),
                reverses: None,
                occurred_at: now.min(expires_at),
            });
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(entries.iter().map(|entry| entry.credit.cast()).collect())
}

/// Some enrolments with a hold whose time is over, in order of id.
pub fn enrolments_to_free(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    store::enrolments_to_free(conn, now, after, limit)
}

/// When the time of the oldest hold that is over and not freed was over.
pub fn oldest_to_free(conn: &mut Conn, now: Instant) -> Result<Option<Instant>> {
    store::oldest_to_free(conn, now)
}

/// Frees every hold of some enrolments whose time is over; returns how many. Whoever is about to spend does it first, so
/// that nobody is refused because the scheduler is late. Enrolments must come in order of id.
pub fn free_expired(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    allowance::lock_all(conn, enrolments)?;
    let over = store::held(conn, enrolments, Some(now))?;
    release(conn, now, &over)?;
    Ok(over.len())
}

/// Gives up all that an enrolment has set aside. Its purse is locked.
pub fn release_all(conn: &mut Conn, now: Instant, enrolment: EnrolmentId) -> Result<()> {
    let held = store::held(conn, &[enrolment], None)?;
    release(conn, now, &held)
}

/// What an enrolment has set aside, oldest first.
pub fn standing(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Hold>> {
    store::held(conn, &[enrolment], None)
}

/// All holds of an enrolment with their lines, oldest first.
pub fn of_enrolment(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<(Hold, Vec<Line>)>> {
    let holds = store::of_enrolment(conn, enrolment)?;
    store::with_lines(conn, holds)
}

/// A hold with its lines.
pub fn by_id(conn: &mut Conn, id: HoldId) -> Result<(Hold, Vec<Line>)> {
    let found = store::hold(conn, id)?.ok_or(Error::Refused(Code::NotFound))?;
    Ok(store::with_lines(conn, vec![found])?.remove(0))
}

/// A hold at one of a producer's own stalls, with its lines.
pub fn of_producer(conn: &mut Conn, producer: OrganisationId, id: HoldId) -> Result<(Hold, Vec<Line>)> {
    match store::is_of_producer(conn, producer, id)? {
        true => by_id(conn, id),
        false => Err(Error::Refused(Code::NotFound)),
    }
}

/// The holds at a producer's own stalls, newest first.
pub fn list(
    conn: &mut Conn,
    now: Instant,
    producer: OrganisationId,
    filter: &Filter,
    page: &Page<HoldId>,
) -> Result<Vec<(Hold, Vec<Line>)>> {
    let holds = store::list(conn, now, producer, filter, page)?;
    store::with_lines(conn, holds)
}

/// What is, or was, set aside behind some vouchers of a fixed value.
pub fn behind(conn: &mut Conn, vouchers: &[VoucherId]) -> Result<Vec<Hold>> {
    store::behind(conn, vouchers)
}

/// The baskets that some enrolments have had set aside since an instant and not settled.
pub fn ask_waiting(enrolments: &[EnrolmentId], since: Instant) -> impl Ask<Answer = Vec<Waiting>> {
    store::waiting_since(enrolments, since)
}

/// Puts one voucher in the place of another, for all that is held by it.
pub fn take_over(conn: &mut Conn, old: VoucherId, new: VoucherId) -> Result<()> {
    store::take_over(conn, old, new)
}

/// What accounts of holds are; ids of no such account are left out.
pub fn reserved(conn: &mut Conn, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Reserved>> {
    store::reserved(conn, accounts)
}
