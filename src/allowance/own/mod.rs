//! What a household has paid in: an allowance of its own, issued at once, or money for the pot, which it gets back for
//! periods of which it had nothing.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use super::{Allowance, State, store as allowance_store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, ContributionId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Zone};
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::{Agreement, Period, purse};

/// The contributions that some allowances were paid in by; others are left out.
pub(super) fn contributions(conn: &mut Conn, of: &[AllowanceId]) -> Result<BTreeMap<AllowanceId, ContributionId>> {
    store::contributions(conn, of)
}

/// The periods that a household has paid a contribution for.
pub fn paid_for(conn: &mut Conn, enrolment: EnrolmentId) -> Result<BTreeSet<i32>> {
    store::paid_for(conn, enrolment)
}

/// What transfers of a code have moved of an agreement since an instant, of households' own money.
pub fn own_moved(conn: &mut Conn, agreement: AgreementId, code: TransferCode, since: Instant) -> Result<Cents> {
    store::moved(conn, agreement, code, since)
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
    allowance_store::insert_allowance(conn, &allowance)?;
    allowance_store::insert_part(conn, part, allowance.id, pot, amount, spendable_until)?;
    allowance_store::issue_part(conn, part, amount)?;
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

/// Pays back to a household that leaves, or has left, what it has put into the pot for periods of which it had nothing:
/// their windows were not over, and no money of theirs was issued or all of it was given back in time. True where
/// something was paid back.
///
/// What the pot has promised to others meanwhile stays owed, and is paid back when the household leaves once more.
pub fn pay_back(conn: &mut Conn, now: Instant, enrolment: EnrolmentId, left_at: Instant) -> Result<bool> {
    let paid = store::into_pot(conn, enrolment)?;
    let Some(pot) = paid.first().map(|contribution| contribution.agreement_id) else { return Ok(false) };
    let mut promised = allowance_store::allowances(conn, enrolment)?;
    promised.retain(|a| a.is_given() && a.purse != purse::OWN);
    let issued: Vec<&Allowance> = promised.iter().filter(|a| a.state == State::Issued).collect();
    let references = issued.iter().map(|a| a.id.cast()).chain(paid.iter().map(|c| c.id.cast())).collect::<Vec<_>>();
    let (mut given_back, mut refunded) = (BTreeMap::<_, Cents>::new(), BTreeMap::<_, Cents>::new());
    for transfer in ledger::transfers_of_all(conn, &references)? {
        let in_time = |a: &&&Allowance| a.id == transfer.reference.cast() && transfer.recorded_at < a.closes_at;
        if transfer.code == TransferCode::Refund {
            *refunded.entry(transfer.reference).or_default() += transfer.amount_cents;
        } else if let Some(of) = issued.iter().find(in_time).filter(|_| transfer.code == TransferCode::Return) {
            *given_back.entry(of.id).or_default() += transfer.amount_cents;
        }
    }
    let is_had = |a: &&Allowance| {
        let kept = given_back.get(&a.id).copied().unwrap_or_default() < a.amount_cents;
        a.closes_at <= left_at || a.state == State::Issued && kept
    };
    let had: BTreeSet<i32> = promised.iter().filter(is_had).map(|a| a.period).collect();
    let (accounts, mut available) = ledger::agreement_accounts(conn, &[pot])?[&pot];
    let mut entries = Vec::new();
    for contribution in paid.iter().filter(|contribution| !had.contains(&contribution.period)) {
        let owed = contribution.amount_cents - refunded.get(&contribution.id.cast()).copied().unwrap_or_default();
        let amount = owed.min(available);
        available -= amount;
        if amount.is_positive() {
            entries.push(Entry {
                debit: accounts.available,
                credit: accounts.funder,
                agreement: pot,
                amount,
                code: TransferCode::Refund,
                reference: contribution.id.cast(),
                reverses: None,
                occurred_at: now,
            });
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(!entries.is_empty())
}
