//! The second factor: the codes of somebody's authenticator, and recovery codes for the day it is lost.
//!
//! Every change takes the person's row first, so that two of them, or one and a login, come one after the other.

pub mod api;
mod recovery;
mod store;
mod totp;

use self::store::Standing;
use self::totp::Secret;
use super::people::may_invite;
use super::proof::prove_own;
use super::{Actor, Role, Settings, get_organisation, get_person, still_signed_in, write_ending};
use crate::audit::{self, Action, Who};
use crate::db::{Conn, Db};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{PersonId, SessionId};
use crate::kit::keys::{Digest32, Keys};
use crate::kit::text::Email;
use crate::kit::time::Instant;

/// Wrong codes after which a session ends: whoever found an access token has that many guesses.
const WRONG_CODES: i32 = 5;

crate::text_enum! {
    /// Where somebody stands.
    pub enum Status {
        /// A login asks for a code.
        InForce = "in_force",
        /// Their role needs one: until it is in force, nothing but their own login is open to them.
        Missing = "missing",
        /// There is none, and none is needed.
        NotSet = "not_set",
    }
}

/// What a login has shown beside the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// None is in force.
    NotSet,
    /// A code is needed, and none was given.
    Missing,
    Code,
    RecoveryCode,
    /// Neither a code of now nor an unused recovery code.
    Wrong,
}

impl Factor {
    /// For the audit log.
    pub fn told(self) -> Option<String> {
        match self {
            Factor::Code => Some("code".to_owned()),
            Factor::RecoveryCode => Some("recovery_code".to_owned()),
            Factor::NotSet | Factor::Missing | Factor::Wrong => None,
        }
    }
}

/// What an authenticator is set up with; told only here.
pub struct Begun {
    /// In base 32, for typing.
    pub secret: String,
    /// The same as an `otpauth:` address, for a QR code.
    pub otpauth_url: String,
}

/// Whether a role can do nothing without a second factor.
fn requires(settings: &Settings, role: Role) -> bool {
    settings.second_factor_required && matches!(role, Role::Administrator | Role::Manager)
}

/// Whether the actor's session lacks the second factor that their role needs.
pub fn is_missing(settings: &Settings, actor: &Actor) -> bool {
    requires(settings, actor.role) && !actor.second_factor
}

pub fn status(conn: &mut Conn, settings: &Settings, actor: &Actor) -> Result<Status> {
    Ok(match store::standing(conn, actor.person)?.in_force {
        Some(_) => Status::InForce,
        None if is_missing(settings, actor) => Status::Missing,
        None => Status::NotSet,
    })
}

/// Judges the code of a login whose password is right, and uses it up.
pub(super) fn at_login(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    person: PersonId,
    code: Option<&str>,
) -> Result<Factor> {
    let standing = store::take(conn, person)?;
    match (&standing.in_force, code) {
        (None, _) => Ok(Factor::NotSet),
        (Some(_), None) => Ok(Factor::Missing),
        (Some(sealed), Some(code)) => spend(conn, now, keys, person, sealed, code),
    }
}

/// Says of a session that a second factor is behind it.
pub(super) fn mark(conn: &mut Conn, now: Instant, session: SessionId) -> Result<()> {
    store::mark(conn, session, now)
}

/// Uses a code up: one of the authenticator, or a recovery code.
fn spend(conn: &mut Conn, now: Instant, keys: &Keys, person: PersonId, sealed: &[u8], code: &str) -> Result<Factor> {
    if let Some(digits) = totp::digits(code) {
        let step = Secret::open(keys, person, sealed)?.step_of(&digits, now)?;
        let new = match step {
            Some(step) => store::spend_step(conn, person, step)?,
            None => false,
        };
        return Ok(if new { Factor::Code } else { Factor::Wrong });
    }
    let spent = store::spend_recovery_code(conn, person, &recovery::digest(&keys.secret, person, code), now)?;
    Ok(if spent { Factor::RecoveryCode } else { Factor::Wrong })
}

/// Whether a signed-in person has shown a good code; too many wrong ones end their session.
fn proven(conn: &mut Conn, now: Instant, keys: &Keys, actor: &Actor, standing: &Standing, code: &str) -> Result<bool> {
    let Some(sealed) = &standing.in_force else { return Err(Error::Refused(Code::PersonState)) };
    if spend(conn, now, keys, actor.person, sealed, code)? != Factor::Wrong {
        return Ok(true);
    }
    guessed_wrong(conn, now, actor)?;
    Ok(false)
}

/// Counts a wrong code, and ends the session with the last that it has.
fn guessed_wrong(conn: &mut Conn, now: Instant, actor: &Actor) -> Result<()> {
    if store::count_wrong_code(conn, actor.session, WRONG_CODES, now)? {
        audit::record(conn, now, actor.who(), Action::WrongCodes, actor.session, Some(WRONG_CODES.to_string()))?;
    }
    Ok(())
}

/// What somebody shows to begin with an authenticator.
pub struct Shown<'a> {
    pub password: Option<&'a str>,
    pub code: Option<&'a str>,
}

/// Begins with a new authenticator; what is in force stays so until [`confirm`]. Who has one already shows a code of it;
/// who has none, the password, since an access token may be stolen: a wrong one is a field error, and counts like a
/// failed login.
///
/// Nothing where the code is wrong; `unauthenticated` where the session has ended since. Takes the database, not a
/// transaction: the password is checked between two.
pub fn begin(
    db: &Db,
    keys: &Keys,
    settings: &Settings,
    from: &Digest32,
    actor: &Actor,
    shown: &Shown<'_>,
) -> Result<Option<Begun>> {
    let (standing, person) = db.read(|conn| {
        still_signed_in(conn, db.now(), actor)?;
        Ok((store::standing(conn, actor.person)?, get_person(conn, actor.person)?))
    })?;
    let proof = match (&standing.in_force, shown.password) {
        (Some(_), _) => None,
        (None, None) => return Err(password_missing()),
        (None, Some(password)) => {
            let email: Email = person.email.parse().map_err(Error::internal)?;
            Some(prove_own(db, keys, settings, from, &email, ("password", password))?)
        }
    };
    let work = |conn: &mut Conn, now: Instant| {
        let standing = store::take(conn, actor.person)?;
        if standing.in_force.is_some() {
            let code = shown.code.ok_or_else(|| Error::invalid("code", Complaint::CodeMissing))?;
            if !proven(conn, now, keys, actor, &standing, code)? {
                return Ok(None);
            }
        } else {
            let proof = proof.as_ref().ok_or_else(password_missing)?;
            if !proof.accept(conn)? {
                return Err(Error::Refused(Code::Unauthenticated));
            }
        }
        let secret = Secret::new();
        store::keep_pending(conn, person.id, &secret.seal_begun(keys, person.id, now)?)?;
        audit::record(conn, now, actor.who(), Action::SecondFactorBegun, person.id, None)?;
        let otpauth_url = secret.otpauth_url(&settings.issuer, &person.email);
        Ok(Some(Begun { secret: secret.base32(), otpauth_url }))
    };
    let begun = write_ending(db, actor, work, Option::is_none);
    match &proof {
        Some(proof) => proof.outcome(db, begun),
        None => begun,
    }
}

fn password_missing() -> Error {
    Error::invalid("password", Complaint::Missing)
}

/// Puts the authenticator that was begun in force, by a code of it: the person's other sessions end, and there are new
/// recovery codes, told only here. Nothing where the code is wrong; `person_state` where none was begun in the last quarter
/// of an hour, or what was begun is under a key that is gone: it is to be begun again.
pub fn confirm(conn: &mut Conn, now: Instant, keys: &Keys, actor: &Actor, code: &str) -> Result<Option<Vec<String>>> {
    let standing = store::take(conn, actor.person)?;
    let begun = standing.pending.and_then(|sealed| Secret::open_begun(keys, actor.person, &sealed, now));
    let secret = begun.ok_or(Error::Refused(Code::PersonState))?;
    let step = match totp::digits(code) {
        Some(digits) => secret.step_of(&digits, now)?,
        None => None,
    };
    let Some(step) = step else {
        guessed_wrong(conn, now, actor)?;
        return Ok(None);
    };
    // under the key of now, and without the time
    store::put_in_force(conn, actor.person, &secret.seal(keys, actor.person)?, step, now)?;
    let codes = new_codes(conn, keys, actor.person)?;
    store::end_sessions(conn, actor.person, Some(actor.session), now)?;
    store::mark(conn, actor.session, now)?;
    let detail = standing.in_force.map(|_| "replaced".to_owned());
    audit::record(conn, now, actor.who(), Action::SecondFactorSet, actor.person, detail)?;
    Ok(Some(codes))
}

/// New recovery codes in the place of all earlier ones, told only here. Nothing where the code is wrong.
pub fn renew_codes(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    code: &str,
) -> Result<Option<Vec<String>>> {
    let standing = store::take(conn, actor.person)?;
    if !proven(conn, now, keys, actor, &standing, code)? {
        return Ok(None);
    }
    let codes = new_codes(conn, keys, actor.person)?;
    audit::record(conn, now, actor.who(), Action::RecoveryCodesRenewed, actor.person, None)?;
    Ok(Some(codes))
}

fn new_codes(conn: &mut Conn, keys: &Keys, person: PersonId) -> Result<Vec<String>> {
    let codes = recovery::new();
    let digests: Vec<_> = codes.iter().map(|code| recovery::digest(&keys.secret, person, code)).collect();
    store::replace_recovery_codes(conn, person, &digests)?;
    Ok(codes)
}

/// Does without a second factor from now on: `forbidden` to a role that needs one. Nothing where the code is wrong.
pub fn remove(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    settings: &Settings,
    actor: &Actor,
    code: &str,
) -> Result<Option<()>> {
    if requires(settings, actor.role) {
        return Err(Error::Refused(Code::Forbidden));
    }
    let standing = store::take(conn, actor.person)?;
    if !proven(conn, now, keys, actor, &standing, code)? {
        return Ok(None);
    }
    store::clear(conn, actor.person)?;
    store::unmark(conn, actor.person)?;
    audit::record(conn, now, actor.who(), Action::SecondFactorRemoved, actor.person, None)?;
    Ok(Some(()))
}

/// Takes somebody's second factor away who has lost it, and ends their sessions. Whoever may invite into their
/// organisation may do this, but not to themselves.
pub fn reset(conn: &mut Conn, now: Instant, actor: &Actor, id: PersonId) -> Result<()> {
    let person = get_person(conn, id)?;
    let organisation = get_organisation(conn, actor, person.organisation.id)?;
    if person.id == actor.person || !may_invite(actor, organisation.id) {
        return Err(Error::Refused(Code::Forbidden));
    }
    take_away(conn, now, actor.who(), person.id)
}

/// The same by the command line, for whom nobody else can help. `invalid_request` where nobody with this address has one.
pub fn reset_by_service(conn: &mut Conn, now: Instant, email: &Email) -> Result<()> {
    let person = super::store::person_and_hash(conn, email)?;
    let (person, _) = person.ok_or_else(|| Error::invalid("email", Complaint::Nobody))?;
    take_away(conn, now, Who::SERVICE, person.id).map_err(|error| match error {
        Error::Refused(_) => Error::invalid("email", Complaint::NoSecondFactor),
        other => other,
    })
}

fn take_away(conn: &mut Conn, now: Instant, who: Who, person: PersonId) -> Result<()> {
    if store::take(conn, person)?.in_force.is_none() {
        return Err(Error::Refused(Code::PersonState));
    }
    store::clear(conn, person)?;
    store::end_sessions(conn, person, None, now)?;
    audit::record(conn, now, who, Action::SecondFactorReset, person, None)
}
