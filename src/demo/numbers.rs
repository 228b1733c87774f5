//! Invented SIRETs and IBANs whose check digits agree. Their runs of nines say what they are.

use crate::kit::error::{Error, Result};
use crate::producer::iban::Iban;
use crate::producer::siret::Siret;

/// The first establishment of an invented business: SIREN `9990xxxx?`, NIC `0001?`.
pub fn siret(nth: u32) -> Result<Siret> {
    let siren = closed(&format!("9990{nth:04}"));
    closed(&format!("{siren}0001")).parse().map_err(Error::internal)
}

/// The digits given, then the one that makes the Luhn check pass.
fn closed(start: &str) -> String {
    let digit = |byte: u8| u32::from(byte - b'0');
    let weighed = start.bytes().rev().enumerate().map(|(place, byte)| match (place % 2, digit(byte)) {
        (0, digit @ 5..) => 2 * digit - 9,
        (0, digit) => 2 * digit,
        (_, digit) => digit,
    });
    let last = (10 - weighed.sum::<u32>() % 10) % 10;
    format!("{start}{last}")
}

/// An account at a bank 99999 that there is not, with the key of its RIB.
pub fn iban(nth: u64) -> Result<Iban> {
    let (bank, branch) = (99_999_u64, 99_999_u64);
    let key = 97 - (89 * bank + 15 * branch + 3 * nth) % 97;
    let account = format!("{bank}{branch}{nth:011}{key:02}");
    // FR00 behind the account, F = 15 and R = 27
    let number: u128 = format!("{account}152700").parse().map_err(Error::internal)?;
    format!("FR{:02}{account}", 98 - number % 97).parse().map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_numbers_pass_the_checks_that_real_ones_must() {
        for nth in 0..200 {
            assert!(siret(nth).is_ok() && iban(u64::from(nth) * 1_234_567).is_ok(), "{nth}");
        }
    }
}
