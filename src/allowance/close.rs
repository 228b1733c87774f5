//! Giving money back: when a window ends, when a household leaves, when a void comes late.

use std::collections::BTreeMap;

use super::{State, bonus, lock, lock_all, own, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::{self, Programme, Rules, purse};

/// Some enrolments with a part whose time is over, in order of id.
pub fn enrolments_to_close(
    conn: &mut Conn,
    now: Instant,
    after: Option<EnrolmentId>,
    limit: i64,
) -> Result<Vec<EnrolmentId>> {
    store::enrolments_to_close(conn, now, after, limit)
}

/// Returns what is left of every part of some enrolments whose time is over; returns how many parts were closed.
pub fn close(conn: &mut Conn, now: Instant, enrolments: &[EnrolmentId]) -> Result<usize> {
    lock_all(conn, enrolments)?;
    bonus::lose_closed(conn, now, enrolments)?;
    let parts = store::open_parts(conn, enrolments, Some(now))?;
    return_parts(conn, now, &parts)
}

/// Takes back every promise not yet issued, and with `issued` also what was issued and is not spent. What was earned of a
/// bonus is still granted when it matures, unless what is issued is given back as well; what the household has paid in
/// itself is paid back in any case. False where nothing was left to take.
pub fn release(conn: &mut Conn, now: Instant, enrolment: EnrolmentId, issued: bool) -> Result<bool> {
    lock(conn, enrolment)?;
    let promised: Vec<_> =
        store::allowances(conn, enrolment)?.into_iter().filter(|a| a.state != State::Released).collect();
    let mut parts = store::parts_of(conn, &promised)?;
    let kept = bonus::kept(conn, now, &promised, &parts, issued)?;
    let is_kept = |part: &store::Part| kept.contains_key(&part.id);
    for allowance in promised.iter().filter(|allowance| allowance.state == State::Committed) {
        if !parts.iter().any(|part| part.allowance_id == allowance.id && is_kept(part)) {
            store::settle(conn, allowance.id, State::Released, None)?;
        }
    }
    parts.retain(|part| part.committed() > kept.get(&part.id).copied().unwrap_or_default());
    let entries = release_parts(conn, now, &parts, &kept)?;
    ledger::post(conn, now, &entries)?;
    let mut open = store::open_parts(conn, &[enrolment], None)?;
    if !issued {
        let is_own = |id| promised.iter().any(|allowance| allowance.id == id && allowance.purse == purse::OWN);
        open.retain(|part| is_own(part.allowance_id));
    }
    let returned = return_parts(conn, now, &open)?;
    Ok(!parts.is_empty() || returned > 0)
}

/// Takes back what is still promised of some parts, but for what is `kept`; the transfers are still to be posted.
fn release_parts(
    conn: &mut Conn,
    now: Instant,
    parts: &[store::Part],
    kept: &BTreeMap<PartId, Cents>,
) -> Result<Vec<Entry>> {
    let agreements: Vec<AgreementId> = parts.iter().map(|part| part.agreement_id).collect();
    let accounts = ledger::agreement_accounts(conn, &agreements)?;
    let mut entries = Vec::new();
    for part in parts {
        let amount = part.committed() - kept.get(&part.id).copied().unwrap_or_default();
        if !amount.is_positive() {
            continue;
        }
        store::release_part(conn, part.id, amount)?;
        let (agreement, _) = accounts[&part.agreement_id];
        entries.push(Entry {
            debit: agreement.committed,
            credit: agreement.available,
            agreement: part.agreement_id,
            amount,
            code: TransferCode::Release,
            reference: part.allowance_id.cast(),
            reverses: None,
            occurred_at: now,
        });
    }
    Ok(entries)
}

/// Returns what came back to some parts after they had closed; others keep it.
pub fn return_closed(conn: &mut Conn, now: Instant, parts: &[PartId]) -> Result<()> {
    let closed = store::closed_parts(conn, parts)?;
    return_parts(conn, now, &closed)?;
    Ok(())
}

fn return_parts(conn: &mut Conn, now: Instant, parts: &[store::Part]) -> Result<usize> {
    let agreements: Vec<AgreementId> = parts.iter().map(|part| part.agreement_id).collect();
    let accounts = ledger::agreement_accounts(conn, &agreements)?;
    let balances = ledger::balances(conn, &parts.iter().map(|part| part.id.cast()).collect::<Vec<_>>())?;
    // what of a bonus was never earned
    let mut entries = release_parts(conn, now, parts, &BTreeMap::new())?;
    let ids: Vec<AllowanceId> = parts.iter().map(|part| part.allowance_id).collect();
    let paid_in = own::contributions(conn, &ids)?;
    for part in parts {
        store::shut_part(conn, part.id)?;
        let left = balances.get(&part.id.cast()).copied().unwrap_or_default();
        if left.is_positive() {
            entries.push(Entry {
                debit: part.id.cast(),
                credit: accounts[&part.agreement_id].0.available,
                agreement: part.agreement_id,
                amount: left,
                code: TransferCode::Return,
                reference: part.allowance_id.cast(),
                reverses: None,
                occurred_at: now.min(part.spendable_until),
            });
            // what the household has paid in itself is paid back to it
            if let Some(contribution) = paid_in.get(&part.allowance_id) {
                let (agreement, _) = accounts[&part.agreement_id];
                entries.push(Entry {
                    debit: agreement.available,
                    credit: agreement.funder,
                    agreement: part.agreement_id,
                    amount: left,
                    code: TransferCode::Refund,
                    reference: contribution.cast(),
                    reverses: None,
                    occurred_at: now.min(part.spendable_until),
                });
            }
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(parts.len())
}

/// Makes a part spendable again after a void gave it money back, if its own window is over or was given up: for the
/// rules' days of grace from now, and never past its agreement's own end.
pub fn restore(conn: &mut Conn, now: Instant, programme: &Programme, rules: &Rules, part: PartId) -> Result<()> {
    let (part, starts_on, closes_at) = store::part(conn, part)?;
    let zone = programme.zone()?;
    let agreements = programme::agreements_of(conn, programme.id)?;
    let agreement = agreements.iter().find(|agreement| agreement.id == part.agreement_id);
    let end = agreement.map_or(closes_at, |agreement| agreement.spendable_until(&zone));
    let own = closes_at.min(end);
    // whoever has left has given its own window up, and only an earlier void's grace stands
    let given_up = !part.open || part.spendable_until < own;
    if now < own && !given_up {
        return Ok(());
    }
    let grace = rules.grace_until(&zone, starts_on, now);
    // an earlier void's grace is not cut short
    let granted = if part.open { part.spendable_until } else { now };
    // nor ends it before what is still set aside of it
    let waits = store::set_aside_until(conn, part.id)?.unwrap_or(granted);
    store::reopen_part(conn, part.id, grace.min(end).max(granted).max(waits))
}
