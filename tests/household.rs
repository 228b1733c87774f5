//! Who a household is: sealed for its own structure, found by what it said, told apart from others.

use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::{Value, json};

use crate::support::sql::Sql;
use crate::support::town::{Setup, join, newcomer};
use crate::support::{Answer, Client, Town, World, on_both_databases};

on_both_databases!(
    who_a_household_is_is_for_its_own_structure_only,
    each_look_at_an_identity_is_written_down_once,
    an_identity_that_cannot_be_is_refused_and_nothing_is_written,
    a_household_is_found_however_its_name_is_written,
    the_same_person_is_registered_once_whoever_asks,
    the_same_person_at_the_same_moment_is_registered_once,
    households_that_may_be_the_same_are_told_to_both_and_to_nobody_else,
    what_makes_a_duplicate_likely,
    a_duplicate_tells_nothing_of_another_structure,
    a_dismissed_pair_stays_dismissed_for_as_long_as_both_say_the_same,
    two_who_say_the_same_at_once_are_told_of_each_other,
    a_number_that_everybody_has_makes_nobody_a_duplicate,
    every_act_on_a_household_is_in_the_audit_log,
);

pub fn town(world: World) -> Town {
    Town::with(world, Setup { producers: 1, ..Setup::default() })
}

/// An identity as `PUT` wants it: what is not said is null.
pub fn identity(said: Value) -> Value {
    let mut whole = json!({"family_name": null, "first_name": null, "birth_date": null, "phone": null, "email": null});
    for (name, value) in said.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

pub fn lucienne() -> Value {
    identity(json!({"family_name": "Hérisson-Dûment", "first_name": "Lucienne", "birth_date": "1987-03-14",
        "phone": "06 39 98 12 34", "email": "lucienne.herisson@exemple.fr"}))
}

/// Registers a household that says who it is.
pub fn register(worker: &Client, said: &Value) -> Answer {
    worker.post("/api/v1/households", json!({"adults": 1, "children": 0, "commune": "62427", "identity": said}))
}

pub fn new_household(worker: &Client, said: &Value) -> String {
    register(worker, said).expect(201)["id"].as_str().unwrap().to_owned()
}

pub fn path(household: &str, rest: &str) -> String {
    format!("/api/v1/households/{household}{rest}")
}

fn say(worker: &Client, household: &str, said: &Value) -> Answer {
    worker.put(&path(household, "/identity"), said.clone())
}

fn pairs(worker: &Client, household: &str) -> Vec<Value> {
    worker.get(&path(household, "/duplicates")).expect(200)["items"].as_array().unwrap().clone()
}

fn told(worker: &Client, household: &str) -> i64 {
    worker.get(&path(household, "")).expect(200)["possible_duplicates"].as_i64().unwrap()
}

fn other_structure(town: &Town, name: &str) -> Client {
    newcomer(&town.world, &town.manager, "social_structure", name).1
}

/// The actions written about a subject, oldest first.
pub fn audit(town: &Town, subject: &str) -> Vec<String> {
    let log = town.administrator.get(&format!("/api/v1/audit?subject={subject}&limit=200")).expect(200);
    let action = |entry: &Value| entry["action"].as_str().unwrap().to_owned();
    log["items"].as_array().unwrap().iter().rev().map(action).collect()
}

fn who_a_household_is_is_for_its_own_structure_only(world: World) {
    let town = town(world);
    let first = register(&town.worker, &json!({"first_name": "Lucienne"})).expect(201);
    assert_eq!((&first["has_identity"], &first["possible_duplicates"]), (&json!(true), &json!(0)));
    assert!(first.get("identity").is_none(), "{first}");
    let id = first["id"].as_str().unwrap();
    let seen = |client: &Client| client.get(&path(id, "/identity")).expect(200);
    assert_eq!(seen(&town.worker), identity(json!({"first_name": "Lucienne"})));
    assert_eq!(say(&town.worker, id, &lucienne()).expect(200), lucienne());
    let colleague = join(&town.world, &town.worker, &town.structure, false);
    assert_eq!(seen(&colleague), lucienne());
    let listed = colleague.get("/api/v1/households").expect(200);
    assert_eq!(listed["items"], json!([town.worker.get(&path(id, "")).expect(200)]));
    assert!(!listed.to_string().contains("Lucienne"));

    let stranger = other_structure(&town, "Autre CCAS");
    for rest in ["", "/identity", "/duplicates", "/export"] {
        stranger.get(&path(id, rest)).refused(404, "not_found");
        for other in [&town.manager, &town.administrator, &town.evaluator, &town.funders[0], &town.tills[0].client] {
            other.get(&path(id, rest)).refused(403, "forbidden");
        }
    }
    say(&stranger, id, &lucienne()).refused(404, "not_found");
    stranger.send("DELETE", &path(id, "/identity"), &[], None).refused(404, "not_found");
    stranger.act(&path(id, "/erase")).refused(404, "not_found");
    assert_eq!(stranger.get("/api/v1/households").expect(200)["items"], json!([]));
    assert_eq!(seen(&town.worker), lucienne());

    // it can be taken away alone; the household goes on
    town.enrol_household(id).expect(201);
    colleague.send("DELETE", &path(id, "/identity"), &[], None).expect(204);
    colleague.send("DELETE", &path(id, "/identity"), &[], None).expect(204);
    let after = town.worker.get(&path(id, "")).expect(200);
    assert_eq!((&after["has_identity"], &after["reference"]), (&json!(false), &first["reference"]));
    assert_eq!(seen(&town.worker), identity(json!({})));
    // and said again, or unsaid by saying nothing
    say(&town.worker, id, &lucienne()).expect(200);
    say(&town.worker, id, &identity(json!({}))).expect(200);
    assert_eq!(town.worker.get(&path(id, "")).expect(200)["has_identity"], false);
    let mut sql = Sql::of(&town.world);
    assert_eq!(sql.number("SELECT count(*) FROM household_fingerprints"), 0);
    town.world.verify();
}

fn each_look_at_an_identity_is_written_down_once(world: World) {
    let town = town(world);
    let id = new_household(&town.worker, &lucienne());
    let me = town.worker.get("/api/v1/access/me").expect(200);
    for looks in 1..=3 {
        town.worker.get(&path(&id, "/identity")).expect(200);
        let log = town.administrator.get(&format!("/api/v1/audit?subject={id}")).expect(200);
        let read = log["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "identity_read");
        let read: Vec<&Value> = read.collect();
        assert_eq!(read.len(), looks);
        assert!(read.iter().all(|entry| entry["person_id"] == me["id"] && entry["detail"].is_null()), "{read:?}");
    }
    // neither these nor a refused look is one
    town.worker.get(&path(&id, "")).expect(200);
    town.worker.get("/api/v1/households").expect(200);
    town.worker.post("/api/v1/households/search", json!({"phone": "0639981234"})).expect(200);
    other_structure(&town, "Autre CCAS").get(&path(&id, "/identity")).refused(404, "not_found");
    town.manager.get(&path(&id, "/identity")).refused(403, "forbidden");
    assert_eq!(audit(&town, &id).iter().filter(|action| *action == "identity_read").count(), 3);

    // where it cannot be written down, nothing is shown
    let mut sql = Sql::of(&town.world);
    sql.run("ALTER TABLE audit_entries RENAME TO elsewhere").unwrap();
    let answer = town.worker.get(&path(&id, "/identity"));
    assert!(answer.status == 500 && !String::from_utf8_lossy(&answer.bytes).contains("Lucienne"));
    sql.run("ALTER TABLE elsewhere RENAME TO audit_entries").unwrap();
}

fn an_identity_that_cannot_be_is_refused_and_nothing_is_written(world: World) {
    let town = town(world);
    let id = town.household(1, 0);
    let counts = Sql::of(&town.world).counts();
    for (field, wrong) in [
        ("birth_date", json!("2026-07-03")),
        ("birth_date", json!("1987-02-29")),
        ("birth_date", json!("14/03/1987")),
        ("phone", json!("115")),
        ("phone", json!("06 39 98 12")),
        ("phone", json!(639981234)),
        ("email", json!("lucienne")),
        ("first_name", json!("  ")),
        ("family_name", json!("x".repeat(101))),
    ] {
        let said = identity(json!({ field: wrong }));
        let problem = say(&town.worker, &id, &said).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], field);
        let problem = register(&town.worker, &said).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], format!("identity.{field}"));
    }
    assert_eq!(Sql::of(&town.world).counts(), counts);
}

fn a_household_is_found_however_its_name_is_written(world: World) {
    let town = town(world);
    let id = new_household(&town.worker, &lucienne());
    let twin =
        new_household(&town.worker, &identity(json!({"family_name": "Herisson Dument", "first_name": "LUCIENNE"})));
    let stranger = other_structure(&town, "Autre CCAS");
    let found = |client: &Client, words: Value| -> Vec<String> {
        let list = client.post("/api/v1/households/search", words).expect(200);
        assert!(list["next_cursor"].is_null() && !list.to_string().contains("family_name"));
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let name = |family: &str, first: &str| json!({"family_name": family, "first_name": first});
    for (family, first) in
        [("hérisson dûment", "lucienne"), ("HÉRISSON-DUMENT", "Luci’enne"), ("herissondument", "LUCIENNE")]
    {
        assert_eq!(found(&town.worker, name(family, first)), [id.clone(), twin.clone()], "{family} {first}");
        let mut born = name(family, first);
        born["birth_date"] = json!("1987-03-14");
        assert_eq!(found(&town.worker, born.clone()), [id.as_str()]);
        born["birth_date"] = json!("1987-03-15");
        assert_eq!(found(&town.worker, born), [""; 0]);
        assert_eq!(found(&stranger, name(family, first)), [""; 0], "one's own only");
    }
    for phone in ["0639981234", "+33 6 39 98 12 34", "0033639981234"] {
        assert_eq!(found(&town.worker, json!({"phone": phone})), [id.as_str()]);
    }
    assert_eq!(found(&town.worker, json!({"email": "Lucienne.Herisson@EXEMPLE.fr"})), [id.as_str()]);
    for other in [name("Hérisson", "Lucienne"), name("Lucienne", "Hérisson-Dûment"), json!({"phone": "06 39 98 12 35"})]
    {
        assert_eq!(found(&town.worker, other), [""; 0]);
    }
    for both in [json!({}), json!({"family_name": "Dûment"}), json!({"phone": "0639981234", "email": "a@exemple.fr"})]
    {
        town.worker.post("/api/v1/households/search", both).refused(422, "invalid_request");
    }
    town.manager.post("/api/v1/households/search", name("a", "b")).refused(403, "forbidden");

    // that somebody searched is written, not for whom
    let log = town.administrator.get("/api/v1/audit?limit=200").expect(200);
    let searches = log["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "household_searched");
    let details: Vec<&str> = searches.map(|entry| entry["detail"].as_str().unwrap()).collect();
    assert_eq!(details.len(), 3 * 4 + 3 + 1 + 3);
    assert!(details.contains(&"by name, 2 found") && details.contains(&"by phone, 1 found"), "{details:?}");
    assert!(!audit(&town, &id).contains(&"identity_read".to_owned()), "no seal was opened for it");
}

fn the_same_person_is_registered_once_whoever_asks(world: World) {
    let town = town(world);
    let stranger = other_structure(&town, "Autre CCAS");
    let id = new_household(&town.worker, &lucienne());
    let spelt =
        identity(json!({"family_name": "HERISSON DUMENT", "first_name": "lucienne", "birth_date": "1987-03-14"}));
    // but that somebody was told of it
    let counts = || -> Vec<_> {
        Sql::of(&town.world).counts().into_iter().filter(|(table, _)| table != "audit_entries").collect()
    };
    let before = counts();
    let here = register(&town.worker, &spelt).refused(409, "duplicate_household");
    assert_eq!(here["household_id"], json!(id));
    let there = register(&stranger, &spelt).refused(409, "duplicate_household");
    assert!(there["household_id"].is_null());
    assert!(!there.to_string().contains(&id) && !there.to_string().contains("CCAS"), "{there}");
    assert_eq!(counts(), before, "and nothing else was written");
    let log = town.administrator.get("/api/v1/audit?limit=2").expect(200);
    for entry in log["items"].as_array().unwrap() {
        assert_eq!((&entry["action"], &entry["subject"]), (&json!("duplicate_refused"), &Value::Null));
    }

    // neither does another household become them
    let other = town.household(1, 0);
    assert_eq!(say(&town.worker, &other, &spelt).refused(409, "duplicate_household")["household_id"], json!(id));
    assert_eq!(town.worker.get(&path(&other, "")).expect(200)["has_identity"], false);
    assert_eq!(audit(&town, &other), ["household_registered", "duplicate_refused"]);
    // but the same one says it again
    say(&town.worker, &id, &lucienne()).expect(200);
    // and once they have gone, the other structure may
    town.worker.send("DELETE", &path(&id, "/identity"), &[], None).expect(204);
    let theirs = register(&stranger, &spelt).expect(201);
    assert!(say(&town.worker, &id, &lucienne()).refused(409, "duplicate_household")["household_id"].is_null());

    // the database itself has one household a person
    let mut sql = Sql::of(&town.world);
    let copied = "INSERT INTO household_fingerprints SELECT h.id, f.kind, f.digest FROM household_fingerprints f, \
                  households h WHERE f.kind = 'person' AND h.id NOT IN (SELECT household_id FROM household_fingerprints)";
    let refusal = sql.run(copied).unwrap_err().to_string();
    assert!(refusal.contains("UNIQUE") || refusal.contains("one_household_a_person"), "{refusal}");
    drop(theirs);
    town.world.verify();
}

/// Runs one job for each client, all let loose at the same moment.
fn at_once(clients: Vec<Client>, job: impl Fn(Client) -> Answer + Send + Sync + 'static) -> Vec<Answer> {
    let (gate, job) = (Arc::new(Barrier::new(clients.len())), Arc::new(job));
    let run = |client: Client| {
        let (gate, job) = (gate.clone(), job.clone());
        thread::spawn(move || {
            gate.wait();
            job(client)
        })
    };
    let threads: Vec<_> = clients.into_iter().map(run).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn the_same_person_at_the_same_moment_is_registered_once(world: World) {
    let town = town(world);
    let stranger = other_structure(&town, "Autre CCAS");
    for year in 1980..1985 {
        let mut said = lucienne();
        said["birth_date"] = json!(format!("{year}-01-01"));
        (said["phone"], said["email"]) = (json!(null), json!(null));
        let clients = (0..8).map(|n| if n % 2 == 0 { town.worker.clone() } else { stranger.clone() }).collect();
        let answers = at_once(clients, move |client| register(&client, &said));
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert!(answers.iter().all(|a| a.status == 201 || a.json()["code"] == "duplicate_household"));
    }
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM households"), 5);
    town.world.verify();
}

fn households_that_may_be_the_same_are_told_to_both_and_to_nobody_else(world: World) {
    let town = town(world);
    let (stranger, third) = (other_structure(&town, "Autre CCAS"), other_structure(&town, "Tiers"));
    let ours = new_household(&town.worker, &lucienne());
    assert_eq!(told(&town.worker, &ours), 0);
    let theirs = new_household(&stranger, &identity(json!({"phone": "+33639981234"})));
    assert_eq!((told(&town.worker, &ours), told(&stranger, &theirs)), (1, 1));
    let (here, there) = (pairs(&town.worker, &ours), pairs(&stranger, &theirs));
    assert_eq!((here.len(), there.len()), (1, 1));
    assert_eq!(here, there, "the same words to both");
    assert!(here[0]["household_id"].is_null() && here[0]["dismissed_at"].is_null() && here[0]["reason"].is_null());
    // inside one structure the other household is named
    let again = new_household(&town.worker, &identity(json!({"email": "lucienne.herisson@exemple.fr"})));
    let mine: Vec<Value> = pairs(&town.worker, &ours).iter().map(|pair| pair["household_id"].clone()).collect();
    assert_eq!(mine, [json!(null), json!(again)]);
    assert_eq!(pairs(&town.worker, &again)[0]["household_id"], json!(ours));
    assert_eq!(told(&town.worker, &ours), 2);
    assert_eq!(told(&stranger, &theirs), 1);

    stranger.get(&path(&ours, "/duplicates")).refused(404, "not_found");
    let dismiss = format!("/api/v1/duplicates/{}/dismiss", here[0]["id"].as_str().unwrap());
    third.post(&dismiss, json!({"reason": "rien"})).refused(404, "not_found");
    assert_eq!(told(&town.worker, &ours), 2);
    town.world.verify();
}

fn what_makes_a_duplicate_likely(world: World) {
    let town = town(world);
    let base = json!({"family_name": "Dûment", "first_name": "Ana", "birth_date": "1990-01-01",
        "phone": "0639980001", "email": "ana@exemple.fr"});
    let id = new_household(&town.worker, &identity(base));
    for (said, likely) in [
        (json!({"family_name": "DUMENT", "first_name": "ana"}), true),
        (json!({"family_name": "DUMENT", "first_name": "ana", "birth_date": "1991-01-01"}), false),
        (
            json!({"family_name": "DUMENT", "first_name": "ana", "birth_date": "1991-01-02", "phone": "06 39 98 00 01"}),
            true,
        ),
        (json!({"first_name": "Ana"}), false),
        (json!({"family_name": "Dument", "birth_date": "1990-01-01"}), false),
        (json!({"family_name": "Ana", "first_name": "Dument"}), false),
        (json!({"phone": "06 39 98 00 02"}), false),
        (json!({"email": "ANA@exemple.fr"}), true),
    ] {
        let other = new_household(&town.worker, &identity(said.clone()));
        let paired = pairs(&town.worker, &other).iter().any(|pair| pair["household_id"] == json!(id));
        assert_eq!(paired, likely, "{said}");
        town.worker.send("DELETE", &path(&other, "/identity"), &[], None).expect(204);
        assert_eq!((told(&town.worker, &id), pairs(&town.worker, &other).len()), (0, 0));
    }
    // a day of birth that is learnt later parts them
    let other = new_household(&town.worker, &identity(json!({"family_name": "Dument", "first_name": "Ana"})));
    assert_eq!(told(&town.worker, &id), 1);
    say(
        &town.worker,
        &other,
        &identity(json!({"family_name": "Dument", "first_name": "Ana", "birth_date": "1950-01-01"})),
    )
    .expect(200);
    assert_eq!(told(&town.worker, &id), 0);
}

fn a_duplicate_tells_nothing_of_another_structure(world: World) {
    let town = town(world);
    // two other structures that differ in all there is, and are alike ours in different things
    let one = other_structure(&town, "Centre des Glycines");
    let two = other_structure(&town, "Association du Beffroi");
    let ours: Vec<String> = ["0639980001", "0639980002"]
        .map(|phone| {
            let name = format!("Nom{}", if phone.ends_with('1') { "premier" } else { "second" });
            new_household(&town.worker, &identity(json!({"phone": phone, "family_name": name, "first_name": "Zoé"})))
        })
        .to_vec();
    let theirs = [
        one.post(
            "/api/v1/households",
            json!({"adults": 1, "children": 0, "commune": "62427",
            "identity": {"phone": "0639980001"}}),
        )
        .expect(201),
        two.post(
            "/api/v1/households",
            json!({"adults": 6, "children": 9, "commune": "62215",
            "identity": {"family_name": "NOM SECOND", "first_name": "zoe", "email": "z@exemple.fr"}}),
        )
        .expect(201),
    ];
    let told = |household: &String| {
        let answer = town.worker.get(&path(household, "/duplicates"));
        let text = String::from_utf8(answer.bytes.clone()).unwrap();
        for (other, name) in theirs.iter().zip(["Glycines", "Beffroi"]) {
            for secret in [name, other["id"].as_str().unwrap(), other["reference"].as_str().unwrap(), "62215", "phone"]
            {
                assert!(!text.contains(secret), "{text}");
            }
        }
        let pair = &answer.expect(200)["items"][0];
        let [id, at] = ["id", "found_at"].map(|key| pair[key].as_str().unwrap().to_owned());
        text.replace(&id, "ID").replace(&at, "AT")
    };
    assert_eq!(told(&ours[0]), told(&ours[1]));
    // nor when the other side has dismissed it
    for (client, household) in [(&one, &theirs[0]), (&two, &theirs[1])] {
        let pair = pairs(client, household["id"].as_str().unwrap())[0]["id"].as_str().unwrap().to_owned();
        let reason = json!({"reason": format!("Glycines ou Beffroi, {pair}")});
        client.post(&format!("/api/v1/duplicates/{pair}/dismiss"), reason).expect(204);
    }
    let answers: Vec<Value> = ours.iter().map(|household| pairs(&town.worker, household)[0].clone()).collect();
    assert!(answers.iter().all(|pair| pair["dismissed_at"].is_string() && pair["reason"].is_null()), "{answers:?}");
    assert_eq!(answers[0].as_object().unwrap().keys().count(), 5);
}

fn a_dismissed_pair_stays_dismissed_for_as_long_as_both_say_the_same(world: World) {
    let town = town(world);
    let stranger = other_structure(&town, "Autre CCAS");
    let ours = new_household(&town.worker, &lucienne());
    let shared = identity(json!({"phone": "06 39 98 12 34"}));
    let theirs = new_household(&stranger, &shared);
    let pair = pairs(&stranger, &theirs)[0]["id"].as_str().unwrap().to_owned();
    let dismiss = format!("/api/v1/duplicates/{pair}/dismiss");
    let reason = json!({"reason": "Madame Hérisson est la mère"});
    town.manager.post(&dismiss, reason.clone()).refused(403, "forbidden");
    stranger.post(&dismiss, reason.clone()).expect(204);
    stranger.post(&dismiss, reason.clone()).refused(409, "duplicate_state");
    town.worker.post(&dismiss, reason.clone()).refused(409, "duplicate_state");
    assert_eq!(audit(&town, &pair), ["duplicate_dismissed"]);
    assert_eq!((told(&town.worker, &ours), told(&stranger, &theirs)), (0, 0));
    let (here, there) = (&pairs(&town.worker, &ours)[0], &pairs(&stranger, &theirs)[0]);
    assert_eq!((&here["reason"], &there["reason"]), (&json!(null), &reason["reason"]));
    assert_eq!((&here["dismissed_at"], here["dismissed_at"].is_string()), (&there["dismissed_at"], true));

    say(&town.worker, &ours, &lucienne()).expect(200);
    say(&stranger, &theirs, &shared).expect(200);
    assert_eq!((told(&town.worker, &ours), told(&stranger, &theirs)), (0, 0));
    assert_eq!(pairs(&town.worker, &ours), std::slice::from_ref(here));
    // once the two are no longer alike, it is gone; what is alike later is new
    say(&stranger, &theirs, &identity(json!({"phone": "06 39 98 99 99"}))).expect(200);
    assert_eq!(pairs(&town.worker, &ours), [json!(null); 0]);
    say(&stranger, &theirs, &shared).expect(200);
    assert_eq!((told(&town.worker, &ours), told(&stranger, &theirs)), (1, 1));
    town.world.verify();
}

fn two_who_say_the_same_at_once_are_told_of_each_other(world: World) {
    let town = town(world);
    let stranger = other_structure(&town, "Autre CCAS");
    for round in 0..8 {
        let said = identity(json!({"phone": format!("06 39 98 00 0{round}")}));
        let clients = vec![town.worker.clone(), stranger.clone()];
        let made = at_once(clients.clone(), move |client| register(&client, &said));
        for (client, household) in clients.iter().zip(made) {
            assert_eq!(told(client, household.expect(201)["id"].as_str().unwrap()), 1, "round {round}");
        }
    }
}

fn a_number_that_everybody_has_makes_nobody_a_duplicate(world: World) {
    let town = town(world);
    // the desk's own number, given where nobody has one
    let said = identity(json!({"phone": "03 21 00 00 00"}));
    let all: Vec<String> = (0..23).map(|_| new_household(&town.worker, &said)).collect();
    assert_eq!(told(&town.worker, &all[19]), 19, "twenty may still be a mistake");
    assert_eq!(told(&town.worker, &all[20]), 0);
    assert_eq!(told(&town.worker, &all[22]), 0);
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM household_duplicates"), 190);
}

fn every_act_on_a_household_is_in_the_audit_log(world: World) {
    let town = town(world);
    let id = new_household(&town.worker, &lucienne());
    let plain = town.household(2, 2);
    town.worker.put(&path(&id, ""), json!({"adults": 2, "children": 0, "commune": "62215"})).expect(200);
    say(&town.worker, &id, &lucienne()).expect(200);
    town.worker.get(&path(&id, "/identity")).expect(200);
    town.worker.get(&path(&id, "/export")).expect(200);
    town.worker.send("DELETE", &path(&id, "/identity"), &[], None).expect(204);
    town.worker.send("DELETE", &path(&id, "/identity"), &[], None).expect(204);
    town.worker.act(&path(&id, "/erase")).expect(204);
    let acts = [
        "household_registered",
        "household_recomposed",
        "household_identified",
        "identity_read",
        "household_exported",
        "identity_erased",
        "household_erased",
    ];
    assert_eq!(audit(&town, &id), acts);
    assert_eq!(audit(&town, &plain), ["household_registered"]);
    let all = town.administrator.get("/api/v1/audit?limit=200").expect(200).to_string();
    for secret in ["Lucienne", "Hérisson", "39 98", "exemple.fr", "1987-03", "MEN-"] {
        assert!(!all.contains(secret), "the audit log tells {secret}");
    }
    town.world.verify();
}
