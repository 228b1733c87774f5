//! What sellers do: purchases, voids, baskets set aside.

use std::collections::BTreeMap;

use primeur::kit::time::Instant;
use primeur::programme::purse;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::life::{Held, Life, Sale, View};
use super::story::Wish;
use crate::support::oracle::{Goods, Question, Told, earned};
use crate::support::{Answer, cents, euros, id};

/// Who pays, by which card, and where.
pub struct Payer {
    pub member: usize,
    pub title: Option<usize>,
    pub till: usize,
    pub voucher: String,
    pub token: String,
    pub blocked: bool,
}

/// A basket as it is asked for.
struct Asked {
    total: i64,
    goods: Vec<Goods>,
    tariff: Option<String>,
}

/// Codes of a purse that holds nothing.
const EMPTY: [&str; 4] = ["insufficient_balance", "voucher_expired", "not_started", "lines_required"];

pub fn lines(goods: &[Goods]) -> Value {
    let line =
        |goods: &Goods| json!({"category": goods.category, "labels": goods.labels, "amount": euros(goods.amount)});
    goods.iter().map(line).collect()
}

impl Life {
    fn payer(&self, wish: &Wish) -> Option<Payer> {
        let till = wish.till.index(self.town.tills.len());
        let of = |member: usize, title: Option<usize>, plastic: &super::life::Plastic| Payer {
            member,
            title,
            till,
            voucher: plastic.card.id.clone(),
            token: plastic.card.token.clone(),
            blocked: plastic.blocked,
        };
        if wish.title && !self.titles.is_empty() {
            let number = self.title(&wish.payer);
            let title = &self.titles[number];
            return Some(of(title.member, Some(number), &title.plastic));
        }
        let with_card: Vec<usize> = (0..self.members.len()).filter(|&m| self.members[m].card.is_some()).collect();
        let member = *with_card.get(wish.payer.index(with_card.len().max(1)))?;
        Some(of(member, None, self.members[member].card.as_ref()?))
    }

    /// A voucher of a fixed value that is still good, or any; there are some.
    pub fn title(&self, title: &Index) -> usize {
        let now = self.now();
        let good = |number: &usize| !self.titles[*number].used && now < self.titles[*number].expires_at;
        let good: Vec<usize> = (0..self.titles.len()).filter(good).collect();
        // some are tried again
        match good.is_empty() || title.index(8) == 0 {
            true => title.index(self.titles.len()),
            false => good[title.index(good.len())],
        }
    }

    fn asked(&self, wish: &Wish, member: usize, holds: i64) -> Asked {
        let wanted = holds * wish.size / 1000 + wish.more;
        let whole: i64 = wish.goods.iter().map(|(_, _, weight)| weight).sum();
        let goods: Vec<Goods> = wish
            .goods
            .iter()
            .map(|(category, labels, weight)| Goods {
                category: *category,
                labels: labels.clone(),
                amount: (wanted * weight / whole).max(1),
            })
            .collect();
        let told: i64 = goods.iter().map(|goods| goods.amount).sum();
        let tariffs = self.rules(member).bands.map(|bands| bands.tariffs).unwrap_or_default();
        let tariff = wish.tariff.filter(|_| !tariffs.is_empty()).map(|t| t.get(&tariffs).code.clone());
        Asked { total: if goods.is_empty() { wanted.max(1) } else { told }, goods, tariff }
    }

    /// What the seller's and the card's standing have against it.
    pub fn against(&self, member: usize, till: usize, blocked: bool, view: &View) -> Vec<&'static str> {
        let classes = self.rules(member).eligible.producer_classes;
        let reasons = [
            (self.suspended[till], "producer_suspended"),
            (classes.is_some_and(|classes| !classes.contains(&self.classes[till])), "producer_not_eligible"),
            (blocked, "voucher_blocked"),
            (view.state == "suspended", "voucher_suspended"),
        ];
        reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, code)| code).collect()
    }

    /// What the household's past has against it.
    fn past(&self, payer: &Payer, total: i64, another: bool) -> Vec<&'static str> {
        let (now, rules) = (self.now(), self.rules(payer.member));
        let bought = self.sales.iter().filter(|sale| sale.member == payer.member && !sale.voided);
        let held = self.held.iter().filter(|held| held.member == payer.member && held.stands(now));
        let last = bought.map(|sale| sale.since).chain(held.map(|held| held.at)).max();
        let too_soon = last
            .is_some_and(|last| self.zone.day_of(now) < self.zone.day_of(last).plus_days(rules.days_between_purchases));
        let since = now.plus_seconds(-120);
        let here = |voucher: &str, till: usize, basket: i64, at: Instant| {
            voucher == payer.voucher && till == payer.till && basket == total && at > since
        };
        let tapped = self.sales.iter().any(|s| !s.voided && here(&s.voucher, s.till, s.basket, s.at))
            || self.held.iter().any(|h| h.open && here(&h.voucher, h.till, h.basket, h.at));
        let mut reasons = Vec::new();
        if too_soon {
            reasons.push("too_soon");
        }
        if tapped && !another {
            reasons.push("already_redeemed_by_you");
        }
        reasons
    }

    fn cap_left(&self, member: usize, view: &View) -> i64 {
        let (rules, now) = (self.rules(member), self.now());
        let left = |cap: Option<_>, since: Option<Instant>| match (cap, since) {
            (Some(primeur::kit::money::Cents(cap)), Some(since)) => (cap - self.counted(member, since)).max(0),
            (Some(primeur::kit::money::Cents(cap)), None) => cap,
            (None, _) => i64::MAX,
        };
        let today = self.zone.start_of(self.zone.day_of(now));
        let period = view.begun(now).map(|(_, opened)| opened);
        left(rules.coverage.per_day, Some(today)).min(left(rules.coverage.per_period, period))
    }

    /// What nobody has earned of the running period's bonus, and of which allowance that is.
    pub fn bonus_left(&self, member: usize, view: &View) -> (i64, Option<String>) {
        let (rules, now) = (self.rules(member), self.now());
        let Some((period, _)) = view.begun(now).filter(|_| !self.members[member].left) else { return (0, None) };
        let matures_at = now.plus_minutes(rules.void_window_minutes);
        let running = |line: &&super::life::Line| {
            let open = line.state != "released" && matures_at < line.closes_at;
            line.period == period && line.purse == purse::BONUS && open
        };
        let Some(line) = view.lines.iter().find(running) else { return (0, None) };
        let earned = self.sales.iter().filter(|sale| !sale.voided && sale.of_bonus.as_ref() == Some(&line.id));
        (line.amount - earned.map(|sale| sale.bonus).sum::<i64>(), Some(line.id.clone()))
    }

    /// What the rules tell of a purchase: amounts, or the codes that may refuse it.
    fn told(&self, payer: &Payer, wish: &Wish, asked: &Asked, view: &View) -> Result<Told, Vec<&'static str>> {
        let (rules, now) = (self.rules(payer.member), self.now());
        let mut against = self.against(payer.member, payer.till, payer.blocked, view);
        against.extend(self.past(payer, asked.total, wish.another));
        let held = match payer.title.map(|title| &self.titles[title]) {
            None => view.spendable(now),
            Some(title) if title.used => {
                against.push("voucher_used");
                BTreeMap::new()
            }
            Some(title) if now >= title.expires_at => {
                against.push("voucher_expired");
                BTreeMap::new()
            }
            Some(title) => BTreeMap::from([(purse::MAIN.to_owned(), title.value)]),
        };
        let question = Question {
            rules: &rules,
            band: self.members[payer.member].band.as_deref(),
            tariff: asked.tariff.as_deref(),
            total: asked.total,
            goods: &asked.goods,
            partial: wish.partial,
            held,
            cap_left: self.cap_left(payer.member, view),
            bonus_left: self.bonus_left(payer.member, view).0,
        };
        let told = question.told();
        match told {
            Ok(told) if against.is_empty() => Ok(told),
            told => {
                against.extend(told.err().unwrap_or_default());
                Err(against)
            }
        }
    }

    fn body(&self, payer: &Payer, wish: &Wish, asked: &Asked) -> Value {
        let mut body = self.till(payer.till).basket(&payer.token, asked.total, wish.partial);
        body["another_purchase"] = json!(wish.another);
        body["lines"] = lines(&asked.goods);
        body["tariff"] = json!(asked.tariff);
        body
    }

    /// What a till is told of a basket beforehand, and must then be true.
    fn quote(&self, payer: &Payer, asked: &Asked) -> Answer {
        let till = self.till(payer.till);
        let mut body = json!({"voucher": payer.token, "stall_id": till.stall, "basket": euros(asked.total)});
        body["lines"] = lines(&asked.goods);
        body["tariff"] = json!(asked.tariff);
        till.client.post("/api/v1/vouchers/check", body)
    }

    /// Asks for a basket, at the till or to have it set aside; the payer, the purse before, and what was answered where it
    /// was granted. Whatever is answered must be what the rules tell.
    fn ask(&mut self, wish: &Wish, path: &str) -> Option<(Payer, View, Asked, Value, Option<Told>)> {
        let payer = self.payer(wish)?;
        let before = self.view(payer.member);
        let holds = payer.title.map_or_else(|| before.all(), |title| self.titles[title].value);
        let asked = self.asked(wish, payer.member, holds);
        let mut told = self.told(&payer, wish, &asked, &before);
        let offered = self.rules(payer.member).hold_hours > 0 && payer.title.is_none();
        if path.ends_with("/holds") && !offered {
            told = match told {
                // what a purchase would be refused for is said first
                Err(codes) if wish.done => Err(codes),
                told => Err([told.err().unwrap_or_default(), vec!["holds_not_offered"]].concat()),
            };
        }
        let quote = self.quote(&payer, &asked);
        let answer = self.till(payer.till).client.post_once(path, self.body(&payer, wish, &asked));
        let code = (answer.status != 201).then(|| answer.json()["code"].as_str().unwrap().to_owned());
        let context = || {
            format!("{told:?} of {asked:?} at {}: {} {}", self.now(), answer.json(), before.raw, asked = asked.total)
        };
        match (&told, &code) {
            (Ok(_), None) => {}
            (Err(codes), Some(code)) if codes.contains(&&**code) => {}
            // a purse that holds nothing may be told of in other words, and before anything else
            (_, Some(code))
                if EMPTY.contains(&&**code) && (before.spendable(self.now()).values().sum::<i64>() == 0) => {}
            // what is due and not done yet is not in what the structure sees
            (_, Some(code)) if !wish.done && EMPTY.contains(&&**code) => {}
            (Err(codes), None) if !wish.done && codes.iter().all(|code| EMPTY.contains(code)) => {}
            _ => panic!("{}", context()),
        }
        let Some(code) = code else {
            let answer = answer.json();
            let quote = quote.expect(200);
            let shown = (&quote["covered"], &quote["to_collect"]);
            if ["insufficient_balance", "lines_required"].contains(&quote["code"].as_str().unwrap_or_default()) {
                // what a part would be is not told where balances are not
                assert!(wish.partial && !self.rules(payer.member).show_balance, "{}", context());
                assert_eq!(shown, (&Value::Null, &Value::Null));
            } else {
                assert_eq!(quote["accepted"], true, "{}", context());
                assert_eq!(shown, (&answer["covered"], &answer["to_collect"]));
            }
            let covered = cents(&answer["covered"]);
            assert!((0..=asked.total).contains(&covered));
            if let (true, Ok(told)) = (wish.done, &told) {
                assert_eq!(covered, told.covered, "{}", context());
                assert_eq!(cents(&answer["to_collect"]), asked.total - told.covered + told.surplus, "{}", context());
            }
            let told = told.ok().filter(|_| wish.done);
            return Some((payer, before, asked, answer, told));
        };
        match quote.status {
            // asking is no second tap, and whoever asks is told what a part would do
            200 if quote.json()["accepted"] == true => {
                let short = ["insufficient_balance", "lines_required"].contains(&&*code);
                assert!(short || ["already_redeemed_by_you", "holds_not_offered"].contains(&&*code), "{}", context());
                assert!(!short || !wish.partial, "{}", context());
            }
            200 if quote.json()["code"] == *code => {}
            200 => assert!(["already_redeemed_by_you", "holds_not_offered"].contains(&&*code), "{}", context()),
            _ => assert!(quote.status == 422 && ["invalid_request", "already_redeemed_by_you"].contains(&&*code)),
        }
        self.count(&code);
        None
    }

    /// What each allowance has paid, where nothing but the purchase moved: never for other food than it is for.
    fn paid_by(
        &self,
        before: &View,
        after: &View,
        goods: &[Goods],
        covered: i64,
        member: usize,
    ) -> BTreeMap<String, i64> {
        let mut paid = BTreeMap::new();
        for line in &before.lines {
            let left = after.lines.iter().find(|other| other.id == line.id).unwrap().balance;
            assert!(left <= line.balance, "{line:?}");
            paid.insert(line.id.clone(), line.balance - left);
        }
        assert_eq!(paid.values().sum::<i64>(), covered, "{} then {}", before.raw, after.raw);
        for sub in &self.rules(member).sub_purses {
            let of = before.lines.iter().filter(|line| line.purse == sub.code).map(|line| paid[&line.id]);
            let food = goods.iter().filter(|goods| sub.categories.contains(&goods.category)).map(|goods| goods.amount);
            assert!(of.sum::<i64>() <= food.sum(), "{}", sub.code);
        }
        paid.retain(|_, amount| *amount > 0);
        paid
    }

    /// The purchase that an answer tells of, as the journal keeps it.
    pub fn sold(&self, sold: &Value, payer: &Payer, before: &View, goods: &[Goods], held: Option<&Held>) -> Sale {
        let rules = self.rules(payer.member);
        let (covered, basket) = (cents(&sold["covered"]), cents(&sold["basket"]));
        let (left, of_bonus) = self.bonus_left(payer.member, before);
        // the surplus is told by what is to be collected; the rules' own word for it is held to elsewhere
        let surplus = cents(&sold["to_collect"]) + covered - basket;
        assert!(surplus == 0 || covered == 0);
        let bonus = earned(&rules, goods, covered, left);
        let written =
            self.bonuses().into_iter().find(|(sale, ..)| *sale == id(sold)).map(|(_, of, amount)| (Some(of), amount));
        assert_eq!(written.unwrap_or((None, 0)), (of_bonus.clone().filter(|_| bonus > 0), bonus), "{}", before.raw);
        let at: Instant = sold["at"].as_str().unwrap().parse().unwrap();
        let void_until: Instant = sold["void_until"].as_str().unwrap().parse().unwrap();
        assert_eq!((at, void_until), (self.now(), at.plus_minutes(rules.void_window_minutes)));
        Sale {
            id: id(sold),
            member: payer.member,
            till: payer.till,
            voucher: payer.voucher.clone(),
            at,
            since: held.map_or(at, |held| held.at),
            basket,
            covered,
            surplus,
            bonus,
            of_bonus: of_bonus.filter(|_| bonus > 0),
            void_until,
            voided: false,
            paid_by: None,
        }
    }

    pub fn redeem(&mut self, wish: &Wish, undo: bool) {
        let undo = undo && wish.done;
        if wish.done {
            self.schedule();
        }
        let accounts = undo.then(|| self.accounts());
        let Some((payer, before, asked, answer, told)) = self.ask(wish, "/api/v1/redemptions") else { return };
        let mut sale = self.sold(&answer, &payer, &before, &asked.goods, None);
        assert!(told.is_none_or(|told| (told.bonus, told.surplus) == (sale.bonus, sale.surplus)));
        self.count(match (payer.title, sale.covered < sale.basket && wish.partial) {
            (Some(_), _) => "title_redeemed",
            (None, true) => "redeemed_in_part",
            (None, false) => "redeemed",
        });
        for (name, holds) in
            [("surplus", sale.surplus > 0), ("bonus", sale.bonus > 0), ("tariff_chosen", asked.tariff.is_some())]
        {
            if holds {
                self.count(name);
            }
        }
        if let Some(title) = payer.title {
            let title = &mut self.titles[title];
            assert!(sale.covered <= title.value);
            title.used = true;
            let back = title.value - sale.covered;
            if wish.done {
                assert_eq!(self.view(payer.member).all(), before.all() + back, "no change is given, and none is lost");
            }
        } else if wish.done {
            let after = self.view(payer.member);
            let paid = self.paid_by(&before, &after, &asked.goods, sale.covered, payer.member);
            if !asked.goods.is_empty()
                && self
                    .rules(payer.member)
                    .sub_purses
                    .iter()
                    .any(|sub| before.lines.iter().any(|line| line.purse == sub.code && paid.contains_key(&line.id)))
            {
                self.count("sub_purse");
            }
            sale.paid_by = Some(paid);
        }
        self.sales.push(sale);
        if undo && payer.title.is_none() {
            let number = self.sales.len() - 1;
            if self.void_number(number) {
                assert_eq!(Some(self.accounts()), accounts, "a void restores exactly what it undoes");
                assert_eq!(self.view(payer.member).balances(), before.balances());
                self.count("undone_at_once");
            }
        }
    }

    pub fn void(&mut self, sale: &Index) {
        if !self.sales.is_empty() {
            self.schedule();
            self.void_number(sale.index(self.sales.len()));
        }
    }

    /// Undoes a purchase, if it still may be: its cents are back where they came from, and nothing else has moved.
    fn void_number(&mut self, number: usize) -> bool {
        let Sale { member, till, covered, voided, void_until, .. } = self.sales[number];
        let before = self.view(member);
        let answer = self.till(till).void(&self.sales[number].id);
        if self.now() >= void_until && !voided {
            answer.refused(409, "void_window_over");
            self.count("void_refused");
            return false;
        }
        let answer = answer.expect(200);
        assert!(answer["voided"].is_object());
        let after = self.view(member);
        if voided {
            assert_eq!(after.raw, before.raw, "a second void changes nothing");
            return false;
        }
        self.sales[number].voided = true;
        // what was paid in itself is paid back to whoever has left, and an earlier void may have brought some
        let counts = |line: &&super::life::Line| !(self.members[member].left && line.purse == purse::OWN);
        let mut back = BTreeMap::new();
        for line in before.lines.iter().filter(counts) {
            let now = after.lines.iter().find(|other| other.id == line.id).unwrap().balance;
            back.insert(line.id.clone(), now - line.balance);
        }
        if !self.members[member].left {
            assert_eq!(back.values().sum::<i64>(), covered, "{} then {}", before.raw, after.raw);
        }
        if let Some(paid) = &self.sales[number].paid_by {
            for (line, back) in &back {
                assert_eq!(*back, paid.get(line).copied().unwrap_or_default(), "{line}");
            }
        }
        self.count("voided");
        true
    }

    pub fn set_aside(&mut self, wish: &Wish) {
        if wish.done {
            self.schedule();
        }
        let Some((payer, before, asked, answer, _)) = self.ask(wish, "/api/v1/holds") else { return };
        let (covered, now) = (cents(&answer["covered"]), self.now());
        let at = |key: &str| answer[key].as_str().unwrap().parse::<Instant>().unwrap();
        let hours = i64::from(self.rules(payer.member).hold_hours);
        assert!(at("at") == now && now < at("expires_at") && at("expires_at") <= now.plus_minutes(60 * hours));
        let mut purses = BTreeMap::new();
        if wish.done {
            let after = self.view(payer.member);
            let paid = self.paid_by(&before, &after, &asked.goods, covered, payer.member);
            assert_eq!(after.set_aside, before.set_aside + covered);
            for line in &before.lines {
                *purses.entry(line.purse.clone()).or_default() += paid.get(&line.id).copied().unwrap_or_default();
            }
        }
        self.held.push(Held {
            id: id(&answer),
            member: payer.member,
            till: payer.till,
            voucher: payer.voucher,
            at: now,
            expires_at: at("expires_at"),
            basket: asked.total,
            covered,
            goods: asked.goods,
            band: asked.tariff.or_else(|| self.members[payer.member].band.clone()),
            purses,
            open: true,
        });
        self.count("set_aside");
    }
}
