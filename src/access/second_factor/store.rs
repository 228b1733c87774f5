//! Second factors in the database: sealed secrets, used-up steps, digests of recovery codes.

use diesel::prelude::*;

use crate::db::Conn;
use crate::db::schema::{people, recovery_codes, sessions};
use crate::kit::error::Result;
use crate::kit::id::{PersonId, SessionId};
use crate::kit::keys::Digest32;
use crate::kit::time::Instant;

/// The sealed secrets of one person.
#[derive(Queryable, Selectable)]
#[diesel(table_name = people)]
pub struct Standing {
    #[diesel(column_name = totp_sealed)]
    pub in_force: Option<Vec<u8>>,
    /// Of an authenticator that no code has come from yet.
    #[diesel(column_name = totp_pending_sealed)]
    pub pending: Option<Vec<u8>>,
}

pub fn standing(conn: &mut Conn, person: PersonId) -> Result<Standing> {
    Ok(people::table.find(person).select(Standing::as_select()).first(conn)?)
}

/// The same, once nobody else is changing it; until the end of the transaction nobody else will.
pub fn take(conn: &mut Conn, person: PersonId) -> Result<Standing> {
    // an UPDATE and no FOR UPDATE: that would also hold up the audit entries that name this person
    diesel::update(people::table.find(person)).set(people::totp_last_step.eq(people::totp_last_step)).execute(conn)?;
    standing(conn, person)
}

/// Uses up a step and all before it; false where it is used up already.
pub fn spend_step(conn: &mut Conn, person: PersonId, step: i64) -> Result<bool> {
    let before = people::table.find(person).filter(people::totp_last_step.lt(step));
    Ok(diesel::update(before).set(people::totp_last_step.eq(step)).execute(conn)? == 1)
}

/// False where no such code is left.
pub fn spend_recovery_code(conn: &mut Conn, person: PersonId, digest: &Digest32, now: Instant) -> Result<bool> {
    let unused = recovery_codes::table.find((person, digest.as_slice())).filter(recovery_codes::used_at.is_null());
    Ok(diesel::update(unused).set(recovery_codes::used_at.eq(now)).execute(conn)? == 1)
}

pub fn replace_recovery_codes(conn: &mut Conn, person: PersonId, digests: &[Digest32]) -> Result<()> {
    forget_recovery_codes(conn, person)?;
    for digest in digests {
        let row = (recovery_codes::person_id.eq(person), recovery_codes::digest.eq(digest.as_slice()));
        diesel::insert_into(recovery_codes::table).values(row).execute(conn)?;
    }
    Ok(())
}

fn forget_recovery_codes(conn: &mut Conn, person: PersonId) -> Result<()> {
    diesel::delete(recovery_codes::table.filter(recovery_codes::person_id.eq(person))).execute(conn)?;
    Ok(())
}

pub fn keep_pending(conn: &mut Conn, person: PersonId, sealed: &[u8]) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::totp_pending_sealed.eq(sealed)).execute(conn)?;
    Ok(())
}

pub fn put_in_force(conn: &mut Conn, person: PersonId, sealed: &[u8], step: i64, now: Instant) -> Result<()> {
    diesel::update(people::table.find(person))
        .set((
            people::totp_sealed.eq(sealed),
            people::totp_confirmed_at.eq(now),
            people::totp_last_step.eq(step),
            people::totp_pending_sealed.eq(None::<Vec<u8>>),
        ))
        .execute(conn)?;
    Ok(())
}

/// Nothing of it is left.
pub fn clear(conn: &mut Conn, person: PersonId) -> Result<()> {
    diesel::update(people::table.find(person))
        .set((
            people::totp_sealed.eq(None::<Vec<u8>>),
            people::totp_confirmed_at.eq(None::<Instant>),
            people::totp_last_step.eq(None::<i64>),
            people::totp_pending_sealed.eq(None::<Vec<u8>>),
        ))
        .execute(conn)?;
    forget_recovery_codes(conn, person)
}

pub fn mark(conn: &mut Conn, session: SessionId, now: Instant) -> Result<()> {
    diesel::update(sessions::table.find(session)).set(sessions::second_factor_at.eq(now)).execute(conn)?;
    Ok(())
}

/// No session of theirs counts as one with a second factor any more.
pub fn unmark(conn: &mut Conn, person: PersonId) -> Result<()> {
    let marked =
        sessions::table.filter(sessions::person_id.eq(person)).filter(sessions::second_factor_at.is_not_null());
    diesel::update(marked).set(sessions::second_factor_at.eq(None::<Instant>)).execute(conn)?;
    Ok(())
}

/// Counts a wrong code of a session; true where it was the last one, and ended it.
pub fn count_wrong_code(conn: &mut Conn, session: SessionId, most: i32, now: Instant) -> Result<bool> {
    let living = sessions::table.find(session).filter(sessions::ended_at.is_null());
    diesel::update(living).set(sessions::wrong_codes.eq(sessions::wrong_codes + 1)).execute(conn)?;
    let over =
        sessions::table.find(session).filter(sessions::ended_at.is_null()).filter(sessions::wrong_codes.ge(most));
    Ok(diesel::update(over).set(sessions::ended_at.eq(now)).execute(conn)? == 1)
}

/// Ends all sessions of a person but one.
pub fn end_sessions(conn: &mut Conn, person: PersonId, but: Option<SessionId>, now: Instant) -> Result<()> {
    let living = sessions::table.filter(sessions::person_id.eq(person)).filter(sessions::ended_at.is_null());
    let ended = sessions::ended_at.eq(now);
    match but {
        Some(kept) => diesel::update(living.filter(sessions::id.ne(kept))).set(ended).execute(conn)?,
        None => diesel::update(living).set(ended).execute(conn)?,
    };
    Ok(())
}
