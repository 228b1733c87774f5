//! What is kept of a household: never in clear, told to it whole, taken away for good, and not kept for ever.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;

use primeur::privacy::erase_due;
use serde_json::{Value, json};

use crate::household::{audit, identity, lucienne, new_household, path, register, town};
use crate::support::sql::Sql;
use crate::support::town::{card, log_in, newcomer};
use crate::support::world::PASSWORD;
use crate::support::{Client, Process, Town, World, on_both_databases};

on_both_databases!(
    nothing_that_says_who_a_household_is_lies_in_clear,
    what_was_erased_is_in_no_file_and_no_backup_and_the_books_stay_what_they_were,
    an_identity_taken_away_alone_is_in_no_file_either,
    an_identity_unsaid_or_said_anew_is_in_no_file_after_a_look_of_the_scheduler,
    a_household_that_is_enrolled_or_has_money_is_not_erased,
    an_erased_household_is_found_nowhere_and_stays_erased,
    a_household_is_not_enrolled_while_it_is_erased,
    a_seal_that_lies_with_another_household_does_not_open,
    an_export_tells_the_household_everything_and_lends_nobody_its_card,
);

/// All forms in which what [`lucienne`] says could be read.
const WORDS: [&str; 14] = [
    "Lucienne",
    "lucienne",
    "LUCIENNE",
    "Hérisson",
    "herisson",
    "Dûment",
    "dument",
    "06 39 98",
    "0639981234",
    "639981234",
    "+33639981234",
    "1987-03-14",
    "14/03/1987",
    "exemple.fr",
];

/// Everything that the database keeps on disk, and every row of it as a dump would have them.
pub fn kept(world: &World) -> Vec<(String, Vec<u8>)> {
    // other tests write in the same cluster: where that was in the way, the scheduler's looks finish it
    let db = &world.state.db;
    let wiped = (0..30).any(|_| erase_due(db, 1_200).is_ok() && !db.is_unwiped());
    assert!(wiped, "what was erased could not be wiped");
    let mut sql = Sql::of(world);
    let mut all = Vec::new();
    match sql {
        Sql::Sqlite(_) => {
            let directory = std::fs::read_dir(&world.directory).unwrap();
            for file in directory.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
                all.push((file.display().to_string(), std::fs::read(&file).unwrap()));
            }
            // a backup made now
            let copy = world.directory.join(format!("{}.copy", uuid::Uuid::now_v7()));
            sql.run(&format!("VACUUM INTO '{}'", copy.display())).unwrap();
            all.push(("the backup".to_owned(), std::fs::read(&copy).unwrap()));
            std::fs::remove_file(copy).unwrap();
        }
        Sql::Postgresql(_) => {
            for table in sql.tables() {
                let rows = sql.lines(&format!("SELECT t::text AS line FROM {table} t"));
                all.push((table, rows.join("\n").into_bytes()));
            }
            // where the server's own files can be read (as root), they are
            sql.run("CHECKPOINT").unwrap();
            let tables =
                "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(oid) AS line FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')";
            for file in sql.lines(tables).iter().filter(|file| Path::new(file).is_file()) {
                if let Ok(bytes) = std::fs::read(file) {
                    all.push((file.clone(), bytes));
                }
            }
        }
    }
    assert!(all.len() > 1);
    all
}

/// Where in all this some bytes are, as they are or as PostgreSQL writes bytes.
pub fn places(kept: &[(String, Vec<u8>)], bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
    kept.iter()
        .filter(|(_, text)| has(text, bytes) || has(text, hex.as_bytes()))
        .map(|(name, _)| name.clone())
        .collect()
}

#[track_caller]
fn tells_nothing(kept: &[(String, Vec<u8>)]) {
    for word in WORDS {
        let found = places(kept, word.as_bytes());
        assert!(found.is_empty(), "{word} is in {found:?}");
    }
}

/// What a column of bytes holds for the only row that has any.
pub fn bytes(world: &World, select: &str) -> Vec<Vec<u8>> {
    let mut sql = Sql::of(world);
    let (column, rest) = select.split_once(' ').unwrap();
    let hex = match sql {
        Sql::Sqlite(_) => format!("SELECT lower(hex({column})) AS line {rest}"),
        Sql::Postgresql(_) => format!("SELECT encode({column}, 'hex') AS line {rest}"),
    };
    let pair = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    sql.lines(&hex).iter().map(|hex| (0..hex.len()).step_by(2).map(|at| pair(hex, at)).collect()).collect()
}

/// A household that said who it is and has lived: enrolled, bought, undone, left with nothing.
struct Lived {
    town: Town,
    household: String,
    enrolment: String,
    card: String,
}

fn lived(world: World) -> Lived {
    let town = town(world);
    let household = new_household(&town.worker, &lucienne());
    let enrolment = town.enrol_household(&household).expect(201)["id"].as_str().unwrap().to_owned();
    let card = town.card_for(&enrolment);
    town.tills[0].redeem(&card.token, 1234).expect(201);
    let sold = town.tills[0].redeem(&card.token, 500).expect(201);
    town.tills[0].void(sold["id"].as_str().unwrap()).expect(200);
    leave(&town, &enrolment);
    Lived { town, household, enrolment, card: card.id }
}

fn leave(town: &Town, enrolment: &str) {
    town.worker.post(&format!("/api/v1/enrolments/{enrolment}/leave"), json!({"return_issued": true})).expect(200);
}

fn nothing_that_says_who_a_household_is_lies_in_clear(world: World) {
    let Lived { town, household, .. } = lived(world);
    let (_, stranger) = newcomer(&town.world, &town.manager, "social_structure", "Autre CCAS");
    // everything that handles an identity, once
    town.worker.put(&path(&household, "/identity"), lucienne()).expect(200);
    town.worker.get(&path(&household, "/identity")).expect(200);
    town.worker.get(&path(&household, "/export")).expect(200);
    town.worker.post("/api/v1/households/search", json!({"email": "lucienne.herisson@exemple.fr"})).expect(200);
    let theirs = new_household(&stranger, &json!({"phone": "0639981234", "first_name": "Lucienne"}));
    register(&stranger, &lucienne()).refused(409, "duplicate_household");
    let pairs = stranger.get(&path(&theirs, "/duplicates")).expect(200);
    let pair = pairs["items"][0]["id"].as_str().unwrap();
    let reason = json!({"reason": "Lucienne est la tante"});
    stranger.post(&format!("/api/v1/duplicates/{pair}/dismiss"), reason).expect(204);
    let kept = kept(&town.world);
    tells_nothing(&kept);
    // what is there to be found is found
    let reference = town.worker.get(&path(&household, "")).expect(200)["reference"].as_str().unwrap().to_owned();
    assert!(!places(&kept, reference.as_bytes()).is_empty());
    let sealed = bytes(&town.world, "sealed FROM sealed_identities ORDER BY household_id");
    assert!(sealed.len() == 2 && !places(&kept, &sealed[0]).is_empty());
    town.world.verify();
}

fn what_was_erased_is_in_no_file_and_no_backup_and_the_books_stay_what_they_were(world: World) {
    let Lived { town, household, enrolment, card } = lived(world);
    let (worker, world) = (&town.worker, &town.world);
    // somebody else stays, whose rows lie beside
    let other = new_household(worker, &identity(json!({"family_name": "Reste", "phone": "06 39 98 00 00"})));
    let found = |words: Value| worker.post("/api/v1/households/search", words).expect(200)["items"].clone();
    let by = json!({"family_name": "herisson dument", "first_name": "lucienne"});
    assert_eq!(found(by.clone()).as_array().unwrap().len(), 1);
    assert_eq!(worker.get(&path(&household, "/identity")).expect(200), lucienne());
    let reference = worker.get(&path(&household, "")).expect(200)["reference"].as_str().unwrap().to_owned();
    let other_id =
        format!("FROM {{}} WHERE household_id IN (SELECT id FROM households WHERE reference = '{reference}')");
    let of = |column: &str, table: &str| bytes(world, &format!("{column} {}", other_id.replace("{}", table)));
    let mut traces = of("sealed", "sealed_identities");
    traces.extend(of("digest", "household_fingerprints"));
    traces.push(reference.clone().into_bytes());
    assert_eq!(traces.len(), 1 + 4 + 1);
    let before = kept(world);
    for trace in &traces {
        assert!(!places(&before, trace).is_empty(), "what is looked for below can be found");
    }
    let report = |accept: &str| {
        let month = format!("/api/v1/agreements/{}/reconciliations/2026-07", town.agreements[0]);
        town.funders[0].get_as(&month, accept).bytes
    };
    let books = || {
        let counts: Vec<_> = Sql::of(world).counts();
        let journal = ["transfers", "redemptions", "redemption_lines", "voids", "enrolments", "allowances", "vouchers"];
        let counts: Vec<_> = counts.into_iter().filter(|(table, _)| journal.contains(&table.as_str())).collect();
        (report("application/json"), report("text/csv"), town.budget(), counts)
    };
    let written = books();

    worker.act(&path(&household, "/erase")).expect(204);
    let after = kept(world);
    tells_nothing(&after);
    for trace in &traces[..5] {
        assert_eq!(places(&after, trace), [""; 0], "a seal or fingerprint is still there");
    }
    let rows: Vec<(String, Vec<u8>)> = after.into_iter().filter(|(name, _)| !name.contains("/base/")).collect();
    assert_eq!(places(&rows, &traces[5]), [""; 0], "its reference is still there");
    assert_eq!(books(), written, "not a byte of a report, not a row of the journal");
    assert_eq!(found(by), json!([]));
    let listed = worker.get("/api/v1/enrolments").expect(200);
    assert_eq!(listed["items"][0]["id"], json!(enrolment), "its enrolment stays, nameless");
    assert_eq!(listed["items"][0]["household_id"], json!(household));
    assert_eq!(worker.get(&format!("/api/v1/vouchers/{card}")).expect(200)["state"], "blocked");
    let rest = worker.get(&path(&other, "/identity")).expect(200);
    assert_eq!(rest["family_name"], "Reste", "and nobody else was touched");
    world.verify();
}

fn an_identity_taken_away_alone_is_in_no_file_either(world: World) {
    let town = town(world);
    let household = new_household(&town.worker, &lucienne());
    let traces = bytes(&town.world, "sealed FROM sealed_identities");
    // a start wipes, and so does the first look
    assert_ne!(places(&kept(&town.world), &traces[0]), [""; 0]);
    town.worker.send("DELETE", &path(&household, "/identity"), &[], None).expect(204);
    assert_eq!(places(&kept(&town.world), &traces[0]), [""; 0]);
    assert_eq!(town.worker.get(&path(&household, "")).expect(200)["has_identity"], false);
}

fn an_identity_unsaid_or_said_anew_is_in_no_file_after_a_look_of_the_scheduler(world: World) {
    let town = town(world);
    let household = new_household(&town.worker, &lucienne());
    let say = |said: Value| town.worker.put(&path(&household, "/identity"), said).expect(200);
    // the same again has another seal; then somebody else's name; then none
    for said in [lucienne(), identity(json!({"family_name": "Reste", "phone": "06 39 98 00 00"})), identity(json!({}))]
    {
        let mut traces = bytes(&town.world, "sealed FROM sealed_identities");
        if said != lucienne() {
            traces.extend(bytes(&town.world, "digest FROM household_fingerprints"));
        }
        let before = kept(&town.world);
        for trace in &traces {
            assert_ne!(places(&before, trace), [""; 0], "what is looked for below can be found");
        }
        say(said);
        let after = kept(&town.world);
        for trace in &traces {
            assert_eq!(places(&after, trace), [""; 0], "a seal or fingerprint is still there");
        }
    }
    assert_eq!(town.worker.get(&path(&household, "")).expect(200)["has_identity"], false);
    // to say it for the first time leaves nothing to wipe
    say(lucienne());
    assert!(!town.world.state.db.is_unwiped());
    town.world.verify();
}

fn a_household_that_is_enrolled_or_has_money_is_not_erased(world: World) {
    let town = town(world);
    let household = new_household(&town.worker, &lucienne());
    let enrolment = town.enrol_household(&household).expect(201)["id"].as_str().unwrap().to_owned();
    let erase = || town.worker.act(&path(&household, "/erase"));
    let refused = || {
        erase().refused(409, "still_enrolled");
        assert_eq!(town.worker.get(&path(&household, "/identity")).expect(200), lucienne());
    };
    refused();
    town.worker.act(&format!("/api/v1/enrolments/{enrolment}/suspend")).expect(200);
    refused();
    town.worker.act(&format!("/api/v1/enrolments/{enrolment}/resume")).expect(200);
    // who leaves with money in hand spends it first, or gives it back
    town.card_for(&enrolment);
    town.worker.post(&format!("/api/v1/enrolments/{enrolment}/leave"), json!({"return_issued": false})).expect(200);
    refused();
    leave(&town, &enrolment);
    erase().expect(204);
    assert_eq!(audit(&town, &household).last().unwrap(), "household_erased");
    town.world.verify();
}

fn an_erased_household_is_found_nowhere_and_stays_erased(world: World) {
    let Lived { town, household, enrolment, card } = lived(world);
    let kept = town.household(1, 0);
    town.worker.act(&path(&household, "/erase")).expect(204);
    for rest in ["", "/identity", "/duplicates", "/export"] {
        town.worker.get(&path(&household, rest)).refused(404, "not_found");
    }
    let composition = json!({"adults": 2, "children": 0, "commune": "62427"});
    town.worker.put(&path(&household, ""), composition).refused(404, "not_found");
    town.worker.put(&path(&household, "/identity"), lucienne()).refused(404, "not_found");
    town.worker.send("DELETE", &path(&household, "/identity"), &[], None).refused(404, "not_found");
    town.worker.act(&path(&household, "/erase")).refused(404, "not_found");
    town.enrol_household(&household).refused(404, "not_found");
    town.worker.act_once(&format!("/api/v1/vouchers/{card}/replace")).refused(404, "not_found");
    town.worker
        .post(&format!("/api/v1/enrolments/{enrolment}/leave"), json!({"return_issued": true}))
        .refused(404, "not_found");
    let listed = town.worker.get("/api/v1/households").expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["id"], json!(kept));
    // the same person may come again, as somebody new
    let again = new_household(&town.worker, &lucienne());
    assert_ne!(again, household);

    // the database lets nothing be said of it either, and does not bring it back
    let mut sql = Sql::of(&town.world);
    let erased = "(SELECT id FROM households WHERE erased_at IS NOT NULL)";
    for statement in [
        format!("INSERT INTO sealed_identities SELECT {erased}, key_id, sealed, updated_at FROM sealed_identities"),
        format!("UPDATE sealed_identities SET household_id = {erased}"),
        format!(
            "INSERT INTO household_fingerprints SELECT {erased}, 'name', digest FROM household_fingerprints WHERE kind = 'name'"
        ),
        "UPDATE households SET erased_at = NULL WHERE erased_at IS NOT NULL".to_owned(),
        "UPDATE households SET reference = 'MEN-000000' WHERE erased_at IS NOT NULL".to_owned(),
        format!("UPDATE enrolments SET household_id = {erased}"),
    ] {
        let refusal = sql.run(&statement).unwrap_err().to_string();
        assert!(refusal.contains("was erased") || refusal.contains("keeps what"), "{statement}: {refusal}");
    }
    town.world.verify();
}

fn a_household_is_not_enrolled_while_it_is_erased(world: World) {
    let town = town(world);
    for _ in 0..8 {
        let household = town.household(1, 0);
        let gate = Arc::new(Barrier::new(2));
        let (worker, id, at) = (town.worker.clone(), household.clone(), gate.clone());
        let erasing = thread::spawn(move || {
            at.wait();
            worker.act(&path(&id, "/erase"))
        });
        gate.wait();
        let enrolled = town.enrol_household(&household);
        let erased = erasing.join().unwrap();
        match erased.status {
            204 => drop(enrolled.refused(404, "not_found")),
            _ => {
                erased.refused(409, "still_enrolled");
                enrolled.expect(201);
            }
        }
    }
    town.world.verify();
}

/// Each of two households with the other's: sealed under a key that is here, as bytes by chance would not always be.
fn swap_two_seals(world: &World) {
    Sql::of(world).run(
        "CREATE TABLE swapped AS SELECT a.household_id, b.sealed FROM sealed_identities a JOIN sealed_identities b
           ON a.household_id <> b.household_id;
         UPDATE sealed_identities SET sealed = (SELECT s.sealed FROM swapped s WHERE s.household_id = sealed_identities.household_id);
         DROP TABLE swapped;",
    )
    .unwrap();
}

fn a_seal_that_lies_with_another_household_does_not_open(world: World) {
    let town = town(world);
    let ids = ["Reste", "Part"].map(|name| new_household(&town.worker, &identity(json!({"family_name": name}))));
    town.world.verify();
    swap_two_seals(&town.world);
    for id in &ids {
        for rest in ["/identity", "/export"] {
            let answer = town.worker.get(&path(id, rest)).refused(409, "identity_unreadable");
            assert!(!answer.to_string().contains("Reste") && !answer.to_string().contains("Part\""));
        }
        assert_eq!(audit(&town, id), ["household_registered", "identity_read", "household_exported"]);
    }
    let verdict = primeur::verify::run_with_keys(&town.world.state.db, &town.world.state.keys.now()).unwrap();
    let named: Vec<&str> = verdict.findings.iter().map(|finding| finding.row.as_str()).collect();
    assert_eq!(named, ids.each_ref().map(String::as_str), "{:?}", verdict.findings);
    assert!(verdict.findings.iter().all(|finding| finding.table == "sealed_identities"));
    // said again, it can be read again
    for id in &ids {
        town.worker.put(&path(id, "/identity"), identity(json!({"first_name": "Zoé"}))).expect(200);
        assert_eq!(town.worker.get(&path(id, "/identity")).expect(200)["first_name"], "Zoé");
    }
    // and a fingerprint that is of something else is found too
    new_household(&town.worker, &lucienne());
    Sql::of(&town.world).run("DELETE FROM household_fingerprints WHERE kind = 'phone'").unwrap();
    let verdict = primeur::verify::run_with_keys(&town.world.state.db, &town.world.state.keys.now()).unwrap();
    assert_eq!(verdict.findings.len(), 1);
    assert_eq!(verdict.findings[0].table, "household_fingerprints");
}

fn an_export_tells_the_household_everything_and_lends_nobody_its_card(world: World) {
    let town = town(world);
    let household = new_household(&town.worker, &lucienne());
    let export = |client: &Client| client.get(&path(&household, "/export")).expect(200);
    let bare = export(&town.worker);
    assert_eq!((&bare["identity"], &bare["enrolments"], &bare["looks"]), (&lucienne(), &json!([]), &json!([])));
    assert_eq!(
        (&bare["last_contact_at"], &bare["erased_from"]),
        (&json!("2026-07-01T08:00:00Z"), &json!("2028-07-01T08:00:00Z"))
    );

    let enrolment = town.enrol_household(&household).expect(201);
    let handed = town.worker.post_once("/api/v1/vouchers", json!({"enrolment_id": enrolment["id"]})).expect(201);
    let card = card(&handed);
    let mut basket = town.tills[0].basket(&card.token, 500, false);
    basket["lines"] = json!([{"category": "eggs", "amount": "5.00"}]);
    town.tills[0].client.post_once("/api/v1/redemptions", basket).expect(201);
    let sold = town.tills[0].redeem(&card.token, 700).expect(201);
    town.tills[0].void(sold["id"].as_str().unwrap()).expect(200);
    town.worker.get(&path(&household, "/identity")).expect(200);
    let twin = new_household(&town.worker, &identity(json!({"phone": "0639981234"})));
    let pairs = town.worker.get(&path(&twin, "/duplicates")).expect(200);
    let dismiss = format!("/api/v1/duplicates/{}/dismiss", pairs["items"][0]["id"].as_str().unwrap());
    town.worker.post(&dismiss, json!({"reason": "sa fille"})).expect(204);

    let told = export(&town.worker);
    let held = &told["enrolments"][0];
    assert_eq!(
        (&held["id"], &held["programme"], &held["state"]),
        (&enrolment["id"], &json!("Chèque du marché"), &json!("active"))
    );
    assert_eq!(
        (&held["allowances"].as_array().unwrap().len(), &held["allowances"][0]["balance"]),
        (&6, &json!("55.00"))
    );
    assert_eq!(held["vouchers"][0]["id"], json!(card.id));
    let purchases = held["purchases"].as_array().unwrap();
    assert_eq!(purchases.len(), 2);
    let first = json!({"day": "2026-07-01", "stall": "Marché du vendredi", "basket": "5.00", "covered": "5.00",
        "lines": [{"category": "eggs", "labels": [], "amount": "5.00"}], "voided": null});
    assert_eq!(purchases[0], first);
    assert_eq!(purchases[1]["voided"]["reason"], "rendu");
    assert_eq!(told["duplicates"], json!({"count": 1, "dismissed_by_us": 1}));
    let me = town.worker.get("/api/v1/access/me").expect(200)["id"].clone();
    let look = |action: &str| json!({"at": "2026-07-01T08:00:00Z", "action": action, "role": "social_worker", "person_id": me});
    assert_eq!(told["looks"], json!([look("household_exported"), look("identity_read")]));
    assert!(told["erased_from"].is_null(), "not while it is enrolled");
    for secret in [&card.token, &card.code, &card.code.replace('-', "")] {
        assert!(!told.to_string().contains(secret.as_str()), "{secret}");
    }
    town.world.verify();
}

#[test]
fn no_line_of_the_log_names_anybody_on_sqlite() {
    logs_no_name(Process::on_sqlite());
}

#[test]
fn no_line_of_the_log_names_anybody_on_postgresql() {
    logs_no_name(Process::on_postgresql());
}

fn logs_no_name(mut process: Process) {
    let me = ["--email", "admin@primeur.example", "--name", "Camille", "--organisation", "Primeur"];
    let mut create =
        process.command(&[["admin", "create"].as_slice(), &me].concat()).stdin(Stdio::piped()).spawn().unwrap();
    create.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(create.wait().unwrap().success());
    process.serve();
    let world = World::served_by(&process);
    let administrator = log_in(&world, "admin@primeur.example");
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    // what goes well, what is refused, and what breaks
    let id = new_household(&worker, &lucienne());
    let twin = new_household(&worker, &json!({"phone": "0639981234"}));
    register(&worker, &lucienne()).refused(409, "duplicate_household");
    register(&worker, &json!("Lucienne")).refused(422, "invalid_request");
    worker.put(&path(&twin, "/identity"), identity(json!({"phone": "Lucienne"}))).refused(422, "invalid_request");
    worker.post("/api/v1/households/search", json!({"email": "lucienne.herisson@exemple.fr"})).expect(200);
    worker.get(&path(&id, "/identity")).expect(200);
    worker.get(&path(&id, "/export")).expect(200);
    swap_two_seals(&world);
    worker.get(&path(&twin, "/identity")).refused(409, "identity_unreadable");
    worker.act(&path(&id, "/erase")).expect(204);
    let log = std::fs::read(process.log()).unwrap();
    let log = [("the log".to_owned(), log)];
    tells_nothing(&log);
    for id in [&id, &twin, &id[4..].to_owned()] {
        assert_eq!(places(&log, id.as_bytes()), [""; 0]);
    }
    for line in ["/api/v1/households/{id}/erase", "an identity does not open"] {
        assert_eq!(places(&log, line.as_bytes()), ["the log"], "{line}");
    }
}
