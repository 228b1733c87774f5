//! What a report reads across the house; it writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::db::schema::{accounts, enrolments, organisations, redemptions, transfers};
use crate::db::{Conn, SumCents, each_row};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, EnrolmentId, OrganisationId, ProgrammeId, RedemptionId, ReferenceId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{AccountKind, TransferCode};

/// Ids in one statement: below what either database takes.
const CHUNK: usize = 1_000;

/// A transfer, and the purchase that it pays or undoes.
#[derive(Clone, Debug, Queryable)]
pub struct Entry {
    pub reference: ReferenceId,
    pub code: TransferCode,
    pub amount: Cents,
    pub occurred_at: Instant,
    pub purchase: Option<Purchase>,
}

#[derive(Clone, Debug, Queryable)]
pub struct Purchase {
    pub enrolment: EnrolmentId,
    pub producer: OrganisationId,
    pub siret: String,
    pub covered: Cents,
}

/// Every transfer of an agreement that was recorded in `from..until`.
pub fn entries(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Instant,
    until: Instant,
    each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let purchase =
        (redemptions::enrolment_id, redemptions::producer_id, redemptions::siret, redemptions::covered_cents);
    let entries = transfers::table
        .left_join(redemptions::table.on(redemptions::id.eq(transfers::reference)))
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::recorded_at.ge(from))
        .filter(transfers::recorded_at.lt(until))
        .select((
            transfers::reference,
            transfers::code,
            transfers::amount_cents,
            transfers::occurred_at,
            purchase.nullable(),
        ));
    each_row(conn, entries, each)
}

/// What purchases and their voids sum up to; without what was collected for a pot and given back, where nothing was paid.
pub fn bought(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Instant,
    until: Instant,
) -> Result<BTreeMap<TransferCode, Cents>> {
    let sums = transfers::table
        .inner_join(redemptions::table.on(redemptions::id.eq(transfers::reference)))
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::code.eq_any([TransferCode::Redeem, TransferCode::Void]))
        .filter(transfers::recorded_at.ge(from))
        .filter(transfers::recorded_at.lt(until))
        .filter(redemptions::covered_cents.gt(Cents::ZERO))
        .group_by(transfers::code)
        .select((transfers::code, SumCents(transfers::amount_cents)));
    Ok(sums.load(conn)?.into_iter().collect())
}

/// A purchase whose parts, or those of its void, are more than it covered; and how much they are.
pub fn overpaid(
    conn: &mut Conn,
    agreement: AgreementId,
    from: Instant,
    until: Instant,
) -> Result<Option<(RedemptionId, Cents)>> {
    Ok(transfers::table
        .inner_join(redemptions::table.on(redemptions::id.eq(transfers::reference)))
        .filter(transfers::agreement_id.eq(agreement))
        .filter(transfers::code.eq_any([TransferCode::Redeem, TransferCode::Void]))
        .filter(transfers::recorded_at.ge(from))
        .filter(transfers::recorded_at.lt(until))
        .filter(redemptions::covered_cents.gt(Cents::ZERO))
        .group_by((transfers::reference, transfers::code, redemptions::covered_cents))
        .having(SumCents(transfers::amount_cents).gt(redemptions::covered_cents))
        .select((transfers::reference, SumCents(transfers::amount_cents)))
        .first(conn)
        .optional()?)
}

/// The enrolments of a programme with their communes, in order of id.
pub fn communes(
    conn: &mut Conn,
    programme: ProgrammeId,
    mut each: impl FnMut(EnrolmentId, String) -> Result<()>,
) -> Result<()> {
    let all = enrolments::table
        .filter(enrolments::programme_id.eq(programme))
        .order(enrolments::id)
        .select((enrolments::id, enrolments::commune_code));
    each_row(conn, all, |(enrolment, commune)| each(enrolment, commune))
}

/// Names of some producers.
pub fn producers(conn: &mut Conn, ids: &BTreeSet<OrganisationId>) -> Result<BTreeMap<OrganisationId, String>> {
    let mut names = BTreeMap::new();
    for ids in ids.iter().copied().collect::<Vec<_>>().chunks(CHUNK) {
        let some =
            organisations::table.filter(organisations::id.eq_any(ids)).select((organisations::id, organisations::name));
        names.extend(some.load::<(OrganisationId, String)>(conn)?);
    }
    Ok(names)
}

/// How many households of each commune were in a programme at some time in `from..until`.
pub fn households(
    conn: &mut Conn,
    programme: ProgrammeId,
    from: Instant,
    until: Instant,
) -> Result<BTreeMap<String, i64>> {
    let (left, closed) = (enrolments::left_at.assume_not_null(), enrolments::closes_at.assume_not_null());
    let gone = enrolments::left_at.is_not_null().and(left.lt(from));
    let over = enrolments::left_at.is_null().and(enrolments::closes_at.is_not_null()).and(closed.lt(from));
    let counts = enrolments::table
        .filter(enrolments::programme_id.eq(programme))
        .filter(enrolments::activated_at.lt(until))
        .filter(diesel::dsl::not(gone.or(over)))
        .group_by(enrolments::commune_code)
        .select((enrolments::commune_code, diesel::dsl::count(enrolments::household_id).aggregate_distinct()));
    Ok(counts.load(conn)?.into_iter().collect())
}

/// What each producer has collected for a pot (`collect`), or given back (`void`), recorded from an instant on, and before
/// another if there is one.
pub fn collected(
    conn: &mut Conn,
    pot: AgreementId,
    code: TransferCode,
    from: Instant,
    until: Option<Instant>,
) -> Result<BTreeMap<OrganisationId, Cents>> {
    let side = accounts::id.eq(transfers::debit_account).or(accounts::id.eq(transfers::credit_account));
    let mut query = transfers::table
        .inner_join(accounts::table.on(side))
        .filter(transfers::agreement_id.eq(pot))
        .filter(transfers::code.eq(code))
        .filter(accounts::kind.eq(AccountKind::Held))
        .filter(transfers::recorded_at.ge(from))
        .group_by(accounts::producer_id)
        .select((accounts::producer_id, SumCents(transfers::amount_cents)))
        .into_boxed();
    if let Some(until) = until {
        query = query.filter(transfers::recorded_at.lt(until));
    }
    let rows: Vec<(Option<OrganisationId>, Cents)> = query.load(conn)?;
    Ok(rows.into_iter().filter_map(|(producer, sum)| Some((producer?, sum))).collect())
}

/// What an agreement's accounts hold, by kind.
pub fn held(conn: &mut Conn, agreement: AgreementId) -> Result<BTreeMap<AccountKind, Cents>> {
    let sums = accounts::table
        .filter(accounts::agreement_id.eq(agreement))
        .group_by(accounts::kind)
        .select((accounts::kind, SumCents(accounts::balance_cents)));
    Ok(sums.load(conn)?.into_iter().collect())
}

/// The same of the few accounts that are no household's.
pub fn held_by_others(conn: &mut Conn, agreement: AgreementId) -> Result<BTreeMap<AccountKind, Cents>> {
    // in so many words, as a database looks for a partial index before it knows what is bound; and each by its own
    let one_each = sql::<Bool>("accounts.kind IN ('funder', 'available', 'committed', 'surplus')");
    let mut sums = BTreeMap::new();
    for kinds in [one_each, sql::<Bool>("accounts.kind = 'payable'"), sql::<Bool>("accounts.kind = 'held'")] {
        let of = accounts::table
            .filter(accounts::agreement_id.eq(agreement))
            .filter(kinds)
            .group_by(accounts::kind)
            .select((accounts::kind, SumCents(accounts::balance_cents)));
        sums.extend(of.load::<(AccountKind, Cents)>(conn)?);
    }
    Ok(sums)
}
