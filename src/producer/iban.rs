//! IBANs of the SEPA countries (ISO 13616), with the key of the French RIB.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::kit::complaint::Complaint;
use crate::kit::text::from_string;

/// An IBAN of a SEPA country, in capitals and without spaces. Its check digits agree; that the account exists is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iban(String);

/// How long the IBANs of each SEPA country are (SWIFT's IBAN registry).
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AL", 28),
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GI", 23),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("RS", 22),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("VA", 22),
];

impl Iban {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Iban {
    type Err = Complaint;

    /// Reads an IBAN in any letter case; spaces in it are left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let iban: String = text.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect();
        if !iban.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) || iban.len() < 4 {
            return Err(Complaint::NotAnIban);
        }
        let (country, rest) = iban.split_at(2);
        let (check, account) = rest.split_at(2);
        let Some((_, length)) = LENGTHS.iter().find(|(code, _)| *code == country) else {
            return Err(Complaint::IbanOutsideSepa);
        };
        if iban.len() != *length {
            return Err(Complaint::IbanLength);
        }
        // 00, 01 and 99 would pass modulo 97 too, and are never given out
        let sound = matches!(check.parse(), Ok(2..=98))
            && remainder(&format!("{account}{country}{check}"), letter_in_iban) == 1
            && (country != "FR" || rib(account));
        if sound { Ok(Iban(iban)) } else { Err(Complaint::WrongIban) }
    }
}

impl<'de> Deserialize<'de> for Iban {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

/// Whether 5 digits of the bank, 5 of the branch, 11 characters of the account and 2 of the key are a French RIB.
///
/// The key is 97 − ((89 × bank + 15 × branch + 3 × account) mod 97): with it at the end, the whole divides by 97.
fn rib(account: &str) -> bool {
    let (routing, rest) = account.split_at(10);
    let key = &rest[11..];
    routing.bytes().all(|b| b.is_ascii_digit())
        && matches!(key.parse(), Ok(1..=97))
        && remainder(account, letter_in_rib) == 0
}

/// A = 10 … Z = 35
fn letter_in_iban(nth: u32) -> u32 {
    nth + 10
}

/// A, J = 1; B, K, S = 2; … I, R, Z = 9
fn letter_in_rib(nth: u32) -> u32 {
    (nth + u32::from(nth >= 18)) % 9 + 1
}

/// The number that digits and letters spell, modulo 97.
fn remainder(text: &str, letter: fn(u32) -> u32) -> u32 {
    text.bytes().fold(0, |so_far, byte| {
        let value = if byte.is_ascii_digit() { u32::from(byte - b'0') } else { letter(u32::from(byte - b'A')) };
        (so_far * if value < 10 { 10 } else { 100 } + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples that banks and the registry publish.
    const PUBLISHED: &[&str] = &[
        "FR1420041010050500013M02606",
        "FR7630006000011234567890189",
        "DE89370400440532013000",
        "BE68539007547034",
        "ES9121000418450200051332",
        "IT60X0542811101000000123456",
        "NL91ABNA0417164300",
        "LU280019400644750000",
        "CH9300762011623852957",
        "GB29NWBK60161331926819",
        "MT84MALT011000012345MTLCAST001S",
        "NO9386011117947",
        "MC5811222000010123456789030",
        "PT50000201231234567890154",
        "AT611904300234573201",
        "IE29AIBK93115212345678",
    ];

    #[test]
    fn published_numbers_are_read_in_any_letter_case_and_spacing() {
        for text in PUBLISHED {
            let iban: Iban = text.parse().unwrap_or_else(|e| panic!("{text} {e}"));
            assert_eq!(iban.to_string(), *text);
        }
        let spaced: Iban = " fr14 2004 1010 0505 0001 3m02 606 ".parse().unwrap();
        assert_eq!(spaced.as_str(), PUBLISHED[0]);
    }

    #[test]
    fn what_is_not_an_iban_is_refused() {
        for text in [
            "",
            "FR",
            "FR14",
            "FR1420041010050500013M0260",
            "FR1420041010050500013M026066",
            "FR142004101005050001éM0260",
            "FR14-2004-1010-0505-0001-3M02-606",
            "BR1800360305000010009795493C1", // Brazil is not in SEPA
            "SA0380000000608010167519",
        ] {
            assert!(text.parse::<Iban>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_french_iban_needs_the_key_of_its_rib_too() {
        let account = "20041010050500013M02607";
        let check = 98 - remainder(&format!("{account}FR00"), letter_in_iban);
        let iban = format!("FR{check:02}{account}");
        assert_eq!(remainder(&format!("{account}FR{check:02}"), letter_in_iban), 1);
        assert!(iban.parse::<Iban>().is_err(), "{iban}");
    }

    #[test]
    fn the_letters_of_a_rib_count_as_the_banks_say() {
        let values: Vec<u32> = (0..26).map(letter_in_rib).collect();
        assert_eq!(values, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    fn french(bank: u32, branch: u32, account: u64) -> String {
        let start = format!("{bank:05}{branch:05}{account:011}");
        let key = 97 - remainder(&format!("{start}00"), letter_in_rib);
        let check = 98 - remainder(&format!("{start}{key:02}FR00"), letter_in_iban);
        format!("FR{check:02}{start}{key:02}")
    }

    proptest! {
        #[test]
        fn any_single_wrong_digit_is_refused(
            (bank, branch, account) in (0u32..100_000, 0u32..100_000, 0u64..100_000_000_000),
            published in prop::sample::select(PUBLISHED), place in 0usize..31, other in 1u8..10,
        ) {
            let french = french(bank, branch, account);
            prop_assert!(french.parse::<Iban>().is_ok(), "{}", french);
            for number in [french.as_str(), published] {
                let mut bytes = number.as_bytes().to_vec();
                let place = place % bytes.len();
                if bytes[place].is_ascii_digit() {
                    bytes[place] = b'0' + (bytes[place] - b'0' + other) % 10;
                    prop_assert!(String::from_utf8(bytes).unwrap().parse::<Iban>().is_err());
                }
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", shaped in "FR[0-9A-Z]{25}") {
            let _ = (text.parse::<Iban>(), shaped.parse::<Iban>());
        }
    }
}
