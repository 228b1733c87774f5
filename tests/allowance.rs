//! Money in time: issued when a window opens, spendable to its last second in Paris, returned when it closes.

use std::thread;

use primeur::schedule::{self, Done};
use serde_json::{Value, json};

use crate::support::town::{Setup, rules_with};
use crate::support::{Town, World, cents, on_both_databases};

on_both_databases!(
    a_month_is_issued_by_the_scheduler_in_the_second_its_window_opens,
    nobody_is_refused_at_one_second_past_midnight_though_no_scheduler_ran,
    issuing_again_or_eight_times_at_once_issues_nothing_twice,
    after_an_outage_past_months_go_back_unissued_and_the_current_one_is_issued,
    the_last_day_counts_until_midnight_in_paris_in_summer_and_in_winter,
    months_from_the_31st_leave_no_day_out_and_count_none_twice,
    months_end_at_midnight_in_la_reunion,
    months_end_at_midnight_in_martinique,
    fortnights_follow_the_midnights_of_paris_over_the_clock_change,
    money_carried_to_the_end_is_spendable_in_later_months,
    the_money_that_ends_first_is_spent_first_and_none_after_its_agreement_s_grace,
    money_stays_spendable_for_the_days_of_expiry,
    unspent_money_goes_back_to_the_agreements_it_came_from_and_is_promised_again,
    an_enrolment_ends_when_its_last_window_closes,
    a_late_void_makes_the_money_spendable_for_the_days_of_grace_and_then_returns_it,
    a_late_void_never_outlives_the_agreement_s_own_grace,
    each_late_void_has_the_whole_grace_and_a_leaver_s_no_more,
);

fn town(world: World, changes: &[(&str, Value)]) -> Town {
    Town::with(world, Setup { rules: rules_with(changes), producers: 1, ..Setup::default() })
}

fn months(count: i32) -> (&'static str, Value) {
    ("period.count", json!(count))
}

/// State and balance in cents of each allowance, in order of period.
fn allowances(town: &Town, enrolment: &str) -> Vec<(String, i64)> {
    let enrolment = town.enrolment(enrolment);
    let line = |a: &Value| (a["state"].as_str().unwrap().to_owned(), cents(&a["balance"]));
    enrolment["allowances"].as_array().unwrap().iter().map(line).collect()
}

fn is(found: &[(String, i64)], expected: &[(&str, i64)]) -> bool {
    found.iter().map(|(state, balance)| (state.as_str(), *balance)).eq(expected.iter().copied())
}

/// First and last day, and the instants between which each allowance can be spent.
fn windows(enrolment: &Value) -> Vec<[Value; 4]> {
    let window =
        |allowance: &'_ Value| ["starts_on", "ends_on", "opens_at", "closes_at"].map(|key| allowance[key].clone());
    enrolment["allowances"].as_array().unwrap().iter().map(window).collect()
}

fn a_month_is_issued_by_the_scheduler_in_the_second_its_window_opens(world: World) {
    let town = town(world, &[months(3)]);
    let id = town.enrol()["id"].as_str().unwrap().to_owned();
    assert!(is(&allowances(&town, &id), &[("committed", 0), ("committed", 0), ("committed", 0)]));
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { issued: 1, ..Done::default() }));
    assert!(is(&allowances(&town, &id), &[("issued", 6000), ("committed", 0), ("committed", 0)]));
    assert_eq!(town.world.advance_to("2026-07-31T21:59:59Z"), Done::default());
    // July's two parts go back as August's money comes
    assert_eq!(town.world.advance_to("2026-07-31T22:00:00Z"), Done { issued: 1, closed: 2, ..Done::default() });
    assert!(is(&allowances(&town, &id), &[("issued", 0), ("issued", 6000), ("committed", 0)]));
    town.world.verify();
}

fn nobody_is_refused_at_one_second_past_midnight_though_no_scheduler_ran(world: World) {
    let town = town(world, &[months(3)]);
    let (card, late) = (town.new_card(), town.new_card());
    let till = &town.tills[0];
    till.redeem(&late.token, 1000).expect(201);
    town.world.set_clock("2026-07-31T22:00:01Z");
    assert_eq!(till.check(&card.token)["accepted"], true);
    till.redeem(&card.token, 6000).expect(201);
    // nobody came in July: that money was never issued
    assert!(is(&allowances(&town, &card.enrolment), &[("released", 0), ("issued", 0), ("committed", 0)]));
    till.redeem(&card.token, 1).refused(409, "insufficient_balance");
    // what is left of July waits for the scheduler, and cannot be spent meanwhile
    till.redeem(&late.token, 6001).refused(409, "insufficient_balance");
    till.redeem(&late.token, 6000).expect(201);
    assert!(is(&allowances(&town, &late.enrolment), &[("issued", 5000), ("issued", 0), ("committed", 0)]));
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { closed: 2, ..Done::default() }));
    assert!(is(&allowances(&town, &late.enrolment), &[("issued", 0), ("issued", 0), ("committed", 0)]));
    town.world.verify();
}

fn issuing_again_or_eight_times_at_once_issues_nothing_twice(world: World) {
    let town = town(world, &[months(2)]);
    let enrolled: Vec<String> = (0..12).map(|_| town.enrol()["id"].as_str().unwrap().to_owned()).collect();
    let at_once = || -> Vec<Done> {
        let run = || {
            let db = town.world.state.db.clone();
            thread::spawn(move || schedule::run(&db).unwrap())
        };
        let runs: Vec<_> = (0..8).map(|_| run()).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    };
    assert_eq!(at_once().iter().map(|done| done.issued).sum::<usize>(), 12);
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done::default()));
    town.world.set_clock("2026-07-31T22:00:00Z");
    let done = at_once();
    assert_eq!(done.iter().map(|done| done.issued).sum::<usize>(), 12);
    assert_eq!(done.iter().map(|done| done.closed).sum::<usize>(), 24);
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done::default()));
    for id in enrolled {
        assert!(is(&allowances(&town, &id), &[("issued", 0), ("issued", 6000)]));
    }
    town.world.verify();
}

fn after_an_outage_past_months_go_back_unissued_and_the_current_one_is_issued(world: World) {
    let town = town(world, &[]);
    let id = town.enrol()["id"].as_str().unwrap().to_owned();
    let figures = || ["available", "committed", "issued", "returned"].map(|name| cents(&town.budget()["total"][name]));
    // two agreements of 10 000 €, less six months of 60 €
    assert_eq!(figures(), [1_964_000, 36_000, 0, 0]);
    assert_eq!(town.world.advance_to("2026-09-10T08:00:00Z"), Done { issued: 1, ..Done::default() });
    let months = ["released", "released", "issued", "committed", "committed", "committed"];
    let states: Vec<String> = allowances(&town, &id).into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, months);
    assert_eq!(town.balance(&id), 6000);
    // July and August are free again, September is in hand, three months are still to come
    assert_eq!(figures(), [1_976_000, 18_000, 6000, 0]);
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done::default()));
    town.world.verify();
}

fn the_last_day_counts_until_midnight_in_paris_in_summer_and_in_winter(world: World) {
    let town = town(world, &[months(2)]);
    let till = &town.tills[0];
    // Paris is two hours ahead of UTC from 28 March to 25 October 2026 and from 28 March 2027, one hour in between
    for (month_before, month, last_second, midnight) in [
        ("2026-07-15T08:00:00Z", "2026-08-15T08:00:00Z", "2026-08-31T21:59:59Z", "2026-08-31T22:00:00Z"),
        ("2026-09-15T08:00:00Z", "2026-10-15T08:00:00Z", "2026-10-31T22:59:59Z", "2026-10-31T23:00:00Z"),
        ("2026-11-15T08:00:00Z", "2026-12-15T08:00:00Z", "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"),
        ("2027-02-15T08:00:00Z", "2027-03-15T08:00:00Z", "2027-03-31T21:59:59Z", "2027-03-31T22:00:00Z"),
    ] {
        town.world.set_clock(month_before);
        let in_its_last_month = town.new_card();
        town.world.set_clock(month);
        let in_its_first_month = town.new_card();

        town.world.set_clock(last_second);
        till.redeem(&in_its_last_month.token, 100).expect(201);
        till.redeem(&in_its_first_month.token, 6001).refused(409, "insufficient_balance");
        till.redeem(&in_its_first_month.token, 500).expect(201);

        town.world.set_clock(midnight);
        till.redeem(&in_its_last_month.token, 100).refused(409, "voucher_expired");
        assert_eq!(till.check(&in_its_last_month.code)["code"], "voucher_expired");
        till.redeem(&in_its_first_month.token, 6001).refused(409, "insufficient_balance");
        till.redeem(&in_its_first_month.token, 6000).expect(201);
        schedule::run(&town.world.state.db).unwrap();
        assert_eq!(town.balance(&in_its_last_month.enrolment), 0, "{midnight}");
        assert_eq!(town.balance(&in_its_first_month.enrolment), 0, "{midnight}");
    }
    town.world.verify();
}

fn months_from_the_31st_leave_no_day_out_and_count_none_twice(world: World) {
    let town = town(world, &[("start", json!("enrolment_day")), months(4)]);
    town.world.set_clock("2027-01-31T08:00:00Z");
    let enrolment = town.enrol();
    // each month begins on the 31st, or on the last day of a month that has none; winter time ends on 28 March 2027
    let expected = [
        ["2027-01-31", "2027-02-27", "2027-01-30T23:00:00Z", "2027-02-27T23:00:00Z"],
        ["2027-02-28", "2027-03-30", "2027-02-27T23:00:00Z", "2027-03-30T22:00:00Z"],
        ["2027-03-31", "2027-04-29", "2027-03-30T22:00:00Z", "2027-04-29T22:00:00Z"],
        ["2027-04-30", "2027-05-30", "2027-04-29T22:00:00Z", "2027-05-30T22:00:00Z"],
    ];
    assert_eq!(windows(&enrolment), expected);
    let card = town.card_for(enrolment["id"].as_str().unwrap());
    for (last_second, midnight) in [
        ("2027-02-27T22:59:59Z", "2027-02-27T23:00:00Z"),
        ("2027-03-30T21:59:59Z", "2027-03-30T22:00:00Z"),
        ("2027-04-29T21:59:59Z", "2027-04-29T22:00:00Z"),
    ] {
        town.world.set_clock(last_second);
        town.tills[0].redeem(&card.token, 1).expect(201);
        town.world.set_clock(midnight);
        town.tills[0].redeem(&card.token, 5999).expect(201);
    }
    town.world.advance_to("2027-05-30T21:59:59Z");
    assert_eq!(town.enrolment(&card.enrolment)["state"], "active");
    town.tills[0].redeem(&card.token, 2).refused(409, "insufficient_balance");
    town.world.advance_to("2027-05-30T22:00:00Z");
    town.tills[0].redeem(&card.token, 1).refused(409, "voucher_expired");
    town.world.verify();
}

fn months_end_at_midnight_in_la_reunion(world: World) {
    // four hours ahead of UTC all year
    july_ends(world, "Indian/Reunion", "2026-07-31T19:59:59Z", "2026-07-31T20:00:00Z");
}

fn months_end_at_midnight_in_martinique(world: World) {
    // four hours behind UTC all year
    july_ends(world, "America/Martinique", "2026-08-01T03:59:59Z", "2026-08-01T04:00:00Z");
}

fn july_ends(world: World, time_zone: &'static str, last_second: &str, midnight: &str) {
    let rules = rules_with(&[months(1)]);
    let town = Town::with(world, Setup { rules, time_zone, producers: 1, ..Setup::default() });
    let card = town.new_card();
    town.world.set_clock(last_second);
    town.tills[0].redeem(&card.token, 100).expect(201);
    assert_eq!(town.report(0, "2026-07")["status"], "open");
    town.world.set_clock(midnight);
    town.tills[0].redeem(&card.token, 100).refused(409, "voucher_expired");
    let report = town.report(0, "2026-07");
    assert_eq!((&report["status"], &report["time_zone"]), (&json!("final"), &json!(time_zone)));
    assert_eq!(report["lines"][0]["day"], "2026-07-31");
    town.world.verify();
}

fn fortnights_follow_the_midnights_of_paris_over_the_clock_change(world: World) {
    let changes = [("period.unit", json!("day")), ("period.length", json!(14)), ("start", json!("enrolment_day"))];
    let town = town(world, &[&changes[..], &[months(3)]].concat());
    town.world.set_clock("2026-10-14T08:00:00Z");
    let enrolment = town.enrol();
    // summer time ends on 25 October 2026
    let expected = [
        ["2026-10-14", "2026-10-27", "2026-10-13T22:00:00Z", "2026-10-27T23:00:00Z"],
        ["2026-10-28", "2026-11-10", "2026-10-27T23:00:00Z", "2026-11-10T23:00:00Z"],
        ["2026-11-11", "2026-11-24", "2026-11-10T23:00:00Z", "2026-11-24T23:00:00Z"],
    ];
    assert_eq!(windows(&enrolment), expected);
    let card = town.card_for(enrolment["id"].as_str().unwrap());
    town.world.advance_to("2026-10-27T22:59:59Z");
    town.tills[0].redeem(&card.token, 6000).expect(201);
    town.world.advance_to("2026-10-27T23:00:00Z");
    town.tills[0].redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn money_carried_to_the_end_is_spendable_in_later_months(world: World) {
    let town = town(world, &[("carry_over", json!("to_end")), months(3)]);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.advance_to("2026-07-20T08:00:00Z");
    till.redeem(&card.token, 1500).expect(201);
    // 45.00 of July and 60.00 of August: July's goes first, as it is the older
    assert_eq!(town.world.advance_to("2026-08-20T08:00:00Z"), Done { issued: 1, ..Done::default() });
    till.redeem(&card.token, 5000).expect(201);
    assert!(is(&allowances(&town, &card.enrolment), &[("issued", 0), ("issued", 5500), ("committed", 0)]));
    // three months of 60.00 are 180.00, of which 65.00 is spent
    town.world.set_clock("2026-09-30T21:59:59Z");
    till.redeem(&card.token, 11_501).refused(409, "insufficient_balance");
    till.redeem(&card.token, 11_400).expect(201);
    assert_eq!(town.balance(&card.enrolment), 100);
    assert_eq!(town.world.advance_to("2026-09-30T22:00:00Z").ended, 1);
    assert_eq!(town.balance(&card.enrolment), 0);
    assert_eq!(cents(&town.budget()["total"]["returned"]), 100);
    town.world.verify();
}

fn the_money_that_ends_first_is_spent_first_and_none_after_its_agreement_s_grace(world: World) {
    let rules = rules_with(&[("carry_over", json!("to_end")), ("expiry_days", json!(30)), months(2)]);
    // the first agreement pays July and no more; the second pays August, and is over five days after it
    let setup = Setup {
        rules,
        funding_rule: "priority",
        agreements: vec![(6000, 1), (50_000, 1)],
        terms: vec![("2026-01-01", "2027-12-31", 31), ("2026-01-01", "2026-08-31", 5)],
        producers: 1,
        ..Setup::default()
    };
    let town = Town::with(world, setup);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.advance_to("2026-08-15T08:00:00Z");
    // July's money lasts until 30 September, August's only until 5 September
    till.redeem(&card.token, 1000).expect(201);
    assert!(is(&allowances(&town, &card.enrolment), &[("issued", 6000), ("issued", 5000)]));
    town.world.set_clock("2026-09-05T21:59:59Z");
    till.redeem(&card.token, 500).expect(201);
    assert!(is(&allowances(&town, &card.enrolment), &[("issued", 6000), ("issued", 4500)]));
    // without the scheduler, and with it
    town.world.set_clock("2026-09-05T22:00:00Z");
    till.redeem(&card.token, 6001).refused(409, "insufficient_balance");
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { closed: 1, ..Done::default() }));
    assert_eq!((town.figure(0, "returned"), town.figure(1, "returned")), (0, 4500));
    assert_eq!(till.redeem_in_part(&card.token, 7000).expect(201)["covered"], "60.00");
    town.world.verify();
}

fn money_stays_spendable_for_the_days_of_expiry(world: World) {
    let town = town(world, &[("expiry_days", json!(10)), months(2)]);
    let card = town.new_card();
    let till = &town.tills[0];
    schedule::run(&town.world.state.db).unwrap();
    town.world.advance_to("2026-08-05T08:00:00Z");
    till.redeem(&card.token, 7000).expect(201);
    assert!(is(&allowances(&town, &card.enrolment), &[("issued", 0), ("issued", 5000)]));
    town.world.advance_to("2026-09-10T21:59:59Z");
    till.redeem(&card.token, 1000).expect(201);
    assert_eq!(town.enrolment(&card.enrolment)["state"], "active");
    town.world.set_clock("2026-09-10T22:00:00Z");
    till.redeem(&card.token, 1000).refused(409, "voucher_expired");
    assert_eq!(schedule::run(&town.world.state.db), Ok(Done { closed: 2, ended: 1, ..Done::default() }));
    assert_eq!(cents(&town.budget()["total"]["returned"]), 4000);
    town.world.verify();
}

fn unspent_money_goes_back_to_the_agreements_it_came_from_and_is_promised_again(world: World) {
    // enough for one month of one household, and 10.00 more
    let agreements = vec![(4667, 2), (2333, 1)];
    let town =
        Town::with(world, Setup { rules: rules_with(&[months(1)]), agreements, producers: 1, ..Setup::default() });
    let card = town.new_card();
    let waiting = town.enrol();
    assert_eq!(waiting["state"], "waiting");
    // of 40.00 and 20.00 in hand, 10.00 takes 6.67 and 3.33
    town.tills[0].redeem(&card.token, 1000).expect(201);
    assert_eq!((town.figure(0, "redeemed"), town.figure(1, "redeemed")), (667, 333));
    let done = town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(done, Done { closed: 2, ended: 1, moved_up: 1, ..Done::default() });
    assert_eq!((town.figure(0, "returned"), town.figure(1, "returned")), (3333, 1667));
    assert_eq!((town.figure(0, "available"), town.figure(1, "available")), (0, 0));
    let moved_up = town.enrolment(waiting["id"].as_str().unwrap());
    assert_eq!((&moved_up["state"], &moved_up["starts_on"]), (&json!("active"), &json!("2026-08-01")));
    let card = town.card_for(moved_up["id"].as_str().unwrap());
    town.tills[0].redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn an_enrolment_ends_when_its_last_window_closes(world: World) {
    let town = town(world, &[months(2)]);
    let (active, suspended) = (town.enrol(), town.enrol());
    let id = |enrolment: &Value| enrolment["id"].as_str().unwrap().to_owned();
    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", id(&suspended))).expect(200);
    let states = || [&active, &suspended].map(|e| town.enrolment(&id(e))["state"].as_str().unwrap().to_owned());
    assert_eq!(town.world.advance_to("2026-08-31T21:59:59Z").ended, 0);
    assert_eq!(states(), ["active", "suspended"]);
    assert_eq!(town.world.advance_to("2026-08-31T22:00:00Z").ended, 2);
    assert_eq!(states(), ["ended", "ended"]);
    for action in ["suspend", "resume"] {
        let path = format!("/api/v1/enrolments/{}/{action}", id(&active));
        town.worker.act(&path).refused(409, "enrolment_state");
    }
    town.world.verify();
}

fn a_late_void_makes_the_money_spendable_for_the_days_of_grace_and_then_returns_it(world: World) {
    let town = town(world, &[months(1), ("void_grace_days", json!(3))]);
    let (swept, unswept) = (town.new_card(), town.new_card());
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T21:30:00Z");
    let sold = [&swept, &unswept].map(|card| till.redeem(&card.token, 2500).expect(201)["id"].clone());
    // one void comes before the scheduler has closed July, the other after it: half past midnight in Paris
    town.world.set_clock("2026-07-31T22:29:59Z");
    till.void(sold[1].as_str().unwrap()).expect(200);
    // July's other 35.00 of both goes back, and nothing of what the void gave back
    town.world.advance_to("2026-07-31T22:29:59Z");
    till.void(sold[0].as_str().unwrap()).expect(200);
    assert_eq!((town.balance(&swept.enrolment), town.balance(&unswept.enrolment)), (2500, 2500));
    // 1 August and three days more
    town.world.advance_to("2026-08-04T21:59:59Z");
    till.redeem(&swept.token, 1000).expect(201);
    town.world.set_clock("2026-08-04T22:00:00Z");
    till.redeem(&swept.token, 1000).refused(409, "voucher_expired");
    till.redeem(&unswept.token, 1000).refused(409, "voucher_expired");
    schedule::run(&town.world.state.db).unwrap();
    assert_eq!((town.balance(&swept.enrolment), town.balance(&unswept.enrolment)), (0, 0));
    assert_eq!(cents(&town.budget()["total"]["returned"]), 2 * 6000 - 1000);
    town.world.verify();
}

fn a_late_void_never_outlives_the_agreement_s_own_grace(world: World) {
    let setup = Setup {
        rules: rules_with(&[months(1), ("void_grace_days", json!(10))]),
        agreements: vec![(10_000, 1)],
        terms: vec![("2026-07-01", "2026-07-31", 5)],
        producers: 1,
        ..Setup::default()
    };
    let town = Town::with(world, setup);
    let card = town.new_card();
    let till = &town.tills[0];
    town.world.set_clock("2026-07-31T21:30:00Z");
    let sold = till.redeem(&card.token, 2500).expect(201);
    town.world.advance_to("2026-07-31T22:15:00Z");
    till.void(sold["id"].as_str().unwrap()).expect(200);
    town.world.advance_to("2026-08-05T21:59:59Z");
    till.redeem(&card.token, 500).expect(201);
    town.world.advance_to("2026-08-05T22:00:00Z");
    till.redeem(&card.token, 500).refused(409, "voucher_expired");
    assert_eq!(town.figure(0, "available"), 10_000 - 500);
    town.world.verify();
}

fn each_late_void_has_the_whole_grace_and_a_leaver_s_no_more(world: World) {
    let rules =
        [("void_grace_days", json!(3)), ("void_window_minutes", json!(43_200)), ("carry_over", json!("to_end"))];
    let town = town(world, &rules);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let sold = [500, 700].map(|cents| till.redeem(&card.token, cents).expect(201)["id"].as_str().unwrap().to_owned());
    let leave = json!({"return_issued": true});
    town.worker.post(&format!("/api/v1/enrolments/{}/leave", card.enrolment), leave).expect(200);
    // to the end of the third day after: 4 July at midnight in Paris
    till.void(&sold[0]).expect(200);
    town.world.set_clock("2026-07-04T21:58:00Z");
    till.void(&sold[1]).expect(200);
    assert_eq!(town.balance(&card.enrolment), 1200);
    // the second has three days of its own: to the end of 7 July, and not to the end of the programme
    town.world.advance_to("2026-07-07T21:59:59Z");
    till.redeem(&card.token, 200).expect(201);
    town.world.set_clock("2026-07-07T22:00:00Z");
    till.redeem(&card.token, 200).refused(409, "voucher_expired");
    town.world.advance_to("2026-07-07T22:00:01Z");
    assert_eq!(town.balance(&card.enrolment), 0);
    town.world.verify();
}
