//! What a scheme would cost and give, foretold: promises planned as real ones are, purchases decided as at a till.
//!
//! Nothing is written. Households of one kind are lived once, and multiplied.

pub mod api;
mod cost;
mod funding;
mod life;
mod request;
mod table;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::Actor;
use crate::allowance::{self, Funds};
use crate::db::Conn;
use crate::enrolment;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Result};
use crate::kit::id::ProgrammeId;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant, Month, Zone};
use crate::programme::{self, Agreement, Category, FundingRule, Label, Rules};

pub use request::{ProgrammeRequest, Request};
pub use table::table;

/// Households in all, and lines of a population.
const MOST_HOUSEHOLDS: i64 = 10_000;
const MOST_GROUPS: usize = 200;
/// Grants looked at, each for every basket that may be bought: some seconds of one core.
const MOST_WORK: usize = 10_000_000;

/// All that an outcome depends on.
#[derive(Clone, Debug)]
pub struct Scheme {
    pub funding_rule: FundingRule,
    pub zone: Zone,
    pub starts_on: Day,
    pub ends_on: Day,
    pub agreements: Vec<Agreement>,
    pub funds: Funds,
    /// In the order in which they ask.
    pub population: Vec<Kind>,
    pub examples: Vec<Kind>,
    pub take_up: TakeUp,
    pub basket: BasketMix,
    /// What each household pays in for a period, within the bounds of its rules; the least that they foresee by default.
    pub contribution: Option<Cents>,
}

/// So many households that are alike in all that money depends on.
#[derive(Clone, Debug)]
pub struct Kind {
    pub rules: Arc<Rules>,
    pub adults: i32,
    pub children: i32,
    pub band: Option<String>,
    pub starts_on: Day,
    pub count: i64,
}

/// How much of what they could spend households do spend, in percent. By default a guess: 60, 85 and 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeUp {
    pub low: i32,
    pub expected: i32,
    pub high: i32,
}

impl Default for TakeUp {
    fn default() -> Self {
        TakeUp { low: 60, expected: 85, high: 100 }
    }
}

/// What baskets are made of, and the one that examples buy. By default a guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasketMix {
    pub total: Cents,
    #[serde(deserialize_with = "crate::kit::object::objects")]
    pub lines: Vec<MixLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixLine {
    pub category: Category,
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Of the basket.
    pub percent: i32,
}

impl Default for BasketMix {
    fn default() -> Self {
        let line = |category, labels: &[Label], percent| MixLine { category, labels: labels.to_vec(), percent };
        BasketMix {
            total: Cents(20_00),
            lines: vec![
                line(Category::FruitVegetables, &[Label::Organic, Label::Local], 15),
                line(Category::FruitVegetables, &[], 25),
                line(Category::CerealsBread, &[], 15),
                line(Category::Dairy, &[], 15),
                line(Category::Meat, &[], 15),
                line(Category::Eggs, &[], 5),
                line(Category::OtherFood, &[], 10),
            ],
        }
    }
}

/// What would come of it. Households outside `funded` cost nothing, and wait or are sent away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    pub households: Households,
    /// What is committed for all who are funded: the most that it can cost.
    pub promised: Cents,
    pub cost: Estimate,
    /// What the funded are expected to pay into the pot for all their periods: it is not taken off the cost, which the
    /// agreements must be able to bear without it.
    pub contributed: Cents,
    pub months: Vec<MonthCost>,
    pub agreements: Vec<AgreementCost>,
    pub examples: Vec<Example>,
    pub take_up: TakeUp,
    pub basket: BasketMix,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Households {
    pub asked: i64,
    pub funded: i64,
    /// These would wait: from the first one on for whom the money does not reach, all that come after.
    pub not_enough: i64,
    /// No agreement covers all their periods, whatever it has.
    pub not_covered: i64,
    /// Their periods do not fit the programme's days.
    pub too_late: i64,
}

/// What producers are paid by the programme. A month's bounds are also those of who spends early and who late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    pub low: Cents,
    pub expected: Cents,
    pub high: Cents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MonthCost {
    pub month: Month,
    /// What opens in it; a bonus is issued as it is earned, and not foretold here.
    pub issued: Cents,
    pub cost: Estimate,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgreementCost {
    pub reference: String,
    pub granted: Cents,
    /// Free to be promised before,
    pub available: Cents,
    /// committed for the funded households of this simulation,
    pub promised: Cents,
    pub cost: Estimate,
    pub months: Vec<AgreementMonth>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AgreementMonth {
    pub month: Month,
    pub cost: Estimate,
}

/// What one household would get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    pub adults: i32,
    pub children: i32,
    pub band: Option<String>,
    pub starts_on: Day,
    /// How many such households, and no others, the agreements can carry now: 10 000 at most.
    pub carried: i64,
    /// All periods together; a bonus at its most.
    pub total: Cents,
    pub periods: Vec<ExamplePeriod>,
    pub basket: ExampleBasket,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExamplePeriod {
    pub number: i32,
    pub starts_on: Day,
    pub ends_on: Day,
    pub amount: Cents,
    pub purses: Vec<ExamplePurse>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExamplePurse {
    pub purse: String,
    pub amount: Cents,
    /// The first instant that is too late.
    pub closes_at: Instant,
}

/// The first basket of a first period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExampleBasket {
    pub total: Cents,
    pub covered: Cents,
    /// What the household pays itself.
    pub own_part: Cents,
}

/// Foretells a scheme. Pure.
pub fn simulate(scheme: &Scheme) -> Result<Outcome> {
    let funding = funding::fund(scheme);
    if cost::work(scheme, &funding.cohorts) > MOST_WORK {
        return Err(Error::invalid("population", Complaint::TooManyToLive));
    }
    let costs = cost::costs(scheme, &funding.cohorts);
    let promised = |place: usize| funding.cohorts.iter().map(|cohort| cohort.promised_by(place)).sum();
    let available = |agreement: &Agreement| scheme.funds.available.get(&agreement.id).copied().unwrap_or_default();
    let agreements = scheme.agreements.iter().enumerate().map(|(place, agreement)| AgreementCost {
        reference: agreement.reference.clone(),
        granted: agreement.granted_cents,
        available: available(agreement),
        promised: promised(place),
        cost: costs.of(Some(place), None),
        months: costs
            .months()
            .map(|month| AgreementMonth { month, cost: costs.of(Some(place), Some(month)) })
            .collect(),
    });
    let agreements: Vec<AgreementCost> = agreements.collect();
    let month = |month| MonthCost { month, issued: costs.issued(month), cost: costs.of(None, Some(month)) };
    Ok(Outcome {
        households: funding.households,
        promised: agreements.iter().map(|agreement| agreement.promised).sum(),
        cost: costs.of(None, None),
        contributed: funding.cohorts.iter().map(|cohort| cohort.contributed(scheme.contribution)).sum(),
        months: costs.months().map(month).collect(),
        agreements,
        examples: scheme.examples.iter().map(|kind| example(scheme, kind)).collect(),
        take_up: scheme.take_up,
        basket: scheme.basket.clone(),
    })
}

fn example(scheme: &Scheme, kind: &Kind) -> Example {
    let grants = funding::grants(scheme, kind);
    let mut periods: Vec<ExamplePeriod> = Vec::new();
    for grant in &grants {
        let known = periods.iter().position(|period| period.number == grant.period.number);
        let place = known.unwrap_or_else(|| {
            let programme::Period { number, starts_on, ends_on, .. } = grant.period;
            periods.push(ExamplePeriod { number, starts_on, ends_on, amount: Cents::ZERO, purses: Vec::new() });
            periods.len() - 1
        });
        periods[place].amount += grant.amount;
        let (purse, closes_at) = (grant.purse.clone(), grant.period.closes_at);
        periods[place].purses.push(ExamplePurse { purse, amount: grant.amount, closes_at });
    }
    Example {
        adults: kind.adults,
        children: kind.children,
        band: kind.band.clone(),
        starts_on: kind.starts_on,
        carried: funding::carried(scheme, &grants),
        total: grants.iter().map(|grant| grant.amount).sum(),
        periods,
        basket: life::example_basket(scheme, kind, &grants),
    }
}

/// The scheme of a programme of the caller's as it stands, with the money that it really has left.
pub fn of_programme(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    id: ProgrammeId,
    request: &ProgrammeRequest,
) -> Result<Scheme> {
    let programme = programme::owned(conn, actor, id)?;
    let zone = programme.zone()?;
    let today = zone.day_of(now);
    let agreements = programme::agreements_of(conn, id)?;
    let rules = match &request.rules {
        Some(rules) => rules.clone(),
        None => programme::rules(conn, id)?.rules,
    };
    let rules = Arc::new(rules);
    let from = today.max(programme.starts_on);
    request.check(&rules, programme.funding_rule)?;
    let population = match request.listed() {
        Some(groups) => groups.iter().map(|group| group.kind(&rules, from)).collect(),
        None => waiting(conn, id, today, request.rules.is_some().then_some(&rules))?,
    };
    Ok(Scheme {
        funding_rule: programme.funding_rule,
        starts_on: programme.starts_on,
        ends_on: programme.ends_on,
        funds: allowance::funds(conn, id, &agreements)?,
        agreements,
        population,
        examples: request::examples(&rules, from),
        take_up: request.take_up.unwrap_or_default(),
        basket: request.basket.clone().unwrap_or_default(),
        contribution: request.contribution,
        zone,
    })
}

/// Who waits, in order, each by the rules it asked under, or all by others.
fn waiting(conn: &mut Conn, id: ProgrammeId, today: Day, others: Option<&Arc<Rules>>) -> Result<Vec<Kind>> {
    let versions = programme::all_versions(conn, id)?;
    let versions: Vec<(i32, Arc<Rules>)> = versions.into_iter().map(|v| (v.version, Arc::new(v.rules))).collect();
    let mut kinds = Vec::new();
    let most = usize::try_from(MOST_HOUSEHOLDS).unwrap_or(usize::MAX);
    for household in enrolment::waiting(conn, id)?.into_iter().take(most) {
        let own = versions.iter().find(|(version, _)| *version == household.rules_version).map(|(_, rules)| rules);
        let Some(rules) = others.or(own) else { continue };
        kinds.push(Kind {
            rules: Arc::clone(rules),
            adults: household.adults,
            children: household.children,
            band: household.band.filter(|band| rules.has_band(band)),
            starts_on: household.starts_on.max(today),
            count: 1,
        });
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests;
