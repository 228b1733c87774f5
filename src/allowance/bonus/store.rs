//! The SQL of bonuses.

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::State;
use crate::db::schema::{allowances, bonuses, enrolments, redemptions, voids};
use crate::db::{Conn, any_of, unwalked, verbatim};
use crate::kit::error::Result;
use crate::kit::id::{AllowanceId, EnrolmentId, RedemptionId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;

/// The condition of the index on bonuses to grant, word for word: a database takes such an index for nothing less.
const EARNED: &str = "bonuses.state = 'earned'";

/// What one purchase has earned.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = bonuses, treat_none_as_default_value = false)]
pub struct Bonus {
    pub redemption_id: RedemptionId,
    /// The bonus of a period that it is taken from.
    pub allowance_id: AllowanceId,
    pub amount_cents: Cents,
    /// The first instant at which its purchase can no longer be undone.
    pub matures_at: Instant,
    pub state: State,
    pub settled_at: Option<Instant>,
}

pub fn insert(conn: &mut Conn, bonus: &Bonus) -> Result<()> {
    diesel::insert_into(bonuses::table).values(bonus).execute(conn)?;
    Ok(())
}

pub fn state(conn: &mut Conn, redemption: RedemptionId) -> Result<Option<State>> {
    Ok(bonuses::table.find(redemption).select(bonuses::state).first(conn).optional()?)
}

/// What was earned from some allowances and is neither granted nor lost, in the order in which it matures.
pub fn earned(conn: &mut Conn, of: &[AllowanceId]) -> Result<Vec<Bonus>> {
    Ok(bonuses::table
        .filter(any_of(bonuses::allowance_id, of))
        .filter(bonuses::state.eq(State::Earned))
        .order((bonuses::matures_at, bonuses::redemption_id))
        .select(Bonus::as_select())
        .load(conn)?)
}

/// Whatever was earned from some allowances, settled or not.
pub fn ever_earned(conn: &mut Conn, of: &[AllowanceId]) -> Result<Vec<Bonus>> {
    let all = bonuses::table.filter(bonuses::allowance_id.eq_any(of)).order(bonuses::redemption_id);
    Ok(all.select(Bonus::as_select()).load(conn)?)
}

/// Settles what was earned, once; false where somebody was first.
pub fn settle(conn: &mut Conn, now: Instant, redemption: RedemptionId, state: State) -> Result<bool> {
    let settled = diesel::update(bonuses::table.find(redemption).filter(bonuses::state.eq(State::Earned)))
        .set((bonuses::state.eq(state), bonuses::settled_at.eq(now)))
        .execute(conn)?;
    Ok(settled == 1)
}

/// Some enrolments with a bonus to grant, in order of id.
pub fn enrolments_due(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    let mut query = bonuses::table
        .inner_join(allowances::table)
        .filter(verbatim::<Bool>(EARNED))
        .filter(bonuses::matures_at.le(now))
        .select(unwalked!("allowances.enrolment_id"))
        .distinct()
        .order(unwalked!("allowances.enrolment_id"))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(unwalked!("allowances.enrolment_id").gt(after));
    }
    Ok(query.load(conn)?)
}

// --- for verification ---

/// A bonus with the purchase and the allowance that it hangs on.
#[derive(Clone, Debug)]
pub struct Known {
    pub bonus: Bonus,
    pub void_until: Instant,
    pub bought_by: EnrolmentId,
    pub voided: bool,
}

/// Every bonus that was earned from some allowances, with its purchase.
pub fn known(conn: &mut Conn, of: &[AllowanceId]) -> Result<Vec<Known>> {
    let rows: Vec<(Bonus, Instant, EnrolmentId, Option<RedemptionId>)> = bonuses::table
        .inner_join(redemptions::table.left_join(voids::table))
        .filter(bonuses::allowance_id.eq_any(of))
        .order(bonuses::redemption_id)
        .select((
            Bonus::as_select(),
            redemptions::void_until,
            redemptions::enrolment_id,
            voids::redemption_id.nullable(),
        ))
        .load(conn)?;
    let known = |(bonus, void_until, bought_by, void): (Bonus, Instant, EnrolmentId, Option<RedemptionId>)| Known {
        bonus,
        void_until,
        bought_by,
        voided: void.is_some(),
    };
    Ok(rows.into_iter().map(known).collect())
}

pub fn count(conn: &mut Conn) -> Result<i64> {
    Ok(bonuses::table.count().get_result(conn)?)
}

/// Those of some enrolments whose household has left.
pub fn left(conn: &mut Conn, of: &[EnrolmentId]) -> Result<Vec<EnrolmentId>> {
    Ok(enrolments::table
        .filter(enrolments::id.eq_any(of))
        .filter(enrolments::left_at.is_not_null())
        .select(enrolments::id)
        .load(conn)?)
}
