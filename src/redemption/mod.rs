//! One purchase: the stall sends the basket, the server says what is covered and what is left to collect.

pub mod api;
pub mod collect;
mod decide;
mod guessing;
mod store;
mod verify;

use std::collections::BTreeMap;

use crate::access::Actor;
use crate::allowance::{self, Draw, Purse};
use crate::db::{Conn, Page};
use crate::enrolment::{self, Enrolment};
use crate::hold::{self, Hold};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{AccountId, EnrolmentId, PartId, RedemptionId, StallId};
use crate::kit::money::Cents;
use crate::kit::text::Line as Text;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::producer;
use crate::programme::{self, Programme, Rules};
use crate::surplus;
use crate::voucher::{self, Presented, Voucher};

pub use decide::{Basket, BasketLine, Decision, History, Situation, decide};
pub use guessing::Typed;
pub use store::{Filter, Line, Redemption, Void};
pub use verify::verify;

/// The same basket on the same voucher at the same stall within this time is taken for a second tap.
const SECOND_TAP_SECONDS: i64 = 120;

#[derive(Clone, Debug)]
pub struct NewRedemption {
    pub voucher: Presented,
    pub stall: StallId,
    pub basket: Basket,
}

/// A purchase with its lines and, if it was undone, how.
#[derive(Clone, Debug)]
pub struct Purchase {
    pub redemption: Redemption,
    pub lines: Vec<Line>,
    pub void: Option<Void>,
}

/// What a stall is told before it names an amount.
#[derive(Clone, Debug)]
pub struct Check {
    pub refusal: Option<Code>,
    /// What may still be spent, where the programme shows it.
    pub spendable: Option<Cents>,
    /// What the programme would pay of the basket and what would be left to collect, where one was named.
    pub quote: Option<(Cents, Cents)>,
}

impl Check {
    pub fn refused(code: Code) -> Self {
        Check { refusal: Some(code), spendable: None, quote: None }
    }
}

/// May I, and why not; of a basket also how much. Writes nothing.
pub fn check(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    presented: &Presented,
    stall: StallId,
    basket: Option<&Basket>,
) -> Result<Check> {
    let stall = producer::stall(conn, actor, stall)?;
    let known = match voucher::find(conn, presented) {
        Ok(voucher) => voucher,
        Err(Error::Refused(code @ Code::UnknownVoucher)) => return Ok(Check::refused(code)),
        Err(other) => return Err(other),
    };
    // asking twice is no second tap
    let (rules, situation) = situation(conn, now, actor, &known, &stall, None)?;
    let title = voucher::title(conn, &known)?;
    let quote = match basket {
        None => situation.refusal(&rules, now).map_or(Ok(None), |code| Err(Error::Refused(code))),
        // how much a part would be is what the purse holds, and told only where balances are
        Some(basket) => {
            let basket = Basket { partial: rules.show_balance, ..basket.clone() };
            decide(&rules, &situation, &basket, now).map(Some)
        }
    };
    let spendable = rules.show_balance.then(|| situation.spendable(&rules));
    match quote {
        Ok(quote) => {
            let to_collect = |decision: Decision, total: Cents| total - decision.covered + decision.surplus;
            let quote = quote.zip(basket).map(|(d, basket)| (d.covered, to_collect(d, basket.total)));
            Ok(Check { refusal: None, spendable, quote })
        }
        Err(Error::Refused(code)) => Ok(Check::refused(named(Error::Refused(code), title.as_ref(), false).code())),
        Err(Error::Insufficient { spendable }) => Ok(Check { spendable, ..Check::refused(Code::InsufficientBalance) }),
        Err(other) => Err(other),
    }
}

/// Redeems a voucher: allowance → producer payable, one transfer for each part that pays.
pub fn redeem(conn: &mut Conn, now: Instant, actor: &Actor, new: &NewRedemption) -> Result<Purchase> {
    let stall = producer::stall(conn, actor, new.stall)?;
    let enrolment = voucher::find(conn, &new.voucher)?.enrolment_id;
    hold::free_expired(conn, now, &[enrolment])?;
    // read again: a card may have been blocked or replaced while we waited for its purse
    let voucher = voucher::find(conn, &new.voucher)?;
    let (rules, situation) = situation(conn, now, actor, &voucher, &stall, Some(new.basket.total))?;
    let title = voucher::title(conn, &voucher)?;
    let second_tap = situation.second_tap && !new.basket.another_purchase;
    let decision =
        decide(&rules, &situation, &new.basket, now).map_err(|refusal| named(refusal, title.as_ref(), second_tap))?;

    allowance::issue(conn, now, &[enrolment])?;
    allowance::bonus::grant(conn, now, &[enrolment])?;
    let hold = title.as_ref();
    let sale = Sale { voucher: &voucher, stall: stall.id, basket: &new.basket, rules: &rules, hold };
    sell(conn, now, actor, &sale, &decision)
}

/// A voucher of a fixed value that has paid has nothing left, like one whose time is over, and is refused by its own name;
/// or as a second tap, so that nobody pays twice.
fn named(refusal: Error, title: Option<&Hold>, second_tap: bool) -> Error {
    let used = title.is_some_and(|hold| hold.state == hold::State::Captured);
    match refusal {
        Error::Refused(Code::VoucherExpired) if used && second_tap => Error::Refused(Code::AlreadyRedeemedByYou),
        Error::Refused(Code::VoucherExpired) if used => Error::Refused(Code::VoucherUsed),
        other => other,
    }
}

/// What was decided on, and out of what it is paid.
struct Sale<'a> {
    voucher: &'a Voucher,
    stall: StallId,
    basket: &'a Basket,
    rules: &'a Rules,
    /// Pays instead of the purse.
    hold: Option<&'a Hold>,
}

/// Writes a purchase down as it was decided, and pays it.
fn sell(conn: &mut Conn, now: Instant, actor: &Actor, sale: &Sale, decision: &Decision) -> Result<Purchase> {
    let redemption = Redemption {
        id: RedemptionId::new(now),
        voucher_id: sale.voucher.id,
        enrolment_id: sale.voucher.enrolment_id,
        producer_id: actor.organisation,
        stall_id: sale.stall,
        person_id: actor.person,
        siret: producer::siret_of(conn, actor.organisation)?,
        basket_cents: sale.basket.total,
        covered_cents: decision.covered,
        void_until: now.plus_minutes(sale.rules.void_window_minutes),
        occurred_at: now,
        recorded_at: now,
        surplus_cents: decision.surplus,
        hold_id: sale.hold.map(|hold| hold.id),
    };
    let lines = store::insert(conn, &redemption, &sale.basket.lines)?;
    let reserved = sale.hold.map(|hold| hold::accounts(conn, hold.id)).transpose()?.unwrap_or_default();
    let pay = |draw: &Draw| pay(conn, now, &redemption, draw, &reserved);
    let entries: Result<Vec<Entry>> = decision.draws.iter().map(pay).collect();
    ledger::post(conn, now, &entries?)?;
    if decision.bonus.is_positive() {
        allowance::bonus::earn(
            conn,
            now,
            redemption.enrolment_id,
            redemption.id,
            decision.bonus,
            redemption.void_until,
        )?;
    }
    if let Some(hold) = sale.hold {
        hold::capture(conn, now, hold)?;
    }
    if decision.surplus.is_positive() {
        let programme = enrolment::by_id(conn, redemption.enrolment_id)?.programme_id;
        let Redemption { id, producer_id, void_until, .. } = redemption;
        surplus::collect(conn, now, programme, producer_id, id, decision.surplus, void_until)?;
    }
    Ok(Purchase { redemption, lines, void: None })
}

/// Out of the account that a hold has for the part, or the part's own.
fn pay(
    conn: &mut Conn,
    now: Instant,
    redemption: &Redemption,
    draw: &Draw,
    reserved: &BTreeMap<PartId, AccountId>,
) -> Result<Entry> {
    Ok(Entry {
        debit: reserved.get(&draw.key.part).copied().unwrap_or(draw.key.part.cast()),
        credit: ledger::payable(conn, now, draw.key.agreement, redemption.producer_id)?,
        agreement: draw.key.agreement,
        amount: draw.amount,
        code: TransferCode::Redeem,
        reference: redemption.id.cast(),
        reverses: None,
        occurred_at: redemption.occurred_at,
    })
}

/// The rules that a card goes by, and all else that a decision at the till depends on.
fn situation(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    voucher: &Voucher,
    stall: &producer::Stall,
    basket: Option<Cents>,
) -> Result<(Rules, Situation)> {
    let enrolment = enrolment::by_id(conn, voucher.enrolment_id)?;
    let programme = programme::by_id(conn, enrolment.programme_id)?;
    let rules = enrolment::rules(conn, &enrolment)?;
    let zone = programme.zone()?;
    let second_tap = match basket {
        Some(basket) => {
            let since = now.plus_seconds(-SECOND_TAP_SECONDS);
            store::is_repeated(conn, voucher.id, stall.id, basket, since)?
                || hold::is_repeated(conn, voucher.id, stall.id, basket, since)?
        }
        None => false,
    };
    let situation = Situation {
        funding_rule: programme.funding_rule,
        stall_open: stall.open,
        approval: producer::approval(conn, programme.id, actor.organisation)?,
        voucher: voucher.state,
        enrolment: enrolment.state,
        purse: purse(conn, now, voucher)?,
        history: history(conn, now, &enrolment, &programme, &rules)?,
        band: enrolment.band,
        second_tap,
        zone,
    };
    Ok((rules, situation))
}

/// What a card draws on; a voucher of a fixed value has its own, and nothing else.
fn purse(conn: &mut Conn, now: Instant, voucher: &Voucher) -> Result<Purse> {
    match (voucher.denomination_cents, voucher::title(conn, voucher)?) {
        (None, _) => allowance::purse(conn, now, voucher.enrolment_id),
        (Some(_), Some(hold)) => hold::purse(conn, now, &hold),
        (Some(_), None) => Ok(Purse { parts: Vec::new(), started: true, over: true }),
    }
}

/// What was bought so far, as far as the rules ask for it: a plain cheque looks nothing up. A basket that was set aside
/// counts from then on, for ever if it is fetched.
fn history(
    conn: &mut Conn,
    now: Instant,
    enrolment: &Enrolment,
    programme: &Programme,
    rules: &Rules,
) -> Result<History> {
    let zone = programme.zone()?;
    let today = zone.day_of(now);
    let mut history = History::default();
    if rules.coverage.per_day.is_some() {
        history.today = covered_since(conn, now, enrolment.id, zone.start_of(today))?;
    }
    if rules.coverage.per_period.is_some() {
        let periods = programme::periods(rules, &zone, programme.starts_on, enrolment.starts_on);
        let begun = periods.iter().rev().find(|period| period.opens_at <= now);
        if let Some(period) = begun {
            history.this_period = covered_since(conn, now, enrolment.id, period.opens_at)?;
        }
    }
    if rules.days_between_purchases > 0 {
        let bought = store::last_purchase(conn, enrolment.id)?;
        let last = bought.max(hold::last_set_aside(conn, now, enrolment.id)?);
        history.last_on = last.map(|at| zone.day_of(at));
    }
    if rules.bonus.is_some() {
        let matures_at = now.plus_minutes(rules.void_window_minutes);
        history.bonus_left = allowance::bonus::left(conn, now, enrolment.id, matures_at)?;
    }
    Ok(history)
}

fn covered_since(conn: &mut Conn, now: Instant, enrolment: EnrolmentId, since: Instant) -> Result<Cents> {
    Ok(store::covered_since(conn, enrolment, since)? + hold::set_aside(conn, now, enrolment, since)?)
}

/// Undoes one's own redemption inside the window that was fixed when it was made: exactly its transfers, backwards.
///
/// A second time changes nothing and gives the first answer.
pub fn void(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    id: RedemptionId,
    reason: Option<Text<200>>,
) -> Result<Purchase> {
    let redemption = own(conn, actor, id)?.redemption;
    allowance::lock(conn, redemption.enrolment_id)?;
    let purchase = own(conn, actor, id)?;
    if purchase.void.is_some() {
        return Ok(purchase);
    }
    if now >= redemption.void_until {
        return Err(Error::Refused(Code::VoidWindowOver));
    }
    // the server that sold may have had the later clock, and nothing is undone before it was done
    let now = now.max(redemption.recorded_at);
    let void =
        Void { redemption_id: id, person_id: actor.person, reason: reason.map(Text::into_string), recorded_at: now };
    store::insert_void(conn, &void)?;
    let enrolment = enrolment::by_id(conn, redemption.enrolment_id)?;
    if !allowance::bonus::undo(conn, now, id)? || !surplus::undo(conn, now, id)? {
        // another server's clock was ahead, and has granted what this purchase earned, or pooled what it brought
        return Err(Error::Refused(Code::VoidWindowOver));
    }
    if enrolment.state == enrolment::State::Left {
        // nobody can earn any more what was kept for it
        allowance::release(conn, now, redemption.enrolment_id, false)?;
    }
    // grace is for what comes back: money whose window is over goes to its agreements first, swept or not, and with it
    // what was set aside of it
    hold::free_expired(conn, now, &[redemption.enrolment_id])?;
    allowance::close(conn, now, &[redemption.enrolment_id])?;

    let payments = ledger::transfers_of(conn, id.cast())?;
    let back = |paid: &ledger::Transfer| Entry {
        debit: paid.credit_account,
        credit: paid.debit_account,
        agreement: paid.agreement_id,
        amount: paid.amount_cents,
        code: TransferCode::Void,
        reference: id.cast(),
        reverses: Some(paid.id),
        occurred_at: now,
    };
    ledger::post(conn, now, &payments.iter().map(back).collect::<Vec<_>>())?;
    let parts = match redemption.hold_id {
        // it came back to the hold, and goes on to the purse
        Some(hold) => {
            let (hold, _) = hold::by_id(conn, hold)?;
            hold::free(conn, now, &[hold])?
        }
        None => {
            let paid = payments.iter().filter(|transfer| transfer.code == TransferCode::Redeem);
            paid.map(|paid| paid.debit_account.cast()).collect()
        }
    };
    let programme = programme::by_id(conn, enrolment.programme_id)?;
    let rules = enrolment::rules(conn, &enrolment)?;
    for part in parts {
        allowance::restore(conn, now, &programme, &rules, part)?;
    }
    Ok(Purchase { void: Some(void), ..purchase })
}

/// A purchase at one of the caller's own stalls.
pub fn own(conn: &mut Conn, actor: &Actor, id: RedemptionId) -> Result<Purchase> {
    let found = store::redemption(conn, id)?.filter(|redemption| redemption.producer_id == actor.organisation);
    let redemption = found.ok_or(Error::Refused(Code::NotFound))?;
    Ok(store::complete(conn, vec![redemption])?.remove(0))
}

/// Every purchase of an enrolment, oldest first.
pub fn of_enrolment(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Purchase>> {
    let redemptions = store::of_enrolment(conn, enrolment)?;
    store::complete(conn, redemptions)
}

/// One's own purchases, newest first.
pub fn list(conn: &mut Conn, actor: &Actor, filter: &Filter, page: &Page<RedemptionId>) -> Result<Vec<Purchase>> {
    let redemptions = store::list(conn, actor.organisation, filter, page)?;
    store::complete(conn, redemptions)
}
