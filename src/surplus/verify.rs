//! Every surplus against its purchase and the transfers that moved it.

use std::collections::BTreeMap;

use super::State;
use super::store::{self, Known};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AccountId, AgreementId, OrganisationId};
use crate::kit::money::Cents;
use crate::ledger::{self, AccountKind, Finding, Transfer, TransferCode};

/// Surpluses read at a time.
const PAGE: i64 = 500;

/// Returns how many surpluses there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last, mut moved) = (0, None, 0);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.surplus.redemption_id);
        count += page.len();
        let references: Vec<_> = page.iter().map(|known| known.surplus.redemption_id.cast()).collect();
        let transfers = ledger::transfers_of_all(conn, &references)?;
        let collected = transfers.iter().filter(|t| t.code == TransferCode::Collect);
        let holders =
            ledger::producers_of(conn, AccountKind::Held, &collected.map(|t| t.debit_account).collect::<Vec<_>>())?;
        for known in &page {
            let own: Vec<&Transfer> =
                transfers.iter().filter(|t| t.reference == known.surplus.redemption_id.cast()).collect();
            moved += own.iter().filter(|t| matches!(t.code, TransferCode::Collect | TransferCode::Pool)).count();
            let wrong = wrong(known, &own, &holders);
            findings.extend(wrong.map(|what| Finding::new("surpluses", known.surplus.redemption_id, what)));
        }
    }
    let journalled = ledger::count(conn, &[TransferCode::Collect, TransferCode::Pool])?;
    if i64::try_from(moved) != Ok(journalled) {
        let what = format!("{journalled} are in the journal, {moved} belong to a surplus");
        findings.push(Finding::new("transfers", "collect, pool", what));
    }
    let bought = store::bought(conn)?;
    if i64::try_from(count) != Ok(bought) {
        findings.push(Finding::new("surpluses", "all", format!("{count} are there, but {bought} purchases have one")));
    }
    Ok(count)
}

fn wrong(
    known: &Known,
    transfers: &[&Transfer],
    holders: &BTreeMap<AccountId, (AgreementId, OrganisationId)>,
) -> Option<String> {
    let Known { surplus, amount, void_until, producer, voided } = known;
    let of = |code| transfers.iter().filter(move |t| t.code == code);
    let sum = |code| of(code).map(|t| t.amount_cents).sum::<Cents>();
    let pooled = if surplus.state == State::Pooled { surplus.amount_cents } else { Cents::ZERO };
    let is_right = |t: &&&Transfer| holders.get(&t.debit_account) == Some(&(surplus.agreement_id, *producer));
    let wrong = if surplus.amount_cents != *amount || sum(TransferCode::Collect) != *amount {
        format!(
            "is {} of a purchase with {amount}, and {} was collected",
            surplus.amount_cents,
            sum(TransferCode::Collect)
        )
    } else if !of(TransferCode::Collect).all(|t| is_right(&t)) {
        "is held by another producer, or for another pot".to_owned()
    } else if surplus.matures_at != *void_until {
        format!("matures at another moment than {void_until}")
    } else if *voided != (surplus.state == State::GivenBack) {
        format!("is {} but its purchase was {}", surplus.state, if *voided { "undone" } else { "not undone" })
    } else if sum(TransferCode::Pool) != pooled {
        format!("is {} but {} went into the pot", surplus.state, sum(TransferCode::Pool))
    } else if of(TransferCode::Pool)
        .any(|t| t.recorded_at < surplus.matures_at || Some(t.recorded_at) != surplus.settled_at)
    {
        "went into the pot at another moment than it says, or before it matured".to_owned()
    } else {
        return None;
    };
    Some(wrong)
}
