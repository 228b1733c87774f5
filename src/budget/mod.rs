//! Where a programme's money stands, and when it runs out.

pub mod api;

use crate::access::{self, Actor};
use crate::allowance;
use crate::db::Conn;
use crate::enrolment;
use crate::kit::error::Result;
use crate::kit::id::{OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Month};
use crate::ledger::{self, TransferCode};
use crate::programme::{self, Agreement, AgreementKind};

/// How many days of promises make the present pace.
const PACE_DAYS: i64 = 90;

/// One agreement's money, or a programme's;
/// `granted + contributed + pooled - refunded = available + committed + issued - returned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Money {
    pub granted: Cents,
    /// Paid in by households,
    pub contributed: Cents,
    /// and paid back to them.
    pub refunded: Cents,
    /// Paid above the price, and in the pot;
    pub pooled: Cents,
    /// of purchases that may still be undone.
    pub surplus: Cents,
    /// Free to be promised.
    pub available: Cents,
    /// Promised for periods that have not opened.
    pub committed: Cents,
    pub issued: Cents,
    /// Net of voids.
    pub redeemed: Cents,
    pub returned: Cents,
    /// In households' hands: issued, neither redeemed nor returned.
    pub outstanding: Cents,
}

impl Money {
    fn of(conn: &mut Conn, agreement: &Agreement) -> Result<Money> {
        let totals = ledger::totals(conn, agreement.id, None, None)?;
        let of = |code| totals.of(code);
        let redeemed = of(TransferCode::Redeem) - of(TransferCode::Void);
        let (issued, returned) = (of(TransferCode::Issue), of(TransferCode::Return));
        let promised = of(TransferCode::Commit) - of(TransferCode::Release);
        let (granted, contributed) = (of(TransferCode::Grant), of(TransferCode::Contribute));
        let (refunded, pooled) = (of(TransferCode::Refund), of(TransferCode::Pool));
        Ok(Money {
            granted,
            contributed,
            refunded,
            pooled,
            surplus: of(TransferCode::Collect) - totals.given_back() - pooled,
            available: granted + contributed + pooled - refunded - promised + returned,
            committed: promised - issued,
            issued,
            redeemed,
            returned,
            outstanding: issued - redeemed - returned,
        })
    }
}

impl std::ops::AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        self.granted += other.granted;
        self.contributed += other.contributed;
        self.refunded += other.refunded;
        self.pooled += other.pooled;
        self.surplus += other.surplus;
        self.available += other.available;
        self.committed += other.committed;
        self.issued += other.issued;
        self.redeemed += other.redeemed;
        self.returned += other.returned;
        self.outstanding += other.outstanding;
    }
}

#[derive(Clone, Debug)]
pub struct Budget {
    pub total: Money,
    pub agreements: Vec<(Agreement, Money)>,
    /// What producers have collected for the common pot.
    pub held: Vec<(OrganisationId, String, Cents)>,
    /// How many enrolments are in each state.
    pub enrolments: Vec<(enrolment::State, i64)>,
    /// Cents newly promised a day, net of what came back, over the last 90 days (or since the first promise).
    pub daily_pace: Cents,
    /// The month in which, at that pace, nothing is left to promise; none if nothing is being promised.
    pub runs_out_in: Option<Month>,
}

pub fn budget(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId) -> Result<Budget> {
    let programme = programme::readable(conn, actor, id)?;
    let since = now.plus_seconds(-PACE_DAYS * 86_400);
    let (mut total, mut promised, mut agreements) = (Money::default(), Cents::ZERO, Vec::new());
    let mut first = None;
    for agreement in programme::agreements_of(conn, id)? {
        let money = Money::of(conn, &agreement)?;
        let recent = ledger::totals(conn, agreement.id, Some(since), None)?;
        promised +=
            recent.of(TransferCode::Commit) - recent.of(TransferCode::Release) - recent.of(TransferCode::Return);
        if agreement.kind == AgreementKind::Pot {
            // a household's own money is promised by nobody
            promised -= allowance::own_moved(conn, agreement.id, TransferCode::Commit, since)?;
            promised += allowance::own_moved(conn, agreement.id, TransferCode::Return, since)?;
        }
        let first_here = ledger::first(conn, agreement.id, TransferCode::Commit)?;
        first = first.into_iter().chain(first_here).min();
        total += money;
        agreements.push((agreement, money));
    }
    let first = first.unwrap_or(now).max(since);
    let days = ((now.as_second() - first.as_second()) / 86_400).clamp(1, PACE_DAYS);
    let daily_pace = Cents(promised.0.max(0) / days);
    let today = programme.zone()?.day_of(now);
    // what an agreement that is over has left can no longer be promised
    let live = agreements.iter().filter(|(a, _)| a.ends_on >= today);
    let promisable = live.map(|(_, money)| money.available).sum();
    let runs_out_in = runs_out(promisable, daily_pace).map(|days| today.plus_days(days).month());
    let held = held(conn, &agreements)?;
    Ok(Budget { total, agreements, held, enrolments: enrolment::counts(conn, id)?, daily_pace, runs_out_in })
}

/// What each producer has collected for the pot among some agreements, by name.
fn held(conn: &mut Conn, agreements: &[(Agreement, Money)]) -> Result<Vec<(OrganisationId, String, Cents)>> {
    let mut held = Vec::new();
    for (pot, _) in agreements.iter().filter(|(agreement, _)| agreement.kind == AgreementKind::Pot) {
        for (producer, amount) in ledger::held(conn, pot.id)? {
            held.push((producer, access::organisation_name(conn, producer)?, amount));
        }
    }
    held.retain(|(_, _, amount)| amount.is_positive());
    held.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
    Ok(held)
}

/// In how many days nothing is left; none if the pace never gets there within some decades.
fn runs_out(available: Cents, daily_pace: Cents) -> Option<i32> {
    if available == Cents::ZERO {
        return Some(0);
    }
    let days = available.0.checked_div(daily_pace.0)?;
    i32::try_from(days).ok().filter(|days| *days < 40_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_runs_out_when_the_pace_has_eaten_it_and_never_without_a_pace() {
        assert_eq!(runs_out(Cents(10_000), Cents(1_000)), Some(10));
        assert_eq!(runs_out(Cents(10_001), Cents(1_000)), Some(10));
        assert_eq!(runs_out(Cents(0), Cents(0)), Some(0));
        assert_eq!(runs_out(Cents(1), Cents(0)), None);
        assert_eq!(runs_out(Cents(999_999_999_999), Cents(1)), None);
    }
}
