//! Producers: who is paid, where they sell, which programmes let them, and who sees what of it.

use serde_json::{Value, json};

use crate::support::town::{Setup, join, newcomer, siret};
use crate::support::{Client, Town, World, on_both_databases};

on_both_databases!(
    a_wrong_siret_or_iban_is_named_and_nothing_is_kept,
    a_siret_belongs_to_one_producer,
    an_application_moves_as_the_table_says_and_no_other_way,
    an_application_needs_a_whole_profile_and_an_open_programme,
    who_is_not_approved_redeems_nothing,
    suspension_counts_at_the_till_at_once_and_approval_lets_in_again,
    a_closed_stall_sells_nothing_more,
    a_stall_of_another_producer_does_not_exist,
    each_sees_the_producers_and_stalls_that_concern_it,
);

const IBAN: &str = "FR1420041010050500013M02606";

fn profile(number: usize) -> Value {
    json!({"siret": siret(number), "iban": IBAN, "account_holder": "La Ferme"})
}

fn ids(reader: &Client, path: &str) -> Vec<String> {
    let list = reader.get(path).expect(200);
    let mut ids: Vec<String> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn a_wrong_siret_or_iban_is_named_and_nothing_is_kept(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let (producer, lead) = newcomer(&town.world, &town.manager, "producer", "Ferme");
    let good = siret(1);
    let last = if good.ends_with('0') { "1" } else { "0" };
    for (field, wrong) in [
        ("siret", json!(format!("{}{last}", &good[..13]))),
        ("siret", json!(&good[..13])),
        ("siret", json!("")),
        ("siret", Value::Null),
        ("iban", json!("FR1420041010050500013M02607")),
        ("iban", json!("FR14")),
        ("iban", json!("US1420041010050500013M02606")),
        ("account_holder", json!(" ")),
        ("account_holder", json!("x".repeat(71))),
        ("bic", json!("PSSTFRPP")),
    ] {
        let mut body = profile(1);
        body[field] = wrong.clone();
        let problem = lead.put("/api/v1/producers/me", body).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], field, "{wrong}");
        assert!(!problem["fields"][0]["message"].as_str().unwrap().is_empty());
    }
    let path = format!("/api/v1/producers/{producer}");
    let empty = json!({"id": producer, "name": "Ferme", "siret": null, "iban": null, "account_holder": null});
    assert_eq!(lead.get(&path).expect(200), empty);
    let spaced = json!({"siret": good, "iban": "fr14 2004 1010 0505 0001 3m02 606", "account_holder": "La Ferme"});
    assert_eq!(lead.put("/api/v1/producers/me", spaced).expect(200)["iban"], IBAN);
    // whom to pay is the lead's to say
    let seller = join(&town.world, &lead, &producer, false);
    seller.put("/api/v1/producers/me", profile(2)).refused(403, "forbidden");
    assert_eq!(seller.get(&path).expect(200)["siret"], good);
    town.world.verify();
}

fn a_siret_belongs_to_one_producer(world: World) {
    let town = Town::new(world);
    let (first, second) = (&town.tills[0].client, &town.tills[1].client);
    second.put("/api/v1/producers/me", profile(0)).refused(409, "siret_taken");
    let path = format!("/api/v1/producers/{}", town.tills[1].producer);
    assert_eq!(second.get(&path).expect(200)["siret"], siret(1));
    // saying the own one again is no conflict, and one that was given up is free
    first.put("/api/v1/producers/me", profile(0)).expect(200);
    first.put("/api/v1/producers/me", profile(8)).expect(200);
    second.put("/api/v1/producers/me", profile(0)).expect(200);
    town.world.verify();
}

fn an_application_moves_as_the_table_says_and_no_other_way(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    // the decisions that lead to each state, and what each decision leads to from there
    let table = [
        (vec![], "applied", [Some("approved"), Some("refused"), None]),
        (vec!["approve"], "approved", [None, None, Some("suspended")]),
        (vec!["refuse"], "refused", [Some("approved"), None, None]),
        (vec!["approve", "suspend"], "suspended", [Some("approved"), None, None]),
    ];
    let mut number = 0;
    for (way, state, outcomes) in table {
        for (decision, outcome) in ["approve", "refuse", "suspend"].into_iter().zip(outcomes) {
            number += 1;
            let till = town.new_till(number);
            way.iter().for_each(|decision| drop(town.decide(&till, decision).expect(200)));
            let own = || till.client.get("/api/v1/applications").expect(200)["items"][0].clone();
            assert_eq!(own()["state"], state);
            assert_eq!(own()["decided_at"].is_null(), way.is_empty());
            town.world.pass_minutes(1);
            let before = own();
            let answer = town.decide(&till, decision);
            match outcome {
                Some(outcome) => {
                    let decided = answer.expect(200);
                    assert_eq!((&decided["state"], decided["decided_at"].is_null()), (&json!(outcome), false));
                    assert_eq!(own(), decided);
                }
                None => {
                    answer.refused(409, "application_state");
                    assert_eq!(own(), before, "{decision} from {state}");
                }
            }
        }
    }
    let all = town.manager.get(&format!("/api/v1/programmes/{}/applications", town.programme)).expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 12);
    town.world.verify();
}

fn an_application_needs_a_whole_profile_and_an_open_programme(world: World) {
    let town = Town::new(world);
    let (producer, client) = newcomer(&town.world, &town.manager, "producer", "Ferme neuve");
    let path = format!("/api/v1/programmes/{}/applications", town.programme);
    let me = format!("{path}/me");
    client.set(&me).refused(409, "producer_incomplete");
    town.manager.act(&format!("{path}/{producer}/approve")).refused(404, "not_found");
    client.put("/api/v1/producers/me", profile(9)).expect(200);
    let applied = client.set(&me).expect(200);
    assert_eq!((&applied["state"], &applied["decided_at"]), (&json!("applied"), &Value::Null));
    // a second call gives the standing application
    town.world.pass_minutes(60);
    assert_eq!(client.set(&me).expect(200), applied);
    let refused = town.manager.act(&format!("{path}/{producer}/refuse")).expect(200);
    assert_eq!(client.set(&me).expect(200), refused);
    let (_, stranger) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    stranger.get(&path).refused(404, "not_found");
    stranger.act(&format!("{path}/{producer}/approve")).refused(404, "not_found");

    town.manager.act(&format!("/api/v1/programmes/{}/close", town.programme)).expect(200);
    let (_, late) = newcomer(&town.world, &town.manager, "producer", "Ferme tardive");
    late.put("/api/v1/producers/me", profile(10)).expect(200);
    late.set(&me).refused(409, "programme_not_open");
    assert_eq!(late.get("/api/v1/applications").expect(200)["items"], json!([]));
    town.world.verify();
}

fn who_is_not_approved_redeems_nothing(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let card = town.new_card();
    // a card that would be refused anyway: a stranger learns nothing of it
    town.worker.act(&format!("/api/v1/vouchers/{}/block", card.id)).expect(200);
    let (_, client) = newcomer(&town.world, &town.manager, "producer", "Passant");
    let stall = town.open_stall(&client, "Au coin");
    let never_applied = json!({"voucher": card.token, "stall_id": stall, "basket": "1.00", "partial": false});
    client.post_once("/api/v1/redemptions", never_applied).refused(409, "producer_not_approved");
    let till = town.new_till(1);
    till.redeem(&card.token, 100).refused(409, "producer_not_approved");
    assert_eq!(till.check(&card.code)["code"], "producer_not_approved");
    town.decide(&till, "refuse").expect(200);
    till.redeem(&card.token, 100).refused(409, "producer_not_approved");
    town.approve(&till);
    till.redeem(&card.token, 100).refused(409, "voucher_blocked");
    town.world.verify();
}

fn suspension_counts_at_the_till_at_once_and_approval_lets_in_again(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let sold = till.redeem(&card.token, 1000).expect(201);
    town.decide(till, "suspend").expect(200);
    till.redeem(&card.token, 1000).refused(409, "producer_suspended");
    assert_eq!(till.check(&card.code)["code"], "producer_suspended");
    // it still sees what it sold, and may undo it; the others go on
    till.void(sold["id"].as_str().unwrap()).expect(200);
    town.tills[1].redeem(&card.token, 1000).expect(201);
    town.approve(till);
    till.redeem(&card.token, 5000).expect(201);
    town.world.verify();
}

fn a_closed_stall_sells_nothing_more(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), town.tills[0].clone());
    let other = town.open_stall(&till.client, "Marché du mardi");
    let path = format!("/api/v1/stalls/{}/close", till.stall);
    assert_eq!(till.client.act(&path).expect(200)["open"], false);
    assert_eq!(till.client.act(&path).expect(200)["open"], false);
    till.redeem(&card.token, 100).refused(409, "stall_closed");
    assert_eq!(till.check(&card.token)["code"], "stall_closed");
    let till = crate::support::town::Till { stall: other, ..till };
    till.redeem(&card.token, 100).expect(201);
    town.world.verify();
}

fn a_stall_of_another_producer_does_not_exist(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), town.tills[0].clone());
    let path = format!("/api/v1/stalls/{}/close", town.tills[1].stall);
    till.client.act(&path).refused(404, "not_found");
    let at_another_s = crate::support::town::Till { stall: town.tills[1].stall.clone(), ..till };
    at_another_s.redeem(&card.token, 100).refused(404, "not_found");
    let check = json!({"voucher": card.token, "stall_id": at_another_s.stall});
    at_another_s.client.post("/api/v1/vouchers/check", check).refused(404, "not_found");
    let unknown = json!({"voucher": "bonjour", "stall_id": at_another_s.stall});
    at_another_s.client.post("/api/v1/vouchers/check", unknown).refused(404, "not_found");
    town.tills[1].redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn each_sees_the_producers_and_stalls_that_concern_it(world: World) {
    let town = Town::new(world);
    let [first, second] = &town.tills[..] else { panic!("two tills") };
    // one has only applied, one sells elsewhere
    let applied = town.new_till(2);
    let (elsewhere, stranger) = newcomer(&town.world, &town.administrator, "producer", "Loin");
    let far = town.open_stall(&stranger, "Loin d'ici");
    let sorted = |tills: &[&str]| {
        let mut ids: Vec<String> = tills.iter().map(|id| (*id).to_owned()).collect();
        ids.sort();
        ids
    };
    let ours = [first.producer.as_str(), &second.producer, &applied.producer];
    assert_eq!(ids(&town.manager, "/api/v1/producers"), sorted(&ours));
    assert_eq!(ids(&town.administrator, "/api/v1/producers"), sorted(&[&ours[..], &[&elsewhere]].concat()));
    let stalls = [first.stall.as_str(), &second.stall, &applied.stall];
    assert_eq!(ids(&town.manager, "/api/v1/stalls"), sorted(&stalls));
    assert_eq!(ids(&town.administrator, "/api/v1/stalls"), sorted(&[&stalls[..], &[&far]].concat()));
    // social workers send people only where they can pay
    assert_eq!(ids(&town.worker, "/api/v1/stalls"), sorted(&stalls[..2]));
    assert_eq!(ids(&first.client, "/api/v1/stalls"), sorted(&stalls[..1]));
    let of_second = format!("/api/v1/stalls?producer_id={}", second.producer);
    assert_eq!(ids(&town.worker, &of_second), sorted(&stalls[1..2]));
    assert_eq!(ids(&first.client, &of_second), sorted(&[]));
    town.decide(second, "suspend").expect(200);
    assert_eq!(ids(&town.worker, "/api/v1/stalls"), sorted(&stalls[..1]));

    let profile = |reader: &Client, producer: &str| reader.get(&format!("/api/v1/producers/{producer}"));
    assert_eq!(profile(&town.manager, &first.producer).expect(200)["iban"], IBAN);
    profile(&town.manager, &elsewhere).refused(404, "not_found");
    profile(&first.client, &first.producer).expect(200);
    profile(&first.client, &second.producer).refused(404, "not_found");
    let (_, other_manager) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    profile(&other_manager, &first.producer).refused(404, "not_found");
    assert_eq!(ids(&other_manager, "/api/v1/producers"), sorted(&[]));
    for reader in [&town.worker, &town.funders[0], &town.evaluator] {
        profile(reader, &first.producer).refused(403, "forbidden");
        reader.get("/api/v1/producers").refused(403, "forbidden");
    }
    for reader in [&town.funders[0], &town.evaluator] {
        reader.get("/api/v1/stalls").refused(403, "forbidden");
    }
    town.world.verify();
}
