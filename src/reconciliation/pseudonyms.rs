//! Names that last one month and one agreement: two months cannot be laid side by side, nor two funders' lists.

use data_encoding::BASE32_NOPAD;

use crate::kit::id::{AgreementId, EnrolmentId, RedemptionId};
use crate::kit::keys::{Digest32, Digester, Secret};
use crate::kit::time::Month;

/// Twelve letters and digits; in a report they follow `L-` or `M-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub [u8; 12]);

impl Name {
    fn of(digest: &Digest32) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *digest;
        let mut letters = [0; 13];
        BASE32_NOPAD.encode_mut(&[a, b, c, d, e, f, g, h], &mut letters);
        let [name @ .., _] = letters;
        Name(name)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

pub struct Pseudonyms {
    households: Digester,
    lines: Digester,
}

impl Pseudonyms {
    pub fn new(secret: &Secret, agreement: AgreementId, month: Month) -> Self {
        let beginning = [&agreement.as_bytes()[..], month.to_string().as_bytes()].concat();
        let of = |purpose| secret.digester(purpose, &beginning);
        Pseudonyms { households: of("household of a month"), lines: of("line of a month") }
    }

    pub fn household(&self, enrolment: EnrolmentId) -> Name {
        Name::of(&self.households.digest(enrolment.as_bytes()))
    }

    /// The name, and more of the digest that it is the beginning of.
    pub fn line(&self, redemption: RedemptionId) -> (Name, [u8; 8]) {
        let digest = self.lines.digest(redemption.as_bytes());
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] = digest;
        (Name::of(&digest), [a, b, c, d, e, f, g, h])
    }
}
