//! The report as one table, for machines (plain) and for a French spreadsheet.
//!
//! Columns: `section,item,name,kind,day,household,count,amount,part`. The last line is `control,sha256,<digest>`: the
//! SHA-256 of all the bytes before it in the plain flavour, whichever flavour carries it.

use data_encoding::HEXLOWER;

use super::{Pot, Report};
use crate::kit::keys::sha256;
use crate::kit::money::Cents;
use crate::programme::AgreementKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Comma, decimal point, UTF-8, lines ended by LF.
    Plain,
    /// French words, semicolon, decimal comma, UTF-8 with a byte order mark, lines ended by CRLF.
    ExcelFrench,
}

#[derive(Default)]
struct Row<'a> {
    section: &'a str,
    item: &'a str,
    name: &'a str,
    kind: &'a str,
    day: String,
    household: &'a str,
    count: Option<i64>,
    amount: Option<Cents>,
    part: Option<Cents>,
}

/// The whole file.
pub fn write(report: &Report, flavour: Flavour) -> Vec<u8> {
    let last = Row { section: "control", item: "sha256", name: &report.sha256, ..Row::default() };
    table(rows(report).chain([last]), flavour)
}

pub fn digest(report: &Report) -> String {
    HEXLOWER.encode(&sha256(&table(rows(report), Flavour::Plain)))
}

fn table<'a>(rows: impl Iterator<Item = Row<'a>>, flavour: Flavour) -> Vec<u8> {
    let french = flavour == Flavour::ExcelFrench;
    let mut file = if french { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
    let mut writer = csv::WriterBuilder::new();
    if french {
        writer.delimiter(b';').terminator(csv::Terminator::CRLF);
    }
    let mut writer = writer.from_writer(&mut file);
    let amount =
        |cents: Option<Cents>| cents.map_or(String::new(), |c| if french { c.to_french() } else { c.to_string() });
    let head = ["section", "item", "name", "kind", "day", "household", "count", "amount", "part"].map(str::to_owned);
    let word = |word: &str| if french { in_french(word).to_owned() } else { word.to_owned() };
    let head = head.map(|heading| word(&heading));
    let cells = |row: Row| {
        let item = match row.section {
            "producer" if french => grouped(row.item),
            // bare digits would be taken for a number, and Aisne's zero be lost
            "commune" if french && !row.item.is_empty() => format!("INSEE {}", row.item),
            _ => word(row.item),
        };
        [
            word(row.section),
            text(&item),
            // whoever is called “open” stays so
            text(if row.item == "status" { word(row.name) } else { row.name.to_owned() }.as_str()),
            word(row.kind),
            row.day,
            row.household.to_owned(),
            row.count.map_or(String::new(), |count| count.to_string()),
            amount(row.amount),
            amount(row.part),
        ]
    };
    for record in std::iter::once(head).chain(rows.map(cells)) {
        writer.write_record(record).expect("writing to memory does not fail");
    }
    drop(writer);
    file
}

/// A SIRET as it is written on paper, which no spreadsheet takes for a number.
fn grouped(siret: &str) -> String {
    match (siret.get(..3), siret.get(3..6), siret.get(6..9), siret.get(9..)) {
        (Some(a), Some(b), Some(c), Some(establishment)) => format!("{a} {b} {c} {establishment}"),
        _ => siret.to_owned(),
    }
}

/// The report's own words; a name stays what it is.
fn in_french(word: &str) -> &str {
    match word {
        "section" => "rubrique",
        "item" => "poste",
        "name" => "nom",
        "kind" => "nature",
        "day" => "jour",
        "household" => "ménage",
        "count" => "nombre",
        "amount" => "montant",
        "report" => "compte rendu",
        "agreement" => "convention",
        "funder" => "financeur",
        "time_zone" => "fuseau horaire",
        "status" => "état",
        "month" => "mois",
        "final" => "définitif",
        "open" => "provisoire",
        "available" => "disponible",
        "committed" => "engagé",
        "outstanding" => "en circulation",
        "payable" => "dû aux producteurs",
        "opening" => "ouverture",
        "granted" => "accordé",
        "surplus" => "supplément",
        "held" => "détenu par les producteurs",
        "holder" => "détenteur",
        "collected" => "collecté",
        "given_back" => "restitué",
        "pooled" => "versé à la caisse",
        "contributed" => "versé par les ménages",
        "refunded" => "remboursé aux ménages",
        "released" => "désengagé",
        "returned" => "rendu",
        "issued" => "émis",
        "redeemed" => "encaissé",
        "voided" => "annulé",
        "closing" => "clôture",
        "producer" => "producteur",
        "line" => "ligne",
        "lines" => "lignes",
        "redeem" => "encaissement",
        "void" => "annulation",
        "control" => "contrôle",
        other => other,
    }
}

/// A spreadsheet would run a cell that begins like a formula; an apostrophe makes it text.
fn text(cell: &str) -> String {
    // the wide ones too: some spreadsheets take them for the others
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

fn rows(report: &Report) -> impl Iterator<Item = Row<'_>> {
    let head = [
        ("agreement", report.agreement.reference.as_str()),
        ("funder", &report.agreement.funder),
        ("programme", &report.agreement.programme),
        ("time_zone", &report.time_zone),
        ("status", report.status.as_str()),
    ];
    let month = Row { section: "report", item: "month", day: report.month.to_string(), ..Row::default() };
    let head = head.map(|(item, name)| Row { section: "report", item, name, ..Row::default() });
    let lines = report.lines.iter().map(|line| Row {
        section: "line",
        item: &line.line,
        name: &line.producer,
        kind: line.kind.as_str(),
        day: line.day.to_string(),
        household: &line.household,
        amount: Some(line.covered),
        part: Some(line.part),
        ..Row::default()
    });
    head.into_iter()
        .chain([month])
        .chain(flows(report))
        .chain(report.pot.iter().flat_map(of_pot))
        .chain(report.by_producer.iter().flat_map(|p| {
            let count = |n: usize| i64::try_from(n).ok();
            let row = |kind, count, amount| Row {
                section: "producer",
                item: &p.siret,
                name: &p.producer,
                kind,
                count,
                amount: Some(amount),
                ..Row::default()
            };
            [
                row("redeem", count(p.redemptions), p.redeemed),
                row("void", count(p.voids), p.voided),
                row("net", None, p.net),
            ]
        }))
        .chain(report.by_commune.iter().flat_map(|c| {
            let item = c.commune.as_deref().unwrap_or("");
            let row = |kind, count, amount| Row {
                section: "commune",
                item,
                name: &c.name,
                kind,
                count,
                amount: Some(amount),
                ..Row::default()
            };
            [row("redeem", None, c.redeemed), row("void", None, c.voided), row("net", Some(c.households), c.net)]
        }))
        .chain(lines)
        .chain(controls(report))
}

fn flows(report: &Report) -> impl Iterator<Item = Row<'_>> {
    let Report { available, committed, outstanding, payable, .. } = report;
    let pot = report.agreement.kind == AgreementKind::Pot;
    let row = |section, item, amount| Row { section, item, amount: Some(amount), ..Row::default() };
    [
        row("available", "opening", available.opening),
        row("available", "granted", available.granted),
        row("available", "contributed", available.contributed),
        row("available", "pooled", available.pooled),
        row("available", "committed", available.committed),
        row("available", "released", available.released),
        row("available", "returned", available.returned),
        row("available", "refunded", available.refunded),
        row("available", "closing", available.closing),
        row("committed", "opening", committed.opening),
        row("committed", "committed", committed.committed),
        row("committed", "released", committed.released),
        row("committed", "issued", committed.issued),
        row("committed", "closing", committed.closing),
        row("outstanding", "opening", outstanding.opening),
        row("outstanding", "issued", outstanding.issued),
        row("outstanding", "redeemed", outstanding.redeemed),
        row("outstanding", "voided", outstanding.voided),
        row("outstanding", "returned", outstanding.returned),
        row("outstanding", "closing", outstanding.closing),
        row("payable", "opening", payable.opening),
        row("payable", "redeemed", payable.redeemed),
        row("payable", "voided", payable.voided),
        row("payable", "closing", payable.closing),
    ]
    .into_iter()
    // what a funder's own agreement never has is not in its file
    .filter(move |row| pot || !["contributed", "pooled", "refunded"].contains(&row.item))
}

fn of_pot(Pot { surplus, held, by_holder }: &Pot) -> impl Iterator<Item = Row<'_>> {
    let row = |section, item, amount| Row { section, item, amount: Some(amount), ..Row::default() };
    let holders = by_holder.iter().flat_map(|holder| {
        let row = |kind, amount| Row {
            section: "holder",
            name: holder.producer.as_str(),
            kind,
            amount: Some(amount),
            ..Row::default()
        };
        [
            row("opening", holder.held.opening),
            row("collected", holder.held.collected),
            row("given_back", holder.held.given_back),
            row("closing", holder.held.closing),
        ]
    });
    [
        row("surplus", "opening", surplus.opening),
        row("surplus", "collected", surplus.collected),
        row("surplus", "given_back", surplus.given_back),
        row("surplus", "pooled", surplus.pooled),
        row("surplus", "closing", surplus.closing),
        row("held", "opening", held.opening),
        row("held", "collected", held.collected),
        row("held", "given_back", held.given_back),
        row("held", "closing", held.closing),
    ]
    .into_iter()
    .chain(holders)
}

fn controls(report: &Report) -> impl Iterator<Item = Row<'_>> {
    let control = &report.control;
    let sum = |item, amount| Row { section: "control", item, amount: Some(amount), ..Row::default() };
    let lines = Row { section: "control", item: "lines", count: i64::try_from(control.lines).ok(), ..Row::default() };
    [lines, sum("redeemed", control.redeemed), sum("voided", control.voided), sum("net", control.net)].into_iter()
}
