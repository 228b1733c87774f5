//! What a household pays in itself: into the common pot, or for its own purchases.

pub mod api;
mod store;
mod verify;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::access::Actor;
use crate::allowance;
use crate::audit::{self, Action};
use crate::db::Conn;
use crate::enrolment::{self, Enrolment, State};
use crate::household;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{ContributionId, EnrolmentId};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::{self, ContributionGoesTo, Period, Programme, Rules};

pub use store::Contribution;
pub use verify::verify;

/// What of a contribution left the pot for its household, to be handed to it in cash.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Refund {
    pub amount: Cents,
    pub at: Instant,
}

impl Contribution {
    pub fn goes_to(&self) -> ContributionGoesTo {
        match self.allowance_id {
            Some(_) => ContributionGoesTo::Household,
            None => ContributionGoesTo::Pot,
        }
    }
}

/// Writes down what a household has paid in, for the period that today is in, or for the first if none has begun: funder
/// → available of the pot, and on to an allowance of its own where the money stays the household's.
///
/// Whoever waits may pay for its first period where that lets it in: nobody pays and goes on waiting.
pub fn pay(conn: &mut Conn, now: Instant, actor: &Actor, id: EnrolmentId, amount: Cents) -> Result<Contribution> {
    let Enrolment { programme_id, household_id, .. } = enrolment::own(conn, actor, id)?;
    household::touch(conn, now, household_id)?;
    let programme = programme::lock(conn, programme_id)?;
    allowance::lock(conn, id)?;
    let enrolment = enrolment::own(conn, actor, id)?;
    let rules = enrolment::rules(conn, &enrolment)?;
    let rule = rules.contribution.ok_or(Error::Refused(Code::NoContribution))?;
    match enrolment.state {
        State::Active => {}
        State::Waiting if rule.goes_to == ContributionGoesTo::Pot => {}
        _ => return Err(Error::Refused(Code::EnrolmentState)),
    }
    let zone = programme.zone()?;
    let period = running(&enrolment, &programme, &rules, zone.day_of(now))?;
    let period = period.filter(|period| now < period.closes_at).ok_or(Error::Refused(Code::ContributionTooLate))?;
    let paid = store::paid(conn, id, period.number)?;
    let (least, most) = (rule.minimum - paid, (rule.maximum - paid).max(Cents::ZERO));
    let mut fields = Fields::default();
    fields.must(amount.is_positive(), "amount", Complaint::NothingAtAll);
    fields.must(!amount.is_positive() || amount >= least, "amount", Complaint::Below { least });
    fields.must(amount <= most, "amount", Complaint::Above { most });
    fields.settle()?;

    let pot = programme::pot(conn, programme.id)?.ok_or_else(|| Error::internal("a programme has no pot"))?;
    let (accounts, _) = ledger::agreement_accounts(conn, &[pot.id])?[&pot.id];
    let mut contribution = Contribution {
        id: ContributionId::new(now),
        enrolment_id: id,
        period: period.number,
        agreement_id: pot.id,
        amount_cents: amount,
        allowance_id: None,
        person_id: actor.person,
        recorded_at: now,
    };
    let paid_in = Entry {
        debit: accounts.funder,
        credit: accounts.available,
        agreement: pot.id,
        amount,
        code: TransferCode::Contribute,
        reference: contribution.id.cast(),
        reverses: None,
        occurred_at: now,
    };
    ledger::post(conn, now, &[paid_in])?;
    if rule.goes_to == ContributionGoesTo::Household {
        contribution.allowance_id = Some(allowance::pay_in(conn, now, &zone, id, &period, &pot, amount)?);
    }
    store::insert(conn, &contribution)?;
    allowance::wait_no_longer(conn, id, period.number)?;
    if enrolment.state == State::Waiting && !enrolment::let_in(conn, now, &programme, id)? {
        return Err(Error::Refused(Code::StillWaiting));
    }
    audit::record(conn, now, actor.who(), Action::ContributionPaid, contribution.id, Some(id.to_string()))?;
    Ok(contribution)
}

/// The period that a day is in, or the first if none has begun; none once the last is over.
fn running(enrolment: &Enrolment, programme: &Programme, rules: &Rules, today: Day) -> Result<Option<Period>> {
    // of whoever waits the first day moves on with today
    let starts_on = match enrolment.state {
        State::Waiting => enrolment.starts_on.max(today),
        _ => enrolment.starts_on,
    };
    let periods = programme::periods(rules, &programme.zone()?, programme.starts_on, starts_on);
    Ok(periods.into_iter().find(|period| today <= period.ends_on))
}

/// All that was paid in for an enrolment of the caller's own structure, oldest first, each with what was paid back of it.
pub fn of_enrolment(conn: &mut Conn, actor: &Actor, id: EnrolmentId) -> Result<Vec<(Contribution, Vec<Refund>)>> {
    enrolment::own(conn, actor, id)?;
    all(conn, id)
}

/// The same of any enrolment.
pub fn all(conn: &mut Conn, id: EnrolmentId) -> Result<Vec<(Contribution, Vec<Refund>)>> {
    let contributions = store::of_enrolment(conn, id)?;
    let mut refunds = refunds(conn, &contributions)?;
    Ok(contributions.into_iter().map(|c| (refunds.remove(&c.id).unwrap_or_default(), c)).map(|(r, c)| (c, r)).collect())
}

/// What was paid back of some contributions, oldest first; those of which nothing was are left out.
fn refunds(conn: &mut Conn, of: &[Contribution]) -> Result<BTreeMap<ContributionId, Vec<Refund>>> {
    let mut refunds = BTreeMap::<_, Vec<Refund>>::new();
    for transfer in ledger::transfers_of_all(conn, &of.iter().map(|c| c.id.cast()).collect::<Vec<_>>())? {
        if transfer.code == TransferCode::Refund {
            let refund = Refund { amount: transfer.amount_cents, at: transfer.recorded_at };
            refunds.entry(transfer.reference.cast()).or_default().push(refund);
        }
    }
    Ok(refunds)
}
