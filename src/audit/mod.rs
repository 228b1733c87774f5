//! The audit log: who did what to which id. It only grows, and each entry carries a digest of the one before.
//!
//! What happens at the till is not written here: redemptions and voids are a journal of their own, with the person in it.

pub mod api;
mod store;
mod verify;

use std::fmt::Display;

use crate::db::{Conn, Page};
use crate::kit::error::Result;
use crate::kit::id::{AuditEntryId, OrganisationId, PersonId};
use crate::kit::keys::{Digest32, sha256};
use crate::kit::time::Instant;

pub use store::{Entry, Filter, head};
pub use verify::verify;

crate::text_enum! {
    /// What was done; the verb, its subject being the entry's.
    pub enum Action {
        // access
        LoggedIn = "logged_in",
        /// The subject is the person whose address it was, if it is anybody's; who tried is not known.
        LoginFailed = "login_failed",
        LoggedOut = "logged_out",
        /// A refresh token came a second time; the subject is the session, which this ended.
        RefreshTokenReused = "refresh_token_reused",
        SessionsRevoked = "sessions_revoked",
        AdministratorCreated = "administrator_created",
        PersonInvited = "person_invited",
        InvitationAccepted = "invitation_accepted",
        PasswordChanged = "password_changed",
        PersonDisabled = "person_disabled",
        PersonEnabled = "person_enabled",
        OrganisationCreated = "organisation_created",
        SecondFactorBegun = "second_factor_begun",
        SecondFactorSet = "second_factor_set",
        SecondFactorRemoved = "second_factor_removed",
        SecondFactorReset = "second_factor_reset",
        RecoveryCodesRenewed = "recovery_codes_renewed",
        /// Too many of them ended a session.
        WrongCodes = "wrong_codes",
        // keys
        KeyAdded = "key_added",
        KeyRetired = "key_retired",
        DatabaseRestored = "database_restored",
        ProgrammeCreated = "programme_created",
        ProgrammeRewritten = "programme_rewritten",
        ProgrammeOpened = "programme_opened",
        ProgrammeClosed = "programme_closed",
        RulesChanged = "rules_changed",
        /// Into the programme that is the subject; the detail is the member.
        MemberAdmitted = "member_admitted",
        AgreementSigned = "agreement_signed",
        /// The detail is the programme that it stands behind.
        PotOpened = "pot_opened",
        /// The detail is which of it is new.
        ProducerProfileSet = "producer_profile_set",
        StallOpened = "stall_opened",
        StallClosed = "stall_closed",
        /// Of applications the subject is the producer, the detail the programme.
        ApplicationMade = "application_made",
        ApplicationApproved = "application_approved",
        ApplicationRefused = "application_refused",
        ApplicationSuspended = "application_suspended",
        /// The detail is the state it begins in.
        EnrolmentMade = "enrolment_made",
        EnrolmentMovedUp = "enrolment_moved_up",
        EnrolmentBandSet = "enrolment_band_set",
        EnrolmentSuspended = "enrolment_suspended",
        EnrolmentResumed = "enrolment_resumed",
        EnrolmentLeft = "enrolment_left",
        EnrolmentEnded = "enrolment_ended",
        /// The detail is the enrolment that it was paid for.
        ContributionPaid = "contribution_paid",
        VoucherHandedOver = "voucher_handed_over",
        VoucherBlocked = "voucher_blocked",
        VoucherUnblocked = "voucher_unblocked",
        /// The detail is the card in its place.
        VoucherReplaced = "voucher_replaced",
        /// The subject is the enrolment, the detail how many vouchers.
        DenominationsHandedOver = "denominations_handed_over",
        /// By the household's structure; the subject is the hold.
        HoldReleased = "hold_released",
        // households
        HouseholdRegistered = "household_registered",
        HouseholdRecomposed = "household_recomposed",
        HouseholdIdentified = "household_identified",
        HouseholdSearched = "household_searched",
        HouseholdExported = "household_exported",
        HouseholdErased = "household_erased",
        IdentityRead = "identity_read",
        IdentityErased = "identity_erased",
        DuplicateDismissed = "duplicate_dismissed",
        /// Somebody was told that a person is known already; the subject is the household it was said of, if there is one.
        DuplicateRefused = "duplicate_refused",
    }
}

/// Who did it: a person for their organisation, or the service by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub person: Option<PersonId>,
    pub organisation: Option<OrganisationId>,
}

impl Who {
    /// The service itself: its scheduler, its command line.
    pub const SERVICE: Who = Who { person: None, organisation: None };
}

/// Whose entries somebody may read.
#[derive(Clone, Copy, Debug)]
pub enum Sight {
    All,
    /// Those of an organisation and of the ones it brought in.
    Own(OrganisationId),
}

/// Writes an entry into the transaction of what it tells: the last thing done there, as whoever writes next waits for
/// its end. `detail` is for what an id does not tell (a state, a count); never a name.
pub fn record(
    conn: &mut Conn,
    now: Instant,
    who: Who,
    action: Action,
    subject: impl Display,
    detail: Option<String>,
) -> Result<()> {
    store::queue(conn)?;
    let last = store::last(conn)?;
    let (sequence, before) = last.map_or((1, Vec::new()), |last| (last.sequence + 1, last.digest));
    let mut entry = Entry {
        sequence,
        occurred_at: now,
        person_id: who.person,
        organisation_id: who.organisation,
        action: action.as_str().to_owned(),
        subject: Some(subject.to_string()).filter(|text| !text.is_empty()),
        detail,
        digest: Vec::new(),
    };
    entry.digest = entry.seal(&before).to_vec();
    store::insert(conn, &entry)
}

/// The entries that somebody may read, newest first.
pub fn list(
    conn: &mut Conn,
    sight: Sight,
    filter: &Filter,
    page: Page<AuditEntryId>,
) -> Result<(Vec<Entry>, Option<AuditEntryId>)> {
    let rows = store::list(conn, sight, filter, page)?;
    Ok(page.cut(rows, Entry::id))
}

/// The entries about a subject that are of some actions, oldest first.
pub fn about(conn: &mut Conn, subject: impl Display, actions: &[Action]) -> Result<Vec<Entry>> {
    store::about(conn, &subject.to_string(), actions)
}

impl Entry {
    /// Its place in the log as a cursor.
    fn id(&self) -> AuditEntryId {
        let place = u128::try_from(self.sequence).unwrap_or_default();
        AuditEntryId::from_uuid(uuid::Uuid::from_u128(place))
    }

    /// SHA-256 of the digest before and of every column, each led by its length: none can run into the next.
    fn seal(&self, before: &[u8]) -> Digest32 {
        let id = |id: Option<String>| id.unwrap_or_default();
        let columns = [
            self.sequence.to_string(),
            self.occurred_at.as_microsecond().to_string(),
            id(self.person_id.map(|id| id.to_string())),
            id(self.organisation_id.map(|id| id.to_string())),
            self.action.clone(),
            self.subject.clone().unwrap_or_default(),
            self.detail.clone().unwrap_or_default(),
        ];
        let mut message = before.to_vec();
        for column in columns {
            message.extend((column.len() as u64).to_be_bytes());
            message.extend(column.as_bytes());
        }
        sha256(&message)
    }
}
