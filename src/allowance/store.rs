//! The SQL of allowances, their parts, and the sets of agreements that share them.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::{PartWindow, State};
use crate::db::schema::{accounts, allowance_parts, allowances, enrolments, funding_sets, hold_parts, holds};
use crate::db::{Ask, Conn, SumCents, Upsert, any_of, ask, columns_of, portable, unwalked, verbatim};
use crate::kit::error::{Error, Result};
use crate::kit::id::{AccountId, AgreementId, AllowanceId, EnrolmentId, FundingSetId, HoldPartId, PartId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::programme::{Agreement, purse};

/// Ids in one statement: below what either database takes.
const CHUNK: usize = 1_000;

/// The condition of the index on parts to close, word for word: a database takes such an index for nothing less.
const OPEN: &str = "allowance_parts.open";

/// The money of one period of one enrolment.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = allowances, treat_none_as_default_value = false)]
pub struct Allowance {
    pub id: AllowanceId,
    pub enrolment_id: EnrolmentId,
    pub period: i32,
    pub starts_on: Day,
    pub ends_on: Day,
    pub opens_at: Instant,
    /// The first instant that is too late.
    pub closes_at: Instant,
    pub amount_cents: Cents,
    pub state: State,
    pub funding_set_id: Option<FundingSetId>,
    pub issued_at: Option<Instant>,
    /// What it is for: the name of a purse in the rules.
    pub purse: String,
    /// Not issued before the household's contribution for the period is paid.
    pub waits: bool,
}

impl Allowance {
    /// Whether it is issued whole when its window opens, and not as it is earned.
    pub fn is_given(&self) -> bool {
        self.purse != purse::BONUS
    }

    /// Whether it is to be issued, or, where its whole window has passed, released: the condition of what
    /// [`super::issue()`] looks for.
    pub fn is_due(&self, now: Instant) -> bool {
        let ready = (self.is_given() && !self.waits) || self.closes_at <= now;
        self.state == State::Committed && self.opens_at <= now && ready
    }
}

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = allowance_parts)]
pub struct Part {
    pub id: PartId,
    pub allowance_id: AllowanceId,
    pub agreement_id: AgreementId,
    pub amount_cents: Cents,
    pub spendable_until: Instant,
    pub open: bool,
    /// All of it, or of a bonus what was earned.
    pub issued_cents: Cents,
    pub released_cents: Cents,
}

impl Part {
    /// What is still promised of it.
    pub fn committed(&self) -> Cents {
        self.amount_cents - self.issued_cents - self.released_cents
    }
}

pub fn insert_allowance(conn: &mut Conn, allowance: &Allowance) -> Result<()> {
    diesel::insert_into(allowances::table).values(allowance).execute(conn)?;
    Ok(())
}

pub fn insert_part(
    conn: &mut Conn,
    id: PartId,
    allowance: AllowanceId,
    agreement: &Agreement,
    amount: Cents,
    spendable_until: Instant,
) -> Result<()> {
    diesel::insert_into(allowance_parts::table)
        .values((
            allowance_parts::id.eq(id),
            allowance_parts::allowance_id.eq(allowance),
            allowance_parts::agreement_id.eq(agreement.id),
            allowance_parts::position.eq(agreement.position),
            allowance_parts::amount_cents.eq(amount),
            allowance_parts::spendable_until.eq(spendable_until),
            allowance_parts::open.eq(false),
            allowance_parts::issued_cents.eq(Cents::ZERO),
            allowance_parts::released_cents.eq(Cents::ZERO),
        ))
        .execute(conn)?;
    Ok(())
}

pub fn allowances(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Allowance>> {
    ask(conn, 1, allowances_of(&[enrolment]))
}

/// The allowances of some enrolments, of each in order of period.
pub fn allowances_of(enrolments: &[EnrolmentId]) -> impl Ask<Answer = Vec<Allowance>> {
    portable!(
        allowances::table
            .filter(any_of(allowances::enrolment_id, enrolments))
            .order((allowances::period, allowances::id))
            .select(columns_of::<Allowance>())
    )
}

/// The bonuses of some enrolments that are not released, in order.
pub fn bonuses(conn: &mut Conn, enrolments: &[EnrolmentId]) -> Result<Vec<Allowance>> {
    let mut bonuses: Vec<Allowance> = allowances::table
        .filter(any_of(allowances::enrolment_id, enrolments))
        .filter(allowances::purse.eq(purse::BONUS))
        .filter(allowances::state.ne(State::Released))
        .order(allowances::period)
        .select(Allowance::as_select())
        .load(conn)?;
    // not in SQL: PostgreSQL would walk all rows in that order where it takes the table for a small one
    bonuses.sort_by_key(|allowance| allowance.enrolment_id);
    Ok(bonuses)
}

/// When the last of what is set aside of a part must be fetched.
pub fn set_aside_until(conn: &mut Conn, part: PartId) -> Result<Option<Instant>> {
    let held =
        hold_parts::table.inner_join(holds::table).filter(hold_parts::part_id.eq(part)).filter(holds::state.eq("held"));
    Ok(held.select(diesel::dsl::max(holds::expires_at)).first(conn)?)
}

/// What the accounts of each allowance hold.
pub fn held(conn: &mut Conn, of: &[Allowance]) -> Result<BTreeMap<AllowanceId, Cents>> {
    let ids: Vec<AllowanceId> = of.iter().map(|allowance| allowance.id).collect();
    let sums = allowance_parts::table
        .inner_join(accounts::table.on(accounts::id.eq(allowance_parts::id)))
        .filter(allowance_parts::allowance_id.eq_any(ids))
        .group_by(allowance_parts::allowance_id)
        .select((allowance_parts::allowance_id, SumCents(accounts::balance_cents)));
    Ok(sums.load(conn)?.into_iter().collect())
}

pub fn spendable_until(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Instant> {
    let latest: Option<Instant> = allowance_parts::table
        .inner_join(allowances::table)
        .filter(allowances::enrolment_id.eq(enrolment))
        .filter(allowances::state.ne(State::Released))
        .select(diesel::dsl::max(allowance_parts::spendable_until))
        .first(conn)?;
    latest.ok_or_else(|| Error::internal("an enrolment that is active has no money"))
}

/// When the oldest part that is over and not closed ended.
pub fn oldest_to_close(conn: &mut Conn, now: Instant) -> Result<Option<Instant>> {
    let over = allowance_parts::table.filter(verbatim::<Bool>(OPEN));
    let over = over.filter(allowance_parts::spendable_until.le(now));
    Ok(over.select(diesel::dsl::min(allowance_parts::spendable_until)).first(conn)?)
}

/// All parts of some allowances, in order.
pub fn parts_of(conn: &mut Conn, of: &[Allowance]) -> Result<Vec<Part>> {
    let ids: Vec<AllowanceId> = of.iter().map(|allowance| allowance.id).collect();
    let mut parts: Vec<Part> = allowance_parts::table
        .filter(any_of(allowance_parts::allowance_id, &ids))
        .order(allowance_parts::position)
        .select(Part::as_select())
        .load(conn)?;
    // see `bonuses`
    parts.sort_by_key(|part| part.allowance_id);
    Ok(parts)
}

/// Moves an allowance out of `committed`, once.
pub fn settle(conn: &mut Conn, id: AllowanceId, state: State, issued_at: Option<Instant>) -> Result<()> {
    let moved = diesel::update(allowances::table.find(id).filter(allowances::state.eq(State::Committed)))
        .set((allowances::state.eq(state), allowances::issued_at.eq(issued_at)))
        .execute(conn)?;
    if moved == 1 { Ok(()) } else { Err(Error::Internal(format!("allowance {id} is not committed any more"))) }
}

/// Issues so much of a part: it can be spent from now on.
pub fn issue_part(conn: &mut Conn, id: PartId, amount: Cents) -> Result<()> {
    let issued = allowance_parts::issued_cents.eq(allowance_parts::issued_cents + amount.0);
    diesel::update(allowance_parts::table.find(id)).set((allowance_parts::open.eq(true), issued)).execute(conn)?;
    Ok(())
}

/// Takes so much of a part's promise back.
pub fn release_part(conn: &mut Conn, id: PartId, amount: Cents) -> Result<()> {
    diesel::update(allowance_parts::table.find(id))
        .set(allowance_parts::released_cents.eq(allowance_parts::released_cents + amount.0))
        .execute(conn)?;
    Ok(())
}

/// Opens every part of an allowance, whatever of it is issued.
pub fn open_parts_of(conn: &mut Conn, allowance: AllowanceId) -> Result<()> {
    diesel::update(allowance_parts::table.filter(allowance_parts::allowance_id.eq(allowance)))
        .set(allowance_parts::open.eq(true))
        .execute(conn)?;
    Ok(())
}

pub fn shut_part(conn: &mut Conn, id: PartId) -> Result<()> {
    diesel::update(allowance_parts::table.find(id)).set(allowance_parts::open.eq(false)).execute(conn)?;
    Ok(())
}

pub fn reopen_part(conn: &mut Conn, id: PartId, until: Instant) -> Result<()> {
    diesel::update(allowance_parts::table.find(id))
        .set((allowance_parts::open.eq(true), allowance_parts::spendable_until.eq(until)))
        .execute(conn)?;
    Ok(())
}

/// A part, the first day of its period, and when its allowance's window closes.
pub fn part(conn: &mut Conn, id: PartId) -> Result<(Part, Day, Instant)> {
    Ok(allowance_parts::table
        .inner_join(allowances::table)
        .filter(allowance_parts::id.eq(id))
        .select((Part::as_select(), allowances::starts_on, allowances::closes_at))
        .first(conn)?)
}

pub fn enrolments_to_close(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    let mut query = allowance_parts::table
        .inner_join(allowances::table)
        .filter(verbatim::<Bool>(OPEN))
        .filter(allowance_parts::spendable_until.le(now))
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

/// The open parts of some enrolments: all, or those whose time was over at an instant.
pub fn open_parts(conn: &mut Conn, enrolments: &[EnrolmentId], over_at: Option<Instant>) -> Result<Vec<Part>> {
    // not in one statement: PostgreSQL would begin with all parts where it takes them for a few
    let promised = allowances::table.filter(any_of(allowances::enrolment_id, enrolments));
    let promised: Vec<AllowanceId> = promised.select(allowances::id).load(conn)?;
    let mut query = allowance_parts::table
        .filter(any_of(allowance_parts::allowance_id, &promised))
        .filter(allowance_parts::open.eq(true))
        .order(allowance_parts::position)
        .select(Part::as_select())
        .into_boxed();
    if let Some(now) = over_at {
        query = query.filter(allowance_parts::spendable_until.le(now));
    }
    let mut parts: Vec<Part> = query.load(conn)?;
    // see `bonuses`
    parts.sort_by_key(|part| part.allowance_id);
    Ok(parts)
}

/// Those of some parts that are closed.
pub fn closed_parts(conn: &mut Conn, ids: &[PartId]) -> Result<Vec<Part>> {
    let closed =
        allowance_parts::table.filter(any_of(allowance_parts::id, ids)).filter(allowance_parts::open.eq(false));
    let mut parts: Vec<Part> = closed.select(Part::as_select()).load(conn)?;
    // see `bonuses`
    parts.sort_by_key(|part| part.id);
    Ok(parts)
}

// --- the sets of agreements that share a window ---

/// Names a set by its agreements and weights, in their order.
pub fn set_name(agreements: &[&Agreement]) -> String {
    let members: Vec<String> = agreements.iter().map(|a| format!("{}:{}", a.id, a.share_weight)).collect();
    members.join(" ")
}

/// The agreements and weights of a set, from its name.
pub fn set_members(name: &str) -> Result<Vec<(AgreementId, i32)>> {
    let member = |text: &str| {
        let (id, weight) = text.split_once(':')?;
        Some((id.parse().ok()?, weight.parse().ok()?))
    };
    name.split(' ')
        .map(member)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("a funding set does not read back"))
}

pub fn cumulated(conn: &mut Conn, programme: ProgrammeId) -> Result<BTreeMap<String, Cents>> {
    let sets = funding_sets::table
        .filter(funding_sets::programme_id.eq(programme))
        .select((funding_sets::members, funding_sets::cumulated_cents));
    Ok(sets.load(conn)?.into_iter().collect())
}

/// Adds to what a set was ever asked for, and gives its id. The programme is locked.
pub fn cumulate(
    conn: &mut Conn,
    now: Instant,
    programme: ProgrammeId,
    name: &str,
    amount: Cents,
) -> Result<FundingSetId> {
    let first = diesel::insert_into(funding_sets::table)
        .values((
            funding_sets::id.eq(FundingSetId::new(now)),
            funding_sets::programme_id.eq(programme),
            funding_sets::members.eq(name),
            funding_sets::cumulated_cents.eq(Cents::ZERO),
        ))
        .on_conflict_do_nothing();
    Upsert(first).execute(conn)?;
    let set =
        funding_sets::table.filter(funding_sets::programme_id.eq(programme)).filter(funding_sets::members.eq(name));
    let id: FundingSetId = set.select(funding_sets::id).first(conn)?;
    diesel::update(funding_sets::table.find(id))
        .set(funding_sets::cumulated_cents.eq(funding_sets::cumulated_cents + amount.0))
        .execute(conn)?;
    Ok(id)
}

pub fn funding_sets(conn: &mut Conn) -> Result<Vec<(FundingSetId, String, Cents)>> {
    Ok(funding_sets::table
        .order(funding_sets::id)
        .select((funding_sets::id, funding_sets::members, funding_sets::cumulated_cents))
        .load(conn)?)
}

/// What was ever promised by a set, agreement by agreement.
pub fn promised_by(conn: &mut Conn, set: FundingSetId) -> Result<BTreeMap<AgreementId, Cents>> {
    let sums = allowance_parts::table
        .inner_join(allowances::table)
        .filter(allowances::funding_set_id.eq(set))
        .group_by(allowance_parts::agreement_id)
        .select((allowance_parts::agreement_id, SumCents(allowance_parts::amount_cents)));
    Ok(sums.load(conn)?.into_iter().collect())
}

// --- for verification ---

pub fn allowances_after(conn: &mut Conn, after: Option<AllowanceId>, limit: i64) -> Result<Vec<Allowance>> {
    let mut query = allowances::table.order(allowances::id).limit(limit).select(Allowance::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(allowances::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// The versions of the rules that the enrolments behind some allowances go by.
pub fn rules_versions(conn: &mut Conn, of: &[Allowance]) -> Result<BTreeMap<EnrolmentId, i32>> {
    let ids: Vec<EnrolmentId> = of.iter().map(|allowance| allowance.enrolment_id).collect();
    let rows = enrolments::table.filter(enrolments::id.eq_any(ids)).select((enrolments::id, enrolments::rules_version));
    Ok(rows.load(conn)?.into_iter().collect())
}

/// Of some accounts the parts whose money holds have set aside there.
pub fn parts_behind(conn: &mut Conn, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, PartId>> {
    let ids: Vec<HoldPartId> = accounts.iter().map(|account| account.cast()).collect();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let rows = hold_parts::table.filter(hold_parts::id.eq_any(ids)).select((hold_parts::id, hold_parts::part_id));
        let rows: Vec<(HoldPartId, PartId)> = rows.load(conn)?;
        found.extend(rows.into_iter().map(|(id, part)| (id.cast(), part)));
    }
    Ok(found)
}

/// What some parts are parts of, and when they may be spent; ids of no part are left out.
pub fn windows(conn: &mut Conn, ids: &[PartId]) -> Result<BTreeMap<PartId, PartWindow>> {
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<(PartId, AgreementId, EnrolmentId, Instant, Instant)> = allowance_parts::table
            .inner_join(allowances::table)
            .filter(allowance_parts::id.eq_any(ids))
            .select((
                allowance_parts::id,
                allowance_parts::agreement_id,
                allowances::enrolment_id,
                allowances::opens_at,
                allowance_parts::spendable_until,
            ))
            .load(conn)?;
        let window = |(id, agreement, enrolment, opens_at, spendable_until)| {
            (id, PartWindow { agreement, enrolment, opens_at, spendable_until })
        };
        found.extend(rows.into_iter().map(window));
    }
    Ok(found)
}
