use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, FieldError};

/// A cheque for one month, two funders in shares of two and one, changed in some fields.
fn request(changes: Value) -> Request {
    let agreement = |reference: &str, granted: &str, weight: i32| {
        json!({"reference": reference, "granted": granted, "starts_on": "2026-07-01", "ends_on": "2026-12-31",
            "grace_days": 31, "share_weight": weight})
    };
    let mut whole = json!({
        "rules": rules(json!({})), "funding_rule": "fixed_shares", "starts_on": "2026-07-01", "ends_on": "2026-12-31",
        "agreements": [agreement("A", "1000.00", 2), agreement("B", "1000.00", 1)],
        "population": [{"adults": 1, "children": 0, "count": 1}],
        "take_up": {"low": 0, "expected": 80, "high": 100},
    });
    whole.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn rules(changes: Value) -> Value {
    let mut rules = json!({
        "amount": {"per_household": "10.00", "per_adult": "25.01", "per_child": "10.00"},
        "period": {"unit": "month", "length": 1, "count": 1}, "start": "calendar_month", "carry_over": "none",
        "expiry_days": 0, "void_window_minutes": 60, "void_grace_days": 7, "show_balance": false,
    });
    rules.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    rules
}

fn outcome(changes: Value) -> Outcome {
    simulate(&request(changes).scheme().unwrap()).unwrap()
}

fn estimate(low: i64, expected: i64, high: i64) -> Estimate {
    Estimate { low: Cents(low), expected: Cents(expected), high: Cents(high) }
}

#[test]
fn a_month_of_two_households_costs_each_agreement_its_share_to_the_cent() {
    // 10.00 + 25.01 = 35.01, and 10.00 + 2 × 25.01 + 10.00 = 70.02: 105.03, of which A has two thirds.
    // 80 % of each: 28.01 (of 28.008) and 56.02 (of 56.016), 84.03 together: A 56.02, B 28.01
    let population = json!([{"adults": 1, "children": 0, "count": 1}, {"adults": 2, "children": 1, "count": 1}]);
    let outcome = outcome(json!({"population": population}));
    let households = Households { asked: 2, funded: 2, ..Households::default() };
    assert_eq!((outcome.households, outcome.promised), (households, Cents(10_503)));
    assert_eq!(outcome.cost, estimate(0, 8403, 10_503));
    let july: Month = "2026-07".parse().unwrap();
    assert_eq!(outcome.months, [MonthCost { month: july, issued: Cents(10_503), cost: outcome.cost }]);
    let told: Vec<_> =
        outcome.agreements.iter().map(|a| (a.reference.as_str(), a.available, a.promised, a.cost)).collect();
    let (a, b) = (estimate(0, 5602, 7002), estimate(0, 2801, 3501));
    assert_eq!(told, [("A", Cents(100_000), Cents(7002), a), ("B", Cents(100_000), Cents(3501), b)]);
    assert_eq!(outcome.agreements[1].months, [AgreementMonth { month: july, cost: b }]);
}

#[test]
fn alike_households_cost_so_many_times_as_much_as_one() {
    let of = |count: i64| outcome(json!({"population": [{"adults": 1, "children": 0, "count": count}]}));
    let (one, many) = (of(1), of(28));
    assert_eq!((one.promised, many.promised), (Cents(3501), Cents(98_028)));
    assert_eq!(many.cost, estimate(0, 28 * 2801, 98_028));
    let sum = |outcome: &Outcome| -> Cents { outcome.agreements.iter().map(|a| a.cost.expected).sum() };
    assert_eq!(sum(&many), many.cost.expected);
}

#[test]
fn the_agreements_carry_so_many_and_not_one_more() {
    // A gives 23.34 of 35.01, so 1000.00 is enough for 42 (980.28), not for 43 (1003.62)
    let population = json!([{"adults": 1, "children": 0, "count": 43}]);
    let outcome = outcome(json!({"population": population}));
    assert_eq!(outcome.examples[0].carried, 42);
    assert_eq!((outcome.households.funded, outcome.households.not_enough), (42, 1));
    assert_eq!(outcome.promised, Cents(42 * 3501));
    // by priority B takes over where A ends: 2000.00 is enough for 57 (1995.57)
    let all = json!({"population": population, "funding_rule": "priority"});
    let by_priority = self::outcome(all);
    assert_eq!((by_priority.examples[0].carried, by_priority.households.funded), (57, 43));
    let promised: Vec<_> = by_priority.agreements.iter().map(|a| a.promised).collect();
    assert_eq!(promised, [Cents(100_000), Cents(50_543)], "of 43 × 35.01");
}

#[test]
fn whoever_comes_after_the_first_without_money_waits_and_who_is_out_of_reach_holds_up_nobody() {
    let group =
        |adults: i32, starts_on: &str| json!({"adults": adults, "children": 0, "count": 1, "starts_on": starts_on});
    let small = json!([{"reference": "A", "granted": "100.00", "starts_on": "2026-07-01", "ends_on": "2026-11-30",
        "grace_days": 0, "share_weight": 1}]);
    let population = json!([
        group(1, "2027-01-01"),
        group(1, "2026-12-01"),
        group(2, "2026-07-01"),
        group(3, "2026-07-01"),
        group(1, "2026-07-01")
    ]);
    // 60.02 are promised, 85.03 are too many, and the 35.01 behind are not let past
    let found = outcome(json!({"agreements": small, "population": population})).households;
    assert_eq!(found, Households { asked: 5, funded: 1, not_enough: 2, not_covered: 1, too_late: 1 });
}

#[test]
fn purchases_are_decided_as_at_the_till() {
    let example = |rules: Value| outcome(json!({"rules": rules})).examples[0].clone();
    let basket = |covered: i64| {
        let (total, covered) = (Cents(2000), Cents(covered));
        ExampleBasket { total, covered, own_part: total - covered }
    };
    assert_eq!(example(self::rules(json!({}))).basket, basket(2000));
    assert_eq!(example(self::rules(json!({"coverage": {"percent": 80, "own_part": "5.00"}}))).basket, basket(1200));
    // 40 % of the usual basket is fruit and vegetables
    let greens = json!({"eligible": {"categories": ["fruit_vegetables"]}});
    assert_eq!(example(self::rules(greens)).basket, basket(800));
    let bands = json!({"bands": {"chosen_by": "household", "default": "just", "tariffs": [
        {"code": "low", "price_percent": 65}, {"code": "just", "price_percent": 100}, {"code": "high", "price_percent": 125}]}});
    let told = outcome(json!({"rules": self::rules(bands), "funding_rule": "priority"}));
    let paid: Vec<_> = told.examples[..3].iter().map(|e| (e.band.as_deref().unwrap(), e.basket.own_part.0)).collect();
    assert_eq!(paid, [("low", 1300), ("just", 2000), ("high", 2500)]);
}

#[test]
fn a_tariff_that_nobody_says_widens_what_a_scheme_may_cost() {
    let scheme = |chosen_by: &str, group: Value| {
        let bands = json!({"bands": {"chosen_by": chosen_by, "default": "just", "tariffs": [
            {"code": "low", "price_percent": 65}, {"code": "just", "price_percent": 90}, {"code": "high", "price_percent": 125}]}});
        let mut one = json!({"adults": 1, "children": 0, "count": 1});
        one.as_object_mut().unwrap().extend(group.as_object().unwrap().clone());
        outcome(json!({"rules": self::rules(bands), "funding_rule": "priority", "population": [one], "take_up": {"low": 60, "expected": 80, "high": 100}})).cost
    };
    for chosen_by in ["household", "social_worker"] {
        // of 35.01: nothing where all pay more than the price; all of it; or 80 % of it, 28.01, by two tariffs of three
        assert_eq!(scheme(chosen_by, json!({})), estimate(0, 1867, 3501));
        // who says what it will be is believed: 60 % is 21.01
        assert_eq!(scheme(chosen_by, json!({"band": "low"})), estimate(2101, 2801, 3501));
        assert_eq!(scheme(chosen_by, json!({"band": "high"})), estimate(0, 0, 0));
    }
}

#[test]
fn caps_and_waits_bound_what_a_month_can_cost() {
    let high = |rules: Value| {
        let mut rules = self::rules(rules);
        rules["amount"]["per_household"] = json!("74.99");
        outcome(json!({"rules": rules})).cost.high
    };
    // of 100.00
    assert_eq!(high(json!({})), Cents(10_000));
    assert_eq!(high(json!({"coverage": {"per_period": "30.00"}})), Cents(3000));
    // 1 and 15 and 29 July
    let fortnightly = json!({"days_between_purchases": 14, "coverage": {"per_redemption": "12.50"}});
    assert_eq!(high(fortnightly), Cents(3750));
    // nothing is lost where it may come as often as it likes
    assert_eq!(high(json!({"coverage": {"per_redemption": "12.50"}})), Cents(10_000));
    assert_eq!(high(json!({"coverage": {"per_day": "4.00"}})), Cents(10_000));
    // 31 days of 3.00
    assert_eq!(high(json!({"coverage": {"per_day": "3.00"}})), Cents(9300));
    // a quarter for pulses, of which nobody buys any
    let pulses = json!({"sub_purses": [{"code": "pulses", "percent": 25, "categories": ["pulses"]}]});
    assert_eq!(high(pulses), Cents(7500));
}

#[test]
fn what_would_take_too_long_is_refused_and_the_same_households_in_fewer_groups_are_not() {
    // two years of days, each with as many baskets as anybody buys
    let rules = self::rules(json!({"period": {"unit": "month", "length": 1, "count": 24},
        "coverage": {"per_redemption": "0.01", "per_day": "1.00"}}));
    let agreement = json!({"reference": "A", "granted": "1000000.00", "starts_on": "2026-07-01", "ends_on": "2028-12-31",
        "grace_days": 0, "share_weight": 1});
    let told = |groups: i32| {
        let group = |n: i32| json!({"adults": n + 1, "children": 0, "count": 1});
        let population: Vec<Value> = (0..groups).map(group).collect();
        let scheme = request(json!({"rules": rules, "ends_on": "2028-12-31", "agreements": [agreement],
            "population": population}))
        .scheme()
        .unwrap();
        simulate(&scheme).map(|told| told.households.funded)
    };
    assert_eq!(told(1), Ok(1));
    let problem = told(20).unwrap_err();
    assert_eq!(problem, Error::invalid("population", Complaint::TooManyToLive));
}

#[test]
fn a_bonus_is_spent_once_it_is_earned_and_never_beyond_its_cap() {
    let with = |labels: Value, spendable_days: i32| {
        let rules = self::rules(json!({"bonus":
            {"percent": 50, "labels": ["organic"], "cap_percent": 40, "spendable_days": spendable_days}}));
        let basket = json!({"total": "10.00", "lines": [{"category": "eggs", "labels": labels, "percent": 100}]});
        outcome(json!({"rules": rules, "basket": basket}))
    };
    // 35.01, and 40 % of it: 14.00
    let organic = with(json!(["organic"]), 31);
    assert_eq!((organic.promised, organic.cost.high), (Cents(4901), Cents(4901)));
    assert_eq!(organic.months[0].issued, Cents(3501));
    assert_eq!(with(json!(["local"]), 31).cost.high, Cents(3501));
    let examples: Vec<_> =
        organic.examples[0].periods[0].purses.iter().map(|p| (p.purse.as_str(), p.amount.0)).collect();
    assert_eq!(examples, [("main", 3501), ("bonus", 1400)]);
}

#[test]
fn money_of_an_agreement_that_ends_first_can_only_be_spent_until_then() {
    // of 60.00, half is B's and over with July; A's may be spent until the end of August. A basket of 5.00 a week, on 1, 8,
    // 15, 22 and 29 July, takes 12.50 of each; the 17.50 that A has left go in August, B's are lost.
    // Whoever buys for the days gone begins on 2 July with 1.93 (a day of 31), then has 5.00 four times: 21.93, of which A
    // pays 10.97, and has 19.03 left for August
    let agreement = |reference: &str, ends_on: &str| {
        json!({"reference": reference, "granted": "1000.00", "starts_on": "2026-07-01", "ends_on": ends_on,
            "grace_days": 0, "share_weight": 1})
    };
    let rules =
        self::rules(json!({"expiry_days": 31, "coverage": {"per_redemption": "5.00"}, "days_between_purchases": 7,
        "amount": {"per_household": "60.00", "per_adult": "0.00", "per_child": "0.00"}}));
    let told =
        outcome(json!({"rules": rules, "agreements": [agreement("A", "2026-12-31"), agreement("B", "2026-07-31")]}));
    let high: Vec<_> = told.agreements.iter().map(|a| a.cost.high.0).collect();
    assert_eq!(high, [3000, 1250]);
    let of_a: Vec<_> = told.agreements[0].months.iter().map(|m| m.cost.high.0).collect();
    assert_eq!(of_a, [1250, 1903]);
}

#[test]
fn a_request_that_does_not_hold_together_is_told_field_by_field() {
    let wrong = |changes: Value| match request(changes).scheme() {
        Err(Error::Invalid(mut fields)) => {
            let FieldError { field, complaint } = fields.remove(0);
            (field, complaint)
        }
        other => panic!("{:?}", other.is_ok()),
    };
    let of = |field: &str, complaint: Complaint| (field.to_owned(), complaint);
    let beside = Complaint::NotBeside { other: "rules".to_owned() };
    assert_eq!(wrong(json!({"preset": "caph"})), of("preset", beside));
    assert_eq!(wrong(json!({"rules": null})), of("rules", Complaint::Missing));
    assert_eq!(wrong(json!({"funding_rule": null})), of("funding_rule", Complaint::Missing));
    assert_eq!(wrong(json!({"rules": null, "preset": "nowhere"})).0, "preset");
    assert_eq!(wrong(json!({"rules": self::rules(json!({"expiry_days": 400}))})).0, "rules.expiry_days");
    let group = |count: i64| json!({"adults": 1, "children": 0, "count": count});
    assert_eq!(wrong(json!({"population": [group(10_000), group(1)]})).0, "population");
    assert_eq!(wrong(json!({"population": [group(0)]})).0, "population[0].count");
    assert_eq!(
        wrong(json!({"population": [{"adults": 1, "children": 0, "count": 1, "band": "low"}]})).0,
        "population[0].band"
    );
    assert_eq!(wrong(json!({"take_up": {"low": 90, "expected": 80, "high": 100}})).0, "take_up.low");
    let line = json!({"category": "eggs", "percent": 99});
    let basket = json!({"total": "10.00", "lines": [line]});
    assert_eq!(wrong(json!({"basket": basket})), of("basket.lines", Complaint::NotTheWhole));
}

#[test]
fn every_preset_can_be_foretold_and_costs_no_more_than_it_promises() {
    for preset in crate::programme::presets().unwrap() {
        let changes = json!({"rules": null, "preset": preset.code, "funding_rule": null, "ends_on": "2028-12-31",
            "agreements": [{"reference": "A", "granted": "100000.00", "starts_on": "2026-07-01", "ends_on": "2028-12-31",
                "grace_days": 0, "share_weight": 1}],
            "population": [{"adults": 2, "children": 1, "count": 3}]});
        let told = outcome(changes);
        assert_eq!(told.households.funded, 3, "{}", preset.code);
        assert!(told.cost.low <= told.cost.expected && told.cost.expected <= told.cost.high, "{}", preset.code);
        assert!(
            told.cost.expected.is_positive() && told.cost.high <= told.promised,
            "{}: {:?}",
            preset.code,
            told.cost
        );
    }
}

proptest! {
    /// Counting alike households at once gives what letting them in one by one gives.
    #[test]
    fn many_at_once_are_funded_as_one_by_one(
        granted in prop::collection::vec(1..400_000_i64, 1..4), weights in prop::collection::vec(1..20_i32, 4),
        ends in prop::collection::vec(7..=12_i32, 4), amount in 1..20_000_i64, count in 1..60_i64, shares in any::<bool>(),
    ) {
        let mut agreements: Vec<Value> = granted.iter().enumerate().map(|(n, granted)| json!({
            "reference": format!("A{n}"), "granted": Cents(*granted), "starts_on": "2026-07-01",
            "ends_on": format!("2026-{:02}-{}", ends[n], if [9, 11].contains(&ends[n]) { 30 } else { 31 }),
            "grace_days": 0, "share_weight": weights[n],
        })).collect();
        agreements[0]["ends_on"] = json!("2026-12-31");
        let rules = self::rules(json!({"period": {"unit": "month", "length": 1, "count": 3},
            "amount": {"per_household": Cents(amount), "per_adult": "0.00", "per_child": "0.00"}}));
        let rule = if shares { "fixed_shares" } else { "priority" };
        let group = |count: i64| json!({"adults": 1, "children": 0, "count": count});
        let all = |population: Value| request(json!({"rules": rules, "funding_rule": rule, "agreements": agreements,
            "population": population})).scheme().unwrap();
        let at_once = funding::fund(&all(json!([group(count)])));
        let in_turn = funding::fund(&all(json!(vec![group(1); usize::try_from(count).unwrap()])));
        prop_assert_eq!(at_once.households, in_turn.households);
        for place in 0..agreements.len() {
            let sum = |cohorts: &[funding::Cohort]| cohorts.iter().map(|c| c.promised_by(place)).sum::<Cents>();
            prop_assert_eq!(sum(&at_once.cohorts), sum(&in_turn.cohorts));
        }
    }

    /// No way of spending costs more than what was promised, in all and of any agreement.
    #[test]
    fn no_estimate_is_above_the_promise(
        percent in 1..=100_i32, own_part in 0..900_i64, wait in 0..20_i32, count in 1..40_i64, carry in 0..3_usize,
        take_up in 0..=100_i32, amount in 100..9_000_i64,
    ) {
        let carry_over = ["none", "next", "to_end"][carry];
        let rules = self::rules(json!({"period": {"unit": "fortnight", "length": 1, "count": 4}, "start": "enrolment_day",
            "amount": {"per_household": Cents(amount), "per_adult": "3.33", "per_child": "0.00"},
            "coverage": {"percent": percent, "own_part": Cents(own_part)}, "days_between_purchases": wait,
            "carry_over": carry_over, "expiry_days": 3,
            "sub_purses": [{"code": "fresh", "percent": 30, "categories": ["fruit_vegetables"]}],
            "bonus": {"percent": 50, "labels": ["organic"], "cap_percent": 30, "spendable_days": 20}}));
        let population = json!([{"adults": 1, "children": 0, "count": count}]);
        let take_up = json!({"low": take_up / 2, "expected": take_up, "high": 100});
        let told = outcome(json!({"rules": rules, "population": population, "take_up": take_up}));
        for agreement in &told.agreements {
            prop_assert!(agreement.cost.high <= agreement.promised);
        }
        let months: Cents = told.months.iter().map(|month| month.cost.expected).sum();
        prop_assert_eq!(months, told.cost.expected);
    }
}
