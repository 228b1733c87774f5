//! A day of everything, listened to: no household is known to a producer, a funder or the log.
//!
//! `support::traffic` listens to every exchange of the whole suite; here is a day in which everybody does all that they
//! may, at the log's finest level, and the proof that a leak would be heard.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use primeur::kit::time::{Clock, Day, SystemClock, Zone};
use serde_json::{Value, json};

use crate::support::authenticator::Authenticator;
use crate::support::client::new_key;
use crate::support::contract::{self, Exchange};
use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::traffic::{self, Known};
use crate::support::world::PASSWORD;
use crate::support::{Client, Process, Town, World, id};

/// Who households say they are, in the fields that the contract has for it.
fn identity(number: usize) -> Value {
    json!({
        "family_name": format!("Quatre-Mâts {number}"), "first_name": "Éléonore",
        "birth_date": format!("19{:02}-03-{:02}", 30 + number / 28 % 60, 1 + number % 28),
        "phone": format!("06 39 98 {:02} {:02}", number / 100, number % 100),
        "email": format!("eleonore.{number}@menages.example"),
    })
}

#[test]
fn a_day_of_everything_tells_producers_funders_and_the_log_of_no_household_on_sqlite() {
    day_of_everything(Process::on_sqlite());
}

#[test]
fn a_day_of_everything_tells_producers_funders_and_the_log_of_no_household_on_postgresql() {
    day_of_everything(Process::on_postgresql());
}

fn day_of_everything(mut process: Process) {
    process.settings = vec![("PRIMEUR__LOG__LEVEL", "trace".to_owned())];
    process.serve();
    let zone: Zone = "Europe/Paris".parse().unwrap();
    let first = zone.day_of(SystemClock.now()).first_of_month();
    let (starts_on, ends_on) = (first.to_string(), first.plus_months(12).to_string());
    let town = Town::with(World::served_by(&process), Setup { starts_on, ends_on, ..Setup::setting_aside() });
    let people = market_day(&town);
    sweep(&town, &people, first);
    let known = traffic::known(&process.address);
    let (identities, households, secrets) = known.counts();
    assert!(identities >= 20 && households >= 20 && secrets >= 40, "{identities} {households} {secrets}");
    for role in ["producer", "funder"] {
        assert!(known.judged[role] > 10, "{role}: {}", known.judged[role]);
        for operation in contract::operations() {
            let reads = operation.method == "GET" && operation.roles.iter().any(|r| r == role);
            let heard = known.answered.contains(&(role.to_owned(), operation.id.clone()));
            assert!(heard || !reads, "{role} was never answered by {}", operation.id);
        }
    }
    // what is a person's own, and what is a household's, was really done and not only asked for
    for operation in contract::operations() {
        let parts = ["/api/v1/access/", "/api/v1/households", "/api/v1/duplicates"];
        for role in operation.roles.iter().filter(|_| parts.iter().any(|part| operation.path.starts_with(part))) {
            let done = known.answered.contains(&(role.clone(), operation.id.clone()));
            assert!(done, "{role} has not done {}", operation.id);
        }
    }
    process.stop();
    let log = fs::read_to_string(process.log()).unwrap();
    assert!(log.lines().count() > known.judged.values().sum::<usize>(), "the log is not at its finest level");
    known.judge_log(&log).unwrap();
}

/// Households with names come, are enrolled, and buy; some purchases are undone, some refused, cards are replaced.
fn market_day(town: &Town) -> BTreeMap<&'static str, Client> {
    for number in 0..10 {
        let body = json!({"adults": 2, "children": 1, "commune": "62427", "identity": identity(number)});
        let household = town.worker.post("/api/v1/households", body).expect(201);
        let enrolment = town.enrol_household(household["id"].as_str().unwrap()).expect(201);
        let card = town.card_for(enrolment["id"].as_str().unwrap());
        for till in &town.tills {
            till.check(&card.token);
            till.check(&card.code);
            let bought = till.redeem(&card.token, 1234).expect(201);
            till.redeem_in_part(&card.code, 567).expect(201);
            till.redeem(&card.token, 999_999).refused(409, "insufficient_balance");
            // one basket is fetched, one given up, and one waits
            let [fetched, given_up, _] = [310, 210, 110].map(|basket| id(&till.hold(&card.code, basket).expect(201)));
            till.capture(&fetched).expect(201);
            till.client.act(&format!("/api/v1/holds/{given_up}/release")).expect(204);
            till.capture(&given_up).refused(409, "hold_state");
            till.hold(&card.token, 999_999).refused(409, "insufficient_balance");
            if number % 2 == 0 {
                till.void(bought["id"].as_str().unwrap()).expect(200);
            }
        }
        let replace = format!("/api/v1/vouchers/{}/replace", card.id);
        town.worker.act_once(&replace).expect(201);
        town.tills[0].redeem(&card.token, 100).refused(409, "voucher_replaced");
    }
    BTreeMap::from([
        ("administrator", town.administrator.clone()),
        ("manager", town.manager.clone()),
        ("social_worker", town.worker.clone()),
        ("producer", town.tills[0].client.clone()),
        ("funder", town.funders[0].clone()),
        ("evaluator", town.evaluator.clone()),
    ])
}

/// Every role does everything that the contract gives it, with what there really is: reads first, the end of the
/// session last. Whatever is answered is listened to.
fn sweep(town: &Town, people: &BTreeMap<&'static str, Client>, first: Day) {
    let (card, till) = (town.new_card(), &town.tills[0]);
    let page = till.client.get("/api/v1/redemptions?limit=2").expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    till.client.get(&format!("/api/v1/redemptions?limit=2&cursor={cursor}")).expect(200);
    let sold = till.redeem(&card.token, 321).expect(201)["id"].as_str().unwrap().to_owned();
    let held = id(&till.hold(&card.token, 123).expect(201));
    let with_phone = |number: usize| {
        let said = json!({"family_name": identity(number)["family_name"], "phone": identity(99)["phone"]});
        let body = json!({"adults": 1, "children": 0, "commune": "62427", "identity": said});
        town.worker.post("/api/v1/households", body).expect(201)["id"].as_str().unwrap().to_owned()
    };
    let (alike, leaving) = (with_phone(98), with_phone(99));
    let pairs = town.worker.get(&format!("/api/v1/households/{alike}/duplicates")).expect(200);
    let duplicate = pairs["items"][0]["id"].as_str().unwrap().to_owned();
    let mut real = Real {
        ids: BTreeMap::from([
            ("org", town.structure.clone()),
            ("dup", duplicate),
            ("prg", town.programme.clone()),
            ("agr", town.agreements[0].clone()),
            ("hhd", alike),
            ("enr", card.enrolment.clone()),
            ("vch", card.id.clone()),
            ("stl", till.stall.clone()),
            ("red", sold),
            ("hld", held),
        ]),
        producer: till.producer.clone(),
        leaving,
        colleague: String::new(),
        code: String::new(),
        voucher: card.token.clone(),
        month: first.to_string()[..7].to_owned(),
    };
    let mut operations = contract::operations();
    // a pair is dismissed while its two are alike, and a second factor begun with the password that is known here
    operations.sort_by_key(|operation| {
        let id = operation.id.as_str();
        (operation.method != "GET", id != "dismiss_duplicate", id != "begin_second_factor", id == "logout")
    });
    for role in ["producer", "funder", "evaluator", "social_worker", "manager", "administrator"] {
        let own = people[role].get("/api/v1/access/me").expect(200)["organisation"]["id"].clone();
        let email = format!("{}@primeur.example", new_key());
        let colleague = json!({"organisation_id": own, "email": email, "name": "Camille", "lead": false});
        let by = if role == "evaluator" { &town.administrator } else { &people[role] };
        let colleague = by.post("/api/v1/people", colleague).expect(201);
        real.colleague = colleague["person"]["id"].as_str().unwrap().to_owned();
        let mut authenticator = None;
        for operation in operations.iter().filter(|operation| operation.roles.iter().any(|r| r == role)) {
            if operation.id == "begin_second_factor" {
                authenticator = Some(Authenticator::begun(&people[role], None));
                continue;
            }
            if let ("confirm_second_factor", Some(made)) = (operation.id.as_str(), &authenticator) {
                real.code = made.code(SystemClock.now());
            }
            let path = real.path(&operation.path);
            let forms: &[&str] = match operation.id.as_str() {
                "show_reconciliation" => &["application/json", "text/csv", "text/csv; profile=excel-fr"],
                "draw_voucher_qr" => &["image/svg+xml", "image/png"],
                _ => &["application/json"],
            };
            for form in forms {
                let (key, body) = (new_key(), operation.body_example.clone().map(|body| real.body(body)));
                let mut headers = vec![("accept", *form)];
                headers.extend(operation.needs_key.then_some(("idempotency-key", key.as_str())));
                let answer = people[role].send(&operation.method, &path, &headers, body);
                let codes = operation.id.ends_with("_second_factor") || operation.id == "renew_recovery_codes";
                if let (true, 200) = (codes, answer.status)
                    && let Some(code) = answer.json()["recovery_codes"][0].as_str()
                {
                    real.code = code.to_owned();
                }
            }
        }
    }
}

/// What stands in for the contract's examples.
struct Real {
    /// By prefix.
    ids: BTreeMap<&'static str, String>,
    producer: String,
    voucher: String,
    month: String,
    /// A household with an identity and without enrolment, to be erased.
    leaving: String,
    /// Somebody of the organisation of whoever acts.
    colleague: String,
    /// What proves the second factor next.
    code: String,
}

impl Real {
    fn path(&self, template: &str) -> String {
        let mut resource = "";
        let segment = |segment| {
            let id = match (segment, resource) {
                ("{id}", "producers") | ("{producer_id}", _) => &self.producer,
                ("{id}", "organisations") | ("{organisation_id}", _) => &self.ids["org"],
                ("{id}", "programmes") => &self.ids["prg"],
                ("{id}", "agreements") => &self.ids["agr"],
                ("{id}", "people") => &self.colleague,
                ("{id}", "duplicates") => &self.ids["dup"],
                ("{id}", "households") if template.ends_with("/erase") => &self.leaving,
                ("{id}", "households") => &self.ids["hhd"],
                ("{id}", "enrolments") => &self.ids["enr"],
                ("{id}", "vouchers") => &self.ids["vch"],
                ("{id}", "stalls") => &self.ids["stl"],
                ("{id}", "redemptions") => &self.ids["red"],
                ("{id}", "holds") => &self.ids["hld"],
                ("{month}", _) => &self.month,
                _ => {
                    resource = segment;
                    return segment.trim_matches(['{', '}']).to_owned();
                }
            };
            id.clone()
        };
        template.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    fn body(&self, example: Value) -> Value {
        match example {
            Value::Object(fields) => {
                let real = |(name, value): (String, Value)| match name.as_str() {
                    "voucher" => (name, json!(self.voucher)),
                    "current_password" => (name, json!(PASSWORD)),
                    "code" => (name, json!(self.code)),
                    "email" => (name, json!(format!("{}@primeur.example", new_key()))),
                    _ => (name, self.body(value)),
                };
                Value::Object(fields.into_iter().map(real).collect())
            }
            Value::Array(items) => items.into_iter().map(|item| self.body(item)).collect(),
            Value::String(text) => {
                let id = text.split_once('_').and_then(|(prefix, _)| self.ids.get(prefix));
                json!(id.filter(|id| id.len() == text.len()).unwrap_or(&text))
            }
            other => other,
        }
    }
}

/// Five months of the demo's invented territory, read from end to end by all its producers and funders.
#[test]
fn all_that_producers_and_funders_of_the_demo_can_read_tells_of_no_household() {
    let mut process = Process::on_sqlite();
    let filled = process.command(&["demo", "--no-serve"]).stdin(Stdio::null()).output().unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let demo = process.directory.join("data/demo");
    fs::rename(demo.join("keys"), process.directory.join("keys")).unwrap();
    process.database_url = format!("sqlite://{}", demo.join("primeur.db").display());
    process.settings = vec![("PRIMEUR__LOG__LEVEL", "trace".to_owned())];
    process.serve();
    let world = World::served_by(&process);
    let logins = |kind: &str| {
        let of_kind = "SELECT p.email AS line FROM people p JOIN organisations o ON o.id = p.organisation_id";
        Sql::of(&world).lines(&format!("{of_kind} WHERE o.kind = '{kind}' ORDER BY p.email"))
    };
    let desks: Vec<Client> = logins("social_structure").iter().map(|email| enter(&world, email)).collect();
    let mut said = 0;
    for desk in &desks {
        for list in ["households", "enrolments", "vouchers"] {
            everything(desk, list);
        }
        for household in everything(desk, "households").iter().take(20) {
            let path = format!("/api/v1/households/{}/identity", household["id"].as_str().unwrap());
            // what the demo itself has said of them is listened to as well
            desk.get(&path).expect(200);
            desk.put(&path, identity(said)).expect(200);
            said += 1;
        }
    }
    let known = traffic::known(&process.address);
    let (identities, households, _) = known.counts();
    assert!(identities > 20 && households > 150, "{identities} {households}");

    let (mut producers, mut funders, mut reports) = (0, 0, 0);
    for producer in logins("producer").iter().map(|email| enter(&world, email)) {
        producers += 1;
        for list in ["programmes", "stalls", "applications", "people", "redemptions"] {
            let kept = everything(&producer, list);
            for item in kept.iter().filter(|_| list == "redemptions").take(20) {
                producer.get(&format!("/api/v1/redemptions/{}", item["id"].as_str().unwrap())).expect(200);
            }
        }
    }
    let today = "Europe/Paris".parse::<Zone>().unwrap().day_of(SystemClock.now());
    for funder in logins("funder").iter().map(|email| enter(&world, email)) {
        funders += 1;
        everything(&funder, "programmes");
        for agreement in everything(&funder, "agreements") {
            let id = agreement["id"].as_str().unwrap();
            funder.get(&format!("/api/v1/agreements/{id}")).expect(200);
            for months in 0..7 {
                let month = &today.first_of_month().plus_months(-months).to_string()[..7];
                for form in ["application/json", "text/csv", "text/csv; profile=excel-fr"] {
                    let path = format!("/api/v1/agreements/{id}/reconciliations/{month}");
                    reports += usize::from(funder.get_as(&path, form).status == 200);
                }
            }
        }
    }
    assert!(producers > 5 && funders >= 4 && reports > 60, "{producers} {funders} {reports}");
    process.stop();
    traffic::known(&process.address).judge_log(&fs::read_to_string(process.log()).unwrap()).unwrap();
}

/// Logs in with the demo's one public password.
fn enter(world: &World, email: &str) -> Client {
    let login = json!({"email": email, "password": "cheque-en-bois"});
    let tokens = world.anybody().post("/api/v1/access/login", login).expect(200);
    world.anybody().signed_in(&tokens)
}

/// All pages of a list, in pages small enough that there are cursors.
fn everything(client: &Client, list: &str) -> Vec<Value> {
    let (mut items, mut query) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/{list}?limit=40{query}")).expect(200);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("&cursor={cursor}"),
            None => return items,
        }
    }
}

/// The proof that the rest is listened to: what leaks here is heard in every form.
#[test]
fn a_leak_is_heard_in_whatever_form_it_comes() {
    let household = "hhd_06emeasag1oh1dtjkd13ojl1r0";
    let raw = data_encoding::BASE32HEX_NOPAD.decode(household[4..].to_uppercase().as_bytes()).unwrap();
    let uuid = uuid::Uuid::from_slice(&raw).unwrap();
    let mut known = Known::default();
    let told = json!({
        "id": household, "reference": "MEN-7K3M9Q", "adults": 2, "children": 1,
        "identity": {"family_name": "Quatre-Mâts", "first_name": "Éléonore", "birth_date": "1961-03-09",
                     "phone": "06 39 98 12 77", "email": "e.4mats@mail.example"},
    });
    known.learn(&answered("GET", told.to_string().as_bytes(), &[]));
    let looked =
        json!({"family_name": null, "first_name": null, "birth_date": null, "phone": "0639981399", "email": null});
    let path = format!("/api/v1/households/{household}/identity");
    known.learn(&Exchange { path: &path, ..answered("GET", looked.to_string().as_bytes(), &[]) });
    let search = json!({"family_name": "Quatre-Mâts", "first_name": "Sidonie"});
    let search = Exchange { path: "/api/v1/households/search", body: Some(&search), ..answered("POST", b"{}", &[]) };
    known.learn(&search);
    let reason = json!({"reason": "La mère de Célestine"});
    let path = "/api/v1/duplicates/dup_06emeasag1oh1dtjkd13ojl1v0/dismiss";
    known.learn(&Exchange { path, status: 204, body: Some(&reason), ..answered("POST", b"", &[]) });

    let base64 = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let leaks: Vec<Vec<u8>> = [
        r#"{"note": "pour Éléonore"}"#.to_owned(),
        r#"{"note": "\u00c9L\u00c9ONORE"}"#.to_owned(),
        "producteur;solde\nQUATRE-MÂTS;12,00\n".to_owned(),
        r#"{"next": "/x?name=Quatre-M%C3%A2ts"}"#.to_owned(),
        r#"{"next": "/x?name=%C3%89l%C3%A9onore"}"#.to_owned(),
        r#"{"note": "ELEONORE"}"#.to_owned(),
        r#"{"note": "quatre mats"}"#.to_owned(),
        r#"{"born": "1961-03-09"}"#.to_owned(),
        "né;09/03/1961\n".to_owned(),
        r#"{"call": "+33 6 39.98.12.77"}"#.to_owned(),
        r#"{"call": "0639981277"}"#.to_owned(),
        r#"{"mail": "E.4MATS@mail.example"}"#.to_owned(),
        format!(r#"{{"about": "{household}"}}"#),
        r#"{"about": "enr_06emeasag1oh1dtjkd13ojl1zz enr_06emeasag1oh1dtjkd13ojl1v0"}"#.to_owned(),
        r#"{"about": "men-7k3m9q"}"#.to_owned(),
        format!(r#"{{"about": "{uuid}"}}"#),
        format!(r#"{{"about": "{}"}}"#, uuid.simple()),
        format!(r#"{{"next_cursor": "{}"}}"#, base64(&raw)),
        format!(r#"{{"next_cursor": "{}"}}"#, base64(format!("list:{household}").as_bytes())),
        format!(
            r#"{{"token": "HTTPS://X.EXAMPLE/V/{}"}}"#,
            data_encoding::BASE32_NOPAD.encode(&[&[1; 5], &raw[..]].concat())
        ),
        format!(r#"{{"x": "{}"}}"#, base64(base64("Quatre-Mâts".as_bytes()).as_bytes())),
        r#"{"lines": [{"household_id": null}]}"#.to_owned(),
        r#"{"lines": [{"adults": 2}]}"#.to_owned(),
        r#"{"call": "+33639981277"}"#.to_owned(),
        r#"{"note": "Sidonie"}"#.to_owned(),
        r#"{"note": "la mère de Célestine"}"#.to_owned(),
        r#"{"call": "0639981399"}"#.to_owned(),
        r#"{"about": "dup_06emeasag1oh1dtjkd13ojl1v0"}"#.to_owned(),
        r#"{"has_identity": true}"#.to_owned(),
        "\"line\";\"children\"\n1;2\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec();
    for leak in &leaks {
        for role in ["producer", "funder"] {
            let heard = known.judge(role, &answered("GET", leak, &[]));
            assert!(heard.is_err(), "{role} was told: {}", String::from_utf8_lossy(leak));
        }
        assert!(known.judge("social_worker", &answered("GET", leak, &[])).is_ok());
    }
    let header = [("location".to_owned(), format!("/api/v1/households/{household}"))];
    assert!(known.judge("producer", &answered("GET", b"{}", &header)).is_err());
    let fine = r#"{"id": "red_06emeasag1oh1dtjkd13ojl1r1", "basket": "23.40", "at": "2026-05-09T08:12:45.120331Z", "by_chance": "M-X7SIDONIE2QK"}"#;
    known.judge("producer", &answered("GET", fine.as_bytes(), &[])).unwrap();
}

#[test]
fn a_secret_in_the_log_is_heard() {
    let mut known = Known::default();
    let told = json!({
        "access_token": "eyJhbGciOiJFZERTQSJ9.e30.AAAA", "refresh_token": "pPqz4G7vX2mQ9sT1wY6bN3cJ", "iban": "FR1420041010050500013M02606",
        "code": "7K3M-Q9TD-4WXA", "token": "HTTPS://X.EXAMPLE/V/AEDQLX3TNZ5K2V", "invitation": "Jw3nV8xQ1tL6rB0y", "email": "a.b@mail.example",
        "recovery_codes": ["abcd-efgh-1234"], "household": {"adults": 1, "id": "hhd_06emeasag1oh1dtjkd13ojl1r0", "identity": {"family_name": "Quatre-Mâts"}},
    });
    known.learn(&answered("GET", told.to_string().as_bytes(), &[]));
    let password = json!({"email": "c.d@mail.example", "password": "des pommes et des poires"});
    known.learn(&Exchange { body: Some(&password), ..answered("POST", b"{}", &[]) });
    known.judge_log(r#"{"level":"INFO","route":"/api/v1/redemptions/{id}","status":201}"#).unwrap();
    for leak in [
        "eyJhbGciOiJFZERTQSJ9.e30.AAAA",
        "pPqz4G7vX2mQ9sT1wY6bN3cJ",
        "FR1420041010050500013M02606",
        "7K3M-Q9TD-4WXA",
        "7k3mq9td4wxa",
        "HTTPS://X.EXAMPLE/V/AEDQLX3TNZ5K2V",
        "Jw3nV8xQ1tL6rB0y",
        "a.b@mail.example",
        "abcd-efgh-1234",
        "Quatre-M\\u00e2ts",
        "Quatre-Mâts",
        "hhd_06emeasag1oh1dtjkd13ojl1r0",
        "des pommes et des poires",
        "c.d@mail.example",
    ] {
        let line = format!(r#"{{"level":"TRACE","message":"headers: {leak}"}}"#);
        assert!(known.judge_log(&line).is_err(), "{line}");
    }
}

fn answered<'a>(method: &'a str, answer: &'a [u8], headers: &'a [(String, String)]) -> Exchange<'a> {
    Exchange {
        method,
        path: "/api/v1/x",
        headers: &[],
        body: None,
        status: 200,
        content_type: None,
        answer,
        answer_headers: headers,
    }
}
