//! Guessing is slow: passwords by account and by address, typed codes by stall; honest people hardly notice.

use std::sync::Barrier;

use serde_json::json;

use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Till, administrator, newcomer};
use crate::support::world::PASSWORD;
use crate::support::{Answer, Client, Town, World, on_both_databases};

on_both_databases!(
    after_five_failures_an_account_waits_at_that_address_and_a_success_forgets_them,
    whether_an_account_exists_cannot_be_told_from_how_it_waits,
    of_many_tries_at_once_none_is_free,
    an_account_tried_from_everywhere_waits_but_not_where_its_owner_logs_in,
    a_shared_address_full_of_failures_slows_newcomers_only,
    newcomers_who_get_in_do_not_keep_a_shared_address_waiting,
    failures_fade_after_a_quarter_of_an_hour,
    a_right_password_that_meets_a_fault_of_ours_is_no_failure,
    the_address_that_counts_is_the_one_that_the_proxy_saw,
    a_failure_at_one_server_counts_at_every_other,
    typed_codes_that_name_no_card_slow_their_stall_down,
    of_many_wrong_codes_typed_at_once_none_is_free,
    right_codes_typed_at_once_all_pass_and_leave_no_trace,
    a_purchase_by_typed_code_is_answered_again_even_while_codes_must_wait,
);

const ADMINISTRATOR: &str = "admin@primeur.example";
const WRONG: &str = "des prunes et des coings";
/// Where the people of these tests log in, and where others try.
const HOME: &str = "192.0.2.1";
const AWAY: &str = "198.51.100.9";

fn log_in_at(client: &Client, address: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    client.send("POST", "/api/v1/access/login", &[("x-forwarded-for", address)], Some(body))
}

fn log_in(world: &World, address: &str, email: &str, password: &str) -> Answer {
    log_in_at(&world.anybody(), address, email, password)
}

#[track_caller]
fn waits(answer: Answer, seconds: &str) {
    assert_eq!(answer.header("retry-after"), Some(seconds), "{}", String::from_utf8_lossy(&answer.bytes));
    answer.refused(429, "too_many_attempts");
}

#[track_caller]
fn wrong(world: &World, address: &str, email: &str) {
    log_in(world, address, email, WRONG).refused(401, "invalid_credentials");
}

fn after_five_failures_an_account_waits_at_that_address_and_a_success_forgets_them(world: World) {
    administrator(&world);
    for _ in 0..5 {
        wrong(&world, AWAY, ADMINISTRATOR);
    }
    let before = Sql::of(&world).counts();
    // the right password is not looked at either
    waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
    waits(log_in(&world, AWAY, ADMINISTRATOR, WRONG), "1");
    assert_eq!(Sql::of(&world).counts(), before, "a try that waits leaves no trace");
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), &seconds.to_string());
        world.pass_seconds(seconds - 1);
        waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
        world.pass_seconds(1);
        wrong(&world, AWAY, ADMINISTRATOR);
    }
    world.pass_seconds(300);
    log_in(&world, AWAY, ADMINISTRATOR, PASSWORD).expect(200);
    for _ in 0..5 {
        wrong(&world, AWAY, ADMINISTRATOR);
    }
    waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
    world.verify();
}

fn whether_an_account_exists_cannot_be_told_from_how_it_waits(world: World) {
    let administrator = administrator(&world);
    let organisation = administrator.get("/api/v1/access/me").expect(200)["organisation"]["id"].clone();
    let invited =
        json!({"organisation_id": organisation, "email": "attendue@primeur.example", "name": "A", "lead": false});
    administrator.post("/api/v1/people", invited).expect(201);
    let seen = |email: &str, address: &str| -> Vec<(u16, Option<String>, serde_json::Value)> {
        let tries = (0..8).map(|_| {
            let answer = log_in(&world, address, email, WRONG);
            (answer.status, answer.header("retry-after").map(str::to_owned), answer.json())
        });
        tries.collect()
    };
    let of_nobody = seen("personne@primeur.example", "198.51.100.1");
    assert_eq!(
        of_nobody.iter().map(|(status, ..)| *status).collect::<Vec<_>>(),
        [401, 401, 401, 401, 401, 429, 429, 429]
    );
    assert_eq!(seen(ADMINISTRATOR, "198.51.100.2"), of_nobody);
    assert_eq!(seen("attendue@primeur.example", "198.51.100.3"), of_nobody);
}

fn of_many_tries_at_once_none_is_free(world: World) {
    administrator(&world);
    let there = world.at_another_server();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16)
            .map(|number| {
                let client = if number % 2 == 0 { world.anybody() } else { there.clone() };
                scope.spawn(move || log_in_at(&client, AWAY, ADMINISTRATOR, WRONG).status)
            })
            .collect();
        tries.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let of = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!((of(401), of(429)), (5, 11), "{statuses:?}");
}

fn an_account_tried_from_everywhere_waits_but_not_where_its_owner_logs_in(world: World) {
    administrator(&world);
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    // four from each address: none of them waits by itself
    for try_number in 0..20 {
        wrong(&world, &format!("198.51.100.{}", try_number / 4), ADMINISTRATOR);
    }
    waits(log_in(&world, "203.0.113.1", ADMINISTRATOR, WRONG), "1");
    waits(log_in(&world, "203.0.113.2", ADMINISTRATOR, PASSWORD), "1");
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    for number in 0..10 {
        world.pass_seconds(60);
        wrong(&world, &format!("203.0.113.{number}"), ADMINISTRATOR);
    }
    // never more than a minute, even from a new place
    waits(log_in(&world, "203.0.113.99", ADMINISTRATOR, PASSWORD), "60");
    // slips at home are counted by themselves
    for _ in 0..4 {
        wrong(&world, HOME, ADMINISTRATOR);
    }
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    world.pass_seconds(60);
    log_in(&world, "203.0.113.99", ADMINISTRATOR, PASSWORD).expect(200);
}

fn a_shared_address_full_of_failures_slows_newcomers_only(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let newcomer = worker.get("/api/v1/access/me").expect(200)["email"].as_str().unwrap().to_owned();
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    for number in 0..100 {
        wrong(&world, HOME, &format!("essai-{number}@primeur.example"));
        // those who get in do not add up
        if number % 10 == 0 {
            log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
        }
    }
    waits(log_in(&world, HOME, "personne@primeur.example", WRONG), "1");
    waits(log_in(&world, HOME, &newcomer, PASSWORD), "1");
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    // elsewhere the same newcomer is not concerned, and here only for a moment
    log_in(&world, "198.51.100.3", &newcomer, PASSWORD).expect(200);
    world.pass_seconds(1);
    log_in(&world, HOME, &newcomer, PASSWORD).expect(200);
}

fn newcomers_who_get_in_do_not_keep_a_shared_address_waiting(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let newcomer = worker.get("/api/v1/access/me").expect(200)["email"].as_str().unwrap().to_owned();
    for number in 0..105_u32 {
        wrong(&world, HOME, &format!("essai-{number}@primeur.example"));
        world.pass_seconds(if number < 99 { 0 } else { 1 << (number - 99) });
    }
    // the last of these failures has been waited for: 32 seconds
    log_in(&world, HOME, ADMINISTRATOR, PASSWORD).expect(200);
    log_in(&world, HOME, &newcomer, PASSWORD).expect(200);
    // a failure still counts, and is the hundred and sixth
    wrong(&world, HOME, "personne@primeur.example");
    waits(log_in(&world, HOME, "une-autre@primeur.example", PASSWORD), "60");
    // somebody who is known there by now is not concerned
    log_in(&world, HOME, &newcomer, PASSWORD).expect(200);
    world.pass_seconds(60);
    wrong(&world, HOME, "une-autre@primeur.example");
}

fn failures_fade_after_a_quarter_of_an_hour(world: World) {
    administrator(&world);
    for round in 0..2 {
        for _ in 0..5 {
            wrong(&world, AWAY, ADMINISTRATOR);
        }
        waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
        world.pass_seconds(15 * 60 - 1);
        if round == 0 {
            // not yet: the next failure is the sixth
            wrong(&world, AWAY, ADMINISTRATOR);
            waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "2");
            world.pass_minutes(15);
        }
    }
}

fn a_right_password_that_meets_a_fault_of_ours_is_no_failure(world: World) {
    let client = administrator(&world);
    let mut sql = Sql::of(&world);
    sql.run("ALTER TABLE audit_entries RENAME TO elsewhere").unwrap();
    let change = json!({"current_password": PASSWORD, "new_password": "treize navets sous la neige"});
    for _ in 0..6 {
        log_in(&world, AWAY, ADMINISTRATOR, PASSWORD).refused(500, "internal");
        client.post("/api/v1/access/password", change.clone()).refused(500, "internal");
        client.post("/api/v1/access/second-factor", json!({"password": PASSWORD})).refused(500, "internal");
    }
    assert_eq!(sql.number("SELECT count(*) FROM attempts"), 0);
    sql.run("ALTER TABLE elsewhere RENAME TO audit_entries").unwrap();
    log_in(&world, AWAY, ADMINISTRATOR, PASSWORD).expect(200);
    // a wrong one stays counted, whatever breaks
    sql.run("ALTER TABLE audit_entries RENAME TO elsewhere").unwrap();
    for _ in 0..5 {
        log_in(&world, AWAY, ADMINISTRATOR, WRONG).refused(500, "internal");
    }
    sql.run("ALTER TABLE elsewhere RENAME TO audit_entries").unwrap();
    waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
    world.verify();
}

fn the_address_that_counts_is_the_one_that_the_proxy_saw(world: World) {
    administrator(&world);
    // whatever the client writes itself stands to the left
    for number in 0..5 {
        wrong(&world, &format!("203.0.113.{number}, {AWAY}"), ADMINISTRATOR);
    }
    waits(log_in(&world, AWAY, ADMINISTRATOR, PASSWORD), "1");
    waits(log_in(&world, &format!("unknown, {AWAY}"), ADMINISTRATOR, PASSWORD), "1");
    // a subscriber's IPv6 addresses are one
    for number in 0..5 {
        wrong(&world, &format!("2001:db8:1:2::{number}"), ADMINISTRATOR);
    }
    waits(log_in(&world, "2001:db8:1:2:ffff::1", ADMINISTRATOR, PASSWORD), "1");
    log_in(&world, "2001:db8:1:3::1", ADMINISTRATOR, PASSWORD).expect(200);
}

fn a_failure_at_one_server_counts_at_every_other(world: World) {
    administrator(&world);
    let there = world.at_another_server();
    for _ in 0..5 {
        wrong(&world, AWAY, ADMINISTRATOR);
    }
    waits(log_in_at(&there, AWAY, ADMINISTRATOR, PASSWORD), "1");
}

/// Well formed, and nobody's: its ten symbols modulo 1021 are the check.
const UNKNOWN: &str = "10A0-0028-T511";

/// Shows a card at a stall, seen at an address, under a key.
fn show(till: &Till, path: &str, address: &str, key: &str, voucher: &str) -> Answer {
    let headers = [("x-forwarded-for", address), ("idempotency-key", key)];
    let mut body = json!({"voucher": voucher, "stall_id": till.stall});
    if path == "redemptions" {
        body["basket"] = json!("1.00");
        body["partial"] = json!(true);
        body["another_purchase"] = json!(true);
    }
    till.client.send("POST", &format!("/api/v1/{path}"), &headers, Some(body))
}

fn typed_codes_that_name_no_card_slow_their_stall_down(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let [till, neighbour] = [&town.tills[0], &town.tills[1]];
    let send = |till: &Till, path: &str, address: &str, voucher: &str| show(till, path, address, &new_key(), voucher);
    let check = |voucher: &str| send(till, "vouchers/check", HOME, voucher);
    let redeem = |voucher: &str| send(till, "redemptions", HOME, voucher);
    let unknown = UNKNOWN;
    for _ in 0..30 {
        assert_eq!(check("10A0-0028-T510").expect(200)["code"], "unknown_voucher");
        redeem("pas un code").refused(409, "unknown_voucher");
    }
    for _ in 0..10 {
        assert_eq!(check(unknown).expect(200)["code"], "unknown_voucher");
        redeem(unknown).refused(409, "unknown_voucher");
    }
    waits(check(unknown), "1");
    waits(redeem(unknown), "1");
    // a good one is not looked at either: it would tell a good guess from a bad one
    waits(check(&card.code), "1");
    waits(redeem(&card.code), "1");
    // a scanned one needs no guessing; neighbours, and the same stall's people elsewhere, are not concerned
    redeem(&card.token).expect(201);
    assert_eq!(send(neighbour, "vouchers/check", HOME, &card.code).expect(200)["accepted"], true);
    assert_eq!(send(till, "vouchers/check", AWAY, &card.code).expect(200)["accepted"], true);
    town.world.pass_seconds(1);
    assert_eq!(check(&card.code).expect(200)["accepted"], true);
    redeem(unknown).refused(409, "unknown_voucher");
    waits(check(&card.code), "2");
    // all are counted together within a quarter of an hour from the first
    town.world.pass_minutes(15);
    assert_eq!(check(unknown).expect(200)["code"], "unknown_voucher");
    assert_eq!(check(&card.code).expect(200)["accepted"], true);
    town.world.verify();
}

/// A stall at two servers, half of its requests each, all at once.
fn at_once<T: Send>(town: &Town, times: usize, ask: impl Fn(usize, &Till) -> T + Sync) -> Vec<T> {
    let there = town.world.at_another_server();
    let here = &town.tills[0];
    let elsewhere = &Till { client: there.with_token(here.client.token.as_deref().unwrap()), ..here.clone() };
    let (ready, ask) = (&Barrier::new(times), &ask);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..times)
            .map(|number| {
                scope.spawn(move || {
                    ready.wait();
                    ask(number, if number % 2 == 0 { here } else { elsewhere })
                })
            })
            .collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn of_many_wrong_codes_typed_at_once_none_is_free(world: World) {
    let town = Town::new(world);
    let codes = at_once(&town, 60, |number, till| {
        let path = if number % 4 < 2 { "vouchers/check" } else { "redemptions" };
        show(till, path, HOME, &new_key(), UNKNOWN).json()["code"].as_str().unwrap().to_owned()
    });
    let of = |code: &str| codes.iter().filter(|seen| *seen == code).count();
    assert_eq!((of("unknown_voucher"), of("too_many_attempts")), (20, 40), "{codes:?}");
    town.world.verify();
}

fn right_codes_typed_at_once_all_pass_and_leave_no_trace(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let attempts = "SELECT CAST(failures AS TEXT) AS line FROM attempts WHERE kind = 'voucher_code'";
    // as many failures before as there may be without a wait
    for failures in 0..=19 {
        if failures % 19 == 0 {
            let before = Sql::of(&town.world).lines(attempts);
            let accepted = at_once(&town, 40, |number, till| {
                let path = if number % 4 < 2 { "vouchers/check" } else { "redemptions" };
                let answer = show(till, path, HOME, &new_key(), &card.code);
                answer.status == 201 || answer.expect(200)["accepted"] == true
            });
            assert!(accepted.iter().all(|accepted| *accepted));
            assert_eq!(Sql::of(&town.world).lines(attempts), before);
        }
        show(&town.tills[0], "redemptions", HOME, &new_key(), UNKNOWN).refused(409, "unknown_voucher");
    }
    waits(show(&town.tills[0], "redemptions", HOME, &new_key(), &card.code), "1");
    town.world.verify();
}

fn a_purchase_by_typed_code_is_answered_again_even_while_codes_must_wait(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let buy = |key: &str, voucher: &str| show(till, "redemptions", HOME, key, voucher);
    let first = buy("a-first-purchase", &card.code).expect(201);
    for _ in 0..20 {
        buy(&new_key(), UNKNOWN).refused(409, "unknown_voucher");
    }
    waits(buy(&new_key(), &card.code), "1");
    let again = buy("a-first-purchase", &card.code);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
    assert_eq!(again.expect(201), first);
    buy("a-first-purchase", UNKNOWN).refused(409, "idempotency_conflict");
    // a refusal leaves its key free
    buy("another-purchase", UNKNOWN).refused(429, "too_many_attempts");
    town.world.pass_seconds(1);
    buy("another-purchase", UNKNOWN).refused(409, "unknown_voucher");
    town.world.pass_seconds(2);
    buy("another-purchase", &card.code).expect(201);
    town.world.verify();
}
