//! Sealing what the database may keep but not tell: XChaCha20-Poly1305 under keys that lie outside of it.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::error::{Error, Result};
use super::keys::{Digest32, KeyId, random, sha256};

/// The first byte of every seal.
const VERSION: u8 = 1;

/// Version, key id, nonce.
const HEAD: usize = 1 + 4 + NONCE;
const NONCE: usize = 24;

/// The symmetric keys that seal: all open, the newest seals.
pub struct SealRing(Vec<(KeyId, XChaCha20Poly1305)>);

impl SealRing {
    pub(super) fn new(keys: impl IntoIterator<Item = Digest32>) -> Self {
        let with_id = |key: Digest32| {
            // by a digest that helps nobody to the key, apart from those of other purposes
            let digest = sha256(&[b"primeur seal", &key[..]].concat());
            (KeyId([digest[0], digest[1], digest[2], digest[3]]), XChaCha20Poly1305::new(&key.into()))
        };
        SealRing(keys.into_iter().map(with_id).collect())
    }

    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// The key that seals now.
    pub fn current(&self) -> KeyId {
        self.newest().0
    }

    fn newest(&self) -> &(KeyId, XChaCha20Poly1305) {
        self.0.last().expect("a ring is never empty: Keys::open sees to it")
    }

    /// Seals bytes for one purpose (a table's name) and one row: moved to another row, they do not open.
    pub fn seal(&self, purpose: &str, row: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>> {
        let (id, cipher) = self.newest();
        let nonce: [u8; NONCE] = random();
        let payload = Payload { msg: plain, aad: &bound_to(purpose, row) };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::Internal(format!("cannot seal for {purpose}")))?;
        Ok([&[VERSION][..], &id.0, &nonce, &sealed].concat())
    }

    /// Opens what [`SealRing::seal`] gave for the same purpose and row.
    pub fn open(&self, purpose: &str, row: &[u8; 16], sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::Internal(format!("a seal of {purpose} does not open"));
        let (head, body) = sealed.split_at_checked(HEAD).ok_or_else(broken)?;
        let (id, nonce) = head[1..].split_at_checked(4).ok_or_else(broken)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| broken())?;
        let (_, cipher) = self.0.iter().find(|(known, _)| known.0 == id && head[0] == VERSION).ok_or_else(broken)?;
        let payload = Payload { msg: body, aad: &bound_to(purpose, row) };
        cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| broken())
    }
}

fn bound_to(purpose: &str, row: &[u8; 16]) -> Vec<u8> {
    [b"primeur ", purpose.as_bytes(), &[0], &row[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"Lucienne Exemple";

    #[test]
    fn what_is_sealed_opens_for_its_own_row_and_purpose_only() {
        let ring = SealRing::new([[1; 32]]);
        let sealed = ring.seal("identity", &[7; 16], NAME).unwrap();
        assert_eq!(ring.open("identity", &[7; 16], &sealed).as_deref(), Ok(NAME));
        assert!(!sealed.windows(8).any(|part| NAME.windows(8).any(|name| name == part)));
        assert_ne!(sealed, ring.seal("identity", &[7; 16], NAME).unwrap(), "a new nonce each time");
        assert!(ring.open("identity", &[8; 16], &sealed).is_err());
        assert!(ring.open("totp", &[7; 16], &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ring.open("identity", &[7; 16], &changed).is_err(), "byte {at}");
            assert!(ring.open("identity", &[7; 16], &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_older_key_still_opens_and_a_lost_one_does_not() {
        let (old, both) = (SealRing::new([[1; 32]]), SealRing::new([[1; 32], [2; 32]]));
        let sealed = old.seal("identity", &[7; 16], NAME).unwrap();
        assert!(both.open("identity", &[7; 16], &sealed).is_ok());
        assert_ne!(old.current(), both.current());
        let newer = both.seal("identity", &[7; 16], NAME).unwrap();
        assert!(old.open("identity", &[7; 16], &newer).is_err());
    }
}
