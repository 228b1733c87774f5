//! What decisions at the till depend on, read for many baskets at once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::past::{Past, Since};
use crate::access::Actor;
use crate::allowance::{self, Purse};
use crate::db::{Ask, Conn, ask};
use crate::enrolment::{self, Enrolment};
use crate::hold::{self, Hold};
use crate::kit::error::{Error, Result};
use crate::kit::id::{EnrolmentId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Payables};
use crate::producer::Counter;
use crate::programme::{self, Rules};
use crate::redemption::decide::Situation;
use crate::voucher::{self, Voucher};

/// Somebody's question at a stall, about a card that was found.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub actor: &'a Actor,
    pub voucher: &'a Voucher,
    pub counter: &'a Counter,
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
    /// Accounts of sellers that are open, its own among them under the agreements that its purse is of.
    pub payables: Rc<Payables>,
}

/// What was read of some households: their enrolments, their deals, and what their purses are made of.
pub type Households = (Vec<Enrolment>, programme::FoundDeals, allowance::Read);

/// What the decisions about some households depend on, first of all.
pub fn ask_households(now: Instant, of: &[EnrolmentId]) -> impl Ask<Answer = Households> {
    (enrolment::ask_enrolments(of), programme::ask_deals(of), allowance::ask_purses(now, of))
}

/// One question.
pub fn situation(conn: &mut Conn, now: Instant, asked: &Asked) -> Result<Known> {
    let households = ask(conn, 1, ask_households(now, &[asked.voucher.enrolment_id]))?;
    let known = situations(conn, now, &[*asked], households)?.pop();
    known.ok_or_else(|| Error::internal("a question was not answered"))
}

/// All questions, in their order.
pub fn situations(conn: &mut Conn, now: Instant, asked: &[Asked], households: Households) -> Result<Vec<Known>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (enrolments, deals, purses) = households;
    let enrolments: BTreeMap<EnrolmentId, Enrolment> = enrolments.into_iter().map(|found| (found.id, found)).collect();
    let versions = enrolments.values().map(|e| (e.programme_id, e.rules_version)).collect();
    let rules = programme::deals(&versions, deals)?;
    let ids: Vec<EnrolmentId> = distinct(asked.iter().map(|asked| asked.voucher.enrolment_id));
    let purses = allowance::purses(conn, now, &ids, purses)?;
    let mut deals = Vec::with_capacity(asked.len());
    for Asked { voucher, basket, .. } in asked {
        let missing = || Error::internal("a card without its enrolment, programme or rules");
        let enrolment = enrolments.get(&voucher.enrolment_id).ok_or_else(missing)?;
        let (programme, rules) = rules.get(&(enrolment.programme_id, enrolment.rules_version)).ok_or_else(missing)?;
        let own = purses.get(&enrolment.id).ok_or_else(missing)?;
        let zone = programme.zone()?;
        let since = Since::of(now, &zone, rules, enrolment, programme, basket.is_some());
        deals.push((enrolment, programme, rules, own, zone, since));
    }
    let owed = asked.iter().zip(&deals).flat_map(|(asked, deal)| {
        deal.3.purse.parts.iter().map(|part| (part.key.agreement, asked.counter.stall.producer_id))
    });
    let owed = distinct(owed);
    let since: Vec<_> = deals.iter().map(|deal| (deal.0.id, deal.5)).collect();
    let (past, payables) = Past::read(conn, &since, ledger::ask_payables(&owed))?;
    let payables = Rc::new(ledger::open_payables(payables));

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
            stall_open: asked.counter.stall.open,
            approval: asked.counter.approvals.get(&programme.id).copied(),
            voucher: asked.voucher.state,
            enrolment: enrolment.state,
            band: enrolment.band.clone(),
            purse: purse(conn, now, asked.voucher, title.as_ref(), &own.purse)?,
            history,
            second_tap: past.has_seen(now, asked, &since),
        };
        known.push(Known {
            rules: rules.clone(),
            programme: programme.id,
            situation,
            title,
            behind: own.behind,
            payables: payables.clone(),
        });
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
