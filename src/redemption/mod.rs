//! One purchase: the stall sends the basket, the server says what is covered and what is left to collect.

pub mod api;
pub mod collect;
mod decide;
mod guessing;
mod store;
pub mod till;
mod verify;

use crate::access::Actor;
use crate::allowance;
use crate::db::{Conn, Page};
use crate::enrolment;
use crate::hold;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{EnrolmentId, RedemptionId, StallId};
use crate::kit::money::Cents;
use crate::kit::text::Line as Text;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::producer;
use crate::programme;
use crate::surplus;
use crate::voucher::{self, Presented};
use till::{Asked, Known, named, situation};

pub use decide::{Basket, BasketLine, Decision, History, Situation, decide};
pub use guessing::Typed;
pub use store::{Filter, Line, Redemption, Void};
pub use till::redeem;
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
    let counter = producer::counter(conn, actor, stall)?;
    let known = match voucher::find(conn, presented) {
        Ok(voucher) => voucher,
        Err(Error::Refused(code @ Code::UnknownVoucher)) => return Ok(Check::refused(code)),
        Err(other) => return Err(other),
    };
    // asking twice is no second tap
    let known = situation(conn, now, &Asked { actor, voucher: &known, counter: &counter, basket: None })?;
    let Known { rules, situation, title, .. } = &known;
    let quote = match basket {
        None => situation.refusal(rules, now).map_or(Ok(None), |code| Err(Error::Refused(code))),
        // how much a part would be is what the purse holds, and told only where balances are
        Some(basket) => {
            let basket = Basket { partial: rules.show_balance, ..basket.clone() };
            decide(rules, situation, &basket, now).map(Some)
        }
    };
    let spendable = rules.show_balance.then(|| situation.spendable(rules));
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
