//! Euros as integer cents inside, as decimal strings (`"60.00"`) at the edges; never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::complaint::Complaint;

/// An amount in euro cents. May be negative where an account may.
///
/// Sums cannot overflow in practice: amounts from outside are at most [`Cents::MAX_INPUT`], far below `i64`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::BigInt)]
pub struct Cents(pub i64);

impl Cents {
    pub const ZERO: Cents = Cents(0);
    /// 9 999 999 999.99 €
    pub const MAX_INPUT: Cents = Cents(999_999_999_999);

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// So many percent of it, half cents up.
    pub fn percent(self, percent: i32) -> Self {
        self.part(percent.into(), 100)
    }

    /// So many parts of a whole of so many, half cents up; nothing of an empty whole.
    pub fn part(self, parts: i64, whole: i64) -> Self {
        let (exact, whole) = (i128::from(self.0) * i128::from(parts), i128::from(whole));
        let rounded = (2 * exact + whole).checked_div_euclid(2 * whole).unwrap_or(0);
        Cents(i64::try_from(rounded).unwrap_or(i64::MAX))
    }

    /// The amount in euros, for calculations in decimals.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.0, 2)
    }

    /// `60,00`, as a French spreadsheet reads it.
    pub fn to_french(self) -> String {
        self.to_string().replace('.', ",")
    }

    /// Writes it as `Display` does, with another sign than a point perhaps: for tables of a million amounts.
    pub fn put(self, point: u8, to: &mut Vec<u8>) {
        let mut cents = self.0.unsigned_abs();
        // longer than any
        let mut text = [b'0'; 24];
        let mut start = text.len();
        while cents > 0 || start > text.len() - 4 {
            start -= 1;
            if start == text.len() - 3 {
                text[start] = point;
                continue;
            }
            text[start] = b'0' + (cents % 10) as u8;
            cents /= 10;
        }
        if self.0 < 0 {
            start -= 1;
            text[start] = b'-';
        }
        to.extend_from_slice(&text[start..]);
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, cents) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:02}", cents / 100, cents % 100)
    }
}

impl FromStr for Cents {
    type Err = Complaint;

    /// Reads `12`, `12.5` or `12.50`; no sign, exponent, spaces or leading zeros.
    fn from_str(text: &str) -> Result<Self, Complaint> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 10) || !digits(fraction, 2) || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(Complaint::NotAnAmount);
        }
        let mut amount = Decimal::from_str_exact(text).map_err(|_| Complaint::NotAnAmount)?;
        amount.rescale(2);
        Ok(Cents(amount.mantissa().try_into().map_err(|_| Complaint::NotAnAmount)?))
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text::from_string(from)
    }
}

impl Add for Cents {
    type Output = Cents;
    fn add(self, other: Cents) -> Cents {
        Cents(self.0 + other.0)
    }
}

impl Sub for Cents {
    type Output = Cents;
    fn sub(self, other: Cents) -> Cents {
        Cents(self.0 - other.0)
    }
}

impl Neg for Cents {
    type Output = Cents;
    fn neg(self) -> Cents {
        Cents(-self.0)
    }
}

impl AddAssign for Cents {
    fn add_assign(&mut self, other: Cents) {
        self.0 += other.0;
    }
}

impl SubAssign for Cents {
    fn sub_assign(&mut self, other: Cents) {
        self.0 -= other.0;
    }
}

impl Sum for Cents {
    fn sum<I: Iterator<Item = Cents>>(items: I) -> Cents {
        Cents(items.map(|c| c.0).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_only_in_plain_digits_with_at_most_two_decimals() {
        for (text, cents) in
            [("0", 0), ("0.01", 1), ("12.5", 1250), ("60.00", 6000), ("9999999999.99", 999_999_999_999)]
        {
            assert_eq!(text.parse(), Ok(Cents(cents)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", "1,50", " 1", "01", "NaN", "10000000000", "١"] {
            assert_eq!(text.parse::<Cents>(), Err(Complaint::NotAnAmount), "{text}");
        }
        for (cents, text) in [
            (0, "0.00"),
            (-5, "-0.05"),
            (7, "0.07"),
            (100, "1.00"),
            (-1234, "-12.34"),
            (i64::MIN, "-92233720368547758.08"),
        ] {
            assert_eq!(Cents(cents).to_string(), text);
            assert_eq!(Cents(cents).to_decimal().to_string(), text);
            for (point, text) in [(b'.', text.to_owned()), (b',', Cents(cents).to_french())] {
                let mut put = b"x".to_vec();
                Cents(cents).put(point, &mut put);
                assert_eq!(String::from_utf8(put).unwrap(), format!("x{text}"));
            }
        }
        assert_eq!(Cents(6000).to_french(), "60,00");
    }
}
