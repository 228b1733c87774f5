//! Rows one by one. Either database's client would otherwise hold all of a result before it hands on the first.

use diesel::connection::DefaultLoadingMode;
use diesel::pg::{PgConnection, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::query_dsl::LoadQuery;
use diesel::sqlite::SqliteConnection;

use super::backend::Conn;
use crate::kit::error::Result;

/// Runs a query and hands on each row as it comes; the first error ends it. The connection does nothing else meanwhile.
pub fn each_row<'query, Q, Row>(conn: &mut Conn, query: Q, mut each: impl FnMut(Row) -> Result<()>) -> Result<()>
where
    Q: LoadQuery<'query, PgConnection, Row, PgRowByRowLoadingMode>
        + LoadQuery<'query, SqliteConnection, Row, DefaultLoadingMode>
        + 'query,
{
    match conn {
        Conn::Pg(conn) => {
            for row in RunQueryDsl::load_iter::<Row, PgRowByRowLoadingMode>(query, conn)? {
                each(row?)?;
            }
        }
        Conn::Sqlite(conn) => {
            for row in RunQueryDsl::load_iter::<Row, DefaultLoadingMode>(query, conn)? {
                each(row?)?;
            }
        }
    }
    Ok(())
}
