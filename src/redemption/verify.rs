//! Every purchase against the transfers that paid it, and the bonus that it has earned.

mod earned;

use std::collections::BTreeMap;

use super::{Purchase, store};
use crate::allowance::{self, PartWindow};
use crate::db::Conn;
use crate::hold::{self, Reserved};
use crate::kit::error::Result;
use crate::kit::id::{AccountId, AgreementId, OrganisationId, PartId};
use crate::kit::money::Cents;
use crate::ledger::{self, Finding, Transfer, TransferCode};

/// Redemptions read at a time.
const PAGE: i64 = 500;

/// Where the money of some purchases came from, and whose it became.
struct Sides {
    parts: BTreeMap<PartId, PartWindow>,
    payables: BTreeMap<AccountId, (AgreementId, OrganisationId)>,
    reserved: BTreeMap<AccountId, Reserved>,
}

/// Returns how many redemptions there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last, mut paid) = (0, None, 0);
    let mut bonuses = earned::Bonuses::default();
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let transfers = ledger::transfers_of_all(conn, &page.iter().map(|r| r.id.cast()).collect::<Vec<_>>())?;
        // what was collected, and given back, is the surplus's own business but for the void
        let transfers: Vec<Transfer> = transfers.into_iter().filter(|t| t.code != TransferCode::Pool).collect();
        paid += transfers.iter().filter(|t| t.code != TransferCode::Collect).count();
        let payments = || transfers.iter().filter(|t| t.code == TransferCode::Redeem);
        let reserved = hold::reserved(conn, &payments().map(|t| t.debit_account).collect::<Vec<_>>())?;
        let part = |t: &Transfer| reserved.get(&t.debit_account).map_or(t.debit_account.cast(), |of| of.part);
        let sides = Sides {
            parts: allowance::windows(conn, &payments().map(part).collect::<Vec<_>>())?,
            payables: ledger::payables(conn, &payments().map(|t| t.credit_account).collect::<Vec<_>>())?,
            reserved,
        };
        for purchase in store::complete(conn, page)? {
            let own: Vec<&Transfer> =
                transfers.iter().filter(|t| t.reference == purchase.redemption.id.cast()).collect();
            for what in wrong(&purchase, &own, &sides) {
                findings.push(Finding::new("redemptions", purchase.redemption.id, what));
            }
            findings.extend(bonuses.wrong(conn, &purchase)?);
        }
    }
    let journalled = ledger::count(conn, &[TransferCode::Redeem, TransferCode::Void])?;
    if i64::try_from(paid) != Ok(journalled) {
        let what = format!("{journalled} purchases and voids are in the journal, {paid} belong to a redemption");
        findings.push(Finding::new("transfers", "redeem, void", what));
    }
    Ok(count)
}

fn wrong(purchase: &Purchase, transfers: &[&Transfer], sides: &Sides) -> Vec<String> {
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
    wrong.extend(of(TransferCode::Redeem).filter_map(|paid| misdirected(purchase, paid, sides)));
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
    let made = || of(TransferCode::Redeem).chain(of(TransferCode::Collect));
    match void {
        Some(_) if !made().all(undone) => wrong.push("was voided but not all of it came back".to_owned()),
        Some(_) if of(TransferCode::Void).count() != made().count() => {
            wrong.push("was voided but more came back than was paid".to_owned())
        }
        Some(void) if of(TransferCode::Void).any(|t| t.recorded_at != void.recorded_at) => {
            wrong.push("was voided at another moment than its money came back".to_owned())
        }
        Some(void) if void.recorded_at >= redemption.void_until => wrong.push("was voided after its window".to_owned()),
        None if of(TransferCode::Void).next().is_some() => {
            wrong.push("came back without having been voided".to_owned())
        }
        _ => {}
    }
    wrong
}

/// What is wrong with where a payment came from, when, or whose it became.
fn misdirected(purchase: &Purchase, paid: &Transfer, sides: &Sides) -> Option<String> {
    let reserved = sides.reserved.get(&paid.debit_account);
    if reserved.map(|of| of.hold) != purchase.redemption.hold_id {
        return Some(format!("was paid by {}, which is not what it was set aside in", paid.debit_account));
    }
    let part_id: PartId = reserved.map_or(paid.debit_account.cast(), |of| of.part);
    let Some(part) = sides.parts.get(&part_id) else {
        return Some(format!("was paid by {}, which is no part of an allowance", paid.debit_account));
    };
    if part.enrolment != purchase.redemption.enrolment_id {
        return Some(format!("was paid by {part_id}, a part of another enrolment's allowance"));
    }
    if part.agreement != paid.agreement_id {
        return Some(format!("was paid by {part_id}, a part of another agreement"));
    }
    if !(part.opens_at..part.spendable_until).contains(&paid.recorded_at) {
        return Some(format!(
            "was paid by {part_id} outside its window, {} to {}",
            part.opens_at, part.spendable_until
        ));
    }
    if sides.payables.get(&paid.credit_account) != Some(&(paid.agreement_id, purchase.redemption.producer_id)) {
        return Some(format!("was paid to {}, which is not its producer's account", paid.credit_account));
    }
    None
}
