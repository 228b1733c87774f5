//! The SQL of contributions.

use diesel::prelude::*;

use crate::db::schema::{allowances, contributions};
use crate::db::{Conn, SumCents};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, ContributionId, EnrolmentId, PersonId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::programme::purse;

/// What a household has paid in, at one time.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = contributions, treat_none_as_default_value = false)]
pub struct Contribution {
    pub id: ContributionId,
    pub enrolment_id: EnrolmentId,
    pub period: i32,
    /// The pot.
    pub agreement_id: AgreementId,
    pub amount_cents: Cents,
    /// Where it stays the household's own.
    pub allowance_id: Option<AllowanceId>,
    /// Who took it.
    pub person_id: PersonId,
    pub recorded_at: Instant,
}

pub fn insert(conn: &mut Conn, contribution: &Contribution) -> Result<()> {
    diesel::insert_into(contributions::table).values(contribution).execute(conn)?;
    Ok(())
}

/// What was paid in for one period.
pub fn paid(conn: &mut Conn, enrolment: EnrolmentId, period: i32) -> Result<Cents> {
    let of_period =
        contributions::table.filter(contributions::enrolment_id.eq(enrolment)).filter(contributions::period.eq(period));
    let sum: Option<Cents> = of_period.select(SumCents(contributions::amount_cents)).first(conn).optional()?;
    Ok(sum.unwrap_or_default())
}

pub fn of_enrolment(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Contribution>> {
    Ok(contributions::table
        .filter(contributions::enrolment_id.eq(enrolment))
        .order(contributions::id)
        .select(Contribution::as_select())
        .load(conn)?)
}

/// A page of all contributions, for verification.
pub fn after(conn: &mut Conn, after: Option<ContributionId>, limit: i64) -> Result<Vec<Contribution>> {
    let mut query =
        contributions::table.order(contributions::id).limit(limit).select(Contribution::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(contributions::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// What households have of their own though nothing says that they have paid it in.
pub fn unpaid(conn: &mut Conn) -> Result<Vec<AllowanceId>> {
    let paid_in = contributions::table.filter(contributions::allowance_id.eq(allowances::id.nullable()));
    Ok(allowances::table
        .filter(allowances::purse.eq(purse::OWN))
        .filter(diesel::dsl::not(diesel::dsl::exists(paid_in)))
        .order(allowances::id)
        .select(allowances::id)
        .load(conn)?)
}
