//! Values: amounts, days, ids, texts and keys that are none.

use serde_json::{Value, json};

use super::{Bench, operation};
use crate::support::client::new_key;
use crate::support::contract;
use crate::support::{Town, World, on_both_databases};

on_both_databases!(
    an_amount_that_is_not_plain_digits_with_at_most_two_decimals_buys_nothing,
    a_day_that_is_not_in_the_calendar_is_refused,
    the_last_days_of_the_calendar_break_nothing,
    an_id_of_another_kind_names_nothing,
    a_name_with_hidden_characters_is_refused,
    hidden_characters_are_refused_in_every_text,
    no_query_breaks_a_list,
    what_moves_money_needs_a_good_idempotency_key,
);

fn an_amount_that_is_not_plain_digits_with_at_most_two_decimals_buys_nothing(world: World) {
    let bench = Bench::new(world);
    let wrong = ["-1", "-0.01", "+1", "NaN", "inf", "1e3", "1.234", "1.", ".5", "1,50", " 1", "01", "", "10000000000"];
    let mut wrong: Vec<Value> = wrong.map(|text| json!(text)).to_vec();
    wrong.extend(["1.005", "1e2", "1.00 ", "１２", "0x10", "Infinity", "-0", "00.10"].map(|text| json!(text)));
    wrong.extend([json!(1), json!(1.5), json!(null), json!("99999999999999999999"), json!("١٢"), json!("1_000")]);
    let nothing = [json!("0"), json!("0.00")];
    let (redeem, sign) = (operation("redeem"), operation("sign_agreement"));
    for amount in wrong.iter().chain(&nothing) {
        let mut body = bench.body(&redeem);
        body["basket"] = amount.clone();
        bench.refused_json(&redeem, &body);
        let mut body = bench.body(&redeem);
        body["lines"][1]["amount"] = amount.clone();
        bench.refused_json(&redeem, &body);
        let mut body = bench.body(&sign);
        body["granted"] = amount.clone();
        bench.refused_json(&sign, &body);
    }
    for id in ["create_programme", "replace_programme"] {
        for amount in &wrong {
            let mut body = bench.body(&operation(id));
            body["rules"]["amount"]["per_child"] = amount.clone();
            bench.refused_json(&operation(id), &body);
        }
    }
    // lines that do not add up to the basket, and too many of them
    let mut body = bench.body(&redeem);
    body["lines"][0]["amount"] = json!("15.41");
    bench.refused_json(&redeem, &body);
    body["lines"] = json!(vec![json!({"category": "eggs", "amount": "1.00"}); 21]);
    body["basket"] = json!("21.00");
    bench.refused_json(&redeem, &body);
    bench.unchanged();
}

fn a_day_that_is_not_in_the_calendar_is_refused(world: World) {
    let bench = Bench::new(world);
    let wrong = [
        "2026-02-30",
        "2026-13-01",
        "0000-00-00",
        "0000-01-01",
        "10000-01-01",
        "２０２６-01-01",
        "2026-00-10",
        "26-01-01",
        "2026-1-1",
        "",
        "20260101",
        "+002026-01-01",
        "-2026-01-01",
        "2026-01-01T00:00:00Z",
        "2026-W01-1",
        "demain",
        "2026-01-01 ",
    ];
    for id in ["create_programme", "replace_programme", "sign_agreement", "enrol_household"] {
        for field in ["starts_on", "ends_on"] {
            let mut body = bench.body(&operation(id));
            if !body.contains_key(field) {
                continue;
            }
            for day in wrong {
                body[field] = json!(day);
                let problem = bench.refused_json(&operation(id), &body);
                assert_eq!(problem["fields"][0]["field"], field);
            }
        }
    }
    let till = &bench.town.tills[0].client;
    for day in ["2026-02-30", "hier", ""] {
        for side in ["from", "to"] {
            till.get(&format!("/api/v1/redemptions?{side}={day}")).refused(422, "invalid_request");
        }
    }
    for month in ["2026-13", "2026-00", "2026-7", "juillet", "2026-07-01", "0000-00", "2025-12", "2026-08", "9999-12"] {
        let path = format!("/api/v1/agreements/{}/reconciliations/{month}", bench.town.agreements[0]);
        let status = bench.town.manager.get(&path).status;
        assert!(matches!(status, 404 | 422), "{month}: {status}");
    }
    bench.unchanged();
}

/// Periods, windows and graces may reach beyond the year 9999 then: whatever is decided, it is no failure.
fn the_last_days_of_the_calendar_break_nothing(world: World) {
    let bench = Bench::new(world);
    let Town { manager, worker, funders, agreements, .. } = &bench.town;
    let (create, sign) = (operation("create_programme"), operation("sign_agreement"));
    let funder = manager.get(&format!("/api/v1/agreements/{}", agreements[0])).expect(200)["funder"]["id"].clone();
    for (first, last, length, count) in [
        ("9999-12-30", "9999-12-31", 366, 36),
        ("9999-12-30", "9999-12-31", 1, 1),
        ("2026-01-01", "9999-12-31", 366, 36),
        ("0000-01-01", "0001-12-31", 1, 1),
    ] {
        let mut body = bench.body(&create);
        (body["starts_on"], body["ends_on"]) = (json!(first), json!(last));
        body["communes"] = json!([{"code": "62427", "name": "Hénin-Beaumont"}]);
        (body["rules"]["expiry_days"], body["rules"]["void_grace_days"]) = (json!(366), json!(92));
        (body["rules"]["start"], body["rules"]["period"]) =
            (json!("enrolment_day"), json!({"unit": "day", "length": length, "count": count}));
        let made = bench.send_json(&create, &body);
        assert!(matches!(made.status, 201 | 422), "{}", made.status);
        if made.status == 422 {
            continue;
        }
        let programme = made.json()["id"].as_str().unwrap().to_owned();
        let agreement = json!({
            "funder_id": funder, "reference": "C-9999", "granted": "9999999999.99", "starts_on": first,
            "ends_on": last, "grace_days": 366, "share_weight": 10000,
        });
        let signed = manager.post_once(&sign.path.replace("{id}", &programme), agreement);
        assert!(matches!(signed.status, 201 | 422), "{}", signed.status);
        if signed.status == 422 {
            continue;
        }
        manager.act(&format!("/api/v1/programmes/{programme}/open")).expect(200);
        manager.set(&format!("/api/v1/programmes/{programme}/members/{}", bench.town.structure)).expect(204);
        for starts_on in
            [json!(null), json!("9999-12-01"), json!("9999-12-31"), json!("9990-01-01"), json!("2027-01-01")]
        {
            let body =
                json!({"household_id": bench.town.household(1, 0), "programme_id": programme, "starts_on": starts_on});
            let enrolled = worker.post_once("/api/v1/enrolments", body);
            assert!(matches!(enrolled.status, 201 | 409 | 422), "{starts_on}: {}", enrolled.status);
        }
        manager.get(&format!("/api/v1/programmes/{programme}/budget")).expect(200);
        let agreement = signed.json()["id"].as_str().unwrap().to_owned();
        let report = funders[0].get(&format!("/api/v1/agreements/{agreement}/reconciliations/2026-07"));
        assert!(matches!(report.status, 200 | 422), "{}", report.status);
    }
    bench.town.world.verify();
}

fn an_id_of_another_kind_names_nothing(world: World) {
    let bench = Bench::new(world);
    for operation in contract::operations() {
        if operation.path.contains("{id}") {
            let (person, key) = (bench.person(&operation), new_key());
            let body = operation.body_example.as_ref().map(|_| json!(bench.body(&operation)));
            let kind = if operation.path.contains("/programmes/") { &bench.household } else { &bench.town.programme };
            let mut longer = kind.clone();
            longer.push('0');
            for id in [kind.as_str(), &longer, &kind.to_uppercase(), "1", "%00", "..%2F..", "a'%20OR%201=1"] {
                let path = operation.path.replace("{id}", id).replace("{month}", "2026-07");
                let path = path.replace("{organisation_id}", &bench.town.structure);
                let path = path.replace("{producer_id}", &bench.town.tills[0].producer);
                let answer = person.send(&operation.method, &path, &[("idempotency-key", &key)], body.clone());
                answer.refused(404, "not_found");
            }
        }
        for (name, _) in operation.body_example.iter().flat_map(|body| body.as_object().unwrap()) {
            if name.ends_with("_id") {
                let kind = if name == "programme_id" { &bench.household } else { &bench.town.programme };
                for id in [kind.as_str(), "", "1", &format!("{kind}0")] {
                    let mut body = bench.body(&operation);
                    body[name] = json!(id);
                    let problem = bench.refused_json(&operation, &body);
                    assert_eq!(problem["fields"][0]["field"], *name);
                }
            }
        }
    }
    bench.unchanged();
}

fn a_name_with_hidden_characters_is_refused(world: World) {
    let bench = Bench::new(world);
    let long = "x".repeat(201);
    let names = [
        ("create_organisation", "name"),
        ("create_person", "name"),
        ("create_stall", "name"),
        ("create_programme", "name"),
        ("set_identity", "family_name"),
        ("set_identity", "first_name"),
    ];
    for (id, field) in names {
        for name in ["a\0b", "a\nb", "Ferme\u{202e}emreF", "\u{200b}", "a\u{feff}b", "", "   ", &long] {
            let mut body = bench.body(&operation(id));
            body[field] = json!(name);
            let problem = bench.refused_json(&operation(id), &body);
            assert_eq!(problem["fields"][0]["field"], field, "{id}");
        }
    }
    // where a text need not be a name, what PostgreSQL cannot keep is refused all the same
    let texts = [
        ("login", "password"),
        ("login", "email"),
        ("refresh_session", "refresh_token"),
        ("accept_invitation", "invitation"),
        ("create_person", "email"),
        ("set_identity", "phone"),
        ("set_identity", "email"),
        ("sign_agreement", "reference"),
        ("set_producer_details", "account_holder"),
        ("redeem", "voucher"),
        ("void_redemption", "reason"),
    ];
    for (id, field) in texts {
        let mut body = bench.body(&operation(id));
        body[field] = json!("nul\0nul@primeur.example");
        let status = bench.send_json(&operation(id), &body).status;
        assert!((400..500).contains(&status), "{id}: {status}");
    }
    bench.unchanged();
}

/// Text in this value, by its place.
fn texts(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((at.to_owned(), text.clone())),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| texts(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| texts(value, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

fn hidden_characters_are_refused_in_every_text(world: World) {
    let bench = Bench::new(world);
    let hidden = [
        '\0',
        '\n',
        '\u{7f}',
        '\u{85}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200f}',
        '\u{202e}',
        '\u{2066}',
        '\u{feff}',
        '\u{fffa}',
        '\u{e0041}',
    ];
    for operation in Bench::with_bodies() {
        let good = json!(bench.body(&operation));
        let mut all = Vec::new();
        texts(&good, "", &mut all);
        for (place, text) in all {
            // a secret may be of any characters: it is compared, and shown to nobody
            let secrets = ["/password", "/current_password", "/new_password", "/refresh_token", "/invitation"];
            let secret = secrets.contains(&place.as_str());
            for (number, hidden) in hidden.iter().enumerate() {
                let mut characters: Vec<char> = text.chars().collect();
                characters.insert(characters.len() / 2, *hidden);
                let mut body = good.clone();
                *body.pointer_mut(&place).unwrap() = json!(characters.into_iter().collect::<String>());
                if secret {
                    let status = bench.send_json(&operation, &body).status;
                    let said = (400..500).contains(&status) && status != 429;
                    assert!(said, "{}: {place}: {hidden:?}: {status}", operation.id);
                } else if number == 0 {
                    bench.refused_json(&operation, &body);
                } else {
                    bench.send_json(&operation, &body).refused(422, "invalid_request");
                }
            }
        }
    }
    bench.unchanged();
}

fn no_query_breaks_a_list(world: World) {
    let bench = Bench::new(world);
    let long = "x".repeat(6000);
    for operation in contract::operations() {
        let path = bench.path(&operation).replace("{month}", "2026-07");
        for name in contract::queries(&operation) {
            for value in ["%00", "%FF", "%F0%9F", "%E2%80%AE", "%", "%zz", "'", "a%20OR%201%3D1", "-1", "NaN", &long] {
                let answer = bench.person(&operation).get(&format!("{path}?{name}={value}"));
                assert!((200..500).contains(&answer.status), "{}: {name}={value}: {}", operation.id, answer.status);
            }
        }
    }
    bench.unchanged();
}

fn what_moves_money_needs_a_good_idempotency_key(world: World) {
    let bench = Bench::new(world);
    for operation in contract::operations().into_iter().filter(|operation| operation.needs_key) {
        let (person, path) = (bench.person(&operation), bench.path(&operation));
        let body = operation.body_example.as_ref().map(|_| json!(bench.body(&operation)));
        person.send(&operation.method, &path, &[], body.clone()).refused(400, "idempotency_key_required");
        let long = "x".repeat(65);
        for key in ["", "court", "1234567", "deux mots bien longs", "a,b,c,d,e,f", "point.virgule", &long] {
            let answer = person.send(&operation.method, &path, &[("idempotency-key", key)], body.clone());
            answer.refused(400, "idempotency_key_required");
        }
    }
    bench.unchanged();
}
