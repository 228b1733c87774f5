//! What of a world is made by the house's own commands: everybody who acts, the programme, and one household, which the
//! others are like.

use super::world::Size;
use crate::access::{self, Actor, NewOrganisation, NewPerson, OrganisationKind};
use crate::allowance::{self, Allowance};
use crate::db::Conn;
use crate::demo::numbers;
use crate::enrolment::{self, Enrolment, NewEnrolment};
use crate::household::{self, Composition, Household};
use crate::http::State;
use crate::kit::commune::Commune;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, SessionId, StallId};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::ledger::{self, AgreementAccounts};
use crate::producer::{self, Decision, Profile};
use crate::programme::{self, Agreement, Draft, FundingRule, LegalBasis, NewAgreement};

pub const ZONE: &str = "Europe/Paris";
const COMMUNE: &str = "62498";

pub const SELLERS: u32 = 200;

/// What each household is promised: enough for every purchase of a run. Both agreements' shares of it are whole.
const AMOUNT: i64 = 900_000;

/// Weights of the agreements.
const WEIGHTS: [i32; 2] = [3, 2];

pub struct Seller {
    pub actor: Actor,
    pub stall: StallId,
    pub siret: String,
}

pub struct Founded {
    pub at: Instant,
    pub agreements: Vec<Agreement>,
    /// Theirs, in the same order.
    pub accounts: Vec<AgreementAccounts>,
    pub sellers: Vec<Seller>,
    pub funder: Actor,
    /// The first household, enrolled.
    pub household: Household,
    pub enrolment: Enrolment,
    pub allowance: Allowance,
    pub void_minutes: i64,
}

impl Founded {
    /// What each agreement bears of a promise.
    pub fn shares(&self) -> Vec<(AgreementId, Cents)> {
        let whole: i64 = self.agreements.iter().map(|agreement| i64::from(agreement.share_weight)).sum();
        let share = |agreement: &Agreement| Cents(AMOUNT / whole * i64::from(agreement.share_weight));
        self.agreements.iter().map(|agreement| (agreement.id, share(agreement))).collect()
    }
}

pub fn found(state: &State, size: Size, first: Day) -> std::result::Result<Founded, String> {
    let password = "mesurer-n-est-pas-jouer".parse().map_err(|e| format!("{e:?}"))?;
    let hash = access::password::hash(&state.access, &password).map_err(|e| e.to_string())?;
    let work = |conn: &mut Conn, now: Instant| {
        let (operator, email, name) = (text("Banc d'essai")?, text("admin@bench.example")?, text("Blaise Mesure")?);
        let person = access::create_first_administrator(conn, now, &operator, &email, &name, &hash)?;
        let organisation = access::get_person(conn, person)?.organisation.id;
        let administrator = Actor {
            person,
            organisation,
            session: SessionId::new(now),
            role: OrganisationKind::Operator.role(),
            lead: true,
            second_factor: true,
        };
        let join = |conn: &mut Conn, by: &Actor, kind, what: &str| join(conn, now, state, by, kind, what);
        let manager = join(conn, &administrator, OrganisationKind::Manager, "gestionnaire")?;
        let desk = join(conn, &manager, OrganisationKind::SocialStructure, "guichet")?;
        let funder = join(conn, &manager, OrganisationKind::Funder, "financeur")?;
        let other = join(conn, &manager, OrganisationKind::Funder, "mutuelle")?;
        let commune = Commune { code: text(COMMUNE)?, name: text("Lens")? };
        let draft = draft(first, commune.clone())?;
        let programme = programme::create(conn, now, &manager, &draft)?.id;
        let needed = AMOUNT.saturating_mul(i64::try_from(size.households + 1).unwrap_or(i64::MAX));
        for (place, (funder, share_weight)) in
            [&funder, &other].into_iter().zip(WEIGHTS).enumerate().take(size.agreements)
        {
            let new = NewAgreement {
                funder: funder.organisation,
                reference: text(&format!("BANC-{place}"))?,
                granted: Cents(needed),
                starts_on: draft.starts_on,
                ends_on: draft.ends_on,
                grace_days: 15,
                share_weight,
            };
            programme::sign(conn, now, &manager, programme, &new)?;
        }
        programme::open(conn, now, &manager, programme)?;
        programme::admit(conn, now, &manager, programme, desk.organisation)?;
        let mut sellers = Vec::new();
        for nth in 0..SELLERS {
            let actor = join(conn, &manager, OrganisationKind::Producer, &format!("maraicher-{nth}"))?;
            let siret = numbers::siret(nth + 1)?;
            let holder = text(&format!("Maraîcher {nth}"))?;
            let profile = Profile { siret, iban: numbers::iban(u64::from(nth) * 997 + 1)?, account_holder: holder };
            producer::set_profile(conn, now, &actor, &profile)?;
            let stall = producer::open_stall(conn, now, &actor, &text(&format!("Étal {nth}"))?, &commune)?.id;
            producer::apply(conn, now, &actor, programme)?;
            producer::decide(conn, now, &manager, programme, actor.organisation, Decision::Approve(None))?;
            let siret = producer::siret_of(conn, actor.organisation)?;
            sellers.push(Seller { actor, stall, siret });
        }
        let composition = Composition { adults: 1, children: 0, commune: text(COMMUNE)? };
        let keys = state.keys.now();
        let household = household::register(conn, now, &keys, &desk, &composition, None)?.household;
        let new = NewEnrolment { household: household.id, programme, starts_on: None, band: None };
        let enrolment = enrolment::enrol(conn, now, &desk, &new)?;
        if size.issued {
            allowance::issue(conn, now, &[enrolment.id])?;
        }
        let allowances = allowance::allowances(conn, enrolment.id)?;
        let (allowance, _) = allowances.into_iter().next().ok_or_else(|| Error::internal("nothing was promised"))?;
        let agreements = programme::agreements_of(conn, programme)?;
        let ids: Vec<AgreementId> = agreements.iter().map(|agreement| agreement.id).collect();
        let known = ledger::agreement_accounts(conn, &ids)?;
        Ok(Founded {
            at: now,
            accounts: ids.iter().map(|id| known[id].0).collect(),
            agreements,
            sellers,
            funder,
            household,
            enrolment,
            allowance,
            void_minutes: draft.rules.void_window_minutes,
        })
    };
    state.db.write(work).map_err(|e| e.to_string())
}

/// An organisation with a person, who acts at once.
fn join(conn: &mut Conn, now: Instant, state: &State, by: &Actor, kind: OrganisationKind, what: &str) -> Result<Actor> {
    let new = NewOrganisation { kind, name: text(what)? };
    let organisation = access::create_organisation(conn, now, by, &new)?.id;
    let email = text(&format!("{what}@bench.example"))?;
    let new = NewPerson { organisation, email, name: text("Camille Banc")?, lead: true };
    let person = access::create_person(conn, now, &state.access, by, &new)?.person.id;
    Ok(Actor { person, organisation, session: SessionId::new(now), role: kind.role(), lead: true, second_factor: true })
}

/// One period, open since the first of the month before this; a cap, so that the past is looked at as in most schemes.
fn draft(first: Day, commune: Commune) -> Result<Draft> {
    let rules = r#"{"amount": {"per_household": "9000.00", "per_adult": "0.00", "per_child": "0.00"},
        "period": {"unit": "month", "length": 3, "count": 1}, "start": "enrolment_day", "carry_over": "none",
        "expiry_days": 7, "coverage": {"per_day": "10000.00"}, "void_window_minutes": 60, "void_grace_days": 7,
        "show_balance": false}"#;
    Ok(Draft {
        name: text("Chèque du banc d'essai")?,
        time_zone: text(ZONE)?,
        starts_on: first,
        ends_on: first.plus_months(12),
        funding_rule: FundingRule::FixedShares,
        rules: serde_json::from_str(rules).map_err(Error::internal)?,
        communes: vec![commune],
        legal_basis: Some((LegalBasis::LimitedNetwork, text("CMF L521-3, réseau de producteurs agréés")?)),
    })
}

fn text<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(Error::internal)
}
