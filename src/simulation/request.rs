//! What is asked of a simulation, as JSON: the same over HTTP and on the command line.

use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{BasketMix, Kind, MOST_GROUPS, MOST_HOUSEHOLDS, Scheme, TakeUp};
use crate::allowance::Funds;
use crate::kit::complaint::{Complaint, Words};
use crate::kit::error::{Error, Fields, Result};
use crate::kit::id::{AgreementId, Id};
use crate::kit::money::Cents;
use crate::kit::object::{maybe_object, objects};
use crate::kit::text::Line;
use crate::kit::time::{Day, Zone};
use crate::programme::{Agreement, AgreementKind, FundingRule, MOST_MEMBERS, Preset, Rules, preset, preset_codes};

const MOST_AGREEMENTS: usize = 20;
const MOST_LINES: usize = 20;

/// A scheme that need not exist.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Either these,
    #[serde(default, deserialize_with = "maybe_object")]
    rules: Option<Rules>,
    /// or those of a preset, with its funding rule where none is given.
    preset: Option<String>,
    funding_rule: Option<FundingRule>,
    #[serde(default = "paris")]
    time_zone: Zone,
    starts_on: Day,
    ends_on: Day,
    /// In order of priority.
    #[serde(deserialize_with = "objects")]
    agreements: Vec<AgreementGiven>,
    #[serde(deserialize_with = "objects")]
    population: Vec<Group>,
    #[serde(default, deserialize_with = "maybe_object")]
    take_up: Option<TakeUp>,
    #[serde(default, deserialize_with = "maybe_object")]
    basket: Option<BasketMix>,
    contribution: Option<Cents>,
}

/// A programme that there is, by its own rules or by others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgrammeRequest {
    #[serde(default, deserialize_with = "maybe_object")]
    pub(super) rules: Option<Rules>,
    population: Population,
    #[serde(default, deserialize_with = "maybe_object")]
    pub(super) take_up: Option<TakeUp>,
    #[serde(default, deserialize_with = "maybe_object")]
    pub(super) basket: Option<BasketMix>,
    pub(super) contribution: Option<Cents>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreementGiven {
    reference: Line<100>,
    granted: Cents,
    starts_on: Day,
    ends_on: Day,
    grace_days: i32,
    share_weight: i32,
}

/// So many households that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    adults: i32,
    children: i32,
    count: i64,
    band: Option<String>,
    /// The first day, or today in a programme that runs, where none is given.
    starts_on: Option<Day>,
}

#[derive(Clone, Debug)]
enum Population {
    WaitingList,
    Listed(Vec<Group>),
}

fn paris() -> Zone {
    "Europe/Paris".parse().expect("the zone is in the bundled list")
}

const WAITING_LIST: &str = "waiting_list";

impl<'de> Deserialize<'de> for Population {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Population;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Population, E> {
                let words = Complaint::NotOneOf { words: Words::of(&[WAITING_LIST]) };
                if text == WAITING_LIST { Ok(Population::WaitingList) } else { Err(E::custom(words.carried())) }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Population, A::Error> {
                objects(serde::de::value::SeqAccessDeserializer::new(list)).map(Population::Listed)
            }
        }
        from.deserialize_any(Read)
    }
}

impl Request {
    /// The preset that is asked for, over what a file says.
    pub fn with_preset(self, preset: String) -> Self {
        Request { preset: Some(preset), ..self }
    }

    /// The scheme that it describes, if it holds together.
    pub fn scheme(&self) -> Result<Scheme> {
        let preset = self.preset()?;
        let rules = self.rules.as_ref().or(preset.as_ref().map(|preset| &preset.rules));
        let rules = Arc::new(rules.ok_or_else(|| Error::invalid("rules", Complaint::Missing))?.clone());
        let funding_rule = self.funding_rule.or(preset.map(|preset| preset.funding_rule));
        let funding_rule = funding_rule.ok_or_else(|| Error::invalid("funding_rule", Complaint::Missing))?;
        let mut fields = Fields::default();
        rules.check(funding_rule, &mut fields);
        in_order(self.starts_on, self.ends_on, "ends_on", &mut fields);
        let some = (1..=MOST_AGREEMENTS).contains(&self.agreements.len());
        fields.must(some, "agreements", Complaint::Items { least: 1, most: MOST_AGREEMENTS });
        for (place, agreement) in self.agreements.iter().enumerate() {
            agreement.check(&format!("agreements[{place}]"), &mut fields);
        }
        check_population(&self.population, &rules, &mut fields);
        check_habits(self.take_up, self.basket.as_ref(), &mut fields);
        check_contribution(self.contribution, &rules, &mut fields);
        fields.settle()?;
        let agreements: Vec<Agreement> = self.agreements.iter().zip(1..).map(AgreementGiven::signed).collect();
        Ok(Scheme {
            funding_rule,
            zone: self.time_zone.clone(),
            starts_on: self.starts_on,
            ends_on: self.ends_on,
            funds: Funds::new(agreements.iter().map(|agreement| (agreement.id, agreement.granted_cents))),
            agreements,
            population: self.population.iter().map(|group| group.kind(&rules, self.starts_on)).collect(),
            examples: examples(&rules, self.starts_on),
            take_up: self.take_up.unwrap_or_default(),
            basket: self.basket.clone().unwrap_or_default(),
            contribution: self.contribution,
        })
    }

    fn preset(&self) -> Result<Option<Preset>> {
        let Some(code) = &self.preset else { return Ok(None) };
        if self.rules.is_some() {
            return Err(Error::invalid("preset", Complaint::NotBeside { other: "rules".to_owned() }));
        }
        let unknown = || Error::invalid("preset", Complaint::NotOneOf { words: Words::of(&preset_codes()) });
        preset(code)?.ok_or_else(unknown).map(Some)
    }
}

impl ProgrammeRequest {
    /// The population that was listed; nothing where it is the waiting list.
    pub(super) fn listed(&self) -> Option<&[Group]> {
        match &self.population {
            Population::WaitingList => None,
            Population::Listed(groups) => Some(groups),
        }
    }

    pub(super) fn check(&self, rules: &Rules, funding_rule: FundingRule) -> Result<()> {
        let mut fields = Fields::default();
        rules.check(funding_rule, &mut fields);
        if let Some(groups) = self.listed() {
            check_population(groups, rules, &mut fields);
        }
        check_habits(self.take_up, self.basket.as_ref(), &mut fields);
        check_contribution(self.contribution, rules, &mut fields);
        fields.settle()
    }
}

impl AgreementGiven {
    fn check(&self, at: &str, fields: &mut Fields) {
        fields.must(self.granted.is_positive(), &format!("{at}.granted"), Complaint::NothingAtAll);
        in_order(self.starts_on, self.ends_on, &format!("{at}.ends_on"), fields);
        fields.between(&format!("{at}.grace_days"), self.grace_days, 0..=366);
        fields.between(&format!("{at}.share_weight"), self.share_weight, 1..=10_000);
    }

    /// As if it had been signed; its id is its place.
    fn signed((given, position): (&Self, i32)) -> Agreement {
        let id: AgreementId = Id::from_uuid(uuid::Uuid::from_u128(u128::from(position.unsigned_abs())));
        Agreement {
            id,
            programme_id: id.cast(),
            funder_id: id.cast(),
            reference: given.reference.as_str().to_owned(),
            position,
            share_weight: given.share_weight,
            granted_cents: given.granted,
            starts_on: given.starts_on,
            ends_on: given.ends_on,
            grace_days: given.grace_days,
            signed_at: paris().start_of(given.starts_on),
            kind: AgreementKind::Grant,
        }
    }
}

impl Group {
    pub(super) fn kind(&self, rules: &Arc<Rules>, from: Day) -> Kind {
        Kind {
            rules: Arc::clone(rules),
            adults: self.adults,
            children: self.children,
            band: self.band.clone(),
            starts_on: self.starts_on.unwrap_or(from),
            count: self.count,
        }
    }
}

/// One adult, one adult with two children, two adults with three; where there are tariffs, each with each.
pub(super) fn examples(rules: &Arc<Rules>, starts_on: Day) -> Vec<Kind> {
    let tariffs = rules.bands.iter().flat_map(|bands| &bands.tariffs);
    let mut bands: Vec<Option<String>> = tariffs.map(|tariff| Some(tariff.code.clone())).collect();
    if bands.is_empty() {
        bands.push(None);
    }
    let of = |(adults, children): (i32, i32)| {
        let kind = move |band: &Option<String>| {
            let (rules, band) = (Arc::clone(rules), band.clone());
            Kind { rules, adults, children, band, starts_on, count: 1 }
        };
        bands.iter().map(kind)
    };
    [(1, 0), (1, 2), (2, 3)].into_iter().flat_map(of).collect()
}

fn in_order(starts_on: Day, ends_on: Day, field: &str, fields: &mut Fields) {
    fields.must(starts_on <= ends_on, field, Complaint::Before { other: "starts_on".to_owned() });
}

fn check_population(groups: &[Group], rules: &Rules, fields: &mut Fields) {
    let some = (1..=MOST_GROUPS).contains(&groups.len());
    fields.must(some, "population", Complaint::Items { least: 1, most: MOST_GROUPS });
    let mut left = MOST_HOUSEHOLDS;
    for (place, Group { adults, children, count, band, .. }) in groups.iter().enumerate().take(MOST_GROUPS) {
        let at = |field: &str| format!("population[{place}].{field}");
        fields.between(&at("adults"), *adults, 1..=MOST_MEMBERS.into());
        fields.between(&at("children"), *children, 0..=MOST_MEMBERS.into());
        // all together
        fields.between(&at("count"), *count, 1..=left.max(1));
        left -= (*count).clamp(0, MOST_HOUSEHOLDS);
        let known = band.as_ref().is_none_or(|band| rules.has_band(band));
        fields.must(known, &at("band"), Complaint::NoSuchTariff);
    }
    fields.must(left >= 0, "population", Complaint::NotBetween { least: 1, most: MOST_HOUSEHOLDS });
}

/// Within the bounds of the rules, which are nothing where they foresee none.
fn check_contribution(contribution: Option<Cents>, rules: &Rules, fields: &mut Fields) {
    let Some(amount) = contribution else { return };
    let (least, most) = rules.contribution.map_or((Cents::ZERO, Cents::ZERO), |rule| (rule.minimum, rule.maximum));
    fields.must(amount >= least, "contribution", Complaint::Below { least });
    fields.must(amount <= most, "contribution", Complaint::Above { most });
}

fn check_habits(take_up: Option<TakeUp>, basket: Option<&BasketMix>, fields: &mut Fields) {
    if let Some(TakeUp { low, expected, high }) = take_up {
        fields.between("take_up.low", low, 0..=100);
        fields.between("take_up.expected", expected, 0..=100);
        fields.between("take_up.high", high, 0..=100);
        let above = |other: &str| Complaint::AboveOther { other: other.to_owned() };
        fields.must(low <= expected, "take_up.low", above("expected"));
        fields.must(expected <= high, "take_up.expected", above("high"));
    }
    let Some(BasketMix { total, lines }) = basket else { return };
    fields.must(total.is_positive(), "basket.total", Complaint::NothingAtAll);
    let most = Cents(1_000_000);
    fields.must(*total <= most, "basket.total", Complaint::Above { most });
    let some = (1..=MOST_LINES).contains(&lines.len());
    fields.must(some, "basket.lines", Complaint::Items { least: 1, most: MOST_LINES });
    for (place, line) in lines.iter().enumerate().take(MOST_LINES) {
        fields.between(&format!("basket.lines[{place}].percent"), line.percent, 1..=100);
    }
    let whole: i64 = lines.iter().map(|line| i64::from(line.percent)).sum();
    fields.must(whole == 100, "basket.lines", Complaint::NotTheWhole);
}
