//! Households over HTTP: for the structure that keeps them, and nobody else.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{Composition, Duplicate, Identity, Look, Overview, Words};
use crate::access::Actor;
use crate::http::extract::{Json, PathId, Query};
use crate::http::list::List;
use crate::http::permission::MayEnrol;
use crate::http::problem::{Answer, Problem};
use crate::http::{State, created, no_content, ok};
use crate::kit::commune::CommuneCode;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{DuplicateId, HouseholdId, kind};
use crate::kit::phone::Phone;
use crate::kit::text::{Email, Line};
use crate::kit::time::{Day, Instant};

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
    family_name: Option<Line<100>>,
    first_name: Option<Line<100>>,
    birth_date: Option<Day>,
    phone: Option<Phone>,
    email: Option<Email>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositionRequest {
    adults: i32,
    children: i32,
    commune: CommuneCode,
}

/// Replaces all, so all must be said: what is left out by mistake would be erased.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    #[serde(deserialize_with = "Option::deserialize")]
    family_name: Option<Line<100>>,
    #[serde(deserialize_with = "Option::deserialize")]
    first_name: Option<Line<100>>,
    #[serde(deserialize_with = "Option::deserialize")]
    birth_date: Option<Day>,
    #[serde(deserialize_with = "Option::deserialize")]
    phone: Option<Phone>,
    #[serde(deserialize_with = "Option::deserialize")]
    email: Option<Email>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    family_name: Option<Line<100>>,
    first_name: Option<Line<100>>,
    birth_date: Option<Day>,
    phone: Option<Phone>,
    email: Option<Email>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DismissRequest {
    reason: Line<500>,
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
    has_identity: bool,
    possible_duplicates: usize,
}

#[derive(Serialize)]
struct DuplicateAnswer {
    id: DuplicateId,
    household_id: Option<HouseholdId>,
    found_at: Instant,
    dismissed_at: Option<Instant>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct DuplicatesAnswer {
    items: Vec<DuplicateAnswer>,
}

impl From<Overview> for HouseholdAnswer {
    fn from(Overview { household, has_identity, possible_duplicates }: Overview) -> Self {
        HouseholdAnswer {
            id: household.id,
            reference: household.reference,
            adults: household.adults,
            children: household.children,
            commune: household.commune_code,
            created_at: household.created_at,
            has_identity,
            possible_duplicates,
        }
    }
}

impl SearchRequest {
    fn words(self) -> Result<Words> {
        match self {
            SearchRequest {
                family_name: Some(family),
                first_name: Some(first),
                birth_date,
                phone: None,
                email: None,
            } => Ok(Words::Name { family, first, born: birth_date }),
            SearchRequest {
                family_name: None,
                first_name: None,
                birth_date: None,
                phone: Some(phone),
                email: None,
            } => Ok(Words::Phone(phone)),
            SearchRequest {
                family_name: None,
                first_name: None,
                birth_date: None,
                phone: None,
                email: Some(email),
            } => Ok(Words::Email(email)),
            _ => Err(Error::invalid("family_name", Complaint::NoWayToSearch)),
        }
    }
}

/// What was looked at, once the look is written down.
pub fn seen(look: Look) -> Result<Identity> {
    match look {
        Look::Seen(identity) => Ok(identity),
        Look::Unreadable => {
            tracing::error!("an identity does not open: primeur verify tells which");
            Err(Error::Refused(Code::IdentityUnreadable))
        }
    }
}

/// Hands an outcome on, once it stands in the audit log that somebody was told of a certain duplicate.
async fn told_of<T>(state: &State, actor: &Actor, id: Option<HouseholdId>, outcome: Answer<T>) -> Answer<T> {
    if let Err(Problem(Error::KnownHousehold { .. })) = &outcome {
        let actor = actor.clone();
        state.write(move |conn, now| super::record_refusal(conn, now, &actor, id)).await?;
    }
    outcome
}

pub async fn create(state: web::Data<State>, permit: MayEnrol, body: Json<HouseholdRequest>) -> Answer {
    let HouseholdRequest { adults, children, commune, identity } = body.value;
    let composition = Composition { adults, children, commune };
    let identity = identity.map(|said| {
        let FirstIdentityRequest { family_name, first_name, birth_date, phone, email } = said;
        Identity { family_name, first_name, birth_date, phone, email }
    });
    let keys = state.keys.now();
    let (actor, asking) = (permit.actor.clone(), permit.actor.clone());
    let registered = state
        .write_as(permit.actor, move |conn, now| {
            super::register(conn, now, &keys, &actor, &composition, identity.as_ref())
        })
        .await;
    let registered = told_of(&state, &asking, None, registered).await?;
    Ok(created(&HouseholdAnswer::from(registered)))
}

pub async fn list(state: web::Data<State>, permit: MayEnrol, query: Query<PageQuery>) -> Answer {
    let page = permit.cursors.page::<kind::Household>(&query.0.cursor, &query.0.limit)?;
    let rows = state.read(move |conn| super::list(conn, &permit.actor, &page)).await?;
    let (rows, next) = page.cut(rows, |overview| overview.household.id);
    Ok(ok(&permit.cursors.list(rows.into_iter().map(HouseholdAnswer::from), next)))
}

pub async fn search(state: web::Data<State>, permit: MayEnrol, body: Json<SearchRequest>) -> Answer {
    let words = body.value.words()?;
    let keys = state.keys.now();
    let found = state
        .write_as(permit.actor.clone(), move |conn, now| super::search(conn, now, &keys.secret, &permit.actor, &words))
        .await?;
    let items: Vec<_> = found.into_iter().map(HouseholdAnswer::from).collect();
    Ok(ok(&List { items, next_cursor: None }))
}

pub async fn get(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    let found = state.read(move |conn| super::get(conn, &permit.actor, id.0)).await?;
    Ok(ok(&HouseholdAnswer::from(found)))
}

pub async fn recompose(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Household>,
    body: Json<CompositionRequest>,
) -> Answer {
    let CompositionRequest { adults, children, commune } = body.value;
    let composition = Composition { adults, children, commune };
    let changed = state
        .write_as(permit.actor.clone(), move |conn, now| super::recompose(conn, now, &permit.actor, id.0, &composition))
        .await?;
    Ok(ok(&HouseholdAnswer::from(changed)))
}

pub async fn look(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    let keys = state.keys.now();
    let look = state
        .write_as(permit.actor.clone(), move |conn, now| super::look(conn, now, &keys, &permit.actor, id.0))
        .await?;
    Ok(ok(&seen(look)?))
}

/// Answers with what was just said: that is no look.
pub async fn identify(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Household>,
    body: Json<IdentityRequest>,
) -> Answer {
    let IdentityRequest { family_name, first_name, birth_date, phone, email } = body.value;
    let identity = Identity { family_name, first_name, birth_date, phone, email };
    let (keys, said) = (state.keys.now(), identity.clone());
    let (actor, asking) = (permit.actor.clone(), permit.actor.clone());
    let identified =
        state.write_as(permit.actor, move |conn, now| super::identify(conn, now, &keys, &actor, id.0, &said)).await;
    if told_of(&state, &asking, Some(id.0), identified).await? {
        state.db.mark_unwiped();
    }
    Ok(ok(&identity))
}

pub async fn list_duplicates(state: web::Data<State>, permit: MayEnrol, id: PathId<kind::Household>) -> Answer {
    let found =
        state.run(move |s| s.db.read(|conn| super::duplicates(conn, &s.keys.now(), &permit.actor, id.0))).await?;
    let answer = |Duplicate { id, other, found_at, dismissed_at, reason, .. }| DuplicateAnswer {
        id,
        household_id: other,
        found_at,
        dismissed_at,
        reason,
    };
    Ok(ok(&DuplicatesAnswer { items: found.into_iter().map(answer).collect() }))
}

pub async fn dismiss_duplicate(
    state: web::Data<State>,
    permit: MayEnrol,
    id: PathId<kind::Duplicate>,
    body: Json<DismissRequest>,
) -> Answer {
    let (keys, reason) = (state.keys.now(), body.value.reason);
    state
        .write_as(permit.actor.clone(), move |conn, now| super::dismiss(conn, now, &keys, &permit.actor, id.0, &reason))
        .await?;
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_replaced_only_by_one_that_says_all() {
        let read = |text: &str| serde_json::from_str::<IdentityRequest>(text);
        let whole = r#"{"family_name":"Exemple","first_name":null,"birth_date":null,"phone":null,"email":null}"#;
        assert!(read(whole).is_ok());
        for field in ["family_name", "first_name", "birth_date", "phone", "email"] {
            let mut less: serde_json::Value = serde_json::from_str(whole).unwrap();
            less.as_object_mut().unwrap().remove(field);
            assert!(read(&less.to_string()).is_err(), "{field}");
        }
        assert!(read(&whole.replace("Exemple", " ")).is_err());
    }

    #[test]
    fn a_search_goes_one_way() {
        let read = |text: &str| serde_json::from_str::<SearchRequest>(text).unwrap().words();
        let name = r#""family_name":"Exemple","first_name":"Zoé""#;
        for good in [
            format!("{{{name}}}"),
            format!(r#"{{{name},"birth_date":"1987-03-14"}}"#),
            r#"{"phone":"06 39 98 12 34"}"#.to_owned(),
            r#"{"email":"zoe@exemple.fr","phone":null}"#.to_owned(),
        ] {
            assert!(read(&good).is_ok(), "{good}");
        }
        for bad in [
            "{}".to_owned(),
            r#"{"family_name":"Exemple"}"#.to_owned(),
            r#"{"birth_date":"1987-03-14"}"#.to_owned(),
            format!(r#"{{{name},"phone":"06 39 98 12 34"}}"#),
            r#"{"phone":"06 39 98 12 34","email":"zoe@exemple.fr"}"#.to_owned(),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
