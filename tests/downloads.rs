//! The funder's month as a file: the same figures, a digest to check them by, and nobody in it.

use data_encoding::HEXLOWER;
use primeur::kit::keys::sha256;
use serde_json::{Value, json};

use crate::reconciliation::{Month, month};
use crate::support::town::{Card, Setup};
use crate::support::{Answer, Town, World, on_both_databases};

on_both_databases!(
    the_file_says_what_the_report_says,
    the_digest_is_of_the_bytes_before_the_last_line,
    a_french_spreadsheet_gets_its_own_flavour_and_the_same_digest,
    the_format_is_the_one_asked_for,
    nothing_in_a_report_tells_of_a_household_a_person_or_a_card,
    a_name_that_a_spreadsheet_would_run_is_text,
);

const PLAIN: &str = "text/csv";
const FRENCH: &str = "text/csv; profile=excel-fr";

fn path(town: &Town) -> String {
    format!("/api/v1/agreements/{}/reconciliations/2026-07", town.agreements[0])
}

fn download(town: &Town, accept: &str) -> String {
    let answer = town.funders[0].get_as(&path(town), accept);
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.bytes).unwrap()
}

pub fn parse(file: &str, delimiter: u8) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(file.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// The rows of the file as the JSON report has them.
pub fn rows(report: &Value) -> Vec<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    let mut row = |cells: [&Value; 9]| rows.push(cells.map(text).to_vec());
    let empty = &Value::Null;
    let head = ["section", "item", "name", "kind", "day", "household", "count", "amount", "part"].map(|c| json!(c));
    row(head.each_ref());
    let agreement = &report["agreement"];
    for (item, name) in [
        ("agreement", &agreement["reference"]),
        ("funder", &agreement["funder"]),
        ("programme", &agreement["programme"]),
        ("time_zone", &report["time_zone"]),
        ("status", &report["status"]),
    ] {
        row([&json!("report"), &json!(item), name, empty, empty, empty, empty, empty, empty]);
    }
    row([&json!("report"), &json!("month"), empty, empty, &report["month"], empty, empty, empty, empty]);
    let available =
        ["opening", "granted", "contributed", "pooled", "committed", "released", "returned", "refunded", "closing"];
    for (block, items) in [
        ("available", &available[..]),
        ("committed", &["opening", "committed", "released", "issued", "closing"]),
        ("outstanding", &["opening", "issued", "redeemed", "voided", "returned", "closing"]),
        ("payable", &["opening", "redeemed", "voided", "closing"]),
    ] {
        assert_eq!(report[block].as_object().unwrap().len(), items.len());
        for item in items {
            let amount = &report[block][item];
            // what only a common pot has
            if agreement["kind"] != "pot" && ["contributed", "pooled", "refunded"].contains(item) {
                assert_eq!(amount, "0.00");
                continue;
            }
            row([&json!(block), &json!(item), empty, empty, empty, empty, empty, amount, empty]);
        }
    }
    if !report["pot"].is_null() {
        let pot = &report["pot"];
        for (block, items) in [
            ("surplus", &["opening", "collected", "given_back", "pooled", "closing"][..]),
            ("held", &["opening", "collected", "given_back", "closing"]),
        ] {
            for item in items {
                row([&json!(block), &json!(item), empty, empty, empty, empty, empty, &pot[block][item], empty]);
            }
        }
        for holder in pot["by_holder"].as_array().unwrap() {
            for kind in ["opening", "collected", "given_back", "closing"] {
                let name = &holder["producer"];
                row([&json!("holder"), empty, name, &json!(kind), empty, empty, empty, &holder[kind], empty]);
            }
        }
    }
    for p in report["by_producer"].as_array().unwrap() {
        for (kind, count, amount) in
            [("redeem", &p["redemptions"], "redeemed"), ("void", &p["voids"], "voided"), ("net", empty, "net")]
        {
            let kind = json!(kind);
            row([&json!("producer"), &p["siret"], &p["producer"], &kind, empty, empty, count, &p[amount], empty]);
        }
    }
    for c in report["by_commune"].as_array().unwrap() {
        for (kind, count, amount) in
            [("redeem", empty, "redeemed"), ("void", empty, "voided"), ("net", &c["households"], "net")]
        {
            let kind = json!(kind);
            row([&json!("commune"), &c["commune"], &c["name"], &kind, empty, empty, count, &c[amount], empty]);
        }
    }
    for l in report["lines"].as_array().unwrap() {
        let section = json!("line");
        row([
            &section,
            &l["line"],
            &l["producer"],
            &l["kind"],
            &l["day"],
            &l["household"],
            empty,
            &l["covered"],
            &l["part"],
        ]);
    }
    let control = &report["control"];
    row([&json!("control"), &json!("lines"), empty, empty, empty, empty, &control["lines"], empty, empty]);
    for item in ["redeemed", "voided", "net"] {
        row([&json!("control"), &json!(item), empty, empty, empty, empty, empty, &control[item], empty]);
    }
    row([&json!("control"), &json!("sha256"), &report["sha256"], empty, empty, empty, empty, empty, empty]);
    rows
}

fn the_file_says_what_the_report_says(world: World) {
    let Month { town, .. } = month(world);
    town.world.advance_to("2026-08-03T08:00:00Z");
    let report = town.report(0, "2026-07");
    let found = parse(&download(&town, PLAIN), b',');
    for (found, expected) in found.iter().zip(rows(&report)) {
        assert_eq!(*found, expected);
    }
    assert_eq!(found.len(), rows(&report).len());
    assert_eq!(report["lines"].as_array().unwrap().len(), 6);
    town.world.verify();
}

fn the_digest_is_of_the_bytes_before_the_last_line(world: World) {
    let Month { town, .. } = month(world);
    let file = download(&town, PLAIN);
    assert!(!file.contains('\r') && file.ends_with('\n'));
    let last = file.trim_end().rfind('\n').unwrap() + 1;
    let digest = HEXLOWER.encode(&sha256(&file.as_bytes()[..last]));
    assert_eq!(file[last..], format!("control,sha256,{digest},,,,,,\n"));
    assert_eq!(town.report(0, "2026-07")["sha256"], digest);
    // the same whoever asks, and another for another month's figures
    let same = town.manager.get(&format!("{}?format=csv", path(&town)));
    assert_eq!(String::from_utf8(same.bytes).unwrap(), file);
    assert_ne!(town.report(1, "2026-07")["sha256"], digest);
    town.world.verify();
}

fn a_french_spreadsheet_gets_its_own_flavour_and_the_same_digest(world: World) {
    let Month { town, .. } = month(world);
    let (plain, french) = (download(&town, PLAIN), download(&town, FRENCH));
    let french = french.strip_prefix('\u{feff}').expect("a byte order mark");
    assert_eq!(french.matches('\n').count(), french.matches("\r\n").count());
    assert!(french.ends_with("\r\n") && french.contains("ligne;L-"));
    let pointed = |mut row: Vec<String>| {
        for cell in &mut row[7..] {
            assert!(!cell.contains('.'), "{cell}");
            *cell = cell.replace(',', ".");
        }
        row
    };
    let found: Vec<_> = parse(french, b';').into_iter().map(pointed).collect();
    assert!(french.starts_with("rubrique;poste;nom;nature;jour;ménage;nombre;montant;part\r\n"));
    // a number that a spreadsheet would round or cut is written as text
    assert!(found.iter().filter(|row| row[0] == "producteur").all(|row| row[1].split(' ').count() == 4));
    let figures = |rows: &[Vec<String>]| rows[1..].iter().map(|row| row[4..].to_vec()).collect::<Vec<_>>();
    assert_eq!(figures(&found), figures(&parse(&plain, b',')));
    let digest = found.last().unwrap()[2].clone();
    assert_eq!(town.report(0, "2026-07")["sha256"], digest);
    town.world.verify();
}

fn the_format_is_the_one_asked_for(world: World) {
    let Month { town, .. } = month(world);
    let funder = &town.funders[0];
    #[derive(Debug, PartialEq)]
    enum Kind {
        Json,
        Plain,
        French,
    }
    let kind = |answer: Answer| {
        assert_eq!(answer.status, 200);
        let content_type = answer.header("content-type").unwrap().to_owned();
        match (content_type.split(';').next().unwrap(), answer.bytes.starts_with("\u{feff}".as_bytes())) {
            ("application/json", false) => Kind::Json,
            ("text/csv", french) => {
                let name = answer.header("content-disposition").unwrap();
                assert!(name.starts_with("attachment; filename=\"agr_") && name.ends_with("-2026-07.csv\""), "{name}");
                if french { Kind::French } else { Kind::Plain }
            }
            other => panic!("{other:?}"),
        }
    };
    for (accept, expected) in [
        ("application/json", Kind::Json),
        ("*/*", Kind::Json),
        (PLAIN, Kind::Plain),
        ("text/csv;profile=\"excel-fr\"", Kind::French),
        ("application/json;q=0.2, text/csv", Kind::Plain),
    ] {
        assert_eq!(kind(funder.get_as(&path(&town), accept)), expected, "{accept}");
    }
    for (format, expected) in [("json", Kind::Json), ("csv", Kind::Plain), ("csv-excel-fr", Kind::French)] {
        let path = format!("{}?format={format}", path(&town));
        // what the address says wins over the header
        assert_eq!(kind(funder.get_as(&path, "application/pdf")), expected, "{format}");
    }
    funder.get_as(&path(&town), "application/pdf").refused(406, "not_acceptable");
    funder.get(&format!("{}?format=xlsx", path(&town))).refused(422, "invalid_request");
    town.world.verify();
}

fn nothing_in_a_report_tells_of_a_household_a_person_or_a_card(world: World) {
    let Month { town, cards } = month(world);
    let mut secrets: Vec<String> = Vec::new();
    for household in town.worker.get("/api/v1/households").expect(200)["items"].as_array().unwrap() {
        let path = format!("/api/v1/households/{}/identity", household["id"].as_str().unwrap());
        let number = format!("06 39 98 00 {:02}", secrets.len());
        let who = json!({"family_name": "Exemple", "first_name": "Lucienne", "birth_date": null, "phone": number, "email": null});
        town.worker.put(&path, who).expect(200);
        secrets.extend(["id", "reference"].map(|key| household[key].as_str().unwrap().to_owned()));
    }
    secrets.extend(["Lucienne", "06 39", "Dominique", "@primeur"].map(str::to_owned));
    for Card { id, enrolment, token, code } in cards {
        let signed = token.rsplit('/').next().unwrap().to_owned();
        secrets.extend([id, enrolment, code.replace('-', ""), code, signed]);
    }
    for till in &town.tills {
        for sale in till.client.get("/api/v1/redemptions").expect(200)["items"].as_array().unwrap() {
            secrets.push(sale["id"].as_str().unwrap().to_owned());
        }
        secrets.extend([till.stall.clone(), till.producer.clone()]);
    }
    assert_eq!(secrets.len(), 4 + 4 + 10 + 5 + 4);
    // an id is told by its 26 characters as well as with its prefix
    let bare = |secret: &String| secret.split_once('_').map(|(_, code)| code.to_owned());
    secrets.extend(secrets.iter().filter_map(bare).collect::<Vec<_>>());
    for accept in ["application/json", PLAIN, FRENCH] {
        let report = download(&town, accept).to_lowercase();
        for secret in &secrets {
            assert!(!report.contains(&secret.to_lowercase()), "{accept} tells {secret}");
        }
    }
    town.world.verify();
}

fn a_name_that_a_spreadsheet_would_run_is_text(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let names = ["=cmd()", "+33 1", "-2+3", "@SUM(A1)"];
    let card = town.new_card();
    for (number, name) in names.iter().enumerate() {
        let till = town.new_till_named(number, name);
        town.approve(&till);
        till.redeem(&card.token, 100).expect(201);
    }
    for (accept, delimiter) in [(PLAIN, b','), (FRENCH, b';')] {
        let rows = parse(download(&town, accept).trim_start_matches('\u{feff}'), delimiter);
        let cells = rows.iter().flatten().filter(|cell| names.iter().any(|name| cell.contains(name)));
        assert_eq!(cells.clone().count(), 4 * (3 + 1));
        assert!(cells.clone().all(|cell| cell.starts_with('\'')), "{rows:?}");
    }
    // JSON is not a spreadsheet: there the name is the name
    let report = town.report(0, "2026-07");
    let mut found: Vec<&str> =
        report["by_producer"].as_array().unwrap().iter().map(|row| row["producer"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["+33 1", "-2+3", "=cmd()", "@SUM(A1)"]);
    town.world.verify();
}
