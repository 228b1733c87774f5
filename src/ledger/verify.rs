//! Recomputes every balance from the journal.

use std::collections::HashMap;

use super::{AccountKind, Balance, TransferCode, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::AccountId;
use crate::kit::money::Cents;

/// Rows read at a time.
const PAGE: i64 = 10_000;

/// A row that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub table: &'static str,
    pub row: String,
    pub what: String,
}

impl Finding {
    pub fn new(table: &'static str, row: impl ToString, what: impl Into<String>) -> Self {
        Finding { table, row: row.to_string(), what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.table, self.row, self.what)
    }
}

/// From which kind of account to which a transfer of each code moves money; what a hold has set aside is paid, and comes
/// back, where it is.
fn way(code: TransferCode, sides: [Option<AccountKind>; 2]) -> (AccountKind, AccountKind) {
    use AccountKind::*;
    match code {
        TransferCode::Void if sides[0] == Some(Surplus) => (Surplus, Held),
        TransferCode::Grant => (Funder, Available),
        TransferCode::Commit => (Available, Committed),
        TransferCode::Release => (Committed, Available),
        TransferCode::Issue => (Committed, Allowance),
        TransferCode::Redeem if sides[0] == Some(Reserved) => (Reserved, Payable),
        TransferCode::Void if sides[1] == Some(Reserved) => (Payable, Reserved),
        TransferCode::Redeem => (Allowance, Payable),
        TransferCode::Void => (Payable, Allowance),
        TransferCode::Return => (Allowance, Available),
        TransferCode::Contribute => (Funder, Available),
        TransferCode::Refund => (Available, Funder),
        TransferCode::Hold => (Allowance, Reserved),
        TransferCode::Free => (Reserved, Allowance),
        TransferCode::Collect => (Held, Surplus),
        TransferCode::Pool => (Surplus, Available),
    }
}

/// Every account against the journal, every transfer against its own digest and its code. Returns how many transfers there are.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let accounts = all_accounts(conn)?;
    let mut sums = HashMap::<AccountId, Cents>::new();
    let (mut count, mut last) = (0, None);
    loop {
        let page = store::transfers_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { break };
        last = Some(end.id);
        count += page.len();
        for transfer in page {
            if transfer.digest != transfer.seal() {
                findings.push(Finding::new(
                    "transfers",
                    transfer.id,
                    "was changed after it was written: its digest differs",
                ));
            }
            let kind = |id| accounts.get(&id).map(|account: &Balance| account.kind);
            let sides = [kind(transfer.debit_account), kind(transfer.credit_account)];
            let (debit, credit) = way(transfer.code, sides);
            if sides != [Some(debit), Some(credit)] {
                findings.push(Finding::new(
                    "transfers",
                    transfer.id,
                    format!("a {} moves {debit} to {credit}", transfer.code),
                ));
            }
            let agreement = |id| accounts.get(&id).map(|account: &Balance| account.agreement_id);
            let sides = [transfer.debit_account, transfer.credit_account];
            if sides.into_iter().any(|side| agreement(side) != Some(transfer.agreement_id)) {
                let what = "moves money to or from another agreement's account";
                findings.push(Finding::new("transfers", transfer.id, what));
            }
            *sums.entry(transfer.debit_account).or_default() -= transfer.amount_cents;
            *sums.entry(transfer.credit_account).or_default() += transfer.amount_cents;
        }
    }
    for account in accounts.values() {
        let sum = sums.get(&account.id).copied().unwrap_or_default();
        if sum != account.balance_cents {
            let what = format!("{} account holds {} but the journal says {sum}", account.kind, account.balance_cents);
            findings.push(Finding::new("accounts", account.id, what));
        }
        if [AccountKind::Funder, AccountKind::Held].contains(&account.kind) != (account.balance_cents < Cents::ZERO)
            && account.balance_cents != Cents::ZERO
        {
            findings.push(Finding::new(
                "accounts",
                account.id,
                format!("{} account is at {}", account.kind, account.balance_cents),
            ));
        }
    }
    Ok(count)
}

fn all_accounts(conn: &mut Conn) -> Result<HashMap<AccountId, Balance>> {
    let (mut all, mut last) = (HashMap::new(), None);
    loop {
        let page = store::accounts_after(conn, last, PAGE)?;
        let Some(end) = page.last() else { return Ok(all) };
        last = Some(end.id);
        all.extend(page.into_iter().map(|account| (account.id, account)));
    }
}
