//! A town that lives through a story, and the journal that the test itself keeps of it.

use std::collections::BTreeMap;

use primeur::kit::time::{Day, Instant, Zone};
use primeur::programme::{FundingRule, ProducerClass, Rules, purse};
use primeur::schedule;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::story::Story;
use crate::support::oracle::{Goods, most_bonus, promised, worth};
use crate::support::town::{Setup, Till};
use crate::support::{Card, Town, World, cents, id};

/// A household in the programme.
pub struct Member {
    pub enrolment: String,
    pub adults: i32,
    pub children: i32,
    pub version: i64,
    pub band: Option<String>,
    pub promised: i64,
    /// Its windows as they were when it was let in; they never change again.
    pub windows: Vec<Value>,
    pub card: Option<Plastic>,
    pub left: bool,
    /// What it has paid in, by period.
    pub paid: BTreeMap<i64, i64>,
}

/// A card or a voucher of a fixed value.
#[derive(Clone, Debug)]
pub struct Plastic {
    pub card: Card,
    pub blocked: bool,
}

pub struct Title {
    pub member: usize,
    pub plastic: Plastic,
    pub value: i64,
    pub expires_at: Instant,
    pub used: bool,
}

/// A purchase.
pub struct Sale {
    pub id: String,
    pub member: usize,
    pub till: usize,
    pub voucher: String,
    pub at: Instant,
    /// From when caps and days between purchases count it.
    pub since: Instant,
    pub basket: i64,
    pub covered: i64,
    pub surplus: i64,
    /// What it has earned, and of which allowance.
    pub bonus: i64,
    pub of_bonus: Option<String>,
    pub void_until: Instant,
    pub voided: bool,
    /// What each allowance has paid, where nothing else moved with it.
    pub paid_by: Option<BTreeMap<String, i64>>,
}

/// A basket that was set aside.
pub struct Held {
    pub id: String,
    pub member: usize,
    pub till: usize,
    pub voucher: String,
    pub at: Instant,
    pub expires_at: Instant,
    pub basket: i64,
    pub covered: i64,
    pub goods: Vec<Goods>,
    pub band: Option<String>,
    /// What was taken out of each purse for it.
    pub purses: BTreeMap<String, i64>,
    /// Neither fetched nor given up.
    pub open: bool,
}

impl Held {
    pub fn stands(&self, now: Instant) -> bool {
        self.open && now < self.expires_at
    }
}

/// One allowance as the structure sees it.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    pub period: i64,
    pub purse: String,
    pub ends_on: Day,
    pub opens_at: Instant,
    pub closes_at: Instant,
    pub state: String,
    pub amount: i64,
    pub balance: i64,
}

/// An enrolment as the structure sees it.
#[derive(Clone, Debug)]
pub struct View {
    pub state: String,
    pub lines: Vec<Line>,
    pub set_aside: i64,
    pub raw: Value,
}

impl View {
    pub fn of(raw: Value) -> Self {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        let line = |a: &Value| Line {
            id: id(a),
            period: a["period"].as_i64().unwrap(),
            purse: text(a, "purse"),
            ends_on: text(a, "ends_on").parse().unwrap(),
            opens_at: text(a, "opens_at").parse().unwrap(),
            closes_at: text(a, "closes_at").parse().unwrap(),
            state: text(a, "state"),
            amount: cents(&a["amount"]),
            balance: cents(&a["balance"]),
        };
        let lines = raw["allowances"].as_array().unwrap().iter().map(line).collect();
        let set_aside = raw["holds"].as_array().unwrap().iter().map(|hold| cents(&hold["amount"])).sum();
        View { state: text(&raw, "state"), lines, set_aside, raw }
    }

    pub fn all(&self) -> i64 {
        self.lines.iter().map(|line| line.balance).sum()
    }

    /// What can be spent, by purse, once all that is due has been done.
    pub fn spendable(&self, now: Instant) -> BTreeMap<String, i64> {
        let mut held = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.opens_at <= now) {
            *held.entry(line.purse.clone()).or_default() += line.balance;
        }
        held
    }

    pub fn balances(&self) -> BTreeMap<String, i64> {
        self.lines.iter().map(|line| (line.id.clone(), line.balance)).collect()
    }

    /// The last period to have begun, and when.
    pub fn begun(&self, now: Instant) -> Option<(i64, Instant)> {
        let given = self.lines.iter().filter(|line| line.purse != purse::OWN && line.opens_at <= now);
        given.map(|line| (line.period, line.opens_at)).max()
    }
}

pub struct Life {
    pub town: Town,
    pub zone: Zone,
    pub funding_rule: FundingRule,
    pub weights: Vec<i32>,
    /// Each version's rules, the first first.
    pub versions: Vec<Rules>,
    pub to_come: Vec<Rules>,
    pub classes: Vec<ProducerClass>,
    pub suspended: Vec<bool>,
    pub members: Vec<Member>,
    pub titles: Vec<Title>,
    pub sales: Vec<Sale>,
    pub held: Vec<Held>,
    /// How often each kind of step succeeded.
    pub seen: BTreeMap<String, usize>,
}

impl Life {
    pub fn begin(world: World, story: &Story) -> Self {
        let first = &story.rules[0];
        let need = promised(first, 2, 1) * story.enough_for / 10 + 10_000;
        let whole = i64::from(story.weights.iter().sum::<i32>());
        // scarce enough that some wait
        let share = |weight: i32| need * i64::from(weight) / whole + 101;
        let setup = Setup {
            rules: serde_json::to_value(first).unwrap(),
            funding_rule: story.funding_rule.as_str(),
            agreements: story.weights.iter().map(|&weight| (share(weight), weight)).collect(),
            ends_on: "2029-04-30".to_owned(),
            producers: 0,
            ..Setup::default()
        };
        let mut town = Town::with(world, setup);
        for (number, class) in story.tills.iter().enumerate() {
            let till = town.new_till(number);
            let path = format!("/api/v1/programmes/{}/applications/{}/approve", town.programme, till.producer);
            town.manager.post(&path, json!({"class": class})).expect(200);
            town.tills.push(till);
        }
        let mut to_come = story.rules[1..].to_vec();
        to_come.reverse();
        Life {
            town,
            zone: "Europe/Paris".parse().unwrap(),
            funding_rule: story.funding_rule,
            weights: story.weights.clone(),
            versions: vec![first.clone()],
            to_come,
            classes: story.tills.clone(),
            suspended: vec![false; story.tills.len()],
            members: Vec::new(),
            titles: Vec::new(),
            sales: Vec::new(),
            held: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    pub fn now(&self) -> Instant {
        self.town.world.now()
    }

    pub fn count(&mut self, step: &str) {
        *self.seen.entry(step.to_owned()).or_default() += 1;
    }

    /// Does all that is due, of whoever is let in by it too. What is done is not done again.
    pub fn schedule(&mut self) {
        loop {
            let done = schedule::run(&self.town.world.state.db).unwrap();
            for (name, times) in done.counts() {
                *self.seen.entry(name.to_owned()).or_default() += times;
            }
            if done.moved_up == 0 && done.pooled == 0 {
                return;
            }
        }
    }

    pub fn member(&self, member: &Index) -> Option<usize> {
        (!self.members.is_empty()).then(|| member.index(self.members.len()))
    }

    pub fn rules(&self, member: usize) -> Rules {
        self.versions[usize::try_from(self.members[member].version).unwrap() - 1].clone()
    }

    pub fn till(&self, till: usize) -> &Till {
        &self.town.tills[till]
    }

    pub fn view(&self, member: usize) -> View {
        View::of(self.town.enrolment(&self.members[member].enrolment))
    }

    /// All enrolments at once.
    pub fn views(&self) -> Vec<View> {
        let path = format!("/api/v1/enrolments?programme_id={}&limit=100", self.town.programme);
        let list = self.town.worker.get(&path).expect(200);
        let items = list["items"].as_array().unwrap();
        let of = |member: &Member| items.iter().find(|item| item["id"] == member.enrolment).unwrap().clone();
        self.members.iter().map(|member| View::of(of(member))).collect()
    }

    /// What caps count of a household since a moment, by the test's own journal.
    pub fn counted(&self, member: usize, since: Instant) -> i64 {
        let now = self.now();
        let bought = self.sales.iter().filter(|sale| sale.member == member && !sale.voided && sale.since >= since);
        let held = self.held.iter().filter(|held| held.member == member && held.stands(now) && held.at >= since);
        bought.map(|sale| sale.covered).sum::<i64>() + held.map(|held| held.covered).sum::<i64>()
    }

    /// What every account holds, by id.
    pub fn accounts(&self) -> BTreeMap<String, i64> {
        use diesel::prelude::*;
        use primeur::db::schema::accounts::dsl::*;
        let rows =
            self.town.world.state.db.read(|conn| {
                Ok(accounts.select((id, balance_cents)).load::<(primeur::kit::id::AccountId, i64)>(conn)?)
            });
        // an empty payable is opened by the first sale and stays
        let rows = rows.unwrap().into_iter().filter(|(_, cents)| *cents != 0);
        rows.map(|(account, cents)| (account.to_string(), cents)).collect()
    }

    /// What purchases have earned and not lost: the purchase, the allowance, and how much.
    pub fn bonuses(&self) -> Vec<(String, String, i64)> {
        use diesel::prelude::*;
        use primeur::db::schema::bonuses::dsl::*;
        use primeur::kit::id::{AllowanceId, RedemptionId};
        let rows = self.town.world.state.db.read(|conn| {
            let standing = bonuses.filter(state.ne("lost"));
            Ok(standing
                .select((redemption_id, allowance_id, amount_cents))
                .load::<(RedemptionId, AllowanceId, i64)>(conn)?)
        });
        rows.unwrap().into_iter().map(|(sale, of, amount)| (sale.to_string(), of.to_string(), amount)).collect()
    }

    /// All that must hold at any moment.
    pub fn check(&mut self) {
        let views = self.views();
        for (member, view) in views.iter().enumerate() {
            self.check_frozen(member, view);
            self.check_purses(view);
            self.check_caps(member, view);
            if view.state == "active" && self.members[member].card.is_none() {
                let card = self.town.card_for(&self.members[member].enrolment);
                self.members[member].card = Some(Plastic { card, blocked: false });
            }
        }
        self.check_bonuses(&views);
        self.check_budget(&views);
    }

    /// The deal that a household was let in on never changes, whatever becomes of the rules.
    fn check_frozen(&mut self, member: usize, view: &View) {
        let rules = self.rules(member);
        let member = &mut self.members[member];
        assert_eq!(view.raw["rules_version"], json!(member.version));
        assert_eq!(view.raw["band"], json!(member.band));
        assert_eq!(cents(&view.raw["promised"]), member.promised);
        let keys = ["id", "period", "purse", "starts_on", "ends_on", "opens_at", "closes_at", "amount"];
        let window = |a: &Value| keys.iter().map(|&key| (key.to_owned(), a[key].clone())).collect();
        let allowances = view.raw["allowances"].as_array().unwrap().iter().filter(|a| a["purse"] != purse::OWN);
        let windows: Vec<Value> = allowances.map(window).collect();
        if member.windows.is_empty() && !windows.is_empty() {
            member.windows = windows;
            // and it is what the rules promise
            for period in 1..=rules.period.count {
                let worth = worth(&rules, period, member.adults, member.children);
                let of = |line: &&Line| line.period == i64::from(period) && line.purse != purse::OWN;
                let (bonus, given): (Vec<&Line>, Vec<&Line>) =
                    view.lines.iter().filter(of).partition(|line| line.purse == purse::BONUS);
                assert_eq!(given.iter().map(|line| line.amount).sum::<i64>(), worth);
                assert_eq!(bonus.iter().map(|line| line.amount).sum::<i64>(), most_bonus(&rules, worth));
            }
        } else {
            assert_eq!(windows, member.windows);
        }
    }

    fn check_purses(&self, view: &View) {
        for line in &view.lines {
            assert!((0..=line.amount).contains(&line.balance), "{line:?}");
            assert!(line.balance == 0 || line.state == "issued", "{line:?}");
        }
        let promised = view.lines.iter().any(|line| line.state == "committed" && line.purse != purse::BONUS);
        assert!(!promised || !["left", "ended"].contains(&&*view.state), "{}", view.raw);
    }

    /// Counted anew from the test's own journal: nobody was ever given more than the caps of a purchase, a day, a period.
    fn check_caps(&self, member: usize, view: &View) {
        let (rules, now) = (self.rules(member), self.now());
        let bought =
            self.sales.iter().filter(|sale| sale.member == member && !sale.voided).map(|s| (s.since, s.covered));
        let held = self.held.iter().filter(|held| held.member == member && held.stands(now)).map(|h| (h.at, h.covered));
        let (mut days, mut periods) = (BTreeMap::<Day, i64>::new(), BTreeMap::<i64, i64>::new());
        for (at, covered) in bought.chain(held) {
            assert!(rules.coverage.per_redemption.is_none_or(|cap| covered <= cap.0));
            *days.entry(self.zone.day_of(at)).or_default() += covered;
            *periods.entry(view.begun(at).map_or(0, |(period, _)| period)).or_default() += covered;
        }
        assert!(rules.coverage.per_day.is_none_or(|cap| days.values().all(|day| *day <= cap.0)), "{days:?}");
        assert!(rules.coverage.per_period.is_none_or(|cap| periods.values().all(|all| *all <= cap.0)), "{periods:?}");
        let mut days: Vec<&Day> = days.keys().collect();
        days.sort();
        let apart = |two: &[&Day]| *two[1] >= two[0].plus_days(rules.days_between_purchases);
        assert!(days.windows(2).all(apart), "{days:?}");
    }

    /// No period's bonus is above its cap or what was committed for it, and each purchase has what it earned.
    fn check_bonuses(&self, views: &[View]) {
        let bonuses = self.bonuses();
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (sale, of, amount) in &bonuses {
            *sums.entry(of).or_default() += amount;
            let sale = self.sales.iter().find(|known| known.id == *sale).unwrap();
            assert!(!sale.voided && (sale.bonus, sale.of_bonus.as_ref()) == (*amount, Some(of)));
        }
        for view in views {
            for line in view.lines.iter().filter(|line| line.purse == purse::BONUS) {
                let earned = sums.remove(&*line.id).unwrap_or_default();
                assert!(earned <= line.amount, "{earned} of {line:?}");
            }
        }
        assert_eq!(sums, BTreeMap::new());
    }

    fn check_budget(&self, views: &[View]) {
        let budget = self.town.budget();
        let of = |money: &Value, key: &str| cents(&money[key]);
        for money in budget["agreements"].as_array().unwrap().iter().chain([&budget["total"]]) {
            let came = of(money, "granted") + of(money, "contributed") + of(money, "pooled") - of(money, "refunded");
            let promised = of(money, "committed") + of(money, "issued") - of(money, "returned");
            assert_eq!(came, of(money, "available") + promised);
            assert!(promised <= came, "more is promised than there is: {money}");
            assert_eq!(of(money, "outstanding"), of(money, "issued") - of(money, "redeemed") - of(money, "returned"));
            for key in ["available", "committed", "issued", "redeemed", "returned", "outstanding", "surplus", "pooled"]
            {
                assert!(of(money, key) >= 0, "{key} is negative in {money}");
            }
        }
        let total = &budget["total"];
        let standing = || self.sales.iter().filter(|sale| !sale.voided);
        assert_eq!(of(total, "redeemed"), standing().map(|sale| sale.covered).sum::<i64>());
        let surplus: i64 = standing().map(|sale| sale.surplus).sum();
        assert_eq!(of(total, "surplus") + of(total, "pooled"), surplus);
        assert_eq!(budget["held"].as_array().unwrap().iter().map(|held| cents(&held["amount"])).sum::<i64>(), surplus);
        assert_eq!(of(total, "outstanding"), views.iter().map(|view| view.all() + view.set_aside).sum::<i64>());
        assert_eq!(of(total, "contributed"), self.members.iter().flat_map(|member| member.paid.values()).sum::<i64>());
        let committed = |bonus: bool| -> i64 {
            let lines = views.iter().flat_map(|view| &view.lines).filter(|line| (line.purse == purse::BONUS) == bonus);
            let promised = lines.filter(|line| line.state == "committed" || bonus && line.state == "issued");
            promised.map(|line| line.amount).sum()
        };
        let (given, bonuses) = (committed(false), committed(true));
        assert!((given..=given + bonuses).contains(&of(total, "committed")), "{given} and {bonuses} in {total}");
    }

    /// By fixed shares, no agreement has promised a cent more or less than its share of all that was ever promised.
    fn check_drift(&self) {
        use primeur::ledger::{TransferCode, totals};
        let db = &self.town.world.state.db;
        let of =
            |id: &String| db.read(|c| totals(c, id.parse().unwrap(), None, None)).unwrap().of(TransferCode::Commit).0;
        let promised: Vec<i64> = self.town.agreements.iter().map(of).collect();
        let (all, whole) = (promised.iter().sum::<i64>(), i64::from(self.weights.iter().sum::<i32>()));
        for (promised, weight) in promised.iter().zip(&self.weights) {
            let drift = (promised * whole - all * i64::from(*weight)).abs();
            assert!(drift < whole, "{promised} of {all} by {weight}/{whole}");
        }
    }

    /// To the end: everything closes, and what is left is back.
    pub fn end(&mut self) {
        self.town.world.verify();
        if self.funding_rule == FundingRule::FixedShares {
            self.check_drift();
        }
        self.town.world.set_clock("2029-06-20T23:30:00Z");
        self.schedule();
        self.check();
        self.town.world.verify();
        let total = self.town.budget()["total"].clone();
        for key in ["outstanding", "committed", "surplus"] {
            assert_eq!(total[key], "0.00", "{key}");
        }
        let of = |key: &str| cents(&total[key]);
        let came = of("granted") + of("contributed") + of("pooled") - of("refunded");
        assert_eq!(of("available"), came - of("redeemed"));
    }
}
