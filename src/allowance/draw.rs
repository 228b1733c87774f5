//! Deciding whose cents a purchase takes. Pure: the ledger's guards enforce it.

use super::PartKey;
use super::shares::in_proportion;
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::programme::{FundingRule, purse};

/// A part that may be spent now.
#[derive(Clone, Debug)]
pub struct PursePart {
    pub key: PartKey,
    pub period: i32,
    /// What it pays for: the name of a purse in the rules.
    pub purse: String,
    /// The agreement's place among the programme's.
    pub position: i32,
    pub left: Cents,
    pub spendable_until: Instant,
}

/// So many cents of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    pub key: PartKey,
    pub amount: Cents,
}

/// Takes `amount` from the parts, or as much as they hold.
///
/// Allowances that end first go first, and what a household has paid in itself goes last, since its rest is paid back;
/// inside one, the parts give in proportion to what each has left, or in order.
pub fn draw(parts: &[PursePart], rule: FundingRule, amount: Cents) -> Vec<Draw> {
    let mut parts: Vec<&PursePart> = parts.iter().filter(|part| part.left.is_positive()).collect();
    parts.sort_by(|a, b| {
        let place = |part: &PursePart| (part.period, part.key.allowance, part.position);
        (a.period, &a.purse).cmp(&(b.period, &b.purse)).then(place(a).cmp(&place(b)))
    });
    let mut allowances: Vec<&[&PursePart]> = parts.chunk_by(|a, b| a.key.allowance == b.key.allowance).collect();
    let own = |parts: &[&PursePart]| parts[0].purse == purse::OWN;
    allowances.sort_by_key(|parts| (own(parts), parts.iter().map(|part| part.spendable_until).min(), parts[0].period));

    let mut wanted = amount;
    let mut draws = Vec::new();
    for parts in allowances {
        let held: Vec<Cents> = parts.iter().map(|part| part.left).collect();
        let taken = wanted.min(held.iter().copied().sum());
        let shares = match rule {
            FundingRule::FixedShares => in_proportion(taken, &held),
            FundingRule::Priority => in_order(taken, &held),
        };
        wanted -= taken;
        let drawn = parts.iter().zip(shares).filter(|(_, amount)| amount.is_positive());
        draws.extend(drawn.map(|(part, amount)| Draw { key: part.key, amount }));
    }
    draws
}

/// Takes `amount` from the first that has it, then the next.
pub fn in_order(amount: Cents, held: &[Cents]) -> Vec<Cents> {
    let mut wanted = amount;
    let take = |held: &Cents| {
        let taken = wanted.min(*held);
        wanted -= taken;
        taken
    };
    held.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::id::{AgreementId, AllowanceId, PartId};

    fn at(seconds: i64) -> Instant {
        Instant::from_microsecond(seconds * 1_000_000)
    }

    /// Two allowances of two parts each: the second period's ends first.
    fn purse() -> Vec<PursePart> {
        let mut parts = Vec::new();
        for (period, until) in [(1, 200), (2, 100)] {
            let allowance = AllowanceId::new(at(i64::from(period)));
            for (position, left) in [(1, 300), (2, 100)] {
                let key = PartKey { part: PartId::new(at(0)), allowance, agreement: AgreementId::new(at(0)) };
                let purse = "main".to_owned();
                parts.push(PursePart { key, period, purse, position, left: Cents(left), spendable_until: at(until) });
            }
        }
        parts
    }

    fn amounts(rule: FundingRule, amount: i64) -> Vec<(i32, i32, i64)> {
        let purse = purse();
        let place =
            |key: PartKey| purse.iter().find(|p| p.key.part == key.part).map(|p| (p.period, p.position)).unwrap();
        draw(&purse, rule, Cents(amount)).iter().map(|d| (place(d.key).0, place(d.key).1, d.amount.0)).collect()
    }

    #[test]
    fn the_allowance_that_ends_first_goes_first_and_its_parts_give_in_proportion() {
        assert_eq!(amounts(FundingRule::FixedShares, 8), [(2, 1, 6), (2, 2, 2)]);
        assert_eq!(amounts(FundingRule::FixedShares, 404), [(2, 1, 300), (2, 2, 100), (1, 1, 3), (1, 2, 1)]);
    }

    #[test]
    fn by_priority_the_first_agreement_pays_until_it_is_empty() {
        assert_eq!(amounts(FundingRule::Priority, 301), [(2, 1, 300), (2, 2, 1)]);
    }

    #[test]
    fn what_a_household_has_paid_in_goes_last_though_it_ends_first() {
        let mut purse = purse();
        purse.iter_mut().filter(|part| part.period == 2).for_each(|part| part.purse = purse::OWN.to_owned());
        let drawn = draw(&purse, FundingRule::Priority, Cents(401));
        assert_eq!(drawn.iter().map(|d| d.amount.0).collect::<Vec<_>>(), [300, 100, 1]);
        assert_eq!(drawn.last().map(|d| d.key), Some(purse[2].key));
    }

    #[test]
    fn no_more_is_drawn_than_there_is() {
        let drawn: i64 = amounts(FundingRule::FixedShares, 10_000).iter().map(|d| d.2).sum();
        assert_eq!(drawn, 800);
    }
}
