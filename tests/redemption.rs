//! The till: what is covered, what is refused and how, what is undone.

use serde_json::{Value, json};

use crate::support::client::new_key;
use crate::support::town::{Setup, rules};
use crate::support::{Town, World, cents, on_both_databases};

on_both_databases!(
    a_basket_is_covered_and_the_rest_of_the_month_stays,
    what_a_voucher_does_not_hold_is_left_to_collect_where_a_part_will_do,
    a_balance_is_told_only_where_the_programme_shows_it,
    a_repeat_gets_the_first_answer_and_another_body_under_its_key_a_conflict,
    a_refusal_is_not_stored_so_that_a_corrected_retry_is_decided_afresh,
    a_key_belongs_to_its_organisation,
    a_second_tap_is_caught_unless_the_seller_says_it_is_another_purchase,
    every_refusal_at_the_till_has_its_name_and_writes_nothing,
    a_void_gives_back_exactly_what_was_taken_and_twice_is_once,
    a_void_is_for_the_stall_s_own_producer_and_inside_its_window,
    a_void_reads_its_body_as_strictly_as_any_other_or_takes_none,
    lines_must_add_up_to_the_basket,
    one_s_own_list_is_newest_first_and_nobody_else_s,
    the_till_s_answers_name_no_household_and_no_balance,
    a_purchase_across_two_months_takes_the_one_that_ends_first,
);

fn a_basket_is_covered_and_the_rest_of_the_month_stays(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    assert_eq!(
        till.check(&card.token),
        json!({"accepted": true, "code": null, "detail": null, "spendable": null, "covered": null, "to_collect": null, "display": null})
    );
    let sold = till.redeem(&card.token, 2540).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("25.40"), &json!("0.00")));
    assert_eq!(town.balance(&card.enrolment), 3460);
    let sold = till.redeem(&card.code, 100).expect(201);
    assert_eq!(cents(&sold["covered"]), 100);
    assert_eq!(town.balance(&card.enrolment), 3360);
    town.world.verify();
}

fn what_a_voucher_does_not_hold_is_left_to_collect_where_a_part_will_do(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    till.redeem(&card.token, 6001).refused(409, "insufficient_balance");
    let sold = till.redeem_in_part(&card.token, 7510).expect(201);
    assert_eq!((&sold["covered"], &sold["to_collect"]), (&json!("60.00"), &json!("15.10")));
    till.redeem_in_part(&card.token, 1).refused(409, "insufficient_balance");
    assert_eq!(till.check(&card.token)["code"], "insufficient_balance");
    town.world.verify();
}

fn a_balance_is_told_only_where_the_programme_shows_it(world: World) {
    let mut rules = rules("60.00", "none");
    rules["show_balance"] = json!(true);
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let card = town.new_card();
    let till = &town.tills[0];
    assert_eq!(till.check(&card.token)["spendable"], "60.00");
    till.redeem(&card.token, 2000).expect(201);
    let problem = till.redeem(&card.token, 5000).refused(409, "insufficient_balance");
    assert_eq!(problem["spendable"], "40.00");
}

fn a_repeat_gets_the_first_answer_and_another_body_under_its_key_a_conflict(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let (key, basket) = (new_key(), till.basket(&card.token, 1234, false));
    let first = till.client.post_with_key("/api/v1/redemptions", &key, basket.clone());
    assert_eq!((first.status, first.header("idempotent-replay")), (201, None));
    till.void(first.json()["id"].as_str().unwrap()).expect(200);
    // whatever has happened since, the repeat says what was said
    let repeat = till.client.post_with_key("/api/v1/redemptions", &key, basket);
    assert_eq!((repeat.status, repeat.header("idempotent-replay")), (201, Some("true")));
    assert_eq!(repeat.bytes, first.bytes);
    assert_eq!(town.balance(&card.enrolment), 6000);
    let other = till.basket(&card.token, 1235, false);
    till.client.post_with_key("/api/v1/redemptions", &key, other).refused(409, "idempotency_conflict");
    town.world.verify();
}

fn a_refusal_is_not_stored_so_that_a_corrected_retry_is_decided_afresh(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let (key, basket) = (new_key(), till.basket(&card.token, 500, false));
    town.worker.act(&format!("/api/v1/vouchers/{}/block", card.id)).expect(200);
    till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()).refused(409, "voucher_blocked");
    town.worker.act(&format!("/api/v1/vouchers/{}/unblock", card.id)).expect(200);
    till.client.post_with_key("/api/v1/redemptions", &key, basket).expect(201);
}

fn a_key_belongs_to_its_organisation(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let key = new_key();
    for till in &town.tills {
        let sold = till.client.post_with_key("/api/v1/redemptions", &key, till.basket(&card.token, 500, false));
        assert_eq!(sold.header("idempotent-replay"), None);
        sold.expect(201);
    }
    assert_eq!(town.balance(&card.enrolment), 5000);
}

fn a_second_tap_is_caught_unless_the_seller_says_it_is_another_purchase(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let mut basket = till.basket(&card.token, 500, false);
    basket["another_purchase"] = json!(false);
    let redeem = |basket: &Value| till.client.post_once("/api/v1/redemptions", basket.clone());
    let first = redeem(&basket).expect(201);
    redeem(&basket).refused(409, "already_redeemed_by_you");
    // another basket, another stall, an undone purchase or a later one are no second tap
    let mut other = basket.clone();
    other["basket"] = json!("5.01");
    redeem(&other).expect(201);
    other["basket"] = json!("5.00");
    other["stall_id"] = json!(town.open_stall(&till.client, "Marché du mardi"));
    redeem(&other).expect(201);
    till.void(first["id"].as_str().unwrap()).expect(200);
    redeem(&basket).expect(201);
    redeem(&basket).refused(409, "already_redeemed_by_you");
    town.world.pass_minutes(2);
    redeem(&basket).expect(201);
    basket["another_purchase"] = json!(true);
    redeem(&basket).expect(201);
    // nor is the tap that emptied the card to be paid a second time
    let rest = town.balance(&card.enrolment);
    let mut last = till.basket(&card.token, rest + 100, true);
    last["another_purchase"] = json!(false);
    redeem(&last).expect(201);
    redeem(&last).refused(409, "already_redeemed_by_you");
    town.world.verify();
}

fn every_refusal_at_the_till_has_its_name_and_writes_nothing(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let before = town.budget();
    let refused = |till: &crate::support::town::Till, voucher: &str, code: &str| {
        let problem = till.redeem(voucher, 100).refused(409, code);
        let checked = till.check(voucher);
        assert_eq!((&checked["accepted"], &checked["code"]), (&json!(false), &json!(code)));
        assert_eq!(checked["detail"], problem["detail"], "check and redeem say the same");
    };
    refused(till, "0000-0000-0001", "unknown_voucher");
    let (kept, changed) = card.token.split_at(card.token.len() - 9);
    let changed = changed.replacen(|_| true, if changed.starts_with('A') { "B" } else { "A" }, 1);
    refused(till, &format!("{kept}{changed}"), "unknown_voucher");

    let stranger = town.new_till(7);
    refused(&stranger, &card.token, "producer_not_approved");
    town.decide(&stranger, "refuse").expect(200);
    refused(&stranger, &card.token, "producer_not_approved");
    town.approve(&stranger);
    town.decide(&stranger, "suspend").expect(200);
    refused(&stranger, &card.token, "producer_suspended");

    let mut closed = till.clone();
    closed.stall = town.open_stall(&till.client, "Marché fermé");
    till.client.act(&format!("/api/v1/stalls/{}/close", closed.stall)).expect(200);
    refused(&closed, &card.token, "stall_closed");

    town.worker.act(&format!("/api/v1/vouchers/{}/block", card.id)).expect(200);
    refused(till, &card.token, "voucher_blocked");
    town.worker.act(&format!("/api/v1/vouchers/{}/unblock", card.id)).expect(200);

    town.worker.act(&format!("/api/v1/enrolments/{}/suspend", card.enrolment)).expect(200);
    refused(till, &card.token, "voucher_suspended");
    town.worker.act(&format!("/api/v1/enrolments/{}/resume", card.enrolment)).expect(200);

    let new = town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", card.id)).expect(201);
    let new = new["token"].as_str().unwrap();
    refused(till, &card.token, "voucher_replaced");
    let body = json!({"household_id": town.household(1, 0), "programme_id": town.programme, "starts_on": "2026-08-01"});
    let later = town.worker.post_once("/api/v1/enrolments", body).expect(201);
    let later = town.card_for(later["id"].as_str().unwrap());
    refused(till, &later.token, "not_started");
    let after = town.budget();
    assert_eq!(before["total"]["redeemed"], after["total"]["redeemed"]);

    // the day after the last of six months
    town.world.advance_to("2026-12-31T23:00:00Z");
    refused(till, new, "voucher_expired");
    town.world.verify();
}

fn a_void_gives_back_exactly_what_was_taken_and_twice_is_once(world: World) {
    let town = Town::with(world, Setup { agreements: vec![(100_000, 2), (100_000, 1)], ..Setup::default() });
    let card = town.new_card();
    let till = &town.tills[0];
    till.redeem(&card.token, 1001).expect(201);
    let before = (town.report(0, "2026-07"), town.report(1, "2026-07"));
    let sold = till.redeem(&card.token, 3333).expect(201);
    let id = sold["id"].as_str().unwrap();
    let voided = till.void(id);
    let first = voided.bytes.clone();
    assert_eq!(voided.expect(200)["voided"]["reason"], "rendu");
    town.world.pass_minutes(90);
    assert_eq!(till.void(id).bytes, first, "a repeat gets the first answer, even after the window");
    assert_eq!(town.balance(&card.enrolment), 6000 - 1001);
    for (number, before) in [before.0, before.1].iter().enumerate() {
        let after = town.report(number, "2026-07");
        assert_eq!(before["outstanding"]["closing"], after["outstanding"]["closing"]);
        assert_eq!(before["payable"]["closing"], after["payable"]["closing"]);
        assert_eq!(after["control"]["lines"], 3);
    }
    town.world.verify();
}

fn a_void_is_for_the_stall_s_own_producer_and_inside_its_window(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let sold = till.redeem(&card.token, 1000).expect(201);
    let id = sold["id"].as_str().unwrap();
    town.tills[1].void(id).refused(404, "not_found");
    // 10:00 in Paris and one hour: 11:00:00 is too late, one microsecond before is not
    assert_eq!(sold["void_until"], "2026-07-01T09:00:00Z");
    town.world.set_clock("2026-07-01T09:00:00Z");
    till.void(id).refused(409, "void_window_over");
    town.world.set_clock("2026-07-01T08:59:59.999999Z");
    till.void(id).expect(200);
    town.world.verify();
}

fn a_void_reads_its_body_as_strictly_as_any_other_or_takes_none(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let sold = till.redeem(&card.token, 1000).expect(201);
    let path = format!("/api/v1/redemptions/{}/void", sold["id"].as_str().unwrap());
    till.client.post(&path, json!({"reson": "rendu"})).refused(422, "invalid_request");
    till.client.post(&path, json!([])).refused(422, "invalid_request");
    let broken = [("content-type", "application/json")];
    till.client.send_raw("POST", &path, &broken, Some(b"{broken"), None).refused(400, "malformed_json");
    assert_eq!(town.balance(&card.enrolment), 5000);
    till.client.act(&path).expect(200);
    assert_eq!(town.balance(&card.enrolment), 6000);
}

fn lines_must_add_up_to_the_basket(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let mut basket = till.basket(&card.token, 1000, false);
    basket["lines"] = json!([{"category": "fruit_vegetables", "labels": ["local", "organic"], "amount": "6.50"},
               {"category": "eggs", "labels": [], "amount": "3.49"}]);
    let problem = till.client.post_once("/api/v1/redemptions", basket.clone()).refused(422, "invalid_request");
    assert_eq!(problem["fields"][0]["field"], "lines");
    basket["lines"][1]["amount"] = json!("3.50");
    let sold = till.client.post_once("/api/v1/redemptions", basket.clone()).expect(201);
    assert_eq!(sold["lines"], basket["lines"]);
    town.world.verify();
}

fn one_s_own_list_is_newest_first_and_nobody_else_s(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let (mine, other) = (&town.tills[0], &town.tills[1]);
    let mut sold = Vec::new();
    for amount in [101, 102, 103] {
        town.world.pass_minutes(1);
        sold.push(mine.redeem(&card.token, amount).expect(201)["id"].clone());
        other.redeem(&card.token, amount).expect(201);
    }
    sold.reverse();
    let page = mine.client.get("/api/v1/redemptions?limit=2").expect(200);
    let ids = |page: &Value| page["items"].as_array().unwrap().iter().map(|r| r["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&page), sold[..2]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = mine.client.get(&format!("/api/v1/redemptions?limit=2&cursor={cursor}")).expect(200);
    assert_eq!((ids(&rest), &rest["next_cursor"]), (sold[2..].to_vec(), &Value::Null));
    let none = mine.client.get("/api/v1/redemptions?from=2026-07-02").expect(200);
    assert_eq!(none["items"], json!([]));
    let today = mine.client.get(&format!("/api/v1/redemptions?from=2026-07-01&to=2026-07-01&stall_id={}", mine.stall));
    assert_eq!(ids(&today.expect(200)), sold);
    other.client.get(&format!("/api/v1/redemptions/{}", sold[0].as_str().unwrap())).refused(404, "not_found");
}

fn the_till_s_answers_name_no_household_and_no_balance(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    let sold = till.redeem(&card.token, 1000);
    let seen = [
        sold.bytes.clone(),
        till.void(sold.json()["id"].as_str().unwrap()).bytes,
        till.redeem(&card.token, 9000).bytes,
        till.client.get("/api/v1/redemptions").bytes,
        till.check(&card.token).to_string().into_bytes(),
    ];
    for bytes in seen {
        let text = String::from_utf8(bytes).unwrap();
        for secret in ["hhd_", "enr_", "vch_", "alw_", "agr_", "50.00", "60.00", "balance\":\""] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

fn a_purchase_across_two_months_takes_the_one_that_ends_first(world: World) {
    let town = Town::with(
        world,
        Setup {
            rules: {
                let mut rules = rules("60.00", "none");
                rules["expiry_days"] = json!(10);
                rules
            },
            ..Setup::default()
        },
    );
    let card = town.new_card();
    let till = &town.tills[0];
    till.redeem(&card.token, 2000).expect(201);
    // 5 August: July's 40 € last until the 10th, August's 60 € have come
    town.world.advance_to("2026-08-05T08:00:00Z");
    till.redeem(&card.token, 7000).expect(201);
    let allowances = town.enrolment(&card.enrolment)["allowances"].clone();
    assert_eq!((&allowances[0]["balance"], &allowances[1]["balance"]), (&json!("0.00"), &json!("30.00")));
    town.world.verify();
}
