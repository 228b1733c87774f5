//! Servers of which one does not know yet what the others do with the keys.

use primeur::access::keys::{awaited, register_keys};
use primeur::keyring;
use primeur::keyring::commands::{self, Settings};
use primeur::kit::keys::files::make;
use primeur::kit::keys::{KeyStore, Purpose};
use serde_json::{Value, json};

use crate::household::identity;
use crate::keys::{begin, copy, files, key_of_card, key_of_login, log_in, look, retire, rotate, settings, somebody};
use crate::support::sql::Sql;
use crate::support::town::Till;
use crate::support::world::{OVERLAP, PASSWORD, START};
use crate::support::{Answer, Client, Town, World, on_both_databases};

on_both_databases!(
    a_server_without_the_new_key_accepts_all_until_it_signs_and_then_refuses_clearly,
    a_server_that_has_missed_a_retirement_asks_to_try_again_and_seals_once_it_has_heard_of_it,
);

fn a_server_without_the_new_key_accepts_all_until_it_signs_and_then_refuses_clearly(world: World) {
    let town = Town::new(world);
    let elsewhere = town.world.directory.join("keys-of-the-second");
    copy(&town.world.directory.join("keys"), &elsewhere);
    let open = |town: &Town| KeyStore::open(&elsewhere, OVERLAP, town.world.now()).unwrap();
    let start = |town: &Town| {
        let keys = open(town).now();
        town.world.state.db.write(|conn, now| register_keys(conn, now, &keys))
    };
    let second_keys = open(&town);
    let second = town.world.served_beside(second_keys.clone());
    let login = somebody(&town.world.anybody(), &town.administrator, "funder");
    let at_second = |client: &Client| second.with_token(client.token.as_deref().unwrap());
    let till = Till { client: at_second(&town.tills[0].client), ..town.tills[0].clone() };

    let voucher_key = rotate(&town.world, Purpose::Voucher);
    let [identity_key, login_key] = [Purpose::Identity, Purpose::Login].map(|purpose| rotate(&town.world, purpose));
    look(&town.world);
    let first = &town.world.anybody();
    let household = |name: &str| {
        let body = json!({"adults": 1, "children": 0, "commune": "62427", "identity": {"family_name": name}});
        let made = town.worker.post("/api/v1/households", body).expect(201);
        format!("/api/v1/households/{}/identity", made["id"].as_str().unwrap())
    };
    let me = |tokens: &Value| second.signed_in(tokens).get("/api/v1/access/me");
    // the overlap: the second server does not know the keys, and accepts whatever the first signs and seals
    let (card, path) = (town.new_card(), household("Lucienne Exemple"));
    till.redeem(&card.token, 100).expect(201);
    me(&log_in(first, &login)).expect(200);
    assert_eq!(at_second(&town.worker).get(&path).expect(200)["family_name"], "Lucienne Exemple");
    // one that starts now may do so, and is told what it needs and by when
    start(&town).unwrap();
    let awaited = |at: &str| -> Vec<(String, String)> {
        let (keys, at) = (second_keys.now(), at.parse().unwrap());
        let awaited = town.world.state.db.read(|conn| awaited(conn, at, &keys)).unwrap();
        awaited.into_iter().map(|(key, until)| (key.key_id, until.to_string())).collect()
    };
    let end = "2026-07-01T09:00:00Z";
    let of = |ids: [&String; 3]| ids.map(|id| (id.clone(), end.to_owned()));
    assert_eq!(awaited(START), of([&identity_key, &login_key, &voucher_key]));
    // what it has that is new is taken all the same; but it makes no further key
    let own = make(&elsewhere, Purpose::Voucher, town.world.now().plus_minutes(-1)).unwrap();
    std::fs::copy(&own, town.world.directory.join("keys").join(own.file_name().unwrap())).unwrap();
    keyring::adopt(&town.world.state.db, &second_keys).unwrap();
    assert_eq!(second_keys.now().made().len(), 5);
    look(&town.world);
    let there = Settings { directory: elsewhere.clone(), ..settings(&town.world) };
    let said = commands::rotate(&town.world.state.db, &there, Purpose::Login).unwrap_err();
    assert!(said.contains("is missing from the key directory"), "{said}");
    assert_eq!(files(&elsewhere, "").len(), 5);

    // it is over, and nobody has copied the files
    assert_eq!(awaited("2026-07-01T08:59:59Z").len(), 3);
    assert_eq!(awaited(end), []);
    begin(&town.world);
    let (new_card, new_path, tokens) = (town.new_card(), household("Ange Exemple"), log_in(first, &login));
    assert_eq!((key_of_card(&new_card.token), key_of_login(&tokens)), (voucher_key, login_key));
    let nothing_new = keyring::adopt(&town.world.state.db, &second_keys).unwrap_err().to_string();
    assert!(nothing_new.contains("is missing from the key directory"), "{nothing_new}");
    till.redeem(&new_card.token, 100).refused(409, "unknown_voucher");
    assert_eq!(till.check(&new_card.token)["code"], "unknown_voucher");
    me(&tokens).refused(401, "unauthenticated");
    at_second(&town.worker).get(&new_path).refused(503, "unavailable");
    till.redeem(&card.token, 100).expect(201);
    start(&town).unwrap_err();

    // once it has them all is well, without a restart
    copy(&town.world.directory.join("keys"), &elsewhere);
    keyring::adopt(&town.world.state.db, &second_keys).unwrap();
    till.redeem(&new_card.token, 100).expect(201);
    me(&tokens).expect(200);
    for (path, name) in [(path, "Lucienne Exemple"), (new_path, "Ange Exemple")] {
        assert_eq!(at_second(&town.worker).get(&path).expect(200)["family_name"], name);
    }
    start(&town).unwrap();
    town.world.verify();
}

#[track_caller]
fn asks_again(answer: Answer) {
    assert_eq!(answer.header("retry-after"), Some("1"), "{}", String::from_utf8_lossy(&answer.bytes));
    answer.refused(503, "unavailable");
}

fn a_server_that_has_missed_a_retirement_asks_to_try_again_and_seals_once_it_has_heard_of_it(world: World) {
    let town = Town::new(world);
    let old = town.world.state.keys.now().identity.current().to_string();
    // it read its keys last before the new one was made
    let late = KeyStore::open(&town.world.directory.join("keys"), OVERLAP, town.world.now()).unwrap();
    let there = town.world.served_beside(late.clone());
    let worker = there.with_token(town.worker.token.as_deref().unwrap());
    let household = json!({"adults": 1, "children": 0, "commune": "62427", "identity": {"family_name": "Exemple"}});
    let id = worker.post("/api/v1/households", household.clone()).expect(201)["id"].as_str().unwrap().to_owned();
    rotate(&town.world, Purpose::Identity);
    begin(&town.world);
    town.world.pass_minutes(5);
    retire(&town.world, &old).unwrap();

    let counts = Sql::of(&town.world).counts();
    let path = format!("/api/v1/households/{id}/identity");
    asks_again(worker.post("/api/v1/households", household.clone()));
    asks_again(worker.put(&path, identity(json!({"family_name": "Autre"}))));
    assert_eq!(Sql::of(&town.world).counts(), counts);
    let begin = json!({"password": PASSWORD});
    asks_again(worker.post("/api/v1/access/second-factor", begin.clone()));
    // at its next look
    keyring::look(&town.world.state.db, &late);
    worker.post("/api/v1/households", household).expect(201);
    worker.put(&path, identity(json!({"family_name": "Autre"}))).expect(200);
    worker.post("/api/v1/access/second-factor", begin).expect(201);
    town.world.verify();
}
