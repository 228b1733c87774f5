//! Signing in and out, people and organisations, as JSON.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::password::Password;
use super::{
    Invitation, NewOrganisation, NewPerson, Organisation, OrganisationKind, OrganisationSummary, Person, PersonState,
    Role, Tokens, second_factor,
};
use crate::db::Conn;
use crate::http::address::ClientAddress;
use crate::http::extract::{Json, PathId, Query};
use crate::http::permission::{AnyRole, MayCreatePeople, MayManageOrganisations, MayReadPeople};
use crate::http::problem::{Answer, Problem};
use crate::http::{State, created, no_content, ok};
use crate::kit::error::{Code, Error};
use crate::kit::id::{OrganisationId, PersonId, kind};
use crate::kit::text::{Email, Line};
use crate::kit::time::Instant;

#[derive(Serialize)]
struct PersonBody {
    id: PersonId,
    organisation: OrganisationSummary,
    email: String,
    name: String,
    role: Role,
    lead: bool,
    state: PersonState,
    disabled_at: Option<Instant>,
}

impl From<Person> for PersonBody {
    fn from(person: Person) -> Self {
        let (role, state) = (person.role(), person.state());
        let Person { id, organisation, email, name, lead, disabled_at, .. } = person;
        PersonBody { id, organisation, email, name, role, lead, state, disabled_at }
    }
}

#[derive(Serialize)]
struct MeBody {
    #[serde(flatten)]
    person: PersonBody,
    second_factor: second_factor::Status,
}

#[derive(Serialize)]
struct TokensBody {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    refresh_token: String,
    person: PersonBody,
}

impl From<Tokens> for TokensBody {
    fn from(tokens: Tokens) -> Self {
        let Tokens { access_token, expires_in, refresh_token, person } = tokens;
        TokensBody { access_token, token_type: "Bearer", expires_in, refresh_token, person: person.into() }
    }
}

#[derive(Serialize)]
struct OrganisationBody {
    id: OrganisationId,
    kind: OrganisationKind,
    name: String,
    created_at: Instant,
}

impl From<Organisation> for OrganisationBody {
    fn from(organisation: Organisation) -> Self {
        let Organisation { id, kind, name, created_at, .. } = organisation;
        OrganisationBody { id, kind, name, created_at }
    }
}

// Sessions ------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    email: Email,
    password: String,
    code: Option<second_factor::api::Typed>,
}

pub async fn log_in(state: web::Data<State>, address: ClientAddress, body: Json<LogIn>) -> Answer {
    let LogIn { email, password, code } = body.value;
    let code = code.map(Line::into_string);
    let from = super::address_digest(&state.keys.now(), &address.bytes());
    let log_in =
        move |s: &State| super::log_in(&s.db, &s.keys.now(), &s.access, &from, &email, &password, code.as_deref());
    let tokens = state.run(log_in).await?;
    Ok(ok(&TokensBody::from(tokens)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    refresh_token: String,
}

pub async fn refresh(state: web::Data<State>, body: Json<Refresh>) -> Answer {
    let Refresh { refresh_token } = body.value;
    let tokens = state
        .run(move |s| s.db.write(|conn, now| super::refresh(conn, now, &s.keys.now(), &s.access, &refresh_token)))
        .await?;
    match tokens {
        Some(tokens) => Ok(ok(&TokensBody::from(tokens))),
        None => Err(Problem(Error::Refused(Code::InvalidRefreshToken))),
    }
}

pub async fn log_out(state: web::Data<State>, caller: AnyRole) -> Answer {
    state.write(move |conn, now| super::log_out(conn, now, &caller.actor)).await?;
    Ok(no_content())
}

pub async fn revoke_other_sessions(state: web::Data<State>, caller: AnyRole) -> Answer {
    state
        .write_as(caller.actor.clone(), move |conn, now| super::revoke_other_sessions(conn, now, &caller.actor))
        .await?;
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    current_password: String,
    new_password: Password,
}

pub async fn change_password(
    state: web::Data<State>,
    caller: AnyRole,
    address: ClientAddress,
    body: Json<ChangePassword>,
) -> Answer {
    let ChangePassword { current_password, new_password } = body.value;
    let from = super::address_digest(&state.keys.now(), &address.bytes());
    let change = move |s: &State| {
        let passwords = (current_password.as_str(), &new_password);
        super::change_password(&s.db, &s.keys.now(), &s.access, &from, &caller.actor, passwords)
    };
    state.run(change).await?;
    Ok(no_content())
}

pub async fn me(state: web::Data<State>, caller: AnyRole) -> Answer {
    let me = state.run(move |s| {
        s.db.read(|conn| {
            let second_factor = second_factor::status(conn, &s.access, &caller.actor)?;
            Ok(MeBody { person: super::get_person(conn, caller.actor.person)?.into(), second_factor })
        })
    });
    Ok(ok(&me.await?))
}

// People --------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    invitation: String,
    password: Password,
}

pub async fn accept_invitation(state: web::Data<State>, body: Json<AcceptInvitation>) -> Answer {
    let AcceptInvitation { invitation, password } = body.value;
    state.run(move |s| super::accept_invitation(&s.db, &s.access, &invitation, &password)).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePerson {
    organisation_id: OrganisationId,
    email: Email,
    name: Line<200>,
    lead: bool,
}

#[derive(Serialize)]
struct InvitedBody {
    person: PersonBody,
    invitation: String,
    /// A link to hand over; the secret stands behind the #, which no browser sends to a server.
    invitation_url: String,
    invitation_expires_at: Instant,
}

impl InvitedBody {
    fn new(state: &State, invitation: Invitation) -> Self {
        let Invitation { person, secret, expires_at } = invitation;
        let invitation_url = format!("{}/invitation#{secret}", state.origin);
        InvitedBody { person: person.into(), invitation: secret, invitation_url, invitation_expires_at: expires_at }
    }
}

pub async fn create_person(state: web::Data<State>, caller: MayCreatePeople, body: Json<CreatePerson>) -> Answer {
    let CreatePerson { organisation_id: organisation, email, name, lead } = body.value;
    let new = NewPerson { organisation, email, name, lead };
    let invitation = state
        .run(move |s| {
            s.commit_as(&caller.actor, |conn, now| super::create_person(conn, now, &s.access, &caller.actor, &new))
        })
        .await?;
    Ok(created(&InvitedBody::new(&state, invitation)))
}

pub async fn invite_person(
    state: web::Data<State>,
    caller: MayCreatePeople,
    PathId(id): PathId<kind::Person>,
) -> Answer {
    let invitation = state
        .run(move |s| {
            s.commit_as(&caller.actor, |conn, now| super::invite_again(conn, now, &s.access, &caller.actor, id))
        })
        .await?;
    Ok(created(&InvitedBody::new(&state, invitation)))
}

pub async fn disable_person(
    state: web::Data<State>,
    caller: MayCreatePeople,
    PathId(id): PathId<kind::Person>,
) -> Answer {
    let person =
        state.write_as(caller.actor.clone(), move |conn, now| super::disable(conn, now, &caller.actor, id)).await?;
    Ok(ok(&PersonBody::from(person)))
}

pub async fn enable_person(
    state: web::Data<State>,
    caller: MayCreatePeople,
    PathId(id): PathId<kind::Person>,
) -> Answer {
    let person =
        state.write_as(caller.actor.clone(), move |conn, now| super::enable(conn, now, &caller.actor, id)).await?;
    Ok(ok(&PersonBody::from(person)))
}

pub async fn revoke_sessions(
    state: web::Data<State>,
    caller: MayCreatePeople,
    PathId(id): PathId<kind::Person>,
) -> Answer {
    let revoke = move |s: &State| {
        let own = id == caller.actor.person;
        let work = |conn: &mut Conn, now| super::revoke_sessions(conn, now, &caller.actor, id);
        super::write_ending(&s.db, &caller.actor, work, |()| own)
    };
    state.run(revoke).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeopleQuery {
    organisation_id: Option<OrganisationId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

pub async fn list_people(state: web::Data<State>, caller: MayReadPeople, Query(query): Query<PeopleQuery>) -> Answer {
    let page = caller.cursors.page::<kind::Person>(&query.cursor, &query.limit)?;
    let (people, next) =
        state.read(move |conn| super::list_people(conn, &caller.actor, query.organisation_id, page)).await?;
    Ok(ok(&caller.cursors.list(people.into_iter().map(PersonBody::from), next)))
}

// Organisations -------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganisation {
    kind: OrganisationKind,
    name: Line<200>,
}

pub async fn create_organisation(
    state: web::Data<State>,
    caller: MayManageOrganisations,
    body: Json<CreateOrganisation>,
) -> Answer {
    let CreateOrganisation { kind, name } = body.value;
    let new = NewOrganisation { kind, name };
    let organisation = state
        .write_as(caller.actor.clone(), move |conn, now| super::create_organisation(conn, now, &caller.actor, &new))
        .await?;
    Ok(created(&OrganisationBody::from(organisation)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganisationsQuery {
    cursor: Option<String>,
    limit: Option<i64>,
}

pub async fn list_organisations(
    state: web::Data<State>,
    caller: MayManageOrganisations,
    Query(query): Query<OrganisationsQuery>,
) -> Answer {
    let page = caller.cursors.page::<kind::Organisation>(&query.cursor, &query.limit)?;
    let (organisations, next) = state.read(move |conn| super::list_organisations(conn, &caller.actor, page)).await?;
    Ok(ok(&caller.cursors.list(organisations.into_iter().map(OrganisationBody::from), next)))
}

pub async fn get_organisation(
    state: web::Data<State>,
    caller: MayManageOrganisations,
    PathId(id): PathId<kind::Organisation>,
) -> Answer {
    let organisation = state.read(move |conn| super::get_organisation(conn, &caller.actor, id)).await?;
    Ok(ok(&OrganisationBody::from(organisation)))
}
