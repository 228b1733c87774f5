//! Instants in UTC, days and months in a programme's own zone, and the clock that the rest is handed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::complaint::Complaint;
use super::sql;

/// A moment, in UTC, to the microsecond (what both databases keep).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = sql::ty::Instant)]
pub struct Instant(Timestamp);

impl Instant {
    /// Microseconds since 1970 UTC; a value outside the years −9999..9999 stops at their bounds.
    pub fn from_microsecond(micros: i64) -> Self {
        let bound = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Instant(Timestamp::from_microsecond(micros).unwrap_or(bound))
    }

    pub fn as_microsecond(self) -> i64 {
        self.0.as_microsecond()
    }

    pub fn as_second(self) -> i64 {
        self.0.as_second()
    }

    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_microsecond(self.as_microsecond().saturating_add(seconds.saturating_mul(1_000_000)))
    }

    pub fn plus_minutes(self, minutes: i64) -> Self {
        self.plus_seconds(minutes * 60)
    }

    /// The same time of day so many calendar months later (earlier below zero), in UTC.
    pub fn plus_months(self, months: i32) -> Self {
        Instant(self.0.to_zoned(TimeZone::UTC).saturating_add(months.months()).timestamp())
    }

    /// Its calendar day in UTC.
    pub fn day(self) -> Day {
        Day(self.0.to_zoned(TimeZone::UTC).date())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Instant {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let at: Timestamp = text.parse().map_err(|_| Complaint::NotAnInstant)?;
        Ok(Self::from_microsecond(at.as_microsecond()))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text::from_string(from)
    }
}

/// A calendar day, without a zone.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = sql::ty::Day)]
pub struct Day(Date);

impl Day {
    pub const fn of(date: Date) -> Self {
        Day(date)
    }

    pub fn plus_days(self, days: i32) -> Self {
        Day(self.0.saturating_add(days.days()))
    }

    /// The same day of the month `months` later, or the month's last day where it has none (31 January + 1 = 28 February).
    pub fn plus_months(self, months: i32) -> Self {
        Day(self.0.saturating_add(months.months()))
    }

    pub fn first_of_month(self) -> Self {
        Day(self.0.first_of_month())
    }

    pub fn last_of_year(self) -> Self {
        Day(self.0.last_of_year())
    }

    pub fn month(self) -> Month {
        Month { year: self.0.year(), month: self.0.month() }
    }

    /// Days since 1 January 2000, the form in which cards and PostgreSQL carry a day.
    pub fn since_2000(self) -> i32 {
        const EPOCH: Date = Date::constant(2000, 1, 1);
        // whole days between two dates always fit: the calendar has some 7 million
        EPOCH.until(self.0).map(|span| span.get_days()).unwrap_or(0)
    }

    pub fn from_days_since_2000(days: i32) -> Self {
        Day(Date::constant(2000, 1, 1).saturating_add(days.days()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Day {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // the parser of dates takes more forms than our contract does
        if text.len() != 10
            || !text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
        {
            return Err(Complaint::NotADay);
        }
        match text.parse::<Date>() {
            Ok(date) if (1900..=2200).contains(&date.year()) => Ok(Day(date)),
            _ => Err(Complaint::NotADay),
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text::from_string(from)
    }
}

/// A calendar month, `2026-07`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    pub fn first_day(self) -> Day {
        Day(Date::new(self.year, self.month, 1).unwrap_or(Date::MIN))
    }

    pub fn next(self) -> Month {
        self.first_day().plus_months(1).month()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day: Result<Day, _> = format!("{text}-01").parse();
        day.map(Day::month).map_err(|_| Complaint::NotAMonth)
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A time zone of the IANA database, in whose midnights windows and months are reckoned.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    pub fn day_of(&self, at: Instant) -> Day {
        Day(self.0.to_datetime(at.0).date())
    }

    /// The first instant of a day there; where the night's clock change skips midnight, the first that exists.
    pub fn start_of(&self, day: Day) -> Instant {
        let start = day.0.to_zoned(self.0.clone()).map(|z| z.timestamp());
        Instant::from_microsecond(start.unwrap_or(Timestamp::MAX).as_microsecond())
    }

    /// The first instant after a day: what is valid on that day is valid before it.
    pub fn end_of(&self, day: Day) -> Instant {
        self.start_of(day.plus_days(1))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl FromStr for Zone {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TimeZone::get(text).map(Zone).map_err(|_| Complaint::NotAZone)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text::from_string(from)
    }
}

/// Where the time comes from: the system in service, a hand-set clock in tests and the demo.
pub trait Clock: Send + Sync {
    fn now(&self) -> Instant;

    /// Whether it is meant to tell what the clocks of other machines tell.
    fn is_real(&self) -> bool;
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::from_microsecond(Timestamp::now().as_microsecond())
    }

    fn is_real(&self) -> bool {
        true
    }
}

/// A clock that stands still until it is set.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub fn at(start: Instant) -> Self {
        ManualClock(Arc::new(AtomicI64::new(start.as_microsecond())))
    }

    pub fn set(&self, to: Instant) {
        self.0.store(to.as_microsecond(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_microsecond(self.0.load(Ordering::SeqCst))
    }

    fn is_real(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_in_paris_has_23_24_or_25_hours() {
        let paris: Zone = "Europe/Paris".parse().unwrap();
        for (text, hours) in [("2026-03-29", 23), ("2026-07-14", 24), ("2026-10-25", 25)] {
            let seconds = paris.end_of(day(text)).as_second() - paris.start_of(day(text)).as_second();
            assert_eq!(seconds, hours * 3600, "{text}");
        }
        assert_eq!(paris.start_of(day("2026-07-01")).to_string(), "2026-06-30T22:00:00Z");
        assert_eq!(paris.day_of("2026-12-31T23:00:00Z".parse().unwrap()), day("2027-01-01"));
    }

    #[test]
    fn a_month_after_the_31st_is_the_last_day_of_the_next() {
        let anchor = day("2026-01-31");
        let days: Vec<String> = (0..4).map(|n| anchor.plus_months(n).to_string()).collect();
        assert_eq!(days, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]);
    }

    #[test]
    fn a_day_that_does_not_exist_is_refused() {
        for bad in [
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "20260101",
            "2026-01-01T00",
            "+002026-01",
            "0000-00-00",
            "9999-01-01",
        ] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert_eq!(Day::from_days_since_2000(day("2026-11-22").since_2000()), day("2026-11-22"));
    }
}
