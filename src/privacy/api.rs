//! A household's rights over HTTP, exercised through its own structure.

use actix_web::web;
use serde::Serialize;

use super::{Export, Holding, Sighting, wipe};
use crate::access::Role;
use crate::allowance;
use crate::contribution::{Contribution, Refund};
use crate::enrolment::State as EnrolmentState;
use crate::hold::{self, Hold};
use crate::household::api::seen;
use crate::household::{self, Identity};
use crate::http::extract::PathId;
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, no_content, ok};
use crate::kit::error::{Error, Result};
use crate::kit::id::{EnrolmentId, HouseholdId, PersonId, VoucherId, kind};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::programme::{Category, ContributionGoesTo};
use crate::redemption::Purchase;
use crate::voucher::{self, Voucher};

#[derive(Serialize)]
struct ExportAnswer {
    id: HouseholdId,
    reference: String,
    adults: i32,
    children: i32,
    commune: String,
    created_at: Instant,
    identity: Option<Identity>,
    enrolments: Vec<EnrolmentAnswer>,
    duplicates: DuplicatesAnswer,
    looks: Vec<LookAnswer>,
    last_contact_at: Instant,
    erased_from: Option<Instant>,
}

#[derive(Serialize)]
struct EnrolmentAnswer {
    id: EnrolmentId,
    programme: String,
    state: EnrolmentState,
    adults: i32,
    children: i32,
    commune: String,
    starts_on: Day,
    promised: Cents,
    created_at: Instant,
    waiting_since: Option<Instant>,
    activated_at: Option<Instant>,
    left_at: Option<Instant>,
    allowances: Vec<AllowanceAnswer>,
    vouchers: Vec<VoucherAnswer>,
    purchases: Vec<PurchaseAnswer>,
    holds: Vec<HoldAnswer>,
    contributions: Vec<ContributionAnswer>,
}

#[derive(Serialize)]
struct AllowanceAnswer {
    period: i32,
    starts_on: Day,
    ends_on: Day,
    state: allowance::State,
    amount: Cents,
    balance: Cents,
}

#[derive(Serialize)]
struct VoucherAnswer {
    id: VoucherId,
    state: voucher::State,
    valid_from: Day,
    valid_to: Day,
    created_at: Instant,
    denomination: Option<Cents>,
}

#[derive(Serialize)]
struct PurchaseAnswer {
    day: Day,
    stall: String,
    basket: Cents,
    covered: Cents,
    lines: Vec<LineAnswer>,
    voided: Option<VoidAnswer>,
}

#[derive(Serialize)]
struct HoldAnswer {
    day: Day,
    /// None for a voucher of a fixed value.
    stall: Option<String>,
    basket: Option<Cents>,
    amount: Cents,
    lines: Vec<LineAnswer>,
    state: hold::State,
    expires_at: Instant,
}

#[derive(Serialize)]
struct ContributionAnswer {
    period: i32,
    amount: Cents,
    goes_to: ContributionGoesTo,
    at: Instant,
    refunds: Vec<Refund>,
}

#[derive(Serialize)]
struct LineAnswer {
    category: Category,
    labels: Vec<String>,
    amount: Cents,
}

impl LineAnswer {
    fn told(category: Category, labels: &str, amount: Cents) -> Self {
        LineAnswer { category, labels: labels.split_whitespace().map(str::to_owned).collect(), amount }
    }
}

#[derive(Serialize)]
struct VoidAnswer {
    at: Instant,
    reason: Option<String>,
}

#[derive(Serialize)]
struct DuplicatesAnswer {
    count: usize,
    dismissed_by_us: usize,
}

#[derive(Serialize)]
struct LookAnswer {
    at: Instant,
    action: String,
    role: Role,
    person_id: Option<PersonId>,
}

impl From<(Purchase, Day, String)> for PurchaseAnswer {
    fn from((Purchase { redemption, lines, void }, day, stall): (Purchase, Day, String)) -> Self {
        PurchaseAnswer {
            day,
            stall,
            basket: redemption.basket_cents,
            covered: redemption.covered_cents,
            lines: lines.iter().map(|l| LineAnswer::told(l.category, &l.labels, l.amount_cents)).collect(),
            voided: void.map(|void| VoidAnswer { at: void.recorded_at, reason: void.reason }),
        }
    }
}

impl From<(Hold, Vec<hold::Line>, Day, Option<String>)> for HoldAnswer {
    fn from((hold, lines, day, stall): (Hold, Vec<hold::Line>, Day, Option<String>)) -> Self {
        HoldAnswer {
            day,
            stall,
            basket: hold.basket_cents,
            amount: hold.covered_cents,
            lines: lines.iter().map(|l| LineAnswer::told(l.category, &l.labels, l.amount_cents)).collect(),
            state: hold.state,
            expires_at: hold.expires_at,
        }
    }
}

impl From<(Contribution, Vec<Refund>)> for ContributionAnswer {
    fn from((contribution, refunds): (Contribution, Vec<Refund>)) -> Self {
        let goes_to = contribution.goes_to();
        let Contribution { period, amount_cents: amount, recorded_at: at, .. } = contribution;
        ContributionAnswer { period, amount, goes_to, at, refunds }
    }
}

impl From<Voucher> for VoucherAnswer {
    fn from(Voucher { id, state, valid_from, valid_to, created_at, denomination_cents, .. }: Voucher) -> Self {
        VoucherAnswer { id, state, valid_from, valid_to, created_at, denomination: denomination_cents }
    }
}

impl From<Holding> for EnrolmentAnswer {
    fn from(holding: Holding) -> Self {
        let Holding { enrolment, programme, allowances, vouchers, purchases, holds, contributions } = holding;
        let allowances = allowances.into_iter().map(|(allowance, balance)| AllowanceAnswer {
            period: allowance.period,
            starts_on: allowance.starts_on,
            ends_on: allowance.ends_on,
            state: allowance.state,
            amount: allowance.amount_cents,
            balance,
        });
        EnrolmentAnswer {
            id: enrolment.id,
            programme,
            state: enrolment.state,
            adults: enrolment.adults,
            children: enrolment.children,
            commune: enrolment.commune_code,
            starts_on: enrolment.starts_on,
            promised: enrolment.promised_cents,
            created_at: enrolment.created_at,
            waiting_since: enrolment.waiting_since,
            activated_at: enrolment.activated_at,
            left_at: enrolment.left_at,
            allowances: allowances.collect(),
            vouchers: vouchers.into_iter().map(VoucherAnswer::from).collect(),
            purchases: purchases.into_iter().map(PurchaseAnswer::from).collect(),
            holds: holds.into_iter().map(HoldAnswer::from).collect(),
            contributions: contributions.into_iter().map(ContributionAnswer::from).collect(),
        }
    }
}

fn answer(export: Export) -> Result<ExportAnswer> {
    let Export { household, identity, holdings, duplicates, sightings, last_contact_at, erased_from } = export;
    let ours = duplicates.iter().filter(|duplicate| duplicate.ours).count();
    Ok(ExportAnswer {
        id: household.id,
        reference: household.reference,
        adults: household.adults,
        children: household.children,
        commune: household.commune_code,
        created_at: household.created_at,
        identity: Some(seen(identity)?).filter(|identity| !identity.is_empty()),
        enrolments: holdings.into_iter().map(EnrolmentAnswer::from).collect(),
        duplicates: DuplicatesAnswer { count: duplicates.len(), dismissed_by_us: ours },
        looks: sightings
            .into_iter()
            .map(|Sighting { at, action, role, person }| LookAnswer { at, action, role, person_id: person })
            .collect(),
        last_contact_at,
        erased_from,
    })
}

pub async fn export(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    let (keys, months) = (state.keys.now(), state.retention_months);
    let export = state
        .write_as(permit.actor.clone(), move |conn, now| super::export(conn, now, &keys, &permit.actor, id.0, months))
        .await?;
    Ok(ok(&answer(export)?))
}

pub async fn erase(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    state
        .run(move |state| {
            state.commit_as(&permit.actor, |conn, now| super::erase(conn, now, &permit.actor, id.0))?;
            wipe(&state.db);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(no_content())
}

/// The identity alone: the household and its vouchers go on without it.
pub async fn forget(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    state
        .run(move |state| {
            state.commit_as(&permit.actor, |conn, now| household::forget(conn, now, &permit.actor, id.0))?;
            wipe(&state.db);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(no_content())
}
