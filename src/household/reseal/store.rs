//! The SQL of changing seals.

use diesel::prelude::*;

use crate::db::schema::{household_duplicates, sealed_identities};
use crate::db::{Conn, key_of_seal};
use crate::kit::error::Result;
use crate::kit::id::{DuplicateId, HouseholdId};

pub fn identities_under(
    conn: &mut Conn,
    keys: Vec<String>,
    after: Option<HouseholdId>,
    limit: i64,
) -> Result<Vec<(HouseholdId, Vec<u8>)>> {
    let mut query = sealed_identities::table
        .filter(sealed_identities::key_id.eq_any(keys))
        .select((sealed_identities::household_id, sealed_identities::sealed))
        .order(sealed_identities::household_id)
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(sealed_identities::household_id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn replace_identity(conn: &mut Conn, id: HouseholdId, old: &[u8], key_id: &str, new: &[u8]) -> Result<usize> {
    let unchanged = sealed_identities::table.find(id).filter(sealed_identities::sealed.eq(old));
    let set = (sealed_identities::key_id.eq(key_id), sealed_identities::sealed.eq(new));
    Ok(diesel::update(unchanged).set(set).execute(conn)?)
}

pub fn reasons_under(
    conn: &mut Conn,
    keys: Vec<Vec<u8>>,
    after: Option<DuplicateId>,
    limit: i64,
) -> Result<Vec<(DuplicateId, Option<Vec<u8>>)>> {
    let mut query = household_duplicates::table
        .filter(key_of_seal(household_duplicates::reason_sealed).eq_any(keys))
        .select((household_duplicates::id, household_duplicates::reason_sealed))
        .order(household_duplicates::id)
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(household_duplicates::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn replace_reason(conn: &mut Conn, id: DuplicateId, old: &[u8], new: &[u8]) -> Result<usize> {
    let unchanged = household_duplicates::table.find(id).filter(household_duplicates::reason_sealed.eq(old));
    Ok(diesel::update(unchanged).set(household_duplicates::reason_sealed.eq(new)).execute(conn)?)
}
