//! Reports of any length: the same bytes however much memory there is, no more memory for more lines, and nobody held up
//! by who takes them slowly.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use primeur::kit::id::AgreementId;
use primeur::kit::keys::sha256;
use primeur::kit::time::{Instant, Zone};

use crate::downloads::parse;
use crate::reconciliation::{Month, month};
use crate::support::sql::Sql;
use crate::support::town::Setup;
use crate::support::{Client, Process, Town, World, cents, on_both_databases};

on_both_databases!(
    every_line_is_what_the_journal_says_in_the_order_of_its_pseudonym,
    the_bytes_do_not_depend_on_the_memory,
    who_takes_nothing_holds_up_nobody_and_is_given_up_with_half_a_file,
    who_goes_away_leaves_its_place,
);

const PLAIN: &str = "text/csv";

/// Ids of copies are below it: those of real rows begin with the time.
const COPIES: &str = "00ffffffffffffffffffffffffffffff";

/// The id of the `n.i`th copy of a row.
fn copied(sql: &Sql, id: &str) -> String {
    match sql {
        Sql::Postgresql(_) => format!("(lpad(to_hex(n.i), 8, '0') || substr(replace({id}::text, '-', ''), 9))::uuid"),
        Sql::Sqlite(_) => {
            format!("CASE WHEN {id} IS NOT NULL THEN unhex(printf('%08x', n.i) || substr(hex({id}), 9)) END")
        }
    }
}

fn literal(sql: &Sql, id: &str) -> String {
    match sql {
        Sql::Postgresql(_) => format!("'{id}'::uuid"),
        Sql::Sqlite(_) => format!("x'{id}'"),
    }
}

fn hex(agreement: &str) -> String {
    HEXLOWER.encode(agreement.parse::<AgreementId>().unwrap().as_bytes())
}

/// Copies every purchase with what the first agreement paid of it, `from..until` times, each a millisecond later. Its
/// producers are owed it, and its funder has given it.
fn multiply(sql: &mut Sql, agreement: &str, from: usize, until: usize) {
    let (own, real) = (literal(sql, &hex(agreement)), literal(sql, COPIES));
    let times = match sql {
        Sql::Postgresql(_) => format!("generate_series({from}, {until} - 1) AS n (i)"),
        Sql::Sqlite(_) => format!(
            "(WITH RECURSIVE n (i) AS (VALUES ({from}) UNION ALL SELECT i + 1 FROM n WHERE i < {until} - 1) SELECT i FROM n) AS n"
        ),
    };
    let at = |column: &str| match sql {
        Sql::Postgresql(_) => format!("{column} + n.i * interval '1 millisecond'"),
        Sql::Sqlite(_) => format!("{column} + n.i * 1000"),
    };
    let (id, reference, reverses) = (copied(sql, "id"), copied(sql, "reference"), copied(sql, "reverses"));
    let (occurred, recorded) = (at("occurred_at"), at("recorded_at"));
    sql.run(&format!(
        "INSERT INTO redemptions SELECT {id}, voucher_id, enrolment_id, producer_id, stall_id, person_id, siret,
           basket_cents, covered_cents, void_until, {occurred}, {recorded}, surplus_cents, NULL
         FROM redemptions CROSS JOIN {times} WHERE id > {real};
         INSERT INTO transfers SELECT {id}, debit_account, credit_account, agreement_id, amount_cents, code, {reference},
           {reverses}, {occurred}, {recorded}, digest
         FROM transfers CROSS JOIN {times}
         WHERE agreement_id = {own} AND code IN ('redeem', 'void') AND id > {real};
         UPDATE accounts SET balance_cents = COALESCE((SELECT CAST(SUM(CASE WHEN credit_account = accounts.id
             THEN amount_cents ELSE -amount_cents END) AS BIGINT)
           FROM transfers WHERE accounts.id IN (credit_account, debit_account)), 0)
         WHERE agreement_id = {own} AND kind = 'payable';
         UPDATE accounts SET balance_cents = -(SELECT CAST(SUM(o.balance_cents) AS BIGINT) FROM accounts o
           WHERE o.agreement_id = {own} AND o.kind <> 'funder')
         WHERE agreement_id = {own} AND kind = 'funder';"
    ))
    .unwrap();
}

/// A month of some days with two lines of copies for each real one, and purchases that two transfers paid.
fn busy_month(world: World) -> Town {
    let Month { town, .. } = month(world);
    let mut sql = Sql::of(&town.world);
    let own = literal(&sql, &hex(&town.agreements[0]));
    let id = match sql {
        Sql::Postgresql(_) => "(substr(replace(id::text, '-', ''), 1, 24) || 'ffffffff')::uuid",
        Sql::Sqlite(_) => "unhex(substr(hex(id), 1, 24) || 'ffffffff')",
    };
    sql.run(&format!(
        "INSERT INTO transfers SELECT {id}, debit_account, credit_account, agreement_id, 1, code, reference, reverses,
           occurred_at, recorded_at, digest
         FROM transfers WHERE agreement_id = {own} AND code = 'redeem'"
    ))
    .unwrap();
    multiply(&mut sql, &town.agreements[0], 1, 41);
    town
}

fn path(town: &Town, agreement: usize, month: &str) -> String {
    format!("/api/v1/agreements/{}/reconciliations/{month}", town.agreements[agreement])
}

/// The cells of every line, reckoned from the journal as a whole.
fn expected(town: &Town, agreement: usize, month: &str) -> Vec<Vec<String>> {
    let mut sql = Sql::of(&town.world);
    let own = literal(&sql, &hex(&town.agreements[agreement]));
    let (reference, enrolment, at) = match sql {
        Sql::Postgresql(_) => (
            "encode(uuid_send(t.reference), 'hex')",
            "encode(uuid_send(r.enrolment_id), 'hex')",
            "(extract(epoch FROM t.occurred_at) * 1000000)::bigint",
        ),
        Sql::Sqlite(_) => ("lower(hex(t.reference))", "lower(hex(r.enrolment_id))", "t.occurred_at"),
    };
    let journal = sql.lines(&format!(
        "SELECT {reference} || '|' || t.code || '|' || {at} || '|' || {enrolment} || '|' || o.name || '|' || r.covered_cents
           || '|' || t.amount_cents AS line
         FROM transfers t JOIN redemptions r ON r.id = t.reference JOIN organisations o ON o.id = r.producer_id
         WHERE t.agreement_id = {own} AND t.code IN ('redeem', 'void')"
    ));
    let agreement: AgreementId = town.agreements[agreement].parse().unwrap();
    let keys = town.world.state.keys.now();
    let name = |purpose: &str, prefix: &str, id: &str| {
        let id = HEXLOWER.decode(id.as_bytes()).unwrap();
        let message = [&agreement.as_bytes()[..], month.as_bytes(), &id].concat();
        format!("{prefix}-{}", &BASE32_NOPAD.encode(&keys.secret.digest(purpose, &message))[..12])
    };
    let paris: Zone = "Europe/Paris".parse().unwrap();
    let mut sums = BTreeMap::<(String, String, String), (Vec<String>, i64)>::new();
    for row in &journal {
        let [reference, code, at, enrolment, producer, covered, amount] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let day = paris.day_of(Instant::from_microsecond(at.parse().unwrap())).to_string();
        let line = name("line of a month", "L", reference);
        let household = name("household of a month", "M", enrolment);
        let cells = [producer, code, &day, &household, covered].map(str::to_owned).to_vec();
        sums.entry((day, line, code.to_owned())).or_insert((cells, 0)).1 += amount.parse::<i64>().unwrap();
    }
    let euros = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
    let cells = |((_, line, _), (cells, part)): ((String, String, String), (Vec<String>, i64))| {
        let [producer, code, day, household, covered] = &cells[..] else { panic!("five cells") };
        let covered = euros(covered.parse().unwrap());
        ["line", &line, producer, code, day, household, "", &covered, &euros(part)].map(str::to_owned).to_vec()
    };
    sums.into_iter().map(cells).collect()
}

fn every_line_is_what_the_journal_says_in_the_order_of_its_pseudonym(world: World) {
    let town = busy_month(world);
    let expected = expected(&town, 0, "2026-07");
    assert_eq!(expected.len(), 6 * 41);
    let file = town.funders[0].get_as(&path(&town, 0, "2026-07"), PLAIN).bytes;
    let text = String::from_utf8(file.clone()).unwrap();
    let rows = parse(&text, b',');
    let lines: Vec<_> = rows.iter().filter(|row| row[0] == "line").cloned().collect();
    assert_eq!(lines, expected);

    // and what stands before and after them is their sum
    let sum = |kind: &str| -> i64 {
        let parts = expected.iter().filter(|line| line[3] == kind).map(|line| cents(&line[8].as_str().into()));
        parts.sum()
    };
    let of = |section: &str, item: &str, kind: &str| -> i64 {
        let found =
            rows.iter().filter(|row| row[0] == section && (item.is_empty() || row[1] == item) && row[3] == kind);
        found.map(|row| cents(&row[7].as_str().into())).sum()
    };
    for (kind, item) in [("redeem", "redeemed"), ("void", "voided")] {
        for (section, kind) in [("producer", kind), ("commune", kind)] {
            assert_eq!(of(section, "", kind), sum(kind), "{section}");
        }
        assert_eq!((of("control", item, ""), of("payable", item, "")), (sum(kind), sum(kind)));
    }
    let counted = |kind: &str| -> usize {
        let counts = rows.iter().filter(|row| row[0] == "producer" && row[3] == kind).map(|row| &row[6]);
        counts.map(|count| count.parse::<usize>().unwrap()).sum()
    };
    assert_eq!(counted("redeem") + counted("void"), expected.len());
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    assert_eq!(text[last..], format!("control,sha256,{},,,,,,\n", HEXLOWER.encode(&sha256(&file[..last]))));
}

fn the_bytes_do_not_depend_on_the_memory(world: World) {
    let town = busy_month(world);
    let funder = &town.funders[0];
    for records in [1, 7, 64, 200] {
        let other = town.world.streaming_beside(|settings| settings.room.records = records);
        let other = other.with_token(funder.token.as_ref().unwrap());
        for format in ["json", "csv", "csv-excel-fr"] {
            let path = format!("{}?format={format}", path(&town, 0, "2026-07"));
            let (enough, little) = (funder.get(&path), other.get(&path));
            assert_eq!((enough.status, little.status), (200, 200));
            assert!(enough.bytes == little.bytes, "{format} with room for {records}");
            assert_eq!(enough.header("content-type"), little.header("content-type"));
        }
    }
    // what did not fit was in files that have no name
    let left = fs::read_dir(&town.world.directory).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("sorting")));
}

/// A month that no socket's buffers hold, where one answer is on its way at a time and is given up after a second.
fn long_month(world: World) -> (Town, Client) {
    let Month { town, .. } = month(world);
    multiply(&mut Sql::of(&town.world), &town.agreements[0], 1, 12_001);
    let server = town.world.streaming_beside(|settings| {
        (settings.at_once, settings.patience) = (1, Duration::from_secs(1));
    });
    (town, server)
}

/// Asks for the long month, and takes the head of the answer.
fn begin(town: &Town, server: &Client) -> TcpStream {
    let mut socket = TcpStream::connect(server.socket()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (path, token) = (path(town, 0, "2026-07"), town.funders[0].token.as_ref().unwrap());
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 1000];
    socket.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    socket
}

/// Asks for a short month until there is room for it.
fn wait_for_room(town: &Town, server: &Client) {
    let other = server.with_token(town.funders[1].token.as_ref().unwrap());
    let free = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        other.get(&path(town, 1, "2026-07")).status == 200
    });
    assert!(free, "the place is never free again");
}

fn who_takes_nothing_holds_up_nobody_and_is_given_up_with_half_a_file(world: World) {
    let (town, server) = long_month(world);
    let mut slow = begin(&town, &server);
    let other = server.with_token(town.funders[1].token.as_ref().unwrap());
    let full = other.get(&path(&town, 1, "2026-07"));
    assert_eq!(full.header("retry-after"), Some("1"));
    full.refused(503, "unavailable");
    // neither database keeps anything for its sake; other tests write in the same cluster
    assert!((0..30).any(|_| town.world.state.db.wipe(&[]).is_ok()), "what was erased could not be wiped");
    town.tills[0].redeem(&town.new_card().token, 100).expect(201);

    wait_for_room(&town, &server);
    let mut taken = Vec::new();
    let _ = slow.read_to_end(&mut taken);
    assert!(taken.len() > 100_000, "{}", taken.len());
    let text = String::from_utf8_lossy(&taken);
    assert!(!text.ends_with("0\r\n\r\n") && !text.contains("sha256"), "the answer looks whole");
}

fn who_goes_away_leaves_its_place(world: World) {
    let (town, server) = long_month(world);
    for _ in 0..3 {
        drop(begin(&town, &server));
        wait_for_room(&town, &server);
    }
    // whoever takes it all at last gets it all
    let mut socket = begin(&town, &server);
    let mut rest = Vec::new();
    while !rest.ends_with(b"0\r\n\r\n") {
        let mut more = [0; 65536];
        let read = socket.read(&mut more).unwrap();
        assert!(read > 0, "the answer broke off");
        rest.extend_from_slice(&more[..read]);
    }
    assert!(String::from_utf8_lossy(&rest).contains("\"sha256\":"));
}

#[test]
fn a_report_takes_no_pages_of_the_embedded_database_from_the_till() {
    let query = "SELECT group_concat(compile_options, ' ') AS line FROM pragma_compile_options";
    let options = Sql::of(&World::on_sqlite()).lines(query).join("");
    // with it, all connections of the process share one cache and the lock before it
    assert!(!options.contains("ENABLE_MEMORY_MANAGEMENT"), "{options}");
    assert!(options.contains("DEFAULT_MEMSTATUS=0") && options.contains("THREADSAFE=2"), "{options}");
}

#[test]
fn a_month_of_many_lines_takes_no_more_memory_than_one_of_few_on_sqlite() {
    no_more_memory(Process::on_sqlite());
}

#[test]
fn a_month_of_many_lines_takes_no_more_memory_than_one_of_few_on_postgresql() {
    no_more_memory(Process::on_postgresql());
}

/// Kilobytes that a report of many lines may take more than one of few.
const MORE: u64 = 12 * 1024;

fn no_more_memory(mut process: Process) {
    process.serve();
    let town = Town::with(World::served_by(&process), Setup { producers: 1, ..Setup::of_this_year() });
    town.tills[0].redeem(&town.new_card().token, 1000).expect(201);
    let paris: Zone = "Europe/Paris".parse().unwrap();
    let month = paris.day_of(town.world.now()).month().to_string();
    let mut sql = Sql::at(&process.database_url);
    multiply(&mut sql, &town.agreements[0], 1, 100);
    let status = format!("/proc/{}/status", process.child.as_ref().unwrap().id());
    let highest = |format: &str, lines: usize| -> u64 {
        fs::write(status.replace("status", "clear_refs"), "5").unwrap();
        let address = format!("{}{}?format={format}", process.address, path(&town, 0, &month));
        let token = format!("Bearer {}", town.funders[0].token.as_ref().unwrap());
        let answer = ureq::get(&address).header("authorization", &token).call().unwrap();
        let mut counted = Counted::default();
        io::copy(&mut answer.into_body().into_reader(), &mut counted).unwrap();
        assert_eq!(counted.lines, lines, "{format}");
        let status = fs::read_to_string(&status).unwrap();
        let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        highest.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let formats = ["csv", "csv-excel-fr", "json"];
    let few = formats.map(|format| highest(format, 100));
    multiply(&mut sql, &town.agreements[0], 100, 60_000);
    // nor does each of them leave some behind
    for (format, few) in formats.into_iter().zip(few).cycle().take(4 * formats.len()) {
        let many = highest(format, 60_000);
        assert!(many < few + MORE, "{format}: {few} kB for 100 lines, {many} kB for 60 000");
    }
}

/// Counts the pseudonyms of lines in what is written to it.
#[derive(Default)]
struct Counted {
    lines: usize,
    last: u8,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            self.lines += usize::from(self.last == b'L' && byte == b'-');
            self.last = byte;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
