//! What structures and managers do: households let in, their cards, what they pay in, and the rules.

use std::collections::BTreeMap;

use primeur::programme::{ContributionGoesTo, purse};
use proptest::sample::Index;
use serde_json::{Value, json};

use super::life::{Life, Member, Plastic, Title};
use crate::support::oracle::promised;
use crate::support::town::card;
use crate::support::{Answer, cents, euros, id};

impl Life {
    fn act(&self, member: usize, what: &str) -> Answer {
        self.town.worker.act(&format!("/api/v1/enrolments/{}/{what}", self.members[member].enrolment))
    }

    fn tariff_codes(&self, version: i64) -> Vec<String> {
        let rules = &self.versions[usize::try_from(version).unwrap() - 1];
        rules.bands.iter().flat_map(|bands| bands.tariffs.iter().map(|tariff| tariff.code.clone())).collect()
    }

    pub fn enrol(&mut self, adults: i32, children: i32, band: Option<&Index>, in_days: i32) {
        if self.members.len() == 12 {
            return;
        }
        let version = i64::try_from(self.versions.len()).unwrap();
        let codes = self.tariff_codes(version);
        let band = band.filter(|_| !codes.is_empty()).map(|band| band.get(&codes).clone());
        let today = self.zone.day_of(self.now());
        let household = self.town.household(adults, children);
        let mut body = json!({"household_id": household, "programme_id": self.town.programme, "band": band});
        if in_days > 0 {
            body["starts_on"] = json!(today.plus_days(in_days));
        }
        let answer = self.town.worker.post_once("/api/v1/enrolments", body);
        if answer.status == 409 {
            answer.refused(409, "programme_ends_first");
            return;
        }
        let enrolled = answer.expect(201);
        let promised = promised(self.versions.last().unwrap(), adults, children);
        assert_eq!((cents(&enrolled["promised"]), &enrolled["rules_version"]), (promised, &json!(version)));
        self.count(if enrolled["state"] == "active" { "enrolled" } else { "waits" });
        self.members.push(Member {
            enrolment: id(&enrolled),
            adults,
            children,
            version,
            band,
            promised,
            windows: Vec::new(),
            card: None,
            left: false,
            paid: BTreeMap::new(),
        });
    }

    /// Vouchers of a fixed value, all of them or none.
    pub fn hand_over(&mut self, member: &Index, values: &[Index], done: bool) {
        // somebody whose rules have such vouchers, if there is anybody
        let able: Vec<usize> = (0..self.members.len()).filter(|&m| !self.rules(m).denominations.is_empty()).collect();
        let Some(&member) = able.get(member.index(able.len().max(1))) else { return };
        let rules = self.rules(member);
        let values: Vec<i64> = values.iter().map(|value| value.get(&rules.denominations).0).collect();
        if done {
            self.schedule();
        }
        let (before, now) = (self.view(member), self.now());
        let for_any = |name: &String| rules.sub_purses.iter().all(|sub| &sub.code != name);
        let holds: i64 = before.spendable(now).iter().filter(|(name, _)| for_any(name)).map(|(_, held)| held).sum();
        let wanted: i64 = values.iter().sum();
        let path = format!("/api/v1/enrolments/{}/denominations", self.members[member].enrolment);
        let texts: Vec<String> = values.iter().map(|value| euros(*value)).collect();
        let answer = self.town.worker.post_once(&path, json!({ "values": texts }));
        let state = before.state.as_str();
        if answer.status != 201 {
            let code = if state == "active" { "insufficient_balance" } else { "enrolment_state" };
            answer.refused(409, code);
            assert!(state != "active" || wanted > holds || !done, "{}", before.raw);
            return;
        }
        let made = answer.json();
        assert!(state == "active" && (wanted <= holds || !done));
        let after = self.view(member);
        assert!(!done || before.all() - after.all() == wanted);
        assert!(!done || after.set_aside == before.set_aside + wanted);
        for (title, value) in made["items"].as_array().unwrap().iter().zip(values) {
            assert_eq!(cents(&title["denomination"]), value);
            let holds = after.raw["holds"].as_array().unwrap();
            let hold = holds.iter().find(|hold| hold["voucher_id"] == title["id"]).unwrap();
            assert_eq!(cents(&hold["amount"]), value);
            let expires_at = hold["expires_at"].as_str().unwrap().parse().unwrap();
            assert!(now < expires_at);
            let plastic = Plastic { card: card(title), blocked: false };
            self.titles.push(Title { member, plastic, value, expires_at, used: false });
        }
        self.count("handed_over");
    }

    pub fn contribute(&mut self, member: &Index, place: i64) {
        let able: Vec<usize> = (0..self.members.len()).filter(|&m| self.rules(m).contribution.is_some()).collect();
        let Some(&member) = able.get(member.index(able.len().max(1))) else { return };
        let Some(rule) = self.rules(member).contribution else { return };
        self.schedule();
        let (least, most) = (rule.minimum.0, rule.maximum.0);
        let amount = (least + (most - least) * place / 1000).max(0);
        let before = self.view(member);
        let path = format!("/api/v1/enrolments/{}/contributions", self.members[member].enrolment);
        let answer = self.town.worker.post_once(&path, json!({"amount": euros(amount)}));
        let today = self.zone.day_of(self.now());
        let mut windows = before.lines.iter().filter(|line| line.purse != purse::OWN);
        let period = windows.find(|line| today <= line.ends_on).map_or(1, |line| line.period);
        let paid = self.members[member].paid.get(&period).copied().unwrap_or_default();
        let fits = amount > 0 && (least..=most).contains(&(paid + amount));
        match answer.status {
            201 => {}
            422 => return assert!(!fits || before.state == "waiting", "{paid} and {amount} of {rule:?}"),
            _ => {
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                let late = code == "contribution_too_late";
                let waits = code == "still_waiting" && before.state == "waiting";
                return assert!(late || waits || code == "enrolment_state" && before.state != "active", "{code}");
            }
        }
        let told = answer.json();
        let period = told["period"].as_i64().unwrap();
        let paid = self.members[member].paid.entry(period).or_default();
        *paid += amount;
        assert!((least..=most).contains(paid));
        let keeps = rule.goes_to == ContributionGoesTo::Household;
        assert_eq!((cents(&told["amount"]), told["allowance_id"].is_string()), (amount, keeps));
        let after = self.view(member);
        assert_eq!(after.all() - before.all(), if keeps { amount } else { 0 });
        self.schedule();
        self.count(if keeps { "contributed_own" } else { "contributed" });
    }

    pub fn band(&mut self, member: &Index, tariff: Option<&Index>) {
        let Some(member) = self.member(member) else { return };
        let codes = self.tariff_codes(self.members[member].version);
        let band = tariff.filter(|_| !codes.is_empty()).map(|tariff| tariff.get(&codes).clone());
        let path = format!("/api/v1/enrolments/{}/band", self.members[member].enrolment);
        self.town.worker.put(&path, json!({"band": band})).expect(200);
        self.count(if band.is_some() { "band_set" } else { "band_unset" });
        self.members[member].band = band;
    }

    pub fn suspend(&mut self, member: &Index) {
        let suspended = self.views().iter().position(|view| view.state == "suspended");
        let Some(member) = suspended.or_else(|| self.member(member)) else { return };
        match self.view(member).state.as_str() {
            "active" => {
                self.act(member, "suspend").expect(200);
                self.count("suspended");
            }
            "suspended" => {
                self.act(member, "resume").expect(200);
                self.count("resumed");
            }
            _ => drop(self.act(member, "suspend").refused(409, "enrolment_state")),
        }
    }

    /// What was promised goes back, what it paid in itself is paid back, and the rest where it is given back.
    pub fn leave(&mut self, member: &Index, return_issued: bool) {
        let Some(member) = self.member(member) else { return };
        self.schedule();
        let before = self.view(member);
        let path = format!("/api/v1/enrolments/{}/leave", self.members[member].enrolment);
        let answer = self.town.worker.post(&path, json!({"return_issued": return_issued}));
        if answer.status == 409 {
            answer.refused(409, "enrolment_state");
            assert_eq!(before.state, "ended");
            return;
        }
        answer.expect(200);
        let after = self.view(member);
        let returns = return_issued || before.state == "suspended";
        for line in &after.lines {
            let was = before.lines.iter().find(|other| other.id == line.id).unwrap().balance;
            let kept = if returns || line.purse == purse::OWN { 0 } else { was };
            assert_eq!(line.balance, kept, "{line:?}");
        }
        assert_eq!(after.set_aside, if returns { 0 } else { before.set_aside });
        assert_eq!(after.state, "left");
        self.members[member].left = true;
        if returns {
            let now = self.now();
            self.held.iter_mut().filter(|held| held.member == member).for_each(|held| held.open = false);
            let titles = self.titles.iter_mut().filter(|title| title.member == member && !title.used);
            titles.for_each(|title| title.expires_at = title.expires_at.min(now));
            // what was earned and not granted is given up with it
            let standing = self.bonuses();
            for sale in self.sales.iter_mut().filter(|sale| sale.member == member) {
                if !standing.iter().any(|(id, ..)| *id == sale.id) {
                    (sale.bonus, sale.of_bonus) = (0, None);
                }
            }
        }
        self.count(if returns { "left_and_returned" } else { "left" });
    }

    pub fn block(&mut self, member: &Index) {
        let is_blocked = |member: &Member| member.card.as_ref().is_some_and(|card| card.blocked);
        let blocked = self.members.iter().position(is_blocked);
        let Some(member) = blocked.or_else(|| self.member(member)) else { return };
        let Some(plastic) = self.members[member].card.clone() else { return };
        let what = if plastic.blocked { "unblock" } else { "block" };
        self.town.worker.act(&format!("/api/v1/vouchers/{}/{what}", plastic.card.id)).expect(200);
        self.members[member].card = Some(Plastic { blocked: !plastic.blocked, ..plastic });
        self.count(if what == "block" { "blocked" } else { "unblocked" });
    }

    /// The old card is refused from now on, and the new one has all that was on it.
    pub fn replace(&mut self, which: &Index, title: bool) {
        let Some(member) = self.member(which) else { return };
        self.schedule();
        let title = (title && !self.titles.is_empty()).then(|| self.title(which));
        let old = match title {
            Some(title) => Some(&self.titles[title].plastic),
            None => self.members[member].card.as_ref(),
        };
        let Some(old) = old.map(|plastic| plastic.card.clone()) else { return };
        let member = title.map_or(member, |title| self.titles[title].member);
        let before = self.view(member);
        let answer = self.town.worker.act_once(&format!("/api/v1/vouchers/{}/replace", old.id));
        if answer.status == 409 {
            let stands = title.map(|title| &self.titles[title]).map(|t| !t.used && self.now() < t.expires_at);
            let code = if title.is_some() { "voucher_state" } else { "enrolment_state" };
            answer.refused(409, code);
            assert!(!stands.unwrap_or(before.all() > 0), "{}", before.raw);
            return;
        }
        let new = Plastic { card: card(&answer.expect(201)), blocked: false };
        let now = self.view(member);
        assert_eq!((now.balances(), now.set_aside), (before.balances(), before.set_aside));
        self.till(0).redeem(&old.token, 1).expect(409);
        for held in self.held.iter_mut().filter(|held| held.voucher == old.id && held.open) {
            held.voucher = new.card.id.clone();
        }
        match title {
            Some(title) => self.titles[title].plastic = new,
            None => self.members[member].card = Some(new),
        }
        self.count(if title.is_some() { "title_replaced" } else { "replaced" });
    }

    /// Other rules for whoever comes from now on: of nobody who is in, or waits, anything changes.
    pub fn new_rules(&mut self) {
        let Some(rules) = self.to_come.pop() else { return };
        let raw = |life: &Life| life.views().into_iter().map(|view| view.raw).collect::<Vec<Value>>();
        let before = raw(self);
        let path = format!("/api/v1/programmes/{}/rules", self.town.programme);
        let answer = self.town.manager.put(&path, json!({ "rules": rules }));
        if answer.status == 422 {
            // more than the agreements hold for a single household
            assert_eq!(answer.json()["fields"][0]["field"], "rules.amount");
            return;
        }
        let version = answer.expect(200);
        if rules != *self.versions.last().unwrap() {
            self.versions.push(rules);
            self.count("rules_changed");
        }
        assert_eq!(version["version"], json!(self.versions.len()));
        assert_eq!(raw(self), before);
    }

    pub fn seller(&mut self, till: &Index) {
        let suspended = self.suspended.iter().position(|suspended| *suspended);
        let till = suspended.unwrap_or_else(|| till.index(self.town.tills.len()));
        let what = if self.suspended[till] { "approve" } else { "suspend" };
        let path =
            format!("/api/v1/programmes/{}/applications/{}/{what}", self.town.programme, self.till(till).producer);
        let answer = match what {
            "approve" => self.town.manager.post(&path, json!({"class": self.classes[till]})),
            _ => self.town.manager.act(&path),
        };
        answer.expect(200);
        self.suspended[till] = !self.suspended[till];
        self.count(if what == "approve" { "seller_approved" } else { "seller_suspended" });
    }
}
