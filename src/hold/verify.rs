//! Every hold against the transfers that filled it, and what became of it.

use std::collections::BTreeMap;

use super::store::{HoldPart, Taken};
use super::{Hold, State, store};
use crate::allowance::{self, PartWindow};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AccountId, PartId, ProgrammeId};
use crate::kit::money::Cents;
use crate::ledger::{self, Finding, Transfer, TransferCode};
use crate::programme;

/// Holds read at a time.
const PAGE: i64 = 500;

/// The transfers that a hold causes; those of its purchase are the purchase's.
const CODES: [TransferCode; 2] = [TransferCode::Hold, TransferCode::Free];

/// A hold with what the rest of the house knows of it.
struct Known<'a> {
    hold: &'a Hold,
    parts: Vec<&'a HoldPart>,
    transfers: Vec<&'a Transfer>,
    balances: &'a BTreeMap<AccountId, Cents>,
    windows: &'a BTreeMap<PartId, PartWindow>,
    taken: Option<&'a Taken>,
    /// What its lines add up to, if it has some.
    listed: Option<Cents>,
    /// Of its voucher, if it has a fixed value.
    value: Option<Cents>,
    /// Hours for which its rules let a basket wait.
    hours: i32,
}

/// Returns how many holds there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let mut hours = BTreeMap::<(ProgrammeId, i32), i32>::new();
    let (mut count, mut last, mut caused) = (0, None, 0);
    loop {
        let page = store::after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        let ids: Vec<_> = page.iter().map(|hold| hold.id).collect();
        let parts = store::parts(conn, &ids)?;
        let balances = ledger::balances(conn, &parts.iter().map(|part| part.id.cast()).collect::<Vec<_>>())?;
        let windows = allowance::windows(conn, &parts.iter().map(|part| part.part_id).collect::<Vec<_>>())?;
        let transfers = ledger::transfers_of_all(conn, &ids.iter().map(|id| id.cast()).collect::<Vec<_>>())?;
        let taken = store::taken(conn, &ids)?;
        let versions = store::versions(conn, &page)?;
        let values = store::denominations(conn, &page)?;
        let listed = store::listed(conn, &ids)?;
        for hold in &page {
            let hours = match versions.get(&hold.enrolment_id) {
                Some(&(programme, version)) => match hours.get(&(programme, version)) {
                    Some(&known) => known,
                    None => {
                        let read = programme::rules_of(conn, programme, version)?.hold_hours;
                        hours.insert((programme, version), read);
                        read
                    }
                },
                None => 0,
            };
            let known = Known {
                hold,
                parts: parts.iter().filter(|part| part.hold_id == hold.id).collect(),
                transfers: transfers.iter().filter(|t| t.reference == hold.id.cast()).collect(),
                balances: &balances,
                windows: &windows,
                taken: taken.get(&hold.id),
                listed: listed.get(&hold.id).copied(),
                value: values.get(&hold.voucher_id).copied(),
                hours,
            };
            caused += known.transfers.iter().filter(|t| CODES.contains(&t.code)).count();
            let wrong = known.wrong().into_iter().chain(known.wrong_end());
            findings.extend(wrong.map(|what| Finding::new("holds", hold.id, what)));
            for part in &known.parts {
                let wrong = known.wrong_part(part);
                findings.extend(wrong.into_iter().map(|what| Finding::new("hold_parts", part.id, what)));
            }
        }
    }
    let journalled = ledger::count(conn, &CODES)?;
    if i64::try_from(caused) != Ok(journalled) {
        let what = format!("{journalled} are in the journal, {caused} belong to a hold");
        findings.push(Finding::new("transfers", "hold, free", what));
    }
    for voucher in store::unbacked(conn)? {
        findings.push(Finding::new("vouchers", voucher, "has a value and nothing set aside behind it"));
    }
    let accounts = store::accounts(conn)?;
    let known = store::count_parts(conn)?;
    if accounts != known {
        let what = format!("{accounts} are reserved, but holds have {known} parts");
        findings.push(Finding::new("accounts", "reserved", what));
    }
    Ok(count)
}

impl Known<'_> {
    fn wrong(&self) -> Vec<String> {
        let hold = self.hold;
        let whole: Cents = self.parts.iter().map(|part| part.amount_cents).sum();
        let mut wrong = Vec::new();
        if whole != hold.covered_cents {
            wrong.push(format!("covers {} but has set {whole} aside", hold.covered_cents));
        }
        let basket = hold.basket_cents.unwrap_or_default();
        if let Some(listed) = self.listed.filter(|listed| *listed != basket) {
            wrong.push(format!("is a basket of {basket} but its lines are {listed}"));
        }
        let own = |t: &&&Transfer| {
            let sides = |part: &&&HoldPart| {
                [(part.part_id.cast(), part.id.cast()), (part.id.cast(), part.part_id.cast())]
                    .contains(&(t.debit_account, t.credit_account))
            };
            self.parts.iter().any(|part| sides(&part))
        };
        if !self.transfers.iter().all(|t| own(&t)) {
            wrong.push("moved money to or from what is no part of it".to_owned());
        }
        let value = if hold.stall_id.is_none() { Some(hold.covered_cents) } else { None };
        if self.value != value {
            wrong.push("does not fit its voucher, or the value that is printed there".to_owned());
        }
        if (hold.state == State::Captured) != self.taken.is_some() {
            wrong.push(format!("is {} but {} purchase has taken it", hold.state, self.taken.map_or("no", |_| "a")));
        }
        if let Some(taken) = self.taken {
            if Some(taken.recorded_at) != hold.settled_at {
                wrong.push("was captured at another moment than its purchase".to_owned());
            }
            let same = taken.voucher_id == hold.voucher_id && hold.stall_id.is_none_or(|stall| stall == taken.stall_id);
            if !same {
                wrong.push("was captured with another voucher, or at another stall".to_owned());
            }
            if taken.covered_cents > hold.covered_cents
                || hold.basket_cents.is_some_and(|most| taken.basket_cents > most)
            {
                wrong.push("was captured for more than was set aside".to_owned());
            }
        }
        wrong
    }

    /// It ends with the hours of its rules, and with the money that it is made of; a voucher of a fixed value has no hours.
    fn wrong_end(&self) -> Option<String> {
        let hold = self.hold;
        let hours = hold.created_at.plus_minutes(i64::from(self.hours) * 60);
        // who has given a window up may have money back for an earlier end: what was settled by then is not asked
        let held = self.parts.iter().filter(|_| hold.state == State::Held);
        let ends = held.filter_map(|part| self.windows.get(&part.part_id)).map(|window| window.spendable_until);
        let first = ends.chain(hold.stall_id.map(|_| hours)).min()?;
        (hold.expires_at > first).then(|| format!("is held until {} but should be until {first}", hold.expires_at))
    }

    fn wrong_part(&self, part: &HoldPart) -> Vec<String> {
        let (hold, own) = (self.hold, part.id.cast());
        let mut wrong = Vec::new();
        match self.windows.get(&part.part_id) {
            Some(window) if window.enrolment != hold.enrolment_id => {
                wrong.push("is of another enrolment's allowance".to_owned());
            }
            Some(window) if hold.created_at < window.opens_at => {
                wrong.push(format!("was set aside before its window, which opens {}", window.opens_at));
            }
            _ => {}
        }
        let of = |code, side: fn(&Transfer) -> AccountId| {
            self.transfers.iter().copied().filter(move |t| t.code == code && side(t) == own)
        };
        let filled: Vec<&Transfer> = of(TransferCode::Hold, |t| t.credit_account).collect();
        let sum: Cents = filled.iter().map(|t| t.amount_cents).sum();
        if sum != part.amount_cents {
            wrong.push(format!("is {} but {sum} was set aside", part.amount_cents));
        }
        if filled.iter().any(|t| t.recorded_at != hold.created_at) {
            wrong.push("was filled at another moment than it was made".to_owned());
        }
        let freed: Cents = of(TransferCode::Free, |t| t.debit_account).map(|t| t.amount_cents).sum();
        let as_it_says = match hold.state {
            State::Held => freed == Cents::ZERO,
            State::Captured => freed <= part.amount_cents,
            State::Released => freed == part.amount_cents,
        };
        if !as_it_says {
            wrong.push(format!("of a {} hold: {freed} of {} came back", hold.state, part.amount_cents));
        }
        let due = if hold.state == State::Held { part.amount_cents } else { Cents::ZERO };
        let balance = self.balances.get(&own).copied();
        if balance != Some(due) {
            let has = balance.map_or("no account".to_owned(), |balance| balance.to_string());
            wrong.push(format!("of a {} hold: should hold {due}, and has {has}", hold.state));
        }
        wrong
    }
}
