//! SQLite's journal is folded back into its file beside the till, a little at a time, so that no purchase waits for it.
//!
//! SQLite itself folds inside the commit that comes upon a thousand pages: somebody at a stall would wait for all of them.
//! Folding beside the writer never empties the journal while writers keep coming, so past a size the next batch starts it
//! anew, once all is folded.
//!
//! Nor does SQLite sync its file at the end of a fold if a commit has come meanwhile: then whoever starts the journal anew
//! would wait for all that was ever folded to reach the disk. So the folder syncs the file itself, and the journal is
//! started anew right after that; SQLite then folds and syncs what is left, which is little, by its own rules.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;

use super::backend::Conn;
use super::pool::Db;
use crate::kit::error::{Error, Result};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// Pages of 4 KiB in the journal, past which it is started anew: 32 MiB.
const MOST_PAGES: i64 = 8_192;

/// How many times as long the journal grows before it is started anew by a batch that may have to sync all of it.
const UNSYNCED: i64 = 2;

/// What part of those pages may be left unfolded where nearly all of the journal is: what comes while the folder is at it.
const NEARLY: i64 = 4;

/// How long a batch waits for readers of an old journal, in milliseconds; else it tries again when it is longer by as much.
const PATIENCE: u32 = 20;

/// What writer and folder tell each other.
pub(super) struct Journal {
    /// Pages past which it is started anew.
    most: AtomicI64,
    /// How often the till has written.
    written: AtomicU64,
    /// Pages in the journal, as they were last seen.
    pages: AtomicI64,
    /// Whether nearly all of those are folded and synced.
    synced: AtomicBool,
    /// From how many pages on the writer starts it anew.
    too_many: AtomicI64,
}

impl Default for Journal {
    fn default() -> Self {
        let (written, pages, too_many) = (AtomicU64::new(0), AtomicI64::new(0), AtomicI64::new(0));
        Journal { most: AtomicI64::new(MOST_PAGES), written, pages, synced: AtomicBool::new(false), too_many }
    }
}

impl Db {
    /// Has SQLite's journal started anew past so many pages: to be seen at it without writing for long.
    pub fn shorten_journal_past(&self, pages: i64) {
        self.journal.most.store(pages, Ordering::Relaxed);
    }
}

impl Journal {
    /// Called by the till's writer, before it begins: starts a journal anew that has grown too long.
    pub fn shorten(&self, conn: &mut Conn) -> QueryResult<()> {
        let Conn::Sqlite(conn) = conn else { return Ok(()) };
        self.written.fetch_add(1, Ordering::Relaxed);
        let (pages, limit) = (self.pages.load(Ordering::Relaxed), self.too_many.load(Ordering::Relaxed));
        let most = self.most.load(Ordering::Relaxed);
        // once after each look of the folder, as what is written since is not folded
        let synced = self.synced.swap(false, Ordering::Relaxed);
        if pages < limit.max(if synced { most } else { UNSYNCED * most }) {
            return Ok(());
        }
        let patience = diesel::sql_query("PRAGMA busy_timeout").get_result::<Patience>(conn)?.timeout;
        conn.batch_execute(&format!("PRAGMA busy_timeout = {PATIENCE}"))?;
        let folded = fold(conn, "RESTART");
        conn.batch_execute(&format!("PRAGMA busy_timeout = {patience}"))?;
        // it grew too long: another try once it is longer by as much
        self.too_many.store(pages + most, Ordering::Relaxed);
        let folded = folded?;
        // the folder was at it: the next batch tries again
        if folded.log < 0 {
            self.too_many.store(0, Ordering::Relaxed);
            self.synced.store(synced, Ordering::Relaxed);
            return Ok(());
        }
        self.pages.store(0, Ordering::Relaxed);
        self.too_many.store(if folded.busy == 0 { 0 } else { pages + most }, Ordering::Relaxed);
        Ok(())
    }

    /// Folds, and has what it folded reach the disk; then the same with what came meanwhile, which is little.
    fn fold(&self, conn: &mut SqliteConnection, file: &File) -> Result<()> {
        let mut left = 0;
        for _ in 0..2 {
            let folded = fold(conn, "PASSIVE")?;
            // the writer is at it
            if folded.busy != 0 {
                return Ok(());
            }
            self.pages.store(folded.log, Ordering::Relaxed);
            left = folded.log - folded.checkpointed;
            file.sync_data().map_err(Error::internal)?;
        }
        // more than a little is left where somebody reads an old moment
        self.synced.store(left <= self.most.load(Ordering::Relaxed) / NEARLY, Ordering::Relaxed);
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
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

fn fold(conn: &mut SqliteConnection, how: &str) -> QueryResult<Folded> {
    diesel::sql_query(format!("PRAGMA wal_checkpoint({how})")).get_result(conn)
}

#[derive(QueryableByName)]
struct Main {
    #[diesel(sql_type = Text)]
    file: String,
}

fn file_of(conn: &mut SqliteConnection) -> QueryResult<String> {
    let main = diesel::sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'");
    main.get_result::<Main>(conn).map(|main| main.file)
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
        let file = File::open(file_of(&mut conn)?).map_err(Error::internal)?;
        // closing it would give up the locks that SQLite has on the file, in this whole process
        let file = ManuallyDrop::new(file);
        let (journal, end) = (db.journal.clone(), Arc::new((Mutex::new(false), Condvar::new())));
        let told = end.clone();
        let work = move || {
            let mut seen = 0;
            let mut ended = told.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*ended {
                let written = journal.written.load(Ordering::Relaxed);
                if written != seen {
                    seen = written;
                    if let Err(error) = journal.fold(&mut conn, &file) {
                        tracing::warn!(%error, "SQLite's journal could not be folded");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_a_reader_holds_up_is_not_taken_for_folded() {
        let file = std::env::temp_dir().join(format!("primeur-fold-{}.db", uuid::Uuid::now_v7()));
        let path = file.to_str().unwrap();
        let mut folder = SqliteConnection::establish(path).unwrap();
        folder.batch_execute("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").unwrap();
        let [mut writer, mut reader] = [(); 2].map(|()| SqliteConnection::establish(path).unwrap());
        writer.batch_execute("PRAGMA wal_autocheckpoint = 0; CREATE TABLE lines (line BLOB)").unwrap();
        let mut write =
            || (0..60).for_each(|_| writer.batch_execute("INSERT INTO lines VALUES (randomblob(9000))").unwrap());
        let journal = Journal::default();
        journal.most.store(100, Ordering::Relaxed);
        let folded = File::open(&file).unwrap();
        let mut is_folded = || {
            journal.fold(&mut folder, &folded).unwrap();
            (journal.synced.load(Ordering::Relaxed), journal.pages.load(Ordering::Relaxed))
        };

        reader.batch_execute("BEGIN; SELECT count(*) FROM lines").unwrap();
        write();
        let (synced, pages) = is_folded();
        assert!(!synced && pages > 100, "{pages} pages, and a reader of an old moment");
        reader.batch_execute("ROLLBACK").unwrap();
        write();
        let (synced, all) = is_folded();
        assert!(synced && all > pages, "{all} pages, and nobody reads");
        drop((folder, writer, reader));
        std::fs::remove_file(file).unwrap();
    }
}
