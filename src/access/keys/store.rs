//! The SQL of keys, and of second factors under seal.

use diesel::prelude::*;
use uuid::Uuid;

use crate::db::schema::{people, signing_keys};
use crate::db::{Conn, Upsert, key_of_seal};
use crate::kit::error::Result;
use crate::kit::id::PersonId;
use crate::kit::keys::{KeyId, Purpose};
use crate::kit::seal::Sealed;
use crate::kit::time::Instant;

/// A key that this database has been used with.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = signing_keys, treat_none_as_default_value = false)]
pub struct KnownKey {
    pub key_id: String,
    pub purpose: Purpose,
    /// When the key was made, or first seen.
    pub created_at: Instant,
    pub retired_at: Option<Instant>,
}

pub fn known(conn: &mut Conn) -> Result<Vec<KnownKey>> {
    let query = signing_keys::table.select(KnownKey::as_select());
    Ok(query.order((signing_keys::purpose, signing_keys::created_at, signing_keys::key_id)).load(conn)?)
}

/// Whether it was not known.
pub fn insert(conn: &mut Conn, key: &KnownKey) -> Result<bool> {
    let row = (
        signing_keys::key_id.eq(&key.key_id),
        signing_keys::purpose.eq(key.purpose),
        signing_keys::created_at.eq(key.created_at),
    );
    Ok(Upsert(diesel::insert_into(signing_keys::table).values(row).on_conflict_do_nothing()).execute(conn)? > 0)
}

pub fn retire(conn: &mut Conn, id: &str, now: Instant) -> Result<usize> {
    let used = signing_keys::table.find(id).filter(signing_keys::retired_at.is_null());
    Ok(diesel::update(used).set(signing_keys::retired_at.eq(now)).execute(conn)?)
}

/// What moves the seals of one column of people: finds those under some keys, in order of person, after one; and puts one
/// in the place of another, if that still stands there, telling how many it has replaced.
macro_rules! sealed_column {
    ($column:path: $under:ident, $reseal:ident) => {
        pub fn $under(conn: &mut Conn, keys: &[KeyId], after: Option<[u8; 16]>, limit: i64) -> Result<Vec<Sealed>> {
            let heads: Vec<Vec<u8>> = keys.iter().map(|key| key.0.to_vec()).collect();
            let mut query = people::table
                .filter(key_of_seal($column).eq_any(heads))
                .select((people::id, $column))
                .order(people::id)
                .limit(limit)
                .into_boxed();
            if let Some(after) = after {
                query = query.filter(people::id.gt(person(after)));
            }
            let rows: Vec<(PersonId, Option<Vec<u8>>)> = query.load(conn)?;
            let sealed = |(id, bytes): (PersonId, Option<Vec<u8>>)| Some(Sealed { row: *id.as_bytes(), bytes: bytes? });
            Ok(rows.into_iter().filter_map(sealed).collect())
        }

        pub fn $reseal(conn: &mut Conn, old: &Sealed, _: KeyId, new: &[u8]) -> Result<usize> {
            let unchanged = people::table.find(person(old.row)).filter($column.eq(&old.bytes));
            Ok(diesel::update(unchanged).set($column.eq(new)).execute(conn)?)
        }
    };
}

sealed_column!(people::totp_sealed: second_factors_under, reseal_second_factor);
sealed_column!(people::totp_pending_sealed: begun_second_factors_under, reseal_begun_second_factor);

fn person(row: [u8; 16]) -> PersonId {
    PersonId::from_uuid(Uuid::from_bytes(row))
}
