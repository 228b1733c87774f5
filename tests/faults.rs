//! The database gone, full, held or read-only, and a clock set back: clear answers, no half-work, recovery by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Stopwatch};

use primeur::db::{Db, Settings};
use primeur::kit::error::Error;
use primeur::kit::time::{Clock, Instant, ManualClock, SystemClock};
use serde_json::Value;

use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till};
use crate::support::world::new_postgresql_database;
use crate::support::{Answer, Card, Cluster, Process, Town, World, cents, id, on_both_databases};

on_both_databases!(
    a_clock_that_goes_back_an_hour_stops_nobody_and_reopens_no_month,
    a_clock_that_is_hours_behind_writes_nothing_until_it_is_set_right,
);

/// A database whose server has a clock of its own.
fn another_server(world: &World, clock: &str) -> Db {
    let settings = Settings { url: world.database_url.clone(), ..Settings::default() };
    Db::open(&settings, Arc::new(ManualClock::at(clock.parse().unwrap()))).unwrap()
}

fn a_clock_that_goes_back_an_hour_stops_nobody_and_reopens_no_month(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    town.world.set_clock("2026-07-31T21:30:00Z");
    till.redeem(&card.token, 100).expect(201);
    // half an hour into August, and July's report is final
    town.world.advance_to("2026-07-31T22:30:00Z");
    let august = id(&till.redeem(&card.token, 200).expect(201));
    let july = town.report(0, "2026-07");
    assert_eq!((&july["status"], &july["control"]["lines"]), (&"final".into(), &1.into()));

    town.world.set_clock("2026-07-31T21:30:00Z");
    let late = id(&till.redeem(&card.token, 300).expect(201));
    till.void(&late).expect(200);
    till.void(&august).expect(200);
    till.redeem(&card.token, 400).expect(201);
    till.check(&card.token);
    crate::support::town::log_in(&town.world, "admin@primeur.example");
    town.new_card();
    primeur::schedule::run(&town.world.state.db).unwrap();
    assert_eq!(town.report(0, "2026-07")["control"]["sha256"], july["control"]["sha256"]);
    let mut sql = Sql::of(&town.world);
    let before =
        "SELECT count(*) FROM transfers t JOIN transfers r ON t.reverses = r.id AND t.recorded_at < r.recorded_at";
    assert_eq!(sql.number(before), 0, "undone before it was done");

    // a server that is started with such a clock, and has written nothing itself
    let late = another_server(&town.world, "2026-07-31T21:30:00Z");
    let reached: Instant = "2026-07-31T22:30:00Z".parse().unwrap();
    assert_eq!(late.write(|_, now| Ok(now)), Ok(reached));
    assert_eq!(late.now(), reached);

    town.world.set_clock("2026-07-31T22:40:00Z");
    let bought = till.redeem(&card.token, 500).expect(201);
    assert_eq!(bought["at"], "2026-07-31T22:40:00Z");
    assert_eq!(town.balance(&card.enrolment), 2 * 6000 - 100 - 400 - 500 - (6000 - 100));
    town.world.verify();
}

fn a_clock_that_is_hours_behind_writes_nothing_until_it_is_set_right(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    primeur::schedule::run(&town.world.state.db).unwrap();
    town.world.set_clock("2026-07-31T22:00:01Z");
    // nothing but a report has happened in August, and that is enough
    assert_eq!(town.report(0, "2026-07")["status"], "final");
    let late = another_server(&town.world, "2026-07-31T21:59:59Z");
    assert_eq!(late.write(|_, now| Ok(now)), Ok(town.world.now()));

    town.world.set_clock("2026-07-31T18:59:00Z");
    let (key, basket) = (new_key(), till.basket(&card.token, 100, false));
    let counts = Sql::of(&town.world).counts();
    assert_unavailable(&till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()));
    assert_eq!(Sql::of(&town.world).counts(), counts);
    assert_eq!(town.balance(&card.enrolment), 6000);
    town.world.set_clock("2026-07-31T22:00:02Z");
    till.client.post_with_key("/api/v1/redemptions", &key, basket).expect(201);
    town.world.verify();
}

/// The system's clock, wrong by so many seconds.
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Instant {
        SystemClock.now().plus_seconds(self.0)
    }

    fn is_real(&self) -> bool {
        true
    }
}

#[test]
fn a_clock_that_runs_far_ahead_of_its_databases_stops_its_own_server_and_no_other() {
    let town = Town::with(World::since(&SystemClock.now().to_string()), Setup::of_this_year());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let settings = Settings { url: town.world.database_url.clone(), ..Settings::default() };
    let ahead = |seconds| Db::open(&settings, Arc::new(Wrong(seconds))).unwrap();
    let said = |outcome: Result<(), Error>| match outcome {
        Err(Error::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    };
    let counts = Sql::of(&town.world).counts();
    let a_day = ahead(86_400);
    let settled = a_day.turn_to_report().and_then(|turn| a_day.read_settled(&turn, |_, _| Ok(())));
    for outcome in [a_day.keep_time(), a_day.write(|_, _| Ok(())), settled] {
        let why = said(outcome);
        assert!(why.contains("ahead of the database server's: set the wrong one right"), "{why}");
    }
    let at_a_server_by = |clock: Arc<dyn Clock>| {
        let there = town.world.at_a_server_by(clock);
        Till { client: there.with_token(till.client.token.as_deref().unwrap()), ..till.clone() }
    };
    assert_unavailable(&at_a_server_by(Arc::new(Wrong(86_400))).redeem(&card.token, 100));
    assert_eq!(Sql::of(&town.world).counts(), counts);

    // some minutes are nobody's fault, and not an hour more
    ahead(55 * 60).keep_time().unwrap();
    said(ahead(65 * 60).keep_time());
    // by the right clock all goes on
    at_a_server_by(Arc::new(SystemClock)).redeem(&card.token, 100).expect(201);
    let own = Db::open(&settings, Arc::new(SystemClock)).unwrap();
    let reached = own.write(|_, now| Ok(now)).unwrap();
    assert!(reached < SystemClock.now().plus_minutes(56), "{reached}");
    town.world.verify();
}

/// There is no other clock to tell it from a service that was off for a day.
#[test]
fn on_sqlite_a_clock_may_jump_ahead() {
    let world = World::on_sqlite();
    let settings = Settings { url: world.database_url.clone(), ..Settings::default() };
    Db::open(&settings, Arc::new(SystemClock)).unwrap().keep_time().unwrap();
    Db::open(&settings, Arc::new(Wrong(86_400))).unwrap().keep_time().unwrap();
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.clone().refused(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

struct Sent {
    key: String,
    basket: Value,
    answer: Answer,
}

/// Four buyers buy until `fault` is over. Each is answered, and with 201 or a clear 503.
fn market_during(town: &Town, cards: &[Card], fault: impl FnOnce(&AtomicUsize)) -> Vec<Sent> {
    let (sold, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let buy = &|card: &Card, till: &Till| {
        let mut sent = Vec::new();
        while !over.load(Ordering::SeqCst) {
            let (key, basket) = (new_key(), till.basket(&card.token, 3, false));
            let answer = till.client.post_with_key("/api/v1/redemptions", &key, basket.clone());
            match answer.status {
                201 => drop(sold.fetch_add(1, Ordering::SeqCst)),
                _ => assert_unavailable(&answer),
            }
            sent.push(Sent { key, basket, answer });
        }
        sent
    };
    std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..4)
            .map(|buyer: usize| scope.spawn(move || buy(&cards[buyer % cards.len()], &town.tills[buyer % 2])))
            .collect();
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fault(&sold)));
        over.store(true, Ordering::SeqCst);
        let sent = buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect();
        finished.unwrap();
        sent
    })
}

fn wait_for_sales(sold: &AtomicUsize, more: usize) {
    let enough = sold.load(Ordering::SeqCst) + more;
    let in_time = (0..60_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        sold.load(Ordering::SeqCst) >= enough
    });
    assert!(in_time, "nothing is sold any more");
}

/// Sends every key again: each is one purchase, and the first answer stands. Then every cent is where it belongs.
fn assert_exact(town: &Town, cards: &[Card], sent: Vec<Sent>) {
    let mut covered = 0;
    for Sent { key, basket, answer } in sent {
        let till = town.tills.iter().find(|till| basket["stall_id"] == till.stall.as_str()).unwrap();
        let again = till.client.post_with_key("/api/v1/redemptions", &key, basket);
        if answer.status == 201 {
            assert_eq!((again.header("idempotent-replay"), &again.bytes), (Some("true"), &answer.bytes));
        }
        covered += cents(&again.expect(201)["covered"]);
    }
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), covered);
    let left: i64 = cards.iter().map(|card| town.balance(&card.enrolment)).sum();
    assert_eq!(left, 6000 * i64::try_from(cards.len()).unwrap() - covered);
    town.world.verify();
}

/// Ends every connection of a database but the one that asks.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[test]
fn connections_that_are_cut_in_mid_load_are_answered_503_and_replaced() {
    let town = Town::new(World::on_postgresql());
    let cards: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    let mut sql = Sql::of(&town.world);
    let named =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'primeur'";
    assert!(sql.number(named) > 0);
    let sent = market_during(&town, &cards, |sold| {
        for _ in 0..40 {
            wait_for_sales(sold, 5);
            sql.run(CUT).unwrap();
        }
        wait_for_sales(sold, 5);
    });
    assert!(sent.iter().any(|sent| sent.answer.status == 503), "no connection was cut in its work");
    assert_exact(&town, &cards, sent);
}

/// What becomes of a COMMIT that is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// It never arrives.
    Before,
    /// It is done, and its answer never arrives.
    After,
}

/// What is to be cut, after so many other COMMITs.
pub type Order = Arc<Mutex<Option<(usize, Cut)>>>;

fn cut_now(order: &Order) -> Option<Cut> {
    let mut order = order.lock().unwrap();
    let (left, cut) = (*order)?;
    *order = left.checked_sub(1).map(|left| (left, cut));
    order.is_none().then_some(cut)
}

/// A new database behind a proxy, which cuts a connection at its COMMIT when it is told to.
pub fn behind_a_proxy() -> (String, Order) {
    let direct = new_postgresql_database();
    let (head, socket) = direct.split_once("host=").unwrap();
    let (port, order) = proxy(PathBuf::from(socket).join(".s.PGSQL.5432"));
    (format!("{head}host=127.0.0.1&port={port}"), order)
}

fn proxy(socket: PathBuf) -> (u16, Order) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, order) = (listener.local_addr().unwrap().port(), Order::default());
    let orders = order.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, orders) = (client.unwrap(), orders.clone());
            let mut server = UnixStream::connect(&socket).unwrap();
            let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let deaf = Arc::new(AtomicBool::new(false));
            let lost = deaf.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(read @ 1..) = answers.read(&mut buffer) {
                    // what comes first after the COMMIT is its answer: it is done
                    if lost.load(Ordering::SeqCst) || back.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = back.shutdown(Shutdown::Both);
                let _ = answers.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    let commits = buffer[..read].windows(7).any(|window| window == b"COMMIT\0");
                    match if commits { cut_now(&orders) } else { None } {
                        Some(Cut::Before) => break,
                        Some(Cut::After) => deaf.store(true, Ordering::SeqCst),
                        None => {}
                    }
                    if server.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Both);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    (port, order)
}

#[test]
fn a_commit_whose_answer_is_lost_is_a_503_and_the_retry_learns_the_truth() {
    let (url, order) = behind_a_proxy();
    let town = Town::new(World::on(url, Duration::from_secs(5)));
    let (card, till) = (town.new_card(), &town.tills[0]);
    for round in 0..10 {
        let cut = if round % 2 == 0 { Cut::Before } else { Cut::After };
        let (key, basket) = (new_key(), till.basket(&card.token, 100, false));
        *order.lock().unwrap() = Some((0, cut));
        assert_unavailable(&till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()));
        assert_eq!(*order.lock().unwrap(), None, "no COMMIT passed");
        let again = till.client.post_with_key("/api/v1/redemptions", &key, basket);
        assert_eq!(again.header("idempotent-replay").is_some(), cut == Cut::After, "{cut:?}");
        again.expect(201);
        assert_eq!(town.balance(&card.enrolment), 6000 - 100 * (round + 1));
    }
    town.world.verify();
}

#[test]
fn a_database_that_turns_read_only_is_read_on_and_writes_again_by_itself() {
    let town = Town::new(World::on_postgresql());
    let cards: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    let mut sql = Sql::of(&town.world);
    let name = sql.lines("SELECT current_database()::text AS line").remove(0);
    let sent = market_during(&town, &cards, |sold| {
        wait_for_sales(sold, 10);
        // what a server is that a failover has demoted; the setting is for new connections
        sql.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).unwrap();
        sql.run(CUT).unwrap();
        let till = &town.tills[0];
        let refused = |_| {
            // one that began before may still be under way
            let answer = till.redeem(&cards[0].token, 3);
            (answer.status != 201).then(|| assert_unavailable(&answer)).is_some()
        };
        assert!((0..20).any(refused));
        assert!(town.balance(&cards[0].enrolment) > 0, "it can be read");
        town.tills[1].check(&cards[0].token);
        sql.run(&format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only; COMMIT"))
            .unwrap();
        wait_for_sales(sold, 10);
    });
    let probes: i64 = cents(&town.budget()["total"]["redeemed"]);
    assert!(probes > 0 && sent.iter().any(|sent| sent.answer.status == 503));
    for Sent { key, basket, answer } in sent.into_iter().filter(|sent| sent.answer.status == 201) {
        let till = town.tills.iter().find(|till| basket["stall_id"] == till.stall.as_str()).unwrap();
        assert_eq!(till.client.post_with_key("/api/v1/redemptions", &key, basket).bytes, answer.bytes);
    }
    let left: i64 = cards.iter().map(|card| town.balance(&card.enrolment)).sum();
    assert_eq!(left, 3 * 6000 - cents(&town.budget()["total"]["redeemed"]));
    town.world.verify();
}

#[test]
fn a_database_server_that_stops_and_comes_back_loses_nothing_and_needs_no_restart_of_ours() {
    let mut cluster = Cluster::start();
    cluster.sql("CREATE DATABASE primeur");
    let town = Town::new(World::on(cluster.url("primeur"), Duration::from_secs(1)));
    let cards: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    let anybody = town.world.anybody();
    let sent = market_during(&town, &cards, |sold| {
        // shut down, then crashed
        for signal in ["INT", "QUIT"] {
            wait_for_sales(sold, 20);
            cluster.stop(signal);
            let asked = Stopwatch::now();
            assert_unavailable(&anybody.get("/health/ready"));
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            anybody.get("/health/live").expect(200);
            assert_unavailable(&town.worker.get("/api/v1/enrolments"));
            cluster.run();
            wait_for_sales(sold, 20);
        }
    });
    anybody.get("/health/ready").expect(200);
    assert!(sent.iter().any(|sent| sent.answer.status == 503));
    assert_exact(&town, &cards, sent);
}

#[test]
fn a_card_that_is_held_up_is_answered_in_time_and_holds_up_no_other() {
    let town = Town::new(World::on_postgresql().impatient());
    let (held, other) = (town.new_card(), town.new_card());
    for card in [&held, &other] {
        town.tills[0].redeem(&card.token, 100).expect(201);
    }
    let mut sql = Sql::of(&town.world);
    sql.run("BEGIN").unwrap();
    let purse = "SELECT id::text AS line FROM allowances
        WHERE enrolment_id = (SELECT enrolment_id FROM redemptions ORDER BY id LIMIT 1) FOR UPDATE";
    assert!(!sql.lines(purse).is_empty());
    // more at once than there are connections
    std::thread::scope(|scope| {
        let taps: Vec<_> = (0..12).map(|_| scope.spawn(|| town.tills[1].redeem(&held.token, 100))).collect();
        let sold = (0..20).any(|_| town.tills[0].redeem(&other.token, 100).status == 201);
        assert!(sold, "one card stopped the market");
        let asked = Stopwatch::now();
        for tap in taps {
            assert_unavailable(&tap.join().unwrap());
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    });
    sql.run("ROLLBACK").unwrap();
    town.tills[1].redeem(&held.token, 100).expect(201);
    town.world.verify();
}

#[test]
fn a_file_that_another_process_holds_is_answered_in_time_and_read_on() {
    let town = Town::new(World::on_sqlite().impatient());
    let card = town.new_card();
    primeur::schedule::run(&town.world.state.db).unwrap();
    let mut sql = Sql::of(&town.world);
    sql.run("BEGIN EXCLUSIVE").unwrap();
    let asked = Stopwatch::now();
    std::thread::scope(|scope| {
        let taps: Vec<_> = (0..8).map(|_| scope.spawn(|| town.tills[0].redeem(&card.token, 100))).collect();
        assert_eq!(town.balance(&card.enrolment), 6000);
        for tap in taps {
            assert_unavailable(&tap.join().unwrap());
        }
    });
    assert!(asked.elapsed() < Duration::from_secs(10), "they waited one after the other: {:?}", asked.elapsed());
    sql.run("COMMIT").unwrap();
    town.tills[0].redeem(&card.token, 100).expect(201);
    town.world.verify();
}

#[test]
fn a_file_that_could_only_be_opened_for_reading_is_opened_anew() {
    let town = Town::with(World::on_sqlite(), Setup::setting_aside());
    let card = town.new_card();
    primeur::schedule::run(&town.world.state.db).unwrap();
    // every connection that the pool may have; the till's are its own
    let all = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let read_only = |conn: &mut _| {
                    all.wait();
                    Ok(diesel::RunQueryDsl::execute(diesel::sql_query("PRAGMA query_only = ON"), conn).map(drop)?)
                };
                town.world.state.db.read(read_only).unwrap();
            });
        }
    });
    let answers: Vec<Answer> = (0..12).map(|_| town.tills[0].hold(&card.token, 100)).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 201).collect();
    refused.iter().for_each(|answer| assert_unavailable(answer));
    assert!((1..=8).contains(&refused.len()), "{}", refused.len());
    assert_eq!(town.balance(&card.enrolment), 6000 - 100 * i64::try_from(12 - refused.len()).unwrap());
    town.world.verify();
}

/// No room for a further byte.
#[test]
fn a_full_disk_is_answered_503_and_read_on_and_written_again_when_there_is_room() {
    let mut process = Process::on_sqlite();
    process.before = Process::OUTLIVES_LIMITS;
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let cards: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    let sent = market_during(&town, &cards, |sold| {
        for _ in 0..3 {
            wait_for_sales(sold, 10);
            process.limit_files("4096");
            let basket = town.tills[0].basket(&cards[0].token, 3, false);
            assert_unavailable(&town.tills[0].client.post_with_key("/api/v1/redemptions", &new_key(), basket));
            assert!(town.balance(&cards[0].enrolment) > 0);
            town.world.anybody().get("/health/ready").expect(200);
            process.limit_files("unlimited");
            wait_for_sales(sold, 10);
        }
    });
    assert!(sent.iter().any(|sent| sent.answer.status == 503));
    assert_exact(&town, &cards, sent);
}
