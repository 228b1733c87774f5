//! Every allowance against the transfers that made it.

use std::collections::BTreeMap;

use super::shares::dealt;
use super::{Allowance, State, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AccountId, AgreementId, PartId};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Zone};
use crate::ledger::{self, Finding, Transfer, TransferCode};
use crate::programme::{self, Rules, purse};

/// Allowances read at a time.
const PAGE: i64 = 500;

/// The transfers that an allowance causes.
const CODES: [TransferCode; 4] =
    [TransferCode::Commit, TransferCode::Issue, TransferCode::Release, TransferCode::Return];

/// How long an agreement's money may be spent.
struct Term {
    zone: Zone,
    /// The first instant at which no cent of it may be spent any more.
    end: Instant,
    /// By version.
    rules: BTreeMap<i32, Rules>,
}

/// A part with what the ledger knows of it.
struct Known<'a> {
    part: &'a store::Part,
    transfers: Vec<&'a Transfer>,
    balance: Option<Cents>,
    /// Of the rules that its enrolment goes by.
    version: i32,
    /// When a void last gave it money back.
    restored_at: Option<Instant>,
}

/// Returns how many allowances there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let terms = terms(conn)?;
    let restored = restored(conn)?;
    let mut committed: BTreeMap<AgreementId, Cents> = terms.keys().map(|&agreement| (agreement, Cents::ZERO)).collect();
    let (mut count, mut last, mut caused) = (0, None, 0);
    loop {
        let page = store::allowances_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let parts = store::parts_of(conn, &page)?;
        let accounts: Vec<AccountId> = parts.iter().map(|part| part.id.cast()).collect();
        let balances = ledger::balances(conn, &accounts)?;
        let versions = store::rules_versions(conn, &page)?;
        let transfers = ledger::transfers_of_all(conn, &page.iter().map(|a| a.id.cast()).collect::<Vec<_>>())?;
        for allowance in &page {
            let parts: Vec<&store::Part> = parts.iter().filter(|part| part.allowance_id == allowance.id).collect();
            let whole: Cents = parts.iter().map(|part| part.amount_cents).sum();
            if whole != allowance.amount_cents {
                let what = format!("is {} but its parts are {whole}", allowance.amount_cents);
                findings.push(Finding::new("allowances", allowance.id, what));
            }
            for part in parts {
                if let Some(sum) = committed.get_mut(&part.agreement_id) {
                    *sum += part.committed();
                }
                let own = |t: &&Transfer| t.reference == allowance.id.cast() && t.agreement_id == part.agreement_id;
                let known = Known {
                    part,
                    transfers: transfers.iter().filter(own).filter(|t| CODES.contains(&t.code)).collect(),
                    version: versions.get(&allowance.enrolment_id).copied().unwrap_or_default(),
                    balance: balances.get(&part.id.cast()).copied(),
                    restored_at: restored.get(&part.id).copied(),
                };
                caused += known.transfers.len();
                let wrong = known.wrong(allowance).into_iter().chain(known.wrong_end(allowance, &terms));
                findings.extend(wrong.map(|what| Finding::new("allowance_parts", part.id, what)));
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
    let journalled = ledger::count(conn, &CODES)?;
    if i64::try_from(caused) != Ok(journalled) {
        let what = format!("{journalled} are in the journal, {caused} belong to an allowance");
        findings.push(Finding::new("transfers", "commit, issue, release, return", what));
    }
    verify_sets(conn, findings)?;
    Ok(count)
}

/// When a void last gave each part money back, straight or by way of a hold.
fn restored(conn: &mut Conn) -> Result<BTreeMap<PartId, Instant>> {
    let credits = ledger::last_credits(conn, TransferCode::Void)?;
    let behind = store::parts_behind(conn, &credits.keys().copied().collect::<Vec<_>>())?;
    let mut restored = BTreeMap::new();
    for (account, at) in credits {
        let part = behind.get(&account).copied().unwrap_or(account.cast());
        let last = restored.entry(part).or_insert(at);
        *last = at.max(*last);
    }
    Ok(restored)
}

/// The terms of all agreements.
fn terms(conn: &mut Conn) -> Result<BTreeMap<AgreementId, Term>> {
    let mut terms = BTreeMap::new();
    for id in programme::all(conn)? {
        let programme = programme::by_id(conn, id)?;
        let zone = programme.zone()?;
        let versions = programme::all_versions(conn, id)?;
        let rules: BTreeMap<i32, Rules> = versions.into_iter().map(|v| (v.version, v.rules)).collect();
        for agreement in programme::agreements_of(conn, id)? {
            let end = agreement.spendable_until(&zone);
            terms.insert(agreement.id, Term { zone: zone.clone(), end, rules: rules.clone() });
        }
    }
    Ok(terms)
}

impl Known<'_> {
    fn wrong(&self, allowance: &Allowance) -> Vec<String> {
        let of = |code| self.transfers.iter().filter(move |t| t.code == code);
        let store::Part { amount_cents: amount, issued_cents: issued, released_cents: released, .. } = *self.part;
        let expected =
            [(TransferCode::Commit, amount), (TransferCode::Issue, issued), (TransferCode::Release, released)];
        let mut wrong = Vec::new();
        for (code, expected) in expected {
            let sum: Cents = of(code).map(|t| t.amount_cents).sum();
            if sum != expected {
                let state = allowance.state;
                wrong.push(format!("of a {state} allowance: {code} should be {expected}, the journal says {sum}"));
            }
        }
        let as_it_says = match allowance.state {
            // of a bonus that was earned and not granted, the rest is given up by who leaves
            State::Committed if allowance.purse == purse::BONUS => issued == Cents::ZERO && released < amount,
            State::Committed => (issued, released) == (Cents::ZERO, Cents::ZERO),
            State::Released => (issued, released) == (Cents::ZERO, amount),
            // a bonus is issued as it is earned
            State::Issued => allowance.purse == purse::BONUS || (issued, released) == (amount, Cents::ZERO),
        };
        if !as_it_says {
            wrong.push(format!("of a {} allowance: {issued} of {amount} issued, {released} released", allowance.state));
        }
        let own = self.part.id.cast();
        if of(TransferCode::Issue).any(|t| t.credit_account != own)
            || of(TransferCode::Return).any(|t| t.debit_account != own)
        {
            wrong.push("was issued to, or returned from, another part's account".to_owned());
        }
        let is_issued = allowance.state == State::Issued;
        if self.balance.is_some() != (is_issued && issued.is_positive()) {
            wrong.push("has an account without being issued, or none though it is".to_owned());
        }
        if self.balance > Some(issued) {
            wrong.push("holds more than it was issued with".to_owned());
        }
        if !self.part.open && self.balance.is_some_and(Cents::is_positive) {
            wrong.push("is closed but holds money".to_owned());
        }
        if is_issued && allowance.waits {
            wrong.push("was issued though its contribution is still waited for".to_owned());
        }
        if self.part.open && !is_issued {
            wrong.push(format!("is open but its allowance is {}", allowance.state));
        }
        wrong
    }

    /// A part ends with its window or its agreement; later only for what a late void gave back, never past the agreement.
    fn wrong_end(&self, allowance: &Allowance, terms: &BTreeMap<AgreementId, Term>) -> Option<String> {
        let Some(term) = terms.get(&self.part.agreement_id) else {
            return Some("is a part of no agreement".to_owned());
        };
        let first = allowance.closes_at.min(term.end);
        let late_void = self.restored_at.zip(term.rules.get(&self.version));
        // earlier than the window too: who had left had given it up, and only the grace stands
        let granted =
            late_void.map_or(first, |(at, rules)| term.end.min(rules.grace_until(&term.zone, allowance.starts_on, at)));
        let until = self.part.spendable_until;
        let fits = (first.min(granted)..=first.max(granted)).contains(&until);
        (!fits).then(|| format!("is spendable until {until} but should be until {first}, or {granted} by a late void"))
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
