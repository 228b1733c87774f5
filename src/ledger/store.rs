//! The ledger's SQL.

use std::collections::BTreeMap;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};

use super::{AccountKind, AgreementAccounts, TransferCode};
use crate::db::schema::{accounts, transfers};
use crate::db::{
    Ask, Conn, SumCents, Upsert, any_of, column, each_row, hex, listed, listed_rows, question, sqlite, unnested,
    unnested_rows, verbatim,
};
use crate::kit::error::{Error, Result};
use crate::kit::id::{AccountId, AgreementId, OrganisationId, PartId, ReferenceId, TransferId};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::Instant;

/// The conditions of the indexes on accounts, word for word: a database takes such an index for nothing less.
const PAYABLE: &str = "accounts.kind = 'payable'";
const HELD: &str = "accounts.kind = 'held'";
const OF_THE_AGREEMENT: &str = "accounts.kind IN ('funder', 'available', 'committed', 'surplus')";

/// Ids in one statement: below what either database takes.
const CHUNK: usize = 1_000;

/// One immutable line of the journal.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = transfers, treat_none_as_default_value = false)]
pub struct Transfer {
    pub id: TransferId,
    pub debit_account: AccountId,
    pub credit_account: AccountId,
    pub agreement_id: AgreementId,
    pub amount_cents: Cents,
    pub code: TransferCode,
    pub reference: ReferenceId,
    pub reverses: Option<TransferId>,
    pub occurred_at: Instant,
    pub recorded_at: Instant,
    pub digest: Vec<u8>,
}

/// An account with the balance that the database keeps beside the journal.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = accounts)]
pub struct Balance {
    pub id: AccountId,
    pub agreement_id: AgreementId,
    pub kind: AccountKind,
    pub balance_cents: Cents,
}

pub fn insert_account(
    conn: &mut Conn,
    id: AccountId,
    agreement: AgreementId,
    kind: AccountKind,
    producer: Option<OrganisationId>,
) -> Result<()> {
    diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(id),
            accounts::agreement_id.eq(agreement),
            accounts::kind.eq(kind),
            accounts::producer_id.eq(producer),
        ))
        .execute(conn)?;
    Ok(())
}

/// The accounts of some parts, under their own ids.
pub fn insert_parts(conn: &mut Conn, parts: &[(PartId, AgreementId)]) -> Result<()> {
    match conn {
        Conn::Pg(conn) => {
            let (ids, agreements) = (column::<ty::Id, _, _>(parts, |p| p.0), column::<ty::Id, _, _>(parts, |p| p.1));
            unnested(
                "INSERT INTO accounts (id, agreement_id, kind) SELECT p.id, p.agreement_id, 'allowance' FROM unnest(",
                (ids, agreements),
                ") AS p (id, agreement_id)",
            )
            .execute(conn)?;
        }
        Conn::Sqlite(conn) => {
            let rows: Vec<_> = parts.iter().map(|(id, of)| (hex(id.as_bytes()), hex(of.as_bytes()))).collect();
            listed(
                "INSERT INTO accounts (id, agreement_id, kind) \
                 SELECT unhex(value ->> 0), unhex(value ->> 1), 'allowance' FROM",
                &rows,
                "",
            )?
            .execute(conn)?;
        }
    }
    Ok(())
}

/// Two sales may open the same account at once: the second finds the first's.
pub fn insert_if_missing(
    conn: &mut Conn,
    id: AccountId,
    agreement: AgreementId,
    kind: AccountKind,
    producer: Option<OrganisationId>,
) -> Result<()> {
    let insert = diesel::insert_into(accounts::table)
        .values((
            accounts::id.eq(id),
            accounts::agreement_id.eq(agreement),
            accounts::kind.eq(kind),
            accounts::producer_id.eq(producer),
        ))
        .on_conflict_do_nothing();
    Upsert(insert).execute(conn)?;
    Ok(())
}

pub fn account(
    conn: &mut Conn,
    agreement: AgreementId,
    kind: AccountKind,
    producer: Option<OrganisationId>,
) -> Result<Option<AccountId>> {
    let of_agreement = accounts::table.filter(accounts::agreement_id.eq(agreement)).select(accounts::id);
    let found = match producer {
        Some(producer) => {
            let theirs = of_agreement.filter(accounts::producer_id.eq(producer));
            match kind {
                AccountKind::Held => theirs.filter(verbatim::<Bool>(HELD)).first(conn),
                _ => theirs.filter(verbatim::<Bool>(PAYABLE)).filter(accounts::kind.eq(kind)).first(conn),
            }
        }
        None => of_agreement.filter(verbatim::<Bool>(OF_THE_AGREEMENT)).filter(accounts::kind.eq(kind)).first(conn),
    };
    Ok(found.optional()?)
}

/// What each producer's account for a pot is below zero.
pub fn held(conn: &mut Conn, pot: AgreementId) -> Result<BTreeMap<OrganisationId, Cents>> {
    let rows: Vec<(OrganisationId, Cents)> = accounts::table
        .filter(accounts::agreement_id.eq(pot))
        .filter(accounts::kind.eq(AccountKind::Held))
        .filter(accounts::producer_id.is_not_null())
        .select((accounts::producer_id.assume_not_null(), accounts::balance_cents))
        .load(conn)?;
    Ok(rows.into_iter().map(|(producer, balance)| (producer, -balance)).collect())
}

/// Writes lines of the journal, and then changes the balances, in the order given. The check of each and its change are one
/// and cannot be parted.
pub fn post(conn: &mut Conn, transfers: &[Transfer], changes: &[(AccountId, Cents)]) -> Result<()> {
    let moved = match conn {
        Conn::Pg(conn) => post_unnested(conn, transfers, changes)?,
        Conn::Sqlite(conn) => {
            let row = |t: &Transfer| {
                let accounts = (hex(t.debit_account.as_bytes()), hex(t.credit_account.as_bytes()));
                let ids = (hex(t.id.as_bytes()), accounts.0, accounts.1, hex(t.agreement_id.as_bytes()));
                let (of, undone) = (hex(t.reference.as_bytes()), t.reverses.map(|id| hex(id.as_bytes())));
                let at = (t.occurred_at.as_microsecond(), t.recorded_at.as_microsecond());
                (ids.0, ids.1, ids.2, ids.3, t.amount_cents.0, t.code.as_str(), of, undone, at.0, at.1, hex(&t.digest))
            };
            let rows: Vec<_> = transfers.iter().map(row).collect();
            listed(
                "INSERT INTO transfers (id, debit_account, credit_account, agreement_id, amount_cents, code, reference, \
                 reverses, occurred_at, recorded_at, digest) \
                 SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), unhex(value ->> 3), value ->> 4, \
                 value ->> 5, unhex(value ->> 6), unhex(value ->> 7), value ->> 8, value ->> 9, unhex(value ->> 10) FROM",
                &rows,
                "",
            )?
            .execute(conn)?;
            let rows: Vec<_> = changes.iter().map(|(account, change)| (hex(account.as_bytes()), change.0)).collect();
            listed(
                "UPDATE accounts SET balance_cents = balance_cents + change.cents \
                 FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS cents FROM",
                &rows,
                ") AS change WHERE accounts.id = change.id \
                 AND (accounts.kind IN ('funder', 'held') OR accounts.balance_cents >= -change.cents)",
            )?
            .execute(conn)?
        }
    };
    if moved == changes.len() {
        return Ok(());
    }
    let accounts: Vec<String> = changes.iter().map(|(account, change)| format!("{account} by {change}")).collect();
    Err(Error::Internal(format!("an account is missing or would be overdrawn, of: {}", accounts.join(", "))))
}

/// The balances last, as others wait for these rows until the end.
fn post_unnested(conn: &mut PgConnection, transfers: &[Transfer], changes: &[(AccountId, Cents)]) -> Result<usize> {
    let ids = column::<ty::Id, _, _>(transfers, |t| t.id);
    let debits = column::<ty::Id, _, _>(transfers, |t| t.debit_account);
    let credits = column::<ty::Id, _, _>(transfers, |t| t.credit_account);
    let agreements = column::<ty::Id, _, _>(transfers, |t| t.agreement_id);
    let amounts = column::<BigInt, _, _>(transfers, |t| t.amount_cents.0);
    let codes = column::<Text, _, _>(transfers, |t| t.code.as_str());
    let references = column::<ty::Id, _, _>(transfers, |t| t.reference);
    let reversed = column::<Nullable<ty::Id>, _, _>(transfers, |t| t.reverses);
    let occurred = column::<ty::Instant, _, _>(transfers, |t| t.occurred_at);
    let recorded = column::<ty::Instant, _, _>(transfers, |t| t.recorded_at);
    let digests = column::<Binary, _, _>(transfers, |t| t.digest.clone());
    unnested(
        "INSERT INTO transfers (id, debit_account, credit_account, agreement_id, amount_cents, code, reference, \
         reverses, occurred_at, recorded_at, digest) SELECT * FROM unnest(",
        ((ids, debits, credits, agreements, amounts, codes), (references, reversed, occurred, recorded, digests)),
        ")",
    )
    .execute(conn)?;
    let accounts = column::<ty::Id, _, _>(changes, |change| change.0);
    let balances = (accounts, column::<BigInt, _, _>(changes, |change| change.1.0));
    let moved: i64 = unnested_rows::<BigInt, _>("SELECT move_balances(", balances, ")").get_result(conn)?;
    Ok(usize::try_from(moved).unwrap_or(0))
}

/// An account for what is owed under an agreement to a producer.
pub type Payable = (AgreementId, OrganisationId, AccountId);

/// The payable accounts that some producers have under some agreements.
pub fn payables(of: &[(AgreementId, OrganisationId)]) -> impl Ask<Answer = Vec<Payable>> {
    let part = unnested_rows::<(ty::Id, ty::Id, ty::Id), _>(
        "SELECT p.agreement_id, p.producer_id, a.id FROM unnest(",
        (column::<ty::Id, _, _>(of, |pair| pair.0), column::<ty::Id, _, _>(of, |pair| pair.1)),
        ") AS p (agreement_id, producer_id) CROSS JOIN LATERAL (SELECT id FROM accounts WHERE kind = 'payable' \
         AND agreement_id = p.agreement_id AND producer_id = p.producer_id LIMIT 1) AS a",
    );
    question(part, move |conn| {
        let of: Vec<_> = of.iter().map(|pair| (hex(pair.0.as_bytes()), hex(pair.1.as_bytes()))).collect();
        let query = listed_rows::<(ty::Id, ty::Id, ty::Id), _>(
            "SELECT a.agreement_id, a.producer_id, a.id FROM",
            &of,
            "AS pair CROSS JOIN accounts AS a ON a.kind = 'payable' AND a.agreement_id = unhex(pair.value ->> 0) \
             AND a.producer_id = unhex(pair.value ->> 1)",
        )?;
        Ok(query.load(sqlite(conn)?)?)
    })
}

pub fn agreement_accounts(
    conn: &mut Conn,
    agreements: &[AgreementId],
) -> Result<BTreeMap<AgreementId, (AgreementAccounts, Cents)>> {
    let rows: Vec<Balance> = accounts::table
        .filter(any_of(accounts::agreement_id, agreements))
        .filter(verbatim::<Bool>(OF_THE_AGREEMENT))
        .select(Balance::as_select())
        .load(conn)?;
    let find = |agreement: AgreementId, kind: AccountKind| {
        rows.iter()
            .find(|row| row.agreement_id == agreement && row.kind == kind)
            .ok_or_else(|| Error::Internal(format!("agreement {agreement} has no {kind} account")))
    };
    let mut found = BTreeMap::new();
    for &agreement in agreements {
        let available = find(agreement, AccountKind::Available)?;
        let accounts = AgreementAccounts {
            funder: find(agreement, AccountKind::Funder)?.id,
            available: available.id,
            committed: find(agreement, AccountKind::Committed)?.id,
        };
        found.insert(agreement, (accounts, available.balance_cents));
    }
    Ok(found)
}

pub fn balances(conn: &mut Conn, ids: &[AccountId]) -> Result<BTreeMap<AccountId, Cents>> {
    let rows = accounts::table.filter(accounts::id.eq_any(ids)).select((accounts::id, accounts::balance_cents));
    Ok(rows.load(conn)?.into_iter().collect())
}

pub fn transfers_of(conn: &mut Conn, references: &[ReferenceId]) -> Result<Vec<Transfer>> {
    Ok(transfers::table
        .filter(transfers::reference.eq_any(references))
        .order((transfers::recorded_at, transfers::id))
        .select(Transfer::as_select())
        .load(conn)?)
}

pub fn totals(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Option<Instant>,
    until: Option<Instant>,
) -> Result<BTreeMap<TransferCode, Cents>> {
    let mut query = transfers::table
        .filter(transfers::agreement_id.eq(agreement))
        .group_by(transfers::code)
        .select((transfers::code, SumCents(transfers::amount_cents)))
        .into_boxed();
    if let Some(from) = from {
        query = query.filter(transfers::recorded_at.ge(from));
    }
    if let Some(until) = until {
        query = query.filter(transfers::recorded_at.lt(until));
    }
    Ok(query.load(conn)?.into_iter().collect())
}

/// What was collected for a pot and given back by voids.
pub fn given_back(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Option<Instant>,
    until: Option<Instant>,
) -> Result<Cents> {
    let mut query = transfers::table
        .inner_join(accounts::table.on(accounts::id.eq(transfers::debit_account)))
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::code.eq(TransferCode::Void))
        .filter(accounts::kind.eq(AccountKind::Surplus))
        .select(SumCents(transfers::amount_cents))
        .into_boxed();
    if let Some(from) = from {
        query = query.filter(transfers::recorded_at.ge(from));
    }
    if let Some(until) = until {
        query = query.filter(transfers::recorded_at.lt(until));
    }
    Ok(query.first(conn)?)
}

pub fn first(conn: &mut Conn, agreement: AgreementId, code: TransferCode) -> Result<Option<Instant>> {
    Ok(transfers::table
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::code.eq(code))
        .order(transfers::recorded_at)
        .select(transfers::recorded_at)
        .first(conn)
        .optional()?)
}

pub fn count(conn: &mut Conn, codes: &[TransferCode]) -> Result<i64> {
    Ok(transfers::table.filter(transfers::code.eq_any(codes)).count().get_result(conn)?)
}

/// A page of the whole journal, for verification.
pub fn transfers_after(conn: &mut Conn, after: Option<TransferId>, limit: i64) -> Result<Vec<Transfer>> {
    let mut query = transfers::table.order(transfers::id).limit(limit).select(Transfer::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(transfers::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn accounts_after(conn: &mut Conn, after: Option<AccountId>, limit: i64) -> Result<Vec<Balance>> {
    let mut query = accounts::table.order(accounts::id).limit(limit).select(Balance::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(accounts::id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// The agreement and producer of each of some accounts of a kind; others are left out.
pub fn producers_of(
    conn: &mut Conn,
    kind: AccountKind,
    ids: &[AccountId],
) -> Result<BTreeMap<AccountId, (AgreementId, OrganisationId)>> {
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<(AccountId, AgreementId, OrganisationId)> = accounts::table
            .filter(accounts::id.eq_any(ids))
            .filter(accounts::kind.eq(kind))
            .filter(accounts::producer_id.is_not_null())
            .select((accounts::id, accounts::agreement_id, accounts::producer_id.assume_not_null()))
            .load(conn)?;
        found.extend(rows.into_iter().map(|(id, agreement, producer)| (id, (agreement, producer))));
    }
    Ok(found)
}

/// Every account that transfers of a code have credited, with the last time one did.
pub fn last_credits(conn: &mut Conn, code: TransferCode) -> Result<BTreeMap<AccountId, Instant>> {
    let credits = transfers::table
        .filter(transfers::code.eq(code))
        .order(transfers::recorded_at)
        .select((transfers::credit_account, transfers::recorded_at));
    let mut last = BTreeMap::new();
    each_row(conn, credits, |(account, at)| {
        last.insert(account, at);
        Ok(())
    })?;
    Ok(last)
}

/// When an agreement's last transfer was recorded.
pub fn last(conn: &mut Conn, agreement: AgreementId) -> Result<Option<Instant>> {
    Ok(transfers::table
        .filter(transfers::agreement_id.eq(agreement))
        .order(transfers::recorded_at.desc())
        .select(transfers::recorded_at)
        .first(conn)
        .optional()?)
}
