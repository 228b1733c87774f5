//! Committing a household's whole promise, period by period, against the agreements that cover it.

use std::collections::BTreeMap;

use super::draw::in_order;
use super::shares::next_shares;
use super::{State, own, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, AllowanceId, EnrolmentId, PartId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Entry, TransferCode};
use crate::programme::{self, Agreement, FundingRule, Grant, Programme};

/// A grant as it is to be committed.
pub struct Planned<'a> {
    pub grant: &'a Grant,
    /// The agreements that share it, by name; none where they pay by priority.
    set: Option<String>,
    pub parts: Vec<(&'a Agreement, Cents)>,
}

/// What promises are planned on.
#[derive(Clone, Debug, Default)]
pub struct Funds {
    /// What each agreement has left to promise.
    pub available: BTreeMap<AgreementId, Cents>,
    /// What each set of agreements was ever asked for, by its name.
    cumulated: BTreeMap<String, Cents>,
}

impl Funds {
    /// Of agreements that were never asked for anything.
    pub fn new(available: impl IntoIterator<Item = (AgreementId, Cents)>) -> Self {
        Funds { available: available.into_iter().collect(), cumulated: BTreeMap::new() }
    }
}

/// What became of a promise; only a kept one has written anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    Kept,
    /// The agreements do not have enough now.
    NotEnough,
    /// No agreement covers some period, whatever they have.
    NotCovered,
}

/// Whether some agreement covers each grant's period.
pub fn covered(agreements: &[Agreement], grants: &[Grant]) -> bool {
    grants.iter().all(|grant| agreements.iter().any(|agreement| agreement.covers(&grant.period)))
}

/// Commits every grant, or nothing at all.
///
/// The programme must be locked, so that promises are made one at a time.
pub fn promise(
    conn: &mut Conn,
    now: Instant,
    programme: &Programme,
    enrolment: EnrolmentId,
    grants: &[Grant],
) -> Result<Promise> {
    let agreements = programme::agreements_of(conn, programme.id)?;
    if !covered(&agreements, grants) {
        return Ok(Promise::NotCovered);
    }
    let ids: Vec<AgreementId> = agreements.iter().map(|agreement| agreement.id).collect();
    let accounts = ledger::agreement_accounts(conn, &ids)?;
    let available = accounts.iter().map(|(id, (_, available))| (*id, *available)).collect();
    let mut funds = Funds { available, cumulated: store::cumulated(conn, programme.id)? };

    let Some(plan) = plan(programme.funding_rule, grants, &agreements, &mut funds) else {
        return Ok(Promise::NotEnough);
    };
    let zone = programme.zone()?;
    let paid_for = own::paid_for(conn, enrolment)?;
    let mut entries = Vec::new();
    for Planned { grant, set, parts } in plan {
        let (period, amount) = (&grant.period, grant.amount);
        let allowance = super::Allowance {
            id: AllowanceId::new(now),
            enrolment_id: enrolment,
            period: period.number,
            starts_on: period.starts_on,
            ends_on: period.ends_on,
            opens_at: period.opens_at,
            closes_at: period.closes_at,
            amount_cents: amount,
            state: State::Committed,
            funding_set_id: match set {
                Some(set) => Some(store::cumulate(conn, now, programme.id, &set, amount)?),
                None => None,
            },
            issued_at: None,
            purse: grant.purse.clone(),
            waits: grant.waits && !paid_for.contains(&period.number),
        };
        store::insert_allowance(conn, &allowance)?;
        for (agreement, amount) in parts {
            let spendable_until = period.closes_at.min(agreement.spendable_until(&zone));
            store::insert_part(conn, PartId::new(now), allowance.id, agreement, amount, spendable_until)?;
            let (accounts, _) = accounts[&agreement.id];
            entries.push(Entry {
                debit: accounts.available,
                credit: accounts.committed,
                agreement: agreement.id,
                amount,
                code: TransferCode::Commit,
                reference: allowance.id.cast(),
                reverses: None,
                occurred_at: now,
            });
        }
    }
    ledger::post(conn, now, &entries)?;
    Ok(Promise::Kept)
}

/// What a programme's agreements can promise as things stand.
pub fn funds(conn: &mut Conn, programme: ProgrammeId, agreements: &[Agreement]) -> Result<Funds> {
    let ids: Vec<AgreementId> = agreements.iter().map(|agreement| agreement.id).collect();
    let accounts = ledger::agreement_accounts(conn, &ids)?;
    let available = accounts.into_iter().map(|(id, (_, available))| (id, available)).collect();
    Ok(Funds { available, cumulated: store::cumulated(conn, programme)? })
}

/// Whose cents each grant takes; none if one of them cannot be funded whole, and the funds are then of no more use.
///
/// Pure: a promise and a simulation are planned alike.
pub fn plan<'a>(
    rule: FundingRule,
    grants: &'a [Grant],
    agreements: &'a [Agreement],
    funds: &mut Funds,
) -> Option<Vec<Planned<'a>>> {
    let Funds { available, cumulated } = funds;
    let mut planned = Vec::with_capacity(grants.len());
    for grant in grants {
        let Grant { period, amount, .. } = grant;
        let amount = *amount;
        let covering: Vec<&Agreement> = agreements.iter().filter(|agreement| agreement.covers(period)).collect();
        let (set, shares) = match rule {
            FundingRule::FixedShares => {
                let set = store::set_name(&covering);
                let weights: Vec<i32> = covering.iter().map(|agreement| agreement.share_weight).collect();
                let total = cumulated.entry(set.clone()).or_default();
                let shares = next_shares(*total, amount, &weights);
                *total += amount;
                (Some(set), shares)
            }
            FundingRule::Priority => {
                let held: Vec<Cents> = covering.iter().map(|agreement| available[&agreement.id]).collect();
                (None, in_order(amount, &held))
            }
        };
        if shares.iter().copied().sum::<Cents>() != amount {
            return None;
        }
        let mut parts = Vec::new();
        for (agreement, share) in covering.into_iter().zip(shares) {
            let left = available.get_mut(&agreement.id)?;
            *left -= share;
            if *left < Cents::ZERO {
                return None;
            }
            if share.is_positive() {
                parts.push((agreement, share));
            }
        }
        planned.push(Planned { grant, set, parts });
    }
    Some(planned)
}
