//! What holds under any valid rules, without a database: what is promised, and what is decided at the till.

use std::collections::BTreeMap;

use primeur::allowance::{PartKey, Purse, PursePart};
use primeur::kit::error::{Code, Error};
use primeur::kit::id::{AgreementId, AllowanceId, PartId};
use primeur::kit::money::Cents;
use primeur::kit::time::{Day, Instant, Zone};
use primeur::producer::{ApplicationState, Approval};
use primeur::programme::{Category, FundingRule, Label, ProducerClass, Rules, periods, purse};
use primeur::redemption::{Basket, BasketLine, Decision, History, Situation, decide};
use primeur::{enrolment, voucher};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::oracle::{Goods, Question, most_bonus, promised, worth};
use crate::support::rulesets::any_rules;

fn paris() -> Zone {
    "Europe/Paris".parse().unwrap()
}

fn now() -> Instant {
    "2026-07-04T08:00:00Z".parse().unwrap()
}

/// What is left in a purse, and what was spent: nothing, little, or more than most rules give.
fn cents() -> impl Strategy<Value = i64> {
    prop_oneof![1 => Just(0_i64), 3 => 0..3_000_i64, 2 => 0..2_000_000_i64]
}

fn goods() -> impl Strategy<Value = Vec<Goods>> {
    let labels = prop::sample::subsequence(Label::ALL.to_vec(), 0..=3);
    let line = (select(Category::ALL), labels, prop_oneof![1..3_000_i64, 1..1_000_000_i64]);
    let line = line.prop_map(|(category, labels, amount)| Goods { category, labels, amount });
    prop_oneof![1 => Just(Vec::new()), 4 => prop::collection::vec(line, 1..7)]
}

/// A till, a purse and a past, as random as the rules are.
#[derive(Clone, Debug)]
struct Moment {
    goods: Vec<Goods>,
    /// Where nobody says what is in it.
    untold: i64,
    left: Vec<i64>,
    today: i64,
    this_period: i64,
    bonus_left: i64,
    /// So many days, or so many more than the rules ask for.
    days_since: Option<(bool, i32)>,
    band: Index,
    tariff: Option<Index>,
    class: ProducerClass,
    partial: bool,
}

fn moments() -> impl Strategy<Value = Moment> {
    let money = (goods(), 1..10_000_i64, prop::collection::vec(cents(), 24), cents(), cents(), cents());
    let people = (
        prop::option::weighted(0.4, prop_oneof![(Just(false), 0..40_i32), (Just(true), -1..=1_i32)]),
        any::<Index>(),
        prop::option::weighted(0.2, any::<Index>()),
    );
    (money, people, select(ProducerClass::ALL), any::<bool>()).prop_map(|(money, people, class, partial)| {
        let (goods, untold, left, today, this_period, bonus_left) = money;
        let (days_since, band, tariff) = people;
        Moment { goods, untold, left, today, this_period, bonus_left, days_since, band, tariff, class, partial }
    })
}

impl Moment {
    fn basket(&self, tariff: Option<&str>) -> Basket {
        let line = |goods: &Goods| BasketLine {
            category: goods.category,
            labels: goods.labels.clone(),
            amount: Cents(goods.amount),
        };
        let told: i64 = self.goods.iter().map(|goods| goods.amount).sum();
        Basket {
            total: Cents(if self.goods.is_empty() { self.untold } else { told }),
            lines: self.goods.iter().map(line).collect(),
            tariff: tariff.map(str::to_owned),
            partial: self.partial,
            another_purchase: false,
        }
    }

    /// How many days ago the last purchase was.
    fn last(&self, rules: &Rules) -> Option<i32> {
        self.days_since.map(|(beyond, days)| if beyond { (rules.days_between_purchases + days).max(0) } else { days })
    }

    /// Two periods of every purse that the rules may have, each in parts of two agreements.
    fn purse(&self, rules: &Rules) -> Purse {
        let beside = [purse::MAIN, purse::BONUS, purse::OWN].map(str::to_owned);
        let names = rules.sub_purses.iter().map(|sub| sub.code.clone()).chain(beside);
        let mut left = self.left.iter().copied();
        let mut parts = Vec::new();
        for (place, name) in (1..).zip(names) {
            for period in [1, 2] {
                let allowance = AllowanceId::new(now());
                for position in [1, 2] {
                    let (part, agreement) = (PartId::new(now()), AgreementId::new(now()));
                    let left = Cents(left.next().unwrap());
                    let spendable_until = now().plus_minutes(i64::from(60 * place * period));
                    let key = PartKey { part, allowance, agreement };
                    parts.push(PursePart { key, period, purse: name.clone(), position, left, spendable_until });
                }
            }
        }
        Purse { parts, started: true, over: false }
    }

    fn situation(&self, rules: &Rules, funding_rule: FundingRule, band: Option<&str>) -> Situation {
        let last_on = self.last(rules).map(|days| paris().day_of(now()).plus_days(-days));
        Situation {
            zone: paris(),
            funding_rule,
            stall_open: true,
            approval: Some(Approval { state: ApplicationState::Approved, class: self.class }),
            voucher: voucher::State::Active,
            enrolment: enrolment::State::Active,
            band: band.map(str::to_owned),
            purse: self.purse(rules),
            history: History {
                today: Cents(self.today),
                this_period: Cents(self.this_period),
                last_on,
                bonus_left: Cents(self.bonus_left),
            },
            second_tap: false,
        }
    }
}

/// The codes of the rules' tariffs, and one that they do not have.
fn tariffs(rules: &Rules) -> Vec<String> {
    let told = rules.bands.iter().flat_map(|bands| bands.tariffs.iter().map(|tariff| tariff.code.clone()));
    told.chain(["of_another_scheme".to_owned()]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), ..ProptestConfig::default() })]

    /// Period by period and purse by purse: what the rules say the household is worth, its bonus at its most, and no window
    /// that is empty or outlasts its year.
    #[test]
    fn any_rules_promise_what_they_say_and_no_cent_beside(
        (rules, funding_rule) in any_rules(), adults in 1..8_i32, children in 0..10_i32, starts in 0..800_i32,
    ) {
        let programme: Day = "2026-01-01".parse().unwrap();
        let start = programme.plus_days(starts);
        let grants = rules.grants(&paris(), programme, start, adults, children);
        let told: serde_json::Value = serde_json::to_value(&rules).unwrap();
        let read: Rules = serde_json::from_value(told).unwrap();
        prop_assert_eq!(&read, &rules);
        prop_assert_eq!(&read.grants(&paris(), programme, start, adults, children), &grants);

        let mut sums: BTreeMap<(i32, bool), i64> = BTreeMap::new();
        for grant in &grants {
            prop_assert!(grant.amount.is_positive());
            let period = &grant.period;
            prop_assert!(period.starts_on <= period.ends_on && period.opens_at < period.closes_at, "{:?}", period);
            let year_end = paris().end_of(period.starts_on.last_of_year());
            prop_assert!(!rules.ends_with_year || period.closes_at <= year_end);
            prop_assert_eq!(grant.waits, rules.contribution.is_some_and(|c| c.required) && grant.purse != purse::BONUS);
            *sums.entry((period.number, grant.purse == purse::BONUS)).or_default() += grant.amount.0;
        }
        for period in 1..=rules.period.count {
            let worth = worth(&rules, period, adults, children);
            let sum = |bonus: bool| sums.get(&(period, bonus)).copied().unwrap_or_default();
            prop_assert_eq!((sum(false), sum(true)), (worth, most_bonus(&rules, worth)));
        }
        let all: Cents = grants.iter().map(|grant| grant.amount).sum();
        prop_assert_eq!(all.0, promised(&rules, adults, children));
        // no household is given a day twice, whatever its periods are
        let all = periods(&rules, &paris(), programme, start);
        prop_assert!(all.windows(2).all(|two| two[0].ends_on.plus_days(1) == two[1].starts_on));
        prop_assert!(all.len() == usize::try_from(rules.period.count).unwrap() && all[0].starts_on <= start);
        prop_assert!(all[0].ends_on >= start, "{} {:?} {:?}", start, all[0], funding_rule);
    }

    /// Whatever is bought under whatever rules out of whatever is left: decided as the rules tell it, the same each time, and
    /// every cent has its source.
    #[test]
    fn any_basket_under_any_rules_is_decided_as_the_rules_tell_it(
        (rules, funding_rule) in any_rules(), moment in moments(),
    ) {
        let codes = tariffs(&rules);
        let band = rules.bands.as_ref().map(|_| moment.band.get(&codes).as_str());
        let tariff = moment.tariff.as_ref().map(|tariff| tariff.get(&codes).as_str());
        let (basket, situation) = (moment.basket(tariff), moment.situation(&rules, funding_rule, band));
        let decided = decide(&rules, &situation, &basket, now());
        prop_assert_eq!(&decided, &decide(&rules.clone(), &situation.clone(), &basket.clone(), now()));

        if rules.eligible.producer_classes.as_ref().is_some_and(|classes| !classes.contains(&moment.class)) {
            prop_assert_eq!(decided, Err(Error::Refused(Code::ProducerNotEligible)));
            return Ok(());
        }
        if moment.last(&rules).is_some_and(|days| days < rules.days_between_purchases) {
            prop_assert_eq!(decided, Err(Error::Refused(Code::TooSoon)));
            return Ok(());
        }
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        for part in &situation.purse.parts {
            *held.entry(part.purse.clone()).or_default() += part.left.0;
        }
        let left = |cap: Option<Cents>, used: i64| cap.map_or(i64::MAX, |cap| (cap.0 - used).max(0));
        let question = Question {
            rules: &rules,
            band,
            tariff,
            total: basket.total.0,
            goods: &moment.goods,
            partial: moment.partial,
            held,
            cap_left: left(rules.coverage.per_day, moment.today).min(left(rules.coverage.per_period, moment.this_period)),
            bonus_left: moment.bonus_left,
        };
        match (decided, question.told()) {
            (Ok(Decision { covered, surplus, draws, bonus }), Ok(told)) => {
                prop_assert_eq!((covered.0, surplus.0, bonus.0), (told.covered, told.surplus, told.bonus));
                prop_assert!(Cents::ZERO <= covered && covered <= basket.total);
                prop_assert!(bonus.0 <= moment.bonus_left && (surplus == Cents::ZERO || covered == Cents::ZERO));
                prop_assert_eq!(draws.iter().map(|draw| draw.amount).sum::<Cents>(), covered);
                let of_purse = |name: &str| -> i64 {
                    let parts = situation.purse.parts.iter().filter(|part| part.purse == name);
                    parts.flat_map(|part| draws.iter().filter(|draw| draw.key == part.key)).map(|d| d.amount.0).sum()
                };
                for draw in &draws {
                    let part = situation.purse.parts.iter().find(|part| part.key == draw.key).unwrap();
                    prop_assert!(draw.amount.is_positive() && draw.amount <= part.left);
                    prop_assert_eq!(draws.iter().filter(|other| other.key == draw.key).count(), 1);
                }
                for sub in &rules.sub_purses {
                    let food = moment.goods.iter().filter(|goods| sub.categories.contains(&goods.category));
                    prop_assert!(of_purse(&sub.code) <= food.map(|goods| goods.amount).sum());
                }
            }
            (Err(refused), Err(codes)) => {
                let code = match refused {
                    Error::Refused(code) => code.as_str(),
                    Error::Insufficient { spendable } => {
                        prop_assert_eq!(spendable.is_some(), rules.show_balance);
                        "insufficient_balance"
                    }
                    Error::Invalid(_) => "invalid_request",
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert!(codes.contains(&code), "{} is not among {:?}", code, codes);
            }
            (decided, told) => prop_assert!(false, "decided {:?}, and the rules tell {:?}", decided, told),
        }
    }
}
