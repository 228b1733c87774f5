//! Who may act: organisations and their people, passwords, tokens, sessions and invitations.

mod accounts;
pub mod api;
pub mod attempts;
mod callers;
mod common;
pub mod keys;
mod organisations;
pub mod password;
mod people;
mod proof;
pub mod second_factor;
mod secret;
mod sessions;
mod store;
pub mod token;

use crate::audit::Who;
use crate::kit::id::{OrganisationId, PersonId, SessionId};
use crate::text_enum;

pub use accounts::{change_password, disable, enable, invite_again, revoke_other_sessions, revoke_sessions};
pub use callers::Callers;
pub use organisations::{
    NewOrganisation, create_organisation, get_organisation, list_organisations, organisation_name, organisation_of_kind,
};
pub use people::{
    Invitation, NewPerson, accept_invitation, create_first_administrator, create_person, get_person, list_people,
};
pub use proof::address_digest;
pub use sessions::{
    Caller, Tokens, ask_living, authenticate, clear_away, close_all_doors, log_in, log_out, refresh, standing,
    still_signed_in, write_as, write_ending,
};
pub use store::{Living, Organisation, OrganisationSummary, Person};

text_enum! {
    /// What an organisation is in the scheme; it fixes what its people may do.
    pub enum OrganisationKind {
        Operator = "operator",
        Manager = "manager",
        SocialStructure = "social_structure",
        Producer = "producer",
        Funder = "funder",
        Evaluator = "evaluator",
    }
}

text_enum! {
    /// What a person may do, by the kind of their organisation.
    pub enum Role {
        Administrator = "administrator",
        Manager = "manager",
        SocialWorker = "social_worker",
        Producer = "producer",
        Funder = "funder",
        Evaluator = "evaluator",
    }
}

text_enum! {
    pub enum PersonState {
        /// Has not chosen a password yet.
        Invited = "invited",
        Active = "active",
        /// Cannot log in, until enabled again.
        Disabled = "disabled",
    }
}

impl OrganisationKind {
    /// The one role that people of such an organisation have.
    pub fn role(self) -> Role {
        match self {
            OrganisationKind::Operator => Role::Administrator,
            OrganisationKind::Manager => Role::Manager,
            OrganisationKind::SocialStructure => Role::SocialWorker,
            OrganisationKind::Producer => Role::Producer,
            OrganisationKind::Funder => Role::Funder,
            OrganisationKind::Evaluator => Role::Evaluator,
        }
    }
}

/// The signed-in person behind a request, as the database knows them at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub person: PersonId,
    pub organisation: OrganisationId,
    pub session: SessionId,
    pub role: Role,
    /// May bring colleagues in.
    pub lead: bool,
    /// Whether this session was begun with a second factor, or put one in force.
    pub second_factor: bool,
}

impl Actor {
    /// For the audit log.
    pub fn who(&self) -> Who {
        Who { person: Some(self.person), organisation: Some(self.organisation) }
    }

    /// Whether they read what concerns all organisations alike.
    pub fn sees_every_organisation(&self) -> bool {
        matches!(self.role, Role::Administrator | Role::Evaluator)
    }
}

/// How logins work in this deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `iss` of the access tokens.
    pub issuer: String,
    /// `aud` of the access tokens.
    pub audience: String,
    /// How long an access token is good for.
    pub access_minutes: i64,
    /// How long a login lasts, however often it is refreshed.
    pub session_hours: i64,
    /// How long an invitation can be accepted.
    pub invitation_hours: i64,
    /// argon2id's memory, for passwords set from now on.
    pub password_memory_kib: u32,
    /// argon2id's passes, for passwords set from now on.
    pub password_iterations: u32,
    /// Whether managers and administrators can do nothing without a second factor.
    pub second_factor_required: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_organisation_has_a_role_of_its_own() {
        let mut roles: Vec<Role> = OrganisationKind::ALL.iter().map(|kind| kind.role()).collect();
        roles.sort();
        assert_eq!(roles, Role::ALL);
    }
}
