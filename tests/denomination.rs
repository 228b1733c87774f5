//! Vouchers of a fixed value: always good while they last, for one purchase each, and no cent of them is lost.

use serde_json::{Value, json};

use crate::concurrency::at_once;
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Card, Setup, card, rules};
use crate::support::{Answer, Town, World, cents, id, on_both_databases};

on_both_databases!(
    each_is_a_voucher_of_its_own_with_its_money_set_aside,
    each_pays_for_one_purchase_and_what_it_does_not_use_goes_back_to_the_card,
    it_covers_at_most_its_value_and_the_rest_is_left_to_collect,
    only_values_of_the_rules_and_only_what_the_purse_holds,
    it_is_decided_on_like_any_purchase,
    a_lost_one_is_blocked_or_replaced_and_the_new_one_takes_its_money_over,
    it_ends_with_the_money_it_was_taken_from,
    a_void_gives_its_money_to_the_card_and_it_stays_used,
    a_late_void_brings_nothing_back_that_ended_with_its_window,
    the_structure_takes_one_back_that_nobody_wants,
    money_for_some_food_only_makes_none,
    a_repeat_gives_the_same_vouchers,
    who_leaves_with_titles_keeps_them_or_gives_them_back,
    an_export_tells_of_them_and_of_what_is_set_aside,
    many_at_once_on_one_purse_stay_exact,
    one_at_many_tills_at_once_pays_once,
);

fn town(world: World) -> Town {
    Town::with(world, Setup::setting_aside())
}

fn path(enrolment: &str) -> String {
    format!("/api/v1/enrolments/{enrolment}/denominations")
}

fn ask(town: &Town, enrolment: &str, values: &[&str]) -> Answer {
    town.worker.post_once(&path(enrolment), json!({ "values": values }))
}

fn titles(town: &Town, enrolment: &str, values: &[&str]) -> Vec<Card> {
    let made = ask(town, enrolment, values).expect(201);
    made["items"].as_array().unwrap().iter().map(card).collect()
}

fn show(town: &Town, title: &Card) -> Value {
    town.worker.get(&format!("/api/v1/vouchers/{}", title.id)).expect(200)
}

fn each_is_a_voucher_of_its_own_with_its_money_set_aside(world: World) {
    let town = town(world);
    let running = town.new_card();
    let made = ask(&town, &running.enrolment, &["5.00", "5", "10.00"]).expect(201);
    let made = made["items"].as_array().unwrap();
    let told = |title: &Value| ["denomination", "used", "state", "valid_to"].map(|key| title[key].clone());
    let expected = |value: &str| [json!(value), json!(false), json!("active"), json!("2026-07-31")];
    assert_eq!(made.iter().map(told).collect::<Vec<_>>(), ["5.00", "5.00", "10.00"].map(expected));
    for key in ["id", "code", "token"] {
        let mut each: Vec<&str> = made.iter().map(|title| title[key].as_str().unwrap()).collect();
        each.sort_unstable();
        each.dedup();
        assert_eq!(each.len(), 3, "{key}");
    }
    let qr = town.worker.get(&format!("/api/v1/vouchers/{}/qr", id(&made[0])));
    assert_eq!((qr.status, qr.header("content-type")), (200, Some("image/svg+xml")));
    let list = town.worker.get(&format!("/api/v1/vouchers?enrolment_id={}", running.enrolment)).expect(200);
    let list = list["items"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["denomination"], &list[0]["used"]), (4, &Value::Null, &json!(false)));
    assert_eq!(list[1..], made[..]);
    // 60.00 - 20.00
    assert_eq!(town.balance(&running.enrolment), 4000);
    assert_eq!(town.budget()["total"]["outstanding"], "60.00");
    let held = town.enrolment(&running.enrolment)["holds"].clone();
    let held = held.as_array().unwrap().iter().map(|hold| (hold["amount"].clone(), hold["voucher_id"].clone()));
    let backed = made.iter().map(|title| (title["denomination"].clone(), title["id"].clone()));
    assert_eq!(held.collect::<Vec<_>>(), backed.collect::<Vec<_>>());
    let till = &town.tills[0];
    till.redeem(&running.token, 4001).refused(409, "insufficient_balance");
    till.redeem(&running.token, 4000).expect(201);
    // the running card is still the only one
    let more = json!({"enrolment_id": running.enrolment});
    town.worker.post_once("/api/v1/vouchers", more).refused(409, "voucher_exists");
    town.world.verify();
}

fn each_pays_for_one_purchase_and_what_it_does_not_use_goes_back_to_the_card(world: World) {
    let town = town(world);
    let running = town.new_card();
    let [first, second]: [Card; 2] = titles(&town, &running.enrolment, &["5.00", "10.00"]).try_into().unwrap();
    let till = &town.tills[0];
    let answer = till.check(&first.token);
    assert_eq!((&answer["accepted"], &answer["spendable"]), (&json!(true), &Value::Null));
    let sold = till.redeem(&first.token, 320).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("3.20"), &json!("0.00")));
    // no change: 1.80 of it are on the card again, beside 45.00
    assert_eq!(town.balance(&running.enrolment), 4680);
    assert_eq!(
        (show(&town, &first)["used"].clone(), show(&town, &second)["used"].clone()),
        (json!(true), json!(false))
    );
    for till in &town.tills {
        assert_eq!(till.check(&first.token)["code"], "voucher_used");
        till.redeem(&first.token, 100).refused(409, "voucher_used");
        till.redeem(&first.code, 100).refused(409, "voucher_used");
    }
    // a second tap is the same purchase, and nobody pays twice
    let mut again = till.basket(&first.token, 320, false);
    again["another_purchase"] = json!(false);
    till.client.post_once("/api/v1/redemptions", again).refused(409, "already_redeemed_by_you");
    // by its typed code, whole
    assert_eq!(town.tills[1].redeem(&second.code, 1000).expect(201)["covered"], "10.00");
    assert_eq!((town.balance(&running.enrolment), town.figure(0, "redeemed")), (4680, 660));
    till.redeem(&running.token, 4680).expect(201);
    town.world.verify();
}

fn it_covers_at_most_its_value_and_the_rest_is_left_to_collect(world: World) {
    let town = town(world);
    let running = town.new_card();
    let title = titles(&town, &running.enrolment, &["5.00"]).remove(0);
    let till = &town.tills[0];
    till.redeem(&title.token, 501).refused(409, "insufficient_balance");
    let sold = till.redeem_in_part(&title.token, 1250).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("5.00"), &json!("7.50")));
    // the answer has the keys of any purchase
    let plain = till.redeem(&running.token, 100).expect(201);
    let keys = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&sold), keys(&plain));
    assert_eq!(town.balance(&running.enrolment), 5400);
    town.world.verify();
}

fn only_values_of_the_rules_and_only_what_the_purse_holds(world: World) {
    let plain = Town::new(world);
    let running = plain.new_card();
    let wrong = ask(&plain, &running.enrolment, &["5.00"]).refused(422, "invalid_request");
    assert_eq!(wrong["fields"][0]["field"], "values[0]");
    let Town { world, administrator, .. } = plain;
    let town = Town::among(world, administrator, Setup { producers: 0, ..Setup::setting_aside() });
    let running = town.new_card();
    let wrong = ask(&town, &running.enrolment, &["10.00", "7.00"]).refused(422, "invalid_request");
    assert_eq!(wrong["fields"][0]["field"], "values[1]");
    ask(&town, &running.enrolment, &[]).refused(422, "invalid_request");
    ask(&town, &running.enrolment, &["5.00"; 41]).refused(422, "invalid_request");
    ask(&town, &running.enrolment, &["5.005"]).refused(422, "invalid_request");
    // 65.00 of 60.00: none of them is made
    ask(&town, &running.enrolment, &["10.00", "10.00", "10.00", "10.00", "10.00", "10.00", "5.00"])
        .refused(409, "insufficient_balance");
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM vouchers WHERE denomination_cents > 0"), 0);
    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", running.enrolment)).expect(200);
    ask(&town, &running.enrolment, &["5.00"]).refused(409, "enrolment_state");
    town.worker.act(&format!("/api/v1/enrolments/{}/resume", running.enrolment)).expect(200);
    assert_eq!(titles(&town, &running.enrolment, &["10.00"; 6]).len(), 6);
    ask(&town, &running.enrolment, &["5.00"]).refused(409, "insufficient_balance");
    assert_eq!(town.balance(&running.enrolment), 0);
    town.world.verify();
}

fn it_is_decided_on_like_any_purchase(world: World) {
    let mut rules = rules("60.00", "none");
    (rules["denominations"], rules["hold_hours"]) = (json!(["5.00"]), json!(48));
    rules["eligible"] = json!({"categories": ["fruit_vegetables"]});
    rules["coverage"] = json!({"percent": 50, "per_day": "6.00"});
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let running = town.new_card();
    let titles = titles(&town, &running.enrolment, &["5.00"; 3]);
    let till = &town.tills[0];
    let with_lines = |title: &Card, lines: Value, basket: i64| {
        let mut body = till.basket(&title.token, basket, false);
        body["lines"] = lines;
        till.client.post_once("/api/v1/redemptions", body)
    };
    let fresh = |amount: &str| json!([{"category": "fruit_vegetables", "amount": amount}]);
    till.redeem(&titles[0].token, 800).refused(409, "lines_required");
    with_lines(&titles[0], json!([{"category": "eggs", "amount": "8.00"}]), 800).refused(409, "category_not_eligible");
    // half of 8.00
    assert_eq!(with_lines(&titles[0], fresh("8.00"), 800).expect(201)["covered"], "4.00");
    // 2.00 are left of the day
    with_lines(&titles[1], fresh("5.00"), 500).refused(409, "insufficient_balance");
    assert_eq!(with_lines(&titles[1], fresh("4.00"), 400).expect(201)["covered"], "2.00");
    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", running.enrolment)).expect(200);
    with_lines(&titles[2], fresh("1.00"), 100).refused(409, "voucher_suspended");
    town.worker.act(&format!("/api/v1/enrolments/{}/resume", running.enrolment)).expect(200);
    town.world.set_clock("2026-07-02T08:00:00Z");
    let mut basket = till.basket(&titles[2].token, 100, false);
    basket["lines"] = fresh("1.00");
    till.client.post_once("/api/v1/holds", basket).refused(409, "holds_not_offered");
    with_lines(&titles[2], fresh("1.00"), 100).expect(201);
    let mut basket = till.basket(&titles[2].token, 200, false);
    basket["lines"] = fresh("2.00");
    till.client.post_once("/api/v1/holds", basket).refused(409, "voucher_used");
    // 60.00 - 4.00 - 2.00 - 0.50
    assert_eq!(town.balance(&running.enrolment), 5350);
    town.world.verify();
}

fn a_lost_one_is_blocked_or_replaced_and_the_new_one_takes_its_money_over(world: World) {
    let town = town(world);
    let running = town.new_card();
    let lost = titles(&town, &running.enrolment, &["10.00", "5.00"]).remove(0);
    let till = &town.tills[0];
    let act = |card: &Card, what: &str| town.worker.act(&format!("/api/v1/vouchers/{}/{what}", card.id));
    assert_eq!(act(&lost, "block").expect(200)["denomination"], "10.00");
    till.redeem(&lost.token, 100).refused(409, "voucher_blocked");
    act(&lost, "unblock").expect(200);
    act(&lost, "block").expect(200);
    let replace = |card: &Card| town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", card.id));
    let new = replace(&lost).expect(201);
    assert_eq!((&new["denomination"], &new["valid_to"]), (&json!("10.00"), &json!("2026-07-31")));
    till.redeem(&lost.token, 100).refused(409, "voucher_replaced");
    assert_eq!(town.balance(&running.enrolment), 4500);
    town.world.verify();
    // the running card is another matter
    let running = card(&replace(&running).expect(201));
    assert_eq!(town.enrolment(&running.enrolment)["holds"][0]["voucher_id"], new["id"]);
    till.redeem(&card(&new).token, 1000).expect(201);
    replace(&card(&new)).refused(409, "voucher_state");
    replace(&lost).refused(409, "voucher_state");
    till.redeem(&running.token, 4500).expect(201);
    town.world.verify();
}

fn it_ends_with_the_money_it_was_taken_from(world: World) {
    let mut rules = rules("60.00", "next");
    rules["denominations"] = json!(["10.00"]);
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let running = town.new_card();
    let till = &town.tills[0];
    // July's money lasts through August, and August's through September: what ends first goes first
    town.world.advance_to("2026-08-01T08:00:00Z");
    let mut made = titles(&town, &running.enrolment, &["10.00"; 7]);
    let ends: Vec<Value> = made.iter().map(|title| show(&town, title)["valid_to"].clone()).collect();
    assert_eq!(
        ends,
        ["2026-08-31", "2026-08-31", "2026-08-31", "2026-08-31", "2026-08-31", "2026-08-31", "2026-09-30"]
    );
    let (last, first) = (made.pop().unwrap(), made.remove(0));
    town.world.set_clock("2026-08-31T21:59:59Z");
    till.redeem(&first.token, 1000).expect(201);
    town.world.set_clock("2026-08-31T22:00:00Z");
    till.redeem(&made[0].token, 1000).refused(409, "voucher_expired");
    assert_eq!(till.check(&made[0].token)["code"], "voucher_expired");
    assert_eq!(
        town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", made[0].id)).json()["code"],
        "voucher_state"
    );
    let done = town.world.advance_to("2026-08-31T22:00:00Z");
    assert_eq!((done.freed, done.closed), (5, 2));
    // five of 10.00 go back to the agreements
    assert_eq!(town.budget()["total"]["returned"], "50.00");
    till.redeem(&last.token, 1000).expect(201);
    // 50.00 of August's, and September's
    assert_eq!(town.balance(&running.enrolment), 11_000);
    town.world.verify();
}

fn a_void_gives_its_money_to_the_card_and_it_stays_used(world: World) {
    let town = town(world);
    let running = town.new_card();
    let title = titles(&town, &running.enrolment, &["10.00"]).remove(0);
    let till = &town.tills[0];
    let sold = id(&till.redeem(&title.token, 640).expect(201));
    assert_eq!(town.balance(&running.enrolment), 5360);
    till.void(&sold).expect(200);
    assert_eq!(town.balance(&running.enrolment), 6000);
    till.redeem(&title.token, 100).refused(409, "voucher_used");
    assert_eq!(show(&town, &title)["used"], json!(true));
    till.redeem(&running.token, 6000).expect(201);
    town.world.verify();
}

fn a_late_void_brings_nothing_back_that_ended_with_its_window(world: World) {
    let town = town(world);
    let running = town.new_card();
    titles(&town, &running.enrolment, &["10.00"; 4]);
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T21:59:00Z");
    let sold = id(&till.redeem(&running.token, 50).expect(201));
    // the scheduler has not come yet
    town.world.set_clock("2026-07-31T22:00:05Z");
    till.void(&sold).expect(200);
    town.world.advance_to("2026-07-31T22:01:00Z");
    // 0.50 of July have days of grace, beside August; 40.00 of titles and 19.50 of the card are the agreements'
    assert_eq!(town.balance(&running.enrolment), 6050);
    assert_eq!(town.budget()["total"]["returned"], "59.50");
    town.world.verify();
}

fn the_structure_takes_one_back_that_nobody_wants(world: World) {
    let town = town(world);
    let running = town.new_card();
    let title = titles(&town, &running.enrolment, &["10.00"]).remove(0);
    let hold = id(&town.enrolment(&running.enrolment)["holds"][0]);
    let till = &town.tills[0];
    // no stall's, so no seller's
    till.client.get(&format!("/api/v1/holds/{hold}")).refused(404, "not_found");
    till.client.act(&format!("/api/v1/holds/{hold}/release")).refused(404, "not_found");
    till.capture(&hold).refused(404, "not_found");
    assert_eq!(till.client.get("/api/v1/holds").expect(200)["items"], json!([]));
    town.worker.act(&format!("/api/v1/holds/{hold}/release")).expect(204);
    assert_eq!(town.balance(&running.enrolment), 6000);
    till.redeem(&title.token, 100).refused(409, "voucher_expired");
    assert_eq!(show(&town, &title)["used"], json!(false));
    town.world.verify();
}

fn money_for_some_food_only_makes_none(world: World) {
    let mut rules = rules("60.00", "none");
    rules["denominations"] = json!(["10.00"]);
    rules["sub_purses"] = json!([{"code": "fresh", "percent": 50, "categories": ["fruit_vegetables"]}]);
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let running = town.new_card();
    // 30.00 of the 60.00 are for any food
    ask(&town, &running.enrolment, &["10.00"; 4]).refused(409, "insufficient_balance");
    titles(&town, &running.enrolment, &["10.00"; 3]);
    assert_eq!(town.balance(&running.enrolment), 3000);
    town.world.verify();
}

fn a_repeat_gives_the_same_vouchers(world: World) {
    let town = town(world);
    let running = town.new_card();
    for values in [json!(["5.00", "10.00"]), json!(["5.00"])] {
        let key = new_key();
        let ask =
            |values: &Value| town.worker.post_with_key(&path(&running.enrolment), &key, json!({"values": values}));
        let first = ask(&values);
        let title = card(&first.json()["items"][0]);
        town.tills[0].redeem(&title.token, 500).expect(201);
        let again = ask(&values);
        assert_eq!((again.status, again.header("idempotent-replay")), (201, Some("true")));
        assert_eq!(again.bytes, first.bytes);
        ask(&json!(["10.00"])).refused(409, "idempotency_conflict");
    }
    // what opens a voucher is nowhere in what is kept for a repeat
    let kept = "SELECT count(*) FROM idempotency_keys WHERE answer LIKE '%HTTPS%' OR answer LIKE '%token%'";
    assert_eq!(Sql::of(&town.world).number(kept), 0);
    assert_eq!(town.balance(&running.enrolment), 4000);
    town.world.verify();
}

fn who_leaves_with_titles_keeps_them_or_gives_them_back(world: World) {
    let town = town(world);
    let till = &town.tills[0];
    let (keeps, gives_back) = (town.new_card(), town.new_card());
    let [kept, given_back] = [&keeps, &gives_back].map(|card| titles(&town, &card.enrolment, &["10.00"]).remove(0));
    for (card, return_issued) in [(&keeps, false), (&gives_back, true)] {
        let body = json!({"return_issued": return_issued});
        town.worker.post(&format!("/api/v1/enrolments/{}/leave", card.enrolment), body).expect(200);
        ask(&town, &card.enrolment, &["5.00"]).refused(409, "enrolment_state");
    }
    till.redeem(&kept.token, 1000).expect(201);
    till.redeem(&given_back.token, 1000).refused(409, "voucher_expired");
    assert_eq!(town.budget()["total"]["returned"], "60.00");
    town.world.verify();
}

fn an_export_tells_of_them_and_of_what_is_set_aside(world: World) {
    let town = town(world);
    let running = town.new_card();
    titles(&town, &running.enrolment, &["10.00"]);
    let till = &town.tills[0];
    let mut basket = till.basket(&running.token, 700, false);
    basket["lines"] = json!([{"category": "eggs", "labels": ["local"], "amount": "7.00"}]);
    till.client.post_once("/api/v1/holds", basket.clone()).expect(201);
    till.client.post_once("/api/v1/redemptions", basket).expect(201);
    let household = town.enrolment(&running.enrolment)["household_id"].as_str().unwrap().to_owned();
    let export = town.worker.get(&format!("/api/v1/households/{household}/export")).expect(200);
    let enrolment = &export["enrolments"][0];
    let values: Vec<Value> =
        enrolment["vouchers"].as_array().unwrap().iter().map(|voucher| voucher["denomination"].clone()).collect();
    assert_eq!(values, [Value::Null, json!("10.00")]);
    let lines = json!([{"category": "eggs", "labels": ["local"], "amount": "7.00"}]);
    assert_eq!(enrolment["purchases"][0]["lines"], lines);
    let title = json!({
        "day": "2026-07-01", "stall": null, "basket": null, "amount": "10.00", "lines": [], "state": "held",
        "expires_at": "2026-07-31T22:00:00Z",
    });
    let basket = json!({
        "day": "2026-07-01", "stall": "Marché du vendredi", "basket": "7.00", "amount": "7.00", "lines": lines,
        "state": "held", "expires_at": "2026-07-03T08:00:00Z",
    });
    assert_eq!(enrolment["holds"], json!([title, basket]));
}

fn many_at_once_on_one_purse_stay_exact(world: World) {
    let town = town(world);
    let running = town.new_card();
    let (worker, till, token) = (town.worker.clone(), town.tills[0].clone(), running.token.clone());
    let asked = path(&running.enrolment);
    // titles, baskets and purchases race for 60.00, each of 5.00
    let answers = at_once((0..60).collect(), move |n| match n % 3 {
        0 => worker.post_once(&asked, json!({"values": ["5.00"]})),
        1 => till.hold(&token, 500),
        _ => till.redeem(&token, 500),
    });
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    let lost = answers.iter().filter(|answer| answer.status == 409);
    assert!(lost.clone().all(|answer| answer.json()["code"] == "insufficient_balance"));
    assert_eq!((won, lost.count()), (12, 48));
    assert_eq!(town.balance(&running.enrolment), 0);
    let held: i64 =
        town.enrolment(&running.enrolment)["holds"].as_array().unwrap().iter().map(|h| cents(&h["amount"])).sum();
    assert_eq!(held, cents(&town.budget()["total"]["outstanding"]));
    town.world.verify();
}

fn one_at_many_tills_at_once_pays_once(world: World) {
    let town = town(world);
    let running = town.new_card();
    let title = titles(&town, &running.enrolment, &["10.00"]).remove(0);
    let (tills, worker, lost) = (town.tills.clone(), town.worker.clone(), title.clone());
    let answers = at_once((0..60).collect(), move |n: usize| match n {
        30 => worker.act_once(&format!("/api/v1/vouchers/{}/replace", lost.id)),
        _ => tills[n % 2].redeem_in_part(&lost.token, 300),
    });
    let replaced = answers[30].status == 201;
    let sold = answers.iter().enumerate().filter(|(n, answer)| *n != 30 && answer.status == 201).count();
    // bought with, or replaced before: then the new one has the money
    assert_eq!(sold + usize::from(replaced), 1);
    if replaced {
        let new = card(&answers[30].json());
        town.tills[0].redeem(&new.token, 300).expect(201);
    }
    assert_eq!(town.balance(&running.enrolment), 5700);
    town.world.verify();
}
