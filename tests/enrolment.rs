//! A household in a programme: the whole promise committed at once, or a place on the list, in strict order.

use std::thread;

use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::town::{Setup, newcomer, rules_with};
use crate::support::{Client, Town, World, cents, id, on_both_databases};

on_both_databases!(
    the_promise_follows_the_composition_and_is_committed_whole_at_once,
    no_agreement_drifts_a_cent_from_its_share_of_11_2_2_2,
    no_agreement_drifts_a_cent_from_its_third,
    by_priority_the_first_agreement_pays_until_it_is_empty,
    an_agreement_pays_only_the_periods_that_it_covers,
    an_enrolment_that_cannot_be_is_refused_by_name,
    a_later_start_opens_on_its_own_day,
    nobody_enrols_in_a_programme_or_a_household_of_others,
    a_suspended_household_spends_nothing_until_it_is_resumed,
    a_leaver_keeps_what_it_has_in_hand_unless_it_is_taken_back,
    nobody_has_the_same_month_twice_by_leaving_and_coming_back,
    who_leaves_while_suspended_spends_nothing_more,
    a_household_that_grows_keeps_what_it_was_promised,
    a_household_may_come_back_after_leaving_and_after_the_end,
    one_key_sent_twenty_times_at_once_enrols_once,
);

fn state(town: &Town, enrolment: &str) -> String {
    town.enrolment(enrolment)["state"].as_str().unwrap().to_owned()
}

fn leave(town: &Town, enrolment: &str, return_issued: bool) -> Value {
    let path = format!("/api/v1/enrolments/{enrolment}/leave");
    town.worker.post(&path, json!({ "return_issued": return_issued })).expect(200)
}

fn act(town: &Town, enrolment: &str, action: &str) -> crate::support::Answer {
    town.worker.act(&format!("/api/v1/enrolments/{enrolment}/{action}"))
}

fn the_promise_follows_the_composition_and_is_committed_whole_at_once(world: World) {
    let amounts = json!({"per_household": "20.00", "per_adult": "15.00", "per_child": "10.50"});
    let town = Town::with(world, Setup { rules: rules_with(&[("amount", amounts)]), producers: 0, ..Setup::default() });
    // 20.00 + 2 × 15.00 + 3 × 10.50 = 81.50 a month, six months: 489.00
    let enrolment = town.enrol_household(&town.household(2, 3)).expect(201);
    assert_eq!((&enrolment["state"], &enrolment["promised"]), (&json!("active"), &json!("489.00")));
    let allowances = enrolment["allowances"].as_array().unwrap();
    assert_eq!(allowances.len(), 6);
    for (number, allowance) in (1..).zip(allowances) {
        let found = ["period", "state", "amount", "balance"].map(|key| &allowance[key]);
        assert_eq!(found, [&json!(number), &json!("committed"), &json!("81.50"), &json!("0.00")]);
    }
    assert_eq!(town.figure(0, "committed") + town.figure(1, "committed"), 48_900);
    // 20.00 + 15.00, six months: 210.00
    assert_eq!(town.enrol()["promised"], "210.00");
    assert_eq!(cents(&town.budget()["total"]["committed"]), 69_900);
    assert_eq!(cents(&town.budget()["total"]["available"]), 2_000_000 - 69_900);
    town.world.verify();
}

fn no_agreement_drifts_a_cent_from_its_share_of_11_2_2_2(world: World) {
    shares_hold(world, &[11, 2, 2, 2]);
}

fn no_agreement_drifts_a_cent_from_its_third(world: World) {
    shares_hold(world, &[1, 1, 1]);
}

fn shares_hold(world: World, weights: &[i32]) {
    let amounts = json!({"per_household": "7.01", "per_adult": "3.33", "per_child": "1.07"});
    let rules = rules_with(&[("amount", amounts), ("period.count", json!(3))]);
    let agreements = weights.iter().map(|weight| (1_000_000, *weight)).collect();
    let town = Town::with(world, Setup { rules, agreements, producers: 0, ..Setup::default() });
    let whole: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut promised = 0;
    for number in 0..24 {
        let enrolment = town.enrol_household(&town.household(1 + number % 3, number % 5)).expect(201);
        promised += cents(&enrolment["promised"]);
        let budget = town.budget();
        let committed = budget["agreements"].as_array().unwrap().iter().map(|money| cents(&money["committed"]));
        for (committed, weight) in committed.clone().zip(weights) {
            let drift = committed * whole - promised * i64::from(*weight);
            assert!(drift.abs() <= whole, "{committed} of {promised} is more than a cent from {weight} in {whole}");
        }
        assert_eq!(committed.sum::<i64>(), promised);
    }
    town.world.verify();
}

fn by_priority_the_first_agreement_pays_until_it_is_empty(world: World) {
    let agreements = vec![(40_000, 1), (100_000, 1)];
    let town = Town::with(world, Setup { funding_rule: "priority", agreements, producers: 0, ..Setup::default() });
    let committed = || (town.figure(0, "committed"), town.figure(1, "committed"));
    town.enrol();
    assert_eq!(committed(), (36_000, 0));
    // 40.00 of the first are left: the month that they do not fill is filled from the second
    town.enrol();
    assert_eq!(committed(), (40_000, 32_000));
    town.enrol();
    assert_eq!(committed(), (40_000, 68_000));
    // 320.00 are left, a household needs 360.00
    assert_eq!(town.enrol()["state"], "waiting");
    assert_eq!(committed(), (40_000, 68_000));
    town.world.verify();
}

fn an_agreement_pays_only_the_periods_that_it_covers(world: World) {
    let setup = Setup {
        agreements: vec![(100_000, 1), (100_000, 1), (100_000, 2)],
        terms: vec![("2026-07-01", "2026-09-30", 0), ("2026-10-01", "2027-03-31", 0), ("2026-01-01", "2027-12-31", 0)],
        producers: 0,
        ..Setup::default()
    };
    let town = Town::with(world, setup);
    let committed = || [0, 1, 2].map(|agreement| town.figure(agreement, "committed"));
    // July to September, 180.00: 1 to 2 between the first and the third; October to December: the second and the third
    town.enrol();
    assert_eq!(committed(), [6000, 6000, 24_000]);
    // from August: two months, four months
    town.world.set_clock("2026-08-10T08:00:00Z");
    town.enrol();
    assert_eq!(committed(), [6000 + 4000, 6000 + 8000, 24_000 + 8000 + 16_000]);
    town.world.verify();
}

fn an_enrolment_that_cannot_be_is_refused_by_name(world: World) {
    let town = Town::with(world, Setup { ends_on: "2026-12-31".to_owned(), producers: 0, ..Setup::default() });
    let enrol = |household: &str, starts_on: &str| {
        let body = json!({"household_id": household, "programme_id": town.programme, "starts_on": starts_on});
        town.worker.post_once("/api/v1/enrolments", body)
    };
    let household = town.household(1, 0);
    enrol(&household, "2026-06-30").refused(409, "start_in_past");
    enrol(&household, "2026-08-01").refused(409, "programme_ends_first");
    let elsewhere = json!({"adults": 1, "children": 0, "commune": "62498"});
    let elsewhere = id(&town.worker.post("/api/v1/households", elsewhere).expect(201));
    town.enrol_household(&elsewhere).refused(409, "outside_territory");
    enrol(&household, "2026-07-31").expect(201);
    town.enrol_household(&household).refused(409, "already_enrolled");
    // half past midnight in Paris: yesterday is past, though in UTC it is still today
    town.world.set_clock("2026-07-01T22:30:00Z");
    enrol(&town.household(1, 0), "2026-07-01").refused(409, "start_in_past");
    town.manager.act(&format!("/api/v1/programmes/{}/close", town.programme)).expect(200);
    town.enrol_household(&town.household(1, 0)).refused(409, "programme_not_open");
    town.world.verify();
}

fn a_later_start_opens_on_its_own_day(world: World) {
    let town = Town::new(world);
    let (household, till) = (town.household(1, 0), &town.tills[0]);
    let body = json!({"household_id": household, "programme_id": town.programme, "starts_on": "2026-09-15"});
    let enrolment = town.worker.post_once("/api/v1/enrolments", body).expect(201);
    let first = &enrolment["allowances"][0];
    assert_eq!((&first["starts_on"], &first["ends_on"]), (&json!("2026-09-15"), &json!("2026-09-30")));
    assert_eq!(enrolment["allowances"][5]["ends_on"], "2027-02-28");
    let card = town.card_for(&id(&enrolment));
    town.world.advance_to("2026-09-14T21:59:59Z");
    till.redeem(&card.token, 100).refused(409, "not_started");
    assert_eq!(till.check(&card.code)["code"], "not_started");
    town.world.set_clock("2026-09-14T22:00:00Z");
    till.redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn nobody_enrols_in_a_programme_or_a_household_of_others(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let (_, manager) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    let (_, stranger) = newcomer(&town.world, &manager, "social_structure", "Autre CCAS");
    let household = json!({"adults": 1, "children": 0, "commune": "62427"});
    let theirs = id(&stranger.post("/api/v1/households", household).expect(201));
    let enrol = |worker: &Client, household: &str| {
        worker.post_once("/api/v1/enrolments", json!({"household_id": household, "programme_id": town.programme}))
    };
    enrol(&stranger, &theirs).refused(404, "not_found");
    enrol(&town.worker, &theirs).refused(404, "not_found");
    enrol(&stranger, &town.household(1, 0)).refused(404, "not_found");
    let ours = id(&town.enrol());
    stranger.get(&format!("/api/v1/enrolments/{ours}")).refused(404, "not_found");
    stranger.act(&format!("/api/v1/enrolments/{ours}/suspend")).refused(404, "not_found");
    let leave = json!({"return_issued": true});
    stranger.post(&format!("/api/v1/enrolments/{ours}/leave"), leave).refused(404, "not_found");
    assert_eq!(stranger.get("/api/v1/enrolments").expect(200)["items"], json!([]));
    assert_eq!(state(&town, &ours), "active");
    town.world.verify();
}

fn a_suspended_household_spends_nothing_until_it_is_resumed(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    act(&town, &card.enrolment, "resume").refused(409, "enrolment_state");
    assert_eq!(act(&town, &card.enrolment, "suspend").expect(200)["state"], "suspended");
    act(&town, &card.enrolment, "suspend").refused(409, "enrolment_state");
    till.redeem(&card.token, 100).refused(409, "voucher_suspended");
    assert_eq!(till.check(&card.code)["code"], "voucher_suspended");
    // its months come and go meanwhile
    town.world.advance_to("2026-07-20T08:00:00Z");
    town.world.advance_to("2026-08-02T08:00:00Z");
    assert_eq!(town.balance(&card.enrolment), 6000);
    assert_eq!(cents(&town.budget()["total"]["returned"]), 6000);
    assert_eq!(act(&town, &card.enrolment, "resume").expect(200)["state"], "active");
    till.redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn a_leaver_keeps_what_it_has_in_hand_unless_it_is_taken_back(world: World) {
    let town = Town::new(world);
    let (keeps, returns, till) = (town.new_card(), town.new_card(), &town.tills[0]);
    for card in [&keeps, &returns] {
        till.redeem(&card.token, 1000).expect(201);
    }
    let left = leave(&town, &keeps.enrolment, false);
    assert_eq!((&left["state"], &left["left_at"]), (&json!("left"), &json!("2026-07-01T08:00:00Z")));
    assert_eq!(town.balance(&keeps.enrolment), 5000);
    let left = leave(&town, &returns.enrolment, true);
    assert_eq!(left["allowances"][0]["balance"], "0.00");
    for allowance in &left["allowances"].as_array().unwrap()[1..] {
        assert_eq!(allowance["state"], "released");
    }
    let figures =
        || ["committed", "issued", "redeemed", "returned", "outstanding"].map(|n| cents(&town.budget()["total"][n]));
    assert_eq!(figures(), [0, 12_000, 2000, 5000, 5000]);
    assert_eq!(town.budget()["enrolments"]["left"], 2);

    till.redeem(&keeps.token, 4000).expect(201);
    till.redeem(&returns.token, 1).refused(409, "voucher_expired");
    for card in [&keeps, &returns] {
        for action in ["suspend", "resume"] {
            act(&town, &card.enrolment, action).refused(409, "enrolment_state");
        }
        // a repeat gets the first answer, and moves nothing
        assert_eq!(leave(&town, &card.enrolment, false)["left_at"], "2026-07-01T08:00:00Z");
    }
    // what it kept is over with its month
    town.world.advance_to("2026-07-31T22:00:00Z");
    till.redeem(&keeps.token, 1).refused(409, "voucher_expired");
    assert_eq!(figures(), [0, 12_000, 6000, 6000, 0]);
    assert_eq!((state(&town, &keeps.enrolment), town.balance(&keeps.enrolment)), ("left".to_owned(), 0));
    town.world.verify();
}

fn a_household_that_grows_keeps_what_it_was_promised(world: World) {
    let rules = rules_with(&[("amount.per_adult", json!("10.00"))]);
    let town = Town::with(world, Setup { rules, producers: 0, ..Setup::default() });
    let household = town.household(2, 0);
    let first = town.enrol_household(&household).expect(201);
    let grown = json!({"adults": 4, "children": 2, "commune": "62498"});
    town.worker.put(&format!("/api/v1/households/{household}"), grown).expect(200);
    assert_eq!(town.enrolment(&id(&first)), first);
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(town.balance(&id(&first)), 8000);
    town.world.verify();
}

fn a_household_may_come_back_after_leaving_and_after_the_end(world: World) {
    let rules = rules_with(&[("period.count", json!(1))]);
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let (household, till) = (town.household(1, 0), &town.tills[0]);
    let first = town.card_for(&id(&town.enrol_household(&household).expect(201)));
    leave(&town, &first.enrolment, true);
    let second = town.card_for(&id(&town.enrol_household(&household).expect(201)));
    till.redeem(&first.token, 100).refused(409, "voucher_expired");
    till.redeem(&second.token, 6000).expect(201);
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(state(&town, &second.enrolment), "ended");
    let third = town.card_for(&id(&town.enrol_household(&household).expect(201)));
    till.redeem(&second.token, 100).refused(409, "voucher_expired");
    till.redeem(&third.token, 6000).expect(201);
    let query = format!("/api/v1/enrolments?household_id={household}");
    assert_eq!(town.worker.get(&query).expect(200)["items"].as_array().unwrap().len(), 3);
    let active = town.worker.get(&format!("{query}&state=active")).expect(200);
    assert_eq!(active["items"][0]["id"], third.enrolment.as_str());
    town.world.verify();
}

fn who_leaves_while_suspended_spends_nothing_more(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    till.redeem(&card.token, 1000).expect(201);
    act(&town, &card.enrolment, "suspend").expect(200);
    leave(&town, &card.enrolment, false);
    till.redeem(&card.token, 100).refused(409, "voucher_expired");
    assert_eq!(town.budget()["total"]["returned"], "50.00");
    // and who has left with money in hand may give it back later
    let keeps = town.new_card();
    till.redeem(&keeps.token, 1000).expect(201);
    leave(&town, &keeps.enrolment, false);
    leave(&town, &keeps.enrolment, true);
    till.redeem(&keeps.token, 100).refused(409, "voucher_expired");
    assert_eq!(town.budget()["total"]["returned"], "100.00");
    town.world.verify();
}

fn nobody_has_the_same_month_twice_by_leaving_and_coming_back(world: World) {
    let town = Town::new(world);
    let till = &town.tills[0];
    for (spent, return_issued) in [(0, false), (100, false), (6000, true)] {
        let household = town.household(1, 0);
        let card = town.card_for(&id(&town.enrol_household(&household).expect(201)));
        if spent > 0 {
            till.redeem(&card.token, spent).expect(201);
        }
        leave(&town, &card.enrolment, return_issued);
        town.enrol_household(&household).refused(409, "already_enrolled");
        // a lost card of who has money in hand is still replaced
        let status = if return_issued { 409 } else { 201 };
        town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", card.id)).expect(status);
    }
    let household = town.household(1, 0);
    let untouched = town.card_for(&id(&town.enrol_household(&household).expect(201)));
    leave(&town, &untouched.enrolment, true);
    town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", untouched.id)).refused(409, "enrolment_state");
    town.enrol_household(&household).expect(201);
    town.world.verify();
}

fn one_key_sent_twenty_times_at_once_enrols_once(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let body = json!({"household_id": town.household(1, 0), "programme_id": town.programme});
    let key = new_key();
    let send = || {
        let (worker, key, body) = (town.worker.clone(), key.clone(), body.clone());
        thread::spawn(move || worker.post_with_key("/api/v1/enrolments", &key, body))
    };
    let sent: Vec<_> = (0..20).map(|_| send()).collect();
    let answers: Vec<_> = sent.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| (answer.status, &answer.bytes) == (201, &answers[0].bytes)));
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replay").is_none()).count(), 1);
    assert_eq!(town.budget()["enrolments"]["active"], 1);
    assert_eq!(cents(&town.budget()["total"]["committed"]), 36_000);
    town.world.verify();
}
