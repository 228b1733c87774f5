//! Any history of enrolments, purchases, voids, closings and leavings, over agreements with awkward shares.

use std::collections::BTreeMap;

use primeur::kit::time::Day;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::{Value, json};

use crate::support::town::{Card, Setup, rules};
use crate::support::{Town, World, cents};

/// What happens next; indexes are taken modulo what there is.
#[derive(Clone, Debug)]
enum Event {
    Enrol {
        adults: i32,
        children: i32,
    },
    Redeem {
        card: usize,
        till: usize,
        basket: i64,
    },
    /// Undoes a purchase at once: every account must be as before.
    RedeemAndVoid {
        card: usize,
        till: usize,
        basket: i64,
    },
    VoidOld {
        purchase: usize,
    },
    Days(i32),
    Leave {
        card: usize,
        return_issued: bool,
    },
}

#[derive(Clone, Debug)]
struct Story {
    weights: Vec<i32>,
    funding_rule: &'static str,
    carry_over: &'static str,
    expiry_days: i32,
    events: Vec<Event>,
}

fn events() -> impl Strategy<Value = Event> {
    // one-cent purchases as well as whole purses
    let basket = || prop_oneof![Just(1_i64), 1..500_i64, 500..20_000_i64];
    prop_oneof![
        3 => (1..4_i32, 0..4_i32).prop_map(|(adults, children)| Event::Enrol { adults, children }),
        8 => (any::<usize>(), any::<usize>(), basket()).prop_map(|(card, till, basket)| Event::Redeem { card, till, basket }),
        3 => (any::<usize>(), any::<usize>(), basket()).prop_map(|(card, till, basket)| Event::RedeemAndVoid { card, till, basket }),
        2 => any::<usize>().prop_map(|purchase| Event::VoidOld { purchase }),
        3 => (1..25_i32).prop_map(Event::Days),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(card, return_issued)| Event::Leave { card, return_issued }),
    ]
}

fn stories() -> impl Strategy<Value = Story> {
    let weights = prop_oneof![
        Just(vec![1, 1, 1]),
        Just(vec![11, 2, 2, 2]),
        Just(vec![7, 5]),
        prop::collection::vec(1..50_i32, 1..5)
    ];
    let rule = prop_oneof![3 => Just("fixed_shares"), 1 => Just("priority")];
    let carry = prop_oneof![Just("none"), Just("to_end")];
    (weights, rule, carry, 0..12_i32, prop::collection::vec(events(), 8..30)).prop_map(
        |(weights, funding_rule, carry_over, expiry_days, events)| Story {
            weights,
            funding_rule,
            carry_over,
            expiry_days,
            events,
        },
    )
}

/// What was bought, and when it can no longer be undone.
struct Bought {
    till: usize,
    id: String,
    covered: i64,
    voided: bool,
}

struct Life {
    town: Town,
    day: Day,
    cards: Vec<Card>,
    bought: Vec<Bought>,
}

impl Life {
    fn begin(world: World, story: &Story) -> Self {
        let mut rules = rules("59.99", story.carry_over);
        rules["amount"] = json!({"per_household": "20.00", "per_adult": "13.33", "per_child": "6.67"});
        rules["expiry_days"] = json!(story.expiry_days);
        rules["void_window_minutes"] = json!(20_000);
        // scarce enough that some wait
        let agreements = story.weights.iter().map(|&weight| (i64::from(weight) * 6_000 + 150_001, weight)).collect();
        let setup = Setup { rules, funding_rule: story.funding_rule, agreements, ..Setup::default() };
        Life {
            town: Town::with(world, setup),
            day: "2026-07-01".parse().unwrap(),
            cards: Vec::new(),
            bought: Vec::new(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Enrol { adults, children } => self.enrol(adults, children),
            Event::Redeem { card, till, basket } => drop(self.redeem(card, till, basket)),
            Event::RedeemAndVoid { card, till, basket } => {
                // issue what is due first: only the purchase itself is to be undone
                primeur::schedule::run(&self.town.world.state.db).unwrap();
                let before = self.accounts();
                if let Some(number) = self.redeem(card, till, basket) {
                    assert_ne!(self.accounts(), before);
                    self.void(number);
                    assert_eq!(self.accounts(), before, "a void restores exactly what it undoes");
                }
            }
            Event::VoidOld { purchase } => {
                if !self.bought.is_empty() {
                    self.void(purchase % self.bought.len());
                }
            }
            Event::Days(days) => {
                self.day = self.day.plus_days(days);
                self.town.world.advance_to(&format!("{}T08:00:00Z", self.day));
            }
            Event::Leave { card, return_issued } => {
                if let Some(card) = self.card(card) {
                    let path = format!("/api/v1/enrolments/{}/leave", card.enrolment);
                    let left = self.town.worker.post(&path, json!({"return_issued": return_issued}));
                    assert!(left.status == 200 || left.json()["code"] == "enrolment_state");
                }
            }
        }
    }

    fn card(&self, card: usize) -> Option<Card> {
        (!self.cards.is_empty()).then(|| self.cards[card % self.cards.len()].clone())
    }

    fn enrol(&mut self, adults: i32, children: i32) {
        let enrolled = self.town.enrol_household(&self.town.household(adults, children)).expect(201);
        let amount = 2000 + 1333 * i64::from(adults) + 667 * i64::from(children);
        assert_eq!(cents(&enrolled["promised"]), 6 * amount);
        if enrolled["state"] == "active" {
            self.cards.push(self.town.card_for(enrolled["id"].as_str().unwrap()));
        }
    }

    fn redeem(&mut self, card: usize, till: usize, basket: i64) -> Option<usize> {
        let (card, till) = (self.card(card)?, till % self.town.tills.len());
        let answer = self.town.tills[till].redeem_in_part(&card.token, basket);
        if answer.status == 409 {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            assert!(["insufficient_balance", "voucher_expired", "not_started"].contains(&&*code), "{code}");
            return None;
        }
        let sold = answer.expect(201);
        let covered = cents(&sold["covered"]);
        assert_eq!(covered + cents(&sold["to_collect"]), basket);
        self.bought.push(Bought { till, id: sold["id"].as_str().unwrap().to_owned(), covered, voided: false });
        Some(self.bought.len() - 1)
    }

    fn void(&mut self, number: usize) {
        let Bought { till, id, .. } = &self.bought[number];
        let answer = self.town.tills[*till].void(id);
        if answer.status == 409 {
            assert_eq!(answer.json()["code"], "void_window_over");
            return;
        }
        answer.expect(200);
        self.bought[number].voided = true;
    }

    /// What every account holds, by id.
    fn accounts(&self) -> BTreeMap<String, i64> {
        use diesel::prelude::*;
        use primeur::db::schema::accounts::dsl::*;
        let rows =
            self.town.world.state.db.read(|conn| {
                Ok(accounts.select((id, balance_cents)).load::<(primeur::kit::id::AccountId, i64)>(conn)?)
            });
        // an empty payable is opened by the first sale and stays
        rows.unwrap()
            .into_iter()
            .filter(|(_, cents)| *cents != 0)
            .map(|(account, cents)| (account.to_string(), cents))
            .collect()
    }

    /// All that must hold at any moment.
    fn check(&self) {
        self.town.world.verify();
        let budget = self.town.budget();
        let of = |money: &Value, key: &str| cents(&money[key]);
        for money in budget["agreements"].as_array().unwrap().iter().chain([&budget["total"]]) {
            let parts = of(money, "available") + of(money, "committed") + of(money, "issued") - of(money, "returned");
            assert_eq!(of(money, "granted"), parts);
            assert_eq!(of(money, "outstanding"), of(money, "issued") - of(money, "redeemed") - of(money, "returned"));
            for key in ["available", "committed", "issued", "redeemed", "returned", "outstanding"] {
                assert!(of(money, key) >= 0, "{key} is negative in {money}");
            }
        }
        let spent: i64 = self.bought.iter().filter(|b| !b.voided).map(|b| b.covered).sum();
        assert_eq!(of(&budget["total"], "redeemed"), spent);
    }

    /// By fixed shares, no agreement has promised a cent more or less than its share of all that was ever promised.
    fn check_drift(&self, weights: &[i32]) {
        use primeur::ledger::{TransferCode, totals};
        let promised: Vec<i64> = self
            .town
            .agreements
            .iter()
            .map(|id| {
                self.town
                    .world
                    .state
                    .db
                    .read(|c| totals(c, id.parse().unwrap(), None, None))
                    .unwrap()
                    .of(TransferCode::Commit)
                    .0
            })
            .collect();
        let (all, whole) = (promised.iter().sum::<i64>(), i64::from(weights.iter().sum::<i32>()));
        for (promised, weight) in promised.iter().zip(weights) {
            assert!(
                (promised * whole - all * i64::from(*weight)).abs() < whole,
                "{promised} of {all} by {weight}/{whole}"
            );
        }
    }
}

fn any_history_adds_up(world: impl Fn() -> World, cases: u32) {
    let persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: persistence, max_shrink_iters: 60, ..Config::default() });
    let outcome = runner.run(&stories(), |story| {
        let mut life = Life::begin(world(), &story);
        for event in &story.events {
            life.happen(event);
        }
        life.check();
        if story.funding_rule == "fixed_shares" {
            life.check_drift(&story.weights);
        }
        // to the end: everything closes, and what is left is back
        life.town.world.advance_to("2027-12-31T23:30:00Z");
        life.check();
        let total = life.town.budget()["total"].clone();
        assert_eq!((&total["outstanding"], &total["committed"]), (&json!("0.00"), &json!("0.00")));
        assert_eq!(cents(&total["available"]), cents(&total["granted"]) - cents(&total["redeemed"]));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn any_history_adds_up_on_sqlite() {
    any_history_adds_up(World::on_sqlite, 16);
}

#[test]
fn any_history_adds_up_on_postgresql() {
    any_history_adds_up(World::on_postgresql, 12);
}
