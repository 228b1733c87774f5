//! The report as one table, for machines (plain) and for a French spreadsheet.
//!
//! Columns: `section,item,name,kind,day,household,count,amount,part`. The last line is `control,sha256,<digest>`: the
//! SHA-256 of all the bytes before it in the plain flavour, whichever flavour carries it.

use super::lines::Line;
use super::{Control, Pot, Report};
use crate::kit::money::Cents;
use crate::kit::time::Day;
use crate::programme::AgreementKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Comma, decimal point, UTF-8, lines ended by LF.
    Plain,
    /// French words, semicolon, decimal comma, UTF-8 with a byte order mark, lines ended by CRLF.
    ExcelFrench,
}

#[derive(Clone, Default)]
struct Row<'a> {
    section: &'a str,
    item: &'a str,
    name: &'a str,
    kind: &'a str,
    day: String,
    count: Option<i64>,
    amount: Option<Cents>,
}

/// A table that is written row after row, and taken away piece by piece.
pub struct Sheet {
    french: bool,
    /// Names of sellers, as their cells show them.
    names: Vec<Vec<u8>>,
    /// The day of the last line, as its cell shows it.
    day: Option<(Day, String)>,
    written: Vec<u8>,
}

impl Sheet {
    /// `names` are those of the lines' sellers.
    pub fn new(flavour: Flavour, names: &[String]) -> Self {
        let french = flavour == Flavour::ExcelFrench;
        let beginning = if french { "\u{feff}" } else { "" };
        let names = names.iter().map(|name| cell(&text(name), french)).collect();
        Sheet { french, names, day: None, written: beginning.as_bytes().to_vec() }
    }

    /// All that comes before the lines.
    pub fn head(&mut self, report: &Report) {
        let head = ["section", "item", "name", "kind", "day", "household", "count", "amount", "part"];
        let head = head.map(|heading| self.word(heading).to_owned());
        self.put(head.each_ref().map(String::as_str));
        rows(report).for_each(|row| self.row(row));
    }

    /// Of a million of them, so cell by cell: nothing but the name can be in need of quotes.
    pub fn line(&mut self, line: &Line) {
        let day = match &self.day {
            Some((day, text)) if *day == line.day => text,
            _ => &self.day.insert((line.day, line.day.to_string())).1,
        };
        let word = |word| if self.french { in_french(word) } else { word };
        let name = self.names.get(line.seller as usize).map_or(&[][..], Vec::as_slice);
        let (separator, end): (&[u8], &[u8]) = if self.french { (b";", b"\r\n") } else { (b",", b"\n") };
        let to = &mut self.written;
        let cells = [&b"L-"[..], &line.line.0, separator, name, separator, word(line.kind.as_str()).as_bytes()];
        [word("line").as_bytes(), separator].into_iter().chain(cells).for_each(|part| to.extend_from_slice(part));
        let cells = [separator, day.as_bytes(), separator, b"M-", &line.household.0, separator, separator];
        cells.into_iter().for_each(|part| to.extend_from_slice(part));
        let point = if self.french { b',' } else { b'.' };
        line.covered.put(point, to);
        to.extend_from_slice(separator);
        line.part.put(point, to);
        to.extend_from_slice(end);
    }

    pub fn controls(&mut self, control: &Control) {
        let sum = |item, amount| Row { section: "control", item, amount: Some(amount), ..Row::default() };
        let lines =
            Row { section: "control", item: "lines", count: i64::try_from(control.lines).ok(), ..Row::default() };
        let sums = [sum("redeemed", control.redeemed), sum("voided", control.voided), sum("net", control.net)];
        std::iter::once(lines).chain(sums).for_each(|row| self.row(row));
    }

    /// The last line.
    pub fn digest(&mut self, digest: &str) {
        self.row(Row { section: "control", item: "sha256", name: digest, ..Row::default() });
    }

    /// Bytes that could be taken.
    pub fn written(&self) -> usize {
        self.written.len()
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        let next = Vec::with_capacity(self.written());
        std::mem::replace(&mut self.written, next)
    }

    fn put(&mut self, cells: [&str; 9]) {
        let mut writer = writer(self.french, std::mem::take(&mut self.written));
        writer.write_record(cells).expect("writing to memory does not fail");
        self.written = writer.into_inner().expect("writing to memory does not fail");
    }

    fn word<'a>(&self, word: &'a str) -> &'a str {
        if self.french { in_french(word) } else { word }
    }

    fn row(&mut self, row: Row) {
        let item = match row.section {
            "producer" if self.french => grouped(row.item),
            // bare digits would be taken for a number, and Aisne's zero be lost
            "commune" if self.french && !row.item.is_empty() => format!("INSEE {}", row.item),
            _ => self.word(row.item).to_owned(),
        };
        let cells = [
            self.word(row.section),
            &text(&item),
            // whoever is called “open” stays so
            &text(if row.item == "status" { self.word(row.name) } else { row.name }),
            self.word(row.kind),
            &row.day,
            "",
            &row.count.map_or(String::new(), |count| count.to_string()),
            &row.amount.map_or(String::new(), |cents| amount(cents, self.french)),
            "",
        ];
        let cells = cells.map(str::to_owned);
        self.put(cells.each_ref().map(String::as_str));
    }
}

fn writer(french: bool, to: Vec<u8>) -> csv::Writer<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new();
    if french {
        writer.delimiter(b';').terminator(csv::Terminator::CRLF);
    }
    writer.from_writer(to)
}

/// A cell among others, in quotes where it needs them.
fn cell(text: &str, french: bool) -> Vec<u8> {
    let mut writer = writer(french, Vec::new());
    writer.write_record([text, ""]).expect("writing to memory does not fail");
    let mut cell = writer.into_inner().expect("writing to memory does not fail");
    // the separator and the end of the line
    cell.truncate(cell.len() - if french { 3 } else { 2 });
    cell
}

fn amount(cents: Cents, french: bool) -> String {
    if french { cents.to_french() } else { cents.to_string() }
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
