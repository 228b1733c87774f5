//! What households spend, added up by month and agreement, in several ways of spending.

use std::collections::{BTreeMap, BTreeSet};

use super::funding::Cohort;
use super::life::{Habit, Pace, Part, live, most_baskets};
use super::{Estimate, Kind, Scheme, TakeUp};
use crate::allowance::in_proportion;
use crate::kit::money::Cents;
use crate::kit::time::Month;
use crate::programme::{FundingRule, Tariff, purse};

/// By month and the agreement's place.
type Costs = BTreeMap<(Month, usize), Cents>;

pub struct Estimates {
    /// Ways of spending little,
    low: Vec<Costs>,
    /// by each tariff that households may have, as often as the others,
    expected: Vec<Costs>,
    /// and of spending much.
    high: Vec<Costs>,
    issued: BTreeMap<Month, Cents>,
}

/// The tariff of households of which nobody says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Cheapest,
    Dearest,
    /// Of as many as there are, over and over.
    Nth(usize),
}

impl Kind {
    /// The tariffs that it may have, cheapest first: none where that is said, or where there are no tariffs.
    fn open_tariffs(&self) -> Vec<&Tariff> {
        let open = self.rules.bands.as_ref().filter(|_| self.band.is_none());
        let mut tariffs: Vec<&Tariff> = open.iter().flat_map(|bands| &bands.tariffs).collect();
        tariffs.sort_by_key(|tariff| tariff.price_percent);
        tariffs
    }

    fn choosing(&self, choice: Choice) -> Kind {
        let open = self.open_tariffs();
        let picked = match choice {
            Choice::Cheapest => open.first(),
            Choice::Dearest => open.last(),
            Choice::Nth(nth) => open.get(nth % open.len().max(1)),
        };
        let band = picked.map_or_else(|| self.band.clone(), |tariff| Some(tariff.code.clone()));
        Kind { band, ..self.clone() }
    }
}

/// Money of one grant with one end, of all households of a cohort.
struct Pool {
    part: Part,
    /// The agreements that it comes from, and how much of each.
    from: Vec<(usize, Cents)>,
}

impl Pool {
    fn whole(&self) -> Cents {
        self.from.iter().map(|(_, amount)| *amount).sum()
    }

    /// What all have spent, where one household has spent so much of its own.
    fn of_all(&self, spent: Cents) -> Cents {
        let exact = i128::from(self.whole().0) * i128::from(spent.0) / i128::from(self.part.amount.0.max(1));
        Cents(i64::try_from(exact).unwrap_or(i64::MAX))
    }
}

pub fn costs(scheme: &Scheme, cohorts: &[Cohort]) -> Estimates {
    let pools: Vec<Vec<Pool>> = cohorts.iter().map(|cohort| pools(scheme, cohort)).collect();
    let in_a_way = |take_up: i32, pace: Pace, choice: Choice| {
        let mut costs = Costs::new();
        for (cohort, pools) in cohorts.iter().zip(&pools) {
            let kind = cohort.kind.choosing(choice);
            add(&mut costs, scheme, cohort, &kind, pools, Habit { take_up, pace });
        }
        costs
    };
    let mut issued: BTreeMap<Month, Cents> = BTreeMap::new();
    for cohort in cohorts {
        for (grant, parts) in cohort.grants.iter().zip(&cohort.parts).filter(|(grant, _)| grant.purse != purse::BONUS) {
            *issued.entry(grant.period.starts_on.month()).or_default() += parts.iter().map(|(_, amount)| *amount).sum();
        }
    }
    let TakeUp { low, expected, high } = scheme.take_up;
    let paces = [Pace::AtOnce, Pace::Ahead, Pace::Behind, Pace::AtTheEnd];
    let choices = cohorts.iter().map(|cohort| cohort.kind.open_tariffs().len()).max().unwrap_or(0).max(1);
    Estimates {
        low: paces.map(|pace| in_a_way(low, pace, Choice::Dearest)).to_vec(),
        expected: (0..choices).map(|nth| in_a_way(expected, Pace::Ahead, Choice::Nth(nth))).collect(),
        high: paces.map(|pace| in_a_way(high, pace, Choice::Cheapest)).to_vec(),
        issued,
    }
}

/// How much there is to do.
pub fn work(scheme: &Scheme, cohorts: &[Cohort]) -> usize {
    let of = |cohort: &Cohort| cohort.grants.len() * most_baskets(scheme, &cohort.kind, &cohort.grants);
    cohorts.iter().map(of).sum()
}

/// In shares, what ends together is spent together; by priority, each agreement's money in its turn.
fn pools(scheme: &Scheme, cohort: &Cohort) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for (place, (grant, parts)) in cohort.grants.iter().zip(&cohort.parts).enumerate() {
        let first = pools.len();
        for (of, amount) in parts.iter().filter(|(_, amount)| amount.is_positive()) {
            let agreement = &scheme.agreements[*of];
            let spendable_until = grant.period.closes_at.min(agreement.spendable_until(&scheme.zone));
            let together = |pool: &&mut Pool| {
                scheme.funding_rule == FundingRule::FixedShares && pool.part.spendable_until == spendable_until
            };
            match pools[first..].iter_mut().find(together) {
                Some(pool) => pool.from.push((*of, *amount)),
                None => {
                    let part =
                        Part { grant: place, amount: Cents::ZERO, position: agreement.position, spendable_until };
                    pools.push(Pool { part, from: vec![(*of, *amount)] });
                }
            }
        }
        // what one household has of each
        let wholes: Vec<Cents> = pools[first..].iter().map(Pool::whole).collect();
        for (pool, amount) in pools[first..].iter_mut().zip(in_proportion(grant.amount, &wholes)) {
            pool.part.amount = amount;
        }
    }
    pools
}

/// Lives one household of a cohort, and counts what it spends for each of them.
fn add(costs: &mut Costs, scheme: &Scheme, cohort: &Cohort, kind: &Kind, pools: &[Pool], habit: Habit) {
    let parts: Vec<Part> = pools.iter().map(|pool| pool.part.clone()).collect();
    let spent = live(scheme, kind, &cohort.grants, &parts, habit);
    for (place, pool) in pools.iter().enumerate() {
        let mut months: BTreeMap<Month, Cents> = BTreeMap::new();
        for spent in spent.iter().filter(|spent| spent.part == place) {
            *months.entry(spent.month).or_default() += spent.amount;
        }
        let mut left: Vec<Cents> = pool.from.iter().map(|(_, amount)| *amount).collect();
        let mut so_far = Cents::ZERO;
        for (month, amount) in months {
            let before = pool.of_all(so_far);
            so_far += amount;
            // a month's purchases take of each agreement in proportion to what it has left, as each purchase does
            let taken = in_proportion(pool.of_all(so_far) - before, &left);
            for (((of, _), left), taken) in pool.from.iter().zip(&mut left).zip(taken) {
                *left -= taken;
                *costs.entry((month, *of)).or_default() += taken;
            }
        }
    }
}

impl Estimates {
    /// All months in which something is issued or spent.
    pub fn months(&self) -> impl Iterator<Item = Month> + use<> {
        let all = self.low.iter().chain(&self.high).chain(&self.expected);
        let spent = all.flat_map(|costs| costs.keys().map(|(month, _)| *month));
        spent.chain(self.issued.keys().copied()).collect::<BTreeSet<_>>().into_iter()
    }

    pub fn issued(&self, month: Month) -> Cents {
        self.issued.get(&month).copied().unwrap_or_default()
    }

    /// Of one agreement or all, in one month or all.
    pub fn of(&self, agreement: Option<usize>, month: Option<Month>) -> Estimate {
        let counts = |(of_month, of_agreement): &(Month, usize)| {
            agreement.is_none_or(|agreement| agreement == *of_agreement) && month.is_none_or(|month| month == *of_month)
        };
        let sum = |costs: &Costs| -> Cents { costs.iter().filter(|(key, _)| counts(key)).map(|(_, c)| *c).sum() };
        let each: Cents = self.expected.iter().map(sum).sum();
        let expected = each.part(1, i64::try_from(self.expected.len()).unwrap_or(1));
        Estimate {
            low: self.low.iter().map(sum).fold(expected, Cents::min),
            expected,
            high: self.high.iter().map(sum).fold(expected, Cents::max),
        }
    }
}
