//! Vouchers over HTTP: handed over by social workers, drawn as QR codes.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{State as VoucherState, Voucher, qr};
use crate::access::Actor;
use crate::db::Conn;
use crate::http::extract::{Json, PathId, Query};
use crate::http::idempotency::{self, IdempotencyKey, NO_BODY, once_in};
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, negotiate, ok};
use crate::kit::error::{Error, Result};
use crate::kit::id::{EnrolmentId, VoucherId, kind};
use crate::kit::keys::{Digest32, Secret};
use crate::kit::time::{Day, Instant};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoucherRequest {
    enrolment_id: EnrolmentId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VouchersQuery {
    enrolment_id: Option<EnrolmentId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct VoucherAnswer {
    id: VoucherId,
    enrolment_id: EnrolmentId,
    state: VoucherState,
    code: String,
    token: String,
    valid_from: Day,
    valid_to: Day,
    created_at: Instant,
}

fn answer(state: &State, voucher: &Voucher) -> VoucherAnswer {
    let keys = state.keys.now();
    VoucherAnswer {
        id: voucher.id,
        enrolment_id: voucher.enrolment_id,
        state: voucher.state,
        code: voucher.code(&keys.secret).to_string(),
        token: voucher.token(&keys, state.host()),
        valid_from: voucher.valid_from,
        valid_to: voucher.valid_to,
        created_at: voucher.created_at,
    }
}

pub async fn hand_over_voucher(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    body: Json<VoucherRequest>,
) -> Answer {
    let enrolment = body.value.enrolment_id;
    once(state, permit, key, body.digest, move |conn, now, actor, secret| {
        super::hand_over(conn, now, actor, secret, enrolment)
    })
    .await
}

pub async fn replace_voucher(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    id: PathId<kind::Voucher>,
) -> Answer {
    once(state, permit, key, NO_BODY, move |conn, now, actor, secret| super::replace(conn, now, actor, secret, id.0))
        .await
}

/// Makes a voucher once for a key. What is kept for a repeat is its id: a card's code and token stay out of the database.
async fn once(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    body: Digest32,
    make: impl Fn(&mut Conn, Instant, &Actor, &Secret) -> Result<Voucher> + Send + 'static,
) -> Answer {
    let (keys, actor) = (state.keys.now(), permit.actor);
    let (voucher, replay) = state
        .write_as(actor.clone(), move |conn, now| {
            let make = |conn: &mut Conn, now| make(conn, now, &actor, &keys.secret).map(|voucher| voucher.id);
            let (id, replay) = once_in(conn, now, actor.organisation, &key.key, key.digest(&body), make)?;
            let id = serde_json::from_str(&id).map_err(Error::internal)?;
            Ok((super::own(conn, &actor, id)?, replay))
        })
        .await?;
    // as it was first answered, whatever has become of it since
    let made = Voucher { state: VoucherState::Active, ..voucher };
    let json = serde_json::to_string(&answer(&state, &made)).map_err(Error::internal)?;
    Ok(idempotency::answer(json, replay))
}

pub async fn list_vouchers(state: web::Data<State>, permit: MayEnrol, query: Query<VouchersQuery>) -> Answer {
    let page = permit.cursors.page(&query.0.cursor, &query.0.limit)?;
    let vouchers = state.read(move |conn| super::list(conn, &permit.actor, query.0.enrolment_id, &page)).await?;
    let (vouchers, next) = page.cut(vouchers, |voucher| voucher.id);
    Ok(ok(&permit.cursors.list(vouchers.iter().map(|voucher| answer(&state, voucher)), next)))
}

pub async fn get_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    let voucher = state.read(move |conn| super::own(conn, &permit.actor, id.0)).await?;
    Ok(ok(&answer(&state, &voucher)))
}

/// SVG unless PNG is asked for.
pub async fn get_voucher_qr(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Voucher>,
    request: HttpRequest,
) -> Answer {
    let format = negotiate::accepted(&request, &["image/svg+xml", "image/png"])?;
    let voucher = state.read(move |conn| super::own(conn, &permit.actor, id.0)).await?;
    let token = voucher.token(&state.keys.now(), state.host());
    let image = if format == "image/png" { qr::png(&token)? } else { qr::svg(&token)?.into_bytes() };
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, format)).body(image))
}

async fn change(
    state: web::Data<State>,
    permit: MayEnrol,
    id: VoucherId,
    command: fn(&mut Conn, Instant, &Actor, VoucherId) -> Result<Voucher>,
) -> Answer {
    let voucher = state.write_as(permit.actor.clone(), move |conn, now| command(conn, now, &permit.actor, id)).await?;
    Ok(ok(&answer(&state, &voucher)))
}

pub async fn block_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    change(state, permit, id.0, super::block).await
}

pub async fn unblock_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    change(state, permit, id.0, super::unblock).await
}
