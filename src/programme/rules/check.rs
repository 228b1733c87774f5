//! Which rules hold together; each that does not, by its path.

use super::{
    Bands, Bonus, CarryOver, Contribution, Coverage, MOST_MEMBERS, PeriodUnit, Rules, Start, SubPurse, Weighted, purse,
};
use crate::kit::complaint::Complaint;
use crate::kit::error::Fields;
use crate::kit::money::Cents;
use crate::programme::FundingRule;
use crate::programme::goods::Category;

/// 10 000 € a period is far above any scheme, for the largest household too; it catches a slipped decimal point.
const MOST: Cents = Cents(1_000_000);

impl Rules {
    /// Adds whatever is wrong with them, by a path that begins with `rules`.
    pub fn check(&self, funding_rule: FundingRule, fields: &mut Fields) {
        let (longest, most_periods) = match self.period.unit {
            PeriodUnit::Month => (12, 36),
            PeriodUnit::Fortnight => (26, 78),
            PeriodUnit::Day => (366, 78),
        };
        fields.between("rules.period.length", self.period.length, 1..=longest);
        fields.between("rules.period.count", self.period.count, 1..=most_periods);
        fields.between("rules.expiry_days", self.expiry_days, 0..=366);
        fields.between("rules.days_between_purchases", self.days_between_purchases, 0..=92);
        fields.between("rules.hold_hours", self.hold_hours, 0..=744);
        fields.between("rules.void_window_minutes", self.void_window_minutes, 0..=43_200);
        fields.between("rules.void_grace_days", self.void_grace_days, 0..=92);
        for (place, percent) in self.taper.iter().enumerate() {
            fields.between(&format!("rules.taper[{place}]"), *percent, 1..=100);
        }
        self.check_amount(fields);
        self.check_periods(fields);
        self.check_sub_purses(fields);
        self.check_coverage(fields);
        if let Some(bands) = &self.bands {
            self.check_bands(bands, funding_rule, fields);
        }
        self.check_eligible(fields);
        if let Some(bonus) = &self.bonus {
            self.check_bonus(bonus, fields);
        }
        if let Some(contribution) = &self.contribution {
            check_contribution(contribution, funding_rule, fields);
        }
        self.check_denominations(fields);
    }

    fn check_amount(&self, fields: &mut Fields) {
        let amount = &self.amount;
        let mut each = vec![
            ("per_household", amount.per_household),
            ("per_adult", amount.per_adult),
            ("per_child", amount.per_child),
        ];
        each.extend(amount.floor.map(|floor| ("floor", floor)));
        each.extend(amount.ceiling.map(|ceiling| ("ceiling", ceiling)));
        if let Some(Weighted { per_unit, first_adult, further_adult, child }) = amount.weighted {
            each.push(("weighted.per_unit", per_unit));
            for (field, weight) in [("first_adult", first_adult), ("further_adult", further_adult), ("child", child)] {
                fields.between(&format!("rules.amount.weighted.{field}"), weight, 0..=1000);
            }
        }
        for (field, amount) in each {
            fields.must(amount <= MOST, &format!("rules.amount.{field}"), Complaint::Above { most: MOST });
        }
        if let (Some(floor), Some(ceiling)) = (amount.floor, amount.ceiling) {
            fields.must(floor <= ceiling, "rules.amount.floor", Complaint::AboveOther { other: "ceiling".to_owned() });
        }
        // absurd figures have been told of already, and cannot be reckoned with
        if fields.is_empty() {
            // one adult is the smallest household there is
            fields.must(self.amount_for(1, 0).is_positive(), "rules.amount", Complaint::GivesNothing);
            fields.must(self.largest() <= MOST, "rules.amount", Complaint::Above { most: MOST });
        }
    }

    /// What a period is worth to the largest household.
    fn largest(&self) -> Cents {
        self.amount_for(MOST_MEMBERS, MOST_MEMBERS)
    }

    fn check_periods(&self, fields: &mut Fields) {
        let monthly = self.period.unit == PeriodUnit::Month && self.period.length == 1;
        fields.must(self.start != Start::CalendarMonth || monthly, "rules.start", Complaint::NotMonthly);
        let count = usize::try_from(self.period.count).unwrap_or(0);
        let complaint = Complaint::Items { least: 0, most: count };
        fields.must(self.taper.len() <= count, "rules.taper", complaint);
        let units = self.period.count.saturating_mul(self.period.length);
        let within_a_year = match self.period.unit {
            PeriodUnit::Month => units <= 12,
            PeriodUnit::Fortnight => units <= 26,
            PeriodUnit::Day => units <= 366,
        };
        let carried_over_year = self.ends_with_year && self.carry_over == CarryOver::ToEnd && !within_a_year;
        fields.must(!carried_over_year, "rules.carry_over", Complaint::YearEndsFirst);
    }

    fn check_sub_purses(&self, fields: &mut Fields) {
        let complaint = Complaint::Items { least: 0, most: 8 };
        fields.must(self.sub_purses.len() <= 8, "rules.sub_purses", complaint);
        let whole: i64 = self.sub_purses.iter().map(|sub| i64::from(sub.percent)).sum();
        fields.must(whole <= 100, "rules.sub_purses", Complaint::AboveWhole);
        for (place, SubPurse { code, percent, categories }) in self.sub_purses.iter().enumerate() {
            let path = |field: &str| format!("rules.sub_purses[{place}].{field}");
            let own_name = [purse::MAIN, purse::BONUS, purse::OWN].contains(&code.as_str());
            fields.must(is_code(code) && !own_name, &path("code"), Complaint::NotACode);
            let twice = self.sub_purses[..place].iter().any(|other| &other.code == code);
            fields.must(!twice, &path("code"), Complaint::NamedTwice);
            fields.between(&path("percent"), *percent, 1..=100);
            once_each(categories, &path("categories"), fields);
            let elsewhere =
                |category: &Category| self.sub_purses[..place].iter().any(|s| s.categories.contains(category));
            fields.must(!categories.iter().any(elsewhere), &path("categories"), Complaint::InAnother);
            fields.must(self.are_eligible(categories), &path("categories"), Complaint::NotEligible);
        }
    }

    fn are_eligible(&self, categories: &[Category]) -> bool {
        let known = self.eligible.categories.as_ref();
        categories.iter().all(|category| known.is_none_or(|known| known.contains(category)))
    }

    fn check_coverage(&self, fields: &mut Fields) {
        let Coverage { percent, own_part, per_redemption, per_day, per_period } = self.coverage;
        fields.between("rules.coverage.percent", percent, 1..=100);
        fields.must(own_part <= MOST, "rules.coverage.own_part", Complaint::Above { most: MOST });
        let caps = [("per_redemption", per_redemption), ("per_day", per_day), ("per_period", per_period)];
        for (field, cap) in caps.iter().filter_map(|(field, cap)| Some((field, (*cap)?))) {
            let path = format!("rules.coverage.{field}");
            fields.must(cap.is_positive(), &path, Complaint::NothingAtAll);
            fields.must(cap <= MOST, &path, Complaint::Above { most: MOST });
        }
        // each is a cap on more than the one before
        for (place, (field, cap)) in caps.iter().enumerate() {
            let wider = caps[place + 1..].iter().find_map(|(other, wider)| Some((other, (*wider)?)));
            if let (Some(cap), Some((other, wider))) = (cap, wider) {
                let complaint = Complaint::AboveOther { other: (*other).to_owned() };
                fields.must(*cap <= wider, &format!("rules.coverage.{field}"), complaint);
            }
        }
    }

    fn check_bands(&self, bands: &Bands, funding_rule: FundingRule, fields: &mut Fields) {
        let path = |place: usize, field: &str| format!("rules.bands.tariffs[{place}].{field}");
        let complaint = Complaint::Items { least: 2, most: 10 };
        fields.must((2..=10).contains(&bands.tariffs.len()), "rules.bands.tariffs", complaint);
        for (place, tariff) in bands.tariffs.iter().enumerate() {
            fields.must(is_code(&tariff.code), &path(place, "code"), Complaint::NotACode);
            let twice = bands.tariffs[..place].iter().any(|other| other.code == tariff.code);
            fields.must(!twice, &path(place, "code"), Complaint::NamedTwice);
            fields.between(&path(place, "price_percent"), tariff.price_percent, 0..=200);
            // in fixed shares nobody would ever be promised what it brings into the pot
            let fits = tariff.price_percent <= 100 || funding_rule == FundingRule::Priority;
            fields.must(fits, &path(place, "price_percent"), Complaint::NeedsPriority);
        }
        let pays = bands.tariffs.iter().any(|tariff| tariff.price_percent < 100);
        fields.must(pays, "rules.bands.tariffs", Complaint::CoversNothing);
        fields.must(self.has_band(&bands.default), "rules.bands.default", Complaint::NoSuchTariff);
        fields.must(self.coverage.percent == 100, "rules.coverage.percent", Complaint::BandsInstead);
    }

    fn check_eligible(&self, fields: &mut Fields) {
        if let Some(categories) = &self.eligible.categories {
            once_each(categories, "rules.eligible.categories", fields);
        }
        if let Some(classes) = &self.eligible.producer_classes {
            once_each(classes, "rules.eligible.producer_classes", fields);
        }
    }

    fn check_bonus(&self, bonus: &Bonus, fields: &mut Fields) {
        let Bonus { percent, categories, labels, cap_percent, spendable_days } = bonus;
        fields.between("rules.bonus.percent", *percent, 1..=200);
        fields.between("rules.bonus.cap_percent", *cap_percent, 1..=200);
        fields.between("rules.bonus.spendable_days", *spendable_days, 1..=366);
        fields.must(!(categories.is_empty() && labels.is_empty()), "rules.bonus", Complaint::ForNothing);
        distinct(categories, "rules.bonus.categories", fields);
        fields.must(self.are_eligible(categories), "rules.bonus.categories", Complaint::NotEligible);
        distinct(labels, "rules.bonus.labels", fields);
        // it comes only once a purchase can no longer be undone
        let days = (self.void_window_minutes + 1439) / 1440;
        let in_time = i64::from(*spendable_days) > days;
        fields.must(in_time, "rules.bonus.spendable_days", Complaint::NotPastVoids { days });
    }

    fn check_denominations(&self, fields: &mut Fields) {
        let complaint = Complaint::Items { least: 0, most: 12 };
        fields.must(self.denominations.len() <= 12, "rules.denominations", complaint);
        let in_sub_purses: i64 = self.sub_purses.iter().map(|sub| i64::from(sub.percent)).sum();
        let has_money = self.denominations.is_empty() || in_sub_purses < 100;
        fields.must(has_money, "rules.denominations", Complaint::NoMainPurse);
        let largest = if fields.is_empty() { self.largest() } else { MOST };
        for (place, value) in self.denominations.iter().enumerate() {
            let path = format!("rules.denominations[{place}]");
            fields.must(value.is_positive(), &path, Complaint::NothingAtAll);
            fields.must(*value <= largest, &path, Complaint::Above { most: largest });
            fields.must(!self.denominations[..place].contains(value), &path, Complaint::NamedTwice);
        }
    }
}

fn check_contribution(contribution: &Contribution, funding_rule: FundingRule, fields: &mut Fields) {
    let Contribution { minimum, maximum, .. } = *contribution;
    fields.must(minimum.is_positive(), "rules.contribution.minimum", Complaint::NothingAtAll);
    fields.must(maximum <= MOST, "rules.contribution.maximum", Complaint::Above { most: MOST });
    let complaint = Complaint::AboveOther { other: "maximum".to_owned() };
    fields.must(minimum <= maximum, "rules.contribution.minimum", complaint);
    // in fixed shares a pot that is still empty would stop every promise
    let fits = funding_rule == FundingRule::Priority;
    fields.must(fits, "rules.contribution", Complaint::NeedsPriority);
}

/// Small letters, digits and `_`, beginning with a letter, at most 30.
fn is_code(text: &str) -> bool {
    let mut letters = text.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && text.len() <= 30
        && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn once_each<T: PartialEq>(items: &[T], path: &str, fields: &mut Fields) {
    fields.must((1..=20).contains(&items.len()), path, Complaint::Items { least: 1, most: 20 });
    distinct(items, path, fields);
}

fn distinct<T: PartialEq>(items: &[T], path: &str, fields: &mut Fields) {
    let twice = items.iter().enumerate().any(|(place, item)| items[..place].contains(item));
    fields.must(!twice, path, Complaint::NamedTwice);
}
