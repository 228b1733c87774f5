//! Who is let in and whose cents are promised, by the planning of real promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Households, Kind, MOST_HOUSEHOLDS, Scheme};
use crate::allowance::{self, Funds, Planned};
use crate::enrolment;
use crate::kit::money::Cents;
use crate::kit::time::Day;
use crate::programme::{Agreement, Contribution, ContributionGoesTo, FundingRule, Grant};

/// What each agreement gives for each grant: the agreement's place among the scheme's, and cents.
pub type Parts = Vec<Vec<(usize, Cents)>>;

/// Households of one kind that are funded alike.
#[derive(Clone, Debug)]
pub struct Cohort {
    pub kind: Kind,
    pub count: i64,
    pub grants: Arc<Vec<Grant>>,
    /// Of all of them together.
    pub parts: Parts,
}

impl Cohort {
    pub fn promised_by(&self, place: usize) -> Cents {
        self.parts.iter().flatten().filter(|(of, _)| *of == place).map(|(_, amount)| *amount).sum()
    }

    /// What all of them pay into the pot, if each pays so much for a period.
    pub fn contributed(&self, each: Option<Cents>) -> Cents {
        let to_pot = |rule: &Contribution| rule.goes_to == ContributionGoesTo::Pot;
        let Some(rule) = self.kind.rules.contribution.filter(to_pot) else { return Cents::ZERO };
        let periods: BTreeSet<i32> = self.grants.iter().map(|grant| grant.period.number).collect();
        let amount = each.unwrap_or(rule.minimum).clamp(rule.minimum, rule.maximum);
        periods.iter().map(|_| Cents(amount.0 * self.count)).sum()
    }
}

pub struct Funding {
    pub households: Households,
    pub cohorts: Vec<Cohort>,
}

/// What tells kinds apart. Rules by their place in memory: one version is shared by all of it.
type Key = (usize, i32, i32, Option<String>, Day);

fn key(kind: &Kind) -> Key {
    (Arc::as_ptr(&kind.rules) as usize, kind.adults, kind.children, kind.band.clone(), kind.starts_on)
}

pub fn grants(scheme: &Scheme, kind: &Kind) -> Vec<Grant> {
    kind.rules.grants(&scheme.zone, scheme.starts_on, kind.starts_on, kind.adults, kind.children)
}

/// Lets the population in, one after the other, as the waiting list would: whoever no agreement covers is passed over, and
/// from the first one on for whom the money does not reach, nobody gets in.
pub fn fund(scheme: &Scheme) -> Funding {
    let mut funds = scheme.funds.clone();
    let mut households = Households::default();
    let mut promises: BTreeMap<Key, Arc<Vec<Grant>>> = BTreeMap::new();
    let mut cohorts: Vec<Cohort> = Vec::new();
    // by what they are told apart by, so that a long waiting list finds its place
    let mut places: BTreeMap<(Key, Parts), usize> = BTreeMap::new();
    let mut queue = false;
    for kind in &scheme.population {
        households.asked += kind.count;
        let grants = promises.entry(key(kind)).or_insert_with(|| Arc::new(grants(scheme, kind)));
        if !enrolment::within(grants, scheme.starts_on, scheme.ends_on) {
            households.too_late += kind.count;
            continue;
        }
        if !allowance::covered(&scheme.agreements, grants) {
            households.not_covered += kind.count;
            continue;
        }
        let runs = if queue { Vec::new() } else { most(scheme, grants, &mut funds, kind.count) };
        let funded: i64 = runs.iter().map(|run| run.count).sum();
        (households.funded, households.not_enough) =
            (households.funded + funded, households.not_enough + kind.count - funded);
        queue |= funded < kind.count;
        for run in runs {
            // by priority whoever is paid by others spends others' money; in shares they differ by cents
            let told_apart = match scheme.funding_rule {
                FundingRule::FixedShares => Parts::new(),
                FundingRule::Priority => run.each.clone(),
            };
            let place = *places.entry((key(kind), told_apart)).or_insert_with(|| {
                let none = run.all.iter().map(|parts| parts.iter().map(|(of, _)| (*of, Cents::ZERO)).collect());
                let (kind, grants) = (kind.clone(), Arc::clone(grants));
                cohorts.push(Cohort { kind, count: 0, grants, parts: none.collect() });
                cohorts.len() - 1
            });
            cohorts[place].count += run.count;
            add(&mut cohorts[place].parts, &run.all);
        }
    }
    Funding { households, cohorts }
}

fn add(parts: &mut Parts, more: &Parts) {
    for (parts, more) in parts.iter_mut().zip(more) {
        for (of, amount) in more {
            match parts.iter_mut().find(|(known, _)| known == of) {
                Some((_, sum)) => *sum += *amount,
                None => parts.push((*of, *amount)),
            }
        }
        parts.sort_unstable_by_key(|(of, _)| *of);
    }
}

/// How many households of one kind, and of no other, the agreements can carry.
pub fn carried(scheme: &Scheme, grants: &[Grant]) -> i64 {
    let fits = enrolment::within(grants, scheme.starts_on, scheme.ends_on);
    if !fits || !allowance::covered(&scheme.agreements, grants) {
        return 0;
    }
    let mut funds = scheme.funds.clone();
    most(scheme, grants, &mut funds, MOST_HOUSEHOLDS).iter().map(|run| run.count).sum()
}

/// Households of one kind in a row that get the same from the same agreements, but for a cent.
struct Run {
    count: i64,
    /// Of one of them, where they are paid by priority.
    each: Parts,
    all: Parts,
}

/// Funds as many of `count` households as the money reaches for.
fn most(scheme: &Scheme, grants: &[Grant], funds: &mut Funds, count: i64) -> Vec<Run> {
    match scheme.funding_rule {
        FundingRule::FixedShares => in_shares(scheme, grants, funds, count),
        FundingRule::Priority => by_priority(scheme, grants, funds, count),
    }
}

/// A set deals each amount as the continuation of all before, so that so many promises take what one so many times as
/// large takes; and more of them never take less of any agreement.
fn in_shares(scheme: &Scheme, grants: &[Grant], funds: &mut Funds, count: i64) -> Vec<Run> {
    let try_out = |times: i64| {
        let mut left = funds.clone();
        let grants: Vec<Grant> =
            grants.iter().map(|grant| Grant { amount: Cents(grant.amount.0 * times), ..grant.clone() }).collect();
        let plan = allowance::plan(scheme.funding_rule, &grants, &scheme.agreements, &mut left)?;
        Some((parts(&scheme.agreements, &plan), left))
    };
    // what fits, and the least that does not
    let (mut fits, mut beyond, mut best) = (0, count + 1, None);
    let mut next = count;
    while fits + 1 < beyond {
        match try_out(next) {
            Some(found) => (fits, best) = (next, Some(found)),
            None => beyond = next,
        }
        next = fits + (beyond - fits) / 2;
    }
    let Some((all, left)) = best else { return Vec::new() };
    *funds = left;
    vec![Run { count: fits, each: Parts::new(), all }]
}

/// One after the other; where no agreement runs dry on the way, the next ones are paid by the same cents and counted at
/// once.
fn by_priority(scheme: &Scheme, grants: &[Grant], funds: &mut Funds, count: i64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut wanted = count;
    while wanted > 0 {
        let mut left = funds.clone();
        let Some(plan) = allowance::plan(scheme.funding_rule, grants, &scheme.agreements, &mut left) else { break };
        let each = parts(&scheme.agreements, &plan);
        let mut used: BTreeMap<usize, i64> = BTreeMap::new();
        for (of, amount) in each.iter().flatten() {
            *used.entry(*of).or_default() += amount.0;
        }
        let holds = |of: usize| left.available[&scheme.agreements[of].id].0;
        let alike = used.iter().map(|(of, used)| holds(*of) / used).min().unwrap_or(0).min(wanted - 1);
        for (of, used) in used {
            if let Some(held) = left.available.get_mut(&scheme.agreements[of].id) {
                *held -= Cents(used * alike);
            }
        }
        let run = 1 + alike;
        let all = each.iter().map(|parts| parts.iter().map(|(of, c)| (*of, Cents(c.0 * run))).collect()).collect();
        runs.push(Run { count: run, each, all });
        (*funds, wanted) = (left, wanted - run);
    }
    runs
}

fn parts(agreements: &[Agreement], plan: &[Planned]) -> Parts {
    let place = |agreement: &Agreement| agreements.iter().position(|other| other.id == agreement.id).unwrap_or(0);
    plan.iter().map(|planned| planned.parts.iter().map(|(of, amount)| (place(of), *amount)).collect()).collect()
}
