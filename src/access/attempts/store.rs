//! Failed attempts in the database, shared by all servers.

use diesel::prelude::*;

use super::{Count, Kind};
use crate::db::schema::attempts;
use crate::db::{Conn, Locked, Upsert};
use crate::kit::error::Result;
use crate::kit::keys::Digest32;
use crate::kit::time::Instant;

type Columns = (i32, Instant, Instant);

fn count((failures, began_at, last_at): Columns) -> Count {
    Count { failures, began_at, last_at }
}

pub fn read(conn: &mut Conn, kind: Kind, subject: &Digest32) -> Result<Option<Count>> {
    let row = attempts::table.find((kind, subject.as_slice()));
    let found = row.select((attempts::failures, attempts::began_at, attempts::last_at)).first(conn).optional()?;
    Ok(found.map(count))
}

/// The same, and nobody else's to change until this transaction ends.
pub fn lock(conn: &mut Conn, kind: Kind, subject: &Digest32) -> Result<Option<Count>> {
    let row = attempts::table.find((kind, subject.as_slice()));
    let row = row.select((attempts::failures, attempts::began_at, attempts::last_at));
    Ok(Locked(row).get_result(conn).optional()?.map(count))
}

/// Writes the first failure, unless some are counted already: then false, once whoever was counting has ended.
pub fn insert(conn: &mut Conn, kind: Kind, subject: &Digest32, count: &Count) -> Result<bool> {
    let row = (
        attempts::kind.eq(kind),
        attempts::subject.eq(subject.as_slice()),
        attempts::failures.eq(count.failures),
        attempts::began_at.eq(count.began_at),
        attempts::last_at.eq(count.last_at),
    );
    let inserted = Upsert(diesel::insert_into(attempts::table).values(row).on_conflict_do_nothing()).execute(conn)?;
    Ok(inserted == 1)
}

pub fn set(conn: &mut Conn, kind: Kind, subject: &Digest32, count: &Count) -> Result<()> {
    diesel::update(attempts::table.find((kind, subject.as_slice())))
        .set((
            attempts::failures.eq(count.failures),
            attempts::began_at.eq(count.began_at),
            attempts::last_at.eq(count.last_at),
        ))
        .execute(conn)?;
    Ok(())
}

pub fn delete(conn: &mut Conn, kind: Kind, subject: &Digest32) -> Result<()> {
    diesel::delete(attempts::table.find((kind, subject.as_slice()))).execute(conn)?;
    Ok(())
}

/// Deletes some of those whose last failure is older than an instant; returns how many.
pub fn delete_older(conn: &mut Conn, than: Instant, limit: i64) -> Result<usize> {
    let old = attempts::table.filter(attempts::last_at.lt(than));
    let subjects: Vec<Vec<u8>> = old.select(attempts::subject).limit(limit).load(conn)?;
    Ok(diesel::delete(old.filter(attempts::subject.eq_any(subjects))).execute(conn)?)
}
