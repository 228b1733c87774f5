//! A login is a session: it ends at a fixed time or with a logout, and its refresh token is replaced at each use.

use std::collections::BTreeMap;

use super::proof::prove;
use super::second_factor::{self, Factor};
use super::secret::{self, Secret};
use super::store::{self, Living, SessionRow};
use super::token::{self, Claims};
use super::{Actor, Person, Settings, attempts};
use crate::audit::{self, Action, Who};
use crate::db::{Ask, Conn, Db};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::SessionId;
use crate::kit::keys::{Digest32, KeyId, Keys};
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

/// How long a session that is over is kept: so long its refresh tokens are known, and where it came from.
const KEPT_DAYS: i64 = 30;

/// How much is cleared away in one transaction.
const BATCH: i64 = 500;

/// Begins a session. `invalid_credentials`, whether the address, the password, an unaccepted invitation or a disabled
/// person or the code is the reason; `second_factor_required` where all is right but that a code is needed;
/// `too_many_attempts` after many failures. `from` is the [`address_digest`](super::address_digest).
///
/// Takes the database, not a transaction: the password is checked between two.
pub fn log_in(
    db: &Db,
    keys: &Keys,
    settings: &Settings,
    from: &Digest32,
    email: &Email,
    password: &str,
    code: Option<&str>,
) -> Result<Tokens> {
    let proof = prove(db, keys, settings, from, email, password)?;
    let begun = proof.outcome(
        db,
        db.write(|conn, now| {
            let factor = second_factor::at_login(conn, now, keys, proof.person.id, code)?;
            match factor {
                Factor::NotSet | Factor::Code | Factor::RecoveryCode => {}
                Factor::Missing => return proof.lacks_code(conn, now).map(|()| Err(Code::SecondFactorRequired)),
                // the try stays counted
                Factor::Wrong => return proof.failed(conn, now).map(|()| Err(Code::InvalidCredentials)),
            }
            if !proof.accept(conn)? {
                return Err(Error::Refused(Code::InvalidCredentials));
            }
            let person = proof.person.clone();
            let secret = Secret::new();
            let session = SessionRow {
                id: SessionId::new(now),
                person_id: person.id,
                refresh_digest: secret.digest.to_vec(),
                created_at: now,
                expires_at: now.plus_minutes(settings.session_hours * 60),
                ended_at: None,
                address_digest: Some(from.to_vec()),
            };
            store::insert_session(conn, &session)?;
            if factor != Factor::NotSet {
                second_factor::mark(conn, now, session.id)?;
            }
            audit::record(conn, now, who(&person), Action::LoggedIn, session.id, factor.told())?;
            tokens(keys, settings, now, session.id, session.expires_at, person, secret).map(Ok)
        }),
    )?;
    begun.map_err(Error::Refused)
}

fn who(person: &Person) -> Who {
    Who { person: Some(person.id), organisation: Some(person.organisation.id) }
}

/// Replaces both tokens of a session; its end stays where it was. None for a token that is not good, which is to be
/// refused once this is committed: one that was used before has ended its session, since one of the two who had it is a
/// thief.
pub fn refresh(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    settings: &Settings,
    refresh_token: &str,
) -> Result<Option<Tokens>> {
    let old = secret::digest(refresh_token);
    if let Some((session, ends_at, person)) = store::session_by_refresh(conn, &old, now)? {
        let new = Secret::new();
        // of two refreshes with one token at once, the first wins, and the other finds it spent
        if store::replace_refresh(conn, session, &old, &new.digest, now)? == 1 {
            store::insert_spent(conn, &old, session, now)?;
            return tokens(keys, settings, now, session, ends_at, person, new).map(Some);
        }
    }
    if let Some((session, person)) = store::session_by_spent(conn, &old)?
        && store::end_session(conn, session, now)?
    {
        audit::record(conn, now, who(&person), Action::RefreshTokenReused, session, None)?;
    }
    Ok(None)
}

/// Ends the actor's session, and with it every token of that session.
pub fn log_out(conn: &mut Conn, now: Instant, actor: &Actor) -> Result<()> {
    store::end_session(conn, actor.session, now)?;
    audit::record(conn, now, actor.who(), Action::LoggedOut, actor.session, None)
}

/// Deletes some of the failures that count no more, and of the sessions that have long been over; returns how many.
pub fn clear_away(conn: &mut Conn, now: Instant) -> Result<usize> {
    let attempts = attempts::clear_away(conn, now, BATCH)?;
    Ok(attempts + store::delete_sessions(conn, now.plus_minutes(-KEPT_DAYS * 24 * 60), BATCH)?)
}

/// Ends every living session and withdraws every invitation: after a restore, what was spent, revoked or accepted since the
/// backup would be good again.
pub fn close_all_doors(conn: &mut Conn, now: Instant) -> Result<()> {
    store::withdraw_invitations(conn)?;
    store::end_every_session(conn, now)
}

/// [`Db::write`] for somebody whose session stands when the transaction has its turn, as a body may come long after its
/// head, and still stands when all is done, as what was done may have waited for others: else `unauthenticated`.
pub fn write_as<T>(db: &Db, actor: &Actor, work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
    write_ending(db, actor, work, |_| false)
}

/// The same for work that may end the very session, which `ends` tells by its outcome.
pub fn write_ending<T>(
    db: &Db,
    actor: &Actor,
    mut work: impl FnMut(&mut Conn, Instant) -> Result<T>,
    ends: impl Fn(&T) -> bool,
) -> Result<T> {
    db.write(|conn, now| {
        still_signed_in(conn, now, actor)?;
        let outcome = work(conn, now)?;
        if !ends(&outcome) {
            still_signed_in(conn, now, actor)?;
        }
        Ok(outcome)
    })
}

/// `unauthenticated` where an actor's session has ended since, or they were disabled.
pub fn still_signed_in(conn: &mut Conn, now: Instant, actor: &Actor) -> Result<()> {
    store::actor(conn, actor.session, actor.person, now)?.map(drop).ok_or(Error::Refused(Code::Unauthenticated))
}

/// Which of some sessions live, each named once.
pub fn ask_living(now: Instant, sessions: &[SessionId]) -> impl Ask<Answer = Vec<Living>> {
    store::living(sessions, now)
}

/// Whose sessions are among those that live, and are of whom they were thought to be.
pub fn standing(actors: &[&Actor], living: Vec<Living>) -> Vec<bool> {
    let living = living.into_iter().map(Actor::from).map(|actor| (actor.session, actor));
    let living: BTreeMap<SessionId, Actor> = living.collect();
    let who = |actor: &Actor| (actor.person, actor.organisation, actor.role);
    actors.iter().map(|&actor| living.get(&actor.session).map(who) == Some(who(actor))).collect()
}

/// Who is behind an access token, and for how long it is good.
#[derive(Clone, Debug)]
pub struct Caller {
    pub actor: Actor,
    /// Seconds since 1970.
    pub expires: i64,
    /// What it was signed with.
    pub key: KeyId,
}

/// Who is behind an access token, as the database knows them now; `unauthenticated` where nobody is.
pub fn authenticate(conn: &mut Conn, now: Instant, keys: &Keys, settings: &Settings, token: &str) -> Result<Caller> {
    let (claims, key) = token::verify(&keys.login, settings, now, token)?;
    let actor = store::actor(conn, claims.sid, claims.sub, now)?.ok_or(Error::Refused(Code::Unauthenticated))?;
    Ok(Caller { actor, expires: claims.exp, key })
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
            second_factor_required: true,
        };
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        assert_eq!(access_seconds(&settings, now, now.plus_minutes(60)), 900);
        assert_eq!(access_seconds(&settings, now, now.plus_seconds(30)), 30);
    }
}
