//! The SQL of issuing: one statement of a kind, for however many periods.

use std::collections::BTreeMap;

use diesel::dsl::{And, NotEq};
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::{Allowance, Part, State};
use crate::db::schema::{allowance_parts, allowances};
use crate::db::{Conn, any_of, unwalked, verbatim};
use crate::kit::error::{Error, Result};
use crate::kit::id::{AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::Instant;
use crate::programme::purse;

/// The condition of the index on what is to be issued, word for word: a database takes it for nothing less.
const COMMITTED: &str = "allowances.state = 'committed'";

/// What that index is of: when a period is to be issued, or, where its whole window has passed, released; see
/// [`Allowance::is_due`].
const DUE_AT: &str =
    "CASE WHEN allowances.purse = 'bonus' OR allowances.waits THEN allowances.closes_at ELSE allowances.opens_at END";

/// Some enrolments that have a period to issue, in order of id.
pub fn enrolments_due(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    let mut query = allowances::table
        .filter(verbatim::<Bool>(COMMITTED))
        .filter(verbatim::<ty::Instant>(DUE_AT).le(now))
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

/// Since when the oldest period that is due has been.
pub fn oldest_to_issue(conn: &mut Conn, now: Instant) -> Result<Option<Instant>> {
    let committed = allowances::table.filter(verbatim::<Bool>(COMMITTED));
    let due = committed.filter(verbatim::<ty::Instant>(DUE_AT).le(now)).order(verbatim::<ty::Instant>(DUE_AT));
    Ok(due.select(verbatim::<ty::Instant>(DUE_AT)).first(conn).optional()?)
}

/// What is committed, in words that are not the condition of the index on all of it: found by ids, however many are due.
type Committed = And<NotEq<allowances::state, State>, NotEq<allowances::state, State>>;

fn committed() -> Committed {
    allowances::state.ne(State::Issued).and(allowances::state.ne(State::Released))
}

/// The periods of some enrolments that are to be issued, or released where their window has passed: see
/// [`Allowance::is_due`].
pub fn due(conn: &mut Conn, enrolments: &[EnrolmentId], now: Instant) -> Result<Vec<Allowance>> {
    let mut due: Vec<Allowance> = allowances::table
        .filter(any_of(allowances::enrolment_id, enrolments))
        .filter(committed())
        .filter(allowances::opens_at.le(now))
        .filter(allowances::purse.ne(purse::BONUS).and(allowances::waits.eq(false)).or(allowances::closes_at.le(now)))
        .order((allowances::period, allowances::id))
        .select(Allowance::as_select())
        .load(conn)?;
    // not in SQL: see `bonuses`
    due.sort_by_key(|allowance| allowance.enrolment_id);
    Ok(due)
}

/// Moves allowances out of `committed`, each once.
pub fn settle(conn: &mut Conn, ids: &[AllowanceId], state: State, issued_at: Option<Instant>) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let moved = diesel::update(allowances::table.filter(any_of(allowances::id, ids)).filter(committed()))
        .set((allowances::state.eq(state), allowances::issued_at.eq(issued_at)))
        .execute(conn)?;
    all("allowances", moved, ids.len())
}

/// Issues all that is still promised of some parts: it can be spent from now on.
pub fn issue_parts(conn: &mut Conn, parts: &[&Part]) -> Result<()> {
    for ((issued, released), ids) in alike(parts) {
        let as_read = allowance_parts::table.filter(any_of(allowance_parts::id, &ids));
        let as_read = as_read.filter(allowance_parts::issued_cents.eq(issued));
        let rest = allowance_parts::amount_cents - released.0;
        let moved = diesel::update(as_read.filter(allowance_parts::released_cents.eq(released)))
            .set((allowance_parts::open.eq(true), allowance_parts::issued_cents.eq(rest)))
            .execute(conn)?;
        all("parts", moved, ids.len())?;
    }
    Ok(())
}

/// Takes all that is still promised of some parts back.
pub fn release_parts(conn: &mut Conn, parts: &[&Part]) -> Result<()> {
    for ((issued, released), ids) in alike(parts) {
        let as_read = allowance_parts::table.filter(any_of(allowance_parts::id, &ids));
        let as_read = as_read.filter(allowance_parts::issued_cents.eq(issued));
        let rest = allowance_parts::amount_cents - issued.0;
        let moved = diesel::update(as_read.filter(allowance_parts::released_cents.eq(released)))
            .set(allowance_parts::released_cents.eq(rest))
            .execute(conn)?;
        all("parts", moved, ids.len())?;
    }
    Ok(())
}

/// Parts of which as much was issued and released before: all but some of a bonus are of one kind, with nothing of either.
fn alike(parts: &[&Part]) -> BTreeMap<(Cents, Cents), Vec<PartId>> {
    let mut kinds = BTreeMap::<_, Vec<PartId>>::new();
    for part in parts {
        kinds.entry((part.issued_cents, part.released_cents)).or_default().push(part.id);
    }
    kinds
}

fn all(what: &str, moved: usize, of: usize) -> Result<()> {
    if moved == of {
        Ok(())
    } else {
        Err(Error::Internal(format!("{} of {of} {what} are not as they were", of - moved)))
    }
}
