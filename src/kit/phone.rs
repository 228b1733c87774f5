//! Phone numbers, as people write them and as they are told apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::complaint::Complaint;
use super::text::{Line, from_string};

/// A phone number, kept as it was written. Without a country it is of France.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone {
    written: String,
    e164: String,
}

impl Phone {
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// `+`, country and number, without anything between (ITU-T E.164): the same however it was written.
    pub fn e164(&self) -> &str {
        &self.e164
    }
}

/// Numbers stay out of logs.
impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(..)")
    }
}

impl FromStr for Phone {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let written = text.parse::<Line<40>>().map_err(|_| Complaint::NotAPhone)?.into_string();
        e164(&written).map(|e164| Phone { written, e164 }).ok_or(Complaint::NotAPhone)
    }
}

fn e164(written: &str) -> Option<String> {
    let spaced = |c: char| c.is_whitespace() || matches!(c, '.' | '-' | '/' | '(' | ')' | '\u{2010}' | '\u{2011}');
    // +33 (0)6: a zero for callers at home only
    let digits: String = written.replace("(0)", "").chars().filter(|c| !spaced(*c)).collect();
    let abroad = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00"));
    let number = match abroad {
        Some(number) => match number.strip_prefix("330") {
            Some(own) => format!("33{own}"),
            None => number.to_owned(),
        },
        None if digits.len() == 10 => format!("33{}", digits.strip_prefix('0')?),
        None => return None,
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let whole = if number.starts_with("33") { number.len() == 11 } else { (8..=15).contains(&number.len()) };
    (plain && whole).then(|| format!("+{number}"))
}

impl Serialize for Phone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for written in [
            "06 39 98 12 34",
            "0639981234",
            "06.39.98.12.34",
            " 06-39-98-12-34 ",
            "06\u{a0}39\u{202f}98 12 34",
            "+33 6 39 98 12 34",
            "+33639981234",
            "+33 (0)6 39 98 12 34",
            "+33 06 39 98 12 34",
            "0033 6 39 98 12 34",
        ] {
            let phone: Phone = written.parse().unwrap();
            assert_eq!((phone.e164(), phone.as_str()), ("+33639981234", written.trim()));
        }
        assert_eq!("0032 470 12 34 56".parse::<Phone>().unwrap().e164(), "+32470123456");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [
            "",
            "115",
            "639981234",
            "33639981234",
            "06 39 98 12",
            "06 39 98 12 345",
            "+33 6 39",
            "call me",
            "+06 1234567",
        ] {
            assert!(bad.parse::<Phone>().is_err(), "{bad}");
        }
        assert!("06 39 98 12 3\u{0664}".parse::<Phone>().is_err(), "other digits than these are not read");
        assert!("0639981234\0".parse::<Phone>().is_err() && "1".repeat(41).parse::<Phone>().is_err());
    }

    #[test]
    fn a_number_is_not_printed() {
        assert_eq!(format!("{:?}", "06 39 98 12 34".parse::<Phone>()), "Ok(Phone(..))");
    }
}
