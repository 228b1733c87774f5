//! Ids that say what they name: `hhd_` + 26 characters of base32hex over a UUIDv7, so that they sort by time of making.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Mutex;

use data_encoding::BASE32HEX_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Uuid};

use super::complaint::Complaint;
use super::sql;
use super::time::Instant;

/// What an id names; an id of one kind is never taken for another.
pub trait Kind: 'static {
    const PREFIX: &'static str;
}

#[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
#[diesel(sql_type = sql::ty::Id)]
pub struct Id<K: 'static>(Uuid, PhantomData<fn() -> K>);

macro_rules! kinds {
    ($($kind:ident, $alias:ident = $prefix:literal;)*) => {
        pub mod kind {
            $(#[derive(Debug)] pub enum $kind {})*
        }
        $(
            impl Kind for kind::$kind {
                const PREFIX: &'static str = $prefix;
            }
            pub type $alias = Id<kind::$kind>;
        )*
    };
}

kinds! {
    Organisation, OrganisationId = "org";
    Person, PersonId = "per";
    Session, SessionId = "ses";
    Programme, ProgrammeId = "prg";
    Agreement, AgreementId = "agr";
    FundingSet, FundingSetId = "fst";
    Account, AccountId = "acc";
    Transfer, TransferId = "trf";
    Reference, ReferenceId = "ref";
    Stall, StallId = "stl";
    Household, HouseholdId = "hhd";
    Duplicate, DuplicateId = "dup";
    AuditEntry, AuditEntryId = "aud";
    Enrolment, EnrolmentId = "enr";
    Allowance, AllowanceId = "alw";
    Part, PartId = "prt";
    Voucher, VoucherId = "vch";
    Redemption, RedemptionId = "red";
    Hold, HoldId = "hld";
    HoldPart, HoldPartId = "hlp";
    Contribution, ContributionId = "ctb";
}

/// Tells apart, in order, what this process makes within one millisecond.
static COUNTER: Mutex<ContextV7> = Mutex::new(ContextV7::new());

impl<K> Id<K> {
    /// A new id whose time part is `now`: the injected clock's, so that a replayed past sorts as it happened.
    pub fn new(now: Instant) -> Self {
        let micros = now.as_microsecond();
        let seconds = u64::try_from(micros.div_euclid(1_000_000)).unwrap_or(0);
        let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        Self::from_uuid(Uuid::new_v7(uuid::Timestamp::from_unix(&COUNTER, seconds, nanos)))
    }

    pub const fn from_uuid(uuid: Uuid) -> Self {
        Id(uuid, PhantomData)
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_uuid(Uuid::from_bytes(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The same id under another name, where two tables share it (a part and its account, a transfer's reference).
    pub fn cast<L>(self) -> Id<L> {
        Id::from_uuid(self.0)
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", K::PREFIX, BASE32HEX_NOPAD.encode(self.0.as_bytes()).to_ascii_lowercase())
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let read = || {
            let code = text.strip_prefix(K::PREFIX)?.strip_prefix('_')?;
            if code.len() != 26 || code.bytes().any(|b| b.is_ascii_uppercase()) {
                return None;
            }
            let bytes = BASE32HEX_NOPAD.decode(code.to_ascii_uppercase().as_bytes()).ok()?;
            Uuid::from_slice(&bytes).ok().map(Self::from_uuid)
        };
        read().ok_or_else(|| Complaint::NotAnId { prefix: K::PREFIX.to_owned() })
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text::from_string(from)
    }
}

// Derives would ask the same of K, which is only a name.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_is_never_of_another_kind() {
        let now = Instant::from_microsecond(1_782_900_000_123_456);
        let id = HouseholdId::new(now);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(text.parse::<VoucherId>().is_err());
        for bad in [
            "",
            "hhd_",
            "hhd",
            &text[..29],
            &text.to_uppercase(),
            &format!("{text}0"),
            "hhd_0000000000000000000000000z",
        ] {
            assert!(bad.parse::<HouseholdId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_the_time_of_their_making() {
        let at =
            |s: i64| HouseholdId::new(Instant::from_microsecond(1_782_900_000_000_000 + s * 1_000_000)).to_string();
        assert!(at(1) < at(2) && at(2) < at(3));
        let made: Vec<String> = (0..1000).map(|_| at(4)).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "and within one instant by their order");
    }
}
