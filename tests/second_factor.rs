//! The second factor: when a login asks for it, what is good once, and who may take it away.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use primeur::access::keys::register_keys;
use primeur::kit::keys::files::make;
use primeur::kit::keys::{KeyStore, Keys, Purpose};
use serde_json::{Value, json};

use crate::support::authenticator::{Authenticator, codes, confirm};
use crate::support::sql::Sql;
use crate::support::town::{administrator, join, newcomer};
use crate::support::world::{OVERLAP, PASSWORD};
use crate::support::{Answer, Client, World, on_both_databases};

on_both_databases!(
    a_login_asks_for_a_code_once_the_authenticator_is_confirmed,
    a_code_is_good_once_and_no_earlier_one_afterwards,
    an_authenticator_is_begun_with_the_password_and_guesses_of_it_wait,
    a_right_password_without_its_code_is_told_when_it_comes_from_a_new_place,
    a_begun_authenticator_whose_seal_does_not_open_is_begun_again,
    what_is_put_in_force_is_sealed_under_the_key_of_that_moment,
    of_logins_that_race_with_one_code_one_gets_in,
    a_recovery_code_is_good_once_and_new_ones_end_the_old,
    a_new_authenticator_needs_a_code_of_the_old_one_which_stays_until_then,
    five_wrong_codes_end_the_session,
    an_authenticator_that_was_begun_fades_and_cannot_be_guessed,
    only_a_role_that_needs_none_does_without,
    a_lost_second_factor_is_taken_away_by_whoever_may_invite,
    what_the_authenticator_holds_is_not_in_the_database,
);

const FACTOR: &str = "/api/v1/access/second-factor";
const ADMINISTRATOR: &str = "admin@primeur.example";

fn log_in(world: &World, password: &str, code: Option<&str>) -> Answer {
    let body = json!({"email": ADMINISTRATOR, "password": password, "code": code});
    world.anybody().post("/api/v1/access/login", body)
}

fn me(client: &Client) -> Value {
    client.get("/api/v1/access/me").expect(200)
}

fn id_of(client: &Client) -> String {
    me(client)["id"].as_str().unwrap().to_owned()
}

/// A POST with a code.
fn show(client: &Client, path: &str, code: &str) -> Answer {
    client.post(&format!("{FACTOR}{path}"), json!({ "code": code }))
}

/// Six digits that are not of an authenticator at this moment.
fn wrong(world: &World, authenticator: &Authenticator) -> String {
    let near = [-30, 0, 30].map(|seconds| authenticator.code(world.now().plus_seconds(seconds)));
    ["000000", "111111", "222222", "333333"].map(str::to_owned).into_iter().find(|code| !near.contains(code)).unwrap()
}

/// Action, subject and detail of the newest entries of the audit log, newest first.
fn newest(administrator: &Client, count: usize) -> Vec<[Value; 3]> {
    let entries = administrator.get(&format!("/api/v1/audit?limit={count}")).expect(200);
    let told = |entry: &Value| ["action", "subject", "detail"].map(|key| entry[key].clone());
    entries["items"].as_array().unwrap().iter().map(told).collect()
}

fn a_login_asks_for_a_code_once_the_authenticator_is_confirmed(world: World) {
    let here = administrator(&world);
    let person = id_of(&here);
    let there = world.anybody().signed_in(&log_in(&world, PASSWORD, None).expect(200));
    show(&here, "/confirm", "123456").refused(409, "person_state");
    let first = Authenticator::begun(&here, None);
    // begun again, and not yet in force: the login asks for nothing
    let authenticator = Authenticator::begun(&here, None);
    log_in(&world, PASSWORD, None).expect(200);
    assert_eq!(me(&here)["second_factor"], "not_set");
    for bad in [wrong(&world, &authenticator), first.code(world.now()), "12345".to_owned(), "k7d2-9fqx-m3pt".to_owned()]
    {
        show(&here, "/confirm", &bad).refused(409, "wrong_code");
    }
    assert_eq!(confirm(&here, &authenticator.code(world.now())).len(), 10);
    show(&here, "/confirm", &authenticator.code(world.now())).refused(409, "person_state");
    assert_eq!(me(&here)["second_factor"], "in_force");
    there.get("/api/v1/access/me").refused(401, "unauthenticated");
    assert_eq!(newest(&here, 1), [[json!("second_factor_set"), json!(person), Value::Null]]);

    world.pass_minutes(1);
    let code = authenticator.code(world.now());
    log_in(&world, PASSWORD, None).refused(401, "second_factor_required");
    // a wrong password says the same whatever else is given, and so does a wrong code
    let refused = log_in(&world, "des poires et des pommes", None).refused(401, "invalid_credentials");
    assert_eq!(log_in(&world, "des poires et des pommes", Some(&code)).refused(401, "invalid_credentials"), refused);
    assert_eq!(log_in(&world, PASSWORD, Some(&wrong(&world, &authenticator))).expect(401), refused);
    assert_eq!(log_in(&world, PASSWORD, Some("0000-0000-0000")).expect(401), refused);
    // nothing of that used the code up
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let client = world.anybody().signed_in(&log_in(&world, PASSWORD, Some(&spaced)).expect(200));
    assert_eq!(me(&client)["second_factor"], "in_force");
    let [action, _, detail] = newest(&client, 1).remove(0);
    assert_eq!((action, detail), (json!("logged_in"), json!("code")));
    // who has none is not asked, whatever they send
    let colleague = join(&world, &client, me(&client)["organisation"]["id"].as_str().unwrap(), false);
    let email = me(&colleague)["email"].clone();
    let body = json!({"email": email, "password": PASSWORD, "code": "123456"});
    world.anybody().post("/api/v1/access/login", body).expect(200);
    world.verify();
}

fn an_authenticator_is_begun_with_the_password_and_guesses_of_it_wait(world: World) {
    let client = administrator(&world);
    let begin = |body: Value| client.post(FACTOR, body);
    let fields = |answer: Answer| answer.refused(422, "invalid_request")["fields"].clone();
    let missing = json!([{"field": "password", "message": "doit être indiqué"}]);
    assert_eq!(fields(client.act(FACTOR)), missing);
    assert_eq!(fields(begin(json!({"code": "123456"}))), missing);
    assert_eq!(fields(begin(json!({"password": null, "code": null}))), missing);
    let wrong = json!({"password": "des prunes et des coings"});
    for _ in 0..4 {
        assert_eq!(
            fields(begin(wrong.clone())),
            json!([{"field": "password", "message": "n’est pas votre mot de passe"}])
        );
    }
    assert_eq!(newest(&client, 1)[0][0], "login_failed");
    assert_eq!(Sql::of(&world).number("SELECT count(*) FROM people WHERE totp_pending_sealed IS NOT NULL"), 0);
    // the right one ends the count; the next five are guesses again
    begin(json!({"password": PASSWORD})).expect(201);
    assert_eq!(newest(&client, 1)[0][0], "second_factor_begun");
    for _ in 0..5 {
        begin(wrong.clone()).refused(422, "invalid_request");
    }
    begin(json!({"password": PASSWORD})).refused(429, "too_many_attempts");
    log_in(&world, PASSWORD, None).refused(429, "too_many_attempts");
    world.pass_seconds(1);
    Authenticator::in_force(&client, world.now());
    // from then on it is the code that is asked for, whatever else is given
    assert_eq!(fields(begin(json!({"password": PASSWORD})))[0]["field"], "code");
    world.verify();
}

fn a_right_password_without_its_code_is_told_when_it_comes_from_a_new_place(world: World) {
    let client = administrator(&world);
    let person = id_of(&client);
    let (authenticator, _) = Authenticator::in_force(&client, world.now());
    world.pass_minutes(1);
    let from = |address: &str, code: Option<&str>| {
        let body = json!({"email": ADMINISTRATOR, "password": PASSWORD, "code": code});
        world.anybody().send("POST", "/api/v1/access/login", &[("x-forwarded-for", address)], Some(body))
    };
    let told = || {
        let entries = newest(&client, 20);
        entries.iter().filter(|entry| **entry == [json!("login_failed"), json!(person), json!("code missing")]).count()
    };
    // where the administrator has logged in before
    log_in(&world, PASSWORD, None).refused(401, "second_factor_required");
    assert_eq!(told(), 0);
    from("198.51.100.9", None).refused(401, "second_factor_required");
    assert_eq!(told(), 1);
    // it counts against nobody elsewhere, nor there once the code has come
    assert_eq!(Sql::of(&world).lines("SELECT kind AS line FROM attempts"), ["account_address"]);
    from("198.51.100.9", Some(&authenticator.code(world.now()))).expect(200);
    assert_eq!(Sql::of(&world).number("SELECT count(*) FROM attempts"), 0);
    for _ in 0..6 {
        from("198.51.100.9", None).refused(401, "second_factor_required");
        log_in(&world, PASSWORD, None).refused(401, "second_factor_required");
    }
    assert_eq!(told(), 1);
    // and it does not fill the log
    for _ in 0..5 {
        from("203.0.113.4", None).refused(401, "second_factor_required");
    }
    for _ in 0..20 {
        from("203.0.113.4", None).refused(429, "too_many_attempts");
    }
    assert_eq!(told(), 6);
    world.verify();
}

/// The key that a seal names, as the database writes bytes.
fn key_of_seal(world: &World) -> String {
    let mut sql = Sql::of(world);
    let hex = match sql {
        Sql::Sqlite(_) => "lower(hex(substr(totp_sealed, 2, 4)))",
        Sql::Postgresql(_) => "encode(substr(totp_sealed, 2, 4), 'hex')",
    };
    sql.lines(&format!("SELECT {hex} AS line FROM people WHERE totp_sealed IS NOT NULL")).remove(0)
}

fn a_begun_authenticator_whose_seal_does_not_open_is_begun_again(world: World) {
    let client = administrator(&world);
    let elsewhere = Keys::create(&world.directory.join("elsewhere"), world.now()).unwrap();
    let of_another_key = elsewhere.identity.seal("totp", &[7; 16], &[7; 20]).unwrap();
    let broken = world.state.keys.now().identity.seal("totp", &[7; 16], &[7; 20]).unwrap();
    for sealed in [of_another_key, broken] {
        let authenticator = Authenticator::begun(&client, None);
        let mut sql = Sql::of(&world);
        let hex = HEXLOWER.encode(&sealed);
        let bytes = match sql {
            Sql::Sqlite(_) => format!("x'{hex}'"),
            Sql::Postgresql(_) => format!("'\\x{hex}'::bytea"),
        };
        sql.run(&format!("UPDATE people SET totp_pending_sealed = {bytes}")).unwrap();
        show(&client, "/confirm", &authenticator.code(world.now())).refused(409, "person_state");
        assert_eq!(me(&client)["second_factor"], "not_set");
    }
    Authenticator::in_force(&client, world.now());
    assert_eq!(me(&client)["second_factor"], "in_force");
    world.verify();
}

fn what_is_put_in_force_is_sealed_under_the_key_of_that_moment(world: World) {
    let client = administrator(&world);
    let keys = world.directory.join("keys");
    let before = world.state.keys.now().identity.current();
    make(&keys, Purpose::Identity, world.now()).unwrap();
    world.pass_minutes(2 * OVERLAP);
    // by a server that has not read the new key yet
    let authenticator = Authenticator::begun(&client, None);
    let store = KeyStore::open(&keys, OVERLAP, world.now()).unwrap();
    let current = store.now().identity.current();
    assert_ne!(current, before);
    world.state.db.write(|conn, now| register_keys(conn, now, &store.now())).unwrap();
    let there = world.served_beside(store).with_token(client.token.as_deref().unwrap());
    confirm(&there, &authenticator.code(world.now()));
    assert_eq!(key_of_seal(&world), HEXLOWER.encode(&current.0));
}

fn a_code_is_good_once_and_no_earlier_one_afterwards(world: World) {
    let client = administrator(&world);
    let (authenticator, _) = Authenticator::in_force(&client, world.now());
    let at = |seconds| authenticator.code(world.now().plus_seconds(seconds));
    let refused = |code: String| log_in(&world, PASSWORD, Some(&code)).refused(401, "invalid_credentials");
    // the one that confirmed is used up
    refused(at(0));
    for early_or_late in [60, -60] {
        refused(at(early_or_late));
    }
    // of a clock that is half a minute fast; then of one that is right, and too late for it
    log_in(&world, PASSWORD, Some(&at(30))).expect(200);
    refused(at(30));
    refused(at(0));
    show(&client, "/recovery-codes", &at(30)).refused(409, "wrong_code");
    world.pass_minutes(1);
    // half a minute slow
    let code = at(-30);
    refused(code.clone());
    log_in(&world, PASSWORD, Some(&at(0))).expect(200);
}

fn of_logins_that_race_with_one_code_one_gets_in(world: World) {
    let client = administrator(&world);
    let (authenticator, recovery) = Authenticator::in_force(&client, world.now());
    world.pass_minutes(1);
    for code in [authenticator.code(world.now()), recovery[0].clone()] {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| log_in(&world, PASSWORD, Some(&code)).status)).collect();
            tries.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        // of many at once some are told to wait
        assert_eq!(statuses.iter().filter(|status| matches!(**status, 401 | 429)).count(), 7, "{statuses:?}");
        world.pass_minutes(16);
    }
    world.verify();
}

fn a_recovery_code_is_good_once_and_new_ones_end_the_old(world: World) {
    let client = administrator(&world);
    let (authenticator, recovery) = Authenticator::in_force(&client, world.now());
    for code in &recovery[..3] {
        let typed = code.to_uppercase().replace('-', " ");
        let tokens = log_in(&world, PASSWORD, Some(&typed)).expect(200);
        let [action, _, detail] = newest(&world.anybody().signed_in(&tokens), 1).remove(0);
        assert_eq!((action, detail), (json!("logged_in"), json!("recovery_code")));
        log_in(&world, PASSWORD, Some(code)).refused(401, "invalid_credentials");
    }
    show(&client, "/recovery-codes", &recovery[0]).refused(409, "wrong_code");
    let renewed = codes(&show(&client, "/recovery-codes", &recovery[3]).expect(200));
    assert_eq!(newest(&client, 1)[0][0], "recovery_codes_renewed");
    assert_eq!(renewed.len(), 10);
    for old in &recovery {
        // so that it is the code that is refused, not the haste
        world.pass_minutes(16);
        log_in(&world, PASSWORD, Some(old)).refused(401, "invalid_credentials");
    }
    for new in &renewed {
        log_in(&world, PASSWORD, Some(new)).expect(200);
    }
    log_in(&world, PASSWORD, Some(&renewed[9])).refused(401, "invalid_credentials");
    world.pass_minutes(1);
    log_in(&world, PASSWORD, Some(&authenticator.code(world.now()))).expect(200);
    world.verify();
}

fn a_new_authenticator_needs_a_code_of_the_old_one_which_stays_until_then(world: World) {
    let client = administrator(&world);
    let (old, recovery) = Authenticator::in_force(&client, world.now());
    world.pass_minutes(1);
    let missing = client.act(FACTOR).refused(422, "invalid_request");
    assert_eq!(missing["fields"][0]["field"], "code");
    show(&client, "", &wrong(&world, &old)).refused(409, "wrong_code");
    let new = Authenticator::begun(&client, Some(&old.code(world.now())));
    assert_ne!(new.secret(), old.secret());
    world.pass_minutes(1);
    log_in(&world, PASSWORD, Some(&new.code(world.now()))).refused(401, "invalid_credentials");
    log_in(&world, PASSWORD, Some(&old.code(world.now()))).expect(200);
    let renewed = confirm(&client, &new.code(world.now()));
    assert_eq!(newest(&client, 1)[0][2], "replaced");
    world.pass_minutes(1);
    log_in(&world, PASSWORD, Some(&old.code(world.now()))).refused(401, "invalid_credentials");
    log_in(&world, PASSWORD, Some(&recovery[0])).refused(401, "invalid_credentials");
    log_in(&world, PASSWORD, Some(&new.code(world.now()))).expect(200);
    // the telephone is lost: a recovery code begins a third one
    Authenticator::begun(&client, Some(&renewed[0]));
    world.verify();
}

fn five_wrong_codes_end_the_session(world: World) {
    let client = administrator(&world);
    let (authenticator, recovery) = Authenticator::in_force(&client, world.now());
    let other = world.anybody().signed_in(&log_in(&world, PASSWORD, Some(&recovery[0])).expect(200));
    world.pass_minutes(1);
    for path in ["", "/recovery-codes", "/remove", ""] {
        show(&client, path, &wrong(&world, &authenticator)).refused(409, "wrong_code");
    }
    assert_eq!(me(&client)["second_factor"], "in_force");
    show(&client, "/remove", "0000-0000-0000").refused(409, "wrong_code");
    show(&client, "/remove", &authenticator.code(world.now())).refused(401, "unauthenticated");
    assert_eq!(newest(&other, 1)[0][0], "wrong_codes");
    show(&other, "/remove", &authenticator.code(world.now())).expect(204);
    log_in(&world, PASSWORD, None).expect(200);
}

fn an_authenticator_that_was_begun_fades_and_cannot_be_guessed(world: World) {
    let client = administrator(&world);
    let other = world.anybody().signed_in(&log_in(&world, PASSWORD, None).expect(200));
    let authenticator = Authenticator::begun(&client, None);
    world.pass_minutes(15);
    show(&client, "/confirm", &authenticator.code(world.now())).refused(409, "person_state");
    let authenticator = Authenticator::begun(&client, None);
    // whoever found an access token has five guesses
    for guess in [wrong(&world, &authenticator), "k7d2-9fqx-m3pt".to_owned(), "12345".to_owned(), "1".to_owned()] {
        show(&other, "/confirm", &guess).refused(409, "wrong_code");
    }
    assert_eq!(me(&other)["second_factor"], "not_set");
    show(&other, "/confirm", &wrong(&world, &authenticator)).refused(409, "wrong_code");
    show(&other, "/confirm", &authenticator.code(world.now())).refused(401, "unauthenticated");
    assert_eq!(newest(&client, 1)[0][0], "wrong_codes");
    // each session has its own, and a second before it fades is in time
    world.pass_seconds(15 * 60 - 1);
    confirm(&client, &authenticator.code(world.now()));
    world.verify();
}

fn only_a_role_that_needs_none_does_without(world: World) {
    let world = world.requiring_second_factor();
    let administrator = administrator(&world);
    let (authenticator, recovery) = Authenticator::in_force(&administrator, world.now());
    let (_, manager) = newcomer(&world, &administrator, "manager", "Pays d'Artois");
    assert_eq!(me(&manager)["second_factor"], "missing");
    let (_, manager_codes) = Authenticator::in_force(&manager, world.now());
    let (_, worker) = newcomer(&world, &manager, "social_structure", "CCAS");
    assert_eq!(me(&worker)["second_factor"], "not_set");
    show(&worker, "/remove", "123456").refused(409, "person_state");
    show(&worker, "/recovery-codes", "123456").refused(409, "person_state");
    let (_, worker_codes) = Authenticator::in_force(&worker, world.now());
    world.pass_minutes(1);
    show(&administrator, "/remove", &authenticator.code(world.now())).refused(403, "forbidden");
    show(&manager, "/remove", &manager_codes[0]).refused(403, "forbidden");
    // and the refusal used nothing up
    show(&administrator, "/recovery-codes", &authenticator.code(world.now())).expect(200);
    log_in(&world, PASSWORD, Some(&recovery[0])).refused(401, "invalid_credentials");
    show(&worker, "/remove", &worker_codes[0]).expect(204);
    assert_eq!(me(&worker)["second_factor"], "not_set");
    let email = me(&worker)["email"].clone();
    world.anybody().post("/api/v1/access/login", json!({"email": email, "password": PASSWORD})).expect(200);
    let mut sql = Sql::of(&world);
    assert_eq!(sql.number("SELECT count(*) FROM recovery_codes"), 20);
    assert_eq!(sql.number("SELECT count(*) FROM people WHERE totp_sealed IS NOT NULL"), 2);
}

fn a_lost_second_factor_is_taken_away_by_whoever_may_invite(world: World) {
    let administrator = administrator(&world);
    let (_, manager) = newcomer(&world, &administrator, "manager", "Pays d'Artois");
    let (_, neighbour) = newcomer(&world, &administrator, "manager", "Pays d'Othe");
    let (structure, lead) = newcomer(&world, &manager, "social_structure", "CCAS");
    let colleague = join(&world, &lead, &structure, false);
    let (_, evaluator) = newcomer(&world, &manager, "evaluator", "Regard");
    let reset = |by: &Client, of: &str| by.act(&format!("/api/v1/people/{of}/second-factor/reset"));
    let (person, email) = (id_of(&colleague), me(&colleague)["email"].clone());
    reset(&lead, &person).refused(409, "person_state");
    for by in [&lead, &manager, &administrator] {
        let again = |status| {
            let body = json!({"email": email, "password": PASSWORD});
            world.anybody().post("/api/v1/access/login", body).expect(status)
        };
        let client = world.anybody().signed_in(&again(200));
        Authenticator::in_force(&client, world.now());
        again(401);
        reset(&client, &person).refused(403, "forbidden");
        reset(&evaluator, &person).refused(403, "forbidden");
        reset(&neighbour, &person).refused(404, "not_found");
        reset(by, &person).expect(204);
        assert_eq!(newest(&administrator, 1), [[json!("second_factor_reset"), json!(person), Value::Null]]);
        client.get("/api/v1/access/me").refused(401, "unauthenticated");
        reset(by, &person).refused(409, "person_state");
    }
    // not one's own, as an administrator either; and nobody's above one's own organisation
    Authenticator::in_force(&administrator, world.now());
    reset(&administrator, &id_of(&administrator)).refused(403, "forbidden");
    reset(&manager, &id_of(&administrator)).refused(404, "not_found");
    reset(&lead, &id_of(&manager)).refused(404, "not_found");
    world.verify();
}

/// Every row of every table, as text, or the bytes of the whole file.
fn whole_database(world: &World) -> Vec<u8> {
    let mut sql = Sql::of(world);
    match sql {
        Sql::Sqlite(_) => {
            sql.run("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            std::fs::read(world.database_url.strip_prefix("sqlite://").unwrap()).unwrap()
        }
        Sql::Postgresql(_) => {
            let tables = sql.tables();
            let rows = |table: String| sql.lines(&format!("SELECT t::text AS line FROM {table} t"));
            tables.into_iter().flat_map(rows).collect::<Vec<_>>().join("\n").into_bytes()
        }
    }
}

fn what_the_authenticator_holds_is_not_in_the_database(world: World) {
    let client = administrator(&world);
    let (authenticator, recovery) = Authenticator::in_force(&client, world.now());
    world.pass_minutes(1);
    let pending = Authenticator::begun(&client, Some(&authenticator.code(world.now())));
    let database = whole_database(&world);
    let holds = |needle: &[u8]| database.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle));
    assert!(holds(ADMINISTRATOR.as_bytes()), "this would find nothing at all");
    for secret in [authenticator.secret(), pending.secret()] {
        assert!(!holds(secret));
        assert!(!holds(HEXLOWER.encode(secret).as_bytes()));
        assert!(!holds(BASE32_NOPAD.encode(secret).as_bytes()));
    }
    for code in recovery {
        assert!(!holds(code.as_bytes()) && !holds(code.replace('-', "").as_bytes()));
    }
}
