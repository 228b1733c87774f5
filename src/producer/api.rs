//! Producers, stalls and applications over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::iban::Iban;
use super::siret::Siret;
use super::{Application, ApplicationState, Decision, Producer, Profile, Stall};
use crate::access::Actor;
use crate::http::extract::{Json, OptionalJson, PathId, PathIds, Query};
use crate::http::permission::{
    MayApply, MayDecideApplications, MayManageProducer, MayReadProducer, MayReadProducers, MayReadStalls,
    MayWriteStalls,
};
use crate::http::problem::Answer;
use crate::http::{State, created, ok};
use crate::kit::commune::Commune;
use crate::kit::id::{OrganisationId, ProgrammeId, StallId, kind};
use crate::kit::text::Line;
use crate::kit::time::Instant;
use crate::programme::ProducerClass;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    siret: Siret,
    iban: Iban,
    account_holder: Line<70>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StallRequest {
    name: Line<200>,
    #[serde(deserialize_with = "crate::kit::object::object")]
    commune: Commune,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    class: Option<ProducerClass>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StallsQuery {
    producer_id: Option<OrganisationId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct ProducerAnswer {
    id: OrganisationId,
    name: String,
    siret: Option<String>,
    iban: Option<String>,
    account_holder: Option<String>,
}

impl From<Producer> for ProducerAnswer {
    fn from(producer: Producer) -> Self {
        let Producer { id, name, siret, iban, account_holder } = producer;
        ProducerAnswer { id, name, siret, iban, account_holder }
    }
}

#[derive(Serialize)]
struct StallAnswer {
    id: StallId,
    producer_id: OrganisationId,
    name: String,
    commune: CommuneAnswer,
    open: bool,
}

#[derive(Serialize)]
struct CommuneAnswer {
    code: String,
    name: String,
}

impl From<Stall> for StallAnswer {
    fn from(stall: Stall) -> Self {
        StallAnswer {
            id: stall.id,
            producer_id: stall.producer_id,
            name: stall.name,
            commune: CommuneAnswer { code: stall.commune_code, name: stall.commune_name },
            open: stall.open,
        }
    }
}

#[derive(Serialize)]
struct ApplicationAnswer {
    programme_id: ProgrammeId,
    producer: ApplicantAnswer,
    state: ApplicationState,
    class: ProducerClass,
    applied_at: Instant,
    decided_at: Option<Instant>,
}

#[derive(Serialize)]
struct ApplicantAnswer {
    id: OrganisationId,
    name: String,
}

impl From<Application> for ApplicationAnswer {
    fn from(application: Application) -> Self {
        ApplicationAnswer {
            programme_id: application.programme_id,
            producer: ApplicantAnswer { id: application.producer_id, name: application.producer_name },
            state: application.state,
            class: application.class,
            applied_at: application.applied_at,
            decided_at: application.decided_at,
        }
    }
}

pub async fn set_profile(state: web::Data<State>, permit: MayManageProducer, body: Json<ProfileRequest>) -> Answer {
    let ProfileRequest { siret, iban, account_holder } = body.value;
    let profile = Profile { siret, iban, account_holder };
    let producer = state
        .write_as(permit.actor.clone(), move |conn, now| super::set_profile(conn, now, &permit.actor, &profile))
        .await?;
    Ok(ok(&ProducerAnswer::from(producer)))
}

pub async fn list_producers(state: web::Data<State>, permit: MayReadProducers, query: Query<PageQuery>) -> Answer {
    let page = permit.cursors.page::<kind::Organisation>(&query.0.cursor, &query.0.limit)?;
    let rows = state.read(move |conn| super::list(conn, &permit.actor, &page)).await?;
    let (rows, next) = page.cut(rows, |producer| producer.id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(ProducerAnswer::from), next)))
}

pub async fn get_producer(state: web::Data<State>, permit: MayReadProducer, id: PathId<kind::Organisation>) -> Answer {
    let producer = state.read(move |conn| super::get(conn, &permit.actor, id.0)).await?;
    Ok(ok(&ProducerAnswer::from(producer)))
}

pub async fn open_stall(state: web::Data<State>, permit: MayWriteStalls, body: Json<StallRequest>) -> Answer {
    let StallRequest { name, commune } = body.value;
    let stall = state
        .write_as(permit.actor.clone(), move |conn, now| super::open_stall(conn, now, &permit.actor, &name, &commune))
        .await?;
    Ok(created(&StallAnswer::from(stall)))
}

pub async fn list_stalls(state: web::Data<State>, permit: MayReadStalls, query: Query<StallsQuery>) -> Answer {
    let StallsQuery { producer_id, cursor, limit } = query.0;
    let page = permit.cursors.page::<kind::Stall>(&cursor, &limit)?;
    let rows = state.read(move |conn| super::stalls(conn, &permit.actor, producer_id, &page)).await?;
    let (rows, next) = page.cut(rows, |stall| stall.id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(StallAnswer::from), next)))
}

pub async fn close_stall(state: web::Data<State>, permit: MayWriteStalls, id: PathId<kind::Stall>) -> Answer {
    let stall = state
        .write_as(permit.actor.clone(), move |conn, now| super::close_stall(conn, now, &permit.actor, id.0))
        .await?;
    Ok(ok(&StallAnswer::from(stall)))
}

pub async fn apply(state: web::Data<State>, permit: MayApply, id: PathId<kind::Programme>) -> Answer {
    let application =
        state.write_as(permit.actor.clone(), move |conn, now| super::apply(conn, now, &permit.actor, id.0)).await?;
    Ok(ok(&ApplicationAnswer::from(application)))
}

pub async fn list_own_applications(state: web::Data<State>, permit: MayApply, query: Query<PageQuery>) -> Answer {
    let page = permit.cursors.page::<kind::Programme>(&query.0.cursor, &query.0.limit)?;
    let rows = state.read(move |conn| super::own_applications(conn, &permit.actor, &page)).await?;
    let (rows, next) = page.cut(rows, |application| application.programme_id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(ApplicationAnswer::from), next)))
}

pub async fn list_applications(
    state: web::Data<State>,
    permit: MayDecideApplications,
    id: PathId<kind::Programme>,
    query: Query<PageQuery>,
) -> Answer {
    let page = permit.cursors.page::<kind::Organisation>(&query.0.cursor, &query.0.limit)?;
    let rows = state.read(move |conn| super::applications_to(conn, &permit.actor, id.0, &page)).await?;
    let (rows, next) = page.cut(rows, |application| application.producer_id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(ApplicationAnswer::from), next)))
}

pub async fn approve(
    state: web::Data<State>,
    permit: MayDecideApplications,
    ids: PathIds<kind::Programme, kind::Organisation>,
    body: OptionalJson<ApprovalRequest>,
) -> Answer {
    let class = body.0.unwrap_or_default().value.class;
    decide(&state, permit.actor, ids, Decision::Approve(class)).await
}

pub async fn refuse(
    state: web::Data<State>,
    permit: MayDecideApplications,
    ids: PathIds<kind::Programme, kind::Organisation>,
) -> Answer {
    decide(&state, permit.actor, ids, Decision::Refuse).await
}

pub async fn suspend(
    state: web::Data<State>,
    permit: MayDecideApplications,
    ids: PathIds<kind::Programme, kind::Organisation>,
) -> Answer {
    decide(&state, permit.actor, ids, Decision::Suspend).await
}

async fn decide(
    state: &State,
    actor: Actor,
    PathIds(programme, producer): PathIds<kind::Programme, kind::Organisation>,
    decision: Decision,
) -> Answer {
    let decided = state
        .write_as(actor.clone(), move |conn, now| super::decide(conn, now, &actor, programme, producer, decision))
        .await?;
    Ok(ok(&ApplicationAnswer::from(decided)))
}
