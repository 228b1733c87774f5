//! `primeur backup` and `primeur restore`: the embedded database as one file, and back, while it serves.
//!
//! The only place that speaks to SQLite by rusqlite, which has its backup interface; both share one library.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::access::close_all_doors;
use crate::access::keys::{purposes_in_use, register_keys};
use crate::audit::{self, Action, Who};
use crate::config::Config;
use crate::db::{self, Conn, Db, Schema, Settings};
use crate::kit::keys::Keys;
use crate::kit::time::{Clock, Instant, SystemClock};
use crate::service;
use crate::verify::{self, Verdict};

/// Seconds that a restore waits for its turn among the writers.
const PATIENCE: u32 = 60;

/// What is counted in a backup, for people.
const COUNTED: [&str; 5] = ["people", "households", "enrolments", "redemptions", "transfers"];

/// For a database that is not embedded.
pub const BY_POSTGRESQL: &str = "this deployment is on PostgreSQL, which has its own tools for this. With URL as in [database] of the configuration:
  backup:   pg_dump --format=custom --no-owner --file=FILE \"URL\"
  restore:  createdb NEW, then pg_restore --no-owner --exit-on-error --single-transaction --dbname=\"URL of NEW\" FILE,
            then, with database.url set to it: primeur migrate, primeur verify, primeur serve
docs/OPERATIONS.md has the whole drill.";

/// What a backup holds.
#[derive(Clone, Debug)]
pub struct Report {
    pub file: PathBuf,
    pub bytes: u64,
    /// All that was answered before it is in the backup.
    pub moment: Instant,
    pub counts: Vec<(&'static str, i64)>,
    /// Sequence and digest of the audit log's last entry: noted elsewhere, they show a log that was cut or rewritten.
    pub audit_head: Option<(i64, String)>,
}

/// What a restore has done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The database that was replaced, if there was one.
    pub kept: Option<Report>,
    /// Migrations that were run on what the file holds.
    pub migrations: usize,
    pub verdict: Verdict,
}

/// What a restore may end with, besides an error.
pub enum Outcome {
    Restored(Restored),
    /// Nothing was touched: what the file holds is wrong, and nobody asked for it all the same.
    Wrong(Verdict),
}

/// The file of the embedded database, if the configuration has one.
pub fn embedded(config: &Config) -> Option<PathBuf> {
    config.database.url.strip_prefix("sqlite://").map(PathBuf::from)
}

/// Copies one moment of a database into a new file, checked and on the disk before it has its name. Writers go on.
///
/// `VACUUM INTO` reads one snapshot, as a copy of all pages in one step does, in the same time; but it leaves out the
/// free pages, and so what was erased. A copy in several steps begins again at each write of another process.
pub fn backup(database: &Path, file: &Path) -> Result<Report, String> {
    let shown = file.display();
    if fs::symlink_metadata(file).is_ok() {
        return Err(format!("{shown} is there already: a backup overwrites nothing"));
    }
    let partial = beside(file, ".partial");
    let scrap = Scrap::create(&partial)?;
    let source = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let moment = SystemClock.now();
    let into = partial.to_str().ok_or_else(|| format!("{shown} is no text"))?;
    source.execute("VACUUM INTO ?1", [into]).map_err(|e| format!("cannot copy {}: {e}", database.display()))?;
    let copy = open(&partial, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    examine(&copy).map_err(|e| format!("the copy of {} is unusable: {e}", database.display()))?;
    let report = read(&copy).map_err(|e| format!("cannot read the copy: {e}"))?;
    drop(copy);
    let named = File::open(&partial).and_then(|written| {
        written.sync_all()?;
        let bytes = written.metadata()?.len();
        fs::rename(&partial, file)?;
        File::open(folder(file))?.sync_all()?;
        Ok(bytes)
    });
    let bytes = named.map_err(|e| format!("cannot write {shown}: {e}"))?;
    drop(scrap);
    let (counts, audit_head) = report;
    Ok(Report { file: file.to_owned(), bytes, moment, counts, audit_head })
}

/// Puts what a backup holds in the place of the configured database, in one transaction, whether it is served or not.
///
/// All that can go wrong is tried on a copy first: its soundness, its schema, its keys, its figures. Then writers are
/// held up, the database is kept as it is beside its file, and replaced; to readers it changes at one moment.
pub fn restore(config: &Config, database: &Path, file: &Path, although_wrong: bool) -> Result<Outcome, String> {
    let shown = file.display();
    service::make_directory(config)?;
    if let (Ok(one), Ok(other)) = (fs::canonicalize(file), fs::canonicalize(database))
        && one == other
    {
        return Err(format!("{shown} is the database itself"));
    }
    let stamp: String = SystemClock.now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let staged = beside(database, &format!(".restoring-{stamp}"));
    let _scrap = Scrap::create(&staged)?;
    let unfit = |e: String| format!("{shown} cannot be restored: {e}");
    copy(file, &staged).map_err(unfit)?;
    let (migrations, verdict) = prepare(config, &staged).map_err(unfit)?;
    if !verdict.findings.is_empty() && !although_wrong {
        return Ok(Outcome::Wrong(verdict));
    }
    let kept = replace(database, &staged, &beside(database, &format!(".before-restore-{stamp}")))?;
    Ok(Outcome::Restored(Restored { kept, migrations, verdict }))
}

fn copy(file: &Path, staged: &Path) -> Result<(), String> {
    let from = open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut to = open(staged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let copied = Backup::new(&from, &mut to).and_then(|backup| finish(&backup));
    copied.map_err(|e| format!("it is no database, or a damaged one ({e})"))?;
    examine(&to)
}

/// Brings a copy to this program's schema and deployment, and says whether its figures hold.
fn prepare(config: &Config, staged: &Path) -> Result<(usize, Verdict), String> {
    let url = format!("sqlite://{}", staged.display());
    let text = |e: crate::kit::error::Error| e.to_string();
    // a pool that may have more opens the next behind our back, and would find the file gone and make it anew
    let db = Db::open(&Settings { url, connections: 1, ..Settings::default() }, Arc::new(SystemClock)).map_err(text)?;
    if let Schema::Newer(version) = db.schema().map_err(text)? {
        return Err(db::newer(&version));
    }
    let migrations = db.migrate().map_err(text)?;
    if !db.read(purposes_in_use).map_err(text)?.is_empty() {
        let keys = Keys::open(&config.keys.directory, db.now(), config.keys.overlap_minutes)?;
        db.write(|conn, now| register_keys(conn, now, &keys)).map_err(text)?;
    }
    let restored = |conn: &mut Conn, now| {
        close_all_doors(conn, now)?;
        audit::record(conn, now, Who::SERVICE, Action::DatabaseRestored, "", None)
    };
    db.write(restored).map_err(text)?;
    Ok((migrations, verify::run(&db).map_err(text)?))
}

fn replace(database: &Path, staged: &Path, kept: &Path) -> Result<Option<Report>, String> {
    let shown = database.display();
    let is_new = match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(database) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
        Err(e) => return Err(format!("cannot make {shown}: {e}")),
    };
    let done = exchange(database, staged, (!is_new).then_some(kept));
    if is_new && done.is_err() {
        drop(Scrap(database.to_owned()));
    }
    done
}

/// In write-ahead mode this is one long transaction of one writer, and ends by one commit. A failure leaves the
/// database as it was.
fn exchange(database: &Path, staged: &Path, keep: Option<&Path>) -> Result<Option<Report>, String> {
    let shown = database.display();
    let failed = |e: rusqlite::Error| format!("cannot replace {shown}: {e}");
    let from = open(staged, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut to = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    to.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(failed)?;
    let exchange = Backup::new(&from, &mut to).map_err(failed)?;
    // from the first page on writers wait: all they have written is in what is kept, and nothing comes between
    step(&exchange, 1).map_err(failed)?;
    let kept = keep.map(|keep| backup(database, keep)).transpose().map_err(|e| {
        format!("{e}. Nothing was replaced; if {shown} itself is damaged, move it out of the way first")
    })?;
    finish(&exchange).map_err(failed)?;
    drop(exchange);
    // the log of a whole database is long; a reader that still needs it keeps it
    let _ = to.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    Ok(kept)
}

fn finish(backup: &Backup<'_, '_>) -> rusqlite::Result<()> {
    while step(backup, -1)? != StepResult::Done {}
    Ok(())
}

/// One step, once nobody else is in the way.
fn step(backup: &Backup<'_, '_>, pages: i32) -> rusqlite::Result<StepResult> {
    for _ in 0..PATIENCE * 10 {
        match backup.step(pages)? {
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(100)),
            done => return Ok(done),
        }
    }
    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    Err(rusqlite::Error::SqliteFailure(busy, Some(format!("it was busy for {PATIENCE} seconds"))))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, String> {
    let shown = path.display();
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| format!("cannot open {shown}: {e}"))?;
    conn.busy_timeout(Duration::from_secs(30)).map_err(|e| format!("cannot open {shown}: {e}"))?;
    Ok(conn)
}

/// Whether a database is whole, and one of ours.
fn examine(conn: &Connection) -> Result<(), String> {
    let damaged = |e: rusqlite::Error| format!("it is no database, or a damaged one ({e})");
    for table in ["__diesel_schema_migrations", "signing_keys", "programmes", "transfers"] {
        if !has_table(conn, table).map_err(damaged)? {
            return Err(format!("it is no database of primeur: it has no table {table}"));
        }
    }
    let sound: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(damaged)?;
    if sound != "ok" {
        return Err(format!("it is damaged ({sound})"));
    }
    let broken: Option<String> =
        conn.query_row("PRAGMA foreign_key_check", [], |row| row.get(0)).optional().map_err(damaged)?;
    match broken {
        Some(table) => Err(format!("it is damaged: a row of {table} refers to one that is not there")),
        None => Ok(()),
    }
}

type Contents = (Vec<(&'static str, i64)>, Option<(i64, String)>);

fn read(conn: &Connection) -> rusqlite::Result<Contents> {
    let mut counts = Vec::new();
    for table in COUNTED {
        counts.push((table, conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?));
    }
    // a database of the first version has none
    if !has_table(conn, "audit_entries")? {
        return Ok((counts, None));
    }
    let last = "SELECT sequence, digest FROM audit_entries ORDER BY sequence DESC LIMIT 1";
    let head = conn.query_row(last, [], |row| Ok((row.get(0)?, HEXLOWER.encode(&row.get::<_, Vec<u8>>(1)?))));
    Ok((counts, head.optional()?))
}

fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    let query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
    conn.query_row(query, [name], |row| row.get::<_, i64>(0)).map(|count| count == 1)
}

/// A path with something after its last name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file of our own that does not outlive the work on it, nor what SQLite lays beside it.
struct Scrap(PathBuf);

impl Scrap {
    /// Empty, and for nobody else to read.
    fn create(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(Scrap(path.to_owned())),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                Err(format!("{shown} is left from a backup that did not end, or one is running: remove it if not"))
            }
            Err(e) => Err(format!("cannot make {shown}: {e}")),
        }
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm", "-journal"] {
            // most are not there
            let _ = fs::remove_file(beside(&self.0, ending));
        }
    }
}
