//! The short code beside the QR, typed where a camera fails.

use std::fmt;
use std::str::FromStr;

use crate::kit::id::VoucherId;
use crate::kit::keys::{Digest32, Secret};

/// Crockford's base 32: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A prime above 32 and below 32²: as remainder it shows any single wrong symbol and any swap of neighbours.
const CHECK: u64 = 1021;

/// 50 bits, shown as 10 symbols and 2 check symbols: `XXXX-XXXX-XXXX`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u64);

/// Mistyped: too short or long, a foreign symbol, or check symbols that do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCode;

impl Code {
    /// The code of a voucher; `attempt` counts up where another voucher already has it.
    pub fn of(secret: &Secret, voucher: VoucherId, attempt: i32) -> Self {
        let message = [&voucher.as_bytes()[..], &attempt.to_be_bytes()].concat();
        let digest = secret.digest("voucher code", &message);
        Code(digest[..7].iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)) >> 6)
    }

    /// What the database keeps instead of the code.
    pub fn lookup(&self, secret: &Secret) -> Digest32 {
        secret.digest("voucher code lookup", &self.0.to_be_bytes())
    }

    fn symbols(self) -> impl Iterator<Item = char> {
        let all = (self.0 << 10) | (self.0 % CHECK);
        (0..12).rev().map(move |place| char::from(ALPHABET[((all >> (5 * place)) & 31) as usize]))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.symbols().enumerate().try_for_each(|(i, symbol)| match i {
            4 | 8 => write!(f, "-{symbol}"),
            _ => write!(f, "{symbol}"),
        })
    }
}

/// A code pays: it is kept out of logs.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

impl FromStr for Code {
    type Err = BadCode;

    /// Reads a code in any letter case, with O for 0, I or L for 1, hyphens and spaces anywhere.
    fn from_str(text: &str) -> Result<Self, BadCode> {
        let (mut all, mut count) = (0, 0);
        for typed in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let symbol = match typed.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let value = ALPHABET.iter().position(|known| char::from(*known) == symbol).ok_or(BadCode)?;
            count += 1;
            if count > 12 {
                return Err(BadCode);
            }
            all = (all << 5) | value as u64;
        }
        let code = all >> 10;
        if count == 12 && all & 1023 == code % CHECK { Ok(Code(code)) } else { Err(BadCode) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kit::time::Instant;
    use crate::voucher::token::tests::KEYS;

    #[test]
    fn a_voucher_has_one_code_and_another_at_each_attempt() {
        let voucher = VoucherId::new(Instant::from_microsecond(1_782_900_000_000_000));
        let code = Code::of(&KEYS.secret, voucher, 0);
        assert_eq!(code, Code::of(&KEYS.secret, voucher, 0));
        assert_ne!(code, Code::of(&KEYS.secret, voucher, 1));
        assert_ne!(code.lookup(&KEYS.secret), Code::of(&KEYS.secret, voucher, 1).lookup(&KEYS.secret));
        assert_eq!(format!("{code:?}"), "Code(..)");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        // 1034 × 2³⁵ + 74 565 leaves 33 modulo 1021
        let code = Code((1034 << 35) + 0x12345);
        assert_eq!(code.to_string(), "10A0-0028-T511");
        for typed in ["10A0-0028-T511", "ioaooo28t5il", " l0a0 0028 t51L ", "1-0-A-0-0-0-2-8-T-5-1-1"] {
            assert_eq!(typed.parse(), Ok(code), "{typed}");
        }
        for bad in ["", "10A0-0028-T51", "10A0-0028-T5110", "U0A0-0028-T511", "10A0_0028_T511", "10A0-0028-T510"] {
            assert_eq!(bad.parse::<Code>(), Err(BadCode), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_code_reads_back(bits in 0u64..1 << 50) {
            let text = Code(bits).to_string();
            prop_assert_eq!(text.len(), 14);
            prop_assert_eq!(text.parse(), Ok(Code(bits)));
        }

        #[test]
        fn any_single_wrong_symbol_is_refused(bits in 0u64..1 << 50, place in 0usize..12, other in 1usize..32) {
            let mut symbols: Vec<char> = Code(bits).symbols().collect();
            let value = ALPHABET.iter().position(|known| char::from(*known) == symbols[place]).unwrap();
            symbols[place] = char::from(ALPHABET[(value + other) % 32]);
            prop_assert_eq!(symbols.iter().collect::<String>().parse::<Code>(), Err(BadCode));
        }

        #[test]
        fn any_swap_of_neighbours_is_refused(bits in 0u64..1 << 50, place in 0usize..11) {
            let mut symbols: Vec<char> = Code(bits).symbols().collect();
            prop_assume!(symbols[place] != symbols[place + 1]);
            symbols.swap(place, place + 1);
            prop_assert_eq!(symbols.iter().collect::<String>().parse::<Code>(), Err(BadCode));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}", shaped in "[0-9A-Za-z -]{0,80}") {
            let _ = (text.parse::<Code>(), shaped.parse::<Code>());
        }
    }
}
