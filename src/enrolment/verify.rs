//! Every enrolment against its programme's rules and the allowances that keep its promise.

use std::collections::{BTreeMap, BTreeSet};

use super::{Enrolment, State, store};
use crate::allowance::{self, Allowance};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::ProgrammeId;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Zone};
use crate::ledger::Finding;
use crate::programme::{self, Grant, Rules, purse};

/// Enrolments read at a time.
const PAGE: i64 = 1_000;

/// What a programme fixes for all its enrolments.
struct Terms {
    /// By version.
    rules: BTreeMap<i32, Rules>,
    starts_on: Day,
    zone: Zone,
    communes: BTreeSet<String>,
}

/// Returns how many enrolments there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let terms = terms(conn)?;
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { return Ok(count) };
        last = Some(end.id);
        count += page.len();
        for enrolment in page {
            let allowances: Vec<Allowance> =
                allowance::allowances(conn, enrolment.id)?.into_iter().map(|(allowance, _)| allowance).collect();
            // what a household has paid in itself was promised by nobody
            let mut allowances: Vec<Allowance> = allowances.into_iter().filter(|a| a.purse != purse::OWN).collect();
            allowances.sort_by(|a, b| (a.period, &a.purse).cmp(&(b.period, &b.purse)));
            let Some(terms) = terms.get(&enrolment.programme_id) else {
                findings.push(Finding::new("enrolments", enrolment.id, "is in no programme"));
                continue;
            };
            let Some(rules) = terms.rules.get(&enrolment.rules_version) else {
                findings.push(Finding::new(
                    "enrolments",
                    enrolment.id,
                    "goes by rules that its programme does not have",
                ));
                continue;
            };
            let Enrolment { starts_on, adults, children, .. } = enrolment;
            let mut grants = rules.grants(&terms.zone, terms.starts_on, starts_on, adults, children);
            grants.sort_by(|a, b| (a.period.number, &a.purse).cmp(&(b.period.number, &b.purse)));
            let wrong = wrong(&enrolment, &allowances, &grants, terms);
            findings.extend(wrong.into_iter().map(|what| Finding::new("enrolments", enrolment.id, what)));
            verify_windows(&enrolment, &allowances, &grants, findings);
            let paid_for = allowance::paid_for(conn, enrolment.id)?;
            for (grant, allowance) in grants.iter().zip(&allowances) {
                if allowance.waits != (grant.waits && !paid_for.contains(&allowance.period)) {
                    let what = "waits for a contribution that was paid or is not asked for, or does not wait for one";
                    findings.push(Finding::new("allowances", allowance.id, what));
                }
            }
        }
    }
}

fn terms(conn: &mut Conn) -> Result<BTreeMap<ProgrammeId, Terms>> {
    let mut terms = BTreeMap::new();
    for id in programme::all(conn)? {
        let programme = programme::by_id(conn, id)?;
        let communes = programme::territory(conn, id)?.into_iter().map(|commune| commune.code).collect();
        let rules = programme::all_versions(conn, id)?.into_iter().map(|v| (v.version, v.rules)).collect();
        terms.insert(id, Terms { rules, starts_on: programme.starts_on, zone: programme.zone()?, communes });
    }
    Ok(terms)
}

fn wrong(enrolment: &Enrolment, allowances: &[Allowance], grants: &[Grant], terms: &Terms) -> Vec<String> {
    let mut wrong = Vec::new();
    let whole: Cents = allowances.iter().map(|allowance| allowance.amount_cents).sum();
    let promised = enrolment.activated_at.map_or(Cents::ZERO, |_| enrolment.promised_cents);
    if whole != promised {
        wrong.push(format!("was promised {promised} but its allowances are {whole}"));
    }
    let due: Cents = grants.iter().map(|grant| grant.amount).sum();
    if enrolment.promised_cents != due {
        wrong.push(format!("was promised {} but its composition gives {due}", enrolment.promised_cents));
    }
    if !terms.communes.contains(&enrolment.commune_code) {
        wrong.push(format!("is of {}, which is not in its programme's territory", enrolment.commune_code));
    }
    // whoever has left keeps what it has earned, and nothing else: the bonuses' own verification sees to that
    let earned = |allowance: &Allowance| enrolment.state == State::Left && allowance.purse == purse::BONUS;
    let pending = allowances.iter().any(|a| a.state == allowance::State::Committed && !earned(a));
    if pending && matches!(enrolment.state, State::Left | State::Ended | State::Waiting) {
        wrong.push(format!("is {} but money is committed to it", enrolment.state));
    }
    wrong
}

/// An enrolment's allowances are what its rules promise for its first day, purse by purse and window by window.
fn verify_windows(enrolment: &Enrolment, allowances: &[Allowance], grants: &[Grant], findings: &mut Vec<Finding>) {
    if enrolment.activated_at.is_none() {
        return;
    }
    if grants.len() != allowances.len() {
        let what = format!("has {} allowances for {} promises", allowances.len(), grants.len());
        findings.push(Finding::new("enrolments", enrolment.id, what));
    }
    for (Grant { period, purse, amount, .. }, allowance) in grants.iter().zip(allowances) {
        if (&allowance.purse, allowance.amount_cents) != (purse, *amount) {
            let (was, has) = (&allowance.purse, allowance.amount_cents);
            let what = format!("is {has} for {was}, but the rules say {amount} for {purse}");
            findings.push(Finding::new("allowances", allowance.id, what));
        }
        let days = (allowance.period, allowance.starts_on, allowance.ends_on);
        let window = (allowance.opens_at, allowance.closes_at);
        if days != (period.number, period.starts_on, period.ends_on) || window != (period.opens_at, period.closes_at) {
            let what = format!(
                "is open from {} to {} for {} to {}, but the rules say from {} to {} for {} to {}",
                allowance.opens_at,
                allowance.closes_at,
                allowance.starts_on,
                allowance.ends_on,
                period.opens_at,
                period.closes_at,
                period.starts_on,
                period.ends_on
            );
            findings.push(Finding::new("allowances", allowance.id, what));
        }
    }
    let closes_at = grants.iter().map(|grant| grant.period.closes_at).max();
    let runs = matches!(enrolment.state, State::Active | State::Suspended | State::Ended);
    if runs && enrolment.closes_at != closes_at {
        findings.push(Finding::new("enrolments", enrolment.id, "does not close with its last window"));
    }
}
