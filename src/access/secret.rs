//! Secrets told once, refresh tokens and invitations: the database keeps only their digest.

use data_encoding::BASE32_NOPAD;

use crate::kit::keys::{Digest32, random, sha256};

/// 32 random bytes in lower-case base32 (52 characters).
pub(super) struct Secret {
    pub text: String,
    pub digest: Digest32,
}

impl Secret {
    pub fn new() -> Self {
        let text = BASE32_NOPAD.encode(&random::<32>()).to_ascii_lowercase();
        let digest = digest(&text);
        Secret { text, digest }
    }
}

/// What the database looks a secret up by. It has 256 bits, so a plain digest does not help to guess it.
pub(super) fn digest(text: &str) -> Digest32 {
    sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_new_each_time_and_found_by_its_text() {
        let (first, second) = (Secret::new(), Secret::new());
        assert_ne!(first.text, second.text);
        assert_eq!(first.text.len(), 52);
        assert!(first.text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
        assert_eq!(digest(&first.text), first.digest);
    }
}
