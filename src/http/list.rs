//! Lists in pages, and the cursors that lead through them.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use crate::db::Page;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{Id, Kind, OrganisationId};
use crate::kit::keys::Secret;

/// Bytes of the signature in a cursor: nothing is to be had by guessing one but a place in one's own list.
const SIGNED: usize = 8;

/// Writes and reads the cursors of one organisation in the list at one path; of no other, and never a changed one.
///
/// A cursor is base64url of the last id's 16 bytes and 8 of a keyed digest.
pub struct Cursors(Secret);

impl Cursors {
    pub fn new(secret: &Secret, organisation: OrganisationId, path: &str) -> Self {
        Cursors(secret.derive("cursor", &[organisation.as_bytes(), path.as_bytes()].concat()))
    }

    /// The page that a list's query asks for: 50 items, or `limit` of 1 to 200, after an opaque cursor.
    pub fn page<K: Kind>(&self, cursor: &Option<String>, limit: &Option<i64>) -> Result<Page<Id<K>>> {
        let limit = limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(Error::invalid("limit", Complaint::NotBetween { least: 1, most: 200 }));
        }
        let after = cursor.as_deref().map(|cursor| self.read(cursor)).transpose()?;
        Ok(Page { after, limit })
    }

    /// Items in their order, and the cursor that [`Page::cut`] gives.
    pub fn list<T, K: Kind>(&self, items: impl IntoIterator<Item = T>, next: Option<Id<K>>) -> List<T> {
        List { items: items.into_iter().collect(), next_cursor: next.map(|id| self.write(id)) }
    }

    fn write<K: Kind>(&self, id: Id<K>) -> String {
        BASE64URL_NOPAD.encode(&[&id.as_bytes()[..], &self.signature(id)].concat())
    }

    fn read<K: Kind>(&self, cursor: &str) -> Result<Id<K>> {
        let unknown = Error::Refused(Code::InvalidCursor);
        let Ok(bytes) = BASE64URL_NOPAD.decode(cursor.as_bytes()) else { return Err(unknown) };
        let Some((id, signature)) = bytes.split_first_chunk::<16>() else { return Err(unknown) };
        let id = Id::from_uuid(uuid::Uuid::from_bytes(*id));
        if signature == self.signature(id) { Ok(id) } else { Err(unknown) }
    }

    fn signature<K: Kind>(&self, id: Id<K>) -> [u8; SIGNED] {
        let digest = self.0.digest(K::PREFIX, id.as_bytes());
        std::array::from_fn(|place| digest[place])
    }
}

/// The answer of every list.
#[derive(Serialize)]
pub struct List<T> {
    pub items: Vec<T>,
    /// For the query of the next page; null on the last.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::id::{HouseholdId, VoucherId, kind};
    use crate::kit::time::Instant;

    fn cursors(path: &str) -> (Cursors, Instant) {
        let now = Instant::from_microsecond(1_782_900_000_000_000);
        let organisation = OrganisationId::from_uuid(uuid::Uuid::from_bytes([7; 16]));
        (Cursors::new(&Secret::new([1; 32]), organisation, path), now)
    }

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let (cursors, now) = cursors("/api/v1/households");
        let id = HouseholdId::new(now);
        let list = cursors.list(["only"], Some(id));
        let read = cursors.page::<kind::Household>(&list.next_cursor, &Some(1)).unwrap();
        assert_eq!((read.after, read.limit), (Some(id), 1));

        let of = |cursor: Option<&str>, limit| {
            cursors.page::<kind::Household>(&cursor.map(str::to_owned), &limit).map(|page| page.limit)
        };
        assert_eq!(of(None, None), Ok(50));
        assert_eq!(of(None, Some(200)), Ok(200));
        for limit in [0, 201, -1, i64::MAX] {
            assert_eq!(of(None, Some(limit)).map_err(|e| e.code()), Err(Code::InvalidRequest));
        }
        let unsigned = BASE64URL_NOPAD.encode(id.as_bytes());
        for cursor in ["", "x", "AAAA", "é", &unsigned, &id.to_string()] {
            assert_eq!(of(Some(cursor), None), Err(Error::Refused(Code::InvalidCursor)), "{cursor}");
        }
    }

    #[test]
    fn a_cursor_is_of_one_list_one_organisation_and_one_deployment() {
        let (households, now) = cursors("/api/v1/households");
        let id = HouseholdId::new(now);
        let cursor = households.write(id);
        assert_eq!(households.read::<kind::Household>(&cursor), Ok(id));
        assert!(households.read::<kind::Voucher>(&cursor).is_err());
        assert!(households.read::<kind::Voucher>(&households.write::<kind::Voucher>(VoucherId::new(now))).is_ok());
        assert!(cursors("/api/v1/vouchers").0.read::<kind::Household>(&cursor).is_err());
        let stranger = OrganisationId::from_uuid(uuid::Uuid::from_bytes([8; 16]));
        assert!(
            Cursors::new(&Secret::new([1; 32]), stranger, "/api/v1/households")
                .read::<kind::Household>(&cursor)
                .is_err()
        );
        let own = OrganisationId::from_uuid(uuid::Uuid::from_bytes([7; 16]));
        assert!(
            Cursors::new(&Secret::new([2; 32]), own, "/api/v1/households").read::<kind::Household>(&cursor).is_err()
        );
    }

    #[test]
    fn a_cursor_with_one_bit_changed_is_refused() {
        let (cursors, now) = cursors("/api/v1/households");
        let bytes = BASE64URL_NOPAD.decode(cursors.write(HouseholdId::new(now)).as_bytes()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(cursors.read::<kind::Household>(&BASE64URL_NOPAD.encode(&changed)).is_err(), "{bit}");
        }
    }
}
