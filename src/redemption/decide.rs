//! The decision at the till, as a pure function. The ledger's guards enforce it; they are not a second opinion.

use crate::allowance::Purse;
use crate::enrolment;
use crate::kit::error::{Code, Error, Result};
use crate::kit::money::Cents;
use crate::producer::ApplicationState;
use crate::voucher;

#[derive(Clone, Debug)]
pub struct Basket {
    pub total: Cents,
    /// Whether the household may pay a rest itself.
    pub partial: bool,
    /// The seller says that this is no second tap.
    pub another_purchase: bool,
}

/// All that the decision depends on, as it stands under the purse's lock.
#[derive(Clone, Debug)]
pub struct Situation {
    pub stall_open: bool,
    pub approval: Option<ApplicationState>,
    pub voucher: voucher::State,
    pub enrolment: enrolment::State,
    pub purse: Purse,
    /// The same basket was redeemed here a moment ago.
    pub second_tap: bool,
    pub show_balance: bool,
}

impl Situation {
    /// Why nothing at all can be redeemed; the seller's own standing first, so that a stranger learns nothing of a card.
    pub fn refusal(&self) -> Option<Code> {
        let refusal = match (self.approval, self.voucher) {
            _ if !self.stall_open => Code::StallClosed,
            (Some(ApplicationState::Suspended), _) => Code::ProducerSuspended,
            (approval, _) if approval != Some(ApplicationState::Approved) => Code::ProducerNotApproved,
            (_, voucher::State::Blocked) => Code::VoucherBlocked,
            (_, voucher::State::Replaced) => Code::VoucherReplaced,
            _ if self.enrolment == enrolment::State::Suspended => Code::VoucherSuspended,
            _ if self.purse.over => Code::VoucherExpired,
            _ if !self.purse.started => Code::NotStarted,
            _ if !self.purse.spendable().is_positive() => Code::InsufficientBalance,
            _ => return None,
        };
        Some(refusal)
    }
}

/// What the programme covers of a basket: all of it, or what the purse holds where a part will do.
pub fn decide(situation: &Situation, basket: &Basket) -> Result<Cents> {
    let spendable = situation.purse.spendable();
    let refusal = situation.refusal();
    if let Some(code) = refusal.filter(|code| *code != Code::InsufficientBalance) {
        return Err(Error::Refused(code));
    }
    // before the balance: the first tap may have emptied the card, and nobody is to pay twice
    if situation.second_tap && !basket.another_purchase {
        return Err(Error::Refused(Code::AlreadyRedeemedByYou));
    }
    if refusal.is_some() || (basket.total > spendable && !basket.partial) {
        return Err(Error::Insufficient { spendable: situation.show_balance.then_some(spendable) });
    }
    Ok(basket.total.min(spendable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowance::{PartKey, PursePart};
    use crate::kit::id::{AgreementId, AllowanceId, PartId};
    use crate::kit::time::Instant;

    fn situation(left: i64) -> Situation {
        let now = Instant::from_microsecond(0);
        let key =
            PartKey { part: PartId::new(now), allowance: AllowanceId::new(now), agreement: AgreementId::new(now) };
        let part = PursePart { key, period: 1, position: 1, left: Cents(left), spendable_until: now.plus_seconds(1) };
        Situation {
            stall_open: true,
            approval: Some(ApplicationState::Approved),
            voucher: voucher::State::Active,
            enrolment: enrolment::State::Active,
            purse: Purse { parts: vec![part], started: true, over: false },
            second_tap: false,
            show_balance: false,
        }
    }

    fn basket(total: i64, partial: bool) -> Basket {
        Basket { total: Cents(total), partial, another_purchase: false }
    }

    #[test]
    fn a_basket_is_covered_whole_or_as_far_as_the_purse_goes_where_a_part_will_do() {
        assert_eq!(decide(&situation(6000), &basket(6000, false)), Ok(Cents(6000)));
        assert_eq!(decide(&situation(6000), &basket(6001, true)), Ok(Cents(6000)));
        assert_eq!(decide(&situation(6000), &basket(6001, false)), Err(Error::Insufficient { spendable: None }));
        assert_eq!(decide(&situation(0), &basket(1, true)), Err(Error::Insufficient { spendable: None }));
        let shown = Situation { show_balance: true, ..situation(5) };
        assert_eq!(decide(&shown, &basket(6, false)), Err(Error::Insufficient { spendable: Some(Cents(5)) }));
    }

    #[test]
    fn a_producer_who_is_not_approved_learns_nothing_of_the_card() {
        for approval in [None, Some(ApplicationState::Applied), Some(ApplicationState::Refused)] {
            let s = Situation { approval, voucher: voucher::State::Blocked, ..situation(0) };
            assert_eq!(decide(&s, &basket(1, true)), Err(Error::Refused(Code::ProducerNotApproved)));
        }
    }

    #[test]
    fn a_second_tap_is_caught_unless_the_seller_says_it_is_another_purchase() {
        let drained = Situation { second_tap: true, ..situation(0) };
        assert_eq!(decide(&drained, &basket(1, true)), Err(Error::Refused(Code::AlreadyRedeemedByYou)));
        let s = Situation { second_tap: true, ..situation(100) };
        assert_eq!(decide(&s, &basket(1, false)), Err(Error::Refused(Code::AlreadyRedeemedByYou)));
        assert_eq!(decide(&s, &Basket { another_purchase: true, ..basket(1, false) }), Ok(Cents(1)));
    }
}
