//! What a basket that is set aside is decided by: the rules of a purchase, of the day it was set aside.

use serde_json::{Value, json};

use crate::hold::{hand_over, path, state, town};
use crate::support::sql::Sql;
use crate::support::town::{Card, Setup, rules};
use crate::support::{Town, World, cents, euros, id, on_both_databases};
use crate::surplus::{FLOWS, of_pot};

on_both_databases!(
    of_a_smaller_basket_the_rules_say_anew_what_is_covered_and_a_larger_one_is_refused,
    a_basket_told_by_kinds_is_smaller_in_each,
    a_basket_covered_in_part_keeps_what_it_has_as_it_becomes_smaller,
    it_is_refused_as_a_purchase_is_and_where_the_rules_have_no_hours,
    guessed_codes_slow_down_whoever_sets_baskets_aside,
    a_suspended_or_blocked_household_fetches_nothing_and_a_new_card_goes_on,
    a_seller_no_longer_good_fetches_nothing,
    caps_and_days_count_it_once_from_the_day_it_was_set_aside,
    the_answer_is_the_same_for_every_tariff,
    a_basket_waits_as_long_under_every_tariff,
    the_tariff_of_the_day_it_was_set_aside_stays,
    what_is_paid_above_the_price_is_collected_as_it_is_fetched_and_no_sooner,
    a_basket_earns_its_bonus_as_it_is_fetched_and_loses_it_when_it_is_undone,
    a_second_tap_is_caught_here_too,
);

fn with_rules(world: World, changes: &[(&str, Value)]) -> Town {
    let mut rules = rules("60.00", "none");
    rules["hold_hours"] = json!(48);
    for (name, value) in changes {
        rules[*name] = value.clone();
    }
    Town::with(world, Setup { rules, ..Setup::default() })
}

fn of_a_smaller_basket_the_rules_say_anew_what_is_covered_and_a_larger_one_is_refused(world: World) {
    // 60 % of what is above 1.00
    let town = with_rules(world, &[("coverage", json!({"percent": 60, "own_part": "1.00"}))]);
    let card = town.new_card();
    let till = &town.tills[0];
    // 60 % of 20.00
    let held = till.hold(&card.token, 2100).expect(201);
    assert_eq!((&held["covered"], &held["to_collect"]), (&json!("12.00"), &json!("9.00")));
    let held = id(&held);
    let wrong = hand_over(till, &held, json!({"basket": "21.01"})).refused(422, "invalid_request");
    assert_eq!(wrong["fields"][0]["field"], "basket");
    hand_over(till, &held, json!({"basket": "0.00"})).refused(422, "invalid_request");
    hand_over(till, &held, json!({"lines": [{"category": "eggs", "amount": "1.00"}]})).refused(422, "invalid_request");
    hand_over(till, &held, json!({"basket": "2.00", "lines": [{"category": "eggs", "amount": "1.00"}]}))
        .refused(422, "invalid_request");
    // 60 % of 15.00 is 9.00: 3.00 of the 12.00 are free
    let sold = hand_over(till, &held, json!({"basket": "16.00"})).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("9.00"), &json!("7.00")));
    assert_eq!(town.balance(&card.enrolment), 5100);
    town.world.verify();

    // a basket below the own part is the household's alone, and all that was set aside is free
    let held = id(&till.hold(&card.token, 2100).expect(201));
    let sold = hand_over(till, &held, json!({"basket": "0.90"})).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("0.00"), &json!("0.90")));
    assert_eq!(town.balance(&card.enrolment), 5100);
    town.world.verify();
}

fn a_basket_told_by_kinds_is_smaller_in_each(world: World) {
    // half of the 60.00 is for fruit and vegetables only
    let fresh = json!([{"code": "fresh", "percent": 50, "categories": ["fruit_vegetables"]}]);
    let town = with_rules(world, &[("sub_purses", fresh)]);
    let card = town.new_card();
    let till = &town.tills[0];
    let mut basket = till.basket(&card.token, 4000, false);
    basket["lines"] =
        json!([{"category": "fruit_vegetables", "amount": "15.00"}, {"category": "eggs", "amount": "25.00"}]);
    // 15.00 of the sub-purse, 25.00 of the rest
    let held = id(&till.client.post_once("/api/v1/holds", basket).expect(201));
    let purse = |name: &str| {
        let enrolment = town.enrolment(&card.enrolment);
        let found = enrolment["allowances"].as_array().unwrap().iter().find(|a| a["purse"] == name).cloned();
        cents(&found.unwrap()["balance"])
    };
    assert_eq!((purse("fresh"), purse("main")), (1500, 500));
    let lines = |fresh: i64, eggs: i64| json!([{"category": "fruit_vegetables", "amount": euros(fresh)}, {"category": "eggs", "amount": euros(eggs)}]);
    for (basket, lines) in [(3000, Value::Null), (3500, lines(900, 2600)), (3000, lines(1600, 1400))] {
        let mut body = json!({"basket": euros(basket)});
        if !lines.is_null() {
            body["lines"] = lines;
        }
        let wrong = hand_over(till, &held, body).refused(422, "invalid_request");
        assert_eq!(wrong["fields"][0]["field"], "lines");
    }
    let sold = hand_over(till, &held, json!({"basket": "30.00", "lines": lines(1000, 2000)})).expect(201);
    assert_eq!(sold["covered"], "30.00");
    assert_eq!((purse("fresh"), purse("main")), (2000, 1000));
    town.world.verify();
}

fn a_basket_covered_in_part_keeps_what_it_has_as_it_becomes_smaller(world: World) {
    let town = town(world);
    let till = &town.tills[0];
    for (handed, covered, left) in [(7000, 6000, 0), (5000, 5000, 1000)] {
        let card = town.new_card();
        let held = till.client.post_once("/api/v1/holds", till.basket(&card.token, 10_000, true)).expect(201);
        assert_eq!((&held["covered"], &held["to_collect"]), (&json!("60.00"), &json!("40.00")));
        let sold = hand_over(till, &id(&held), json!({"basket": euros(handed)})).expect(201);
        assert_eq!(cents(&sold["covered"]), covered);
        assert_eq!(cents(&sold["to_collect"]), handed - covered);
        assert_eq!(town.balance(&card.enrolment), left);
    }
    town.world.verify();
}

fn it_is_refused_as_a_purchase_is_and_where_the_rules_have_no_hours(world: World) {
    let none = Town::new(world);
    let card = none.new_card();
    none.tills[0].hold(&card.token, 100).refused(409, "holds_not_offered");
    // what a purchase would be refused for is said first
    none.tills[0].hold(&card.token, 6001).refused(409, "insufficient_balance");
    none.world.verify();
    let Town { world, administrator, .. } = none;
    let mut town = Town::among(world, administrator, Setup { producers: 0, ..Setup::setting_aside() });
    let till = town.new_till(20);
    till.hold("HTTPS://X/V/AAAA", 100).refused(409, "unknown_voucher");
    till.hold(&card.token, 100).refused(409, "producer_not_approved");
    town.approve(&till);
    town.tills.push(till.clone());
    let card = town.new_card();
    till.hold("0000-0000-0000", 100).refused(409, "unknown_voucher");
    let act = |path: String| town.worker.act(&path).expect(200);
    act(format!("/api/v1/vouchers/{}/block", card.id));
    till.hold(&card.token, 100).refused(409, "voucher_blocked");
    act(format!("/api/v1/vouchers/{}/unblock", card.id));
    act(format!("/api/v1/enrolments/{}/suspend", card.enrolment));
    till.hold(&card.token, 100).refused(409, "voucher_suspended");
    act(format!("/api/v1/enrolments/{}/resume", card.enrolment));
    let mut wrong = till.basket(&card.token, 100, false);
    wrong["lines"] = json!([{"category": "eggs", "amount": "0.99"}]);
    till.client.post_once("/api/v1/holds", wrong).refused(422, "invalid_request");
    town.decide(&till, "suspend").expect(200);
    till.hold(&card.token, 100).refused(409, "producer_suspended");
    town.decide(&till, "approve").expect(200);
    till.client.act(&format!("/api/v1/stalls/{}/close", till.stall)).expect(200);
    till.hold(&card.token, 100).refused(409, "stall_closed");
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM holds"), 0);
    assert_eq!(town.balance(&card.enrolment), 0, "nothing was issued for it either");
    town.world.verify();
}

fn guessed_codes_slow_down_whoever_sets_baskets_aside(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    // a good code's check symbols with another code
    let strangers = Town::among(town.world, town.administrator, Setup { producers: 0, ..Setup::default() });
    let mut refused = Vec::new();
    for _ in 0..30 {
        // well formed, and of no card
        let answer = till.hold("10A0-0028-T511", 100);
        refused.push(answer.json()["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(refused[0], "unknown_voucher");
    assert_eq!(refused[29], "too_many_attempts");
    // a scanned card is not guessed
    till.hold(&card.token, 100).expect(201);
    till.hold(&card.code, 100).refused(429, "too_many_attempts");
    strangers.world.verify();
}

fn a_suspended_or_blocked_household_fetches_nothing_and_a_new_card_goes_on(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 2540).expect(201));
    let act = |path: String| town.worker.act(&path).expect(200);
    act(format!("/api/v1/enrolments/{}/suspend", card.enrolment));
    till.capture(&held).refused(409, "voucher_suspended");
    act(format!("/api/v1/enrolments/{}/resume", card.enrolment));
    act(format!("/api/v1/vouchers/{}/block", card.id));
    till.capture(&held).refused(409, "voucher_blocked");
    let new = town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", card.id)).expect(201);
    assert_eq!(town.enrolment(&card.enrolment)["holds"][0]["voucher_id"], new["id"]);
    assert_eq!(till.capture(&held).expect(201)["covered"], "25.40");
    town.world.verify();
}

fn a_seller_no_longer_good_fetches_nothing(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 2540).expect(201));
    town.decide(till, "suspend").expect(200);
    till.capture(&held).refused(409, "producer_suspended");
    town.approve(till);
    till.client.act(&format!("/api/v1/stalls/{}/close", till.stall)).expect(200);
    till.capture(&held).refused(409, "stall_closed");
    till.client.act(&path(&held, "/release")).expect(204);
    assert_eq!(town.balance(&card.enrolment), 6000);
    town.world.verify();
}

fn caps_and_days_count_it_once_from_the_day_it_was_set_aside(world: World) {
    let coverage = json!({"per_day": "20.00", "per_period": "50.00"});
    let town = with_rules(world, &[("coverage", coverage)]);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 1500).expect(201));
    // 5.00 are left of the day
    till.redeem(&card.token, 501).refused(409, "insufficient_balance");
    till.hold(&card.token, 501).refused(409, "insufficient_balance");
    till.redeem(&card.token, 500).expect(201);
    town.world.set_clock("2026-07-02T08:00:00Z");
    assert_eq!(till.capture(&held).expect(201)["covered"], "15.00");
    // fetched today, and yesterday's all the same: today's 20.00 are whole, and 10.00 then of the 50.00 of July
    till.redeem(&card.token, 2000).expect(201);
    town.world.set_clock("2026-07-03T08:00:00Z");
    till.redeem(&card.token, 1001).refused(409, "insufficient_balance");
    // what is given up counts for nothing
    let held = id(&till.hold(&card.token, 1000).expect(201));
    till.client.act(&path(&held, "/release")).expect(204);
    till.redeem(&card.token, 1000).expect(201);
    town.world.verify();

    let Town { world, administrator, .. } = town;
    let mut rules = rules("60.00", "none");
    (rules["hold_hours"], rules["days_between_purchases"]) = (json!(96), json!(7));
    let mut town = Town::among(world, administrator, Setup { rules, producers: 0, ..Setup::default() });
    let till = town.new_till(20);
    town.approve(&till);
    town.tills.push(till.clone());
    let card = town.new_card();
    town.world.set_clock("2026-07-04T08:00:00Z");
    let held = id(&till.hold(&card.token, 1000).expect(201));
    till.redeem(&card.token, 1000).refused(409, "too_soon");
    town.world.set_clock("2026-07-07T08:00:00Z");
    till.capture(&held).expect(201);
    // a week from the 4th, not from the 7th
    town.world.set_clock("2026-07-10T21:59:59Z");
    till.redeem(&card.token, 1000).refused(409, "too_soon");
    town.world.set_clock("2026-07-10T22:00:00Z");
    let held = id(&till.hold(&card.token, 1000).expect(201));
    till.client.act(&path(&held, "/release")).expect(204);
    till.redeem(&card.token, 1000).expect(201);
    town.world.verify();
}

/// The household pays 50, 100 or 150 % of the price.
fn bands() -> Value {
    let tariff = |code: &str, percent: i64| json!({"code": code, "price_percent": percent});
    json!({
        "chosen_by": "social_worker", "default": "half",
        "tariffs": [tariff("half", 50), tariff("whole", 100), tariff("more", 150)],
    })
}

fn banded(world: World) -> Town {
    let mut rules = rules("60.00", "none");
    (rules["hold_hours"], rules["bands"]) = (json!(48), bands());
    let setup = Setup { rules, funding_rule: "priority", ..Setup::default() };
    Town::with(world, setup)
}

fn set_band(town: &Town, card: &Card, band: &str) {
    town.worker.put(&format!("/api/v1/enrolments/{}/band", card.enrolment), json!({"band": band})).expect(200);
}

fn the_answer_is_the_same_for_every_tariff(world: World) {
    let town = banded(world);
    let till = &town.tills[0];
    let mut answers = Vec::new();
    for (band, covered, to_collect) in [("half", "5.00", "5.00"), ("whole", "0.00", "10.00"), ("more", "0.00", "15.00")]
    {
        let card = town.new_card();
        set_band(&town, &card, band);
        let held = till.hold(&card.token, 1000).expect(201);
        assert_eq!((&held["covered"], &held["to_collect"]), (&json!(covered), &json!(to_collect)), "{band}");
        let sold = till.capture(&id(&held)).expect(201);
        assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!(covered), &json!(to_collect)), "{band}");
        assert_eq!(till.client.get(&path(&id(&held), "")).expect(200)["display"], held["display"]);
        for answer in [&held, &sold] {
            assert_eq!(answer["display"], json!({"accepted": true, "basket": "10.00"}), "{band}");
        }
        answers.push([held, sold].map(but_for_ids_and_amounts));
    }
    assert_eq!((&answers[0], &answers[0]), (&answers[1], &answers[2]));
    // nothing was set aside for it, and it may be given up as any
    let card = town.new_card();
    set_band(&town, &card, "whole");
    let held = id(&till.hold(&card.token, 1000).expect(201));
    till.client.act(&path(&held, "/release")).expect(204);
    let held = id(&till.hold(&card.token, 1000).expect(201));
    assert_eq!(town.world.advance_to("2026-07-04T08:00:00Z").freed, 1);
    assert_eq!(state(till, &held), "released");
    town.world.verify();
}

fn a_basket_waits_as_long_under_every_tariff(world: World) {
    let town = banded(world);
    town.world.set_clock("2026-07-31T12:00:00Z");
    for band in ["half", "whole", "more"] {
        let card = town.new_card();
        set_band(&town, &card, band);
        // midnight in Paris, when the money ends that only one of them draws on
        assert_eq!(town.tills[0].hold(&card.token, 1000).expect(201)["expires_at"], "2026-07-31T22:00:00Z", "{band}");
    }
    town.world.verify();
}

/// An answer without what differs from one purchase to the next, and the two amounts.
fn but_for_ids_and_amounts(mut answer: Value) -> Value {
    for field in ["id", "hold_id", "covered", "to_collect"] {
        if let Some(value) = answer.get_mut(field) {
            *value = json!("…");
        }
    }
    answer
}

fn what_is_paid_above_the_price_is_collected_as_it_is_fetched_and_no_sooner(world: World) {
    let town = banded(world);
    let card = town.new_card();
    set_band(&town, &card, "more");
    let till = &town.tills[0];
    // half of 10.00, 20.10 and 7.00 above the price
    let [fetched, undone, given_up] = [(1000, "15.00"), (2010, "30.15"), (700, "10.50")].map(|(basket, to_collect)| {
        let held = till.hold(&card.token, basket).expect(201);
        assert_eq!((&held["covered"], &held["to_collect"]), (&json!("0.00"), &json!(to_collect)));
        id(&held)
    });
    assert_eq!(of_pot(&town, FLOWS), ["0.00", "0.00", "0.00"]);
    town.world.set_clock("2026-07-02T08:00:00Z");
    assert_eq!(till.capture(&fetched).expect(201)["to_collect"], "15.00");
    // of 10.10 only
    let smaller = hand_over(till, &undone, json!({"basket": "10.10"})).expect(201);
    assert_eq!((&smaller["covered"], &smaller["to_collect"]), (&json!("0.00"), &json!("15.15")));
    till.client.act(&path(&given_up, "/release")).expect(204);
    assert_eq!(of_pot(&town, FLOWS), ["10.05", "0.00", "0.00"]);
    assert_eq!(town.budget()["held"][0]["amount"], "10.05");
    town.world.verify();
    till.void(&id(&smaller)).expect(200);
    assert_eq!(of_pot(&town, FLOWS), ["5.00", "0.00", "0.00"]);
    assert_eq!(town.budget()["held"][0]["amount"], "5.00");
    assert_eq!(town.balance(&card.enrolment), 6000);
    town.world.verify();
    // an hour from the handing over
    assert_eq!(town.world.advance_to("2026-07-02T08:59:59Z").pooled, 0);
    assert_eq!(town.world.advance_to("2026-07-02T09:00:00Z").pooled, 1);
    assert_eq!(of_pot(&town, FLOWS), ["0.00", "5.00", "5.00"]);
    town.world.verify();
}

fn a_basket_earns_its_bonus_as_it_is_fetched_and_loses_it_when_it_is_undone(world: World) {
    let bonus = json!({"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    let town = with_rules(world, &[("bonus", bonus)]);
    let card = town.new_card();
    let till = &town.tills[0];
    let lines = |organic: i64, plain: i64| json!([{"category": "eggs", "labels": ["organic"], "amount": euros(organic)}, {"category": "dairy", "amount": euros(plain)}]);
    let [first, second] = [3000, 1500].map(|basket| {
        let mut basket = till.basket(&card.token, basket, false);
        let organic = cents(&basket["basket"]) - 1000;
        basket["lines"] = lines(organic, 1000);
        id(&till.client.post_once("/api/v1/holds", basket).expect(201))
    });
    let earned = || {
        let line = "CAST(amount_cents AS TEXT) || ' ' || state AS line";
        Sql::of(&town.world).lines(&format!("SELECT {line} FROM bonuses ORDER BY redemption_id"))
    };
    assert_eq!(earned(), Vec::<String>::new());
    town.world.set_clock("2026-07-02T08:00:00Z");
    // half of the 15.00 that are handed over of the 20.00
    let smaller = json!({"basket": "25.00", "lines": lines(1500, 1000)});
    let sold = hand_over(till, &first, smaller).expect(201);
    assert_eq!(earned(), ["750 earned"]);
    town.world.verify();
    till.void(&id(&sold)).expect(200);
    assert_eq!(earned(), ["750 lost"]);
    town.world.verify();
    // half of 5.00, of the lines as they were set aside
    town.world.pass_minutes(10);
    till.capture(&second).expect(201);
    assert_eq!(earned(), ["750 lost", "250 earned"]);
    assert_eq!(town.world.advance_to("2026-07-02T09:09:59Z").granted, 0);
    assert_eq!(town.world.advance_to("2026-07-02T09:10:00Z").granted, 1);
    // 60.00 - 15.00 + 2.50
    assert_eq!(town.balance(&card.enrolment), 4750);
    town.world.verify();
}

fn the_tariff_of_the_day_it_was_set_aside_stays(world: World) {
    let town = banded(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 1000).expect(201));
    let second = id(&till.hold(&card.token, 2000).expect(201));
    set_band(&town, &card, "whole");
    assert_eq!(till.capture(&held).expect(201)["covered"], "5.00");
    // half of 8.00
    assert_eq!(hand_over(till, &second, json!({"basket": "8.00"})).expect(201)["covered"], "4.00");
    assert_eq!(till.hold(&card.token, 1000).expect(201)["covered"], "0.00");
    town.world.verify();
}

fn a_second_tap_is_caught_here_too(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let mut basket = till.basket(&card.token, 500, false);
    basket["another_purchase"] = json!(false);
    let post = |path: &str, basket: &Value| till.client.post_once(path, basket.clone());
    post("/api/v1/holds", &basket).expect(201);
    post("/api/v1/holds", &basket).refused(409, "already_redeemed_by_you");
    post("/api/v1/redemptions", &basket).refused(409, "already_redeemed_by_you");
    basket["basket"] = json!("5.01");
    post("/api/v1/redemptions", &basket).expect(201);
    post("/api/v1/holds", &basket).refused(409, "already_redeemed_by_you");
    basket["another_purchase"] = json!(true);
    post("/api/v1/holds", &basket).expect(201);
    town.world.pass_minutes(2);
    basket["another_purchase"] = json!(false);
    post("/api/v1/holds", &basket).expect(201);
    town.world.verify();
}
