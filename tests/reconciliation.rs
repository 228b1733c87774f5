//! The funder's month: every figure as worked out by hand, and it never changes once it is over.

use serde_json::{Value, json};

use crate::support::town::{Card, Setup, newcomer, rules_with, siret};
use crate::support::{Town, World, on_both_databases};

on_both_databases!(
    a_commune_is_not_named_once_its_households_have_gone,
    every_figure_of_a_small_month_is_what_was_worked_out_by_hand,
    the_parts_of_a_purchase_add_up_over_the_agreements_to_what_it_covered,
    a_month_opens_with_what_the_last_one_closed_with,
    a_month_is_open_until_it_is_over_and_never_changes_after,
    a_void_stands_in_the_month_in_which_it_was_made,
    the_last_second_of_a_month_is_in_it_and_the_next_one_is_not,
    a_commune_of_ten_households_is_not_named_and_one_of_eleven_is,
    pseudonyms_last_one_month_and_one_agreement,
    a_month_that_cannot_be_reported_is_refused,
    a_funder_sees_its_own_agreement_and_no_other,
);

const JULY_IS_OVER: &str = "2026-07-31T22:00:00Z";

/// A month of two households of 60.00, funded 2 to 1 by agreements of 1000.00 and 500.00.
pub struct Month {
    pub town: Town,
    pub cards: [Card; 2],
}

/// What is left in hand is given as first + second agreement's; a basket takes from both in proportion to it.
pub fn month(world: World) -> Month {
    let rules = rules_with(&[("period.count", json!(2))]);
    let agreements = vec![(100_000, 2), (50_000, 1)];
    let town = Town::with(world, Setup { rules, agreements, ..Setup::default() });
    let cards @ [one, two] = &[town.new_card(), town.new_card()];
    let [farm, dairy] = &town.tills[..] else { panic!("two tills") };
    // the first household has 40.00 + 20.00
    town.world.set_clock("2026-07-02T08:00:00Z");
    farm.redeem(&one.token, 1000).expect(201); // 6.67 + 3.33, leaves 33.33 + 16.67
    town.world.set_clock("2026-07-03T08:00:00Z");
    dairy.redeem(&one.token, 1).expect(201); // 0.01 + 0.00, leaves 33.32 + 16.67
    farm.redeem(&one.token, 777).expect(201); // 7.77 × 3332 ÷ 4999 = 5.179: 5.18 + 2.59, leaves 28.14 + 14.08
    // the second household has 40.00 + 20.00 too
    town.world.set_clock("2026-07-04T08:00:00Z");
    let mistake = dairy.redeem(&two.token, 2500).expect(201); // 16.67 + 8.33
    town.world.pass_minutes(59);
    dairy.void(mistake["id"].as_str().unwrap()).expect(200);
    town.world.set_clock("2026-07-05T22:30:00Z"); // half past midnight in Paris: the 6th
    dairy.redeem(&two.token, 3333).expect(201); // 22.22 + 11.11, leaves 17.78 + 8.89
    town.world.set_clock("2026-07-20T08:00:00Z");
    let leave = json!({"return_issued": true});
    town.worker.post(&format!("/api/v1/enrolments/{}/leave", two.enrolment), leave).expect(200);
    Month { cards: cards.clone(), town }
}

/// Kind, day, producer, covered and part of each line, in an order of their own.
fn lines(report: &Value) -> Vec<[String; 5]> {
    let text =
        |line: &Value| ["kind", "day", "producer", "covered", "part"].map(|k| line[k].as_str().unwrap().to_owned());
    let mut lines: Vec<_> = report["lines"].as_array().unwrap().iter().map(text).collect();
    lines.sort_by(|a, b| (&a[1], &a[0], &a[3]).cmp(&(&b[1], &b[0], &b[3])));
    lines
}

fn every_figure_of_a_small_month_is_what_was_worked_out_by_hand(world: World) {
    let Month { town, .. } = month(world);
    town.world.advance_to(JULY_IS_OVER);
    let (first, second) = (town.report(0, "2026-07"), town.report(1, "2026-07"));

    // two households of two months each were promised 40.00; one left, and gave back August and what it had in hand
    assert_eq!(
        first["available"],
        json!({"opening": "0.00", "granted": "1000.00", "contributed": "0.00", "pooled": "0.00", "refunded": "0.00", "committed": "160.00", "released": "40.00", "returned": "17.78", "closing": "897.78"})
    );
    assert_eq!(
        first["committed"],
        json!({"opening": "0.00", "committed": "160.00", "released": "40.00", "issued": "80.00", "closing": "40.00"})
    );
    // 6.67 + 0.01 + 5.18 + 16.67 + 22.22 = 50.75
    assert_eq!(
        first["outstanding"],
        json!({"opening": "0.00", "issued": "80.00", "redeemed": "50.75", "voided": "16.67", "returned": "17.78", "closing": "28.14"})
    );
    assert_eq!(
        first["payable"],
        json!({"opening": "0.00", "redeemed": "50.75", "voided": "16.67", "closing": "34.08"})
    );
    assert_eq!(first["control"], json!({"lines": 6, "redeemed": "50.75", "voided": "16.67", "net": "34.08"}));
    assert_eq!(
        second["available"],
        json!({"opening": "0.00", "granted": "500.00", "contributed": "0.00", "pooled": "0.00", "refunded": "0.00", "committed": "80.00", "released": "20.00", "returned": "8.89", "closing": "448.89"})
    );
    assert_eq!(
        second["committed"],
        json!({"opening": "0.00", "committed": "80.00", "released": "20.00", "issued": "40.00", "closing": "20.00"})
    );
    // 3.33 + 2.59 + 8.33 + 11.11 = 25.36
    assert_eq!(
        second["outstanding"],
        json!({"opening": "0.00", "issued": "40.00", "redeemed": "25.36", "voided": "8.33", "returned": "8.89", "closing": "14.08"})
    );
    assert_eq!(
        second["payable"],
        json!({"opening": "0.00", "redeemed": "25.36", "voided": "8.33", "closing": "17.03"})
    );
    assert_eq!(second["control"], json!({"lines": 5, "redeemed": "25.36", "voided": "8.33", "net": "17.03"}));

    let producer = |number: usize, counts: [i32; 2], sums: [&str; 3]| {
        json!({
            "producer": format!("Ferme {number}"), "siret": siret(number), "redemptions": counts[0], "voids": counts[1],
            "redeemed": sums[0], "voided": sums[1], "net": sums[2],
        })
    };
    let rows = [producer(0, [2, 0], ["11.85", "0.00", "11.85"]), producer(1, [3, 1], ["38.90", "16.67", "22.23"])];
    assert_eq!(first["by_producer"], json!(rows));
    let rows = [producer(0, [2, 0], ["5.92", "0.00", "5.92"]), producer(1, [2, 1], ["19.44", "8.33", "11.11"])];
    assert_eq!(second["by_producer"], json!(rows));
    let others = json!([{"commune": null, "name": "Autres communes", "households": 2, "redeemed": "50.75", "voided": "16.67", "net": "34.08"}]);
    assert_eq!(first["by_commune"], others);
    assert_eq!(
        lines(&first),
        [
            ["redeem", "2026-07-02", "Ferme 0", "10.00", "6.67"],
            ["redeem", "2026-07-03", "Ferme 1", "0.01", "0.01"],
            ["redeem", "2026-07-03", "Ferme 0", "7.77", "5.18"],
            ["redeem", "2026-07-04", "Ferme 1", "25.00", "16.67"],
            ["void", "2026-07-04", "Ferme 1", "25.00", "16.67"],
            ["redeem", "2026-07-06", "Ferme 1", "33.33", "22.22"],
        ]
    );
    assert_eq!((&first["status"], &first["time_zone"]), (&json!("final"), &json!("Europe/Paris")));
    town.world.verify();
}

fn the_parts_of_a_purchase_add_up_over_the_agreements_to_what_it_covered(world: World) {
    let Month { town, .. } = month(world);
    let (first, second) = (lines(&town.report(0, "2026-07")), lines(&town.report(1, "2026-07")));
    let cents = |text: &str| text.replace('.', "").parse::<i64>().unwrap();
    for line in &first {
        let other = second.iter().find(|other| other[..4] == line[..4]);
        let parts = cents(&line[4]) + other.map_or(0, |other| cents(&other[4]));
        assert_eq!(parts, cents(&line[3]), "{line:?} {other:?}");
    }
    assert!(second.iter().all(|line| first.iter().any(|other| other[..4] == line[..4])));
    town.world.verify();
}

fn a_month_opens_with_what_the_last_one_closed_with(world: World) {
    let Month { town, cards } = month(world);
    town.world.advance_to("2026-08-01T08:00:00Z");
    town.tills[0].redeem(&cards[0].token, 555).expect(201); // 3.70 + 1.85 of 40.00 + 20.00
    let august = town.report(0, "2026-08");
    assert_eq!(
        august["available"],
        json!({"opening": "897.78", "granted": "0.00", "contributed": "0.00", "pooled": "0.00", "refunded": "0.00", "committed": "0.00", "released": "0.00", "returned": "28.14", "closing": "925.92"})
    );
    assert_eq!(
        august["outstanding"],
        json!({"opening": "28.14", "issued": "40.00", "redeemed": "3.70", "voided": "0.00", "returned": "28.14", "closing": "36.30"})
    );
    town.world.advance_to("2026-10-15T08:00:00Z");
    for agreement in 0..2 {
        let months = ["2026-07", "2026-08", "2026-09", "2026-10"].map(|month| town.report(agreement, month));
        for (month, next) in months.iter().zip(&months[1..]) {
            for block in ["available", "committed", "outstanding", "payable"] {
                assert_eq!(month[block]["closing"], next[block]["opening"], "{block} of {}", next["month"]);
            }
        }
        let statuses = months.map(|month| month["status"].clone());
        assert_eq!(statuses, ["final", "final", "final", "open"]);
    }
    town.world.verify();
}

fn a_month_is_open_until_it_is_over_and_never_changes_after(world: World) {
    let Month { town, cards } = month(world);
    let csv = |agreement: usize| {
        let path = format!("/api/v1/agreements/{}/reconciliations/2026-07?format=csv", town.agreements[agreement]);
        town.funders[agreement].get(&path).bytes
    };
    town.world.set_clock("2026-07-31T21:59:59Z");
    assert_eq!(town.report(0, "2026-07")["status"], "open");
    let late = town.tills[0].redeem(&cards[0].token, 600).expect(201);
    town.world.set_clock(JULY_IS_OVER);
    let (report, files) = (town.report(0, "2026-07"), [csv(0), csv(1)]);
    assert_eq!(report["status"], "final");

    // much happens later: a void of a sale in July, windows close, sales, a leaver, a newcomer, another address
    town.world.advance_to("2026-07-31T22:30:00Z");
    town.tills[0].void(late["id"].as_str().unwrap()).expect(200);
    town.world.advance_to("2026-08-10T08:00:00Z");
    town.tills[1].redeem(&cards[0].token, 1234).expect(201);
    town.new_card();
    town.worker.act(&format!("/api/v1/vouchers/{}/block", cards[0].id)).expect(200);
    let moved = json!({"siret": siret(77), "iban": "FR1420041010050500013M02606", "account_holder": "La Ferme"});
    town.tills[0].client.put("/api/v1/producers/me", moved).expect(200);
    town.world.advance_to("2027-06-01T08:00:00Z");
    assert!([csv(0), csv(1)] == files, "the file of July changed after July was over");
    let mut later = town.report(0, "2026-07");
    later["as_of"] = report["as_of"].clone();
    assert_eq!(later, report);
    let void = &town.report(0, "2026-08")["lines"][0];
    assert_eq!((&void["kind"], &void["day"], &void["covered"]), (&json!("void"), &json!("2026-08-01"), &json!("6.00")));
    town.world.verify();
}

fn a_void_stands_in_the_month_in_which_it_was_made(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    town.world.set_clock("2026-07-31T21:30:00Z");
    let sold = town.tills[0].redeem(&card.token, 2000).expect(201);
    town.world.advance_to("2026-07-31T22:15:00Z");
    town.tills[0].void(sold["id"].as_str().unwrap()).expect(200);
    let (july, august) = (town.report(0, "2026-07"), town.report(0, "2026-08"));
    assert_eq!(july["control"], json!({"lines": 1, "redeemed": "10.00", "voided": "0.00", "net": "10.00"}));
    assert_eq!(august["control"], json!({"lines": 1, "redeemed": "0.00", "voided": "10.00", "net": "-10.00"}));
    assert_eq!(august["by_producer"][0]["net"], "-10.00");
    assert_eq!(
        august["payable"],
        json!({"opening": "10.00", "redeemed": "0.00", "voided": "10.00", "closing": "0.00"})
    );
    town.world.verify();
}

fn the_last_second_of_a_month_is_in_it_and_the_next_one_is_not(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    town.world.set_clock("2026-07-31T21:59:59Z");
    town.tills[0].redeem(&card.token, 100).expect(201);
    town.world.set_clock("2026-07-31T22:00:00Z");
    town.tills[0].redeem(&card.token, 200).expect(201);
    let sold = |month: &str| -> Vec<(String, String)> {
        let lines = lines(&town.report(0, month)).into_iter();
        lines.map(|[_, day, _, covered, _]| (day, covered)).collect()
    };
    assert_eq!(sold("2026-07"), [("2026-07-31".to_owned(), "1.00".to_owned())]);
    assert_eq!(sold("2026-08"), [("2026-08-01".to_owned(), "2.00".to_owned())]);
    town.world.verify();
}

fn a_commune_of_ten_households_is_not_named_and_one_of_eleven_is(world: World) {
    let rules = rules_with(&[("period.count", json!(1))]);
    let town = Town::with(world, Setup { rules, producers: 1, ..Setup::default() });
    let enrol = |count: usize, commune: &str| {
        for _ in 0..count {
            let household = json!({"adults": 1, "children": 0, "commune": commune});
            let household = town.worker.post("/api/v1/households", household).expect(201);
            town.enrol_household(household["id"].as_str().unwrap()).expect(201);
        }
    };
    let communes = || {
        let report = town.report(0, "2026-07");
        let row = |row: &Value| json!([row["commune"], row["name"], row["households"], row["redeemed"]]);
        report["by_commune"].as_array().unwrap().iter().map(row).collect::<Value>()
    };
    enrol(9, "62427");
    let card = town.new_card();
    town.tills[0].redeem(&card.token, 1000).expect(201);
    assert_eq!(communes(), json!([[null, "Autres communes", 10, "5.00"]]));
    enrol(1, "62427");
    assert_eq!(communes(), json!([["62427", "Hénin-Beaumont", 11, "5.00"]]));
    // the ten of Carvin would be found by subtraction if Hénin-Beaumont were named beside them
    enrol(10, "62215");
    assert_eq!(communes(), json!([[null, "Autres communes", 21, "5.00"]]));
    enrol(1, "62215");
    assert_eq!(communes(), json!([["62215", "Carvin", 11, "0.00"], ["62427", "Hénin-Beaumont", 11, "5.00"]]));
    town.world.verify();
}

fn pseudonyms_last_one_month_and_one_agreement(world: World) {
    let Month { town, cards } = month(world);
    town.world.advance_to("2026-08-02T08:00:00Z");
    town.tills[0].redeem(&cards[0].token, 900).expect(201);
    town.tills[0].redeem(&cards[0].token, 600).expect(201);
    let of = |agreement, month, key: &str| -> Vec<String> {
        let report = town.report(agreement, month);
        let mut found: Vec<_> = report["lines"].as_array().unwrap().iter().map(|line| line[key].to_string()).collect();
        found.sort();
        found.dedup();
        found
    };
    for (key, counts) in [("household", [2, 2, 1]), ("line", [5, 4, 2])] {
        let found = [of(0, "2026-07", key), of(1, "2026-07", key), of(0, "2026-08", key)];
        assert_eq!(found.each_ref().map(Vec::len), counts, "{key}");
        assert_eq!(of(0, "2026-07", key), found[0], "{key}: the same whenever it is asked");
        let mut all = found.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), counts.iter().sum::<usize>(), "{key}: none is of two months or two agreements");
    }
    town.world.verify();
}

fn a_month_that_cannot_be_reported_is_refused(world: World) {
    let town = Town::new(world);
    let get = |month: &str| {
        let path = format!("/api/v1/agreements/{}/reconciliations/{month}", town.agreements[0]);
        town.funders[0].get(&path)
    };
    for month in ["2026-08", "2031-01", "2026-06", "2026-13", "juillet"] {
        let problem = get(month).refused(422, "invalid_request");
        assert_eq!(problem["fields"][0]["field"], "month", "{problem}");
    }
    get("2026-07").expect(200);
    // August begins at midnight in Paris
    town.world.set_clock("2026-07-31T21:59:59Z");
    get("2026-08").refused(422, "invalid_request");
    town.world.set_clock(JULY_IS_OVER);
    assert_eq!(get("2026-08").expect(200)["status"], "open");
    town.world.verify();
}

fn a_funder_sees_its_own_agreement_and_no_other(world: World) {
    let town = Town::new(world);
    let path = |agreement: usize| format!("/api/v1/agreements/{}/reconciliations/2026-07", town.agreements[agreement]);
    town.funders[0].get(&path(1)).refused(404, "not_found");
    town.funders[1].get(&path(0)).refused(404, "not_found");
    let (_, manager) = newcomer(&town.world, &town.administrator, "manager", "Autre pays");
    manager.get(&path(0)).refused(404, "not_found");
    let (_, evaluator) = newcomer(&town.world, &town.manager, "evaluator", "Sans programme");
    evaluator.get(&path(0)).refused(404, "not_found");
    for reader in [&town.manager, &town.administrator, &town.evaluator] {
        for agreement in 0..2 {
            reader.get(&path(agreement)).expect(200);
        }
    }
    for other in [&town.worker, &town.tills[0].client] {
        other.get(&path(0)).refused(403, "forbidden");
    }
    town.world.verify();
}

fn a_commune_is_not_named_once_its_households_have_gone(world: World) {
    let town = Town::new(world);
    let enrolments: Vec<String> = (0..11).map(|_| town.enrol()["id"].as_str().unwrap().to_owned()).collect();
    for enrolment in &enrolments[1..] {
        let leave = json!({"return_issued": true});
        town.worker.post(&format!("/api/v1/enrolments/{enrolment}/leave"), leave).expect(200);
    }
    town.world.advance_to("2026-08-31T22:00:01Z");
    let row = |month: &str| {
        let row = town.report(0, month)["by_commune"][0].clone();
        (row["commune"].clone(), row["households"].clone())
    };
    assert_eq!(row("2026-07"), (json!("62427"), json!(11)));
    assert_eq!(row("2026-08"), (Value::Null, json!(1)));
    town.world.verify();
}
