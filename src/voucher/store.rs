//! The SQL of vouchers.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable};

use super::{Presented, State};
use crate::db::schema::vouchers;
use crate::db::{Ask, Conn, Page, RowOf, any_of, column, question, unnested_rows};
use crate::kit::error::Result;
use crate::kit::id::{EnrolmentId, OrganisationId, VoucherId};
use crate::kit::keys::Digest32;
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::{Day, Instant};

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = vouchers, treat_none_as_default_value = false)]
pub struct Voucher {
    pub id: VoucherId,
    pub enrolment_id: EnrolmentId,
    pub organisation_id: OrganisationId,
    pub state: State,
    pub code_digest: Vec<u8>,
    pub code_try: i32,
    pub valid_from: Day,
    pub valid_to: Day,
    pub replaces: Option<VoucherId>,
    pub created_at: Instant,
    /// What it is good for, once; none for the running card.
    pub denomination_cents: Option<Cents>,
}

pub fn insert(conn: &mut Conn, voucher: &Voucher) -> Result<()> {
    diesel::insert_into(vouchers::table).values(voucher).execute(conn)?;
    Ok(())
}

pub fn voucher(conn: &mut Conn, id: VoucherId) -> Result<Option<Voucher>> {
    Ok(vouchers::table.find(id).select(Voucher::as_select()).first(conn).optional()?)
}

/// The cards with some ids, and those with some typed codes.
pub fn shown(ids: Vec<VoucherId>, lookups: Vec<Digest32>) -> impl Ask<Answer = Vec<Voucher>> {
    let read = ids.iter().map(|id| (Some(*id), None));
    let typed = lookups.iter().map(|lookup| (None, Some(lookup.to_vec())));
    let all: Vec<(Option<VoucherId>, Option<Vec<u8>>)> = read.chain(typed).collect();
    let part = unnested_rows::<RowOf<Voucher>, _>(
        "SELECT v.* FROM unnest(",
        (column::<Nullable<ty::Id>, _, _>(&all, |e| e.0), column::<Nullable<Binary>, _, _>(&all, |e| e.1.clone())),
        ") AS e (id, digest) CROSS JOIN LATERAL (SELECT id, enrolment_id, organisation_id, state, code_digest, \
         code_try, valid_from, valid_to, replaces, created_at, denomination_cents FROM vouchers WHERE id = e.id \
         UNION ALL SELECT id, enrolment_id, organisation_id, state, code_digest, code_try, valid_from, valid_to, \
         replaces, created_at, denomination_cents FROM vouchers WHERE code_digest = e.digest LIMIT 1) AS v",
    );
    question(part, move |conn| {
        let mut found = vouchers::table.filter(any_of(vouchers::id, &ids)).select(Voucher::as_select()).load(conn)?;
        for lookup in lookups {
            found.extend(presented(conn, &Presented::Code { lookup })?);
        }
        Ok(found)
    })
}

pub fn presented(conn: &mut Conn, presented: &Presented) -> Result<Option<Voucher>> {
    match presented {
        Presented::Token(id) => voucher(conn, *id),
        Presented::Code { lookup } => Ok(vouchers::table
            .filter(vouchers::code_digest.eq(&lookup[..]))
            .select(Voucher::as_select())
            .first(conn)
            .optional()?),
    }
}

pub fn code_exists(conn: &mut Conn, lookup: &[u8; 32]) -> Result<bool> {
    let same = vouchers::table.filter(vouchers::code_digest.eq(&lookup[..]));
    Ok(diesel::select(diesel::dsl::exists(same)).get_result(conn)?)
}

/// The running card of an enrolment that is not replaced.
pub fn standing(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Option<VoucherId>> {
    Ok(vouchers::table
        .filter(vouchers::enrolment_id.eq(enrolment))
        .filter(vouchers::state.ne(State::Replaced))
        .filter(vouchers::denomination_cents.is_null())
        .select(vouchers::id)
        .first(conn)
        .optional()?)
}

pub fn set_state(conn: &mut Conn, id: VoucherId, state: State) -> Result<()> {
    diesel::update(vouchers::table.find(id)).set(vouchers::state.eq(state)).execute(conn)?;
    Ok(())
}

/// Blocks every voucher of an enrolment that is not replaced.
pub fn block_all(conn: &mut Conn, enrolment: EnrolmentId) -> Result<()> {
    let standing =
        vouchers::table.filter(vouchers::enrolment_id.eq(enrolment)).filter(vouchers::state.eq(State::Active));
    diesel::update(standing).set(vouchers::state.eq(State::Blocked)).execute(conn)?;
    Ok(())
}

pub fn list(
    conn: &mut Conn,
    organisation: OrganisationId,
    enrolment: Option<EnrolmentId>,
    page: &Page<VoucherId>,
) -> Result<Vec<Voucher>> {
    let mut query = vouchers::table
        .filter(vouchers::organisation_id.eq(organisation))
        .order(vouchers::id)
        .limit(page.fetch())
        .select(Voucher::as_select())
        .into_boxed();
    if let Some(enrolment) = enrolment {
        query = query.filter(vouchers::enrolment_id.eq(enrolment));
    }
    if let Some(after) = page.after {
        query = query.filter(vouchers::id.gt(after));
    }
    Ok(query.load(conn)?)
}
