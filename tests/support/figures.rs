//! Amounts in tests: strings in the API, cents in the sums.

use primeur::kit::money::Cents;
use serde_json::Value;

#[track_caller]
pub fn cents(euros: &Value) -> i64 {
    let text = euros.as_str().unwrap_or_else(|| panic!("{euros} is no amount"));
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    sign * text.parse::<Cents>().unwrap().0
}

pub fn euros(cents: i64) -> String {
    Cents(cents).to_string()
}
