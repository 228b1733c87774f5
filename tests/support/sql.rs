//! The database behind the service's back, for what no request can show.

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::World;

pub enum Sql {
    Postgresql(PgConnection),
    Sqlite(SqliteConnection),
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl Sql {
    pub fn of(world: &World) -> Self {
        Self::at(&world.database_url)
    }

    pub fn at(database_url: &str) -> Self {
        let Some(path) = database_url.strip_prefix("sqlite://") else {
            return Sql::Postgresql(PgConnection::establish(database_url).unwrap());
        };
        let mut conn = SqliteConnection::establish(path).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;").unwrap();
        Sql::Sqlite(conn)
    }

    /// Runs one or more statements.
    pub fn run(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Sql::Postgresql(conn) => conn.batch_execute(sql),
            Sql::Sqlite(conn) => conn.batch_execute(sql),
        }
    }

    /// The rows of a query with one column of text, named `line`.
    pub fn lines(&mut self, sql: &str) -> Vec<String> {
        let query = diesel::sql_query(sql);
        let rows: QueryResult<Vec<Line>> = match self {
            Sql::Postgresql(conn) => query.load(conn),
            Sql::Sqlite(conn) => query.load(conn),
        };
        rows.unwrap().into_iter().map(|row| row.line).collect()
    }

    /// SQLite's plan of a statement, step by step.
    pub fn plan(&mut self, statement: &str) -> Vec<String> {
        let Sql::Sqlite(conn) = self else { panic!("PostgreSQL tells its plans another way") };
        let steps: Vec<Step> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load(conn).unwrap();
        steps.into_iter().map(|step| step.detail).collect()
    }

    /// The one integer that an expression or query gives.
    pub fn number(&mut self, sql: &str) -> i64 {
        let query = diesel::sql_query(format!("SELECT CAST(({sql}) AS BIGINT) AS number"));
        let row: QueryResult<Number> = match self {
            Sql::Postgresql(conn) => query.get_result(conn),
            Sql::Sqlite(conn) => query.get_result(conn),
        };
        row.unwrap().number
    }

    pub fn tables(&mut self) -> Vec<String> {
        let all = match self {
            Sql::Postgresql(_) => {
                "SELECT table_name::text AS line FROM information_schema.tables WHERE table_schema = 'public'"
            }
            Sql::Sqlite(_) => {
                "SELECT name AS line FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            }
        };
        let mut tables = self.lines(all);
        tables.retain(|table| table != "__diesel_schema_migrations");
        tables.sort();
        tables
    }

    /// How many rows each table has.
    pub fn counts(&mut self) -> Vec<(String, i64)> {
        let tables = self.tables();
        let count = |table: String| (self.number(&format!("SELECT count(*) FROM {table}")), table);
        tables.into_iter().map(count).map(|(count, table)| (table, count)).collect()
    }
}
