//! The schema goes forward only, whoever brings it up and however many at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Barrier};

use data_encoding::HEXLOWER;
use diesel::Connection;
use diesel::pg::PgConnection;
use primeur::db::{Db, Schema, Settings};
use primeur::kit::keys::sha256;
use primeur::kit::time::SystemClock;

use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::world::new_postgresql_database;
use crate::support::{Process, Town, World};

/// The files of each migration of a database, by its version.
fn migrations(database: &str) -> BTreeMap<String, Vec<String>> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    names(&folder).into_iter().map(|version| (version.clone(), names(&folder.join(version)))).collect()
}

fn steps() -> usize {
    migrations("sqlite").len()
}

#[test]
fn both_databases_have_the_same_migrations_and_none_goes_back() {
    let (sqlite, postgresql) = (migrations("sqlite"), migrations("postgres"));
    assert!(sqlite.len() >= 2, "{sqlite:?}");
    assert_eq!(sqlite, postgresql);
    assert!(sqlite.values().all(|files| files == &["up.sql"]), "a way back would lose money's history: {sqlite:?}");
}

/// A database that has run a migration never runs it again: an edit would reach new databases only, and the two would
/// differ for ever. A change is a further migration.
#[test]
fn a_migration_that_was_released_is_never_edited() {
    for (file, digest) in [
        ("sqlite/00000000000001_init", "cfaeac39f94c5b26574df0a8a4589bb138f71058278374125c43364e8bbbbac9"),
        ("postgres/00000000000001_init", "ec3fb7977d121e9455e7359486749380f3a406dd8297b22c60427ad7886b585a"),
        (
            "sqlite/00000000000002_access_and_privacy",
            "4cd110c817df2a2fab9e266923326aa30d90305cb7cba407fbd1b339be1a2d2d",
        ),
        (
            "postgres/00000000000002_access_and_privacy",
            "fd2d983761f1d6feaaac4ee4e4033b216d5f29587de455d43e209f6debbc9af9",
        ),
        (
            "sqlite/00000000000003_begun_second_factors",
            "aa67e952dc2edcd8b661c49742d5be7bc74ee23c116994f9a391c580445319d6",
        ),
        (
            "postgres/00000000000003_begun_second_factors",
            "4ca980b196c7ad5dbcc3fb973b8be7dbe2d5ee52c728144fb225922d78d65653",
        ),
        ("sqlite/00000000000004_rules", "8163a86d93be027f7a9519e91de49c9e199fcca3ee8d68b52612cfdd6a27b903"),
        ("postgres/00000000000004_rules", "400634f324e6577d3f1d46f549a9cedab1bae324ec7829948c1df4268b1b5680"),
        ("sqlite/00000000000005_market_day", "fbd91c9662b4a7d4365b812d6c76687925e568e1e6d62d89f4f2f1e512265c4e"),
        ("postgres/00000000000005_market_day", "5d2649c3b547fae643f60a21f5251b465e405d97e598866e22b07d7da54ae6a4"),
        ("sqlite/00000000000006_what_is_due", "b016b33bfd66da1e01d8fc6ccf73d64c83b8d8d103de3fdcb9262302e8a88122"),
        ("postgres/00000000000006_what_is_due", "6e5db05a816dca379338a4ec8c5085a79f5ab06d5e425d7bb448f37d5f994018"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(file).join("up.sql");
        assert_eq!(HEXLOWER.encode(&sha256(&std::fs::read(path).unwrap())), digest, "{file} was edited");
    }
}

/// A build between two releases had these triggers in its second migration.
#[test]
fn a_database_with_and_one_without_the_triggers_of_begun_second_factors_come_to_the_same() {
    for world in [World::on_sqlite(), World::on_postgresql()] {
        let mut sql = Sql::of(&world);
        let name = "begun_second_factors_under_a_living_key";
        let (drops, named) = match sql {
            Sql::Sqlite(_) => (
                vec![format!("DROP TRIGGER {name}_insert"), format!("DROP TRIGGER {name}_update")],
                "SELECT name AS line FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
            ),
            Sql::Postgresql(_) => (
                vec![format!("DROP TRIGGER {name} ON people")],
                "SELECT tgname::text AS line FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
            ),
        };
        let all = sql.lines(named);
        assert!(all.iter().any(|trigger| trigger.starts_with(name)), "{all:?}");
        for drops in [vec![], drops] {
            drops.iter().for_each(|drop| sql.run(drop).map(|_| ()).unwrap());
            sql.run("DELETE FROM __diesel_schema_migrations WHERE version = '00000000000003'").unwrap();
            assert_eq!(world.state.db.migrate(), Ok(1));
            assert_eq!(sql.lines(named), all);
        }
    }
}

#[test]
fn threads_that_migrate_at_once_run_each_migration_once_on_sqlite() {
    let process = Process::on_sqlite();
    threads_run_each_once(&process.database_url);
}

#[test]
fn threads_that_migrate_at_once_run_each_migration_once_on_postgresql() {
    threads_run_each_once(&new_postgresql_database());
}

fn threads_run_each_once(url: &str) {
    const TOGETHER: usize = 6;
    let gate = Arc::new(Barrier::new(TOGETHER));
    let migrate = |_| {
        let (gate, url) = (gate.clone(), url.to_owned());
        std::thread::spawn(move || {
            // a pool of its own each, as processes have
            let db = Db::open(&Settings { url, connections: 1, ..Settings::default() }, Arc::new(SystemClock)).unwrap();
            gate.wait();
            let done = db.migrate().unwrap();
            assert_eq!(db.schema(), Ok(Schema::Current));
            done
        })
    };
    let threads: Vec<_> = (0..TOGETHER).map(migrate).collect();
    let done: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(done.iter().sum::<usize>(), steps(), "{done:?}");
}

#[test]
fn processes_that_start_at_once_on_an_empty_database_all_succeed_on_sqlite() {
    processes_all_succeed(Process::on_sqlite);
}

#[test]
fn processes_that_start_at_once_on_an_empty_database_all_succeed_on_postgresql() {
    processes_all_succeed(Process::on_postgresql);
}

fn processes_all_succeed(deployment: fn() -> Process) {
    let process = deployment();
    let start = |_| {
        let mut command = process.command(&["migrate"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    let outputs: Vec<Output> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let mut done: Vec<String> = Vec::new();
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        done.push(String::from_utf8(output.stdout).unwrap());
    }
    done.sort();
    let [rest @ .., last] = done.as_slice() else { panic!("nobody ran") };
    assert_eq!(last, &format!("{} migrations run\n", steps()));
    assert!(rest.iter().all(|said| said == "0 migrations run\n"), "{done:?}");

    // servers too, which share their keys
    let mut first = deployment();
    let mut second = first.beside();
    std::thread::scope(|scope| {
        scope.spawn(|| first.serve());
        scope.spawn(|| second.serve());
    });
    let keys = std::fs::read_dir(first.directory.join("keys")).unwrap().count();
    assert_eq!(keys, 4, "keys were made twice");
}

#[test]
fn a_database_of_a_newer_program_is_refused_by_every_command_on_sqlite() {
    newer_is_refused(Process::on_sqlite());
}

#[test]
fn a_database_of_a_newer_program_is_refused_by_every_command_on_postgresql() {
    newer_is_refused(Process::on_postgresql());
}

fn newer_is_refused(mut process: Process) {
    process.serve();
    process.kill();
    let world = World::served_by(&process);
    let mut sql = Sql::of(&world);
    sql.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')").unwrap();
    let before = (sql.counts(), sql.number("SELECT count(*) FROM __diesel_schema_migrations"));
    assert_eq!(world.state.db.schema(), Ok(Schema::Newer("20991231000000".to_owned())));
    for command in ["migrate", "issue", "verify", "serve"] {
        let output = process.command(&[command]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("newer version of primeur, to 20991231000000"), "{command}: {said}");
    }
    assert_eq!((sql.counts(), sql.number("SELECT count(*) FROM __diesel_schema_migrations")), before);
}

/// As OPERATIONS.md sets PostgreSQL up: one role owns the tables, another serves.
#[test]
fn a_server_that_may_not_change_the_schema_serves_one_that_is_current() {
    let mut process = Process::on_postgresql();
    let role = format!("serves_{}", uuid::Uuid::now_v7().simple());
    let url = process.database_url.replace("postgres://test@", &format!("postgres://{role}@"));
    let owner = std::mem::replace(&mut process.database_url, url);
    let mut sql = Sql::Postgresql(PgConnection::establish(&owner).unwrap());
    sql.run(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {role};
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
    ))
    .unwrap();
    let early = process.command(&["migrate"]).output().unwrap();
    assert!(String::from_utf8(early.stderr).unwrap().contains("cannot migrate the database"));
    process.database_url = owner.clone();
    assert!(process.command(&["migrate"]).output().unwrap().status.success());
    process.database_url = owner.replace("postgres://test@", &format!("postgres://{role}@"));
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let card = town.new_card();
    town.tills[0].redeem(&card.token, 100).expect(201);
    town.world.verify();
    // nor may it take what was erased out of the files: that it was not is said, not passed over
    let db = &town.world.state.db;
    let wipe = || db.wipe(&["sealed_identities"]).err().map(|e| e.to_string()).unwrap_or_default();
    // other tests write in the same cluster, which may be in the way first
    let refused = (0..30).map(|_| wipe()).find(|refused| refused.contains("only the owner"));
    assert!(refused.is_some() && db.is_unwiped(), "{}", wipe());
    let mut served = Sql::of(&town.world);
    for forbidden in ["ALTER TABLE transfers DISABLE TRIGGER ALL", "DROP TABLE voids", "TRUNCATE transfers"] {
        let refused = served.run(forbidden).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains("must be owner") || refused.contains("permission denied"), "{forbidden}: {refused}");
    }
}
