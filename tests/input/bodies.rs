//! Bodies: no JSON, the wrong type, too long, said twice, and every field of every request spoiled in turn.

use serde_json::{Value, json};

use super::{Bench, operation};
use crate::support::{World, contract, on_both_databases};

on_both_databases!(
    a_body_that_is_no_json_is_malformed_whatever_it_was_for,
    a_key_given_twice_at_any_depth_is_malformed,
    a_body_that_only_adds_something_may_be_left_out,
    a_field_of_the_wrong_type_or_name_is_named,
    every_field_spoiled_in_every_way_is_refused_and_named,
    a_body_of_another_type_or_beyond_64_kib_is_not_read,
);

fn a_body_that_is_no_json_is_malformed_whatever_it_was_for(world: World) {
    let bench = Bench::new(world);
    for operation in Bench::with_bodies() {
        let good = serde_json::to_string(&bench.body(&operation)).unwrap();
        let (name, value) = bench.body(&operation).into_iter().next().unwrap();
        let twice = format!("{{\"{name}\":{value},{}", &good[1..]);
        let cut = &good[..good.len() - 1];
        let deep = format!("{{\"{name}\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let objects = "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000);
        let (huge, nan) = (format!("{{\"{name}\":1e999}}"), format!("{{\"{name}\":NaN}}"));
        for body in [
            b"{".as_slice(),
            b"\xff\xfe",
            b"{\"name\":\"\xf0\x9f\x8d\"}",
            b"{\"name\":\"\\ud83c\"}",
            cut.as_bytes(),
            twice.as_bytes(),
            deep.as_bytes(),
            objects.as_bytes(),
            huge.as_bytes(),
            nan.as_bytes(),
            &b"[".repeat(5000),
        ] {
            bench.refused(&operation, "application/json", body, 400, "malformed_json");
        }
        // only the reason of a void, the kind of an approved seller and what was fetched of a basket may be left out, and
        // what a second factor begins with, whose parts are asked for by name
        let may_be_left_out = ["void_redemption", "approve_producer", "capture_hold", "begin_second_factor"];
        if !may_be_left_out.contains(&operation.id.as_str()) {
            bench.refused(&operation, "application/json", b"", 400, "malformed_json");
        }
    }
    let login = operation("login");
    let french = bench.send(&login, "application/json", b"{");
    assert_eq!(french.header("content-language"), Some("fr"));
    assert_eq!(french.json()["title"], "JSON illisible");
    let mut english = bench.town.world.anybody();
    english.language = Some("de, en-GB;q=0.8, fr;q=0.2");
    let english = english.send_raw("POST", &login.path, &[("content-type", "application/json")], Some(b"{"), None);
    assert_eq!(english.header("content-language"), Some("en"));
    assert_eq!(english.json()["title"], "Unreadable JSON");
    bench.unchanged();
}

/// A body written with one of its objects naming its first field twice: each in turn.
fn twice(value: &Value) -> Vec<String> {
    let written = |fields: Vec<(String, String)>| {
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    match value {
        Value::Object(fields) => {
            let plain: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            let mut all = vec![written(plain.iter().take(1).chain(&plain).cloned().collect())];
            for (place, value) in fields.values().enumerate() {
                all.extend(twice(value).into_iter().map(|inside| {
                    let mut fields = plain.clone();
                    fields[place].1 = inside;
                    written(fields)
                }));
            }
            all
        }
        Value::Array(items) => {
            let plain: Vec<String> = items.iter().map(Value::to_string).collect();
            let with = |place: usize, inside: String| {
                let mut items = plain.clone();
                items[place] = inside;
                format!("[{}]", items.join(","))
            };
            let inside = |(place, item)| twice(item).into_iter().map(move |text| (place, text));
            items.iter().enumerate().flat_map(inside).map(|(place, text)| with(place, text)).collect()
        }
        _ => Vec::new(),
    }
}

fn a_key_given_twice_at_any_depth_is_malformed(world: World) {
    let bench = Bench::new(world);
    let mut deep = 0;
    for operation in Bench::with_bodies() {
        let all = twice(&json!(bench.body(&operation)));
        deep += all.len() - 1;
        for body in all {
            bench.refused(&operation, "application/json", body.as_bytes(), 400, "malformed_json");
        }
    }
    assert!(deep > 5, "no body has objects inside");
    bench.unchanged();
}

fn a_body_that_only_adds_something_may_be_left_out(world: World) {
    let (bench, void) = (Bench::new(world), operation("void_redemption"));
    let voided = bench.person(&void).act(&bench.path(&void)).expect(200);
    assert!(voided["voided"]["reason"].is_null() && voided["voided"]["at"].is_string());
}

/// The same value with one of its objects written as an array of that object's values: each in turn.
fn by_position(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Object(fields) => {
            all.push(json!(fields.values().collect::<Vec<_>>()));
            for (name, inside) in fields {
                all.extend(by_position(inside).into_iter().map(|new| {
                    let mut whole = value.clone();
                    whole[name] = new;
                    whole
                }));
            }
        }
        Value::Array(items) => {
            for (place, inside) in items.iter().enumerate() {
                all.extend(by_position(inside).into_iter().map(|new| {
                    let mut whole = value.clone();
                    whole[place] = new;
                    whole
                }));
            }
        }
        _ => {}
    }
    all
}

fn a_field_of_the_wrong_type_or_name_is_named(world: World) {
    let bench = Bench::new(world);
    for operation in Bench::with_bodies() {
        let good = bench.body(&operation);
        for name in good.keys() {
            for wrong in [json!(12.5), json!({"colour": "red"}), json!([[]])] {
                let mut body = good.clone();
                body[name] = wrong;
                let problem = bench.refused_json(&operation, &body);
                let field = problem["fields"][0]["field"].as_str().unwrap();
                assert!(field.starts_with(name.as_str()), "{}: {name}, not {field}", operation.id);
            }
        }
        let mut body = good.clone();
        body.insert("colour".to_owned(), json!("red"));
        let problem = bench.refused_json(&operation, &body);
        assert_eq!(problem["fields"][0]["field"], "colour");
        for wrong in [json!([]), json!("text"), json!(7), json!(null)] {
            bench.refused_json(&operation, &wrong);
        }
        // the values alone, in their order, say it only to a machine that guesses
        for wrong in by_position(&json!(good)) {
            bench.refused_json(&operation, &wrong);
        }
    }
    bench.unchanged();
}

/// The place of every field and item inside, as JSON pointers.
pub fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (format!("{at}/{n}"), value)).collect(),
        _ => Vec::new(),
    };
    for (place, value) in inside {
        places(value, &place, found);
        found.push(place);
    }
}

fn every_field_spoiled_in_every_way_is_refused_and_named(world: World) {
    let bench = Bench::new(world);
    let long = "x".repeat(60_000);
    let wrong = [
        json!(12.5),
        json!(true),
        json!(null),
        json!(""),
        json!(-1),
        json!(9_223_372_036_854_775_808_u64),
        json!(1e300),
        json!({"colour": "red"}),
        json!([[]]),
        json!(long),
    ];
    let (mut spoiled, complaints) = (0, std::cell::RefCell::new(Vec::new()));
    for operation in Bench::with_bodies() {
        let good = json!(bench.body(&operation));
        let mut all = Vec::new();
        places(&good, "", &mut all);
        for place in &all {
            let top = place.split('/').nth(1).unwrap();
            let check = |body: &Value, languages: bool| {
                // what the contract allows is no bad input; text without an end is, whatever it is for
                if contract::accepts(&operation, body) {
                    if body.pointer(place).is_some_and(|value| *value == json!(long)) {
                        let status = bench.send_json(&operation, body).status;
                        assert!(
                            (400..500).contains(&status),
                            "{}: {place} of 60,000 characters: {status}",
                            operation.id
                        );
                    }
                    return 0;
                }
                // a secret that is too short is one that is not right
                let secret = ["invitation", "refresh_token", "password"].contains(&top) && body[top].is_string();
                let answer = bench.send_json(&operation, body);
                if secret && answer.status == 401 {
                    return 1;
                }
                if answer.status != 422 {
                    let said = String::from_utf8_lossy(&answer.bytes).into_owned();
                    complaints.borrow_mut().push(format!("{}: {place}: {}: {said}", operation.id, answer.status));
                    return 1;
                }
                let problem = if languages { bench.refused_json(&operation, body) } else { answer.json() };
                let field = problem["fields"][0]["field"].as_str().unwrap();
                assert!(field.starts_with(top), "{}: {place}, not {field}", operation.id);
                assert!(problem["fields"][0]["message"].as_str().unwrap().len() < 400);
                1
            };
            for (number, wrong) in wrong.iter().enumerate() {
                let mut body = good.clone();
                *body.pointer_mut(place).unwrap() = wrong.clone();
                spoiled += check(&body, number == 0);
            }
            let (parent, name) = place.rsplit_once('/').unwrap();
            let mut body = good.clone();
            if let Some(fields) = body.pointer_mut(parent).unwrap().as_object_mut() {
                fields.remove(name);
                spoiled += check(&body, true);
            }
            let mut body = good.clone();
            if let Some(fields) = body.pointer_mut(place).unwrap().as_object_mut() {
                fields.insert("colour".to_owned(), json!("red"));
                spoiled += check(&body, true);
            }
        }
    }
    let complaints = complaints.into_inner();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(spoiled > 500, "only {spoiled} bodies were bad");
    bench.unchanged();
}

fn a_body_of_another_type_or_beyond_64_kib_is_not_read(world: World) {
    let bench = Bench::new(world);
    for operation in Bench::with_bodies() {
        let good = serde_json::to_vec(&bench.body(&operation)).unwrap();
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=iso-8859-1"] {
            bench.refused(&operation, other, &good, 415, "unsupported_media_type");
        }
        let just = [good.clone(), vec![b' '; 64 * 1024 + 1 - good.len()]].concat();
        let million = serde_json::to_vec(&json!({"name": "x".repeat(1_000_000)})).unwrap();
        for long in [just, million] {
            bench.refused(&operation, "application/json", &long, 413, "payload_too_large");
        }
    }
    bench.unchanged();
}
