//! Bringing a database's schema up to this program's: forward only, and by one process at a time.

use std::collections::BTreeSet;

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{MigrationSource, Result as Migrated};
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Db;
use super::backend::Conn;
use crate::kit::error::{Error, Result};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Whoever migrates holds this advisory lock.
const MIGRATIONS: i64 = 0x7072_696d_6575_7203;

/// How a database's schema stands to the one that this program is written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    Current,
    /// Migrations are still to be run.
    Behind,
    /// A newer program has run a migration that this one does not know: its version.
    Newer(String),
}

impl Db {
    /// Brings the schema up to this version of the program; returns how many steps that took. Any number of processes
    /// may do it at once, and where nothing is to be done it needs no right to. A database of a newer program is left
    /// as it is.
    pub fn migrate(&self) -> Result<usize> {
        if self.known_schema()? == Schema::Current {
            return Ok(0);
        }
        let turn = self.turn()?;
        let done = match &mut self.connection_at_leisure()? {
            Conn::Pg(conn) => alone(conn, |conn| forward(conn, POSTGRES)),
            // all are done or none, and another process waits for the end
            Conn::Sqlite(conn) => without_foreign_keys(conn, |conn| {
                conn.immediate_transaction(|conn| {
                    let done = forward(conn, SQLITE)?;
                    unbroken(conn)?;
                    Ok(done)
                })
            }),
        };
        drop(turn);
        let done = done.map_err(|e| Error::Internal(format!("cannot migrate the database: {e}")))?;
        // a newer program may have had its turn before
        self.known_schema().map(|_| done)
    }

    pub fn schema(&self) -> Result<Schema> {
        let state = compare(&mut *self.connection()?);
        state.map_err(|e| Error::Internal(format!("cannot read the state of the schema: {e}")))
    }

    fn known_schema(&self) -> Result<Schema> {
        match self.schema()? {
            Schema::Newer(version) => Err(Error::Internal(newer(&version))),
            schema => Ok(schema),
        }
    }
}

/// What a database of a newer program is refused with.
pub fn newer(version: &str) -> String {
    format!(
        "this database was migrated by a newer version of primeur, to {version}, which this one ({}) does not know: run that version",
        env!("CARGO_PKG_VERSION")
    )
}

fn forward<DB: Backend>(conn: &mut impl MigrationHarness<DB>, all: EmbeddedMigrations) -> Migrated<usize>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    Ok(conn.run_pending_migrations(all)?.len())
}

/// A table that is written anew must be dropped first, with all that refers to it: <https://www.sqlite.org/lang_altertable.html>,
/// section 7. The pragma does nothing inside a transaction.
fn without_foreign_keys<T>(
    conn: &mut SqliteConnection,
    work: impl FnOnce(&mut SqliteConnection) -> Migrated<T>,
) -> Migrated<T> {
    conn.batch_execute("PRAGMA foreign_keys = OFF")?;
    let done = work(conn);
    conn.batch_execute("PRAGMA foreign_keys = ON")?;
    done
}

/// Nothing refers to what is not there.
fn unbroken(conn: &mut SqliteConnection) -> Migrated<()> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        table: String,
    }
    let broken: Vec<Row> = diesel::sql_query(r#"SELECT DISTINCT "table" FROM pragma_foreign_key_check"#).load(conn)?;
    match broken.first() {
        None => Ok(()),
        Some(Row { table }) => Err(format!("rows of {table} refer to rows that are not there").into()),
    }
}

fn compare(conn: &mut Conn) -> Migrated<Schema> {
    let known = match conn {
        Conn::Pg(_) => versions::<Pg>(POSTGRES)?,
        Conn::Sqlite(_) => versions::<Sqlite>(SQLITE)?,
    };
    let run = versions_run(conn)?;
    Ok(match run.difference(&known).last() {
        Some(unknown) => Schema::Newer(unknown.clone()),
        None if run == known => Schema::Current,
        None => Schema::Behind,
    })
}

fn versions<DB: Backend>(all: EmbeddedMigrations) -> Migrated<BTreeSet<String>>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    Ok(all.migrations()?.iter().map(|migration| migration.name().version().to_string()).collect())
}

/// Read plainly: diesel would make the table where there is none, for which a server needs no right.
fn versions_run(conn: &mut Conn) -> QueryResult<BTreeSet<String>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let there = match conn {
        Conn::Pg(_) => "SELECT 'yes' AS version WHERE to_regclass('__diesel_schema_migrations') IS NOT NULL",
        Conn::Sqlite(_) => "SELECT 'yes' AS version FROM sqlite_master WHERE name = '__diesel_schema_migrations'",
    };
    if diesel::sql_query(there).load::<Row>(conn)?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows: Vec<Row> = diesel::sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Two servers that start at once on an empty database would make each table twice.
fn alone<T>(conn: &mut PgConnection, work: impl FnOnce(&mut PgConnection) -> Migrated<T>) -> Migrated<T> {
    conn.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATIONS})"))?;
    let done = work(conn);
    conn.batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATIONS})"))?;
    done
}
