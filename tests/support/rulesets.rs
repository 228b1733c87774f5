//! Valid rule sets over all primitives together, for whoever wants to show what holds under any of them.

use primeur::kit::error::{Error, Fields};
use primeur::kit::money::Cents;
use primeur::programme::{
    Amount, Bands, Bonus, CarryOver, Category, ChosenBy, Contribution, ContributionGoesTo, Coverage, Eligible,
    FundingRule, Label, MOST_MEMBERS, PeriodRule, PeriodUnit, ProducerClass, Rules, Start, SubPurse, Tariff, Weighted,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Any valid rules under either funding rule. They shrink towards a plain cheque of a cent.
pub fn any_rules() -> impl Strategy<Value = (Rules, FundingRule)> {
    (parts(), select(FundingRule::ALL)).prop_map(|(rules, funding_rule)| (valid(rules, funding_rule), funding_rule))
}

/// Rules whose periods can be lived through in a test: at most half a dozen of at most two months, of 1.00 or more.
pub fn short_rules() -> impl Strategy<Value = Rules> {
    parts().prop_map(|mut rules| {
        rules.period.count = 2 + (rules.period.count - 1) % 5;
        rules.period.length = match rules.period.unit {
            PeriodUnit::Month => 1 + (rules.period.length - 1) % 2,
            PeriodUnit::Fortnight => 1 + (rules.period.length - 1) % 3,
            PeriodUnit::Day => 5 + (rules.period.length - 1) % 40,
        };
        rules.days_between_purchases %= 8;
        rules.expiry_days %= 60;
        if let Some(bonus) = &mut rules.bonus {
            bonus.spendable_days = 1 + bonus.spendable_days % 62;
        }
        // what tapers to a cent is a purse still
        rules.amount.per_household = rules.amount.per_household.max(Cents(100));
        rules.amount.ceiling = rules.amount.ceiling.map(|ceiling| ceiling.max(Cents(100)));
        rules
    })
}

/// What only fits by priority is left out in fixed shares, and all is made to fit together.
pub fn valid(mut rules: Rules, funding_rule: FundingRule) -> Rules {
    if funding_rule == FundingRule::FixedShares {
        rules.contribution = None;
        let tariffs = rules.bands.iter_mut().flat_map(|bands| &mut bands.tariffs);
        tariffs.for_each(|tariff| tariff.price_percent = tariff.price_percent.min(100));
    }
    make_fit(&mut rules);
    let mut fields = Fields::default();
    rules.check(funding_rule, &mut fields);
    match fields.settle() {
        Ok(()) => rules,
        Err(Error::Invalid(wrong)) => panic!("the generator made what is not valid: {wrong:?} in {rules:?}"),
        Err(other) => panic!("{other:?}"),
    }
}

/// Small enough to be passed often, or anything up to the most that rules may say.
fn amounts() -> impl Strategy<Value = Cents> {
    prop_oneof![6 => 500..12_000_i64, 1 => 1..150_i64, 1 => 1..=1_000_000_i64].prop_map(Cents)
}

fn percents() -> impl Strategy<Value = i32> {
    prop_oneof![Just(100), Just(50), 1..=100_i32]
}

/// What makes most purchases smaller or fail is not there in most rule sets.
fn sometimes<S: Strategy>(of: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(0.25, of)
}

fn often<S: Strategy>(of: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(0.6, of)
}

fn amount() -> impl Strategy<Value = Amount> {
    let weighted = (amounts(), 0..=1000_i32, 0..=1000_i32, 0..=1000_i32).prop_map(
        |(per_unit, first_adult, further_adult, child)| Weighted { per_unit, first_adult, further_adult, child },
    );
    let each = prop::option::weighted(0.6, amounts()).prop_map(Option::unwrap_or_default);
    let bounds = (sometimes(amounts()), sometimes(amounts()));
    (prop::collection::vec(each, 3), sometimes(weighted), bounds).prop_map(|(each, weighted, (floor, ceiling))| {
        Amount { per_household: each[0], per_adult: each[1], per_child: each[2], weighted, floor, ceiling }
    })
}

fn period() -> impl Strategy<Value = (PeriodRule, Start, CarryOver)> {
    let rule = (select(PeriodUnit::ALL), prop_oneof![3 => Just(1), 1 => 1..=366_i32], 1..=78_i32).prop_map(
        |(unit, length, count)| {
            let (longest, most) = match unit {
                PeriodUnit::Month => (12, 36),
                PeriodUnit::Fortnight => (26, 78),
                PeriodUnit::Day => (366, 78),
            };
            PeriodRule { unit, length: length.min(longest), count: count.min(most) }
        },
    );
    (rule, select(Start::ALL), select(CarryOver::ALL))
}

fn sub_purses() -> impl Strategy<Value = Vec<SubPurse>> {
    let place = prop::option::weighted(0.5, 0..3_usize);
    let sizes = prop::collection::vec(1..=60_i32, 3);
    (prop::collection::vec(place, Category::ALL.len()), sizes).prop_map(|(places, sizes)| {
        let purse = |(number, percent): (usize, i32)| {
            let own = Category::ALL.iter().zip(&places).filter(|(_, place)| **place == Some(number));
            SubPurse {
                code: format!("food_{number}"),
                percent,
                categories: own.map(|(category, _)| *category).collect(),
            }
        };
        sizes.into_iter().enumerate().map(purse).collect()
    })
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let own_part = sometimes(prop_oneof![0..800_i64, 0..=1_000_000_i64].prop_map(Cents));
    (percents(), own_part, prop::collection::vec(sometimes(amounts()), 3)).prop_map(|(percent, own_part, caps)| {
        let mut told: Vec<Cents> = caps.iter().copied().flatten().collect();
        told.sort();
        // each is a cap on more than the one before
        let mut in_order = told.into_iter();
        let caps: Vec<Option<Cents>> = caps.iter().map(|cap| cap.and_then(|_| in_order.next())).collect();
        Coverage {
            percent,
            own_part: own_part.unwrap_or_default(),
            per_redemption: caps[0],
            per_day: caps[1],
            per_period: caps[2],
        }
    })
}

fn bands() -> impl Strategy<Value = Bands> {
    let price = prop_oneof![0..100_i32, Just(100), 101..=200_i32];
    (select(ChosenBy::ALL), 0..100_i32, prop::collection::vec(price, 1..5), any::<prop::sample::Index>()).prop_map(
        |(chosen_by, least, others, default)| {
            let prices = std::iter::once(least).chain(others).enumerate();
            let tariffs: Vec<Tariff> =
                prices.map(|(n, price_percent)| Tariff { code: format!("t{n}"), price_percent }).collect();
            Bands { chosen_by, default: tariffs[default.index(tariffs.len())].code.clone(), tariffs }
        },
    )
}

fn bonus() -> impl Strategy<Value = Bonus> {
    let what = (some_of(Category::ALL, 0), some_of(Label::ALL, 0));
    (1..=200_i32, what, 1..=200_i32, 1..=366_i32).prop_map(
        |(percent, (categories, mut labels), cap_percent, spendable_days)| {
            if categories.is_empty() && labels.is_empty() {
                labels.push(Label::Organic);
            }
            Bonus { percent, categories, labels, cap_percent, spendable_days }
        },
    )
}

fn contribution() -> impl Strategy<Value = Contribution> {
    (amounts(), amounts(), prop::bool::weighted(0.3), select(ContributionGoesTo::ALL)).prop_map(
        |(one, other, required, goes_to)| Contribution {
            minimum: one.min(other),
            maximum: one.max(other),
            required,
            goes_to,
        },
    )
}

/// At least so many of some, each once.
fn some_of<T: Clone + std::fmt::Debug + 'static>(all: &'static [T], least: usize) -> impl Strategy<Value = Vec<T>> {
    subsequence(all.to_vec(), least..=all.len())
}

/// All primitives, not yet made to fit each other.
fn parts() -> impl Strategy<Value = Rules> {
    let money = (amount(), prop::collection::vec(1..=100_i32, 0..4), sub_purses());
    let time = (period(), prop_oneof![Just(0), 0..=366_i32], prop::bool::weighted(0.3));
    let till = (
        coverage(),
        prop::option::weighted(0.5, bands()),
        prop::option::weighted(0.35, some_of(Category::ALL, 4)),
        prop::option::weighted(0.35, some_of(ProducerClass::ALL, 4)),
        prop_oneof![3 => Just(0), 1 => 0..=92_i32],
    );
    let beside = (often(bonus()), often(contribution()), denominations(), prop_oneof![Just(0), 0..=744_i32]);
    let undoing = (prop_oneof![Just(60_i64), 0..=3000_i64, 0..=43_200_i64], 0..=92_i32, any::<bool>());
    (money, time, till, beside, undoing).prop_map(|(money, time, till, beside, undoing)| {
        let (amount, taper, sub_purses) = money;
        let ((period, start, carry_over), expiry_days, ends_with_year) = time;
        let (coverage, bands, categories, producer_classes, days_between_purchases) = till;
        let (bonus, contribution, denominations, hold_hours) = beside;
        let (void_window_minutes, void_grace_days, show_balance) = undoing;
        let eligible = Eligible { categories, producer_classes };
        Rules {
            amount,
            period,
            start,
            carry_over,
            expiry_days,
            ends_with_year,
            taper,
            sub_purses,
            coverage,
            bands,
            eligible,
            bonus,
            contribution,
            days_between_purchases,
            denominations,
            hold_hours,
            void_window_minutes,
            void_grace_days,
            show_balance,
        }
    })
}

fn denominations() -> impl Strategy<Value = Vec<Cents>> {
    let some =
        prop::collection::btree_set(1..2_000_i64, 1..4).prop_map(|values| values.into_iter().map(Cents).collect());
    often(some).prop_map(Option::unwrap_or_default)
}

fn make_fit(rules: &mut Rules) {
    let monthly = rules.period.unit == PeriodUnit::Month && rules.period.length == 1;
    if rules.start == Start::CalendarMonth && !monthly {
        rules.start = Start::EnrolmentDay;
    }
    rules.taper.truncate(usize::try_from(rules.period.count).unwrap());
    let most_units = match rules.period.unit {
        PeriodUnit::Month => 12,
        PeriodUnit::Fortnight => 26,
        PeriodUnit::Day => 366,
    };
    let within_a_year = rules.period.count * rules.period.length <= most_units;
    rules.ends_with_year &= rules.carry_over != CarryOver::ToEnd || within_a_year;
    let Amount { floor, ceiling, .. } = &mut rules.amount;
    if let (Some(floor), Some(ceiling)) = (floor, ceiling) {
        *ceiling = (*ceiling).max(*floor);
    }
    if !rules.amount_for(1, 0).is_positive() {
        rules.amount.per_household = Cents(1);
    }
    // the largest household there is gets no more either
    let most = Cents(1_000_000);
    if rules.amount_for(MOST_MEMBERS, MOST_MEMBERS) > most {
        rules.amount.ceiling = Some(most);
    }
    let mut rest = 100;
    for sub in &mut rules.sub_purses {
        sub.percent = sub.percent.min(rest);
        rest -= sub.percent;
        if let Some(eligible) = &rules.eligible.categories {
            sub.categories.retain(|category| eligible.contains(category));
        }
    }
    rules.sub_purses.retain(|sub| sub.percent > 0 && !sub.categories.is_empty());
    let in_sub_purses: i32 = rules.sub_purses.iter().map(|sub| sub.percent).sum();
    let largest = rules.amount_for(MOST_MEMBERS, MOST_MEMBERS);
    rules.denominations.retain(|value| in_sub_purses < 100 && *value <= largest);
    if rules.bands.is_some() {
        rules.coverage.percent = 100;
    }
    if let Some(bonus) = &mut rules.bonus {
        let undone_for = i32::try_from((rules.void_window_minutes + 1439) / 1440).unwrap();
        bonus.spendable_days = bonus.spendable_days.max(undone_for + 1);
        if let Some(eligible) = &rules.eligible.categories {
            bonus.categories.retain(|category| eligible.contains(category));
        }
        if bonus.categories.is_empty() && bonus.labels.is_empty() {
            bonus.labels.push(Label::Organic);
        }
    }
}

/// A cheque as most territories have it: so much a month for six months, for anything.
pub fn plain_rules() -> impl Strategy<Value = Rules> {
    let each = (0..6_000_i64, 0..3_000_i64, 0..3_000_i64);
    (each, select(CarryOver::ALL), 0..12_i32).prop_map(|((household, adult, child), carry_over, expiry_days)| {
        let (per_household, per_adult, per_child) = (Cents(100 + household), Cents(adult), Cents(child));
        Rules {
            amount: Amount { per_household, per_adult, per_child, weighted: None, floor: None, ceiling: None },
            period: PeriodRule { unit: PeriodUnit::Month, length: 1, count: 6 },
            start: Start::CalendarMonth,
            carry_over,
            expiry_days,
            ends_with_year: false,
            taper: Vec::new(),
            sub_purses: Vec::new(),
            coverage: Coverage::default(),
            bands: None,
            eligible: Eligible::default(),
            bonus: None,
            contribution: None,
            days_between_purchases: 0,
            denominations: Vec::new(),
            hold_hours: 0,
            void_window_minutes: 20_000,
            void_grace_days: 7,
            show_balance: false,
        }
    })
}
