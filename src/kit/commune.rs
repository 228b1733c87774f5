//! Communes by their INSEE code.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::complaint::Complaint;
use super::text::{Line, from_string};

/// An INSEE commune code, such as `62427`: five characters, `2A` and `2B` for Corsica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CommuneCode(String);

impl CommuneCode {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for CommuneCode {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = text
            .bytes()
            .enumerate()
            .all(|(i, b)| b.is_ascii_digit() || (i == 1 && matches!(b, b'A' | b'B') && text.starts_with('2')));
        if text.len() == 5 && shape { Ok(CommuneCode(text.to_owned())) } else { Err(Complaint::NotACommune) }
    }
}

impl<'de> Deserialize<'de> for CommuneCode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_string(from)
    }
}

/// A commune as a programme's territory or a stall names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commune {
    pub code: CommuneCode,
    pub name: Line<200>,
}
