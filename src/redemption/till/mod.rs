//! Purchases, as many at once as come: read together, decided one by one, written together.

pub mod api;
mod past;
mod situation;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::decide::{Basket, Decision, decide};
use super::store::{self, Redemption};
use super::{NewRedemption, Purchase};
use crate::access::Actor;
use crate::allowance::{self, Draw};
use crate::db::{Ask, Conn, ask};
use crate::hold::{self, Hold};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{AccountId, AgreementId, EnrolmentId, OrganisationId, PartId, ProgrammeId, RedemptionId, StallId};
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, Payables, TransferCode};
use crate::producer::{self, Counter, CounterRow};
use crate::programme::Rules;
use crate::surplus;
use crate::voucher::{self, Presented, Voucher};
use situation::{Households, ask_households, distinct, situations};

pub(super) use situation::{Asked, Known, situation};

/// A purchase that somebody asks for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    pub new: &'a NewRedemption,
}

/// What becomes of one of many.
#[derive(Debug)]
pub enum Verdict {
    Decided(Result<Box<Purchase>>),
    /// Another purchase of the same household was decided beside it: it must be decided on what that one leaves.
    Later,
}

/// Redeems a voucher: allowance → producer payable, one transfer for each part that pays.
pub fn redeem(conn: &mut Conn, now: Instant, actor: &Actor, new: &NewRedemption) -> Result<Purchase> {
    let requests = [Request { actor, new }];
    let taken = take(conn, &requests, true)?;
    let read = ask(conn, 1, taken.ask(now))?;
    match redeem_all(conn, now, &requests, &taken.purses, read)?.pop() {
        Some(Verdict::Decided(outcome)) => outcome.map(|purchase| *purchase),
        // its card was made between two looks
        _ => Err(Error::Retry("the card has just been made".to_owned())),
    }
}

/// Whose purse a card draws on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is taken: nobody else spends out of it.
    Purse(EnrolmentId),
    /// Somebody else has it.
    HeldUp,
    /// There is no such card.
    NoCard,
}

/// What was taken for some purchases.
#[derive(Clone, Debug)]
pub struct TakenAll<'a> {
    pub purses: Vec<Taken>,
    shown: Vec<&'a Presented>,
    stalls: Vec<StallId>,
    enrolments: Vec<EnrolmentId>,
}

/// Finds whose purses some purchases are for, and takes them all, waiting for those that others have if it may.
pub fn take<'a>(conn: &mut Conn, requests: &[Request<'a>], may_wait: bool) -> Result<TakenAll<'a>> {
    let shown: Vec<_> = requests.iter().map(|request| &request.new.voucher).collect();
    let stalls = distinct(requests.iter().map(|request| request.new.stall));
    let found = voucher::presented(&shown, &ask(conn, shown.len(), voucher::ask_presented(&shown))?);
    let enrolments = distinct(found.iter().flatten().map(|voucher| voucher.enrolment_id));
    let free: BTreeSet<EnrolmentId> = match may_wait {
        true => {
            allowance::lock_all(conn, &enrolments)?;
            enrolments.into_iter().collect()
        }
        false => allowance::lock_free(conn, &enrolments)?,
    };
    let taken = |voucher: Option<Voucher>| match voucher {
        None => Taken::NoCard,
        Some(voucher) if free.contains(&voucher.enrolment_id) => Taken::Purse(voucher.enrolment_id),
        Some(_) => Taken::HeldUp,
    };
    let purses = found.into_iter().map(taken).collect();
    Ok(TakenAll { purses, shown, stalls, enrolments: free.into_iter().collect() })
}

/// What was read of some purchases: the stalls, the cards, the households.
pub type Read = (Vec<CounterRow>, Vec<Voucher>, Households);

impl TakenAll<'_> {
    /// What the decisions depend on. The cards are read again: one may have been blocked or replaced while we waited for its
    /// purse.
    pub fn ask(&self, now: Instant) -> impl Ask<Answer = Read> {
        let (stalls, cards) = (producer::ask_counters(&self.stalls), voucher::ask_presented(&self.shown));
        (stalls, cards, ask_households(now, &self.enrolments))
    }
}

/// Redeems many vouchers at once, each as if it were alone and in this order. `purses` are what [`take`] has found and
/// taken for them, and `read` what was found of them then. An error of one is its verdict; an error of all undoes all.
pub fn redeem_all(
    conn: &mut Conn,
    now: Instant,
    requests: &[Request],
    purses: &[Taken],
    (counters, cards, households): Read,
) -> Result<Vec<Verdict>> {
    let mut verdicts: Vec<Option<Verdict>> = Vec::new();
    verdicts.resize_with(requests.len(), || None);
    let counters = producer::counters(counters);
    let shown: Vec<_> = requests.iter().map(|request| &request.new.voucher).collect();
    let vouchers = voucher::presented(&shown, &cards);

    let (mut places, mut asked, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (place, (request, voucher)) in requests.iter().zip(&vouchers).enumerate() {
        let own = |counter: &&Counter| counter.stall.producer_id == request.actor.organisation;
        let counter = counters.get(&request.new.stall).filter(own);
        let refused = |code| Some(Verdict::Decided(Err(Error::Refused(code))));
        match (counter, voucher) {
            (None, _) => verdicts[place] = refused(Code::NotFound),
            (_, None) => verdicts[place] = refused(Code::UnknownVoucher),
            (Some(counter), Some(voucher)) => {
                // a card found only now is of an enrolment whose purse is not taken
                if !taken.insert(voucher.enrolment_id) || purses[place] != Taken::Purse(voucher.enrolment_id) {
                    verdicts[place] = Some(Verdict::Later);
                    continue;
                }
                let basket = Some(request.new.basket.total);
                places.push(place);
                asked.push(Asked { actor: request.actor, voucher, counter, basket });
            }
        }
    }

    let known = situations(conn, now, &asked, households)?;
    let (mut sales, mut sold, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for ((place, asked), known) in places.into_iter().zip(&asked).zip(&known) {
        let basket = &requests[place].new.basket;
        match decided(known, basket, now) {
            Err(refusal) => verdicts[place] = Some(Verdict::Decided(Err(refusal))),
            Ok(decision) => {
                if known.behind {
                    behind.push(asked.voucher.enrolment_id);
                }
                let hold = known.title.as_ref();
                let Known { rules, programme, payables, .. } = known;
                let Asked { actor, voucher, counter, .. } = *asked;
                let programme = *programme;
                sales.push(Sale { actor, voucher, counter, basket, rules, programme, payables, hold, decision });
                sold.push(place);
            }
        }
    }
    catch_up(conn, now, &mut behind)?;
    for (place, purchase) in sold.into_iter().zip(sell(conn, now, &sales)?) {
        verdicts[place] = Some(Verdict::Decided(Ok(Box::new(purchase))));
    }
    verdicts.into_iter().map(|verdict| verdict.ok_or_else(|| Error::internal("a purchase was forgotten"))).collect()
}

/// What becomes of a basket, or why nothing does.
pub(super) fn decided(known: &Known, basket: &Basket, now: Instant) -> Result<Decision> {
    let second_tap = known.situation.second_tap && !basket.another_purchase;
    decide(&known.rules, &known.situation, basket, now)
        .map_err(|refusal| named(refusal, known.title.as_ref(), second_tap))
}

/// A voucher of a fixed value that has paid has nothing left, like one whose time is over, and is refused by its own name;
/// or as a second tap, so that nobody pays twice.
pub(super) fn named(refusal: Error, title: Option<&Hold>, second_tap: bool) -> Error {
    let used = title.is_some_and(|hold| hold.state == hold::State::Captured);
    match refusal {
        Error::Refused(Code::VoucherExpired) if used && second_tap => Error::Refused(Code::AlreadyRedeemedByYou),
        Error::Refused(Code::VoucherExpired) if used => Error::Refused(Code::VoucherUsed),
        other => other,
    }
}

/// Writes what a purse counts already before it is spent: holds whose time is over are freed, what is due is issued, what
/// was earned is granted.
pub(super) fn catch_up(conn: &mut Conn, now: Instant, enrolments: &mut [EnrolmentId]) -> Result<()> {
    if enrolments.is_empty() {
        return Ok(());
    }
    enrolments.sort_unstable();
    hold::free_expired(conn, now, enrolments)?;
    allowance::issue(conn, now, enrolments)?;
    allowance::bonus::grant(conn, now, enrolments)?;
    Ok(())
}

/// What was decided on, and out of what it is paid.
pub(super) struct Sale<'a> {
    pub actor: &'a Actor,
    pub voucher: &'a Voucher,
    pub counter: &'a Counter,
    pub basket: &'a Basket,
    pub rules: &'a Rc<Rules>,
    pub programme: ProgrammeId,
    pub payables: &'a Payables,
    /// Pays instead of the purse.
    pub hold: Option<&'a Hold>,
    pub decision: Decision,
}

impl Sale<'_> {
    /// The accounts to be credited that are not known to be open.
    fn missing(&self) -> impl Iterator<Item = (AgreementId, OrganisationId)> {
        let credited = self.decision.draws.iter().map(|draw| (draw.key.agreement, self.actor.organisation));
        credited.filter(|payable| !self.payables.contains_key(payable))
    }
}

/// Writes purchases down as they were decided, and pays them.
pub(super) fn sell(conn: &mut Conn, now: Instant, sales: &[Sale]) -> Result<Vec<Purchase>> {
    if sales.is_empty() {
        return Ok(Vec::new());
    }
    let mut redemptions = Vec::with_capacity(sales.len());
    for Sale { actor, voucher, counter, basket, rules, hold, decision, .. } in sales {
        let siret = counter.siret.as_ref().ok_or_else(|| Error::internal("a producer without a SIRET"))?;
        redemptions.push(Redemption {
            id: RedemptionId::new(now),
            voucher_id: voucher.id,
            enrolment_id: voucher.enrolment_id,
            producer_id: actor.organisation,
            stall_id: counter.stall.id,
            person_id: actor.person,
            siret: siret.clone(),
            basket_cents: basket.total,
            covered_cents: decision.covered,
            void_until: now.plus_minutes(rules.void_window_minutes),
            occurred_at: now,
            recorded_at: now,
            surplus_cents: decision.surplus,
            hold_id: hold.map(|hold| hold.id),
        });
    }
    let baskets = redemptions.iter().zip(sales).map(|(redemption, sale)| (redemption.id, &sale.basket.lines[..]));
    let mut lines = store::insert(conn, &redemptions, &baskets.collect::<Vec<_>>())?.into_iter().peekable();

    let mut opened = Payables::new();
    for missing in sales.iter().flat_map(Sale::missing).collect::<BTreeSet<_>>() {
        // in the order that all open them in: two that wait for each other's would wait for the database to notice
        opened.insert(missing, ledger::payable(conn, now, missing.0, missing.1)?);
    }
    let mut entries = Vec::with_capacity(sales.len());
    for (sale, redemption) in sales.iter().zip(&redemptions) {
        let reserved = sale.hold.map(|hold| hold::accounts(conn, hold.id)).transpose()?.unwrap_or_default();
        for draw in &sale.decision.draws {
            let payable = (draw.key.agreement, redemption.producer_id);
            let payable = sale.payables.get(&payable).or_else(|| opened.get(&payable));
            let payable = payable.ok_or_else(|| Error::internal("a producer without an account"))?;
            entries.push(pay(redemption, draw, &reserved, *payable));
        }
        if sale.decision.surplus.is_positive() {
            let Redemption { id, producer_id, void_until, .. } = *redemption;
            let surplus = sale.decision.surplus;
            entries.push(surplus::collect(conn, now, sale.programme, producer_id, id, surplus, void_until)?);
        }
    }
    ledger::post(conn, now, &entries)?;
    for (sale, redemption) in sales.iter().zip(&redemptions) {
        let Redemption { id, enrolment_id, void_until, .. } = *redemption;
        if sale.decision.bonus.is_positive() {
            allowance::bonus::earn(conn, now, enrolment_id, id, sale.decision.bonus, void_until)?;
        }
        if let Some(hold) = sale.hold {
            hold::capture(conn, now, hold)?;
        }
    }
    let complete = |redemption: Redemption| {
        let mut own = Vec::new();
        while let Some(line) = lines.next_if(|line| line.redemption_id == redemption.id) {
            own.push(line);
        }
        Purchase { redemption, lines: own, void: None }
    };
    Ok(redemptions.into_iter().map(complete).collect())
}

/// Out of the account that a hold has for the part, or the part's own.
fn pay(redemption: &Redemption, draw: &Draw, reserved: &BTreeMap<PartId, AccountId>, payable: AccountId) -> Entry {
    Entry {
        debit: reserved.get(&draw.key.part).copied().unwrap_or(draw.key.part.cast()),
        credit: payable,
        agreement: draw.key.agreement,
        amount: draw.amount,
        code: TransferCode::Redeem,
        reference: redemption.id.cast(),
        reverses: None,
        occurred_at: redemption.occurred_at,
    }
}
