//! A programme from draft to its end: what each state allows, who sees it, and where its money stands.

use primeur::schedule;
use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::town::{Setup, administrator, newcomer, rules_with};
use crate::support::{Client, Town, World, cents, id, on_both_databases};

on_both_databases!(
    a_draft_opens_once_it_has_a_legal_basis_and_an_agreement,
    the_rules_of_an_open_programme_cannot_be_rewritten,
    a_closed_programme_takes_nobody_in_and_keeps_its_promises,
    rules_are_checked_field_by_field,
    members_are_structures_and_evaluators_and_are_admitted_once,
    an_agreement_is_signed_once_under_one_key,
    a_refused_try_leaves_its_key_free,
    each_sees_the_programmes_and_agreements_that_concern_it,
    the_budget_adds_up_at_every_step,
    the_budget_foresees_when_the_money_runs_out,
    what_a_household_pays_for_itself_is_no_promise,
);

fn draft(rules: Value) -> Value {
    json!({
        "name": "Chèque du marché", "time_zone": "Europe/Paris", "starts_on": "2026-01-01", "ends_on": "2027-12-31",
        "funding_rule": "fixed_shares", "rules": rules,
        "communes": [{"code": "62427", "name": "Hénin-Beaumont"}],
        "legal_basis": {"code": "social_aid", "reference": "CASF L123-5"},
    })
}

fn agreement(funder: &str, reference: &str) -> Value {
    json!({
        "funder_id": funder, "reference": reference, "granted": "500.00", "starts_on": "2026-01-01",
        "ends_on": "2027-12-31", "grace_days": 0, "share_weight": 1,
    })
}

fn at(programme: &str, rest: &str) -> String {
    format!("/api/v1/programmes/{programme}{rest}")
}

fn manager(world: &World) -> Client {
    newcomer(world, &administrator(world), "manager", "Pays d'Artois").1
}

fn a_draft_opens_once_it_has_a_legal_basis_and_an_agreement(world: World) {
    let manager = manager(&world);
    let mut without_basis = draft(rules_with(&[]));
    without_basis["legal_basis"] = Value::Null;
    let programme = manager.post("/api/v1/programmes", without_basis).expect(201);
    assert_eq!((&programme["state"], &programme["opened_at"]), (&json!("draft"), &Value::Null));
    let programme = id(&programme);
    manager.act(&at(&programme, "/open")).refused(409, "legal_basis_required");
    manager.put(&at(&programme, ""), draft(rules_with(&[]))).expect(200);
    manager.act(&at(&programme, "/open")).refused(409, "agreement_required");
    // a pot that purchases alone would fill is empty before the first
    let mut above_price = draft(rules_with(&[]));
    above_price["funding_rule"] = json!("priority");
    above_price["rules"]["bands"] = json!({"chosen_by": "household", "default": "high", "tariffs": [
        {"code": "low", "price_percent": 65}, {"code": "high", "price_percent": 125}]});
    manager.put(&at(&programme, ""), above_price).expect(200);
    manager.act(&at(&programme, "/open")).refused(409, "agreement_required");
    manager.put(&at(&programme, ""), draft(rules_with(&[]))).expect(200);
    manager.act(&at(&programme, "/close")).refused(409, "programme_not_open");

    // meanwhile nobody is enrolled, and no producer knows of it
    let (structure, worker) = newcomer(&world, &manager, "social_structure", "CCAS");
    manager.set(&at(&programme, &format!("/members/{structure}"))).expect(204);
    let household = json!({"adults": 1, "children": 0, "commune": "62427"});
    let household = id(&worker.post("/api/v1/households", household).expect(201));
    let enrol = json!({"household_id": household, "programme_id": programme});
    worker.post_once("/api/v1/enrolments", enrol.clone()).refused(409, "programme_not_open");
    let (_, producer) = newcomer(&world, &manager, "producer", "Ferme");
    producer.set(&at(&programme, "/applications/me")).refused(404, "not_found");

    let (funder, _) = newcomer(&world, &manager, "funder", "Fondation");
    manager.post_once(&at(&programme, "/agreements"), agreement(&funder, "C-1")).expect(201);
    let open = manager.act(&at(&programme, "/open")).expect(200);
    assert_eq!((&open["state"], &open["opened_at"]), (&json!("open"), &json!("2026-07-01T08:00:00Z")));
    manager.act(&at(&programme, "/open")).refused(409, "programme_not_draft");
    assert_eq!(worker.post_once("/api/v1/enrolments", enrol).expect(201)["state"], "active");
    world.verify();
}

fn the_rules_of_an_open_programme_cannot_be_rewritten(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let path = at(&town.programme, "");
    let before = town.manager.get(&path).expect(200);
    let richer = draft(rules_with(&[("amount.per_household", json!("600.00"))]));
    town.manager.put(&path, richer.clone()).refused(409, "programme_not_draft");
    town.manager.act(&at(&town.programme, "/close")).expect(200);
    town.manager.put(&path, richer).refused(409, "programme_not_draft");
    let after = town.manager.get(&path).expect(200);
    for key in ["rules", "name", "communes", "funding_rule", "starts_on", "ends_on"] {
        assert_eq!(after[key], before[key]);
    }
    town.world.verify();
}

fn a_closed_programme_takes_nobody_in_and_keeps_its_promises(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let closed = town.manager.act(&at(&town.programme, "/close")).expect(200);
    assert_eq!((&closed["state"], &closed["closed_at"]), (&json!("closed"), &json!("2026-07-01T08:00:00Z")));
    for action in ["/close", "/open"] {
        let code = if action == "/close" { "programme_not_open" } else { "programme_not_draft" };
        town.manager.act(&at(&town.programme, action)).refused(409, code);
    }
    town.enrol_household(&town.household(1, 0)).refused(409, "programme_not_open");
    let (funder, _) = newcomer(&town.world, &town.manager, "funder", "Fondation tardive");
    let path = at(&town.programme, "/agreements");
    town.manager.post_once(&path, agreement(&funder, "C-9")).refused(409, "programme_closed");
    // what was promised goes on to its last day
    town.world.advance_to("2026-12-31T22:59:59Z");
    town.tills[0].redeem(&card.token, 6000).expect(201);
    assert_eq!(town.world.advance_to("2026-12-31T23:00:00Z").ended, 1);
    town.world.verify();
}

fn rules_are_checked_field_by_field(world: World) {
    let manager = manager(&world);
    let fields = |body: Value| -> Vec<String> {
        let problem = manager.post("/api/v1/programmes", body).refused(422, "invalid_request");
        let fields = problem["fields"].as_array().unwrap().iter();
        fields.map(|field| field["field"].as_str().unwrap().to_owned()).collect()
    };
    for (path, wrong) in [
        ("amount.per_household", json!("10000.01")),
        ("amount.per_adult", json!("1,50")),
        ("amount.per_adult", json!(1.5)),
        ("amount.per_child", json!("-1.00")),
        ("period.unit", json!("week")),
        ("period.length", json!(0)),
        ("period.length", json!(13)),
        ("period.count", json!(0)),
        ("period.count", json!(37)),
        ("start", json!("monday")),
        ("carry_over", json!("for_ever")),
        ("expiry_days", json!(-1)),
        ("expiry_days", json!(367)),
        ("void_window_minutes", json!(43_201)),
        ("void_grace_days", json!(93)),
        ("show_balance", json!("yes")),
    ] {
        let found = fields(draft(rules_with(&[(path, wrong.clone())])));
        let expected = format!("rules.{path}");
        assert!(found.contains(&expected), "{path} = {wrong}: {found:?}");
    }
    assert_eq!(fields(draft(rules_with(&[("amount.per_household", json!("0.00"))]))), ["rules.amount"]);
    assert_eq!(fields(draft(rules_with(&[("period.unit", json!("day"))]))), ["rules.start"]);
    // all that is wrong is said at once
    let wrong = [("period.count", json!(0)), ("expiry_days", json!(400)), ("void_grace_days", json!(-1))];
    assert_eq!(fields(draft(rules_with(&wrong))), ["rules.period.count", "rules.expiry_days", "rules.void_grace_days"]);

    let with = |key: &str, value: Value| {
        let mut body = draft(rules_with(&[]));
        body[key] = value;
        fields(body)
    };
    assert_eq!(with("ends_on", json!("2025-12-31")), ["ends_on"]);
    assert_eq!(with("starts_on", json!("2026-02-30")), ["starts_on"]);
    assert_eq!(with("time_zone", json!("Mars/Olympus")), ["time_zone"]);
    assert_eq!(with("name", json!(" ")), ["name"]);
    assert_eq!(with("communes", json!([])), ["communes"]);
    let twice = json!([{"code": "62427", "name": "Hénin-Beaumont"}, {"code": "62427", "name": "Hénin"}]);
    assert_eq!(with("communes", twice), ["communes"]);
    assert_eq!(with("communes", json!([{"code": "6242", "name": "Hénin"}])), ["communes[0].code"]);
    assert_eq!(with("legal_basis", json!({"code": "custom", "reference": "x"})), ["legal_basis.code"]);
    assert_eq!(with("bonus", json!("0.20")), ["bonus"]);
    assert_eq!(manager.get("/api/v1/programmes").expect(200)["items"], json!([]));
    world.verify();
}

fn members_are_structures_and_evaluators_and_are_admitted_once(world: World) {
    let town = Town::with(world, Setup { producers: 1, ..Setup::default() });
    let path = at(&town.programme, "/members");
    let kinds = || -> Vec<Value> {
        let members = town.manager.get(&path).expect(200);
        members["items"].as_array().unwrap().iter().map(|member| member["organisation"]["kind"].clone()).collect()
    };
    let before = town.manager.get(&path).expect(200);
    assert_eq!(kinds().len(), 2);
    assert!(kinds().contains(&json!("social_structure")) && kinds().contains(&json!("evaluator")));
    town.world.pass_minutes(60);
    town.manager.set(&format!("{path}/{}", town.structure)).expect(204);
    assert_eq!(town.manager.get(&path).expect(200), before, "a second time changes nothing, nor since when");
    town.manager.set(&format!("{path}/{}", town.tills[0].producer)).refused(404, "not_found");
    let (_, stranger) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    stranger.get(&path).refused(404, "not_found");
    stranger.set(&format!("{path}/{}", town.structure)).refused(404, "not_found");
    town.world.verify();
}

fn an_agreement_is_signed_once_under_one_key(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let (funder, _) = newcomer(&town.world, &town.manager, "funder", "Fondation 3");
    let (path, key, body) = (at(&town.programme, "/agreements"), new_key(), agreement(&funder, "C-3"));
    let first = town.manager.post_with_key(&path, &key, body.clone());
    assert_eq!(first.header("idempotent-replay"), None);
    let again = town.manager.post_with_key(&path, &key, body.clone());
    assert_eq!((again.status, again.header("idempotent-replay")), (201, Some("true")));
    assert_eq!(again.bytes, first.bytes);
    let mut other = body.clone();
    other["granted"] = json!("500.01");
    town.manager.post_with_key(&path, &key, other).refused(409, "idempotency_conflict");
    // another operation: the same body for another programme
    let elsewhere = id(&town.manager.post("/api/v1/programmes", draft(rules_with(&[]))).expect(201));
    let elsewhere = at(&elsewhere, "/agreements");
    town.manager.post_with_key(&elsewhere, &key, body.clone()).refused(409, "idempotency_conflict");
    // keys are each organisation's own
    let enrol = json!({"household_id": town.household(1, 0), "programme_id": town.programme});
    assert_eq!(town.worker.post_with_key("/api/v1/enrolments", &key, enrol).header("idempotent-replay"), None);
    for (headers, body) in [(vec![], &body), (vec![("idempotency-key", "court")], &body)] {
        let answer = town.manager.send("POST", &path, &headers, Some(body.clone()));
        answer.refused(400, "idempotency_key_required");
    }
    assert_eq!(cents(&town.budget()["total"]["granted"]), 2_000_000 + 50_000);
    town.world.verify();
}

fn a_refused_try_leaves_its_key_free(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let (funder, _) = newcomer(&town.world, &town.manager, "funder", "Fondation 3");
    let (path, key) = (at(&town.programme, "/agreements"), new_key());
    let sign = |body: Value| town.manager.post_with_key(&path, &key, body);
    sign(agreement(&funder, "C-1")).refused(409, "reference_taken");
    for (field, wrong) in [
        ("granted", json!("0.00")),
        ("share_weight", json!(0)),
        ("grace_days", json!(367)),
        ("ends_on", json!("2025-01-01")),
        ("funder_id", json!(town.structure)),
    ] {
        let mut body = agreement(&funder, "C-3");
        body[field] = wrong;
        assert_eq!(sign(body).refused(422, "invalid_request")["fields"][0]["field"], field);
    }
    let signed = sign(agreement(&funder, "C-3"));
    assert_eq!((signed.status, signed.header("idempotent-replay")), (201, None));
    assert_eq!(signed.expect(201)["position"], 3);
    town.world.verify();
}

fn each_sees_the_programmes_and_agreements_that_concern_it(world: World) {
    let town = Town::with(world, Setup { producers: 1, ..Setup::default() });
    let (open, hidden) = (&town.programme, draft(rules_with(&[])));
    let hidden = id(&town.manager.post("/api/v1/programmes", hidden).expect(201));
    let (_, other_manager) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    let (_, other_worker) = newcomer(&town.world, &town.manager, "social_structure", "Autre CCAS");
    let till = &town.tills[0].client;
    for (reader, programmes) in [
        (&town.manager, vec![open, &hidden]),
        (&town.administrator, vec![open, &hidden]),
        (&town.worker, vec![open]),
        (&town.evaluator, vec![open]),
        (&town.funders[0], vec![open]),
        (till, vec![open]),
        (&other_manager, vec![]),
        (&other_worker, vec![]),
    ] {
        let list = reader.get("/api/v1/programmes").expect(200);
        let mut found: Vec<String> = list["items"].as_array().unwrap().iter().map(id).collect();
        found.sort();
        let mut expected: Vec<String> = programmes.iter().map(|id| (*id).clone()).collect();
        expected.sort();
        assert_eq!(found, expected);
        for programme in [open, &hidden] {
            let answer = reader.get(&at(programme, ""));
            assert_eq!(answer.status, if programmes.contains(&programme) { 200 } else { 404 });
        }
    }
    let [first, second] = &town.agreements[..] else { panic!("two agreements") };
    for (reader, agreements) in [
        (&town.manager, vec![first, second]),
        (&town.administrator, vec![first, second]),
        (&town.evaluator, vec![first, second]),
        (&town.funders[0], vec![first]),
        (&town.funders[1], vec![second]),
        (&other_manager, vec![]),
    ] {
        let list = reader.get(&format!("/api/v1/agreements?programme_id={open}")).expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), agreements.len());
        let none = reader.get(&format!("/api/v1/agreements?programme_id={hidden}")).expect(200);
        assert_eq!(none["items"], json!([]));
        for agreement in [first, second] {
            let answer = reader.get(&format!("/api/v1/agreements/{agreement}"));
            assert_eq!(answer.status, if agreements.contains(&agreement) { 200 } else { 404 });
        }
    }
    for reader in [&town.worker, till] {
        reader.get("/api/v1/agreements").refused(403, "forbidden");
        reader.get(&at(open, "/budget")).refused(403, "forbidden");
    }
    other_manager.get(&at(open, "/budget")).refused(404, "not_found");
    town.evaluator.get(&at(open, "/budget")).expect(200);
    town.world.verify();
}

/// Available, committed, issued, redeemed and returned in all, once the budget has been seen to add up.
fn figures(town: &Town) -> [i64; 5] {
    let budget = town.budget();
    let mut sums = [0; 7];
    let names = ["granted", "available", "committed", "issued", "redeemed", "returned", "outstanding"];
    for money in budget["agreements"].as_array().unwrap().iter().chain([&budget["total"]]) {
        let [granted, available, committed, issued, redeemed, returned, outstanding] = names.map(|n| cents(&money[n]));
        assert_eq!(granted, available + committed + issued - returned, "{money}");
        assert_eq!(outstanding, issued - redeemed - returned, "{money}");
    }
    for money in budget["agreements"].as_array().unwrap() {
        sums.iter_mut().zip(names).for_each(|(sum, name)| *sum += cents(&money[name]));
    }
    assert_eq!(sums, names.map(|name| cents(&budget["total"][name])));
    [sums[1], sums[2], sums[3], sums[4], sums[5]]
}

fn the_budget_adds_up_at_every_step(world: World) {
    let rules = rules_with(&[("period.count", json!(2))]);
    let town = Town::with(world, Setup { rules, agreements: vec![(100_000, 3), (50_000, 1)], ..Setup::default() });
    let till = &town.tills[0];
    assert_eq!(figures(&town), [150_000, 0, 0, 0, 0]);
    let (stays, leaves) = (town.new_card(), town.new_card());
    assert_eq!(figures(&town), [126_000, 24_000, 0, 0, 0]);
    schedule::run(&town.world.state.db).unwrap();
    assert_eq!(figures(&town), [126_000, 12_000, 12_000, 0, 0]);
    till.redeem(&stays.token, 3333).expect(201);
    let mistake = till.redeem(&leaves.token, 1001).expect(201);
    assert_eq!(figures(&town), [126_000, 12_000, 12_000, 4334, 0]);
    till.void(&id(&mistake)).expect(200);
    assert_eq!(figures(&town), [126_000, 12_000, 12_000, 3333, 0]);
    let leave = json!({"return_issued": true});
    town.worker.post(&format!("/api/v1/enrolments/{}/leave", leaves.enrolment), leave).expect(200);
    assert_eq!(figures(&town), [138_000, 6000, 12_000, 3333, 6000]);
    // July's other 26.67 go back
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(figures(&town), [140_667, 0, 18_000, 3333, 8667]);
    town.world.advance_to("2026-08-31T22:00:00Z");
    assert_eq!(figures(&town), [146_667, 0, 18_000, 3333, 14_667]);
    let counts = json!({"waiting": 0, "active": 0, "suspended": 0, "left": 1, "ended": 1});
    assert_eq!(town.budget()["enrolments"], counts);
    town.world.verify();
}

fn the_budget_foresees_when_the_money_runs_out(world: World) {
    let rules = rules_with(&[("period.count", json!(2))]);
    let setup = Setup { rules, agreements: vec![(100_000, 1), (100_000, 1)], producers: 0, ..Setup::default() };
    let town = Town::with(world, setup);
    let foreseen = || {
        let budget = town.budget();
        (budget["daily_pace"].clone(), budget["runs_out_in"].clone())
    };
    assert_eq!(foreseen(), (json!("0.00"), Value::Null));
    town.enrol();
    // 120.00 in the first day: 1880.00 last 15 more
    assert_eq!(foreseen(), (json!("120.00"), json!("2026-07")));
    town.world.set_clock("2026-07-11T08:00:00Z");
    // 120.00 in ten days, 12.00 a day: 1880.00 last 156 more, to 14 December
    assert_eq!(foreseen(), (json!("12.00"), json!("2026-12")));
    let leaves = id(&town.enrol());
    // 24.00 a day: 1760.00 last 73 more, to 22 September
    assert_eq!(foreseen(), (json!("24.00"), json!("2026-09")));
    let leave = json!({"return_issued": true});
    town.worker.post(&format!("/api/v1/enrolments/{leaves}/leave"), leave).expect(200);
    assert_eq!(foreseen(), (json!("12.00"), json!("2026-12")));
    // the last 90 days have promised nothing
    town.world.set_clock("2026-10-20T08:00:00Z");
    assert_eq!(foreseen(), (json!("0.00"), Value::Null));
    town.world.verify();
}

fn what_a_household_pays_for_itself_is_no_promise(world: World) {
    let mut rules = rules_with(&[("period.count", json!(2))]);
    rules["contribution"] = json!({"minimum": "10.00", "maximum": "100.00", "required": false, "goes_to": "household"});
    let setup = Setup { rules, funding_rule: "priority", agreements: vec![(100_000, 1)], ..Setup::default() };
    let town = Town::with(world, setup);
    let card = town.new_card();
    let contributions = format!("/api/v1/enrolments/{}/contributions", card.enrolment);
    town.worker.post_once(&contributions, json!({"amount": "30.00"})).expect(201);
    // two months of 60.00 were promised today
    assert_eq!(town.budget()["daily_pace"], "120.00");
    town.tills[0].redeem(&card.token, 7000).expect(201);
    // a month on, 20.00 of its own were paid back, and nothing came back of the promise: 120.00 in thirty days
    town.world.advance_to("2026-07-31T22:00:00Z");
    assert_eq!(town.budget()["daily_pace"], "4.00");
}
