//! What is kept of a household, told and taken away: its export, its erasure, and the time after which that happens by
//! itself.

pub mod api;
mod erasure;
mod export;
mod retention;
mod store;

use crate::db::Db;

pub use erasure::erase;
pub use export::{Export, Holding, Sighting, export};
pub use retention::erase_due;

/// The tables that say who a household is, or may be.
const TABLES: [&str; 3] = ["sealed_identities", "household_fingerprints", "household_duplicates"];

/// Takes what was erased out of the database's files. Where somebody reads for too long, the scheduler does it.
pub fn wipe(db: &Db) {
    db.mark_unwiped();
    if let Err(error) = db.wipe(&TABLES) {
        tracing::warn!(%error, "what was erased is still in the database's files: tried again at the next look");
    }
}
