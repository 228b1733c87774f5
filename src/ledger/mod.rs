//! Accounts and transfers: where every cent of every agreement is, and how it came there.
//!
//! A balance is what was credited less what was debited. Money moves from the funder's account (which goes below zero by
//! what was granted) to `available`, is `committed` to a household's periods, becomes an `allowance` when a period opens,
//! and a producer's `payable` when it is spent. A transfer is never changed or deleted; the database itself refuses.

mod store;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Ask, Conn};
use crate::kit::error::{Error, Result};
use crate::kit::id::{AccountId, AgreementId, HoldPartId, OrganisationId, PartId, ReferenceId, TransferId};
use crate::kit::keys::{Digest32, sha256};
use crate::kit::money::Cents;
use crate::kit::time::Instant;

pub use store::{Balance, Payable, Transfer};
pub use verify::{Finding, verify};

crate::text_enum! {
    pub enum AccountKind {
        /// The outside: what the funder has granted, below zero.
        Funder = "funder",
        Available = "available",
        Committed = "committed",
        /// One part of one allowance.
        Allowance = "allowance",
        /// What a hold has set aside of one part.
        Reserved = "reserved",
        /// What one producer is owed.
        Payable = "payable",
        /// What one producer has collected for the common pot, below zero.
        Held = "held",
        /// Collected for the pot by purchases that may still be undone.
        Surplus = "surplus",
    }
}

crate::text_enum! {
    pub enum TransferCode {
        /// funder → available
        Grant = "grant",
        /// available → committed
        Commit = "commit",
        /// committed → available
        Release = "release",
        /// committed → allowance
        Issue = "issue",
        /// allowance → payable, or reserved → payable where a hold is captured
        Redeem = "redeem",
        /// payable → allowance, payable → reserved, or surplus → held
        Void = "void",
        /// allowance → available
        Return = "return",
        /// funder → available
        Contribute = "contribute",
        /// available → funder
        Refund = "refund",
        /// allowance → reserved
        Hold = "hold",
        /// reserved → allowance
        Free = "free",
        /// held → surplus
        Collect = "collect",
        /// surplus → available
        Pool = "pool",
    }
}

/// A transfer to be made.
#[derive(Clone, Debug)]
pub struct Entry {
    pub debit: AccountId,
    pub credit: AccountId,
    pub agreement: AgreementId,
    pub amount: Cents,
    pub code: TransferCode,
    pub reference: ReferenceId,
    /// The transfer that this one undoes.
    pub reverses: Option<TransferId>,
    pub occurred_at: Instant,
}

/// Writes all entries, or none.
///
/// Accounts are locked in the order of their ids, so that two postings never wait for each other. An account that
/// would be overdrawn fails the whole transaction: deciding beforehand is the caller's part, this is the guard.
pub fn post(conn: &mut Conn, now: Instant, entries: &[Entry]) -> Result<()> {
    let mut changes = BTreeMap::<AccountId, Cents>::new();
    for entry in entries {
        *changes.entry(entry.debit).or_default() -= entry.amount;
        *changes.entry(entry.credit).or_default() += entry.amount;
    }
    if entries.is_empty() {
        return Ok(());
    }
    let transfers: Vec<Transfer> = entries.iter().map(|entry| Transfer::record(entry, now)).collect();
    store::post(conn, &transfers, &changes.into_iter().collect::<Vec<_>>())
}

impl Transfer {
    /// The line that an entry makes, with its digest.
    pub(crate) fn record(entry: &Entry, now: Instant) -> Self {
        let mut transfer = Transfer {
            id: TransferId::new(now),
            debit_account: entry.debit,
            credit_account: entry.credit,
            agreement_id: entry.agreement,
            amount_cents: entry.amount,
            code: entry.code,
            reference: entry.reference,
            reverses: entry.reverses,
            occurred_at: entry.occurred_at,
            recorded_at: now,
            digest: Vec::new(),
        };
        transfer.digest = transfer.seal().to_vec();
        transfer
    }

    /// SHA-256 over every other column, so that a row changed behind the program's back is found and named.
    fn seal(&self) -> Digest32 {
        let mut bytes = Vec::with_capacity(128);
        for id in
            [self.id.cast(), self.debit_account, self.credit_account, self.agreement_id.cast(), self.reference.cast()]
        {
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes.extend_from_slice(self.reverses.map_or([0; 16], |id| *id.as_bytes()).as_slice());
        for number in [self.amount_cents.0, self.occurred_at.as_microsecond(), self.recorded_at.as_microsecond()] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.code.as_str().as_bytes());
        sha256(&bytes)
    }
}

/// The three accounts that every agreement has.
#[derive(Clone, Copy, Debug)]
pub struct AgreementAccounts {
    pub funder: AccountId,
    pub available: AccountId,
    pub committed: AccountId,
}

pub fn open_agreement(conn: &mut Conn, now: Instant, agreement: AgreementId) -> Result<AgreementAccounts> {
    let mut open = |kind| {
        let id = AccountId::new(now);
        store::insert_account(conn, id, agreement, kind, None).map(|()| id)
    };
    Ok(AgreementAccounts {
        funder: open(AccountKind::Funder)?,
        available: open(AccountKind::Available)?,
        committed: open(AccountKind::Committed)?,
    })
}

/// Opens the account of an allowance's part, under the part's own id.
pub fn open_part(conn: &mut Conn, part: PartId, agreement: AgreementId) -> Result<AccountId> {
    store::insert_account(conn, part.cast(), agreement, AccountKind::Allowance, None)?;
    Ok(part.cast())
}

/// The same for many parts at once.
pub fn open_parts(conn: &mut Conn, parts: &[(PartId, AgreementId)]) -> Result<()> {
    if parts.is_empty() { Ok(()) } else { store::insert_parts(conn, parts) }
}

/// Opens the account of what a hold sets aside of a part, under the hold part's own id.
pub fn open_reserved(conn: &mut Conn, part: HoldPartId, agreement: AgreementId) -> Result<AccountId> {
    store::insert_account(conn, part.cast(), agreement, AccountKind::Reserved, None)?;
    Ok(part.cast())
}

/// What is owed to a producer under an agreement; the account opens with the first sale.
pub fn payable(conn: &mut Conn, now: Instant, agreement: AgreementId, producer: OrganisationId) -> Result<AccountId> {
    account(conn, now, agreement, AccountKind::Payable, Some(producer))
}

/// The accounts of some producers under some agreements.
pub type Payables = BTreeMap<(AgreementId, OrganisationId), AccountId>;

/// Which of them are open.
pub fn ask_payables(of: &[(AgreementId, OrganisationId)]) -> impl Ask<Answer = Vec<Payable>> {
    store::payables(of)
}

/// The same, as it was answered.
pub fn open_payables(found: Vec<Payable>) -> Payables {
    found.into_iter().map(|(agreement, producer, account)| ((agreement, producer), account)).collect()
}

/// The one account of a kind that an agreement has, or has for a producer; it opens with its first use.
pub fn account(
    conn: &mut Conn,
    now: Instant,
    agreement: AgreementId,
    kind: AccountKind,
    producer: Option<OrganisationId>,
) -> Result<AccountId> {
    if let Some(id) = store::account(conn, agreement, kind, producer)? {
        return Ok(id);
    }
    store::insert_if_missing(conn, AccountId::new(now), agreement, kind, producer)?;
    store::account(conn, agreement, kind, producer)?
        .ok_or_else(|| Error::Internal(format!("a {kind} account vanished while it was opened")))
}

/// What each producer has collected for a pot.
pub fn held(conn: &mut Conn, pot: AgreementId) -> Result<BTreeMap<OrganisationId, Cents>> {
    store::held(conn, pot)
}

/// The accounts of each of some agreements, however often each is named, with what `available` holds.
pub fn agreement_accounts(
    conn: &mut Conn,
    agreements: &[AgreementId],
) -> Result<BTreeMap<AgreementId, (AgreementAccounts, Cents)>> {
    let distinct: BTreeSet<AgreementId> = agreements.iter().copied().collect();
    store::agreement_accounts(conn, &distinct.into_iter().collect::<Vec<_>>())
}

pub fn balances(conn: &mut Conn, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Cents>> {
    store::balances(conn, accounts)
}

/// The transfers that something caused, oldest first.
pub fn transfers_of(conn: &mut Conn, reference: ReferenceId) -> Result<Vec<Transfer>> {
    store::transfers_of(conn, &[reference])
}

pub fn transfers_of_all(conn: &mut Conn, references: &[ReferenceId]) -> Result<Vec<Transfer>> {
    store::transfers_of(conn, references)
}

/// What each kind of transfer has moved for an agreement, recorded in `from..until` (either end may be open).
pub fn totals(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Option<Instant>,
    until: Option<Instant>,
) -> Result<Totals> {
    let mut sums = store::totals(conn, agreement, from, until)?;
    let given_back = store::given_back(conn, agreement, from, until)?;
    *sums.entry(TransferCode::Void).or_default() -= given_back;
    Ok(Totals { sums, given_back })
}

/// When an agreement's first transfer of a code was recorded.
pub fn first(conn: &mut Conn, agreement: AgreementId, code: TransferCode) -> Result<Option<Instant>> {
    store::first(conn, agreement, code)
}

/// When an agreement's last transfer was recorded.
pub fn last(conn: &mut Conn, agreement: AgreementId) -> Result<Option<Instant>> {
    store::last(conn, agreement)
}

/// The agreement and producer of each of some payable accounts; what is no payable account is left out.
pub fn payables(conn: &mut Conn, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, (AgreementId, OrganisationId)>> {
    producers_of(conn, AccountKind::Payable, accounts)
}

/// The agreement and producer of each of some accounts of a kind; others are left out.
pub fn producers_of(
    conn: &mut Conn,
    kind: AccountKind,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, (AgreementId, OrganisationId)>> {
    store::producers_of(conn, kind, accounts)
}

/// Every account that transfers of a code have credited, with the last time one did.
pub fn last_credits(conn: &mut Conn, code: TransferCode) -> Result<BTreeMap<AccountId, Instant>> {
    store::last_credits(conn, code)
}

/// How many transfers of some codes there are.
pub fn count(conn: &mut Conn, codes: &[TransferCode]) -> Result<i64> {
    store::count(conn, codes)
}

/// Sums of transfers by code; voids are of what was paid, and apart what was collected for a pot and given back.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    sums: BTreeMap<TransferCode, Cents>,
    given_back: Cents,
}

impl Totals {
    pub fn of(&self, code: TransferCode) -> Cents {
        self.sums.get(&code).copied().unwrap_or_default()
    }

    /// What producers had collected with purchases that were undone.
    pub fn given_back(&self) -> Cents {
        self.given_back
    }

    /// Counts a transfer among them.
    pub fn count(&mut self, code: TransferCode, amount: Cents) {
        *self.sums.entry(code).or_default() += amount;
    }

    /// Counts one that gives back what was collected for a pot.
    pub fn count_given_back(&mut self, amount: Cents) {
        self.given_back += amount;
    }
}
