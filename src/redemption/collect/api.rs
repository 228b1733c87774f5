//! Baskets set aside, over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::Handed;
use crate::hold::{self, Filter, Hold, Line, State as HoldState};
use crate::http::address::ClientAddress;
use crate::http::extract::{Json, OptionalJson, PathId, Query};
use crate::http::idempotency::{IdempotencyKey, once};
use crate::http::permission::{MayReleaseHolds, MaySell};
use crate::http::problem::Answer;
use crate::http::{State, no_content, ok};
use crate::kit::error::Result;
use crate::kit::id::{HoldId, StallId, kind};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::redemption::BasketLine;
use crate::redemption::api::{Display, LineJson, RedemptionAnswer, RedemptionRequest, check_lines, look_up_typed};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    basket: Option<Cents>,
    #[serde(default, deserialize_with = "crate::kit::object::objects")]
    lines: Vec<LineJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldsQuery {
    stall_id: Option<StallId>,
    state: Option<HoldState>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct HoldAnswer {
    id: HoldId,
    stall_id: Option<StallId>,
    display: Display,
    basket: Option<Cents>,
    covered: Cents,
    to_collect: Cents,
    lines: Vec<LineJson>,
    state: HoldState,
    at: Instant,
    expires_at: Instant,
}

impl HoldAnswer {
    fn of(now: Instant, (hold, lines): (Hold, Vec<Line>)) -> Self {
        let basket = hold.basket_cents.unwrap_or(hold.covered_cents);
        HoldAnswer {
            id: hold.id,
            stall_id: hold.stall_id,
            display: Display::of(basket),
            basket: hold.basket_cents,
            covered: hold.covered_cents,
            to_collect: basket - hold.covered_cents + hold.surplus_cents,
            lines: lines.iter().map(|line| LineJson::told(line.category, &line.labels, line.amount_cents)).collect(),
            state: hold.state_at(now),
            at: hold.created_at,
            expires_at: hold.expires_at,
        }
    }
}

impl CaptureRequest {
    fn read(self) -> Result<Handed> {
        let CaptureRequest { basket, lines } = self;
        check_lines(basket, &lines)?;
        Ok(Handed { basket, lines: lines.into_iter().map(BasketLine::from).collect() })
    }
}

pub async fn hold_basket(
    state: web::Data<State>,
    permit: MaySell,
    key: IdempotencyKey,
    address: ClientAddress,
    body: Json<RedemptionRequest>,
) -> Answer {
    let new = body.value.read(&state)?;
    look_up_typed(&state, &permit.actor, &key, &address, &new).await?;
    let actor = permit.actor.clone();
    once(&state, &permit.actor, key, body.digest, move |conn, now| {
        super::place(conn, now, &actor, &new).map(|placed| HoldAnswer::of(now, placed))
    })
    .await
}

pub async fn capture_hold(
    state: web::Data<State>,
    permit: MaySell,
    key: IdempotencyKey,
    id: PathId<kind::Hold>,
    body: OptionalJson<CaptureRequest>,
) -> Answer {
    let Json { value, digest } = body.0.unwrap_or_default();
    let handed = value.read()?;
    let actor = permit.actor.clone();
    once(&state, &permit.actor, key, digest, move |conn, now| {
        super::capture(conn, now, &actor, id.0, &handed).map(RedemptionAnswer::from)
    })
    .await
}

pub async fn release_hold(state: web::Data<State>, permit: MayReleaseHolds, id: PathId<kind::Hold>) -> Answer {
    let actor = permit.actor.clone();
    state.write_as(permit.actor, move |conn, now| super::release(conn, now, &actor, id.0)).await?;
    Ok(no_content())
}

pub async fn list_holds(state: web::Data<State>, permit: MaySell, query: Query<HoldsQuery>) -> Answer {
    let HoldsQuery { stall_id, state: in_state, cursor, limit } = query.0;
    let page = permit.cursors.page(&cursor, &limit)?;
    let (filter, now) = (Filter { stall: stall_id, state: in_state }, state.db.now());
    let organisation = permit.actor.organisation;
    let holds = state.read(move |conn| hold::list(conn, now, organisation, &filter, &page)).await?;
    let (holds, next) = page.cut(holds, |(hold, _)| hold.id);
    Ok(ok(&permit.cursors.list(holds.into_iter().map(|hold| HoldAnswer::of(now, hold)), next)))
}

pub async fn get_hold(state: web::Data<State>, permit: MaySell, id: PathId<kind::Hold>) -> Answer {
    let now = state.db.now();
    let found = state.read(move |conn| hold::of_producer(conn, permit.actor.organisation, id.0)).await?;
    Ok(ok(&HoldAnswer::of(now, found)))
}
