//! The first day: organisations and their people, two programmes with their agreements, producers with their stalls.

use super::numbers;
use super::territory::{
    ADMINISTRATOR, ARTOIS, BASSIN, DESKS, Deck, EVALUATOR, FUNDERS, Face, GROWERS, MANAGER, PASSWORD, Place, Standing,
};
use super::world::{World, text};
use crate::access::{self, Actor, NewOrganisation, NewPerson, OrganisationKind};
use crate::kit::commune::Commune;
use crate::kit::error::{Error, Result};
use crate::kit::id::{OrganisationId, ProgrammeId, StallId};
use crate::kit::money::Cents;
use crate::kit::time::Day;
use crate::producer::{self, Decision, Profile};
use crate::programme::{self, Draft, FundingRule, LegalBasis, NewAgreement, Rules};

/// Everybody who acts, logged in.
pub struct Cast {
    pub manager: Actor,
    /// As [`DESKS`].
    pub desks: Vec<Actor>,
    /// As [`FUNDERS`].
    pub funders: Vec<OrganisationId>,
    /// As [`GROWERS`], each with its stalls in order.
    pub sellers: Vec<(Actor, Vec<StallId>)>,
    /// 60 € a month, and so much an adult and child.
    pub programmes: [ProgrammeId; 2],
}

pub fn found(world: &World, from: Day) -> Result<Cast> {
    let administrator = first_administrator(world)?;
    let manager = join(world, &administrator, OrganisationKind::Manager, &MANAGER)?;
    let desks: Vec<Actor> = all(&DESKS, |face| join(world, &manager, OrganisationKind::SocialStructure, face))?;
    let funders = all(&FUNDERS, |face| Ok(join(world, &manager, OrganisationKind::Funder, face)?.organisation))?;
    let evaluator = join(world, &manager, OrganisationKind::Evaluator, &EVALUATOR)?;

    let programmes = [monthly(world, &manager, &funders, from)?, by_head(world, &manager, &funders, from)?];
    for programme in programmes {
        for member in desks.iter().chain([&evaluator]) {
            world.write(|conn, now| programme::admit(conn, now, &manager, programme, member.organisation))?;
        }
    }
    let sellers = (0..GROWERS.len()).map(|nth| settle(world, &manager, nth, &programmes)).collect::<Result<_>>()?;
    Ok(Cast { manager, desks, funders, sellers, programmes })
}

fn rules(json: &str) -> Result<Rules> {
    serde_json::from_str(json).map_err(Error::internal)
}

fn all<T>(faces: &[Face], make: impl FnMut(&Face) -> Result<T>) -> Result<Vec<T>> {
    faces.iter().map(make).collect()
}

fn first_administrator(world: &World) -> Result<Actor> {
    let Face { login, name, organisation } = ADMINISTRATOR;
    let hash = access::password::hash(&world.state.access, &PASSWORD.parse().map_err(Error::internal)?)?;
    let (organisation, email, name) = (text(organisation)?, text(login)?, text(name)?);
    world.write(|conn, now| access::create_first_administrator(conn, now, &organisation, &email, &name, &hash))?;
    world.log_in(login)
}

/// Brings an organisation in, invites its first person, who accepts and logs in.
fn join(world: &World, by: &Actor, kind: OrganisationKind, face: &Face) -> Result<Actor> {
    world.pass(60);
    let new = NewOrganisation { kind, name: text(face.organisation)? };
    let organisation = world.write(|conn, now| access::create_organisation(conn, now, by, &new))?.id;
    let new = NewPerson { organisation, email: text(face.login)?, name: text(face.name)?, lead: true };
    let invite = |conn: &mut _, now| access::create_person(conn, now, &world.state.access, by, &new);
    let invitation = world.write(invite)?.secret;
    let password = PASSWORD.parse().map_err(Error::internal)?;
    access::accept_invitation(&world.state.db, &world.state.access, &invitation, &password)?;
    world.log_in(face.login)
}

/// 60 € a month for six months, paid by four funders in fixed shares.
fn monthly(world: &World, manager: &Actor, funders: &[OrganisationId], from: Day) -> Result<ProgrammeId> {
    let draft = Draft {
        name: text("Chèque des Terrils")?,
        time_zone: text("Europe/Paris")?,
        starts_on: from,
        ends_on: from.plus_months(18).plus_days(-1),
        funding_rule: FundingRule::FixedShares,
        rules: rules(
            r#"{"amount": {"per_household": "60.00", "per_adult": "0.00", "per_child": "0.00"},
                "period": {"unit": "month", "length": 1, "count": 6}, "start": "enrolment_day", "carry_over": "none",
                "expiry_days": 7, "void_window_minutes": 60, "void_grace_days": 7, "show_balance": false}"#,
        )?,
        communes: communes(BASSIN)?,
        legal_basis: Some((LegalBasis::LimitedNetwork, text("CMF L521-3, réseau de producteurs agréés")?)),
    };
    let last = draft.ends_on;
    // eleven parts of seventeen and three times two; the mutual's money ends first, and the others carry on without it
    let grants = [
        ("FTT-041", funders[0], 11, Cents(1_072_500), last),
        ("SIL-2-17", funders[1], 2, Cents(198_537), last),
        ("MDG-88", funders[2], 2, Cents(195_000), from.plus_months(8)),
        ("ASA-305", funders[3], 2, Cents(197_999), last),
    ];
    open(world, manager, &draft, &grants)
}

/// So much an adult and a child each fortnight, and half of what is paid for vegetables again; by one funder as far as its money goes, then by the next.
fn by_head(world: &World, manager: &Actor, funders: &[OrganisationId], from: Day) -> Result<ProgrammeId> {
    let draft = Draft {
        name: text("À table en Artois")?,
        time_zone: text("Europe/Paris")?,
        starts_on: from,
        ends_on: from.plus_months(18).plus_days(-1),
        funding_rule: FundingRule::Priority,
        rules: rules(
            r#"{"amount": {"per_household": "0.00", "per_adult": "16.00", "per_child": "8.50"},
                "period": {"unit": "fortnight", "length": 1, "count": 6}, "start": "enrolment_day", "carry_over": "none",
                "expiry_days": 3, "void_window_minutes": 1440, "void_grace_days": 7, "show_balance": true,
                "bonus": {"percent": 50, "categories": ["fruit_vegetables", "pulses"], "labels": ["organic"],
                  "cap_percent": 50, "spendable_days": 14}}"#,
        )?,
        communes: communes(ARTOIS)?,
        legal_basis: Some((LegalBasis::SocialAid, text("CASF L123-5, délibération d'exemple")?)),
    };
    let last = draft.ends_on;
    let grants = [("FTT-042", funders[0], 1, Cents(412_500), last), ("SIL-2-18", funders[1], 1, Cents(350_000), last)];
    open(world, manager, &draft, &grants)
}

/// Reference, funder, weight, amount, last day.
type Grant = (&'static str, OrganisationId, i32, Cents, Day);

fn open(world: &World, manager: &Actor, draft: &Draft, grants: &[Grant]) -> Result<ProgrammeId> {
    world.pass(60);
    let id = world.write(|conn, now| programme::create(conn, now, manager, draft))?.id;
    for grant in grants {
        sign(world, manager, id, draft.starts_on, *grant)?;
    }
    world.write(|conn, now| programme::open(conn, now, manager, id))?;
    Ok(id)
}

pub fn sign(world: &World, manager: &Actor, programme: ProgrammeId, starts_on: Day, grant: Grant) -> Result<()> {
    let (reference, funder, share_weight, granted, ends_on) = grant;
    let reference = text(reference)?;
    let new = NewAgreement { funder, reference, granted, starts_on, ends_on, grace_days: 15, share_weight };
    world.write(|conn, now| programme::sign(conn, now, manager, programme, &new)).map(drop)
}

/// A producer says whom to pay, opens its stalls and applies to both programmes; all but one are approved.
fn settle(world: &World, manager: &Actor, nth: usize, programmes: &[ProgrammeId; 2]) -> Result<(Actor, Vec<StallId>)> {
    let grower = &GROWERS[nth];
    let actor = join(world, manager, OrganisationKind::Producer, &grower.face)?;
    let number = 101 + 37 * nth as u32;
    let account_holder = text(grower.face.organisation)?;
    let profile =
        Profile { siret: numbers::siret(number)?, iban: numbers::iban(u64::from(number) * 1_000_003)?, account_holder };
    world.write(|conn, now| producer::set_profile(conn, now, &actor, &profile))?;
    let mut stalls = Vec::new();
    for market in grower.markets {
        world.pass(60);
        let (name, at) = (text(market.name)?, commune(market.at)?);
        stalls.push(world.write(|conn, now| producer::open_stall(conn, now, &actor, &name, &at))?.id);
    }
    for &programme in programmes {
        world.write(|conn, now| producer::apply(conn, now, &actor, programme))?;
        if grower.standing != Standing::NeverApproved {
            let approve = Decision::Approve(None);
            world.write(|conn, now| producer::decide(conn, now, manager, programme, actor.organisation, approve))?;
        }
    }
    Ok((actor, stalls))
}

fn communes(deck: Deck) -> Result<Vec<Commune>> {
    deck.iter().map(|(place, _)| commune(*place)).collect()
}

fn commune((code, name): Place) -> Result<Commune> {
    Ok(Commune { code: text(code)?, name: text(name)? })
}
