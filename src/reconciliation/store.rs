//! What a report reads across the house; it writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;

use crate::db::schema::{accounts, enrolments, organisations, redemptions, transfers};
use crate::db::{Conn, SumCents};
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, EnrolmentId, OrganisationId, ProgrammeId, RedemptionId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{AccountKind, TransferCode};

/// Ids in one statement: below what either database takes.
const CHUNK: usize = 1_000;

#[derive(Clone, Debug)]
pub struct Purchase {
    pub enrolment: EnrolmentId,
    pub producer: OrganisationId,
    pub siret: String,
    pub commune: String,
    pub covered: Cents,
}

pub fn purchases(conn: &mut Conn, ids: &BTreeSet<RedemptionId>) -> Result<BTreeMap<RedemptionId, Purchase>> {
    let ids: Vec<RedemptionId> = ids.iter().copied().collect();
    let mut found = BTreeMap::new();
    for ids in ids.chunks(CHUNK) {
        let rows: Vec<(RedemptionId, EnrolmentId, OrganisationId, String, String, Cents)> = redemptions::table
            .inner_join(enrolments::table.on(enrolments::id.eq(redemptions::enrolment_id)))
            .filter(redemptions::id.eq_any(ids))
            .select((
                redemptions::id,
                redemptions::enrolment_id,
                redemptions::producer_id,
                redemptions::siret,
                enrolments::commune_code,
                redemptions::covered_cents,
            ))
            .load(conn)?;
        let purchase = |(id, enrolment, producer, siret, commune, covered)| {
            (id, Purchase { enrolment, producer, siret, commune, covered })
        };
        found.extend(rows.into_iter().map(purchase));
    }
    Ok(found)
}

/// Names of some producers.
pub fn producers(conn: &mut Conn, ids: &BTreeSet<OrganisationId>) -> Result<BTreeMap<OrganisationId, String>> {
    let names = organisations::table
        .filter(organisations::id.eq_any(ids.iter().copied().collect::<Vec<_>>()))
        .select((organisations::id, organisations::name));
    Ok(names.load(conn)?.into_iter().collect())
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

/// What each producer has collected for a pot (`collect`), or given back (`void`), recorded in `from..until`.
pub fn collected(
    conn: &mut Conn,
    pot: AgreementId,
    code: TransferCode,
    from: Option<Instant>,
    until: Instant,
) -> Result<BTreeMap<OrganisationId, Cents>> {
    let side = accounts::id.eq(transfers::debit_account).or(accounts::id.eq(transfers::credit_account));
    let mut query = transfers::table
        .inner_join(accounts::table.on(side))
        .filter(transfers::agreement_id.eq(pot))
        .filter(transfers::code.eq(code))
        .filter(accounts::kind.eq(AccountKind::Held))
        .filter(transfers::recorded_at.lt(until))
        .group_by(accounts::producer_id)
        .select((accounts::producer_id, SumCents(transfers::amount_cents)))
        .into_boxed();
    if let Some(from) = from {
        query = query.filter(transfers::recorded_at.ge(from));
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
