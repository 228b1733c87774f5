//! What happens to people later: disabled and enabled, sessions revoked, invited once more, a password of their own.

use super::people::{Invitation, may_invite};
use super::proof::prove_own;
use super::secret::Secret;
use super::store;
use super::{
    Actor, Person, PersonState, Role, Settings, get_organisation, get_person, password, still_signed_in, write_as,
};
use crate::audit::{self, Action};
use crate::db::{Conn, Db};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::PersonId;
use crate::kit::keys::{Digest32, Keys};
use crate::kit::text::Email;
use crate::kit::time::Instant;

/// A person that the actor may manage: whom they could have invited. `not_found` where they do not even see the
/// organisation, `forbidden` without the right.
fn managed(conn: &mut Conn, actor: &Actor, id: PersonId) -> Result<Person> {
    let person = get_person(conn, id)?;
    let organisation = get_organisation(conn, actor, person.organisation.id)?;
    if may_invite(actor, organisation.id) { Ok(person) } else { Err(Error::Refused(Code::Forbidden)) }
}

/// The same, but never oneself: who holds a stolen session shall not lock its owner out.
fn managed_other(conn: &mut Conn, actor: &Actor, id: PersonId) -> Result<Person> {
    let person = managed(conn, actor, id)?;
    if person.id == actor.person { Err(Error::Refused(Code::Forbidden)) } else { Ok(person) }
}

/// Ends all sessions of a person and lets them begin no other; an invitation dies too.
///
/// `person_state` where they are disabled already, or are the last administrator who can log in.
pub fn disable(conn: &mut Conn, now: Instant, actor: &Actor, id: PersonId) -> Result<Person> {
    let refused = || Error::Refused(Code::PersonState);
    let person = managed_other(conn, actor, id)?;
    if person.role() == Role::Administrator {
        // of two who disable each other at once, one stays
        store::queue_for_administrators(conn)?;
        let is_active = get_person(conn, id)?.state() == PersonState::Active;
        if is_active && store::active_administrators(conn)? == 1 {
            return Err(refused());
        }
    }
    if store::disable(conn, id, now)? == 0 {
        return Err(refused());
    }
    let sessions = store::end_sessions(conn, id, None, now)?;
    let person = get_person(conn, id)?;
    audit::record(conn, now, actor.who(), Action::PersonDisabled, id, Some(ended(sessions)))?;
    Ok(person)
}

/// Lets a disabled person log in again, with the password they had. `person_state` where they are not disabled.
pub fn enable(conn: &mut Conn, now: Instant, actor: &Actor, id: PersonId) -> Result<Person> {
    managed(conn, actor, id)?;
    if store::enable(conn, id)? == 0 {
        return Err(Error::Refused(Code::PersonState));
    }
    let person = get_person(conn, id)?;
    audit::record(conn, now, actor.who(), Action::PersonEnabled, id, None)?;
    Ok(person)
}

/// Ends all sessions of a person, who may log in again.
pub fn revoke_sessions(conn: &mut Conn, now: Instant, actor: &Actor, id: PersonId) -> Result<()> {
    managed(conn, actor, id)?;
    let sessions = store::end_sessions(conn, id, None, now)?;
    audit::record(conn, now, actor.who(), Action::SessionsRevoked, id, Some(ended(sessions)))
}

/// Ends all sessions of one's own but the one that asks.
pub fn revoke_other_sessions(conn: &mut Conn, now: Instant, actor: &Actor) -> Result<()> {
    let sessions = store::end_sessions(conn, actor.person, Some(actor.session), now)?;
    audit::record(conn, now, actor.who(), Action::SessionsRevoked, actor.person, Some(ended(sessions)))
}

/// A new invitation in the place of any older one. For somebody who has a password it is a way to a new one: the old
/// password and their sessions stay until it is accepted. `person_state` for a disabled person.
pub fn invite_again(
    conn: &mut Conn,
    now: Instant,
    settings: &Settings,
    actor: &Actor,
    id: PersonId,
) -> Result<Invitation> {
    let person = managed_other(conn, actor, id)?;
    let secret = Secret::new();
    let expires_at = now.plus_minutes(settings.invitation_hours * 60);
    if store::set_invitation(conn, id, &secret.digest, expires_at)? == 0 {
        return Err(Error::Refused(Code::PersonState));
    }
    audit::record(conn, now, actor.who(), Action::PersonInvited, id, Some(format!("{} before", person.state())))?;
    Ok(Invitation { person, secret: secret.text, expires_at })
}

/// Changes one's own password and ends one's other sessions. A wrong current password is a field error, and counts like
/// a failed login. `unauthenticated` where the session has ended since, even while the password was looked at.
///
/// Takes the database, not a transaction: passwords are checked and hashed between two.
pub fn change_password(
    db: &Db,
    keys: &Keys,
    settings: &Settings,
    from: &Digest32,
    actor: &Actor,
    (current, new): (&str, &password::Password),
) -> Result<()> {
    let person = db.read(|conn| {
        still_signed_in(conn, db.now(), actor)?;
        get_person(conn, actor.person)
    })?;
    let email: Email = person.email.parse().map_err(Error::internal)?;
    new.suits(&email).map_err(|why| Error::invalid("new_password", why))?;
    let proof = prove_own(db, keys, settings, from, &email, ("current_password", current))?;
    let hash = password::hash(settings, new)?;
    let changed = write_as(db, actor, |conn, now| {
        if !proof.accept(conn)? {
            return Err(Error::Refused(Code::Unauthenticated));
        }
        store::set_password(conn, actor.person, &hash)?;
        let sessions = store::end_sessions(conn, actor.person, Some(actor.session), now)?;
        audit::record(conn, now, actor.who(), Action::PasswordChanged, actor.person, Some(ended(sessions)))
    });
    proof.outcome(db, changed)
}

fn ended(sessions: usize) -> String {
    format!("{sessions} sessions ended")
}
