//! The first answer to each client-made key.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable, Text};

use super::idempotency::Claim;
use crate::db::schema::idempotency_keys as keys;
use crate::db::{Ask, Conn, Upsert, column, hex, listed_rows, question, sqlite, unnested, unnested_rows};
use crate::kit::error::Result;
use crate::kit::id::OrganisationId;
use crate::kit::keys::Digest32;
use crate::kit::sql::ty;
use crate::kit::time::Instant;

/// The digest of the request that took a key, and the answer it got.
type First = (Vec<u8>, Option<String>);

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

/// A key that was taken: whose, which, the request's digest, and its first answer.
pub type Taken = (OrganisationId, String, Vec<u8>, Option<String>);

/// Those of some keys that are taken.
pub(super) fn taken(of: &[Claim]) -> impl Ask<Answer = Vec<Taken>> {
    let part = unnested_rows::<(ty::Id, Text, Binary, Nullable<Text>), _>(
        "SELECT k.organisation_id, k.key, k.request_digest, k.answer FROM unnest(",
        (
            column::<ty::Id, _, _>(of, |claim| claim.organisation),
            column::<Text, _, _>(of, |claim| claim.key.to_owned()),
        ),
        ") AS asked (organisation_id, key) CROSS JOIN LATERAL (SELECT * FROM idempotency_keys \
         WHERE organisation_id = asked.organisation_id AND key = asked.key LIMIT 1) AS k",
    );
    question(part, move |conn| {
        let of: Vec<_> = of.iter().map(|claim| (hex(claim.organisation.as_bytes()), claim.key)).collect();
        let query = listed_rows::<(ty::Id, Text, Binary, Nullable<Text>), _>(
            "SELECT k.organisation_id, k.key, k.request_digest, k.answer FROM",
            &of,
            "AS asked CROSS JOIN idempotency_keys AS k ON k.organisation_id = unhex(asked.value ->> 0) \
             AND k.key = asked.value ->> 1",
        )?;
        Ok(query.load(sqlite(conn)?)?)
    })
}

/// Takes keys together with their answers, in one order for all; returns how many were free.
pub(super) fn keep(conn: &mut Conn, now: Instant, answers: &[(Claim, &str)]) -> Result<usize> {
    let mut answers = answers.to_vec();
    answers.sort_by(|(a, _), (b, _)| (a.organisation, a.key).cmp(&(b.organisation, b.key)));
    match conn {
        Conn::Pg(conn) => {
            let organisations = column::<ty::Id, _, _>(&answers, |(claim, _)| claim.organisation);
            let taken = column::<Text, _, _>(&answers, |(claim, _)| claim.key.to_owned());
            let digests = column::<Binary, _, _>(&answers, |(claim, _)| claim.digest.to_vec());
            let told = column::<Text, _, _>(&answers, |(_, answer)| (*answer).to_owned());
            let at = column::<ty::Instant, _, _>(&answers, |_| now);
            let insert = unnested(
                "INSERT INTO idempotency_keys (organisation_id, key, request_digest, answer, created_at) \
                 SELECT * FROM unnest(",
                (organisations, taken, digests, told, at),
                ") ON CONFLICT DO NOTHING",
            );
            Ok(insert.execute(conn)?)
        }
        Conn::Sqlite(conn) => {
            let mut kept = 0;
            for (claim, answer) in &answers {
                let row = (
                    keys::organisation_id.eq(claim.organisation),
                    keys::key.eq(claim.key),
                    keys::request_digest.eq(claim.digest.as_slice()),
                    keys::answer.eq(*answer),
                    keys::created_at.eq(now),
                );
                kept += diesel::insert_into(keys::table).values(row).on_conflict_do_nothing().execute(conn)?;
            }
            Ok(kept)
        }
    }
}

pub(super) fn first_answer(conn: &mut Conn, organisation: OrganisationId, key: &str) -> Result<Option<First>> {
    let query = keys::table.find((organisation, key)).select((keys::request_digest, keys::answer));
    Ok(query.first(conn).optional()?)
}
