//! `primeur keys`, by the program itself, beside a service that runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use primeur::kit::time::{Clock, SystemClock, Zone};
use serde_json::Value;

use crate::keys::{files, id_in, key_of_card, key_of_login, log_in, somebody};
use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::world::directory;
use crate::support::{Process, Town, World};

#[test]
fn keys_are_rotated_beside_a_running_service_on_sqlite() {
    are_rotated(Process::on_sqlite());
}

#[test]
fn keys_are_rotated_beside_a_running_service_on_postgresql() {
    are_rotated(Process::on_postgresql());
}

#[test]
fn a_deployment_that_never_had_an_identity_key_gets_one_and_one_that_lost_it_does_not_start() {
    for mut process in [Process::on_sqlite(), Process::on_postgresql()] {
        process.serve();
        process.kill();
        let keys = process.directory.join("keys");
        let file = files(&keys, "identity").remove(0);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let said = text(&process.command(&["serve"]).output().unwrap().stderr);
        assert!(said.contains("no identity-*.key") && said.contains("restore"), "{said}");
        assert!(files(&keys, "identity").is_empty(), "a lost key was made anew");

        Sql::at(&process.database_url).run("DELETE FROM signing_keys WHERE purpose = 'identity'").unwrap();
        process.serve();
        let made = files(&keys, "identity");
        assert_eq!((made.len(), mode(&made[0])), (1, 0o600));
        assert_ne!(std::fs::read(&made[0]).unwrap(), bytes);
        process.kill();
    }
}

#[test]
fn a_server_that_starts_before_it_has_a_new_key_serves_until_that_is_used() {
    for mut first in [Process::on_sqlite(), Process::on_postgresql()] {
        first.serve();
        let mut second = Process::new(directory(), first.database_url.clone());
        let there = second.directory.join("keys");
        std::fs::create_dir(&there).unwrap();
        for file in files(&first.directory.join("keys"), "") {
            std::fs::copy(&file, there.join(file.file_name().unwrap())).unwrap();
        }
        let id = id_in(&says(&first, &["rotate", "login"]), "made the login key ");
        second.serve();
        let told =
            |log: &str| log.lines().any(|line| line.contains("WARN") && line.contains(&id) && line.contains("copy"));
        let log = std::fs::read_to_string(second.log()).unwrap();
        assert!(told(&log), "{log}");
        second.kill();

        // a minute more than the overlap has passed since all of them were made
        let shift = if first.database_url.starts_with("sqlite") { "3660 * 1000000" } else { "interval '61 minutes'" };
        let later = format!("UPDATE signing_keys SET created_at = created_at - {shift}");
        Sql::at(&first.database_url).run(&later).unwrap();
        let said = text(&second.command(&["serve"]).output().unwrap().stderr);
        assert!(said.contains(&format!("the login key {id}")) && said.contains("is missing"), "{said}");
        first.kill();
        std::fs::remove_dir_all(&second.directory).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn keys(process: &Process, arguments: &[&str]) -> Output {
    process.command(&[&["keys"], arguments].concat()).output().unwrap()
}

#[track_caller]
fn says(process: &Process, arguments: &[&str]) -> String {
    let output = keys(process, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn refuses(process: &Process, arguments: &[&str], part: &str) {
    let output = keys(process, arguments);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(part), "{said}");
    assert_eq!(text(&output.stdout), "");
}

fn are_rotated(mut process: Process) {
    // at once, as on a single server
    let settings = [("PRIMEUR__SCHEDULE__EVERY_SECONDS", "1"), ("PRIMEUR__KEYS__OVERLAP_MINUTES", "0")];
    process.settings = settings.map(|(name, value)| (name, value.to_owned())).to_vec();
    let early = text(&keys(&process, &["list"]).stderr);
    assert!(early.contains("primeur migrate"), "{early}");
    process.serve();
    let zone: Zone = "Europe/Paris".parse().unwrap();
    let first = zone.day_of(SystemClock.now()).first_of_month();
    let days = Setup { starts_on: first.to_string(), ends_on: first.plus_months(12).to_string(), ..Setup::default() };
    let town = Town::with(World::served_by(&process), days);
    let (old_card, anybody) = (town.new_card(), town.world.anybody());
    let login = somebody(&anybody, &town.administrator, "funder");
    let before = log_in(&anybody, &login);

    // the service runs on, and works with the new keys from its next look
    let rotate = |purpose: &str| id_in(&says(&process, &["rotate", purpose]), &format!("made the {purpose} key "));
    let [voucher, identity, new_login] = ["voucher", "identity", "login"].map(rotate);
    let directory = process.directory.join("keys");
    assert_eq!(files(&directory, "").len(), 7);
    assert!(files(&directory, "").iter().all(|file| mode(file) == 0o600));
    // a look a twentieth of a second, a minute at most
    let taken = (0..1200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        key_of_login(&log_in(&anybody, &login)) == new_login
    });
    assert!(taken, "{}", std::fs::read_to_string(process.log()).unwrap());
    anybody.signed_in(&before).get("/api/v1/access/me").expect(200);
    let new_card = town.new_card();
    assert_eq!(key_of_card(&new_card.token), voucher);
    for card in [&old_card, &new_card] {
        town.tills[0].redeem(&card.token, 100).expect(201);
    }
    let logged = town.administrator.get(&format!("/api/v1/audit?subject={voucher}")).expect(200);
    let entry = &logged["items"][0];
    assert_eq!(
        (&entry["action"], &entry["detail"], &entry["person_id"]),
        (&"key_added".into(), &"voucher".into(), &Value::Null)
    );

    let list = says(&process, &["list"]);
    let line = |id: &str| list.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("{list}"));
    for (id, purpose, state) in
        [(&voucher, "voucher", "signs"), (&identity, "identity", "seals"), (&new_login, "login", "signs")]
    {
        assert!(line(id).starts_with(purpose) && line(id).ends_with(&format!("Z {state}")), "{list}");
    }
    let old_key = key_of_card(&old_card.token);
    assert!(line(&old_key).ends_with("Z verifies"), "{list}");
    assert_eq!(list.lines().count(), 8, "{list}");

    refuses(&process, &["rotate", "secret"], "the secret is not rotated");
    assert_eq!(keys(&process, &["rotate", "pepper"]).status.code(), Some(2));
    refuses(&process, &["retire", &new_login], "signs now");
    refuses(&process, &["retire", &key_of_login(&before)], "is still needed");
    refuses(&process, &["retire", &old_key], "the cards it signed are valid");
    refuses(&process, &["retire", &old_key, "--lost"], "is not lost");

    // a key that is gone is named, and the service does not start before somebody has decided
    process.kill();
    std::fs::remove_file(files(&directory, "voucher").remove(0)).unwrap();
    let said = text(&process.command(&["serve"]).output().unwrap().stderr);
    assert!(said.contains(&format!("the voucher key {old_key}")) && said.contains("is missing"), "{said}");
    assert!(says(&process, &["list"]).lines().any(|line| line.contains(&old_key) && line.contains("MISSING")));
    refuses(&process, &["rotate", "voucher"], "is missing");
    refuses(&process, &["retire", &old_key], "add --lost: the cards it signed are refused");
    assert!(says(&process, &["retire", &old_key, "--lost"]).contains("their typed codes work"));
    process.serve();
    town.tills[0].redeem(&old_card.token, 100).refused(409, "unknown_voucher");
    town.tills[0].redeem(&old_card.code, 100).expect(201);
    town.tills[0].redeem(&new_card.token, 100).expect(201);
    town.world.verify();
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM signing_keys WHERE retired_at IS NOT NULL"), 1);
}
