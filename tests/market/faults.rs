//! What goes wrong inside a batch.

use std::thread::spawn;
use std::time::Duration;

use primeur::db::group;

use super::{Closed, Request, buy, cards, covered, keyed, together, uuid_of, wait_until_waiting};
use crate::concurrency::at_once;
use crate::faults::{Cut, behind_a_proxy};
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::{Answer, Card, Process, Town, World, cents, process};

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

#[test]
fn a_card_whose_purse_somebody_holds_waits_aside_and_no_other_does() {
    let town = Town::new(World::on_postgresql());
    let cards = cards(&town, 12);
    town.tills.iter().for_each(|till| drop(till.redeem(&cards[11].token, 1).expect(201)));
    let mut holder = Sql::of(&town.world);
    let stuck = 2;
    let purses = cards[..stuck].iter().map(|card| uuid_of(&card.enrolment)).collect::<Vec<_>>().join("','");
    holder.run(&format!("BEGIN; SELECT id FROM allowances WHERE enrolment_id IN ('{purses}') FOR UPDATE")).unwrap();
    let waiting: Vec<_> = cards[..stuck].iter().map(|card| spawn(buy(&town.tills[0], card, 100))).collect();
    wait_until_waiting(&town.world, stuck);
    for (n, card) in cards[stuck..].iter().enumerate() {
        town.tills[n % 2].redeem(&card.token, 100).expect(201);
    }
    assert!(waiting.iter().all(|request| !request.is_finished()));
    holder.run("ROLLBACK").unwrap();
    let told: Vec<u16> = waiting.into_iter().map(|request| request.join().unwrap().status).collect();
    assert_eq!(told, vec![201; stuck]);
    town.world.verify();
}

/// As many purchases as there are cards, each with its key.
fn requests<'a>(town: &'a Town, cards: &'a [Card], keys: &'a [String]) -> impl Iterator<Item = Request> + 'a {
    let baskets = 200..;
    let each = cards.iter().zip(keys).zip(baskets).enumerate();
    each.map(|(n, ((card, key), basket))| keyed(&town.tills[n % 2], card, basket, key))
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.header("retry-after"), Some("1"));
    answer.clone().refused(503, "unavailable");
}

/// Sends every key again, twice at once: each is decided once, and both answers are the same.
fn assert_each_is_done_once(town: &Town, cards: &[Card], keys: &[String]) {
    let twice = requests(town, cards, keys).chain(requests(town, cards, keys)).collect();
    let answers = at_once(twice, |request: Request| request());
    let (one, other) = answers.split_at(keys.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!((one.status, other.status), (201, 201), "{}", one.json());
        assert_eq!(one.bytes, other.bytes);
        let first = [one, other].iter().filter(|answer| answer.header("idempotent-replay").is_none()).count();
        assert_eq!(first, 1, "done more than once, or before");
    }
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), covered(one));
    let left: i64 = cards.iter().map(|card| town.balance(&card.enrolment)).sum();
    assert_eq!(left, 6000 * i64::try_from(cards.len()).unwrap() - covered(one));
    town.world.verify();
}

#[test]
fn a_disk_that_is_full_under_a_batch_answers_503_to_each_and_does_each_once_when_there_is_room_on_sqlite() {
    let mut process = Process::on_sqlite();
    process.before = Process::OUTLIVES_LIMITS;
    let watch = process::address();
    process.settings =
        vec![("PRIMEUR__METRICS__LISTEN", watch.clone()), ("PRIMEUR__DATABASE__WAIT_SECONDS", "30".to_owned())];
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let cards = cards(&town, 48);
    let keys: Vec<String> = cards.iter().map(|_| new_key()).collect();
    let wait_until_all_wait = || {
        let waiting =
            || ureq::get(&format!("http://{watch}/metrics")).call().unwrap().body_mut().read_to_string().unwrap();
        let all = (0..6_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            waiting().lines().any(|line| line == "primeur_till_waiting 48")
        });
        assert!(all, "{}", waiting());
    };
    let closed = Closed::over(&town);
    let threads: Vec<_> = requests(&town, &cards, &keys).map(spawn).collect();
    wait_until_all_wait();
    process.limit_files("4096");
    drop(closed);
    threads.into_iter().for_each(|thread| assert_unavailable(&thread.join().unwrap()));
    assert_eq!(Sql::of(&town.world).number("SELECT count(*) FROM redemptions"), 0);
    assert_eq!(town.balance(&cards[0].enrolment), 6000, "it can be read");
    process.limit_files("unlimited");
    assert_each_is_done_once(&town, &cards, &keys);
}

#[test]
fn a_disk_that_is_full_under_a_batch_answers_503_to_each_and_does_each_once_when_there_is_room_on_postgresql() {
    let town = Town::new(World::on_postgresql());
    let cards = cards(&town, 48);
    let keys: Vec<String> = cards.iter().map(|_| new_key()).collect();
    let mut sql = Sql::of(&town.world);
    sql.run(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'could not extend file \"base/1/1\": No space left on device' USING ERRCODE = 'disk_full';
         END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON transfers FOR EACH STATEMENT EXECUTE FUNCTION fill();",
    )
    .unwrap();
    together(&town, requests(&town, &cards, &keys).collect()).iter().for_each(assert_unavailable);
    assert_eq!(sql.number("SELECT count(*) FROM redemptions"), 0);
    assert_eq!(town.balance(&cards[0].enrolment), 6000, "it can be read");
    sql.run("DROP TRIGGER full_disk ON transfers").unwrap();
    assert_each_is_done_once(&town, &cards, &keys);
}

#[test]
fn a_batch_whose_commit_is_lost_or_its_answer_is_a_503_to_each_and_every_retry_learns_the_truth() {
    let (url, order) = behind_a_proxy();
    let till = group::Settings { writers: 1, ..group::Settings::default() };
    let town = Town::new(World::on(url, Duration::from_secs(30)).with_till(till));
    let cards = cards(&town, 40);
    let mut sold = 0;
    for cut in [Cut::Before, Cut::After, Cut::Before, Cut::After] {
        let keys: Vec<String> = cards.iter().map(|_| new_key()).collect();
        // the first is in the writer's hand when the others come, and its COMMIT passes
        *order.lock().unwrap() = Some((1, cut));
        let answers = together(&town, requests(&town, &cards, &keys).collect());
        assert_eq!(*order.lock().unwrap(), None, "no COMMIT was cut");
        let lost = answers.iter().filter(|answer| answer.status != 201).count();
        assert!(lost >= 20, "a batch of {lost}");
        for (answer, again) in answers.iter().zip(requests(&town, &cards, &keys)) {
            let again = again();
            let is_replay = again.header("idempotent-replay").is_some();
            if answer.status == 201 {
                assert_eq!((is_replay, &again.bytes), (true, &answer.bytes));
            } else {
                assert_unavailable(answer);
                assert_eq!(is_replay, cut == Cut::After, "{cut:?}");
            }
            sold += cents(&again.expect(201)["covered"]);
        }
        assert_eq!(cents(&town.budget()["total"]["redeemed"]), sold);
        town.world.verify();
    }
}
