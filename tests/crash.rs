//! What was answered 201 survives `kill -9`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::new_key;
use crate::support::town::{Setup, Till};
use crate::support::{Card, Process, Town, World, cents};

/// Purchases answered before each kill: it falls somewhere inside the next ones.
const ROUNDS: [usize; 4] = [1, 7, 23, 40];

struct Sent {
    key: String,
    basket: Value,
    /// The first answer, if it arrived.
    answer: Option<Vec<u8>>,
}

#[test]
fn a_purchase_that_was_answered_survives_the_kill_of_the_server_on_sqlite() {
    survives(Process::on_sqlite());
}

#[test]
fn a_purchase_that_was_answered_survives_the_kill_of_the_server_on_postgresql() {
    survives(Process::on_postgresql());
}

fn survives(mut process: Process) {
    process.serve();
    let town = Town::with(World::served_by(&process), Setup::of_this_year());
    let cards: Vec<Card> = (0..4).map(|_| town.new_card()).collect();
    let mut sent: Vec<Sent> = Vec::new();
    for enough in ROUNDS {
        sent.extend(market_until_killed(&mut process, &town, &cards, enough));
        process.serve();
    }
    // every key again: who had an answer gets the same one, who had none gets one now or learns that the money is gone
    let (mut covered, mut answered) = (0, 0);
    for Sent { key, basket, answer } in &sent {
        let again = town.tills[0].client.post_with_key("/api/v1/redemptions", key, basket.clone());
        match answer {
            Some(first) => {
                answered += 1;
                assert_eq!(again.header("idempotent-replay"), Some("true"), "an answered purchase is gone");
                assert_eq!(&again.bytes, first);
            }
            None if again.status == 409 => assert_eq!(again.json()["code"], "insufficient_balance"),
            None => assert_eq!(again.status, 201),
        }
        if again.status == 201 {
            covered += cents(&again.json()["covered"]);
        }
    }
    assert!(answered >= ROUNDS.iter().sum::<usize>());
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), covered);
    let left: i64 = cards.iter().map(|card| town.balance(&card.enrolment)).sum();
    assert_eq!(covered + left, 4 * 6000);
    town.world.verify();
}

/// Six buyers buy until enough purchases were answered and the server is killed under the others.
fn market_until_killed(process: &mut Process, town: &Town, cards: &[Card], enough: usize) -> Vec<Sent> {
    let (answered, killed) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..6)
            .map(|buyer: usize| {
                let (answered, killed, till) = (&answered, &killed, town.tills[0].clone());
                scope.spawn(move || buy(&till, &cards[buyer % cards.len()], answered, killed))
            })
            .collect();
        // bounded: a buyer that fails ends the wait too
        while answered.load(Ordering::SeqCst) < enough && !buyers.iter().all(|buyer| buyer.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill();
        killed.store(true, Ordering::SeqCst);
        buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect()
    })
}

fn buy(till: &Till, card: &Card, answered: &AtomicUsize, killed: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !killed.load(Ordering::SeqCst) {
        let (key, basket) = (new_key(), till.basket(&card.token, 53, false));
        let answer = till.client.try_post_with_key("/api/v1/redemptions", &key, &basket);
        let answer = match answer {
            Some(answer) if answer.status == 201 => {
                answered.fetch_add(1, Ordering::SeqCst);
                Some(answer.bytes)
            }
            Some(answer) => panic!("{}: {}", answer.status, answer.json()),
            None => None,
        };
        let cut_off = answer.is_none();
        sent.push(Sent { key, basket, answer });
        if cut_off {
            break;
        }
    }
    sent
}

/// What `kill -9` cannot show: a commit waits for the disk.
#[test]
fn the_embedded_database_syncs_every_commit() {
    use diesel::prelude::*;
    use diesel::sql_types::{Integer, Text};
    #[derive(QueryableByName)]
    struct Settings {
        #[diesel(sql_type = Integer)]
        synchronous: i32,
        #[diesel(sql_type = Text)]
        journal_mode: String,
        #[diesel(sql_type = Integer)]
        foreign_keys: i32,
    }
    let world = World::on_sqlite();
    let query = "SELECT synchronous, journal_mode, foreign_keys FROM pragma_synchronous, pragma_journal_mode, pragma_foreign_keys";
    let settings: Settings = world.state.db.read(|conn| Ok(diesel::sql_query(query).get_result(conn)?)).unwrap();
    const FULL: i32 = 2;
    assert_eq!((settings.synchronous, &*settings.journal_mode, settings.foreign_keys), (FULL, "wal", 1));
}
