//! That somebody knows their password. A try counts as failed before the password is looked at.

use super::attempts::{self, Attempt, Kind, Try};
use super::store;
use super::{Person, Settings, password};
use crate::audit::{self, Action, Who};
use crate::db::{Conn, Db};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::keys::{Digest32, Keys};
use crate::kit::text::Email;
use crate::kit::time::Instant;

/// What is kept of the network that somebody comes from.
pub fn address_digest(keys: &Keys, network: &[u8]) -> Digest32 {
    keys.secret.digest("address", network)
}

/// What a try to log in counts against.
struct Tries(Vec<Try>);

impl Tries {
    /// Counts the try, or says how long it must wait: the longest of its waits.
    ///
    /// Where an account has logged in before, others cannot slow it down from elsewhere, nor its neighbours there.
    fn begin(
        conn: &mut Conn,
        now: Instant,
        keys: &Keys,
        email: &Email,
        from: &Digest32,
        known_there: bool,
    ) -> Result<Self> {
        let digest =
            |purpose: &str, more: &[u8]| keys.secret.digest(purpose, &[email.as_str().as_bytes(), &[0], more].concat());
        let mut subjects = vec![(Kind::AccountAddress, digest("attempts of account and address", from))];
        if !known_there {
            subjects.push((Kind::Account, digest("attempts of account", &[])));
            subjects.push((Kind::Address, *from));
        }
        let (mut begun, mut longest) = (Vec::new(), None);
        for (kind, subject) in &subjects {
            match attempts::attempt(conn, now, *kind, subject)? {
                Attempt::Begun(one) => begun.push(one),
                Attempt::Wait(seconds) => longest = longest.max(Some(seconds)),
            }
        }
        match longest {
            Some(seconds) => Err(Error::Wait { code: Code::TooManyAttempts, seconds }),
            None => Ok(Tries(begun)),
        }
    }

    fn take_back(&self, conn: &mut Conn) -> Result<()> {
        self.0.iter().try_for_each(|one| attempts::take_back(conn, one))
    }

    /// But for that of the account where it was made.
    fn take_back_elsewhere(&self, conn: &mut Conn) -> Result<()> {
        let elsewhere = self.0.iter().filter(|one| one.kind() != Kind::AccountAddress);
        elsewhere.into_iter().try_for_each(|one| attempts::take_back(conn, one))
    }

    fn succeeded(&self, conn: &mut Conn) -> Result<()> {
        let there = self.0.iter().filter(|one| one.kind() == Kind::AccountAddress);
        there.into_iter().try_for_each(|one| attempts::forget(conn, one))?;
        self.take_back_elsewhere(conn)
    }
}

/// Somebody who has just given the right password.
pub(super) struct Proof {
    pub person: Person,
    hash: String,
    tries: Tries,
    /// Whether this person has logged in from there before.
    known_there: bool,
}

impl Proof {
    /// Accepts it in the transaction that acts on it: false where the person was disabled or the password changed
    /// meanwhile. Until that transaction ends, neither can happen.
    pub fn accept(&self, conn: &mut Conn) -> Result<bool> {
        if !store::hold_password(conn, self.person.id, &self.hash)? {
            return Ok(false);
        }
        self.tries.succeeded(conn)?;
        Ok(true)
    }

    /// Hands on what came of it. Where something of ours broke, nobody has failed: the try is taken back.
    pub fn outcome<T>(&self, db: &Db, outcome: Result<T>) -> Result<T> {
        let broke = |error: &Error| matches!(error.code(), Code::Unavailable | Code::Internal);
        outcome.inspect_err(|error| {
            if broke(error)
                && let Err(error) = db.write(|conn, _| self.tries.take_back(conn))
            {
                tracing::warn!(%error, "a try to log in stays counted that was no failure");
            }
        })
    }

    /// Nothing was tried that could fail: a code is asked for first. From a new place it is told all the same, since
    /// somebody there knows the password; and it counts there until the code comes, so that it is not told without end.
    pub fn lacks_code(&self, conn: &mut Conn, now: Instant) -> Result<()> {
        if self.known_there {
            return self.tries.take_back(conn);
        }
        self.tries.take_back_elsewhere(conn)?;
        self.tell(conn, now, "code missing")
    }

    /// The password was right, and the second factor was not.
    pub fn failed(&self, conn: &mut Conn, now: Instant) -> Result<()> {
        self.tell(conn, now, "code")
    }

    fn tell(&self, conn: &mut Conn, now: Instant, why: &str) -> Result<()> {
        let who = Who { person: None, organisation: Some(self.person.organisation.id) };
        audit::record(conn, now, who, Action::LoginFailed, self.person.id, Some(why.to_owned()))
    }
}

/// That a signed-in person knows their own password: a wrong one is an error of the field that it came in.
pub(super) fn prove_own(
    db: &Db,
    keys: &Keys,
    settings: &Settings,
    from: &Digest32,
    email: &Email,
    (field, password): (&str, &str),
) -> Result<Proof> {
    prove(db, keys, settings, from, email, password).map_err(|error| match error {
        Error::Refused(Code::InvalidCredentials) => Error::invalid(field, Complaint::NotYourPassword),
        other => other,
    })
}

/// `invalid_credentials`, whether the address, the password, an unaccepted invitation or a disabled person is the reason;
/// `too_many_attempts`, without a look at the password.
///
/// Takes the database, not a transaction: the password is checked between two.
pub(super) fn prove(
    db: &Db,
    keys: &Keys,
    settings: &Settings,
    from: &Digest32,
    email: &Email,
    password: &str,
) -> Result<Proof> {
    let (tries, found, known_there) = db.write(|conn, now| {
        let found = store::person_and_hash(conn, email)?;
        let known_there = match &found {
            Some((person, _)) => store::has_come_from(conn, person.id, from)?,
            None => false,
        };
        Ok((Tries::begin(conn, now, keys, email, from, known_there)?, found, known_there))
    })?;
    let hash = found.as_ref().and_then(|(_, hash)| hash.as_deref());
    let right = match password::verify(settings, password, hash) {
        Ok(right) => right,
        // nobody has looked at it
        Err(error) => return db.write(|conn, _| tries.take_back(conn)).and(Err(error)),
    };
    match found {
        Some((person, Some(hash))) if right && person.disabled_at.is_none() => {
            Ok(Proof { person, hash, tries, known_there })
        }
        other => {
            let person = other.map(|(person, _)| person);
            let who = Who { person: None, organisation: person.as_ref().map(|person| person.organisation.id) };
            let subject = person.map(|person| person.id.to_string()).unwrap_or_default();
            db.write(|conn, now| audit::record(conn, now, who, Action::LoginFailed, &subject, None))?;
            Err(Error::Refused(Code::InvalidCredentials))
        }
    }
}
