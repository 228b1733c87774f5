//! The SQL of holds, their parts and their lines.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::{NewLine, State};
use crate::allowance::{HELD, PartKey, PursePart};
use crate::db::schema::{
    accounts, allowance_parts, allowances, enrolments, hold_lines, hold_parts, holds, redemptions, stalls, vouchers,
};
use crate::db::{Ask, Conn, Page, SumCents, any_of, column, question, unnested_rows, unwalked, verbatim};
use crate::kit::error::Result;
use crate::kit::id::{
    AccountId, AgreementId, AllowanceId, EnrolmentId, HoldId, HoldPartId, OrganisationId, PartId, PersonId,
    ProgrammeId, StallId, VoucherId,
};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::Instant;
use crate::ledger::AccountKind;
use crate::programme::Category;

/// Ids in one statement: below what either database takes.
const CHUNK: usize = 1_000;

/// The condition of the index on what is still set aside, word for word: a database takes such an index for nothing less.
const WAITING: &str = "holds.state = 'held'";

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = holds, treat_none_as_default_value = false)]
pub struct Hold {
    pub id: HoldId,
    pub voucher_id: VoucherId,
    pub enrolment_id: EnrolmentId,
    /// None: a voucher of a fixed value, good at any stall.
    pub stall_id: Option<StallId>,
    pub person_id: PersonId,
    pub basket_cents: Option<Cents>,
    pub covered_cents: Cents,
    /// To be paid above the price, for the pot.
    pub surplus_cents: Cents,
    /// The tariff that it was decided by, if the household had or chose one.
    pub band: Option<String>,
    pub state: State,
    /// The first instant that is too late.
    pub expires_at: Instant,
    pub created_at: Instant,
    pub settled_at: Option<Instant>,
}

/// So much of one part of an allowance.
#[derive(Clone, Copy, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = hold_parts)]
pub struct HoldPart {
    pub id: HoldPartId,
    pub hold_id: HoldId,
    pub part_id: PartId,
    pub amount_cents: Cents,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = hold_lines)]
pub struct Line {
    pub hold_id: HoldId,
    pub position: i32,
    pub category: Category,
    /// In order, by spaces.
    pub labels: String,
    pub amount_cents: Cents,
}

/// A basket that is set aside and not settled.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Waiting {
    pub enrolment: EnrolmentId,
    pub voucher: VoucherId,
    pub stall: StallId,
    pub basket: Cents,
    pub covered: Cents,
    pub created_at: Instant,
    /// The first instant that is too late: then it is free, whether or not that is written yet.
    pub expires_at: Instant,
}

/// What an account of a hold is.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    pub hold: HoldId,
    pub part: PartId,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    pub stall: Option<StallId>,
    pub state: Option<State>,
}

pub fn insert(conn: &mut Conn, hold: &Hold) -> Result<()> {
    diesel::insert_into(holds::table).values(hold).execute(conn)?;
    Ok(())
}

pub fn insert_lines(conn: &mut Conn, hold: HoldId, lines: &[NewLine]) -> Result<Vec<Line>> {
    let mut rows = Vec::with_capacity(lines.len());
    for (position, line) in (1..).zip(lines) {
        let &NewLine { category, ref labels, amount: amount_cents } = line;
        let line = Line { hold_id: hold, position, category, labels: labels.clone(), amount_cents };
        diesel::insert_into(hold_lines::table).values(&line).execute(conn)?;
        rows.push(line);
    }
    Ok(rows)
}

pub fn insert_part(conn: &mut Conn, id: HoldPartId, hold: HoldId, part: PartId, amount: Cents) -> Result<()> {
    let part = HoldPart { id, hold_id: hold, part_id: part, amount_cents: amount };
    diesel::insert_into(hold_parts::table).values(&part).execute(conn)?;
    Ok(())
}

pub fn settle(conn: &mut Conn, id: HoldId, state: State, now: Instant) -> Result<()> {
    diesel::update(holds::table.find(id)).set((holds::state.eq(state), holds::settled_at.eq(now))).execute(conn)?;
    Ok(())
}

pub fn take_over(conn: &mut Conn, old: VoucherId, new: VoucherId) -> Result<()> {
    let held = holds::table.filter(holds::voucher_id.eq(old)).filter(holds::state.eq(State::Held));
    diesel::update(held).set(holds::voucher_id.eq(new)).execute(conn)?;
    Ok(())
}

pub fn hold(conn: &mut Conn, id: HoldId) -> Result<Option<Hold>> {
    Ok(holds::table.find(id).select(Hold::as_select()).first(conn).optional()?)
}

pub fn is_of_producer(conn: &mut Conn, producer: OrganisationId, id: HoldId) -> Result<bool> {
    let theirs = holds::table
        .inner_join(stalls::table.on(holds::stall_id.eq(stalls::id.nullable())))
        .filter(holds::id.eq(id))
        .filter(stalls::producer_id.eq(producer));
    Ok(diesel::select(diesel::dsl::exists(theirs)).get_result(conn)?)
}

pub fn list(
    conn: &mut Conn,
    now: Instant,
    producer: OrganisationId,
    filter: &Filter,
    page: &Page<HoldId>,
) -> Result<Vec<Hold>> {
    let own = stalls::table.filter(stalls::producer_id.eq(producer)).select(stalls::id.nullable());
    let mut query = holds::table
        .filter(holds::stall_id.eq_any(own))
        .order(holds::id.desc())
        .limit(page.fetch())
        .select(Hold::as_select())
        .into_boxed();
    if let Some(stall) = filter.stall {
        query = query.filter(holds::stall_id.eq(stall));
    }
    query = match filter.state {
        Some(State::Held) => query.filter(holds::state.eq(State::Held)).filter(holds::expires_at.gt(now)),
        Some(State::Captured) => query.filter(holds::state.eq(State::Captured)),
        Some(State::Released) => query
            .filter(holds::state.eq(State::Released).or(holds::state.eq(State::Held).and(holds::expires_at.le(now)))),
        None => query,
    };
    if let Some(after) = page.after {
        query = query.filter(holds::id.lt(after));
    }
    Ok(query.load(conn)?)
}

pub fn of_enrolment(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Hold>> {
    let theirs = holds::table.filter(holds::enrolment_id.eq(enrolment)).order(holds::id);
    Ok(theirs.select(Hold::as_select()).load(conn)?)
}

pub fn behind(conn: &mut Conn, vouchers: &[VoucherId]) -> Result<Vec<Hold>> {
    let theirs = holds::table.filter(holds::voucher_id.eq_any(vouchers)).filter(holds::stall_id.is_null());
    Ok(theirs.order(holds::id).select(Hold::as_select()).load(conn)?)
}

/// What some enrolments have set aside and not settled: all, or what was over at an instant.
pub fn held(conn: &mut Conn, enrolments: &[EnrolmentId], over_at: Option<Instant>) -> Result<Vec<Hold>> {
    let mut query = holds::table
        .filter(holds::enrolment_id.eq_any(enrolments))
        .filter(holds::state.eq(State::Held))
        .select(Hold::as_select())
        .into_boxed();
    if let Some(now) = over_at {
        query = query.filter(holds::expires_at.le(now));
    }
    let mut held: Vec<Hold> = query.load(conn)?;
    // not in SQL: what thinks that there are few would walk all of them in this order
    held.sort_by_key(|hold| hold.id);
    Ok(held)
}

pub fn enrolments_to_free(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    let mut query = holds::table
        .filter(verbatim::<Bool>(WAITING))
        .filter(holds::expires_at.le(now))
        .select(unwalked!("holds.enrolment_id"))
        .distinct()
        .order(unwalked!("holds.enrolment_id"))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(unwalked!("holds.enrolment_id").gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn oldest_to_free(conn: &mut Conn, now: Instant) -> Result<Option<Instant>> {
    let over = holds::table.filter(verbatim::<Bool>(WAITING)).filter(holds::expires_at.le(now));
    Ok(over.select(diesel::dsl::min(holds::expires_at)).first(conn)?)
}

pub fn with_lines(conn: &mut Conn, of: Vec<Hold>) -> Result<Vec<(Hold, Vec<Line>)>> {
    let ids: Vec<HoldId> = of.iter().map(|hold| hold.id).collect();
    let lines: Vec<Line> = hold_lines::table
        .filter(hold_lines::hold_id.eq_any(&ids))
        .order((hold_lines::hold_id, hold_lines::position))
        .select(Line::as_select())
        .load(conn)?;
    let own = |hold: &Hold| lines.iter().filter(|line| line.hold_id == hold.id).cloned().collect();
    Ok(of.into_iter().map(|hold| (own(&hold), hold)).map(|(lines, hold)| (hold, lines)).collect())
}

pub fn parts(conn: &mut Conn, of: &[HoldId]) -> Result<Vec<HoldPart>> {
    let parts = hold_parts::table.filter(hold_parts::hold_id.eq_any(of)).order(hold_parts::id);
    Ok(parts.select(HoldPart::as_select()).load(conn)?)
}

/// A hold's parts as a purse has them, with all that was set aside.
pub fn purse_parts(conn: &mut Conn, hold: HoldId) -> Result<Vec<PursePart>> {
    type Row = (PartId, AllowanceId, AgreementId, i32, String, i32, Cents, Instant);
    let rows: Vec<Row> = hold_parts::table
        .inner_join(allowance_parts::table.inner_join(allowances::table))
        .filter(hold_parts::hold_id.eq(hold))
        .order(hold_parts::id)
        .select((
            allowance_parts::id,
            allowance_parts::allowance_id,
            allowance_parts::agreement_id,
            allowances::period,
            allowances::purse,
            allowance_parts::position,
            hold_parts::amount_cents,
            allowance_parts::spendable_until,
        ))
        .load(conn)?;
    let part = |(part, allowance, agreement, period, purse, position, left, spendable_until): Row| PursePart {
        key: PartKey { part, allowance, agreement },
        period,
        purse,
        position,
        left,
        spendable_until,
    };
    Ok(rows.into_iter().map(part).collect())
}

pub fn waiting_since(enrolments: &[EnrolmentId], since: Instant) -> impl Ask<Answer = Vec<Waiting>> {
    // one look at an index for each of them, whatever is known of how many rows there are
    let part = unnested_rows::<WaitingRow, _>(
        "SELECT h.* FROM unnest(",
        (column::<ty::Id, _, _>(enrolments, |&id| id), column::<ty::Instant, _, _>(enrolments, |_| since)),
        ") AS e (id, since) CROSS JOIN LATERAL (\
         SELECT enrolment_id, voucher_id, stall_id, basket_cents, covered_cents, created_at, expires_at FROM holds \
         WHERE enrolment_id = e.id AND created_at >= e.since AND COALESCE(stall_id, stall_id) IS NOT NULL \
         AND COALESCE(state, state) = 'held' OFFSET 0) AS h",
    );
    question(part, move |conn| {
        let waiting = holds::table
            .filter(any_of(holds::enrolment_id, enrolments))
            .filter(holds::created_at.ge(since))
            .filter(holds::stall_id.is_not_null())
            .filter(verbatim::<Bool>(HELD))
            .select((
                holds::enrolment_id,
                holds::voucher_id,
                holds::stall_id.assume_not_null(),
                holds::basket_cents.assume_not_null(),
                holds::covered_cents,
                holds::created_at,
                holds::expires_at,
            ));
        Ok(waiting.load(conn)?)
    })
}

/// As SQL has it.
type WaitingRow = (ty::Id, ty::Id, ty::Id, BigInt, BigInt, ty::Instant, ty::Instant);

pub fn reserved(conn: &mut Conn, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Reserved>> {
    let ids: Vec<HoldPartId> = accounts.iter().map(|account| account.cast()).collect();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<(HoldPartId, HoldId, PartId)> = hold_parts::table
            .filter(hold_parts::id.eq_any(ids))
            .select((hold_parts::id, hold_parts::hold_id, hold_parts::part_id))
            .load(conn)?;
        found.extend(rows.into_iter().map(|(id, hold, part)| (id.cast(), Reserved { hold, part })));
    }
    Ok(found)
}

/// A page of all holds, for verification.
pub fn after(conn: &mut Conn, after: Option<HoldId>, limit: i64) -> Result<Vec<Hold>> {
    let mut query = holds::table.order(holds::id).limit(limit).select(Hold::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(holds::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// The purchase that took a hold.
pub struct Taken {
    pub voucher_id: VoucherId,
    pub stall_id: StallId,
    pub basket_cents: Cents,
    pub covered_cents: Cents,
    pub recorded_at: Instant,
}

pub fn taken(conn: &mut Conn, of: &[HoldId]) -> Result<BTreeMap<HoldId, Taken>> {
    type Row = (HoldId, VoucherId, StallId, Cents, Cents, Instant);
    let rows: Vec<Row> = redemptions::table
        .filter(redemptions::hold_id.eq_any(of))
        .filter(redemptions::hold_id.is_not_null())
        .select((
            redemptions::hold_id.assume_not_null(),
            redemptions::voucher_id,
            redemptions::stall_id,
            redemptions::basket_cents,
            redemptions::covered_cents,
            redemptions::recorded_at,
        ))
        .load(conn)?;
    let taken = |(hold, voucher_id, stall_id, basket_cents, covered_cents, recorded_at): Row| {
        (hold, Taken { voucher_id, stall_id, basket_cents, covered_cents, recorded_at })
    };
    Ok(rows.into_iter().map(taken).collect())
}

/// What the lines of some holds add up to; those without lines are left out.
pub fn listed(conn: &mut Conn, of: &[HoldId]) -> Result<BTreeMap<HoldId, Cents>> {
    let sums = hold_lines::table
        .filter(hold_lines::hold_id.eq_any(of))
        .group_by(hold_lines::hold_id)
        .select((hold_lines::hold_id, SumCents(hold_lines::amount_cents)));
    Ok(sums.load(conn)?.into_iter().collect())
}

/// Whose rules the enrolments behind some holds go by, and which version.
pub fn versions(conn: &mut Conn, of: &[Hold]) -> Result<BTreeMap<EnrolmentId, (ProgrammeId, i32)>> {
    let ids: Vec<EnrolmentId> = of.iter().map(|hold| hold.enrolment_id).collect();
    let rows: Vec<(EnrolmentId, ProgrammeId, i32)> = enrolments::table
        .filter(enrolments::id.eq_any(ids))
        .select((enrolments::id, enrolments::programme_id, enrolments::rules_version))
        .load(conn)?;
    Ok(rows.into_iter().map(|(id, programme, version)| (id, (programme, version))).collect())
}

/// What the vouchers of some holds are good for, once; the running cards among them are left out.
pub fn denominations(conn: &mut Conn, of: &[Hold]) -> Result<BTreeMap<VoucherId, Cents>> {
    let ids: Vec<VoucherId> = of.iter().map(|hold| hold.voucher_id).collect();
    let rows: Vec<(VoucherId, Cents)> = vouchers::table
        .filter(vouchers::id.eq_any(ids))
        .filter(vouchers::denomination_cents.is_not_null())
        .select((vouchers::id, vouchers::denomination_cents.assume_not_null()))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Vouchers of a fixed value that are not replaced, and have nothing behind them.
pub fn unbacked(conn: &mut Conn) -> Result<Vec<VoucherId>> {
    let behind = holds::table.filter(holds::voucher_id.eq(vouchers::id)).filter(holds::stall_id.is_null());
    Ok(vouchers::table
        .filter(vouchers::denomination_cents.is_not_null())
        .filter(vouchers::state.ne("replaced"))
        .filter(diesel::dsl::not(diesel::dsl::exists(behind)))
        .order(vouchers::id)
        .select(vouchers::id)
        .load(conn)?)
}

/// How many accounts are for holds,
pub fn accounts(conn: &mut Conn) -> Result<i64> {
    Ok(accounts::table.filter(accounts::kind.eq(AccountKind::Reserved)).count().get_result(conn)?)
}

/// and how many parts all holds have.
pub fn count_parts(conn: &mut Conn) -> Result<i64> {
    Ok(hold_parts::table.count().get_result(conn)?)
}
