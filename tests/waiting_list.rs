//! The waiting list: strict in its order, moved up by whatever money comes free.

use std::thread;

use primeur::schedule;
use serde_json::{Value, json};

use crate::concurrency::until_waiting;
use crate::support::sql::Sql;
use crate::support::town::{Setup, rules_with};
use crate::support::{Town, World, cents, id, on_both_databases};

on_both_databases!(
    who_comes_later_waits_behind_and_a_leaver_s_money_moves_the_list_up,
    a_new_agreement_moves_the_list_up,
    who_waits_until_too_late_is_told_so,
    who_asks_for_what_no_agreement_covers_holds_up_nobody,
    of_twenty_at_once_only_those_get_in_for_whom_there_is_money,
    who_waits_keeps_the_promise_that_was_asked_for,
);

fn state(town: &Town, enrolment: &str) -> String {
    town.enrolment(enrolment)["state"].as_str().unwrap().to_owned()
}

fn leave(town: &Town, enrolment: &str) -> Value {
    town.worker.post(&format!("/api/v1/enrolments/{enrolment}/leave"), json!({"return_issued": true})).expect(200)
}

/// Per adult only, so that households differ in what they need.
fn per_adult(agreements: Vec<(i64, i32)>) -> Setup {
    let rules = rules_with(&[("amount.per_household", json!("0.00")), ("amount.per_adult", json!("30.00"))]);
    Setup { rules, funding_rule: "priority", agreements, producers: 0, ..Setup::default() }
}

fn who_comes_later_waits_behind_and_a_leaver_s_money_moves_the_list_up(world: World) {
    let town = Town::with(world, per_adult(vec![(60_000, 1)]));
    // six months of 60.00 leave 240.00
    let (first, _) = town.enrol_many(2, 0);
    let (second, waits) = town.enrol_many(2, 0);
    assert_eq!(waits, "waiting");
    assert_eq!(town.enrolment(&second)["allowances"], json!([]));
    town.world.pass_minutes(1);
    // 180.00 would be there for one adult, who is not let past
    let (third, waits) = town.enrol_many(1, 0);
    assert_eq!(waits, "waiting");
    schedule::run(&town.world.state.db).unwrap();
    assert_eq!((state(&town, &second), state(&town, &third)), ("waiting".to_owned(), "waiting".to_owned()));
    town.worker.post_once("/api/v1/vouchers", json!({"enrolment_id": second})).refused(409, "enrolment_state");
    assert_eq!(town.budget()["enrolments"]["waiting"], 2);

    town.world.set_clock("2026-07-10T08:00:00Z");
    leave(&town, &first);
    for waited in [&second, &third] {
        let enrolment = town.enrolment(waited);
        assert_eq!(enrolment["state"], "active");
        assert_eq!(enrolment["activated_at"], "2026-07-10T08:00:00Z");
        assert_eq!((&enrolment["waiting_since"], &enrolment["starts_on"]), (&Value::Null, &json!("2026-07-10")));
    }
    assert_eq!(town.figure(0, "available"), 60_000 - 36_000 - 18_000);
    // one who waits and leaves is out of the list
    let (fourth, waits) = town.enrol_many(2, 0);
    assert_eq!(waits, "waiting");
    assert_eq!(leave(&town, &fourth)["state"], "left");
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 0);
    town.world.verify();
}

fn who_asks_for_what_no_agreement_covers_holds_up_nobody(world: World) {
    // the agreement ends with 2026, the programme with 2027
    let terms = vec![("2026-01-01", "2026-12-31", 31)];
    let mut town = Town::with(world, Setup { terms, ..per_adult(vec![(600_000, 1)]) });
    let body = json!({"household_id": town.household(1, 0), "programme_id": town.programme, "starts_on": "2027-03-01"});
    let later = town.worker.post_once("/api/v1/enrolments", body).expect(201);
    assert_eq!(later["state"], "waiting");
    assert_eq!(town.enrol_many(1, 0).1, "active");
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 0);
    // an agreement over its months lets it in
    town.sign(600_000, 1);
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 1);
    assert_eq!(state(&town, &id(&later)), "active");
    town.world.verify();
}

fn a_new_agreement_moves_the_list_up(world: World) {
    let mut town = Town::with(world, per_adult(vec![(28_000, 1)]));
    let (first, _) = town.enrol_many(2, 0);
    town.world.pass_minutes(1);
    let (second, _) = town.enrol_many(2, 0);
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 0);
    // 360.00 each: 280.00 are there, 80.00 more are enough for one
    town.sign(8000, 1);
    town.world.set_clock("2026-08-03T08:00:00Z");
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 1);
    assert_eq!((state(&town, &first), state(&town, &second)), ("active".to_owned(), "waiting".to_owned()));
    let months = town.enrolment(&first)["allowances"].clone();
    assert_eq!((&months[0]["starts_on"], &months[5]["ends_on"]), (&json!("2026-08-03"), &json!("2027-01-31")));
    town.sign(36_000, 1);
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 1);
    assert_eq!(state(&town, &second), "active");
    town.world.verify();
}

fn who_waits_until_too_late_is_told_so(world: World) {
    let setup =
        Setup { ends_on: "2026-12-31".to_owned(), agreements: vec![(36_000, 1)], producers: 0, ..Setup::default() };
    let mut town = Town::with(world, setup);
    // all that there is
    let (_, first) = town.enrol_many(1, 0);
    assert_eq!(first, "active");
    let household = town.household(1, 0);
    let waiting = town.enrol_household(&household).expect(201);
    // from August, six months end after the programme does
    town.world.set_clock("2026-07-31T22:00:00Z");
    town.sign(100_000, 1_000);
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 0);
    assert_eq!(state(&town, &id(&waiting)), "ended");
    town.enrol_household(&household).refused(409, "programme_ends_first");
    town.world.verify();
}

fn of_twenty_at_once_only_those_get_in_for_whom_there_is_money(world: World) {
    let town = Town::with(world, Setup { agreements: vec![(54_100, 1), (54_100, 1)], ..Setup::default() });
    let households: Vec<String> = (0..20).map(|_| town.household(1, 0)).collect();
    let enrol = |household: String| {
        let (worker, programme) = (town.worker.clone(), town.programme.clone());
        let body = json!({"household_id": household, "programme_id": programme});
        thread::spawn(move || worker.post_once("/api/v1/enrolments", body).expect(201))
    };
    let enrolled: Vec<_> = households.into_iter().map(enrol).collect();
    let enrolled: Vec<Value> = enrolled.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(enrolled.iter().filter(|e| e["state"] == "active").count(), 3);
    assert_eq!(enrolled.iter().filter(|e| e["state"] == "waiting").count(), 17);
    assert_eq!(cents(&town.budget()["total"]["available"]), 108_200 - 3 * 36_000);
    town.world.verify();
}

fn who_waits_keeps_the_promise_that_was_asked_for(world: World) {
    let town = Town::with(world, per_adult(vec![(36_000, 1)]));
    let (first, _) = town.enrol_many(2, 0);
    let household = town.household(1, 0);
    let waiting = town.enrol_household(&household).expect(201);
    // asked for one adult, in a commune of the programme
    let grown = json!({"adults": 3, "children": 2, "commune": "62498"});
    town.worker.put(&format!("/api/v1/households/{household}"), grown).expect(200);
    leave(&town, &first);
    let moved_up = town.enrolment(&id(&waiting));
    assert_eq!((&moved_up["state"], &moved_up["promised"]), (&json!("active"), &json!("180.00")));
    assert_eq!(moved_up["allowances"][0]["amount"], "30.00");
    town.world.verify();
}

#[test]
fn who_is_let_in_on_postgresql_keeps_the_tariff_that_it_was_given_meanwhile() {
    let mut rules = rules_with(&[]);
    rules["bands"] = json!({"chosen_by": "social_worker", "default": "just", "tariffs": [
        {"code": "low", "price_percent": 35}, {"code": "just", "price_percent": 75}]});
    let setup = Setup { rules, ..per_adult(vec![(36_000, 1)]) };
    let mut town = Town::with(World::on_postgresql(), setup);
    assert_eq!(town.enrol_many(1, 0).1, "active");
    let (waits, waiting) = town.enrol_many(1, 0);
    assert_eq!(waiting, "waiting");
    town.sign(36_000, 1);
    let (mut holder, mut watcher) = (Sql::of(&town.world), Sql::of(&town.world));
    // somebody else moves the money that it is about to be promised
    holder.run("BEGIN; SELECT id FROM accounts WHERE kind = 'available' FOR UPDATE").unwrap();
    let moved_up = thread::scope(|scope| {
        let scheduler = scope.spawn(|| schedule::run(&town.world.state.db).unwrap().moved_up);
        until_waiting(&mut watcher, 1);
        let path = format!("/api/v1/enrolments/{waits}/band");
        assert_eq!(town.worker.put(&path, json!({"band": "low"})).expect(200)["band"], "low");
        holder.run("COMMIT").unwrap();
        scheduler.join().unwrap()
    });
    assert_eq!(moved_up, 1);
    let enrolment = town.enrolment(&waits);
    assert_eq!((&enrolment["state"], &enrolment["band"]), (&json!("active"), &json!("low")));
    town.world.verify();
}
