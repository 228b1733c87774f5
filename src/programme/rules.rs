//! A programme's rules are data: typed, checked, and fixed once the programme is open.

use serde::{Deserialize, Serialize};

use crate::kit::error::{Error, FieldError, Result};
use crate::kit::money::Cents;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(deserialize_with = "crate::kit::object::object")]
    pub amount: Amount,
    #[serde(deserialize_with = "crate::kit::object::object")]
    pub period: PeriodRule,
    pub start: Start,
    pub carry_over: CarryOver,
    /// Days after the period (or after the last one, if carried over) during which money stays spendable.
    pub expiry_days: i32,
    /// Minutes during which a stall may undo its own redemption.
    pub void_window_minutes: i64,
    /// Days for which money stays spendable that a void gives back after its window has closed.
    pub void_grace_days: i32,
    /// Whether producers see what a voucher still holds.
    pub show_balance: bool,
}

/// What one period is worth: so much for the household, each adult and each child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub per_household: Cents,
    pub per_adult: Cents,
    pub per_child: Cents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodRule {
    pub unit: PeriodUnit,
    /// How many units one period lasts.
    pub length: i32,
    /// How many periods a household gets.
    pub count: i32,
}

crate::text_enum! {
    pub enum PeriodUnit { Month = "month", Day = "day" }
}

crate::text_enum! {
    /// Where the first period begins.
    pub enum Start {
        /// Periods are the months of the calendar; the first is the one the household starts in, whole in amount.
        CalendarMonth = "calendar_month",
        /// Periods count from the household's own first day.
        EnrolmentDay = "enrolment_day",
    }
}

crate::text_enum! {
    /// What becomes of money left at the end of a period.
    pub enum CarryOver {
        /// It goes back to the agreements it came from.
        None = "none",
        /// It stays spendable to the end of the last period.
        ToEnd = "to_end",
    }
}

impl Rules {
    /// The rules that hold together; each one that does not, by its path.
    pub fn check(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, field: &str, message: &str| {
            if !holds {
                wrong.push(FieldError { field: format!("rules.{field}"), message: message.to_owned() });
            }
        };
        let Amount { per_household, per_adult, .. } = self.amount;
        // 10 000 € a period is far above any scheme; it catches a slipped decimal point
        let most = Cents(1_000_000);
        must(per_household + per_adult > Cents::ZERO, "amount", "must give something per household or per adult");
        for (field, amount) in [
            ("amount.per_household", per_household),
            ("amount.per_adult", per_adult),
            ("amount.per_child", self.amount.per_child),
        ] {
            must(amount <= most, field, "must be at most 10000.00");
        }
        let longest = if self.period.unit == PeriodUnit::Month { 12 } else { 366 };
        must((1..=longest).contains(&self.period.length), "period.length", "must be 1 to 12 months or 1 to 366 days");
        must((1..=36).contains(&self.period.count), "period.count", "must be 1 to 36");
        let monthly = self.period.unit == PeriodUnit::Month && self.period.length == 1;
        must(
            self.start != Start::CalendarMonth || monthly,
            "start",
            "calendar_month goes with periods of one month only",
        );
        must((0..=366).contains(&self.expiry_days), "expiry_days", "must be 0 to 366");
        must((0..=43_200).contains(&self.void_window_minutes), "void_window_minutes", "must be 0 to 43200 (30 days)");
        must((0..=92).contains(&self.void_grace_days), "void_grace_days", "must be 0 to 92");
        wrong
    }

    /// What one period is worth to a household of this composition.
    pub fn amount_for(&self, adults: i32, children: i32) -> Cents {
        let times = |amount: Cents, count: i32| Cents(amount.0 * i64::from(count));
        self.amount.per_household + times(self.amount.per_adult, adults) + times(self.amount.per_child, children)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("rules are plain data")
    }

    pub(super) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::Internal(format!("stored rules do not read back: {e}")))
    }
}
