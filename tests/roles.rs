//! Who may do what: every operation of the contract, tried by everybody, and on what belongs to others.

use std::collections::{BTreeMap, BTreeSet};

use primeur::kit::id::{
    AgreementId, DuplicateId, EnrolmentId, HoldId, HouseholdId, OrganisationId, PersonId, ProgrammeId, RedemptionId,
    StallId, VoucherId,
};
use primeur::routes::ROUTES;
use serde_json::{Value, json};

use crate::support::authenticator::Authenticator;
use crate::support::client::new_key;
use crate::support::contract::{self, Operation};
use crate::support::town::{Card, Setup, administrator, join, newcomer};
use crate::support::{Answer, Client, Town, World, id, on_both_databases};

on_both_databases!(
    nobody_gets_further_than_the_door_without_a_token_that_is_ours,
    each_role_does_what_the_contract_gives_it_and_nothing_else,
    managers_and_administrators_do_nothing_before_their_second_factor,
    an_id_of_somebody_else_is_an_id_that_does_not_exist,
    an_id_of_somebody_else_inside_a_body_or_a_query_helps_no_further,
    a_structure_or_funder_of_several_programmes_shows_each_manager_its_own_only,
);

const ROLES: [(&str, &str); 6] = [
    ("administrator", "operator"),
    ("manager", "manager"),
    ("social_worker", "social_structure"),
    ("producer", "producer"),
    ("funder", "funder"),
    ("evaluator", "evaluator"),
];

#[test]
fn the_routes_and_the_contract_name_the_same_operations() {
    let routes: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    let contract = contract::operations().into_iter().map(|operation| (operation.method, operation.path)).collect();
    assert_eq!(routes.len(), ROUTES.len(), "a route is there twice");
    assert_eq!(routes, contract);
}

/// All operations that ask for a token; the one that ends a session comes last.
fn guarded() -> Vec<Operation> {
    let mut guarded = contract::operations();
    guarded.retain(|operation| !operation.public);
    guarded.sort_by_key(|operation| operation.id == "logout");
    guarded
}

/// The path with ids filled in, by the names of the resource before each: `programmes`, `organisation_id`, `month`.
pub fn filled(path: &str, id: impl Fn(&str) -> String) -> String {
    let mut resource = "";
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some("id") => segments.push(id(resource)),
            Some(name) => segments.push(id(name)),
            None => {
                resource = segment;
                segments.push(segment.to_owned());
            }
        }
    }
    segments.join("/")
}

/// A path whose ids are well formed and name nothing.
fn nowhere(world: &World, path: &str) -> String {
    let now = world.now();
    filled(path, |name| match name {
        "organisations" | "organisation_id" | "producers" | "producer_id" => OrganisationId::new(now).to_string(),
        "people" => PersonId::new(now).to_string(),
        "programmes" => ProgrammeId::new(now).to_string(),
        "agreements" => AgreementId::new(now).to_string(),
        "stalls" => StallId::new(now).to_string(),
        "households" => HouseholdId::new(now).to_string(),
        "duplicates" => DuplicateId::new(now).to_string(),
        "enrolments" => EnrolmentId::new(now).to_string(),
        "vouchers" => VoucherId::new(now).to_string(),
        "redemptions" => RedemptionId::new(now).to_string(),
        "holds" => HoldId::new(now).to_string(),
        "month" => "2026-07".to_owned(),
        other => panic!("no id is known for {other}"),
    })
}

#[track_caller]
fn try_out(client: &Client, operation: &Operation, path: &str) -> Answer {
    let key = new_key();
    let headers: &[(&str, &str)] = if operation.needs_key { &[("idempotency-key", &key)] } else { &[] };
    client.send(&operation.method, path, headers, operation.body_example.clone())
}

fn nobody_gets_further_than_the_door_without_a_token_that_is_ours(world: World) {
    let stranger = world.anybody();
    let garbage = stranger.with_token("eyJhbGciOiJFZERTQSJ9.e30.AAAA");
    for operation in guarded() {
        let path = nowhere(&world, &operation.path);
        for client in [&stranger, &garbage] {
            try_out(client, &operation, &path).refused(401, "unauthenticated");
            if operation.body_example.is_some() {
                // not a word about the body before it is known who asks
                let json = [("content-type", "application/json")];
                client.send_raw(&operation.method, &path, &json, Some(b"{"), None).refused(401, "unauthenticated");
            }
        }
    }
}

fn each_role_does_what_the_contract_gives_it_and_nothing_else(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let world = &town.world;
    for (role, kind) in ROLES {
        let organisation = match role {
            "administrator" => town.administrator.get("/api/v1/access/me").expect(200)["organisation"]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => newcomer(world, &town.administrator, kind, "Essai").0,
        };
        for lead in [true, false] {
            let person = join(world, &town.administrator, &organisation, lead);
            for operation in guarded() {
                let answer = try_out(&person, &operation, &nowhere(world, &operation.path));
                let inside = operation.roles.iter().any(|given| given == role) && (lead || !operation.lead);
                // POST /people is for all roles: whom for depends on the organisation named, and this one is nobody's (404).
                // POST /organisations is for managers too, if the kind is one of theirs, as the example's is.
                let who = format!("{role}, lead: {lead}, {} answered {}", operation.id, answer.status);
                match inside {
                    true => assert!(!matches!(answer.status, 401 | 403), "{who}"),
                    false => assert_eq!(answer.json()["code"], "forbidden", "{who}"),
                }
            }
            person.get("/api/v1/access/me").refused(401, "unauthenticated");
        }
    }
    world.verify();
}

fn managers_and_administrators_do_nothing_before_their_second_factor(world: World) {
    let world = world.requiring_second_factor();
    let founder = administrator(&world);
    Authenticator::in_force(&founder, world.now());
    let own = founder.get("/api/v1/access/me").expect(200)["organisation"]["id"].as_str().unwrap().to_owned();
    let (_, manager) = newcomer(&world, &founder, "manager", "Pays d'Artois");
    let people = [join(&world, &founder, &own, true), manager];
    for person in &people {
        for operation in guarded().into_iter().filter(|operation| operation.id != "logout") {
            let answer = try_out(person, &operation, &nowhere(&world, &operation.path));
            if operation.path.starts_with("/api/v1/access/") {
                let missing = answer.status == 403 && answer.json()["code"] == "second_factor_missing";
                assert!(answer.status != 401 && !missing, "{} answered {}", operation.id, answer.status);
            } else {
                answer.refused(403, "second_factor_missing");
            }
        }
        assert_eq!(person.get("/api/v1/access/me").expect(200)["second_factor"], "missing");
        Authenticator::in_force(person, world.now());
        person.get("/api/v1/organisations").expect(200);
        person.act("/api/v1/access/logout").expect(204);
    }
    let (_, worker) = newcomer(&world, &founder, "social_structure", "CCAS");
    worker.get("/api/v1/programmes").expect(200);
}

/// Two towns of one deployment, each with a purchase made; the second has everything the first has.
struct Neighbours {
    first: Belongings,
    second: Belongings,
    town: Town,
    first_people: People,
    second_people: People,
}

/// One client a role.
type People = BTreeMap<&'static str, Client>;

struct Belongings {
    person: String,
    structure: String,
    funder: String,
    producer: String,
    stall: String,
    programme: String,
    agreement: String,
    household: String,
    duplicate: String,
    card: Card,
    redemption: String,
    hold: String,
}

impl Belongings {
    fn of(town: &Town) -> (Self, People) {
        let household = town.household(2, 1);
        // another that may be the same: of one number, and the two towns of different ones
        let said = json!({"email": format!("{}@exemple.fr", &household[4..])});
        let identity =
            json!({"family_name": null, "first_name": null, "birth_date": null, "phone": null, "email": said["email"]});
        town.worker.put(&format!("/api/v1/households/{household}/identity"), identity).expect(200);
        let other = json!({"adults": 2, "children": 1, "commune": "62427", "identity": said});
        town.worker.post("/api/v1/households", other).expect(201);
        let pairs = town.worker.get(&format!("/api/v1/households/{household}/duplicates")).expect(200);
        let duplicate = pairs["items"][0]["id"].as_str().unwrap().to_owned();
        let enrolment = town.enrol_household(&household).expect(201);
        let card = town.card_for(enrolment["id"].as_str().unwrap());
        let till = &town.tills[0];
        let redemption = till.redeem(&card.token, 1234).expect(201)["id"].as_str().unwrap().to_owned();
        let hold = till.hold(&card.token, 500).expect(201);
        let people = BTreeMap::from([
            ("manager", town.manager.clone()),
            ("social_worker", town.worker.clone()),
            ("producer", till.client.clone()),
            ("funder", town.funders[0].clone()),
            ("evaluator", town.evaluator.clone()),
        ]);
        let agreement =
            town.manager.get(&format!("/api/v1/agreements/{}", town.agreements[0])).expect(200)["funder"]["id"].clone();
        let person = town.worker.get("/api/v1/access/me").expect(200)["id"].as_str().unwrap().to_owned();
        let belongings = Belongings {
            person,
            structure: town.structure.clone(),
            funder: agreement.as_str().unwrap().to_owned(),
            producer: till.producer.clone(),
            stall: till.stall.clone(),
            programme: town.programme.clone(),
            agreement: town.agreements[0].clone(),
            household,
            duplicate,
            card,
            redemption,
            hold: id(&hold),
        };
        (belongings, people)
    }

    fn id(&self, name: &str) -> String {
        match name {
            "people" => &self.person,
            "organisations" | "organisation_id" => &self.structure,
            "producers" | "producer_id" => &self.producer,
            "programmes" => &self.programme,
            "agreements" => &self.agreement,
            "stalls" => &self.stall,
            "households" => &self.household,
            "duplicates" => &self.duplicate,
            "enrolments" => &self.card.enrolment,
            "vouchers" => &self.card.id,
            "redemptions" => &self.redemption,
            "holds" => &self.hold,
            "month" => "2026-07",
            other => panic!("no id is known for {other}"),
        }
        .to_owned()
    }
}

impl Neighbours {
    fn new(world: World) -> Self {
        let town = Town::with(world, Setup::setting_aside());
        let (first, first_people) = Belongings::of(&town);
        let Town { world, administrator, .. } = town;
        let mut town = Town::among(world, administrator, Setup { producers: 0, ..Setup::setting_aside() });
        let till = town.new_till(10);
        town.approve(&till);
        town.tills.push(till);
        let (second, second_people) = Belongings::of(&town);
        Neighbours { first, second, town, first_people, second_people }
    }

    /// All that the first town's people see, but for the time of the answer and that they looked.
    fn seen_by_the_first(&self) -> Vec<Value> {
        let mut seen = Vec::new();
        for operation in contract::operations().into_iter().filter(|operation| operation.method == "GET") {
            for (role, person) in &self.first_people {
                // a drawing is not JSON; of open programmes producers see also those of others
                if operation.roles.iter().any(|r| r == role) && operation.id != "draw_voucher_qr" {
                    let mut path = filled(&operation.path, |name| self.first.id(name));
                    if operation.id == "list_audit_entries" {
                        path.push_str("?limit=200");
                    }
                    let answer = person.get(&path);
                    // the first producer is not the second's to see, nor an organisation anybody's but its creator's
                    let mut shown = answer.expect(200);
                    shown.as_object_mut().unwrap().remove("as_of");
                    shown.as_object_mut().unwrap().remove("sha256");
                    shown.as_object_mut().unwrap().remove("looks");
                    if operation.id == "list_audit_entries" {
                        // all of it, so that the looks of this reading push nothing off the page
                        assert!(shown["next_cursor"].is_null());
                        let looks = ["identity_read", "household_exported"];
                        let items = shown["items"].as_array_mut().unwrap();
                        items.retain(|entry| {
                            entry["person_id"] != self.first.person
                                || !looks.contains(&entry["action"].as_str().unwrap())
                        });
                    }
                    seen.push(json!([role, path, shown]));
                }
            }
        }
        seen
    }

    fn person(&self, role: &str) -> &Client {
        &self.second_people[role]
    }
}

fn an_id_of_somebody_else_is_an_id_that_does_not_exist(world: World) {
    let neighbours = Neighbours::new(world);
    let before = neighbours.seen_by_the_first();
    let mut tried = 0;
    for operation in contract::operations().into_iter().filter(|operation| operation.path.contains('{')) {
        let path = filled(&operation.path, |name| neighbours.first.id(name));
        for (role, person) in &neighbours.second_people {
            // producers see every programme that is no draft, and may apply to it: that is how they find one
            let shown = ["show_programme", "list_rules", "apply_to_programme"].contains(&operation.id.as_str());
            if !operation.roles.iter().any(|r| r == role) || (shown && *role == "producer") {
                continue;
            }
            let answer = try_out(person, &operation, &path);
            assert_eq!(answer.status, 404, "{role}: {} {path}", operation.method);
            answer.refused(404, "not_found");
            tried += 1;
        }
    }
    assert!(tried > 40, "only {tried} were tried");

    // one's own first id does not open the second
    let (manager, first) = (neighbours.person("manager"), &neighbours.first);
    let own = &neighbours.second.programme;
    for decision in ["approve", "refuse", "suspend"] {
        let path = format!("/api/v1/programmes/{own}/applications/{}/{decision}", first.producer);
        manager.act(&path).refused(404, "not_found");
    }
    assert_eq!(neighbours.seen_by_the_first(), before);
    neighbours.town.world.verify();
}

fn an_id_of_somebody_else_inside_a_body_or_a_query_helps_no_further(world: World) {
    let neighbours = Neighbours::new(world);
    let (first, second) = (&neighbours.first, &neighbours.second);
    let before = neighbours.seen_by_the_first();
    let basket =
        |stall: &str| json!({"voucher": first.card.token, "stall_id": stall, "basket": "1.00", "partial": true});
    let enrolment = |household: &str, programme: &str| json!({"household_id": household, "programme_id": programme});
    let tries = [
        ("social_worker", "/api/v1/enrolments".to_owned(), enrolment(&first.household, &second.programme)),
        ("social_worker", "/api/v1/enrolments".to_owned(), enrolment(&second.household, &first.programme)),
        ("social_worker", "/api/v1/vouchers".to_owned(), json!({"enrolment_id": first.card.enrolment})),
        ("producer", "/api/v1/redemptions".to_owned(), basket(&first.stall)),
        (
            "producer",
            "/api/v1/vouchers/check".to_owned(),
            json!({"voucher": second.card.token, "stall_id": first.stall}),
        ),
    ];
    for (role, path, body) in tries {
        neighbours.person(role).post_once(&path, body).refused(404, "not_found");
    }
    for (role, person) in &neighbours.second_people {
        let (organisation_id, email) = (&first.structure, "intrus@primeur.example");
        let body = json!({"organisation_id": organisation_id, "email": email, "name": "Intrus", "lead": true});
        // an evaluator brings nobody in anywhere
        let (status, code) = if *role == "evaluator" { (403, "forbidden") } else { (404, "not_found") };
        person.post("/api/v1/people", body).refused(status, code);
    }
    // a voucher is good at any stall that its programme has approved, and at no other
    let stranger = neighbours.person("producer");
    stranger.post_once("/api/v1/redemptions", basket(&second.stall)).refused(409, "producer_not_approved");

    let filters = [
        ("social_worker", format!("enrolments?household_id={}", first.household)),
        ("social_worker", format!("enrolments?programme_id={}", first.programme)),
        ("social_worker", format!("vouchers?enrolment_id={}", first.card.enrolment)),
        ("producer", format!("redemptions?stall_id={}", first.stall)),
        ("producer", format!("stalls?producer_id={}", first.producer)),
        ("social_worker", format!("stalls?producer_id={}", first.producer)),
        ("manager", format!("agreements?programme_id={}", first.programme)),
        ("funder", format!("agreements?programme_id={}", first.programme)),
        ("evaluator", format!("agreements?programme_id={}", first.programme)),
        ("manager", format!("people?organisation_id={}", first.structure)),
        ("social_worker", format!("people?organisation_id={}", first.structure)),
    ];
    for (role, query) in filters {
        let list = neighbours.person(role).get(&format!("/api/v1/{query}")).expect(200);
        assert_eq!(list, json!({"items": [], "next_cursor": null}), "{role}: {query}");
    }
    assert_eq!(neighbours.seen_by_the_first(), before);
    neighbours.town.world.verify();
}

/// A manager who was told the id of a structure or a funder may name it, whoever brought it in: it works with several.
fn a_structure_or_funder_of_several_programmes_shows_each_manager_its_own_only(world: World) {
    let neighbours = Neighbours::new(world);
    let (first, second) = (&neighbours.first, &neighbours.second);
    let (manager, budget) = (neighbours.person("manager"), format!("/api/v1/programmes/{}/budget", first.programme));
    let before = neighbours.first_people["manager"].get(&budget).expect(200);
    let agreement = json!({
        "funder_id": first.funder, "reference": "C-9", "granted": "10.00", "starts_on": "2026-01-01",
        "ends_on": "2026-12-31", "grace_days": 0, "share_weight": 1,
    });
    manager.post_once(&format!("/api/v1/programmes/{}/agreements", second.programme), agreement).expect(201);
    manager.set(&format!("/api/v1/programmes/{}/members/{}", second.programme, first.structure)).expect(204);

    let ids = |list: Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!ids(manager.get("/api/v1/agreements").expect(200)).contains(&first.agreement));
    assert!(!ids(manager.get("/api/v1/organisations").expect(200)).contains(&first.structure));
    manager.get(&format!("/api/v1/organisations/{}", first.funder)).refused(404, "not_found");
    manager.get(&format!("/api/v1/agreements/{}", first.agreement)).refused(404, "not_found");
    assert_eq!(
        neighbours.first_people["funder"].get("/api/v1/agreements").expect(200)["items"].as_array().unwrap().len(),
        2
    );
    assert_eq!(neighbours.first_people["manager"].get(&budget).expect(200), before);
}
