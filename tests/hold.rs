//! Baskets set aside until they are fetched: what they take, what frees them, and that no cent is spent twice.

use primeur::kit::id::EnrolmentId;
use primeur::{allowance, hold, schedule};
use serde_json::{Value, json};

use crate::concurrency::at_once;
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Card, Setup, Till, rules};
use crate::support::{Answer, Town, World, cents, id, on_both_databases};

on_both_databases!(
    what_is_set_aside_cannot_be_spent_twice,
    a_basket_that_is_fetched_is_a_purchase_paid_out_of_what_was_set_aside,
    whose_time_is_over_is_free_before_the_scheduler_comes,
    it_never_stands_longer_than_the_money_it_is_made_of,
    what_is_freed_of_a_closed_window_goes_back_to_its_agreements,
    a_void_gives_back_to_the_purse_what_was_set_aside,
    a_void_after_the_window_gives_days_of_grace,
    either_side_may_give_it_up_and_nobody_else,
    a_household_that_leaves_gives_back_what_is_set_aside_or_fetches_it,
    nobody_is_erased_whose_basket_waits,
    a_basket_set_aside_in_one_month_and_fetched_in_the_next_is_a_purchase_of_the_next,
    one_s_own_list_is_newest_first_by_state_and_nobody_else_s,
    a_repeat_gets_the_first_answer_whatever_became_of_it,
    two_hundred_at_once_on_one_purse_stay_exact,
    a_basket_that_is_fetched_and_given_up_at_once_is_one_of_the_two,
);

/// 60 € a month, in equal shares of two agreements; two days for a basket.
pub fn town(world: World) -> Town {
    Town::with(world, Setup::setting_aside())
}

pub fn path(hold: &str, rest: &str) -> String {
    format!("/api/v1/holds/{hold}{rest}")
}

pub fn hand_over(till: &Till, hold: &str, body: Value) -> Answer {
    till.client.post_once(&path(hold, "/capture"), body)
}

pub fn state(till: &Till, hold: &str) -> String {
    till.client.get(&path(hold, "")).expect(200)["state"].as_str().unwrap().to_owned()
}

/// What households have in hand, in all agreements.
pub fn outstanding(town: &Town) -> i64 {
    cents(&town.budget()["total"]["outstanding"])
}

fn gives_back_household(town: &Town, card: &Card) -> String {
    town.enrolment(&card.enrolment)["household_id"].as_str().unwrap().to_owned()
}

fn what_is_set_aside_cannot_be_spent_twice(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = till.hold(&card.token, 2540).expect(201);
    let expected = json!({
        "id": held["id"], "stall_id": till.stall, "display": {"accepted": true, "basket": "25.40"}, "basket": "25.40", "covered": "25.40", "to_collect": "0.00",
        "lines": [], "state": "held", "at": "2026-07-01T08:00:00Z", "expires_at": "2026-07-03T08:00:00Z",
    });
    assert_eq!(held, expected);
    assert_eq!(till.client.get(&path(&id(&held), "")).expect(200), expected);
    // 60.00 - 25.40
    assert_eq!((town.balance(&card.enrolment), outstanding(&town)), (3460, 6000));
    let shown = town.enrolment(&card.enrolment)["holds"].clone();
    let expires_at = &held["expires_at"];
    let own = json!([{"id": held["id"], "voucher_id": card.id, "amount": "25.40", "expires_at": expires_at}]);
    assert_eq!(shown, own);
    till.redeem(&card.token, 3461).refused(409, "insufficient_balance");
    till.hold(&card.token, 3461).refused(409, "insufficient_balance");
    let sold = town.tills[1].redeem_in_part(&card.token, 5000).expect(201);
    assert_eq!((&sold["covered"], &sold["hold_id"]), (&json!("34.60"), &Value::Null));
    assert_eq!((town.balance(&card.enrolment), outstanding(&town)), (0, 2540));
    // the shares of 25.40 lie in an account of each agreement
    let mut sql = Sql::of(&town.world);
    assert_eq!(sql.number("SELECT count(*) FROM accounts WHERE kind = 'reserved' AND balance_cents = 1270"), 2);
    town.world.verify();
}

fn a_basket_that_is_fetched_is_a_purchase_paid_out_of_what_was_set_aside(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let mut basket = till.basket(&card.token, 2540, false);
    basket["lines"] = json!([
        {"category": "eggs", "labels": ["organic", "local"], "amount": "5.40"}, {"category": "dairy", "amount": "20"}
    ]);
    let held = id(&till.client.post_once("/api/v1/holds", basket).expect(201));
    till.redeem(&card.token, 3460).expect(201);
    town.world.set_clock("2026-07-02T16:00:00Z");
    let sold = till.capture(&held).expect(201);
    let lines = json!([
        {"category": "eggs", "labels": ["local", "organic"], "amount": "5.40"},
        {"category": "dairy", "labels": [], "amount": "20.00"}
    ]);
    assert_eq!((&sold["covered"], &sold["to_collect"], &sold["lines"]), (&json!("25.40"), &json!("0.00"), &lines));
    assert_eq!((&sold["hold_id"], &sold["at"]), (&json!(held), &json!("2026-07-02T16:00:00Z")));
    assert_eq!(sold["void_until"], "2026-07-02T17:00:00Z", "the window is reckoned from the handing over");
    assert_eq!(till.client.get(&format!("/api/v1/redemptions/{}", id(&sold))).expect(200), sold);
    assert_eq!(state(till, &held), "captured");
    assert_eq!((town.balance(&card.enrolment), outstanding(&town)), (0, 0));
    till.capture(&held).refused(409, "hold_state");
    till.client.act(&path(&held, "/release")).refused(409, "hold_state");
    // 60.00 in equal shares, all of it bought; two purchases
    for agreement in [0, 1] {
        assert_eq!(
            town.report(agreement, "2026-07")["control"],
            json!({
                "lines": 2, "redeemed": "30.00", "voided": "0.00", "net": "30.00"
            })
        );
    }
    assert_eq!(town.enrolment(&card.enrolment)["holds"], json!([]));
    town.world.verify();
}

fn whose_time_is_over_is_free_before_the_scheduler_comes(world: World) {
    let town = town(world);
    let (card, other) = (town.new_card(), town.new_card());
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 4000).expect(201));
    let second = id(&till.hold(&other.token, 4000).expect(201));
    let asks = town.new_card();
    till.hold(&asks.token, 6000).expect(201);
    town.world.set_clock("2026-07-03T07:59:59Z");
    assert_eq!((state(till, &held).as_str(), till.check(&card.token)["accepted"].clone()), ("held", json!(true)));
    assert_eq!(till.check(&asks.token)["code"], "insufficient_balance");
    till.redeem(&card.token, 2001).refused(409, "insufficient_balance");
    town.world.set_clock("2026-07-03T08:00:00Z");
    assert_eq!(till.check(&asks.token)["accepted"], json!(true));
    assert_eq!(state(till, &held), "released");
    till.capture(&held).refused(409, "hold_state");
    till.client.act(&path(&held, "/release")).expect(204);
    // nobody has swept yet: the whole month is there for a purchase, and for another basket
    till.redeem(&card.token, 6000).expect(201);
    till.hold(&other.token, 6000).expect(201);
    assert_eq!(town.balance(&card.enrolment), 0);
    let by_state = |state: &str| {
        let list = till.client.get(&format!("/api/v1/holds?state={state}")).expect(200);
        list["items"].as_array().unwrap().len()
    };
    assert_eq!((by_state("held"), by_state("released"), by_state("captured")), (1, 3, 0));
    assert_eq!(state(till, &second), "released");
    assert_eq!(town.world.advance_to("2026-07-05T08:00:00Z").freed, 2);
    assert_eq!(schedule::run(&town.world.state.db).unwrap().freed, 0);
    assert_eq!(town.balance(&other.enrolment), 6000);
    town.world.verify();
}

fn it_never_stands_longer_than_the_money_it_is_made_of(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T12:00:00Z");
    let held = till.hold(&card.token, 4000).expect(201);
    // midnight in Paris, ten hours on
    assert_eq!(held["expires_at"], "2026-07-31T22:00:00Z");
    let done = town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!((done.freed, done.closed), (1, 2));
    till.capture(&id(&held)).refused(409, "hold_state");
    // July went back whole: 30.00 of each agreement
    assert_eq!((town.figure(0, "returned"), town.figure(1, "returned")), (3000, 3000));
    assert_eq!((town.balance(&card.enrolment), outstanding(&town)), (6000, 6000));
    town.world.verify();
}

fn what_is_freed_of_a_closed_window_goes_back_to_its_agreements(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T12:00:00Z");
    till.hold(&card.token, 4000).expect(201);
    town.world.set_clock("2026-07-31T22:00:00Z");
    // the window closes first: 20.00 go back
    let enrolment: EnrolmentId = card.enrolment.parse().unwrap();
    let db = &town.world.state.db;
    assert_eq!(db.write(|conn, now| allowance::close(conn, now, &[enrolment])).unwrap(), 2);
    assert_eq!(cents(&town.budget()["total"]["returned"]), 2000);
    town.world.verify();
    assert_eq!(db.write(|conn, now| hold::free_expired(conn, now, &[enrolment])).unwrap(), 1);
    assert_eq!(cents(&town.budget()["total"]["returned"]), 6000);
    assert_eq!(town.balance(&card.enrolment), 0);
    town.world.verify();
}

fn a_void_gives_back_to_the_purse_what_was_set_aside(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let held = id(&till.hold(&card.token, 2541).expect(201));
    let sold = id(&hand_over(till, &held, json!({"basket": "10.01"})).expect(201));
    assert_eq!(town.balance(&card.enrolment), 4999);
    let undone = till.void(&sold).expect(200);
    assert_eq!(till.void(&sold).expect(200), undone);
    assert_eq!((town.balance(&card.enrolment), state(till, &held).as_str()), (6000, "captured"));
    assert_eq!(town.figure(0, "redeemed"), 0);
    till.capture(&held).refused(409, "hold_state");
    let mut sql = Sql::of(&town.world);
    assert_eq!(sql.number("SELECT count(*) FROM accounts WHERE kind = 'reserved' AND balance_cents > 0"), 0);
    town.world.verify();
}

fn a_void_after_the_window_gives_days_of_grace(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T21:00:00Z");
    let held = id(&till.hold(&card.token, 2540).expect(201));
    town.world.set_clock("2026-07-31T21:30:00Z");
    let sold = id(&till.capture(&held).expect(201));
    town.world.advance_to("2026-07-31T22:15:00Z");
    till.void(&sold).expect(200);
    // seven days from 1 August, and August beside
    let spendable = |basket: i64| till.redeem(&card.token, basket);
    spendable(8541).refused(409, "insufficient_balance");
    town.world.set_clock("2026-08-08T21:59:59Z");
    spendable(8540).expect(201);
    town.world.verify();
    town.world.advance_to("2026-08-08T22:00:00Z");
    town.world.verify();
}

fn either_side_may_give_it_up_and_nobody_else(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let [first, second] = [1000, 2000].map(|basket| id(&till.hold(&card.token, basket).expect(201)));
    let other = &town.tills[1];
    for rest in ["", "/capture", "/release"] {
        let answer = match rest {
            "" => other.client.get(&path(&first, rest)),
            "/capture" => other.capture(&first),
            _ => other.client.act(&path(&first, rest)),
        };
        answer.refused(404, "not_found");
    }
    for _ in 0..2 {
        till.client.act(&path(&first, "/release")).expect(204);
        assert_eq!(town.balance(&card.enrolment), 4000);
    }
    // the structure sees how much and until when, not what and where
    let shown = town.enrolment(&card.enrolment)["holds"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["id"], json!(second));
    town.worker.get(&path(&second, "")).refused(403, "forbidden");
    town.worker.act(&path(&second, "/release")).expect(204);
    assert_eq!(town.balance(&card.enrolment), 6000);
    till.capture(&second).refused(409, "hold_state");
    town.world.verify();
}

fn a_household_that_leaves_gives_back_what_is_set_aside_or_fetches_it(world: World) {
    let town = town(world);
    let till = &town.tills[0];
    let leave = |card: &Card, return_issued: bool| {
        let body = json!({"return_issued": return_issued});
        town.worker.post(&format!("/api/v1/enrolments/{}/leave", card.enrolment), body).expect(200)
    };
    let (gives_back, keeps, suspended) = (town.new_card(), town.new_card(), town.new_card());
    let [first, second, third] =
        [&gives_back, &keeps, &suspended].map(|card| id(&till.hold(&card.token, 2540).expect(201)));
    let left = leave(&gives_back, true);
    assert_eq!(left["holds"], json!([]));
    till.capture(&first).refused(409, "hold_state");
    // what another keeps and has set aside is its own
    assert_eq!(leave(&keeps, false)["holds"].as_array().unwrap().len(), 1);
    till.capture(&second).expect(201);
    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", suspended.enrolment)).expect(200);
    leave(&suspended, false);
    till.capture(&third).refused(409, "hold_state");
    // 60.00 of each of two went back, and the third has 34.60 left
    assert_eq!(cents(&town.budget()["total"]["returned"]), 12_000);
    assert_eq!((town.balance(&keeps.enrolment), outstanding(&town)), (3460, 3460));
    town.world.verify();
    // untouched and given back whole: it may come again the same day
    assert_eq!(town.enrol_household(gives_back_household(&town, &gives_back).as_str()).status, 201);
    // who had left may give back what it kept, with what is set aside
    let held = id(&till.hold(&keeps.token, 1000).expect(201));
    leave(&keeps, true);
    till.capture(&held).refused(409, "hold_state");
    assert_eq!(cents(&town.budget()["total"]["returned"]), 15_460);
    town.world.verify();
}

fn nobody_is_erased_whose_basket_waits(world: World) {
    let town = town(world);
    let card = town.new_card();
    let household = gives_back_household(&town, &card);
    let held = id(&town.tills[0].hold(&card.token, 6000).expect(201));
    let leave = json!({"return_issued": false});
    town.worker.post(&format!("/api/v1/enrolments/{}/leave", card.enrolment), leave).expect(200);
    let erase = || town.worker.act(&format!("/api/v1/households/{household}/erase"));
    erase().refused(409, "still_enrolled");
    town.tills[0].capture(&held).expect(201);
    erase().expect(204);
    town.world.verify();
}

fn a_basket_set_aside_in_one_month_and_fetched_in_the_next_is_a_purchase_of_the_next(world: World) {
    let mut rules = rules("60.00", "to_end");
    rules["hold_hours"] = json!(48);
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T12:00:00Z");
    let held = id(&till.hold(&card.token, 2540).expect(201));
    town.world.advance_to("2026-08-01T08:00:00Z");
    till.capture(&held).expect(201);
    let [july, august] = ["2026-07", "2026-08"].map(|month| town.report(0, month));
    // 30.00 of July are in the household's hands at its end, set aside or not; half of 25.40 is bought in August
    let block = |report: &Value| {
        ["opening", "issued", "redeemed", "returned", "closing"].map(|k| cents(&report["outstanding"][k]))
    };
    assert_eq!(block(&july), [0, 3000, 0, 0, 3000]);
    assert_eq!(block(&august), [3000, 3000, 1270, 0, 4730]);
    assert_eq!((july["control"]["lines"].clone(), august["control"]["lines"].clone()), (json!(0), json!(1)));
    town.world.verify();
}

fn one_s_own_list_is_newest_first_by_state_and_nobody_else_s(world: World) {
    let town = town(world);
    let (till, other) = (&town.tills[0], &town.tills[1]);
    let second = Till { stall: town.open_stall(&till.client, "Halle"), ..till.clone() };
    let card = town.new_card();
    let holds = [100, 200, 300, 400].map(|basket| id(&till.hold(&card.token, basket).expect(201)));
    let elsewhere = id(&second.hold(&card.token, 500).expect(201));
    let theirs = id(&other.hold(&card.token, 600).expect(201));
    till.capture(&holds[1]).expect(201);
    till.client.act(&path(&holds[2], "/release")).expect(204);
    let ids = |till: &Till, query: &str| {
        let list = till.client.get(&format!("/api/v1/holds{query}")).expect(200);
        list["items"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    let [a, b, c, d] = holds.clone();
    assert_eq!(ids(till, ""), [&elsewhere, &d, &c, &b, &a].map(String::clone));
    assert_eq!(ids(till, "?state=held"), [&elsewhere, &d, &a].map(String::clone));
    assert_eq!(ids(till, "?state=captured"), [b]);
    assert_eq!(ids(till, "?state=released"), [c]);
    assert_eq!(ids(till, &format!("?stall_id={}", second.stall)), [elsewhere]);
    assert_eq!(ids(other, ""), [theirs]);
    assert_eq!(ids(other, &format!("?stall_id={}", till.stall)), Vec::<String>::new());
    let page = till.client.get("/api/v1/holds?state=held&limit=2").expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(ids(till, &format!("?state=held&limit=2&cursor={cursor}")), [a]);
}

fn a_repeat_gets_the_first_answer_whatever_became_of_it(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let (key, basket) = (new_key(), till.basket(&card.token, 1234, false));
    let hold = || till.client.post_with_key("/api/v1/holds", &key, basket.clone());
    let first = hold();
    let held = id(&first.json());
    let capture_key = new_key();
    let capture = |body: Value| till.client.post_with_key(&path(&held, "/capture"), &capture_key, body);
    let sold = capture(json!({"basket": "10.00"}));
    assert_eq!((sold.status, sold.header("idempotent-replay")), (201, None));
    till.void(&id(&sold.json())).expect(200);
    for (answer, again) in [(&first, hold()), (&sold, capture(json!({"basket": "10.00"})))] {
        assert_eq!((again.status, again.header("idempotent-replay")), (201, Some("true")));
        assert_eq!(again.bytes, answer.bytes);
    }
    capture(json!({"basket": "9.00"})).refused(409, "idempotency_conflict");
    till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()).refused(409, "idempotency_conflict");
    assert_eq!(town.balance(&card.enrolment), 6000);
    town.world.verify();
}

fn two_hundred_at_once_on_one_purse_stay_exact(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = town.tills[0].clone();
    // forty baskets of 1.00 and one cent each more, over at different times
    let held: Vec<String> = (0..40)
        .map(|n| {
            town.world.pass_seconds(60);
            id(&till.hold(&card.token, 100 + n).expect(201))
        })
        .collect();
    // 40.00 + 0.01 × (0 + … + 39) = 47.80
    assert_eq!(town.balance(&card.enrolment), 6000 - 4780);
    // half of them are over
    town.world.set_clock("2026-07-03T08:20:30Z");
    enum Job {
        Capture(String),
        Release(String),
        Buy,
        Sweep,
    }
    let mut jobs = Vec::new();
    for hold in &held {
        jobs.extend([Job::Capture(hold.clone()), Job::Release(hold.clone()), Job::Buy, Job::Sweep, Job::Buy]);
    }
    let db = town.world.state.db.clone();
    let token = card.token.clone();
    let answers = at_once(jobs, move |job| match job {
        Job::Capture(hold) => till.capture(&hold),
        Job::Release(hold) => till.client.act(&path(&hold, "/release")),
        Job::Buy => till.redeem_in_part(&token, 211),
        Job::Sweep => {
            schedule::run(&db).unwrap();
            till.client.get("/api/v1/holds?limit=1")
        }
    });
    let known = ["hold_state", "insufficient_balance"];
    let refused = answers.iter().filter(|answer| answer.status == 409);
    assert!(refused.clone().all(|answer| known.contains(&answer.json()["code"].as_str().unwrap())));
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201 | 204 | 409)));
    let bought: i64 =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| cents(&answer.json()["covered"])).sum();
    let till = &town.tills[0];
    // none of those that were over was fetched, and of the others each was fetched or given up
    for (n, hold) in held.iter().enumerate() {
        let settled = state(till, hold);
        assert!(if n < 20 { settled == "released" } else { settled != "held" }, "{n}: {settled}");
    }
    assert_eq!(town.balance(&card.enrolment), 6000 - bought);
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), bought);
    town.world.verify();
}

fn a_basket_that_is_fetched_and_given_up_at_once_is_one_of_the_two(world: World) {
    let town = town(world);
    let card = town.new_card();
    let till = town.tills[0].clone();
    let (worker, held) = (town.worker.clone(), id(&till.hold(&card.token, 2500).expect(201)));
    let hold = held.clone();
    let answers = at_once((0..60).collect(), move |n| match n % 3 {
        0 => till.capture(&hold),
        1 => worker.act(&path(&hold, "/release")),
        _ => till.client.act(&path(&hold, "/release")),
    });
    let captured = answers.iter().filter(|answer| answer.status == 201).count();
    let settled = state(&town.tills[0], &held);
    let expected = if captured == 1 { ("captured", 3500) } else { ("released", 6000) };
    assert_eq!((settled.as_str(), town.balance(&card.enrolment)), expected, "{captured} captures");
    assert!(captured <= 1);
    town.world.verify();
}
