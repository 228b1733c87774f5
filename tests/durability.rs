//! No 201 leaves before what it says is on the disk. `kill -9` cannot show that: what a process has written outlives it
//! in the system's memory. A recording of the system calls can.

use std::path::PathBuf;

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use primeur::db::{Db, Settings};
use primeur::kit::id::RedemptionId;
use primeur::kit::time::{Clock, SystemClock, Zone};
use serde_json::Value;

use crate::support::cluster::{Cluster, program};
use crate::support::sql::Sql;
use crate::support::strace::{self, Call};
use crate::support::town::{Setup, Till};
use crate::support::world::{directory, new_postgresql_database};
use crate::support::{Card, Process, Town, World};

#[test]
fn no_answer_leaves_before_its_transaction_is_on_the_disk_on_sqlite() {
    if !strace::is_allowed() {
        return;
    }
    let mut process = Process::on_sqlite();
    let trace = process.directory.join("trace");
    process.wrapper = strace::wrapper(&trace);
    let (_world, count) = market(&mut process);
    let calls = strace::read(&trace);
    let answers = answers(&calls);
    assert_eq!(answers.iter().filter(|(id, _)| id.starts_with("red_")).count(), count);
    // households, cards and all else that was created too
    assert!(answers.len() > count + 10, "{}", answers.len());
    let claims =
        || answers.iter().map(|(id, sent)| Claim { id: id.clone(), sent: *sent, carried: sqlite_commit(&calls, id) });

    let wal = |call: &Call| call.file.ends_with("-wal");
    assert_eq!(too_early(claims(), &syncs(&calls, wal)), Vec::<String>::new());
    proves_to_see(claims, &syncs(&calls, wal));
}

/// Where the server, or whoever set it up, would rather answer first: a connection of ours insists.
#[test]
fn no_answer_leaves_before_its_transaction_is_on_the_disk_on_postgresql() {
    if !strace::is_allowed() {
        return;
    }
    let (calls, journal, claims) = on_postgresql(&["synchronous_commit=off"]);
    assert_eq!(too_early(claims.iter().cloned(), &syncs(&journal, |_| true)), Vec::<String>::new());
    proves_to_see(|| claims.iter().cloned(), &syncs(&journal, |_| true));
    drop(calls);
}

/// The proof of the proof: a server that does not sync is caught.
#[test]
fn a_postgresql_that_does_not_sync_is_seen_to_answer_too_early() {
    if !strace::is_allowed() {
        return;
    }
    let (_, journal, claims) = on_postgresql(&["fsync=off"]);
    assert_eq!(too_early(claims.iter().cloned(), &syncs(&journal, |_| true)).len(), claims.len());
}

/// What an answer promises, when it was sent, and the end of the write that carried the last of it.
#[derive(Clone)]
struct Claim {
    id: String,
    sent: i64,
    carried: Option<(String, i64)>,
}

/// A sync that was done: which file, begun and ended when.
#[derive(Clone)]
struct Sync(String, i64, i64);

fn syncs(calls: &[Call], wanted: impl Fn(&Call) -> bool) -> Vec<Sync> {
    let done = calls.iter().filter(|call| matches!(&*call.name, "fdatasync" | "fsync") && call.result == 0);
    done.filter(|call| wanted(call)).map(|call| Sync(call.file.clone(), call.begun, call.ended)).collect()
}

/// The ids whose answer left before a sync that began after the last write of it had ended.
fn too_early(claims: impl Iterator<Item = Claim>, syncs: &[Sync]) -> Vec<String> {
    let synced = |claim: &Claim| {
        let Some((file, written)) = &claim.carried else { return false };
        syncs.iter().any(|Sync(synced, begun, ended)| synced == file && begun >= written && *ended <= claim.sent)
    };
    claims.filter(|claim| !synced(claim)).map(|claim| claim.id).collect()
}

/// The same recording with its syncs left out, or a little later, or begun a little earlier, does not pass.
fn proves_to_see<I: Iterator<Item = Claim>>(claims: impl Fn() -> I, syncs: &[Sync]) {
    let all = claims().count();
    let shifted = |begun: i64, ended: i64| -> Vec<Sync> {
        syncs.iter().map(|Sync(file, b, e)| Sync(file.clone(), b + begun, e + ended)).collect()
    };
    let second = 1_000_000;
    assert_eq!(too_early(claims(), &[]).len(), all);
    assert_eq!(too_early(claims(), &shifted(0, 3600 * second)).len(), all, "syncs that end too late");
    assert_eq!(too_early(claims(), &shifted(-3600 * second, 0)).len(), all, "syncs that begin too early");
    let others: Vec<Sync> = syncs.iter().map(|Sync(_, b, e)| Sync("/another/file".to_owned(), *b, *e)).collect();
    assert_eq!(too_early(claims(), &others).len(), all, "syncs of another file");
}

/// Purchases one at a time, then several at once; how many there were. The service is ended in good order.
fn market(process: &mut Process) -> (World, usize) {
    process.serve();
    let zone: Zone = "Europe/Paris".parse().unwrap();
    let first = zone.day_of(SystemClock.now()).first_of_month();
    let (starts_on, ends_on) = (first.to_string(), first.plus_months(12).to_string());
    let town = Town::with(World::served_by(process), Setup { starts_on, ends_on, ..Setup::default() });
    let cards: Vec<Card> = (0..4).map(|_| town.new_card()).collect();
    for card in &cards {
        town.tills[0].redeem(&card.token, 123).expect(201);
    }
    let buy = |till: &Till, card: &Card| (0..4).for_each(|_| drop(till.redeem(&card.token, 77).expect(201)));
    std::thread::scope(|scope| {
        for (number, card) in cards.iter().enumerate() {
            let till = &town.tills[number % 2];
            scope.spawn(move || buy(till, card));
        }
    });
    process.stop();
    (town.world, cards.len() * 5)
}

/// Every 201 that a recording saw on its way out: the id it tells, and when it was sent.
fn answers(calls: &[Call]) -> Vec<(String, i64)> {
    let sent = calls.iter().filter(|call| call.data.starts_with(b"HTTP/1.1 201 ") && call.result > 0);
    sent.map(|call| {
        let start = call.data.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body: Value = serde_json::from_slice(&call.data[start..]).unwrap();
        let id = body["id"].as_str().or(body["person"]["id"].as_str());
        (id.unwrap_or_else(|| panic!("{body}")).to_owned(), call.begun)
    })
    .collect()
}

/// In SQLite's journal: the end of the first commit at or after the first page that holds the id.
fn sqlite_commit(calls: &[Call], id: &str) -> Option<(String, i64)> {
    const HEADER: usize = 24;
    let wanted = bytes(id);
    let pages = |call: &&Call| call.name == "pwrite64" && call.file.ends_with("-wal") && call.result > 0;
    let writes: Vec<&Call> = calls.iter().filter(pages).collect();
    let first = writes.iter().position(|call| call.data.windows(16).any(|window| window == wanted))?;
    // a frame is a header and a page; the header of the last one of a transaction tells the database's size
    let commits = |call: &Call| call.data.len() == HEADER && call.data[4..8] != [0; 4];
    let header = (first.saturating_sub(1)..writes.len()).find(|at| commits(writes[*at]))?;
    writes.get(header + 1).map(|page| (page.file.clone(), page.ended))
}

/// The 16 bytes behind an id of any kind.
fn bytes(id: &str) -> Vec<u8> {
    let symbols = id.split_once('_').unwrap().1;
    data_encoding::BASE32HEX_NOPAD.decode(symbols.to_uppercase().as_bytes()).unwrap()
}

/// The service's calls, the database's journal, and what each purchase claims.
fn on_postgresql(settings: &[&'static str]) -> (Vec<Call>, Vec<Call>, Vec<Claim>) {
    let (ours, theirs) = (directory().join("service"), directory().join("database"));
    let wrapper = strace::wrapper(&theirs);
    let mut cluster = Cluster::start_with(settings, &wrapper.iter().map(String::as_str).collect::<Vec<_>>());
    let mut process = Process::on(cluster.new_database());
    process.wrapper = strace::wrapper(&ours);
    let (world, count) = market(&mut process);
    let lines = Sql::of(&world).lines("SELECT xmin || ' ' || id AS line FROM redemptions");
    drop(world);
    cluster.stop("INT");
    let commits = commits(&cluster);
    let mut journal = strace::read(&theirs);
    journal.retain(|call| call.file.contains("/pg_wal/"));
    let calls = strace::read(&ours);
    let mut claims = Vec::new();
    for (id, sent) in answers(&calls).into_iter().filter(|(id, _)| id.starts_with("red_")) {
        let uuid = uuid::Uuid::from_slice(id.parse::<RedemptionId>().unwrap().as_bytes()).unwrap().to_string();
        let transaction: u32 = lines.iter().find_map(|line| line.strip_suffix(&uuid)).unwrap().trim().parse().unwrap();
        let commit = commits.iter().find(|commit| commit.transaction == transaction).expect("the journal has it");
        claims.push(Claim { id, sent, carried: commit.carried(&journal) });
    }
    assert_eq!(claims.len(), count);
    (calls, journal, claims)
}

/// A record of PostgreSQL's journal that ends a transaction.
struct Commit {
    transaction: u32,
    length: u32,
    /// In bytes from the journal's beginning.
    at: u64,
}

impl Commit {
    /// The end of the first write that has all of the record, seen by its header: length and transaction.
    fn carried(&self, journal: &[Call]) -> Option<(String, i64)> {
        const SEGMENT: u64 = 16 << 20;
        let name = format!("{:08X}{:08X}{:08X}", 1, self.at >> 32, (self.at & 0xffff_ffff) / SEGMENT);
        let start = self.at % SEGMENT;
        let header = [self.length.to_le_bytes(), self.transaction.to_le_bytes()].concat();
        fn from(call: &Call, place: u64) -> Option<&[u8]> {
            call.data.get(place.checked_sub(call.offset?)? as usize..)
        }
        let mut writes = journal.iter().filter(|call| call.name == "pwrite64" && call.file.ends_with(&name)).peekable();
        while let Some(call) = writes.peek() {
            if from(call, start).is_some_and(|bytes| bytes.starts_with(&header)) {
                break;
            }
            writes.next();
        }
        // a record may go on over the edge of a page, behind that page's own header
        let over = u64::from(self.at % 8192 + u64::from(self.length) > 8192) * 40;
        let last = start + u64::from(self.length) - 1 + over;
        writes
            .find(|call| from(call, last).is_some_and(|bytes| !bytes.is_empty()))
            .map(|call| (call.file.clone(), call.ended))
    }
}

/// All of them, as PostgreSQL's own reader of journals tells them.
fn commits(cluster: &Cluster) -> Vec<Commit> {
    let journal: PathBuf = cluster.directory.join("data/pg_wal");
    let mut command = program("pg_waldump");
    // it complains of the journal's end, where it is to stop
    let output = command.args(["--rmgr=Transaction", "--path"]).arg(journal).arg("000000010000000000000001").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let number = |line: &str, from: &str, to: char| -> Option<String> {
        Some(line.split_once(from)?.1.split(to).next()?.trim().to_owned())
    };
    let commit = |line: &str| {
        let (high, low) = number(line, "lsn: ", ',')?.split_once('/').map(|(h, l)| (h.to_owned(), l.to_owned()))?;
        Some(Commit {
            transaction: number(line, "tx:", ',')?.parse().ok()?,
            length: number(&number(line, "tot):", ',')?, "/", ',')?.parse().ok()?,
            at: (u64::from_str_radix(&high, 16).ok()? << 32) + u64::from_str_radix(&low, 16).ok()?,
        })
    };
    text.lines().filter(|line| line.contains("COMMIT")).filter_map(commit).collect()
}

#[test]
fn the_embedded_database_syncs_every_commit() {
    #[derive(QueryableByName)]
    struct Kept {
        #[diesel(sql_type = Integer)]
        synchronous: i32,
        #[diesel(sql_type = Text)]
        journal_mode: String,
        #[diesel(sql_type = Integer)]
        foreign_keys: i32,
    }
    let world = World::on_sqlite();
    let query = "SELECT synchronous, journal_mode, foreign_keys FROM pragma_synchronous, pragma_journal_mode, pragma_foreign_keys";
    let kept: Kept = world.state.db.read(|conn| Ok(diesel::sql_query(query).get_result(conn)?)).unwrap();
    const FULL: i32 = 2;
    assert_eq!((kept.synchronous, &*kept.journal_mode, kept.foreign_keys), (FULL, "wal", 1));
}

#[test]
fn a_postgresql_database_that_would_answer_first_is_told_to_sync_and_a_stronger_promise_stays() {
    #[derive(QueryableByName)]
    struct Kept {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let url = new_postgresql_database();
    let name = url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let name = url.split("@/").nth(1).map_or(name, |rest| rest.split('?').next().unwrap_or_default().to_owned());
    for (default, ours) in
        [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
    {
        let mut admin = PgConnection::establish(&url).unwrap();
        diesel::sql_query(format!("ALTER DATABASE {name} SET synchronous_commit = {default}"))
            .execute(&mut admin)
            .unwrap();
        let db = Db::open(
            &Settings { url: url.clone(), connections: 1, ..Settings::default() },
            std::sync::Arc::new(SystemClock),
        )
        .unwrap();
        let query = "SELECT current_setting('synchronous_commit') AS value";
        let kept: Kept = db.read(|conn| Ok(diesel::sql_query(query).get_result(conn)?)).unwrap();
        assert_eq!(kept.value, ours, "{default}");
    }
}
