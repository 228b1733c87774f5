//! Contributions over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{Contribution, Refund};
use crate::enrolment;
use crate::http::extract::{Json, PathId};
use crate::http::idempotency::{IdempotencyKey, once};
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::id::{AllowanceId, ContributionId, kind};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::programme::ContributionGoesTo;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContributionRequest {
    amount: Cents,
}

#[derive(Serialize)]
struct ContributionAnswer {
    id: ContributionId,
    period: i32,
    amount: Cents,
    goes_to: ContributionGoesTo,
    allowance_id: Option<AllowanceId>,
    refunded: Cents,
    refunds: Vec<Refund>,
    at: Instant,
}

impl From<(Contribution, Vec<Refund>)> for ContributionAnswer {
    fn from((contribution, refunds): (Contribution, Vec<Refund>)) -> Self {
        ContributionAnswer {
            id: contribution.id,
            period: contribution.period,
            amount: contribution.amount_cents,
            goes_to: contribution.goes_to(),
            allowance_id: contribution.allowance_id,
            refunded: refunds.iter().map(|refund| refund.amount).sum(),
            refunds,
            at: contribution.recorded_at,
        }
    }
}

/// What is paid into the pot may let others in at once.
pub async fn contribute(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Enrolment>,
    key: IdempotencyKey,
    body: Json<ContributionRequest>,
) -> Answer {
    let (actor, amount) = (permit.actor.clone(), body.value.amount);
    let paid = once(&state, &permit.actor, key, body.digest, move |conn, now| {
        let contribution = super::pay(conn, now, &actor, id.0, amount)?;
        Ok(ContributionAnswer::from((contribution, Vec::new())))
    })
    .await?;
    // the money is in the pot, whatever becomes of this: the scheduler does it again
    let moved = state.run(move |state| {
        let programme = state.db.read(|conn| enrolment::own(conn, &permit.actor, id.0))?.programme_id;
        enrolment::move_up(&state.db, programme)
    });
    if let Err(failed) = moved.await {
        tracing::error!(cause = %failed, "the waiting list could not move up");
    }
    Ok(paid)
}

pub async fn list_contributions(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Enrolment>) -> Answer {
    #[derive(Serialize)]
    struct Contributions {
        items: Vec<ContributionAnswer>,
    }
    let found = state.read(move |conn| super::of_enrolment(conn, &permit.actor, id.0)).await?;
    Ok(ok(&Contributions { items: found.into_iter().map(ContributionAnswer::from).collect() }))
}
