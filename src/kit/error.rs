//! What can go wrong, in the words of the domain. How a person reads a code is `http::problem`'s business, and of a field
//! `kit::complaint`'s.

use std::ops::RangeInclusive;

use super::complaint::Complaint;
use super::id::HouseholdId;
use super::money::Cents;

crate::text_enum! {
    /// The stable name of everything that can be refused; the API's `code`.
    pub enum Code {
        // the request itself
        MalformedJson = "malformed_json",
        InvalidRequest = "invalid_request",
        InvalidCursor = "invalid_cursor",
        IdempotencyKeyRequired = "idempotency_key_required",
        IdempotencyConflict = "idempotency_conflict",
        PayloadTooLarge = "payload_too_large",
        HeadersTooLarge = "headers_too_large",
        RequestTimeout = "request_timeout",
        TooManyRequests = "too_many_requests",
        UnsupportedMediaType = "unsupported_media_type",
        NotAcceptable = "not_acceptable",
        MethodNotAllowed = "method_not_allowed",
        NotFound = "not_found",
        Internal = "internal",
        Unavailable = "unavailable",
        // access
        Unauthenticated = "unauthenticated",
        InvalidCredentials = "invalid_credentials",
        InvalidRefreshToken = "invalid_refresh_token",
        InvalidInvitation = "invalid_invitation",
        Forbidden = "forbidden",
        EmailTaken = "email_taken",
        TooManyAttempts = "too_many_attempts",
        SecondFactorRequired = "second_factor_required",
        SecondFactorMissing = "second_factor_missing",
        WrongCode = "wrong_code",
        PersonState = "person_state",
        // programme
        ProgrammeNotDraft = "programme_not_draft",
        ProgrammeNotOpen = "programme_not_open",
        ProgrammeClosed = "programme_closed",
        LegalBasisRequired = "legal_basis_required",
        AgreementRequired = "agreement_required",
        ReferenceTaken = "reference_taken",
        // producer
        SiretTaken = "siret_taken",
        ProducerIncomplete = "producer_incomplete",
        ApplicationState = "application_state",
        // household and enrolment
        OutsideTerritory = "outside_territory",
        DuplicateHousehold = "duplicate_household",
        DuplicateState = "duplicate_state",
        StillEnrolled = "still_enrolled",
        IdentityUnreadable = "identity_unreadable",
        AlreadyEnrolled = "already_enrolled",
        ProgrammeEndsFirst = "programme_ends_first",
        StartInPast = "start_in_past",
        EnrolmentState = "enrolment_state",
        NoContribution = "no_contribution",
        ContributionTooLate = "contribution_too_late",
        StillWaiting = "still_waiting",
        // voucher
        VoucherExists = "voucher_exists",
        VoucherState = "voucher_state",
        // the till
        UnknownVoucher = "unknown_voucher",
        VoucherBlocked = "voucher_blocked",
        VoucherReplaced = "voucher_replaced",
        VoucherUsed = "voucher_used",
        VoucherSuspended = "voucher_suspended",
        VoucherExpired = "voucher_expired",
        NotStarted = "not_started",
        InsufficientBalance = "insufficient_balance",
        ProducerNotApproved = "producer_not_approved",
        ProducerSuspended = "producer_suspended",
        StallClosed = "stall_closed",
        ProducerNotEligible = "producer_not_eligible",
        TooSoon = "too_soon",
        LinesRequired = "lines_required",
        CategoryNotEligible = "category_not_eligible",
        AlreadyRedeemedByYou = "already_redeemed_by_you",
        VoidWindowOver = "void_window_over",
        HoldsNotOffered = "holds_not_offered",
        HoldState = "hold_state",
    }
}

/// One field of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field, such as `rules.period.count`.
    pub field: String,
    pub complaint: Complaint,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A rule said no. Nothing was written.
    Refused(Code),
    /// Too much of it for now: refused unseen for so many more seconds, one at least.
    Wait { code: Code, seconds: i64 },
    /// The voucher does not hold enough; what it still holds, where the programme shows balances.
    Insufficient { spendable: Option<Cents> },
    /// The same person is registered already; where, if that is with the caller's own structure.
    KnownHousehold { own: Option<HouseholdId> },
    /// The request's own fields are wrong.
    Invalid(Vec<FieldError>),
    /// A unique constraint said that somebody was first. The text is the database's, for the log only.
    Duplicate(String),
    /// The database asked for the transaction to be tried again.
    Retry(String),
    /// The database cannot be reached now.
    Unavailable(String),
    /// Something of ours broke. The text is for the log only.
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn invalid(field: &str, complaint: Complaint) -> Self {
        Error::Invalid(vec![FieldError { field: field.to_owned(), complaint }])
    }

    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Error::Internal(cause.to_string())
    }

    pub fn code(&self) -> Code {
        match self {
            Error::Refused(code) | Error::Wait { code, .. } => *code,
            Error::Insufficient { .. } => Code::InsufficientBalance,
            Error::KnownHousehold { .. } => Code::DuplicateHousehold,
            Error::Invalid(_) => Code::InvalidRequest,
            Error::Unavailable(_) | Error::Retry(_) => Code::Unavailable,
            Error::Duplicate(_) | Error::Internal(_) => Code::Internal,
        }
    }

    /// Whether it is a rule's answer to one request, and not something that went wrong.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Refused(_) | Error::Wait { .. } | Error::Insufficient { .. } => true,
            Error::KnownHousehold { .. } | Error::Invalid(_) => true,
            Error::Duplicate(_) | Error::Retry(_) | Error::Unavailable(_) | Error::Internal(_) => false,
        }
    }

    /// A duplicate that a rule foresees, by its name.
    pub fn or_duplicate(self, code: Code) -> Self {
        match self {
            Error::Duplicate(_) => Error::Refused(code),
            other => other,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Refused(code) | Error::Wait { code, .. } => write!(f, "refused: {code}"),
            Error::Insufficient { .. } | Error::KnownHousehold { .. } => write!(f, "refused: {}", self.code()),
            Error::Invalid(fields) => {
                f.write_str("invalid:")?;
                fields.iter().try_for_each(|e| write!(f, " {}: {};", e.field, e.complaint))
            }
            Error::Duplicate(cause) | Error::Retry(cause) | Error::Unavailable(cause) | Error::Internal(cause) => {
                f.write_str(cause)
            }
        }
    }
}

impl std::error::Error for Error {}

/// Collects all that is wrong with a request, so that it is said at once.
#[derive(Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    pub fn must(&mut self, holds: bool, field: &str, complaint: Complaint) {
        if !holds {
            self.0.push(FieldError { field: field.to_owned(), complaint });
        }
    }

    pub fn between(&mut self, field: &str, value: impl Into<i64>, range: RangeInclusive<i64>) {
        let (least, most) = range.clone().into_inner();
        self.must(range.contains(&value.into()), field, Complaint::NotBetween { least, most });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fine, or all the complaints in the order in which they came.
    pub fn settle(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}
