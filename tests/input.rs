//! What is wrong on the way in: always a problem with a stable code, never a 500, and nothing is written.

use serde_json::{Map, Value, json};

use crate::support::client::new_key;
use crate::support::contract::{self, Operation};
use crate::support::sql::Sql;
use crate::support::town::{Card, Setup};
use crate::support::{Answer, Client, Town, World, on_both_databases};

on_both_databases!(
    a_body_that_is_no_json_is_malformed_whatever_it_was_for,
    the_body_of_a_void_may_be_left_out,
    a_field_of_the_wrong_type_or_name_is_named,
    a_body_of_another_type_or_beyond_64_kib_is_not_read,
    an_amount_that_is_not_plain_digits_with_at_most_two_decimals_buys_nothing,
    a_day_that_is_not_in_the_calendar_is_refused,
    the_last_days_of_the_calendar_break_nothing,
    an_id_of_another_kind_names_nothing,
    a_name_with_hidden_characters_is_refused,
    what_moves_money_needs_a_good_idempotency_key,
);

/// A town with one of everything, and all operations that take a body, each with who may send it and a good body.
pub struct Bench {
    pub town: Town,
    card: Card,
    pub household: String,
    redemption: String,
    draft: String,
    counts: Vec<(String, i64)>,
}

impl Bench {
    pub fn new(world: World) -> Self {
        let town = Town::with(world, Setup { producers: 1, ..Setup::default() });
        let household = town.household(1, 0);
        let enrolment = town.enrol_household(&household).expect(201);
        let card = town.card_for(enrolment["id"].as_str().unwrap());
        let redemption = town.tills[0].redeem(&card.token, 1000).expect(201);
        let example = operation("create_programme").body_example.unwrap();
        let draft = town.manager.post("/api/v1/programmes", example).expect(201);
        let [redemption, draft] = [redemption, draft].map(|made| made["id"].as_str().unwrap().to_owned());
        let counts = Sql::of(&town.world).counts();
        Bench { town, card, household, redemption, draft, counts }
    }

    fn person(&self, operation: &Operation) -> Client {
        match operation.roles.first().map(String::as_str) {
            None => self.town.world.anybody(),
            Some("administrator") => self.town.administrator.clone(),
            Some("manager") => self.town.manager.clone(),
            Some("social_worker") => self.town.worker.clone(),
            Some("producer") => self.town.tills[0].client.clone(),
            Some(other) => panic!("nobody has the role {other}"),
        }
    }

    fn path(&self, operation: &Operation) -> String {
        let id = match operation.path.split('/').nth(3) {
            Some("programmes") if operation.id == "replace_programme" => &self.draft,
            Some("programmes") => &self.town.programme,
            Some("households") => &self.household,
            Some("enrolments") => &self.card.enrolment,
            Some("redemptions") => &self.redemption,
            Some("vouchers") => &self.card.id,
            // there is none: what is wrong with a body is said first
            Some("duplicates") => "dup_06emeasag1oh1dtjkd13ojl1r0",
            _ => "",
        };
        operation.path.replace("{id}", id)
    }

    /// The contract's example, about what is in this town.
    fn body(&self, operation: &Operation) -> Map<String, Value> {
        let mut body = operation.body_example.clone().unwrap().as_object().unwrap().clone();
        for (name, real) in [
            ("household_id", &self.household),
            ("programme_id", &self.town.programme),
            ("enrolment_id", &self.card.enrolment),
            ("organisation_id", &self.town.structure),
            ("stall_id", &self.town.tills[0].stall),
            ("voucher", &self.card.token),
        ] {
            body.entry(name).and_modify(|value| *value = json!(real));
        }
        body
    }

    fn with_bodies() -> Vec<Operation> {
        contract::operations().into_iter().filter(|operation| operation.body_example.is_some()).collect()
    }

    #[track_caller]
    fn send(&self, operation: &Operation, content_type: &str, body: &[u8]) -> Answer {
        let key = new_key();
        let mut headers = vec![("content-type", content_type)];
        if operation.needs_key {
            headers.push(("idempotency-key", &key));
        }
        let meant = serde_json::from_slice(body).ok();
        self.person(operation).send_raw(&operation.method, &self.path(operation), &headers, Some(body), meant.as_ref())
    }

    #[track_caller]
    fn send_json(&self, operation: &Operation, body: &impl serde::Serialize) -> Answer {
        self.send(operation, "application/json", &serde_json::to_vec(body).unwrap())
    }

    /// All rows are as they were.
    #[track_caller]
    pub fn unchanged(self) {
        assert_eq!(Sql::of(&self.town.world).counts(), self.counts);
        self.town.world.verify();
    }
}

pub fn operation(id: &str) -> Operation {
    contract::operations().into_iter().find(|operation| operation.id == id).unwrap()
}

fn a_body_that_is_no_json_is_malformed_whatever_it_was_for(world: World) {
    let bench = Bench::new(world);
    for operation in Bench::with_bodies() {
        let good = serde_json::to_string(&bench.body(&operation)).unwrap();
        let (name, value) = bench.body(&operation).into_iter().next().unwrap();
        let twice = format!("{{\"{name}\":{value},{}", &good[1..]);
        let cut = &good[..good.len() - 1];
        for body in [b"{".as_slice(), b"\xff\xfe", cut.as_bytes(), twice.as_bytes(), &b"[".repeat(5000)] {
            bench.send(&operation, "application/json", body).refused(400, "malformed_json");
        }
        // only the reason of a void may be left out
        if operation.id != "void_redemption" {
            bench.send(&operation, "application/json", b"").refused(400, "malformed_json");
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

fn the_body_of_a_void_may_be_left_out(world: World) {
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
                let problem = bench.send_json(&operation, &body).refused(422, "invalid_request");
                let field = problem["fields"][0]["field"].as_str().unwrap();
                assert!(field.starts_with(name.as_str()), "{}: {name}, not {field}", operation.id);
            }
        }
        let mut body = good.clone();
        body.insert("colour".to_owned(), json!("red"));
        let problem = bench.send_json(&operation, &body).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], "colour");
        for wrong in [json!([]), json!("text"), json!(7), json!(null)] {
            bench.send_json(&operation, &wrong).refused(422, "invalid_request");
        }
        // the values alone, in their order, say it only to a machine that guesses
        for wrong in by_position(&json!(good)) {
            bench.send_json(&operation, &wrong).refused(422, "invalid_request");
        }
    }
    bench.unchanged();
}

fn a_body_of_another_type_or_beyond_64_kib_is_not_read(world: World) {
    let bench = Bench::new(world);
    for operation in Bench::with_bodies() {
        let good = serde_json::to_vec(&bench.body(&operation)).unwrap();
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=iso-8859-1"] {
            bench.send(&operation, other, &good).refused(415, "unsupported_media_type");
        }
        let long = [good, vec![b' '; 70 * 1024]].concat();
        bench.send(&operation, "application/json", &long).refused(413, "payload_too_large");
    }
    bench.unchanged();
}

fn an_amount_that_is_not_plain_digits_with_at_most_two_decimals_buys_nothing(world: World) {
    let bench = Bench::new(world);
    let wrong = ["-1", "-0.01", "+1", "NaN", "inf", "1e3", "1.234", "1.", ".5", "1,50", " 1", "01", "", "10000000000"];
    let mut wrong: Vec<Value> = wrong.map(|text| json!(text)).to_vec();
    wrong.extend([json!(1), json!(1.5), json!(null), json!("99999999999999999999"), json!("١"), json!("1_000")]);
    let nothing = [json!("0"), json!("0.00")];
    let (redeem, sign) = (operation("redeem"), operation("sign_agreement"));
    for amount in wrong.iter().chain(&nothing) {
        let mut body = bench.body(&redeem);
        body["basket"] = amount.clone();
        bench.send_json(&redeem, &body).refused(422, "invalid_request");
        let mut body = bench.body(&redeem);
        body["lines"][1]["amount"] = amount.clone();
        bench.send_json(&redeem, &body).refused(422, "invalid_request");
        let mut body = bench.body(&sign);
        body["granted"] = amount.clone();
        bench.send_json(&sign, &body).refused(422, "invalid_request");
    }
    for id in ["create_programme", "replace_programme"] {
        for amount in &wrong {
            let mut body = bench.body(&operation(id));
            body["rules"]["amount"]["per_child"] = amount.clone();
            bench.send_json(&operation(id), &body).refused(422, "invalid_request");
        }
    }
    // lines that do not add up to the basket, and too many of them
    let mut body = bench.body(&redeem);
    body["lines"][0]["amount"] = json!("15.41");
    bench.send_json(&redeem, &body).refused(422, "invalid_request");
    body["lines"] = json!(vec![json!({"category": "eggs", "amount": "1.00"}); 21]);
    body["basket"] = json!("21.00");
    bench.send_json(&redeem, &body).refused(422, "invalid_request");
    bench.unchanged();
}

fn a_day_that_is_not_in_the_calendar_is_refused(world: World) {
    let bench = Bench::new(world);
    let wrong = [
        "2026-02-30",
        "2026-13-01",
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
                let problem = bench.send_json(&operation(id), &body).refused(422, "invalid_request");
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
                    let problem = bench.send_json(&operation, &body).refused(422, "invalid_request");
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
    for id in ["create_organisation", "create_person", "create_stall", "create_programme"] {
        for name in ["a\0b", "a\nb", "Ferme\u{202e}emreF", "\u{200b}", "a\u{feff}b", "", "   ", &long] {
            let mut body = bench.body(&operation(id));
            body["name"] = json!(name);
            let problem = bench.send_json(&operation(id), &body).refused(422, "invalid_request");
            assert_eq!(problem["fields"][0]["field"], "name", "{id}");
        }
    }
    for name in ["a\0b", "Lucie\u{202e}nne", "\u{200b}", "", &long] {
        let mut body = bench.body(&operation("set_identity"));
        body["first_name"] = json!(name);
        let problem = bench.send_json(&operation("set_identity"), &body).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], "first_name");
    }
    // where a text need not be a name, what PostgreSQL cannot keep is refused all the same
    let texts = [
        ("login", "email"),
        ("refresh_session", "refresh_token"),
        ("accept_invitation", "invitation"),
        ("create_person", "email"),
        ("sign_agreement", "reference"),
        ("set_producer_details", "account_holder"),
        ("redeem", "voucher"),
        ("void_redemption", "reason"),
        ("dismiss_duplicate", "reason"),
        ("search_households", "email"),
        ("set_identity", "phone"),
    ];
    for (id, field) in texts {
        let mut body = bench.body(&operation(id));
        body.insert(field.to_owned(), json!("nul\0nul@primeur.example"));
        let status = bench.send_json(&operation(id), &body).status;
        assert!((400..500).contains(&status), "{id}: {status}");
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
