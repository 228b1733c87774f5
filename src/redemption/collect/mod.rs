//! A basket that is set aside until it is fetched: decided like a purchase as it is set aside, paid as it is handed over.

pub mod api;

use super::till::{Asked, Known, Sale, catch_up, decided, sell, situation};
use super::{Basket, BasketLine, History, NewRedemption, Purchase, Situation, decide};
use crate::access::{Actor, Role};
use crate::audit::{self, Action};
use crate::db::Conn;
use crate::hold::{self, Hold, Line, NewLine, State};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::HoldId;
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::{enrolment, household, producer, voucher};

/// What is handed over of a basket that was set aside; all of it where nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Handed {
    pub basket: Option<Cents>,
    pub lines: Vec<BasketLine>,
}

/// Sets a basket aside, by the same decision as a purchase of it: what the programme covers is taken out of the purse.
///
/// It stands for the hours of the rules, and never longer than the money in its purse, whatever it takes of it.
pub fn place(conn: &mut Conn, now: Instant, actor: &Actor, new: &NewRedemption) -> Result<(Hold, Vec<Line>)> {
    let counter = producer::counter(conn, actor, new.stall)?;
    let enrolment = voucher::find(conn, &new.voucher)?.enrolment_id;
    hold::free_expired(conn, now, &[enrolment])?;
    // read again: a card may have been blocked or replaced while we waited for its purse
    let voucher = voucher::find(conn, &new.voucher)?;
    let basket = Some(new.basket.total);
    let known = situation(conn, now, &Asked { actor, voucher: &voucher, counter: &counter, basket })?;
    let decision = decided(&known, &new.basket, now)?;
    let Known { rules, situation, title, .. } = known;
    // what is behind a voucher of a fixed value is set aside already
    if rules.hold_hours == 0 || title.is_some() {
        return Err(Error::Refused(Code::HoldsNotOffered));
    }

    catch_up(conn, now, &mut [enrolment])?;
    let end = now.plus_minutes(i64::from(rules.hold_hours) * 60);
    let hold = Hold {
        id: HoldId::new(now),
        voucher_id: voucher.id,
        enrolment_id: enrolment,
        stall_id: Some(counter.stall.id),
        person_id: actor.person,
        basket_cents: Some(new.basket.total),
        covered_cents: decision.covered,
        surplus_cents: decision.surplus,
        band: new.basket.tariff.clone().or(situation.band),
        state: State::Held,
        expires_at: hold::may_wait_until(&situation.purse).map_or(end, |good| end.min(good)),
        created_at: now,
        settled_at: None,
    };
    let line =
        |line: &BasketLine| NewLine { category: line.category, labels: line.labels_in_order(), amount: line.amount };
    let lines: Vec<NewLine> = new.basket.lines.iter().map(line).collect();
    let lines = hold::place(conn, now, &hold, &lines, &decision.draws)?;
    Ok((hold, lines))
}

/// A basket is handed over: a purchase from now on, paid out of what was set aside. Of a smaller basket the rules say
/// anew what is covered, never more than was set aside; the rest is free at once.
///
/// The household's matters were decided as it was set aside: caps and days between purchases count it from then on.
/// Card, seller and enrolment must still be good.
pub fn capture(conn: &mut Conn, now: Instant, actor: &Actor, id: HoldId, handed: &Handed) -> Result<Purchase> {
    let (hold, lines) = hold::of_producer(conn, actor.organisation, id)?;
    hold::free_expired(conn, now, &[hold.enrolment_id])?;
    // read again: it may have been settled while we waited for its purse
    let hold = hold::by_id(conn, id)?.0;
    let (State::Held, Some(stall), Some(most)) = (hold.state, hold.stall_id, hold.basket_cents) else {
        return Err(Error::Refused(Code::HoldState));
    };
    let basket = handed_over(most, &lines, handed)?;
    let counter = producer::counter(conn, actor, stall)?;
    let voucher = voucher::by_id(conn, hold.voucher_id)?;
    let Known { rules, situation, programme, payables, .. } =
        situation(conn, now, &Asked { actor, voucher: &voucher, counter: &counter, basket: None })?;
    let situation = Situation {
        purse: hold::purse(conn, now, &hold)?,
        history: History { bonus_left: situation.history.bonus_left, ..History::default() },
        band: hold.band.clone(),
        ..situation
    };
    let decision = decide(&rules, &situation, &basket, now)?;
    let (voucher, counter, basket, rules, payables) = (&voucher, &counter, &basket, &rules, &payables);
    let sale = Sale { actor, voucher, counter, basket, rules, programme, payables, hold: Some(&hold), decision };
    sell(conn, now, &[sale])?.pop().ok_or_else(|| Error::internal("a capture was not written"))
}

/// What is handed over, if it is no more than was set aside: of the whole, and where it was told by kinds of food, of each.
fn handed_over(most: Cents, held: &[Line], handed: &Handed) -> Result<Basket> {
    let total = handed.basket.unwrap_or(most);
    if total > most {
        return Err(Error::invalid("basket", Complaint::Above { most }));
    }
    let lines = match handed.lines.is_empty() {
        true if total == most => {
            held.iter().map(|line| BasketLine::written(line.category, &line.labels, line.amount_cents)).collect()
        }
        true if !held.is_empty() => return Err(Error::invalid("lines", Complaint::Missing)),
        _ => handed.lines.clone(),
    };
    for line in lines.iter().filter(|_| !held.is_empty()) {
        let of_it: Cents = lines.iter().filter(|other| other.category == line.category).map(|line| line.amount).sum();
        let most = held.iter().filter(|held| held.category == line.category).map(|held| held.amount_cents).sum();
        if of_it > most {
            return Err(Error::invalid("lines", Complaint::Above { most }));
        }
    }
    Ok(Basket { total, lines, tariff: None, partial: true, another_purchase: true })
}

/// Gives a basket up that waits: by its seller, or by the household's structure. A second time changes nothing.
pub fn release(conn: &mut Conn, now: Instant, actor: &Actor, id: HoldId) -> Result<()> {
    let by_structure = actor.role == Role::SocialWorker;
    let enrolment = match by_structure {
        true => {
            let theirs = hold::by_id(conn, id)?.0.enrolment_id;
            let enrolment = enrolment::own(conn, actor, theirs)?;
            household::touch(conn, now, enrolment.household_id)?;
            enrolment.id
        }
        false => hold::of_producer(conn, actor.organisation, id)?.0.enrolment_id,
    };
    hold::free_expired(conn, now, &[enrolment])?;
    let hold = hold::by_id(conn, id)?.0;
    match hold.state {
        State::Captured => return Err(Error::Refused(Code::HoldState)),
        State::Released => return Ok(()),
        State::Held => hold::release(conn, now, &[hold])?,
    }
    if by_structure {
        audit::record(conn, now, actor.who(), Action::HoldReleased, id, None)?;
    }
    Ok(())
}
