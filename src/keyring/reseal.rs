//! After a rotation, what older keys have sealed is sealed anew under the current one.

use crate::access::keys as access;
use crate::db::{Conn, Db};
use crate::household::reseal as household;
use crate::kit::error::{Error, Result};
use crate::kit::keys::{KeyId, Keys};
use crate::kit::seal::Sealed;

/// Rows changed in one transaction: short enough that nobody waits long for it.
const BATCH: i64 = 100;

/// Batches of a place in one run, so that what else is due does not wait for all; the next run goes on.
const BATCHES: usize = 50;

type Find = fn(&mut Conn, &[KeyId], Option<[u8; 16]>, i64) -> Result<Vec<Sealed>>;

/// A sealed column.
struct Place {
    /// What it is sealed for.
    purpose: &'static str,
    /// How its rows are called to an operator.
    name: &'static str,
    under: Find,
    replace: fn(&mut Conn, &Sealed, KeyId, &[u8]) -> Result<usize>,
}

const PLACES: [Place; 4] = [
    Place {
        purpose: household::IDENTITY,
        name: "identities",
        under: household::identities_under,
        replace: household::reseal_identity,
    },
    Place {
        purpose: household::REASON,
        name: "reasons of dismissed duplicates",
        under: household::reasons_under,
        replace: household::reseal_reason,
    },
    Place {
        purpose: access::SECOND_FACTOR,
        name: "second factors",
        under: access::second_factors_under,
        replace: access::reseal_second_factor,
    },
    Place {
        purpose: access::SECOND_FACTOR,
        name: "begun second factors",
        under: access::begun_second_factors_under,
        replace: access::reseal_begun_second_factor,
    },
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Seals replaced.
    pub moved: usize,
    /// Seals that do not open, and stay.
    pub broken: usize,
}

/// Seals anew what keys older than the current one have sealed, batch by batch. Any number of servers may do so at once,
/// and stop anywhere: a row that has changed meanwhile is left as it is, and what is left is found again.
pub fn reseal(db: &Db, keys: &Keys) -> Result<Done> {
    let older = keys.identity.older();
    let mut done = Done::default();
    // mostly there is one key, and nothing to ask
    if older.is_empty() {
        return Ok(done);
    }
    for place in &PLACES {
        let mut last = None;
        for _ in 0..BATCHES {
            let rows = db.read(|conn| (place.under)(conn, &older, last, BATCH))?;
            let Some(end) = rows.last() else { break };
            last = Some(end.row);
            let Done { moved, broken } = batch(db, keys, place, &rows)?;
            done = Done { moved: done.moved + moved, broken: done.broken + broken };
        }
    }
    Ok(done)
}

fn batch(db: &Db, keys: &Keys, place: &Place, rows: &[Sealed]) -> Result<Done> {
    let mut anew = Vec::new();
    for old in rows {
        match keys.identity.open(place.purpose, &old.row, &old.bytes) {
            Ok(plain) => anew.push((old, keys.identity.seal(place.purpose, &old.row, &plain)?)),
            Err(error) => tracing::error!(%error, "a seal stays under an old key"),
        }
    }
    let key = keys.identity.current();
    let moved = db.write(|conn, _| {
        anew.iter().try_fold(0, |moved, (old, new)| Ok::<_, Error>(moved + (place.replace)(conn, old, key, new)?))
    })?;
    Ok(Done { moved, broken: rows.len() - anew.len() })
}

/// What is still sealed under a key, in an operator's words.
pub fn still_under(conn: &mut Conn, key: KeyId) -> Result<Option<&'static str>> {
    for place in &PLACES {
        if !(place.under)(conn, &[key], None, 1)?.is_empty() {
            return Ok(Some(place.name));
        }
    }
    Ok(None)
}
