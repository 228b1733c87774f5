//! People: who invites whom, and how an invitation becomes a login.

use super::secret::{self, Secret};
use super::store::{self, PersonRow};
use super::{
    Actor, Organisation, OrganisationKind, OrganisationSummary, Person, Role, Settings, get_organisation, password,
};
use crate::audit::{self, Action, Who};
use crate::db::{Conn, Db, Page};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{OrganisationId, PersonId};
use crate::kit::text::{Email, Line};
use crate::kit::time::Instant;

pub struct NewPerson {
    pub organisation: OrganisationId,
    pub email: Email,
    pub name: Line<200>,
    /// May bring colleagues in.
    pub lead: bool,
}

/// A person who is to choose a password, and how.
pub struct Invitation {
    pub person: Person,
    /// Works once, and is told only here.
    pub secret: String,
    pub expires_at: Instant,
}

/// Who may bring a person into an organisation that the actor sees.
///
/// An administrator anywhere; a manager into the organisations it brought in; into one's own organisation, its leads.
pub(super) fn may_invite(actor: &Actor, into: OrganisationId) -> bool {
    match actor.role {
        Role::Administrator => true,
        Role::Manager if into != actor.organisation => true,
        _ => into == actor.organisation && actor.lead,
    }
}

/// Brings a person in.
///
/// `not_found` for an organisation that the actor does not see, `forbidden` without the right, `email_taken`.
pub fn create_person(
    conn: &mut Conn,
    now: Instant,
    settings: &Settings,
    actor: &Actor,
    new: &NewPerson,
) -> Result<Invitation> {
    let organisation = get_organisation(conn, actor, new.organisation)?;
    if !may_invite(actor, organisation.id) {
        return Err(Error::Refused(Code::Forbidden));
    }
    if store::email_is_taken(conn, &new.email)? {
        return Err(Error::Refused(Code::EmailTaken));
    }
    let invitation = Secret::new();
    let expires_at = now.plus_minutes(settings.invitation_hours * 60);
    let row = PersonRow {
        id: PersonId::new(now),
        organisation_id: organisation.id,
        email: new.email.as_str().to_owned(),
        name: new.name.as_str().to_owned(),
        lead: new.lead,
        password_hash: None,
        invitation_digest: Some(invitation.digest.to_vec()),
        invitation_expires_at: Some(expires_at),
        created_at: now,
    };
    store::insert_person(conn, &row).map_err(|e| e.or_duplicate(Code::EmailTaken))?;
    let Organisation { id, kind, name, .. } = organisation;
    let organisation = OrganisationSummary { id, kind, name };
    let person = Person {
        id: row.id,
        organisation,
        email: row.email,
        name: row.name,
        lead: row.lead,
        disabled_at: None,
        has_password: false,
    };
    audit::record(conn, now, actor.who(), Action::PersonInvited, person.id, None)?;
    Ok(Invitation { person, secret: invitation.text, expires_at })
}

/// In order of id: the actor's own organisation's people; for an administrator those of `organisation`, or all.
///
/// Of another organisation than one's own, everybody else sees nobody.
pub fn list_people(
    conn: &mut Conn,
    actor: &Actor,
    organisation: Option<OrganisationId>,
    page: Page<PersonId>,
) -> Result<(Vec<Person>, Option<PersonId>)> {
    let of = match (actor.role, organisation) {
        (Role::Administrator, wanted) => wanted,
        (_, Some(other)) if other != actor.organisation => return Ok((Vec::new(), None)),
        _ => Some(actor.organisation),
    };
    let rows = store::people(conn, of, page)?;
    Ok(page.cut(rows, |person| person.id))
}

/// A person by id, whoever asks.
pub fn get_person(conn: &mut Conn, id: PersonId) -> Result<Person> {
    store::person(conn, id)?.ok_or(Error::Refused(Code::NotFound))
}

/// Turns an invitation into a login with this password; it works once, and ends all sessions there were.
///
/// Takes the database, not a transaction: the password is hashed between a read and a write.
pub fn accept_invitation(db: &Db, settings: &Settings, invitation: &str, password: &password::Password) -> Result<()> {
    let refused = || Error::Refused(Code::InvalidInvitation);
    let digest = secret::digest(invitation);
    let now = db.now();
    let person = db.read(|conn| store::invited(conn, &digest, now))?.ok_or_else(refused)?;
    let email: Email = person.email.parse().map_err(Error::internal)?;
    password.suits(&email).map_err(|why| Error::invalid("password", why))?;
    let hash = password::hash(settings, password)?;
    db.write(|conn, now| {
        if store::use_invitation(conn, &digest, &hash, now)? == 0 {
            return Err(refused());
        }
        store::end_sessions(conn, person.id, None, now)?;
        let who = Who { person: Some(person.id), organisation: Some(person.organisation.id) };
        audit::record(conn, now, who, Action::InvitationAccepted, person.id, None)
    })
}

/// The person who brings everybody else in, with the organisation that runs this deployment.
///
/// Refuses where there is one already: others are invited through the API. The password is hashed beforehand
/// with [`password::hash`], outside the transaction.
pub fn create_first_administrator(
    conn: &mut Conn,
    now: Instant,
    organisation_name: &Line<200>,
    email: &Email,
    name: &Line<200>,
    password: &password::Hash,
) -> Result<PersonId> {
    // of two commands at once, the second finds what the first has made
    store::queue_for_administrators(conn)?;
    if store::an_administrator_exists(conn)? {
        return Err(Error::invalid("administrator", Complaint::AdministratorExists));
    }
    let organisation = Organisation {
        id: OrganisationId::new(now),
        kind: OrganisationKind::Operator,
        name: organisation_name.as_str().to_owned(),
        created_by: None,
        created_at: now,
    };
    store::insert_organisation(conn, &organisation)?;
    let person = PersonRow {
        id: PersonId::new(now),
        organisation_id: organisation.id,
        email: email.as_str().to_owned(),
        name: name.as_str().to_owned(),
        lead: true,
        password_hash: Some(password.as_str().to_owned()),
        invitation_digest: None,
        invitation_expires_at: None,
        created_at: now,
    };
    store::insert_person(conn, &person).map_err(|e| e.or_duplicate(Code::EmailTaken))?;
    audit::record(conn, now, Who::SERVICE, Action::OrganisationCreated, organisation.id, None)?;
    audit::record(conn, now, Who::SERVICE, Action::AdministratorCreated, person.id, None)?;
    Ok(person.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::id::SessionId;

    #[test]
    fn colleagues_are_brought_in_by_leads_and_others_by_managers_and_administrators() {
        let now = Instant::from_microsecond(0);
        let (own, other) = (OrganisationId::new(now), OrganisationId::new(now));
        let may = |role, lead, into| {
            let (person, session) = (PersonId::new(now), SessionId::new(now));
            may_invite(&Actor { person, organisation: own, session, role, lead, second_factor: false }, into)
        };
        for role in Role::ALL.iter().copied().filter(|role| *role != Role::Administrator) {
            assert!(may(role, true, own), "{role}");
            assert!(!may(role, false, own), "{role}");
            assert_eq!(may(role, false, other), role == Role::Manager, "{role}");
            assert_eq!(may(role, true, other), role == Role::Manager, "{role}");
        }
        assert!(may(Role::Administrator, false, own) && may(Role::Administrator, false, other));
    }
}
