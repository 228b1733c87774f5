//! What decisions at the till depend on, read for many baskets at once.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::past::{Past, Since};
use crate::access::Actor;
use crate::allowance::{self, Purse};
use crate::db::Conn;
use crate::enrolment;
use crate::hold::{self, Hold};
use crate::kit::error::{Error, Result};
use crate::kit::id::{EnrolmentId, OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::producer;
use crate::programme::{self, Rules};
use crate::redemption::decide::Situation;
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
    let mut deals = Vec::with_capacity(asked.len());
    for Asked { voucher, basket, .. } in asked {
        let missing = || Error::internal("a card without its enrolment, programme or rules");
        let enrolment = enrolments.get(&voucher.enrolment_id).ok_or_else(missing)?;
        let programme = programmes.get(&enrolment.programme_id).ok_or_else(missing)?;
        let rules = rules.get(&(programme.id, enrolment.rules_version)).ok_or_else(missing)?;
        let own = purses.get(&enrolment.id).ok_or_else(missing)?;
        let zone = programme.zone()?;
        let since = Since::of(now, &zone, rules, enrolment, programme, basket.is_some());
        deals.push((enrolment, programme, rules, own, zone, since));
    }
    let past = Past::read(conn, &deals.iter().map(|deal| (deal.0.id, deal.5)).collect::<Vec<_>>())?;

    let mut known = Vec::with_capacity(asked.len());
    for (asked, (enrolment, programme, rules, own, zone, since)) in asked.iter().zip(deals) {
        let title = voucher::title(conn, asked.voucher)?;
        let mut history = past.history(now, &zone, enrolment.id, &since);
        if rules.bonus.is_some() {
            let matures_at = now.plus_minutes(rules.void_window_minutes);
            history.bonus_left = allowance::bonus::left(conn, now, enrolment.id, matures_at)?;
        }
        let situation = Situation {
            zone,
            funding_rule: programme.funding_rule,
            stall_open: asked.stall.open,
            approval: approvals.get(&(programme.id, asked.actor.organisation)).copied(),
            voucher: asked.voucher.state,
            enrolment: enrolment.state,
            band: enrolment.band.clone(),
            purse: purse(conn, now, asked.voucher, title.as_ref(), &own.purse)?,
            history,
            second_tap: past.has_seen(now, asked, &since),
        };
        known.push(Known { rules: rules.clone(), programme: programme.id, situation, title, behind: own.behind });
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
