//! What goes wrong inside a batch on PostgreSQL.

use std::thread::spawn;

use super::{buy, cards, covered, keyed, together, uuid_of, wait_until_waiting};
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::{Answer, Card, Town, World, cents};

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
