//! Enrolments over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{Enrolment, Filter, NewEnrolment, State as EnrolmentState};
use crate::access::Actor;
use crate::allowance;
use crate::db::Conn;
use crate::hold;
use crate::http::extract::{Json, PathId, Query};
use crate::http::idempotency::{IdempotencyKey, once};
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::error::Result;
use crate::kit::id::{AllowanceId, EnrolmentId, HoldId, HouseholdId, ProgrammeId, VoucherId, kind};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    household_id: HouseholdId,
    programme_id: ProgrammeId,
    starts_on: Option<Day>,
    band: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandRequest {
    band: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    return_issued: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentsQuery {
    household_id: Option<HouseholdId>,
    programme_id: Option<ProgrammeId>,
    state: Option<EnrolmentState>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct EnrolmentAnswer {
    id: EnrolmentId,
    household_id: HouseholdId,
    programme_id: ProgrammeId,
    state: EnrolmentState,
    starts_on: Day,
    rules_version: i32,
    band: Option<String>,
    promised: Cents,
    waiting_since: Option<Instant>,
    activated_at: Option<Instant>,
    left_at: Option<Instant>,
    created_at: Instant,
    allowances: Vec<AllowanceAnswer>,
    /// What is set aside of them: their balances are without it.
    holds: Vec<HoldAnswer>,
}

#[derive(Serialize)]
struct AllowanceAnswer {
    id: AllowanceId,
    period: i32,
    purse: String,
    starts_on: Day,
    ends_on: Day,
    opens_at: Instant,
    closes_at: Instant,
    state: allowance::State,
    amount: Cents,
    balance: Cents,
}

/// How much, and until when; not what for.
#[derive(Serialize)]
struct HoldAnswer {
    id: HoldId,
    voucher_id: VoucherId,
    amount: Cents,
    expires_at: Instant,
}

fn answer(conn: &mut Conn, enrolment: Enrolment) -> Result<EnrolmentAnswer> {
    let allowances =
        allowance::allowances(conn, enrolment.id)?.into_iter().map(|(allowance, balance)| AllowanceAnswer {
            id: allowance.id,
            period: allowance.period,
            purse: allowance.purse,
            starts_on: allowance.starts_on,
            ends_on: allowance.ends_on,
            opens_at: allowance.opens_at,
            closes_at: allowance.closes_at,
            state: allowance.state,
            amount: allowance.amount_cents,
            balance,
        });
    let held = hold::standing(conn, enrolment.id)?.into_iter().map(|hold| HoldAnswer {
        id: hold.id,
        voucher_id: hold.voucher_id,
        amount: hold.covered_cents,
        expires_at: hold.expires_at,
    });
    Ok(EnrolmentAnswer {
        id: enrolment.id,
        household_id: enrolment.household_id,
        programme_id: enrolment.programme_id,
        state: enrolment.state,
        starts_on: enrolment.starts_on,
        rules_version: enrolment.rules_version,
        band: enrolment.band,
        promised: enrolment.promised_cents,
        waiting_since: enrolment.waiting_since,
        activated_at: enrolment.activated_at,
        left_at: enrolment.left_at,
        created_at: enrolment.created_at,
        allowances: allowances.collect(),
        holds: held.collect(),
    })
}

pub async fn enrol_household(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    body: Json<EnrolmentRequest>,
) -> Answer {
    let EnrolmentRequest { household_id, programme_id, starts_on, band } = body.value;
    let new = NewEnrolment { household: household_id, programme: programme_id, starts_on, band };
    let actor = permit.actor.clone();
    once(&state, &permit.actor, key, body.digest, move |conn, now| {
        let enrolment = super::enrol(conn, now, &actor, &new)?;
        answer(conn, enrolment)
    })
    .await
}

pub async fn list_enrolments(state: web::Data<State>, permit: MayEnrol, query: Query<EnrolmentsQuery>) -> Answer {
    let EnrolmentsQuery { household_id, programme_id, state: in_state, cursor, limit } = query.0;
    let page = permit.cursors.page(&cursor, &limit)?;
    let filter = Filter { household: household_id, programme: programme_id, state: in_state };
    let list = state.read(move |conn| {
        let enrolments = super::list(conn, &permit.actor, &filter, &page)?;
        let (enrolments, next) = page.cut(enrolments, |enrolment| enrolment.id);
        let items: Result<Vec<_>> = enrolments.into_iter().map(|enrolment| answer(conn, enrolment)).collect();
        Ok(permit.cursors.list(items?, next))
    });
    Ok(ok(&list.await?))
}

pub async fn get_enrolment(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Enrolment>) -> Answer {
    let found = state.read(move |conn| {
        let enrolment = super::own(conn, &permit.actor, id.0)?;
        answer(conn, enrolment)
    });
    Ok(ok(&found.await?))
}

async fn change(
    state: web::Data<State>,
    permit: MayEnrol,
    id: EnrolmentId,
    command: impl Fn(&mut Conn, Instant, &Actor, EnrolmentId) -> Result<Enrolment> + Send + 'static,
) -> Answer<EnrolmentAnswer> {
    let changed = state.write_as(permit.actor.clone(), move |conn, now| {
        let enrolment = command(conn, now, &permit.actor, id)?;
        answer(conn, enrolment)
    });
    changed.await
}

pub async fn suspend_enrolment(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Enrolment>) -> Answer {
    let command = |conn: &mut Conn, now, actor: &Actor, id| super::suspend(conn, now, actor, id);
    Ok(ok(&change(state, permit, id.0, command).await?))
}

pub async fn resume_enrolment(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Enrolment>) -> Answer {
    let command = |conn: &mut Conn, now, actor: &Actor, id| super::resume(conn, now, actor, id);
    Ok(ok(&change(state, permit, id.0, command).await?))
}

pub async fn set_band(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Enrolment>,
    body: Json<BandRequest>,
) -> Answer {
    let band = body.value.band;
    let command = move |conn: &mut Conn, now, actor: &Actor, id| super::set_band(conn, now, actor, id, band.as_deref());
    Ok(ok(&change(state, permit, id.0, command).await?))
}

/// The money that comes back lets others in at once.
pub async fn leave_programme(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Enrolment>,
    body: Json<LeaveRequest>,
) -> Answer {
    let return_issued = body.value.return_issued;
    let command = move |conn: &mut Conn, now, actor: &Actor, id| super::leave(conn, now, actor, id, return_issued);
    let left = change(state.clone(), permit, id.0, command).await?;
    let programme = left.programme_id;
    // the household has left, whatever becomes of this: the scheduler does it again
    if let Err(failed) = state.run(move |state| super::move_up(&state.db, programme)).await {
        tracing::error!(cause = %failed, "the waiting list could not move up");
    }
    Ok(ok(&left))
}
