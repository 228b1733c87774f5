//! When a household's periods begin and end, in the programme's own zone.

use super::rules::{CarryOver, PeriodUnit, Rules, Start};
use crate::kit::time::{Day, Instant, Zone};

/// One period of one household.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Counted from 1.
    pub number: i32,
    pub starts_on: Day,
    /// The last day, included.
    pub ends_on: Day,
    /// Its money can be spent from here,
    pub opens_at: Instant,
    /// and until just before here.
    pub closes_at: Instant,
}

/// All periods of a household that starts on a day.
///
/// Months are counted from the first day itself, not from each other: from the 31st they run to the 28th, the 31st, the 30th.
pub fn periods(rules: &Rules, zone: &Zone, starts_on: Day) -> Vec<Period> {
    let anchor = match rules.start {
        Start::CalendarMonth => starts_on.first_of_month(),
        Start::EnrolmentDay => starts_on,
    };
    let begin = |number: i32| {
        let units = rules.period.length * number;
        match rules.period.unit {
            PeriodUnit::Month => anchor.plus_months(units),
            PeriodUnit::Day => anchor.plus_days(units),
        }
    };
    let last_day = begin(rules.period.count).plus_days(-1);
    let period = |number: i32| {
        let starts_on = begin(number - 1).max(starts_on);
        let ends_on = begin(number).plus_days(-1);
        let spent_by = match rules.carry_over {
            CarryOver::None => ends_on,
            CarryOver::ToEnd => last_day,
        };
        Period {
            number,
            starts_on,
            ends_on,
            opens_at: zone.start_of(starts_on),
            closes_at: zone.end_of(spent_by.plus_days(rules.expiry_days)),
        }
    };
    (1..=rules.period.count).map(period).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Amount, PeriodRule};
    use super::*;
    use crate::kit::money::Cents;

    fn rules(
        unit: PeriodUnit,
        length: i32,
        count: i32,
        start: Start,
        carry_over: CarryOver,
        expiry_days: i32,
    ) -> Rules {
        let amount = Amount { per_household: Cents(6000), per_adult: Cents(0), per_child: Cents(0) };
        let period = PeriodRule { unit, length, count };
        Rules {
            amount,
            period,
            start,
            carry_over,
            expiry_days,
            void_window_minutes: 60,
            void_grace_days: 7,
            show_balance: false,
        }
    }

    fn days(periods: &[Period]) -> Vec<String> {
        periods.iter().map(|p| format!("{} {}", p.starts_on, p.ends_on)).collect()
    }

    #[test]
    fn calendar_months_begin_on_the_first_but_for_the_household_s_own_first_day() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules(PeriodUnit::Month, 1, 3, Start::CalendarMonth, CarryOver::None, 0);
        let p = periods(&r, &paris, "2026-12-31".parse().unwrap());
        assert_eq!(days(&p), ["2026-12-31 2026-12-31", "2027-01-01 2027-01-31", "2027-02-01 2027-02-28"]);
        assert_eq!(p[0].opens_at.to_string(), "2026-12-30T23:00:00Z");
        assert_eq!(p[0].closes_at.to_string(), "2026-12-31T23:00:00Z");
    }

    #[test]
    fn months_from_the_31st_end_before_the_next_one_begins() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules(PeriodUnit::Month, 1, 4, Start::EnrolmentDay, CarryOver::None, 0);
        let p = periods(&r, &paris, "2027-01-31".parse().unwrap());
        assert_eq!(
            days(&p),
            ["2027-01-31 2027-02-27", "2027-02-28 2027-03-30", "2027-03-31 2027-04-29", "2027-04-30 2027-05-30"]
        );
    }

    #[test]
    fn the_last_day_lasts_until_midnight_in_paris_on_both_sides_of_the_clock_change() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules(PeriodUnit::Day, 7, 2, Start::EnrolmentDay, CarryOver::None, 0);
        let spring = periods(&r, &paris, "2027-03-22".parse().unwrap());
        assert_eq!(
            (spring[0].closes_at.to_string(), spring[1].closes_at.to_string()),
            ("2027-03-28T22:00:00Z".into(), "2027-04-04T22:00:00Z".into())
        );
        let autumn = periods(&r, &paris, "2026-10-19".parse().unwrap());
        assert_eq!(
            (autumn[0].closes_at.to_string(), autumn[1].closes_at.to_string()),
            ("2026-10-25T23:00:00Z".into(), "2026-11-01T23:00:00Z".into())
        );
    }

    #[test]
    fn what_is_carried_to_the_end_closes_with_the_last_period_and_its_days_of_expiry() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules(PeriodUnit::Month, 1, 6, Start::CalendarMonth, CarryOver::ToEnd, 10);
        let p = periods(&r, &paris, "2026-07-01".parse().unwrap());
        assert!(p.iter().all(|p| p.closes_at.to_string() == "2027-01-10T23:00:00Z"));
    }
}
