//! Households: a reference and a composition; who they are, sealed apart.

pub mod api;
pub mod reseal;
mod store;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::store::SealedIdentity;
use crate::access::Actor;
use crate::db::{Conn, Page};
use crate::kit::commune::CommuneCode;
use crate::kit::error::{Code, Error, FieldError, Result};
use crate::kit::id::HouseholdId;
use crate::kit::keys::{Keys, random};
use crate::kit::text::Line;
use crate::kit::time::Instant;

pub use store::Household;

/// Who lives together, and where.
#[derive(Clone, Debug)]
pub struct Composition {
    /// 1 to 20
    pub adults: i32,
    /// 0 to 20
    pub children: i32,
    pub commune: CommuneCode,
}

impl Composition {
    fn check(&self) -> Result<()> {
        let ranges = [("adults", self.adults, 1), ("children", self.children, 0)];
        let wrong = ranges.into_iter().filter(|(_, count, least)| !(*least..=20).contains(count));
        let fields: Vec<_> = wrong
            .map(|(field, _, least)| FieldError { field: field.to_owned(), message: format!("must be {least} to 20") })
            .collect();
        if fields.is_empty() { Ok(()) } else { Err(Error::Invalid(fields)) }
    }
}

/// Who a household is, as far as it said. An identity without either is none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub name: Option<Line<200>>,
    pub contact: Option<Line<200>>,
}

/// Names stay out of logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A household with who it is, for its own structure only.
pub type Known = (Household, Option<Identity>);

pub fn register(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    composition: &Composition,
    identity: Option<&Identity>,
) -> Result<Known> {
    composition.check()?;
    let household = Household {
        id: HouseholdId::new(now),
        organisation_id: actor.organisation,
        reference: new_reference(conn, actor)?,
        adults: composition.adults,
        children: composition.children,
        commune_code: composition.commune.as_str().to_owned(),
        created_at: now,
        contacted_at: now,
        erased_at: None,
    };
    // where another took the same reference in the same moment, the transaction is run again and draws anew
    store::insert(conn, &household).map_err(|e| match e {
        Error::Duplicate(cause) => Error::Retry(cause),
        other => other,
    })?;
    if let Some(identity) = identity {
        keep_identity(conn, now, keys, household.id, identity)?;
    }
    known(conn, keys, actor, household.id)
}

/// A household of the caller's own structure.
pub fn own(conn: &mut Conn, actor: &Actor, id: HouseholdId) -> Result<Household> {
    store::household(conn, actor.organisation, id)?.ok_or(Error::Refused(Code::NotFound))
}

/// A household of the caller's own structure, with who it is.
pub fn known(conn: &mut Conn, keys: &Keys, actor: &Actor, id: HouseholdId) -> Result<Known> {
    let household = own(conn, actor, id)?;
    let identity = store::identity(conn, id)?.map(|sealed| {
        let plain = keys.identity.open(SEALED, id.as_bytes(), &sealed.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| Error::Internal("a sealed identity is none".to_owned()))
    });
    Ok((household, identity.transpose()?))
}

/// The households of the caller's own structure.
pub fn list(conn: &mut Conn, actor: &Actor, page: &Page<HouseholdId>) -> Result<Vec<Household>> {
    store::list(conn, actor.organisation, page)
}

/// Changes the composition from now on; what was promised stays as it was promised.
pub fn recompose(conn: &mut Conn, actor: &Actor, id: HouseholdId, composition: &Composition) -> Result<Household> {
    composition.check()?;
    store::update(conn, actor.organisation, id, composition)?;
    own(conn, actor, id)
}

pub fn identify(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    id: HouseholdId,
    identity: &Identity,
) -> Result<Known> {
    own(conn, actor, id)?;
    keep_identity(conn, now, keys, id, identity)?;
    known(conn, keys, actor, id)
}

/// Erases who a household is. Its reference and what it was granted stay.
pub fn forget(conn: &mut Conn, actor: &Actor, id: HouseholdId) -> Result<()> {
    own(conn, actor, id)?;
    store::erase_identity(conn, id)
}

/// What identities are sealed for.
const SEALED: &str = "identity";

fn keep_identity(conn: &mut Conn, now: Instant, keys: &Keys, id: HouseholdId, identity: &Identity) -> Result<()> {
    if identity.name.is_none() && identity.contact.is_none() {
        return store::erase_identity(conn, id);
    }
    let plain = serde_json::to_vec(identity).map_err(Error::internal)?;
    let sealed = SealedIdentity {
        household_id: id,
        key_id: keys.identity.current().to_string(),
        sealed: keys.identity.seal(SEALED, id.as_bytes(), &plain)?,
        updated_at: now,
    };
    store::upsert_identity(conn, &sealed)
}

/// A reference that no household of the structure has yet.
fn new_reference(conn: &mut Conn, actor: &Actor) -> Result<String> {
    // of a thousand million references some are free: ten draws that are all taken mean something else is wrong
    for _ in 0..10 {
        let reference = reference(random());
        if !store::has_reference(conn, actor.organisation, &reference)? {
            return Ok(reference);
        }
    }
    Err(Error::Internal("found no free household reference".to_owned()))
}

/// `MEN-` (ménage) and a symbol of Crockford's base 32 a byte.
fn reference(bytes: [u8; 6]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let symbols = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    "MEN-".chars().chain(symbols).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_six_symbols_that_are_not_mistaken_for_others() {
        assert_eq!(reference([0, 9, 10, 31, 32, 255]), "MEN-09AZ0Z");
        for _ in 0..100 {
            let drawn = reference(random());
            assert!(drawn.len() == 10 && !drawn[4..].contains(['I', 'L', 'O', 'U']), "{drawn}");
        }
    }

    #[test]
    fn an_identity_is_not_printed() {
        let name = "Lucienne Exemple";
        let said = Identity { name: name.parse().ok(), contact: None };
        let printed = format!("{said:#?}");
        assert!(!printed.contains("Lucienne"), "{printed}");
    }

    #[test]
    fn a_household_has_1_to_20_adults_and_up_to_20_children() {
        let check = |adults, children| Composition { adults, children, commune: "62427".parse().unwrap() }.check();
        assert_eq!(check(1, 0), Ok(()));
        assert_eq!(check(20, 20), Ok(()));
        let Err(Error::Invalid(fields)) = check(0, 21) else { panic!("taken") };
        assert_eq!(fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["adults", "children"]);
    }
}
