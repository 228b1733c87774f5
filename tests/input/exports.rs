//! Names that a spreadsheet would run, in the files that it opens.

use serde_json::json;

use super::operation;
use crate::support::town::{Setup, newcomer};
use crate::support::{Town, World, cents, on_both_databases};

on_both_databases!(a_name_is_never_a_formula_and_a_number_never_text);

const NAMES: [&str; 8] =
    ["=HYPERLINK(\"x\")", "+33 1", "-2+3", "@SUM(A1)", "＝1＋1", "=1;2,3\"|' /C calc'!A0", "open", "'-1"];

/// As a spreadsheet splits it.
fn cells(file: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(file);
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn a_name_is_never_a_formula_and_a_number_never_text(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let manager = &town.manager;
    // a tab or a line's end cannot begin a name, nor be in it
    for name in ["\t=1+1", "\r=1+1", "a\t=1", "a\n=1"] {
        let body = json!({"kind": "producer", "name": name});
        let made = manager.post("/api/v1/organisations", body);
        assert!(made.status == 422 || made.json()["name"] == name.trim(), "{}", made.status);
    }
    let mut body = operation("create_programme").body_example.unwrap();
    (body["name"], body["starts_on"], body["ends_on"]) = (json!("=A1+2"), json!("2026-01-01"), json!("2027-12-31"));
    body["communes"] = json!([{"code": "62427", "name": "-Hénin"}]);
    body["rules"] = crate::support::town::rules("60.00", "none");
    body["legal_basis"] = json!({"code": "social_aid", "reference": "CASF L123-5"});
    let programme = manager.post("/api/v1/programmes", body).expect(201)["id"].as_str().unwrap().to_owned();
    let (funder, reader) = newcomer(&town.world, manager, "funder", "@Fondation");
    let agreement = json!({
        "funder_id": funder, "reference": "+C-1", "granted": "5000.00", "starts_on": "2026-01-01",
        "ends_on": "2027-12-31", "grace_days": 31, "share_weight": 1,
    });
    let path = format!("/api/v1/programmes/{programme}/agreements");
    let agreement = manager.post_once(&path, agreement).expect(201)["id"].as_str().unwrap().to_owned();
    manager.act(&format!("/api/v1/programmes/{programme}/open")).expect(200);
    manager.set(&format!("/api/v1/programmes/{programme}/members/{}", town.structure)).expect(204);
    let town = Town { programme, ..town };
    let card = town.new_card();
    town.world.set_clock("2026-07-31T21:40:00Z");
    let mut sold = Vec::new();
    for (number, name) in NAMES.iter().enumerate() {
        let till = town.new_till_named(number, name);
        town.approve(&till);
        let made = till.redeem(&card.token, 100).expect(201)["id"].as_str().unwrap().to_owned();
        sold.push((till, made));
    }
    // undone in the next month, whose sums are below zero then
    town.world.set_clock("2026-07-31T22:10:00Z");
    for (till, made) in sold {
        till.void(&made).expect(200);
    }

    let path = format!("/api/v1/agreements/{agreement}/reconciliations/2026-08");
    for (accept, delimiter, decimal) in [("text/csv", b',', '.'), ("text/csv; profile=excel-fr", b';', ',')] {
        let rows = cells(&reader.get_as(&path, accept).bytes, delimiter);
        assert!(rows.iter().all(|row| row.len() == 9));
        let runs = |cell: &&String| cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r']);
        for row in &rows[1..] {
            assert_eq!(row[..6].iter().find(runs), None, "{row:?}");
            for number in row[6..].iter().filter(|cell| !cell.is_empty()) {
                assert!(number.replace(decimal, ".").parse::<f64>().is_ok(), "{row:?}");
            }
        }
        let all: Vec<&String> = rows.iter().flatten().collect();
        assert!(all.iter().any(|cell| cell.starts_with('-')), "a void is a negative number: {rows:?}");
        for name in NAMES {
            let shown = if name.starts_with(['o', '\'']) { name.to_owned() } else { format!("'{name}") };
            assert!(all.iter().filter(|cell| ***cell == shown).count() >= 3, "{shown}: {rows:?}");
        }
        for shown in ["'=A1+2", "'@Fondation", "'+C-1"] {
            assert!(all.iter().any(|cell| *cell == shown), "{shown}: {rows:?}");
        }
    }
    let report = reader.get(&path).expect(200);
    assert!(report["by_producer"].as_array().unwrap().iter().all(|row| cents(&row["net"]) == -100));
    town.world.verify();
}
