//! Every contribution against its enrolment's rules, the allowance that keeps it, and the transfers that moved it.

use std::collections::BTreeMap;

use super::{Contribution, Refund, refunds, store};
use crate::allowance::{self, Allowance};
use crate::db::Conn;
use crate::enrolment;
use crate::kit::error::Result;
use crate::kit::id::EnrolmentId;
use crate::kit::money::Cents;
use crate::ledger::{self, Finding, Transfer, TransferCode};
use crate::programme::{self, ContributionGoesTo, purse};

/// Contributions read at a time.
const PAGE: i64 = 500;

/// Returns how many contributions there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last, mut moved) = (0, None, 0);
    let mut paid = BTreeMap::<(EnrolmentId, i32), Cents>::new();
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let transfers = ledger::transfers_of_all(conn, &page.iter().map(|c| c.id.cast()).collect::<Vec<_>>())?;
        moved += transfers.len();
        let refunds = refunds(conn, &page)?;
        for contribution in &page {
            *paid.entry((contribution.enrolment_id, contribution.period)).or_default() += contribution.amount_cents;
            let own = transfers.iter().filter(|t| t.reference == contribution.id.cast()).collect::<Vec<_>>();
            let wrong = wrong(conn, contribution, &own, refunds.get(&contribution.id).map_or(&[], Vec::as_slice))?;
            findings.extend(wrong.into_iter().map(|what| Finding::new("contributions", contribution.id, what)));
        }
    }
    for ((id, period), paid) in paid {
        let enrolment = enrolment::by_id(conn, id)?;
        let bounds = enrolment::rules(conn, &enrolment)?.contribution;
        if !bounds.is_some_and(|rule| (rule.minimum..=rule.maximum).contains(&paid)) {
            let what = format!("has paid {paid} for period {period}, which its rules do not foresee");
            findings.push(Finding::new("enrolments", id, what));
        }
    }
    for allowance in store::unpaid(conn)? {
        let what = "is a household's own, and no contribution has paid it in";
        findings.push(Finding::new("allowances", allowance, what));
    }
    let journalled = ledger::count(conn, &[TransferCode::Contribute, TransferCode::Refund])?;
    if i64::try_from(moved) != Ok(journalled) {
        let what = format!("{journalled} are in the journal, {moved} belong to a contribution");
        findings.push(Finding::new("transfers", "contribute, refund", what));
    }
    Ok(count)
}

fn wrong(
    conn: &mut Conn,
    contribution: &Contribution,
    transfers: &[&Transfer],
    refunds: &[Refund],
) -> Result<Vec<String>> {
    let &Contribution { amount_cents: amount, enrolment_id, period, agreement_id, .. } = contribution;
    let mut wrong = Vec::new();
    let paid: Vec<_> = transfers.iter().filter(|t| t.code == TransferCode::Contribute).collect();
    let whole: Cents = paid.iter().map(|t| t.amount_cents).sum();
    if whole != amount || paid.iter().any(|t| t.recorded_at != contribution.recorded_at) {
        wrong.push(format!("is {amount} but {whole} was paid in"));
    }
    if transfers.iter().any(|t| t.agreement_id != agreement_id) {
        wrong.push("was paid to, or back from, another agreement".to_owned());
    }
    let enrolment = enrolment::by_id(conn, enrolment_id)?;
    if programme::pot(conn, enrolment.programme_id)?.map(|pot| pot.id) != Some(agreement_id) {
        wrong.push("was paid to what is not its programme's pot".to_owned());
    }
    let goes_to = enrolment::rules(conn, &enrolment)?.contribution.map(|rule| rule.goes_to);
    if contribution.allowance_id.is_some() != (goes_to == Some(ContributionGoesTo::Household)) {
        wrong.push("goes elsewhere than the rules say".to_owned());
    }
    let back: Cents = refunds.iter().map(|refund| refund.amount).sum();
    let of_it = |a: &Allowance| Some(a.id) == contribution.allowance_id;
    let own = allowance::allowances(conn, enrolment_id)?.into_iter().map(|(a, _)| a).find(of_it);
    match contribution.allowance_id {
        Some(id) => {
            let as_paid = |a: &Allowance| (a.purse.as_str(), a.period, a.amount_cents) == (purse::OWN, period, amount);
            if !own.is_some_and(|own| as_paid(&own)) {
                wrong.push("is not what its household has of its own".to_owned());
            }
            let transfers = ledger::transfers_of(conn, id.cast())?;
            let returned = transfers.iter().filter(|t| t.code == TransferCode::Return);
            let returned: Cents = returned.map(|t| t.amount_cents).sum();
            if back != returned {
                wrong.push(format!("was paid back {back} but {returned} was left of it"));
            }
        }
        None if back > amount => wrong.push(format!("was paid back {back} of {amount}")),
        None if back.is_positive() && enrolment.left_at.is_none() => {
            wrong.push(format!("was paid back {back} of the pot though its household has not left"));
        }
        None => {}
    }
    Ok(wrong)
}
