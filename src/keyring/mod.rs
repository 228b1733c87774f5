//! Keys as time goes on: new ones are taken from the directory, what older ones sealed is sealed anew, and those that
//! nothing needs any more are retired.

pub mod commands;
mod reseal;

use crate::access::keys::{are_registered, awaited, register_keys};
use crate::db::Db;
use crate::kit::error::{Error, Result};
use crate::kit::keys::{KeyStore, Keys};

pub use reseal::reseal;

/// Reads the key directory again. What is new there is registered before it is worked with; if anything is wrong, the
/// keys stay as they were.
pub fn adopt(db: &Db, store: &KeyStore) -> Result<()> {
    let now = db.now();
    let keys = store.read(now).map_err(Error::Internal)?;
    if !db.read(|conn| are_registered(conn, now, &keys))? {
        db.write(|conn, now| register_keys(conn, now, &keys))?;
    }
    tell_of_awaited(db, &keys)?;
    store.replace(keys);
    Ok(())
}

/// Tells the log of each key that this server does not have yet, and must have before the others begin to use it.
pub fn tell_of_awaited(db: &Db, keys: &Keys) -> Result<()> {
    let now = db.now();
    for (key, until) in db.read(|conn| awaited(conn, now, keys))? {
        tracing::warn!(
            purpose = %key.purpose, key = %key.key_id, %until,
            "another server has made a key that is not here: copy its file into the key directory before it is used"
        );
    }
    Ok(())
}

/// One look of the scheduler at the keys. A failure is logged, and tried again at the next.
pub fn look(db: &Db, store: &KeyStore) {
    let before = store.now();
    if let Err(error) = adopt(db, store) {
        tracing::error!(%error, "the key directory is not as it must be: the keys stay as they were");
    }
    let keys = store.now();
    for (purpose, id, _) in keys.made().iter().filter(|key| !before.made().contains(key)) {
        tracing::info!(%purpose, key = %id, "a key was added");
    }
    match reseal(db, &keys) {
        Ok(done) if done == reseal::Done::default() => {}
        Ok(reseal::Done { moved, broken }) => tracing::info!(moved, broken, "sealed anew what an older key had sealed"),
        Err(error) => tracing::error!(%error, "what an older key has sealed could not be sealed anew"),
    }
}
