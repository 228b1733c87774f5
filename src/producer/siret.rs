//! SIRET numbers: which establishment of which French business is paid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::kit::complaint::Complaint;
use crate::kit::text::from_string;

/// A SIRET: the 9 digits of the SIREN and 5 of the establishment.
///
/// Both the SIREN and the whole pass the Luhn check. The establishments of La Poste (SIREN 356 000 000) other than its
/// head office do not: their digits add up to a multiple of 5 (INSEE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siret(String);

const LA_POSTE: &str = "356000000";
const LA_POSTE_HEAD_OFFICE: &str = "35600000000048";

impl Siret {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Siret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Siret {
    type Err = Complaint;

    /// Reads 14 digits; spaces between them are left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: String = text.chars().filter(|c| *c != ' ').collect();
        if number.len() != 14 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Complaint::NotASiret);
        }
        let (siren, _) = number.split_at(9);
        let sound = if siren == LA_POSTE && number != LA_POSTE_HEAD_OFFICE {
            digits(&number).sum::<u32>().is_multiple_of(5)
        } else {
            luhn(siren) && luhn(&number)
        };
        // fourteen zeros pass every check and name nobody
        if sound && siren != "000000000" { Ok(Siret(number)) } else { Err(Complaint::WrongSiret) }
    }
}

impl<'de> Deserialize<'de> for Siret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

fn digits(number: &str) -> impl DoubleEndedIterator<Item = u32> {
    number.bytes().map(|b| u32::from(b - b'0'))
}

fn luhn(number: &str) -> bool {
    let weighed = digits(number).rev().enumerate().map(|(i, digit)| match digit * (1 + i as u32 % 2) {
        twice @ 10.. => twice - 9,
        weighed => weighed,
    });
    weighed.sum::<u32>().is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_numbers_are_read_and_kept_without_spaces() {
        // INSEE's own, La Poste's head office, and one of its post offices
        for text in ["120 027 016 00563", "12002701600563", LA_POSTE_HEAD_OFFICE, "356 000 000 49837"] {
            let siret: Siret = text.parse().unwrap_or_else(|e| panic!("{text} {e}"));
            assert_eq!(siret.to_string(), text.replace(' ', ""));
        }
    }

    #[test]
    fn what_is_not_a_siret_is_refused() {
        for text in [
            "",
            "120027016",
            "1200270160056",
            "120027016005630",
            "12002701600564",
            "00000000000000",
            "1200270160056３",
            "35600000000046",
            "35600000049838",
        ] {
            assert!(text.parse::<Siret>().is_err(), "{text}");
        }
    }

    /// The digits given, then the one that makes the Luhn check pass.
    fn closed(start: &str) -> String {
        let with = |last| format!("{start}{last}");
        (0..10).map(with).find(|number| luhn(number)).unwrap()
    }

    proptest! {
        #[test]
        fn any_single_wrong_digit_is_refused(
            siren in "[0-9]{8}", office in "[0-9]{4}", place in 0usize..14, other in 1u8..10,
        ) {
            let siren = closed(&siren);
            prop_assume!(siren != LA_POSTE && siren != "000000000");
            let number = closed(&format!("{siren}{office}"));
            prop_assert!(number.parse::<Siret>().is_ok());
            let mut bytes = number.into_bytes();
            bytes[place] = b'0' + (bytes[place] - b'0' + other) % 10;
            prop_assert!(String::from_utf8(bytes).unwrap().parse::<Siret>().is_err());
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Siret>();
        }
    }
}
