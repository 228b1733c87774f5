//! A login is a session: it ends at a fixed time or with a logout, and its refresh token is replaced at each use.

use super::secret::{self, Secret};
use super::store::{self, SessionRow};
use super::token::{self, Claims};
use super::{Actor, Person, Settings, password};
use crate::audit::{self, Action, Who};
use crate::db::{Conn, Db};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::SessionId;
use crate::kit::keys::Keys;
use crate::kit::text::Email;
use crate::kit::time::Instant;

/// What a login or a refresh gives.
pub struct Tokens {
    pub access_token: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    pub refresh_token: String,
    pub person: Person,
}

/// Begins a session. `invalid_credentials`, whether the address, the password or an unaccepted invitation is the reason.
///
/// Takes the database, not a transaction: the password is checked between a read and a write.
pub fn log_in(db: &Db, keys: &Keys, settings: &Settings, email: &Email, password: &str) -> Result<Tokens> {
    let (person, hash) = match db.read(|conn| store::person_and_hash(conn, email))? {
        Some((person, hash)) => (Some(person), hash),
        None => (None, None),
    };
    let right = password::verify(settings, password, hash.as_deref())?;
    let Some(person) = person.filter(|_| right) else { return Err(Error::Refused(Code::InvalidCredentials)) };
    db.write(|conn, now| {
        let secret = Secret::new();
        let session = SessionRow {
            id: SessionId::new(now),
            person_id: person.id,
            refresh_digest: secret.digest.to_vec(),
            created_at: now,
            expires_at: now.plus_minutes(settings.session_hours * 60),
            ended_at: None,
        };
        store::insert_session(conn, &session)?;
        let who = Who { person: Some(person.id), organisation: Some(person.organisation.id) };
        audit::record(conn, now, who, Action::LoggedIn, session.id, None)?;
        tokens(keys, settings, now, session.id, session.expires_at, person.clone(), secret)
    })
}

/// Replaces both tokens of a session; its end stays where it was. `invalid_refresh_token`.
pub fn refresh(conn: &mut Conn, now: Instant, keys: &Keys, settings: &Settings, refresh_token: &str) -> Result<Tokens> {
    let refused = || Error::Refused(Code::InvalidRefreshToken);
    let old = secret::digest(refresh_token);
    let (session, ends_at, person) = store::session_by_refresh(conn, &old, now)?.ok_or_else(refused)?;
    let new = Secret::new();
    // of two refreshes with one token, the first wins
    if store::replace_refresh(conn, session, &old, &new.digest, now)? == 0 {
        return Err(refused());
    }
    tokens(keys, settings, now, session, ends_at, person, new)
}

/// Ends the actor's session, and with it every token of that session.
pub fn log_out(conn: &mut Conn, now: Instant, actor: &Actor) -> Result<()> {
    store::end_session(conn, actor.session, now)
}

/// Who is behind an access token, as the database knows them now; `unauthenticated` where nobody is.
pub fn authenticate(conn: &mut Conn, now: Instant, keys: &Keys, settings: &Settings, token: &str) -> Result<Actor> {
    let claims = token::verify(&keys.login, settings, now, token)?;
    store::actor(conn, claims.sid, claims.sub, now)?.ok_or(Error::Refused(Code::Unauthenticated))
}

fn tokens(
    keys: &Keys,
    settings: &Settings,
    now: Instant,
    session: SessionId,
    session_ends: Instant,
    person: Person,
    refresh: Secret,
) -> Result<Tokens> {
    let expires_in = access_seconds(settings, now, session_ends);
    let claims = Claims {
        iss: settings.issuer.clone(),
        aud: settings.audience.clone(),
        sub: person.id,
        org: person.organisation.id,
        role: person.role(),
        sid: session,
        iat: now.as_second(),
        exp: now.as_second() + expires_in,
    };
    let access_token = token::sign(&keys.login, &claims)?;
    Ok(Tokens { access_token, expires_in, refresh_token: refresh.text, person })
}

/// No access token outlives its session.
fn access_seconds(settings: &Settings, now: Instant, session_ends: Instant) -> i64 {
    (settings.access_minutes * 60).min(session_ends.as_second() - now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_does_not_outlive_its_session() {
        let settings = Settings {
            issuer: String::new(),
            audience: String::new(),
            access_minutes: 15,
            session_hours: 1,
            invitation_hours: 72,
            password_memory_kib: 64,
            password_iterations: 1,
        };
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        assert_eq!(access_seconds(&settings, now, now.plus_minutes(60)), 900);
        assert_eq!(access_seconds(&settings, now, now.plus_seconds(30)), 30);
    }
}
