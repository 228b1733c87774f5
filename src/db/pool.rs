//! Connections, and the two kinds of transaction: one that reads a single moment, one that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, Connection, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2;
use diesel::sql_types::{BigInt, Nullable};

use super::backend::Conn;
use super::connect::{Manager, Settings, end};
use super::figures::{Figures, Gauges, Waiting};
use super::fold::Journal;
use super::schema::clock;
use super::set::{unnested, verbatim};
use super::turn::{Turn, Turns};
use super::wipe;
use crate::kit::error::{Error, Result};
use crate::kit::keys::Digest32;
use crate::kit::sql::ty;
use crate::kit::time::{Clock, Instant};

/// Writers hold an advisory lock shared, before they read the clock; a report on a past month takes it alone for a moment,
/// and so waits for the end of them all, and holds up the others. On SQLite there is one writer.
const AMONG_WRITERS: [&str; 2] = [
    "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock_shared(8102654598167491073)",
    "BEGIN IMMEDIATE",
];
const AFTER_WRITERS: [&str; 2] =
    ["BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(8102654598167491073)", "BEGIN IMMEDIATE"];

/// Whoever writes into the audit log holds this one.
const AUDIT: i64 = 0x7072_696d_6575_7202;

/// Whoever may change how many administrators there are holds this one.
const ADMINISTRATORS: i64 = 0x7072_696d_6575_7210;
/// Whoever says or erases who a household is holds this one.
const IDENTITIES: i64 = 0x7072_696d_6575_7204;

/// Every zone's midnight lies on a quarter of an hour of UTC: seconds between two that may be one.
const MIDNIGHTS: i64 = 900;

/// Writers of batches at most.
pub const MOST_WRITERS: u32 = 16;

/// Who writes batches beside them: those who wait aside for a purse, and the scheduler.
const BESIDE_WRITERS: u32 = 5;

/// What PostgreSQL says to who has waited too long.
const LOCK_TIMEOUT: &str = "lock timeout";

/// How often a transaction is tried again when the database asks for it.
const TRIES: u32 = 10;

/// How what was tried in vain begins.
pub const GIVEN_UP: &str = "given up after";

/// A clock that has gone back further than this is not waited for: a wrong zone or summer time makes two hours.
const MAX_BEHIND_SECONDS: i64 = 3 * 3600;

/// A clock that is further ahead of the database server's writes nothing: less than what the others wait for.
const MAX_AHEAD_SECONDS: i64 = 3600;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: diesel::r2d2::Pool<Manager>,
    /// Of connections of their own, for batches.
    batches: diesel::r2d2::Pool<Manager>,
    pub(super) journal: Arc<Journal>,
    manager: Manager,
    clock: Arc<dyn Clock>,
    /// The latest time that this process has written at: time does not go back, even where the clock does.
    latest: Arc<AtomicI64>,
    wait: Duration,
    /// SQLite has one writer; a queue of our own is fair where its busy-wait is not.
    writer: Option<Arc<Turns>>,
    /// Reports take long, and the processor from the tills: few at a time.
    reports: Arc<Turns>,
    gauges: Arc<Gauges>,
    /// How often something was erased that its files may still hold, from 1 at a start, as the last end may have been
    /// sudden; and up to which of these it has been wiped.
    erased: Arc<AtomicU64>,
    wiped: Arc<AtomicU64>,
}

impl Db {
    /// Connects, without touching the schema.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        let manager = Manager::new(settings).map_err(Error::Unavailable)?;
        let pool = |manager: Manager, most: u32, idle: u32| {
            let pool = r2d2::Pool::builder().max_size(most).min_idle(Some(idle)).connection_timeout(settings.wait);
            let pool = pool.error_handler(Box::new(r2d2::NopErrorHandler)).build(manager);
            pool.map_err(|e| Error::Unavailable(format!("cannot open the database: {e}")))
        };
        // opened by whoever writes the first batch
        let batches = pool(manager.for_batches(), MOST_WRITERS + BESIDE_WRITERS, 0)?;
        let pool = pool(manager.clone(), settings.connections, 1)?;
        let writer = (!manager.is_postgres()).then(|| Arc::new(Turns::new(1)));
        let reports = Arc::new(Turns::new(settings.reports));
        let (latest, wait) = (Arc::new(AtomicI64::new(0)), settings.wait);
        let (erased, wiped) = (Arc::new(AtomicU64::new(1)), Arc::default());
        let (gauges, journal) = (Arc::default(), Arc::default());
        let db = Db { pool, batches, journal, manager, clock, latest, wait, writer, reports, gauges, erased, wiped };
        db.manager.warn(&mut *db.connection()?)?;
        Ok(db)
    }

    /// `sqlite` or `postgresql`.
    pub fn kind(&self) -> &'static str {
        if self.writer.is_some() { "sqlite" } else { "postgresql" }
    }

    /// Whether writers wait for each other anyway.
    pub fn has_one_writer(&self) -> bool {
        self.writer.is_some()
    }

    /// For which anybody waits for anything of it.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// What the pool is doing at this moment.
    pub fn figures(&self) -> Figures {
        let state = self.pool.state();
        self.gauges.figures(state.connections - state.idle_connections, state.idle_connections, self.pool.max_size())
    }

    /// The clock's time, but never earlier than the last time written at.
    pub fn now(&self) -> Instant {
        self.clock.now().max(Instant::from_microsecond(self.latest.load(Ordering::SeqCst)))
    }

    /// Runs `work` in a read-only transaction that sees one single moment.
    pub fn read<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let mut conn = self.connection()?;
        snapshot(&mut conn, work)
    }

    /// The same for work that may take hours, on a connection of its own.
    pub fn read_at_leisure<T>(&self, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        snapshot(&mut self.connection_at_leisure()?, work)
    }

    /// A turn to draw up a report: few do so at a time, and others wait.
    pub fn turn_to_report(&self) -> Result<Turn> {
        let turn = self.reports.take(self.wait);
        turn.ok_or_else(|| Error::Unavailable("too many reports are drawn up".to_owned()))
    }

    /// Like [`Db::read_at_leisure`], after every write that began before has ended, and with the time from which later
    /// ones are recorded, whatever clock they go by: what is before it never changes.
    pub fn read_settled<T>(&self, _turn: &Turn, work: impl FnOnce(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        let settled = self.again(|| {
            // the turn first, as writers do: readers that hold every connection and wait for it would lock them out
            let _turn = self.turn()?;
            self.transaction(&mut *self.connection()?, AFTER_WRITERS, |conn, now| keep_time(conn, now).map(|()| now))
        })?;
        self.read_at_leisure(|conn| {
            by_indexes(conn)?;
            work(conn, settled)
        })
    }

    /// Writes the time down, so that no server of this database goes behind it again. To be done often.
    pub fn keep_time(&self) -> Result<()> {
        self.write(keep_time)
    }

    /// Runs `work` in a transaction that writes, and commits it durably.
    ///
    /// `work` gets the time, read once the transaction has its turn, and is run again when the database asks for it:
    /// it must not have effects elsewhere.
    pub fn write<T>(&self, mut work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        self.again(|| {
            let _turn = self.turn()?;
            self.transaction(&mut *self.connection()?, AMONG_WRITERS, &mut work)
        })
    }

    /// [`Db::write`] for many requests at once, on a connection whose plans are made for that.
    pub fn write_batch<T>(&self, mut work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        self.again(|| {
            let _turn = self.turn()?;
            let trusted = self.manager.has_heard_lately();
            let mut conn =
                self.batches.get().map_err(|e| Error::Unavailable(format!("no database connection: {e}")))?;
            // another writer may have been heard meanwhile
            let trusted = trusted || self.manager.has_heard_lately();
            if let Err(error) = self.journal.shorten(&mut conn) {
                tracing::warn!(%error, "SQLite's journal could not be started anew");
            }
            let done = begin(&mut conn, AMONG_WRITERS).map_err(|error| match error {
                // nothing was begun, and the next one is asked first; who has waited in vain does not wait again
                Error::Unavailable(cause) if trusted && !cause.contains(LOCK_TIMEOUT) => Error::Retry(cause),
                other => other,
            });
            let done = done.and_then(|()| self.finish(&mut conn, &mut work));
            self.manager.hear(done.is_ok());
            done
        })
    }

    /// Tries as long as the database asks for it.
    fn again<T>(&self, mut once: impl FnMut() -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            match once() {
                Err(Error::Retry(cause)) => {
                    tries += 1;
                    self.gauges.retries.fetch_add(1, Ordering::Relaxed);
                    if tries == TRIES {
                        return Err(Error::Unavailable(format!("{GIVEN_UP} {TRIES} tries: {cause}")));
                    }
                    let jitter = u64::from(crate::kit::keys::random::<1>()[0]);
                    std::thread::sleep(Duration::from_micros(jitter << tries));
                }
                decided => return decided,
            }
        }
    }

    /// Takes what was deleted out of the database's files too: SQLite's journal is folded into its file and emptied,
    /// PostgreSQL writes the tables anew. While somebody reads for long it cannot: `unavailable`, and
    /// [`Db::is_unwiped`] until it has been done.
    pub fn wipe(&self, tables: &[&str]) -> Result<()> {
        // what is erased from here on may come too late for it
        let erased = self.erased.load(Ordering::SeqCst);
        let _turn = self.turn()?;
        let wiped = match &mut self.connection_at_leisure()? {
            Conn::Pg(conn) => wipe::postgresql(conn, tables),
            Conn::Sqlite(conn) => wipe::sqlite(conn),
        };
        let obstacle = wiped.map_err(|e| Error::Unavailable(format!("cannot wipe what was erased: {e}")))?;
        if let Some(obstacle) = obstacle {
            return Err(Error::Unavailable(format!("cannot wipe what was erased: {obstacle}")));
        }
        self.wiped.fetch_max(erased, Ordering::SeqCst);
        Ok(())
    }

    /// Says that something was erased or replaced which its files are not to keep, once that is committed: the
    /// scheduler's next look wipes.
    pub fn mark_unwiped(&self) {
        self.erased.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether files may still hold what was erased.
    pub fn is_unwiped(&self) -> bool {
        self.wiped.load(Ordering::SeqCst) < self.erased.load(Ordering::SeqCst)
    }

    /// One try, begun by a statement for each database.
    fn transaction<T>(
        &self,
        conn: &mut Conn,
        by: [&str; 2],
        work: impl FnOnce(&mut Conn, Instant) -> Result<T>,
    ) -> Result<T> {
        begin(conn, by)?;
        self.finish(conn, work)
    }

    /// Works in a transaction that has begun, and commits it.
    fn finish<T>(&self, conn: &mut Conn, work: impl FnOnce(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        // a panic rolls back too: the pool drops a connection whose thread is panicking
        let outcome = self.reckon(conn).and_then(|now| {
            let value = work(conn, now)?;
            // what it waited for may be of the next day: done again, it is recorded where it belongs
            let day = |at: Instant| at.as_second().div_euclid(MIDNIGHTS);
            if day(self.now().max(now)) == day(now) {
                Ok((value, now))
            } else {
                Err(Error::Retry("a day ended meanwhile".to_owned()))
            }
        });
        let committed = outcome.and_then(|decided| {
            <Conn as Connection>::TransactionManager::commit_transaction(conn)?;
            Ok(decided)
        });
        match committed {
            Ok((value, now)) => {
                self.latest.fetch_max(now.as_microsecond(), Ordering::SeqCst);
                Ok(value)
            }
            // a COMMIT whose answer was lost may have been done: who sends the same key again learns which
            Err(error) => {
                end(conn, Some(&error));
                Err(error)
            }
        }
    }

    /// The time of a write: the clock's, but never earlier than what this process has written, or than what any server
    /// has kept in the database. So a closed month stays closed where a clock is set back, or late. Nor far ahead of
    /// PostgreSQL's own clock, since all other servers would have to wait for what is reached; on SQLite there is one
    /// clock, and nothing to tell a wrong one from a service that was off for days.
    fn reckon(&self, conn: &mut Conn) -> Result<Instant> {
        let (kept, its_own): (Instant, Option<Instant>) = match conn {
            Conn::Pg(conn) => {
                let its_own = verbatim::<Nullable<ty::Instant>>("clock_timestamp()");
                clock::table.select((clock::reached, its_own)).first(conn)?
            }
            // its one row: with a bound LIMIT, SQLite would plan it anew at each use
            Conn::Sqlite(conn) => (clock::table.select(clock::reached).get_result(conn)?, None),
        };
        let read = self.clock.now().as_second();
        if let Some(ahead) = its_own.filter(|_| self.clock.is_real()).map(|its_own| read - its_own.as_second())
            && ahead > MAX_AHEAD_SECONDS
        {
            return Err(Error::Unavailable(format!(
                "the clock of this server is {ahead} s ahead of the database server's: set the wrong one right"
            )));
        }
        self.latest.fetch_max(kept.as_microsecond(), Ordering::SeqCst);
        let now = self.now();
        let behind = now.as_second() - read;
        if behind > MAX_BEHIND_SECONDS {
            return Err(Error::Unavailable(format!(
                "the clock of this server is {behind} s behind what the database has reached: set it right"
            )));
        }
        Ok(now)
    }

    pub(super) fn turn(&self) -> Result<Option<Turn>> {
        let _waiting = Waiting::on(&self.gauges.queue);
        let Some(writer) = &self.writer else { return Ok(None) };
        let turn = writer.take(self.wait);
        turn.map(Some).ok_or_else(|| Error::Unavailable("too many wait to write".to_owned()))
    }

    pub(super) fn connection(&self) -> Result<r2d2::PooledConnection<Manager>> {
        if let Some(idle) = self.pool.try_get() {
            return Ok(idle);
        }
        self.gauges.waits.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting::on(&self.gauges.waiting);
        self.pool.get().map_err(|e| Error::Unavailable(format!("no database connection: {e}")))
    }

    /// Whether the till's journal is folded beside it.
    pub(super) fn folds(&self) -> bool {
        self.manager.folds()
    }

    /// A connection beside the pool, without its limits.
    pub(super) fn connection_at_leisure(&self) -> Result<Conn> {
        self.manager.connect_at_leisure().map_err(|e| Error::Unavailable(format!("cannot open the database: {e}")))
    }
}

fn begin(conn: &mut Conn, [postgres, sqlite]: [&str; 2]) -> Result<()> {
    let begun = match conn {
        Conn::Pg(conn) => AnsiTransactionManager::begin_transaction_sql(conn, postgres).inspect_err(|_| {
            // what came after BEGIN may have failed, of which diesel knows nothing; a lost connection says so elsewhere
            drop(conn.batch_execute("ROLLBACK"));
        }),
        Conn::Sqlite(conn) => AnsiTransactionManager::begin_transaction_sql(conn, sqlite),
    };
    begun.map_err(Error::from).inspect_err(|error| end(conn, Some(error)))
}

fn snapshot<T>(conn: &mut Conn, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    begin(conn, ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN"])?;
    let outcome = work(conn);
    end(conn, outcome.as_ref().err());
    outcome
}

/// What a month has, in all its tables, was written at about the same time and lies close together. PostgreSQL does not
/// know it, and would rather read the tables of all the years. Nor with several processes: handing rows from one to the
/// other costs a month more than it saves, and the till a processor.
fn by_indexes(conn: &mut Conn) -> Result<()> {
    if let Conn::Pg(conn) = conn {
        conn.batch_execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; \
             SET LOCAL max_parallel_workers_per_gather = 0",
        )?;
    }
    Ok(())
}

/// See [`Db::keep_time`].
fn keep_time(conn: &mut Conn, now: Instant) -> Result<()> {
    diesel::update(clock::table).filter(clock::reached.lt(now)).set(clock::reached.eq(now)).execute(conn)?;
    Ok(())
}

/// What transactions do one after the other, each until its end.
#[derive(Clone, Copy, Debug)]
pub enum Queue {
    /// Writing into the audit log.
    Audit,
    /// Making an administrator by the command line, or disabling one.
    Administrators,
    /// Saying or erasing who a household is: two that are alike see each other.
    Identities,
    /// Looking a typed code up, for one seller at one address, by their digest.
    TypedCodes(Digest32),
}

/// Waits until no other transaction is in this queue. On SQLite there is one writer anyway.
pub fn wait_in(conn: &mut Conn, queue: Queue) -> Result<()> {
    let queue = match queue {
        Queue::Audit => AUDIT,
        Queue::Administrators => ADMINISTRATORS,
        Queue::Identities => IDENTITIES,
        // whoever shares these bytes with another waits for them, and nothing worse
        Queue::TypedCodes([a, b, c, d, e, f, g, h, ..]) => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
    };
    if let Conn::Pg(conn) = conn {
        unnested("SELECT pg_advisory_xact_lock(", (queue.into_sql::<BigInt>(),), ")").execute(conn)?;
    }
    Ok(())
}
