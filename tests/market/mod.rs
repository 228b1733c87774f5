//! Market day: purchases that are written together are each decided as if they were alone, and nobody's fault is another's.

mod faults;
mod journal;
mod servers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use primeur::db::group;

use crate::concurrency::at_once;
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, join};
use crate::support::{Answer, Card, Town, World, cents, id, on_both_databases};

on_both_databases!(
    of_purchases_written_together_each_is_decided_as_if_it_were_alone,
    a_purchase_that_the_database_refuses_leaves_its_neighbours_their_answers,
    a_full_queue_answers_at_once_before_anything_is_written,
    what_its_client_gave_up_on_is_decided_once,
    each_purchase_in_a_transaction_of_its_own_is_decided_alike,
    two_cards_of_one_household_in_one_batch_spend_its_money_once,
    what_is_due_to_some_of_a_batch_is_written_before_they_spend_it,
    who_is_signed_out_while_they_wait_at_the_till_buys_nothing,
);

/// The advisory lock that writers share, as `db/pool.rs` has it.
const WRITERS: i64 = 0x7072_696d_6575_7201;

/// As long as this lives nobody writes: what comes to the till gathers there.
struct Closed(Sql);

impl Closed {
    fn over(town: &Town) -> Self {
        let mut sql = Sql::of(&town.world);
        match sql {
            Sql::Sqlite(_) => sql.run("BEGIN IMMEDIATE").unwrap(),
            Sql::Postgresql(_) => sql.run(&format!("SELECT pg_advisory_lock({WRITERS})")).unwrap(),
        }
        Closed(sql)
    }
}

impl Closed {
    /// Ends the sessions of a person, as if they had signed out meanwhile.
    fn sign_out(&mut self, person: &str) {
        let uuid = uuid_of(person);
        let ended = match self.0 {
            Sql::Sqlite(_) => format!(
                "UPDATE sessions SET ended_at = created_at WHERE person_id = unhex('{}'); COMMIT; BEGIN",
                uuid.replace('-', "")
            ),
            Sql::Postgresql(_) => format!("UPDATE sessions SET ended_at = created_at WHERE person_id = '{uuid}'"),
        };
        self.0.run(&ended).unwrap();
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        match self.0 {
            Sql::Sqlite(_) => self.0.run("ROLLBACK").unwrap(),
            Sql::Postgresql(_) => self.0.run(&format!("SELECT pg_advisory_unlock({WRITERS})")).unwrap(),
        }
    }
}

/// Waits until so many are in the till's hands.
fn wait_until_waiting(world: &World, many: usize) {
    let many = i64::try_from(many).unwrap();
    let in_time = (0..60_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        world.state.metrics.waiting_at_the_till() >= many
    });
    assert!(in_time, "{} wait at the till, and {many} should", world.state.metrics.waiting_at_the_till());
}

/// Sends all while nobody can write, each after the one before is in the queue, and tells their answers in this order.
fn together(town: &Town, requests: Vec<impl FnOnce() -> Answer + Send + 'static>) -> Vec<Answer> {
    let closed = Closed::over(town);
    let mut threads: Vec<JoinHandle<Answer>> = Vec::new();
    for request in requests {
        threads.push(spawn(request));
        wait_until_waiting(&town.world, threads.len());
    }
    drop(closed);
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

type Request = Box<dyn FnOnce() -> Answer + Send>;

fn buy(till: &Till, card: &Card, basket: i64) -> Request {
    keyed(till, card, basket, &new_key())
}

fn keyed(till: &Till, card: &Card, basket: i64, key: &str) -> Request {
    let (till, token, key) = (till.clone(), card.token.clone(), key.to_owned());
    Box::new(move || till.client.post_with_key("/api/v1/redemptions", &key, till.basket(&token, basket, false)))
}

/// So many cards with this period's money on them.
fn cards(town: &Town, many: usize) -> Vec<Card> {
    let cards = (0..many).map(|_| town.new_card()).collect();
    primeur::schedule::run(&town.world.state.db).unwrap();
    cards
}

fn covered(answers: &[Answer]) -> i64 {
    answers.iter().filter(|answer| answer.status == 201).map(|answer| cents(&answer.json()["covered"])).sum()
}

fn of_purchases_written_together_each_is_decided_as_if_it_were_alone(world: World) {
    let town = Town::new(world);
    // first, so that each till's token is known and what follows waits in the queue and nowhere else
    let cards = cards(&town, 8);
    let [one, other] = [&town.tills[0], &town.tills[1]];
    let (old_key, key) = (new_key(), new_key());
    let first = keyed(one, &cards[0], 111, &old_key)();
    other.redeem(&cards[0].token, 112).expect(201);
    let undone = id(&one.redeem(&cards[7].token, 700).expect(201));
    town.worker.act(&format!("/api/v1/vouchers/{}/block", cards[5].id)).expect(200);
    let closed_stall = Till { stall: town.open_stall(&one.client, "Halle"), ..one.clone() };
    one.client.act(&format!("/api/v1/stalls/{}/close", closed_stall.stall)).expect(200);

    let (till, undo) = (one.clone(), undone.clone());
    let requests: Vec<Request> = vec![
        buy(one, &cards[1], 1000),
        buy(other, &cards[2], 2001),
        keyed(one, &cards[0], 111, &old_key),
        buy(one, &cards[3], 6001),
        buy(other, &cards[5], 100),
        buy(&closed_stall, &cards[4], 100),
        keyed(other, &cards[4], 400, &key),
        keyed(other, &cards[4], 400, &key),
        keyed(other, &cards[4], 401, &key),
        buy(one, &cards[6], 5000),
        buy(other, &cards[6], 1000),
        buy(one, &cards[6], 1),
        Box::new(move || till.void(&undo)),
        // what was there before the void: which of the two comes first is not promised
        buy(other, &cards[7], 5300),
    ];
    let answers = together(&town, requests);
    let told = |n: usize| {
        let code = || answers[n].json()["code"].as_str().map(str::to_owned);
        (answers[n].status, if answers[n].status < 400 { None } else { code() })
    };
    let no = |status: u16, code: &str| (status, Some(code.to_owned()));
    let expected = [
        (201, None),
        (201, None),
        (201, None),
        no(409, "insufficient_balance"),
        no(409, "voucher_blocked"),
        no(409, "stall_closed"),
        (201, None),
        (201, None),
        no(409, "idempotency_conflict"),
        (201, None),
        (201, None),
        no(409, "insufficient_balance"),
        (200, None),
        (201, None),
    ];
    assert_eq!((0..answers.len()).map(told).collect::<Vec<_>>(), expected);
    assert_eq!((answers[2].header("idempotent-replay"), &answers[2].bytes), (Some("true"), &first.bytes));
    assert_eq!(answers[6].header("idempotent-replay"), None);
    assert_eq!((answers[7].header("idempotent-replay"), &answers[7].bytes), (Some("true"), &answers[6].bytes));
    let balances: Vec<i64> = cards.iter().map(|card| town.balance(&card.enrolment)).collect();
    assert_eq!(balances, [6000 - 223, 5000, 3999, 6000, 5600, 6000, 0, 700]);
    town.world.verify();
}

fn a_purchase_that_the_database_refuses_leaves_its_neighbours_their_answers(world: World) {
    let town = Town::new(world);
    let cards = cards(&town, 12);
    town.tills.iter().zip(&cards).for_each(|(till, card)| drop(till.redeem(&card.token, 1).expect(201)));
    let mut sql = Sql::of(&town.world);
    match sql {
        Sql::Sqlite(_) => sql.run(
            "CREATE TRIGGER planted BEFORE INSERT ON redemptions WHEN NEW.basket_cents = 1313
             BEGIN SELECT RAISE(ABORT, 'planted'); END",
        ),
        Sql::Postgresql(_) => sql.run("ALTER TABLE redemptions ADD CONSTRAINT planted CHECK (basket_cents <> 1313)"),
    }
    .unwrap();
    let baskets = (0..).map(|n| if n == 5 { 1313 } else { 200 + n });
    let requests =
        cards.iter().zip(baskets).enumerate().map(|(n, (card, basket))| buy(&town.tills[n % 2], card, basket));
    let answers = together(&town, requests.collect());
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, if n == 5 { 500 } else { 201 }, "{n}: {}", answer.json());
    }
    assert_eq!(answers[5].json()["code"], "internal");
    assert_eq!(town.balance(&cards[5].enrolment), 6000);
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), 2 + covered(&answers));
    sql.run(match sql {
        Sql::Sqlite(_) => "DROP TRIGGER planted",
        Sql::Postgresql(_) => "ALTER TABLE redemptions DROP CONSTRAINT planted",
    })
    .unwrap();
    town.world.verify();
}

fn a_full_queue_answers_at_once_before_anything_is_written(world: World) {
    let till = group::Settings { places: 4, writers: 1, batch: 1 };
    let town = Town::new(world.with_till(till));
    let cards = cards(&town, 6);
    town.tills[0].redeem(&cards[0].token, 1).expect(201);
    let closed = Closed::over(&town);
    let mut threads = Vec::new();
    // one in the writer's hand, and four places
    for card in &cards[..5] {
        let (till, card, key) = (town.tills[0].clone(), card.clone(), new_key());
        // the first may still stand in the queue when the last comes
        let until_taken = move || (0..).map(|_| keyed(&till, &card, 100, &key)()).find(|answer| answer.status != 503);
        threads.push(spawn(move || until_taken().unwrap()));
        wait_until_waiting(&town.world, threads.len());
    }
    let key = new_key();
    let refused = keyed(&town.tills[0], &cards[5], 100, &key)();
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "unavailable");
    // nothing of a request is looked at, and its connection is kept
    let mut socket = TcpStream::connect(town.world.socket()).unwrap();
    let head = "POST /api/v1/redemptions HTTP/1.1\r\nHost: till\r\nContent-Length: 3\r\n\r\n";
    for _ in 0..2 {
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(b"{{{").unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while !answer.ends_with(b"}") {
            let count = socket.read(&mut part).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..count]);
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 503") && !answer.contains("connection: close"), "{answer}");
    }
    drop(closed);
    let answers: Vec<Answer> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!((answers.len(), covered(&answers)), (5, 500));
    let again = keyed(&town.tills[0], &cards[5], 100, &key)();
    assert_eq!((again.status, again.header("idempotent-replay")), (201, None), "it had been written");
    town.world.verify();
}

fn what_its_client_gave_up_on_is_decided_once(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    till.redeem(&card.token, 1).expect(201);
    let (key, basket) = (new_key(), till.basket(&card.token, 250, false));
    let closed = Closed::over(&town);
    let mut socket = TcpStream::connect(town.world.socket()).unwrap();
    let (body, token) = (basket.to_string(), till.client.token.as_ref().unwrap());
    let length = body.len();
    let head = format!(
        "POST /api/v1/redemptions HTTP/1.1\r\nHost: till\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
    wait_until_waiting(&town.world, 1);
    drop(socket);
    let retry = spawn(keyed(till, &card, 250, &key));
    let other = spawn(buy(&town.tills[1], &card, 300));
    drop(closed);
    let (retry, other) = (retry.join().unwrap(), other.join().unwrap());
    assert_eq!((retry.status, other.status), (201, 201));
    assert_eq!(retry.header("idempotent-replay"), Some("true"));
    assert_eq!(town.balance(&card.enrolment), 6000 - 1 - 250 - 300);
    town.world.verify();
}

fn each_purchase_in_a_transaction_of_its_own_is_decided_alike(world: World) {
    let town = Town::new(world.with_till(group::Settings { places: 0, ..group::Settings::default() }));
    let (card, till) = (town.new_card(), town.tills[0].clone());
    let (key, token) = (new_key(), card.token.clone());
    let answers = at_once((0..40).collect(), move |n: i64| match n % 4 {
        0 => till.client.post_with_key("/api/v1/redemptions", &key, till.basket(&token, 77, false)),
        _ => till.redeem_in_part(&token, 300 + n),
    });
    let replays = answers.iter().filter(|answer| answer.header("idempotent-replay").is_some());
    assert_eq!(replays.count(), 9);
    let bought: i64 = covered(&answers) - 9 * 77;
    assert_eq!(town.balance(&card.enrolment), 6000 - bought);
    let sold = town.tills[0].client.get("/api/v1/redemptions").expect(200)["items"][0].clone();
    town.tills[0].void(&id(&sold)).expect(200);
    assert_eq!(town.balance(&card.enrolment), 6000 - bought + cents(&sold["covered"]));
    town.world.verify();
}

fn two_cards_of_one_household_in_one_batch_spend_its_money_once(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let card = town.new_card();
    town.tills.iter().for_each(|till| drop(till.redeem(&card.token, 1).expect(201)));
    let made = town.worker.post_once(
        &format!("/api/v1/enrolments/{}/denominations", card.enrolment),
        serde_json::json!({"values": ["10.00", "10.00"]}),
    );
    let vouchers: Vec<Card> =
        made.expect(201)["items"].as_array().unwrap().iter().map(crate::support::town::card).collect();
    let requests = vec![
        buy(&town.tills[0], &card, 3000),
        buy(&town.tills[1], &vouchers[0], 1000),
        buy(&town.tills[0], &card, 999),
        buy(&town.tills[1], &vouchers[1], 1000),
        buy(&town.tills[1], &card, 2),
    ];
    let answers = together(&town, requests);
    let told: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(told, [201, 201, 409, 201, 201]);
    // 60.00 - 2 × 10.00 - 2 × 0.01 - 30.00 - 0.02: of the rest 9.99 was too much
    assert_eq!(town.balance(&card.enrolment), 996);
    town.world.verify();
}

fn what_is_due_to_some_of_a_batch_is_written_before_they_spend_it(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let late = cards(&town, 3);
    // set aside, and its two days are over
    let held: Vec<i64> = vec![6000, 2500, 4000];
    late.iter().zip(&held).for_each(|(card, held)| drop(town.tills[0].hold(&card.token, *held).expect(201)));
    town.world.set_clock("2026-07-04T09:00:00Z");
    // and some have not been issued anything yet
    let fresh: Vec<Card> = (0..3).map(|_| town.new_card()).collect();
    let warm = town.new_card();
    town.tills.iter().for_each(|till| drop(till.redeem(&warm.token, 1).expect(201)));
    let all: Vec<&Card> = late.iter().chain(&fresh).collect();
    let requests = all.iter().enumerate().map(|(n, card)| buy(&town.tills[n % 2], card, 5900)).collect();
    let answers = together(&town, requests);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201; 6]);
    let left: Vec<i64> = all.iter().map(|card| town.balance(&card.enrolment)).collect();
    assert_eq!(left, [100; 6]);
    town.world.verify();
}

fn who_is_signed_out_while_they_wait_at_the_till_buys_nothing(world: World) {
    let town = Town::new(world);
    let cards = cards(&town, 3);
    let colleague = join(&town.world, &town.tills[0].client, &town.tills[0].producer, false);
    let theirs = Till { client: colleague, ..town.tills[0].clone() };
    for till in [&theirs, &town.tills[0]] {
        till.redeem(&cards[0].token, 1).expect(201);
    }
    let mut closed = Closed::over(&town);
    let first = spawn(buy(&town.tills[1], &cards[1], 100));
    wait_until_waiting(&town.world, 1);
    let second = spawn(buy(&theirs, &cards[1], 200));
    wait_until_waiting(&town.world, 2);
    let third = spawn(buy(&town.tills[0], &cards[2], 300));
    wait_until_waiting(&town.world, 3);
    let id = theirs.client.get("/api/v1/access/me").expect(200)["id"].as_str().unwrap().to_owned();
    closed.sign_out(&id);
    drop(closed);
    let told = [first, second, third].map(|request| request.join().unwrap().status);
    assert_eq!(told, [201, 401, 201]);
    assert_eq!(cards.iter().map(|card| town.balance(&card.enrolment)).collect::<Vec<_>>(), [5998, 5900, 5700]);
    town.world.verify();
}

#[test]
fn who_is_signed_out_while_their_batch_waits_for_another_buys_nothing() {
    let town = Town::new(World::on_postgresql());
    let cards = cards(&town, 2);
    let me = id(&town.tills[0].client.get("/api/v1/access/me").expect(200));
    town.tills[0].redeem(&cards[0].token, 1).expect(201);
    let (mut other, mut sql) = (Sql::of(&town.world), Sql::of(&town.world));
    other.run("BEGIN; SELECT FROM accounts WHERE kind = 'payable' FOR UPDATE").unwrap();
    let waiting = spawn(buy(&town.tills[0], &cards[1], 100));
    let in_time = (0..60_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        let waits = "datname = current_database() AND wait_event_type = 'Lock'";
        sql.number(&format!("SELECT count(*) FROM pg_stat_activity WHERE {waits}")) == 1
    });
    assert!(in_time, "nobody waits for the account");
    sql.run(&format!("UPDATE sessions SET ended_at = created_at WHERE person_id = '{}'", uuid_of(&me))).unwrap();
    // longer than a session is taken to stand
    std::thread::sleep(Duration::from_millis(150));
    other.run("ROLLBACK").unwrap();
    waiting.join().unwrap().refused(401, "unauthenticated");
    assert_eq!(town.balance(&cards[1].enrolment), 6000);
    town.world.verify();
}

#[test]
fn a_batch_is_one_transaction() {
    let town = Town::new(World::on_postgresql());
    let cards = cards(&town, 20);
    town.tills.iter().for_each(|till| drop(till.redeem(&cards[0].token, 1).expect(201)));
    let requests = cards.iter().enumerate().map(|(n, card)| buy(&town.tills[n % 2], card, 100)).collect();
    assert_eq!(covered(&together(&town, requests)), 2000);
    let transactions = Sql::of(&town.world).number("SELECT count(DISTINCT xmin::text) FROM redemptions");
    // the two of before, at most one in each writer's hand, and all that gathered meanwhile
    assert!((3..=5).contains(&transactions), "{transactions}");
}

/// The id as PostgreSQL writes it.
fn uuid_of(id: &str) -> String {
    let (_, code) = id.split_once('_').unwrap();
    let bytes = data_encoding::BASE32HEX_NOPAD.decode(code.to_ascii_uppercase().as_bytes()).unwrap();
    uuid::Uuid::from_slice(&bytes).unwrap().to_string()
}
