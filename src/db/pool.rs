//! Connections, and the two kinds of transaction: one that reads a single moment, one that writes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, Connection, SimpleConnection, TransactionManager};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{self, ManageConnection, R2D2Connection};
use diesel::sqlite::SqliteConnection;

use super::backend::Conn;
use super::figures::{Figures, Gauges, Waiting};
use crate::kit::error::{Error, Result};
use crate::kit::time::{Clock, Instant};

/// Writers hold this advisory lock shared; a report on a past month takes it alone for a moment, and so waits for them.
const WRITERS: i64 = 0x7072_696d_6575_7201;

/// Whoever writes into the audit log holds this one.
const AUDIT: i64 = 0x7072_696d_6575_7202;

/// Whoever may change how many administrators there are holds this one.
const ADMINISTRATORS: i64 = 0x7072_696d_6575_7210;

/// Every zone's midnight lies on a quarter of an hour of UTC: seconds between two that may be one.
const MIDNIGHTS: i64 = 900;

/// How often a transaction is tried again when the database asks for it.
const TRIES: u32 = 10;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `sqlite://PATH` or `postgres://…`
    pub url: String,
    pub connections: u32,
}

pub(super) struct Manager {
    url: String,
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

impl ManageConnection for Manager {
    type Connection = Conn;
    type Error = r2d2::Error;

    fn connect(&self) -> std::result::Result<Conn, r2d2::Error> {
        if is_postgres(&self.url) {
            return PgConnection::establish(&self.url).map(Conn::Pg).map_err(r2d2::Error::ConnectionError);
        }
        let path = self.url.strip_prefix("sqlite://").unwrap_or(&self.url);
        let mut conn = SqliteConnection::establish(path).map_err(r2d2::Error::ConnectionError)?;
        // FULL: what was answered survives a power cut; the timeout is for other processes, ours take turns by themselves
        conn.batch_execute(
            "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        )
        .map_err(r2d2::Error::QueryError)?;
        Ok(Conn::Sqlite(conn))
    }

    fn is_valid(&self, conn: &mut Conn) -> std::result::Result<(), r2d2::Error> {
        conn.ping().map_err(r2d2::Error::QueryError)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        std::thread::panicking() || conn.is_broken()
    }
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: diesel::r2d2::Pool<Manager>,
    clock: Arc<dyn Clock>,
    /// SQLite has one writer; a queue of our own is fair where its busy-wait is not.
    writer: Option<Arc<Mutex<()>>>,
    gauges: Arc<Gauges>,
}

impl Db {
    /// Connects, without touching the schema.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        let pool = r2d2::Pool::builder()
            .max_size(settings.connections)
            .min_idle(Some(1))
            .connection_timeout(Duration::from_secs(10))
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build(Manager { url: settings.url.clone() })
            .map_err(|e| Error::Unavailable(format!("cannot open the database: {e}")))?;
        let writer = (!is_postgres(&settings.url)).then(|| Arc::new(Mutex::new(())));
        Ok(Db { pool, clock, writer, gauges: Arc::default() })
    }

    /// `sqlite` or `postgresql`.
    pub fn kind(&self) -> &'static str {
        if self.writer.is_some() { "sqlite" } else { "postgresql" }
    }

    /// What the pool is doing at this moment.
    pub fn figures(&self) -> Figures {
        let state = self.pool.state();
        self.gauges.figures(state.connections - state.idle_connections, state.idle_connections, self.pool.max_size())
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Runs `work` in a read-only transaction that sees one single moment.
    pub fn read<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let mut conn = self.connection()?;
        self.snapshot(&mut conn, work)
    }

    /// Like [`Db::read`], after every write that began before has ended: what a month holds then never changes.
    pub fn read_settled<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        // the turn first, as writers do: readers that hold every connection and wait for it would lock them out
        let turn = self.turn();
        let mut conn = self.connection()?;
        match &mut *conn {
            Conn::Pg(conn) => conn.transaction(|conn| {
                diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                    .bind::<diesel::sql_types::BigInt, _>(WRITERS)
                    .execute(conn)
                    .map(drop)
            })?,
            Conn::Sqlite(conn) => conn.immediate_transaction(|_| Ok::<_, diesel::result::Error>(()))?,
        }
        drop(turn);
        self.snapshot(&mut conn, work)
    }

    /// Runs `work` in a transaction that writes, and commits it durably.
    ///
    /// `work` gets the time, read once the transaction has its turn, and is run again when the database asks for it:
    /// it must not have effects elsewhere.
    pub fn write<T>(&self, mut work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            let outcome = {
                let _turn = self.turn();
                let mut conn = self.connection()?;
                self.write_once(&mut conn, &mut work)
            };
            match outcome {
                Err(Error::Retry(cause)) => {
                    tries += 1;
                    self.gauges.retries.fetch_add(1, Ordering::Relaxed);
                    if tries == TRIES {
                        return Err(Error::Unavailable(format!("given up after {TRIES} tries: {cause}")));
                    }
                    let jitter = u64::from(crate::kit::keys::random::<1>()[0]);
                    std::thread::sleep(Duration::from_micros(jitter << tries));
                }
                decided => return decided,
            }
        }
    }

    fn write_once<T>(&self, conn: &mut Conn, work: &mut impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        match conn {
            Conn::Pg(conn) => {
                AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL READ COMMITTED")?;
            }
            Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN IMMEDIATE")?,
        }
        // a panic rolls back too: the pool drops a connection whose thread is panicking
        let outcome = announce(conn).and_then(|()| {
            let now = self.clock.now();
            let value = work(conn, now)?;
            // what it waited for may be of the next day: done again, it is recorded where it belongs
            let day = |at: Instant| at.as_second().div_euclid(MIDNIGHTS);
            if day(self.clock.now()) == day(now) {
                Ok(value)
            } else {
                Err(Error::Retry("a day ended meanwhile".to_owned()))
            }
        });
        let committed = outcome.and_then(|value| {
            <Conn as Connection>::TransactionManager::commit_transaction(conn)?;
            Ok(value)
        });
        if committed.is_err() {
            // fails where a failed COMMIT has already ended the transaction
            let _ = <Conn as Connection>::TransactionManager::rollback_transaction(conn);
        }
        committed
    }

    fn snapshot<T>(&self, conn: &mut Conn, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        match conn {
            Conn::Pg(conn) => {
                AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            }
            Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN")?,
        }
        let outcome = work(conn);
        <Conn as Connection>::TransactionManager::rollback_transaction(conn)?;
        outcome
    }

    pub(super) fn turn(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        let _waiting = Waiting::on(&self.gauges.queue);
        self.writer.as_ref().map(|writer| writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn connection(&self) -> Result<r2d2::PooledConnection<Manager>> {
        if let Some(idle) = self.pool.try_get() {
            return Ok(idle);
        }
        self.gauges.waits.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting::on(&self.gauges.waiting);
        self.pool.get().map_err(|e| Error::Unavailable(format!("no database connection: {e}")))
    }
}

/// What transactions do one after the other, each until its end.
#[derive(Clone, Copy, Debug)]
pub enum Queue {
    /// Writing into the audit log.
    Audit,
    /// Making an administrator by the command line, or disabling one.
    Administrators,
}

/// Waits until no other transaction is in this queue. On SQLite there is one writer anyway.
pub fn wait_in(conn: &mut Conn, queue: Queue) -> Result<()> {
    if let Conn::Pg(conn) = conn {
        let lock = match queue {
            Queue::Audit => AUDIT,
            Queue::Administrators => ADMINISTRATORS,
        };
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<diesel::sql_types::BigInt, _>(lock)
            .execute(conn)?;
    }
    Ok(())
}

/// Makes a writer known to [`Db::read_settled`], before it reads the clock.
fn announce(conn: &mut Conn) -> Result<()> {
    if let Conn::Pg(conn) = conn {
        diesel::sql_query("SELECT pg_advisory_xact_lock_shared($1)")
            .bind::<diesel::sql_types::BigInt, _>(WRITERS)
            .execute(conn)?;
    }
    Ok(())
}
