//! What every purchase was paid and has earned, recomputed from its lines and the rules that its household goes by.

use std::collections::BTreeMap;

use crate::allowance::bonus::{self, Promised, State};
use crate::db::Conn;
use crate::enrolment::{self, Enrolment};
use crate::kit::error::Result;
use crate::kit::id::EnrolmentId;
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::Finding;
use crate::programme::Rules;
use crate::redemption::decide::{Basket, BasketLine, is_foreseen, share_earned};
use crate::redemption::{Line, Purchase, Redemption};

/// Purchases that far apart may have been decided in either order: as long as one may wait for a purse, and more.
const TOLERANCE_SECONDS: i64 = 120;

/// What bonuses are reckoned from, read once for each enrolment.
#[derive(Default)]
pub struct Bonuses {
    known: BTreeMap<EnrolmentId, Known>,
}

struct Known {
    enrolment: Enrolment,
    rules: Rules,
    /// None where the rules have no bonus.
    promised: Vec<Promised>,
}

impl Bonuses {
    pub fn wrong(&mut self, conn: &mut Conn, purchase: &Purchase) -> Result<Option<Finding>> {
        let id = purchase.redemption.enrolment_id;
        let known = match self.known.remove(&id) {
            Some(known) => known,
            None => Known::read(conn, id)?,
        };
        let wrong = known.wrong(purchase);
        self.known.insert(id, known);
        Ok(wrong)
    }
}

impl Known {
    fn read(conn: &mut Conn, id: EnrolmentId) -> Result<Self> {
        let enrolment = enrolment::by_id(conn, id)?;
        let rules = enrolment::rules(conn, &enrolment)?;
        let promised = if rules.bonus.is_some() { bonus::promised(conn, id)? } else { Vec::new() };
        Ok(Known { enrolment, rules, promised })
    }

    fn wrong(&self, purchase: &Purchase) -> Option<Finding> {
        let Purchase { redemption, lines, .. } = purchase;
        let line = |line: &Line| BasketLine::written(line.category, &line.labels, line.amount_cents);
        let lines: Vec<BasketLine> = lines.iter().map(line).collect();
        let &Redemption { basket_cents: total, covered_cents: covered, surplus_cents: surplus, .. } = redemption;
        let share = share_earned(&self.rules, &lines, covered);
        let basket = Basket { total, lines, tariff: None, partial: true, another_purchase: true };
        if !is_foreseen(&self.rules, &basket, covered, surplus) {
            let what = format!("covers {covered} of {total}, and {surplus} above it, which its rules do not foresee");
            return Some(Finding::new("redemptions", redemption.id, what));
        }
        let mut all = self.promised.iter().flat_map(|promised| &promised.earned);
        let told = all.find(|bonus| bonus.redemption_id == redemption.id);
        let amount = told.map_or(Cents::ZERO, |bonus| bonus.amount_cents);
        let earned = share.min(self.left(purchase));
        if (earned..=share).contains(&amount) {
            return None;
        }
        let should = if amount > share { share } else { earned };
        Some(match told {
            Some(_) => {
                let what = format!("is {amount}, but its purchase has earned {should}");
                Finding::new("bonuses", redemption.id, what)
            }
            None => Finding::new("redemptions", redemption.id, format!("has earned {should}, and no bonus says so")),
        })
    }

    /// What was left to earn for a purchase, for certain: nothing that others may have taken before it is counted.
    fn left(&self, purchase: &Purchase) -> Cents {
        let (at, matures_at) = (purchase.redemption.recorded_at, purchase.redemption.void_until);
        if self.enrolment.left_at.is_some_and(|left_at| left_at <= at) {
            return Cents::ZERO;
        }
        let Some(promised) = self.promised.iter().find(|promised| promised.runs(at)) else { return Cents::ZERO };
        let around = |one: Instant, other: Instant| one <= other.plus_seconds(TOLERANCE_SECONDS);
        // all of these purchases can be undone for as long, by one and the same rules
        let taken = promised.earned.iter().filter(|bonus| {
            let lost_before = bonus.state == State::Lost && bonus.settled_at.is_some_and(|lost| !around(at, lost));
            bonus.redemption_id != purchase.redemption.id && around(bonus.matures_at, matures_at) && !lost_before
        });
        let taken: Cents = taken.map(|bonus| bonus.amount_cents).sum();
        (promised.lasting(matures_at) - taken).max(Cents::ZERO)
    }
}
