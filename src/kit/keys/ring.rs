//! The keys of one purpose, in order of their making, and which of them signs when.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use subtle::ConstantTimeEq;

use super::files::KeyFile;
use super::{Digest32, KeyId};
use crate::kit::time::Instant;

/// Which of some keys signs at an instant, by when each begins to: the last that has begun, or the oldest.
pub fn signer(begin: &[Instant], at: Instant) -> usize {
    begin.iter().rposition(|begins| *begins <= at).unwrap_or(0)
}

/// Never empty: `Keys::open` sees to it.
pub(in crate::kit) struct Ring<K> {
    keys: Vec<(KeyId, K)>,
    /// When each begins to sign.
    begin: Vec<Instant>,
    now: Instant,
}

impl<K> Ring<K> {
    pub fn new(files: &[&KeyFile], now: Instant, overlap_minutes: i64, key: impl Fn(&Digest32) -> K) -> Self {
        let keys = files.iter().map(|file| (file.id, key(file.bytes()))).collect();
        Ring { keys, begin: files.iter().map(|file| file.begins(overlap_minutes)).collect(), now }
    }

    pub fn at(&self, at: Instant) -> &(KeyId, K) {
        &self.keys[signer(&self.begin, at)]
    }

    pub fn current(&self) -> &(KeyId, K) {
        self.at(self.now)
    }

    /// The keys before the current one.
    pub fn older(&self) -> &[(KeyId, K)] {
        &self.keys[..signer(&self.begin, self.now)]
    }

    pub fn get(&self, id: KeyId) -> Option<&K> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

/// The Ed25519 keys of one purpose: all know what they have signed, one signs.
pub struct KeyRing(Ring<SigningKey>);

impl KeyRing {
    pub(super) fn new(files: &[&KeyFile], now: Instant, overlap_minutes: i64) -> Self {
        KeyRing(Ring::new(files, now, overlap_minutes, SigningKey::from_bytes))
    }

    /// The key that signs what is made at an instant.
    pub fn at(&self, at: Instant) -> (KeyId, &SigningKey) {
        let (id, key) = self.0.at(at);
        (*id, key)
    }

    /// The key that signed when the ring was read.
    pub fn current(&self) -> (KeyId, &SigningKey) {
        let (id, key) = self.0.current();
        (*id, key)
    }

    pub fn public(&self, id: KeyId) -> Option<VerifyingKey> {
        self.0.get(id).map(SigningKey::verifying_key)
    }

    /// Whether one of these keys has signed a message. There is one Ed25519 signature by a key of a message (RFC 8032, 5.1.6):
    /// who has the key makes it again, in less than half the time that the public one takes to check it. Compared in constant
    /// time, so that nobody feels their way to it.
    pub fn has_signed(&self, id: KeyId, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.get(id).is_some_and(|key| key.sign(message).to_bytes().ct_eq(signature).into())
    }
}
