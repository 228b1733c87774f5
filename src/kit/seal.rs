//! Sealing what the database may keep but not tell: XChaCha20-Poly1305 under keys that lie outside of it.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::error::{Error, Result};
use super::keys::files::KeyFile;
use super::keys::{KeyId, Ring, random};
use super::time::Instant;

/// The first byte of every seal.
const VERSION: u8 = 1;

/// Version, key id, nonce.
const HEAD: usize = 1 + 4 + NONCE;
const NONCE: usize = 24;

/// A seal and the row it is bound to, as a table holds them.
pub struct Sealed {
    pub row: [u8; 16],
    pub bytes: Vec<u8>,
}

/// The symmetric keys that seal: all open, one seals.
pub struct SealRing(Ring<XChaCha20Poly1305>);

impl SealRing {
    pub(super) fn new(files: &[&KeyFile], now: Instant, overlap_minutes: i64) -> Self {
        SealRing(Ring::new(files, now, overlap_minutes, |key| XChaCha20Poly1305::new(key.into())))
    }

    /// The key that seals now.
    pub fn current(&self) -> KeyId {
        self.0.current().0
    }

    /// The keys that sealed before it.
    pub fn older(&self) -> Vec<KeyId> {
        self.0.older().iter().map(|(id, _)| *id).collect()
    }

    /// Seals bytes for one purpose (a table's name) and one row: moved to another row, they do not open.
    pub fn seal(&self, purpose: &str, row: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>> {
        let (id, cipher) = self.0.current();
        let nonce: [u8; NONCE] = random();
        let payload = Payload { msg: plain, aad: &bound_to(purpose, row) };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::Internal(format!("cannot seal for {purpose}")))?;
        Ok([&[VERSION][..], &id.0, &nonce, &sealed].concat())
    }

    /// Opens what [`SealRing::seal`] gave for the same purpose and row; `Unavailable` where this server lacks the key.
    pub fn open(&self, purpose: &str, row: &[u8; 16], sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::Internal(format!("a seal of {purpose} does not open"));
        let (head, body) = sealed.split_at_checked(HEAD).ok_or_else(broken)?;
        let (id, nonce) = head[1..].split_at_checked(4).ok_or_else(broken)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| broken())?;
        let id = KeyId(id.try_into().map_err(|_| broken())?);
        if head[0] != VERSION {
            return Err(broken());
        }
        let cipher = self.0.get(id).ok_or_else(|| Error::Unavailable(format!("the identity key {id} is not here")))?;
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
    use crate::kit::keys::Purpose;

    const NAME: &[u8] = b"Lucienne Exemple";

    /// Keys of so many bytes alike, made a minute apart and in use at once.
    fn ring(keys: &[u8]) -> SealRing {
        let at = |minute| Instant::from_microsecond(1_782_900_000_000_000).plus_minutes(minute);
        let file = |(minute, key): (i64, &u8)| KeyFile::new(Purpose::Identity, [*key; 32], at(minute));
        let files: Vec<KeyFile> = (0..).zip(keys).map(file).collect();
        SealRing::new(&files.iter().collect::<Vec<_>>(), at(60), 0)
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_row_and_purpose_only() {
        let ring = ring(&[1]);
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
        let (old, both) = (ring(&[1]), ring(&[1, 2]));
        let sealed = old.seal("identity", &[7; 16], NAME).unwrap();
        assert!(both.open("identity", &[7; 16], &sealed).is_ok());
        assert_ne!(old.current(), both.current());
        assert_eq!((old.older(), both.older()), (Vec::new(), vec![old.current()]));
        let newer = both.seal("identity", &[7; 16], NAME).unwrap();
        let missing = old.open("identity", &[7; 16], &newer);
        assert!(matches!(missing, Err(Error::Unavailable(_))), "a key that is missing is not a broken seal");
    }
}
