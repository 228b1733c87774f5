//! What becomes of baskets that were set aside.

use std::collections::BTreeMap;

use proptest::sample::Index;
use serde_json::json;

use super::life::{Held, Life};
use super::till::{Payer, lines};
use crate::support::oracle::{Goods, Question};
use crate::support::{cents, euros};

impl Life {
    /// One of those that wait, or were set aside last.
    fn held(&self, hold: &Index) -> Option<usize> {
        let (now, count) = (self.now(), self.held.len());
        let waiting: Vec<usize> = (0..count).filter(|&number| self.held[number].stands(now)).collect();
        let last: Vec<usize> = (count.saturating_sub(3)..count).collect();
        let some = if waiting.is_empty() { &last } else { &waiting };
        some.get(hold.index(some.len().max(1))).copied()
    }

    /// Hands over so much of a basket: never more than was set aside, and the rest is free at once.
    pub fn capture(&mut self, hold: &Index, percent: i64) {
        let Some(number) = self.held(hold) else { return };
        self.schedule();
        let Held { member, till, basket, covered: taken, .. } = self.held[number];
        let held = &self.held[number];
        let card = self.members[member].card.clone().unwrap();
        // what was set aside by a card that was replaced goes on with the new one
        let payer =
            Payer { member, title: None, till, voucher: card.card.id, token: card.card.token, blocked: card.blocked };
        let less = |amount: i64| (amount * percent / 100).max(1);
        let goods: Vec<Goods> =
            held.goods.iter().map(|goods| Goods { amount: less(goods.amount), ..goods.clone() }).collect();
        let total = if goods.is_empty() { less(basket) } else { goods.iter().map(|goods| goods.amount).sum() };
        let before = self.view(member);
        let rules = self.rules(member);
        let mut against = self.against(member, till, payer.blocked, &before);
        if !held.stands(self.now()) {
            against.push("hold_state");
        }
        // where something was due as it was set aside, nobody has seen out of which purses it is
        let known = held.purses.values().sum::<i64>() == taken;
        let question = Question {
            rules: &rules,
            band: held.band.as_deref(),
            tariff: None,
            total,
            goods: &goods,
            partial: true,
            held: held.purses.clone(),
            cap_left: i64::MAX,
            bonus_left: self.bonus_left(member, &before).0,
        };
        let told = match question.told() {
            Ok(told) if against.is_empty() => Ok(told),
            told => Err([against, told.err().unwrap_or_default()].concat()),
        };
        let path = format!("/api/v1/holds/{}/capture", held.id);
        let answer = match percent {
            100 => self.till(till).client.act_once(&path),
            _ if goods.is_empty() => self.till(till).client.post_once(&path, json!({"basket": euros(total)})),
            _ => self.till(till).client.post_once(&path, json!({"basket": euros(total), "lines": lines(&goods)})),
        };
        if answer.status != 201 {
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let expected = told.is_err_and(|codes| codes.contains(&&*code));
            assert!(expected || !known && code == "insufficient_balance", "{code}: {}", before.raw);
            return;
        }
        let answer = answer.json();
        let covered = cents(&answer["covered"]);
        assert_eq!((cents(&answer["basket"]), answer["hold_id"].as_str()), (total, Some(&*held.id)));
        assert!(covered <= taken && covered <= total);
        if known {
            let told = told.unwrap();
            assert_eq!((covered, cents(&answer["to_collect"])), (told.covered, total - told.covered + told.surplus));
        }
        let after = self.view(member);
        let back: BTreeMap<String, i64> = after.balances();
        let free: i64 = before.lines.iter().map(|line| back[&line.id] - line.balance).sum();
        assert_eq!((free, before.set_aside - after.set_aside), (taken - covered, taken));
        let sale = self.sold(&answer, &payer, &before, &goods, Some(held));
        self.sales.push(sale);
        self.held[number].open = false;
        self.count(if percent == 100 { "captured" } else { "captured_less" });
    }

    /// Gives a basket up: all of it is in the purse again.
    pub fn release(&mut self, hold: &Index, by_structure: bool) {
        let Some(number) = self.held(hold) else { return };
        self.schedule();
        let now = self.now();
        let Held { member, till, covered, .. } = self.held[number];
        let before = self.view(member);
        let path = format!("/api/v1/holds/{}/release", self.held[number].id);
        let client = if by_structure { &self.town.worker } else { &self.till(till).client };
        let answer = client.act(&path);
        if answer.status == 409 {
            answer.refused(409, "hold_state");
            assert!(!self.held[number].open, "what was fetched only");
            return;
        }
        answer.expect(204);
        let back = if self.held[number].stands(now) { covered } else { 0 };
        let after = self.view(member);
        assert_eq!((after.all() - before.all(), before.set_aside - after.set_aside), (back, back));
        if self.held[number].stands(now) {
            self.count("released_by_hand");
        }
        self.held[number].open = false;
    }
}
