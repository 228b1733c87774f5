//! The end of keeping: so many months after the last contact, a household is erased by itself.

use super::{erasure, store, wipe};
use crate::audit::Who;
use crate::db::Db;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::HouseholdId;

/// Households looked up at a time.
const BATCH: i64 = 50;

/// Erases every household whose last contact is more than so many calendar months ago (in UTC), each in a transaction
/// of its own; returns how many. Any number may run at once.
///
/// What fails for one is logged and left for the next run.
pub fn erase_due(db: &Db, months: i32) -> Result<usize> {
    let (mut erased, mut last) = (0, None);
    loop {
        let due = db.read(|conn| store::silent_since(conn, db.now().plus_months(-months), last, BATCH))?;
        let Some(&end) = due.last() else { break };
        last = Some(end);
        for id in due {
            match expire(db, months, id) {
                Ok(true) => erased += 1,
                Ok(false) => {}
                Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
                Err(error) => tracing::error!(%error, "a household could not be erased"),
            }
        }
    }
    if erased > 0 || db.is_unwiped() {
        wipe(db);
    }
    Ok(erased)
}

/// `false` where somebody has dealt with it meanwhile, or it still holds money.
fn expire(db: &Db, months: i32, id: HouseholdId) -> Result<bool> {
    let erased = db.write(|conn, now| {
        crate::household::take(conn, id)?;
        if !store::is_silent_since(conn, id, now.plus_months(-months))? {
            return Err(Error::Refused(Code::StillEnrolled));
        }
        erasure::erase_for(conn, now, Who::SERVICE, id, Some("retention"))
    });
    match erased {
        Ok(()) => Ok(true),
        Err(Error::Refused(Code::StillEnrolled | Code::NotFound)) => Ok(false),
        Err(other) => Err(other),
    }
}
