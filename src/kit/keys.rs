//! The deployment's secrets, as files of mode 0600: Ed25519 keys that sign logins and vouchers, keys that seal
//! identities, and one shared secret.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::seal::SealRing;
use super::time::Instant;

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

/// The first four bytes of the public key's SHA-256: enough to choose among a deployment's few keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub [u8; 4]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The Ed25519 keys of one purpose: all verify, the newest signs.
pub struct KeyRing(Vec<(KeyId, SigningKey)>);

impl KeyRing {
    fn new(seeds: impl IntoIterator<Item = Digest32>) -> Self {
        let with_id = |seed: Digest32| {
            let key = SigningKey::from_bytes(&seed);
            let digest = sha256(key.verifying_key().as_bytes());
            (KeyId([digest[0], digest[1], digest[2], digest[3]]), key)
        };
        KeyRing(seeds.into_iter().map(with_id).collect())
    }

    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// The key that signs now.
    pub fn current(&self) -> (KeyId, &SigningKey) {
        let (id, key) = self.0.last().expect("a ring is never empty: Keys::open sees to it");
        (*id, key)
    }

    pub fn public(&self, id: KeyId) -> Option<VerifyingKey> {
        self.0.iter().find(|(i, _)| *i == id).map(|(_, key)| key.verifying_key())
    }

    pub fn sign(&self, message: &[u8]) -> (KeyId, [u8; 64]) {
        let (id, key) = self.current();
        (id, key.sign(message).to_bytes())
    }

    pub fn verify(&self, id: KeyId, message: &[u8], signature: &[u8; 64]) -> bool {
        self.public(id).is_some_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
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
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Names the secret without telling it.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.digest("id", b"")[..4])
    }
}

pub struct Keys {
    pub login: KeyRing,
    pub voucher: KeyRing,
    /// Seals who people are, and what only they should have.
    pub identity: SealRing,
    pub secret: Secret,
}

impl Keys {
    /// Makes the keys of a new deployment, if its directory has none, and reads them.
    pub fn create(dir: &Path, now: Instant) -> Result<Self, String> {
        let shown = dir.display();
        if !dir.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|e| format!("cannot make the key directory {shown}: {e}"))?;
        }
        if key_files(dir, "")?.is_empty() {
            create_all(dir, now).map_err(|e| format!("cannot write keys in {shown}: {e}"))?;
        }
        Self::open(dir)
    }

    /// Reads the keys of a directory.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let shown = dir.display();
        let ring = |purpose: &str| {
            let seeds: Result<Vec<_>, _> = key_files(dir, purpose)?.iter().map(|p| read_key(p)).collect();
            match seeds? {
                seeds if seeds.is_empty() => Err(format!("no {purpose}-*.key in {shown}: restore it from your backup")),
                seeds => Ok(seeds),
            }
        };
        Ok(Keys {
            login: KeyRing::new(ring("login")?),
            voucher: KeyRing::new(ring("voucher")?),
            identity: SealRing::new(ring("identity")?),
            secret: Secret(ring("secret")?[0]),
        })
    }

    /// Purpose and id of every key, as the database remembers them.
    pub fn ids(&self) -> Vec<(&'static str, String)> {
        let login = self.login.ids().map(|id| ("login", id.to_string()));
        let voucher = self.voucher.ids().map(|id| ("voucher", id.to_string()));
        let identity = self.identity.ids().map(|id| ("identity", id.to_string()));
        login.chain(voucher).chain(identity).chain([("secret", self.secret.id())]).collect()
    }
}

/// The key files of one purpose (all, for ""), oldest first: their names carry the time of their making.
fn key_files(dir: &Path, purpose: &str) -> Result<Vec<PathBuf>, String> {
    let listing = fs::read_dir(dir).map_err(|e| format!("cannot read the key directory {}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        name.starts_with(purpose) && name.ends_with(".key")
    });
    files.sort();
    Ok(files)
}

fn read_key(path: &Path) -> Result<Digest32, String> {
    let shown = path.display();
    let mode = fs::metadata(path).map_err(|e| format!("cannot read {shown}: {e}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("{shown} can be read by other users: chmod 600 {shown}"));
    }
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok();
    bytes
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| format!("{shown} is not a key: 64 hexadecimal digits are expected"))
}

fn create_all(dir: &Path, now: Instant) -> io::Result<()> {
    let mut stamp = String::new();
    write!(stamp, "{:020}", now.as_microsecond()).expect("writing to a string does not fail");
    for purpose in ["login", "voucher", "identity", "secret"] {
        let path = dir.join(format!("{purpose}-{stamp}.key"));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", HEXLOWER.encode(&random::<32>()))?;
        file.sync_all()?;
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_unreadable_to_others_and_read_back() {
        let dir = std::env::temp_dir().join(format!("primeur-keys-{}", HEXLOWER.encode(&random::<8>())));
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        assert!(Keys::open(&dir).is_err(), "none are made by reading");
        let first = Keys::create(&dir, now).unwrap();
        let again = Keys::create(&dir, now.plus_seconds(1)).unwrap();
        assert_eq!(first.ids(), again.ids());
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);

        let (id, signature) = first.voucher.sign(b"message");
        assert!(again.voucher.verify(id, b"message", &signature));
        assert!(!again.voucher.verify(id, b"massage", &signature));
        assert!(!again.login.verify(id, b"message", &signature));

        let exposed = key_files(&dir, "login").unwrap().remove(0);
        fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keys::open(&dir).err().unwrap().contains("chmod 600"));
        fs::remove_file(&exposed).unwrap();
        assert!(Keys::create(&dir, now).err().unwrap().contains("restore"), "a lost key is not made anew in silence");
        fs::remove_dir_all(&dir).unwrap();
    }
}
