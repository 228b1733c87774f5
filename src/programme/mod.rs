//! Programmes: their rules, their calendar, their territory, the agreements behind them.

mod agreement;
pub mod api;
mod calendar;
mod goods;
mod pot;
mod presets;
mod rules;
mod store;
mod versions;

use crate::access::{self, Actor, OrganisationKind};
use crate::audit::{self, Action};
use crate::db::{Conn, Page};
use crate::kit::commune::Commune;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::text::Line;
use crate::kit::time::{Day, Instant, Zone};

pub use agreement::{Agreement, NewAgreement, agreement, agreements, agreements_of, sign, verify};
pub use calendar::{Period, periods};
pub use goods::{Category, Label, ProducerClass};
pub use pot::pot;
pub use presets::{Preset, preset, preset_codes, presets};
#[cfg(test)]
pub use rules::rules_for_tests;
pub use rules::{
    Amount, Bands, Bonus, CarryOver, ChosenBy, Contribution, ContributionGoesTo, Coverage, Eligible, Grant,
    MOST_MEMBERS, PeriodRule, PeriodUnit, Rules, Start, SubPurse, Tariff, Weighted, purse,
};
pub use store::{Programme, Territory};
pub use versions::{
    Deals, FoundDeals, Version, all_versions, ask_deals, change_rules, deals, rules, rules_of, versions,
};

/// The version that a programme is opened with.
pub const FIRST: i32 = 1;

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
    /// Where an agreement's money comes from.
    pub enum AgreementKind {
        /// A funder grants it, at once.
        Grant = "grant",
        /// Households pay it in: the common pot of a programme.
        Pot = "pot",
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
        self.rules.check(self.funding_rule, &mut fields);
        let in_order = self.starts_on <= self.ends_on;
        fields.must(in_order, "ends_on", Complaint::Before { other: "starts_on".to_owned() });
        let some = (1..=2000).contains(&self.communes.len());
        fields.must(some, "communes", Complaint::Items { least: 1, most: 2000 });
        let mut codes: Vec<_> = self.communes.iter().map(|c| &c.code).collect();
        codes.sort();
        fields.must(codes.windows(2).all(|pair| pair[0] != pair[1]), "communes", Complaint::CommuneTwice);
        if fields.is_empty() {
            let days = (self.starts_on, self.ends_on);
            check_length(&self.rules, &self.time_zone, days, self.starts_on, &mut fields);
        }
        fields.settle()
    }
}

/// A household that starts on a day gets all its periods within the programme's days.
fn check_length(rules: &Rules, zone: &Zone, (starts_on, ends_on): (Day, Day), from: Day, fields: &mut Fields) {
    let last = periods(rules, zone, starts_on, from).last().map(|period| period.ends_on);
    fields.must(last.is_some_and(|last| last <= ends_on), "rules.period", Complaint::PeriodsDoNotFit);
}

/// Whether rules could be put in force today: they hold together and with the law that the programme goes by, there is time
/// for all their periods, and the agreements could fund one household at least.
fn fits(conn: &mut Conn, now: Instant, programme: &Programme, rules: &Rules) -> Result<()> {
    let mut fields = Fields::default();
    rules.check(programme.funding_rule, &mut fields);
    if programme.legal_basis == Some(LegalBasis::PersonalisedSupportVoucher) {
        fields.must(rules.ends_with_year, "rules.ends_with_year", Complaint::MustEndWithYear);
        fields.must(!rules.needs_pot(), "rules", Complaint::TakesPeoplesMoney);
    }
    let zone = programme.zone()?;
    let from = zone.day_of(now).max(programme.starts_on);
    if fields.is_empty() {
        check_length(rules, &zone, (programme.starts_on, programme.ends_on), from, &mut fields);
    }
    if fields.is_empty() {
        let smallest = rules.grants(&zone, programme.starts_on, from, 1, 0);
        let agreements = agreements_of(conn, programme.id)?;
        let granted: Cents = agreements.iter().map(|agreement| agreement.granted_cents).sum();
        // what households will pay in is not known beforehand
        let pot = rules.fills_pot() || agreements.iter().any(|agreement| agreement.kind == AgreementKind::Pot);
        let covered = |grant: &Grant| agreements.iter().any(|agreement| agreement.covers(&grant.period));
        fields.must(pot || smallest.iter().all(covered), "rules.period", Complaint::NotCovered);
        let promised: Cents = smallest.iter().map(|grant| grant.amount).sum();
        fields.must(pot || promised <= granted, "rules.amount", Complaint::CannotBeFunded);
    }
    fields.settle()
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
        legal_basis: draft.legal_basis.as_ref().map(|(basis, _)| *basis),
        legal_reference: draft.legal_basis.as_ref().map(|(_, reference)| reference.as_str().to_owned()),
        created_at: now,
        opened_at: None,
        closed_at: None,
    };
    store::insert(conn, &programme)?;
    store::insert_version(conn, &versions::first(now, actor, programme.id, &draft.rules))?;
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
    let before = (programme.clone(), rules(conn, id)?, territory(conn, id)?);
    programme.name = draft.name.as_str().to_owned();
    programme.time_zone = draft.time_zone.to_string();
    (programme.starts_on, programme.ends_on) = (draft.starts_on, draft.ends_on);
    programme.funding_rule = draft.funding_rule;
    programme.legal_basis = draft.legal_basis.as_ref().map(|(basis, _)| *basis);
    programme.legal_reference = draft.legal_basis.as_ref().map(|(_, reference)| reference.as_str().to_owned());
    store::update(conn, &programme)?;
    store::rewrite_version(conn, id, FIRST, &draft.rules.to_json())?;
    store::replace_communes(conn, id, &draft.communes)?;
    if before != (programme.clone(), rules(conn, id)?, territory(conn, id)?) {
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
    let rules = rules(conn, id)?.rules;
    if agreements_of(conn, id)?.is_empty() && !rules.fills_pot() {
        return Err(Error::Refused(Code::AgreementRequired));
    }
    fits(conn, now, &programme, &rules)?;
    let pot = pot::open_if_needed(conn, now, &programme, &rules)?;
    (programme.state, programme.opened_at) = (State::Open, Some(now));
    store::update(conn, &programme)?;
    if let Some(pot) = pot {
        audit::record(conn, now, actor.who(), Action::PotOpened, pot, Some(id.to_string()))?;
    }
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
}
