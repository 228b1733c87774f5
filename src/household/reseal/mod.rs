//! What is sealed of households, found by its key and sealed anew under another.

mod store;

use uuid::Uuid;

use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{DuplicateId, HouseholdId};
use crate::kit::keys::KeyId;
use crate::kit::seal::Sealed;

/// What identities are sealed for.
pub const IDENTITY: &str = super::identity::SEALED;

/// What the reasons are sealed for why two households are not the same.
pub const REASON: &str = super::duplicates::SEALED;

/// Identities under some keys, in order of household, after one.
pub fn identities_under(conn: &mut Conn, keys: &[KeyId], after: Option<[u8; 16]>, limit: i64) -> Result<Vec<Sealed>> {
    let keys = keys.iter().map(KeyId::to_string).collect();
    let after = after.map(|row| HouseholdId::from_uuid(Uuid::from_bytes(row)));
    let rows = store::identities_under(conn, keys, after, limit)?;
    Ok(rows.into_iter().map(|(id, bytes)| Sealed { row: *id.as_bytes(), bytes }).collect())
}

/// Puts a seal in the place of another, if that still stands there; returns how many it has replaced. What was sealed
/// is as old as before.
pub fn reseal_identity(conn: &mut Conn, old: &Sealed, key: KeyId, new: &[u8]) -> Result<usize> {
    let id = HouseholdId::from_uuid(Uuid::from_bytes(old.row));
    store::replace_identity(conn, id, &old.bytes, &key.to_string(), new)
}

/// Reasons under some keys, in order of their pair's id, after one.
pub fn reasons_under(conn: &mut Conn, keys: &[KeyId], after: Option<[u8; 16]>, limit: i64) -> Result<Vec<Sealed>> {
    let heads = keys.iter().map(|key| key.0.to_vec()).collect();
    let after = after.map(|row| DuplicateId::from_uuid(Uuid::from_bytes(row)));
    let rows = store::reasons_under(conn, heads, after, limit)?;
    Ok(rows.into_iter().map(|(id, bytes)| Sealed { row: *id.as_bytes(), bytes: bytes.unwrap_or_default() }).collect())
}

/// As [`reseal_identity`], of a reason.
pub fn reseal_reason(conn: &mut Conn, old: &Sealed, _: KeyId, new: &[u8]) -> Result<usize> {
    store::replace_reason(conn, DuplicateId::from_uuid(Uuid::from_bytes(old.row)), &old.bytes, new)
}
