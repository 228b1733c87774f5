//! The SQL that looks at a household from all sides.

use std::collections::BTreeMap;

use diesel::dsl::{exists, not};
use diesel::prelude::*;

use crate::db::Conn;
use crate::db::schema::{enrolments, households, redemptions, stalls, vouchers};
use crate::enrolment::State;
use crate::kit::error::Result;
use crate::kit::id::{HouseholdId, StallId};
use crate::kit::time::Instant;

const RUNNING: [State; 3] = [State::Waiting, State::Active, State::Suspended];

/// Some households, in order of id, that are in no programme and with whom nothing has happened since an instant: no
/// act of their structure, no window, no purchase.
pub fn silent_since(
    conn: &mut Conn,
    since: Instant,
    after: Option<HouseholdId>,
    limit: i64,
) -> Result<Vec<HouseholdId>> {
    let theirs = || enrolments::table.filter(enrolments::household_id.eq(households::id));
    let running = theirs().filter(enrolments::state.eq_any(RUNNING));
    let open = theirs().filter(enrolments::closes_at.ge(since));
    let bought = redemptions::table
        .inner_join(vouchers::table.inner_join(enrolments::table))
        .filter(enrolments::household_id.eq(households::id))
        .filter(redemptions::recorded_at.ge(since));
    let mut query = households::table
        .filter(households::erased_at.is_null())
        .filter(households::contacted_at.lt(since))
        .filter(not(exists(running)))
        .filter(not(exists(open)))
        .filter(not(exists(bought)))
        .order(households::id)
        .limit(limit)
        .select(households::id)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(households::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// Whether this is one of [`silent_since`].
pub fn is_silent_since(conn: &mut Conn, id: HouseholdId, since: Instant) -> Result<bool> {
    let (contacted_at, closes_at, bought_at, running) = contacts(conn, id)?;
    Ok(!running && contacted_at.into_iter().chain(closes_at).chain(bought_at).all(|at| at < since))
}

/// When its structure last dealt with a household, its last window ends, it last bought something; and whether it is
/// in a programme.
pub type Contacts = (Option<Instant>, Option<Instant>, Option<Instant>, bool);

pub fn contacts(conn: &mut Conn, id: HouseholdId) -> Result<Contacts> {
    let contacted_at = households::table.find(id).select(households::contacted_at).first(conn).optional()?;
    let theirs = enrolments::table.filter(enrolments::household_id.eq(id));
    let closes_at = theirs.select(diesel::dsl::max(enrolments::closes_at)).first(conn)?;
    let bought_at = redemptions::table
        .inner_join(vouchers::table.inner_join(enrolments::table))
        .filter(enrolments::household_id.eq(id))
        .select(diesel::dsl::max(redemptions::recorded_at))
        .first(conn)?;
    let running = diesel::select(exists(theirs.filter(enrolments::state.eq_any(RUNNING)))).get_result(conn)?;
    Ok((contacted_at, closes_at, bought_at, running))
}

pub fn stall_names(conn: &mut Conn, ids: &[StallId]) -> Result<BTreeMap<StallId, String>> {
    let named = stalls::table.filter(stalls::id.eq_any(ids)).select((stalls::id, stalls::name));
    Ok(named.load(conn)?.into_iter().collect())
}
