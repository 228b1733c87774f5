//! Who is behind the access tokens that were seen a moment ago, so that a till's next request needs no look at the database
//! before it waits for one anyway.
//!
//! Only for work that looks itself, in its own transaction, whether its actor still stands as they are remembered here
//! ([`standing`](super::standing)): a logout is at once all the same, on every server.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Actor, Caller};
use crate::kit::keys::{Digest32, Keys, sha256};
use crate::kit::time::Instant;

/// Tokens remembered at most: some megabytes.
const MOST: usize = 20_000;

#[derive(Default)]
pub struct Callers(Mutex<HashMap<Digest32, Caller>>);

impl Callers {
    /// Who was behind a token that has not expired, and whose key still verifies.
    pub fn seen(&self, now: Instant, keys: &Keys, token: &str) -> Option<Actor> {
        let digest = sha256(token.as_bytes());
        let known = self.known();
        let caller = known.get(&digest)?;
        let good = now.as_second() < caller.expires && keys.login.public(caller.key).is_some();
        good.then(|| caller.actor.clone())
    }

    pub fn remember(&self, now: Instant, token: &str, caller: &Caller) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, caller| now.as_second() < caller.expires);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(sha256(token.as_bytes()), caller.clone());
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest32, Caller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
