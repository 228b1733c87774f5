//! Market day: purchases that are written together are each decided as if they were alone, and nobody's fault is another's.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use primeur::db::group;
use serde_json::Value;

use crate::concurrency::at_once;
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, join};
use crate::support::{Answer, Card, Client, Town, World, cents, id, on_both_databases};

on_both_databases!(
    of_purchases_written_together_each_is_decided_as_if_it_were_alone,
    a_purchase_that_the_database_refuses_leaves_its_neighbours_their_answers,
    a_full_queue_answers_at_once_before_anything_is_written,
    what_its_client_gave_up_on_is_decided_once,
    each_purchase_in_a_transaction_of_its_own_is_decided_alike,
    two_cards_of_one_household_in_one_batch_spend_its_money_once,
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
        buy(other, &cards[7], 6000),
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
    assert_eq!(balances, [6000 - 223, 5000, 3999, 6000, 5600, 6000, 0, 0]);
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
    let till = group::Settings { places: 4, writers: 1, batch: 3 };
    let town = Town::new(world.with_till(till));
    let cards = cards(&town, 6);
    town.tills[0].redeem(&cards[0].token, 1).expect(201);
    let closed = Closed::over(&town);
    let mut threads = Vec::new();
    // one in the writer's hand, and four places
    for card in &cards[..5] {
        threads.push(spawn(buy(&town.tills[0], card, 100)));
        wait_until_waiting(&town.world, threads.len());
    }
    let key = new_key();
    let refused = keyed(&town.tills[0], &cards[5], 100, &key)();
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "unavailable");
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

/// Two servers on one PostgreSQL, each with its own queue and writers.
fn at_two_servers(setup: Setup) -> (Arc<Town>, Vec<Till>) {
    let town = Town::with(World::on_postgresql(), setup);
    let mut tills = town.tills.clone();
    for till in &town.tills {
        tills.push(Till { stall: town.open_stall(&till.client, "Ferme"), ..till.clone() });
    }
    let beside = town.world.at_another_server();
    let there = |till: &Till| Till { client: beside.with_token(till.client.token.as_ref().unwrap()), ..till.clone() };
    let mut all: Vec<Till> = tills.iter().map(there).collect();
    all.extend(tills);
    (Arc::new(town), all)
}

#[test]
fn three_hundred_requests_on_one_card_at_two_servers_spend_it_to_the_cent() {
    let (town, tills) = at_two_servers(Setup::default());
    let cards = [town.new_card(), town.new_card()];
    // every purchase is sent three times over, with one key, wherever; of the second card each is undone as soon as it is known
    let keys: Vec<String> = (0..100).map(|_| new_key()).collect();
    let jobs: Vec<(usize, Till, Card, String)> = (0..300)
        .map(|n| {
            let purchase = n % 100;
            // one key is one request: the same stall, at whichever server
            let (stall, server) = (purchase % 4, n / 100 % 2);
            (n, tills[stall + 4 * server].clone(), cards[purchase % 2].clone(), keys[purchase].clone())
        })
        .collect();
    let answers = at_once(jobs, |(n, till, card, key)| {
        let basket = till.basket(&card.token, 101 + i64::try_from(n % 100).unwrap(), false);
        let answer = till.client.post_with_key("/api/v1/redemptions", &key, basket);
        if n % 2 == 1 && answer.status == 201 {
            till.void(&id(&answer.json())).expect(200);
        }
        answer
    });
    let mut spent = 0;
    for (purchase, key) in keys.iter().enumerate() {
        let told: Vec<&Answer> = (0..3).map(|n| &answers[purchase + 100 * n]).collect();
        let sold: Vec<&&Answer> = told.iter().filter(|answer| answer.status == 201).collect();
        for refused in told.iter().filter(|answer| answer.status != 201) {
            assert_eq!(refused.json()["code"], "insufficient_balance", "{key}");
        }
        // a refusal leaves the key free: a later try of it may be let through, and then all that follow are repeats
        assert!(sold.windows(2).all(|pair| pair[0].bytes == pair[1].bytes), "two answers of {key}");
        let first = sold.iter().filter(|answer| answer.header("idempotent-replay").is_none());
        assert_eq!(first.count(), usize::from(!sold.is_empty()));
        if purchase % 2 == 0 {
            spent += sold.first().map_or(0, |answer| cents(&answer.json()["covered"]));
        }
    }
    assert!(spent > 5500, "{spent}");
    assert_eq!(town.balance(&cards[0].enrolment), 6000 - spent);
    assert_eq!(town.balance(&cards[1].enrolment), 6000);
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), spent);
    town.world.verify();
}

#[test]
fn who_has_logged_out_at_one_server_is_refused_by_the_other_at_once_though_it_remembers_the_token() {
    let (town, tills) = at_two_servers(Setup::default());
    let card = town.new_card();
    for _ in 0..5 {
        let colleague: Client = join(&town.world, &tills[4].client, &tills[4].producer, false);
        let beside = tills[0].client.with_token(colleague.token.as_ref().unwrap());
        let here = Till { client: colleague.clone(), ..tills[0].clone() };
        let there = Till { client: beside, ..tills[0].clone() };
        let sold: Value = there.redeem(&card.token, 100).expect(201);
        here.client.act("/api/v1/access/logout").expect(204);
        there.redeem(&card.token, 100).refused(401, "unauthenticated");
        there.void(&id(&sold)).refused(401, "unauthenticated");
        tills[0].void(&id(&sold)).expect(200);
    }
    town.world.verify();
}

/// A batch of a dozen purchases on PostgreSQL whose inserts do something else the first times.
fn batch_with_a_fault(fault: &str) -> (Town, Vec<Card>, Vec<String>, Vec<Answer>) {
    let town = Town::new(World::on_postgresql());
    let cards = cards(&town, 12);
    town.tills.iter().zip(&cards).for_each(|(till, card)| drop(till.redeem(&card.token, 1).expect(201)));
    let mut sql = Sql::of(&town.world);
    sql.run(&format!(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.basket_cents = 205 AND nextval('tries') <= 2 THEN {fault}; END IF; RETURN NEW;
         END $$;
         CREATE TRIGGER planted BEFORE INSERT ON redemptions FOR EACH ROW EXECUTE FUNCTION plant();"
    ))
    .unwrap();
    let keys: Vec<String> = cards.iter().map(|_| new_key()).collect();
    let requests = cards.iter().zip(&keys).enumerate();
    let requests =
        requests.map(|(n, (card, key))| keyed(&town.tills[n % 2], card, 200 + i64::try_from(n).unwrap(), key));
    let answers = together(&town, requests.collect());
    (town, cards, keys, answers)
}

#[test]
fn a_batch_that_cannot_be_serialised_is_done_again_and_nobody_notices() {
    let fault = "RAISE EXCEPTION 'planted' USING ERRCODE = 'serialization_failure'";
    let (town, _, _, answers) = batch_with_a_fault(fault);
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.header("idempotent-replay").is_none()));
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), 2 + covered(&answers));
    town.world.verify();
}

#[test]
fn a_batch_whose_connection_is_lost_is_answered_503_and_tried_again_is_right() {
    let (town, cards, keys, answers) = batch_with_a_fault("PERFORM pg_terminate_backend(pg_backend_pid())");
    assert!(answers.iter().any(|answer| answer.status == 503), "nobody lost the connection");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.header("retry-after"), Some("1"));
        answer.clone().refused(503, "unavailable");
    }
    let mut sold = 0;
    for (n, (card, key)) in cards.iter().zip(&keys).enumerate() {
        let send = || keyed(&town.tills[n % 2], card, 200 + i64::try_from(n).unwrap(), key)();
        let again = (0..3).map(|_| send()).find(|answer| answer.status != 503).unwrap();
        if answers[n].status == 201 {
            assert_eq!((again.header("idempotent-replay"), &again.bytes), (Some("true"), &answers[n].bytes));
        }
        sold += cents(&again.expect(201)["covered"]);
    }
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), 2 + sold);
    town.world.verify();
}
