//! The SQL of what households pay in.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;

use crate::db::schema::{allowances, contributions, transfers};
use crate::db::{Conn, SumCents};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, ContributionId, EnrolmentId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::TransferCode;
use crate::programme::purse;

/// The periods that a household has paid a contribution for.
pub fn paid_for(conn: &mut Conn, enrolment: EnrolmentId) -> Result<BTreeSet<i32>> {
    let periods = contributions::table.filter(contributions::enrolment_id.eq(enrolment)).select(contributions::period);
    Ok(periods.load(conn)?.into_iter().collect())
}

/// Lets a period's money be issued.
pub fn wait_no_longer(conn: &mut Conn, enrolment: EnrolmentId, period: i32) -> Result<()> {
    let waiting =
        allowances::table.filter(allowances::enrolment_id.eq(enrolment)).filter(allowances::period.eq(period));
    diesel::update(waiting).set(allowances::waits.eq(false)).execute(conn)?;
    Ok(())
}

/// The contributions that some allowances were paid in by; others are left out.
pub fn contributions(conn: &mut Conn, of: &[AllowanceId]) -> Result<BTreeMap<AllowanceId, ContributionId>> {
    let rows = contributions::table
        .filter(contributions::allowance_id.eq_any(of))
        .select((contributions::allowance_id.assume_not_null(), contributions::id));
    Ok(rows.load(conn)?.into_iter().collect())
}

/// What a household has paid into the pot, for which period.
#[derive(Clone, Copy, Debug, Queryable, Selectable)]
#[diesel(table_name = contributions)]
pub struct IntoPot {
    pub id: ContributionId,
    pub period: i32,
    pub agreement_id: AgreementId,
    pub amount_cents: Cents,
}

/// Oldest first.
pub fn into_pot(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<IntoPot>> {
    Ok(contributions::table
        .filter(contributions::enrolment_id.eq(enrolment))
        .filter(contributions::allowance_id.is_null())
        .order(contributions::id)
        .select(IntoPot::as_select())
        .load(conn)?)
}

pub fn moved(conn: &mut Conn, agreement: AgreementId, code: TransferCode, since: Instant) -> Result<Cents> {
    let own = transfers::table
        .inner_join(allowances::table.on(allowances::id.eq(transfers::reference)))
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::code.eq(code))
        .filter(transfers::recorded_at.ge(since))
        .filter(allowances::purse.eq(purse::OWN));
    Ok(own.select(SumCents(transfers::amount_cents)).first(conn)?)
}
