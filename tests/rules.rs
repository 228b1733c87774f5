//! Rules in force: what they cover at a till, whom they bind, and whom a change of theirs leaves alone.

use primeur::schedule;
use serde_json::{Value, json};

use crate::household::audit;
use crate::support::sql::Sql;
use crate::support::town::{Setup, rules};
use crate::support::{Answer, Town, World, on_both_databases};

on_both_databases!(
    a_change_of_rules_is_for_newcomers_and_who_is_in_or_waits_keeps_the_deal,
    the_same_rules_again_are_no_new_version,
    the_till_tells_two_households_of_different_tariffs_apart_by_two_amounts_only,
    a_card_that_is_empty_tells_no_tariff_before_there_is_a_basket,
    a_household_s_tariff_is_its_structure_s_to_set,
    a_quote_tells_what_would_be_covered_and_writes_nothing,
    caps_of_a_day_and_a_period_begin_anew_and_a_void_gives_them_back,
    who_has_bought_comes_again_on_the_fourteenth_day_and_a_void_does_not_count,
    sub_purses_pay_for_their_food_and_close_with_their_period,
    a_voucher_for_one_kind_of_seller_is_refused_by_the_others,
    rules_that_no_agreement_could_fund_open_no_programme,
    a_personalised_support_voucher_ends_with_its_year_and_takes_nobody_s_own_money,
    rules_that_can_no_longer_end_within_the_programme_are_not_put_in_force,
);

/// The usual rules with others beside them.
fn rules_and(others: Value) -> Value {
    let mut all = rules("60.00", "none");
    let others = others.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(others);
    all
}

fn town(world: World, others: Value) -> Town {
    Town::with(world, Setup { rules: rules_and(others), ..Setup::default() })
}

fn redeem(town: &Town, voucher: &str, lines: &[(&str, &str)], basket: i64) -> Answer {
    let mut body = town.tills[0].basket(voucher, basket, false);
    body["lines"] = lines.iter().map(|(category, amount)| json!({"category": category, "amount": amount})).collect();
    town.tills[0].client.post_once("/api/v1/redemptions", body)
}

fn amounts(answer: Answer) -> (String, String) {
    let sold = answer.expect(201);
    let text = |key: &str| sold[key].as_str().unwrap().to_owned();
    (text("covered"), text("to_collect"))
}

fn pair(covered: &str, to_collect: &str) -> (String, String) {
    (covered.to_owned(), to_collect.to_owned())
}

fn change(town: &Town, rules: Value) -> Answer {
    town.manager.put(&format!("/api/v1/programmes/{}/rules", town.programme), json!({"rules": rules}))
}

fn a_change_of_rules_is_for_newcomers_and_who_is_in_or_waits_keeps_the_deal(world: World) {
    // six months of 60.00 twice, and 100.00 that are too little for a third
    let setup = Setup { agreements: vec![(82_000, 1)], ..Setup::default() };
    let town = Town::with(world, setup);
    let before = town.new_card();
    let kept = town.enrolment(&before.enrolment);
    let leaver = town.enrol();
    let waiting = town.enrol();
    assert_eq!((&leaver["state"], &waiting["state"]), (&json!("active"), &json!("waiting")));

    let half = rules_and(
        json!({"coverage": {"percent": 50}, "amount": {"per_household": "20.00", "per_adult": "0.00", "per_child": "0.00"}}),
    );
    let version = change(&town, half).expect(200);
    assert_eq!((&version["version"], &version["rules"]["coverage"]["percent"]), (&json!(2), &json!(50)));
    let programme = town.manager.get(&format!("/api/v1/programmes/{}", town.programme)).expect(200);
    assert_eq!((&programme["rules_version"], &programme["rules"]), (&json!(2), &version["rules"]));
    let versions = town.worker.get(&format!("/api/v1/programmes/{}/rules", town.programme)).expect(200);
    let numbers: Vec<&Value> = versions["items"].as_array().unwrap().iter().map(|item| &item["version"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);

    assert_eq!(town.enrolment(&before.enrolment), kept);
    assert_eq!(amounts(town.tills[0].redeem(&before.token, 1000)), pair("10.00", "0.00"));
    // who waits was promised 360.00, and gets it
    let leaver = leaver["id"].as_str().unwrap();
    town.worker.post(&format!("/api/v1/enrolments/{leaver}/leave"), json!({"return_issued": true})).expect(200);
    let moved_up = town.enrolment(waiting["id"].as_str().unwrap());
    assert_eq!((&moved_up["state"], &moved_up["promised"]), (&json!("active"), &json!("360.00")));
    let moved_up = town.card_for(waiting["id"].as_str().unwrap());
    assert_eq!(amounts(town.tills[0].redeem(&moved_up.token, 1000)), pair("10.00", "0.00"));

    let after = town.enrol();
    assert_eq!((&after["state"], &after["rules_version"]), (&json!("waiting"), &json!(2)));
    town.world.verify();
}

fn the_same_rules_again_are_no_new_version(world: World) {
    let town = Town::new(world);
    assert_eq!(change(&town, rules("60.00", "none")).expect(200)["version"], 1);
    assert_eq!(change(&town, rules("61.00", "none")).expect(200)["version"], 2);
    let problem = change(&town, rules("0.00", "none")).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "rules.amount");
    town.manager.act(&format!("/api/v1/programmes/{}/close", town.programme)).expect(200);
    change(&town, rules("62.00", "none")).refused(409, "programme_not_open");
}

fn three_tariffs() -> Value {
    json!({"bands": {"chosen_by": "social_worker", "default": "just", "tariffs": [
        {"code": "low", "price_percent": 35}, {"code": "middle", "price_percent": 65}, {"code": "just", "price_percent": 75}]}})
}

/// An answer with its headers, without what differs by nature: ids, instants, the two amounts.
pub fn but_for_the_amounts(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut body = answer.json();
    for key in ["id", "covered", "to_collect", "at", "void_until"] {
        assert!(body[key].is_string(), "{key}");
        body[key] = json!("");
    }
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    (answer.status, headers, body)
}

/// How many rows more each table has, of those that have more.
fn added(before: &[(String, i64)], after: &[(String, i64)]) -> Vec<(String, i64)> {
    let more = before.iter().zip(after).map(|((table, before), (_, after))| (table.clone(), after - before));
    more.filter(|(_, more)| *more != 0).collect()
}

fn the_till_tells_two_households_of_different_tariffs_apart_by_two_amounts_only(world: World) {
    let town = town(world, three_tariffs());
    let (mut sold, mut written) = (Vec::new(), Vec::new());
    // a seller's first purchase opens its accounts
    redeem(&town, &town.new_card().token, &[("eggs", "1.00")], 100).expect(201);
    for (band, expected) in
        [("low", pair("7.80", "4.20")), ("middle", pair("4.20", "7.80")), ("just", pair("3.00", "9.00"))]
    {
        let card = town.new_card();
        town.worker.put(&format!("/api/v1/enrolments/{}/band", card.enrolment), json!({"band": band})).expect(200);
        // the month is issued beforehand, for all alike
        schedule::run(&town.world.state.db).unwrap();
        let before = Sql::of(&town.world).counts();
        let answer = redeem(&town, &card.token, &[("eggs", "12.00")], 1200);
        written.push(added(&before, &Sql::of(&town.world).counts()));
        let body = answer.json();
        assert_eq!(body["display"], json!({"accepted": true, "basket": "12.00"}));
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        assert_eq!((text("covered"), text("to_collect")), expected);
        // a random id may happen to hold a word
        let mut told = body.clone();
        for id in ["id", "stall_id"] {
            assert!(told.as_object_mut().unwrap().remove(id).is_some(), "{body}");
        }
        for word in [band, "band", "tariff", "percent", "price"] {
            assert!(!told.to_string().contains(word), "{word} in {body}");
        }
        sold.push(but_for_the_amounts(&answer));
        let shown = town.tills[0].check(&card.token);
        assert_eq!(shown["accepted"], true);
    }
    assert_eq!((&sold[0], &sold[0]), (&sold[1], &sold[2]));
    // nor by how long it takes: the same is written for each
    assert_eq!((&written[0], &written[0]), (&written[1], &written[2]));
    assert!(written[0].contains(&("redemptions".to_owned(), 1)), "{written:?}");
    town.world.verify();
}

fn a_card_that_is_empty_tells_no_tariff_before_there_is_a_basket(world: World) {
    let bands = json!({"bands": {"chosen_by": "social_worker", "default": "half", "tariffs": [
        {"code": "half", "price_percent": 50}, {"code": "full", "price_percent": 100}]}});
    let town = town(world, bands);
    let till = &town.tills[0];
    let told = ["half", "full"].map(|band| {
        let card = town.new_card();
        till.redeem(&card.token, 12_000).expect(201);
        town.worker.put(&format!("/api/v1/enrolments/{}/band", card.enrolment), json!({"band": band})).expect(200);
        till.check(&card.token)
    });
    assert_eq!((&told[0], &told[0]["accepted"]), (&told[1], &json!(true)));
}

fn a_household_s_tariff_is_its_structure_s_to_set(world: World) {
    let town = town(world, three_tariffs());
    let household = town.household(1, 0);
    let enrol = |band: &str| {
        let body = json!({"household_id": household, "programme_id": town.programme, "band": band});
        town.worker.post_once("/api/v1/enrolments", body)
    };
    let problem = enrol("gold").refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "band");
    let enrolment = enrol("low").expect(201);
    assert_eq!(enrolment["band"], "low");
    let path = format!("/api/v1/enrolments/{}/band", enrolment["id"].as_str().unwrap());
    town.worker.put(&path, json!({"band": "gold"})).refused(422, "invalid_request");
    assert_eq!(town.worker.put(&path, json!({"band": null})).expect(200)["band"], Value::Null);
    assert_eq!(audit(&town, enrolment["id"].as_str().unwrap()), ["enrolment_made", "enrolment_band_set"]);
    // the default asks for three quarters
    let card = town.card_for(enrolment["id"].as_str().unwrap());
    assert_eq!(amounts(town.tills[0].redeem(&card.token, 1000)), pair("2.50", "7.50"));
    // nobody chooses at the till where the social worker assigns
    let mut basket = town.tills[0].basket(&card.token, 1000, false);
    basket["tariff"] = json!("low");
    let problem = town.tills[0].client.post_once("/api/v1/redemptions", basket).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "tariff");
    town.world.verify();
}

fn a_quote_tells_what_would_be_covered_and_writes_nothing(world: World) {
    let town = town(world, json!({"coverage": {"percent": 80}}));
    let card = town.new_card();
    let quote = |basket: Value| {
        let till = &town.tills[0];
        let mut body = json!({"voucher": card.token, "stall_id": till.stall});
        body.as_object_mut().unwrap().extend(basket.as_object().unwrap().clone());
        till.client.post("/api/v1/vouchers/check", body)
    };
    let told = quote(json!({"basket": "10.01"})).expect(200);
    assert_eq!((&told["covered"], &told["to_collect"]), (&json!("8.01"), &json!("2.00")));
    assert_eq!(told["display"], json!({"accepted": true, "basket": "10.01"}));
    // what a part would be is the balance, which this programme does not show
    let told = quote(json!({"basket": "100.00"})).expect(200);
    assert_eq!(
        (&told["code"], &told["covered"], &told["spendable"]),
        (&json!("insufficient_balance"), &Value::Null, &Value::Null)
    );
    assert_eq!(told["display"], json!({"accepted": false, "basket": "100.00"}));
    let lines = json!([{"category": "eggs", "amount": "9.99"}]);
    quote(json!({"basket": "10.00", "lines": lines})).refused(422, "invalid_request");
    assert_eq!(town.balance(&card.enrolment), 0, "not even the month was issued");
    assert_eq!(amounts(town.tills[0].redeem(&card.token, 1001)), pair("8.01", "2.00"));
}

fn caps_of_a_day_and_a_period_begin_anew_and_a_void_gives_them_back(world: World) {
    let town = town(world, json!({"coverage": {"per_day": "20.00", "per_period": "30.00"}}));
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-04T08:00:00Z");
    let first = till.redeem(&card.token, 2000).expect(201);
    town.world.pass_minutes(1);
    till.redeem_in_part(&card.token, 100).refused(409, "insufficient_balance");
    till.void(first["id"].as_str().unwrap()).expect(200);
    assert_eq!(amounts(till.redeem_in_part(&card.token, 2500)), pair("20.00", "5.00"));
    // the day ends at midnight in Paris, the period with the month
    town.world.set_clock("2026-07-04T21:59:59Z");
    till.redeem_in_part(&card.token, 100).refused(409, "insufficient_balance");
    town.world.set_clock("2026-07-04T22:00:00Z");
    assert_eq!(amounts(till.redeem_in_part(&card.token, 2500)), pair("10.00", "15.00"));
    town.world.set_clock("2026-07-30T08:00:00Z");
    till.redeem_in_part(&card.token, 100).refused(409, "insufficient_balance");
    town.world.set_clock("2026-08-01T08:00:00Z");
    assert_eq!(amounts(till.redeem(&card.token, 2000)), pair("20.00", "0.00"));
    town.world.verify();
}

fn who_has_bought_comes_again_on_the_fourteenth_day_and_a_void_does_not_count(world: World) {
    let town = town(world, json!({"days_between_purchases": 14}));
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-04T08:00:00Z");
    let undone = till.redeem(&card.token, 1000).expect(201);
    till.void(undone["id"].as_str().unwrap()).expect(200);
    till.redeem(&card.token, 1000).expect(201);
    town.world.set_clock("2026-07-17T21:59:00Z");
    till.redeem(&card.token, 1000).refused(409, "too_soon");
    assert_eq!(till.check(&card.token)["code"], "too_soon");
    town.world.set_clock("2026-07-17T22:00:00Z");
    till.redeem(&card.token, 1000).expect(201);
    town.world.verify();
}

fn sub_purses_pay_for_their_food_and_close_with_their_period(world: World) {
    let fresh = json!({"sub_purses": [{"code": "fresh", "percent": 25, "categories": ["fruit_vegetables", "pulses"]}]});
    let town = town(world, fresh);
    let card = town.new_card();
    // 15.00 of the 60.00 are for vegetables
    let purses = |enrolment: &Value, period: i64| -> Vec<(String, String)> {
        let of_period = enrolment["allowances"].as_array().unwrap().iter().filter(|a| a["period"] == period);
        let text = |a: &Value, key: &str| a[key].as_str().unwrap().to_owned();
        let mut purses: Vec<_> = of_period.map(|a| (text(a, "purse"), text(a, "balance"))).collect();
        purses.sort();
        purses
    };
    let held = |fresh: &str, main: &str| [("fresh".to_owned(), fresh.to_owned()), ("main".to_owned(), main.to_owned())];
    schedule::run(&town.world.state.db).unwrap();
    assert_eq!(purses(&town.enrolment(&card.enrolment), 1), held("15.00", "45.00"));
    assert_eq!(
        amounts(redeem(&town, &card.token, &[("fruit_vegetables", "4.00"), ("eggs", "6.00")], 1000)),
        pair("10.00", "0.00")
    );
    assert_eq!(purses(&town.enrolment(&card.enrolment), 1), held("11.00", "39.00"));
    town.world.pass_minutes(3);
    // 11.00 from the vegetables' own, 4.00 from the rest
    let greens = redeem(&town, &card.token, &[("pulses", "15.00")], 1500).expect(201);
    assert_eq!(purses(&town.enrolment(&card.enrolment), 1), held("0.00", "35.00"));
    town.tills[0].void(greens["id"].as_str().unwrap()).expect(200);
    assert_eq!(purses(&town.enrolment(&card.enrolment), 1), held("11.00", "39.00"));
    redeem(&town, &card.token, &[("meat", "40.00")], 4000).refused(409, "insufficient_balance");
    town.world.set_clock("2026-08-01T08:00:00Z");
    schedule::run(&town.world.state.db).unwrap();
    let enrolment = town.enrolment(&card.enrolment);
    assert_eq!(
        (purses(&enrolment, 1), purses(&enrolment, 2)),
        (held("0.00", "0.00").into(), held("15.00", "45.00").into())
    );
    town.world.verify();
}

fn a_voucher_for_one_kind_of_seller_is_refused_by_the_others(world: World) {
    let town = town(world, json!({"eligible": {"producer_classes": ["solidarity_grocery"], "categories": ["eggs"]}}));
    let card = town.new_card();
    town.tills[0].redeem(&card.token, 1000).refused(409, "producer_not_eligible");
    let grocery = town.new_till(9);
    let path = format!("/api/v1/programmes/{}/applications/{}/approve", town.programme, grocery.producer);
    assert_eq!(
        town.manager.post(&path, json!({"class": "solidarity_grocery"})).expect(200)["class"],
        "solidarity_grocery"
    );
    grocery.redeem(&card.token, 1000).refused(409, "lines_required");
    let sell = |lines: Value, basket: i64| {
        let mut body = grocery.basket(&card.token, basket, false);
        body["lines"] = lines;
        grocery.client.post_once("/api/v1/redemptions", body)
    };
    sell(json!([{"category": "meat", "amount": "5.00"}]), 500).refused(409, "category_not_eligible");
    let mixed =
        json!([{"category": "meat", "amount": "5.00"}, {"category": "eggs", "labels": ["organic"], "amount": "2.40"}]);
    assert_eq!(amounts(sell(mixed, 740)), pair("2.40", "5.00"));
    town.world.verify();
}

fn rules_that_no_agreement_could_fund_open_no_programme(world: World) {
    let town = Town::new(world);
    let manager = &town.manager;
    let body = json!({
        "name": "Trop grand", "starts_on": "2026-01-01", "ends_on": "2027-12-31", "funding_rule": "priority",
        "rules": rules("60.00", "none"), "communes": [{"code": "62427", "name": "Hénin-Beaumont"}],
        "legal_basis": {"code": "social_aid", "reference": "CASF L123-5"},
    });
    let mut short = body.clone();
    short["ends_on"] = json!("2026-06-29");
    let problem = manager.post("/api/v1/programmes", short).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "rules.period");
    let programme = manager.post("/api/v1/programmes", body.clone()).expect(201)["id"].as_str().unwrap().to_owned();
    let (funder, _) = crate::support::town::newcomer(&town.world, manager, "funder", "Petite fondation");
    let agreement = |reference: &str, granted: &str, ends_on: &str| {
        json!({"funder_id": funder, "reference": reference, "granted": granted, "starts_on": "2026-01-01",
               "ends_on": ends_on, "grace_days": 0, "share_weight": 1})
    };
    let path = format!("/api/v1/programmes/{programme}");
    let sign = |agreement| manager.post_once(&format!("{path}/agreements"), agreement).expect(201);
    let refused = |field: &str| {
        let problem = manager.act(&format!("{path}/open")).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], field);
    };
    // the last of six months from July on is December
    sign(agreement("A", "359.99", "2026-12-30"));
    refused("rules.period");
    sign(agreement("B", "0.01", "2026-12-31"));
    manager.act(&format!("{path}/open")).expect(200);
    let path = "/api/v1/programmes";
    let mut body = body;
    body["name"] = json!("Trop peu");
    let programme = manager.post(path, body).expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("{path}/{programme}");
    manager.post_once(&format!("{path}/agreements"), agreement("A", "359.99", "2027-12-31")).expect(201);
    let problem = manager.act(&format!("{path}/open")).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "rules.amount");
}

fn a_personalised_support_voucher_ends_with_its_year_and_takes_nobody_s_own_money(world: World) {
    let town = Town::new(world);
    let basis = json!({"code": "personalised_support_voucher", "reference": "CGCT L1611-6"});
    let mut body = json!({
        "name": "Chèque d’accompagnement", "starts_on": "2026-01-01", "ends_on": "2027-12-31", "funding_rule": "priority",
        "rules": rules("60.00", "none"), "communes": [{"code": "62427", "name": "Hénin-Beaumont"}], "legal_basis": basis,
    });
    let draft = town.manager.post("/api/v1/programmes", body.clone()).expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/programmes/{draft}");
    let (funder, _) = crate::support::town::newcomer(&town.world, &town.manager, "funder", "Petite fondation");
    let agreement = json!({"funder_id": funder, "reference": "A", "granted": "1000.00", "starts_on": "2026-01-01",
        "ends_on": "2027-12-31", "grace_days": 0, "share_weight": 1});
    town.manager.post_once(&format!("{path}/agreements"), agreement).expect(201);
    let mut opens = |rules: Value| {
        body["rules"] = rules;
        town.manager.put(&path, body.clone()).expect(200);
        town.manager.act(&format!("{path}/open"))
    };
    let problem = opens(rules("60.00", "none")).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "rules.ends_with_year");
    let pays_in = json!({"minimum": "1.00", "maximum": "9.00", "required": false, "goes_to": "household"});
    let problem = opens(rules_and(json!({"ends_with_year": true, "contribution": pays_in})));
    assert_eq!(problem.refused(422, "invalid_request")["fields"][0]["field"], "rules");
    opens(rules_and(json!({"ends_with_year": true}))).expect(200);
    // nor by a change of its rules
    let path = format!("{path}/rules");
    town.manager.put(&path, json!({"rules": rules("60.00", "none")})).refused(422, "invalid_request");
    town.manager.put(&path, json!({"rules": rules_and(json!({"ends_with_year": true, "taper": [50]}))})).expect(200);
}

fn rules_that_can_no_longer_end_within_the_programme_are_not_put_in_force(world: World) {
    let town = Town::with(world, Setup { ends_on: "2026-12-31".to_owned(), ..Setup::default() });
    town.world.set_clock("2026-08-01T08:00:00Z");
    let problem = change(&town, rules("50.00", "none")).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "rules.period");
    let mut five = rules("50.00", "none");
    five["period"]["count"] = json!(5);
    change(&town, five).expect(200);
}
