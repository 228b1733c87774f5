//! One household's purchases, from its first day to when its last money closes, each decided as at a till.

use std::collections::BTreeMap;

use super::{BasketMix, Kind, MixLine, Scheme};
use crate::allowance::{PartKey, Purse, PursePart, in_proportion};
use crate::enrolment;
use crate::kit::id::Id;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant, Month};
use crate::producer::{ApplicationState, Approval};
use crate::programme::{self, Grant, Period, ProducerClass, Rules, purse};
use crate::redemption::{Basket, BasketLine, Decision, History, Situation, decide};
use crate::voucher;

/// As many baskets as anybody buys in a day.
const MOST_BASKETS: usize = 50;

/// Households shop at ten in the morning.
const SHOPPING_SECONDS: i64 = 10 * 3600;

/// What a household spends, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// Of what it can, in percent.
    pub take_up: i32,
    pub pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each period's money as soon as it opens.
    AtOnce,
    /// At each visit, for the days until the next.
    Ahead,
    /// At each visit, for the days gone; the rest at the last one of a period.
    Behind,
    /// Nothing before it is about to end.
    AtTheEnd,
}

/// Money of one grant with one end.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its place among the household's.
    pub grant: usize,
    pub amount: Cents,
    /// The order in which agreements pay.
    pub position: i32,
    pub spendable_until: Instant,
}

/// So much was paid from a part in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub month: Month,
    pub part: usize,
    pub amount: Cents,
}

struct Life<'a> {
    scheme: &'a Scheme,
    kind: &'a Kind,
    grants: &'a [Grant],
    periods: &'a [Period],
    parts: &'a [Part],
    habit: Habit,
    left: Vec<Cents>,
    /// Of each grant, what was handed out so far; of a bonus as it is earned.
    given: Vec<Cents>,
    /// Of each grant, what its whole period is worth without a bonus.
    worth: Vec<Cents>,
    /// Of each grant, the first day that is too late.
    closes_on: Vec<Day>,
    /// Bonuses that come once their purchase can no longer be undone.
    coming: Vec<(Instant, usize, Cents)>,
    spent: Cents,
    /// Covered in which period.
    in_period: (usize, Cents),
    last_on: Option<Day>,
}

/// Lives one household; `parts` is all that it is promised.
pub fn live(scheme: &Scheme, kind: &Kind, grants: &[Grant], parts: &[Part], habit: Habit) -> Vec<Spent> {
    let periods = programme::periods(&kind.rules, &scheme.zone, scheme.starts_on, kind.starts_on);
    let is_bonus = |grant: &Grant| grant.purse == purse::BONUS;
    let given: Vec<Cents> =
        grants.iter().map(|grant| if is_bonus(grant) { Cents::ZERO } else { grant.amount }).collect();
    let left = parts.iter().map(|part| if is_bonus(&grants[part.grant]) { Cents::ZERO } else { part.amount }).collect();
    let mut by_period: BTreeMap<i32, Cents> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| !is_bonus(grant)) {
        *by_period.entry(grant.period.number).or_default() += grant.amount;
    }
    let worth = grants.iter().map(|grant| by_period.get(&grant.period.number).copied().unwrap_or_default()).collect();
    let closes_on = grants.iter().map(|grant| scheme.zone.day_of(grant.period.closes_at)).collect();
    let mut life = Life {
        scheme,
        kind,
        grants,
        periods: &periods,
        parts,
        habit,
        left,
        given,
        worth,
        closes_on,
        coming: Vec::new(),
        spent: Cents::ZERO,
        in_period: (0, Cents::ZERO),
        last_on: None,
    };
    let mut all = Vec::new();
    for (day, ahead) in visits(&kind.rules, &periods, grants, scheme) {
        all.extend(life.visit(day, ahead));
    }
    all
}

/// How many baskets a household may think of at most: a bound on what it costs to live one.
pub fn most_baskets(scheme: &Scheme, kind: &Kind, grants: &[Grant]) -> usize {
    let periods = programme::periods(&kind.rules, &scheme.zone, scheme.starts_on, kind.starts_on);
    visits(&kind.rules, &periods, grants, scheme).len() * at_a_visit(&kind.rules)
}

/// Where one basket is capped, a visit takes several.
fn at_a_visit(rules: &Rules) -> usize {
    let several = rules.coverage.per_redemption.is_some() && rules.days_between_purchases == 0;
    if several { MOST_BASKETS } else { 1 }
}

/// The days on which a household may think of shopping, and for how many days ahead it then does: week by week, of longer
/// periods five times in each; daily where it must wait between purchases, or a day's purchases are capped.
fn visits(rules: &Rules, periods: &[Period], grants: &[Grant], scheme: &Scheme) -> Vec<(Day, i32)> {
    let (Some(first), Some(last)) = (periods.first(), periods.last()) else { return Vec::new() };
    let whole = periods.iter().map(|p| days(p.starts_on, p.ends_on) + 1).max().unwrap_or(1);
    let often = match rules.coverage.per_day {
        Some(_) => 1,
        None if whole <= 7 => whole,
        None => (whole / 5).max(7),
    };
    let closes = grants.iter().map(|grant| grant.period.closes_at).max().unwrap_or(last.closes_at);
    let end = scheme.zone.day_of(closes);
    let waits = rules.days_between_purchases;
    if waits > 0 {
        return (0..=days(first.starts_on, end)).map(|n| (first.starts_on.plus_days(n), often.max(waits))).collect();
    }
    let of = |from: Day, to: Day| {
        (0..=days(from, to)).step_by(often.unsigned_abs() as usize).map(move |n| from.plus_days(n))
    };
    let within = periods.iter().flat_map(|period| of(period.starts_on, period.ends_on));
    within.chain(of(last.ends_on.plus_days(1), end)).map(|day| (day, often)).collect()
}

fn days(from: Day, to: Day) -> i32 {
    to.since_2000() - from.since_2000()
}

impl Life<'_> {
    fn visit(&mut self, day: Day, ahead: i32) -> Vec<Spent> {
        let rules = &self.kind.rules;
        let waits = rules.days_between_purchases;
        if waits > 0 && self.last_on.is_some_and(|last| day < last.plus_days(ahead)) {
            return Vec::new();
        }
        let now = self.scheme.zone.start_of(day).plus_seconds(SHOPPING_SECONDS);
        self.earn(now);
        let (mut all, mut today) = (Vec::new(), Cents::ZERO);
        for _ in 0..at_a_visit(rules) {
            let bought = self.buy(day, ahead, now, today);
            if bought.is_empty() {
                break;
            }
            today += bought.iter().map(|spent| spent.amount).sum();
            all.extend(bought);
        }
        all
    }

    /// One basket, if anything is wanted and covered.
    fn buy(&mut self, day: Day, ahead: i32, now: Instant, today: Cents) -> Vec<Spent> {
        let rules = &self.kind.rules;
        let purse = self.purse(now);
        let wanted = (self.due(day, ahead) - self.spent - self.lost(now)).min(purse.spendable());
        let Some(basket) = basket(rules, self.kind.band.as_deref(), &self.scheme.basket, wanted) else {
            return Vec::new();
        };
        let current = self.periods.iter().rposition(|period| period.opens_at <= now).unwrap_or(0);
        if self.in_period.0 != current {
            self.in_period = (current, Cents::ZERO);
        }
        let bonus = self.bonus_of(current);
        let bonus_left = bonus.map_or(Cents::ZERO, |grant| self.grants[grant].amount - self.promised(grant));
        let history = History { today, this_period: self.in_period.1, last_on: self.last_on, bonus_left };
        let situation = situation(self.scheme, self.kind, purse, history);
        // whoever is refused comes again another day
        let Ok(Decision { covered, draws, bonus: earned, .. }) = decide(rules, &situation, &basket, now) else {
            return Vec::new();
        };
        if let Some(grant) = bonus.filter(|_| earned.is_positive()) {
            self.coming.push((now.plus_minutes(rules.void_window_minutes), grant, earned));
        }
        self.spent += covered;
        self.in_period.1 += covered;
        self.last_on = Some(day);
        let mut all = Vec::with_capacity(draws.len());
        for draw in draws {
            let Some(part) = (0..self.parts.len()).find(|part| key(self.parts, *part) == draw.key) else { continue };
            self.left[part] -= draw.amount;
            all.push(Spent { month: day.month(), part, amount: draw.amount });
        }
        all
    }

    /// Hands out the bonuses whose purchases can no longer be undone.
    fn earn(&mut self, now: Instant) {
        let (due, coming) = self.coming.drain(..).partition(|(at, ..)| *at <= now);
        self.coming = coming;
        let due: Vec<(Instant, usize, Cents)> = due;
        for (_, grant, amount) in due {
            let own: Vec<usize> = (0..self.parts.len()).filter(|part| self.parts[*part].grant == grant).collect();
            let whole: Vec<Cents> = own.iter().map(|part| self.parts[*part].amount).collect();
            let before = in_proportion(self.given[grant], &whole);
            self.given[grant] += amount;
            for ((part, before), after) in own.iter().zip(before).zip(in_proportion(self.given[grant], &whole)) {
                self.left[*part] += after - before;
            }
        }
    }

    fn bonus_of(&self, period: usize) -> Option<usize> {
        let number = self.periods[period].number;
        self.grants.iter().position(|grant| grant.purse == purse::BONUS && grant.period.number == number)
    }

    /// What of a bonus is handed out or on its way.
    fn promised(&self, bonus: usize) -> Cents {
        let coming = self.coming.iter().filter(|(_, grant, _)| *grant == bonus);
        self.given[bonus] + coming.map(|(.., amount)| *amount).sum()
    }

    fn purse(&self, now: Instant) -> Purse {
        let live = |part: &usize| {
            let Part { grant, spendable_until, .. } = self.parts[*part];
            self.grants[grant].period.opens_at <= now && now < spendable_until
        };
        let part = |part: usize| {
            let Part { grant, position, spendable_until, .. } = self.parts[part];
            let Grant { period, purse, .. } = &self.grants[grant];
            let (key, left) = (key(self.parts, part), self.left[part]);
            PursePart { key, period: period.number, purse: purse.clone(), position, left, spendable_until }
        };
        let parts = (0..self.parts.len()).filter(live).map(part).collect();
        Purse { parts, started: true, over: false }
    }

    /// What it wants to have spent by now, and for some days ahead.
    fn due(&self, day: Day, ahead: i32) -> Cents {
        let mut due = Cents::ZERO;
        for (place, grant) in self.grants.iter().enumerate() {
            let Period { starts_on, ends_on, .. } = grant.period;
            if day < starts_on {
                continue;
            }
            let target = self.target(place);
            let (gone, whole) = (days(starts_on, day), days(starts_on, ends_on) + 1);
            let last = gone + ahead >= whole || grant.purse == purse::BONUS;
            let part = |days: i32| Cents(target.0 * i64::from(days) / i64::from(whole));
            due += match self.habit.pace {
                Pace::AtTheEnd => {
                    let in_time = days(day, self.closes_on[place]) <= ahead.max(self.days_needed(target));
                    if in_time { target } else { Cents::ZERO }
                }
                _ if last => target,
                Pace::AtOnce => target,
                Pace::Ahead => part(gone + ahead),
                Pace::Behind => part(gone),
            };
        }
        due
    }

    /// How many days it takes to spend so much, as purchases are capped and apart.
    fn days_needed(&self, amount: Cents) -> i32 {
        let coverage = &self.kind.rules.coverage;
        let waits = self.kind.rules.days_between_purchases.max(1);
        let cap = if waits > 1 { coverage.per_redemption.or(coverage.per_day) } else { coverage.per_day };
        let times = cap.map_or(0, |cap| amount.0 / cap.0.max(1) + 1);
        i32::try_from(times).unwrap_or(i32::MAX).saturating_mul(waits)
    }

    /// What it wants to spend of a grant: its part of what the caps let through.
    fn target(&self, place: usize) -> Cents {
        let given = self.given[place];
        let whole = if self.grants[place].purse == purse::BONUS { given } else { self.worth[place] };
        let within = self.kind.rules.coverage.per_period.map_or(whole, |cap| cap.min(whole));
        let share = |amount: Cents| if whole.is_positive() { amount.0 * within.0 / whole.0 } else { 0 };
        Cents(share(given)).percent(self.habit.take_up)
    }

    /// What it wanted to spend of money that is over.
    fn lost(&self, now: Instant) -> Cents {
        let over = |part: &usize| self.parts[*part].spendable_until <= now;
        let left: Cents = (0..self.parts.len()).filter(over).map(|part| self.left[part]).sum();
        let grants = (0..self.grants.len()).filter(|grant| self.grants[*grant].period.closes_at <= now);
        let meant: Cents = grants.map(|grant| self.given[grant] - self.target(grant)).sum();
        (left - meant).max(Cents::ZERO)
    }
}

/// The same for the same part, in this household.
fn key(parts: &[Part], part: usize) -> PartKey {
    let number = |n: usize| uuid::Uuid::from_u128(n as u128);
    let (part, grant) = (Id::from_uuid(number(part)), Id::from_uuid(number(parts[part].grant)));
    PartKey { part: part.cast(), allowance: grant, agreement: part }
}

/// A household in good standing at an approved stall.
fn situation(scheme: &Scheme, kind: &Kind, purse: Purse, history: History) -> Situation {
    let classes = kind.rules.eligible.producer_classes.as_ref();
    let class = classes.and_then(|classes| classes.first().copied()).unwrap_or(ProducerClass::Farm);
    Situation {
        zone: scheme.zone.clone(),
        funding_rule: scheme.funding_rule,
        stall_open: true,
        approval: Some(Approval { state: ApplicationState::Approved, class }),
        voucher: voucher::State::Active,
        enrolment: enrolment::State::Active,
        band: kind.band.clone(),
        purse,
        history,
        second_tap: false,
    }
}

/// A basket of which the programme would pay so much.
fn basket(rules: &Rules, band: Option<&str>, mix: &BasketMix, wanted: Cents) -> Option<Basket> {
    let share = i64::from(100 - rules.price_percent(band));
    let eligible = eligible_percent(rules, mix);
    if share <= 0 || eligible <= 0 || !wanted.is_positive() {
        return None;
    }
    let wanted = rules.coverage.per_redemption.map_or(wanted, |cap| wanted.min(cap));
    let eligible_total = rules.coverage.own_part.0 + up(wanted.0 * 100, share);
    // lines round: a cent more for each, so that no part of what is wanted is missed
    let rounding = if eligible < 100 { i64::try_from(mix.lines.len()).unwrap_or(0) } else { 0 };
    Some(filled(mix, Cents(up(eligible_total * 100, eligible) + rounding)))
}

fn up(amount: i64, by: i64) -> i64 {
    (amount + by - 1) / by
}

fn eligible_percent(rules: &Rules, mix: &BasketMix) -> i64 {
    let Some(categories) = &rules.eligible.categories else { return 100 };
    let counted = mix.lines.iter().filter(|line| categories.contains(&line.category));
    counted.map(|line| i64::from(line.percent)).sum()
}

fn filled(mix: &BasketMix, total: Cents) -> Basket {
    let weights: Vec<Cents> = mix.lines.iter().map(|line| Cents(i64::from(line.percent) * total.0)).collect();
    let line = |(MixLine { category, labels, .. }, amount): (&MixLine, Cents)| {
        amount.is_positive().then(|| BasketLine { category: *category, labels: labels.clone(), amount })
    };
    let lines = mix.lines.iter().zip(in_proportion(total, &weights)).filter_map(line).collect();
    Basket { total, lines, tariff: None, partial: true, another_purchase: true }
}

/// The first basket of a first period: what is covered, and what the household pays itself.
pub fn example_basket(scheme: &Scheme, kind: &Kind, grants: &[Grant]) -> super::ExampleBasket {
    let total = scheme.basket.total;
    let none = super::ExampleBasket { total, covered: Cents::ZERO, own_part: total };
    let Some(first) = grants.first() else { return none };
    let first_period = grants.iter().enumerate().filter(|(_, grant)| grant.period.number == first.period.number);
    let given = first_period.filter(|(_, grant)| grant.purse != purse::BONUS);
    let part = |(place, grant): (usize, &Grant)| Part {
        grant: place,
        amount: grant.amount,
        position: 1,
        spendable_until: grant.period.closes_at,
    };
    let parts: Vec<Part> = given.map(part).collect();
    let purse_part = |place: usize| PursePart {
        key: key(&parts, place),
        period: first.period.number,
        purse: grants[parts[place].grant].purse.clone(),
        position: 1,
        left: parts[place].amount,
        spendable_until: parts[place].spendable_until,
    };
    let purse = Purse { parts: (0..parts.len()).map(purse_part).collect(), started: true, over: false };
    let situation = situation(scheme, kind, purse, History::default());
    let now = first.period.opens_at.plus_seconds(SHOPPING_SECONDS);
    match decide(&kind.rules, &situation, &filled(&scheme.basket, total), now) {
        Ok(Decision { covered, surplus, .. }) => {
            super::ExampleBasket { total, covered, own_part: total - covered + surplus }
        }
        Err(_) => none,
    }
}
