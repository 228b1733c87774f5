//! What a household has paid in and keeps: an allowance of its own, issued at once.

use std::collections::BTreeSet;

use super::{Allowance, State, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Zone};
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::{Agreement, Period, purse};

/// The periods that a household has paid a contribution for.
pub fn paid_for(conn: &mut Conn, enrolment: EnrolmentId) -> Result<BTreeSet<i32>> {
    store::paid_for(conn, enrolment)
}

/// Lets money that a period's contribution was waited for be issued. The purse is locked.
pub fn wait_no_longer(conn: &mut Conn, enrolment: EnrolmentId, period: i32) -> Result<()> {
    store::wait_no_longer(conn, enrolment, period)
}

/// Commits and issues what a household has paid into the pot for itself, in the window of one of its periods. The purse
/// is locked, and the pot holds the amount.
pub fn pay_in(
    conn: &mut Conn,
    now: Instant,
    zone: &Zone,
    enrolment: EnrolmentId,
    period: &Period,
    pot: &Agreement,
    amount: Cents,
) -> Result<AllowanceId> {
    let allowance = Allowance {
        id: AllowanceId::new(now),
        enrolment_id: enrolment,
        period: period.number,
        starts_on: period.starts_on,
        ends_on: period.ends_on,
        opens_at: period.opens_at,
        closes_at: period.closes_at,
        amount_cents: amount,
        state: State::Issued,
        funding_set_id: None,
        issued_at: Some(now),
        purse: purse::OWN.to_owned(),
        waits: false,
    };
    let part = PartId::new(now);
    let spendable_until = period.closes_at.min(pot.spendable_until(zone));
    store::insert_allowance(conn, &allowance)?;
    store::insert_part(conn, part, allowance.id, pot, amount, spendable_until)?;
    store::issue_part(conn, part, amount)?;
    let (accounts, _) = ledger::agreement_accounts(conn, &[pot.id])?[&pot.id];
    let own = ledger::open_part(conn, part, pot.id)?;
    let entry = |code, debit, credit| Entry {
        debit,
        credit,
        agreement: pot.id,
        amount,
        code,
        reference: allowance.id.cast(),
        reverses: None,
        occurred_at: now,
    };
    let commit = entry(TransferCode::Commit, accounts.available, accounts.committed);
    let issue = entry(TransferCode::Issue, accounts.committed, own);
    ledger::post(conn, now, &[commit, issue])?;
    Ok(allowance.id)
}
