//! Who a household is: said, sealed, looked at, forgotten.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprints;
use super::store::{self, SealedIdentity};
use super::{Household, duplicates, own, record, touch};
use crate::access::Actor;
use crate::audit::Action;
use crate::db::Conn;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Result};
use crate::kit::id::HouseholdId;
use crate::kit::keys::Keys;
use crate::kit::phone::Phone;
use crate::kit::text::{Email, Line};
use crate::kit::time::{Day, Instant};

/// Who a household is, as far as it said. An identity without anything is none.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub family_name: Option<Line<100>>,
    pub first_name: Option<Line<100>>,
    pub birth_date: Option<Day>,
    pub phone: Option<Phone>,
    pub email: Option<Email>,
}

/// Names stay out of logs.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl Identity {
    pub fn is_empty(&self) -> bool {
        *self == Identity::default()
    }

    /// `within` leads to its fields in the request.
    pub(super) fn check(&self, now: Instant, within: &str) -> Result<()> {
        // it may be tomorrow already where they were born
        match self.birth_date.filter(|day| *day > now.day().plus_days(1)) {
            Some(_) => Err(Error::invalid(&format!("{within}birth_date"), Complaint::InFuture)),
            None => Ok(()),
        }
    }
}

/// What identities are sealed for.
pub(super) const SEALED: &str = "identity";

/// What a look at an identity has shown; that there was a look is written in either case.
#[derive(Clone, Debug)]
pub enum Look {
    /// Empty where none was said.
    Seen(Identity),
    /// The seal does not open: the row was changed, or its key is another deployment's.
    Unreadable,
}

/// Opens a seal for somebody of the household's own structure, and writes down that they looked.
pub fn look(conn: &mut Conn, now: Instant, keys: &Keys, actor: &Actor, id: HouseholdId) -> Result<Look> {
    own(conn, actor, id)?;
    let look = identity(conn, keys, id)?;
    let detail = matches!(look, Look::Unreadable).then_some("unreadable");
    record(conn, now, actor, Action::IdentityRead, id, detail)?;
    Ok(look)
}

/// What a household said. Whoever shows it to anybody writes the look into the audit log.
pub fn identity(conn: &mut Conn, keys: &Keys, id: HouseholdId) -> Result<Look> {
    let Some(sealed) = store::identity(conn, id)? else { return Ok(Look::Seen(Identity::default())) };
    Ok(open(keys, &sealed)?.map_or(Look::Unreadable, Look::Seen))
}

/// None where the seal is broken; `unavailable` where this server has not got its key yet.
pub(super) fn open(keys: &Keys, sealed: &SealedIdentity) -> Result<Option<Identity>> {
    match keys.identity.open(SEALED, sealed.household_id.as_bytes(), &sealed.sealed) {
        Ok(plain) => Ok(serde_json::from_slice(&plain).ok()),
        Err(missing @ Error::Unavailable(_)) => Err(missing),
        Err(_) => Ok(None),
    }
}

/// Says who a household is, in place of what it said before; an empty identity takes it away. Returns whether it had
/// said something, which is then to be taken out of the database's files ([`Db::mark_unwiped`](crate::db::Db::mark_unwiped)).
///
/// [`Error::KnownHousehold`] where the same person is registered already, with whatever structure.
pub fn identify(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    id: HouseholdId,
    identity: &Identity,
) -> Result<bool> {
    identity.check(now, "")?;
    if identity.is_empty() {
        return forget(conn, now, actor, id);
    }
    store::queue(conn)?;
    let household = own(conn, actor, id)?;
    touch(conn, now, id)?;
    let had_said = store::identity(conn, id)?.is_some();
    keep(conn, now, keys, &household, identity)?;
    record(conn, now, actor, Action::HouseholdIdentified, id, None)?;
    Ok(had_said)
}

/// Erases who a household is. Its reference and what it was granted stay. Returns whether there was anything, which is
/// then to be taken out of the database's files too.
pub fn forget(conn: &mut Conn, now: Instant, actor: &Actor, id: HouseholdId) -> Result<bool> {
    store::queue(conn)?;
    own(conn, actor, id)?;
    let had_said = remove(conn, id)?;
    if had_said {
        record(conn, now, actor, Action::IdentityErased, id, None)?;
    }
    Ok(had_said)
}

/// Seals an identity and leaves what duplicates are found by. The caller is in the queue of identities.
pub(super) fn keep(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    household: &Household,
    identity: &Identity,
) -> Result<()> {
    let prints = fingerprints(&keys.secret, identity);
    duplicates::refuse_certain(conn, household, &prints)?;
    let sealed = SealedIdentity {
        household_id: household.id,
        key_id: keys.identity.current().to_string(),
        sealed: keys.identity.seal(
            SEALED,
            household.id.as_bytes(),
            &serde_json::to_vec(identity).map_err(Error::internal)?,
        )?,
        updated_at: now,
    };
    store::upsert_identity(conn, &sealed)?;
    store::replace_fingerprints(conn, household.id, &prints)?;
    duplicates::pair_likely(conn, now, household.id, &prints)
}

/// Whether there was anything to remove.
pub(super) fn remove(conn: &mut Conn, id: HouseholdId) -> Result<bool> {
    store::delete_pairs_of(conn, id)?;
    store::replace_fingerprints(conn, id, &[])?;
    store::delete_identity(conn, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_not_printed() {
        let said = Identity { family_name: "Exemple".parse().ok(), ..Identity::default() };
        let printed = format!("{said:#?} {:?}", Look::Seen(said.clone()));
        assert!(!printed.contains("Exemple"), "{printed}");
    }

    #[test]
    fn an_identity_reads_back_as_it_was_written_and_keeps_the_number_as_it_was_said() {
        let said = Identity {
            family_name: "Exemple".parse().ok(),
            first_name: "Zoé".parse().ok(),
            birth_date: "1987-03-14".parse().ok(),
            phone: "06 39 98 12 34".parse().ok(),
            email: "Zoe@Exemple.FR".parse().ok(),
        };
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), said);
        assert!(text.contains(r#""phone":"06 39 98 12 34","email":"zoe@exemple.fr""#), "{text}");
    }

    #[test]
    fn nobody_is_born_after_tomorrow() {
        let now: Instant = "2026-07-01T08:00:00Z".parse().unwrap();
        let born = |day: &str| Identity { birth_date: day.parse().ok(), ..Identity::default() }.check(now, "");
        assert_eq!(born("2026-07-02"), Ok(()));
        assert_eq!(born("2026-07-03"), Err(Error::invalid("birth_date", Complaint::InFuture)));
    }
}
