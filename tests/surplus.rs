//! Tariffs above 100 %: the producer collects for the common pot, and what it holds is told to the cent.

use std::thread;

use primeur::schedule;
use serde_json::{Value, json};

use crate::downloads::{parse, rows};
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, rules};
use crate::support::{Answer, Town, World, euros, id, on_both_databases};
use crate::verify::{found, later, tamper};

on_both_databases!(
    what_is_paid_above_the_price_reaches_the_pot_once_it_can_no_longer_be_undone,
    an_undone_purchase_takes_back_what_was_collected_to_the_cent,
    what_reaches_the_pot_lets_others_in,
    many_schedulers_at_once_pool_a_surplus_once,
    a_changed_surplus_is_named,
    a_random_story_creates_and_loses_nothing,
);

/// 60.00 a month for two months at 65 %, 100 % or 125 % of the price, as the household chooses.
fn town(world: World, setup: Setup) -> Town {
    Town::with(world, Setup { rules: tariffs(), funding_rule: "priority", ..setup })
}

fn tariffs() -> Value {
    let mut rules = rules("60.00", "none");
    rules["period"]["count"] = json!(2);
    let tariff = |code: &str, percent: i32| json!({"code": code, "price_percent": percent});
    rules["bands"] = json!({"chosen_by": "household", "default": "full",
        "tariffs": [tariff("low", 65), tariff("full", 100), tariff("high", 125)]});
    rules
}

fn buy(till: &Till, token: &str, basket: i64, tariff: &str) -> Answer {
    let mut body = till.basket(token, basket, false);
    body["tariff"] = json!(tariff);
    till.client.post_once("/api/v1/redemptions", body)
}

/// The pot among a programme's agreements.
fn pot(town: &Town) -> Value {
    let list = town.manager.get(&format!("/api/v1/agreements?programme_id={}", town.programme)).expect(200);
    list["items"].as_array().unwrap().iter().find(|agreement| agreement["kind"] == "pot").unwrap().clone()
}

pub fn of_pot(town: &Town, names: [&str; 3]) -> [String; 3] {
    let (budget, pot) = (town.budget(), pot(town));
    let mut agreements = budget["agreements"].as_array().unwrap().iter();
    let money = agreements.find(|agreement| agreement["agreement_id"] == pot["id"]).unwrap();
    names.map(|name| money[name].as_str().unwrap().to_owned())
}

pub const FLOWS: [&str; 3] = ["surplus", "pooled", "available"];

fn what_is_paid_above_the_price_reaches_the_pot_once_it_can_no_longer_be_undone(world: World) {
    let town = town(world, Setup::default());
    let (card, other) = (town.new_card(), town.new_card());
    let tills = [&town.tills[0], &town.tills[1]];
    // 125 % of 20.10 is 25.13, half cents up: 5.03 above the price
    let bought = buy(tills[0], &card.token, 2010, "high").expect(201);
    assert_eq!((&bought["covered"], &bought["to_collect"]), (&json!("0.00"), &json!("25.13")));
    let bought = buy(tills[0], &other.token, 2000, "low").expect(201);
    assert_eq!((&bought["covered"], &bought["to_collect"]), (&json!("7.00"), &json!("13.00")));
    let full = buy(tills[0], &card.token, 900, "full").expect(201);
    assert_eq!((&full["covered"], &full["to_collect"]), (&json!("0.00"), &json!("9.00")));
    buy(tills[1], &card.token, 400, "high").expect(201);
    assert_eq!(of_pot(&town, FLOWS), ["6.03", "0.00", "0.00"]);
    let held = town.budget()["held"].clone();
    let line = |till: &Till, name: &str, amount: &str| json!({"producer_id": till.producer, "producer": name, "amount": amount});
    assert_eq!(held, json!([line(tills[0], "Ferme 0", "5.03"), line(tills[1], "Ferme 1", "1.00")]));
    assert_eq!(town.world.advance_to("2026-07-01T08:59:59Z").pooled, 0);
    assert_eq!(town.world.advance_to("2026-07-01T09:00:00Z").pooled, 2);
    assert_eq!(of_pot(&town, FLOWS), ["0.00", "6.03", "6.03"]);
    assert_eq!(town.budget()["held"], held, "the producers owe it until it is settled");
    town.world.verify();
    let pot = id(&pot(&town));
    let july = town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-07")).expect(200);
    assert_eq!(
        july["pot"],
        json!({
            "surplus": {"opening": "0.00", "collected": "6.03", "given_back": "0.00", "pooled": "6.03", "closing": "0.00"},
            "held": {"opening": "0.00", "collected": "6.03", "given_back": "0.00", "closing": "6.03"},
            "by_holder": [
                {"producer": "Ferme 0", "opening": "0.00", "collected": "5.03", "given_back": "0.00", "closing": "5.03"},
                {"producer": "Ferme 1", "opening": "0.00", "collected": "1.00", "given_back": "0.00", "closing": "1.00"},
            ],
        })
    );
    assert_eq!((&july["available"]["pooled"], &july["available"]["closing"]), (&json!("6.03"), &json!("6.03")));
    assert_eq!(july["lines"], json!([]), "a surplus is no purchase that the pot has paid");
    let file = |format: &str| {
        let file = town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-07?format={format}"));
        String::from_utf8(file.bytes).unwrap()
    };
    assert_eq!(parse(&file("csv"), b','), rows(&july));
    let csv = file("csv-excel-fr");
    for line in ["disponible;versé à la caisse;;;;;;6,03;", "détenteur;;Ferme 0;collecté;;;;5,03;"] {
        assert!(csv.contains(line), "{csv}");
    }
    let report = town.report(0, "2026-07");
    assert_eq!((&report["pot"], &report["available"]["pooled"]), (&Value::Null, &json!("0.00")));
    // the 7.00 were paid by the first agreement alone
    assert_eq!((town.figure(0, "redeemed"), town.figure(1, "redeemed")), (700, 0));
}

fn an_undone_purchase_takes_back_what_was_collected_to_the_cent(world: World) {
    let town = town(world, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let first = buy(till, &card.token, 2000, "high").expect(201);
    let second = buy(till, &card.token, 1000, "high").expect(201);
    let before = balances(&town.world);
    let third = buy(till, &card.token, 333, "high").expect(201);
    till.void(third["id"].as_str().unwrap()).expect(200);
    assert_eq!(balances(&town.world), before);
    till.void(first["id"].as_str().unwrap()).expect(200);
    assert_eq!(of_pot(&town, FLOWS), ["2.50", "0.00", "0.00"]);
    assert_eq!(town.budget()["held"][0]["amount"], "2.50");
    town.world.verify();
    assert_eq!(town.world.advance_to("2026-07-01T09:00:00Z").pooled, 1);
    till.void(second["id"].as_str().unwrap()).refused(409, "void_window_over");
    let pot = id(&pot(&town));
    let july = town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-07")).expect(200);
    let held = json!({"opening": "0.00", "collected": "8.33", "given_back": "5.83", "closing": "2.50"});
    assert_eq!((&july["pot"]["held"], &july["payable"]["voided"]), (&held, &json!("0.00")));
    // in August it is still owed
    town.world.advance_to("2026-08-02T09:00:00Z");
    let august = town.manager.get(&format!("/api/v1/agreements/{pot}/reconciliations/2026-08")).expect(200);
    let held =
        json!({"producer": "Ferme 0", "opening": "2.50", "collected": "0.00", "given_back": "0.00", "closing": "2.50"});
    assert_eq!(august["pot"]["by_holder"], json!([held]));
    town.world.verify();
}

fn what_reaches_the_pot_lets_others_in(world: World) {
    // the agreement carries one household, and 10.00 more
    let setup = Setup { agreements: vec![(13_000, 1)], ..Setup::default() };
    let town = town(world, setup);
    let card = town.new_card();
    let waiting = id(&town.enrol());
    // a quarter of 440.00 is 110.00
    buy(&town.tills[0], &card.token, 44_000, "high").expect(201);
    assert_eq!(town.enrolment(&waiting)["state"], "waiting");
    let done = town.world.advance_to("2026-07-01T09:00:00Z");
    assert_eq!((done.pooled, done.moved_up), (1, 1));
    assert_eq!(town.enrolment(&waiting)["state"], "active");
    assert_eq!(of_pot(&town, FLOWS), ["0.00", "110.00", "0.00"]);
    town.world.verify();
}

fn many_schedulers_at_once_pool_a_surplus_once(world: World) {
    let town = town(world, Setup::default());
    let cards: Vec<_> = (0..5).map(|_| town.new_card()).collect();
    for card in &cards {
        buy(&town.tills[0], &card.token, 1000, "high").expect(201);
    }
    town.world.set_clock("2026-07-01T09:00:00Z");
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let db = town.world.state.db.clone();
            thread::spawn(move || schedule::run(&db).unwrap().pooled)
        })
        .collect();
    assert_eq!(runs.into_iter().map(|run| run.join().unwrap()).sum::<usize>(), 5);
    assert_eq!(of_pot(&town, FLOWS), ["0.00", "12.50", "12.50"]);
    town.world.verify();
}

fn a_changed_surplus_is_named(world: World) {
    let town = town(world, Setup::default());
    let (card, till) = (town.new_card(), &town.tills[0]);
    buy(till, &card.token, 1000, "high").expect(201);
    town.world.advance_to("2026-07-01T09:00:00Z");
    let open = buy(till, &card.token, 2000, "high").expect(201);
    town.world.verify();
    let world = &town.world;
    tamper(world, "UPDATE surpluses SET amount_cents = amount_cents + 1 WHERE state = 'pooled'");
    found(&town, "surpluses", "is 2.51 of a purchase with 2.50");
    tamper(world, "UPDATE surpluses SET amount_cents = amount_cents - 1 WHERE state = 'pooled'");
    let at = later(world, "matures_at", -1);
    tamper(world, &format!("UPDATE surpluses SET matures_at = {at} WHERE state = 'collected'"));
    found(&town, "surpluses", "matures at another moment");
    let at = later(world, "matures_at", 1);
    tamper(world, &format!("UPDATE surpluses SET matures_at = {at} WHERE state = 'collected'"));
    tamper(world, "UPDATE surpluses SET state = 'pooled', settled_at = matures_at WHERE state = 'collected'");
    found(&town, "surpluses", "is pooled but 0.00 went into the pot");
    tamper(world, "UPDATE surpluses SET state = 'given_back' WHERE amount_cents = 500");
    found(&town, "surpluses", "is given_back but its purchase was not undone");
    tamper(world, "UPDATE surpluses SET state = 'collected', settled_at = NULL WHERE amount_cents = 500");
    world.verify();
    till.void(open["id"].as_str().unwrap()).expect(200);
    world.verify();
    let other = "(SELECT p.id FROM producers p WHERE p.id <> accounts.producer_id)";
    tamper(world, &format!("UPDATE accounts SET producer_id = {other} WHERE kind = 'held'"));
    found(&town, "surpluses", "is held by another producer");
    tamper(world, &format!("UPDATE accounts SET producer_id = {other} WHERE kind = 'held'"));
    tamper(world, "DELETE FROM transfers WHERE code = 'void'");
    found(&town, "redemptions", "not all of it came back");
    found(&town, "agreements", "its held accounts hold");
    tamper(world, "DELETE FROM surpluses");
    found(&town, "surpluses", "purchases have one");
    found(&town, "transfers", "belong to a surplus");
}

/// What every account holds, by its id; an account that was only opened holds nothing.
fn balances(world: &World) -> Vec<String> {
    let id = match Sql::of(world) {
        Sql::Sqlite(_) => "hex(id)",
        Sql::Postgresql(_) => "CAST(id AS TEXT)",
    };
    Sql::of(world).lines(&format!(
        "SELECT {id} || ' ' || kind || ' ' || CAST(balance_cents AS TEXT) AS line FROM accounts WHERE balance_cents <> 0 ORDER BY id"
    ))
}

/// A number below a bound, and the next seed: the same story on every machine.
fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

/// Bonus, tariffs and contributions at once: whatever comes in whatever order, each void restores every account, no bonus
/// is above its cap, no agreement has promised what it does not hold, and all accounts together are nothing.
fn a_random_story_creates_and_loses_nothing(world: World) {
    let mut rules = tariffs();
    rules["bonus"] = json!({"percent": 70, "labels": ["local"], "cap_percent": 40, "spendable_days": 20});
    rules["contribution"] = json!({"minimum": "3.00", "maximum": "40.00", "required": false, "goes_to": "household"});
    let setup =
        Setup { rules, funding_rule: "priority", agreements: vec![(20_011, 1), (40_000, 1)], ..Setup::default() };
    let town = Town::with(world, setup);
    let mut seed = 20_260_701;
    let cards: Vec<_> = (0..3).map(|_| town.new_card()).collect();
    let mut sql = Sql::of(&town.world);
    for step in 0..70 {
        let card = &cards[usize::try_from(next(&mut seed, 3)).unwrap()];
        let till = &town.tills[usize::try_from(next(&mut seed, 2)).unwrap()];
        match next(&mut seed, 10) {
            0 => town.world.pass_minutes(30 + i64::try_from(next(&mut seed, 90)).unwrap()),
            1 => town.world.pass_minutes(24 * 60 * i64::try_from(1 + next(&mut seed, 4)).unwrap()),
            2 => drop(schedule::run(&town.world.state.db).unwrap()),
            3 => {
                let amount = i64::try_from(300 + next(&mut seed, 1500)).unwrap();
                let path = format!("/api/v1/enrolments/{}/contributions", card.enrolment);
                let paid = town.worker.post_once(&path, json!({"amount": euros(amount)}));
                assert!([201, 409, 422].contains(&paid.status), "{}", paid.status);
            }
            kind => {
                // what is due is done first, so that a purchase and its void move nothing else
                schedule::run(&town.world.state.db).unwrap();
                let before = balances(&town.world);
                let amount = i64::try_from(1 + next(&mut seed, 2600)).unwrap();
                let mut basket = till.basket(&card.token, amount, true);
                basket["tariff"] = json!(["low", "full", "high"][usize::try_from(next(&mut seed, 3)).unwrap()]);
                let labels = if next(&mut seed, 2) == 0 { json!(["local"]) } else { json!([]) };
                basket["lines"] = json!([{"category": "dairy", "labels": labels, "amount": euros(amount)}]);
                let bought = till.client.post_once("/api/v1/redemptions", basket);
                if bought.status == 201 && kind < 6 {
                    till.void(bought.json()["id"].as_str().unwrap()).expect(200);
                    assert_eq!(balances(&town.world), before, "step {step}");
                }
            }
        }
        assert_eq!(sql.number("SELECT CAST(SUM(balance_cents) AS BIGINT) FROM accounts"), 0, "step {step}");
        // 40 % of 60.00 a period, whatever was bought
        let above = "SELECT COUNT(*) FROM (SELECT allowance_id FROM bonuses WHERE state <> 'lost' GROUP BY allowance_id \
                     HAVING SUM(amount_cents) > 2400) b";
        assert_eq!(sql.number(above), 0, "step {step}");
        let overdrawn =
            "SELECT COUNT(*) FROM accounts WHERE kind IN ('available', 'committed', 'surplus') AND balance_cents < 0";
        assert_eq!(sql.number(overdrawn), 0, "step {step}");
        if step % 10 == 0 {
            town.world.verify();
        }
    }
    for table in ["bonuses", "surpluses", "contributions"] {
        assert!(sql.number(&format!("SELECT COUNT(*) FROM {table}")) > 2, "the story has too few {table}");
    }
    town.world.advance_to("2027-03-01T09:00:00Z");
    town.world.advance_to("2027-05-01T09:00:00Z");
    let left = "SELECT CAST(COALESCE(SUM(balance_cents), 0) AS BIGINT) FROM accounts WHERE kind IN ('committed', 'allowance', 'surplus')";
    assert_eq!(sql.number(left), 0, "all that was promised is spent, paid back or free again");
    town.world.verify();
}
