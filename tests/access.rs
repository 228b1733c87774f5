//! Signing in and out, invitations, and tokens that are not ours.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use primeur::access::token::{self, Claims};
use primeur::access::{self, create_first_administrator};
use primeur::kit::error::{Code, Error};
use primeur::kit::keys::Keys;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::sql::Sql;
use crate::support::town::{administrator, join, newcomer};
use crate::support::world::PASSWORD;
use crate::support::{Answer, Client, World, on_both_databases};

on_both_databases!(
    a_wrong_password_and_an_unknown_address_are_answered_alike,
    a_refresh_token_works_once,
    signing_out_ends_the_access_token_at_once,
    an_access_token_and_a_session_end_in_time,
    a_token_that_this_deployment_has_not_made_is_refused,
    a_session_of_somebody_else_does_not_go_with_a_token,
    an_invitation_works_once_and_expires,
    each_brings_in_whom_they_may,
    an_address_belongs_to_one_person,
    a_second_administrator_cannot_be_made_by_the_command_line,
    of_two_first_administrators_at_once_one_is_made,
    a_database_whose_keys_are_gone_is_not_opened,
);

const ADMINISTRATOR: &str = "admin@primeur.example";

fn refresh(world: &World, token: &Value) -> Answer {
    world.anybody().post("/api/v1/access/refresh", json!({"refresh_token": token}))
}

fn me(client: &Client) -> Answer {
    client.get("/api/v1/access/me")
}

fn a_wrong_password_and_an_unknown_address_are_answered_alike(world: World) {
    let administrator = administrator(&world);
    let invited = invite(&administrator, &organisation_of(&administrator), "attendue@primeur.example").expect(201);
    assert!(invited["invitation"].is_string());
    let wrong = world.anybody().log_in(ADMINISTRATOR, "des poires et des pommes").refused(401, "invalid_credentials");
    for (email, password) in [
        ("personne@primeur.example", PASSWORD),
        ("attendue@primeur.example", PASSWORD), // has not accepted the invitation yet
        (ADMINISTRATOR, ""),
        (ADMINISTRATOR, "nul\0nul"),
    ] {
        assert_eq!(world.anybody().log_in(email, password).refused(401, "invalid_credentials"), wrong, "{email}");
    }
    let tokens = world.anybody().log_in("  ADMIN@primeur.example ", PASSWORD).expect(200);
    let mut me = me(&world.anybody().signed_in(&tokens)).expect(200);
    assert_eq!(me.as_object_mut().unwrap().remove("second_factor"), Some(json!("not_set")));
    assert_eq!(me, tokens["person"]);
}

fn a_refresh_token_works_once(world: World) {
    administrator(&world);
    let first = world.anybody().log_in(ADMINISTRATOR, PASSWORD).expect(200);
    let second = refresh(&world, &first["refresh_token"]).expect(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let third = refresh(&world, &second["refresh_token"]).expect(200);
    me(&world.anybody().signed_in(&third)).expect(200);
    refresh(&world, &first["refresh_token"]).refused(401, "invalid_refresh_token");
    for unknown in ["", "x", &"a".repeat(52)] {
        refresh(&world, &json!(unknown)).refused(401, "invalid_refresh_token");
    }
}

fn signing_out_ends_the_access_token_at_once(world: World) {
    administrator(&world);
    let (here, there) =
        (world.anybody().log_in(ADMINISTRATOR, PASSWORD), world.anybody().log_in(ADMINISTRATOR, PASSWORD));
    let (here, there) = (here.expect(200), there.expect(200));
    let client = world.anybody().signed_in(&here);
    client.act("/api/v1/access/logout").expect(204);
    me(&client).refused(401, "unauthenticated");
    client.act("/api/v1/access/logout").refused(401, "unauthenticated");
    refresh(&world, &here["refresh_token"]).refused(401, "invalid_refresh_token");
    me(&world.anybody().signed_in(&there)).expect(200);
}

fn an_access_token_and_a_session_end_in_time(world: World) {
    administrator(&world);
    let world = world.with_short_sessions();
    let tokens = world.anybody().log_in(ADMINISTRATOR, PASSWORD).expect(200);
    assert_eq!(tokens["expires_in"], 600);
    let client = world.anybody().signed_in(&tokens);
    world.set_clock("2026-07-01T08:09:59Z");
    me(&client).expect(200);
    world.set_clock("2026-07-01T08:10:00Z");
    let ended = me(&client);
    assert_eq!(ended.header("www-authenticate"), Some("Bearer"));
    ended.refused(401, "unauthenticated");

    // refreshing goes on to the end of the session, and no token outlives it
    world.set_clock("2026-07-01T19:55:00Z");
    let last = refresh(&world, &tokens["refresh_token"]).expect(200);
    assert_eq!(last["expires_in"], 300);
    world.set_clock("2026-07-01T20:00:00Z");
    me(&world.anybody().signed_in(&last)).refused(401, "unauthenticated");
    refresh(&world, &last["refresh_token"]).refused(401, "invalid_refresh_token");
    world.anybody().log_in(ADMINISTRATOR, PASSWORD).expect(200);
}

/// The claims of a good token, and its parts as they were sent.
fn opened(client: &Client) -> (Claims, Vec<String>) {
    let parts: Vec<String> = client.token.as_ref().unwrap().split('.').map(str::to_owned).collect();
    let claims = BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap();
    (serde_json::from_slice(&claims).unwrap(), parts)
}

fn a_token_that_this_deployment_has_not_made_is_refused(world: World) {
    let client = administrator(&world);
    let (claims, parts) = opened(&client);
    let keys = &world.state.keys.now().login;
    let sign = |claims: &Claims| token::sign(keys, claims).unwrap();
    me(&client.with_token(&sign(&claims))).expect(200);

    let elsewhere = Keys::create(&world.directory.join("elsewhere"), world.now()).unwrap();
    let now = world.now().as_second();
    let mut bad = vec![
        token::sign(&elsewhere.login, &claims).unwrap(),
        token::sign(&world.state.keys.now().voucher, &claims).unwrap(),
        sign(&Claims { iss: "primeur-ailleurs".to_owned(), ..claims.clone() }),
        sign(&Claims { aud: "primeur-ailleurs".to_owned(), ..claims.clone() }),
        sign(&Claims { exp: now, ..claims.clone() }),
        sign(&Claims { iat: now + 3600, ..claims.clone() }),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        parts[1].clone(),
    ];

    // whoever knows the public key can neither do without a signature nor make one of another kind
    let (kid, key) = keys.current();
    let encode = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = |alg: &str| encode(json!({"alg": alg, "typ": "at+jwt", "kid": kid.to_string()}));
    for none in ["none", "None", "NONE"] {
        bad.push(format!("{}.{}.", header(none), parts[1]));
        bad.push(format!("{}.{}.{}", header(none), parts[1], parts[2]));
    }
    let public = key.verifying_key();
    for secret in [public.as_bytes().to_vec(), HEXLOWER.encode(public.as_bytes()).into_bytes()] {
        let message = format!("{}.{}", header("HS256"), parts[1]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(message.as_bytes());
        bad.push(format!("{message}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())));
    }
    for (claim, value) in [("role", json!("manager")), ("exp", json!(claims.exp + 1)), ("lead", json!(true))] {
        let mut changed = serde_json::to_value(&claims).unwrap();
        changed[claim] = value;
        bad.push(format!("{}.{}.{}", parts[0], encode(changed), parts[2]));
    }
    for token in bad {
        me(&client.with_token(&token)).refused(401, "unauthenticated");
    }
    for scheme in ["Basic", "Token", ""] {
        let value = format!("{scheme} {}", client.token.as_ref().unwrap());
        let answer = world.anybody().send("GET", "/api/v1/access/me", &[("authorization", value.trim())], None);
        answer.refused(401, "unauthenticated");
    }
    let two = [("authorization", "Bearer x")];
    client.send("GET", "/api/v1/access/me", &two, None).refused(401, "unauthenticated");
    me(&client).expect(200);
}

fn a_session_of_somebody_else_does_not_go_with_a_token(world: World) {
    let administrator = administrator(&world);
    let colleague = join(&world, &administrator, &organisation_of(&administrator), false);
    let ((own, _), (other, _)) = (opened(&administrator), opened(&colleague));
    // even signed by ourselves: what a token says is looked up, not believed
    let mixed = token::sign(&world.state.keys.now().login, &Claims { sid: other.sid, ..own.clone() }).unwrap();
    me(&administrator.with_token(&mixed)).refused(401, "unauthenticated");
    let promoted = Claims { role: access::Role::Administrator, ..other };
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let promoted_worker = Claims { role: promoted.role, ..opened(&worker).0 };
    let token = token::sign(&world.state.keys.now().login, &promoted_worker).unwrap();
    assert_eq!(me(&worker.with_token(&token)).expect(200)["role"], "social_worker");
    worker.with_token(&token).get("/api/v1/organisations").refused(403, "forbidden");
}

fn organisation_of(client: &Client) -> String {
    me(client).expect(200)["organisation"]["id"].as_str().unwrap().to_owned()
}

fn invite(by: &Client, organisation: &str, email: &str) -> Answer {
    let person = json!({"organisation_id": organisation, "email": email, "name": "Dominique", "lead": false});
    by.post("/api/v1/people", person)
}

fn an_invitation_works_once_and_expires(world: World) {
    let administrator = administrator(&world);
    let own = organisation_of(&administrator);
    let accept = |invitation: &Value, password: &str| {
        let body = json!({"invitation": invitation, "password": password});
        world.anybody().post("/api/v1/access/accept-invitation", body)
    };
    let invited = invite(&administrator, &own, "une@primeur.example").expect(201);
    assert_eq!(invited["invitation_expires_at"], "2026-07-04T08:00:00Z");
    for short in ["", "onze lettre", &"x".repeat(201)] {
        accept(&invited["invitation"], short).refused(422, "invalid_request");
    }
    accept(&json!("x"), PASSWORD).refused(401, "invalid_invitation");
    accept(&invited["invitation"], PASSWORD).expect(204);
    accept(&invited["invitation"], "un autre mot de passe").refused(401, "invalid_invitation");
    world.anybody().log_in("une@primeur.example", "un autre mot de passe").refused(401, "invalid_credentials");
    world.anybody().log_in("une@primeur.example", PASSWORD).expect(200);

    let late = invite(&administrator, &own, "deux@primeur.example").expect(201);
    let timely = invite(&administrator, &own, "trois@primeur.example").expect(201);
    world.set_clock("2026-07-04T07:59:59Z");
    accept(&timely["invitation"], PASSWORD).expect(204);
    world.set_clock("2026-07-04T08:00:00Z");
    accept(&late["invitation"], PASSWORD).refused(401, "invalid_invitation");
    world.anybody().log_in("deux@primeur.example", PASSWORD).refused(401, "invalid_credentials");
}

fn each_brings_in_whom_they_may(world: World) {
    let administrator = administrator(&world);
    let create = |by: &Client, kind: &str| by.post("/api/v1/organisations", json!({"kind": kind, "name": "Essai"}));
    let kinds = ["operator", "manager", "social_structure", "producer", "funder", "evaluator"];
    let mut number = 0;
    let mut bring = |by: &Client, organisation: &str| {
        number += 1;
        invite(by, organisation, &format!("essai-{number}@primeur.example"))
    };
    for kind in kinds {
        let organisation = create(&administrator, kind).expect(201)["id"].as_str().unwrap().to_owned();
        bring(&administrator, &organisation).expect(201);
    }
    let (own, manager) = newcomer(&world, &administrator, "manager", "Pays d'Artois");
    let (neighbour, _) = newcomer(&world, &administrator, "manager", "Pays d'Othe");
    for kind in ["operator", "manager"] {
        create(&manager, kind).refused(403, "forbidden");
    }
    let not_lead = join(&world, &manager, &own, false);
    bring(&manager, &own).expect(201);
    bring(&not_lead, &own).refused(403, "forbidden");
    for by in [&manager, &not_lead] {
        bring(by, &neighbour).refused(404, "not_found");
        bring(by, &organisation_of(&administrator)).refused(404, "not_found");
    }
    // an evaluator's people are brought in by others alone
    let (organisation, evaluator) = newcomer(&world, &manager, "evaluator", "Regard");
    bring(&evaluator, &organisation).refused(403, "forbidden");
    bring(&manager, &organisation).expect(201);
    for kind in &kinds[2..5] {
        let (organisation, lead) = newcomer(&world, &manager, kind, "Essai");
        let colleague = join(&world, &lead, &organisation, false);
        bring(&not_lead, &organisation).expect(201);
        bring(&colleague, &organisation).refused(403, "forbidden");
        create(&lead, "funder").refused(403, "forbidden");
        for other in [&own, &neighbour] {
            bring(&lead, other).refused(404, "not_found");
        }
        // a manager sees only what it brought in itself
        let (hidden, _) = newcomer(&world, &administrator, kind, "Ailleurs");
        bring(&manager, &hidden).refused(404, "not_found");
        manager.get(&format!("/api/v1/organisations/{hidden}")).refused(404, "not_found");
    }
}

fn an_address_belongs_to_one_person(world: World) {
    let administrator = administrator(&world);
    let own = organisation_of(&administrator);
    invite(&administrator, &own, "Une@Primeur.example").expect(201);
    for taken in ["une@primeur.example", "UNE@PRIMEUR.EXAMPLE", ADMINISTRATOR] {
        invite(&administrator, &own, taken).refused(409, "email_taken");
    }
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> =
            (0..6).map(|_| scope.spawn(|| invite(&administrator, &own, "deux@primeur.example").status)).collect();
        tries.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 5, "{statuses:?}");
}

fn a_second_administrator_cannot_be_made_by_the_command_line(world: World) {
    administrator(&world);
    let hash = access::password::hash(&world.state.access, &PASSWORD.parse().unwrap()).unwrap();
    let (organisation, name) = ("Intrus".parse().unwrap(), "Intrus".parse().unwrap());
    let email = "intrus@primeur.example".parse().unwrap();
    let second =
        world.state.db.write(|conn, now| create_first_administrator(conn, now, &organisation, &email, &name, &hash));
    assert_eq!(second.err().map(|error| error.code()), Some(Code::InvalidRequest));
    world.anybody().log_in("intrus@primeur.example", PASSWORD).refused(401, "invalid_credentials");
}

fn of_two_first_administrators_at_once_one_is_made(world: World) {
    let hash = access::password::hash(&world.state.access, &PASSWORD.parse().unwrap()).unwrap();
    let create = |conn: &mut _, now, number: u8| {
        let (organisation, name) = ("Agglo".parse().unwrap(), "Dominique".parse().unwrap());
        let email = format!("admin-{number}@primeur.example").parse().unwrap();
        create_first_administrator(conn, now, &organisation, &email, &name, &hash).map(drop)
    };
    let second = std::thread::scope(|scope| {
        let (ended, end) = std::sync::mpsc::channel();
        let mut other = None;
        let first = world.state.db.write(|conn, now| {
            create(conn, now, 1)?;
            // the other command begins while this one has not ended, and has all the time it wants to look around
            let (world, create, ended) = (&world, &create, ended.clone());
            other = Some(scope.spawn(move || {
                let outcome = world.state.db.write(|conn, now| create(conn, now, 2));
                let _ = ended.send(());
                outcome
            }));
            assert!(end.recv_timeout(Duration::from_millis(500)).is_err(), "it did not wait");
            Ok(())
        });
        assert_eq!(first, Ok(()));
        other.unwrap().join().unwrap()
    });
    assert_eq!(second.err().map(|error| error.code()), Some(Code::InvalidRequest));
    let mut sql = Sql::of(&world);
    assert_eq!(["people", "organisations"].map(|table| sql.number(&format!("SELECT count(*) FROM {table}"))), [1, 1]);
}

fn a_database_whose_keys_are_gone_is_not_opened(world: World) {
    let directory = world.directory.join("keys");
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(&directory).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 4);
    let register = |keys: &Keys| world.state.db.write(|conn, now| access::keys::register_keys(conn, now, keys));
    register(&Keys::create(&directory, world.now()).unwrap()).unwrap();

    let others = Keys::create(&world.directory.join("elsewhere"), world.now()).unwrap();
    let Err(Error::Internal(message)) = register(&others) else { panic!("other keys were taken") };
    assert!(message.contains("is missing from the key directory: restore it"), "{message}");
    // and nothing of the attempt is remembered
    register(&world.state.keys.now()).unwrap();
}
