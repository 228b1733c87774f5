//! Producers: whom to pay, where they sell, and which programmes approved them.

pub mod api;
pub mod iban;
pub mod siret;
mod store;

use std::collections::BTreeMap;

use crate::access::Actor;
use crate::audit::{self, Action};
use crate::db::{Ask, Conn, Page, ask};
use crate::kit::commune::Commune;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{OrganisationId, ProgrammeId, StallId};
use crate::kit::text::Line;
use crate::kit::time::Instant;
use crate::programme::{self, ProducerClass};
use iban::Iban;
use siret::Siret;

pub use store::{Application, CounterRow, Producer, Stall};

crate::text_enum! {
    /// Where a producer stands in a programme.
    pub enum ApplicationState {
        Applied = "applied",
        Approved = "approved",
        Refused = "refused",
        /// Was approved, and may not redeem for now.
        Suspended = "suspended",
    }
}

/// What a manager says to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// As the kind of seller that it is; as before where none is told, at first as a farm.
    Approve(Option<ProducerClass>),
    Refuse,
    Suspend,
}

impl Decision {
    /// The states it may come from, and the one it leads to.
    fn step(self) -> (&'static [ApplicationState], ApplicationState) {
        use ApplicationState::{Applied, Approved, Refused, Suspended};
        match self {
            Decision::Approve(_) => (&[Applied, Refused, Suspended], Approved),
            Decision::Refuse => (&[Applied], Refused),
            Decision::Suspend => (&[Approved], Suspended),
        }
    }

    fn action(self) -> Action {
        match self {
            Decision::Approve(_) => Action::ApplicationApproved,
            Decision::Refuse => Action::ApplicationRefused,
            Decision::Suspend => Action::ApplicationSuspended,
        }
    }
}

/// Who is paid, and on which account.
#[derive(Clone, Debug)]
pub struct Profile {
    pub siret: Siret,
    pub iban: Iban,
    /// At most as long as a SEPA transfer carries.
    pub account_holder: Line<70>,
}

/// Sets the caller's own profile. A SIRET belongs to one producer only.
pub fn set_profile(conn: &mut Conn, now: Instant, actor: &Actor, profile: &Profile) -> Result<Producer> {
    let before = get(conn, actor, actor.organisation)?;
    store::upsert_profile(conn, actor.organisation, profile, now).map_err(|e| e.or_duplicate(Code::SiretTaken))?;
    let producer = get(conn, actor, actor.organisation)?;
    let changed: Vec<&str> = [
        ("siret", before.siret != producer.siret),
        ("iban", before.iban != producer.iban),
        ("account_holder", before.account_holder != producer.account_holder),
    ]
    .into_iter()
    .filter_map(|(field, changed)| changed.then_some(field))
    .collect();
    if !changed.is_empty() {
        audit::record(conn, now, actor.who(), Action::ProducerProfileSet, producer.id, Some(changed.join(" ")))?;
    }
    Ok(producer)
}

/// A producer that the caller may see: itself, or one that applied to a programme of the caller's.
pub fn get(conn: &mut Conn, actor: &Actor, id: OrganisationId) -> Result<Producer> {
    store::visible(conn, actor, Some(id), &Page { after: None, limit: 1 })?.pop().ok_or(Error::Refused(Code::NotFound))
}

pub fn list(conn: &mut Conn, actor: &Actor, page: &Page<OrganisationId>) -> Result<Vec<Producer>> {
    store::visible(conn, actor, None, page)
}

pub fn open_stall(conn: &mut Conn, now: Instant, actor: &Actor, name: &Line<200>, commune: &Commune) -> Result<Stall> {
    let stall = Stall {
        id: StallId::new(now),
        producer_id: actor.organisation,
        name: name.as_str().to_owned(),
        commune_code: commune.code.as_str().to_owned(),
        commune_name: commune.name.as_str().to_owned(),
        open: true,
        created_at: now,
    };
    store::insert_stall(conn, &stall)?;
    audit::record(conn, now, actor.who(), Action::StallOpened, stall.id, None)?;
    Ok(stall)
}

/// A stall of the caller's own.
pub fn stall(conn: &mut Conn, actor: &Actor, id: StallId) -> Result<Stall> {
    store::stall(conn, actor.organisation, id)?.ok_or(Error::Refused(Code::NotFound))
}

/// The stalls that the caller may see: its own, or, for those who work in programmes, the stalls of their producers.
pub fn stalls(
    conn: &mut Conn,
    actor: &Actor,
    producer: Option<OrganisationId>,
    page: &Page<StallId>,
) -> Result<Vec<Stall>> {
    store::visible_stalls(conn, actor, producer, page)
}

/// Nothing is redeemed there any more. A closed stall stays closed.
pub fn close_stall(conn: &mut Conn, now: Instant, actor: &Actor, id: StallId) -> Result<Stall> {
    let closed = store::close_stall(conn, actor.organisation, id)?;
    let stall = stall(conn, actor, id)?;
    if closed {
        audit::record(conn, now, actor.who(), Action::StallClosed, id, None)?;
    }
    Ok(stall)
}

/// Asks a programme for approval; whoever has asked already gets the standing application.
pub fn apply(conn: &mut Conn, now: Instant, actor: &Actor, programme: ProgrammeId) -> Result<Application> {
    let found = programme::readable(conn, actor, programme)?;
    if let Some(standing) = store::application(conn, programme, actor.organisation)? {
        return Ok(standing);
    }
    if found.state != programme::State::Open {
        return Err(Error::Refused(Code::ProgrammeNotOpen));
    }
    if !store::has_profile(conn, actor.organisation)? {
        return Err(Error::Refused(Code::ProducerIncomplete));
    }
    let new = store::insert_application(conn, programme, actor.organisation, now)?;
    let made = application(conn, programme, actor.organisation)?;
    if new {
        let (subject, detail) = (actor.organisation, Some(programme.to_string()));
        audit::record(conn, now, actor.who(), Action::ApplicationMade, subject, detail)?;
    }
    Ok(made)
}

/// Applications to a programme of the caller's own, in order of producer.
pub fn applications_to(
    conn: &mut Conn,
    actor: &Actor,
    programme: ProgrammeId,
    page: &Page<OrganisationId>,
) -> Result<Vec<Application>> {
    programme::owned(conn, actor, programme)?;
    store::applications_to(conn, programme, page)
}

/// The caller's own applications, in order of programme.
pub fn own_applications(conn: &mut Conn, actor: &Actor, page: &Page<ProgrammeId>) -> Result<Vec<Application>> {
    store::applications_of(conn, actor.organisation, page)
}

pub fn decide(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    programme: ProgrammeId,
    producer: OrganisationId,
    decision: Decision,
) -> Result<Application> {
    programme::owned(conn, actor, programme)?;
    let (from, to) = decision.step();
    let class = if let Decision::Approve(class) = decision { class } else { None };
    let moved = store::move_application(conn, programme, producer, from, (to, class), now, actor.person)?;
    let standing = application(conn, programme, producer)?;
    if !moved {
        return Err(Error::Refused(Code::ApplicationState));
    }
    audit::record(conn, now, actor.who(), decision.action(), producer, Some(programme.to_string()))?;
    Ok(standing)
}

fn application(conn: &mut Conn, programme: ProgrammeId, producer: OrganisationId) -> Result<Application> {
    store::application(conn, programme, producer)?.ok_or(Error::Refused(Code::NotFound))
}

/// Where a producer stands in a programme, and as what kind of seller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    pub state: ApplicationState,
    pub class: ProducerClass,
}

/// A stall at which something is sold, and by whom.
#[derive(Clone, Debug)]
pub struct Counter {
    pub stall: Stall,
    /// Under which its producer sells now. Whoever has applied somewhere has one.
    pub siret: Option<String>,
    /// Where its producer has applied.
    pub approvals: BTreeMap<ProgrammeId, Approval>,
}

/// Which of some stalls there are, and who sells there.
pub fn ask_counters(stalls: &[StallId]) -> impl Ask<Answer = Vec<CounterRow>> {
    store::counters(stalls)
}

/// The same, as it was answered.
pub fn counters(rows: Vec<CounterRow>) -> BTreeMap<StallId, Counter> {
    let mut found = BTreeMap::<StallId, Counter>::new();
    for row in rows {
        let CounterRow { id, producer_id, name, commune_code, commune_name, open, created_at, siret, .. } = row;
        let stall = Stall { id, producer_id, name, commune_code, commune_name, open, created_at };
        let counter = found.entry(id).or_insert_with(|| Counter { stall, siret, approvals: BTreeMap::new() });
        if let (Some(programme), Some(state), Some(class)) = (row.programme, row.state, row.class) {
            counter.approvals.insert(programme, Approval { state, class });
        }
    }
    found
}

/// One's own; `not_found` for anybody else.
pub fn counter(conn: &mut Conn, actor: &Actor, id: StallId) -> Result<Counter> {
    let own = counters(ask(conn, 1, ask_counters(&[id]))?)
        .remove(&id)
        .filter(|counter| counter.stall.producer_id == actor.organisation);
    own.ok_or(Error::Refused(Code::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_producer_can_only_be_approved_again_and_an_approved_one_only_suspended() {
        let open_to = |state: ApplicationState| {
            let all = [Decision::Approve(None), Decision::Refuse, Decision::Suspend];
            all.into_iter().filter(|decision| decision.step().0.contains(&state)).collect::<Vec<_>>()
        };
        assert_eq!(open_to(ApplicationState::Applied), [Decision::Approve(None), Decision::Refuse]);
        assert_eq!(open_to(ApplicationState::Approved), [Decision::Suspend]);
        assert_eq!(open_to(ApplicationState::Refused), [Decision::Approve(None)]);
        assert_eq!(open_to(ApplicationState::Suspended), [Decision::Approve(None)]);
    }
}
