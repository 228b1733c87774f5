//! The SQL of surpluses.

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::State;
use crate::db::schema::{redemptions, surpluses, voids};
use crate::db::{Conn, unwalked, verbatim};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, OrganisationId, RedemptionId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;

/// The condition of the index on surpluses to pool, word for word: a database takes such an index for nothing less.
const COLLECTED: &str = "surpluses.state = 'collected'";

/// What a producer has collected above the price of one purchase.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = surpluses, treat_none_as_default_value = false)]
pub struct Surplus {
    pub redemption_id: RedemptionId,
    /// The pot.
    pub agreement_id: AgreementId,
    pub amount_cents: Cents,
    /// The first instant at which its purchase can no longer be undone.
    pub matures_at: Instant,
    pub state: State,
    pub settled_at: Option<Instant>,
}

pub fn insert(conn: &mut Conn, surplus: &Surplus) -> Result<()> {
    diesel::insert_into(surpluses::table).values(surplus).execute(conn)?;
    Ok(())
}

pub fn surplus(conn: &mut Conn, redemption: RedemptionId) -> Result<Option<Surplus>> {
    Ok(surpluses::table.find(redemption).select(Surplus::as_select()).first(conn).optional()?)
}

/// Settles what was collected, once; false where somebody was first.
pub fn settle(conn: &mut Conn, now: Instant, redemption: RedemptionId, state: State) -> Result<bool> {
    let settled = diesel::update(surpluses::table.find(redemption).filter(surpluses::state.eq(State::Collected)))
        .set((surpluses::state.eq(state), surpluses::settled_at.eq(now)))
        .execute(conn)?;
    Ok(settled == 1)
}

/// Some purchases whose surplus can no longer be undone, in order of id.
pub fn due(conn: &mut Conn, now: Instant, after: Option<RedemptionId>, limit: i64) -> Result<Vec<RedemptionId>> {
    let mut query = surpluses::table
        .filter(verbatim::<Bool>(COLLECTED))
        .filter(surpluses::matures_at.le(now))
        .select(surpluses::redemption_id)
        .order(unwalked!("surpluses.redemption_id"))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(unwalked!("surpluses.redemption_id").gt(after));
    }
    Ok(query.load(conn)?)
}

// --- for verification ---

/// A surplus with the purchase that it hangs on.
#[derive(Clone, Debug)]
pub struct Known {
    pub surplus: Surplus,
    pub amount: Cents,
    pub void_until: Instant,
    pub producer: OrganisationId,
    pub voided: bool,
}

/// A page of all surpluses, each with its purchase.
pub fn after(conn: &mut Conn, after: Option<RedemptionId>, limit: i64) -> Result<Vec<Known>> {
    let mut query = surpluses::table
        .inner_join(redemptions::table.left_join(voids::table))
        .order(surpluses::redemption_id)
        .limit(limit)
        .select((
            Surplus::as_select(),
            redemptions::surplus_cents,
            redemptions::void_until,
            redemptions::producer_id,
            voids::redemption_id.nullable(),
        ))
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(surpluses::redemption_id.gt(after));
    }
    let rows: Vec<(Surplus, Cents, Instant, OrganisationId, Option<RedemptionId>)> = query.load(conn)?;
    let known = |(surplus, amount, void_until, producer, void): (
        Surplus,
        Cents,
        Instant,
        OrganisationId,
        Option<RedemptionId>,
    )| { Known { surplus, amount, void_until, producer, voided: void.is_some() } };
    Ok(rows.into_iter().map(known).collect())
}

/// How many purchases have a surplus.
pub fn bought(conn: &mut Conn) -> Result<i64> {
    Ok(redemptions::table.filter(redemptions::surplus_cents.gt(Cents::ZERO)).count().get_result(conn)?)
}
