//! Each preset lived as its source tells it. What lies in the file is what the programme opens with; every amount is worked
//! out by hand.

mod baskets;
mod bonuses;
mod cheques;
mod contributions;
mod tariffs;

use std::fs;

use primeur::kit::time::{Day, Instant};
use primeur::programme::{FundingRule, LegalBasis, ProducerClass};
use primeur::schedule::{self, Done};
use serde_json::{Value, json};

use crate::support::town::{Setup, Till};
use crate::support::{Answer, Card, Town, World, cents, euros, id, on_both_databases};

on_both_databases!(a_preset_opens_on_each_of_its_legal_bases_and_on_none_it_stays_a_draft);

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/presets");

/// A preset as its file says it.
fn preset(code: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{FOLDER}/{code}.json")).unwrap()).unwrap()
}

/// A programme of a preset's own rules, on the first of its legal bases, with so much of one agreement, in cents.
fn town(world: World, code: &str, granted: i64) -> Town {
    Town::with(world, setup(code, vec![(granted, 1)]))
}

fn setup(code: &str, agreements: Vec<(i64, i32)>) -> Setup {
    let preset = preset(code);
    let funding_rule: FundingRule = preset["funding_rule"].as_str().unwrap().parse().unwrap();
    let legal_basis: LegalBasis = preset["legal_bases"][0].as_str().unwrap().parse().unwrap();
    Setup {
        rules: preset["rules"].clone(),
        funding_rule: funding_rule.as_str(),
        legal_basis: legal_basis.as_str(),
        agreements,
        ends_on: "2028-12-31".to_owned(),
        producers: 0,
        ..Setup::default()
    }
}

/// A new household of so many adults and children, with its card.
#[track_caller]
fn card(town: &Town, adults: i32, children: i32) -> Card {
    let (enrolment, state) = town.enrol_many(adults, children);
    assert_eq!(state, "active");
    town.card_for(&enrolment)
}

/// What a household is promised in all, in cents.
fn promised(town: &Town, card: &Card) -> i64 {
    cents(&town.enrolment(&card.enrolment)["promised"])
}

/// Nine o'clock in Greenwich of a day, with all that is due by then done; on the way there the scheduler looks every week.
fn on(town: &Town, day: &str) -> Done {
    let then = format!("{day}T09:00:00Z");
    while town.world.now().plus_minutes(WEEK) < then.parse().unwrap() {
        town.world.pass_minutes(WEEK);
        schedule::run(&town.world.state.db).unwrap();
    }
    town.world.advance_to(&then)
}

/// In minutes.
const WEEK: i64 = 7 * 24 * 60;

/// A day so many months after another.
fn months_after(day: &str, months: i32) -> String {
    day.parse::<Day>().unwrap().plus_months(months).to_string()
}

fn days_after(day: &str, days: i32) -> String {
    day.parse::<Day>().unwrap().plus_days(days).to_string()
}

/// What the programme paid of a basket and what was left to collect, in cents. The seller has a day to undo it.
#[track_caller]
fn split(answer: Answer) -> (i64, i64) {
    let sold = answer.expect(201);
    let [at, until] = ["at", "void_until"].map(|key| sold[key].as_str().unwrap().parse::<Instant>().unwrap());
    assert_eq!(until, at.plus_minutes(24 * 60));
    (cents(&sold["covered"]), cents(&sold["to_collect"]))
}

/// Of all kinds of seller these and no other are told that the card pays, and none of them how much it holds.
#[track_caller]
fn pays_at(town: &Town, card: &Card, classes: &[&str]) {
    for (number, class) in ProducerClass::ALL.iter().enumerate() {
        let told = town.new_seller(100 + number, class.as_str()).check(&card.token);
        let expected = if classes.contains(&class.as_str()) { json!(null) } else { json!("producer_not_eligible") };
        assert_eq!((&told["code"], &told["spendable"]), (&expected, &json!(null)), "{class}");
    }
}

#[track_caller]
fn pays_everywhere(town: &Town, card: &Card) {
    pays_at(town, card, &ProducerClass::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>());
}

/// When the first and the last money of a purse can be spent from, and no more.
#[track_caller]
fn windows(enrolment: &Value, purse: &str, first: [&str; 2], last: [&str; 2]) {
    let allowances = enrolment["allowances"].as_array().unwrap().iter().filter(|a| a["purse"] == purse);
    let of = |a: &Value| ["opens_at", "closes_at"].map(|key| a[key].as_str().unwrap().to_owned());
    let mut all: Vec<_> = allowances.map(|a| (a["period"].as_i64().unwrap(), of(a))).collect();
    all.sort();
    assert_eq!((&all[0].1, &all[all.len() - 1].1), (&first.map(str::to_owned), &last.map(str::to_owned)));
}

/// A household of one adult that is let in today, and leaves at once and gives its first month back: what it was promised.
fn passer_by(town: &Town) -> Value {
    let enrolment = town.enrol();
    assert_eq!(enrolment["state"], "active");
    let path = format!("/api/v1/enrolments/{}/leave", id(&enrolment));
    town.worker.post(&path, json!({"return_issued": true})).expect(200);
    enrolment
}

/// Buys kinds of food, each with its labels and for so many cents.
fn buy(till: &Till, card: &Card, lines: &[(&str, &[&str], i64)]) -> Answer {
    let mut basket = till.basket(&card.token, lines.iter().map(|line| line.2).sum(), false);
    let line = |(category, labels, amount): &(&str, &[&str], i64)| json!({"category": category, "labels": labels, "amount": euros(*amount)});
    basket["lines"] = lines.iter().map(line).collect();
    till.client.post_once("/api/v1/redemptions", basket)
}

/// Figures of the whole programme's budget, in cents.
fn total<const N: usize>(town: &Town, names: [&str; N]) -> [i64; N] {
    let budget = town.budget();
    names.map(|name| cents(&budget["total"][name]))
}

/// The agreements behind a programme of a kind, `grant` or `pot`.
fn agreements(town: &Town, kind: &str) -> Vec<Value> {
    let list = town.manager.get(&format!("/api/v1/agreements?programme_id={}", town.programme)).expect(200);
    list["items"].as_array().unwrap().iter().filter(|agreement| agreement["kind"] == kind).cloned().collect()
}

/// The same of its common pot.
fn of_pot<const N: usize>(town: &Town, names: [&str; N]) -> [i64; N] {
    let (budget, pot) = (town.budget(), id(&agreements(town, "pot")[0]));
    let mut agreements = budget["agreements"].as_array().unwrap().iter();
    let money = agreements.find(|agreement| agreement["agreement_id"] == pot.as_str()).unwrap();
    names.map(|name| cents(&money[name]))
}

fn month_of(town: &Town, agreement: &Value, month: &str) -> Value {
    town.manager.get(&format!("/api/v1/agreements/{}/reconciliations/{month}", id(agreement))).expect(200)
}

/// Figures that say where all the money of a scheme has gone.
const ENDS: [&str; 4] = ["issued", "redeemed", "returned", "available"];

/// So many enrolments are over and none goes on, nothing is promised or in hand, producers are owed in the last month's
/// reports what was ever spent, and the books are right.
#[track_caller]
fn is_over(town: &Town, month: &str, enrolments: i64) {
    assert_eq!(total(town, ["committed", "outstanding", "surplus"]), [0, 0, 0]);
    let counts = town.budget()["enrolments"].clone();
    let counts = ["waiting", "active", "suspended", "ended"].map(|state| counts[state].as_i64().unwrap());
    assert_eq!(counts, [0, 0, 0, enrolments]);
    let all = [agreements(town, "grant"), agreements(town, "pot")].concat();
    let owed: i64 = all.iter().map(|a| cents(&month_of(town, a, month)["payable"]["closing"])).sum();
    assert_eq!(total(town, ["redeemed"]), [owed]);
    town.world.verify();
}

fn a_preset_opens_on_each_of_its_legal_bases_and_on_none_it_stays_a_draft(world: World) {
    let town = Town::with(world, Setup { producers: 0, ..Setup::default() });
    let (funder, _) = crate::support::town::newcomer(&town.world, &town.manager, "funder", "Région");
    let mut codes = Vec::new();
    for file in fs::read_dir(FOLDER).unwrap() {
        let path = file.unwrap().path();
        let code = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let preset = preset(&code);
        let mut draft = json!({
            "name": preset["name"], "starts_on": "2026-01-01", "ends_on": "2028-12-31",
            "funding_rule": preset["funding_rule"], "rules": preset["rules"],
            "communes": [{"code": "62427", "name": "Hénin-Beaumont"}], "legal_basis": null,
        });
        let made = town.manager.post("/api/v1/programmes", draft.clone()).expect(201);
        let path = format!("/api/v1/programmes/{}", id(&made));
        let agreement = json!({"funder_id": funder, "reference": code, "granted": "5000.00", "starts_on": "2026-01-01",
            "ends_on": "2028-12-31", "grace_days": 31, "share_weight": 1});
        town.manager.post_once(&format!("{path}/agreements"), agreement).expect(201);
        town.manager.act(&format!("{path}/open")).refused(409, "legal_basis_required");
        for basis in preset["legal_bases"].as_array().unwrap() {
            draft["legal_basis"] = json!({"code": basis, "reference": "Délibération du 12 mars"});
            assert_eq!(town.manager.put(&path, draft.clone()).expect(200)["legal_basis"]["code"], *basis);
        }
        town.manager.act(&format!("{path}/open")).expect(200);
        // who holds people's own money has a pot for it
        let list = town.manager.get(&format!("/api/v1/agreements?programme_id={}", id(&made))).expect(200);
        let pot = list["items"].as_array().unwrap().iter().any(|agreement| agreement["kind"] == "pot");
        assert_eq!(preset["holds_peoples_money"], pot, "{code}");
        codes.push(code);
    }
    codes.sort();
    let listed = town.manager.get("/api/v1/presets").expect(200);
    let listed: Vec<String> =
        listed["items"].as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(codes, listed);
    town.world.verify();
}
