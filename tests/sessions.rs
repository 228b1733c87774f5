//! Sessions that must end at once: stolen tokens, disabled people, new passwords.

use primeur::access::{self, Actor};
use primeur::kit::error::{Code, Error};
use primeur::schedule;
use serde_json::{Value, json};

use crate::support::sql::Sql;
use crate::support::town::{administrator, join, newcomer};
use crate::support::world::PASSWORD;
use crate::support::{Answer, Client, World, on_both_databases};

on_both_databases!(
    a_refresh_token_that_comes_twice_ends_the_whole_session,
    of_two_refreshes_at_once_one_wins_and_the_session_ends,
    a_disabled_person_is_out_at_the_next_request_on_every_server,
    a_disabled_person_is_answered_like_a_wrong_password_until_enabled,
    people_are_disabled_and_enabled_by_those_who_may_invite_them_and_never_by_themselves,
    the_last_administrator_who_can_log_in_stays,
    sessions_are_revoked_for_others_and_for_oneself_elsewhere,
    a_new_invitation_kills_the_old_one_and_resets_a_password,
    whoever_changes_their_password_is_signed_out_everywhere_else,
    an_easy_password_is_refused_with_a_reason,
    a_login_under_way_does_not_outlive_its_password_or_its_person,
    what_is_long_over_is_cleared_away_and_nothing_else,
    everything_about_access_is_in_the_audit_log,
);

const NEW: &str = "treize navets sous la neige";

fn refresh(client: &Client, tokens: &Value) -> Answer {
    client.post("/api/v1/access/refresh", json!({"refresh_token": tokens["refresh_token"]}))
}

fn me(client: &Client) -> Answer {
    client.get("/api/v1/access/me")
}

fn email(client: &Client) -> String {
    me(client).expect(200)["email"].as_str().unwrap().to_owned()
}

fn id(client: &Client) -> String {
    me(client).expect(200)["id"].as_str().unwrap().to_owned()
}

fn organisation(client: &Client) -> String {
    me(client).expect(200)["organisation"]["id"].as_str().unwrap().to_owned()
}

fn on_person(by: &Client, person: &str, what: &str) -> Answer {
    by.act(&format!("/api/v1/people/{person}/{what}"))
}

fn accept(world: &World, invitation: &Value, password: &str) -> Answer {
    let body = json!({"invitation": invitation["invitation"], "password": password});
    world.anybody().post("/api/v1/access/accept-invitation", body)
}

fn change_password(client: &Client, current: &str, new: &str) -> Answer {
    client.post("/api/v1/access/password", json!({"current_password": current, "new_password": new}))
}

/// Actions and subjects of the audit log, oldest first.
fn audit(administrator: &Client) -> Vec<(String, Value)> {
    let list = administrator.get("/api/v1/audit?limit=200").expect(200);
    let entry = |entry: &Value| (entry["action"].as_str().unwrap().to_owned(), entry["subject"].clone());
    list["items"].as_array().unwrap().iter().rev().map(entry).collect()
}

fn count(administrator: &Client, action: &str) -> usize {
    audit(administrator).iter().filter(|(a, _)| a == action).count()
}

fn a_refresh_token_that_comes_twice_ends_the_whole_session(world: World) {
    let administrator = administrator(&world);
    let worker = newcomer(&world, &administrator, "social_structure", "CCAS").1;
    let (email, elsewhere) = (email(&worker), worker);
    let first = world.anybody().log_in(&email, PASSWORD).expect(200);
    let second = refresh(&world.anybody(), &first).expect(200);
    let third = refresh(&world.anybody(), &second).expect(200);
    let newest = world.anybody().signed_in(&third);
    me(&newest).expect(200);

    // whoever of the two is the thief: both are out, wherever they ask
    refresh(&world.at_another_server(), &first).refused(401, "invalid_refresh_token");
    me(&newest).refused(401, "unauthenticated");
    for tokens in [&first, &second, &third] {
        refresh(&world.anybody(), tokens).refused(401, "invalid_refresh_token");
    }
    // another session of theirs is another family
    me(&elsewhere).expect(200);
    // told once, however often it is tried
    assert_eq!(count(&administrator, "refresh_token_reused"), 1);
    world.verify();
}

fn of_two_refreshes_at_once_one_wins_and_the_session_ends(world: World) {
    let administrator = administrator(&world);
    let there = world.at_another_server();
    for _ in 0..5 {
        let tokens = world.anybody().log_in("admin@primeur.example", PASSWORD).expect(200);
        let here = world.anybody();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let tries: Vec<_> =
                [&here, &there, &here].map(|client| scope.spawn(|| refresh(client, &tokens))).into_iter().collect();
            tries.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 2));
        lost.into_iter().for_each(|answer| drop(answer.refused(401, "invalid_refresh_token")));
        let won = won[0].json();
        me(&here.signed_in(&won)).refused(401, "unauthenticated");
        refresh(&there, &won).refused(401, "invalid_refresh_token");
    }
    assert_eq!(count(&administrator, "refresh_token_reused"), 5);
}

fn a_disabled_person_is_out_at_the_next_request_on_every_server(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let (email, person) = (email(&worker), id(&worker));
    let tokens = world.anybody().log_in(&email, PASSWORD).expect(200);
    let there = world.at_another_server();
    // both servers have served this person: nothing of that is remembered
    for client in [&world.anybody(), &there] {
        me(&client.signed_in(&tokens)).expect(200);
    }
    let disabled = on_person(&administrator, &person, "disable").expect(200);
    assert_eq!((&disabled["state"], &disabled["disabled_at"]), (&json!("disabled"), &json!("2026-07-01T08:00:00Z")));
    for client in [&world.anybody(), &there] {
        me(&client.signed_in(&tokens)).refused(401, "unauthenticated");
        refresh(client, &tokens).refused(401, "invalid_refresh_token");
    }
    me(&worker).refused(401, "unauthenticated");
    // coming back, they begin anew
    on_person(&administrator, &person, "enable").expect(200);
    me(&there.signed_in(&tokens)).refused(401, "unauthenticated");
}

fn a_disabled_person_is_answered_like_a_wrong_password_until_enabled(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let (email, person) = (email(&worker), id(&worker));
    on_person(&administrator, &person, "disable").expect(200);
    let right = world.anybody().log_in(&email, PASSWORD).refused(401, "invalid_credentials");
    assert_eq!(world.anybody().log_in(&email, NEW).refused(401, "invalid_credentials"), right);
    on_person(&administrator, &person, "disable").refused(409, "person_state");
    on_person(&administrator, &person, "invite").refused(409, "person_state");
    let enabled = on_person(&administrator, &person, "enable").expect(200);
    assert_eq!((&enabled["state"], &enabled["disabled_at"]), (&json!("active"), &Value::Null));
    on_person(&administrator, &person, "enable").refused(409, "person_state");
    world.anybody().log_in(&email, PASSWORD).expect(200);

    // an invitation does not bring back who was disabled before accepting it
    let body = json!({"organisation_id": organisation(&administrator), "email": "attendue@primeur.example",
        "name": "Camille", "lead": false});
    let invited = administrator.post("/api/v1/people", body).expect(201);
    assert_eq!(invited["person"]["state"], "invited");
    let person = invited["person"]["id"].as_str().unwrap();
    on_person(&administrator, person, "disable").expect(200);
    accept(&world, &invited, PASSWORD).refused(401, "invalid_invitation");
    assert_eq!(on_person(&administrator, person, "enable").expect(200)["state"], "invited");
    accept(&world, &invited, PASSWORD).refused(401, "invalid_invitation");
}

fn people_are_disabled_and_enabled_by_those_who_may_invite_them_and_never_by_themselves(world: World) {
    let administrator = administrator(&world);
    let (own, manager) = newcomer(&world, &administrator, "manager", "Pays d'Artois");
    let (_, neighbour) = newcomer(&world, &administrator, "manager", "Pays d'Othe");
    let (structure, lead) = newcomer(&world, &manager, "social_structure", "CCAS");
    let colleague = join(&world, &lead, &structure, false);
    let other = join(&world, &lead, &structure, false);
    let manager_colleague = join(&world, &manager, &own, false);
    let (hidden, _) = newcomer(&world, &administrator, "social_structure", "Ailleurs");
    let stranger = join(&world, &administrator, &hidden, false);
    for what in ["disable", "enable", "invite", "sessions/revoke"] {
        on_person(&other, &id(&colleague), what).refused(403, "forbidden");
        on_person(&lead, &id(&manager), what).refused(404, "not_found");
        on_person(&lead, &id(&stranger), what).refused(404, "not_found");
        on_person(&manager, &id(&stranger), what).refused(404, "not_found");
        on_person(&neighbour, &id(&colleague), what).refused(404, "not_found");
        on_person(&manager, &id(&administrator), what).refused(404, "not_found");
        on_person(&manager_colleague, &id(&manager), what).refused(403, "forbidden");
    }
    let (colleague, manager_colleague) = (id(&colleague), id(&manager_colleague));
    for (by, person) in [(&lead, &colleague), (&manager, &colleague), (&manager, &manager_colleague)] {
        on_person(by, person, "disable").expect(200);
        on_person(by, person, "enable").expect(200);
        on_person(by, person, "sessions/revoke").expect(204);
        on_person(by, person, "invite").expect(201);
    }
    on_person(&manager, &id(&other), "disable").expect(200);
    on_person(&administrator, &id(&stranger), "disable").expect(200);
    for who in [&administrator, &manager, &lead] {
        on_person(who, &id(who), "disable").refused(403, "forbidden");
        on_person(who, &id(who), "invite").refused(403, "forbidden");
        me(who).expect(200);
    }
}

/// As the database knows somebody, for what their own request would be too late to show.
pub fn actor(world: &World, client: &Client) -> Actor {
    let (state, token) = (&world.state, client.token.as_ref().unwrap());
    let caller = state.db.read(|conn| access::authenticate(conn, world.now(), &state.keys.now(), &state.access, token));
    caller.unwrap().actor
}

fn the_last_administrator_who_can_log_in_stays(world: World) {
    let first = administrator(&world);
    let operator = organisation(&first);
    let second = join(&world, &first, &operator, true);
    // one who has not accepted an invitation cannot log in, and does not count
    let body = json!({"organisation_id": operator, "email": "attendue@primeur.example", "name": "C", "lead": true});
    let invited = first.post("/api/v1/people", body).expect(201);
    let (first_id, second_id) = (id(&first), id(&second));
    let late = actor(&world, &second);
    on_person(&first, &second_id, "disable").expect(200);
    // who was let in a moment before being disabled does not take the other along
    let disable = |person: &str| {
        world.state.db.write(|conn, now| access::disable(conn, now, &late, person.parse().unwrap()).map(drop))
    };
    assert_eq!(disable(&first_id), Err(Error::Refused(Code::PersonState)));
    me(&first).expect(200);
    // the one who was only invited may go
    on_person(&first, invited["person"]["id"].as_str().unwrap(), "disable").expect(200);
    on_person(&first, &second_id, "enable").expect(200);

    // and of two who disable each other at once, one stays
    let second = log_in_again(&world, &second_id, &first);
    for _ in 0..5 {
        let (one, two) = (actor(&world, &first), actor(&world, &second));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let tries = [(&one, &second_id), (&two, &first_id)].map(|(actor, person)| {
                let world = &world;
                scope.spawn(move || {
                    let person = person.parse().unwrap();
                    world.state.db.write(|conn, now| access::disable(conn, now, actor, person).map(drop))
                })
            });
            tries.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let mut sql = Sql::of(&world);
        assert_eq!(
            sql.number("SELECT count(*) FROM people WHERE disabled_at IS NULL AND password_hash IS NOT NULL"),
            1
        );
        // as it was, for the next round
        sql.run("UPDATE people SET disabled_at = NULL; UPDATE sessions SET ended_at = NULL;").unwrap();
    }
}

fn log_in_again(world: &World, person: &str, administrator: &Client) -> Client {
    let people = administrator.get("/api/v1/people").expect(200);
    let found = people["items"].as_array().unwrap().iter().find(|found| found["id"] == person).unwrap();
    world.anybody().signed_in(&world.anybody().log_in(found["email"].as_str().unwrap(), PASSWORD).expect(200))
}

fn sessions_are_revoked_for_others_and_for_oneself_elsewhere(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let (email, person, there) = (email(&worker), id(&worker), world.at_another_server());
    let session = || world.anybody().log_in(&email, PASSWORD).expect(200);
    let (first, second) = (session(), session());
    let kept = there.signed_in(&first);
    kept.act("/api/v1/access/sessions/revoke-others").expect(204);
    me(&kept).expect(200);
    me(&there.signed_in(&second)).refused(401, "unauthenticated");
    me(&worker).refused(401, "unauthenticated");
    refresh(&there, &second).refused(401, "invalid_refresh_token");

    on_person(&administrator, &person, "sessions/revoke").expect(204);
    me(&kept).refused(401, "unauthenticated");
    refresh(&there, &first).refused(401, "invalid_refresh_token");
    me(&administrator).expect(200);
    me(&there.signed_in(&session())).expect(200);
}

fn a_new_invitation_kills_the_old_one_and_resets_a_password(world: World) {
    let administrator = administrator(&world);
    let (organisation, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let body = json!({"organisation_id": organisation, "email": "une@primeur.example", "name": "Une", "lead": false});
    let first = worker.post("/api/v1/people", body).expect(201);
    let person = first["person"]["id"].as_str().unwrap();
    let url = format!("https://cheque.primeur.example/invitation#{}", first["invitation"].as_str().unwrap());
    assert_eq!(first["invitation_url"], url);

    world.pass_minutes(60);
    let second = on_person(&worker, person, "invite").expect(201);
    assert_eq!(second["person"], first["person"]);
    assert_eq!(second["invitation_expires_at"], "2026-07-04T09:00:00Z");
    accept(&world, &first, PASSWORD).refused(401, "invalid_invitation");
    accept(&world, &second, PASSWORD).expect(204);

    // a forgotten password: nothing changes until the invitation is accepted, and then everything
    let session = world.anybody().log_in("une@primeur.example", PASSWORD).expect(200);
    let reset = on_person(&worker, person, "invite").expect(201);
    assert_eq!(reset["person"]["state"], "active");
    me(&world.anybody().signed_in(&session)).expect(200);
    let again = world.anybody().log_in("une@primeur.example", PASSWORD).expect(200);
    accept(&world, &reset, NEW).expect(204);
    for session in [session, again] {
        me(&world.at_another_server().signed_in(&session)).refused(401, "unauthenticated");
        refresh(&world.anybody(), &session).refused(401, "invalid_refresh_token");
    }
    accept(&world, &reset, PASSWORD).refused(401, "invalid_invitation");
    world.anybody().log_in("une@primeur.example", PASSWORD).refused(401, "invalid_credentials");
    world.anybody().log_in("une@primeur.example", NEW).expect(200);
    me(&worker).expect(200);
}

fn whoever_changes_their_password_is_signed_out_everywhere_else(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let email = email(&worker);
    let elsewhere = world.anybody().signed_in(&world.anybody().log_in(&email, PASSWORD).expect(200));
    let reset = on_person(&administrator, &id(&worker), "invite").expect(201);
    let wrong = change_password(&worker, "pas du tout celui-ci", NEW).refused(422, "invalid_request");
    assert_eq!(wrong["fields"], json!([{"field": "current_password", "message": "n’est pas votre mot de passe"}]));
    me(&elsewhere).expect(200);

    change_password(&worker, PASSWORD, NEW).expect(204);
    me(&worker).expect(200);
    me(&elsewhere).refused(401, "unauthenticated");
    world.anybody().log_in(&email, PASSWORD).refused(401, "invalid_credentials");
    world.anybody().log_in(&email, NEW).expect(200);
    accept(&world, &reset, PASSWORD).refused(401, "invalid_invitation");

    // a stolen access token does not help to try passwords out
    let statuses: Vec<u16> = (0..7).map(|_| change_password(&worker, "pas celui-ci non plus", NEW).status).collect();
    assert_eq!(statuses, [422, 422, 422, 422, 422, 429, 429]);
}

fn an_easy_password_is_refused_with_a_reason(world: World) {
    let administrator = administrator(&world);
    let organisation = organisation(&administrator);
    let body = json!({"organisation_id": organisation, "email": "camille.vasseur@primeur.example", "name": "Camille",
        "lead": false});
    let invited = administrator.post("/api/v1/people", body).expect(201);
    for (password, reason) in [
        ("onze lettre", "doit compter de 12 à 200 caractères"),
        ("Motdepasse2026!", "est un mot de passe que chacun essaie d’abord"),
        ("je suis un mot de passe", "est un mot de passe que chacun essaie d’abord"),
        ("azertyuiop123", "est un mot de passe que chacun essaie d’abord"),
        ("123456789012", "ne doit être ni une répétition ni une suite de touches"),
        ("poire poire poire", "ne doit être ni une répétition ni une suite de touches"),
        ("le primeur du coin", "ne doit pas contenir le nom de ce service"),
        ("Camille-Vasseur et moi", "ne doit pas contenir le nom qui est dans votre adresse électronique"),
    ] {
        let answer = accept(&world, &invited, password).refused(422, "invalid_request");
        assert_eq!(answer["fields"][0]["field"], "password");
        assert!(answer["fields"][0]["message"].as_str().unwrap().starts_with(reason), "{password}: {answer}");
    }
    accept(&world, &invited, PASSWORD).expect(204);
    let client =
        world.anybody().signed_in(&world.anybody().log_in("camille.vasseur@primeur.example", PASSWORD).expect(200));
    for easy in ["motdepasse123", "camille vasseur 62"] {
        let answer = change_password(&client, PASSWORD, easy).refused(422, "invalid_request");
        assert_eq!(answer["fields"][0]["field"], "new_password");
    }
    world.anybody().log_in("camille.vasseur@primeur.example", PASSWORD).expect(200);
}

/// The password is looked at between two transactions: what happens there is told by what the second one finds.
fn a_login_under_way_does_not_outlive_its_password_or_its_person(world: World) {
    let administrator = administrator(&world);
    let (_, worker) = newcomer(&world, &administrator, "social_structure", "CCAS");
    let (email, person) = (email(&worker), id(&worker));
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| world.anybody().log_in(&email, PASSWORD));
            }
            scope.spawn(|| on_person(&administrator, &person, "disable").expect(200));
        });
        let living = "SELECT count(*) FROM sessions s JOIN people p ON p.id = s.person_id
            WHERE s.ended_at IS NULL AND p.disabled_at IS NOT NULL";
        assert_eq!(Sql::of(&world).number(living), 0);
        on_person(&administrator, &person, "enable").expect(200);
        world.pass_minutes(20);
    }
}

fn what_is_long_over_is_cleared_away_and_nothing_else(world: World) {
    administrator(&world);
    let world = world.with_short_sessions();
    let tokens = |refreshes: usize| {
        let first = world.anybody().log_in("admin@primeur.example", PASSWORD).expect(200);
        (0..refreshes).fold(first, |last, _| refresh(&world.anybody(), &last).expect(200))
    };
    let left = || {
        let mut sql = Sql::of(&world);
        ["sessions", "spent_refresh_tokens", "attempts"]
            .map(|table| sql.number(&format!("SELECT count(*) FROM {table}")))
    };
    // one more session than these, the administrator's own, lasts through the whole test
    let [own, ..] = left();
    assert_eq!(own, 1);
    world.anybody().signed_in(&tokens(2)).act("/api/v1/access/logout").expect(204);
    tokens(3);
    world.anybody().log_in("personne@primeur.example", "des prunes et des coings").refused(401, "invalid_credentials");
    assert_eq!(left(), [3, 5, 3]);
    world.pass_minutes(31);
    schedule::run(&world.state.db).unwrap();
    assert_eq!(left(), [3, 5, 0], "failures fade");

    // 30 days after the logout, and after the session's own end twelve hours later
    for (until, sessions) in [
        ("2026-07-31T08:00:00Z", [3, 5, 0]),
        ("2026-07-31T08:00:01Z", [2, 3, 0]),
        ("2026-07-31T20:00:00Z", [2, 3, 0]),
        ("2026-07-31T20:00:01Z", [1, 0, 0]),
    ] {
        world.advance_to(until);
        assert_eq!(left(), sessions, "{until}");
    }
    world.verify();
}

fn everything_about_access_is_in_the_audit_log(world: World) {
    let administrator = administrator(&world);
    let operator = organisation(&administrator);
    let body = json!({"organisation_id": operator, "email": "une@primeur.example", "name": "Une", "lead": false});
    let invited = administrator.post("/api/v1/people", body).expect(201);
    let person = invited["person"]["id"].as_str().unwrap().to_owned();
    accept(&world, &invited, PASSWORD).expect(204);
    world.anybody().log_in("personne@primeur.example", PASSWORD).refused(401, "invalid_credentials");
    world.anybody().log_in("une@primeur.example", NEW).refused(401, "invalid_credentials");
    let client = world.anybody().signed_in(&world.anybody().log_in("une@primeur.example", PASSWORD).expect(200));
    change_password(&client, PASSWORD, NEW).expect(204);
    client.act("/api/v1/access/sessions/revoke-others").expect(204);
    client.act("/api/v1/access/logout").expect(204);
    for what in ["sessions/revoke", "disable", "enable", "invite"] {
        on_person(&administrator, &person, what);
    }
    administrator.post("/api/v1/organisations", json!({"kind": "funder", "name": "Fondation"})).expect(201);

    let entries = administrator.get("/api/v1/audit?limit=200").expect(200);
    let entries: Vec<&Value> = entries["items"].as_array().unwrap().iter().rev().collect();
    let told: Vec<(&str, bool, bool)> = entries
        .iter()
        .map(|e| (e["action"].as_str().unwrap(), e["subject"] == *person, e["person_id"] == *person))
        .collect();
    assert_eq!(
        told,
        [
            ("organisation_created", false, false),
            ("administrator_created", false, false),
            ("logged_in", false, false),
            ("person_invited", true, false),
            ("invitation_accepted", true, true),
            ("login_failed", false, false),
            ("login_failed", true, false),
            ("logged_in", false, true),
            ("password_changed", true, true),
            ("sessions_revoked", true, true),
            ("logged_out", false, true),
            ("sessions_revoked", true, false),
            ("person_disabled", true, false),
            ("person_enabled", true, false),
            ("person_invited", true, false),
            ("organisation_created", false, false),
        ]
    );
    // whoever failed is not known, but whose people they tried to be is
    assert_eq!((&entries[5]["subject"], &entries[5]["organisation_id"]), (&Value::Null, &Value::Null));
    assert_eq!((&entries[6]["person_id"], &entries[6]["organisation_id"]), (&Value::Null, &json!(operator)));
    let all = format!("{entries:?}");
    for secret in ["une@", "Une", PASSWORD, NEW, invited["invitation"].as_str().unwrap()] {
        assert!(!all.contains(secret), "{secret}");
    }
    world.verify();
}
