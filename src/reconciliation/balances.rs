//! What an agreement's accounts hold together at one moment.

use super::store;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::AgreementId;
use crate::kit::money::Cents;
use crate::ledger::{AccountKind, Totals, TransferCode};

#[derive(Clone, Copy, Debug, Default)]
pub struct Balances {
    pub available: Cents,
    pub committed: Cents,
    /// What households hold, set aside or not.
    pub outstanding: Cents,
    pub payable: Cents,
    pub surplus: Cents,
    /// What producers have collected, and owe: their accounts are below zero by it.
    pub held: Cents,
}

impl Balances {
    /// Now. Households have very many accounts, which hold what all others together lack: no cent leaves an agreement.
    pub fn held(conn: &mut Conn, agreement: AgreementId) -> Result<Self> {
        let held = store::held_by_others(conn, agreement)?;
        let of = |kind| held.get(&kind).copied().unwrap_or_default();
        Ok(Balances {
            available: of(AccountKind::Available),
            committed: of(AccountKind::Committed),
            outstanding: -held.values().copied().sum::<Cents>(),
            payable: of(AccountKind::Payable),
            surplus: of(AccountKind::Surplus),
            held: -of(AccountKind::Held),
        })
    }

    /// What so many transfers bring to each.
    fn brought(t: &Totals) -> Self {
        use TransferCode::*;
        let paid_in = t.of(Grant) + t.of(Contribute) + t.of(Pool) - t.of(Refund);
        Balances {
            available: paid_in - t.of(Commit) + t.of(Release) + t.of(Return),
            committed: t.of(Commit) - t.of(Release) - t.of(Issue),
            outstanding: t.of(Issue) - t.of(Redeem) + t.of(Void) - t.of(Return),
            payable: t.of(Redeem) - t.of(Void),
            surplus: t.of(Collect) - t.given_back() - t.of(Pool),
            held: t.of(Collect) - t.given_back(),
        }
    }

    pub fn after(self, moved: &Totals) -> Self {
        self.with(Self::brought(moved), |before, brought| before + brought)
    }

    pub fn before(self, moved: &Totals) -> Self {
        self.with(Self::brought(moved), |after, brought| after - brought)
    }

    fn with(self, other: Self, each: impl Fn(Cents, Cents) -> Cents) -> Self {
        Balances {
            available: each(self.available, other.available),
            committed: each(self.committed, other.committed),
            outstanding: each(self.outstanding, other.outstanding),
            payable: each(self.payable, other.payable),
            surplus: each(self.surplus, other.surplus),
            held: each(self.held, other.held),
        }
    }

    pub fn by_kind(&self) -> [(AccountKind, Cents); 6] {
        [
            (AccountKind::Available, self.available),
            (AccountKind::Committed, self.committed),
            (AccountKind::Allowance, self.outstanding),
            (AccountKind::Payable, self.payable),
            (AccountKind::Surplus, self.surplus),
            (AccountKind::Held, self.held),
        ]
    }
}
