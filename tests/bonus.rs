//! Bonuses: earned by a purchase, granted once it can no longer be undone, never above cap or commitment.

use std::thread;

use primeur::schedule::{self, Done};
use serde_json::{Value, json};

use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, rules};
use crate::support::{Answer, Card, Town, World, cents, euros, on_both_databases};
use crate::verify::{found, later, tamper};

on_both_databases!(
    a_bonus_is_granted_in_the_second_its_purchase_can_no_longer_be_undone,
    a_matured_bonus_can_be_spent_before_any_scheduler_has_looked,
    a_matured_bonus_can_be_handed_over_before_any_scheduler_has_looked,
    a_bonus_stops_at_its_cap_and_an_undone_purchase_makes_room_again,
    what_nobody_has_earned_or_spent_goes_back_when_the_bonus_closes,
    a_bonus_that_no_scheduler_granted_in_time_is_lost_and_goes_back,
    who_leaves_keeps_the_right_to_what_was_earned_and_no_more,
    who_leaves_and_gives_back_gives_the_bonus_back_too,
    by_priority_the_first_agreement_grants_first_and_the_rest_goes_back,
    many_schedulers_at_once_grant_a_bonus_once,
    a_purchase_in_the_second_month_earns_of_the_second_month_s_bonus,
    a_changed_bonus_is_named,
);

/// 60.00 a month for two months, and half as much again of what is organic, at most 30.00 a month, until a month later.
pub fn town(world: World, percent: i32, setup: Setup) -> Town {
    let mut rules = rules("60.00", "none");
    rules["period"]["count"] = json!(2);
    rules["show_balance"] = json!(true);
    rules["bonus"] = json!({"percent": percent, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    Town::with(world, Setup { rules, producers: 1, ..setup })
}

/// Buys so much that is organic, and so much that is not.
pub fn buy(till: &Till, card: &Card, organic: i64, plain: i64) -> Answer {
    let mut basket = till.basket(&card.token, organic + plain, false);
    let line =
        |amount: i64, labels: Value| json!({"category": "other_food", "labels": labels, "amount": euros(amount)});
    let lines = [(organic, json!(["organic"])), (plain, json!([]))];
    basket["lines"] =
        lines.into_iter().filter(|(amount, _)| *amount > 0).map(|(amount, labels)| line(amount, labels)).collect();
    till.client.post_once("/api/v1/redemptions", basket)
}

/// Period, purse, state and balance in cents of each allowance.
fn purses(town: &Town, card: &Card) -> Vec<(i64, String, String, i64)> {
    let enrolment = town.enrolment(&card.enrolment);
    let text = |a: &Value, key: &str| a[key].as_str().unwrap().to_owned();
    let line = |a: &Value| (a["period"].as_i64().unwrap(), text(a, "purse"), text(a, "state"), cents(&a["balance"]));
    let mut lines: Vec<_> = enrolment["allowances"].as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

/// State and balance of the bonus of a period.
fn bonus(town: &Town, card: &Card, period: i64) -> (String, i64) {
    let found = purses(town, card).into_iter().find(|p| p.0 == period && p.1 == "bonus").unwrap();
    (found.2, found.3)
}

fn is(found: (String, i64), state: &str, balance: i64) {
    assert_eq!((found.0.as_str(), found.1), (state, balance));
}

/// Amount and state of every bonus, in the order of the purchases.
fn earned(world: &World) -> Vec<String> {
    let line = "CAST(amount_cents AS TEXT) || ' ' || state AS line";
    Sql::of(world).lines(&format!("SELECT {line} FROM bonuses ORDER BY redemption_id"))
}

fn totals(town: &Town) -> [i64; 5] {
    ["available", "committed", "issued", "redeemed", "returned"].map(|name| cents(&town.budget()["total"][name]))
}

fn a_bonus_is_granted_in_the_second_its_purchase_can_no_longer_be_undone(world: World) {
    let town = town(world, 50, Setup::default());
    let card = town.new_card();
    // 20 000.00 less twice 60.00 and twice the most that the bonus can be, 30.00
    assert_eq!(totals(&town), [1_982_000, 18_000, 0, 0, 0]);
    // half of 20.00; the 10.00 that are not organic earn nothing
    let bought = buy(&town.tills[0], &card, 2000, 1000).expect(201);
    assert_eq!(bought["covered"], "30.00");
    assert_eq!(earned(&town.world), ["1000 earned"]);
    town.world.verify();
    assert_eq!(town.world.advance_to("2026-07-01T08:59:59Z"), Done::default());
    is(bonus(&town, &card, 1), "committed", 0);
    assert_eq!(town.world.advance_to("2026-07-01T09:00:00Z"), Done { granted: 1, ..Done::default() });
    is(bonus(&town, &card, 1), "issued", 1000);
    assert_eq!(town.balance(&card.enrolment), 4000);
    assert_eq!(totals(&town), [1_982_000, 11_000, 7000, 3000, 0]);
    // 60.00 and 10.00, in halves
    assert_eq!((town.figure(0, "issued"), town.figure(1, "issued")), (3500, 3500));
    town.tills[0].void(bought["id"].as_str().unwrap()).refused(409, "void_window_over");
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done::default()));
    // a second one into the same allowance: half of 0.05 is 0.03, half cents up, and the odd cent is the first agreement's
    buy(&town.tills[0], &card, 5, 0).expect(201);
    assert_eq!(town.world.advance_to("2026-07-01T10:00:00Z").granted, 1);
    is(bonus(&town, &card, 1), "issued", 1003);
    assert_eq!((town.figure(0, "issued"), town.figure(1, "issued")), (3502, 3501));
    town.world.verify();
}

fn a_matured_bonus_can_be_spent_before_any_scheduler_has_looked(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    buy(till, &card, 6000, 0).expect(201);
    assert_eq!(till.check(&card.token)["code"], "insufficient_balance");
    town.world.set_clock("2026-07-01T08:59:59Z");
    till.redeem(&card.token, 1).refused(409, "insufficient_balance");
    town.world.set_clock("2026-07-01T09:00:00Z");
    assert_eq!(till.check(&card.token)["spendable"], "30.00");
    till.redeem(&card.token, 3001).refused(409, "insufficient_balance");
    assert_eq!(earned(&town.world), ["3000 earned"], "a refusal grants nothing");
    till.redeem(&card.token, 2999).expect(201);
    assert_eq!(earned(&town.world), ["3000 granted"]);
    is(bonus(&town, &card, 1), "issued", 1);
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done::default()));
    // a month later August's own money is there, and the last cent of July's bonus
    town.world.set_clock("2026-08-31T21:59:59Z");
    till.redeem(&card.token, 6001).expect(201);
    town.world.verify();
}

fn a_matured_bonus_can_be_handed_over_before_any_scheduler_has_looked(world: World) {
    let mut rules = bonus_rules();
    rules["denominations"] = json!(["10.00"]);
    let town = Town::with(world, Setup { rules, producers: 1, ..Setup::default() });
    let card = town.new_card();
    buy(&town.tills[0], &card, 6000, 0).expect(201);
    town.world.set_clock("2026-07-01T09:00:00Z");
    let path = format!("/api/v1/enrolments/{}/denominations", card.enrolment);
    let ask = |values: &[&str]| town.worker.post_once(&path, json!({ "values": values }));
    ask(&["10.00"; 4]).refused(409, "insufficient_balance");
    assert_eq!(earned(&town.world), ["3000 earned"], "a refusal grants nothing");
    ask(&["10.00"; 3]).expect(201);
    assert_eq!(earned(&town.world), ["3000 granted"]);
    assert_eq!(town.balance(&card.enrolment), 0);
    town.world.verify();
}

fn a_bonus_stops_at_its_cap_and_an_undone_purchase_makes_room_again(world: World) {
    let town = town(world, 100, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    // as much again, at most 30.00: 25.00 and 5.00 of 20.00
    buy(till, &card, 2500, 0).expect(201);
    let second = buy(till, &card, 2000, 0).expect(201);
    buy(till, &card, 500, 0).expect(201);
    assert_eq!(earned(&town.world), ["2500 earned", "500 earned"]);
    till.void(second["id"].as_str().unwrap()).expect(200);
    // 5.00 are free again
    buy(till, &card, 300, 0).expect(201);
    buy(till, &card, 300, 0).expect(201);
    buy(till, &card, 300, 0).expect(201);
    assert_eq!(earned(&town.world), ["2500 earned", "500 lost", "300 earned", "200 earned"]);
    assert_eq!(town.world.advance_to("2026-07-01T09:00:00Z").granted, 3);
    is(bonus(&town, &card, 1), "issued", 3000);
    // nothing is left to earn
    town.world.set_clock("2026-07-20T09:00:00Z");
    buy(till, &card, 5000, 0).expect(201);
    assert_eq!(earned(&town.world).len(), 4);
    town.world.verify();
}

fn what_nobody_has_earned_or_spent_goes_back_when_the_bonus_closes(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, idle) = (town.new_card(), town.new_card());
    buy(&town.tills[0], &card, 2000, 0).expect(201);
    town.world.advance_to("2026-07-01T09:00:00Z");
    let before = totals(&town);
    assert_eq!(before, [1_964_000, 23_000, 13_000, 2000, 0]);
    town.world.advance_to("2026-08-31T21:59:59Z");
    is(bonus(&town, &card, 1), "issued", 1000);
    is(bonus(&town, &idle, 1), "committed", 0);
    town.world.advance_to("2026-08-31T22:00:00Z");
    // the second month's bonus lives on until 1 October, 31 days after August
    is(bonus(&town, &card, 1), "issued", 0);
    is(bonus(&town, &idle, 1), "released", 0);
    is(bonus(&town, &card, 2), "committed", 0);
    assert_eq!(town.enrolment(&card.enrolment)["state"], "active");
    // returned: 40.00 and 60.00 of July, 60.00 twice of August, 10.00 of the bonus; released: 20.00 and 30.00
    assert_eq!(totals(&town), [1_964_000 + 23_000 + 5000, 6000, 25_000, 2000, 23_000]);
    town.tills[0].redeem(&card.token, 1).refused(409, "voucher_expired");
    town.world.advance_to("2026-10-01T22:00:00Z");
    assert_eq!(town.enrolment(&card.enrolment)["state"], "ended");
    assert_eq!(totals(&town), [2_000_000 - 2000, 0, 25_000, 2000, 23_000]);
    town.world.verify();
}

fn a_bonus_that_no_scheduler_granted_in_time_is_lost_and_goes_back(world: World) {
    let town = town(world, 50, Setup::default());
    let card = town.new_card();
    buy(&town.tills[0], &card, 2000, 0).expect(201);
    let done = town.world.advance_to("2026-10-15T08:00:00Z");
    assert_eq!((done.granted, done.ended), (0, 1));
    assert_eq!(earned(&town.world), ["1000 lost"]);
    assert_eq!(totals(&town), [1_998_000, 0, 6000, 2000, 4000]);
    town.world.verify();
}

fn who_leaves_keeps_the_right_to_what_was_earned_and_no_more(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let leave = |card: &Card, return_issued: bool| {
        let path = format!("/api/v1/enrolments/{}/leave", card.enrolment);
        town.worker.post(&path, json!({"return_issued": return_issued})).expect(200);
    };
    buy(till, &card, 2000, 0).expect(201);
    leave(&card, false);
    // of 180.00, 60.00 are issued and 10.00 are earned
    assert_eq!(totals(&town), [1_993_000, 1000, 6000, 2000, 0]);
    town.world.verify();
    // what it buys now earns nothing: that is given up
    let later = buy(till, &card, 1000, 0).expect(201);
    assert_eq!(earned(&town.world), ["1000 earned"]);
    till.void(later["id"].as_str().unwrap()).expect(200);
    assert_eq!(town.world.advance_to("2026-07-01T09:00:00Z").granted, 1);
    till.redeem(&card.token, 5000).expect(201);
    town.world.verify();

    // where the purchase is undone after all, nothing stays promised
    let card = town.new_card();
    let bought = buy(till, &card, 2000, 0).expect(201);
    leave(&card, false);
    assert_eq!(totals(&town)[1], 1000);
    till.void(bought["id"].as_str().unwrap()).expect(200);
    assert_eq!(totals(&town)[1], 0);
    is(bonus(&town, &card, 1), "released", 0);
    assert_eq!(town.balance(&card.enrolment), 6000);
    town.world.verify();
    town.world.advance_to("2027-01-01T09:00:00Z");
    town.world.verify();
}

fn who_leaves_and_gives_back_gives_the_bonus_back_too(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    buy(till, &card, 2000, 0).expect(201);
    town.world.advance_to("2026-07-01T09:00:00Z");
    buy(till, &card, 1000, 0).expect(201);
    let path = format!("/api/v1/enrolments/{}/leave", card.enrolment);
    town.worker.post(&path, json!({"return_issued": true})).expect(200);
    assert_eq!(earned(&town.world), ["1000 granted", "500 lost"]);
    // 30.00 spent; 30.00 and the bonus of 10.00 come back
    assert_eq!(totals(&town), [1_997_000, 0, 7000, 3000, 4000]);
    assert_eq!(town.world.advance_to("2026-07-01T11:00:00Z"), Done::default());
    town.world.verify();
}

fn by_priority_the_first_agreement_grants_first_and_the_rest_goes_back(world: World) {
    let setup = Setup { funding_rule: "priority", agreements: vec![(8000, 1), (100_000, 1)], ..Setup::default() };
    let town = town(world, 50, setup);
    let (card, till) = (town.new_card(), &town.tills[0]);
    // of the first month the first agreement has promised 60.00 and 20.00 of the bonus; the second all the rest
    assert_eq!((town.figure(0, "available"), town.figure(1, "available")), (0, 90_000));
    buy(till, &card, 4200, 0).expect(201);
    town.world.advance_to("2026-07-01T09:00:00Z");
    // 21.00: 20.00 of the first, then 1.00 of the second
    assert_eq!((town.figure(0, "issued"), town.figure(1, "issued")), (8000, 100));
    buy(till, &card, 200, 0).expect(201);
    town.world.advance_to("2026-07-01T10:00:00Z");
    assert_eq!((town.figure(0, "issued"), town.figure(1, "issued")), (8000, 200));
    town.world.verify();

    // where the first alone has granted, what the second has promised goes back all the same
    let town = Town::among(
        town.world,
        town.administrator,
        Setup {
            funding_rule: "priority",
            agreements: vec![(8000, 1), (100_000, 1)],
            rules: bonus_rules(),
            producers: 0,
            ..Setup::default()
        },
    );
    let till = town.new_till(7);
    town.approve(&till);
    let card = town.new_card();
    buy(&till, &card, 1000, 0).expect(201);
    town.world.advance_to("2026-07-01T11:00:00Z");
    assert_eq!((town.figure(0, "issued"), town.figure(1, "issued")), (6500, 0));
    town.world.advance_to("2026-10-15T08:00:00Z");
    assert_eq!((town.figure(0, "committed"), town.figure(1, "committed")), (0, 0));
    town.world.verify();
}

fn bonus_rules() -> Value {
    let mut rules = rules("60.00", "none");
    rules["period"]["count"] = json!(2);
    rules["bonus"] = json!({"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    rules
}

fn many_schedulers_at_once_grant_a_bonus_once(world: World) {
    let town = town(world, 50, Setup::default());
    let cards: Vec<Card> = (0..6).map(|_| town.new_card()).collect();
    for card in &cards {
        buy(&town.tills[0], card, 2000, 0).expect(201);
        buy(&town.tills[0], card, 1000, 0).expect(201);
    }
    town.world.set_clock("2026-07-01T09:00:00Z");
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let db = town.world.state.db.clone();
            thread::spawn(move || schedule::run(&db).unwrap().granted)
        })
        .collect();
    // a till that comes at the same time grants what it finds
    let spent: Vec<_> = cards
        .iter()
        .map(|card| {
            let (till, token) = (town.tills[0].clone(), card.token.clone());
            thread::spawn(move || till.redeem(&token, 4500).expect(201))
        })
        .collect();
    let granted: usize = runs.into_iter().map(|run| run.join().unwrap()).sum();
    spent.into_iter().for_each(|spent| drop(spent.join().unwrap()));
    assert!(granted <= 12, "{granted}");
    assert_eq!(earned(&town.world).iter().filter(|line| line.ends_with("granted")).count(), 12);
    for card in &cards {
        is(bonus(&town, card, 1), "issued", 0);
    }
    town.world.verify();
}

fn a_purchase_in_the_second_month_earns_of_the_second_month_s_bonus(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    buy(till, &card, 6000, 0).expect(201);
    town.world.advance_to("2026-08-10T08:00:00Z");
    // July's bonus of 30.00 ends first and pays first; half of 40.00 is earned of August's
    buy(till, &card, 4000, 0).expect(201);
    assert_eq!(earned(&town.world), ["3000 granted", "2000 earned"]);
    is(bonus(&town, &card, 1), "issued", 0);
    town.world.advance_to("2026-08-10T09:00:00Z");
    is(bonus(&town, &card, 2), "issued", 2000);
    town.world.set_clock("2026-09-30T21:59:59Z");
    till.redeem(&card.token, 2000).expect(201);
    town.world.verify();
}

fn a_changed_bonus_is_named(world: World) {
    let town = town(world, 50, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    buy(till, &card, 2000, 0).expect(201);
    town.world.advance_to("2026-07-01T09:00:00Z");
    let open = buy(till, &card, 1000, 0).expect(201);
    town.world.verify();
    tamper(&town.world, "UPDATE bonuses SET amount_cents = amount_cents + 1 WHERE state = 'granted'");
    found(&town, "allowances", "was granted 10.01 at");
    tamper(&town.world, "UPDATE bonuses SET amount_cents = amount_cents - 1 WHERE state = 'granted'");
    town.world.verify();
    let at = later(&town.world, "matures_at", -1);
    tamper(&town.world, &format!("UPDATE bonuses SET matures_at = {at} WHERE state = 'earned'"));
    found(&town, "bonuses", "matures at another moment");
    let at = later(&town.world, "matures_at", 1);
    tamper(&town.world, &format!("UPDATE bonuses SET matures_at = {at} WHERE state = 'earned'"));
    town.world.verify();
    tamper(&town.world, "UPDATE bonuses SET state = 'lost', settled_at = matures_at WHERE state = 'earned'");
    found(&town, "bonuses", "is lost though its purchase stands");
    tamper(&town.world, "UPDATE bonuses SET state = 'earned', settled_at = NULL WHERE state = 'lost'");
    tamper(&town.world, "UPDATE bonuses SET amount_cents = 2001 WHERE state = 'earned'");
    found(&town, "allowances", "has 20.01 earned but 20.00 committed");
    tamper(&town.world, "UPDATE bonuses SET amount_cents = 500 WHERE state = 'earned'");
    town.world.verify();
    till.void(open["id"].as_str().unwrap()).expect(200);
    tamper(&town.world, "UPDATE bonuses SET state = 'earned', settled_at = NULL WHERE state = 'lost'");
    found(&town, "bonuses", "is earned but its purchase was undone");
    tamper(&town.world, "DELETE FROM bonuses WHERE state = 'granted'");
    found(&town, "allowances", "was granted 0.00 at");
}
