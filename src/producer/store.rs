//! The SQL of producers, stalls and applications.

use diesel::prelude::*;

use super::{ApplicationState, Profile};
use crate::access::{Actor, OrganisationKind, Role};
use crate::db::schema::{applications, organisations, producers, programme_members, programmes, stalls};
use crate::db::{Ask, Conn, Page, Upsert, any_of, portable};
use crate::kit::error::Result;
use crate::kit::id::{OrganisationId, PersonId, ProgrammeId, StallId};
use crate::kit::time::Instant;
use crate::programme::ProducerClass;

/// An organisation that sells; the last three are there together, once it has said them.
#[derive(Clone, Debug, Queryable)]
pub struct Producer {
    pub id: OrganisationId,
    pub name: String,
    pub siret: Option<String>,
    pub iban: Option<String>,
    pub account_holder: Option<String>,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = stalls)]
pub struct Stall {
    pub id: StallId,
    pub producer_id: OrganisationId,
    pub name: String,
    pub commune_code: String,
    pub commune_name: String,
    pub open: bool,
    pub created_at: Instant,
}

#[derive(Clone, Debug, Queryable)]
pub struct Application {
    pub programme_id: ProgrammeId,
    pub producer_id: OrganisationId,
    pub producer_name: String,
    pub state: ApplicationState,
    pub applied_at: Instant,
    pub decided_at: Option<Instant>,
    pub class: ProducerClass,
}

pub fn upsert_profile(conn: &mut Conn, id: OrganisationId, profile: &Profile, now: Instant) -> Result<()> {
    let said = (
        producers::siret.eq(profile.siret.as_str()),
        producers::iban.eq(profile.iban.as_str()),
        producers::account_holder.eq(profile.account_holder.as_str()),
        producers::updated_at.eq(now),
    );
    let upsert = diesel::insert_into(producers::table)
        .values((producers::id.eq(id), said))
        .on_conflict(producers::id)
        .do_update()
        .set(said);
    Upsert(upsert).execute(conn)?;
    Ok(())
}

pub fn has_profile(conn: &mut Conn, id: OrganisationId) -> Result<bool> {
    Ok(diesel::select(diesel::dsl::exists(producers::table.find(id))).get_result(conn)?)
}

/// A stall with what its producer sells under, in one of the programmes where it has applied.
#[derive(Clone, Debug, Queryable)]
pub struct CounterRow {
    pub id: StallId,
    pub producer_id: OrganisationId,
    pub name: String,
    pub commune_code: String,
    pub commune_name: String,
    pub open: bool,
    pub created_at: Instant,
    pub siret: Option<String>,
    pub programme: Option<ProgrammeId>,
    pub state: Option<ApplicationState>,
    pub class: Option<ProducerClass>,
}

/// Some stalls, each once for each of the programmes where its producer has applied, or once.
pub fn counters(ids: &[StallId]) -> impl Ask<Answer = Vec<CounterRow>> {
    portable!(
        stalls::table
            .left_join(producers::table.on(producers::id.eq(stalls::producer_id)))
            .left_join(applications::table.on(applications::producer_id.eq(stalls::producer_id)))
            .filter(any_of(stalls::id, ids))
            .select((
                stalls::id,
                stalls::producer_id,
                stalls::name,
                stalls::commune_code,
                stalls::commune_name,
                stalls::open,
                stalls::created_at,
                producers::siret.nullable(),
                applications::programme_id.nullable(),
                applications::state.nullable(),
                applications::class.nullable(),
            ))
    )
}

/// The producers that somebody may see: one of them, or a page.
pub fn visible(
    conn: &mut Conn,
    actor: &Actor,
    id: Option<OrganisationId>,
    page: &Page<OrganisationId>,
) -> Result<Vec<Producer>> {
    let mut query = organisations::table
        .left_join(producers::table)
        .filter(organisations::kind.eq(OrganisationKind::Producer))
        .order(organisations::id)
        .limit(page.fetch())
        .select((
            organisations::id,
            organisations::name,
            producers::siret.nullable(),
            producers::iban.nullable(),
            producers::account_holder.nullable(),
        ))
        .into_boxed();
    let own = actor.organisation;
    query = match actor.role {
        Role::Administrator => query,
        Role::Manager => query.filter(
            organisations::id.eq_any(
                applications::table
                    .inner_join(programmes::table)
                    .filter(programmes::organisation_id.eq(own))
                    .select(applications::producer_id),
            ),
        ),
        Role::Producer => query.filter(organisations::id.eq(own)),
        // what they may know of a producer is its stalls, or its name in a report
        Role::SocialWorker | Role::Funder | Role::Evaluator => return Ok(Vec::new()),
    };
    if let Some(id) = id {
        query = query.filter(organisations::id.eq(id));
    }
    if let Some(after) = page.after {
        query = query.filter(organisations::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn insert_stall(conn: &mut Conn, stall: &Stall) -> Result<()> {
    diesel::insert_into(stalls::table).values(stall).execute(conn)?;
    Ok(())
}

pub fn stall(conn: &mut Conn, producer: OrganisationId, id: StallId) -> Result<Option<Stall>> {
    let own = stalls::table.find(id).filter(stalls::producer_id.eq(producer));
    Ok(own.select(Stall::as_select()).first(conn).optional()?)
}

/// False where it is not open, or not this producer's.
pub fn close_stall(conn: &mut Conn, producer: OrganisationId, id: StallId) -> Result<bool> {
    let own = stalls::table.find(id).filter(stalls::producer_id.eq(producer)).filter(stalls::open.eq(true));
    Ok(diesel::update(own).set(stalls::open.eq(false)).execute(conn)? == 1)
}

/// A page of the stalls that somebody may see, of one producer or of all.
pub fn visible_stalls(
    conn: &mut Conn,
    actor: &Actor,
    producer: Option<OrganisationId>,
    page: &Page<StallId>,
) -> Result<Vec<Stall>> {
    let mut query = stalls::table.order(stalls::id).limit(page.fetch()).select(Stall::as_select()).into_boxed();
    let own = actor.organisation;
    query = match actor.role {
        Role::Administrator => query,
        Role::Manager => query.filter(
            stalls::producer_id.eq_any(
                applications::table
                    .inner_join(programmes::table)
                    .filter(programmes::organisation_id.eq(own))
                    .select(applications::producer_id),
            ),
        ),
        Role::SocialWorker => query.filter(
            stalls::producer_id.eq_any(
                applications::table
                    .inner_join(
                        programme_members::table.on(programme_members::programme_id.eq(applications::programme_id)),
                    )
                    .filter(programme_members::organisation_id.eq(own))
                    .filter(applications::state.eq(ApplicationState::Approved))
                    .select(applications::producer_id),
            ),
        ),
        Role::Producer => query.filter(stalls::producer_id.eq(own)),
        Role::Funder | Role::Evaluator => return Ok(Vec::new()),
    };
    if let Some(producer) = producer {
        query = query.filter(stalls::producer_id.eq(producer));
    }
    if let Some(after) = page.after {
        query = query.filter(stalls::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// An application of the first moment; where there is one already, it stays.
/// False where there is one already.
pub fn insert_application(
    conn: &mut Conn,
    programme: ProgrammeId,
    producer: OrganisationId,
    now: Instant,
) -> Result<bool> {
    let insert = diesel::insert_into(applications::table)
        .values((
            applications::programme_id.eq(programme),
            applications::producer_id.eq(producer),
            applications::state.eq(ApplicationState::Applied),
            applications::applied_at.eq(now),
            applications::class.eq(ProducerClass::Farm),
        ))
        .on_conflict_do_nothing();
    Ok(Upsert(insert).execute(conn)? == 1)
}

/// Applications with the producer's name.
macro_rules! named_applications {
    () => {
        applications::table.inner_join(producers::table.inner_join(organisations::table)).select((
            applications::programme_id,
            applications::producer_id,
            organisations::name,
            applications::state,
            applications::applied_at,
            applications::decided_at,
            applications::class,
        ))
    };
}

pub fn application(conn: &mut Conn, programme: ProgrammeId, producer: OrganisationId) -> Result<Option<Application>> {
    let one = named_applications!()
        .filter(applications::programme_id.eq(programme))
        .filter(applications::producer_id.eq(producer));
    Ok(one.first(conn).optional()?)
}

pub fn applications_to(
    conn: &mut Conn,
    programme: ProgrammeId,
    page: &Page<OrganisationId>,
) -> Result<Vec<Application>> {
    let mut query = named_applications!()
        .filter(applications::programme_id.eq(programme))
        .order(applications::producer_id)
        .limit(page.fetch())
        .into_boxed();
    if let Some(after) = page.after {
        query = query.filter(applications::producer_id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn applications_of(
    conn: &mut Conn,
    producer: OrganisationId,
    page: &Page<ProgrammeId>,
) -> Result<Vec<Application>> {
    let mut query = named_applications!()
        .filter(applications::producer_id.eq(producer))
        .order(applications::programme_id)
        .limit(page.fetch())
        .into_boxed();
    if let Some(after) = page.after {
        query = query.filter(applications::programme_id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// Moves an application, if it is in one of the states it may come from; says whether it was.
pub fn move_application(
    conn: &mut Conn,
    programme: ProgrammeId,
    producer: OrganisationId,
    from: &[ApplicationState],
    (to, class): (ApplicationState, Option<ProducerClass>),
    now: Instant,
    by: PersonId,
) -> Result<bool> {
    let standing = applications::table.find((programme, producer)).filter(applications::state.eq_any(from));
    let class = class.map(|class| applications::class.eq(class));
    let moved = diesel::update(standing)
        .set((applications::state.eq(to), applications::decided_at.eq(now), applications::decided_by.eq(by), class))
        .execute(conn)?;
    Ok(moved == 1)
}
