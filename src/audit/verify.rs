//! Recomputes the chain of the audit log.

use super::store;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::ledger::Finding;

/// Rows read at a time.
const PAGE: i64 = 10_000;

/// Every entry stands where it was written, as it was written. Returns how many there are.
///
/// What this cannot see is a log cut at its end or written anew as a whole: compare the head with one noted earlier.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut expected, mut before) = (0, 1, Vec::new());
    loop {
        let entries = store::following(conn, expected - 1, PAGE)?;
        let Some(last) = entries.last() else { return Ok(count) };
        let after = last.sequence + 1;
        for entry in entries {
            if entry.sequence != expected {
                findings.push(Finding::new(
                    "audit_entries",
                    entry.sequence,
                    format!("comes where {expected} is missing"),
                ));
            }
            if entry.digest != entry.seal(&before) {
                findings.push(Finding::new("audit_entries", entry.sequence, "is not as it was written"));
            }
            (count, expected, before) = (count + 1, entry.sequence + 1, entry.digest);
        }
        expected = after;
    }
}
