//! What rules promise a household: which purses, period by period, and how much each.

use super::super::calendar::{Period, periods};
use super::{Amount, Rules};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Zone};

/// The purses that every rule set may have, beside its sub-purses.
pub mod purse {
    /// For whatever the programme covers.
    pub const MAIN: &str = "main";
    /// Earned by purchases.
    pub const BONUS: &str = "bonus";
    /// What the household has paid in and keeps.
    pub const OWN: &str = "own";
}

/// The money of one purse for one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub period: Period,
    /// One of [`purse`], or the code of a sub-purse.
    pub purse: String,
    pub amount: Cents,
    /// Not issued before the household's contribution for the period is paid.
    pub waits: bool,
}

impl Rules {
    /// All that a household that starts on a day is promised, in order of period; the most that its bonuses can be among it.
    pub fn grants(
        &self,
        zone: &Zone,
        programme_starts_on: Day,
        starts_on: Day,
        adults: i32,
        children: i32,
    ) -> Vec<Grant> {
        let whole = self.amount_for(adults, children);
        let waits = self.contribution.is_some_and(|contribution| contribution.required);
        let mut grants = Vec::new();
        for period in periods(self, zone, programme_starts_on, starts_on) {
            let amount = whole.percent(self.taper_of(period.number));
            let mut rest = amount;
            for sub in &self.sub_purses {
                let part = amount.percent(sub.percent).min(rest);
                rest -= part;
                grants.push(Grant { period: period.clone(), purse: sub.code.clone(), amount: part, waits });
            }
            grants.push(Grant { period: period.clone(), purse: purse::MAIN.to_owned(), amount: rest, waits });
            if let Some(bonus) = &self.bonus {
                let closes_at = zone.end_of(period.ends_on.plus_days(bonus.spendable_days)).max(period.closes_at);
                let closes_at = self.year_end(zone, period.starts_on).map_or(closes_at, |end| closes_at.min(end));
                let most = amount.percent(bonus.cap_percent);
                grants.push(Grant {
                    period: Period { closes_at, ..period },
                    purse: purse::BONUS.to_owned(),
                    amount: most,
                    // it comes of purchases
                    waits: false,
                });
            }
        }
        grants.retain(|grant| grant.amount.is_positive());
        grants
    }

    /// What a whole period is worth to a household of this composition, before any taper.
    pub fn amount_for(&self, adults: i32, children: i32) -> Cents {
        let Amount { per_household, per_adult, per_child, weighted, floor, ceiling } = self.amount;
        let times = |amount: Cents, count: i32| Cents(amount.0 * i64::from(count));
        let weight = |w: super::Weighted| {
            let percent = w.first_adult + w.further_adult * (adults - 1) + w.child * children;
            w.per_unit.percent(percent)
        };
        let amount = per_household
            + times(per_adult, adults)
            + times(per_child, children)
            + weighted.map_or(Cents::ZERO, weight);
        let amount = floor.map_or(amount, |floor| amount.max(floor));
        ceiling.map_or(amount, |ceiling| amount.min(ceiling))
    }

    /// What a period is worth, in percent of the amount.
    fn taper_of(&self, period: i32) -> i32 {
        let from_end = usize::try_from(self.period.count - period).unwrap_or(0);
        self.taper.iter().rev().nth(from_end).copied().unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CHEQUE, rules};
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn grants(changes: &str, adults: i32, children: i32) -> Vec<(i32, String, i64)> {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let grants = rules(changes).grants(&paris, day("2026-07-01"), day("2026-07-01"), adults, children);
        grants.into_iter().map(|g| (g.period.number, g.purse, g.amount.0)).collect()
    }

    #[test]
    fn a_plain_cheque_promises_the_same_each_period() {
        assert_eq!(grants(CHEQUE, 2, 3), (1..=6).map(|n| (n, "main".to_owned(), 6000)).collect::<Vec<_>>());
    }

    #[test]
    fn weights_floor_and_ceiling_bound_what_a_household_gets() {
        // the OECD's modified scale on 40.00: 1 + 0.5 + 3 × 0.3 = 2.4 units
        let weighted = |bounds: &str| {
            rules(&format!(
                r#"{{"amount": {{"per_household": "0.00", "per_adult": "0.00", "per_child": "0.00",
                   "weighted": {{"per_unit": "40.00", "first_adult": 100, "further_adult": 50, "child": 30}} {bounds}}}}}"#
            ))
        };
        assert_eq!(weighted("").amount_for(2, 3), Cents(9600));
        assert_eq!(weighted("").amount_for(1, 0), Cents(4000));
        assert_eq!(weighted(r#", "floor": "50.00", "ceiling": "90.00""#).amount_for(1, 0), Cents(5000));
        assert_eq!(weighted(r#", "floor": "50.00", "ceiling": "90.00""#).amount_for(2, 3), Cents(9000));
    }

    #[test]
    fn the_last_periods_taper_off_and_sub_purses_take_their_part_of_what_is_left() {
        let found = grants(
            r#"{"period": {"unit": "month", "length": 1, "count": 3}, "taper": [75, 33],
                "sub_purses": [{"code": "fresh", "percent": 25, "categories": ["fruit_vegetables"]}]}"#,
            1,
            0,
        );
        let of = |n: i32, fresh: i64, main: i64| [(n, "fresh".to_owned(), fresh), (n, "main".to_owned(), main)];
        // 60.00; 45.00, of which a quarter is 11.25; 19.80, of which 4.95
        assert_eq!(found, [of(1, 1500, 4500), of(2, 1125, 3375), of(3, 495, 1485)].concat());
    }

    #[test]
    fn a_bonus_is_promised_at_its_most_and_may_be_spent_after_its_period() {
        let bonus = r#"{"period": {"unit": "month", "length": 1, "count": 1},
            "bonus": {"percent": 50, "labels": ["organic"], "cap_percent": 50, "spendable_days": 31}}"#;
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let grants = rules(bonus).grants(&paris, day("2026-07-01"), day("2026-07-01"), 1, 0);
        let ends: Vec<_> =
            grants.iter().map(|g| (g.purse.as_str(), g.amount.0, g.period.closes_at.to_string())).collect();
        assert_eq!(
            ends,
            [("main", 6000, "2026-07-31T22:00:00Z".to_owned()), ("bonus", 3000, "2026-08-31T22:00:00Z".to_owned())]
        );
    }
}
