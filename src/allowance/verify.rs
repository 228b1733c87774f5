//! Every allowance against the transfers that made it.

use std::collections::BTreeMap;

use super::shares::dealt;
use super::{Allowance, State, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AccountId, AgreementId};
use crate::kit::money::Cents;
use crate::ledger::{self, Finding, Transfer, TransferCode};

/// Allowances read at a time.
const PAGE: i64 = 500;

/// Returns how many allowances there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let mut committed = BTreeMap::<AgreementId, Cents>::new();
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::allowances_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let parts = store::committed_parts(conn, &page)?;
        let accounts: Vec<AccountId> = parts.iter().map(|part| part.id.cast()).collect();
        let balances = ledger::balances(conn, &accounts)?;
        let transfers = ledger::transfers_of_all(conn, &page.iter().map(|a| a.id.cast()).collect::<Vec<_>>())?;
        for allowance in &page {
            let parts: Vec<&store::Part> = parts.iter().filter(|part| part.allowance_id == allowance.id).collect();
            let whole: Cents = parts.iter().map(|part| part.amount_cents).sum();
            if whole != allowance.amount_cents {
                let what = format!("is {} but its parts are {whole}", allowance.amount_cents);
                findings.push(Finding::new("allowances", allowance.id, what));
            }
            for part in parts {
                if allowance.state == State::Committed {
                    *committed.entry(part.agreement_id).or_default() += part.amount_cents;
                }
                let own = |t: &&Transfer| t.reference == allowance.id.cast() && t.agreement_id == part.agreement_id;
                let own: Vec<&Transfer> = transfers.iter().filter(own).collect();
                verify_part(allowance, part, &own, balances.get(&part.id.cast()).copied(), findings);
            }
        }
    }
    for (agreement, (accounts, _)) in ledger::agreement_accounts(conn, &committed.keys().copied().collect::<Vec<_>>())?
    {
        let held = ledger::balances(conn, &[accounts.committed])?.remove(&accounts.committed).unwrap_or_default();
        if held != committed[&agreement] {
            let what = format!("has {held} committed but its promises are {}", committed[&agreement]);
            findings.push(Finding::new("agreements", agreement, what));
        }
    }
    verify_sets(conn, findings)?;
    Ok(count)
}

fn verify_part(
    allowance: &Allowance,
    part: &store::Part,
    transfers: &[&Transfer],
    balance: Option<Cents>,
    findings: &mut Vec<Finding>,
) {
    let of = |code| transfers.iter().filter(|t| t.code == code).map(|t| t.amount_cents).sum::<Cents>();
    let amount = part.amount_cents;
    let (issued, released) = match allowance.state {
        State::Committed => (Cents::ZERO, Cents::ZERO),
        State::Issued => (amount, Cents::ZERO),
        State::Released => (Cents::ZERO, amount),
    };
    let expected = [(TransferCode::Commit, amount), (TransferCode::Issue, issued), (TransferCode::Release, released)];
    for (code, expected) in expected {
        if of(code) != expected {
            let what = format!(
                "of a {} allowance: {code} should be {expected}, the journal says {}",
                allowance.state,
                of(code)
            );
            findings.push(Finding::new("allowance_parts", part.id, what));
        }
    }
    if balance.is_some() != (allowance.state == State::Issued) {
        findings.push(Finding::new(
            "allowance_parts",
            part.id,
            "has an account without being issued, or none though it is",
        ));
    }
    if balance > Some(amount) {
        findings.push(Finding::new("allowance_parts", part.id, "holds more than it was issued with"));
    }
    if !part.open && balance.is_some_and(Cents::is_positive) {
        findings.push(Finding::new("allowance_parts", part.id, "is closed but holds money"));
    }
}

/// No agreement has drifted from its share.
fn verify_sets(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<()> {
    for (set, name, cumulated) in store::funding_sets(conn)? {
        let promised = store::promised_by(conn, set)?;
        let (agreements, weights): (Vec<AgreementId>, Vec<i32>) = store::set_members(&name)?.into_iter().unzip();
        for (agreement, share) in agreements.into_iter().zip(dealt(cumulated, &weights)) {
            let sum = promised.get(&agreement).copied().unwrap_or_default();
            if sum != share {
                let what = format!("{agreement} should have promised {share} of {cumulated}, not {sum}");
                findings.push(Finding::new("funding_sets", set, what));
            }
        }
    }
    Ok(())
}
