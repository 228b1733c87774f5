//! The SQL of enrolments.

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::State;
use crate::db::schema::enrolments;
use crate::db::{Ask, Conn, Page, any_of, columns_of, portable, unwalked, verbatim};
use crate::kit::error::Result;
use crate::kit::id::{EnrolmentId, HouseholdId, OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};

/// The condition of the index on enrolments to end, word for word: a database takes such an index for nothing less.
const TO_END: &str = "enrolments.state IN ('active', 'suspended')";

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = enrolments, treat_none_as_default_value = false)]
pub struct Enrolment {
    pub id: EnrolmentId,
    pub household_id: HouseholdId,
    pub programme_id: ProgrammeId,
    pub organisation_id: OrganisationId,
    /// The composition and commune that the promise was made on.
    pub adults: i32,
    pub children: i32,
    pub commune_code: String,
    pub state: State,
    pub starts_on: Day,
    /// All periods together.
    pub promised_cents: Cents,
    /// When its last window closes, none while waiting; of who has left, when the last period ends of which it kept or
    /// spent anything.
    pub closes_at: Option<Instant>,
    pub waiting_since: Option<Instant>,
    pub activated_at: Option<Instant>,
    pub left_at: Option<Instant>,
    pub created_at: Instant,
    /// The rules that were in force when it was asked for: its deal, whatever versions come.
    pub rules_version: i32,
    /// Its tariff, by its code in the rules.
    pub band: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub household: Option<HouseholdId>,
    pub programme: Option<ProgrammeId>,
    pub state: Option<State>,
}

pub const RUNNING: [State; 3] = [State::Waiting, State::Active, State::Suspended];

pub fn insert(conn: &mut Conn, enrolment: &Enrolment) -> Result<()> {
    diesel::insert_into(enrolments::table).values(enrolment).execute(conn)?;
    Ok(())
}

/// Writes how far an enrolment has come. What it was asked for stays, and its tariff is another command's: that may have
/// changed since the enrolment was read.
pub fn update(conn: &mut Conn, enrolment: &Enrolment) -> Result<()> {
    let &Enrolment { id, state, starts_on, closes_at, waiting_since, activated_at, left_at, .. } = enrolment;
    diesel::update(enrolments::table.find(id))
        .set((
            enrolments::state.eq(state),
            enrolments::starts_on.eq(starts_on),
            enrolments::closes_at.eq(closes_at),
            enrolments::waiting_since.eq(waiting_since),
            enrolments::activated_at.eq(activated_at),
            enrolments::left_at.eq(left_at),
        ))
        .execute(conn)?;
    Ok(())
}

/// Moves an enrolment from one state to another, if it is there.
pub fn move_state(conn: &mut Conn, id: EnrolmentId, from: State, to: State) -> Result<bool> {
    let moved = diesel::update(enrolments::table.find(id).filter(enrolments::state.eq(from)))
        .set(enrolments::state.eq(to))
        .execute(conn)?;
    Ok(moved == 1)
}

pub fn set_band(conn: &mut Conn, id: EnrolmentId, band: Option<&str>) -> Result<()> {
    diesel::update(enrolments::table.find(id)).set(enrolments::band.eq(band)).execute(conn)?;
    Ok(())
}

pub fn enrolment(conn: &mut Conn, id: EnrolmentId) -> Result<Option<Enrolment>> {
    Ok(enrolments::table.find(id).select(Enrolment::as_select()).first(conn).optional()?)
}

pub fn enrolments(ids: &[EnrolmentId]) -> impl Ask<Answer = Vec<Enrolment>> {
    portable!(enrolments::table.filter(any_of(enrolments::id, ids)).select(columns_of::<Enrolment>()))
}

/// Whether a household is in a programme, or has left it in a period of which it kept or spent something.
pub fn is_running(conn: &mut Conn, household: HouseholdId, programme: ProgrammeId, now: Instant) -> Result<bool> {
    let had = enrolments::state.eq(State::Left).and(enrolments::closes_at.assume_not_null().gt(now));
    let running = enrolments::table
        .filter(enrolments::household_id.eq(household))
        .filter(enrolments::programme_id.eq(programme))
        .filter(enrolments::state.eq_any(RUNNING).or(enrolments::closes_at.is_not_null().and(had)));
    Ok(diesel::select(diesel::dsl::exists(running)).get_result(conn)?)
}

/// A programme's waiting list, in its order.
pub fn waiting(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<Enrolment>> {
    Ok(enrolments::table
        .filter(enrolments::programme_id.eq(programme))
        .filter(enrolments::state.eq(State::Waiting))
        .order((enrolments::waiting_since, enrolments::id))
        .select(Enrolment::as_select())
        .load(conn)?)
}

pub fn list(
    conn: &mut Conn,
    organisation: OrganisationId,
    filter: &Filter,
    page: &Page<EnrolmentId>,
) -> Result<Vec<Enrolment>> {
    let mut query = enrolments::table
        .filter(enrolments::organisation_id.eq(organisation))
        .order(enrolments::id)
        .limit(page.fetch())
        .select(Enrolment::as_select())
        .into_boxed();
    if let Some(household) = filter.household {
        query = query.filter(enrolments::household_id.eq(household));
    }
    if let Some(programme) = filter.programme {
        query = query.filter(enrolments::programme_id.eq(programme));
    }
    if let Some(state) = filter.state {
        query = query.filter(enrolments::state.eq(state));
    }
    if let Some(after) = page.after {
        query = query.filter(enrolments::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn of_household(conn: &mut Conn, household: HouseholdId) -> Result<Vec<Enrolment>> {
    Ok(enrolments::table
        .filter(enrolments::household_id.eq(household))
        .order(enrolments::id)
        .select(Enrolment::as_select())
        .load(conn)?)
}

pub fn counts(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<(State, i64)>> {
    Ok(enrolments::table
        .filter(enrolments::programme_id.eq(programme))
        .group_by(enrolments::state)
        .select((enrolments::state, diesel::dsl::count_star()))
        .load(conn)?)
}

pub fn finished(conn: &mut Conn, now: Instant, after: Option<EnrolmentId>, limit: i64) -> Result<Vec<EnrolmentId>> {
    let mut query = enrolments::table
        .filter(verbatim::<Bool>(TO_END))
        .filter(enrolments::closes_at.le(now))
        .select(enrolments::id)
        .order(unwalked!("enrolments.id"))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(unwalked!("enrolments.id").gt(after));
    }
    Ok(query.load(conn)?)
}

/// False where it is over already, or goes on.
pub fn end_finished(conn: &mut Conn, id: EnrolmentId, now: Instant) -> Result<bool> {
    let finished = enrolments::table
        .find(id)
        .filter(enrolments::state.eq_any([State::Active, State::Suspended]))
        .filter(enrolments::closes_at.le(now));
    Ok(diesel::update(finished).set(enrolments::state.eq(State::Ended)).execute(conn)? == 1)
}

/// A page of all enrolments, for verification.
pub fn after(conn: &mut Conn, after: Option<EnrolmentId>, limit: i64) -> Result<Vec<Enrolment>> {
    let mut query = enrolments::table.order(enrolments::id).limit(limit).select(Enrolment::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(enrolments::id.gt(after));
    }
    Ok(query.load(conn)?)
}
