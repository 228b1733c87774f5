//! What decisions at the till depend on, read for many baskets at once.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::access::Actor;
use crate::allowance::{self, Purse};
use crate::db::Conn;
use crate::enrolment::{self, Enrolment};
use crate::hold::{self, Hold};
use crate::kit::error::{Error, Result};
use crate::kit::id::{EnrolmentId, OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::producer;
use crate::programme::{self, Programme, Rules};
use crate::redemption::decide::{History, Situation};
use crate::redemption::{SECOND_TAP_SECONDS, store};
use crate::voucher::{self, Voucher};

/// Somebody's question at a stall, about a card that was found.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub actor: &'a Actor,
    pub voucher: &'a Voucher,
    pub stall: &'a producer::Stall,
    /// Where it is about a purchase: a second tap is looked for.
    pub basket: Option<Cents>,
}

/// What is known of a card, its household and the seller.
#[derive(Clone)]
pub struct Known {
    pub rules: Rc<Rules>,
    pub programme: ProgrammeId,
    pub situation: Situation,
    /// What is or was set aside behind a voucher of a fixed value.
    pub title: Option<Hold>,
    /// Whether something of its purse is still to be written before it is spent.
    pub behind: bool,
}

/// One question.
pub fn situation(conn: &mut Conn, now: Instant, asked: &Asked) -> Result<Known> {
    situations(conn, now, &[*asked])?.pop().ok_or_else(|| Error::internal("a question was not answered"))
}

/// All questions, in their order.
pub fn situations(conn: &mut Conn, now: Instant, asked: &[Asked]) -> Result<Vec<Known>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<EnrolmentId> = distinct(asked.iter().map(|asked| asked.voucher.enrolment_id));
    let enrolments = enrolment::by_ids(conn, &ids)?;
    let programmes = programme::by_ids(conn, &distinct(enrolments.values().map(|e| e.programme_id)))?;
    let versions = enrolments.values().map(|e| (e.programme_id, e.rules_version)).collect::<BTreeSet<_>>();
    let rules = programme::rules_of_all(conn, &versions)?;
    let sellers: Vec<OrganisationId> = distinct(asked.iter().map(|asked| asked.actor.organisation));
    let approvals = producer::approvals(conn, &programmes.keys().copied().collect::<Vec<_>>(), &sellers)?;
    let purses = allowance::purses(conn, now, &ids)?;
    let buying: Vec<EnrolmentId> =
        distinct(asked.iter().filter(|a| a.basket.is_some()).map(|a| a.voucher.enrolment_id));
    let since = now.plus_seconds(-SECOND_TAP_SECONDS);
    let taps: BTreeSet<_> = match buying.is_empty() {
        true => BTreeSet::new(),
        false => {
            let bought = store::baskets_since(conn, &buying, since)?;
            bought.into_iter().chain(hold::baskets_since(conn, &buying, since)?).collect()
        }
    };

    let mut known = Vec::with_capacity(asked.len());
    for Asked { actor, voucher, stall, basket } in asked {
        let missing = || Error::internal("a card without its enrolment, programme or rules");
        let enrolment = enrolments.get(&voucher.enrolment_id).ok_or_else(missing)?;
        let programme = programmes.get(&enrolment.programme_id).ok_or_else(missing)?;
        let rules = rules.get(&(programme.id, enrolment.rules_version)).ok_or_else(missing)?.clone();
        let title = voucher::title(conn, voucher)?;
        let own = purses.get(&enrolment.id).ok_or_else(missing)?;
        let situation = Situation {
            zone: programme.zone()?,
            funding_rule: programme.funding_rule,
            stall_open: stall.open,
            approval: approvals.get(&(programme.id, actor.organisation)).copied(),
            voucher: voucher.state,
            enrolment: enrolment.state,
            band: enrolment.band.clone(),
            purse: purse(conn, now, voucher, title.as_ref(), &own.purse)?,
            history: history(conn, now, enrolment, programme, &rules)?,
            second_tap: basket.is_some_and(|basket| taps.contains(&(voucher.id, stall.id, basket))),
        };
        known.push(Known { rules, programme: programme.id, situation, title, behind: own.behind });
    }
    Ok(known)
}

pub(super) fn distinct<T: Ord>(of: impl Iterator<Item = T>) -> Vec<T> {
    of.collect::<BTreeSet<T>>().into_iter().collect()
}

/// What a card draws on; a voucher of a fixed value has its own, and nothing else.
fn purse(conn: &mut Conn, now: Instant, voucher: &Voucher, title: Option<&Hold>, own: &Purse) -> Result<Purse> {
    match (voucher.denomination_cents, title) {
        (None, _) => Ok(own.clone()),
        (Some(_), Some(hold)) => hold::purse(conn, now, hold),
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
