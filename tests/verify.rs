//! `primeur verify` names a row that was changed behind the program's back.

use std::process::Command;

use crate::support::sql::Sql;
use crate::support::town::{Setup, rules};
use crate::support::{Town, World, id, on_both_databases};

on_both_databases!(
    a_broken_row_stops_nobody_else_s_month,
    a_changed_transfer_is_named,
    a_deleted_transfer_is_noticed,
    a_changed_balance_is_named,
    a_changed_purchase_is_named,
    a_purchase_that_covers_more_than_its_rules_is_named,
    a_changed_promise_is_named,
    a_changed_share_is_named,
    a_changed_payee_is_named,
    an_account_given_to_another_agreement_is_named,
    a_purchase_from_another_household_s_money_is_named,
    a_purchase_outside_its_window_is_named,
    a_moved_void_is_named,
    a_longer_life_of_money_is_named,
    an_earlier_window_is_named,
    an_opened_promise_is_named,
    deleted_promises_are_noticed,
    a_changed_commune_is_named,
    an_ended_enrolment_with_money_committed_is_named,
    a_changed_hold_is_named,
    a_basket_whose_lines_do_not_add_up_is_named,
    money_that_left_a_hold_behind_its_back_is_named,
    a_hold_of_another_household_s_money_is_named,
    a_captured_hold_without_its_purchase_is_named,
    a_hold_that_stands_too_long_is_named,
    a_voucher_of_a_value_that_nothing_backs_is_named,
    a_bonus_that_is_not_what_its_basket_earned_is_named,
    a_month_that_goes_below_zero_is_named,
    a_month_whose_purchases_are_gone_is_named,
    a_changed_a_removed_and_an_inserted_audit_entry_are_named,
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
pub fn tamper(world: &World, statement: &str) {
    let mut sql = Sql::of(world);
    match sql {
        Sql::Sqlite(_) => {
            let guards = "SELECT 'DROP TRIGGER ' || name AS line FROM sqlite_master WHERE type = 'trigger'";
            let guards = sql.lines(guards).join("; ");
            sql.run(&format!("PRAGMA foreign_keys = OFF; {guards}")).unwrap();
        }
        Sql::Postgresql(_) => sql.run("SET session_replication_role = replica").unwrap(),
    }
    sql.run(statement).unwrap();
}

/// An instant of a column, so many days later.
pub fn later(world: &World, column: &str, days: i64) -> String {
    match Sql::of(world) {
        Sql::Sqlite(_) => format!("{column} + {days} * 86400000000"),
        Sql::Postgresql(_) => format!("{column} + {days} * interval '1 day'"),
    }
}

#[track_caller]
pub fn found(town: &Town, table: &str, words: &str) {
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

fn a_purchase_that_covers_more_than_its_rules_is_named(world: World) {
    let mut rules = rules("60.00", "none");
    rules["coverage"] = serde_json::json!({"percent": 50, "own_part": "1.00", "per_redemption": "8.00"});
    let town = Town::with(world, Setup { rules, ..Setup::default() });
    let (card, till) = (town.new_card(), &town.tills[0]);
    till.redeem(&card.token, 1300).expect(201);
    till.redeem(&card.token, 3000).expect(201);
    town.world.verify();
    // half of 12.99 less 1.00; and 8.00 at most
    for (basket, other) in [(1300, 1298), (3000, 3000)] {
        let covered = if basket == 3000 { 801 } else { 600 };
        let tampered = format!(
            "UPDATE redemptions SET basket_cents = {other}, covered_cents = {covered} WHERE basket_cents = {basket}"
        );
        tamper(&town.world, &tampered);
        found(&town, "redemptions", &format!("covers {}.{:02} of", covered / 100, covered % 100));
    }
    let words = "and 0.01 above it, which its rules do not foresee";
    tamper(&town.world, "UPDATE redemptions SET covered_cents = 0, surplus_cents = 1 WHERE basket_cents = 3000");
    found(&town, "redemptions", words);
}

fn a_changed_promise_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE allowances SET amount_cents = amount_cents + 1 WHERE period = 3");
    found(&town, "allowances", "but its parts are");
    found(&town, "enrolments", "but its allowances are");
}

fn a_changed_a_removed_and_an_inserted_audit_entry_are_named(world: World) {
    let town = lived_in(world);
    let mut sql = Sql::of(&town.world);
    let count = sql.number("SELECT max(sequence) FROM audit_entries");
    assert!(count > 10, "{count}");
    let findings = || {
        let findings = primeur::verify::run(&town.world.state.db).unwrap().findings;
        assert!(findings.iter().all(|finding| finding.table == "audit_entries"), "{findings:#?}");
        findings.into_iter().map(|finding| (finding.row, finding.what)).collect::<Vec<_>>()
    };
    let changed = |sequence: i64| (sequence.to_string(), "is not as it was written".to_owned());
    let columns = ["occurred_at", "person_id", "organisation_id", "action", "subject", "detail", "digest"];
    let all = columns.join(", ");
    // each column of one entry, taken from another and put back
    for column in columns {
        let of = |from: &str| {
            format!("UPDATE audit_entries SET {column} = (SELECT {column} FROM {from}) WHERE sequence = 5")
        };
        tamper(&town.world, "CREATE TABLE kept AS SELECT * FROM audit_entries WHERE sequence = 5");
        let other = match column {
            "person_id" => {
                "(SELECT id AS person_id FROM people WHERE id IS DISTINCT FROM
                   (SELECT person_id FROM audit_entries WHERE sequence = 5) LIMIT 1) p"
            }
            "organisation_id" => {
                "(SELECT id AS organisation_id FROM organisations WHERE id IS DISTINCT FROM
                   (SELECT organisation_id FROM audit_entries WHERE sequence = 5) LIMIT 1) o"
            }
            "subject" => "(SELECT 'x' AS subject) s",
            "detail" => "(SELECT 'x' AS detail) d",
            "occurred_at" => "(SELECT closes_at AS occurred_at FROM allowances LIMIT 1) a",
            "action" => "(SELECT 'logged_in_' AS action) a",
            _ => "audit_entries WHERE sequence = 7",
        };
        tamper(&town.world, &of(other));
        assert_eq!(findings()[0], changed(5), "{column}");
        tamper(&town.world, &of("kept"));
        tamper(&town.world, "DROP TABLE kept");
        assert_eq!(findings(), [], "{column}");
    }
    // a copy at the end has a digest of another place
    tamper(
        &town.world,
        &format!(
            "INSERT INTO audit_entries (sequence, {all}) SELECT {count} + 1, {all} FROM audit_entries WHERE sequence = {count}"
        ),
    );
    assert_eq!(findings(), [changed(count + 1)]);
    tamper(&town.world, &format!("DELETE FROM audit_entries WHERE sequence = {count} + 1"));
    tamper(&town.world, "DELETE FROM audit_entries WHERE sequence = 5");
    assert_eq!(findings(), [("6".to_owned(), "comes where 5 is missing".to_owned()), changed(6)]);
    // one put in between, and all after it moved
    tamper(
        &town.world,
        &format!("INSERT INTO audit_entries (sequence, {all}) SELECT 5, {all} FROM audit_entries WHERE sequence = 4"),
    );
    assert_eq!(findings(), [changed(5), changed(6)]);
}

fn a_changed_share_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE funding_sets SET cumulated_cents = cumulated_cents + 2");
    found(&town, "funding_sets", "should have promised");
}

fn a_changed_payee_is_named(world: World) {
    let town = lived_in(world);
    let other = "(SELECT p.id FROM producers p WHERE p.id <> accounts.producer_id)";
    tamper(&town.world, &format!("UPDATE accounts SET producer_id = {other} WHERE kind = 'payable'"));
    found(&town, "redemptions", "which is not its producer's account");
}

fn an_account_given_to_another_agreement_is_named(world: World) {
    let town = lived_in(world);
    let other = "(SELECT g.id FROM agreements g WHERE g.id <> accounts.agreement_id)";
    tamper(&town.world, &format!("UPDATE accounts SET agreement_id = {other} WHERE kind = 'allowance'"));
    found(&town, "transfers", "another agreement's account");
    found(&town, "agreements", "its allowance accounts hold");
}

fn a_purchase_from_another_household_s_money_is_named(world: World) {
    let town = lived_in(world);
    town.enrol();
    let other = "(SELECT e.id FROM enrolments e WHERE e.id <> redemptions.enrolment_id)";
    tamper(&town.world, &format!("UPDATE redemptions SET enrolment_id = {other}"));
    found(&town, "redemptions", "a part of another enrolment's allowance");
}

fn a_purchase_outside_its_window_is_named(world: World) {
    let town = lived_in(world);
    let until = later(&town.world, "spendable_until", -40);
    tamper(&town.world, &format!("UPDATE allowance_parts SET spendable_until = {until}"));
    found(&town, "redemptions", "outside its window");
    found(&town, "allowance_parts", "is spendable until");
}

fn a_moved_void_is_named(world: World) {
    let town = lived_in(world);
    let at = later(&town.world, "recorded_at", -1);
    tamper(&town.world, &format!("UPDATE voids SET recorded_at = {at}"));
    found(&town, "redemptions", "at another moment than its money came back");
}

fn a_longer_life_of_money_is_named(world: World) {
    let town = lived_in(world);
    for days in [1, 400] {
        let until = later(&town.world, "spendable_until", days);
        tamper(&town.world, &format!("UPDATE allowance_parts SET spendable_until = {until}"));
        found(&town, "allowance_parts", "is spendable until");
    }
}

fn an_earlier_window_is_named(world: World) {
    let town = lived_in(world);
    let opens_at = later(&town.world, "opens_at", -31);
    tamper(&town.world, &format!("UPDATE allowances SET opens_at = {opens_at} WHERE period = 2"));
    found(&town, "allowances", "but the rules say");
}

/// The allowances that are promised and not yet issued.
const PROMISED: &str = "(SELECT a.id FROM allowances a WHERE a.state = 'committed')";

fn an_opened_promise_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, &format!("UPDATE allowance_parts SET open = NOT open WHERE allowance_id IN {PROMISED}"));
    found(&town, "allowance_parts", "is open but its allowance is committed");
}

fn deleted_promises_are_noticed(world: World) {
    let town = lived_in(world);
    tamper(&town.world, &format!("DELETE FROM allowance_parts WHERE allowance_id IN {PROMISED}"));
    tamper(&town.world, "DELETE FROM allowances WHERE state = 'committed'");
    found(&town, "agreements", "committed but its promises are 0.00");
    found(&town, "transfers", "belong to an allowance");
    found(&town, "enrolments", "has 1 allowances for 6 promises");
}

fn a_changed_commune_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE enrolments SET commune_code = '59350'");
    found(&town, "enrolments", "is of 59350, which is not in its programme's territory");
}

fn an_ended_enrolment_with_money_committed_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "UPDATE enrolments SET state = 'ended'");
    found(&town, "enrolments", "is ended but money is committed");
}

fn a_month_that_goes_below_zero_is_named(world: World) {
    let town = lived_in(world);
    let at = later(&town.world, "recorded_at", 40);
    tamper(&town.world, &format!("UPDATE transfers SET recorded_at = {at} WHERE code = 'commit'"));
    found(&town, "agreements", "its report of 2026-07 takes committed from 0.00 to -");
}

fn a_month_whose_purchases_are_gone_is_named(world: World) {
    let town = lived_in(world);
    tamper(&town.world, "DELETE FROM redemptions");
    found(&town, "agreements", "its report of 2026-07 lists 0.00 bought");
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

fn a_broken_row_stops_nobody_else_s_month(world: World) {
    let town = Town::new(world);
    let cards = [town.new_card(), town.new_card(), town.new_card()];
    primeur::schedule::run(&town.world.state.db).unwrap();
    // more than its agreement has committed: August cannot be issued to the first of three
    tamper(
        &town.world,
        "UPDATE allowance_parts SET amount_cents = 99999999 WHERE allowance_id IN (SELECT id FROM allowances \
         WHERE period = 2 AND enrolment_id = (SELECT id FROM enrolments ORDER BY id LIMIT 1))",
    );
    assert_eq!(town.world.advance_to("2026-08-01T08:00:00Z").issued, 2);
    let mut held = cards.map(|card| town.balance(&card.enrolment));
    held.sort_unstable();
    assert_eq!(held, [0, 6000, 6000], "July is closed for all, August open for two");
}

/// A town where one basket waits, one was fetched smaller, one given up, and one undone.
fn with_holds(world: World) -> Town {
    let town = Town::with(world, Setup::setting_aside());
    let (card, other) = (town.new_card(), town.new_card());
    let till = &town.tills[0];
    let [fetched, undone, given_up] = [1001, 502, 303].map(|basket| id(&till.hold(&card.token, basket).expect(201)));
    let smaller = serde_json::json!({"basket": "7.00"});
    till.client.post_once(&format!("/api/v1/holds/{fetched}/capture"), smaller).expect(201);
    let sold = till.capture(&undone).expect(201);
    till.void(&id(&sold)).expect(200);
    till.client.act(&format!("/api/v1/holds/{given_up}/release")).expect(204);
    till.hold(&card.token, 404).expect(201);
    other_lives(&town, &other.token);
    town.world.verify();
    town
}

fn other_lives(town: &Town, token: &str) {
    town.tills[1].redeem(token, 100).expect(201);
}

fn a_changed_hold_is_named(world: World) {
    let town = with_holds(world);
    tamper(&town.world, "UPDATE holds SET covered_cents = covered_cents - 1 WHERE state = 'held'");
    found(&town, "holds", "covers 4.03 but has set 4.04 aside");
    tamper(
        &town.world,
        "UPDATE holds SET covered_cents = covered_cents + 1, state = 'released', settled_at = created_at WHERE state = 'held'",
    );
    found(&town, "hold_parts", "of a released hold: 0.00 of 2.02 came back");
    tamper(&town.world, "UPDATE hold_parts SET amount_cents = amount_cents + 1");
    found(&town, "hold_parts", "was set aside");
    tamper(
        &town.world,
        "DELETE FROM hold_parts WHERE hold_id = (SELECT hold_id FROM hold_parts ORDER BY hold_id LIMIT 1)",
    );
    found(&town, "accounts", "are reserved, but holds have");
    found(&town, "holds", "what is no part of it");
}

fn a_basket_whose_lines_do_not_add_up_is_named(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let (card, till) = (town.new_card(), &town.tills[0]);
    let mut basket = till.basket(&card.token, 1000, false);
    basket["lines"] =
        serde_json::json!([{"category": "eggs", "amount": "4.00"}, {"category": "dairy", "amount": "6.00"}]);
    till.client.post_once("/api/v1/holds", basket).expect(201);
    town.world.verify();
    tamper(&town.world, "UPDATE hold_lines SET amount_cents = amount_cents + 1 WHERE position = 1");
    found(&town, "holds", "is a basket of 10.00 but its lines are 10.01");
}

fn money_that_left_a_hold_behind_its_back_is_named(world: World) {
    let town = with_holds(world);
    let held = "(SELECT p.id FROM hold_parts p JOIN holds h ON h.id = p.hold_id WHERE h.state = 'held')";
    tamper(&town.world, &format!("UPDATE accounts SET balance_cents = 0 WHERE id IN {held}"));
    found(&town, "hold_parts", "of a held hold: should hold 2.02, and has 0.00");
    found(&town, "accounts", "reserved account holds 0.00 but the journal says 2.02");
    found(&town, "agreements", "its allowance accounts hold");
    tamper(&town.world, "DELETE FROM transfers WHERE code = 'free'");
    found(&town, "hold_parts", "came back");
    tamper(&town.world, "DELETE FROM transfers WHERE code = 'hold'");
    found(&town, "hold_parts", "but 0.00 was set aside");
    // a transfer of no hold
    tamper(&town.world, "DELETE FROM hold_parts; DELETE FROM holds");
    found(&town, "accounts", "but holds have 0 parts");
}

fn a_hold_of_another_household_s_money_is_named(world: World) {
    let town = with_holds(world);
    let theirs = "(SELECT min(p.id) FROM allowance_parts p JOIN allowances a ON a.id = p.allowance_id \
         WHERE a.period = 1 AND a.enrolment_id <> (SELECT enrolment_id FROM holds LIMIT 1))";
    let theirs = match Sql::of(&town.world) {
        Sql::Sqlite(_) => theirs.to_owned(),
        // it has no least of ids
        Sql::Postgresql(_) => theirs.replace("min(p.id)", "p.id").replace("LIMIT 1))", "LIMIT 1) LIMIT 1)"),
    };
    let one = "(SELECT p.id FROM hold_parts p JOIN holds h ON h.id = p.hold_id WHERE h.state = 'held' LIMIT 1)";
    tamper(&town.world, &format!("UPDATE hold_parts SET part_id = {theirs} WHERE id = {one}"));
    found(&town, "hold_parts", "is of another enrolment's allowance");
    found(&town, "holds", "what is no part of it");
}

fn a_captured_hold_without_its_purchase_is_named(world: World) {
    let town = with_holds(world);
    tamper(&town.world, "UPDATE redemptions SET hold_id = NULL WHERE covered_cents = 700");
    found(&town, "redemptions", "which is not what it was set aside in");
    found(&town, "holds", "is captured but no purchase has taken it");
    tamper(&town.world, "UPDATE holds SET basket_cents = 501, covered_cents = 501 WHERE basket_cents = 502");
    found(&town, "holds", "was captured for more than was set aside");
    let moved = later(&town.world, "settled_at", 1);
    tamper(&town.world, &format!("UPDATE holds SET settled_at = {moved} WHERE state = 'captured'"));
    found(&town, "holds", "at another moment than its purchase");
}

fn a_hold_that_stands_too_long_is_named(world: World) {
    let town = with_holds(world);
    let longer = later(&town.world, "expires_at", 1);
    tamper(&town.world, &format!("UPDATE holds SET expires_at = {longer} WHERE state = 'held'"));
    found(&town, "holds", "is held until 2026-07-04T08:00:00Z but should be until 2026-07-03T08:00:00Z");
}

fn a_voucher_of_a_value_that_nothing_backs_is_named(world: World) {
    let town = Town::with(world, Setup::setting_aside());
    let card = town.new_card();
    let path = format!("/api/v1/enrolments/{}/denominations", card.enrolment);
    town.worker.post_once(&path, serde_json::json!({"values": ["5.00"]})).expect(201);
    town.world.verify();
    tamper(&town.world, "UPDATE vouchers SET denomination_cents = 1000 WHERE denomination_cents = 500");
    found(&town, "holds", "does not fit its voucher");
    tamper(&town.world, "UPDATE vouchers SET denomination_cents = 700");
    found(&town, "vouchers", "has a value and nothing set aside behind it");
}

fn a_bonus_that_is_not_what_its_basket_earned_is_named(world: World) {
    // as much again of what is organic, at most 30.00
    let town = crate::bonus::town(world, 100, Setup::default());
    let (card, other) = (town.new_card(), town.new_card());
    let till = &town.tills[0];
    crate::bonus::buy(till, &card, 1200, 1000).expect(201);
    // the cap lets the last two earn 5.00 and nothing
    for organic in [2500, 2000, 500] {
        crate::bonus::buy(till, &other, organic, 0).expect(201);
        town.world.pass_minutes(10);
    }
    town.world.verify();
    let world = &town.world;
    for (wrong, right, said) in [
        ("amount_cents = 1199", "amount_cents = 1200", "is 11.99, but its purchase has earned 12.00"),
        ("amount_cents = 1201", "amount_cents = 1200", "is 12.01, but its purchase has earned 12.00"),
    ] {
        tamper(world, &format!("UPDATE bonuses SET {wrong} WHERE amount_cents = 1200"));
        found(&town, "bonuses", said);
        tamper(world, &format!("UPDATE bonuses SET {right} WHERE amount_cents IN (1199, 1201)"));
        world.verify();
    }
    tamper(world, "UPDATE redemption_lines SET labels = 'local' WHERE amount_cents = 1200");
    found(&town, "bonuses", "is 12.00, but its purchase has earned 0.00");
    tamper(world, "UPDATE redemption_lines SET labels = 'organic' WHERE amount_cents = 1200");
    tamper(world, "UPDATE redemption_lines SET labels = 'organic' WHERE amount_cents = 1000");
    found(&town, "bonuses", "is 12.00, but its purchase has earned 22.00");
    tamper(world, "UPDATE redemption_lines SET labels = '' WHERE amount_cents = 1000");
    world.verify();
    // 2.00 of the 5.00 that the cap left
    tamper(world, "UPDATE bonuses SET amount_cents = 200 WHERE amount_cents = 500");
    found(&town, "bonuses", "is 2.00, but its purchase has earned 5.00");
    tamper(world, "UPDATE bonuses SET amount_cents = 500 WHERE amount_cents = 200");
    world.verify();
    tamper(world, "DELETE FROM bonuses WHERE amount_cents = 1200");
    found(&town, "redemptions", "has earned 12.00, and no bonus says so");
}
