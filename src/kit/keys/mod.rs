//! The deployment's secrets: Ed25519 keys that sign logins and vouchers, keys that seal identities, and one shared
//! secret. Of the first three there may be several: all verify or open, one signs or seals.

pub mod files;
mod held;
mod ring;

use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use self::files::KeyFile;
use super::seal::SealRing;
use super::time::Instant;

pub use held::KeyStore;
pub(super) use ring::Ring;
pub use ring::{KeyRing, signer};

pub type Digest32 = [u8; 32];

pub fn sha256(bytes: &[u8]) -> Digest32 {
    Sha256::digest(bytes).into()
}

/// `N` bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // without randomness of the system nothing here is safe: stopping is right
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

crate::text_enum! {
    /// What a key is for.
    pub enum Purpose {
        /// Signs access tokens.
        Login = "login",
        /// Signs the QR of cards.
        Voucher = "voucher",
        /// Seals who people are.
        Identity = "identity",
        /// Typed codes, pseudonyms, fingerprints; the only one that is never rotated.
        Secret = "secret",
    }
}

/// Four bytes of a digest of the key: enough to choose among a deployment's few, and no help to the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    fn new(purpose: Purpose, key: &Digest32) -> Self {
        let [a, b, c, d, ..] = match purpose {
            Purpose::Login | Purpose::Voucher => sha256(SigningKey::from_bytes(key).verifying_key().as_bytes()),
            // apart from every digest that is made with the key for something
            Purpose::Identity => sha256(&[b"primeur seal", &key[..]].concat()),
            Purpose::Secret => Secret(*key).digest("id", b""),
        };
        KeyId([a, b, c, d])
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A secret for keyed digests: typed codes, monthly pseudonyms.
pub struct Secret(Digest32);

impl Secret {
    pub const fn new(bytes: Digest32) -> Self {
        Secret(bytes)
    }

    /// A secret of its own for one purpose and whom it is for.
    pub fn derive(&self, purpose: &str, message: &[u8]) -> Self {
        Secret(self.digest(purpose, message))
    }

    /// HMAC-SHA-256 under this secret, for one purpose.
    pub fn digest(&self, purpose: &str, message: &[u8]) -> Digest32 {
        self.digester(purpose, &[]).digest(message)
    }

    /// The same for many messages that begin alike.
    pub fn digester(&self, purpose: &str, beginning: &[u8]) -> Digester {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(beginning);
        Digester(mac)
    }
}

/// Digests under one secret, for one purpose; it holds the secret's key schedule, and not the secret.
#[derive(Clone)]
pub struct Digester(Hmac<Sha256>);

impl Digester {
    pub fn digest(&self, rest: &[u8]) -> Digest32 {
        self.0.clone().chain_update(rest).finalize().into_bytes().into()
    }
}

/// All keys of a deployment, as its directory held them at one moment.
pub struct Keys {
    pub login: KeyRing,
    pub voucher: KeyRing,
    /// Seals who people are, and what only they should have.
    pub identity: SealRing,
    pub secret: Secret,
    made: Vec<(Purpose, KeyId, Instant)>,
    overlap_minutes: i64,
}

impl Keys {
    /// Makes whatever key a directory lacks, and reads them all: for a database that has not been used with any.
    pub fn create(dir: &Path, now: Instant) -> Result<Self, String> {
        files::make_missing(dir, Purpose::ALL, now)?;
        Self::open(dir, now, 0)
    }

    /// Reads the keys of a directory. A new one signs and seals so many minutes after it was made, so that every server
    /// has it by then; which one does so now is reckoned here.
    pub fn open(dir: &Path, now: Instant, overlap_minutes: i64) -> Result<Self, String> {
        let files = files::list(dir)?;
        let of = |purpose: Purpose| {
            let files: Vec<&KeyFile> = files.iter().filter(|file| file.purpose == purpose).collect();
            if files.is_empty() {
                let shown = dir.display();
                return Err(format!("no {purpose}-*.key in {shown}: restore it from your backup"));
            }
            Ok(files)
        };
        Ok(Keys {
            login: KeyRing::new(&of(Purpose::Login)?, now, overlap_minutes),
            voucher: KeyRing::new(&of(Purpose::Voucher)?, now, overlap_minutes),
            identity: SealRing::new(&of(Purpose::Identity)?, now, overlap_minutes),
            secret: Secret(*of(Purpose::Secret)?[0].bytes()),
            made: files.iter().map(|file| (file.purpose, file.id, file.made)).collect(),
            overlap_minutes,
        })
    }

    /// When a key that was made at an instant signs or seals, if an older one does so until then.
    pub fn begin(&self, made: Instant) -> Instant {
        made.plus_minutes(self.overlap_minutes)
    }

    /// Purpose and id of every key, and when it was made.
    pub fn made(&self) -> &[(Purpose, KeyId, Instant)] {
        &self.made
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use ed25519_dalek::Signer;
    use proptest::prelude::*;

    use super::*;

    fn sign(keys: &Keys) -> (KeyId, [u8; 64]) {
        let (id, key) = keys.voucher.current();
        (id, key.sign(b"message").to_bytes())
    }

    proptest! {
        #[test]
        fn a_key_has_signed_what_its_public_half_says_and_nothing_that_was_changed(
            seed: [u8; 32], message: Vec<u8>, place in 0_usize..64, bit in 0_u8..8,
        ) {
            let now = Instant::from_microsecond(0);
            let file = KeyFile::new(Purpose::Voucher, seed, now);
            let ring = KeyRing::new(&[&file], now, 0);
            let (id, key) = ring.current();
            let signature = key.sign(&message);
            prop_assert!(key.verifying_key().verify_strict(&message, &signature).is_ok());
            prop_assert!(ring.has_signed(id, &message, &signature.to_bytes()));
            let mut changed = signature.to_bytes();
            changed[place] ^= 1 << bit;
            prop_assert!(!ring.has_signed(id, &message, &changed));
            prop_assert!(!ring.has_signed(id, &[&message[..], b"."].concat(), &signature.to_bytes()));
            prop_assert!(!ring.has_signed(KeyId(id.0.map(|b| !b)), &message, &signature.to_bytes()));
        }
    }

    /// Section 7.1, tests 1 and 2. A card in somebody's pocket is good only as long as these are the very bytes.
    #[test]
    fn a_key_makes_the_signatures_that_rfc_8032_shows() {
        let (seeds, now) = (
            [
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            ],
            Instant::from_microsecond(0),
        );
        let signatures = [
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ];
        for ((seed, message), signature) in seeds.into_iter().zip([&[][..], &[0x72]]).zip(signatures) {
            let seed = HEXLOWER.decode(seed.as_bytes()).unwrap().try_into().unwrap();
            let signature = HEXLOWER.decode(signature.as_bytes()).unwrap().try_into().unwrap();
            let ring = KeyRing::new(&[&KeyFile::new(Purpose::Voucher, seed, now)], now, 0);
            assert!(ring.has_signed(ring.current().0, message, &signature));
        }
    }

    #[test]
    fn keys_are_made_once_unreadable_to_others_and_read_back() {
        let dir = std::env::temp_dir().join(format!("primeur-keys-{}", HEXLOWER.encode(&random::<8>())));
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        assert!(Keys::open(&dir, now, 0).is_err(), "none are made by reading");
        let first = Keys::create(&dir, now).unwrap();
        let again = Keys::create(&dir, now.plus_seconds(1)).unwrap();
        assert_eq!(first.made(), again.made());
        assert_eq!(first.made().len(), 4);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);

        let (id, signature) = sign(&first);
        assert!(again.voucher.has_signed(id, b"message", &signature));
        assert!(!again.voucher.has_signed(id, b"massage", &signature));
        assert!(!again.login.has_signed(id, b"message", &signature));

        let exposed = files::list(&dir).unwrap().remove(0).path;
        fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::open(&dir, now, 0).err().unwrap().contains("chmod 600"));
        fs::remove_file(&exposed).unwrap();
        assert!(Keys::open(&dir, now, 0).err().unwrap().contains("restore"), "a lost key is not made anew by reading");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_new_key_signs_when_the_overlap_is_over_and_the_old_one_still_verifies() {
        let dir = std::env::temp_dir().join(format!("primeur-keys-{}", HEXLOWER.encode(&random::<8>())));
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        let alone = Keys::create(&dir, now).unwrap();
        // the only key signs at once, before its own overlap and even before its making
        assert_eq!(alone.voucher.at(now.plus_minutes(-1)).0, alone.voucher.current().0);
        let rotated = now.plus_minutes(600);
        for purpose in [Purpose::Login, Purpose::Voucher, Purpose::Identity] {
            files::make(&dir, purpose, rotated).unwrap();
            assert!(files::make(&dir, purpose, rotated).is_err(), "a key was written over another");
        }
        let open = |minutes| Keys::open(&dir, rotated.plus_minutes(minutes), 60).unwrap();
        let (before, after) = (open(59), open(60));
        assert_eq!(before.voucher.current().0, alone.voucher.current().0);
        assert_eq!(before.identity.current(), alone.identity.current());
        assert_ne!(after.voucher.current().0, alone.voucher.current().0);
        assert_ne!(after.login.current().0, alone.login.current().0);
        assert_ne!(after.identity.current(), alone.identity.current());
        assert_eq!(after.voucher.at(rotated).0, alone.voucher.current().0, "signed anew as it was signed then");

        let (id, signature) = sign(&after);
        assert!(before.voucher.has_signed(id, b"message", &signature), "who has the file verifies before it signs");
        assert!(!alone.voucher.has_signed(id, b"message", &signature));
        let (id, signature) = sign(&alone);
        assert!(after.voucher.has_signed(id, b"message", &signature));
        fs::remove_dir_all(&dir).unwrap();
    }
}
