//! Races: hundreds of requests at once over real HTTP, exact to the cent.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use primeur::schedule;
use serde_json::{Value, json};

use crate::hold::{path, state};
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Till, join, log_in};
use crate::support::world::PASSWORD;
use crate::support::{Answer, Client, Town, World, cents, id, on_both_databases};

on_both_databases!(
    a_voucher_cannot_be_spent_twice_however_many_stalls_scan_it_at_once,
    one_key_a_hundred_times_at_once_is_one_redemption_and_one_answer,
    voids_and_purchases_that_race_leave_no_cent_behind,
    a_purchase_that_races_a_replaced_card_is_before_or_refused,
    baskets_that_are_set_aside_fetched_and_given_up_as_their_time_runs_out_stay_exact,
    households_that_race_for_the_last_money_are_enrolled_whole_or_wait,
    reports_never_lock_out_the_till,
    a_purchase_that_waited_over_midnight_is_of_the_new_month,
    what_one_person_does_everywhere_at_once_does_not_stand_in_its_own_way,
);

/// The advisory locks of two queues of writers on PostgreSQL, as `db/pool.rs` has them.
const ADMINISTRATORS: i64 = 0x7072_696d_6575_7210;
const IDENTITIES: i64 = 0x7072_696d_6575_7204;

/// Runs one job for each item, all let loose at the same moment.
pub fn at_once<T: Send + 'static>(items: Vec<T>, job: impl Fn(T) -> Answer + Send + Sync + 'static) -> Vec<Answer> {
    let (gate, job) = (Arc::new(Barrier::new(items.len())), Arc::new(job));
    let run = |item: T| {
        let (gate, job) = (gate.clone(), job.clone());
        std::thread::spawn(move || {
            gate.wait();
            job(item)
        })
    };
    let threads: Vec<_> = items.into_iter().map(run).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn a_voucher_cannot_be_spent_twice_however_many_stalls_scan_it_at_once(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    // five stalls of two producers; the till by token, by code, and by stalls of its own
    let mut tills: Vec<Till> = town.tills.clone();
    for till in &town.tills {
        tills.push(Till { stall: town.open_stall(&till.client, "Ferme"), ..till.clone() });
    }
    tills.push(Till { stall: town.open_stall(&tills[0].client, "Halle"), ..tills[0].clone() });
    let requests = (0..300).map(|n| tills[n % tills.len()].clone()).collect();
    let token = card.token.clone();
    // 0.37 € does not divide 60 €: the last buyer gets 0.06 € of it
    let answers = at_once(requests, move |till: Till| till.redeem_in_part(&token, 37));

    let (sold, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 201);
    assert!(refused.iter().all(|answer| answer.json()["code"] == "insufficient_balance"));
    let covered: i64 = sold.iter().map(|answer| cents(&answer.json()["covered"])).sum();
    assert_eq!((covered, sold.len(), refused.len()), (6000, 163, 137));
    assert_eq!(town.balance(&card.enrolment), 0);
    assert_eq!(town.budget()["total"]["redeemed"], "60.00");
    town.world.verify();
}

fn one_key_a_hundred_times_at_once_is_one_redemption_and_one_answer(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = town.tills[0].clone();
    let (key, basket) = (new_key(), till.basket(&card.token, 6000, false));
    let answers =
        at_once(vec![(); 100], move |()| till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()));
    let first = answers.iter().filter(|answer| answer.header("idempotent-replay").is_none());
    assert_eq!(first.count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.bytes == answers[0].bytes));
    assert_eq!(town.balance(&card.enrolment), 0);
    let sold = town.tills[0].client.get("/api/v1/redemptions").expect(200);
    assert_eq!(sold["items"].as_array().unwrap().len(), 1);
    town.world.verify();
}

fn voids_and_purchases_that_race_leave_no_cent_behind(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = town.tills[0].clone();
    let sold: Vec<String> =
        (1..=20).map(|n| till.redeem(&card.token, 100 + n).expect(201)["id"].as_str().unwrap().to_owned()).collect();
    // each purchase is undone by three requests while others buy
    let jobs = sold.iter().flat_map(|id| [Some(id.clone()), Some(id.clone()), Some(id.clone()), None]).collect();
    let token = card.token.clone();
    let answers = at_once(jobs, move |undo: Option<String>| match undo {
        Some(id) => till.void(&id),
        None => till.redeem_in_part(&token, 211),
    });
    let bought: i64 =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| cents(&answer.json()["covered"])).sum();
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 200 | 201) || answer.json()["code"] == "insufficient_balance")
    );
    assert_eq!(town.balance(&card.enrolment), 6000 - bought);
    let total = town.budget()["total"].clone();
    assert_eq!(cents(&total["redeemed"]), bought);
    town.world.verify();
}

fn a_purchase_that_races_a_replaced_card_is_before_or_refused(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    primeur::schedule::run(&town.world.state.db).unwrap();
    let (till, worker, old) = (town.tills[0].clone(), town.worker.clone(), card.clone());
    let mut jobs = vec![true; 40];
    jobs.insert(20, false);
    let answers = at_once(jobs, move |buy| {
        if buy {
            till.redeem(&old.token, 100)
        } else {
            worker.act_once(&format!("/api/v1/vouchers/{}/replace", old.id))
        }
    });
    let refused = answers.iter().filter(|answer| answer.status == 409);
    assert!(refused.clone().all(|answer| answer.json()["code"] == "voucher_replaced"));
    let bought = 40 - i64::try_from(refused.count()).unwrap();
    assert_eq!(town.balance(&card.enrolment), 6000 - 100 * bought);
    town.tills[0].redeem(&card.token, 100).refused(409, "voucher_replaced");
    town.world.verify();
}

fn baskets_that_are_set_aside_fetched_and_given_up_as_their_time_runs_out_stay_exact(world: World) {
    let town = Arc::new(Town::with(world, Setup::setting_aside()));
    let card = town.new_card();
    let till = town.tills[0].clone();
    let held: Vec<String> = (0..40).map(|n| id(&till.hold(&card.token, 50 + n).expect(201))).collect();
    // 40 × 0.50 + 0.01 × (0 + … + 39) = 27.80
    assert_eq!(town.balance(&card.enrolment), 6000 - 2780);
    town.world.set_clock("2026-07-03T07:59:59Z");
    enum Job {
        Capture(String),
        Release(String),
        Place(i64),
        Buy(i64),
        Sweep,
        Midday,
    }
    let mut jobs = Vec::new();
    for (n, hold) in (0..).zip(&held) {
        jobs.extend([Job::Capture(hold.clone()), Job::Capture(hold.clone()), Job::Release(hold.clone())]);
        jobs.extend([Job::Place(31 + n), Job::Buy(43 + n), Job::Buy(17 + n), Job::Sweep]);
        if n == 10 {
            jobs.push(Job::Midday);
        }
    }
    let (all, token, here) = (town.clone(), card.token.clone(), till.clone());
    let answers = at_once(jobs, move |job| match job {
        Job::Capture(hold) => here.capture(&hold),
        Job::Release(hold) => here.client.act(&path(&hold, "/release")),
        Job::Place(basket) => here.hold(&token, basket),
        Job::Buy(basket) => here.redeem_in_part(&token, basket),
        Job::Sweep => {
            schedule::run(&all.world.state.db).unwrap();
            here.client.get("/api/v1/holds?limit=1")
        }
        Job::Midday => {
            all.world.set_clock("2026-07-03T08:00:00Z");
            here.client.get("/api/v1/holds?limit=1")
        }
    });
    let known = ["hold_state", "insufficient_balance"];
    let refused = answers.iter().filter(|answer| answer.status == 409);
    assert!(refused.clone().all(|answer| known.contains(&answer.json()["code"].as_str().unwrap())));
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201 | 204 | 409)));
    let made: Vec<Value> = answers.iter().filter(|answer| answer.status == 201).map(Answer::json).collect();
    let (placed, bought): (Vec<&Value>, Vec<&Value>) = made.iter().partition(|answer| answer["state"] == "held");
    let sum = |of: &[&Value]| of.iter().map(|answer| cents(&answer["covered"])).sum::<i64>();
    // each was fetched once at most, none is left, and those that were not fetched were given up or ran out
    let mut fetched: Vec<&str> = bought.iter().filter_map(|answer| answer["hold_id"].as_str()).collect();
    fetched.sort_unstable();
    let once = fetched.len();
    fetched.dedup();
    assert_eq!(fetched.len(), once);
    for hold in &held {
        let settled = if fetched.contains(&hold.as_str()) { "captured" } else { "released" };
        assert_eq!(state(&till, hold), settled);
    }
    schedule::run(&town.world.state.db).unwrap();
    assert_eq!(town.balance(&card.enrolment), 6000 - sum(&bought) - sum(&placed));
    assert_eq!(cents(&town.budget()["total"]["redeemed"]), sum(&bought));
    assert_eq!(cents(&town.budget()["total"]["outstanding"]), 6000 - sum(&bought));
    town.world.verify();
}

fn households_that_race_for_the_last_money_are_enrolled_whole_or_wait(world: World) {
    // 360 € each: three fit into 1 200 €
    let setup = crate::support::town::Setup { agreements: vec![(70_000, 7), (50_000, 5)], ..Default::default() };
    let town = Town::with(world, setup);
    let households: Vec<String> = (0..12).map(|_| town.household(1, 0)).collect();
    let (worker, programme) = (town.worker.clone(), town.programme.clone());
    let answers = at_once(households, move |household| {
        worker.post_once("/api/v1/enrolments", json!({"household_id": household, "programme_id": programme}))
    });
    let states: Vec<Value> = answers.into_iter().map(|answer| answer.expect(201)["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| *state == "active").count(), 3);
    assert_eq!(states.iter().filter(|state| *state == "waiting").count(), 9);
    assert_eq!(town.budget()["total"]["available"], "120.00");
    town.world.verify();
}

fn reports_never_lock_out_the_till(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let (till, funder) = (town.tills[0].clone(), town.funders[0].clone());
    let report = format!("/api/v1/agreements/{}/reconciliations/2026-07", town.agreements[0]);
    // many more of each than there are connections
    let jobs = (0..120).map(|n| n % 2 == 0).collect();
    let token = card.token.clone();
    let answers = at_once(jobs, move |buy| if buy { till.redeem(&token, 10) } else { funder.get(&report) });
    let told = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let (sold, reports, later) = (told(201), told(200), told(503));
    // a server sends 32 reports at a time, and says so to who comes beyond
    assert_eq!((sold, reports + later), (60, 60));
    assert!(reports >= 32, "{reports}");
    for answer in answers.into_iter().filter(|answer| answer.status == 503) {
        assert_eq!(answer.header("retry-after"), Some("1"));
        answer.refused(503, "unavailable");
    }
    assert_eq!(town.balance(&card.enrolment), 6000 - 60 * 10);
    town.world.verify();
}

fn a_purchase_that_waited_over_midnight_is_of_the_new_month(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    town.world.set_clock("2026-07-31T21:59:59Z");
    let seen = std::sync::Mutex::new(Vec::new());
    // somebody holds what it waits for until August has begun
    let recorded = town.world.state.db.write(|_, now| {
        seen.lock().unwrap().push(now.to_string());
        town.world.set_clock("2026-07-31T22:00:01Z");
        Ok(now)
    });
    assert_eq!(seen.into_inner().unwrap(), ["2026-07-31T21:59:59Z", "2026-07-31T22:00:01Z"]);
    assert_eq!(recorded.unwrap(), town.world.now());
    town.tills[0].redeem(&card.token, 100).expect(201);
    assert_eq!(town.report(0, "2026-07")["control"]["lines"], 0);
    town.world.verify();
}

fn what_one_person_does_everywhere_at_once_does_not_stand_in_its_own_way(world: World) {
    let town = Town::new(world);
    let (anybody, seller) = (town.world.anybody(), town.tills[0].client.clone());
    let email = seller.get("/api/v1/access/me").expect(200)["email"].clone();
    // each writes an audit entry that names the person; a login takes the person's row before
    let jobs = (0..90).map(|n| n % 3 != 0).collect();
    let answers = at_once(jobs, move |log_in| {
        if log_in {
            anybody.post("/api/v1/access/login", json!({"email": email, "password": PASSWORD}))
        } else {
            let stall = json!({"name": "Halle", "commune": {"code": "62427", "name": "Hénin-Beaumont"}});
            seller.post("/api/v1/stalls", stall)
        }
    });
    // so many logins of one person at once look like guesses, and some are told to wait
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201 | 429)));
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 30);
    if town.world.state.db.kind() == "postgresql" {
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(Sql::of(&town.world).number(deadlocks), 0);
    }
    town.world.verify();
}

/// Waits until so many transactions wait for another.
pub fn until_waiting(sql: &mut Sql, many: i64) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let in_time = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        sql.number(waiting) == many
    });
    assert!(in_time, "nobody waits");
}

#[test]
fn what_waited_on_postgresql_is_not_done_for_somebody_who_was_signed_out_meanwhile() {
    let town = Town::new(World::on_postgresql());
    let (world, administrator) = (&town.world, &town.administrator);
    let me = |client: &Client| client.get("/api/v1/access/me").expect(200);
    let disable = |by: &Client, person: &str| by.act(&format!("/api/v1/people/{person}/disable"));
    let (mut holder, mut watcher) = (Sql::of(world), Sql::of(world));
    let mut held_up = |hold: &str, ask: &(dyn Fn() -> Answer + Sync), meanwhile: &dyn Fn()| {
        holder.run(&format!("BEGIN; {hold}")).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(ask);
            until_waiting(&mut watcher, 1);
            meanwhile();
            holder.run("COMMIT").unwrap();
            asked.join().unwrap()
        })
    };

    // another says who a household is, and takes their time
    let worker = me(&town.worker)["id"].as_str().unwrap().to_owned();
    let household = json!({"adults": 1, "children": 0, "commune": "62427", "identity": {"first_name": "Zoé"}});
    let identities = format!("SELECT pg_advisory_xact_lock({IDENTITIES})");
    let register = || town.worker.post("/api/v1/households", household.clone());
    let disabled = || drop(disable(administrator, &worker).expect(200));
    held_up(&identities, &register, &disabled).refused(401, "unauthenticated");
    assert_eq!(Sql::of(world).number("SELECT count(*) FROM households"), 0);

    // a thief changes the password, and the owner ends the thief's session
    let owner = log_in(world, "admin@primeur.example");
    let row = "SELECT id FROM people WHERE email = 'admin@primeur.example' FOR NO KEY UPDATE";
    let new = json!({"current_password": PASSWORD, "new_password": "treize navets sous la neige"});
    let change = || administrator.post("/api/v1/access/password", new.clone());
    let revoke = || drop(owner.act("/api/v1/access/sessions/revoke-others").expect(204));
    held_up(row, &change, &revoke).refused(401, "unauthenticated");
    let owner = log_in(world, "admin@primeur.example");

    // two of three administrators disable each other: who was first is
    let own = me(&owner)["organisation"]["id"].as_str().unwrap().to_owned();
    let [second, _third] = [(); 2].map(|()| join(world, &owner, &own, true));
    let ids = [&owner, &second].map(|client| me(client)["id"].as_str().unwrap().to_owned());
    holder.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({ADMINISTRATORS})")).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| disable(&owner, &ids[1]));
        until_waiting(&mut watcher, 1);
        let late = scope.spawn(|| disable(&second, &ids[0]));
        until_waiting(&mut watcher, 2);
        holder.run("COMMIT").unwrap();
        first.join().unwrap().expect(200);
        late.join().unwrap().refused(401, "unauthenticated");
    });
    me(&owner);
    world.verify();
}
