//! How the databases find what a till asks for: by indexes, and no more rows than it needs, however long the past is.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use primeur::schedule;
use serde_json::json;

use crate::bonus;
use crate::metrics::Watch;
use crate::support::client::new_key;
use crate::support::sql::Sql;
use crate::support::town::{Setup, Town, rules};
use crate::support::{Card, World, id};

/// What grows with every household or purchase.
const LARGE: [&str; 17] = [
    "accounts",
    "allowance_parts",
    "allowances",
    "audit_entries",
    "bonuses",
    "enrolments",
    "hold_parts",
    "holds",
    "households",
    "idempotency_keys",
    "redemption_lines",
    "redemptions",
    "sessions",
    "surpluses",
    "transfers",
    "voids",
    "vouchers",
];

/// Where baskets may be set aside, and what is organic earns a bonus.
fn town(world: World) -> Town {
    let mut rules = rules("60.00", "none");
    rules["hold_hours"] = json!(48);
    rules["bonus"] = json!({"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    Town::with(world, Setup { rules, ..Setup::default() })
}

/// What goes through the till's queue: purchases, a repeat, a refusal, a void.
fn sell(town: &Town, card: &Card) -> String {
    let till = &town.tills[0];
    let key = new_key();
    let basket = till.basket(&card.token, 700, false);
    let sold = till.client.post_with_key("/api/v1/redemptions", &key, basket.clone()).expect(201);
    till.client.post_with_key("/api/v1/redemptions", &key, basket).expect(201);
    till.redeem(&card.token, 100_000).refused(409, "insufficient_balance");
    let undone = id(&town.tills[1].redeem(&card.token, 900).expect(201));
    town.tills[1].void(&undone).expect(200);
    sold["id"].as_str().unwrap().to_owned()
}

/// What a market day asks of the service beside that: a new card, questions, a typed code, a bonus, baskets that are set
/// aside, what a producer looks up, and a look of the scheduler and of the metrics for what is due.
fn a_market_day(town: &Town) {
    let till = &town.tills[0];
    let card = town.new_card();
    till.check(&card.token);
    let sold = sell(town, &card);
    till.redeem(&card.code, 300).expect(201);
    bonus::buy(till, &card, 200, 100).expect(201);
    let [fetched, left] = [250, 350].map(|basket| id(&till.hold(&card.token, basket).expect(201)));
    till.capture(&fetched).expect(201);
    till.client.act(&format!("/api/v1/holds/{left}/release")).expect(204);
    till.client.get(&format!("/api/v1/holds/{fetched}")).expect(200);
    schedule::run(&town.world.state.db).unwrap();
    Watch::over(&town.world.state).scrape();
    till.client.get(&format!("/api/v1/redemptions/{sold}")).expect(200);
    till.client.get("/api/v1/redemptions?limit=2").expect(200);
    till.client.get(&format!("/api/v1/redemptions?limit=2&stall_id={}", till.stall)).expect(200);
}

/// So many more rows in each table that a purchase reads, of the same producer and programme, and no word of it to the
/// planner.
fn grow(sql: &mut Sql, many: i64) {
    let grown = [
        ("idempotency_keys", "true", "'key', md5(n::text)"),
        ("redemptions", "hold_id IS NULL", "'id', md5('of ' || n), 'enrolment_id', md5('of ' || n)"),
        ("transfers", "reverses IS NULL", "'id', md5('of ' || n), 'reference', md5('of ' || n)"),
        ("accounts", "kind = 'allowance'", "'id', md5('of ' || n)"),
        ("enrolments", "true", "'id', md5('of ' || n), 'household_id', md5('of ' || n)"),
        (
            "vouchers",
            "replaces IS NULL",
            "'id', md5('of ' || n), 'enrolment_id', md5('of ' || n), \
             'code_digest', '\\x' || md5(n::text) || md5((-n)::text)",
        ),
        ("allowances", "true", "'id', md5('of ' || n), 'enrolment_id', md5('of ' || n)"),
        ("allowance_parts", "true", "'id', md5('of ' || n), 'allowance_id', md5('of ' || n)"),
        (
            "holds",
            "stall_id IS NOT NULL",
            "'id', md5('of ' || n), 'enrolment_id', md5('of ' || n), 'state', 'held', 'settled_at', NULL, \
             'expires_at', created_at + interval '30 years'",
        ),
        ("bonuses", "true", "'redemption_id', md5('of ' || n)"),
        ("voids", "true", "'redemption_id', md5('of ' || n)"),
        ("sessions", "true", "'id', md5('of ' || n), 'refresh_digest', '\\x' || md5(n::text) || md5((-n)::text)"),
    ];
    let insert = |(table, of, changed): &(&str, &str, &str)| {
        format!(
            "WITH old AS MATERIALIZED (SELECT * FROM {table} WHERE {of} LIMIT 1) \
             INSERT INTO {table} SELECT new.* FROM old, generate_series(1, {many}) AS n, \
             jsonb_populate_record(NULL::{table}, to_jsonb(old) || jsonb_build_object({changed})) AS new;"
        )
    };
    let inserts: String = grown.iter().map(insert).collect();
    sql.run(&format!("SET session_replication_role = replica; {inserts} SET session_replication_role = origin"))
        .unwrap();
}

/// Ends everybody else's connections, which then have told what they have read.
fn hang_up(sql: &mut Sql) {
    let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let in_time = (0..10_000).any(|_| {
        sql.run(&format!("SELECT pg_terminate_backend(pid) {others}")).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        sql.number(&format!("SELECT count(*) {others}")) == 0
    });
    assert!(in_time, "some connections do not end");
}

/// How many rows some work reads of each large table, however they are found.
fn rows_read(sql: &mut Sql, work: impl FnOnce(&mut Sql)) -> Vec<(String, i64)> {
    hang_up(sql);
    sql.run("SELECT pg_stat_reset()").unwrap();
    work(sql);
    hang_up(sql);
    let read = "SELECT relname || ' ' || coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS line \
                FROM pg_stat_user_tables ORDER BY relname";
    let lines = sql.lines(read);
    let rows = lines.iter().map(|line| line.rsplit_once(' ').unwrap());
    let rows = rows.filter(|(table, _)| LARGE.contains(table));
    let rows: Vec<_> = rows.map(|(table, rows)| (table.to_owned(), rows.parse().unwrap())).collect();
    assert_eq!(rows.len(), LARGE.len());
    assert!(rows.iter().any(|(table, rows)| table == "vouchers" && *rows > 0), "nothing was counted: {rows:?}");
    rows
}

#[track_caller]
fn no_more(before: &[(String, i64)], after: &[(String, i64)]) {
    let both = before.iter().zip(after).map(|((table, before), (_, after))| (table, before, after));
    let more: Vec<_> = both.filter(|(_, before, after)| **after > *before + 200).collect();
    assert!(more.is_empty(), "table, rows that were read, and behind a long past: {more:?}");
}

#[test]
fn on_postgresql_a_market_day_reads_as_much_behind_a_long_past_as_behind_none() {
    let town = town(World::on_postgresql());
    let mut sql = Sql::of(&town.world);
    let cards = [town.new_card(), town.new_card(), town.new_card(), town.new_card()];
    sql.run("DELETE FROM idempotency_keys").unwrap();
    sql.run("VACUUM (ANALYZE)").unwrap();

    // the till's connections keep the plans that they made while all tables were small, or empty
    let sold_before = rows_read(&mut sql, |_| cards[..2].iter().for_each(|card| drop(sell(&town, card))));
    let day_before = rows_read(&mut sql, |_| a_market_day(&town));
    let sold_after = rows_read(&mut sql, |sql| {
        sell(&town, &cards[2]);
        grow(sql, 20_000);
        sell(&town, &cards[3]);
    });
    no_more(&sold_before, &sold_after);

    sql.run("ANALYZE").unwrap();
    let day_after = rows_read(&mut sql, |_| a_market_day(&town));
    no_more(&day_before, &day_after);
}

/// Every statement that was sent.
static SENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn listening() -> Option<Box<dyn Instrumentation>> {
    Some(Box::new(|event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let query = query.to_string();
            SENT.lock().unwrap().insert(query.split(" -- binds").next().unwrap_or_default().to_owned());
        }
    }))
}

#[test]
fn on_sqlite_a_market_day_scans_no_large_table() {
    set_default_instrumentation(listening).unwrap();
    let town = town(World::on_sqlite());
    SENT.lock().unwrap().clear();
    a_market_day(&town);
    let sent: Vec<String> = SENT.lock().unwrap().iter().cloned().collect();
    let mut sql = Sql::of(&town.world);
    let (mut looked, mut scans) = (0, Vec::new());
    // another test of this process may send PostgreSQL's
    for statement in sent.iter().filter(|statement| !statement.contains('"')) {
        let word = statement.split_whitespace().next().unwrap_or_default();
        if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&word) || statement.contains("(1=0)") {
            continue;
        }
        looked += 1;
        for step in sql.plan(statement) {
            let scanned = step.strip_prefix("SCAN ").map(|rest| rest.split_whitespace().next().unwrap_or_default());
            // the first rows of all, in the table's own order
            let first = statement.ends_with("LIMIT ?") && !statement.contains("WHERE");
            let large = scanned.is_some_and(|table| LARGE.contains(&table));
            if large && !first {
                scans.push(format!("{step}: {statement}"));
            }
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n"));
    assert!(looked >= 40, "{looked} statements were heard of");
    let scan = sql.plan("SELECT * FROM redemptions WHERE basket_cents = 1");
    assert_eq!(scan, ["SCAN redemptions"], "a scan is not told as it was");
}
