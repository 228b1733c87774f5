//! Households that are alike: the same person is refused, a likely one is told to both structures, neither of which
//! learns anything of the other's.

use std::collections::{BTreeMap, BTreeSet};

use super::fingerprint::{Fingerprint, Kind};
use super::{Household, own, store};
use crate::access::Actor;
use crate::audit::{self, Action};
use crate::db::Conn;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{DuplicateId, HouseholdId};
use crate::kit::keys::Keys;
use crate::kit::text::Line;
use crate::kit::time::Instant;

/// A name, number or address that so many other households have is nobody's own (a structure's desk, a shared box).
const COMMON: usize = 20;

/// What reasons are sealed for.
pub(super) const SEALED: &str = "duplicate";

/// A household that may be the same as another, as seen from one of the two.
#[derive(Clone, Debug)]
pub struct Duplicate {
    pub id: DuplicateId,
    /// The other one, if it is the caller's own too.
    pub other: Option<HouseholdId>,
    pub found_at: Instant,
    pub dismissed_at: Option<Instant>,
    /// Whether the caller's own structure dismissed it.
    pub ours: bool,
    /// Why it was dismissed, for those who said it.
    pub reason: Option<String>,
}

/// Refuses a household whose person is known. The index refuses it too, whoever comes at the same time.
pub(super) fn refuse_certain(conn: &mut Conn, household: &Household, prints: &[Fingerprint]) -> Result<()> {
    let Some((_, person)) = prints.iter().find(|(kind, _)| *kind == Kind::Person) else { return Ok(()) };
    match store::same_person(conn, household.id, person)? {
        Some(known) => {
            let own = (known.organisation_id == household.organisation_id).then_some(known.id);
            Err(Error::KnownHousehold { own })
        }
        None => Ok(()),
    }
}

/// Pairs a household with those that its fingerprints make likely, and takes pairs away that are so no longer. A pair
/// that was dismissed stays dismissed for as long as the two are alike.
pub(super) fn pair_likely(conn: &mut Conn, now: Instant, id: HouseholdId, prints: &[Fingerprint]) -> Result<()> {
    let likely = likely(conn, id, prints)?;
    for pair in store::pairs_of(conn, id)? {
        if !likely.contains(&pair.other(id)) {
            store::delete_pair(conn, pair.id)?;
        }
    }
    let known: BTreeSet<HouseholdId> = store::pairs_of(conn, id)?.iter().map(|pair| pair.other(id)).collect();
    for other in likely.difference(&known) {
        let (first_household, second_household) = (id.min(*other), id.max(*other));
        let pair = store::Pair {
            id: DuplicateId::new(now),
            first_household,
            second_household,
            found_at: now,
            dismissed_at: None,
            dismissed_by: None,
            reason_sealed: None,
        };
        store::insert_pair(conn, &pair)?;
    }
    Ok(())
}

/// The same number or address; or the same name, unless the dates of birth of both are known: had they been the same
/// too, the second household would have been refused.
fn likely(conn: &mut Conn, id: HouseholdId, prints: &[Fingerprint]) -> Result<BTreeSet<HouseholdId>> {
    let born = prints.iter().any(|(kind, _)| *kind == Kind::Person);
    let mut likely = BTreeSet::new();
    for (kind, digest) in prints.iter().filter(|(kind, _)| *kind != Kind::Person) {
        let mut same = store::alike(conn, id, *kind, digest, COMMON)?;
        if same.len() == COMMON {
            continue;
        }
        if *kind == Kind::Name && born {
            let also_born = store::with_person(conn, &same)?;
            same.retain(|other| !also_born.contains(other));
        }
        likely.extend(same);
    }
    Ok(likely)
}

/// The households that one of the caller's own may be the same as, in order of being found.
pub fn duplicates(conn: &mut Conn, keys: &Keys, actor: &Actor, id: HouseholdId) -> Result<Vec<Duplicate>> {
    own(conn, actor, id)?;
    let pairs = store::pairs_of(conn, id)?;
    let others: Vec<HouseholdId> = pairs.iter().map(|pair| pair.other(id)).collect();
    let owners: BTreeMap<_, _> = store::organisations_of(conn, &others)?.into_iter().collect();
    let dismissed: BTreeSet<DuplicateId> = store::dismissed_within(conn, id, actor.organisation)?.into_iter().collect();
    let seen = |pair: store::Pair| {
        let other = pair.other(id);
        let ours = dismissed.contains(&pair.id);
        let reason = match pair.reason_sealed.filter(|_| ours) {
            // a reason that does not open is no reason to hide the pair
            Some(sealed) => keys.identity.open(SEALED, pair.id.as_bytes(), &sealed).ok(),
            None => None,
        };
        Duplicate {
            id: pair.id,
            other: Some(other).filter(|other| owners.get(other) == Some(&actor.organisation)),
            found_at: pair.found_at,
            dismissed_at: pair.dismissed_at,
            ours,
            reason: reason.and_then(|plain| String::from_utf8(plain).ok()),
        }
    };
    Ok(pairs.into_iter().map(seen).collect())
}

/// Says that two households are not the same, for both structures. The reason is kept under seal: it may name somebody.
pub fn dismiss(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    id: DuplicateId,
    reason: &Line<500>,
) -> Result<()> {
    let pair = store::pair(conn, id)?.ok_or(Error::Refused(Code::NotFound))?;
    let households = [pair.first_household, pair.second_household];
    let owners = store::organisations_of(conn, &households)?;
    if !owners.iter().any(|(_, owner)| *owner == actor.organisation) {
        return Err(Error::Refused(Code::NotFound));
    }
    let sealed = keys.identity.seal(SEALED, id.as_bytes(), reason.as_str().as_bytes())?;
    // guarded: the other structure may have dismissed it meanwhile
    if !store::dismiss_pair(conn, id, now, actor.person, &sealed)? {
        return Err(Error::Refused(Code::DuplicateState));
    }
    audit::record(conn, now, actor.who(), Action::DuplicateDismissed, id, None)
}
