//! Every bonus against its purchase, the allowance that it is taken from, and the transfers that granted it.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{self, Known};
use super::{AllowanceState, State, allowance_store};
use crate::allowance::Allowance;
use crate::allowance::store::Part;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::AllowanceId;
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Finding, TransferCode};

/// Allowances read at a time.
const PAGE: i64 = 500;

/// Returns how many bonuses there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let (mut count, mut last) = (0, None);
    loop {
        let page = allowance_store::allowances_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        let bonuses: Vec<Allowance> = page.into_iter().filter(|allowance| !allowance.is_given()).collect();
        let ids: Vec<AllowanceId> = bonuses.iter().map(|allowance| allowance.id).collect();
        let known = store::known(conn, &ids)?;
        count += known.len();
        let parts = allowance_store::parts_of(conn, &bonuses)?;
        let left = store::left(conn, &bonuses.iter().map(|a| a.enrolment_id).collect::<Vec<_>>())?;
        let mut issued = BTreeMap::<AllowanceId, BTreeMap<Instant, Cents>>::new();
        for transfer in ledger::transfers_of_all(conn, &ids.iter().map(|id| id.cast()).collect::<Vec<_>>())? {
            if transfer.code == TransferCode::Issue {
                let of = issued.entry(transfer.reference.cast()).or_default();
                *of.entry(transfer.recorded_at).or_default() += transfer.amount_cents;
            }
        }
        for allowance in &bonuses {
            let own: Vec<&Known> = known.iter().filter(|known| known.bonus.allowance_id == allowance.id).collect();
            let parts: Vec<&Part> = parts.iter().filter(|part| part.allowance_id == allowance.id).collect();
            let given_up = left.contains(&allowance.enrolment_id);
            for known in &own {
                let wrong = wrong(known, allowance, &parts, given_up);
                findings.extend(wrong.map(|what| Finding::new("bonuses", known.bonus.redemption_id, what)));
            }
            let issued = issued.remove(&allowance.id).unwrap_or_default();
            for what in wrong_sums(allowance, &own, &parts, &issued, given_up) {
                findings.push(Finding::new("allowances", allowance.id, what));
            }
        }
    }
    let rows = store::count(conn)?;
    if i64::try_from(count) != Ok(rows) {
        findings.push(Finding::new("bonuses", "all", format!("{rows} are there, {count} are of a period's bonus")));
    }
    Ok(count)
}

fn wrong(known: &Known, allowance: &Allowance, parts: &[&Part], given_up: bool) -> Option<String> {
    let Known { bonus, void_until, bought_by, voided } = known;
    let late = bonus.settled_at.is_some_and(|at| parts.iter().any(|part| part.spendable_until <= at));
    let wrong = match bonus.state {
        _ if *bought_by != allowance.enrolment_id => "is taken from another household's promise".to_owned(),
        _ if bonus.matures_at != *void_until => format!("matures at another moment than {void_until}"),
        State::Earned | State::Granted if *voided => format!("is {} but its purchase was undone", bonus.state),
        State::Granted if bonus.settled_at < Some(bonus.matures_at) => "was granted before it matured".to_owned(),
        State::Lost if !voided && !late && !given_up && bonus.settled_at < Some(allowance.closes_at) => {
            "is lost though its purchase stands and its window was open".to_owned()
        }
        _ => return None,
    };
    Some(wrong)
}

fn wrong_sums(
    allowance: &Allowance,
    own: &[&Known],
    parts: &[&Part],
    issued: &BTreeMap<Instant, Cents>,
    given_up: bool,
) -> Vec<String> {
    let of = |state| own.iter().map(|known| &known.bonus).filter(move |bonus| bonus.state == state);
    let mut granted = BTreeMap::<Instant, Cents>::new();
    for bonus in of(State::Granted) {
        *granted.entry(bonus.settled_at.unwrap_or(bonus.matures_at)).or_default() += bonus.amount_cents;
    }
    let mut wrong = Vec::new();
    let moments: BTreeSet<Instant> = granted.keys().chain(issued.keys()).copied().collect();
    for at in moments {
        let of = |sums: &BTreeMap<Instant, Cents>| sums.get(&at).copied().unwrap_or_default();
        if of(&granted) != of(issued) {
            wrong.push(format!("was granted {} at {at} but issued {}", of(&granted), of(issued)));
        }
    }
    let earned: Cents = of(State::Earned).map(|bonus| bonus.amount_cents).sum();
    let committed: Cents = parts.iter().map(|part| part.committed()).sum();
    if earned > committed {
        wrong.push(format!("has {earned} earned but {committed} committed"));
    }
    if given_up && allowance.state != AllowanceState::Released && earned != committed {
        wrong.push(format!("is of somebody who has left, with {earned} earned and {committed} committed"));
    }
    wrong
}
