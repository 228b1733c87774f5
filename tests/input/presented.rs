//! Cards and tokens that this deployment has not made.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use primeur::access::token::{self, Claims};
use primeur::kit::keys::Keys;
use primeur::kit::money::Cents;
use primeur::voucher::token::Token;
use serde_json::json;
use sha2::Sha256;

use super::{Bench, in_both_languages, operation};
use crate::support::{Town, World, on_both_databases};

on_both_databases!(a_card_that_we_have_not_made_buys_nothing, a_token_that_we_have_not_made_opens_nothing);

fn a_card_that_we_have_not_made_buys_nothing(world: World) {
    let bench = Bench::new(world);
    let (card, redeem) = (&bench.card, operation("redeem"));
    let world = &bench.town.world;
    let elsewhere = Town::new(World::on_sqlite()).new_card();
    let old = Keys::create(&world.directory.join("old"), world.now()).unwrap();
    let of_old_key = Token {
        voucher: card.id.parse().unwrap(),
        valid_from: "2026-07-01".parse().unwrap(),
        valid_to: "2026-12-31".parse().unwrap(),
        offline_ceiling: Cents(0),
    };
    let of_old_key = of_old_key.encode(&old.voucher, world.state.host());
    let mut all = vec![of_old_key, elsewhere.token, elsewhere.code, "HTTPS://A/V/".to_owned(), "bonjour".to_owned()];
    let code = card.token.rfind('/').unwrap() + 1;
    for place in [code, code + 20, card.token.len() - 1] {
        let mut forged = card.token.clone();
        forged.replace_range(place..=place, if &forged[place..=place] == "A" { "B" } else { "A" });
        all.extend([forged, card.token[..place].to_owned()]);
    }
    for place in [0, 6, 13] {
        let mut mistyped = card.code.clone();
        mistyped.replace_range(place..=place, if &mistyped[place..=place] == "7" { "8" } else { "7" });
        all.push(mistyped);
    }
    for shown in all {
        let mut body = bench.body(&redeem);
        body["voucher"] = json!(shown);
        let body = serde_json::to_vec(&body).unwrap();
        bench.refused(&redeem, "application/json", &body, 409, "unknown_voucher");
        assert_eq!(bench.town.tills[0].check(&shown)["code"], "unknown_voucher", "{shown}");
    }
    bench.unchanged();
}

fn a_token_that_we_have_not_made_opens_nothing(world: World) {
    let bench = Bench::new(world);
    let (world, worker) = (&bench.town.world, &bench.town.worker);
    let good = worker.token.clone().unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Claims = serde_json::from_slice(&BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap();
    let keys = world.state.keys.now();
    let (kid, key) = keys.login.current();
    let header = |alg: &str, kid: &str| {
        BASE64URL_NOPAD.encode(json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string().as_bytes())
    };
    let public = key.verifying_key();
    let mut bad: Vec<String> = Vec::new();
    for secret in [public.as_bytes().to_vec(), HEXLOWER.encode(public.as_bytes()).into_bytes()] {
        let message = format!("{}.{}", header("HS256", &kid.to_string()), parts[1]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(message.as_bytes());
        bad.push(format!("{message}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())));
    }
    let (now, sign) = (world.now().as_second(), |claims: &Claims| token::sign(&keys.login, claims).unwrap());
    let elsewhere = Keys::create(&world.directory.join("elsewhere"), world.now()).unwrap();
    bad.extend([
        format!("{}.{}.", header("none", &kid.to_string()), parts[1]),
        format!("{}.{}.{}", header("EdDSA", "00000000"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][1..]),
        sign(&Claims { exp: now, ..claims.clone() }),
        sign(&Claims { iat: now + 3600, ..claims.clone() }),
        token::sign(&elsewhere.login, &claims).unwrap(),
        token::sign(&keys.voucher, &claims).unwrap(),
        "x".to_owned(),
    ]);
    let (enrol, household) = (operation("create_household"), bench.town.household(1, 0));
    let before = crate::support::sql::Sql::of(world).counts();
    for token in bad {
        for path in ["/api/v1/households", &format!("/api/v1/households/{household}"), &enrol.path] {
            let [french, english] = [Some("fr"), Some("en")].map(|language| {
                let stranger = worker.with_token(&token).speaking(language);
                match path == enrol.path && language == Some("en") {
                    true => stranger.post(path, json!(bench.body(&enrol))).refused(401, "unauthenticated"),
                    false => stranger.get(path).refused(401, "unauthenticated"),
                }
            });
            in_both_languages(&french, &english);
        }
    }
    // of another role, and of another organisation
    let till = &bench.town.tills[0].client;
    till.post("/api/v1/households", json!(bench.body(&enrol))).refused(403, "forbidden");
    let (_, stranger) =
        crate::support::town::newcomer(world, &bench.town.manager, "social_structure", "Autre structure");
    stranger.get(&format!("/api/v1/households/{household}")).refused(404, "not_found");
    let mut after = crate::support::sql::Sql::of(world).counts();
    // the newcomer's own rows apart, nothing has come
    after.retain(|(table, _)| before.iter().any(|(known, _)| known == table));
    let count = |counts: &[(String, i64)], name: &str| counts.iter().find(|(table, _)| table == name).unwrap().1;
    for table in ["households", "enrolments", "transfers", "redemptions"] {
        assert_eq!(count(&before, table), count(&after, table), "{table}");
    }
    world.verify();
}
