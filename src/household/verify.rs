//! Every seal opens for the household it lies with, and what duplicates are found by is of what was sealed.

use super::fingerprint::fingerprints;
use super::{identity, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::keys::Keys;
use crate::ledger::Finding;

/// Identities read at a time.
const PAGE: i64 = 1_000;

/// Opens every seal, tells nobody what is in it, and so writes no look. Returns how many there are.
pub fn verify(conn: &mut Conn, keys: &Keys, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::identities_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { return Ok(count) };
        last = Some(end.household_id);
        count += page.len();
        for sealed in page {
            let id = sealed.household_id;
            let Ok(Some(said)) = identity::open(keys, &sealed) else {
                findings.push(Finding::new("sealed_identities", id, "does not open for this household"));
                continue;
            };
            let due = fingerprints(&keys.secret, &said);
            let kept = store::fingerprints_of(conn, id)?;
            let same = due.len() == kept.len()
                && due.iter().all(|(kind, digest)| kept.iter().any(|(k, d)| k == kind && d == digest));
            if !same {
                findings.push(Finding::new("household_fingerprints", id, "are not of what is sealed"));
            }
        }
    }
}
