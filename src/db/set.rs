//! Statements about many rows at once, whose text is always the same: each connection prepares them once.

use std::cell::OnceCell;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::expression::{
    AppearsOnTable, AsExpression, Expression, SelectableExpression, TypedExpressionType, ValidGrouping, is_aggregate,
};
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Bool, SingleValue, Text, Untyped};
use diesel::sqlite::{Sqlite, SqliteConnection};
use serde::Serialize;

use super::backend::MultiBackend;
use crate::kit::error::{Error, Result};
use crate::kit::id::Id;
use crate::kit::sql::ty;

/// Whether a column is one of some ids: `= ANY($1)`, or on SQLite `IN (SELECT … json_each(?))`. Diesel's own `eq_any` is
/// another statement on SQLite for each number of ids, and read anew each time.
#[derive(Debug, Clone)]
pub struct AnyOf<C, K: 'static> {
    column: C,
    ids: Ids<K>,
}

#[derive(Debug, Clone)]
struct Ids<K: 'static> {
    ids: Vec<Id<K>>,
    /// The same as a JSON array of hexadecimal text.
    json: OnceCell<String>,
}

/// See [`AnyOf`].
pub fn any_of<C: Expression<SqlType = ty::Id>, K: 'static>(column: C, ids: &[Id<K>]) -> AnyOf<C, K> {
    AnyOf { column, ids: Ids { ids: ids.to_vec(), json: OnceCell::new() } }
}

fn json<K>(ids: &[Id<K>]) -> String {
    let texts: Vec<String> = ids.iter().map(|id| hex(id.as_bytes())).collect();
    if texts.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", texts.join("\",\"")) }
}

impl<C, K> Expression for AnyOf<C, K> {
    type SqlType = Bool;
}

impl<C, K, Group> ValidGrouping<Group> for AnyOf<C, K> {
    type IsAggregate = is_aggregate::No;
}

impl<C, K, Source> SelectableExpression<Source> for AnyOf<C, K> where Self: AppearsOnTable<Source> {}

impl<C: AppearsOnTable<Source>, K, Source> AppearsOnTable<Source> for AnyOf<C, K> {}

impl<C: QueryId, K> QueryId for AnyOf<C, K> {
    type QueryId = AnyOf<C::QueryId, ()>;
    const HAS_STATIC_QUERY_ID: bool = C::HAS_STATIC_QUERY_ID;
}

impl<C: QueryFragment<MultiBackend>, K> QueryFragment<MultiBackend> for AnyOf<C, K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        MultiBackend::walk_variant_ast(&self.ids, out)
    }
}

/// As part of a statement that only PostgreSQL gets.
impl<C: QueryFragment<Pg>, K> QueryFragment<Pg> for AnyOf<C, K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        self.ids.walk_ast(out)
    }
}

/// The same of SQLite's, within another query.
impl<C: QueryFragment<Sqlite>, K> QueryFragment<Sqlite> for AnyOf<C, K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        self.ids.walk_ast(out)
    }
}

impl<K> QueryFragment<Pg> for Ids<K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(" = ANY(");
        out.push_bind_param::<Array<ty::Id>, Vec<Id<K>>>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}

impl<K> QueryFragment<Sqlite> for Ids<K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(" IN (SELECT unhex(value) FROM json_each(");
        out.push_bind_param::<Text, String>(self.json.get_or_init(|| json(&self.ids)))?;
        out.push_sql("))");
        Ok(())
    }
}

/// SQL as it stands, the same at each use, so that it can be prepared: what a partial index asks for must be written out.
#[derive(Debug, Clone, Copy)]
pub struct Verbatim<ST>(&'static str, PhantomData<ST>);

pub fn verbatim<ST>(sql: &'static str) -> Verbatim<ST> {
    Verbatim(sql, PhantomData)
}

/// An id to order by, as an expression: a database does not walk rows in the order of its index, but takes the one that leads
/// to what is due, however much there is else.
macro_rules! unwalked {
    ($id:literal) => {
        $crate::db::verbatim::<$crate::kit::sql::ty::Id>(concat!("COALESCE(", $id, ", ", $id, ")"))
    };
}
pub(crate) use unwalked;

impl<ST: TypedExpressionType> Expression for Verbatim<ST> {
    type SqlType = ST;
}

impl<ST, Group> ValidGrouping<Group> for Verbatim<ST> {
    type IsAggregate = is_aggregate::Never;
}

impl<ST, Source> SelectableExpression<Source> for Verbatim<ST> where Self: AppearsOnTable<Source> {}

impl<ST: TypedExpressionType, Source> AppearsOnTable<Source> for Verbatim<ST> {}

/// Connections know it by its text.
impl<ST> QueryId for Verbatim<ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend, ST> QueryFragment<DB> for Verbatim<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.0);
        Ok(())
    }
}

/// A statement in PostgreSQL's own words around a list of arrays: `… unnest($1, $2, …) …`. `S` is what its rows are.
#[derive(Debug, Clone)]
pub struct Unnested<B, S> {
    before: &'static str,
    columns: B,
    after: &'static str,
    rows: PhantomData<S>,
}

/// A statement of which only the number of rows matters.
pub fn unnested<B>(before: &'static str, columns: B, after: &'static str) -> Unnested<B, Untyped> {
    unnested_rows(before, columns, after)
}

/// One whose rows are `S`.
pub fn unnested_rows<S, B>(before: &'static str, columns: B, after: &'static str) -> Unnested<B, S> {
    Unnested { before, columns, after, rows: PhantomData }
}

impl<B: QueryFragment<Pg>, S> QueryFragment<Pg> for Unnested<B, S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(self.before);
        self.columns.walk_ast(out.reborrow())?;
        out.push_sql(self.after);
        Ok(())
    }
}

/// Connections know it by its text.
impl<B, S> QueryId for Unnested<B, S> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<B, S> Query for Unnested<B, S> {
    type SqlType = S;
}

impl<B, S> RunQueryDsl<PgConnection> for Unnested<B, S> {}

/// A statement in SQLite's own words around a list of rows: `… json_each(?) …`, in which `value ->> 0` is a row's first
/// column. `S` is what its own rows are.
#[derive(Debug, Clone)]
pub struct Listed<S> {
    before: &'static str,
    json: String,
    after: &'static str,
    rows: PhantomData<S>,
}

/// A statement of which only the number of rows matters.
pub fn listed<R: Serialize>(before: &'static str, rows: &[R], after: &'static str) -> Result<Listed<Untyped>> {
    listed_rows(before, rows, after)
}

/// One whose rows are `S`.
pub fn listed_rows<S, R: Serialize>(before: &'static str, rows: &[R], after: &'static str) -> Result<Listed<S>> {
    let json = serde_json::to_string(rows).map_err(Error::internal)?;
    Ok(Listed { before, json, after, rows: PhantomData })
}

/// Bytes in such a list, to be read by `unhex`: `NULL` stays `NULL`.
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

impl<S> QueryFragment<Sqlite> for Listed<S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(self.before);
        out.push_sql(" json_each(");
        out.push_bind_param::<Text, String>(&self.json)?;
        out.push_sql(") ");
        out.push_sql(self.after);
        Ok(())
    }
}

/// Connections know it by its text.
impl<S> QueryId for Listed<S> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S> Query for Listed<S> {
    type SqlType = S;
}

impl<S> RunQueryDsl<SqliteConnection> for Listed<S> {}

/// One column of some rows, as an array to unnest.
pub fn column<ST, T, R>(rows: &[R], of: impl FnMut(&R) -> T) -> <Vec<T> as AsExpression<Array<ST>>>::Expression
where
    ST: SingleValue + 'static,
    Array<ST>: TypedExpressionType + diesel::sql_types::SqlType,
    Vec<T>: AsExpression<Array<ST>>,
{
    rows.iter().map(of).collect::<Vec<T>>().into_sql::<Array<ST>>()
}
