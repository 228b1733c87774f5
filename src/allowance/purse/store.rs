//! The SQL of purses: what can be spent at one moment, and who spends.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;

use super::PursePart;
use crate::allowance::store::{Allowance, Part};
use crate::allowance::{PartKey, State};
use crate::db::schema::{accounts, allowance_parts, hold_parts, holds};
use crate::db::{Conn, any_of, column, unnested, unnested_rows};
use crate::kit::error::Result;
use crate::kit::id::{AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::Instant;

/// The first row of a promise stands for the whole purse. They are taken in the order of their enrolments.
pub fn lock(conn: &mut Conn, enrolments: &[EnrolmentId]) -> Result<()> {
    // SQLite has one writer
    let Conn::Pg(conn) = conn else { return Ok(()) };
    unnested(FIRST, (column::<ty::Id, _, _>(enrolments, |&id| id),), IN_ORDER).execute(conn)?;
    Ok(())
}

/// Takes those that nobody has, and tells which.
pub fn lock_free(conn: &mut Conn, enrolments: &[EnrolmentId]) -> Result<BTreeSet<EnrolmentId>> {
    let Conn::Pg(conn) = conn else { return Ok(enrolments.iter().copied().collect()) };
    let free = unnested_rows::<ty::Id, _>(FIRST, (column::<ty::Id, _, _>(enrolments, |&id| id),), IF_FREE);
    Ok(free.load::<EnrolmentId>(conn)?.into_iter().collect())
}

/// Around the enrolments.
const FIRST: &str = "SELECT enrolment_id FROM allowances WHERE id = ANY (ARRAY(SELECT first.id FROM unnest(";
const IN_ORDER: &str = ") AS e (id) CROSS JOIN LATERAL (SELECT a.id FROM allowances a WHERE a.enrolment_id = e.id \
                        AND a.purse <> 'own' ORDER BY a.enrolment_id, a.id LIMIT 1) AS first)) \
                        ORDER BY enrolment_id FOR UPDATE";
const IF_FREE: &str = ") AS e (id) CROSS JOIN LATERAL (SELECT a.id FROM allowances a WHERE a.enrolment_id = e.id \
                       AND a.purse <> 'own' ORDER BY a.enrolment_id, a.id LIMIT 1) AS first)) \
                       ORDER BY enrolment_id FOR UPDATE SKIP LOCKED";

/// The parts of some allowances that may be spent now. Those of a due period count whole before they are issued, those of a
/// bonus with what is `matured`, and all with what is `freed`.
pub fn parts(
    conn: &mut Conn,
    of: &BTreeMap<AllowanceId, &Allowance>,
    matured: &BTreeMap<PartId, Cents>,
    freed: &[Freed],
    now: Instant,
) -> Result<Vec<PursePart>> {
    let ids: Vec<AllowanceId> = of.keys().copied().collect();
    let mut sums = BTreeMap::<PartId, Cents>::new();
    freed.iter().for_each(|held| *sums.entry(held.part).or_default() += held.amount);
    let rows: Vec<(Part, i32, Option<Cents>)> = allowance_parts::table
        .left_join(accounts::table.on(accounts::id.eq(allowance_parts::id)))
        .filter(any_of(allowance_parts::allowance_id, &ids))
        .filter(allowance_parts::spendable_until.gt(now))
        .select((Part::as_select(), allowance_parts::position, accounts::balance_cents.nullable()))
        .load(conn)?;
    let spendable = |(part, position, balance): (Part, i32, Option<Cents>)| {
        let allowance = of.get(&part.allowance_id)?;
        let granted = matured.get(&part.id).copied();
        let left = match allowance.state {
            // opened, by this clock too: another server may be a moment ahead
            State::Issued if part.open && allowance.opens_at <= now => {
                let freed = sums.get(&part.id).copied().unwrap_or_default();
                balance.unwrap_or_default() + granted.unwrap_or_default() + freed
            }
            State::Committed if !allowance.is_given() => granted?,
            State::Committed if allowance.waits => return None,
            State::Committed if allowance.opens_at <= now && now < allowance.closes_at => part.amount_cents,
            _ => return None,
        };
        let key = PartKey { part: part.id, allowance: part.allowance_id, agreement: part.agreement_id };
        let (period, purse) = (allowance.period, allowance.purse.clone());
        Some(PursePart { key, period, purse, position, left, spendable_until: part.spendable_until })
    };
    Ok(rows.into_iter().filter_map(spendable).collect())
}

/// What is set aside of a part although its time is over: the part's again, whether or not the ledger says so yet.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Freed {
    pub enrolment: EnrolmentId,
    pub part: PartId,
    pub amount: Cents,
}

pub fn over_due(conn: &mut Conn, enrolments: &[EnrolmentId], now: Instant) -> Result<Vec<Freed>> {
    let over = holds::table
        .inner_join(hold_parts::table)
        .filter(any_of(holds::enrolment_id, enrolments))
        .filter(holds::state.eq("held"))
        .filter(holds::expires_at.le(now))
        .select((holds::enrolment_id, hold_parts::part_id, hold_parts::amount_cents));
    Ok(over.load(conn)?)
}
