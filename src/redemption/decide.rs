//! The decision at the till, as a pure function of rules, state, basket and time. The ledger's guards enforce it; they
//! are not a second opinion.

use crate::allowance::{Draw, Purse, PursePart, draw};
use crate::enrolment;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Result};
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant, Zone};
use crate::producer::ApplicationState;
use crate::producer::Approval;
use crate::programme::{Category, ChosenBy, FundingRule, Label, Rules};
use crate::voucher;

/// What is bought, as the seller says it.
#[derive(Clone, Debug)]
pub struct Basket {
    pub total: Cents,
    /// What it is made of; empty, or all of it.
    pub lines: Vec<BasketLine>,
    /// The tariff that the household has chosen for this purchase, where it may.
    pub tariff: Option<String>,
    /// Whether the household may pay more of it than the rules foresee.
    pub partial: bool,
    /// The seller says that this is no second tap.
    pub another_purchase: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasketLine {
    pub category: Category,
    pub labels: Vec<Label>,
    pub amount: Cents,
}

/// All that the decision depends on, as it stands under the purse's lock.
#[derive(Clone, Debug)]
pub struct Situation {
    pub zone: Zone,
    pub funding_rule: FundingRule,
    pub stall_open: bool,
    pub approval: Option<Approval>,
    pub voucher: voucher::State,
    pub enrolment: enrolment::State,
    /// The household's tariff, by its code.
    pub band: Option<String>,
    pub purse: Purse,
    pub history: History,
    /// The same basket was redeemed here a moment ago.
    pub second_tap: bool,
}

/// What a household has bought so far, net of what was undone.
#[derive(Clone, Copy, Debug, Default)]
pub struct History {
    /// Covered today in the programme's zone,
    pub today: Cents,
    /// and in the period that today is in.
    pub this_period: Cents,
    pub last_on: Option<Day>,
    /// What of the period's bonus is not earned yet.
    pub bonus_left: Cents,
}

/// What becomes of a basket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the programme pays; the household pays the rest, and the surplus.
    pub covered: Cents,
    /// What the household pays above the price, for the pot.
    pub surplus: Cents,
    /// Whose cents pay.
    pub draws: Vec<Draw>,
    /// What the household earns, for later.
    pub bonus: Cents,
}

impl Situation {
    /// Why nothing at all can be redeemed; the seller's own standing first, so that a stranger learns nothing of a card.
    pub fn refusal(&self, rules: &Rules, now: Instant) -> Option<Code> {
        let state = self.approval.map(|approval| approval.state);
        let refusal = match (state, self.voucher) {
            _ if !self.stall_open => Code::StallClosed,
            (Some(ApplicationState::Suspended), _) => Code::ProducerSuspended,
            (state, _) if state != Some(ApplicationState::Approved) => Code::ProducerNotApproved,
            _ if !self.class_is_eligible(rules) => Code::ProducerNotEligible,
            (_, voucher::State::Blocked) => Code::VoucherBlocked,
            (_, voucher::State::Replaced) => Code::VoucherReplaced,
            _ if self.enrolment == enrolment::State::Suspended => Code::VoucherSuspended,
            _ if self.purse.over => Code::VoucherExpired,
            _ if !self.purse.started => Code::NotStarted,
            _ if self.comes_too_soon(rules, now) => Code::TooSoon,
            // the same for every tariff: who pays a full price may buy with an empty card
            _ if rules.always_pays() && !self.spendable(rules).is_positive() => Code::InsufficientBalance,
            _ => return None,
        };
        Some(refusal)
    }

    fn class_is_eligible(&self, rules: &Rules) -> bool {
        let classes = rules.eligible.producer_classes.as_ref();
        classes.is_none_or(|classes| self.approval.is_some_and(|approval| classes.contains(&approval.class)))
    }

    fn comes_too_soon(&self, rules: &Rules, now: Instant) -> bool {
        let today = self.zone.day_of(now);
        self.history.last_on.is_some_and(|last| today < last.plus_days(rules.days_between_purchases))
    }

    /// The most that may be covered now.
    pub fn spendable(&self, rules: &Rules) -> Cents {
        self.purse.spendable().min(self.cap_left(rules))
    }

    /// What the caps of day and period leave.
    fn cap_left(&self, rules: &Rules) -> Cents {
        let left = |cap: Option<Cents>, used: Cents| cap.map_or(Cents::MAX_INPUT, |cap| (cap - used).max(Cents::ZERO));
        let coverage = &rules.coverage;
        left(coverage.per_day, self.history.today).min(left(coverage.per_period, self.history.this_period))
    }
}

impl BasketLine {
    /// A line as it was written down, its labels by spaces.
    pub fn written(category: Category, labels: &str, amount: Cents) -> Self {
        let labels = labels.split_whitespace().filter_map(|label| label.parse().ok()).collect();
        BasketLine { category, labels, amount }
    }

    /// Its labels as they are written down.
    pub fn labels_in_order(&self) -> String {
        let mut labels: Vec<&str> = self.labels.iter().map(|label| label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.join(" ")
    }
}

impl Basket {
    /// What of it is made of some kinds of food.
    fn of(&self, categories: &[Category]) -> Cents {
        self.lines.iter().filter(|line| categories.contains(&line.category)).map(|line| line.amount).sum()
    }

    /// What of it the rules pay for.
    fn eligible(&self, rules: &Rules) -> Result<Cents> {
        if rules.eligible.categories.is_none() {
            return Ok(self.total);
        }
        if self.lines.is_empty() {
            return Err(Error::Refused(Code::LinesRequired));
        }
        let eligible: Cents = self.lines.iter().filter(|line| is_eligible(rules, line)).map(|line| line.amount).sum();
        if eligible.is_positive() { Ok(eligible) } else { Err(Error::Refused(Code::CategoryNotEligible)) }
    }

    /// The tariff that it goes by.
    fn tariff<'a>(&'a self, rules: &'a Rules, situation: &'a Situation) -> Result<Option<&'a str>> {
        let Some(chosen) = &self.tariff else { return Ok(situation.band.as_deref()) };
        let bands = rules.bands.as_ref().filter(|bands| bands.chosen_by == ChosenBy::Household);
        match bands.is_some_and(|bands| bands.tariffs.iter().any(|tariff| &tariff.code == chosen)) {
            true => Ok(Some(chosen)),
            false => Err(Error::invalid("tariff", Complaint::NoSuchTariff)),
        }
    }
}

/// What the programme covers of a basket, and whose cents pay: what the rules foresee, or what the purse and the caps still
/// hold where a part will do.
pub fn decide(rules: &Rules, situation: &Situation, basket: &Basket, now: Instant) -> Result<Decision> {
    let refusal = situation.refusal(rules, now);
    if let Some(code) = refusal.filter(|code| *code != Code::InsufficientBalance) {
        return Err(Error::Refused(code));
    }
    // before the balance: the first tap may have emptied the card, and nobody is to pay twice
    if situation.second_tap && !basket.another_purchase {
        return Err(Error::Refused(Code::AlreadyRedeemedByYou));
    }
    let price = rules.price_percent(basket.tariff(rules, situation)?);
    let eligible = basket.eligible(rules)?;
    let foreseen = foreseen(rules, price, eligible);

    let draws = draws(rules, situation, basket, foreseen.min(situation.cap_left(rules)));
    let covered: Cents = draws.iter().map(|draw| draw.amount).sum();
    if covered < foreseen && (!basket.partial || !covered.is_positive()) {
        // money that is for some food only may be there, but nobody has said what the basket is made of
        let unsaid = basket.lines.is_empty() && situation.purse.parts.iter().any(|part| is_sub_purse(rules, part));
        return match unsaid {
            true => Err(Error::Refused(Code::LinesRequired)),
            false => Err(Error::Insufficient { spendable: rules.show_balance.then_some(covered) }),
        };
    }
    let surplus = eligible.percent((price - 100).max(0));
    Ok(Decision { covered, surplus, draws, bonus: bonus(rules, situation, basket, covered) })
}

/// What the rules pay of so much eligible food at a price in percent.
fn foreseen(rules: &Rules, price: i32, eligible: Cents) -> Cents {
    let above_own_part = (eligible - rules.coverage.own_part).max(Cents::ZERO);
    let share = above_own_part.percent((100 - price).max(0));
    rules.coverage.per_redemption.map_or(share, |cap| share.min(cap))
}

/// Whether a basket may be covered by so much, with so much above the price, at some tariff of the rules: at which one it
/// was decided is not kept.
pub(super) fn is_foreseen(rules: &Rules, basket: &Basket, covered: Cents, surplus: Cents) -> bool {
    let Ok(eligible) = basket.eligible(rules) else { return false };
    let fits =
        |price: i32| covered <= foreseen(rules, price, eligible) && surplus == eligible.percent((price - 100).max(0));
    match &rules.bands {
        Some(bands) => bands.tariffs.iter().any(|tariff| fits(tariff.price_percent)),
        None => fits(rules.price_percent(None)),
    }
}

/// Whose cents pay for up to `amount` of a basket: first what is for some of its food only, then what is for any.
fn draws(rules: &Rules, situation: &Situation, basket: &Basket, amount: Cents) -> Vec<Draw> {
    let parts = &situation.purse.parts;
    let mut wanted = amount;
    let mut draws = Vec::new();
    let mut take = |from: Vec<PursePart>, most: Cents| {
        let drawn = draw(&from, situation.funding_rule, wanted.min(most));
        wanted -= drawn.iter().map(|draw| draw.amount).sum();
        draws.extend(drawn);
    };
    for sub in &rules.sub_purses {
        let own = parts.iter().filter(|part| part.purse == sub.code).cloned().collect();
        take(own, basket.of(&sub.categories));
    }
    let for_any = |part: &&PursePart| !is_sub_purse(rules, part);
    take(parts.iter().filter(for_any).cloned().collect(), amount);
    draws
}

fn is_sub_purse(rules: &Rules, part: &PursePart) -> bool {
    rules.sub_purses.iter().any(|sub| sub.code == part.purse)
}

/// What a purchase earns: a share of what was paid for such goods, as far as the period's bonus goes.
fn bonus(rules: &Rules, situation: &Situation, basket: &Basket, covered: Cents) -> Cents {
    share_earned(rules, &basket.lines, covered).min(situation.history.bonus_left)
}

/// The share that a basket earns where the period's bonus goes as far.
pub(super) fn share_earned(rules: &Rules, lines: &[BasketLine], covered: Cents) -> Cents {
    let Some(bonus) = &rules.bonus else { return Cents::ZERO };
    let counts = |line: &&BasketLine| {
        bonus.categories.contains(&line.category) || line.labels.iter().any(|label| bonus.labels.contains(label))
    };
    let eligible = || lines.iter().filter(|line| is_eligible(rules, line));
    let such: Cents = eligible().filter(counts).map(|line| line.amount).sum();
    let all: Cents = eligible().map(|line| line.amount).sum();
    // each line is paid for in the same proportion
    covered.part(such.0 * i64::from(bonus.percent), all.0 * 100)
}

fn is_eligible(rules: &Rules, line: &BasketLine) -> bool {
    rules.eligible.categories.as_ref().is_none_or(|categories| categories.contains(&line.category))
}

#[cfg(test)]
mod tests;
