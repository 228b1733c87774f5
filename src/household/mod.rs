//! Households: a reference and a composition; who they are, sealed apart.

pub mod api;
mod duplicates;
mod fingerprint;
mod identity;
pub mod reseal;
mod search;
mod store;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use crate::access::Actor;
use crate::audit::{self, Action};
use crate::db::{Conn, Page};
use crate::kit::commune::CommuneCode;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{HouseholdId, OrganisationId};
use crate::kit::keys::{Keys, random};
use crate::kit::time::Instant;
use crate::programme::MOST_MEMBERS;

pub use duplicates::{Duplicate, dismiss, duplicates};
pub use identity::{Identity, Look, forget, identify, identity, look};
pub use search::{Words, search};
pub use store::Household;
pub use verify::verify;

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
        let mut fields = Fields::default();
        fields.between("adults", self.adults, 1..=MOST_MEMBERS.into());
        fields.between("children", self.children, 0..=MOST_MEMBERS.into());
        fields.settle()
    }
}

/// A household as its own structure sees it before it opens any seal.
#[derive(Clone, Debug)]
pub struct Overview {
    pub household: Household,
    pub has_identity: bool,
    /// Pairs with another household that nobody has dismissed.
    pub possible_duplicates: usize,
}

/// What was done to a household is found again under its id.
fn record(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    action: Action,
    id: HouseholdId,
    detail: Option<&str>,
) -> Result<()> {
    audit::record(conn, now, actor.who(), action, id, detail.map(str::to_owned))
}

/// Writes down that somebody was told of a certain duplicate: the refusal itself leaves nothing.
pub fn record_refusal(conn: &mut Conn, now: Instant, actor: &Actor, id: Option<HouseholdId>) -> Result<()> {
    let subject = id.map(|id| id.to_string()).unwrap_or_default();
    audit::record(conn, now, actor.who(), Action::DuplicateRefused, subject, None)
}

pub fn register(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    composition: &Composition,
    identity: Option<&Identity>,
) -> Result<Overview> {
    composition.check()?;
    let identity = identity.filter(|identity| !identity.is_empty());
    if let Some(identity) = identity {
        identity.check(now, "identity.")?;
        store::queue(conn)?;
    }
    let household = Household {
        id: HouseholdId::new(now),
        organisation_id: actor.organisation,
        reference: new_reference(conn, actor.organisation)?,
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
        identity::keep(conn, now, keys, &household, identity)?;
    }
    let said = identity.map(|_| "with an identity");
    record(conn, now, actor, Action::HouseholdRegistered, household.id, said)?;
    overview(conn, household)
}

/// A household of the caller's own structure that was not erased.
pub fn own(conn: &mut Conn, actor: &Actor, id: HouseholdId) -> Result<Household> {
    store::household(conn, actor.organisation, id)?.ok_or(Error::Refused(Code::NotFound))
}

pub fn get(conn: &mut Conn, actor: &Actor, id: HouseholdId) -> Result<Overview> {
    let household = own(conn, actor, id)?;
    overview(conn, household)
}

/// The households of the caller's own structure.
pub fn list(conn: &mut Conn, actor: &Actor, page: &Page<HouseholdId>) -> Result<Vec<Overview>> {
    let households = store::list(conn, actor.organisation, page)?;
    overviews(conn, households)
}

fn overview(conn: &mut Conn, household: Household) -> Result<Overview> {
    Ok(overviews(conn, vec![household])?.remove(0))
}

fn overviews(conn: &mut Conn, households: Vec<Household>) -> Result<Vec<Overview>> {
    let ids: Vec<HouseholdId> = households.iter().map(|household| household.id).collect();
    let identified: BTreeSet<HouseholdId> = store::identified(conn, &ids)?.into_iter().collect();
    let mut pairs: BTreeMap<HouseholdId, usize> = BTreeMap::new();
    for (first, second) in store::open_pairs(conn, &ids)? {
        *pairs.entry(first).or_default() += 1;
        *pairs.entry(second).or_default() += 1;
    }
    let overview = |household: Household| Overview {
        has_identity: identified.contains(&household.id),
        possible_duplicates: pairs.get(&household.id).copied().unwrap_or_default(),
        household,
    };
    Ok(households.into_iter().map(overview).collect())
}

/// Changes the composition from now on; what was promised stays as it was promised.
pub fn recompose(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    id: HouseholdId,
    composition: &Composition,
) -> Result<Overview> {
    composition.check()?;
    own(conn, actor, id)?;
    touch(conn, now, id)?;
    store::update(conn, id, composition)?;
    record(conn, now, actor, Action::HouseholdRecomposed, id, None)?;
    get(conn, actor, id)
}

/// Its structure has dealt with a household: the time after which it is erased begins anew. An erased one is not found.
///
/// Takes its row until the end of the transaction, before any programme or purse: erasing it waits.
pub fn touch(conn: &mut Conn, now: Instant, id: HouseholdId) -> Result<()> {
    if store::touch(conn, id, now)? { Ok(()) } else { Err(Error::Refused(Code::NotFound)) }
}

/// Takes a household for its erasure: nothing is said of it, and it is enrolled nowhere, until the transaction ends.
pub fn take(conn: &mut Conn, id: HouseholdId) -> Result<Household> {
    store::queue(conn)?;
    store::lock(conn, id)?.filter(|household| household.erased_at.is_none()).ok_or(Error::Refused(Code::NotFound))
}

/// Makes a household that was taken nobody's for ever: without identity, under a reference that is on no paper.
pub fn erase(conn: &mut Conn, now: Instant, household: &Household) -> Result<()> {
    identity::remove(conn, household.id)?;
    let reference = new_reference(conn, household.organisation_id)?;
    store::erase(conn, household.id, &reference, now)
}

/// A reference that no household of the structure has yet.
fn new_reference(conn: &mut Conn, organisation: OrganisationId) -> Result<String> {
    // of a thousand million references some are free: ten draws that are all taken mean something else is wrong
    for _ in 0..10 {
        let reference = reference(random());
        if !store::has_reference(conn, organisation, &reference)? {
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
    fn a_household_has_1_to_20_adults_and_up_to_20_children() {
        let check = |adults, children| Composition { adults, children, commune: "62427".parse().unwrap() }.check();
        assert_eq!(check(1, 0), Ok(()));
        assert_eq!(check(20, 20), Ok(()));
        let Err(Error::Invalid(fields)) = check(0, 21) else { panic!("taken") };
        assert_eq!(fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["adults", "children"]);
    }
}
