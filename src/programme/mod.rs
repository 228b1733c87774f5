//! Programmes: their rules, their calendar, their territory, the agreements behind them.

mod agreement;
pub mod api;
mod calendar;
mod rules;
mod store;

use crate::access::{self, Actor, OrganisationKind};
use crate::audit::{self, Action};
use crate::db::{Conn, Page};
use crate::kit::commune::Commune;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{OrganisationId, ProgrammeId};
use crate::kit::text::Line;
use crate::kit::time::{Day, Instant, Zone};

pub use agreement::{Agreement, NewAgreement, agreement, agreements, agreements_of, sign, verify};
pub use calendar::{Period, periods};
pub use rules::{Amount, CarryOver, PeriodRule, PeriodUnit, Rules, Start};
pub use store::{Programme, Territory};

crate::text_enum! {
    pub enum State {
        Draft = "draft",
        Open = "open",
        /// No new enrolments; what was promised goes on.
        Closed = "closed",
    }
}

crate::text_enum! {
    /// How a promise is split over the agreements.
    pub enum FundingRule {
        FixedShares = "fixed_shares",
        Priority = "priority",
    }
}

crate::text_enum! {
    /// The ground in law on which a programme hands out buying power.
    pub enum LegalBasis {
        /// Chèque d'accompagnement personnalisé: CGCT L1611-6.
        PersonalisedSupportVoucher = "personalised_support_voucher",
        /// Limited-network exemption: CMF L521-3 and L525-5.
        LimitedNetwork = "limited_network",
        /// Facultative social aid of a CCAS or CIAS: CASF L123-5.
        SocialAid = "social_aid",
        Other = "other",
    }
}

/// What a manager says of a programme while it is a draft.
#[derive(Clone, Debug)]
pub struct Draft {
    pub name: Line<200>,
    pub time_zone: Zone,
    pub starts_on: Day,
    pub ends_on: Day,
    pub funding_rule: FundingRule,
    pub rules: Rules,
    pub communes: Vec<Commune>,
    pub legal_basis: Option<(LegalBasis, Line<500>)>,
}

impl Draft {
    fn check(&self) -> Result<()> {
        let mut fields = Fields::default();
        self.rules.check(&mut fields);
        let in_order = self.starts_on <= self.ends_on;
        fields.must(in_order, "ends_on", Complaint::Before { other: "starts_on".to_owned() });
        let some = (1..=2000).contains(&self.communes.len());
        fields.must(some, "communes", Complaint::Items { least: 1, most: 2000 });
        let mut codes: Vec<_> = self.communes.iter().map(|c| &c.code).collect();
        codes.sort();
        fields.must(codes.windows(2).all(|pair| pair[0] != pair[1]), "communes", Complaint::CommuneTwice);
        fields.settle()
    }
}

pub fn create(conn: &mut Conn, now: Instant, actor: &Actor, draft: &Draft) -> Result<Programme> {
    draft.check()?;
    let programme = Programme {
        id: ProgrammeId::new(now),
        organisation_id: actor.organisation,
        name: draft.name.as_str().to_owned(),
        state: State::Draft,
        time_zone: draft.time_zone.to_string(),
        starts_on: draft.starts_on,
        ends_on: draft.ends_on,
        funding_rule: draft.funding_rule,
        rules: draft.rules.to_json(),
        legal_basis: draft.legal_basis.as_ref().map(|(basis, _)| *basis),
        legal_reference: draft.legal_basis.as_ref().map(|(_, reference)| reference.as_str().to_owned()),
        created_at: now,
        opened_at: None,
        closed_at: None,
    };
    store::insert(conn, &programme)?;
    store::replace_communes(conn, programme.id, &draft.communes)?;
    audit::record(conn, now, actor.who(), Action::ProgrammeCreated, programme.id, None)?;
    Ok(programme)
}

/// Rewrites a draft; an open programme's rules are fixed.
pub fn rewrite(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId, draft: &Draft) -> Result<Programme> {
    draft.check()?;
    let mut programme = locked(conn, actor, id)?;
    if programme.state != State::Draft {
        return Err(Error::Refused(Code::ProgrammeNotDraft));
    }
    let before = (programme.clone(), territory(conn, id)?);
    programme.name = draft.name.as_str().to_owned();
    programme.time_zone = draft.time_zone.to_string();
    (programme.starts_on, programme.ends_on) = (draft.starts_on, draft.ends_on);
    programme.funding_rule = draft.funding_rule;
    programme.rules = draft.rules.to_json();
    programme.legal_basis = draft.legal_basis.as_ref().map(|(basis, _)| *basis);
    programme.legal_reference = draft.legal_basis.as_ref().map(|(_, reference)| reference.as_str().to_owned());
    store::update(conn, &programme)?;
    store::replace_communes(conn, id, &draft.communes)?;
    if before != (programme.clone(), territory(conn, id)?) {
        audit::record(conn, now, actor.who(), Action::ProgrammeRewritten, id, None)?;
    }
    Ok(programme)
}

/// From here on the rules are fixed and households may be enrolled.
pub fn open(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId) -> Result<Programme> {
    let mut programme = locked(conn, actor, id)?;
    if programme.state != State::Draft {
        return Err(Error::Refused(Code::ProgrammeNotDraft));
    }
    if programme.legal_basis.is_none() {
        return Err(Error::Refused(Code::LegalBasisRequired));
    }
    if agreements_of(conn, id)?.is_empty() {
        return Err(Error::Refused(Code::AgreementRequired));
    }
    (programme.state, programme.opened_at) = (State::Open, Some(now));
    store::update(conn, &programme)?;
    audit::record(conn, now, actor.who(), Action::ProgrammeOpened, id, None)?;
    Ok(programme)
}

pub fn close(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId) -> Result<Programme> {
    let mut programme = locked(conn, actor, id)?;
    if programme.state != State::Open {
        return Err(Error::Refused(Code::ProgrammeNotOpen));
    }
    (programme.state, programme.closed_at) = (State::Closed, Some(now));
    store::update(conn, &programme)?;
    audit::record(conn, now, actor.who(), Action::ProgrammeClosed, id, None)?;
    Ok(programme)
}

/// A programme that the caller may see: own, member of, sold in, or funded.
pub fn readable(conn: &mut Conn, actor: &Actor, id: ProgrammeId) -> Result<Programme> {
    store::visible(conn, actor, Some(id), &Page { after: None, limit: 1 })?.pop().ok_or(Error::Refused(Code::NotFound))
}

pub fn list(conn: &mut Conn, actor: &Actor, page: &Page<ProgrammeId>) -> Result<Vec<Programme>> {
    store::visible(conn, actor, None, page)
}

/// A programme of the caller's own organisation.
pub fn owned(conn: &mut Conn, actor: &Actor, id: ProgrammeId) -> Result<Programme> {
    let programme = store::programme(conn, id)?.filter(|p| p.organisation_id == actor.organisation);
    programme.ok_or(Error::Refused(Code::NotFound))
}

/// For parts of the house that have found the programme through something of the caller's.
pub fn by_id(conn: &mut Conn, id: ProgrammeId) -> Result<Programme> {
    store::programme(conn, id)?.ok_or(Error::Refused(Code::NotFound))
}

/// Locks a programme: whoever promises its money does so one at a time.
pub fn lock(conn: &mut Conn, id: ProgrammeId) -> Result<Programme> {
    store::locked(conn, id)?.ok_or(Error::Refused(Code::NotFound))
}

fn locked(conn: &mut Conn, actor: &Actor, id: ProgrammeId) -> Result<Programme> {
    let programme = store::locked(conn, id)?.filter(|p| p.organisation_id == actor.organisation);
    programme.ok_or(Error::Refused(Code::NotFound))
}

/// Every programme, for what runs by itself.
pub fn all(conn: &mut Conn) -> Result<Vec<ProgrammeId>> {
    store::all(conn)
}

pub fn territory(conn: &mut Conn, id: ProgrammeId) -> Result<Vec<Territory>> {
    store::communes(conn, id)
}

/// Lets a social structure enrol, or an evaluator read. A second time changes nothing.
pub fn admit(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId, member: OrganisationId) -> Result<()> {
    owned(conn, actor, id)?;
    let kinds = [OrganisationKind::SocialStructure, OrganisationKind::Evaluator];
    let known = access::organisation_of_kind(conn, member, &kinds)?;
    known.ok_or(Error::Refused(Code::NotFound))?;
    if store::insert_member(conn, id, member, now)? {
        audit::record(conn, now, actor.who(), Action::MemberAdmitted, id, Some(member.to_string()))?;
    }
    Ok(())
}

pub fn is_member(conn: &mut Conn, id: ProgrammeId, organisation: OrganisationId) -> Result<bool> {
    store::is_member(conn, id, organisation)
}

pub fn members(conn: &mut Conn, actor: &Actor, id: ProgrammeId) -> Result<Vec<(OrganisationId, Instant)>> {
    owned(conn, actor, id)?;
    store::members(conn, id)
}

impl Programme {
    pub fn zone(&self) -> Result<Zone> {
        self.time_zone.parse().map_err(Error::internal)
    }

    pub fn rules(&self) -> Result<Rules> {
        Rules::from_json(&self.rules)
    }
}
