//! The keys that a running service works with, changed under its hands when its directory changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::Keys;
use crate::kit::time::Instant;

/// The keys of one directory. Cheap to clone; clones change together.
#[derive(Clone)]
pub struct KeyStore {
    directory: Arc<PathBuf>,
    overlap_minutes: i64,
    keys: Arc<RwLock<Arc<Keys>>>,
}

impl KeyStore {
    pub fn open(directory: &Path, overlap_minutes: i64, now: Instant) -> Result<Self, String> {
        let keys = Keys::open(directory, now, overlap_minutes)?;
        Ok(KeyStore {
            directory: Arc::new(directory.to_owned()),
            overlap_minutes,
            keys: Arc::new(RwLock::new(Arc::new(keys))),
        })
    }

    /// The keys as of now: all that one answer needs is taken from one such.
    pub fn now(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the directory again; nothing changes before [`KeyStore::replace`].
    pub fn read(&self, now: Instant) -> Result<Keys, String> {
        Keys::open(&self.directory, now, self.overlap_minutes)
    }

    pub fn replace(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}
