//! Time-based one-time codes: RFC 6238 with SHA-1, 6 digits and steps of 30 seconds, as every authenticator knows them.

use std::fmt::Write as _;

use data_encoding::BASE32_NOPAD;
use totp_rs::{Builder, Totp};

use crate::access::keys::SECOND_FACTOR;
use crate::kit::error::{Error, Result};
use crate::kit::id::PersonId;
use crate::kit::keys::{Keys, random};
use crate::kit::time::Instant;

/// RFC 4226 4 recommends 160 bits.
const BYTES: usize = 20;

/// How long an authenticator that was begun can be confirmed.
const BEGUN_MINUTES: i64 = 15;

/// The secret that the service and one authenticator share.
pub struct Secret([u8; BYTES]);

impl Secret {
    pub fn new() -> Self {
        Secret(random())
    }

    pub fn seal(&self, keys: &Keys, person: PersonId) -> Result<Vec<u8>> {
        keys.identity.seal(SECOND_FACTOR, person.as_bytes(), &self.0)
    }

    pub fn open(keys: &Keys, person: PersonId, sealed: &[u8]) -> Result<Self> {
        let plain = keys.identity.open(SECOND_FACTOR, person.as_bytes(), sealed)?;
        let bytes =
            plain.try_into().map_err(|_| Error::Internal(format!("the second factor of {person} is broken")))?;
        Ok(Secret(bytes))
    }

    /// One that is not in force yet, with the time: it fades.
    pub fn seal_begun(&self, keys: &Keys, person: PersonId, now: Instant) -> Result<Vec<u8>> {
        let begun = now.as_microsecond().to_be_bytes();
        keys.identity.seal(SECOND_FACTOR, person.as_bytes(), &[&self.0[..], &begun].concat())
    }

    /// None where it was begun too long ago, or does not open.
    pub fn open_begun(keys: &Keys, person: PersonId, sealed: &[u8], now: Instant) -> Option<Self> {
        let plain = keys.identity.open(SECOND_FACTOR, person.as_bytes(), sealed).ok()?;
        let (secret, begun) = plain.split_at_checked(BYTES)?;
        let begun = Instant::from_microsecond(i64::from_be_bytes(begun.try_into().ok()?));
        (now < begun.plus_minutes(BEGUN_MINUTES)).then_some(Secret(secret.try_into().ok()?))
    }

    pub fn base32(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The address that an authenticator reads as a QR code.
    pub fn otpauth_url(&self, issuer: &str, account: &str) -> String {
        let (issuer, account, secret) = (escaped(issuer), escaped(account), self.base32());
        format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30")
    }

    /// The step since 1970 that a code is of, if that is now's, the one before or the one after.
    pub fn step_of(&self, code: &str, now: Instant) -> Result<Option<i64>> {
        let seconds = u64::try_from(now.as_second()).map_err(Error::internal)?;
        self.totp()?.check(code, seconds).map(i64::try_from).transpose().map_err(Error::internal)
    }

    fn totp(&self) -> Result<Totp> {
        // the builder's defaults are SHA-1, 6 digits, 30 seconds and a step to either side: a test holds them
        Builder::new().with_secret(totp_rs::Secret::new_stack(self.0)).build().map_err(Error::internal)
    }
}

/// The six digits of what was typed, which may have spaces as authenticators show them.
pub fn digits(typed: &str) -> Option<String> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    (digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// Percent-encoded, but for what RFC 3986 leaves as it is everywhere.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_microsecond(seconds * 1_000_000)
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // appendix B, SHA-1; of its eight digits the last six
        let secret = Secret(*b"12345678901234567890");
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(secret.step_of(&code[2..], at(seconds)), Ok(Some(seconds / 30)), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_a_step_early_and_a_step_late_and_tells_its_own_step() {
        let secret = Secret(*b"12345678901234567890");
        // of step 37_037_036, from 1_111_111_080 to 1_111_111_109
        let step = |seconds| secret.step_of("081804", at(seconds)).unwrap();
        for good in [1_111_111_050, 1_111_111_079, 1_111_111_080, 1_111_111_109, 1_111_111_139] {
            assert_eq!(step(good), Some(37_037_036), "{good}");
        }
        for bad in [1_111_111_049, 1_111_111_140] {
            assert_eq!(step(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_typed_is_six_digits_with_or_without_spaces() {
        assert_eq!(digits(" 081 804 ").as_deref(), Some("081804"));
        for other in ["", "08180", "0818045", "+81804", "k7d2-9fqx-m3pt", "٠٨١٨٠٤"] {
            assert_eq!(digits(other), None, "{other}");
        }
    }

    #[test]
    fn the_address_says_what_the_authenticator_needs() {
        let secret = Secret(*b"12345678901234567890");
        let url = secret.otpauth_url("Chèque & Cie", "camille+essai@primeur.example");
        assert_eq!(
            url,
            "otpauth://totp/Ch%C3%A8que%20%26%20Cie:camille%2Bessai%40primeur.example\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Ch%C3%A8que%20%26%20Cie&algorithm=SHA1&digits=6&period=30"
        );
    }
}
