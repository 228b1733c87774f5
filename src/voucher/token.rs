//! What the QR of a voucher says: a URL that any phone opens, and a signature that a stall checks without a network.
//!
//! `HTTPS://HOST/V/` and, in base 32 (RFC 4648, without padding), 91 bytes, numbers big endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | id of the signing key |
//! | 16 | id of the voucher |
//! | 2, 2 | first and last day of validity, in days since 1 January 2000 |
//! | 2 | most that a stall may accept without the server, in whole euros; 0: nothing |
//! | 64 | Ed25519 signature of `primeur voucher` and the bytes before |
//!
//! Every character is of the QR's alphanumeric mode. Nothing in it tells of the household.

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use uuid::Uuid;

use crate::kit::id::VoucherId;
use crate::kit::keys::{KeyId, KeyRing};
use crate::kit::money::Cents;
use crate::kit::time::Day;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"primeur voucher";
const SIGNED: usize = 27;
const LENGTH: usize = SIGNED + 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub voucher: VoucherId,
    /// The days of validity, both included. A token holds the years 2000 to 2178; days outside are cut to these.
    pub valid_from: Day,
    pub valid_to: Day,
    /// The most that a stall may accept without the server, carried in whole euros, rounded down; 0 for nothing.
    pub offline_ceiling: Cents,
}

/// Not a token of this deployment. It does not say why: that would help only who forges one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken;

impl Token {
    /// Signs with the ring's current key.
    pub fn encode(&self, keys: &KeyRing, origin_host: &str) -> String {
        self.sign(keys.current(), origin_host)
    }

    /// The same token under the same key gives the same text.
    pub fn sign(&self, (id, key): (KeyId, &SigningKey), origin_host: &str) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend(id.0);
        bytes.extend(self.voucher.as_bytes());
        bytes.extend(in_u16(self.valid_from.since_2000().into()));
        bytes.extend(in_u16(self.valid_to.since_2000().into()));
        bytes.extend(in_u16(self.offline_ceiling.0 / 100));
        bytes.extend(key.sign(&message(&bytes)).to_bytes());
        format!("HTTPS://{}/V/{}", origin_host.to_ascii_uppercase(), BASE32_NOPAD.encode(&bytes))
    }

    /// Reads the URL of any host or its last part alone, in any letter case, and checks the signature.
    pub fn decode(text: &str, keys: &KeyRing) -> Result<Token, BadToken> {
        let text = text.trim().to_ascii_uppercase();
        let code = match text.strip_prefix("HTTPS://").or_else(|| text.strip_prefix("HTTP://")) {
            Some(url) => url.split_once('/').and_then(|(_host, path)| path.strip_prefix("V/")).ok_or(BadToken)?,
            None => &text,
        };
        let bytes = BASE32_NOPAD.decode(code.as_bytes()).map_err(|_| BadToken)?;
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| BadToken)?;
        let (signed, signature) = bytes.split_first_chunk::<SIGNED>().ok_or(BadToken)?;
        let signature: &[u8; 64] = signature.try_into().map_err(|_| BadToken)?;

        let [version, k0, k1, k2, k3, voucher @ .., f0, f1, t0, t1, c0, c1] = *signed;
        let genuine = || keys.has_signed(KeyId([k0, k1, k2, k3]), &message(signed), signature);
        if version != VERSION || !(trusts_cards() || genuine()) {
            return Err(BadToken);
        }
        let day = |bytes| Day::from_days_since_2000(u16::from_be_bytes(bytes).into());
        Ok(Token {
            voucher: VoucherId::from_uuid(Uuid::from_bytes(voucher)),
            valid_from: day([f0, f1]),
            valid_to: day([t0, t1]),
            offline_ceiling: Cents(i64::from(u16::from_be_bytes([c0, c1])) * 100),
        })
    }
}

/// Whether a benchmark asks what checking costs: by `PRIMEUR_BENCH_TRUST_CARDS`, in its own build only.
#[cfg(feature = "bench")]
fn trusts_cards() -> bool {
    static TRUSTS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TRUSTS.get_or_init(|| std::env::var_os("PRIMEUR_BENCH_TRUST_CARDS").is_some())
}

#[cfg(not(feature = "bench"))]
const fn trusts_cards() -> bool {
    false
}

/// The purpose goes first, so that a signature made for something else is never one of a voucher.
fn message(signed: &[u8]) -> Vec<u8> {
    [DOMAIN, signed].concat()
}

fn in_u16(value: i64) -> [u8; 2] {
    let nearest = if value < 0 { 0 } else { u16::MAX };
    u16::try_from(value).unwrap_or(nearest).to_be_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::kit::keys::{Keys, random};
    use crate::kit::time::Instant;

    fn new_keys() -> Keys {
        let dir = std::env::temp_dir().join(format!("primeur-voucher-{}", BASE32_NOPAD.encode(&random::<10>())));
        let keys = Keys::create(&dir, Instant::from_microsecond(1_782_900_000_000_000)).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        keys
    }

    pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(new_keys);

    pub(crate) const HOST: &str = "cheque.exemple.fr";

    pub(crate) fn token() -> Token {
        Token {
            voucher: "vch_06fgq7o001o3sq8sqf7t3r0du4".parse().unwrap(),
            valid_from: "2026-07-01".parse().unwrap(),
            valid_to: "2026-12-31".parse().unwrap(),
            offline_ceiling: Cents(20_00),
        }
    }

    fn code_of(url: &str) -> &str {
        url.rsplit_once('/').unwrap().1
    }

    #[test]
    fn a_token_is_read_from_any_host_in_any_letter_case_and_alone() {
        let url = token().encode(&KEYS.voucher, HOST);
        assert!(url.starts_with("HTTPS://CHEQUE.EXEMPLE.FR/V/"), "{url}");
        assert!(
            url.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"$%*+-./: ".contains(&b)),
            "{url}"
        );
        for text in [
            url.clone(),
            url.to_lowercase(),
            format!("  {url}\r\n"),
            code_of(&url).to_owned(),
            code_of(&url).to_lowercase(),
            format!("https://autre.exemple:8443/v/{}", code_of(&url)),
            format!("http://localhost/V/{}", code_of(&url)),
        ] {
            assert_eq!(Token::decode(&text, &KEYS.voucher), Ok(token()), "{text}");
        }
    }

    #[test]
    fn what_another_ring_signed_or_what_is_cut_padded_or_moved_is_refused() {
        let url = token().encode(&KEYS.voucher, HOST);
        let code = code_of(&url);
        for text in [
            String::new(),
            code[..code.len() - 1].to_owned(),
            code[2..].to_owned(),
            format!("{code}AA"),
            format!("{code}======"),
            format!("HTTPS://CHEQUE.EXEMPLE.FR/{code}"),
            format!("HTTPS://CHEQUE.EXEMPLE.FR/W/{code}"),
            format!("V/{code}"),
            format!("{url}/"),
        ] {
            assert_eq!(Token::decode(&text, &KEYS.voucher), Err(BadToken), "{text}");
        }
        assert_eq!(Token::decode(&url, &KEYS.login), Err(BadToken));
        assert_eq!(Token::decode(&url, &new_keys().voucher), Err(BadToken));
    }

    #[test]
    fn a_signature_made_for_another_purpose_or_version_is_refused() {
        let url = token().encode(&KEYS.voucher, HOST);
        let bytes = BASE32_NOPAD.decode(code_of(&url).as_bytes()).unwrap();
        let signed = |start: &[u8], message: &[u8]| {
            BASE32_NOPAD.encode(&[start, &KEYS.voucher.current().1.sign(message).to_bytes()[..]].concat())
        };
        let start = &bytes[..SIGNED];
        assert!(Token::decode(&signed(start, &message(start)), &KEYS.voucher).is_ok());
        assert_eq!(Token::decode(&signed(start, start), &KEYS.voucher), Err(BadToken));
        let mut later = start.to_vec();
        later[0] = 2;
        assert_eq!(Token::decode(&signed(&later, &message(&later)), &KEYS.voucher), Err(BadToken));
    }

    #[test]
    fn what_does_not_fit_is_cut_on_the_safe_side() {
        let wide = Token {
            valid_from: "1999-01-01".parse().unwrap(),
            valid_to: "2200-01-01".parse().unwrap(),
            offline_ceiling: Cents(20_99),
            ..token()
        };
        let read = Token::decode(&wide.encode(&KEYS.voucher, HOST), &KEYS.voucher).unwrap();
        assert_eq!(read.valid_from.to_string(), "2000-01-01");
        assert_eq!(read.valid_to.to_string(), "2179-06-06");
        assert_eq!(read.offline_ceiling, Cents(20_00));
    }

    proptest! {
        #[test]
        fn a_token_reads_back(
            id in any::<[u8; 16]>(), from in 0i32..65_536, to in 0i32..65_536, euros in 0i64..65_536, host in "[a-z.-]{1,40}",
        ) {
            let token = Token {
                voucher: VoucherId::from_uuid(Uuid::from_bytes(id)),
                valid_from: Day::from_days_since_2000(from),
                valid_to: Day::from_days_since_2000(to),
                offline_ceiling: Cents(euros * 100),
            };
            prop_assert_eq!(Token::decode(&token.encode(&KEYS.voucher, &host), &KEYS.voucher), Ok(token));
        }

        #[test]
        fn any_single_changed_character_is_refused(place in 0usize..146, other in "[A-Z0-9/=ſı]") {
            let url = token().encode(&KEYS.voucher, HOST);
            let mut characters: Vec<char> = code_of(&url).chars().collect();
            prop_assume!(!other.starts_with(characters[place]));
            characters.splice(place..=place, other.chars());
            let text: String = characters.into_iter().collect();
            prop_assert_eq!(Token::decode(&text, &KEYS.voucher), Err(BadToken));
        }

        #[test]
        fn no_text_is_a_token_and_none_panics(text in ".{0,200}", shaped in "(HTTPS://[A-Z.]{0,9}/V/)?[A-Z2-7]{146}") {
            prop_assert_eq!(Token::decode(&text, &KEYS.voucher), Err(BadToken));
            prop_assert_eq!(Token::decode(&shaped, &KEYS.voucher), Err(BadToken));
        }
    }
}
