//! The till over HTTP: may I, redeem, void, and one's own list.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::till::api::{Till, WithRoom};
use super::{Basket, BasketLine, Filter, NewRedemption, Purchase, Typed};
use crate::access::{Actor, address_digest, still_signed_in};
use crate::db::Conn;
use crate::http::address::ClientAddress;
use crate::http::extract::{Json, OptionalJson, PathId, Query};
use crate::http::idempotency::{IdempotencyKey, is_taken};
use crate::http::permission::{MayRedeem, MaySell};
use crate::http::problem::{self, Answer, Language, Problem};
use crate::http::{State, ok};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{HoldId, RedemptionId, StallId, kind};
use crate::kit::money::Cents;
use crate::kit::text::Line as Text;
use crate::kit::time::{Day, Instant, Zone};
use crate::programme::{Category, Label};
use crate::voucher::Presented;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    voucher: Text<400>,
    stall_id: StallId,
    /// To be told what is covered of it.
    basket: Option<Cents>,
    #[serde(default, deserialize_with = "crate::kit::object::objects")]
    lines: Vec<LineJson>,
    tariff: Option<String>,
}

/// Of a purchase, and of a basket to set aside.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedemptionRequest {
    voucher: Text<400>,
    stall_id: StallId,
    basket: Cents,
    #[serde(default, deserialize_with = "crate::kit::object::objects")]
    lines: Vec<LineJson>,
    /// The tariff that the household has chosen for this purchase, where it may.
    tariff: Option<String>,
    partial: bool,
    #[serde(default)]
    another_purchase: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineJson {
    category: Category,
    #[serde(default)]
    labels: Vec<Label>,
    amount: Cents,
}

impl From<LineJson> for BasketLine {
    fn from(LineJson { category, labels, amount }: LineJson) -> Self {
        BasketLine { category, labels, amount }
    }
}

impl LineJson {
    /// As it was written down, labels by spaces.
    pub(super) fn told(category: Category, labels: &str, amount: Cents) -> Self {
        let labels = labels.split_whitespace().filter_map(|label| label.parse().ok()).collect();
        LineJson { category, labels, amount }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidRequest {
    reason: Option<Text<200>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedemptionsQuery {
    stall_id: Option<StallId>,
    from: Option<Day>,
    to: Option<Day>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct CheckAnswer {
    accepted: bool,
    code: Option<Code>,
    detail: Option<&'static str>,
    spendable: Option<Cents>,
    covered: Option<Cents>,
    to_collect: Option<Cents>,
    display: Option<Display>,
}

/// What may be turned to the queue: the same for everybody who pays.
#[derive(Serialize)]
pub(super) struct Display {
    accepted: bool,
    basket: Cents,
}

impl Display {
    pub(super) fn of(basket: Cents) -> Self {
        Display { accepted: true, basket }
    }
}

#[derive(Serialize)]
pub(super) struct RedemptionAnswer {
    id: RedemptionId,
    stall_id: StallId,
    display: Display,
    basket: Cents,
    covered: Cents,
    to_collect: Cents,
    lines: Vec<LineJson>,
    hold_id: Option<HoldId>,
    at: Instant,
    void_until: Instant,
    voided: Option<VoidAnswer>,
}

#[derive(Serialize)]
struct VoidAnswer {
    at: Instant,
    reason: Option<String>,
}

impl From<Purchase> for RedemptionAnswer {
    fn from(Purchase { redemption, lines, void }: Purchase) -> Self {
        RedemptionAnswer {
            id: redemption.id,
            stall_id: redemption.stall_id,
            display: Display::of(redemption.basket_cents),
            basket: redemption.basket_cents,
            covered: redemption.covered_cents,
            to_collect: redemption.basket_cents - redemption.covered_cents + redemption.surplus_cents,
            lines: lines.iter().map(|line| LineJson::told(line.category, &line.labels, line.amount_cents)).collect(),
            hold_id: redemption.hold_id,
            at: redemption.recorded_at,
            void_until: redemption.void_until,
            voided: void.map(|void| VoidAnswer { at: void.recorded_at, reason: void.reason }),
        }
    }
}

impl RedemptionRequest {
    pub(super) fn read(self, state: &State) -> Result<NewRedemption> {
        let RedemptionRequest { voucher, stall_id, basket, lines, tariff, partial, another_purchase } = self;
        check_lines(Some(basket), &lines)?;
        Ok(NewRedemption {
            voucher: Presented::read(voucher.as_str(), &state.keys.now())?,
            stall: stall_id,
            basket: Basket {
                total: basket,
                lines: lines.into_iter().map(BasketLine::from).collect(),
                tariff,
                partial,
                another_purchase,
            },
        })
    }
}

/// A basket of something, and lines that add up to it, if there are any.
pub(super) fn check_lines(basket: Option<Cents>, lines: &[LineJson]) -> Result<()> {
    let mut fields = Fields::default();
    fields.must(basket.is_none_or(Cents::is_positive), "basket", Complaint::NothingAtAll);
    fields.must(lines.len() <= 20, "lines", Complaint::Items { least: 0, most: 20 });
    for (place, line) in lines.iter().enumerate().take(20) {
        fields.must(line.amount.is_positive(), &format!("lines[{place}].amount"), Complaint::NothingAtAll);
    }
    let sum: Cents = lines.iter().map(|line| line.amount).sum();
    fields.must(lines.is_empty() || Some(sum) == basket, "lines", Complaint::NotTheBasket);
    fields.settle()
}

pub async fn check_voucher(
    state: web::Data<State>,
    permit: MayRedeem,
    address: ClientAddress,
    body: Json<CheckRequest>,
    request: HttpRequest,
) -> Answer {
    let CheckRequest { voucher, stall_id, basket, lines, tariff } = body.value;
    check_lines(basket, &lines)?;
    let total = basket;
    let basket = basket.map(|total| {
        let lines = lines.into_iter().map(BasketLine::from).collect();
        Basket { total, lines, tariff, partial: false, another_purchase: false }
    });
    let from = address_digest(&state.keys.now(), &address.bytes());
    let check = state
        .run(move |state| {
            let (keys, actor) = (state.keys.now(), &permit.actor);
            let now = state.db.now();
            // the body may have come long after its head
            state.db.read(|conn| still_signed_in(conn, now, actor))?;
            match Presented::read(voucher.as_str(), &keys) {
                Ok(presented) => {
                    let refusal = match Typed::of(&keys.secret, actor, &from, &presented) {
                        Some(typed) => state.commit_as(actor, |conn, now| typed.look_up(conn, now, actor, stall_id))?,
                        None => None,
                    };
                    if let Some(refusal) = refusal {
                        return Ok(super::Check::refused(refusal));
                    }
                    let now = state.db.now();
                    state.db.read(|conn| super::check(conn, now, actor, &presented, stall_id, basket.as_ref()))
                }
                // the stall must still be one's own: a stranger is not told what a card is
                Err(refusal) => state.db.read(|conn| {
                    crate::producer::stall(conn, actor, stall_id)?;
                    Ok(super::Check::refused(refusal.code()))
                }),
            }
        })
        .await?;
    let language = Language::of(&request);
    let accepted = check.refusal.is_none();
    Ok(ok(&CheckAnswer {
        accepted,
        code: check.refusal,
        detail: check.refusal.map(|code| problem::text(code, language).1),
        spendable: check.spendable,
        covered: check.quote.map(|(covered, _)| covered),
        to_collect: check.quote.map(|(_, to_collect)| to_collect),
        display: total.map(|basket| Display { accepted, basket }),
    }))
}

pub async fn redeem(
    state: web::Data<State>,
    till: web::Data<Till>,
    asked: WithRoom<(MayRedeem, IdempotencyKey, ClientAddress, Json<RedemptionRequest>)>,
) -> Answer {
    let WithRoom((permit, key, address, body)) = asked;
    let new = body.value.read(&state)?;
    look_up_typed(&state, &permit.actor, &key, &address, &new).await?;
    till.redeem(permit.actor, key, &body.digest, new).await
}

/// Refuses a typed code that names no card, and counts it.
pub(super) async fn look_up_typed(
    state: &State,
    actor: &Actor,
    key: &IdempotencyKey,
    address: &ClientAddress,
    new: &NewRedemption,
) -> Answer<()> {
    let keys = state.keys.now();
    let from = address_digest(&keys, &address.bytes());
    let Some(typed) = Typed::of(&keys.secret, actor, &from, &new.voucher) else { return Ok(()) };
    let (by, key, stall) = (actor.clone(), key.clone(), new.stall);
    // a refusal of the purchase rolls back, and the count of it must stay; what was bought is only told again
    let look_up = move |conn: &mut Conn, now| match is_taken(conn, &by, &key)? {
        true => Ok(None),
        false => typed.look_up(conn, now, &by, stall),
    };
    match state.write_as(actor.clone(), look_up).await? {
        Some(refusal) => Err(Problem(Error::Refused(refusal))),
        None => Ok(()),
    }
}

pub async fn void_redemption(
    till: web::Data<Till>,
    permit: MayRedeem,
    id: PathId<kind::Redemption>,
    body: OptionalJson<VoidRequest>,
) -> Answer {
    let reason = body.0.unwrap_or_default().value.reason;
    let json = till.void(permit.actor, id.0, reason).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(json))
}

pub async fn list_redemptions(state: web::Data<State>, permit: MaySell, query: Query<RedemptionsQuery>) -> Answer {
    let RedemptionsQuery { stall_id, from, to, cursor, limit } = query.0;
    // a producer sells in several programmes: its own list goes by the days of its own country
    let zone: Zone = "Europe/Paris".parse().map_err(Error::internal)?;
    let filter =
        Filter { stall: stall_id, from: from.map(|day| zone.start_of(day)), until: to.map(|day| zone.end_of(day)) };
    let page = permit.cursors.page(&cursor, &limit)?;
    let purchases = state.read(move |conn| super::list(conn, &permit.actor, &filter, &page)).await?;
    let (purchases, next) = page.cut(purchases, |purchase| purchase.redemption.id);
    Ok(ok(&permit.cursors.list(purchases.into_iter().map(RedemptionAnswer::from), next)))
}

pub async fn get_redemption(state: web::Data<State>, permit: MaySell, id: PathId<kind::Redemption>) -> Answer {
    let purchase = state.read(move |conn| super::own(conn, &permit.actor, id.0)).await?;
    Ok(ok(&RedemptionAnswer::from(purchase)))
}
