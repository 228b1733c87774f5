//! Nobody is kept for ever: two years after the last contact a household is erased by itself.

use primeur::privacy::erase_due;
use serde_json::{Value, json};

use crate::household::{lucienne, new_household, path, town};
use crate::privacy::{bytes, kept, places};
use crate::support::town::rules;
use crate::support::{World, on_both_databases};

on_both_databases!(
    who_was_last_dealt_with_two_years_ago_is_erased_by_itself,
    nobody_is_erased_while_enrolled_and_every_contact_counts,
);

fn who_was_last_dealt_with_two_years_ago_is_erased_by_itself(world: World) {
    let town = town(world);
    let silent: Vec<String> = (0..3).map(|_| town.household(1, 0)).collect();
    let named = new_household(&town.worker, &lucienne());
    let due = |at: &str| {
        town.world.set_clock(at);
        erase_due(&town.world.state.db, 24).unwrap()
    };
    assert_eq!(due("2028-07-01T08:00:00Z"), 0, "two years to the minute are not more than two years");
    let traces = bytes(&town.world, "sealed FROM sealed_identities");
    assert_eq!(due("2028-07-01T08:00:00.000001Z"), 4);
    assert_eq!(due("2028-07-01T08:00:01Z"), 0, "once");
    for id in silent.iter().chain([&named]) {
        town.worker.get(&path(id, "")).refused(404, "not_found");
        let log = town.administrator.get(&format!("/api/v1/audit?subject={id}")).expect(200);
        let last = &log["items"][0];
        assert_eq!((&last["action"], &last["detail"]), (&json!("household_erased"), &json!("retention")));
        assert!(last["person_id"].is_null() && last["organisation_id"].is_null(), "{last}");
    }
    assert_eq!(places(&kept(&town.world), &traces[0]), [""; 0]);
    // another rule, another time
    town.household(1, 0);
    assert_eq!(due("2028-07-20T00:00:00Z"), 0);
    assert_eq!(erase_due(&town.world.state.db, 1), Ok(0));
    town.world.set_clock("2028-08-02T00:00:00Z");
    assert_eq!(erase_due(&town.world.state.db, 1), Ok(1));
    town.world.verify();
}

fn nobody_is_erased_while_enrolled_and_every_contact_counts(world: World) {
    // half a year of money from July on; the clock stands at 1 July
    let town = town(world);
    assert_eq!(rules("60.00", "none")["period"]["count"], 6);
    let [enrolled, recomposed, identified, spoken] = std::array::from_fn(|_| town.household(1, 0));
    let enrolment = town.enrol_household(&enrolled).expect(201)["id"].as_str().unwrap().to_owned();
    let card = town.card_for(&enrolment);
    town.world.set_clock("2026-10-01T08:00:00Z");
    town.worker.put(&path(&recomposed, ""), json!({"adults": 2, "children": 0, "commune": "62427"})).expect(200);
    town.world.set_clock("2026-11-01T08:00:00Z");
    town.worker.put(&path(&identified, "/identity"), lucienne()).expect(200);
    // reading is no contact with the household
    for rest in ["", "/identity", "/export", "/duplicates"] {
        town.worker.get(&path(&spoken, rest)).expect(200);
    }
    town.tills[0].redeem(&card.token, 100).expect(201);
    town.world.advance_to("2027-01-01T08:00:00Z");
    assert_eq!(town.enrolment(&enrolment)["state"], "ended");

    let still = |households: &[&String]| {
        let listed = town.worker.get("/api/v1/households").expect(200);
        let ids: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!(ids, households.iter().map(|id| json!(id)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    };
    let erase = |at: &str| {
        town.world.set_clock(at);
        erase_due(&town.world.state.db, 24).unwrap()
    };
    assert_eq!(erase("2028-07-01T09:00:00Z"), 1);
    still(&[&enrolled, &recomposed, &identified]);
    assert_eq!(erase("2028-10-01T09:00:00Z"), 1);
    still(&[&enrolled, &identified]);
    assert_eq!(erase("2028-11-01T09:00:00Z"), 1);
    still(&[&enrolled]);
    // its last window ended with December in Paris
    assert_eq!(erase("2028-12-31T22:59:59Z"), 0);
    assert_eq!(erase("2028-12-31T23:00:01Z"), 1);
    still(&[]);
    town.world.verify();
}
