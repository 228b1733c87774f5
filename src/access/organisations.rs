//! Organisations: who brings them in, and who sees them.

use super::store;
use super::{Actor, Organisation, OrganisationKind, Role};
use crate::audit::{self, Action};
use crate::db::{Conn, Page};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::OrganisationId;
use crate::kit::text::Line;
use crate::kit::time::Instant;

pub struct NewOrganisation {
    pub kind: OrganisationKind,
    pub name: Line<200>,
}

/// Which organisations somebody may read.
pub(super) enum Sight {
    All,
    /// Its own, and those it brought in.
    Own(OrganisationId),
}

impl Sight {
    fn of(actor: &Actor) -> Self {
        if actor.role == Role::Administrator { Sight::All } else { Sight::Own(actor.organisation) }
    }
}

/// An administrator brings in any kind, a manager those that a programme needs.
fn may_create(role: Role, kind: OrganisationKind) -> bool {
    use OrganisationKind::{Evaluator, Funder, Producer, SocialStructure};
    match role {
        Role::Administrator => true,
        Role::Manager => matches!(kind, SocialStructure | Producer | Funder | Evaluator),
        Role::SocialWorker | Role::Producer | Role::Funder | Role::Evaluator => false,
    }
}

pub fn create_organisation(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    new: &NewOrganisation,
) -> Result<Organisation> {
    if !may_create(actor.role, new.kind) {
        return Err(Error::Refused(Code::Forbidden));
    }
    let organisation = Organisation {
        id: OrganisationId::new(now),
        kind: new.kind,
        name: new.name.as_str().to_owned(),
        created_by: Some(actor.organisation),
        created_at: now,
    };
    store::insert_organisation(conn, &organisation)?;
    audit::record(conn, now, actor.who(), Action::OrganisationCreated, organisation.id, None)?;
    Ok(organisation)
}

/// In order of id: all for an administrator; for others their own and those it brought in.
pub fn list_organisations(
    conn: &mut Conn,
    actor: &Actor,
    page: Page<OrganisationId>,
) -> Result<(Vec<Organisation>, Option<OrganisationId>)> {
    let rows = store::organisations(conn, &Sight::of(actor), page)?;
    Ok(page.cut(rows, |organisation| organisation.id))
}

/// `not_found` where [`list_organisations`] would not show it.
pub fn get_organisation(conn: &mut Conn, actor: &Actor, id: OrganisationId) -> Result<Organisation> {
    store::visible_organisation(conn, &Sight::of(actor), id)?.ok_or(Error::Refused(Code::NotFound))
}

/// The name of an organisation that exists.
pub fn organisation_name(conn: &mut Conn, id: OrganisationId) -> Result<String> {
    match store::organisation(conn, id)? {
        Some(organisation) => Ok(organisation.name),
        None => Err(Error::Refused(Code::NotFound)),
    }
}

/// The organisation, if it exists and is of one of these kinds. Asks nothing about who wants to know.
pub fn organisation_of_kind(
    conn: &mut Conn,
    id: OrganisationId,
    kinds: &[OrganisationKind],
) -> Result<Option<Organisation>> {
    Ok(store::organisation(conn, id)?.filter(|organisation| kinds.contains(&organisation.kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_brings_in_neither_managers_nor_operators_and_others_nobody() {
        let allowed = |role: Role| OrganisationKind::ALL.iter().filter(|kind| may_create(role, **kind)).count();
        assert_eq!(allowed(Role::Administrator), OrganisationKind::ALL.len());
        assert_eq!(allowed(Role::Manager), 4);
        assert!(!may_create(Role::Manager, OrganisationKind::Manager));
        assert!(!may_create(Role::Manager, OrganisationKind::Operator));
        for role in [Role::SocialWorker, Role::Producer, Role::Funder, Role::Evaluator] {
            assert_eq!(allowed(role), 0, "{role}");
        }
    }
}
