//! Bonuses: earned by a purchase, granted once it can no longer be undone, out of what was promised for the period.
//!
//! The most that a period's bonus can be is committed from the beginning, as an allowance of its own. What a purchase
//! earns stays in that commitment until it is granted; what nobody has earned goes back when the window closes.

mod store;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use super::draw::in_order;
use super::shares::in_proportion;
use super::store::Part;
use super::{Allowance, State as AllowanceState, lock_all, store as allowance_store};
use crate::db::Conn;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId, RedemptionId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::purse;

pub use store::{Bonus, enrolments_due};
pub use verify::verify;

crate::text_enum! {
    pub enum State {
        /// Its purchase may still be undone.
        Earned = "earned",
        Granted = "granted",
        /// Its purchase was undone, its window closed first, or its household gave everything back.
        Lost = "lost",
    }
}

/// The bonus that a purchase of now would earn from, and how much of it nobody has earned.
///
/// Only money counts that can still be spent when the purchase matures: what is earned can then be granted.
fn running(
    conn: &mut Conn,
    now: Instant,
    enrolment: EnrolmentId,
    matures_at: Instant,
) -> Result<Option<(AllowanceId, Cents)>> {
    let mut allowances = allowance_store::allowances(conn, enrolment)?;
    allowances.retain(|allowance| allowance.purse != purse::OWN && allowance.opens_at <= now);
    let last = allowances.iter().map(|allowance| allowance.period).max();
    let of_today = |a: &Allowance| {
        Some(a.period) == last && !a.is_given() && a.state != AllowanceState::Released && now < a.closes_at
    };
    allowances.retain(of_today);
    let Some(bonus) = allowances.first() else { return Ok(None) };
    let parts = allowance_store::parts_of(conn, &allowances)?;
    let earned: Cents = store::earned(conn, &[bonus.id])?.iter().map(|bonus| bonus.amount_cents).sum();
    let promised: Cents = parts.iter().filter(|p| p.spendable_until > matures_at).map(Part::committed).sum();
    Ok(Some((bonus.id, (promised - earned).max(Cents::ZERO))))
}

/// The most that a purchase of now can earn, if it can no longer be undone from an instant on.
pub fn left(conn: &mut Conn, now: Instant, enrolment: EnrolmentId, matures_at: Instant) -> Result<Cents> {
    Ok(running(conn, now, enrolment, matures_at)?.map_or(Cents::ZERO, |(_, left)| left))
}

/// Writes down what a purchase has earned, at most what is [`left`]. The purse is locked.
pub fn earn(
    conn: &mut Conn,
    now: Instant,
    enrolment: EnrolmentId,
    redemption: RedemptionId,
    amount: Cents,
    matures_at: Instant,
) -> Result<()> {
    let Some((allowance_id, left)) = running(conn, now, enrolment, matures_at)? else {
        return Err(Error::internal("a bonus was earned that nobody has promised"));
    };
    if amount > left {
        return Err(Error::internal("more of a bonus was earned than was promised"));
    }
    let state = State::Earned;
    store::insert(
        conn,
        &Bonus { redemption_id: redemption, allowance_id, amount_cents: amount, matures_at, state, settled_at: None },
    )
}

/// Takes back what an undone purchase has earned, if anything; false where it is granted already. The purse is locked.
pub fn undo(conn: &mut Conn, now: Instant, redemption: RedemptionId) -> Result<bool> {
    match store::state(conn, redemption)? {
        None | Some(State::Lost) => Ok(true),
        Some(State::Granted) => Ok(false),
        Some(State::Earned) => store::settle(conn, now, redemption, State::Lost),
    }
}

/// What becomes of one bonus that has matured: so much of each part, or nothing where it came too late.
struct Grant {
    redemption: RedemptionId,
    allowance: AllowanceId,
    shares: Vec<(PartId, AgreementId, Cents)>,
}

/// Whose cents matured bonuses take: in proportion to what each part has promised and can still be spent, or in order.
fn plan(allowances: &[Allowance], parts: &[Part], earned: &[Bonus], now: Instant) -> Vec<Grant> {
    let mut left: BTreeMap<PartId, Cents> = parts.iter().map(|part| (part.id, part.committed())).collect();
    let mut grants = Vec::new();
    for bonus in earned.iter().filter(|bonus| bonus.matures_at <= now) {
        let Some(allowance) = allowances.iter().find(|a| a.id == bonus.allowance_id) else { continue };
        let live: Vec<&Part> = parts
            .iter()
            .filter(|part| part.allowance_id == allowance.id && part.spendable_until > now && now < allowance.closes_at)
            .collect();
        let held: Vec<Cents> = live.iter().map(|part| left[&part.id]).collect();
        let mut shares = Vec::new();
        if bonus.amount_cents <= held.iter().copied().sum() {
            let amounts = match allowance.funding_set_id {
                Some(_) => in_proportion(bonus.amount_cents, &held),
                None => in_order(bonus.amount_cents, &held),
            };
            for (part, amount) in live.into_iter().zip(amounts).filter(|(_, amount)| amount.is_positive()) {
                *left.entry(part.id).or_default() -= amount;
                shares.push((part.id, part.agreement_id, amount));
            }
        }
        grants.push(Grant { redemption: bonus.redemption_id, allowance: allowance.id, shares });
    }
    grants
}

/// What was earned from some allowances; asks nothing of the database where none is a bonus.
pub(super) fn earned(conn: &mut Conn, of: &[Allowance]) -> Result<Vec<Bonus>> {
    let ids: Vec<AllowanceId> = of.iter().filter(|a| !a.is_given()).map(|a| a.id).collect();
    if ids.is_empty() { Ok(Vec::new()) } else { store::earned(conn, &ids) }
}

/// What is matured and not granted yet, part by part: it counts as if it were, so that nobody waits for a scheduler.
pub(super) fn matured(
    conn: &mut Conn,
    of: &[Allowance],
    earned: &[Bonus],
    now: Instant,
) -> Result<BTreeMap<PartId, Cents>> {
    let mut sums = BTreeMap::new();
    if earned.iter().any(|bonus| bonus.matures_at <= now) {
        let parts = allowance_store::parts_of(conn, of)?;
        for (part, _, amount) in plan(of, &parts, earned, now).into_iter().flat_map(|grant| grant.shares) {
            *sums.entry(part).or_default() += amount;
        }
    }
    Ok(sums)
}

/// Grants what some enrolments have earned and can no longer lose by a void: committed → allowance. Returns how many
/// bonuses were granted; what comes too late to be spent is lost.
///
/// Enrolments must come in order of id, and each purse is taken before any money moves.
pub fn grant(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    lock_all(conn, enrolments)?;
    let bonuses = allowance_store::bonuses(conn, enrolments)?;
    let earned = earned(conn, &bonuses)?;
    if earned.is_empty() {
        return Ok(0);
    }
    let parts = allowance_store::parts_of(conn, &bonuses)?;
    let agreements: Vec<AgreementId> = parts.iter().map(|part| part.agreement_id).collect();
    let accounts = ledger::agreement_accounts(conn, &agreements)?;
    let is = |part: &&Part| part.issued_cents.is_positive();
    let mut with_account: BTreeSet<PartId> = parts.iter().filter(is).map(|part| part.id).collect();
    let issued = |allowance: &&Allowance| allowance.state == AllowanceState::Issued;
    let mut begun: BTreeSet<AllowanceId> = bonuses.iter().filter(issued).map(|allowance| allowance.id).collect();

    let (mut granted, mut entries) = (0, Vec::new());
    for Grant { redemption, allowance, shares } in plan(&bonuses, &parts, &earned, now) {
        let state = if shares.is_empty() { State::Lost } else { State::Granted };
        if !store::settle(conn, now, redemption, state)? {
            return Err(Error::Internal(format!("the bonus of {redemption} was settled meanwhile")));
        }
        if state == State::Lost {
            continue;
        }
        granted += 1;
        if begun.insert(allowance) {
            allowance_store::settle(conn, allowance, AllowanceState::Issued, Some(now))?;
            // all of them, so that whatever is not granted goes back when its window closes
            allowance_store::open_parts_of(conn, allowance)?;
        }
        for (part, agreement, amount) in shares {
            allowance_store::issue_part(conn, part, amount)?;
            if with_account.insert(part) {
                ledger::open_part(conn, part, agreement)?;
            }
            entries.push(Entry {
                debit: accounts[&agreement].0.committed,
                credit: part.cast(),
                agreement,
                amount,
                code: TransferCode::Issue,
                reference: allowance.cast(),
                reverses: None,
                occurred_at: now,
            });
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(granted)
}

/// What of some allowances must stay promised for what was earned, part by part; nothing where that is given up.
pub(super) fn kept(
    conn: &mut Conn,
    now: Instant,
    of: &[Allowance],
    parts: &[Part],
    given_up: bool,
) -> Result<BTreeMap<PartId, Cents>> {
    let earned = earned(conn, of)?;
    if given_up {
        for bonus in &earned {
            store::settle(conn, now, bonus.redemption_id, State::Lost)?;
        }
        return Ok(BTreeMap::new());
    }
    let mut kept = BTreeMap::new();
    for allowance in of {
        let own: Vec<&Bonus> = earned.iter().filter(|bonus| bonus.allowance_id == allowance.id).collect();
        let Some(last) = own.iter().map(|bonus| bonus.matures_at).max() else { continue };
        let amount: Cents = own.iter().map(|bonus| bonus.amount_cents).sum();
        // only what can still be spent when the last of it matures
        let lasting = |part: &&Part| part.allowance_id == allowance.id && part.spendable_until > last;
        let live: Vec<&Part> = parts.iter().filter(lasting).collect();
        let held: Vec<Cents> = live.iter().map(|part| part.committed()).collect();
        let amount = amount.min(held.iter().copied().sum());
        let shares = match allowance.funding_set_id {
            Some(_) => in_proportion(amount, &held),
            None => in_order(amount, &held),
        };
        kept.extend(live.iter().map(|part| part.id).zip(shares));
    }
    kept.retain(|_, amount: &mut Cents| amount.is_positive());
    Ok(kept)
}

/// What was earned from windows that have closed, and was not granted in time, is lost.
pub(super) fn lose_closed(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<()> {
    let mut closed = allowance_store::bonuses(conn, enrolments)?;
    closed.retain(|allowance| allowance.closes_at <= now);
    for bonus in earned(conn, &closed)? {
        store::settle(conn, now, bonus.redemption_id, State::Lost)?;
    }
    Ok(())
}

/// Whether something was earned from an allowance that is neither granted nor lost.
/// Whether something of it is to be granted.
pub(super) fn is_matured(earned: &[Bonus], allowance: &Allowance, now: Instant) -> bool {
    earned.iter().any(|bonus| bonus.allowance_id == allowance.id && bonus.matures_at <= now)
}

pub(super) fn is_earned(earned: &[Bonus], allowance: &Allowance) -> bool {
    earned.iter().any(|bonus| bonus.allowance_id == allowance.id)
}

/// The bonus of one period of an enrolment, for whoever recomputes what a purchase has earned of it.
#[derive(Clone, Debug)]
pub struct Promised {
    allowance: Allowance,
    /// When the next period opens.
    until: Option<Instant>,
    /// How much can be spent until when: as its window has it, or its agreement where that ends first.
    parts: Vec<(Instant, Cents)>,
    /// All that was ever earned of it.
    pub earned: Vec<Bonus>,
}

impl Promised {
    /// Whether purchases of an instant earn of it.
    pub fn runs(&self, at: Instant) -> bool {
        self.allowance.opens_at <= at && self.until.is_none_or(|until| at < until)
    }

    /// What of it was promised for a purchase that matures at an instant.
    pub fn lasting(&self, matures_at: Instant) -> Cents {
        self.parts.iter().filter(|(end, _)| *end > matures_at).map(|(_, amount)| *amount).sum()
    }
}

/// The bonuses of an enrolment's periods, in their order.
pub fn promised(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Promised>> {
    let mut periods = allowance_store::allowances(conn, enrolment)?;
    periods.retain(|allowance| allowance.purse != purse::OWN);
    let bonuses: Vec<Allowance> = periods.iter().filter(|allowance| !allowance.is_given()).cloned().collect();
    let parts = allowance_store::parts_of(conn, &bonuses)?;
    let earned = store::ever_earned(conn, &bonuses.iter().map(|allowance| allowance.id).collect::<Vec<_>>())?;
    let promised = |allowance: Allowance| {
        let own = parts.iter().filter(|part| part.allowance_id == allowance.id);
        Promised {
            until: periods.iter().filter(|a| a.period > allowance.period).map(|a| a.opens_at).min(),
            // a late void may have lengthened what had ended
            parts: own.map(|part| (part.spendable_until.min(allowance.closes_at), part.amount_cents)).collect(),
            earned: earned.iter().filter(|bonus| bonus.allowance_id == allowance.id).cloned().collect(),
            allowance,
        }
    };
    Ok(bonuses.into_iter().map(promised).collect())
}
