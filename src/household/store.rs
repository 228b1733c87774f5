//! The SQL of households and identities.

use diesel::prelude::*;

use super::Composition;
use crate::db::schema::{households, sealed_identities};
use crate::db::{Conn, Page, Upsert};
use crate::kit::error::Result;
use crate::kit::id::{HouseholdId, OrganisationId};
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

pub fn insert(conn: &mut Conn, household: &Household) -> Result<()> {
    diesel::insert_into(households::table).values(household).execute(conn)?;
    Ok(())
}

pub fn has_reference(conn: &mut Conn, organisation: OrganisationId, reference: &str) -> Result<bool> {
    let taken = households::table
        .filter(households::organisation_id.eq(organisation))
        .filter(households::reference.eq(reference));
    Ok(diesel::select(diesel::dsl::exists(taken)).get_result(conn)?)
}

pub fn household(conn: &mut Conn, organisation: OrganisationId, id: HouseholdId) -> Result<Option<Household>> {
    let own = households::table.find(id).filter(households::organisation_id.eq(organisation));
    Ok(own.select(Household::as_select()).first(conn).optional()?)
}

pub fn list(conn: &mut Conn, organisation: OrganisationId, page: &Page<HouseholdId>) -> Result<Vec<Household>> {
    let mut query = households::table
        .filter(households::organisation_id.eq(organisation))
        .order(households::id)
        .limit(page.fetch())
        .select(Household::as_select())
        .into_boxed();
    if let Some(after) = page.after {
        query = query.filter(households::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn update(conn: &mut Conn, organisation: OrganisationId, id: HouseholdId, composition: &Composition) -> Result<()> {
    let own = households::table.find(id).filter(households::organisation_id.eq(organisation));
    diesel::update(own)
        .set((
            households::adults.eq(composition.adults),
            households::children.eq(composition.children),
            households::commune_code.eq(composition.commune.as_str()),
        ))
        .execute(conn)?;
    Ok(())
}

pub fn identity(conn: &mut Conn, id: HouseholdId) -> Result<Option<SealedIdentity>> {
    Ok(sealed_identities::table.find(id).select(SealedIdentity::as_select()).first(conn).optional()?)
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

pub fn erase_identity(conn: &mut Conn, id: HouseholdId) -> Result<()> {
    diesel::delete(sealed_identities::table.find(id)).execute(conn)?;
    Ok(())
}
