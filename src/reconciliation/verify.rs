//! Every month of every agreement adds up, and the last one ends with what the accounts hold.

use super::balances::Balances;
use super::store;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::money::Cents;
use crate::kit::time::{Month, Zone};
use crate::ledger::{self, AccountKind, Finding, Totals, TransferCode};
use crate::programme::{self, Agreement};

/// Returns how many agreements there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let mut count = 0;
    for programme in programme::all(conn)? {
        let zone = programme::by_id(conn, programme)?.zone()?;
        for agreement in programme::agreements_of(conn, programme)? {
            count += 1;
            let wrong = wrong(conn, &agreement, &zone)?;
            findings.extend(wrong.into_iter().map(|what| Finding::new("agreements", agreement.id, what)));
        }
    }
    Ok(count)
}

fn wrong(conn: &mut Conn, agreement: &Agreement, zone: &Zone) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let month_of = |at| zone.day_of(at).month();
    let first = month_of(agreement.signed_at);
    let last = ledger::last(conn, agreement.id)?.map_or(first, month_of).max(first);

    let mut opening = Balances::default();
    let mut month = first;
    loop {
        let (from, until) = (zone.start_of(month.first_day()), zone.start_of(month.next().first_day()));
        let moved = ledger::totals(conn, agreement.id, Some(from), Some(until))?;
        let closing = opening.after(&moved);
        for ((kind, opens), (_, closes)) in opening.by_kind().into_iter().zip(closing.by_kind()) {
            if opens < Cents::ZERO || closes < Cents::ZERO {
                wrong.push(format!("its report of {month} takes {kind} from {opens} to {closes}"));
            }
        }
        wrong.extend(wrong_lines(conn, agreement, zone, month, &moved)?);
        opening = closing;
        if month >= last {
            break;
        }
        month = month.next();
    }

    // what was recorded before the first month is in no report, but in the accounts
    let held = store::held(conn, agreement.id)?;
    for (kind, reported) in opening.by_kind() {
        // what is set aside is in the households' hands too
        let beside = if kind == AccountKind::Allowance { held.get(&AccountKind::Reserved) } else { None };
        let balance = held.get(&kind).copied().unwrap_or_default() + beside.copied().unwrap_or_default();
        // a report tells what producers hold as what they owe
        let held = if kind == AccountKind::Held { -balance } else { balance };
        if held != reported {
            wrong.push(format!("its {kind} accounts hold {held} but its report would say {reported}"));
        }
    }
    Ok(wrong)
}

/// The purchases and voids that a month's report lists are what it says producers gained and lost.
fn wrong_lines(
    conn: &mut Conn,
    agreement: &Agreement,
    zone: &Zone,
    month: Month,
    moved: &Totals,
) -> Result<Option<String>> {
    let (from, until) = (zone.start_of(month.first_day()), zone.start_of(month.next().first_day()));
    if let Some((redemption, part)) = store::overpaid(conn, agreement.id, from, until)? {
        return Ok(Some(format!("its report of {month} bears {part} of {redemption}, which covered less")));
    }
    let bought = store::bought(conn, agreement.id, from, until)?;
    let [redeemed, voided] =
        [TransferCode::Redeem, TransferCode::Void].map(|code| bought.get(&code).copied().unwrap_or_default());
    let (paid, back) = (moved.of(TransferCode::Redeem), moved.of(TransferCode::Void));
    let same = (redeemed, voided) == (paid, back);
    Ok((!same).then(|| {
        format!(
            "its report of {month} lists {redeemed} bought and {voided} undone, but pays {paid} and takes back {back}"
        )
    }))
}
