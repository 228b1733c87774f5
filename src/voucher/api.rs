//! Vouchers over HTTP: handed over by social workers, drawn as QR codes.

use std::collections::BTreeSet;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{State as VoucherState, Voucher, denomination, qr};
use crate::access::Actor;
use crate::db::Conn;
use crate::http::extract::{Json, PathId, Query};
use crate::http::idempotency::{self, IdempotencyKey, NO_BODY, once_in};
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, negotiate, ok};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Fields, Result};
use crate::kit::id::{EnrolmentId, VoucherId, kind};
use crate::kit::keys::{Digest32, Secret};
use crate::kit::money::Cents;
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
    /// None: the running card.
    denomination: Option<Cents>,
    used: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenominationsRequest {
    values: Vec<Cents>,
}

/// What was made at once.
#[derive(Serialize)]
struct Made {
    items: Vec<VoucherAnswer>,
}

/// Some vouchers, and which of them have been used.
type Shown = (Vec<Voucher>, BTreeSet<VoucherId>);

fn shown(conn: &mut Conn, vouchers: Vec<Voucher>) -> Result<Shown> {
    let used = super::used(conn, &vouchers)?;
    Ok((vouchers, used))
}

fn one(state: &State, (vouchers, used): &Shown) -> Result<VoucherAnswer> {
    let voucher = vouchers.first().ok_or_else(|| Error::internal("a voucher that is none"))?;
    Ok(answer(state, voucher, used))
}

fn answer(state: &State, voucher: &Voucher, used: &BTreeSet<VoucherId>) -> VoucherAnswer {
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
        denomination: voucher.denomination_cents,
        used: used.contains(&voucher.id),
    }
}

pub async fn hand_over_voucher(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    body: Json<VoucherRequest>,
) -> Answer {
    let enrolment = body.value.enrolment_id;
    let made = once(&state, permit, key, body.digest, move |conn, now, actor, secret| {
        Ok(vec![super::hand_over(conn, now, actor, secret, enrolment)?])
    });
    let (mut made, replay) = made.await?;
    first(made.pop(), replay)
}

pub async fn hand_over_denominations(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    id: PathId<kind::Enrolment>,
    body: Json<DenominationsRequest>,
) -> Answer {
    let values = body.value.values;
    let some = (1..=denomination::MOST).contains(&values.len());
    let mut fields = Fields::default();
    fields.must(some, "values", Complaint::Items { least: 1, most: denomination::MOST });
    fields.settle()?;
    let made = once(&state, permit, key, body.digest, move |conn, now, actor, secret| {
        denomination::hand_over(conn, now, actor, secret, id.0, &values)
    });
    let (items, replay) = made.await?;
    Ok(idempotency::answer(serde_json::to_string(&Made { items }).map_err(Error::internal)?, replay))
}

pub async fn replace_voucher(
    state: web::Data<State>,
    permit: MayEnrol,
    key: IdempotencyKey,
    id: PathId<kind::Voucher>,
) -> Answer {
    let made = once(&state, permit, key, NO_BODY, move |conn, now, actor, secret| {
        Ok(vec![super::replace(conn, now, actor, secret, id.0)?])
    });
    let (mut made, replay) = made.await?;
    first(made.pop(), replay)
}

fn first(made: Option<VoucherAnswer>, replay: bool) -> Answer {
    let made = made.ok_or_else(|| Error::internal("a voucher that is none"))?;
    Ok(idempotency::answer(serde_json::to_string(&made).map_err(Error::internal)?, replay))
}

/// Makes vouchers once for a key, and tells whether this is a repeat. What is kept for one is their ids: codes and tokens
/// stay out of the database.
async fn once(
    state: &State,
    permit: MayEnrol,
    key: IdempotencyKey,
    body: Digest32,
    make: impl Fn(&mut Conn, Instant, &Actor, &Secret) -> Result<Vec<Voucher>> + Send + 'static,
) -> Answer<(Vec<VoucherAnswer>, bool)> {
    let (keys, actor) = (state.keys.now(), permit.actor);
    let (vouchers, replay) = state
        .write_as(actor.clone(), move |conn, now| {
            let ids = |made: Vec<Voucher>| Kept::of(made.iter().map(|voucher| voucher.id).collect());
            let make = |conn: &mut Conn, now| make(conn, now, &actor, &keys.secret).map(ids);
            let (kept, replay) = once_in(conn, now, actor.organisation, &key.key, key.digest(&body), make)?;
            let kept: Kept = serde_json::from_str(&kept).map_err(Error::internal)?;
            let vouchers = kept.ids().into_iter().map(|id| super::own(conn, &actor, id));
            Ok((vouchers.collect::<Result<Vec<_>>>()?, replay))
        })
        .await?;
    // as it was first answered, whatever has become of it since
    let made = vouchers.into_iter().map(|voucher| Voucher { state: VoucherState::Active, ..voucher });
    Ok((made.map(|voucher| answer(state, &voucher, &BTreeSet::new())).collect(), replay))
}

/// What is kept of an answer: the id of one voucher, or of several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    One(VoucherId),
    Several(Vec<VoucherId>),
}

impl Kept {
    fn of(ids: Vec<VoucherId>) -> Self {
        match ids[..] {
            [only] => Kept::One(only),
            _ => Kept::Several(ids),
        }
    }

    fn ids(self) -> Vec<VoucherId> {
        match self {
            Kept::One(id) => vec![id],
            Kept::Several(ids) => ids,
        }
    }
}

pub async fn list_vouchers(state: web::Data<State>, permit: MayEnrol, query: Query<VouchersQuery>) -> Answer {
    let page = permit.cursors.page(&query.0.cursor, &query.0.limit)?;
    let actor = permit.actor.clone();
    let read = state.read(move |conn| {
        let vouchers = super::list(conn, &actor, query.0.enrolment_id, &page)?;
        let (vouchers, next) = page.cut(vouchers, |voucher| voucher.id);
        Ok((shown(conn, vouchers)?, next))
    });
    let ((vouchers, used), next) = read.await?;
    Ok(ok(&permit.cursors.list(vouchers.iter().map(|voucher| answer(&state, voucher, &used)), next)))
}

pub async fn get_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    let read = state.read(move |conn| {
        let voucher = super::own(conn, &permit.actor, id.0)?;
        shown(conn, vec![voucher])
    });
    Ok(ok(&one(&state, &read.await?)?))
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
    let changed = state.write_as(permit.actor.clone(), move |conn, now| {
        let voucher = command(conn, now, &permit.actor, id)?;
        shown(conn, vec![voucher])
    });
    Ok(ok(&one(&state, &changed.await?)?))
}

pub async fn block_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    change(state, permit, id.0, super::block).await
}

pub async fn unblock_voucher(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Voucher>) -> Answer {
    change(state, permit, id.0, super::unblock).await
}
