//! The SQL of households and identities.

use std::fmt;

use diesel::prelude::*;

use super::{Composition, Identity, Known};
use crate::db::schema::{household_identities, households};
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
}

/// An identity as it was kept.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = household_identities)]
pub struct KnownIdentity {
    /// Never null in a row: without it, an identity of two nulls and none at all would look alike.
    pub household_id: HouseholdId,
    pub name: Option<String>,
    pub contact: Option<String>,
}

/// Names stay out of logs.
impl fmt::Debug for KnownIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownIdentity(..)")
    }
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

pub fn known(conn: &mut Conn, organisation: OrganisationId, id: HouseholdId) -> Result<Option<Known>> {
    Ok(households::table
        .left_join(household_identities::table)
        .filter(households::id.eq(id))
        .filter(households::organisation_id.eq(organisation))
        .select((Household::as_select(), Option::<KnownIdentity>::as_select()))
        .first(conn)
        .optional()?)
}

pub fn list(conn: &mut Conn, organisation: OrganisationId, page: &Page<HouseholdId>) -> Result<Vec<Known>> {
    let mut query = households::table
        .left_join(household_identities::table)
        .filter(households::organisation_id.eq(organisation))
        .order(households::id)
        .limit(page.fetch())
        .select((Household::as_select(), Option::<KnownIdentity>::as_select()))
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

pub fn upsert_identity(conn: &mut Conn, id: HouseholdId, identity: &Identity, now: Instant) -> Result<()> {
    let said = (
        household_identities::name.eq(identity.name.as_ref().map(|line| line.as_str())),
        household_identities::contact.eq(identity.contact.as_ref().map(|line| line.as_str())),
        household_identities::updated_at.eq(now),
    );
    let upsert = diesel::insert_into(household_identities::table)
        .values((household_identities::household_id.eq(id), said))
        .on_conflict(household_identities::household_id)
        .do_update()
        .set(said);
    Upsert(upsert).execute(conn)?;
    Ok(())
}

pub fn erase_identity(conn: &mut Conn, id: HouseholdId) -> Result<()> {
    diesel::delete(household_identities::table.find(id)).execute(conn)?;
    Ok(())
}
