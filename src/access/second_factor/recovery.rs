//! Recovery codes: ten, each good once, for whoever has lost the authenticator.

use crate::kit::id::PersonId;
use crate::kit::keys::{Digest32, Secret, random};

const CODES: usize = 10;

/// 12 symbols of 5 bits: 60 bits, and no letter that reads as another sign (Crockford's base 32).
const SYMBOLS: usize = 12;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// New codes, as `k7d2-9fqx-m3pt`.
pub fn new() -> Vec<String> {
    (0..CODES).map(|_| one(random::<SYMBOLS>())).collect()
}

fn one(bytes: [u8; SYMBOLS]) -> String {
    let symbols = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    symbols.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// What the database keeps of a code, however it was typed.
pub fn digest(secret: &Secret, person: PersonId, typed: &str) -> Digest32 {
    let plain: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    secret.digest("recovery code", &[person.as_bytes(), plain.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kit::keys::Keys;
    use crate::kit::time::Instant;

    #[test]
    fn ten_codes_of_sixty_bits_are_new_each_time() {
        let all: BTreeSet<String> = [new(), new()].concat().into_iter().collect();
        assert_eq!(all.len(), 20);
        for code in all {
            assert_eq!(code.len(), 14, "{code}");
            assert!(code.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)), "{code}");
        }
        assert_eq!(one([0, 31, 32, 63, 255, 10, 1, 2, 3, 4, 5, 6]), "0z0z-za12-3456");
    }

    #[test]
    fn a_code_reads_the_same_however_it_is_typed_and_for_one_person_only() {
        let dir = std::env::temp_dir().join(format!("primeur-recovery-{:032x}", u128::from_be_bytes(random())));
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        let keys = Keys::create(&dir, now).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let (person, other) = (PersonId::new(now), PersonId::new(now));
        let of = |person, typed| digest(&keys.secret, person, typed);
        let first = of(person, "k7d1-9fq0-m3pt");
        assert_eq!(first, of(person, " K7DL 9FQO m3-pt"));
        assert_ne!(first, of(person, "k7d1-9fq0-m3pv"));
        assert_ne!(first, of(other, "k7d1-9fq0-m3pt"));
    }
}
