//! Backups taken and put back while tills sell, and files that are refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::Connection;
use diesel::sqlite::SqliteConnection;
use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::cluster::program;
use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::world::{PASSWORD, directory};
use crate::support::{Answer, Card, Client, Process, Town, World};

const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");

/// A purchase that was answered 201.
#[derive(Clone)]
struct Sold {
    key: String,
    basket: Value,
    answer: Vec<u8>,
}

/// Four tills sell for a cent, again and again, while `work` runs; gives its outcome and all they sold. They log in anew
/// as often as the database is restored, and no more.
fn while_selling<T>(
    town: &Town,
    cards: &[Card],
    restores: usize,
    work: impl FnOnce(&Mutex<Vec<Sold>>) -> T,
) -> (T, Vec<Sold>) {
    let (sold, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        for card in cards {
            let (mut till, sold, over) = (town.tills[0].clone(), &sold, &over);
            let (email, mut restores) = (email(&till.client), restores);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let (key, basket) = (new_key(), till.basket(&card.token, 1, false));
                    let mut answer = till.client.post_with_key("/api/v1/redemptions", &key, basket.clone());
                    if answer.status == 401 && restores > 0 {
                        restores -= 1;
                        till.client = signed_in(&till.client, &email);
                        answer = till.client.post_with_key("/api/v1/redemptions", &key, basket.clone());
                    }
                    assert_eq!(answer.status, 201, "{}", answer.json());
                    sold.lock().unwrap().push(Sold { key, basket, answer: answer.bytes });
                }
            });
        }
        let _over = OnDrop(&over);
        work(&sold)
    });
    (outcome, sold.into_inner().unwrap())
}

fn email(client: &Client) -> String {
    client.get("/api/v1/access/me").expect(200)["email"].as_str().unwrap().to_owned()
}

fn signed_in(client: &Client, email: &str) -> Client {
    client.signed_in(&client.log_in(email, PASSWORD).expect(200))
}

/// Ends the sales, also when a test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until so many more were sold; tells all there are.
#[track_caller]
fn sold_more(sold: &Mutex<Vec<Sold>>, more: usize) -> Vec<Sold> {
    let enough = sold.lock().unwrap().len() + more;
    for _ in 0..6000 {
        let so_far = sold.lock().unwrap().clone();
        if so_far.len() >= enough {
            return so_far;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the tills sell nothing");
}

#[track_caller]
fn says(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

fn run(process: &Process, arguments: &[&str]) -> Output {
    process.command(arguments).output().unwrap()
}

#[track_caller]
fn back_up(process: &Process, file: &Path) -> String {
    says(&run(process, &["backup", file.to_str().unwrap()]))
}

fn copy_keys(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("keys")).unwrap();
    for key in std::fs::read_dir(from.join("keys")).unwrap() {
        let key = key.unwrap();
        std::fs::copy(key.path(), to.join("keys").join(key.file_name())).unwrap();
    }
}

fn redemptions(database: &Path) -> i64 {
    Sql::Sqlite(SqliteConnection::establish(database.to_str().unwrap()).unwrap())
        .number("SELECT count(*) FROM redemptions")
}

fn database(process: &Process) -> PathBuf {
    PathBuf::from(process.database_url.trim_start_matches("sqlite://"))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    names.sort();
    names
}

#[test]
fn a_backup_taken_while_tills_sell_holds_all_that_was_answered_before_on_sqlite() {
    drill(
        Process::on_sqlite(),
        |process, file| {
            let said = back_up(process, file);
            assert!(said.contains("audit log: ") && said.contains("redemptions: "), "{said}");
        },
        |file| {
            let process = Process::on_sqlite();
            (process, vec!["restore".to_owned(), file.to_str().unwrap().to_owned()])
        },
        "",
    );
}

/// The statements with which OPERATIONS.md ends a restore on PostgreSQL.
fn last_statements() -> &'static str {
    let (_, after) = OPERATIONS.split_once("psql \"$PRIMEUR__DATABASE__URL\" -c '").unwrap();
    after.split_once('\'').unwrap().0
}

/// What OPERATIONS.md tells to do, by the programs of PostgreSQL.
#[test]
fn a_backup_taken_while_tills_sell_holds_all_that_was_answered_before_on_postgresql() {
    drill(
        Process::on_postgresql(),
        |process, file| {
            let mut dump = program("pg_dump");
            dump.args(["--format=custom", "--no-owner", "--file"]).arg(file).arg(&process.database_url);
            says(&dump.output().unwrap());
        },
        |file| {
            let process = Process::on_postgresql();
            let mut restore = program("pg_restore");
            restore.args(["--no-owner", "--exit-on-error", "--single-transaction", "--dbname", &process.database_url]);
            says(&restore.arg(file).output().unwrap());
            (process, vec!["migrate".to_owned()])
        },
        last_statements(),
    );
}

fn accept(client: &Client, invited: &Value) -> Answer {
    client.post("/api/v1/access/accept-invitation", json!({"invitation": invited["invitation"], "password": PASSWORD}))
}

fn drill(
    mut process: Process,
    take: impl Fn(&Process, &Path),
    elsewhere: impl Fn(&Path) -> (Process, Vec<String>),
    statements: &str,
) {
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let invited = ["une@primeur.example", "autre@primeur.example"].map(|email| {
        let person = json!({"organisation_id": town.structure, "email": email, "name": "Dominique", "lead": false});
        town.worker.post("/api/v1/people", person).expect(201)
    });
    let cards: Vec<Card> = (0..4).map(|_| town.new_card()).collect();
    let file = directory().join("backup");
    let (before, all) = while_selling(&town, &cards, 0, |sold| {
        let before = sold_more(sold, 40);
        take(&process, &file);
        accept(&town.world.anybody(), &invited[0]).expect(204);
        sold_more(sold, 20);
        before
    });
    let after = all.last().unwrap().clone();
    let (seller, worker) = (email(&town.tills[0].client), email(&town.worker));
    process.kill();

    let (mut other, last_step) = elsewhere(&file);
    copy_keys(&process.directory, &other.directory);
    // the cards keep their address
    other.settings.push(("PRIMEUR__SERVER__PUBLIC_URL", process.address.clone()));
    let last_step: Vec<&str> = last_step.iter().map(String::as_str).collect();
    says(&run(&other, &last_step));
    assert!(says(&run(&other, &["verify"])).ends_with("\nOK\n"));
    if !statements.is_empty() {
        Sql::at(&other.database_url).run(statements).unwrap();
    }
    other.serve();
    // what could be used before is of no use, whatever became of it
    for old in [&town.worker, &town.tills[0].client] {
        old.at(&other.address).get("/api/v1/access/me").refused(401, "unauthenticated");
    }
    let anybody = Client::new(&other.address);
    for invited in &invited {
        accept(&anybody, invited).refused(401, "invalid_invitation");
    }
    let worker = signed_in(&anybody, &worker);
    let again = worker.act(&format!("/api/v1/people/{}/invite", invited[0]["person"]["id"].as_str().unwrap()));
    accept(&anybody, &again.expect(201)).expect(204);
    let client = signed_in(&anybody, &seller);
    for Sold { key, basket, answer } in &before {
        let again = client.post_with_key("/api/v1/redemptions", key, basket.clone());
        assert_eq!(again.header("idempotent-replay"), Some("true"), "answered before the backup, and not in it");
        assert_eq!((again.status, &again.bytes), (201, answer));
    }
    // what came after it is sold as if for the first time
    let again = client.post_with_key("/api/v1/redemptions", &after.key, after.basket);
    assert_eq!((again.status, again.header("idempotent-replay")), (201, None));
    World::served_by(&other).verify();
}

#[test]
fn a_restore_into_a_service_that_sells_loses_nothing_unsaid() {
    let mut process = Process::on_sqlite();
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let cards: Vec<Card> = (0..4).map(|_| town.new_card()).collect();
    let file = process.directory.join("backup");

    let seller = email(&town.tills[0].client);
    let ((first, said), all) = while_selling(&town, &cards, 1, |sold| {
        let first = sold_more(sold, 20);
        back_up(&process, &file);
        sold_more(sold, 40);
        let said = says(&run(&process, &["restore", file.to_str().unwrap()]));
        // the same tills and cards go on, once they have logged in again
        sold_more(sold, 20);
        (first, said)
    });
    assert!(said.starts_with("what was there is kept:\n") && said.ends_with("\nOK\n"), "{said}");
    let names = names_in(&process.directory);
    let kept: Vec<&String> = names.iter().filter(|name| name.contains("before-restore")).collect();
    let [kept] = kept[..] else { panic!("{names:?}") };
    assert!(!names.iter().any(|name| name.contains("restoring") || name.contains("partial")), "{names:?}");
    let kept = process.directory.join(kept);
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // each purchase is in what was replaced, or came after: nothing fell between
    let (kept_count, now, base) = (redemptions(&kept), redemptions(&database(&process)), redemptions(&file));
    assert_eq!(kept_count + now - base, i64::try_from(all.len()).unwrap(), "{kept_count} {now} {base}");
    assert!(base >= 20 && kept_count >= base + 40 && now >= base + 20, "{kept_count} {now} {base}");

    town.tills[0].client.get("/api/v1/access/me").refused(401, "unauthenticated");
    let till = signed_in(&town.tills[0].client, &seller);
    for Sold { key, basket, answer } in &first {
        let again = till.post_with_key("/api/v1/redemptions", key, basket.clone());
        assert_eq!((again.header("idempotent-replay"), &again.bytes), (Some("true"), answer));
    }
    town.world.verify();
    let log = std::fs::read_to_string(process.log()).unwrap();
    assert!(!log.contains("\"level\":\"ERROR\"") && !log.contains("\"status\":5"), "{log}");

    // what was kept is a backup like any other
    assert!(says(&run(&process, &["restore", kept.to_str().unwrap()])).ends_with("\nOK\n"));
    assert_eq!(redemptions(&database(&process)), kept_count);
    town.world.verify();
    let restored = Sql::of(&town.world).number("SELECT count(*) FROM audit_entries WHERE action = 'database_restored'");
    assert_eq!(restored, 1, "what was kept had not seen the first");
}

#[test]
fn a_backup_overwrites_nothing_and_is_for_nobody_else_to_read() {
    let mut process = Process::on_sqlite();
    process.serve();
    let file = process.directory.join("backup");
    let said = back_up(&process, &file);
    let bytes = std::fs::read(&file).unwrap();
    assert!(said.contains(&format!("backup: {} bytes, all that was answered before 2", bytes.len())), "{said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(&process.directory), ["backup", "keys", "primeur.db", "reports", "serve.log"]);

    let again = run(&process, &["backup", file.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);

    let left = process.directory.join("other.partial");
    std::fs::write(&left, "").unwrap();
    let refused = run(&process, &["backup", process.directory.join("other").to_str().unwrap()]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("left from a backup that did not end"));
    assert!(left.exists(), "that of another backup was removed");
}

#[test]
fn an_old_backup_is_brought_up_to_the_schema_of_today() {
    let process = Process::on_sqlite();
    let file = process.directory.join("old");
    let mut old = Sql::Sqlite(SqliteConnection::establish(file.to_str().unwrap()).unwrap());
    old.run(include_str!("../migrations/sqlite/00000000000001_init/up.sql")).unwrap();
    old.run(
        "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL
           DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO __diesel_schema_migrations (version) VALUES ('00000000000001')",
    )
    .unwrap();
    drop(old);
    let said = says(&run(&process, &["restore", file.to_str().unwrap()]));
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let steps = std::fs::read_dir(migrations).unwrap().count() - 1;
    assert!(said.contains(&format!("; {steps} migrations run on it\n")) && said.ends_with("\nOK\n"), "{said}");
    assert_eq!(says(&run(&process, &["migrate"])), "0 migrations run\n");
    // nothing was there to keep
    assert_eq!(names_in(&process.directory), ["old", "primeur.db"]);
}

#[test]
fn a_file_that_cannot_be_trusted_is_refused_and_the_service_goes_on() {
    let mut process = Process::on_sqlite();
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let card = town.new_card();
    town.tills[0].redeem(&card.token, 100).expect(201);
    let file = process.directory.join("backup");
    back_up(&process, &file);
    let good = std::fs::read(&file).unwrap();
    let (before, names) = (Sql::of(&town.world).counts(), names_in(&process.directory));

    let refused = |bytes: &[u8], change: &str, says: &str| {
        let bad = directory().join("bad");
        std::fs::write(&bad, bytes).unwrap();
        if !change.is_empty() {
            let mut sql = Sql::Sqlite(SqliteConnection::establish(bad.to_str().unwrap()).unwrap());
            sql.run("PRAGMA foreign_keys = OFF").unwrap();
            sql.run(change).unwrap();
        }
        let output = run(&process, &["restore", bad.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}\nwhere {says} was expected");
        assert_eq!(Sql::of(&town.world).counts(), before, "{said}");
        assert_eq!(names_in(&process.directory), names, "{said}");
        bad
    };
    refused(&good[..good.len() / 2], "", "damaged");
    refused(&good[..good.len() - 4096], "", "damaged");
    refused(&good[..1000], "", "damaged");
    let mut torn = good.clone();
    torn[4096 * 7..4096 * 9].fill(0xA5);
    refused(&torn, "", "damaged");
    let noise: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    refused(&noise, "", "no database");
    refused(b"", "", "no database of primeur");
    refused(b"", "CREATE TABLE recipes (id INTEGER PRIMARY KEY)", "no database of primeur");
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')";
    refused(&good, newer, "newer version of primeur, to 20991231000000");
    let orphan = "UPDATE sessions SET person_id = zeroblob(16)";
    refused(&good, orphan, "a row of sessions refers to one that is not there");
    let foreign = "INSERT INTO signing_keys (key_id, purpose, created_at) VALUES ('00c0ffee', 'voucher', 0)";
    refused(&good, foreign, "the voucher key 00c0ffee that this database has used is missing");

    // figures that do not hold are shown, and restored only by who insists
    let wrong = "UPDATE accounts SET balance_cents = balance_cents + 1 WHERE kind = 'payable'";
    let bad = refused(&good, wrong, "nothing was replaced");
    let database = process.database_url.trim_start_matches("sqlite://");
    let itself = run(&process, &["restore", database]);
    assert!(String::from_utf8(itself.stderr).unwrap().contains("is the database itself"));
    town.tills[0].redeem(&card.token, 100).expect(201);
    let output = run(&process, &["restore", "--although-wrong", bad.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is restored") && said.contains("WRONG accounts acc_"), "{said}");
    assert_eq!(redemptions(Path::new(database)), 1);
}

#[test]
fn on_postgresql_both_commands_name_the_programs_that_do_it() {
    let process = Process::on_postgresql();
    for command in ["backup", "restore"] {
        let output = run(&process, &[command, "somewhere"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for told in ["pg_dump --format=custom --no-owner", "pg_restore --no-owner --exit-on-error --single-transaction"]
        {
            assert!(said.contains(told), "{said}");
        }
        assert!(!said.contains(&process.database_url));
    }
}
