//! The same card, key and session at two servers on one PostgreSQL.

use std::sync::Arc;

use serde_json::Value;

use super::covered;
use crate::concurrency::at_once;
use crate::support::client::new_key;
use crate::support::town::{Setup, Till, join};
use crate::support::{Answer, Card, Client, Town, World, cents, id};

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

#[test]
fn a_market_of_many_cards_and_stalls_at_two_servers_stays_exact() {
    let (town, tills) = at_two_servers(Setup::default());
    // nothing is issued before the first of each card comes
    let cards: Vec<Card> = (0..50).map(|_| town.new_card()).collect();
    let jobs: Vec<(i64, Till, Card)> = (0..300_usize)
        .map(|n| (i64::try_from(n).unwrap(), tills[n * 7 % tills.len()].clone(), cards[n * 13 % 50].clone()))
        .collect();
    let answers = at_once(jobs, |(n, till, card)| till.redeem(&card.token, 300 + n));
    assert!(answers.iter().all(|answer| answer.status == 201));
    let left: i64 = cards.iter().map(|card| town.balance(&card.enrolment)).sum();
    assert_eq!(left, 50 * 6000 - covered(&answers));
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), covered(&answers));
    town.world.verify();
}
