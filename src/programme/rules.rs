//! A programme's rules are data: typed, checked, and fixed once the programme is open.

use serde::{Deserialize, Serialize};

use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Fields, Result};
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
    /// Whether the rules hold together; each one that does not is named by its path.
    pub fn check(&self, fields: &mut Fields) {
        let Amount { per_household, per_adult, per_child } = self.amount;
        // 10 000 € a period is far above any scheme; it catches a slipped decimal point
        let most = Cents(1_000_000);
        fields.must(per_household + per_adult > Cents::ZERO, "rules.amount", Complaint::GivesNothing);
        for (field, amount) in [
            ("rules.amount.per_household", per_household),
            ("rules.amount.per_adult", per_adult),
            ("rules.amount.per_child", per_child),
        ] {
            fields.must(amount <= most, field, Complaint::Above { most });
        }
        let longest = if self.period.unit == PeriodUnit::Month { 12 } else { 366 };
        fields.between("rules.period.length", self.period.length, 1..=longest);
        fields.between("rules.period.count", self.period.count, 1..=36);
        let monthly = self.period.unit == PeriodUnit::Month && self.period.length == 1;
        fields.must(self.start != Start::CalendarMonth || monthly, "rules.start", Complaint::NotMonthly);
        fields.between("rules.expiry_days", self.expiry_days, 0..=366);
        // 30 days
        fields.between("rules.void_window_minutes", self.void_window_minutes, 0..=43_200);
        fields.between("rules.void_grace_days", self.void_grace_days, 0..=92);
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
