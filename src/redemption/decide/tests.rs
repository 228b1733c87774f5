use proptest::prelude::*;

use super::*;
use crate::allowance::PartKey;
use crate::kit::id::{AgreementId, AllowanceId, PartId};
use crate::producer::Approval;
use crate::programme::{ProducerClass, purse};

fn now() -> Instant {
    "2026-07-04T08:00:00Z".parse().unwrap()
}

/// A plain cheque, changed in some fields.
fn rules(changes: &str) -> Rules {
    crate::programme::rules_for_tests(changes)
}

fn part(purse: &str, left: i64) -> PursePart {
    let key =
        PartKey { part: PartId::new(now()), allowance: AllowanceId::new(now()), agreement: AgreementId::new(now()) };
    let spendable_until = now().plus_seconds(1);
    PursePart { key, period: 1, purse: purse.to_owned(), position: 1, left: Cents(left), spendable_until }
}

fn holding(parts: Vec<PursePart>) -> Situation {
    let state = ApplicationState::Approved;
    Situation {
        zone: "Europe/Paris".parse().unwrap(),
        funding_rule: FundingRule::FixedShares,
        stall_open: true,
        approval: Some(Approval { state, class: ProducerClass::Farm }),
        voucher: voucher::State::Active,
        enrolment: enrolment::State::Active,
        band: None,
        purse: Purse { parts, started: true, over: false },
        history: History { bonus_left: Cents(2500), ..History::default() },
        second_tap: false,
    }
}

fn situation(left: i64) -> Situation {
    holding(vec![part(purse::MAIN, left)])
}

fn basket(total: i64, partial: bool) -> Basket {
    Basket { total: Cents(total), lines: Vec::new(), tariff: None, partial, another_purchase: false }
}

fn of(lines: &[(Category, i64)]) -> Basket {
    let line = |&(category, amount)| BasketLine { category, labels: Vec::new(), amount: Cents(amount) };
    let total = lines.iter().map(|line| line.1).sum();
    Basket { lines: lines.iter().map(line).collect(), ..basket(total, false) }
}

/// What is covered and what is paid above the price.
fn decided(rules: &Rules, situation: &Situation, basket: &Basket) -> Result<(i64, i64)> {
    decide(rules, situation, basket, now()).map(|decision| (decision.covered.0, decision.surplus.0))
}

const SHORT: Result<(i64, i64)> = Err(Error::Insufficient { spendable: None });

#[test]
fn a_basket_is_covered_whole_or_as_far_as_the_purse_goes_where_a_part_will_do() {
    let plain = rules("{}");
    assert_eq!(decided(&plain, &situation(6000), &basket(6000, false)), Ok((6000, 0)));
    assert_eq!(decided(&plain, &situation(6000), &basket(6001, true)), Ok((6000, 0)));
    assert_eq!(decided(&plain, &situation(6000), &basket(6001, false)), SHORT);
    assert_eq!(decided(&plain, &situation(0), &basket(1, true)), SHORT);
    let shown = decided(&rules(r#"{"show_balance": true}"#), &situation(5), &basket(6, false));
    assert_eq!(shown, Err(Error::Insufficient { spendable: Some(Cents(5)) }));
}

#[test]
fn a_share_is_taken_half_up_and_the_own_part_it_leaves_needs_no_leave() {
    let half = rules(r#"{"coverage": {"percent": 50}}"#);
    assert_eq!(decided(&half, &situation(6000), &basket(1001, false)), Ok((501, 0)));
    assert_eq!(decided(&half, &situation(500), &basket(1001, false)), SHORT);
    assert_eq!(decided(&half, &situation(500), &basket(1001, true)), Ok((500, 0)));
}

#[test]
fn the_flat_own_part_comes_off_first_and_a_small_basket_is_the_household_s_own() {
    let basket_of_seven = rules(r#"{"coverage": {"own_part": "7.00"}}"#);
    assert_eq!(decided(&basket_of_seven, &situation(6000), &basket(2300, false)), Ok((1600, 0)));
    assert_eq!(decided(&basket_of_seven, &situation(6000), &basket(700, false)), Ok((0, 0)));
    let and_half = rules(r#"{"coverage": {"own_part": "7.00", "percent": 50}}"#);
    assert_eq!(decided(&and_half, &situation(6000), &basket(2301, false)), Ok((801, 0)));
}

#[test]
fn caps_bound_a_purchase_a_day_and_a_period() {
    let capped = rules(r#"{"coverage": {"per_redemption": "20.00", "per_day": "30.00", "per_period": "50.00"}}"#);
    assert_eq!(decided(&capped, &situation(6000), &basket(2500, false)), Ok((2000, 0)), "foreseen by the rules");
    let later = |today, this_period| {
        let history = History { today: Cents(today), this_period: Cents(this_period), ..History::default() };
        Situation { history, ..situation(6000) }
    };
    assert_eq!(decided(&capped, &later(2000, 2000), &basket(2000, true)), Ok((1000, 0)));
    assert_eq!(decided(&capped, &later(2000, 2000), &basket(2000, false)), SHORT);
    assert_eq!(decided(&capped, &later(0, 4500), &basket(2000, true)), Ok((500, 0)));
    assert_eq!(decided(&capped, &later(3000, 3000), &basket(1, true)), SHORT);
}

#[test]
fn a_tariff_takes_the_place_of_the_share_and_above_the_price_it_fills_the_pot() {
    let three = |chosen_by: &str| {
        rules(&format!(
            r#"{{"bands": {{"chosen_by": "{chosen_by}", "default": "just", "tariffs": [
                {{"code": "low", "price_percent": 65}}, {{"code": "just", "price_percent": 100}},
                {{"code": "high", "price_percent": 125}}]}}}}"#
        ))
    };
    let of_band = |band: &str| Situation { band: Some(band.to_owned()), ..situation(6000) };
    let assigned = three("social_worker");
    assert_eq!(decided(&assigned, &of_band("low"), &basket(999, false)), Ok((350, 0)), "35 % of 9.99 is 3.4965");
    assert_eq!(decided(&assigned, &situation(0), &basket(999, false)), Ok((0, 0)), "the just price needs no purse");
    assert_eq!(decided(&assigned, &of_band("high"), &basket(999, false)), Ok((0, 250)), "25 % of 9.99 is 2.4975");
    let choosing = Basket { tariff: Some("low".to_owned()), ..basket(999, false) };
    assert_eq!(decided(&three("household"), &of_band("high"), &choosing), Ok((350, 0)));
    let refused = Err(Error::invalid("tariff", Complaint::NoSuchTariff));
    assert_eq!(decided(&assigned, &of_band("high"), &choosing), refused);
}

#[test]
fn only_eligible_food_is_covered_and_the_rest_is_the_household_s_own() {
    let greens = rules(r#"{"eligible": {"categories": ["fruit_vegetables", "pulses"]}}"#);
    let mixed = of(&[(Category::FruitVegetables, 800), (Category::Meat, 1200)]);
    assert_eq!(decided(&greens, &situation(6000), &mixed), Ok((800, 0)));
    let refused = |code| Err(Error::Refused(code));
    assert_eq!(decided(&greens, &situation(6000), &of(&[(Category::Meat, 5)])), refused(Code::CategoryNotEligible));
    assert_eq!(decided(&greens, &situation(6000), &basket(800, false)), refused(Code::LinesRequired));
}

#[test]
fn a_sub_purse_pays_for_its_own_food_first_and_for_nothing_else() {
    let fresh = rules(r#"{"sub_purses": [{"code": "fresh", "percent": 25, "categories": ["fruit_vegetables"]}]}"#);
    let purse = holding(vec![part("fresh", 600), part(purse::MAIN, 1800)]);
    let drawn = |basket: &Basket| {
        let draws = decide(&fresh, &purse, basket, now()).map(|d| d.draws)?;
        let name = |draw: &Draw| purse.purse.parts.iter().find(|part| part.key == draw.key).unwrap().purse.clone();
        Ok::<_, Error>(draws.iter().map(|draw| (name(draw), draw.amount.0)).collect::<Vec<_>>())
    };
    let pair = |name: &str, amount| (name.to_owned(), amount);
    let mixed = of(&[(Category::FruitVegetables, 400), (Category::Eggs, 300)]);
    assert_eq!(drawn(&mixed), Ok(vec![pair("fresh", 400), pair("main", 300)]));
    let much = of(&[(Category::FruitVegetables, 900)]);
    assert_eq!(drawn(&much), Ok(vec![pair("fresh", 600), pair("main", 300)]));
    assert_eq!(drawn(&basket(1801, false)), Err(Error::Refused(Code::LinesRequired)), "nobody says what it is");
}

#[test]
fn who_has_just_bought_waits_the_days_that_the_rules_say() {
    let fortnightly = rules(r#"{"days_between_purchases": 14}"#);
    let last = |day: &str| {
        let history = History { last_on: Some(day.parse().unwrap()), ..History::default() };
        decided(&fortnightly, &Situation { history, ..situation(6000) }, &basket(100, false))
    };
    assert_eq!(last("2026-06-20"), Ok((100, 0)), "the fourteenth day");
    assert_eq!(last("2026-06-21"), Err(Error::Refused(Code::TooSoon)));
    assert_eq!(last("2026-07-04"), Err(Error::Refused(Code::TooSoon)));
}

#[test]
fn a_bonus_is_a_share_of_what_was_paid_for_such_goods_as_far_as_it_goes() {
    let sustainable = rules(
        r#"{"bonus": {"percent": 50, "categories": ["fruit_vegetables"], "labels": ["organic"], "cap_percent": 50,
            "spendable_days": 31}}"#,
    );
    let earned = |basket: &Basket| decide(&sustainable, &situation(3000), basket, now()).map(|d| d.bonus.0);
    let line =
        |category, labels: &[Label], amount| BasketLine { category, labels: labels.to_vec(), amount: Cents(amount) };
    let organic = line(Category::Eggs, &[Label::Organic], 301);
    let plain = of(&[(Category::FruitVegetables, 1000), (Category::Meat, 500)]);
    let lines = [plain.lines.clone(), vec![organic]].concat();
    assert_eq!(earned(&plain), Ok(500));
    assert_eq!(earned(&Basket { lines, total: Cents(1801), ..plain.clone() }), Ok(651), "half of 13.01");
    assert_eq!(earned(&basket(1500, false)), Ok(0), "nobody says what it is");
    let most = Basket { partial: true, ..of(&[(Category::FruitVegetables, 9000)]) };
    assert_eq!(earned(&most), Ok(1500), "half of the 30.00 that were paid");
    let mixed = Basket { partial: true, ..of(&[(Category::FruitVegetables, 4000), (Category::Meat, 2000)]) };
    assert_eq!(earned(&mixed), Ok(1000), "30.00 of 60.00 were paid, so 20.00 of the vegetables");
    // goods that the programme does not pay for earn nothing
    let only_vegetables = r#"{"eligible": {"categories": ["fruit_vegetables"]}, "bonus": {"percent": 50, "labels": ["organic"],
        "categories": [], "cap_percent": 50, "spendable_days": 31}}"#;
    let plain_and_organic = [line(Category::FruitVegetables, &[], 1000), line(Category::Eggs, &[Label::Organic], 1000)];
    let basket = Basket { lines: plain_and_organic.to_vec(), ..basket(2000, false) };
    let told = decide(&rules(only_vegetables), &situation(3000), &basket, now()).map(|d| (d.covered.0, d.bonus.0));
    assert_eq!(told, Ok((1000, 0)));
    let little = Situation { history: History { bonus_left: Cents(7), ..History::default() }, ..situation(3000) };
    assert_eq!(decide(&sustainable, &little, &plain, now()).map(|d| d.bonus), Ok(Cents(7)));
}

#[test]
fn a_producer_who_is_not_approved_learns_nothing_of_the_card() {
    for state in [None, Some(ApplicationState::Applied), Some(ApplicationState::Refused)] {
        let approval = state.map(|state| Approval { state, class: ProducerClass::Farm });
        let s = Situation { approval, voucher: voucher::State::Blocked, ..situation(0) };
        assert_eq!(decided(&rules("{}"), &s, &basket(1, true)), Err(Error::Refused(Code::ProducerNotApproved)));
    }
    let grocers = rules(r#"{"eligible": {"producer_classes": ["solidarity_grocery"]}}"#);
    let s = Situation { voucher: voucher::State::Blocked, ..situation(0) };
    assert_eq!(decided(&grocers, &s, &basket(1, true)), Err(Error::Refused(Code::ProducerNotEligible)));
}

#[test]
fn a_second_tap_is_caught_unless_the_seller_says_it_is_another_purchase() {
    let plain = rules("{}");
    let drained = Situation { second_tap: true, ..situation(0) };
    assert_eq!(decided(&plain, &drained, &basket(1, true)), Err(Error::Refused(Code::AlreadyRedeemedByYou)));
    let s = Situation { second_tap: true, ..situation(100) };
    assert_eq!(decided(&plain, &s, &basket(1, false)), Err(Error::Refused(Code::AlreadyRedeemedByYou)));
    let another = Basket { another_purchase: true, ..basket(1, false) };
    assert_eq!(decided(&plain, &s, &another), Ok((1, 0)));
}

proptest! {
    /// Whatever the rules and the purse: nothing above the basket, the caps or any purse, and every cent has its source.
    #[test]
    fn covered_and_own_part_are_the_basket_and_no_bound_is_passed(
        percent in 1..=100_i32, own_part in 0..2_000_i64, caps in prop::array::uniform3(prop::option::of(1..9_000_i64)),
        used in prop::array::uniform2(0..9_000_i64), left in prop::array::uniform3(0..9_000_i64),
        lines in prop::collection::vec((prop::sample::select(Category::ALL), 1..9_000_i64), 1..6), partial in any::<bool>(),
    ) {
        let cap = |n: usize| caps[n].map_or("null".to_owned(), |cap| format!("\"{}\"", Cents(cap)));
        let rules = rules(&format!(
            r#"{{"coverage": {{"percent": {percent}, "own_part": "{}", "per_redemption": {}, "per_day": {}, "per_period": {}}},
                "sub_purses": [{{"code": "fresh", "percent": 20, "categories": ["fruit_vegetables"]}},
                               {{"code": "beans", "percent": 20, "categories": ["pulses", "cereals_bread"]}}],
                "bonus": {{"percent": 50, "categories": ["pulses"], "cap_percent": 50, "spendable_days": 31}}}}"#,
            Cents(own_part), cap(0), cap(1), cap(2),
        ));
        let purse = holding(vec![part("fresh", left[0]), part("beans", left[1]), part(purse::MAIN, left[2])]);
        let history = History { today: Cents(used[0]), this_period: Cents(used[1]), ..purse.history };
        let situation = Situation { history, ..purse };
        let basket = Basket { partial, ..of(&lines) };
        let within = |cap: Option<i64>, used: i64| cap.map_or(i64::MAX, |cap| (cap - used).max(0));
        let foreseen = (basket.total - Cents(own_part)).max(Cents::ZERO).percent(percent).0.min(within(caps[0], 0));
        let bound = foreseen.min(within(caps[1], used[0])).min(within(caps[2], used[1]));
        match decide(&rules, &situation, &basket, now()) {
            Ok(Decision { covered, surplus, draws, bonus }) => {
                prop_assert!(covered.0 <= bound && (partial || covered.0 == foreseen));
                prop_assert_eq!(surplus, Cents::ZERO);
                prop_assert_eq!(draws.iter().map(|draw| draw.amount).sum::<Cents>(), covered);
                for part in &situation.purse.parts {
                    let drawn: Cents = draws.iter().filter(|draw| draw.key == part.key).map(|draw| draw.amount).sum();
                    prop_assert!(drawn <= part.left);
                    if let Some(sub) = rules.sub_purses.iter().find(|sub| sub.code == part.purse) {
                        prop_assert!(drawn <= basket.of(&sub.categories));
                    }
                }
                prop_assert!(bonus <= situation.history.bonus_left && bonus <= covered.percent(50));
            }
            Err(Error::Insufficient { .. }) => {
                let own = |n: usize, codes: &[Category]| left[n].min(basket.of(codes).0);
                let reach = own(0, &rules.sub_purses[0].categories) + own(1, &rules.sub_purses[1].categories) + left[2];
                let possible = bound.min(reach);
                prop_assert!(possible == 0 || (!partial && possible < foreseen));
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
