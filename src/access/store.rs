//! Organisations, people and sessions in the database.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde::Serialize;

use super::organisations::Sight;
use super::{Actor, OrganisationKind, PersonState, Role, password};
use crate::db::schema::{organisations, people, sessions, spent_refresh_tokens};
use crate::db::{Ask, Conn, Page, Queue, any_of, ask, column, question, unnested_rows, wait_in};
use crate::kit::error::Result;
use crate::kit::id::{OrganisationId, PersonId, SessionId};
use crate::kit::keys::Digest32;
use crate::kit::sql::ty;
use crate::kit::text::Email;
use crate::kit::time::Instant;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = organisations, treat_none_as_default_value = false)]
pub struct Organisation {
    pub id: OrganisationId,
    pub kind: OrganisationKind,
    pub name: String,
    /// The organisation that brought it in.
    pub created_by: Option<OrganisationId>,
    pub created_at: Instant,
}

/// An organisation as others name it.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Serialize)]
#[diesel(table_name = organisations)]
pub struct OrganisationSummary {
    pub id: OrganisationId,
    pub kind: OrganisationKind,
    pub name: String,
}

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = people)]
pub struct Person {
    pub id: PersonId,
    #[diesel(embed)]
    pub organisation: OrganisationSummary,
    pub email: String,
    pub name: String,
    pub lead: bool,
    pub disabled_at: Option<Instant>,
    /// Has accepted an invitation once.
    #[diesel(select_expression = people::password_hash.is_not_null())]
    pub has_password: bool,
}

impl Person {
    pub fn role(&self) -> Role {
        self.organisation.kind.role()
    }

    pub fn state(&self) -> PersonState {
        match (self.disabled_at, self.has_password) {
            (Some(_), _) => PersonState::Disabled,
            (None, false) => PersonState::Invited,
            (None, true) => PersonState::Active,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = people, treat_none_as_default_value = false)]
pub(super) struct PersonRow {
    pub id: PersonId,
    pub organisation_id: OrganisationId,
    pub email: String,
    pub name: String,
    pub lead: bool,
    pub password_hash: Option<String>,
    pub invitation_digest: Option<Vec<u8>>,
    pub invitation_expires_at: Option<Instant>,
    pub created_at: Instant,
}

#[derive(Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub(super) struct SessionRow {
    pub id: SessionId,
    pub person_id: PersonId,
    pub refresh_digest: Vec<u8>,
    pub created_at: Instant,
    pub expires_at: Instant,
    pub ended_at: Option<Instant>,
    /// Where it began, under a keyed digest.
    pub address_digest: Option<Vec<u8>>,
}

pub(super) fn insert_organisation(conn: &mut Conn, row: &Organisation) -> Result<()> {
    diesel::insert_into(organisations::table).values(row).execute(conn)?;
    Ok(())
}

pub(super) fn organisation(conn: &mut Conn, id: OrganisationId) -> Result<Option<Organisation>> {
    Ok(organisations::table.find(id).select(Organisation::as_select()).first(conn).optional()?)
}

pub(super) fn visible_organisation(conn: &mut Conn, sight: &Sight, id: OrganisationId) -> Result<Option<Organisation>> {
    let mut query = organisations::table.find(id).select(Organisation::as_select()).into_boxed();
    if let Sight::Own(own) = sight {
        query = query.filter(organisations::id.eq(*own).or(organisations::created_by.eq(*own)));
    }
    Ok(query.first(conn).optional()?)
}

pub(super) fn organisations(conn: &mut Conn, sight: &Sight, page: Page<OrganisationId>) -> Result<Vec<Organisation>> {
    let mut query = organisations::table.select(Organisation::as_select()).into_boxed();
    if let Sight::Own(own) = sight {
        query = query.filter(organisations::id.eq(*own).or(organisations::created_by.eq(*own)));
    }
    if let Some(after) = page.after {
        query = query.filter(organisations::id.gt(after));
    }
    Ok(query.order(organisations::id).limit(page.fetch()).load(conn)?)
}

pub(super) fn insert_person(conn: &mut Conn, row: &PersonRow) -> Result<()> {
    diesel::insert_into(people::table).values(row).execute(conn)?;
    Ok(())
}

pub(super) fn email_is_taken(conn: &mut Conn, email: &Email) -> Result<bool> {
    let taken = people::table.filter(people::email.eq(email.as_str()));
    Ok(diesel::select(diesel::dsl::exists(taken)).get_result(conn)?)
}

/// Until this transaction ends, nobody else makes or disables an administrator.
pub(super) fn queue_for_administrators(conn: &mut Conn) -> Result<()> {
    wait_in(conn, Queue::Administrators)
}

/// How many administrators can log in.
pub(super) fn active_administrators(conn: &mut Conn) -> Result<i64> {
    let administrators = people::table
        .inner_join(organisations::table)
        .filter(organisations::kind.eq(OrganisationKind::Operator))
        .filter(people::password_hash.is_not_null())
        .filter(people::disabled_at.is_null());
    Ok(administrators.count().get_result(conn)?)
}

pub(super) fn an_administrator_exists(conn: &mut Conn) -> Result<bool> {
    let administrators =
        people::table.inner_join(organisations::table).filter(organisations::kind.eq(OrganisationKind::Operator));
    Ok(diesel::select(diesel::dsl::exists(administrators)).get_result(conn)?)
}

pub(super) fn person(conn: &mut Conn, id: PersonId) -> Result<Option<Person>> {
    let query = people::table.inner_join(organisations::table).filter(people::id.eq(id));
    Ok(query.select(Person::as_select()).first(conn).optional()?)
}

pub(super) fn person_and_hash(conn: &mut Conn, email: &Email) -> Result<Option<(Person, Option<String>)>> {
    let query = people::table.inner_join(organisations::table).filter(people::email.eq(email.as_str()));
    Ok(query.select((Person::as_select(), people::password_hash)).first(conn).optional()?)
}

/// Whether somebody is not disabled and still has this password; both stay so until this transaction ends.
///
/// An update of nothing: `FOR UPDATE` would also hold up those who write about this person, and wait for them in turn.
pub(super) fn hold_password(conn: &mut Conn, id: PersonId, hash: &str) -> Result<bool> {
    let person = people::table.find(id).filter(people::disabled_at.is_null()).filter(people::password_hash.eq(hash));
    Ok(diesel::update(person).set(people::password_hash.eq(hash)).execute(conn)? == 1)
}

/// Returns how many people that changed.
pub(super) fn disable(conn: &mut Conn, id: PersonId, now: Instant) -> Result<usize> {
    let enabled = people::table.find(id).filter(people::disabled_at.is_null());
    let changed = diesel::update(enabled)
        .set((
            people::disabled_at.eq(now),
            people::invitation_digest.eq(None::<Vec<u8>>),
            people::invitation_expires_at.eq(None::<Instant>),
        ))
        .execute(conn)?;
    Ok(changed)
}

/// Returns how many people that changed.
pub(super) fn enable(conn: &mut Conn, id: PersonId) -> Result<usize> {
    let disabled = people::table.find(id).filter(people::disabled_at.is_not_null());
    Ok(diesel::update(disabled).set(people::disabled_at.eq(None::<Instant>)).execute(conn)?)
}

/// Puts an invitation in the place of any other, unless they are disabled; returns how many people that changed.
pub(super) fn set_invitation(conn: &mut Conn, id: PersonId, digest: &Digest32, expires_at: Instant) -> Result<usize> {
    let enabled = people::table.find(id).filter(people::disabled_at.is_null());
    let set = (people::invitation_digest.eq(digest.as_slice()), people::invitation_expires_at.eq(expires_at));
    Ok(diesel::update(enabled).set(set).execute(conn)?)
}

/// No invitation stands any more.
pub(super) fn withdraw_invitations(conn: &mut Conn) -> Result<()> {
    let none = (people::invitation_digest.eq(None::<Vec<u8>>), people::invitation_expires_at.eq(None::<Instant>));
    diesel::update(people::table.filter(people::invitation_digest.is_not_null())).set(none).execute(conn)?;
    Ok(())
}

/// An invitation to choose one dies with that.
pub(super) fn set_password(conn: &mut Conn, id: PersonId, hash: &password::Hash) -> Result<()> {
    let set = (
        people::password_hash.eq(hash.as_str()),
        people::invitation_digest.eq(None::<Vec<u8>>),
        people::invitation_expires_at.eq(None::<Instant>),
    );
    diesel::update(people::table.find(id)).set(set).execute(conn)?;
    Ok(())
}

pub(super) fn people(conn: &mut Conn, of: Option<OrganisationId>, page: Page<PersonId>) -> Result<Vec<Person>> {
    let mut query = people::table.inner_join(organisations::table).select(Person::as_select()).into_boxed();
    if let Some(organisation) = of {
        query = query.filter(people::organisation_id.eq(organisation));
    }
    if let Some(after) = page.after {
        query = query.filter(people::id.gt(after));
    }
    Ok(query.order(people::id).limit(page.fetch()).load(conn)?)
}

/// Whom an invitation that still stands is for.
pub(super) fn invited(conn: &mut Conn, digest: &Digest32, now: Instant) -> Result<Option<Person>> {
    let invited = people::table
        .inner_join(organisations::table)
        .filter(people::invitation_digest.eq(digest.as_slice()))
        .filter(people::invitation_expires_at.gt(now))
        .filter(people::disabled_at.is_null());
    Ok(invited.select(Person::as_select()).first(conn).optional()?)
}

/// Uses an invitation up, if it still stands; returns how many people that changed.
pub(super) fn use_invitation(
    conn: &mut Conn,
    invitation: &Digest32,
    hash: &password::Hash,
    now: Instant,
) -> Result<usize> {
    let invited = people::table
        .filter(people::invitation_digest.eq(invitation.as_slice()))
        .filter(people::invitation_expires_at.gt(now))
        .filter(people::disabled_at.is_null());
    let changed = diesel::update(invited)
        .set((
            people::password_hash.eq(hash.as_str()),
            people::invitation_digest.eq(None::<Vec<u8>>),
            people::invitation_expires_at.eq(None::<Instant>),
        ))
        .execute(conn)?;
    Ok(changed)
}

pub(super) fn insert_session(conn: &mut Conn, row: &SessionRow) -> Result<()> {
    diesel::insert_into(sessions::table).values(row).execute(conn)?;
    Ok(())
}

/// The person of a living session, in one query: it runs before every request.
pub(super) fn actor(conn: &mut Conn, session: SessionId, person: PersonId, now: Instant) -> Result<Option<Actor>> {
    let found = ask(conn, 1, living(&[session], now))?;
    Ok(found.into_iter().map(Actor::from).find(|actor| actor.person == person))
}

/// A session that lives, and who is behind it.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Living {
    session: SessionId,
    person: PersonId,
    organisation: OrganisationId,
    kind: OrganisationKind,
    lead: bool,
    second_factor: bool,
}

impl From<Living> for Actor {
    fn from(living: Living) -> Self {
        let Living { session, person, organisation, kind, lead, second_factor } = living;
        Actor { person, organisation, session, role: kind.role(), lead, second_factor }
    }
}

/// Which of some sessions live.
pub(super) fn living(of: &[SessionId], now: Instant) -> impl Ask<Answer = Vec<Living>> {
    // from the sessions on, whatever is known of how many rows there are
    let part = unnested_rows::<(ty::Id, ty::Id, ty::Id, Text, Bool, Bool), _>(
        "SELECT s.* FROM unnest(",
        (column::<ty::Id, _, _>(of, |&id| id), column::<ty::Instant, _, _>(of, |_| now)),
        ") AS e (id, now) CROSS JOIN LATERAL (\
         SELECT s.id, p.id, o.id, o.kind, p.lead, s.second_factor_at IS NOT NULL \
         FROM sessions s JOIN people p ON p.id = s.person_id JOIN organisations o ON o.id = p.organisation_id \
         WHERE s.id = e.id AND s.ended_at IS NULL AND s.expires_at > e.now AND p.disabled_at IS NULL LIMIT 1) AS s",
    );
    question(part, move |conn| {
        let living = sessions::table
            .inner_join(people::table.inner_join(organisations::table))
            .filter(any_of(sessions::id, of))
            .filter(sessions::ended_at.is_null())
            .filter(sessions::expires_at.gt(now))
            .filter(people::disabled_at.is_null());
        let second_factor = sessions::second_factor_at.is_not_null();
        let who = (sessions::id, people::id, organisations::id, organisations::kind, people::lead, second_factor);
        Ok(living.select(who).load(conn)?)
    })
}

/// The living session that this refresh token belongs to, its end and its person.
pub(super) fn session_by_refresh(
    conn: &mut Conn,
    digest: &Digest32,
    now: Instant,
) -> Result<Option<(SessionId, Instant, Person)>> {
    let query = sessions::table
        .inner_join(people::table.inner_join(organisations::table))
        .filter(sessions::refresh_digest.eq(digest.as_slice()))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now));
    Ok(query.select((sessions::id, sessions::expires_at, Person::as_select())).first(conn).optional()?)
}

/// Replaces a living session's refresh token, if it is still the old one; returns how many sessions that changed.
pub(super) fn replace_refresh(
    conn: &mut Conn,
    session: SessionId,
    old: &Digest32,
    new: &Digest32,
    now: Instant,
) -> Result<usize> {
    let living = sessions::table
        .filter(sessions::id.eq(session))
        .filter(sessions::refresh_digest.eq(old.as_slice()))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now));
    Ok(diesel::update(living).set(sessions::refresh_digest.eq(new.as_slice())).execute(conn)?)
}

/// Returns whether it was still living.
pub(super) fn end_session(conn: &mut Conn, session: SessionId, now: Instant) -> Result<bool> {
    let living = sessions::table
        .filter(sessions::id.eq(session))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now));
    Ok(diesel::update(living).set(sessions::ended_at.eq(now)).execute(conn)? == 1)
}

pub(super) fn end_every_session(conn: &mut Conn, now: Instant) -> Result<()> {
    let living = sessions::table.filter(sessions::ended_at.is_null()).filter(sessions::expires_at.gt(now));
    diesel::update(living).set(sessions::ended_at.eq(now)).execute(conn)?;
    Ok(())
}

/// Ends all living sessions of somebody, but for one that may stay; returns how many.
pub(super) fn end_sessions(conn: &mut Conn, person: PersonId, but: Option<SessionId>, now: Instant) -> Result<usize> {
    let mut living = diesel::update(sessions::table)
        .filter(sessions::person_id.eq(person))
        .filter(sessions::ended_at.is_null())
        .filter(sessions::expires_at.gt(now))
        .set(sessions::ended_at.eq(now))
        .into_boxed();
    if let Some(session) = but {
        living = living.filter(sessions::id.ne(session));
    }
    Ok(living.execute(conn)?)
}

/// Whether somebody has logged in from an address before, as long as that is remembered.
pub(super) fn has_come_from(conn: &mut Conn, person: PersonId, address: &Digest32) -> Result<bool> {
    let sessions =
        sessions::table.filter(sessions::person_id.eq(person)).filter(sessions::address_digest.eq(address.as_slice()));
    Ok(diesel::select(diesel::dsl::exists(sessions)).get_result(conn)?)
}

pub(super) fn insert_spent(conn: &mut Conn, digest: &Digest32, session: SessionId, now: Instant) -> Result<()> {
    let row = (
        spent_refresh_tokens::digest.eq(digest.as_slice()),
        spent_refresh_tokens::session_id.eq(session),
        spent_refresh_tokens::spent_at.eq(now),
    );
    diesel::insert_into(spent_refresh_tokens::table).values(row).execute(conn)?;
    Ok(())
}

/// The session, living or not, whose refresh token this was, and its person.
pub(super) fn session_by_spent(conn: &mut Conn, digest: &Digest32) -> Result<Option<(SessionId, Person)>> {
    let query = spent_refresh_tokens::table
        .inner_join(sessions::table.inner_join(people::table.inner_join(organisations::table)))
        .filter(spent_refresh_tokens::digest.eq(digest.as_slice()));
    Ok(query.select((sessions::id, Person::as_select())).first(conn).optional()?)
}

/// Deletes some sessions that were over before an instant, with their spent tokens; returns how many.
pub(super) fn delete_sessions(conn: &mut Conn, over_before: Instant, limit: i64) -> Result<usize> {
    let over = sessions::ended_at.lt(over_before).or(sessions::expires_at.lt(over_before).nullable());
    let ids: Vec<SessionId> = sessions::table.filter(over).select(sessions::id).limit(limit).load(conn)?;
    diesel::delete(spent_refresh_tokens::table.filter(spent_refresh_tokens::session_id.eq_any(&ids))).execute(conn)?;
    Ok(diesel::delete(sessions::table.filter(sessions::id.eq_any(&ids))).execute(conn)?)
}
