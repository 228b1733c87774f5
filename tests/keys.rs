//! Keys that change while the service runs: what was signed and sealed before stays good, on every server.

use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use primeur::keyring;
use primeur::keyring::commands::{self, Settings};
use primeur::kit::id::{HouseholdId, PersonId};
use primeur::kit::keys::files::make;
use primeur::kit::keys::{KeyStore, Purpose};
use serde_json::{Value, json};

use crate::support::sql::Sql;
use crate::support::world::{OVERLAP, PASSWORD};
use crate::support::{Client, Town, World, on_both_databases};

on_both_databases!(
    a_card_is_good_after_two_rotations_and_shown_again_as_it_was,
    a_login_from_before_a_rotation_lasts_until_its_own_end,
    what_an_old_key_sealed_moves_to_the_new_one_and_then_the_old_one_can_go,
    resealing_goes_on_where_it_was_cut_off_and_leaves_what_does_not_open,
    a_key_directory_that_is_not_right_changes_nothing,
    a_key_is_not_retired_while_it_is_needed,
);

pub fn settings(world: &World) -> Settings {
    Settings { directory: world.directory.join("keys"), overlap_minutes: OVERLAP, access_minutes: 10, look_seconds: 60 }
}

/// Rotates as the command line does, and tells the new key's id.
#[track_caller]
pub fn rotate(world: &World, purpose: Purpose) -> String {
    let said = commands::rotate(&world.state.db, &settings(world), purpose).unwrap();
    id_in(&said, &format!("made the {purpose} key "))
}

pub fn id_in(said: &str, before: &str) -> String {
    said.split_once(before).unwrap_or_else(|| panic!("{said}")).1[..8].to_owned()
}

pub fn retire(world: &World, id: &str) -> Result<String, String> {
    commands::retire(&world.state.db, &settings(world), id, false)
}

pub fn look(world: &World) {
    keyring::look(&world.state.db, &world.state.keys);
}

/// Lets the overlap go by, and the running server notice.
pub fn begin(world: &World) {
    world.pass_minutes(OVERLAP + 1);
    look(world);
}

pub fn key_of_card(token: &str) -> String {
    let bytes = BASE32_NOPAD.decode(token.rsplit_once('/').unwrap().1.as_bytes()).unwrap();
    HEXLOWER.encode(&bytes[1..5])
}

pub fn key_of_login(tokens: &Value) -> String {
    let token = tokens["access_token"].as_str().unwrap();
    let header = BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// Somebody of a new organisation who has accepted their invitation: their login.
pub fn somebody(client: &Client, administrator: &Client, kind: &str) -> Value {
    let email = format!("{}@primeur.example", uuid::Uuid::now_v7().simple());
    let organisation = administrator.post("/api/v1/organisations", json!({"kind": kind, "name": "Relais"})).expect(201);
    let person = json!({"organisation_id": organisation["id"], "email": email, "name": "Dominique", "lead": true});
    let invited = administrator.post("/api/v1/people", person).expect(201);
    let accept = json!({"invitation": invited["invitation"], "password": PASSWORD});
    client.post("/api/v1/access/accept-invitation", accept).expect(204);
    json!({"email": email, "password": PASSWORD})
}

pub fn log_in(client: &Client, login: &Value) -> Value {
    client.post("/api/v1/access/login", login.clone()).expect(200)
}

/// The files of a purpose, oldest first.
pub fn files(directory: &Path, purpose: &str) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        listing.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(purpose)).collect();
    files.sort();
    files
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in files(from, "") {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// The state that `primeur keys list` tells of a key.
fn told(world: &World, id: &str) -> String {
    let list = commands::list(&world.state.db, &settings(world)).unwrap();
    let line = list.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("{id} is not in\n{list}"));
    // after purpose, key and time
    line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
}

fn a_card_is_good_after_two_rotations_and_shown_again_as_it_was(world: World) {
    let town = Town::new(world);
    let enrolment = town.enrol()["id"].clone();
    let hand_over =
        || town.worker.post_with_key("/api/v1/vouchers", "premiere-carte", json!({"enrolment_id": enrolment}));
    let first = hand_over().expect(201);
    let second_key = rotate(&town.world, Purpose::Voucher);
    look(&town.world);
    // known everywhere, but not used yet
    let waiting = town.new_card();
    assert_eq!(key_of_card(&waiting.token), key_of_card(first["token"].as_str().unwrap()));
    assert!(told(&town.world, &second_key).starts_with("waits until 2026-07-01T09:00:00Z"));
    let too_soon = commands::rotate(&town.world.state.db, &settings(&town.world), Purpose::Voucher).unwrap_err();
    assert!(too_soon.contains(&second_key) && too_soon.contains("waits already"), "{too_soon}");

    begin(&town.world);
    let second = town.new_card();
    assert_eq!(key_of_card(&second.token), second_key);
    let third_key = rotate(&town.world, Purpose::Voucher);
    begin(&town.world);
    let third = town.new_card();
    assert_eq!(key_of_card(&third.token), third_key);
    assert_eq!((told(&town.world, &second_key), told(&town.world, &third_key)), ("verifies".into(), "signs".into()));

    assert_eq!(hand_over().expect(201), first, "a repeat is answered as it was first answered");
    let path = format!("/api/v1/vouchers/{}", second.id);
    assert_eq!(town.worker.get(&path).expect(200)["token"], second.token);
    for token in [first["token"].as_str().unwrap(), &waiting.token, &second.token, &third.token] {
        town.tills[0].redeem(token, 100).expect(201);
    }
    town.world.verify();
}

fn a_login_from_before_a_rotation_lasts_until_its_own_end(world: World) {
    let world = world.with_short_sessions();
    let administrator = crate::support::town::administrator(&world);
    let (login, anybody) = (somebody(&world.anybody(), &administrator, "funder"), world.anybody());
    let new_key = rotate(&world, Purpose::Login);
    look(&world);
    world.pass_minutes(OVERLAP - 5);
    let before = log_in(&anybody, &login);
    assert_ne!(key_of_login(&before), new_key);
    world.pass_minutes(6);
    look(&world);
    let after = log_in(&anybody, &login);
    assert_eq!(key_of_login(&after), new_key);

    let me = |tokens: &Value| anybody.signed_in(tokens).get("/api/v1/access/me");
    world.pass_minutes(3);
    me(&before).expect(200);
    me(&after).expect(200);
    world.pass_minutes(1);
    me(&before).refused(401, "unauthenticated");
    me(&after).expect(200);
    let refresh = json!({"refresh_token": before["refresh_token"]});
    let refreshed = anybody.post("/api/v1/access/refresh", refresh).expect(200);
    assert_eq!(key_of_login(&refreshed), new_key);
    me(&refreshed).expect(200);
}

/// Bytes as this database writes them.
fn blob(sql: &Sql, bytes: &[u8]) -> String {
    match sql {
        Sql::Sqlite(_) => format!("X'{}'", HEXUPPER.encode(bytes)),
        Sql::Postgresql(_) => format!("'\\x{}'::bytea", HEXLOWER.encode(bytes)),
    }
}

fn id(sql: &Sql, bytes: &[u8; 16]) -> String {
    match sql {
        Sql::Sqlite(_) => blob(sql, bytes),
        Sql::Postgresql(_) => format!("'{}'", uuid::Uuid::from_bytes(*bytes)),
    }
}

/// Households with their names, a second factor in force, one begun, and a reason, all under the current key.
fn sealed(town: &Town, households: usize) -> Vec<(String, String)> {
    let made: Vec<(String, String)> = (0..households)
        .map(|number| {
            let name = format!("Lucienne Exemple {number}");
            let body = json!({"adults": 1, "children": 0, "commune": "62427", "identity": {"family_name": name}});
            let household = town.worker.post("/api/v1/households", body).expect(201);
            (household["id"].as_str().unwrap().to_owned(), name)
        })
        .collect();
    let (mut sql, keys) = (Sql::of(&town.world), town.world.state.keys.now());
    let person = person(town);
    let factor = keys.identity.seal("totp", person.as_bytes(), b"a second factor").unwrap();
    let row = id(&sql, person.as_bytes());
    let begun = keys.identity.seal("totp", person.as_bytes(), b"one just begun").unwrap();
    let (factor, begun) = (blob(&sql, &factor), blob(&sql, &begun));
    sql.run(&format!("UPDATE people SET totp_sealed = {factor}, totp_pending_sealed = {begun} WHERE id = {row}"))
        .unwrap();
    let pair = [7; 16];
    let reason = keys.identity.seal("duplicate", &pair, b"a reason").unwrap();
    let [first, second] = [0, 1].map(|at| id(&sql, made[at].0.parse::<HouseholdId>().unwrap().as_bytes()));
    let (pair, reason) = (id(&sql, &pair), blob(&sql, &reason));
    sql.run(&format!(
        "INSERT INTO household_duplicates SELECT {pair}, {first}, {second}, created_at, created_at, {row}, {reason}
         FROM households WHERE id = {first}"
    ))
    .unwrap();
    made
}

fn person(town: &Town) -> PersonId {
    town.worker.get("/api/v1/access/me").expect(200)["id"].as_str().unwrap().parse().unwrap()
}

#[track_caller]
fn all_open(town: &Town, households: &[(String, String)]) {
    for (id, name) in households {
        assert_eq!(town.worker.get(&format!("/api/v1/households/{id}/identity")).expect(200)["family_name"], *name);
    }
    let (mut sql, keys) = (Sql::of(&town.world), town.world.state.keys.now());
    let mut bytes = |column: &str, table: &str| {
        let hex = if matches!(sql, Sql::Sqlite(_)) {
            format!("hex({column})")
        } else {
            format!("upper(encode({column}, 'hex'))")
        };
        let lines = sql.lines(&format!("SELECT {hex} AS line FROM {table} WHERE {column} IS NOT NULL"));
        HEXUPPER.decode(lines[0].as_bytes()).unwrap()
    };
    let factor = keys.identity.open("totp", person(town).as_bytes(), &bytes("totp_sealed", "people"));
    assert_eq!(factor.as_deref(), Ok(&b"a second factor"[..]));
    let begun = keys.identity.open("totp", person(town).as_bytes(), &bytes("totp_pending_sealed", "people"));
    assert_eq!(begun.as_deref(), Ok(&b"one just begun"[..]));
    let reason = keys.identity.open("duplicate", &[7; 16], &bytes("reason_sealed", "household_duplicates"));
    assert_eq!(reason.as_deref(), Ok(&b"a reason"[..]));
}

fn under(sql: &mut Sql, key: &str) -> i64 {
    sql.number(&format!("SELECT count(*) FROM sealed_identities WHERE key_id = '{key}'"))
}

fn what_an_old_key_sealed_moves_to_the_new_one_and_then_the_old_one_can_go(world: World) {
    let town = Town::new(world);
    let (households, mut sql) = (sealed(&town, 120), Sql::of(&town.world));
    let before = town.world.state.keys.now();
    let old = before.identity.current().to_string();
    let kept = sql.lines("SELECT CAST(updated_at AS TEXT) AS line FROM sealed_identities ORDER BY household_id");
    let new = rotate(&town.world, Purpose::Identity);
    look(&town.world);
    assert_eq!((under(&mut sql, &old), under(&mut sql, &new)), (120, 0), "it moved before every server has the key");
    let in_use = retire(&town.world, &old).unwrap_err();
    assert!(in_use.contains("seals now"), "{in_use}");

    town.world.pass_minutes(OVERLAP + 1);
    let soon = retire(&town.world, &old).unwrap_err();
    assert!(soon.contains("may seal under it until 2026-07-01T09:02:00Z"), "{soon}");
    town.world.pass_minutes(1);
    let full = retire(&town.world, &old).unwrap_err();
    assert!(full.contains("identities are sealed under it"), "{full}");
    assert_eq!(told(&town.world, &old), "opens", "a refused retirement left something behind");

    // two servers at once move each row once
    let keys = town.world.state.keys.read(town.world.now()).unwrap();
    let reseal = || keyring::reseal(&town.world.state.db, &keys).unwrap();
    let servers = std::thread::scope(|scope| {
        let servers = [scope.spawn(reseal), scope.spawn(reseal)];
        servers.map(|thread| thread.join().unwrap())
    });
    assert_eq!(servers.iter().map(|done| done.moved).sum::<usize>(), 123);
    assert_eq!((under(&mut sql, &old), under(&mut sql, &new)), (0, 120));
    assert_eq!(sql.lines("SELECT CAST(updated_at AS TEXT) AS line FROM sealed_identities ORDER BY household_id"), kept);
    // each place keeps the old key by itself
    for (column, part, plain) in [
        ("totp_sealed", "second factors", "a second factor"),
        ("totp_pending_sealed", "begun second factors", "one just begun"),
    ] {
        let seal = before.identity.seal("totp", person(&town).as_bytes(), plain.as_bytes()).unwrap();
        let seal = blob(&sql, &seal);
        sql.run(&format!("UPDATE people SET {column} = {seal} WHERE {column} IS NOT NULL")).unwrap();
        let kept = retire(&town.world, &old).unwrap_err();
        assert!(kept.contains(&format!("needed: {part} are sealed under it")), "{kept}");
        assert_eq!(reseal().moved, 1, "{column}");
    }
    assert!(retire(&town.world, &old).unwrap().contains("may be removed"));
    assert!(told(&town.world, &old).starts_with("retired 2026-07-01: its file may be removed"));

    // a server that has slept through it all may not seal what nobody could open
    let row = households[0].0.parse::<HouseholdId>().unwrap();
    let late = KeyStore::open(&town.world.directory.join("keys"), 7 * 24 * 60, town.world.now()).unwrap();
    assert_eq!(late.now().identity.current().to_string(), old);
    let seal = late.now().identity.seal("identity", row.as_bytes(), b"{}").unwrap();
    let (seal, row) = (blob(&sql, &seal), id(&sql, row.as_bytes()));
    for lost in [
        format!("UPDATE sealed_identities SET sealed = {seal} WHERE household_id = {row}"),
        format!("UPDATE people SET totp_sealed = {seal}"),
        format!("UPDATE people SET totp_pending_sealed = {seal}"),
        format!("UPDATE household_duplicates SET reason_sealed = {seal}"),
    ] {
        let refused = sql.run(&lost).unwrap_err().to_string();
        assert!(refused.contains("is retired: nothing is sealed under it"), "{refused}");
    }

    std::fs::remove_file(files(&town.world.directory.join("keys"), "identity").remove(0)).unwrap();
    keyring::adopt(&town.world.state.db, &town.world.state.keys).unwrap();
    assert_eq!(files(&town.world.directory.join("keys"), "identity").len(), 1);
    assert!(town.world.state.keys.now().made().iter().all(|(_, id, _)| id.to_string() != old));
    all_open(&town, &households);
    assert_eq!(told(&town.world, &old), "retired 2026-07-01");
    town.world.verify();
}

fn resealing_goes_on_where_it_was_cut_off_and_leaves_what_does_not_open(world: World) {
    let town = Town::new(world);
    let (households, mut sql) = (sealed(&town, 12), Sql::of(&town.world));
    let old = town.world.state.keys.now().identity.current().to_string();
    sql.run("CREATE TABLE kept AS SELECT household_id, key_id, sealed FROM sealed_identities").unwrap();
    rotate(&town.world, Purpose::Identity);
    begin(&town.world);
    assert_eq!(under(&mut sql, &old), 0);
    // as a kill between two batches leaves it, with one seal that somebody has touched
    let half = "(SELECT household_id FROM kept ORDER BY household_id LIMIT 6)";
    let one = "(SELECT household_id FROM kept ORDER BY household_id LIMIT 1)";
    let of =
        |column: &str| format!("(SELECT k.{column} FROM kept k WHERE k.household_id = sealed_identities.household_id)");
    let back = format!("UPDATE sealed_identities SET sealed = {}, key_id = {}", of("sealed"), of("key_id"));
    let head =
        if matches!(sql, Sql::Sqlite(_)) { "CAST(substr(sealed, 1, 30) AS BLOB)" } else { "substr(sealed, 1, 30)" };
    sql.run(&format!("{back} WHERE household_id IN {half}")).unwrap();
    sql.run(&format!("UPDATE sealed_identities SET sealed = {head} WHERE household_id IN {one}")).unwrap();

    let reseal = || keyring::reseal(&town.world.state.db, &town.world.state.keys.now()).unwrap();
    let done = reseal();
    assert_eq!((done.moved, done.broken, under(&mut sql, &old)), (5, 1, 1));
    let looks = households.iter().map(|(id, _)| town.worker.get(&format!("/api/v1/households/{id}/identity")));
    let mut broken: Vec<_> = looks.filter(|look| look.status != 200).collect();
    assert_eq!(broken.len(), 1);
    broken.remove(0).refused(409, "identity_unreadable");
    town.world.pass_minutes(1);
    assert!(retire(&town.world, &old).unwrap_err().contains("still needed"));
    sql.run(&format!("{back} WHERE household_id IN {one}")).unwrap();
    assert_eq!(reseal().moved, 1);
    assert_eq!(reseal().moved, 0);
    sql.run("DROP TABLE kept").unwrap();
    all_open(&town, &households);
}

fn a_key_directory_that_is_not_right_changes_nothing(world: World) {
    use std::os::unix::fs::PermissionsExt;
    let directory = world.directory.join("keys");
    let before = world.state.keys.now().made().to_vec();
    let adopt = || keyring::adopt(&world.state.db, &world.state.keys);
    let stays = |part: &str| {
        let said = adopt().unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
        look(&world);
        assert_eq!(world.state.keys.now().made(), before);
        assert_eq!(Sql::of(&world).number("SELECT count(*) FROM signing_keys"), 4);
    };
    let new = directory.join("voucher-00001782900000000001.key");
    std::fs::write(&new, "half a k").unwrap();
    stays("can be read by other users");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    stays("is not a key");
    std::fs::rename(&new, directory.join("voucher-july.key")).unwrap();
    stays("is not named voucher-MICROSECONDS.key");
    std::fs::remove_file(directory.join("voucher-july.key")).unwrap();
    let lost = files(&directory, "voucher").remove(0);
    std::fs::rename(&lost, world.directory.join("aside")).unwrap();
    stays("no voucher-*.key");
    std::fs::rename(world.directory.join("aside"), &lost).unwrap();
    adopt().unwrap();

    // and what is right is registered, with an entry in the log, before it signs anything
    let id = rotate(&world, Purpose::Voucher);
    assert_eq!(world.state.keys.now().made(), before);
    look(&world);
    assert_eq!(world.state.keys.now().made().len(), 5);
    let entries = Sql::of(&world).number(&format!(
        "SELECT count(*) FROM audit_entries WHERE action = 'key_added' AND subject = '{id}' AND person_id IS NULL"
    ));
    assert_eq!(entries, 1);
    // so is one that no command has made
    make(&directory, Purpose::Identity, world.now()).unwrap();
    look(&world);
    assert_eq!(Sql::of(&world).number("SELECT count(*) FROM signing_keys"), 6);
    world.verify();
}

fn a_key_is_not_retired_while_it_is_needed(world: World) {
    let keys = world.state.keys.now();
    let (login, voucher) = (keys.login.current().0.to_string(), keys.voucher.current().0.to_string());
    let secret = keys.made().iter().find(|(purpose, ..)| *purpose == Purpose::Secret).unwrap().1.to_string();
    let refused = |id: &str, part: &str| {
        let said = retire(&world, id).unwrap_err();
        assert!(said.contains(part), "{said}");
    };
    let not_rotated = commands::rotate(&world.state.db, &settings(&world), Purpose::Secret).unwrap_err();
    assert!(not_rotated.contains("is not rotated"), "{not_rotated}");
    refused("01234567", "there is no key");
    refused(&secret, "cannot be retired");
    refused(&login, "signs now");
    let waiting = rotate(&world, Purpose::Login);
    rotate(&world, Purpose::Voucher);
    refused(&login, "signs now");
    refused(&waiting, "waits: from 2026-07-01T09:00:00Z on it signs");
    begin(&world);
    refused(&voucher, "the cards it signed are valid");
    refused(&login, "what it signed may be shown until 2026-07-01T09:11:00Z");
    world.pass_minutes(9);
    refused(&login, "what it signed may be shown");
    world.pass_minutes(1);
    assert!(retire(&world, &login).unwrap().contains("may be removed"));
    assert!(retire(&world, &login).unwrap().contains("may be removed"), "a second time says the same");
    let lost = commands::retire(&world.state.db, &settings(&world), &voucher, true).unwrap_err();
    assert!(lost.contains("is not lost"), "{lost}");
    let retired = "SELECT count(*) FROM audit_entries WHERE action = 'key_retired'";
    assert_eq!(Sql::of(&world).number(retired), 1);
    world.verify();
}
