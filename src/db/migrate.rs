//! Bringing a database's schema up to this program's: forward only, and by one process at a time.

use std::collections::BTreeSet;

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource, Result as Migrated};
use diesel::pg::PgConnection;
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
    /// may do it at once. A database of a newer program is left as it is.
    pub fn migrate(&self) -> Result<usize> {
        let _turn = self.turn();
        let done = match &mut *self.connection()? {
            Conn::Pg(conn) => alone(conn, |conn| forward(conn, || POSTGRES)),
            // all are done or none, and another process waits for the end
            Conn::Sqlite(conn) => conn.immediate_transaction(|conn| forward(conn, || SQLITE)),
        };
        done.map_err(|e| Error::Internal(format!("cannot migrate the database: {e}")))
    }

    pub fn schema(&self) -> Result<Schema> {
        let schema = match &mut *self.connection()? {
            Conn::Pg(conn) => compare(conn, || POSTGRES),
            Conn::Sqlite(conn) => compare(conn, || SQLITE),
        };
        schema.map_err(|e| Error::Internal(format!("cannot read the state of the schema: {e}")))
    }
}

/// What a database of a newer program is refused with.
pub fn newer(version: &str) -> String {
    format!(
        "this database was migrated by a newer version of primeur, to {version}, which this one ({}) does not know: run that version",
        env!("CARGO_PKG_VERSION")
    )
}

type Source = fn() -> EmbeddedMigrations;

fn forward<DB: Backend>(conn: &mut impl MigrationHarness<DB>, all: Source) -> Migrated<usize>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    match compare(conn, all)? {
        Schema::Newer(version) => Err(newer(&version).into()),
        Schema::Current | Schema::Behind => Ok(conn.run_pending_migrations(all())?.len()),
    }
}

fn compare<DB: Backend>(conn: &mut impl MigrationHarness<DB>, all: Source) -> Migrated<Schema>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let version = |migration: &Box<dyn Migration<DB>>| migration.name().version().to_string();
    let known: BTreeSet<String> = all().migrations()?.iter().map(version).collect();
    let run: BTreeSet<String> = conn.applied_migrations()?.iter().map(ToString::to_string).collect();
    Ok(match run.difference(&known).last() {
        Some(unknown) => Schema::Newer(unknown.clone()),
        None if run == known => Schema::Current,
        None => Schema::Behind,
    })
}

/// Two servers that start at once on an empty database would make each table twice.
fn alone<T>(conn: &mut PgConnection, work: impl FnOnce(&mut PgConnection) -> Migrated<T>) -> Migrated<T> {
    conn.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATIONS})"))?;
    let done = work(conn);
    conn.batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATIONS})"))?;
    done
}
