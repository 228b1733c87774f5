//! What is foretold, against what then happens; and presets, as the API and the command line give them.

use std::fs;
use std::process::Stdio;

use primeur::{programme, schedule};
use serde_json::{Value, json};

use crate::support::sql::Sql;
use crate::support::town::{Setup, rules_with};
use crate::support::{Process, Town, World, cents, on_both_databases};

on_both_databases!(
    as_many_households_get_in_as_were_foretold_and_the_next_one_waits,
    the_waiting_list_is_foretold_by_the_money_that_is_left,
    a_household_gets_and_costs_what_its_example_foretold,
    a_simulation_writes_nothing_and_is_for_the_programme_s_own_manager,
    what_households_pay_into_the_pot_is_foretold_beside_the_cost,
    presets_are_listed_and_foretold_as_their_rules_are,
);

fn foretold(town: &Town, body: Value) -> Value {
    town.manager.post(&format!("/api/v1/programmes/{}/simulation", town.programme), body).expect(200)
}

fn listed(count: i64) -> Value {
    json!({"population": [{"adults": 1, "children": 0, "count": count}]})
}

/// Two agreements that end at different times and differ in what they have, so that neither rule is a plain division.
fn uneven(funding_rule: &'static str) -> Setup {
    let rules = rules_with(&[("amount.per_household", json!("12.35"))]);
    Setup { rules, funding_rule, agreements: vec![(40_007, 3), (31_111, 2)], producers: 0, ..Setup::default() }
}

fn as_many_households_get_in_as_were_foretold_and_the_next_one_waits(world: World) {
    // 6 × 12.35 = 74.10 each. In shares of 3 and 2 A is asked for 44.46: 400.07 is enough for 8, and B for more.
    // By priority 711.18 is enough for 9
    let first = Town::with(world, uneven("fixed_shares"));
    let carried = |town: &Town| foretold(town, listed(20))["examples"][0]["carried"].as_i64().unwrap();
    assert_eq!(carried(&first), 8);
    let households = foretold(&first, listed(20))["households"].clone();
    assert_eq!(households, json!({"asked": 20, "funded": 8, "not_enough": 12, "not_covered": 0, "too_late": 0}));
    fill(&first, 8);
    let Town { world, administrator, .. } = first;
    let second = Town::among(world, administrator, uneven("priority"));
    assert_eq!(carried(&second), 9);
    fill(&second, 9);
    second.world.verify();
}

/// Enrols as many as were foretold, sees the simulation follow, and one more wait.
fn fill(town: &Town, carried: i64) {
    let told = foretold(town, listed(carried));
    for place in 0..carried {
        assert_eq!(foretold(town, listed(1))["examples"][0]["carried"], carried - place);
        assert_eq!(town.enrol()["state"], "active", "{place}");
    }
    for (place, agreement) in told["agreements"].as_array().unwrap().iter().enumerate() {
        assert_eq!(cents(&agreement["promised"]), town.figure(place, "committed") + town.figure(place, "issued"));
    }
    assert_eq!(foretold(town, listed(1))["examples"][0]["carried"], 0);
    assert_eq!(town.enrol()["state"], "waiting");
}

fn the_waiting_list_is_foretold_by_the_money_that_is_left(world: World) {
    let rules = rules_with(&[("amount.per_household", json!("0.00")), ("amount.per_adult", json!("10.00"))]);
    let setup =
        Setup { rules, funding_rule: "priority", agreements: vec![(13_000, 1)], producers: 0, ..Setup::default() };
    let mut town = Town::with(world, setup);
    let waiting = json!({"population": "waiting_list"});
    assert_eq!(foretold(&town, waiting.clone())["households"]["asked"], 0);
    // 60.00 and 60.00 of 130.00; then 120.00, 60.00 and 180.00 wait
    for (adults, state) in [(1, "active"), (1, "active"), (2, "waiting"), (1, "waiting"), (3, "waiting")] {
        assert_eq!(town.enrol_many(adults, 0).1, state);
    }
    let told = foretold(&town, waiting.clone());
    assert_eq!((&told["households"]["asked"], &told["households"]["funded"]), (&json!(3), &json!(0)));
    // 10.00 and 190.00 are enough for two of three
    town.sign(19_000, 1);
    let told = foretold(&town, waiting.clone());
    assert_eq!((&told["households"]["funded"], &told["promised"]), (&json!(2), &json!("180.00")));
    // by rules of half as much all three
    let halved = rules_with(&[("amount.per_household", json!("0.00")), ("amount.per_adult", json!("5.00"))]);
    let told = foretold(&town, json!({"population": "waiting_list", "rules": halved}));
    assert_eq!((&told["households"]["funded"], &told["promised"]), (&json!(3), &json!("180.00")));
    assert_eq!(schedule::run(&town.world.state.db).unwrap().moved_up, 2);
    assert_eq!(foretold(&town, waiting)["households"]["funded"], 0);
}

fn a_household_gets_and_costs_what_its_example_foretold(world: World) {
    let mut rules = rules_with(&[("amount.per_adult", json!("7.77"))]);
    rules["coverage"] = json!({"percent": 80, "own_part": "1.00"});
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let basket = json!({"total": "23.45", "lines": [{"category": "eggs", "percent": 100}]});
    let told = foretold(&town, json!({"population": [{"adults": 1, "children": 0, "count": 1}], "basket": basket}));
    let example = &told["examples"][0];
    // 60.00 + 7.77 a month; 80 % of 22.45 is 17.96
    assert_eq!((&example["total"], &example["periods"][0]["amount"]), (&json!("406.62"), &json!("67.77")));
    assert_eq!(example["basket"], json!({"total": "23.45", "covered": "17.96", "own_part": "5.49"}));
    let card = town.new_card();
    let enrolment = town.enrolment(&card.enrolment);
    assert_eq!((&enrolment["promised"], &told["promised"]), (&example["total"], &example["total"]));
    for (period, allowance) in
        example["periods"].as_array().unwrap().iter().zip(enrolment["allowances"].as_array().unwrap())
    {
        for field in ["starts_on", "ends_on", "amount"] {
            assert_eq!(period[field], allowance[field]);
        }
        assert_eq!(period["purses"][0]["closes_at"], allowance["closes_at"]);
    }
    let bought = town.tills[0].redeem_in_part(&card.token, 2345).expect(201);
    assert_eq!((&bought["covered"], &bought["to_collect"]), (&json!("17.96"), &json!("5.49")));
}

fn what_households_pay_into_the_pot_is_foretold_beside_the_cost(world: World) {
    let mut rules = rules_with(&[]);
    rules["contribution"] = json!({"minimum": "5.00", "maximum": "40.00", "required": false, "goes_to": "pot"});
    // six months of 60.00 for two of three
    let setup =
        Setup { rules: rules.clone(), funding_rule: "priority", agreements: vec![(100_000, 1)], ..Setup::default() };
    let town = Town::with(world, Setup { producers: 0, ..setup });
    let told = |more: Value| {
        let mut body = listed(3);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        town.manager.post(&format!("/api/v1/programmes/{}/simulation", town.programme), body)
    };
    let least = told(json!({})).expect(200);
    assert_eq!((&least["households"]["funded"], &least["contributed"]), (&json!(2), &json!("60.00")));
    let more = told(json!({"contribution": "12.34"})).expect(200);
    assert_eq!((&more["cost"], &more["promised"]), (&least["cost"], &json!("720.00")));
    assert_eq!(more["contributed"], "148.08");
    for wrong in ["4.99", "40.01"] {
        let refused = told(json!({"contribution": wrong})).refused(422, "invalid_request");
        assert_eq!(refused["fields"][0]["field"], "contribution");
    }
    // what stays a household's own is nobody else's
    rules["contribution"]["goes_to"] = json!("household");
    assert_eq!(told(json!({"rules": rules.clone()})).expect(200)["contributed"], "0.00");
    rules.as_object_mut().unwrap().remove("contribution");
    told(json!({"rules": rules, "contribution": "5.00"})).refused(422, "invalid_request");
}

fn a_simulation_writes_nothing_and_is_for_the_programme_s_own_manager(world: World) {
    let first = Town::new(world);
    first.enrol();
    let counts = Sql::of(&first.world).counts();
    foretold(&first, listed(10_000));
    foretold(&first, json!({"population": "waiting_list"}));
    assert_eq!(Sql::of(&first.world).counts(), counts);
    let path = format!("/api/v1/programmes/{}/simulation", first.programme);
    first.manager.post(&path, listed(10_001)).refused(422, "invalid_request");
    let Town { world, administrator, .. } = first;
    let second = Town::among(world, administrator, Setup { producers: 0, ..Setup::default() });
    second.manager.post(&path, listed(1)).refused(404, "not_found");
}

fn request(more: Value) -> Value {
    let mut request = json!({
        "starts_on": "2026-07-01", "ends_on": "2028-12-31",
        "agreements": [{"reference": "A", "granted": "20000.00", "starts_on": "2026-07-01", "ends_on": "2028-12-31",
            "grace_days": 31, "share_weight": 1}],
        "population": [{"adults": 2, "children": 2, "count": 7}],
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn presets_are_listed_and_foretold_as_their_rules_are(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let presets = town.manager.get("/api/v1/presets").expect(200)["items"].as_array().unwrap().clone();
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/presets")).unwrap().count();
    assert_eq!(presets.len(), files);
    for preset in presets {
        let by_name = town.manager.post("/api/v1/simulations", request(json!({"preset": preset["code"]}))).expect(200);
        let rules = json!({"rules": preset["rules"], "funding_rule": preset["funding_rule"]});
        assert_eq!(town.manager.post("/api/v1/simulations", request(rules)).expect(200), by_name, "{preset}");
    }
}

#[test]
fn the_command_line_foretells_what_the_api_does_and_needs_no_database() {
    let process = Process::on_sqlite();
    let file = process.directory.join("scheme.json");
    fs::write(&file, request(json!({})).to_string()).unwrap();
    let file = file.to_str().unwrap();
    let run = |more: &[&str]| {
        let arguments = [&["simulate", file], more].concat();
        let output = process.command(&arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (fine, told, _) = run(&["--preset", "caph", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    // seven households, 60.00 in each of six months
    assert_eq!((fine, &told["promised"], &told["cost"]["high"]), (true, &json!("2520.00"), &json!("2520.00")));
    let (fine, table, _) = run(&["--preset", "caph"]);
    for line in ["households: 7 asked, 7 funded, 0 would wait for money", "promised: 2520.00 at the most"] {
        assert!(fine && table.lines().any(|found| found == line), "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for (more, said) in [(&[][..], "rules: is missing"), (&["--preset", "nowhere"], "preset: must be one of")] {
        let (fine, _, complaint) = run(more);
        assert!(!fine && complaint.contains(said), "{complaint}");
    }
    // the example of the documentation, by any preset
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scheme.json");
    for preset in programme::preset_codes() {
        let output = process.command(&["simulate", example, "--preset", preset]).output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && table.starts_with("households: 75 asked, "), "{preset}: {table}");
    }
    assert!(!process.directory.join("primeur.db").exists());
}
