//! What is wrong on the way in: always a problem with a stable code and a sentence in French and in English, never a
//! 500, and nothing is written.

mod bodies;
mod exports;
mod presented;
mod sentences;
mod values;

use serde_json::{Map, Value, json};

use crate::support::client::new_key;
use crate::support::contract::{self, Operation};
use crate::support::sql::Sql;
use crate::support::town::{Card, Setup};
use crate::support::{Answer, Client, Town, World};

/// A town with one of everything, and all operations that take a body, each with who may send it and a good body.
pub struct Bench {
    pub town: Town,
    pub card: Card,
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
        let counts = written(&town.world);
        Bench { town, card, household, redemption, draft, counts }
    }

    pub fn person(&self, operation: &Operation) -> Client {
        match operation.roles.first().map(String::as_str) {
            None => self.town.world.anybody(),
            Some("administrator") => self.town.administrator.clone(),
            Some("manager") => self.town.manager.clone(),
            Some("social_worker") => self.town.worker.clone(),
            Some("producer") => self.town.tills[0].client.clone(),
            Some(other) => panic!("nobody has the role {other}"),
        }
    }

    pub fn path(&self, operation: &Operation) -> String {
        let id = match operation.path.split('/').nth(3) {
            Some("programmes") if operation.id == "replace_programme" => &self.draft,
            Some("programmes") => &self.town.programme,
            Some("households") => &self.household,
            Some("enrolments") => &self.card.enrolment,
            Some("redemptions") => &self.redemption,
            // there is none either
            Some("holds") => "hld_06emeasag1oh1dtjkd13ojl1r0",
            Some("vouchers") => &self.card.id,
            // there is none: what is wrong with a body is said first
            Some("duplicates") => "dup_06emeasag1oh1dtjkd13ojl1r0",
            _ => "",
        };
        operation.path.replace("{id}", id).replace("{producer_id}", &self.town.tills[0].producer)
    }

    /// The contract's example, about what is in this town.
    pub fn body(&self, operation: &Operation) -> Map<String, Value> {
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

    pub fn with_bodies() -> Vec<Operation> {
        contract::operations().into_iter().filter(|operation| operation.body_example.is_some()).collect()
    }

    #[track_caller]
    fn send(&self, operation: &Operation, content_type: &str, body: &[u8]) -> Answer {
        self.send_in(None, operation, content_type, body)
    }

    #[track_caller]
    fn send_in(
        &self,
        language: Option<&'static str>,
        operation: &Operation,
        content_type: &str,
        body: &[u8],
    ) -> Answer {
        // a wrong password slows the next try down: each comes when the one before has faded
        if ["login", "change_password", "begin_second_factor"].contains(&operation.id.as_str()) {
            self.town.world.pass_minutes(15);
        }
        let key = new_key();
        let mut headers = vec![("content-type", content_type)];
        if operation.needs_key {
            headers.push(("idempotency-key", &key));
        }
        let meant = serde_json::from_slice(body).ok();
        let person = self.person(operation).speaking(language);
        person.send_raw(&operation.method, &self.path(operation), &headers, Some(body), meant.as_ref())
    }

    /// The problem that this body is, in both languages.
    #[track_caller]
    fn refused(&self, operation: &Operation, content_type: &str, body: &[u8], status: u16, code: &str) -> Value {
        let [french, english] = [Some("fr"), Some("en")]
            .map(|language| self.send_in(language, operation, content_type, body).refused(status, code));
        in_both_languages(&french, &english);
        french
    }

    #[track_caller]
    fn refused_json(&self, operation: &Operation, body: &impl serde::Serialize) -> Value {
        self.refused(operation, "application/json", &serde_json::to_vec(body).unwrap(), 422, "invalid_request")
    }

    #[track_caller]
    fn send_json(&self, operation: &Operation, body: &impl serde::Serialize) -> Answer {
        self.send(operation, "application/json", &serde_json::to_vec(body).unwrap())
    }

    /// All rows are as they were, but for those that tell of failures.
    #[track_caller]
    pub fn unchanged(self) {
        assert_eq!(written(&self.town.world), self.counts);
        self.town.world.verify();
    }
}

/// How many rows each table has, without the failed attempts: they are counted and logged by design.
fn written(world: &World) -> Vec<(String, i64)> {
    let mut sql = Sql::of(world);
    let mut counts = sql.counts();
    counts.retain(|(table, _)| table != "attempts");
    let logged = counts.iter_mut().find(|(table, _)| table == "audit_entries").unwrap();
    logged.1 = sql.number("SELECT count(*) FROM audit_entries WHERE action <> 'login_failed'");
    counts
}

pub fn operation(id: &str) -> Operation {
    contract::operations().into_iter().find(|operation| operation.id == id).unwrap()
}

/// Title and detail are there in each language, and the same fields are named, with something to say in each.
#[track_caller]
pub fn in_both_languages(french: &Value, english: &Value) {
    for part in ["title", "detail"] {
        let [french, english] = [french, english].map(|problem| problem[part].as_str().unwrap());
        assert!(!french.is_empty() && !english.is_empty() && french != english, "{french} / {english}");
    }
    assert!(french["detail"].as_str().unwrap().ends_with('.'));
    let said = |problem: &Value, part: &str| -> Vec<String> {
        let fields = problem["fields"].as_array().into_iter().flatten();
        fields.map(|field| field[part].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(said(french, "field"), said(english, "field"));
    for (french, english) in said(french, "message").iter().zip(said(english, "message")) {
        assert!(*french != english && !french.is_empty() && !english.is_empty(), "{french} / {english}");
        assert!(!english.contains("that the documentation gives"), "{french}: there is more to say");
    }
}
