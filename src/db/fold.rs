//! SQLite's journal is folded back into its file beside the till, a little at a time, so that no purchase waits for it.
//!
//! SQLite itself folds inside the commit that comes upon a thousand pages: somebody at a stall would wait for all of them.
//! Folding beside the writer never empties the journal while writers keep coming, so past a size the next batch starts it
//! anew, once all is folded.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

use super::backend::Conn;
use super::pool::Db;
use crate::kit::error::{Error, Result};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// Pages of 4 KiB in the journal, past which it is started anew: 32 MiB.
const MOST_PAGES: i64 = 8_192;

/// How long a batch waits for readers of an old journal, in milliseconds; else it tries again when it is longer by as much.
const PATIENCE: u32 = 20;

/// What writer and folder tell each other.
#[derive(Default)]
pub(super) struct Journal {
    /// How often the till has written.
    written: AtomicU64,
    /// Pages in the journal, as they were last seen.
    pages: AtomicI64,
    /// From how many pages on the writer starts it anew.
    too_many: AtomicI64,
}

impl Journal {
    /// Called by the till's writer, before it begins: starts a journal anew that has grown too long.
    pub fn shorten(&self, conn: &mut Conn) -> QueryResult<()> {
        let Conn::Sqlite(conn) = conn else { return Ok(()) };
        self.written.fetch_add(1, Ordering::Relaxed);
        let (pages, limit) = (self.pages.load(Ordering::Relaxed), self.too_many.load(Ordering::Relaxed));
        if pages < limit.max(MOST_PAGES) {
            return Ok(());
        }
        let patience = diesel::sql_query("PRAGMA busy_timeout").get_result::<Patience>(conn)?.timeout;
        conn.batch_execute(&format!("PRAGMA busy_timeout = {PATIENCE}"))?;
        let folded = fold(conn, "RESTART");
        conn.batch_execute(&format!("PRAGMA busy_timeout = {patience}"))?;
        // it grew too long: another try once it is longer by as much
        self.too_many.store(pages + MOST_PAGES, Ordering::Relaxed);
        let folded = folded?;
        self.pages.store(0, Ordering::Relaxed);
        self.too_many.store(if folded.busy == 0 { 0 } else { pages + MOST_PAGES }, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(QueryableByName)]
struct Patience {
    #[diesel(sql_type = BigInt)]
    timeout: i64,
}

#[derive(QueryableByName)]
struct Folded {
    #[diesel(sql_type = BigInt)]
    busy: i64,
    #[diesel(sql_type = BigInt)]
    log: i64,
}

fn fold(conn: &mut SqliteConnection, how: &str) -> QueryResult<Folded> {
    diesel::sql_query(format!("PRAGMA wal_checkpoint({how})")).get_result(conn)
}

/// Folds until it is dropped.
pub struct Folder {
    end: Arc<(Mutex<bool>, Condvar)>,
}

impl Folder {
    /// None on PostgreSQL, and where SQLite is left to itself.
    pub fn start(db: &Db) -> Result<Option<Self>> {
        if !db.folds() {
            return Ok(None);
        }
        let Conn::Sqlite(mut conn) = db.connection_at_leisure()? else { return Ok(None) };
        let (journal, end) = (db.journal.clone(), Arc::new((Mutex::new(false), Condvar::new())));
        let told = end.clone();
        let work = move || {
            let mut seen = 0;
            let mut ended = told.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*ended {
                let written = journal.written.load(Ordering::Relaxed);
                if written != seen {
                    seen = written;
                    match fold(&mut conn, "PASSIVE") {
                        Ok(folded) => journal.pages.store(folded.log, Ordering::Relaxed),
                        Err(error) => tracing::warn!(%error, "SQLite's journal could not be folded"),
                    }
                }
                ended = told.1.wait_timeout(ended, EVERY).unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        let thread = std::thread::Builder::new().name("folder".to_owned()).spawn(work);
        thread.map_err(Error::internal)?;
        Ok(Some(Folder { end }))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        *self.end.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.1.notify_all();
    }
}
