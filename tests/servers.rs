//! Several servers on one PostgreSQL: exact together, and of one mind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use primeur::kit::time::{Clock, SystemClock, Zone};
use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till};
use crate::support::{Card, Client, Process, Town, World, cents};

/// Two servers that look at what is due each second, on a town that was founded on a day of this or an earlier month.
struct Pair {
    town: Town,
    servers: [Process; 2],
}

impl Pair {
    /// The town is made by a server with a clock of its own; then that day is past, and two others start at once.
    fn start(setup: Setup, day: Option<String>, settle: impl FnOnce(&Town)) -> Self {
        let today = SystemClock.now().to_string();
        let town = Town::with(World::since(&day.unwrap_or(today)), setup);
        settle(&town);
        let mut first = Process::new(town.world.directory.clone(), town.world.database_url.clone());
        let set = |name, value: &str| (name, value.to_owned());
        first.settings = vec![
            set("PRIMEUR__SCHEDULE__EVERY_SECONDS", "1"),
            // whoever has logged in stays so
            set("PRIMEUR__ACCESS__ISSUER", "primeur-tests"),
            set("PRIMEUR__ACCESS__AUDIENCE", "primeur-tests-api"),
        ];
        let mut servers = [first.beside(), first];
        std::thread::scope(|scope| servers.iter_mut().for_each(|server| drop(scope.spawn(|| server.serve()))));
        // what the town asks from now on, it asks them
        town.world.set_clock(&SystemClock.now().to_string());
        Pair { town, servers }
    }

    fn addresses(&self) -> [String; 2] {
        self.servers.each_ref().map(|server| server.address.clone())
    }
}

/// Eleven in the morning, UTC, of the tenth of last month.
fn last_month() -> String {
    let zone: Zone = "Europe/Paris".parse().unwrap();
    let this = zone.day_of(SystemClock.now()).first_of_month();
    format!("{}T11:00:00Z", this.plus_days(-1).first_of_month().plus_days(9))
}

/// Sends a purchase under one key to one server after the other until it is decided.
fn insist(till: &Till, addresses: &[String; 2], first: usize, key: &str, basket: &Value) -> Value {
    for server in (first..first + 600).map(|n| &addresses[n % 2]) {
        match till.client.at(server).try_send("POST", "/api/v1/redemptions", &[("idempotency-key", key)], Some(basket))
        {
            Some(answer) if answer.status == 201 => return answer.json(),
            Some(answer) => assert_eq!(answer.json()["code"], "unavailable"),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    panic!("no server answers")
}

#[test]
fn two_servers_sell_issue_close_and_let_in_at_once_and_one_is_killed_in_between() {
    // 360 € each for six months: twenty are let in, eight wait
    let setup = Setup {
        agreements: vec![(360_000, 1), (360_000, 1)],
        starts_on: last_month()[..8].to_owned() + "01",
        ends_on: Setup::of_this_year().ends_on,
        ..Setup::default()
    };
    let (mut cards, mut enrolled, mut waiting) = (Vec::<Card>::new(), Vec::new(), Vec::new());
    let mut pair = Pair::start(setup, Some(last_month()), |town| {
        cards = (0..8).map(|_| town.new_card()).collect();
        for _ in 0..20 {
            let (id, state) = town.enrol_many(1, 0);
            if state == "waiting" { waiting.push(id) } else { enrolled.push(id) }
        }
    });
    assert_eq!((enrolled.len(), waiting.len()), (12, 8));

    let addresses = pair.addresses();
    let (town, [_, killed]) = (&pair.town, &mut pair.servers);
    let (sold, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let buy = &|buyer: usize| {
        let (card, till, mut bought) = (&cards[buyer], &town.tills[buyer % 2], Vec::new());
        while !over.load(Ordering::SeqCst) {
            let (key, basket) = (new_key(), till.basket(&card.token, 7, false));
            let server = (buyer + bought.len()) % 2;
            let redemption = insist(till, &addresses, server, &key, &basket);
            // at the other server too, and at once: the first answer
            assert_eq!(insist(till, &addresses, server + 1, &key, &basket), redemption);
            bought.push(redemption);
            sold.fetch_add(1, Ordering::SeqCst);
        }
        bought
    };
    let bought: Vec<Value> = std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..8).map(|buyer| scope.spawn(move || buy(buyer))).collect();
        let until = |enough| {
            let in_time = (0..60_000).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                sold.load(Ordering::SeqCst) >= enough
            });
            over.fetch_or(!in_time, Ordering::SeqCst);
            assert!(in_time, "nothing is sold any more");
        };
        // households leave while others buy, and give back what lets the next ones in
        let leave = |id: &String, server: usize| {
            let path = format!("/api/v1/enrolments/{id}/leave");
            let left = town.worker.at(&addresses[server]).post(&path, json!({"return_issued": true}));
            left.expect(200);
        };
        until(20);
        leave(&enrolled[0], 0);
        leave(&enrolled[1], 1);
        until(60);
        killed.kill();
        until(90);
        leave(&enrolled[2], 0);
        killed.serve();
        until(130);
        over.store(true, Ordering::SeqCst);
        buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect()
    });
    primeur::schedule::run(&town.world.state.db).unwrap();

    let covered: i64 = bought.iter().map(|redemption| cents(&redemption["covered"])).sum();
    assert_eq!(covered, 7 * i64::try_from(bought.len()).unwrap());
    let mut sql = Sql::of(&town.world);
    assert_eq!(sql.number("SELECT sum(amount_cents) FROM transfers WHERE code = 'redeem'"), covered);
    assert_eq!(sql.number("SELECT count(*) FROM redemptions"), i64::try_from(bought.len()).unwrap());
    for (code, account) in [("issue", "credit_account"), ("return", "debit_account")] {
        let twice = format!(
            "SELECT count(*) FROM (SELECT 1 FROM transfers WHERE code = '{code}' GROUP BY {account} HAVING count(*) > 1) t"
        );
        assert_eq!(sql.number(&twice), 0, "{code} twice");
    }
    // last month's are closed: what they held went back
    assert_eq!(sql.number("SELECT count(*) FROM transfers WHERE code = 'return'") % 2, 0);
    // who waited longest was let in first
    let states: Vec<String> =
        waiting.iter().map(|id| town.enrolment(id)["state"].as_str().unwrap().to_owned()).collect();
    let active = states.iter().filter(|state| *state == "active").count();
    assert!(active >= 3, "{states:?}");
    assert!(states[..active].iter().all(|state| state == "active"), "{states:?}");
    assert!(active == states.len() || cents(&town.budget()["total"]["available"]) < 36_000);
    let spent: BTreeMap<&str, i64> = cards.iter().map(|card| (&*card.id, town.balance(&card.enrolment))).collect();
    assert_eq!(spent.values().sum::<i64>(), 8 * 6000 - covered);
    town.world.verify();
}

#[test]
fn what_one_server_is_told_the_other_goes_by_at_the_next_request() {
    let pair = Pair::start(Setup::of_this_year(), None, |_| {});
    let (town, [one, other]) = (&pair.town, pair.addresses());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let buy = |server: &str, till: &Till| {
        till.client.at(server).post_once("/api/v1/redemptions", till.basket(&card.token, 100, false))
    };
    let worker = town.worker.at(&one);
    for _ in 0..3 {
        buy(&other, till).expect(201);
        worker.act(&format!("/api/v1/vouchers/{}/block", card.id)).expect(200);
        buy(&other, till).refused(409, "voucher_blocked");
        worker.act(&format!("/api/v1/vouchers/{}/unblock", card.id)).expect(200);
    }
    let decide = |decision: &str| {
        let path = format!("/api/v1/programmes/{}/applications/{}/{decision}", town.programme, till.producer);
        town.manager.at(&one).act(&path).expect(200);
    };
    for _ in 0..3 {
        decide("suspend");
        buy(&other, till).refused(409, "producer_suspended");
        decide("approve");
        buy(&other, till).expect(201);
    }
    worker.act(&format!("/api/v1/enrolments/{}/suspend", card.enrolment)).expect(200);
    buy(&other, till).refused(409, "voucher_suspended");

    let colleague: Client = crate::support::town::join(&town.world, &town.manager, &town.structure, false);
    colleague.at(&other).get("/api/v1/access/me").expect(200);
    colleague.at(&one).act("/api/v1/access/logout").expect(204);
    colleague.at(&other).get("/api/v1/access/me").refused(401, "unauthenticated");
    town.world.verify();
}
