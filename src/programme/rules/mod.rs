//! A programme's rules are data: typed, checked, in versions that stay as they were opened.
//!
//! Whatever a scheme does not have is left out, and stands then for what a plain cheque does: all of the basket, of
//! anything, at any approved seller.

mod check;
mod promise;

use serde::{Deserialize, Serialize};

use super::goods::{Category, Label, ProducerClass};
use crate::kit::error::{Error, Result};
use crate::kit::money::Cents;
use crate::kit::object::{maybe_object, object, objects};

pub use promise::{Grant, purse};

/// The most adults, and the most children, that a household has.
pub const MOST_MEMBERS: i32 = 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    #[serde(deserialize_with = "object")]
    pub amount: Amount,
    #[serde(deserialize_with = "object")]
    pub period: PeriodRule,
    pub start: Start,
    pub carry_over: CarryOver,
    /// Days after the period (or after the last one, if carried over) during which money stays spendable.
    pub expiry_days: i32,
    /// Money ends at the latest on 31 December of the year in which its period begins (CGCT R1611-12).
    #[serde(default)]
    pub ends_with_year: bool,
    /// What the last periods are worth, in percent of the amount, in their order.
    #[serde(default)]
    pub taper: Vec<i32>,
    /// Parts of the amount that are for some kinds of food only.
    #[serde(default, deserialize_with = "objects")]
    pub sub_purses: Vec<SubPurse>,
    #[serde(default, deserialize_with = "object")]
    pub coverage: Coverage,
    /// Tariffs, in the place of `coverage.percent`.
    #[serde(default, deserialize_with = "maybe_object")]
    pub bands: Option<Bands>,
    #[serde(default, deserialize_with = "object")]
    pub eligible: Eligible,
    #[serde(default, deserialize_with = "maybe_object")]
    pub bonus: Option<Bonus>,
    #[serde(default, deserialize_with = "maybe_object")]
    pub contribution: Option<Contribution>,
    /// Days from one purchase to the next, at least: 14 lets a household buy every other Saturday. 0: as often as it likes.
    #[serde(default)]
    pub days_between_purchases: i32,
    /// Values of single-use vouchers that may be handed out beside the card.
    #[serde(default)]
    pub denominations: Vec<Cents>,
    /// Hours for which a seller may set a basket aside, until it is fetched. 0: not at all.
    #[serde(default)]
    pub hold_hours: i32,
    /// Minutes during which a stall may undo its own redemption.
    pub void_window_minutes: i64,
    /// Days for which money stays spendable that a void gives back after its window has closed.
    pub void_grace_days: i32,
    /// Whether producers see what a voucher still holds.
    pub show_balance: bool,
}

/// What one period is worth: so much for the household, each adult and each child, within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub per_household: Cents,
    pub per_adult: Cents,
    pub per_child: Cents,
    #[serde(default, deserialize_with = "maybe_object")]
    pub weighted: Option<Weighted>,
    /// Never less a period, before any taper,
    #[serde(default)]
    pub floor: Option<Cents>,
    /// and never more.
    #[serde(default)]
    pub ceiling: Option<Cents>,
}

/// So much for each consumption unit, as the household's members weigh: 100, 50 and 30 is the OECD's modified scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    pub per_unit: Cents,
    /// In percent of a unit.
    pub first_adult: i32,
    pub further_adult: i32,
    pub child: i32,
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
    pub enum PeriodUnit { Month = "month", Fortnight = "fortnight", Day = "day" }
}

crate::text_enum! {
    /// Where the first period begins.
    pub enum Start {
        /// Periods are the months of the calendar; the first is the one the household starts in, whole in amount.
        CalendarMonth = "calendar_month",
        /// Periods count from the programme's first day, the same for all; the first is whole in amount.
        ProgrammeDay = "programme_day",
        /// Periods count from the household's own first day.
        EnrolmentDay = "enrolment_day",
    }
}

crate::text_enum! {
    /// What becomes of money left at the end of a period.
    pub enum CarryOver {
        /// It goes back to the agreements it came from.
        None = "none",
        /// It stays spendable to the end of the next period.
        Next = "next",
        /// It stays spendable to the end of the last period.
        ToEnd = "to_end",
    }
}

/// A part of the amount that only pays for some kinds of food; no kind is in two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubPurse {
    /// Its name within the rules: small letters, digits and `_`.
    pub code: String,
    /// Of the period's amount.
    pub percent: i32,
    pub categories: Vec<Category>,
}

/// How much of a basket is paid. The household's own part is the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Of what is eligible and above the own part; half cents go up.
    #[serde(default = "whole")]
    pub percent: i32,
    /// What a household pays of each basket before anything is covered.
    #[serde(default)]
    pub own_part: Cents,
    /// The most that is covered of one basket,
    #[serde(default)]
    pub per_redemption: Option<Cents>,
    /// in one day of the programme's zone,
    #[serde(default)]
    pub per_day: Option<Cents>,
    /// and in one period.
    #[serde(default)]
    pub per_period: Option<Cents>,
}

fn whole() -> i32 {
    100
}

impl Default for Coverage {
    fn default() -> Self {
        Coverage { percent: whole(), own_part: Cents::ZERO, per_redemption: None, per_day: None, per_period: None }
    }
}

/// Tariffs: what each household pays of a price. Who has which is nobody's business at the till.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    pub chosen_by: ChosenBy,
    #[serde(deserialize_with = "objects")]
    pub tariffs: Vec<Tariff>,
    /// The one that holds where none was chosen, by its code.
    pub default: String,
}

crate::text_enum! {
    pub enum ChosenBy {
        /// The social worker assigns one.
        SocialWorker = "social_worker",
        /// The household chooses, and may choose anew at each purchase.
        Household = "household",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Its name within the rules: small letters, digits and `_`.
    pub code: String,
    /// What the household pays of the price. What goes beyond 100 is for the common pot.
    pub price_percent: i32,
}

/// What is paid for, and at whose stall; everything and everybody approved where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eligible {
    #[serde(default)]
    pub categories: Option<Vec<Category>>,
    #[serde(default)]
    pub producer_classes: Option<Vec<ProducerClass>>,
}

/// More money for what is bought of some kinds or labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bonus {
    /// Of what was covered of such goods, each line in proportion; half cents go up.
    pub percent: i32,
    /// Goods of one of these kinds,
    #[serde(default)]
    pub categories: Vec<Category>,
    /// or with one of these labels.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The most in a period, in percent of its amount.
    pub cap_percent: i32,
    /// Days after the period during which what was earned in it can be spent.
    pub spendable_days: i32,
}

/// What a household pays in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Bounds of what it pays in for one period.
    pub minimum: Cents,
    pub maximum: Cents,
    /// Whether a period's money waits for its contribution.
    pub required: bool,
    pub goes_to: ContributionGoesTo,
}

crate::text_enum! {
    pub enum ContributionGoesTo {
        /// The common pot, which pays everybody's allowances.
        Pot = "pot",
        /// An allowance of its own; what is left of it at the end is paid back.
        Household = "household",
    }
}

impl Rules {
    /// Whether a common pot must stand behind the programme.
    pub fn needs_pot(&self) -> bool {
        let above_price = |bands: &Bands| bands.tariffs.iter().any(|tariff| tariff.price_percent > 100);
        self.contribution.is_some() || self.bands.as_ref().is_some_and(above_price)
    }

    /// Whether households fill that pot before anything is bought: what is paid above a price comes of purchases.
    pub fn fills_pot(&self) -> bool {
        self.contribution.is_some_and(|contribution| contribution.goes_to == ContributionGoesTo::Pot)
    }

    /// Whether the programme pays something of whatever is eligible, by any tariff.
    pub fn always_pays(&self) -> bool {
        self.bands.as_ref().is_none_or(|bands| bands.tariffs.iter().all(|tariff| tariff.price_percent < 100))
    }

    pub fn has_band(&self, code: &str) -> bool {
        self.bands.as_ref().is_some_and(|bands| bands.tariffs.iter().any(|tariff| tariff.code == code))
    }

    /// What a household of a tariff pays of a price, in percent; that of the default tariff where it has none.
    pub fn price_percent(&self, band: Option<&str>) -> i32 {
        let Some(bands) = &self.bands else { return 100 - self.coverage.percent };
        let of = |code: &str| bands.tariffs.iter().find(|tariff| tariff.code == code).map(|t| t.price_percent);
        band.and_then(of).or_else(|| of(&bands.default)).unwrap_or(100)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("rules are plain data")
    }

    pub(super) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::Internal(format!("stored rules do not read back: {e}")))
    }
}

/// For tests: a plain cheque of 60 € a month, changed in some fields.
#[cfg(test)]
pub fn rules_for_tests(changes: &str) -> Rules {
    tests::rules(changes)
}

#[cfg(test)]
mod tests;
