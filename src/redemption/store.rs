//! The SQL of redemptions, their lines, and voids.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{BasketLine, Purchase};
use crate::db::schema::{holds, redemption_lines, redemptions, voids};
use crate::db::{Ask, Conn, Page, column, question, unnested, unnested_rows};
use crate::kit::error::Result;
use crate::kit::id::{EnrolmentId, HoldId, OrganisationId, PersonId, RedemptionId, StallId, VoucherId};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::Instant;
use crate::programme::Category;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = redemptions, treat_none_as_default_value = false)]
pub struct Redemption {
    pub id: RedemptionId,
    pub voucher_id: VoucherId,
    pub enrolment_id: EnrolmentId,
    pub producer_id: OrganisationId,
    pub stall_id: StallId,
    pub person_id: PersonId,
    /// The producer's on the day: a move later changes no closed month.
    pub siret: String,
    pub basket_cents: Cents,
    pub covered_cents: Cents,
    /// The first instant at which it can no longer be undone.
    pub void_until: Instant,
    pub occurred_at: Instant,
    pub recorded_at: Instant,
    /// What the household paid above the price, for the pot.
    pub surplus_cents: Cents,
    /// What it captured.
    pub hold_id: Option<HoldId>,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = redemption_lines)]
pub struct Line {
    pub redemption_id: RedemptionId,
    pub position: i32,
    pub category: Category,
    pub amount_cents: Cents,
    /// In order, by spaces.
    pub labels: String,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = voids, treat_none_as_default_value = false)]
pub struct Void {
    pub redemption_id: RedemptionId,
    pub person_id: PersonId,
    pub reason: Option<String>,
    pub recorded_at: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    pub stall: Option<StallId>,
    pub from: Option<Instant>,
    pub until: Option<Instant>,
}

/// Writes some purchases with the lines of each, which come back in the same order.
pub fn insert(
    conn: &mut Conn,
    purchases: &[Redemption],
    baskets: &[(RedemptionId, &[BasketLine])],
) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for &(redemption_id, basket) in baskets {
        for (position, line) in (1..).zip(basket) {
            let &BasketLine { category, amount: amount_cents, .. } = line;
            lines.push(Line { redemption_id, position, category, amount_cents, labels: line.labels_in_order() });
        }
    }
    match conn {
        Conn::Pg(conn) => {
            insert_unnested(conn, purchases)?;
            if !lines.is_empty() {
                diesel::insert_into(redemption_lines::table).values(&lines).execute(conn)?;
            }
        }
        Conn::Sqlite(conn) => {
            for purchase in purchases {
                diesel::insert_into(redemptions::table).values(purchase).execute(conn)?;
            }
            for line in &lines {
                diesel::insert_into(redemption_lines::table).values(line).execute(conn)?;
            }
        }
    }
    Ok(lines)
}

fn insert_unnested(conn: &mut PgConnection, purchases: &[Redemption]) -> Result<()> {
    let ids = (
        column::<ty::Id, _, _>(purchases, |p| p.id),
        column::<ty::Id, _, _>(purchases, |p| p.voucher_id),
        column::<ty::Id, _, _>(purchases, |p| p.enrolment_id),
        column::<ty::Id, _, _>(purchases, |p| p.producer_id),
        column::<ty::Id, _, _>(purchases, |p| p.stall_id),
        column::<ty::Id, _, _>(purchases, |p| p.person_id),
    );
    let rest = (
        column::<Text, _, _>(purchases, |p| p.siret.clone()),
        column::<BigInt, _, _>(purchases, |p| p.basket_cents.0),
        column::<BigInt, _, _>(purchases, |p| p.covered_cents.0),
        column::<ty::Instant, _, _>(purchases, |p| p.void_until),
        column::<ty::Instant, _, _>(purchases, |p| p.occurred_at),
        column::<ty::Instant, _, _>(purchases, |p| p.recorded_at),
        column::<BigInt, _, _>(purchases, |p| p.surplus_cents.0),
        column::<Nullable<ty::Id>, _, _>(purchases, |p| p.hold_id),
    );
    let insert = unnested(
        "INSERT INTO redemptions (id, voucher_id, enrolment_id, producer_id, stall_id, person_id, siret, basket_cents, \
         covered_cents, void_until, occurred_at, recorded_at, surplus_cents, hold_id) SELECT * FROM unnest(",
        (ids, rest),
        ")",
    );
    insert.execute(conn)?;
    Ok(())
}

pub fn insert_void(conn: &mut Conn, void: &Void) -> Result<()> {
    diesel::insert_into(voids::table).values(void).execute(conn)?;
    Ok(())
}

pub fn redemption(conn: &mut Conn, id: RedemptionId) -> Result<Option<Redemption>> {
    Ok(redemptions::table.find(id).select(Redemption::as_select()).first(conn).optional()?)
}

/// A purchase that was not undone.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Bought {
    pub enrolment: EnrolmentId,
    pub voucher: VoucherId,
    pub stall: StallId,
    pub basket: Cents,
    pub covered: Cents,
    pub recorded_at: Instant,
    /// Where it was fetched later.
    pub set_aside_at: Option<Instant>,
}

/// What some enrolments have bought, each since an instant of its own.
pub fn bought_since(of: &[(EnrolmentId, Instant)]) -> impl Ask<Answer = Vec<Bought>> {
    let part = unnested_rows::<BoughtRow, _>(
        "SELECT e.id, r.* FROM unnest(",
        (column::<ty::Id, _, _>(of, |of| of.0), column::<ty::Instant, _, _>(of, |of| of.1)),
        ") AS e (id, since) CROSS JOIN LATERAL (\
         SELECT r.voucher_id, r.stall_id, r.basket_cents, r.covered_cents, r.recorded_at, \
         (SELECT created_at FROM holds WHERE id = r.hold_id AND stall_id IS NOT NULL) AS set_aside_at \
         FROM redemptions r WHERE r.enrolment_id = e.id AND r.recorded_at >= e.since \
         AND (SELECT recorded_at FROM voids WHERE redemption_id = r.id) IS NULL OFFSET 0) AS r",
    );
    question(part, move |conn| {
        let mut found = Vec::new();
        for &(enrolment, since) in of {
            let basket = redemptions::hold_id.eq(holds::id.nullable()).and(holds::stall_id.is_not_null());
            let query = redemptions::table
                .left_join(voids::table)
                .left_join(holds::table.on(basket))
                .filter(redemptions::enrolment_id.eq(enrolment))
                .filter(redemptions::recorded_at.ge(since))
                .filter(voids::recorded_at.is_null())
                .select((
                    redemptions::enrolment_id,
                    redemptions::voucher_id,
                    redemptions::stall_id,
                    redemptions::basket_cents,
                    redemptions::covered_cents,
                    redemptions::recorded_at,
                    holds::created_at.nullable(),
                ));
            found.extend(query.load::<Bought>(conn)?);
        }
        Ok(found)
    })
}

/// As SQL has it.
type BoughtRow = (ty::Id, ty::Id, ty::Id, BigInt, BigInt, ty::Instant, Nullable<ty::Instant>);

pub fn list(
    conn: &mut Conn,
    producer: OrganisationId,
    filter: &Filter,
    page: &Page<RedemptionId>,
) -> Result<Vec<Redemption>> {
    let mut query = redemptions::table
        .filter(redemptions::producer_id.eq(producer))
        .order(redemptions::id.desc())
        .limit(page.fetch())
        .select(Redemption::as_select())
        .into_boxed();
    if let Some(stall) = filter.stall {
        query = query.filter(redemptions::stall_id.eq(stall));
    }
    if let Some(from) = filter.from {
        query = query.filter(redemptions::recorded_at.ge(from));
    }
    if let Some(until) = filter.until {
        query = query.filter(redemptions::recorded_at.lt(until));
    }
    if let Some(after) = page.after {
        query = query.filter(redemptions::id.lt(after));
    }
    Ok(query.load(conn)?)
}

pub fn of_enrolment(conn: &mut Conn, enrolment: EnrolmentId) -> Result<Vec<Redemption>> {
    Ok(redemptions::table
        .filter(redemptions::enrolment_id.eq(enrolment))
        .order(redemptions::id)
        .select(Redemption::as_select())
        .load(conn)?)
}

/// Adds their lines and voids to some redemptions.
pub fn complete(conn: &mut Conn, of: Vec<Redemption>) -> Result<Vec<Purchase>> {
    let ids: Vec<RedemptionId> = of.iter().map(|redemption| redemption.id).collect();
    let lines: Vec<Line> = redemption_lines::table
        .filter(redemption_lines::redemption_id.eq_any(&ids))
        .order((redemption_lines::redemption_id, redemption_lines::position))
        .select(Line::as_select())
        .load(conn)?;
    let voids: Vec<Void> =
        voids::table.filter(voids::redemption_id.eq_any(&ids)).select(Void::as_select()).load(conn)?;
    let complete = |redemption: Redemption| Purchase {
        lines: lines.iter().filter(|line| line.redemption_id == redemption.id).cloned().collect(),
        void: voids.iter().find(|void| void.redemption_id == redemption.id).cloned(),
        redemption,
    };
    Ok(of.into_iter().map(complete).collect())
}

/// A page of all redemptions, for verification.
pub fn after(conn: &mut Conn, after: Option<RedemptionId>, limit: i64) -> Result<Vec<Redemption>> {
    let mut query = redemptions::table.order(redemptions::id).limit(limit).select(Redemption::as_select()).into_boxed();
    if let Some(after) = after {
        query = query.filter(redemptions::id.gt(after));
    }
    Ok(query.load(conn)?)
}
