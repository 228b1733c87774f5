//! What the documentation of the rules says of a promise and of a basket, told anew in the simplest words: a second
//! opinion, which knows nothing of how the service reckons.

use std::collections::BTreeMap;

use primeur::programme::{Category, ChosenBy, Label, PeriodRule, Rules};

/// So many percent of an amount, half cents up.
pub fn percent(amount: i64, percent: i32) -> i64 {
    (amount * i64::from(percent) + 50) / 100
}

/// Goods of a basket.
#[derive(Clone, Debug)]
pub struct Goods {
    pub category: Category,
    pub labels: Vec<Label>,
    pub amount: i64,
}

/// What a period is worth to a household, with whatever its place among the last ones takes off.
pub fn worth(rules: &Rules, period: i32, adults: i32, children: i32) -> i64 {
    let amount = &rules.amount;
    let (grown, young) = (i64::from(adults), i64::from(children));
    let mut worth = amount.per_household.0 + grown * amount.per_adult.0 + young * amount.per_child.0;
    if let Some(units) = &amount.weighted {
        let weight = units.first_adult + (adults - 1) * units.further_adult + children * units.child;
        worth += percent(units.per_unit.0, weight);
    }
    if let Some(floor) = amount.floor {
        worth = worth.max(floor.0);
    }
    if let Some(ceiling) = amount.ceiling {
        worth = worth.min(ceiling.0);
    }
    let PeriodRule { count, .. } = rules.period;
    let tapering = i32::try_from(rules.taper.len()).unwrap();
    match period - 1 - (count - tapering) {
        place if place < 0 => worth,
        place => percent(worth, rules.taper[usize::try_from(place).unwrap()]),
    }
}

/// The most that the bonus of a period can be.
pub fn most_bonus(rules: &Rules, worth: i64) -> i64 {
    rules.bonus.as_ref().map_or(0, |bonus| percent(worth, bonus.cap_percent))
}

/// What a household is promised in all.
pub fn promised(rules: &Rules, adults: i32, children: i32) -> i64 {
    let periods = (1..=rules.period.count).map(|period| worth(rules, period, adults, children));
    periods.map(|worth| worth + most_bonus(rules, worth)).sum()
}

/// What is asked at a till.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub rules: &'a Rules,
    /// The household's tariff, and the one it chooses for this purchase.
    pub band: Option<&'a str>,
    pub tariff: Option<&'a str>,
    pub total: i64,
    pub goods: &'a [Goods],
    pub partial: bool,
    /// What can be spent now, by the name of its purse,
    pub held: BTreeMap<String, i64>,
    /// what the caps of day and period leave,
    pub cap_left: i64,
    /// and what nobody has earned of the bonus.
    pub bonus_left: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub covered: i64,
    pub surplus: i64,
    pub bonus: i64,
}

/// What a purchase earns: a share of what was paid for such goods, as far as the bonus goes.
pub fn earned(rules: &Rules, goods: &[Goods], covered: i64, left: i64) -> i64 {
    let Some(bonus) = &rules.bonus else { return 0 };
    let labelled = |goods: &&Goods| goods.labels.iter().any(|label| bonus.labels.contains(label));
    let counts = |goods: &&Goods| bonus.categories.contains(&goods.category) || labelled(goods);
    let listed = rules.eligible.categories.as_ref();
    let eligible = goods.iter().filter(|goods| listed.is_none_or(|listed| listed.contains(&goods.category)));
    let such: i64 = eligible.clone().filter(counts).map(|goods| goods.amount).sum();
    let all: i64 = eligible.map(|goods| goods.amount).sum();
    if all == 0 {
        return 0;
    }
    ((2 * covered * such * i64::from(bonus.percent) + all * 100) / (2 * all * 100)).min(left)
}

impl Question<'_> {
    fn of(&self, is: impl Fn(&Goods) -> bool) -> i64 {
        self.goods.iter().filter(|goods| is(goods)).map(|goods| goods.amount).sum()
    }

    /// What of the price the household pays, in percent; none where it may not choose that tariff.
    fn price(&self) -> Option<i32> {
        let Some(bands) = &self.rules.bands else {
            return self.tariff.is_none().then_some(100 - self.rules.coverage.percent);
        };
        let of = |code: &str| bands.tariffs.iter().find(|tariff| tariff.code == code).map(|t| t.price_percent);
        match self.tariff {
            Some(chosen) => of(chosen).filter(|_| bands.chosen_by == ChosenBy::Household),
            None => self.band.and_then(of).or_else(|| of(&bands.default)),
        }
    }

    /// What is covered, collected and earned; or the codes that may refuse it.
    pub fn told(&self) -> Result<Told, Vec<&'static str>> {
        let rules = self.rules;
        let mut against = Vec::new();
        let price = self.price();
        if price.is_none() {
            against.push("invalid_request");
        }
        let eligible = match &rules.eligible.categories {
            None => self.total,
            Some(_) if self.goods.is_empty() => {
                against.push("lines_required");
                0
            }
            Some(listed) => self.of(|goods| listed.contains(&goods.category)),
        };
        if eligible == 0 && against.is_empty() {
            against.push("category_not_eligible");
        }
        let Some(price) = price.filter(|_| against.is_empty()) else { return Err(against) };

        let above = (eligible - rules.coverage.own_part.0).max(0);
        let share = if price < 100 { percent(above, 100 - price) } else { 0 };
        let foreseen = rules.coverage.per_redemption.map_or(share, |cap| share.min(cap.0));
        let mut reach: i64 = self.held.values().sum();
        for sub in &rules.sub_purses {
            let held = self.held.get(&sub.code).copied().unwrap_or_default();
            reach -= (held - self.of(|goods| sub.categories.contains(&goods.category))).max(0);
        }
        let covered = foreseen.min(self.cap_left).min(reach);
        if covered < foreseen && (covered == 0 || !self.partial) {
            let kept_for_some = |code: &String| rules.sub_purses.iter().any(|sub| &sub.code == code);
            let unsaid = self.goods.is_empty() && self.held.keys().any(kept_for_some);
            return Err(vec![if unsaid { "lines_required" } else { "insufficient_balance" }]);
        }
        let bonus = earned(rules, self.goods, covered, self.bonus_left);
        let surplus = if price > 100 { percent(eligible, price - 100) } else { 0 };
        Ok(Told { covered, surplus, bonus })
    }
}
