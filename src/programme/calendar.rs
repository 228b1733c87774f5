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
pub fn periods(rules: &Rules, zone: &Zone, programme_starts_on: Day, starts_on: Day) -> Vec<Period> {
    let count_from = |anchor: Day, number: i32| {
        let units = rules.period.length * number;
        match rules.period.unit {
            PeriodUnit::Month => anchor.plus_months(units),
            PeriodUnit::Fortnight => anchor.plus_days(14 * units),
            PeriodUnit::Day => anchor.plus_days(units),
        }
    };
    let (anchor, first) = match rules.start {
        Start::CalendarMonth => (starts_on.first_of_month(), 0),
        Start::EnrolmentDay => (starts_on, 0),
        // the last period of all to have begun by then
        Start::ProgrammeDay => {
            let gone = (1..).take_while(|number| count_from(programme_starts_on, *number) <= starts_on);
            (programme_starts_on, gone.last().unwrap_or(0))
        }
    };
    let begin = |number: i32| count_from(anchor, first + number);
    let last_day = begin(rules.period.count).plus_days(-1);
    let period = |number: i32| {
        let starts_on = begin(number - 1).max(starts_on);
        let ends_on = begin(number).plus_days(-1);
        let spent_by = match rules.carry_over {
            CarryOver::None => ends_on,
            CarryOver::Next => begin(number + 1).plus_days(-1).min(last_day),
            CarryOver::ToEnd => last_day,
        };
        let closes_at = zone.end_of(spent_by.plus_days(rules.expiry_days));
        Period {
            number,
            starts_on,
            ends_on,
            opens_at: zone.start_of(starts_on),
            closes_at: rules.year_end(zone, starts_on).map_or(closes_at, |end| closes_at.min(end)),
        }
    };
    (1..=rules.period.count).map(period).collect()
}

impl Rules {
    /// The first instant of the next year, where money ends with the one it was given in.
    pub(super) fn year_end(&self, zone: &Zone, starts_on: Day) -> Option<Instant> {
        self.ends_with_year.then(|| zone.end_of(starts_on.last_of_year()))
    }

    /// Until when money of a period stays spendable that a void of an instant gives back once its window is over: for the
    /// days of grace, and not past its year where it ends with that.
    pub fn grace_until(&self, zone: &Zone, starts_on: Day, voided_at: Instant) -> Instant {
        let grace = zone.end_of(zone.day_of(voided_at).plus_days(self.void_grace_days));
        self.year_end(zone, starts_on).map_or(grace, |end| grace.min(end.max(voided_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules_for_tests;
    use super::*;

    fn rules(unit: &str, length: i32, count: i32, start: &str, carry_over: &str, expiry_days: i32) -> Rules {
        rules_for_tests(&format!(
            r#"{{"period": {{"unit": "{unit}", "length": {length}, "count": {count}}}, "start": "{start}",
                "carry_over": "{carry_over}", "expiry_days": {expiry_days}}}"#
        ))
    }

    /// The periods of a household of a programme that starts with the year.
    fn periods(rules: &Rules, zone: &Zone, starts_on: Day) -> Vec<Period> {
        super::periods(rules, zone, "2026-01-01".parse().unwrap(), starts_on)
    }

    fn days(periods: &[Period]) -> Vec<String> {
        periods.iter().map(|p| format!("{} {}", p.starts_on, p.ends_on)).collect()
    }

    #[test]
    fn calendar_months_begin_on_the_first_but_for_the_household_s_own_first_day() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules("month", 1, 3, "calendar_month", "none", 0);
        let p = periods(&r, &paris, "2026-12-31".parse().unwrap());
        assert_eq!(days(&p), ["2026-12-31 2026-12-31", "2027-01-01 2027-01-31", "2027-02-01 2027-02-28"]);
        assert_eq!(p[0].opens_at.to_string(), "2026-12-30T23:00:00Z");
        assert_eq!(p[0].closes_at.to_string(), "2026-12-31T23:00:00Z");
    }

    #[test]
    fn months_from_the_31st_end_before_the_next_one_begins() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules("month", 1, 4, "enrolment_day", "none", 0);
        let p = periods(&r, &paris, "2027-01-31".parse().unwrap());
        assert_eq!(
            days(&p),
            ["2027-01-31 2027-02-27", "2027-02-28 2027-03-30", "2027-03-31 2027-04-29", "2027-04-30 2027-05-30"]
        );
    }

    #[test]
    fn the_last_day_lasts_until_midnight_in_paris_on_both_sides_of_the_clock_change() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules("day", 7, 2, "enrolment_day", "none", 0);
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
        let r = rules("month", 1, 6, "calendar_month", "to_end", 10);
        let p = periods(&r, &paris, "2026-07-01".parse().unwrap());
        assert!(p.iter().all(|p| p.closes_at.to_string() == "2027-01-10T23:00:00Z"));
    }

    #[test]
    fn fortnights_of_the_programme_are_the_same_for_all_whenever_they_join() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules("fortnight", 1, 2, "programme_day", "none", 0);
        let of = |day: &str| days(&periods(&r, &paris, day.parse().unwrap()));
        assert_eq!(of("2026-01-01"), ["2026-01-01 2026-01-14", "2026-01-15 2026-01-28"]);
        assert_eq!(of("2026-01-14"), ["2026-01-14 2026-01-14", "2026-01-15 2026-01-28"]);
        assert_eq!(of("2026-01-15"), ["2026-01-15 2026-01-28", "2026-01-29 2026-02-11"]);
    }

    #[test]
    fn what_is_carried_over_once_closes_with_the_next_period_and_the_last_with_its_own() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let r = rules("month", 1, 3, "calendar_month", "next", 2);
        let closes: Vec<_> =
            periods(&r, &paris, "2026-07-01".parse().unwrap()).into_iter().map(|p| p.closes_at.to_string()).collect();
        assert_eq!(closes, ["2026-09-02T22:00:00Z", "2026-10-02T22:00:00Z", "2026-10-02T22:00:00Z"]);
    }

    #[test]
    fn money_that_ends_with_its_year_ends_at_midnight_on_31_december() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        let plain = r#"{"period": {"unit": "month", "length": 1, "count": 3}, "carry_over": "to_end", "expiry_days": 30,
            "ends_with_year": true}"#;
        let closes: Vec<_> = periods(&rules_for_tests(plain), &paris, "2026-11-10".parse().unwrap())
            .into_iter()
            .map(|p| p.closes_at.to_string())
            .collect();
        assert_eq!(closes, ["2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z", "2027-03-02T23:00:00Z"]);
    }
}
