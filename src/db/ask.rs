//! Several questions at once: about a few rows in one statement, as each round trip to PostgreSQL costs as much as reading
//! dozens of them; about many in one each, as rows inside arrays cost it more than rows.

use std::marker::PhantomData;

use diesel::deserialize::{self, FromSql, Queryable, QueryableByName};
use diesel::dsl::SqlTypeOf;
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::LoadQuery;
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::{Array, Record, Untyped};
use diesel::sqlite::SqliteConnection;

use super::backend::Conn;
use crate::kit::error::{Error, Result};

/// One question or a tuple of them.
pub trait Ask: Sized {
    type Answer;
    type Columns: Columns<Answer = Self::Answer> + 'static;

    /// The questions themselves, in order.
    fn questions<'a>(&'a self, all: &mut Vec<&'a dyn QueryFragment<Pg>>);

    /// Asks in statements of their own.
    fn one_by_one(self, conn: &mut Conn) -> Result<Self::Answer>;
}

/// How answers are read from columns.
pub trait Columns {
    type Answer;

    /// Takes them out of the columns from a place on.
    fn read<'r>(row: &impl NamedRow<'r, Pg>, place: &mut usize) -> deserialize::Result<Self::Answer>;
}

/// A column with an array of rows, which are `S`.
#[derive(Debug)]
pub struct ArrayOf<S, R>(PhantomData<(S, R)>);

impl<S: 'static, R> Columns for ArrayOf<S, R>
where
    R: Queryable<S, Pg>,
    R::Row: FromSql<Record<S>, Pg>,
{
    type Answer = Vec<R>;

    fn read<'r>(row: &impl NamedRow<'r, Pg>, place: &mut usize) -> deserialize::Result<Vec<R>> {
        let column = Row::get(row, *place).ok_or("an answer is missing")?;
        *place += 1;
        let rows = <Vec<R::Row> as FromSql<Array<Record<S>>, Pg>>::from_nullable_sql(column.value())?;
        rows.into_iter().map(R::build).collect()
    }
}

/// A question whose answer is rows: as part of a statement of PostgreSQL, and as it is asked of SQLite.
#[derive(Debug)]
pub struct Question<Q, R, F> {
    part: Q,
    alone: F,
    row: PhantomData<R>,
}

/// See [`Question`].
pub fn question<Q, R, F>(part: Q, alone: F) -> Question<Q, R, F>
where
    F: FnOnce(&mut Conn) -> Result<Vec<R>>,
{
    Question { part, alone, row: PhantomData }
}

/// What the rows of `T` are in SQL.
pub type RowOf<T> = SqlTypeOf<<T as Selectable<Pg>>::SelectExpression>;

/// The columns of `T`, in its order.
pub fn columns_of<T: Selectable<Pg>>() -> T::SelectExpression {
    T::construct_selection()
}

/// A query of diesel's that both databases understand.
macro_rules! portable {
    ($query:expr) => {
        $crate::db::question($query, move |conn: &mut $crate::db::Conn| Ok($query.load(conn)?))
    };
}
pub(crate) use portable;

/// SQLite's own connection, for what is asked in its own words.
pub fn sqlite(conn: &mut Conn) -> Result<&mut SqliteConnection> {
    match conn {
        Conn::Sqlite(conn) => Ok(conn),
        Conn::Pg(_) => Err(Error::internal("PostgreSQL was asked in SQLite's words")),
    }
}

/// Up to so many rows are few.
const FEW: usize = 8;

/// Asks about so many rows.
pub fn ask<A: Ask>(conn: &mut Conn, rows: usize, asked: A) -> Result<A::Answer> {
    match conn {
        Conn::Pg(conn) if rows <= FEW => {
            let mut all = Vec::new();
            asked.questions(&mut all);
            let Answers::<A::Columns>(answer) = Together(all).get_result(conn)?;
            Ok(answer)
        }
        _ => asked.one_by_one(conn),
    }
}

impl<Q, R, F> Ask for Question<Q, R, F>
where
    Q: Query + QueryFragment<Pg>,
    Q::SqlType: 'static,
    Q: for<'q> LoadQuery<'q, PgConnection, R>,
    R: Queryable<Q::SqlType, Pg> + 'static,
    R::Row: FromSql<Record<Q::SqlType>, Pg>,
    F: FnOnce(&mut Conn) -> Result<Vec<R>>,
{
    type Answer = Vec<R>;
    type Columns = ArrayOf<Q::SqlType, R>;

    fn questions<'a>(&'a self, all: &mut Vec<&'a dyn QueryFragment<Pg>>) {
        all.push(&self.part);
    }

    fn one_by_one(self, conn: &mut Conn) -> Result<Vec<R>> {
        match conn {
            Conn::Pg(conn) => Ok(self.part.internal_load(conn)?.collect::<QueryResult<_>>()?),
            Conn::Sqlite(_) => (self.alone)(conn),
        }
    }
}

macro_rules! tuples {
    ($(($($kind:ident $place:tt)+))+) => {$(
        impl<$($kind: Ask),+> Ask for ($($kind,)+) {
            type Answer = ($($kind::Answer,)+);
            type Columns = ($($kind::Columns,)+);

            fn questions<'a>(&'a self, all: &mut Vec<&'a dyn QueryFragment<Pg>>) {
                $(self.$place.questions(all);)+
            }

            fn one_by_one(self, conn: &mut Conn) -> Result<Self::Answer> {
                Ok(($(self.$place.one_by_one(conn)?,)+))
            }
        }

        impl<$($kind: Columns),+> Columns for ($($kind,)+) {
            type Answer = ($($kind::Answer,)+);

            fn read<'r>(row: &impl NamedRow<'r, Pg>, place: &mut usize) -> deserialize::Result<Self::Answer> {
                Ok(($($kind::read(row, place)?,)+))
            }
        }
    )+};
}

tuples! {
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
}

/// `SELECT ARRAY(SELECT q FROM (…) q), …`: one row, with an array of rows for each question.
struct Together<'a>(Vec<&'a dyn QueryFragment<Pg>>);

impl QueryFragment<Pg> for Together<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for (place, question) in self.0.iter().enumerate() {
            out.push_sql(if place == 0 { "SELECT " } else { ", " });
            out.push_sql("ARRAY(SELECT q FROM (");
            question.walk_ast(out.reborrow())?;
            out.push_sql(") q)");
        }
        Ok(())
    }
}

/// Connections know it by its text.
impl QueryId for Together<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Together<'_> {
    type SqlType = Untyped;
}

impl RunQueryDsl<PgConnection> for Together<'_> {}

struct Answers<C: Columns>(C::Answer);

impl<C: Columns> QueryableByName<Pg> for Answers<C> {
    fn build<'r>(row: &impl NamedRow<'r, Pg>) -> deserialize::Result<Self> {
        C::read(row, &mut 0).map(Answers)
    }
}
