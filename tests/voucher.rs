//! The card: handed over once, read by any reader, blocked, replaced, never forged, and nowhere in the database.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::process::Command;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use diesel::prelude::*;
use diesel::sql_types::Text;
use primeur::kit::keys::Keys;
use primeur::kit::money::Cents;
use primeur::voucher::token::Token;
use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::town::{Card, Setup, card, newcomer};
use crate::support::{Answer, Town, World, on_both_databases};

on_both_databases!(
    another_reader_reads_the_picture_and_what_it_reads_redeems,
    a_card_is_handed_over_once_and_a_repeat_gives_the_same_card,
    both_the_code_and_the_token_pay_however_they_are_typed,
    the_picture_reads_back_as_the_token_and_pays,
    a_blocked_card_is_refused_until_it_is_unblocked,
    a_lost_card_is_refused_from_the_moment_it_is_replaced,
    a_card_is_replaced_once_under_one_key,
    a_card_that_is_not_ours_is_unknown,
    the_cards_of_a_structure_are_nobody_else_s,
    no_code_and_no_token_is_in_the_database,
);

fn change(town: &Town, card: &str, action: &str) -> Answer {
    town.worker.act(&format!("/api/v1/vouchers/{card}/{action}"))
}

fn replace(town: &Town, card: &str) -> Answer {
    replace_with_key(town, card, &new_key())
}

fn replace_with_key(town: &Town, card: &str, key: &str) -> Answer {
    town.worker.send("POST", &format!("/api/v1/vouchers/{card}/replace"), &[("idempotency-key", key)], None)
}

fn qr(town: &Town, card: &Card, accept: &str) -> Vec<u8> {
    let answer = town.worker.get_as(&format!("/api/v1/vouchers/{}/qr", card.id), accept);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(accept)));
    answer.bytes
}

/// What a camera reads in a picture of these luminances.
fn read(width: usize, height: usize, luma: impl FnMut(usize, usize) -> u8) -> String {
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, luma);
    let grids = picture.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().unwrap().1
}

fn read_png(file: &[u8]) -> String {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let size = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (size.width as usize, size.height as usize);
    read(width, height, |x, y| pixels[y * width + x])
}

/// Reads a QR drawn as one path of squares, `M<x> <y>h<side>…`, in a document whose every tag is closed.
fn read_svg(document: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    let mut attributes = BTreeMap::new();
    for tag in document.split('<').skip(1).map(|rest| rest.split_once('>').expect("a tag ends").0) {
        let (name, rest) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if tag.starts_with('?') || tag.ends_with('/') => {}
            None => open.push(name),
        }
        let quoted: Vec<&str> = rest.split('"').collect();
        assert_eq!(quoted.len() % 2, 1, "{tag}: a quote is open");
        let names = quoted.iter().step_by(2).map(|name| name.trim().trim_end_matches('='));
        attributes.extend(names.zip(quoted.iter().skip(1).step_by(2)).map(|(key, value)| ((name, key), *value)));
    }
    assert!(open.is_empty() && document.trim_end().ends_with("</svg>"), "{open:?} is never closed");
    let side: usize = attributes[&("svg", "width")].parse().unwrap();
    let mut dark = vec![255; side * side];
    for square in attributes[&("path", "d")].split('M').skip(1) {
        let number = |text: &str| text.parse::<usize>().unwrap();
        let (x, rest) = square.split_once([' ', ',']).unwrap();
        let (y, rest) = rest.split_once('h').unwrap();
        let (width, _) = rest.split_once('v').unwrap();
        let (x, y, width) = (number(x), number(y), number(width));
        (y..y + 8).for_each(|row| dark[row * side + x..row * side + x + width].fill(0));
    }
    read(side, side, |x, y| dark[y * side + x])
}

fn a_card_is_handed_over_once_and_a_repeat_gives_the_same_card(world: World) {
    let town = Town::new(world);
    let enrolment = town.enrol()["id"].clone();
    let (key, body) = (new_key(), json!({ "enrolment_id": enrolment }));
    let first = town.worker.post_with_key("/api/v1/vouchers", &key, body.clone());
    let again = town.worker.post_with_key("/api/v1/vouchers", &key, body.clone());
    assert_eq!(first.header("idempotent-replay"), None);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
    let handed = first.expect(201);
    assert_eq!(again.expect(201), handed);
    let days = ["valid_from", "valid_to", "state"].map(|key| handed[key].as_str().unwrap());
    assert_eq!(days, ["2026-07-01", "2026-12-31", "active"]);
    town.worker.post_once("/api/v1/vouchers", body.clone()).refused(409, "voucher_exists");
    let id = handed["id"].as_str().unwrap();
    assert_eq!(town.worker.get(&format!("/api/v1/vouchers/{id}")).expect(200), handed);
    change(&town, id, "block").expect(200);
    town.worker.post_once("/api/v1/vouchers", body.clone()).refused(409, "voucher_exists");
    // a repeat is the first answer, whatever has become of the card
    assert_eq!(town.worker.post_with_key("/api/v1/vouchers", &key, body).expect(201), handed);

    let left = town.enrol()["id"].as_str().unwrap().to_owned();
    town.worker.post(&format!("/api/v1/enrolments/{left}/leave"), json!({"return_issued": false})).expect(200);
    town.worker.post_once("/api/v1/vouchers", json!({"enrolment_id": left})).refused(409, "enrolment_state");
    town.world.verify();
}

fn both_the_code_and_the_token_pay_however_they_are_typed(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let bare = card.code.replace('-', "");
    let spoken = card.code.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
    let inside = card.token.rsplit('/').next().unwrap();
    let elsewhere = format!("https://autre.exemple/v/{}", inside.to_lowercase());
    for typed in [&card.code, &bare, &spoken, &card.token, inside, &elsewhere] {
        town.tills[0].redeem(typed, 100).expect(201);
    }
    assert_eq!(town.balance(&card.enrolment), 6000 - 600);
    assert!(card.token.starts_with("HTTPS://CHEQUE.PRIMEUR.EXAMPLE/V/"), "{}", card.token);
    town.world.verify();
}

fn the_picture_reads_back_as_the_token_and_pays(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let read = read_png(&qr(&town, &card, "image/png"));
    assert_eq!(read, card.token);
    town.tills[0].redeem(&read, 1234).expect(201);
    let drawn = String::from_utf8(qr(&town, &card, "image/svg+xml")).unwrap();
    assert_eq!(read_svg(&drawn), card.token);
    let path = format!("/api/v1/vouchers/{}/qr", card.id);
    assert_eq!(town.worker.get(&path).header("content-type"), Some("image/svg+xml"));
    town.worker.get_as(&path, "image/jpeg").refused(406, "not_acceptable");
    town.world.verify();
}

/// `zbarimg`, of Debian's package zbar-tools, which `scripts/test` installs.
fn another_reader_reads_the_picture_and_what_it_reads_redeems(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let file = town.world.directory.join("card.png");
    std::fs::write(&file, qr(&town, &card, "image/png")).unwrap();
    let output = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(&file).output().expect("zbarimg runs");
    let read = String::from_utf8(output.stdout).unwrap();
    assert_eq!(read.trim_end(), card.token);
    town.tills[0].redeem(read.trim_end(), 100).expect(201);
    town.world.verify();
}

fn a_blocked_card_is_refused_until_it_is_unblocked(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    change(&town, &card.id, "unblock").refused(409, "voucher_state");
    assert_eq!(change(&town, &card.id, "block").expect(200)["state"], "blocked");
    change(&town, &card.id, "block").refused(409, "voucher_state");
    for shown in [&card.token, &card.code] {
        till.redeem(shown, 100).refused(409, "voucher_blocked");
        assert_eq!(till.check(shown)["code"], "voucher_blocked");
    }
    assert_eq!(change(&town, &card.id, "unblock").expect(200)["state"], "active");
    till.redeem(&card.token, 6000).expect(201);
    town.world.verify();
}

fn a_lost_card_is_refused_from_the_moment_it_is_replaced(world: World) {
    let town = Town::new(world);
    let (old, till) = (town.new_card(), &town.tills[0]);
    till.redeem(&old.token, 1000).expect(201);
    let new = card(&replace(&town, &old.id).expect(201));
    assert_eq!(new.enrolment, old.enrolment);
    assert!(new.id != old.id && new.token != old.token && new.code != old.code);
    for shown in [&old.token, &old.code] {
        till.redeem(shown, 100).refused(409, "voucher_replaced");
        assert_eq!(till.check(shown)["code"], "voucher_replaced");
    }
    // balance intact
    till.redeem(&new.token, 5001).refused(409, "insufficient_balance");
    till.redeem(&new.code, 5000).expect(201);
    for action in ["block", "unblock"] {
        change(&town, &old.id, action).refused(409, "voucher_state");
    }
    replace(&town, &old.id).refused(409, "voucher_state");
    let hand_over = json!({"enrolment_id": old.enrolment});
    town.worker.post_once("/api/v1/vouchers", hand_over).refused(409, "voucher_exists");
    // a blocked card can be replaced: the new one pays
    change(&town, &new.id, "block").expect(200);
    let third = card(&replace(&town, &new.id).expect(201));
    town.world.advance_to("2026-07-31T22:00:00Z");
    till.redeem(&third.code, 6000).expect(201);
    let cards = town.worker.get(&format!("/api/v1/vouchers?enrolment_id={}", old.enrolment)).expect(200);
    let mut states: Vec<_> = cards["items"].as_array().unwrap().iter().map(|card| card["state"].clone()).collect();
    states.sort_by_key(Value::to_string);
    assert_eq!(states, ["active", "replaced", "replaced"]);
    town.world.verify();
}

fn a_card_is_replaced_once_under_one_key(world: World) {
    let town = Town::new(world);
    let (old, other, key) = (town.new_card(), town.new_card(), new_key());
    let new = replace_with_key(&town, &old.id, &key).expect(201);
    let again = replace_with_key(&town, &old.id, &key);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
    assert_eq!(again.expect(201), new);
    replace_with_key(&town, &other.id, &key).refused(409, "idempotency_conflict");
    town.tills[0].redeem(&other.token, 100).expect(201);
    town.world.verify();
}

fn a_card_that_is_not_ours_is_unknown(world: World) {
    let town = Town::new(world);
    let (card, till) = (town.new_card(), &town.tills[0]);
    let of = |voucher: &str| Token {
        voucher: voucher.parse().unwrap(),
        valid_from: "2026-07-01".parse().unwrap(),
        valid_to: "2026-12-31".parse().unwrap(),
        offline_ceiling: Cents(0),
    };
    let host = town.world.state.host();
    let other_keys = Keys::create(&town.world.directory.join("other-keys"), town.world.now()).unwrap();
    let signed_by_another = of(&card.id).encode(&other_keys.voucher, host);
    let signed_for_logins = of(&card.id).encode(&town.world.state.keys.now().login, host);
    let never_handed_over = of("vch_06fgq7o001o3sq8sqf7t3r0du4").encode(&town.world.state.keys.now().voucher, host);
    // signed as this house signs, it is the card itself
    assert_eq!(of(&card.id).encode(&town.world.state.keys.now().voucher, host), card.token);
    let truncated = card.token[..card.token.len() - 1].to_owned();
    let (start, inside) = card.token.rsplit_once('/').unwrap();
    let mut bytes = BASE32_NOPAD.decode(inside.as_bytes()).unwrap();
    bytes[24] ^= 1; // a day more of validity
    let prolonged = format!("{start}/{}", BASE32_NOPAD.encode(&bytes));
    // the last of the check symbols is another one
    let (rest, last) = card.code.split_at(13);
    let mistyped = format!("{rest}{}", if last == "A" { "B" } else { "A" });
    let elsewhere = Town::new(World::on_sqlite()).new_card();

    let mut all = vec![signed_by_another, signed_for_logins, never_handed_over, truncated, prolonged];
    all.extend([mistyped, elsewhere.token, elsewhere.code, "bonjour".to_owned(), "x".repeat(400)]);
    for shown in all {
        till.redeem(&shown, 100).refused(409, "unknown_voucher");
        assert_eq!(till.check(&shown)["code"], "unknown_voucher", "{shown}");
    }
    assert_eq!(till.check(&card.token)["accepted"], true);
    town.world.verify();
}

fn the_cards_of_a_structure_are_nobody_else_s(world: World) {
    let town = Town::with(world, Setup { producers: 1, ..Setup::default() });
    let card = town.new_card();
    let (structure, stranger) = newcomer(&town.world, &town.manager, "social_structure", "Autre CCAS");
    town.manager.set(&format!("/api/v1/programmes/{}/members/{structure}", town.programme)).expect(204);
    let path = format!("/api/v1/vouchers/{}", card.id);
    stranger.get(&path).refused(404, "not_found");
    stranger.get(&format!("{path}/qr")).refused(404, "not_found");
    stranger.act(&format!("{path}/block")).refused(404, "not_found");
    stranger.act(&format!("{path}/unblock")).refused(404, "not_found");
    let key = new_key();
    stranger.send("POST", &format!("{path}/replace"), &[("idempotency-key", &key)], None).refused(404, "not_found");
    let hand_over = json!({"enrolment_id": card.enrolment});
    stranger.post_once("/api/v1/vouchers", hand_over).refused(404, "not_found");
    assert_eq!(stranger.get("/api/v1/vouchers").expect(200)["items"], json!([]));
    for other in [&town.manager, &town.administrator, &town.evaluator, &town.tills[0].client] {
        other.get(&path).refused(403, "forbidden");
    }
    town.tills[0].redeem(&card.token, 100).expect(201);
    town.world.verify();
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    text: String,
}

/// Every row of every table as text, bytes in hexadecimal.
fn dump(world: &World) -> String {
    let found = |rows: Vec<Found>| rows.into_iter().map(|row| row.text);
    match world.database_url.strip_prefix("sqlite://") {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path).unwrap();
            let mut select = |sql: &str| found(diesel::sql_query(sql).load(&mut conn).unwrap()).collect::<Vec<_>>();
            let columns = select(
                "SELECT 'SELECT quote(\"' || c.name || '\") AS text FROM \"' || t.name || '\"' AS text
                 FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'",
            );
            columns.iter().flat_map(|column| select(column)).collect::<Vec<_>>().join("\n")
        }
        None => {
            let mut conn = PgConnection::establish(&world.database_url).unwrap();
            let mut select = |sql: &str| found(diesel::sql_query(sql).load(&mut conn).unwrap()).collect::<Vec<_>>();
            let tables = select(
                "SELECT format('SELECT t::text AS text FROM %I t', tablename) AS text
                 FROM pg_tables WHERE schemaname = 'public'",
            );
            tables.iter().flat_map(|table| select(table)).collect::<Vec<_>>().join("\n")
        }
    }
}

fn no_code_and_no_token_is_in_the_database(world: World) {
    let town = Town::new(world);
    let old = town.new_card();
    let (hand_over, replacement) = (new_key(), new_key());
    let enrolment = json!({"enrolment_id": town.enrol()["id"]});
    let other = card(&town.worker.post_with_key("/api/v1/vouchers", &hand_over, enrolment).expect(201));
    let new = card(&replace_with_key(&town, &old.id, &replacement).expect(201));
    for card in [&other, &new] {
        town.tills[0].redeem(&card.token, 100).expect(201);
        town.tills[0].redeem(&card.code, 200).expect(201);
    }
    let dump = dump(&town.world).to_lowercase();
    for present in [&hand_over, &replacement, "62427", "du 12 mars"] {
        assert!(dump.contains(present), "the dump lacks {present}: it is not whole");
    }
    for Card { token, code, .. } in [&old, &new, &other] {
        let signed = token.rsplit('/').next().unwrap();
        let bytes = BASE32_NOPAD.decode(signed.as_bytes()).unwrap();
        let bare = code.replace('-', "");
        let symbol = |c: char| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c).unwrap() as u64;
        let number = bare[..10].chars().fold(0, |number, c| (number << 5) | symbol(c));
        let secrets = [
            HEXLOWER.encode(&bytes[27..]),
            HEXLOWER.encode(code.as_bytes()),
            HEXLOWER.encode(bare.as_bytes()),
            HEXLOWER.encode(signed.as_bytes()),
            HEXLOWER.encode(&u64::to_be_bytes(number)),
            number.to_string(),
            signed.to_lowercase(),
            signed[60..].to_lowercase(),
            code.to_lowercase(),
            bare.to_lowercase(),
        ];
        for secret in secrets {
            assert!(!dump.contains(&secret), "the database tells {secret}");
        }
    }
    town.world.verify();
}
