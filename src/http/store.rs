//! The first answer to each client-made key.

use diesel::prelude::*;

use crate::db::schema::idempotency_keys as keys;
use crate::db::{Conn, Upsert};
use crate::kit::error::Result;
use crate::kit::id::OrganisationId;
use crate::kit::keys::Digest32;
use crate::kit::time::Instant;

/// Takes a key, and says whether it was free. Waits for another transaction that has just taken it.
pub(super) fn claim(
    conn: &mut Conn,
    organisation: OrganisationId,
    key: &str,
    digest: &Digest32,
    now: Instant,
) -> Result<bool> {
    let row = (
        keys::organisation_id.eq(organisation),
        keys::key.eq(key),
        keys::request_digest.eq(digest.as_slice()),
        keys::created_at.eq(now),
    );
    let claimed = Upsert(diesel::insert_into(keys::table).values(row).on_conflict_do_nothing()).execute(conn)?;
    Ok(claimed == 1)
}

pub(super) fn keep_answer(conn: &mut Conn, organisation: OrganisationId, key: &str, answer: &str) -> Result<()> {
    diesel::update(keys::table.find((organisation, key))).set(keys::answer.eq(answer)).execute(conn)?;
    Ok(())
}

/// The digest of the request that took a key, and the answer it got.
pub(super) fn first_answer(
    conn: &mut Conn,
    organisation: OrganisationId,
    key: &str,
) -> Result<Option<(Vec<u8>, Option<String>)>> {
    let query = keys::table.find((organisation, key)).select((keys::request_digest, keys::answer));
    Ok(query.first(conn).optional()?)
}
