//! Every purchase against the transfers that paid it.

use super::{Purchase, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::money::Cents;
use crate::ledger::{self, Finding, Transfer, TransferCode};

/// Redemptions read at a time.
const PAGE: i64 = 500;

/// Returns how many redemptions there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last, mut paid) = (0, None, 0);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let transfers = ledger::transfers_of_all(conn, &page.iter().map(|r| r.id.cast()).collect::<Vec<_>>())?;
        paid += transfers.len();
        for purchase in store::complete(conn, page)? {
            let own: Vec<&Transfer> =
                transfers.iter().filter(|t| t.reference == purchase.redemption.id.cast()).collect();
            for what in wrong(&purchase, &own) {
                findings.push(Finding::new("redemptions", purchase.redemption.id, what));
            }
        }
    }
    let journalled = ledger::count(conn, &[TransferCode::Redeem, TransferCode::Void])?;
    if i64::try_from(paid) != Ok(journalled) {
        let what = format!("{journalled} purchases and voids are in the journal, {paid} belong to a redemption");
        findings.push(Finding::new("transfers", "redeem, void", what));
    }
    Ok(count)
}

fn wrong(purchase: &Purchase, transfers: &[&Transfer]) -> Vec<String> {
    let Purchase { redemption, lines, void } = purchase;
    let of = |code| transfers.iter().copied().filter(move |t| t.code == code);
    let sum = |code| of(code).map(|t| t.amount_cents).sum::<Cents>();
    let mut wrong = Vec::new();
    if sum(TransferCode::Redeem) != redemption.covered_cents {
        wrong.push(format!("covers {} but {} was paid", redemption.covered_cents, sum(TransferCode::Redeem)));
    }
    if of(TransferCode::Redeem).any(|t| t.recorded_at != redemption.recorded_at) {
        wrong.push("was recorded at another moment than its transfers".to_owned());
    }
    let listed: Cents = lines.iter().map(|line| line.amount_cents).sum();
    if !lines.is_empty() && listed != redemption.basket_cents {
        wrong.push(format!("is a basket of {} but its lines are {listed}", redemption.basket_cents));
    }
    let undone = |paid: &Transfer| {
        of(TransferCode::Void).any(|v| {
            v.reverses == Some(paid.id)
                && (v.debit_account, v.credit_account) == (paid.credit_account, paid.debit_account)
                && v.amount_cents == paid.amount_cents
        })
    };
    match void {
        Some(_) if !of(TransferCode::Redeem).all(undone) => {
            wrong.push("was voided but not all of it came back".to_owned())
        }
        Some(void) if void.recorded_at >= redemption.void_until => wrong.push("was voided after its window".to_owned()),
        None if of(TransferCode::Void).next().is_some() => {
            wrong.push("came back without having been voided".to_owned())
        }
        _ => {}
    }
    wrong
}
