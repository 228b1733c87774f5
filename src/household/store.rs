//! The SQL of households, identities and what duplicates are found by.

use diesel::dsl::exists;
use diesel::prelude::*;

use super::Composition;
use super::fingerprint::{Fingerprint, Kind};
use crate::db::schema::{household_duplicates, household_fingerprints, households, people, sealed_identities};
use crate::db::{Conn, Locked, Page, Queue, Upsert, wait_in};
use crate::kit::error::{Error, Result};
use crate::kit::id::{DuplicateId, HouseholdId, OrganisationId, PersonId};
use crate::kit::time::Instant;

/// A household as the house works with it: nothing here names anybody.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = households)]
pub struct Household {
    pub id: HouseholdId,
    pub organisation_id: OrganisationId,
    /// `MEN-` and six symbols, unique in its structure.
    pub reference: String,
    pub adults: i32,
    pub children: i32,
    /// INSEE
    pub commune_code: String,
    pub created_at: Instant,
    /// When its structure last dealt with it.
    pub contacted_at: Instant,
    pub erased_at: Option<Instant>,
}

/// Who a household is, as the database keeps it.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sealed_identities)]
pub struct SealedIdentity {
    pub household_id: HouseholdId,
    pub key_id: String,
    pub sealed: Vec<u8>,
    pub updated_at: Instant,
}

/// Two households that may be the same.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = household_duplicates, treat_none_as_default_value = false)]
pub struct Pair {
    pub id: DuplicateId,
    pub first_household: HouseholdId,
    pub second_household: HouseholdId,
    pub found_at: Instant,
    pub dismissed_at: Option<Instant>,
    pub dismissed_by: Option<PersonId>,
    pub reason_sealed: Option<Vec<u8>>,
}

impl Pair {
    pub fn other(&self, of: HouseholdId) -> HouseholdId {
        if self.first_household == of { self.second_household } else { self.first_household }
    }
}

// Households -------------------------------------------------------------------------------------

pub fn insert(conn: &mut Conn, household: &Household) -> Result<()> {
    diesel::insert_into(households::table).values(household).execute(conn)?;
    Ok(())
}

pub fn has_reference(conn: &mut Conn, organisation: OrganisationId, reference: &str) -> Result<bool> {
    let taken = households::table
        .filter(households::organisation_id.eq(organisation))
        .filter(households::reference.eq(reference));
    Ok(diesel::select(exists(taken)).get_result(conn)?)
}

/// One that was not erased.
pub fn household(conn: &mut Conn, organisation: OrganisationId, id: HouseholdId) -> Result<Option<Household>> {
    let own = households::table.find(id).filter(households::organisation_id.eq(organisation));
    let living = own.filter(households::erased_at.is_null());
    Ok(living.select(Household::as_select()).first(conn).optional()?)
}

/// Those that were not erased.
pub fn list(conn: &mut Conn, organisation: OrganisationId, page: &Page<HouseholdId>) -> Result<Vec<Household>> {
    let mut query = households::table
        .filter(households::organisation_id.eq(organisation))
        .filter(households::erased_at.is_null())
        .order(households::id)
        .limit(page.fetch())
        .select(Household::as_select())
        .into_boxed();
    if let Some(after) = page.after {
        query = query.filter(households::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn update(conn: &mut Conn, id: HouseholdId, composition: &Composition) -> Result<()> {
    diesel::update(households::table.find(id))
        .set((
            households::adults.eq(composition.adults),
            households::children.eq(composition.children),
            households::commune_code.eq(composition.commune.as_str()),
        ))
        .execute(conn)?;
    Ok(())
}

/// Whether there is such a household, not erased.
pub fn touch(conn: &mut Conn, id: HouseholdId, now: Instant) -> Result<bool> {
    let living = households::table.find(id).filter(households::erased_at.is_null());
    Ok(diesel::update(living).set(households::contacted_at.eq(now)).execute(conn)? == 1)
}

pub fn lock(conn: &mut Conn, id: HouseholdId) -> Result<Option<Household>> {
    Ok(Locked(households::table.find(id).select(Household::as_select())).get_result(conn).optional()?)
}

pub fn erase(conn: &mut Conn, id: HouseholdId, reference: &str, now: Instant) -> Result<()> {
    let erased = (households::reference.eq(reference), households::erased_at.eq(now));
    diesel::update(households::table.find(id)).set(erased).execute(conn)?;
    Ok(())
}

/// Whose some households are.
pub fn organisations_of(conn: &mut Conn, ids: &[HouseholdId]) -> Result<Vec<(HouseholdId, OrganisationId)>> {
    let of = households::table.filter(households::id.eq_any(ids));
    Ok(of.select((households::id, households::organisation_id)).load(conn)?)
}

// Identities -------------------------------------------------------------------------------------

/// Until this transaction ends, nobody else says or erases an identity.
pub fn queue(conn: &mut Conn) -> Result<()> {
    wait_in(conn, Queue::Identities)
}

pub fn identity(conn: &mut Conn, id: HouseholdId) -> Result<Option<SealedIdentity>> {
    Ok(sealed_identities::table.find(id).select(SealedIdentity::as_select()).first(conn).optional()?)
}

/// Which of some households have an identity.
pub fn identified(conn: &mut Conn, ids: &[HouseholdId]) -> Result<Vec<HouseholdId>> {
    let of = sealed_identities::table.filter(sealed_identities::household_id.eq_any(ids));
    Ok(of.select(sealed_identities::household_id).load(conn)?)
}

pub fn upsert_identity(conn: &mut Conn, identity: &SealedIdentity) -> Result<()> {
    let said = (
        sealed_identities::key_id.eq(&identity.key_id),
        sealed_identities::sealed.eq(&identity.sealed),
        sealed_identities::updated_at.eq(identity.updated_at),
    );
    let upsert = diesel::insert_into(sealed_identities::table)
        .values((sealed_identities::household_id.eq(identity.household_id), said))
        .on_conflict(sealed_identities::household_id)
        .do_update()
        .set(said);
    Upsert(upsert).execute(conn)?;
    Ok(())
}

/// Whether there was one.
pub fn delete_identity(conn: &mut Conn, id: HouseholdId) -> Result<bool> {
    Ok(diesel::delete(sealed_identities::table.find(id)).execute(conn)? == 1)
}

/// A page of all identities, for verification.
pub fn identities_after(conn: &mut Conn, after: Option<HouseholdId>, limit: i64) -> Result<Vec<SealedIdentity>> {
    let mut query = sealed_identities::table
        .order(sealed_identities::household_id)
        .limit(limit)
        .select(SealedIdentity::as_select())
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(sealed_identities::household_id.gt(after));
    }
    Ok(query.load(conn)?)
}

// Fingerprints -----------------------------------------------------------------------------------

pub fn fingerprints_of(conn: &mut Conn, id: HouseholdId) -> Result<Vec<(Kind, Vec<u8>)>> {
    let of = household_fingerprints::table.filter(household_fingerprints::household_id.eq(id));
    Ok(of.select((household_fingerprints::kind, household_fingerprints::digest)).load(conn)?)
}

/// `duplicate_household` where another has the same person, which only one that is in no queue could have.
pub fn replace_fingerprints(conn: &mut Conn, id: HouseholdId, prints: &[Fingerprint]) -> Result<()> {
    let old = household_fingerprints::table.filter(household_fingerprints::household_id.eq(id));
    diesel::delete(old).execute(conn)?;
    for (kind, digest) in prints {
        let row = (
            household_fingerprints::household_id.eq(id),
            household_fingerprints::kind.eq(*kind),
            household_fingerprints::digest.eq(&digest[..]),
        );
        let inserted = diesel::insert_into(household_fingerprints::table).values(row).execute(conn);
        inserted.map_err(Error::from).map_err(|e| match e {
            Error::Duplicate(_) => Error::KnownHousehold { own: None },
            other => other,
        })?;
    }
    Ok(())
}

/// Another household with this person.
pub fn same_person(conn: &mut Conn, besides: HouseholdId, digest: &[u8; 32]) -> Result<Option<Household>> {
    let same = household_fingerprints::table
        .filter(household_fingerprints::kind.eq(Kind::Person))
        .filter(household_fingerprints::digest.eq(&digest[..]))
        .filter(household_fingerprints::household_id.ne(besides))
        .select(household_fingerprints::household_id);
    Ok(households::table.filter(households::id.eq_any(same)).select(Household::as_select()).first(conn).optional()?)
}

/// Other households with a fingerprint, as many as are asked for at most.
pub fn alike(
    conn: &mut Conn,
    besides: HouseholdId,
    kind: Kind,
    digest: &[u8; 32],
    most: usize,
) -> Result<Vec<HouseholdId>> {
    Ok(household_fingerprints::table
        .filter(household_fingerprints::kind.eq(kind))
        .filter(household_fingerprints::digest.eq(&digest[..]))
        .filter(household_fingerprints::household_id.ne(besides))
        .order(household_fingerprints::household_id)
        .limit(i64::try_from(most).unwrap_or(i64::MAX))
        .select(household_fingerprints::household_id)
        .load(conn)?)
}

/// Which of some households said a name and a date of birth.
pub fn with_person(conn: &mut Conn, ids: &[HouseholdId]) -> Result<Vec<HouseholdId>> {
    Ok(household_fingerprints::table
        .filter(household_fingerprints::kind.eq(Kind::Person))
        .filter(household_fingerprints::household_id.eq_any(ids))
        .select(household_fingerprints::household_id)
        .load(conn)?)
}

/// A structure's own households with a fingerprint, in order of id.
pub fn find(
    conn: &mut Conn,
    organisation: OrganisationId,
    kind: Kind,
    digest: &[u8; 32],
    most: i64,
) -> Result<Vec<Household>> {
    let same = household_fingerprints::table
        .filter(household_fingerprints::kind.eq(kind))
        .filter(household_fingerprints::digest.eq(&digest[..]))
        .select(household_fingerprints::household_id);
    Ok(households::table
        .filter(households::organisation_id.eq(organisation))
        .filter(households::erased_at.is_null())
        .filter(households::id.eq_any(same))
        .order(households::id)
        .limit(most)
        .select(Household::as_select())
        .load(conn)?)
}

// Pairs ------------------------------------------------------------------------------------------

pub fn insert_pair(conn: &mut Conn, pair: &Pair) -> Result<()> {
    diesel::insert_into(household_duplicates::table).values(pair).execute(conn)?;
    Ok(())
}

pub fn pair(conn: &mut Conn, id: DuplicateId) -> Result<Option<Pair>> {
    Ok(household_duplicates::table.find(id).select(Pair::as_select()).first(conn).optional()?)
}

pub fn pairs_of(conn: &mut Conn, id: HouseholdId) -> Result<Vec<Pair>> {
    let first = household_duplicates::first_household.eq(id);
    Ok(household_duplicates::table
        .filter(first.or(household_duplicates::second_household.eq(id)))
        .order(household_duplicates::id)
        .select(Pair::as_select())
        .load(conn)?)
}

/// The pairs of some households that nobody has dismissed.
pub fn open_pairs(conn: &mut Conn, ids: &[HouseholdId]) -> Result<Vec<(HouseholdId, HouseholdId)>> {
    let first = household_duplicates::first_household.eq_any(ids);
    Ok(household_duplicates::table
        .filter(first.or(household_duplicates::second_household.eq_any(ids)))
        .filter(household_duplicates::dismissed_at.is_null())
        .select((household_duplicates::first_household, household_duplicates::second_household))
        .load(conn)?)
}

/// The pairs of a household that people of an organisation have dismissed.
pub fn dismissed_within(conn: &mut Conn, id: HouseholdId, organisation: OrganisationId) -> Result<Vec<DuplicateId>> {
    let colleagues = people::table.filter(people::organisation_id.eq(organisation)).select(people::id.nullable());
    let first = household_duplicates::first_household.eq(id);
    Ok(household_duplicates::table
        .filter(first.or(household_duplicates::second_household.eq(id)))
        .filter(household_duplicates::dismissed_by.eq_any(colleagues))
        .select(household_duplicates::id)
        .load(conn)?)
}

/// Whether it was still to be dismissed.
pub fn dismiss_pair(
    conn: &mut Conn,
    id: DuplicateId,
    now: Instant,
    person: PersonId,
    reason_sealed: &[u8],
) -> Result<bool> {
    let open = household_duplicates::table.find(id).filter(household_duplicates::dismissed_at.is_null());
    let dismissed = (
        household_duplicates::dismissed_at.eq(now),
        household_duplicates::dismissed_by.eq(person),
        household_duplicates::reason_sealed.eq(reason_sealed),
    );
    Ok(diesel::update(open).set(dismissed).execute(conn)? == 1)
}

pub fn delete_pair(conn: &mut Conn, id: DuplicateId) -> Result<()> {
    diesel::delete(household_duplicates::table.find(id)).execute(conn)?;
    Ok(())
}

pub fn delete_pairs_of(conn: &mut Conn, id: HouseholdId) -> Result<()> {
    let first = household_duplicates::first_household.eq(id);
    let of = household_duplicates::table.filter(first.or(household_duplicates::second_household.eq(id)));
    diesel::delete(of).execute(conn)?;
    Ok(())
}
