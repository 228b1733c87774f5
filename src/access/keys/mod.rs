//! The keys that this deployment counts on: the database knows their ids, never the keys.

mod store;

use crate::audit::{self, Action, Who};
use crate::db::Conn;
use crate::kit::error::{Error, Result};
use crate::kit::keys::{KeyId, Keys, Purpose};
use crate::kit::time::Instant;

pub use store::{
    KnownKey, begun_second_factors_under, reseal_begun_second_factor, reseal_second_factor, second_factors_under,
};

/// What second factors are sealed for, begun or in force.
pub const SECOND_FACTOR: &str = "totp";

/// Every key that this database has been used with, in order of purpose and making.
pub fn known_keys(conn: &mut Conn) -> Result<Vec<KnownKey>> {
    store::known(conn)
}

/// The purposes that this database has been used with a key for: theirs are to be found, not made.
pub fn purposes_in_use(conn: &mut Conn) -> Result<Vec<Purpose>> {
    Ok(store::known(conn)?.into_iter().filter(|key| key.retired_at.is_none()).map(|key| key.purpose).collect())
}

/// Remembers this deployment's keys before anything is signed with them, and refuses to go on without one that it
/// counts on, but for those that are [`awaited`].
pub fn register_keys(conn: &mut Conn, now: Instant, keys: &Keys) -> Result<()> {
    let known = store::known(conn)?;
    if let Some(lost) = missing(&known, now, keys) {
        return Err(Error::Internal(lost));
    }
    for (purpose, id, made) in unknown(&known, keys) {
        let key = KnownKey { key_id: id.to_string(), purpose, created_at: made, retired_at: None };
        // those of a new deployment are nobody's news
        if store::insert(conn, &key)? && !known.is_empty() {
            audit::record(conn, now, Who::SERVICE, Action::KeyAdded, id, Some(purpose.to_string()))?;
        }
    }
    Ok(())
}

/// Whether [`register_keys`] would do anything, or refuse.
pub fn are_registered(conn: &mut Conn, now: Instant, keys: &Keys) -> Result<bool> {
    let known = store::known(conn)?;
    Ok(missing(&known, now, keys).is_none() && unknown(&known, keys).next().is_none())
}

/// The keys that another server has made and that are not among these yet, with the instant by which they must be: so
/// long, an older key signs and seals.
pub fn awaited(conn: &mut Conn, now: Instant, keys: &Keys) -> Result<Vec<(KnownKey, Instant)>> {
    let known = store::known(conn)?;
    let awaited = lacking(&known, keys).filter_map(|key| Some((key.clone(), awaited_until(&known, now, keys, key)?)));
    Ok(awaited.collect())
}

/// What to say where a key that the database counts on now is not among these.
fn missing(known: &[KnownKey], now: Instant, keys: &Keys) -> Option<String> {
    lacking(known, keys).find(|key| awaited_until(known, now, keys, key).is_none()).map(KnownKey::is_missing)
}

fn lacking<'k>(known: &'k [KnownKey], keys: &'k Keys) -> impl Iterator<Item = &'k KnownKey> {
    known.iter().filter(|key| key.retired_at.is_none() && !key.is_among(keys))
}

/// None for a key that may be in use: only one that came after another of its purpose, which is here, has an overlap.
fn awaited_until(known: &[KnownKey], now: Instant, keys: &Keys, key: &KnownKey) -> Option<Instant> {
    let is_older = |older: &KnownKey| {
        let same = older.purpose == key.purpose && older.retired_at.is_none();
        same && older.created_at < key.created_at && older.is_among(keys)
    };
    let until = keys.begin(key.created_at);
    (now < until && key.purpose != Purpose::Secret && known.iter().any(is_older)).then_some(until)
}

fn unknown<'k>(known: &'k [KnownKey], keys: &'k Keys) -> impl Iterator<Item = (Purpose, KeyId, Instant)> + 'k {
    keys.made().iter().copied().filter(|(purpose, id, _)| !known.iter().any(|key| key.is(*purpose, *id)))
}

/// From now on a start does not ask for the key, and the database refuses what is sealed under it. Where it is retired
/// already nothing happens.
pub fn retire_key(conn: &mut Conn, now: Instant, key: &KnownKey, detail: &str) -> Result<()> {
    if store::retire(conn, &key.key_id, now)? == 0 {
        return Ok(());
    }
    audit::record(conn, now, Who::SERVICE, Action::KeyRetired, &key.key_id, Some(format!("{}{detail}", key.purpose)))
}

impl KnownKey {
    fn is_among(&self, keys: &Keys) -> bool {
        keys.made().iter().any(|(purpose, id, _)| self.is(*purpose, *id))
    }

    /// What to say of a key that has no file where it must have one.
    pub fn is_missing(&self) -> String {
        format!(
            "the {} key {} that this database has used is missing from the key directory: restore it, or copy it from \
             another server",
            self.purpose, self.key_id
        )
    }

    pub fn is(&self, purpose: Purpose, id: KeyId) -> bool {
        self.purpose == purpose && self.key_id == id.to_string()
    }
}
