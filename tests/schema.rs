//! The two databases: the same tables, and the rules that they themselves enforce.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::sql::Sql;
use crate::support::town::{Setup, rules};
use crate::support::{Town, World, on_both_databases};

on_both_databases!(
    migrating_a_second_time_changes_nothing,
    the_journal_only_grows,
    what_was_promised_is_not_rewritten,
    a_promise_is_opened_only_as_it_is_issued,
    what_was_set_aside_or_earned_is_not_removed,
    the_ledger_refuses_what_money_cannot_do,
    an_account_is_never_overdrawn,
    one_voucher_stands_on_an_enrolment,
    a_purchase_is_by_a_card_of_its_household_at_a_stall_of_its_producer,
    what_the_journal_refers_to_stays,
);

/// `table.column type`, with `?` where it may be null and its place in the primary key, in order.
type Columns = Vec<String>;

fn columns_of_sqlite(sql: &mut Sql) -> Columns {
    sql.lines(
        "SELECT m.name || '.' || c.name || ' ' || c.type || CASE WHEN c.\"notnull\" = 0 AND c.pk = 0 THEN '?' ELSE '' END
           || CASE WHEN c.pk > 0 THEN ' key ' || c.pk ELSE '' END AS line
         FROM sqlite_master m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '__diesel_schema_migrations'
         ORDER BY m.name, c.cid",
    )
}

fn columns_of_postgresql(sql: &mut Sql) -> Columns {
    sql.lines(
        "SELECT c.table_name || '.' || c.column_name || ' ' || c.udt_name
           || CASE WHEN c.is_nullable = 'YES' THEN '?' ELSE '' END
           || COALESCE(' key ' || k.ordinal_position, '') AS line
         FROM information_schema.columns c
         LEFT JOIN information_schema.table_constraints t
           ON t.table_schema = 'public' AND t.table_name = c.table_name AND t.constraint_type = 'PRIMARY KEY'
         LEFT JOIN information_schema.key_column_usage k
           ON k.constraint_name = t.constraint_name AND k.table_name = c.table_name AND k.column_name = c.column_name
         WHERE c.table_schema = 'public' AND c.table_name <> '__diesel_schema_migrations'
         ORDER BY c.table_name COLLATE \"C\", c.ordinal_position",
    )
}

const SCHEMA: [&str; 2] = [include_str!("../src/db/schema/money.rs"), include_str!("../src/db/schema/parties.rs")];

/// What `src/db/schema/` says, in the words of one of the databases.
fn columns_of_the_source(types: &BTreeMap<&str, &str>) -> Columns {
    let mut columns: BTreeMap<String, Columns> = BTreeMap::new();
    let (mut table, mut keys): (String, Vec<String>) = Default::default();
    for line in SCHEMA.iter().flat_map(|source| source.lines()).map(str::trim) {
        if let Some((name, listed)) = line.strip_suffix(") {").and_then(|head| head.split_once(" (")) {
            table = name.to_owned();
            keys = listed.split(", ").map(str::to_owned).collect();
        } else if let Some((name, of_type)) = line.strip_suffix(',').and_then(|column| column.split_once(" -> ")) {
            let required = of_type.strip_prefix("Nullable<").and_then(|inner| inner.strip_suffix('>'));
            let shown = types[required.unwrap_or(of_type)];
            let null = if required.is_some() { "?" } else { "" };
            let key = keys.iter().position(|key| key == name).map(|place| format!(" key {}", place + 1));
            let column = format!("{table}.{name} {shown}{null}{}", key.unwrap_or_default());
            columns.entry(table.clone()).or_default().push(column);
        }
    }
    columns.into_values().flatten().collect()
}

#[test]
fn both_databases_have_the_columns_that_the_queries_know() {
    let (sqlite, postgresql) = (World::on_sqlite(), World::on_postgresql());
    let (mut sqlite, mut postgresql) = (Sql::of(&sqlite), Sql::of(&postgresql));
    let names = ["ty::Id", "Text", "ty::Instant", "ty::Day", "Bool", "Integer", "BigInt", "Binary"];
    let of_sqlite = ["BLOB", "TEXT", "INTEGER", "TEXT", "INTEGER", "INTEGER", "INTEGER", "BLOB"];
    let of_postgresql = ["uuid", "text", "timestamptz", "date", "bool", "int4", "int8", "bytea"];
    let types = |of: [&'static str; 8]| names.into_iter().zip(of).collect();
    let (found, known) = (columns_of_sqlite(&mut sqlite), columns_of_the_source(&types(of_sqlite)));
    assert!(known.len() > 100, "{known:?}");
    assert_eq!(found, known);
    assert_eq!(columns_of_postgresql(&mut postgresql), columns_of_the_source(&types(of_postgresql)));
    assert_eq!(sqlite.tables(), postgresql.tables());
}

#[test]
fn both_databases_have_the_same_indexes() {
    let (sqlite, postgresql) = (World::on_sqlite(), World::on_postgresql());
    let of_sqlite = "SELECT name AS line FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    // those behind a constraint carry its table's name and a suffix, and SQLite names them otherwise
    let of_postgresql = "SELECT indexname::text AS line FROM pg_indexes WHERE schemaname = 'public'
        AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key' ORDER BY indexname COLLATE \"C\"";
    assert_eq!(Sql::of(&sqlite).lines(of_sqlite), Sql::of(&postgresql).lines(of_postgresql));
}

fn migrating_a_second_time_changes_nothing(world: World) {
    let mut sql = Sql::of(&world);
    let all = |sql: &mut Sql| match sql {
        Sql::Sqlite(_) => sql.lines("SELECT COALESCE(sql, name) AS line FROM sqlite_master ORDER BY name"),
        Sql::Postgresql(_) => columns_of_postgresql(sql),
    };
    let (schema, counts) = (all(&mut sql), sql.counts());
    assert_eq!(world.state.db.migrate(), Ok(0));
    assert_eq!((all(&mut sql), sql.counts()), (schema, counts));
}

/// A town where something was bought, with a line, and undone, and where a basket waits.
fn town_with_a_voided_purchase(world: World) -> Town {
    let town = Town::with(world, Setup::setting_aside());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let mut basket = till.basket(&card.token, 2000, false);
    basket["lines"] = json!([{"category": "eggs", "amount": "20.00"}]);
    let sold = till.client.post_once("/api/v1/redemptions", basket.clone()).expect(201);
    till.void(sold["id"].as_str().unwrap()).expect(200);
    till.client.post_once("/api/v1/holds", basket).expect(201);
    till.redeem(&card.token, 500).expect(201);
    town
}

#[track_caller]
fn refused(sql: &mut Sql, statement: &str, sqlite: &str, postgresql: &str) {
    let Err(error) = sql.run(statement) else { panic!("the database let it pass: {statement}") };
    let (said, expected) = (error.to_string(), if matches!(sql, Sql::Sqlite(_)) { sqlite } else { postgresql });
    assert!(said.contains(expected), "{statement}\n{said}\nwhere {expected} was expected");
}

fn the_journal_only_grows(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    let before = sql.counts();
    for (table, column) in [
        ("transfers", "amount_cents"),
        ("redemptions", "covered_cents"),
        ("redemption_lines", "amount_cents"),
        ("voids", "reason"),
        ("hold_parts", "amount_cents"),
        ("hold_lines", "amount_cents"),
        ("agreements", "granted_cents"),
        ("audit_entries", "action"),
    ] {
        assert!(sql.number(&format!("SELECT count(*) FROM {table}")) > 0, "{table} is empty: nothing to refuse");
        let says = format!("{table} only grows");
        refused(&mut sql, &format!("UPDATE {table} SET {column} = {column}"), &says, &says);
        refused(&mut sql, &format!("DELETE FROM {table}"), &says, &says);
        match sql {
            Sql::Postgresql(_) => refused(&mut sql, &format!("TRUNCATE {table} CASCADE"), "", "only grows"),
            // SQLite's own way to change a row without an UPDATE
            Sql::Sqlite(_) => {
                let replace = format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1");
                refused(&mut sql, &replace, &says, "");
            }
        }
    }
    assert_eq!(sql.counts(), before);
    town.world.verify();
}

fn what_was_promised_is_not_rewritten(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    let (id, at) = match sql {
        Sql::Sqlite(_) => ("randomblob(16)", "0"),
        Sql::Postgresql(_) => ("gen_random_uuid()", "'1970-01-01Z'"),
    };
    let (day, text, number) = ("'2020-01-01'", "'0'", "0");
    let households = [("household_id", id), ("programme_id", id), ("organisation_id", id)];
    let promise = [("adults", number), ("children", "20"), ("commune_code", text), ("promised_cents", number)];
    let of_enrolment = [&households[..], &promise].concat();
    let window = [("starts_on", day), ("ends_on", day), ("opens_at", at), ("closes_at", at)];
    let of_allowance = [&[("enrolment_id", id), ("period", number), ("amount_cents", number)][..], &window].concat();
    // what nothing else refuses
    let other = "(SELECT s.producer_id FROM stalls s WHERE s.producer_id <> accounts.producer_id LIMIT 1) WHERE kind = 'payable'";
    let another =
        "(SELECT g.id FROM agreements g WHERE g.id <> accounts.agreement_id LIMIT 1) WHERE kind = 'allowance'";
    let of_account =
        vec![("agreement_id", another), ("kind", "'reserved' WHERE kind = 'allowance'"), ("producer_id", other)];
    let of_part = vec![("allowance_id", id), ("agreement_id", id), ("position", number), ("amount_cents", number)];
    for (table, columns) in [
        ("enrolments", of_enrolment),
        ("accounts", of_account),
        ("allowances", of_allowance),
        ("allowance_parts", of_part),
    ] {
        assert!(sql.number(&format!("SELECT count(*) FROM {table}")) > 0, "{table} is empty: nothing to refuse");
        let says = format!("{table} keeps what it was written with");
        for (column, other) in columns {
            refused(&mut sql, &format!("UPDATE {table} SET {column} = {other}"), &says, &says);
            // the service writes whole rows
            sql.run(&format!("UPDATE {table} SET {column} = {column}")).unwrap();
        }
    }
    // nothing becomes something as little as something else
    let owed = "UPDATE accounts SET producer_id = NULL WHERE kind = 'payable'";
    refused(&mut sql, owed, "accounts keeps", "accounts_check");
    town.world.verify();
}

/// As a server would that knows nothing of how much of a part is issued: the money would be released once more later.
fn a_promise_is_opened_only_as_it_is_issued(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    let (promised, issued) = ("WHERE NOT open AND issued_cents = 0", "WHERE open AND issued_cents = amount_cents");
    let count = |sql: &mut Sql, of: &str| sql.number(&format!("SELECT count(*) FROM allowance_parts {of}"));
    // six months of two agreements, the first in hand
    assert_eq!((count(&mut sql, promised), count(&mut sql, issued)), (10, 2));
    let says = "allowance_parts is opened as it is issued";
    refused(&mut sql, &format!("UPDATE allowance_parts SET open = TRUE {promised}"), says, says);
    for lets_pass in [
        format!("UPDATE allowance_parts SET open = TRUE, issued_cents = amount_cents {promised}"),
        format!(
            "UPDATE allowance_parts SET open = FALSE {issued}; UPDATE allowance_parts SET open = TRUE WHERE issued_cents > 0"
        ),
    ] {
        sql.run(&format!("BEGIN; {lets_pass}; ROLLBACK")).unwrap();
    }
    town.world.verify();
}

fn what_was_set_aside_or_earned_is_not_removed(world: World) {
    let mut rules = rules("60.00", "none");
    rules["hold_hours"] = json!(48);
    rules["bonus"] = json!({"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31});
    let tariff = |code: &str, percent: i64| json!({"code": code, "price_percent": percent});
    rules["bands"] =
        json!({"chosen_by": "household", "default": "low", "tariffs": [tariff("low", 50), tariff("high", 150)]});
    let town = Town::with(world, Setup { rules, funding_rule: "priority", ..Setup::default() });
    let (card, till) = (town.new_card(), &town.tills[0]);
    let mut basket = till.basket(&card.token, 2000, false);
    basket["lines"] = json!([{"category": "eggs", "labels": ["organic"], "amount": "20.00"}]);
    till.client.post_once("/api/v1/holds", basket.clone()).expect(201);
    till.client.post_once("/api/v1/redemptions", basket.clone()).expect(201);
    basket["tariff"] = json!("high");
    till.client.post_once("/api/v1/redemptions", basket).expect(201);
    let mut sql = Sql::of(&town.world);
    let before = sql.counts();
    for table in ["holds", "bonuses", "surpluses"] {
        assert!(sql.number(&format!("SELECT count(*) FROM {table}")) > 0, "{table} is empty: nothing to refuse");
        let says = format!("{table} keeps what it was written with");
        refused(&mut sql, &format!("DELETE FROM {table}"), &says, &says);
        match sql {
            Sql::Postgresql(_) => refused(&mut sql, &format!("TRUNCATE {table} CASCADE"), "", "keeps what it was"),
            Sql::Sqlite(_) => {
                let replace = format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1");
                refused(&mut sql, &replace, &says, "");
            }
        }
    }
    assert_eq!(sql.counts(), before);
    town.world.verify();
}

const TRANSFER: &[&str] = &[
    "id",
    "debit_account",
    "credit_account",
    "agreement_id",
    "amount_cents",
    "code",
    "reference",
    "reverses",
    "occurred_at",
    "recorded_at",
    "digest",
];

const REDEMPTION: &[&str] = &[
    "id",
    "voucher_id",
    "enrolment_id",
    "producer_id",
    "stall_id",
    "person_id",
    "siret",
    "basket_cents",
    "covered_cents",
    "void_until",
    "occurred_at",
    "recorded_at",
    "surplus_cents",
    "hold_id",
];

/// An INSERT of a copy of a row with some columns changed; the copy has an id of its own.
fn copy(sql: &Sql, table: &str, columns: &[&str], of: &str, changes: &[(&str, &str)]) -> String {
    let new_id = match sql {
        Sql::Sqlite(_) => "randomblob(16)",
        Sql::Postgresql(_) => "gen_random_uuid()",
    };
    let value = |column: &&str| {
        let changed = changes.iter().find(|(name, _)| name == column).map(|(_, value)| *value);
        changed.unwrap_or(if *column == "id" { new_id } else { column }).to_owned()
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    format!("INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {of} LIMIT 1", columns.join(", "), values.join(", "))
}

fn copy_of_a_transfer(sql: &Sql, of: &str, changes: &[(&str, &str)]) -> String {
    copy(sql, "transfers", TRANSFER, of, changes)
}

fn a_purchase_is_by_a_card_of_its_household_at_a_stall_of_its_producer(world: World) {
    let town = town_with_a_voided_purchase(world);
    town.new_card();
    town.new_till(2);
    let mut sql = Sql::of(&town.world);
    let before = sql.counts();
    let fine = copy(&sql, "redemptions", REDEMPTION, "true", &[]);
    sql.run(&format!("BEGIN; {fine}; ROLLBACK")).unwrap();
    let other = |table: &str, what: &str, than: &str| {
        format!("(SELECT o.{what} FROM {table} o WHERE o.{what} <> redemptions.{than} LIMIT 1)")
    };
    for (column, elsewhere) in [
        ("voucher_id", other("vouchers", "id", "voucher_id")),
        ("enrolment_id", other("enrolments", "id", "enrolment_id")),
        ("stall_id", other("stalls", "id", "stall_id")),
        ("producer_id", other("producers", "id", "producer_id")),
        ("person_id", other("people", "id", "person_id")),
        ("voucher_id", "stall_id".to_owned()),
        ("stall_id", "voucher_id".to_owned()),
        ("person_id", "voucher_id".to_owned()),
        ("hold_id", "voucher_id".to_owned()),
    ] {
        let found = sql.number(&format!("SELECT count(*) FROM redemptions WHERE {elsewhere} IS NOT NULL"));
        assert!(found > 0, "{elsewhere}: there is no other");
        let across = copy(&sql, "redemptions", REDEMPTION, "true", &[(column, &elsewhere)]);
        refused(&mut sql, &across, "violates foreign key constraint", "violates foreign key constraint");
    }
    assert_eq!(sql.counts(), before);
    town.world.verify();
}

fn what_the_journal_refers_to_stays(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    let before = sql.counts();
    for (table, of) in [
        ("organisations", "id IN (SELECT producer_id FROM redemptions)"),
        ("people", "id IN (SELECT person_id FROM redemptions)"),
        ("stalls", "id IN (SELECT stall_id FROM redemptions)"),
        ("vouchers", "id IN (SELECT voucher_id FROM redemptions)"),
        ("enrolments", "id IN (SELECT enrolment_id FROM redemptions)"),
        ("accounts", "id IN (SELECT debit_account FROM transfers)"),
        ("accounts", "id IN (SELECT credit_account FROM transfers)"),
    ] {
        let postgresql =
            if table == "enrolments" { "violates foreign key constraint" } else { "the journal refers to them" };
        refused(&mut sql, &format!("DELETE FROM {table} WHERE {of}"), "FOREIGN KEY constraint failed", postgresql);
        let new_id = match sql {
            Sql::Sqlite(_) => "randomblob(16)",
            Sql::Postgresql(_) => {
                // an enrolment's is refused further down
                let stay = if table == "enrolments" { "" } else { &format!("{table} stay") };
                refused(&mut sql, &format!("TRUNCATE {table} CASCADE"), "", stay);
                "gen_random_uuid()"
            }
        };
        // an account and an enrolment say so themselves
        let sqlite =
            if ["accounts", "enrolments"].contains(&table) { "keeps" } else { "FOREIGN KEY constraint failed" };
        let renamed = format!("UPDATE {table} SET id = {new_id} WHERE {of}");
        refused(&mut sql, &renamed, sqlite, "keeps what it was written with");
    }
    for (table, column) in [("people", "organisation_id"), ("stalls", "producer_id"), ("vouchers", "enrolment_id")] {
        let new_id = if matches!(sql, Sql::Sqlite(_)) { "randomblob(16)" } else { "gen_random_uuid()" };
        let elsewhere = format!("UPDATE {table} SET {column} = {new_id}");
        let says = format!("{table} keeps what it was written with");
        refused(&mut sql, &elsewhere, &says, &says);
        // the service writes whole rows
        sql.run(&format!("UPDATE {table} SET {column} = {column}")).unwrap();
    }
    assert_eq!(sql.counts(), before);
    town.world.verify();
}

fn the_ledger_refuses_what_money_cannot_do(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    let before = sql.counts();

    // a plain copy is let in, so that what follows is refused for what it says alone
    let fine = copy_of_a_transfer(&sql, "code = 'issue'", &[("amount_cents", "1")]);
    sql.run(&format!("BEGIN; {fine}; ROLLBACK")).unwrap();

    for nothing in ["0", "-1"] {
        let transfer = copy_of_a_transfer(&sql, "code = 'issue'", &[("amount_cents", nothing)]);
        refused(&mut sql, &transfer, "CHECK constraint failed: amount_cents > 0", "transfers_amount_cents_check");
    }
    let round = copy_of_a_transfer(&sql, "code = 'issue'", &[("credit_account", "debit_account")]);
    refused(&mut sql, &round, "debit_account <> credit_account", "transfers_check");

    let elsewhere = "(SELECT a.id FROM accounts a WHERE a.agreement_id <> transfers.agreement_id LIMIT 1)";
    for side in ["debit_account", "credit_account"] {
        let across = copy_of_a_transfer(&sql, "code = 'issue'", &[(side, elsewhere)]);
        refused(&mut sql, &across, "FOREIGN KEY constraint failed", "violates foreign key constraint");
    }
    if matches!(sql, Sql::Postgresql(_)) {
        // nor where somebody has put a table of their own before the ledger's
        let own = sql.lines("SELECT agreement_id::text AS line FROM transfers WHERE code = 'issue' LIMIT 1").remove(0);
        let other = format!("SELECT id::text AS line FROM accounts WHERE agreement_id <> '{own}' LIMIT 1");
        let elsewhere = sql.lines(&other).remove(0);
        let forged =
            format!("CREATE TEMP TABLE accounts AS SELECT id, '{own}'::uuid AS agreement_id FROM public.accounts");
        sql.run(&forged).unwrap();
        let of = format!("code = 'issue' AND agreement_id = '{own}'");
        let across = copy_of_a_transfer(&sql, &of, &[("credit_account", &format!("'{elsewhere}'::uuid"))]);
        refused(&mut sql, &across, "", "violates foreign key constraint");
        sql.run("DROP TABLE pg_temp.accounts").unwrap();
    }
    let other = "(SELECT g.id FROM agreements g WHERE g.id <> transfers.agreement_id LIMIT 1)";
    let across = copy_of_a_transfer(&sql, "code = 'issue'", &[("agreement_id", other)]);
    refused(&mut sql, &across, "FOREIGN KEY constraint failed", "violates foreign key constraint");

    let again = copy_of_a_transfer(&sql, "code = 'void'", &[]);
    refused(&mut sql, &again, "transfers only grows", "transfers_reverses_key");
    if matches!(sql, Sql::Sqlite(_)) {
        let instead = again.replace("INSERT INTO", "INSERT OR REPLACE INTO");
        refused(&mut sql, &instead, "transfers only grows", "");
    }
    let void_of_nothing = copy_of_a_transfer(&sql, "code = 'issue'", &[("code", "'void'")]);
    refused(&mut sql, &void_of_nothing, "(code = 'void') = (reverses IS NOT NULL)", "transfers_check1");
    assert_eq!(sql.counts(), before);
    town.world.verify();
}

fn an_account_is_never_overdrawn(world: World) {
    let town = town_with_a_voided_purchase(world);
    let mut sql = Sql::of(&town.world);
    for kind in ["available", "committed", "allowance", "reserved", "payable"] {
        let overdraw = format!("UPDATE accounts SET balance_cents = -1 WHERE kind = '{kind}'");
        refused(&mut sql, &overdraw, "no_account_is_overdrawn", "no_account_is_overdrawn");
    }
    // a funder's account shows what they have given, and cannot owe them anything
    let overdraw = "UPDATE accounts SET balance_cents = 1 WHERE kind = 'funder'";
    refused(&mut sql, overdraw, "no_account_is_overdrawn", "no_account_is_overdrawn");
    town.world.verify();
}

fn one_voucher_stands_on_an_enrolment(world: World) {
    let town = Town::new(world);
    let card = town.new_card();
    let replaced = format!("/api/v1/vouchers/{}/replace", card.id);
    town.worker.send("POST", &replaced, &[("idempotency-key", "remplacement-1")], None).expect(201);
    let mut sql = Sql::of(&town.world);
    let (sqlite, postgresql) = ("UNIQUE constraint failed: vouchers.enrolment_id", "one_standing_voucher");
    for state in ["active", "blocked"] {
        let revive = format!("UPDATE vouchers SET state = '{state}' WHERE state = 'replaced'");
        refused(&mut sql, &revive, sqlite, postgresql);
    }
}
