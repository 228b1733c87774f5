//! The SQL of purses: what can be spent at one moment, and who spends.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable};

use crate::db::schema::{accounts, allowance_parts, allowances, hold_parts, holds};
use crate::db::{Ask, Conn, any_of, column, question, unnested, unnested_rows, verbatim};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId};
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

/// Around the enrolments. What the order is by is an expression: in the order of an index PostgreSQL would walk all rows
/// where it takes them for a few.
const FIRST: &str = "SELECT enrolment_id FROM allowances WHERE id = ANY (ARRAY(SELECT first.id FROM unnest(";
const IN_ORDER: &str = ") AS e (id) CROSS JOIN LATERAL (SELECT a.id FROM allowances a WHERE a.enrolment_id = e.id \
                        AND a.purse <> 'own' ORDER BY COALESCE(a.id, a.id) LIMIT 1) AS first)) \
                        ORDER BY COALESCE(enrolment_id, enrolment_id) FOR UPDATE";
const IF_FREE: &str = ") AS e (id) CROSS JOIN LATERAL (SELECT a.id FROM allowances a WHERE a.enrolment_id = e.id \
                       AND a.purse <> 'own' ORDER BY COALESCE(a.id, a.id) LIMIT 1) AS first)) \
                       ORDER BY COALESCE(enrolment_id, enrolment_id) FOR UPDATE SKIP LOCKED";

/// A part whose time is not over.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Live {
    pub id: PartId,
    pub allowance: AllowanceId,
    pub agreement: AgreementId,
    pub amount: Cents,
    pub spendable_until: Instant,
    pub open: bool,
    pub position: i32,
    /// What its account holds.
    pub balance: Option<Cents>,
}

/// The parts of some enrolments' windows that have opened.
pub fn live(enrolments: &[EnrolmentId], now: Instant) -> impl Ask<Answer = Vec<Live>> {
    // one look at each index for each of them, whatever is known of how many rows there are
    let part = unnested_rows::<(ty::Id, ty::Id, ty::Id, BigInt, ty::Instant, Bool, Integer, Nullable<BigInt>), _>(
        "SELECT p.* FROM unnest(",
        (column::<ty::Id, _, _>(enrolments, |&id| id), column::<ty::Instant, _, _>(enrolments, |_| now)),
        ") AS e (id, now) CROSS JOIN LATERAL (\
         SELECT p.id, p.allowance_id, p.agreement_id, p.amount_cents, p.spendable_until, p.open, p.position, \
         (SELECT balance_cents FROM accounts WHERE id = p.id) \
         FROM (SELECT id FROM allowances WHERE enrolment_id = e.id AND opens_at <= e.now OFFSET 0) AS a \
         CROSS JOIN LATERAL (SELECT * FROM allowance_parts WHERE allowance_id = a.id AND spendable_until > e.now \
         OFFSET 0) AS p) AS p",
    );
    question(part, move |conn| {
        let opened = allowance_parts::table
            .inner_join(allowances::table)
            .left_join(accounts::table.on(accounts::id.eq(allowance_parts::id)))
            .filter(any_of(allowances::enrolment_id, enrolments))
            .filter(allowances::opens_at.le(now))
            .filter(allowance_parts::spendable_until.gt(now))
            .select((
                allowance_parts::id,
                allowance_parts::allowance_id,
                allowance_parts::agreement_id,
                allowance_parts::amount_cents,
                allowance_parts::spendable_until,
                allowance_parts::open,
                allowance_parts::position,
                accounts::balance_cents.nullable(),
            ));
        Ok(opened.load(conn)?)
    })
}

/// What is set aside of a part although its time is over: the part's again, whether or not the ledger says so yet.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Freed {
    pub enrolment: EnrolmentId,
    pub part: PartId,
    pub amount: Cents,
}

/// Of a hold, that it stands. An expression: where a state is bound, SQLite plans each use anew, as that could be the
/// condition of an index; and PostgreSQL would walk the index on what is to be freed.
pub const HELD: &str = "COALESCE(holds.state, holds.state) = 'held'";

pub fn over_due(enrolments: &[EnrolmentId], now: Instant) -> impl Ask<Answer = Vec<Freed>> {
    let part = unnested_rows::<(ty::Id, ty::Id, BigInt), _>(
        "SELECT e.id, p.part_id, p.amount_cents FROM unnest(",
        (column::<ty::Id, _, _>(enrolments, |&id| id), column::<ty::Instant, _, _>(enrolments, |_| now)),
        ") AS e (id, now) CROSS JOIN LATERAL (\
         SELECT id FROM holds WHERE enrolment_id = e.id AND COALESCE(state, state) = 'held' AND expires_at <= e.now OFFSET 0) \
         AS h CROSS JOIN LATERAL (SELECT part_id, amount_cents FROM hold_parts WHERE hold_id = h.id OFFSET 0) AS p",
    );
    question(part, move |conn| {
        let over = holds::table
            .inner_join(hold_parts::table)
            .filter(any_of(holds::enrolment_id, enrolments))
            .filter(verbatim::<Bool>(HELD))
            .filter(holds::expires_at.le(now))
            .select((holds::enrolment_id, hold_parts::part_id, hold_parts::amount_cents));
        Ok(over.load(conn)?)
    })
}
