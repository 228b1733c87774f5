//! `primeur verify` names a row that was changed behind the program's back.

use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::support::{Town, World, on_both_databases};

on_both_databases!(
    a_changed_transfer_is_named,
    a_deleted_transfer_is_noticed,
    a_changed_balance_is_named,
    a_changed_purchase_is_named,
    a_changed_promise_is_named,
    a_changed_share_is_named,
    the_command_says_ok_or_which_row_is_wrong,
);

/// A town where something was bought and something undone.
fn lived_in(world: World) -> Town {
    let town = Town::new(world);
    let card = town.new_card();
    let till = &town.tills[0];
    till.redeem(&card.token, 1001).expect(201);
    let sold = till.redeem(&card.token, 500).expect(201);
    till.void(sold["id"].as_str().unwrap()).expect(200);
    town.world.verify();
    town
}

/// Runs a statement as somebody would who holds the database's own password and has put its guards out of the way.
fn tamper(world: &World, statement: &str) {
    if let Some(path) = world.database_url.strip_prefix("sqlite://") {
        let mut conn = SqliteConnection::establish(path).unwrap();
        let journal = ["transfers", "redemptions", "redemption_lines", "voids", "agreements"];
        for table in journal {
            conn.batch_execute(&format!("DROP TRIGGER {table}_no_update; DROP TRIGGER {table}_no_delete;")).unwrap();
        }
        conn.batch_execute(statement).unwrap();
    } else {
        let mut conn = PgConnection::establish(&world.database_url).unwrap();
        conn.batch_execute("SET session_replication_role = replica;").unwrap();
        conn.batch_execute(statement).unwrap();
    }
}

#[track_caller]
fn found(town: &Town, table: &str, words: &str) {
    let findings = primeur::verify::run(&town.world.state.db).unwrap().findings;
    let named = findings.iter().any(|finding| finding.table == table && finding.what.contains(words));
    assert!(named, "no finding in {table} says {words:?}: {findings:#?}");
}

fn a_changed_transfer_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE transfers SET amount_cents = amount_cents + 1 WHERE code = 'issue'");
    found(&town, "transfers", "digest differs");
    found(&town, "accounts", "but the journal says");
    found(&town, "allowance_parts", "issue should be");
}

fn a_deleted_transfer_is_noticed(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "DELETE FROM transfers WHERE code = 'void'");
    found(&town, "redemptions", "not all of it came back");
    found(&town, "accounts", "but the journal says");
}

fn a_changed_balance_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE accounts SET balance_cents = balance_cents - 1 WHERE kind = 'payable'");
    found(&town, "accounts", "payable account holds");
    found(&town, "agreements", "its payable accounts hold");
}

fn a_changed_purchase_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE redemptions SET covered_cents = covered_cents - 1");
    found(&town, "redemptions", "was paid");
}

fn a_changed_promise_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE allowances SET amount_cents = amount_cents + 1 WHERE period = 3");
    found(&town, "allowances", "but its parts are");
    found(&town, "enrolments", "but its allowances are");
}

fn a_changed_share_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE funding_sets SET cumulated_cents = cumulated_cents + 2");
    found(&town, "funding_sets", "should have promised");
}

fn the_command_says_ok_or_which_row_is_wrong(world: World) {
    let town = lived_in(world);
    let verify = || {
        let output = Command::new(env!("CARGO_BIN_EXE_primeur"))
            .arg("verify")
            .env("PRIMEUR__DATABASE__URL", &town.world.database_url)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = verify();
    assert_eq!((code, said.lines().last()), (Some(0), Some("OK")), "{said}");
    tamper(
        &town.world,
        "UPDATE transfers SET recorded_at = occurred_at, occurred_at = recorded_at, amount_cents = amount_cents * 2 WHERE code = 'grant'",
    );
    let (code, said) = verify();
    assert_eq!(code, Some(1));
    assert!(said.contains("WRONG transfers trf_"), "{said}");
}
