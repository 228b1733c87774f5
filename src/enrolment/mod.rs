//! A household in a programme: the whole promise committed, or a place on the waiting list.

pub mod api;
mod store;
mod verify;

use crate::access::Actor;
use crate::allowance::{self, Promise};
use crate::audit::{self, Action, Who};
use crate::db::{Ask, Conn, Db, Page};
use crate::hold;
use crate::household;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{EnrolmentId, HouseholdId, ProgrammeId};
use crate::kit::time::{Day, Instant};
use crate::programme::{self, Grant, Programme, Rules, Version};

pub use store::{Enrolment, Filter};
pub use verify::verify;

crate::text_enum! {
    pub enum State {
        /// No money could be promised yet.
        Waiting = "waiting",
        Active = "active",
        /// Allowances are issued and close as ever, but none is spent.
        Suspended = "suspended",
        Left = "left",
        /// All its periods are over, or the programme closed or ended before its turn came.
        Ended = "ended",
    }
}

#[derive(Clone, Debug)]
pub struct NewEnrolment {
    pub household: HouseholdId,
    pub programme: ProgrammeId,
    /// Today in the programme's zone, or its first day if that is later, where the social worker names none.
    pub starts_on: Option<Day>,
    /// The tariff, where the rules have some.
    pub band: Option<String>,
}

/// Enrols a household: commits all its periods, or puts it at the end of the waiting list.
pub fn enrol(conn: &mut Conn, now: Instant, actor: &Actor, new: &NewEnrolment) -> Result<Enrolment> {
    let household = household::own(conn, actor, new.household)?;
    household::touch(conn, now, household.id)?;
    if !programme::is_member(conn, new.programme, actor.organisation)? {
        return Err(Error::Refused(Code::NotFound));
    }
    let programme = programme::lock(conn, new.programme)?;
    if programme.state != programme::State::Open {
        return Err(Error::Refused(Code::ProgrammeNotOpen));
    }
    if !programme::territory(conn, programme.id)?.iter().any(|commune| commune.code == household.commune_code) {
        return Err(Error::Refused(Code::OutsideTerritory));
    }
    if store::is_running(conn, household.id, programme.id, now)? {
        return Err(Error::Refused(Code::AlreadyEnrolled));
    }
    let today = programme.zone()?.day_of(now);
    let starts_on = new.starts_on.unwrap_or(today.max(programme.starts_on));
    if starts_on < today {
        return Err(Error::Refused(Code::StartInPast));
    }
    if starts_on < programme.starts_on {
        return Err(Error::invalid("starts_on", Complaint::BeforeProgramme));
    }
    let Version { version, rules, .. } = programme::rules(conn, programme.id)?;
    if new.band.as_ref().is_some_and(|band| !rules.has_band(band)) {
        return Err(Error::invalid("band", Complaint::NoSuchTariff));
    }
    let (adults, children) = (household.adults, household.children);
    let grants = grants_within(&programme, &rules, starts_on, adults, children)?;
    let grants = grants.ok_or(Error::Refused(Code::ProgrammeEndsFirst))?;
    let mut enrolment = Enrolment {
        id: EnrolmentId::new(now),
        household_id: household.id,
        programme_id: programme.id,
        organisation_id: actor.organisation,
        adults: household.adults,
        children: household.children,
        commune_code: household.commune_code,
        state: State::Waiting,
        starts_on,
        promised_cents: grants.iter().map(|grant| grant.amount).sum(),
        closes_at: None,
        waiting_since: Some(now),
        activated_at: None,
        left_at: None,
        created_at: now,
        rules_version: version,
        band: new.band.clone(),
    };
    // whoever waits already comes first
    let queue = next_in_turn(conn, now, &programme)?.is_some();
    store::insert(conn, &enrolment)?;
    if !queue && allowance::promise(conn, now, &programme, enrolment.id, &grants)? == Promise::Kept {
        enrolment.activate(now, &grants);
        store::update(conn, &enrolment)?;
    }
    let detail = Some(enrolment.state.to_string());
    audit::record(conn, now, actor.who(), Action::EnrolmentMade, enrolment.id, detail)?;
    Ok(enrolment)
}

/// What a household that starts on a day is promised, if its periods end within the programme.
fn grants_within(
    programme: &Programme,
    rules: &Rules,
    starts_on: Day,
    adults: i32,
    children: i32,
) -> Result<Option<Vec<Grant>>> {
    let grants = rules.grants(&programme.zone()?, programme.starts_on, starts_on, adults, children);
    Ok(within(&grants, programme.starts_on, programme.ends_on).then_some(grants))
}

/// Whether what is promised lies between a programme's first and last day.
pub fn within(grants: &[Grant], starts_on: Day, ends_on: Day) -> bool {
    let ends_in_time = grants.last().is_some_and(|last| last.period.ends_on <= ends_on);
    ends_in_time && grants.iter().all(|grant| grant.period.starts_on >= starts_on)
}

/// A programme's waiting list, in its order.
pub fn waiting(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<Enrolment>> {
    store::waiting(conn, programme)
}

/// Moves up the waiting list of a programme for as long as the first in turn can be funded whole; returns how many got in.
pub fn move_up(db: &Db, programme: ProgrammeId) -> Result<usize> {
    let mut moved = 0;
    loop {
        match db.write(|conn, now| move_up_one(conn, now, programme))? {
            Some(Turn::Activated) => moved += 1,
            Some(Turn::TooLate) => {}
            None => return Ok(moved),
        }
    }
}

/// Lets a household in that waits, if it is the next in turn and the money reaches. The programme is locked.
pub fn let_in(conn: &mut Conn, now: Instant, programme: &Programme, id: EnrolmentId) -> Result<bool> {
    match next_in_turn(conn, now, programme)? {
        Some((next, _)) if next.id == id => Ok(matches!(move_up_one(conn, now, programme.id)?, Some(Turn::Activated))),
        _ => Ok(false),
    }
}

enum Turn {
    Activated,
    TooLate,
}

fn move_up_one(conn: &mut Conn, now: Instant, id: ProgrammeId) -> Result<Option<Turn>> {
    let programme = programme::lock(conn, id)?;
    let Some((mut first, grants)) = next_in_turn(conn, now, &programme)? else { return Ok(None) };
    let Some(grants) = grants else {
        first.state = State::Ended;
        store::update(conn, &first)?;
        audit::record(conn, now, Who::SERVICE, Action::EnrolmentEnded, first.id, None)?;
        return Ok(Some(Turn::TooLate));
    };
    if allowance::promise(conn, now, &programme, first.id, &grants)? != Promise::Kept {
        return Ok(None);
    }
    first.activate(now, &grants);
    store::update(conn, &first)?;
    audit::record(conn, now, Who::SERVICE, Action::EnrolmentMovedUp, first.id, None)?;
    Ok(Some(Turn::Activated))
}

/// Who is next on the waiting list and what it is promised, by its own rules, starting today if its day has passed;
/// nothing where it has become too late for it. Whoever asks for periods that no agreement covers is passed over: no
/// money coming back could let it in.
fn next_in_turn(
    conn: &mut Conn,
    now: Instant,
    programme: &Programme,
) -> Result<Option<(Enrolment, Option<Vec<Grant>>)>> {
    let today = programme.zone()?.day_of(now);
    let open = programme.state == programme::State::Open;
    let agreements = programme::agreements_of(conn, programme.id)?;
    for mut waiting in store::waiting(conn, programme.id)? {
        waiting.starts_on = waiting.starts_on.max(today);
        let rules = programme::rules_of(conn, programme.id, waiting.rules_version)?;
        let Enrolment { starts_on, adults, children, .. } = waiting;
        let grants = grants_within(programme, &rules, starts_on, adults, children)?.filter(|_| open);
        if grants.as_ref().is_none_or(|grants| allowance::covered(&agreements, grants)) {
            return Ok(Some((waiting, grants)));
        }
    }
    Ok(None)
}

/// Gives a household another tariff from now on, or that of the rules.
pub fn set_band(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    id: EnrolmentId,
    band: Option<&str>,
) -> Result<Enrolment> {
    let household = own(conn, actor, id)?.household_id;
    household::touch(conn, now, household)?;
    allowance::lock(conn, id)?;
    let enrolment = own(conn, actor, id)?;
    let rules = programme::rules_of(conn, enrolment.programme_id, enrolment.rules_version)?;
    if band.is_some_and(|band| !rules.has_band(band)) {
        return Err(Error::invalid("band", Complaint::NoSuchTariff));
    }
    if enrolment.band.as_deref() != band {
        store::set_band(conn, id, band)?;
        // which one is nobody's business but its structure's
        audit::record(conn, now, actor.who(), Action::EnrolmentBandSet, id, None)?;
    }
    Ok(Enrolment { band: band.map(str::to_owned), ..enrolment })
}

/// The rules that an enrolment goes by.
pub fn rules(conn: &mut Conn, enrolment: &Enrolment) -> Result<Rules> {
    programme::rules_of(conn, enrolment.programme_id, enrolment.rules_version)
}

/// No purchase goes through until it is resumed.
pub fn suspend(conn: &mut Conn, now: Instant, actor: &Actor, id: EnrolmentId) -> Result<Enrolment> {
    let suspended = change(conn, now, actor, id, State::Active, State::Suspended)?;
    audit::record(conn, now, actor.who(), Action::EnrolmentSuspended, id, None)?;
    Ok(suspended)
}

pub fn resume(conn: &mut Conn, now: Instant, actor: &Actor, id: EnrolmentId) -> Result<Enrolment> {
    let resumed = change(conn, now, actor, id, State::Suspended, State::Active)?;
    audit::record(conn, now, actor.who(), Action::EnrolmentResumed, id, None)?;
    Ok(resumed)
}

fn change(conn: &mut Conn, now: Instant, actor: &Actor, id: EnrolmentId, from: State, to: State) -> Result<Enrolment> {
    let household = own(conn, actor, id)?.household_id;
    household::touch(conn, now, household)?;
    allowance::lock(conn, id)?;
    let enrolment = own(conn, actor, id)?;
    // guarded: the scheduler ends enrolments without asking for their purse
    if !store::move_state(conn, id, from, to)? {
        return Err(Error::Refused(Code::EnrolmentState));
    }
    Ok(Enrolment { state: to, ..enrolment })
}

/// Takes a household out: what was promised and not yet issued goes back to the agreements at once. What it already
/// has in hand, or has set aside, stays its own until its window closes, unless `return_issued` or it is suspended. It cannot come back in
/// a period of which it kept or spent anything: nobody has the same month twice. What it has paid into the pot for other
/// periods is paid back.
///
/// Whoever has left may leave again: to give back what it kept, for what the pot still owes it, or to no effect.
pub fn leave(conn: &mut Conn, now: Instant, actor: &Actor, id: EnrolmentId, return_issued: bool) -> Result<Enrolment> {
    let Enrolment { programme_id, household_id, .. } = own(conn, actor, id)?;
    household::touch(conn, now, household_id)?;
    let programme = programme::lock(conn, programme_id)?;
    allowance::lock(conn, id)?;
    let mut enrolment = own(conn, actor, id)?;
    let return_issued = return_issued || enrolment.state == State::Suspended;
    match return_issued {
        true => hold::release_all(conn, now, id)?,
        false => drop(hold::free_expired(conn, now, &[id])?),
    }
    match enrolment.state {
        State::Ended => return Err(Error::Refused(Code::EnrolmentState)),
        State::Left => {
            let released = allowance::release(conn, now, id, return_issued)?;
            if allowance::pay_back(conn, now, id, enrolment.left_at.unwrap_or(now))? || released {
                let detail = Some("returned".to_owned());
                audit::record(conn, now, actor.who(), Action::EnrolmentLeft, id, detail)?;
            }
            return Ok(enrolment);
        }
        State::Waiting | State::Active | State::Suspended => {}
    }
    allowance::issue(conn, now, &[id])?;
    let had = allowance::allowances(conn, id)?.into_iter().filter(|(allowance, held)| {
        let untouched = *held == allowance.amount_cents;
        let own = allowance.purse == programme::purse::OWN;
        allowance.state == allowance::State::Issued && !own && !(return_issued && untouched)
    });
    let zone = programme.zone()?;
    enrolment.closes_at = had.map(|(allowance, _)| zone.end_of(allowance.ends_on)).max();
    allowance::release(conn, now, id, return_issued)?;
    allowance::pay_back(conn, now, id, now)?;
    (enrolment.state, enrolment.left_at, enrolment.waiting_since) = (State::Left, Some(now), None);
    store::update(conn, &enrolment)?;
    let detail = return_issued.then(|| "returned".to_owned());
    audit::record(conn, now, actor.who(), Action::EnrolmentLeft, id, detail)?;
    Ok(enrolment)
}

/// Running enrolments whose last window has closed, in order of id.
pub fn finished(conn: &mut Conn, now: Instant, after: Option<EnrolmentId>, limit: i64) -> Result<Vec<EnrolmentId>> {
    store::finished(conn, now, after, limit)
}

/// Ends those of these enrolments whose last window has closed; returns how many.
pub fn end_finished(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    let mut ended = Vec::new();
    for id in enrolments {
        if store::end_finished(conn, *id, now)? {
            ended.push(*id);
        }
    }
    for id in &ended {
        audit::record(conn, now, Who::SERVICE, Action::EnrolmentEnded, id, None)?;
    }
    Ok(ended.len())
}

/// An enrolment of the caller's own structure.
pub fn own(conn: &mut Conn, actor: &Actor, id: EnrolmentId) -> Result<Enrolment> {
    let found = store::enrolment(conn, id)?.filter(|enrolment| enrolment.organisation_id == actor.organisation);
    found.ok_or(Error::Refused(Code::NotFound))
}

/// For parts of the house that have found the enrolment through a voucher.
pub fn by_id(conn: &mut Conn, id: EnrolmentId) -> Result<Enrolment> {
    store::enrolment(conn, id)?.ok_or(Error::Refused(Code::NotFound))
}

/// Which of some ids are enrolments.
pub fn ask_enrolments(ids: &[EnrolmentId]) -> impl Ask<Answer = Vec<Enrolment>> {
    store::enrolments(ids)
}

pub fn list(conn: &mut Conn, actor: &Actor, filter: &Filter, page: &Page<EnrolmentId>) -> Result<Vec<Enrolment>> {
    store::list(conn, actor.organisation, filter, page)
}

/// All of a household's enrolments, in order of id.
pub fn of_household(conn: &mut Conn, household: HouseholdId) -> Result<Vec<Enrolment>> {
    store::of_household(conn, household)
}

/// How many of a programme's enrolments are in each state.
pub fn counts(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<(State, i64)>> {
    store::counts(conn, programme)
}

impl Enrolment {
    /// Whether it waits for money or has some promised.
    pub fn is_running(&self) -> bool {
        store::RUNNING.contains(&self.state)
    }

    fn activate(&mut self, now: Instant, grants: &[Grant]) {
        self.state = State::Active;
        self.activated_at = Some(now);
        self.waiting_since = None;
        self.closes_at = grants.iter().map(|grant| grant.period.closes_at).max();
    }
}
