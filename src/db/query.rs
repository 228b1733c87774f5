//! The few things that diesel's portable connection lacks.

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable};
use diesel::sqlite::Sqlite;

use super::backend::{Conn, MultiBackend};

/// `SELECT … FOR UPDATE` on PostgreSQL; plain on SQLite, whose write transactions exclude each other anyway.
#[derive(Debug, Clone, Copy)]
pub struct Locked<Q>(pub Q);

struct ForUpdate;

impl QueryFragment<Pg> for ForUpdate {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(" FOR UPDATE");
        Ok(())
    }
}

impl QueryFragment<Sqlite> for ForUpdate {
    fn walk_ast<'b>(&'b self, _: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        Ok(())
    }
}

impl<Q: QueryFragment<MultiBackend>> QueryFragment<MultiBackend> for Locked<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        MultiBackend::walk_variant_ast(&ForUpdate, out)
    }
}

impl<Q: QueryId> QueryId for Locked<Q> {
    type QueryId = Locked<Q::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query> Query for Locked<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<Conn> for Locked<Q> {}

/// A statement with `ON CONFLICT`, which both databases have and the portable connection refuses.
#[derive(Debug, Clone, Copy)]
pub struct Upsert<Q>(pub Q);

impl<Q: QueryFragment<Pg> + QueryFragment<Sqlite>> QueryFragment<MultiBackend> for Upsert<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        MultiBackend::walk_variant_ast(&self.0, out)
    }
}

impl<Q: QueryId> QueryId for Upsert<Q> {
    type QueryId = Upsert<Q::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query> Query for Upsert<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<Conn> for Upsert<Q> {}

/// A sum of cents that stays an integer and is 0 over no rows (PostgreSQL's `sum(int8)` is numeric).
#[derive(Debug, Clone, Copy, QueryId)]
pub struct SumCents<E>(pub E);

impl<E: Expression> Expression for SumCents<E> {
    type SqlType = BigInt;
}

impl<E, Group> ValidGrouping<Group> for SumCents<E> {
    type IsAggregate = is_aggregate::Yes;
}

impl<E, Source> SelectableExpression<Source> for SumCents<E>
where
    E: SelectableExpression<Source>,
    Self: AppearsOnTable<Source>,
{
}

impl<E: AppearsOnTable<Source>, Source> AppearsOnTable<Source> for SumCents<E> {}

impl<E: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for SumCents<E> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("CAST(COALESCE(SUM(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql("), 0) AS BIGINT)");
        Ok(())
    }
}

/// Part of some bytes, counted from 1: the same function on both databases.
#[diesel::declare_sql_function]
extern "SQL" {
    fn substr(bytes: Nullable<Binary>, from: Integer, count: Integer) -> Nullable<Binary>;
}

/// The id of the key that a sealed column was sealed with: the bytes after the version.
#[diesel::dsl::auto_type]
pub fn key_of_seal<C>(sealed: C) -> _
where
    C: diesel::expression::AsExpression<Nullable<Binary>>,
{
    substr(sealed, 2_i32, 4_i32)
}

/// One page of a list in order of id: `limit` rows after the cursor, and whether there are more.
#[derive(Debug, Clone, Copy)]
pub struct Page<Cursor> {
    pub after: Option<Cursor>,
    pub limit: i64,
}

impl<Cursor> Page<Cursor> {
    /// Rows to ask for: one more than are shown, to know whether there is a next page.
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// The rows to show, and the cursor of the next page.
    pub fn cut<Row>(&self, mut rows: Vec<Row>, cursor: impl Fn(&Row) -> Cursor) -> (Vec<Row>, Option<Cursor>) {
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        (rows, next)
    }
}
