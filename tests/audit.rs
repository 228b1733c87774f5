//! The audit log: what everybody does leaves its entry, once, and reading leaves none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::roles::filled;
use crate::support::authenticator::{Authenticator, codes};
use crate::support::client::new_key;
use crate::support::contract::{self, Operation};
use crate::support::town::{Setup, join, newcomer, siret};
use crate::support::world::PASSWORD;
use crate::support::{Client, Town, World, id, on_both_databases};

on_both_databases!(
    every_change_that_somebody_makes_leaves_its_entry_once,
    what_happens_by_itself_is_told_as_the_service_s,
    reading_leaves_no_entry,
);

/// A journal of its own has the person in it.
const TILL: [&str; 5] = ["check_voucher", "redeem", "void_redemption", "hold_basket", "capture_hold"];

/// Held by the tests of people, of households, of what they pay in and of simulations.
const ELSEWHERE: [&str; 20] = [
    // tests/rules.rs
    "set_band",
    // tests/contribution.rs
    "contribute",
    // tests/sessions.rs
    "logout",
    "change_password",
    "revoke_other_sessions",
    "create_person",
    "create_organisation",
    "disable_person",
    "enable_person",
    "invite_person",
    "revoke_sessions",
    // tests/household.rs and tests/privacy.rs
    "create_household",
    "replace_household",
    "set_identity",
    "erase_identity",
    "dismiss_duplicate",
    "search_households",
    "erase_household",
    // tests/simulation.rs: they write nothing at all
    "simulate",
    "simulate_programme",
];

/// Reads the log after each step.
struct Reader {
    administrator: Client,
    seen: i64,
    covered: BTreeSet<String>,
}

impl Reader {
    fn new(administrator: &Client) -> Self {
        let mut reader = Reader { administrator: administrator.clone(), seen: 0, covered: BTreeSet::new() };
        reader.new_entries();
        reader
    }

    /// What was written since the last look, oldest first.
    fn new_entries(&mut self) -> Vec<Value> {
        let page = self.administrator.get("/api/v1/audit?limit=200").expect(200);
        let mut new: Vec<Value> = page["items"].as_array().unwrap().clone();
        new.retain(|entry| entry["sequence"].as_i64().unwrap() > self.seen);
        new.reverse();
        self.seen = new.last().map_or(self.seen, |entry| entry["sequence"].as_i64().unwrap());
        new
    }

    /// Does an operation, and finds what it left: the verb, its subject (the answer's id, for ""), and a detail.
    #[track_caller]
    fn leaves(
        &mut self,
        by: &Client,
        operation: &str,
        ids: &[&str],
        body: Value,
        entry: (&str, &str, Option<&str>),
    ) -> Value {
        let me = by.get("/api/v1/access/me").expect(200);
        let (answer, left) = self.done(by, operation, ids, body);
        let (action, subject, detail) = entry;
        let subject = if subject.is_empty() { answer["id"].clone() } else { json!(subject) };
        assert_eq!(left.len(), 1, "{operation} left {left:?}");
        for (key, expected) in [
            ("action", &json!(action)),
            ("subject", &subject),
            ("detail", &json!(detail)),
            ("person_id", &me["id"]),
            ("organisation_id", &me["organisation"]["id"]),
        ] {
            assert_eq!(&left[0][key], expected, "{key} of {operation}");
        }
        answer
    }

    /// Does what is done already.
    #[track_caller]
    fn leaves_nothing(&mut self, by: &Client, operation: &str, ids: &[&str], body: Value) {
        let (_, left) = self.done(by, operation, ids, body);
        assert!(left.is_empty(), "{operation} left {left:?}");
    }

    /// The answer, and the new entries; what needs a key is sent twice with one.
    #[track_caller]
    fn done(&mut self, by: &Client, operation: &str, ids: &[&str], body: Value) -> (Value, Vec<Value>) {
        let operation = contract::operations().into_iter().find(|known| known.id == operation).unwrap();
        let mut ids = ids.iter();
        let path = filled_in_order(&operation, &mut ids);
        let body = Some(body).filter(|body| !body.is_null());
        let key = new_key();
        let headers: &[(&str, &str)] = if operation.needs_key { &[("idempotency-key", &key)] } else { &[] };
        self.new_entries();
        let answer = by.send(&operation.method, &path, headers, body.clone());
        if operation.needs_key {
            assert_eq!(by.send(&operation.method, &path, headers, body).bytes, answer.bytes);
        }
        assert!((200..300).contains(&answer.status), "{}: {}", operation.id, String::from_utf8_lossy(&answer.bytes));
        self.covered.insert(operation.id);
        let json = if answer.bytes.is_empty() { Value::Null } else { answer.json() };
        (json, self.new_entries())
    }
}

fn filled_in_order(operation: &Operation, ids: &mut std::slice::Iter<&str>) -> String {
    let segment = |segment: &str| match segment.starts_with('{') {
        true => (*ids.next().unwrap()).to_owned(),
        false => segment.to_owned(),
    };
    operation.path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn id_of(client: &Client) -> String {
    client.get("/api/v1/access/me").expect(200)["id"].as_str().unwrap().to_owned()
}

fn every_change_that_somebody_makes_leaves_its_entry_once(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let mut reader = Reader::new(&town.administrator);
    programmes(&mut reader, &town);
    producers(&mut reader, &town);
    households(&mut reader, &town);
    logins(&mut reader, &town);

    let mut open: Vec<String> = contract::operations()
        .into_iter()
        .filter(|operation| operation.method != "GET" && !operation.public)
        .map(|operation| operation.id)
        .collect();
    open.retain(|id| !reader.covered.contains(id) && !TILL.contains(&id.as_str()) && !ELSEWHERE.contains(&id.as_str()));
    assert!(
        open.is_empty(),
        "no test says what these leave in the audit log: {open:?}. Have each write its entry (audit::record, last in its \
         transaction), and either do it once in this test by `leaves`, or name it in ELSEWHERE and test it in its own file"
    );
    town.world.verify();
}

fn programmes(reader: &mut Reader, town: &Town) {
    let manager = &town.manager;
    let operation = |id: &str| contract::operations().into_iter().find(|known| known.id == id).unwrap();
    let mut terms = operation("create_programme").body_example.unwrap();
    let programme =
        id(&reader.leaves(manager, "create_programme", &[], terms.clone(), ("programme_created", "", None)));
    reader.leaves_nothing(manager, "replace_programme", &[&programme], terms.clone());
    terms["communes"][0]["name"] = json!("Amiens-Nord");
    let rewritten = ("programme_rewritten", "", None);
    reader.leaves(manager, "replace_programme", &[&programme], terms.clone(), rewritten);
    terms["name"] = json!("Paniers d'hiver en Somme");
    reader.leaves(manager, "replace_programme", &[&programme], terms, rewritten);
    let funder = manager.get(&format!("/api/v1/agreements/{}", town.agreements[0])).expect(200)["funder"]["id"].clone();
    let mut agreement = operation("sign_agreement").body_example.unwrap();
    agreement["funder_id"] = funder;
    reader.leaves(manager, "sign_agreement", &[&programme], agreement, ("agreement_signed", "", Some(&programme)));
    reader.leaves(manager, "open_programme", &[&programme], Value::Null, ("programme_opened", "", None));
    let rules = operation("change_rules").body_example.unwrap();
    let changed = ("rules_changed", &*programme, Some("2"));
    reader.leaves(manager, "change_rules", &[&programme], rules.clone(), changed);
    reader.leaves_nothing(manager, "change_rules", &[&programme], rules);
    let member = (&*programme, &*town.structure);
    let admitted = ("member_admitted", member.0, Some(member.1));
    reader.leaves(manager, "add_member", &[member.0, member.1], Value::Null, admitted);
    reader.leaves_nothing(manager, "add_member", &[member.0, member.1], Value::Null);
    reader.leaves(manager, "close_programme", &[&programme], Value::Null, ("programme_closed", "", None));
}

fn producers(reader: &mut Reader, town: &Town) {
    let (manager, programme) = (&town.manager, &*town.programme);
    for (number, decision, action) in
        [(20, "approve_producer", "application_approved"), (21, "refuse_producer", "application_refused")]
    {
        let (own, producer) = newcomer(&town.world, manager, "producer", "Ferme neuve");
        let mut profile =
            json!({"siret": siret(number), "iban": "FR1420041010050500013M02606", "account_holder": "La Ferme"});
        let set = |fields| ("producer_profile_set", "", Some(fields));
        reader.leaves(&producer, "set_producer_details", &[], profile.clone(), set("siret iban account_holder"));
        reader.leaves_nothing(&producer, "set_producer_details", &[], profile.clone());
        profile["account_holder"] = json!("La Ferme neuve");
        reader.leaves(&producer, "set_producer_details", &[], profile, set("account_holder"));
        let stall = json!({"name": "Halle", "commune": {"code": "62427", "name": "Hénin-Beaumont"}});
        let stall = id(&reader.leaves(&producer, "create_stall", &[], stall, ("stall_opened", "", None)));
        reader.leaves(&producer, "close_stall", &[&stall], Value::Null, ("stall_closed", "", None));
        reader.leaves_nothing(&producer, "close_stall", &[&stall], Value::Null);
        let made = ("application_made", &*own, Some(programme));
        reader.leaves(&producer, "apply_to_programme", &[programme], Value::Null, made);
        reader.leaves_nothing(&producer, "apply_to_programme", &[programme], Value::Null);
        reader.leaves(manager, decision, &[programme, &own], Value::Null, (action, &own, Some(programme)));
        if decision == "approve_producer" {
            let suspended = ("application_suspended", &*own, Some(programme));
            reader.leaves(manager, "suspend_producer", &[programme, &own], Value::Null, suspended);
        }
    }
}

fn households(reader: &mut Reader, town: &Town) {
    let worker = &town.worker;
    let household = town.household(1, 0);
    let request = json!({"household_id": household, "programme_id": town.programme});
    let made = ("enrolment_made", "", Some("active"));
    let enrolment = id(&reader.leaves(worker, "enrol_household", &[], request, made));
    let request = json!({"enrolment_id": enrolment});
    let card = id(&reader.leaves(worker, "hand_over_voucher", &[], request, ("voucher_handed_over", "", None)));
    let (_, left) = reader.done(worker, "hand_over_denominations", &[&enrolment], json!({"values": ["5.00", "10.00"]}));
    let told = |key: &str| left[0][key].clone();
    assert_eq!(
        (left.len(), told("action"), told("subject")),
        (1, json!("denominations_handed_over"), json!(enrolment))
    );
    assert_eq!(told("detail"), "2");
    reader.leaves(worker, "block_voucher", &[&card], Value::Null, ("voucher_blocked", "", None));
    reader.leaves(worker, "unblock_voucher", &[&card], Value::Null, ("voucher_unblocked", "", None));
    let token = &worker.get(&format!("/api/v1/vouchers/{card}")).expect(200)["token"];
    let [hold, other] = [500, 501].map(|basket| town.tills[0].hold(token.as_str().unwrap(), basket).expect(201));
    reader.leaves(worker, "release_hold", &[&id(&hold)], Value::Null, ("hold_released", &id(&hold), None));
    reader.leaves_nothing(worker, "release_hold", &[&id(&hold)], Value::Null);
    // the seller's own act is the till's
    reader.leaves_nothing(&town.tills[0].client, "release_hold", &[&id(&other)], Value::Null);
    let (new, left) = reader.done(worker, "replace_voucher", &[&card], Value::Null);
    assert_eq!(left.len(), 1);
    assert_eq!(
        (&left[0]["action"], &left[0]["subject"], &left[0]["detail"]),
        (&json!("voucher_replaced"), &json!(card), &new["id"])
    );
    reader.leaves(worker, "suspend_enrolment", &[&enrolment], Value::Null, ("enrolment_suspended", "", None));
    reader.leaves(worker, "resume_enrolment", &[&enrolment], Value::Null, ("enrolment_resumed", "", None));
    let leave = |returned: bool| json!({ "return_issued": returned });
    reader.leaves(worker, "leave_programme", &[&enrolment], leave(false), ("enrolment_left", "", None));
    reader.leaves_nothing(worker, "leave_programme", &[&enrolment], leave(false));
    reader.leaves(worker, "leave_programme", &[&enrolment], leave(true), ("enrolment_left", "", Some("returned")));
    reader.leaves_nothing(worker, "leave_programme", &[&enrolment], leave(true));
    worker.act(&format!("/api/v1/vouchers/{card}/block")).refused(409, "voucher_state");
    assert!(reader.new_entries().is_empty(), "a refusal left an entry");
}

fn logins(reader: &mut Reader, town: &Town) {
    let worker = join(&town.world, &town.worker, &town.structure, false);
    let own = &*id_of(&worker);
    let code = |code: &str| json!({ "code": code });
    let password = json!({ "password": PASSWORD });
    reader.leaves(&worker, "begin_second_factor", &[], password, ("second_factor_begun", own, None));
    let authenticator = Authenticator::begun(&worker, None);
    let now = code(&authenticator.code(town.world.now()));
    let confirmed = reader.leaves(&worker, "confirm_second_factor", &[], now, ("second_factor_set", own, None));
    let first = code(&codes(&confirmed)[0]);
    let renewed = reader.leaves(&worker, "renew_recovery_codes", &[], first, ("recovery_codes_renewed", own, None));
    let first = code(&codes(&renewed)[0]);
    reader.leaves(&worker, "remove_second_factor", &[], first, ("second_factor_removed", own, None));
    Authenticator::in_force(&worker, town.world.now());
    reader.leaves(&town.worker, "reset_second_factor", &[own], Value::Null, ("second_factor_reset", own, None));
}

fn what_happens_by_itself_is_told_as_the_service_s(world: World) {
    // 360 € each: one fits, and the second once the first has left
    let town = Town::with(world, Setup { agreements: vec![(40_000, 1)], ..Setup::default() });
    let mut reader = Reader::new(&town.administrator);
    let (first, waiting, late) = (town.enrol(), town.enrol(), town.enrol());
    let states = reader.new_entries().into_iter().filter(|entry| entry["action"] == "enrolment_made");
    assert_eq!(states.map(|entry| entry["detail"].clone()).collect::<Vec<_>>(), ["active", "waiting", "waiting"]);
    let leave = json!({ "return_issued": true });
    town.worker.post(&format!("/api/v1/enrolments/{}/leave", id(&first)), leave).expect(200);
    let told = |reader: &mut Reader| -> Vec<[Value; 4]> {
        let entries = reader.new_entries().into_iter().filter(|entry| entry["action"] != "logged_in");
        entries
            .map(|entry| ["action", "subject", "person_id", "organisation_id"].map(|key| entry[key].clone()))
            .collect()
    };
    let by_itself =
        |action: &str, enrolment: &Value| [json!(action), enrolment["id"].clone(), Value::Null, Value::Null];
    let left = told(&mut reader);
    assert_eq!((left.len(), &left[0][0]), (2, &json!("enrolment_left")));
    assert_eq!(left[1], by_itself("enrolment_moved_up", &waiting));

    // who waits in a programme that closes waits no longer; then the windows of the other close
    town.manager.act(&format!("/api/v1/programmes/{}/close", town.programme)).expect(200);
    told(&mut reader);
    town.world.advance_to("2026-07-01T08:01:00Z");
    assert_eq!(told(&mut reader), [by_itself("enrolment_ended", &late)]);
    town.world.advance_to("2027-01-10T08:01:00Z");
    assert_eq!(told(&mut reader), [by_itself("enrolment_ended", &waiting)]);
    town.world.advance_to("2027-01-10T08:02:00Z");
    assert!(reader.new_entries().is_empty());
    town.world.verify();
}

fn reading_leaves_no_entry(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let household = town.household(2, 1);
    let enrolment = id(&town.enrol_household(&household).expect(201));
    let card = town.card_for(&enrolment);
    let till = &town.tills[0];
    let sold = id(&till.redeem(&card.token, 1234).expect(201));
    let hold = id(&till.hold(&card.token, 500).expect(201));
    let mut reader = Reader::new(&town.administrator);
    let people = [&town.administrator, &town.manager, &town.worker, &till.client, &town.funders[0], &town.evaluator];
    let mut read = 0;
    for operation in contract::operations() {
        // a look at a household's identity is told: its own tests hold that
        if operation.method != "GET" || operation.public || operation.path.starts_with("/api/v1/households") {
            continue;
        }
        let path = filled(&operation.path, |name| {
            match name {
                "programmes" => &town.programme,
                "agreements" => &town.agreements[0],
                "organisations" => &town.structure,
                "producers" => &till.producer,
                "enrolments" => &enrolment,
                "vouchers" => &card.id,
                "redemptions" => &sold,
                "holds" => &hold,
                "month" => "2026-07",
                other => panic!("no id is known for {other}"),
            }
            .to_owned()
        });
        for person in people {
            read += usize::from(person.get(&path).status == 200);
        }
    }
    assert!(read > 40, "only {read} could be read");
    assert_eq!(reader.new_entries(), Vec::<Value>::new());
}
