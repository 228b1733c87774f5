//! Households over HTTP: for the structure that keeps them, and nobody else.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{Composition, Identity, Known};
use crate::http::extract::{Json, PathId, Query};
use crate::http::permission::MayEnrol;
use crate::http::problem::Answer;
use crate::http::{State, created, no_content, ok};
use crate::kit::commune::CommuneCode;
use crate::kit::id::{HouseholdId, kind};
use crate::kit::text::Line;
use crate::kit::time::Instant;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HouseholdRequest {
    adults: i32,
    children: i32,
    commune: CommuneCode,
    #[serde(default, deserialize_with = "crate::kit::object::maybe_object")]
    identity: Option<FirstIdentityRequest>,
}

/// What is not yet known may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstIdentityRequest {
    name: Option<Line<200>>,
    contact: Option<Line<200>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositionRequest {
    adults: i32,
    children: i32,
    commune: CommuneCode,
}

/// Replaces both, so both must be said: what is left out by mistake would be erased.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    #[serde(deserialize_with = "Option::deserialize")]
    name: Option<Line<200>>,
    #[serde(deserialize_with = "Option::deserialize")]
    contact: Option<Line<200>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct HouseholdAnswer {
    id: HouseholdId,
    reference: String,
    adults: i32,
    children: i32,
    commune: String,
    created_at: Instant,
    identity: Option<IdentityAnswer>,
}

#[derive(Serialize)]
struct IdentityAnswer {
    name: Option<String>,
    contact: Option<String>,
}

impl From<Known> for HouseholdAnswer {
    fn from((household, identity): Known) -> Self {
        HouseholdAnswer {
            id: household.id,
            reference: household.reference,
            adults: household.adults,
            children: household.children,
            commune: household.commune_code,
            created_at: household.created_at,
            identity: identity.map(|Identity { name, contact }| IdentityAnswer {
                name: name.map(Line::into_string),
                contact: contact.map(Line::into_string),
            }),
        }
    }
}

pub async fn create(state: web::Data<State>, permit: MayEnrol, body: Json<HouseholdRequest>) -> Answer {
    let HouseholdRequest { adults, children, commune, identity } = body.value;
    let composition = Composition { adults, children, commune };
    let identity = identity.map(|FirstIdentityRequest { name, contact }| Identity { name, contact });
    let keys = state.keys.now();
    let known = state
        .write(move |conn, now| super::register(conn, now, &keys, &permit.actor, &composition, identity.as_ref()))
        .await?;
    Ok(created(&HouseholdAnswer::from(known)))
}

pub async fn list(state: web::Data<State>, permit: MayEnrol, query: Query<PageQuery>) -> Answer {
    let page = permit.cursors.page::<kind::Household>(&query.0.cursor, &query.0.limit)?;
    let rows = state.read(move |conn| super::list(conn, &permit.actor, &page)).await?;
    let (rows, next) = page.cut(rows, |household| household.id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(|household| HouseholdAnswer::from((household, None))), next)))
}

pub async fn get(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    let known = state.run(move |s| s.db.read(|conn| super::known(conn, &s.keys.now(), &permit.actor, id.0))).await?;
    Ok(ok(&HouseholdAnswer::from(known)))
}

pub async fn recompose(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Household>,
    body: Json<CompositionRequest>,
) -> Answer {
    let CompositionRequest { adults, children, commune } = body.value;
    let composition = Composition { adults, children, commune };
    let keys = state.keys.now();
    let known = state
        .write(move |conn, _| {
            super::recompose(conn, &permit.actor, id.0, &composition)?;
            super::known(conn, &keys, &permit.actor, id.0)
        })
        .await?;
    Ok(ok(&HouseholdAnswer::from(known)))
}

pub async fn identify(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Household>,
    body: Json<IdentityRequest>,
) -> Answer {
    let IdentityRequest { name, contact } = body.value;
    let identity = Identity { name, contact };
    let keys = state.keys.now();
    let known = state.write(move |conn, now| super::identify(conn, now, &keys, &permit.actor, id.0, &identity)).await?;
    Ok(ok(&HouseholdAnswer::from(known)))
}

pub async fn forget(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    state.write(move |conn, _| super::forget(conn, &permit.actor, id.0)).await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_replaced_only_by_one_that_says_both() {
        let read = |text| serde_json::from_str::<IdentityRequest>(text);
        assert!(read(r#"{"name":"Lucienne Exemple","contact":null}"#).is_ok());
        for bad in [r#"{"name":"Lucienne Exemple"}"#, r#"{"contact":null}"#, "{}", r#"{"name":" ","contact":null}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
