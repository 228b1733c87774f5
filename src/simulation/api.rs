//! Simulations over HTTP. They write nothing.

use actix_web::web;

use super::{ProgrammeRequest, Request};
use crate::access::still_signed_in;
use crate::http::extract::{Json, PathId};
use crate::http::permission::MayManageProgrammes;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::id::kind;

pub async fn simulate(state: web::Data<State>, permit: MayManageProgrammes, body: Json<Request>) -> Answer {
    let outcome = state.run(move |state| {
        let now = state.db.now();
        // the body may have come long after its head
        state.db.read(|conn| still_signed_in(conn, now, &permit.actor))?;
        Ok(super::simulate(&body.value.scheme()?))
    });
    Ok(ok(&outcome.await?))
}

pub async fn simulate_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
    body: Json<ProgrammeRequest>,
) -> Answer {
    let outcome = state.run(move |state| {
        let now = state.db.now();
        let scheme = state.db.read(|conn| {
            still_signed_in(conn, now, &permit.actor)?;
            super::of_programme(conn, now, &permit.actor, id.0, &body.value)
        })?;
        Ok(super::simulate(&scheme))
    });
    Ok(ok(&outcome.await?))
}
