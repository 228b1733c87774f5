//! How connections are made, and how long anything may keep one waiting.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::connection::{
    AnsiTransactionManager, Connection, SimpleConnection, TransactionManager, TransactionManagerStatus,
};
use diesel::pg::PgConnection;
use diesel::r2d2::{self, ManageConnection, R2D2Connection};
use diesel::result::ConnectionError;
use diesel::sqlite::SqliteConnection;

use super::address::{self, Address};
use super::backend::Conn;
use crate::kit::error::Error;

#[derive(Clone)]
pub struct Settings {
    /// `sqlite://PATH` or `postgres://…`
    pub url: String,
    /// A file with PostgreSQL's password, where the address has none. Read anew for each connection.
    pub password_file: Option<PathBuf>,
    /// Whether PostgreSQL may be reached over a network without TLS that checks the server.
    pub allow_plain: bool,
    pub connections: u32,
    /// Whether SQLite's journal is folded beside the till, and not by whatever commit comes upon it.
    pub fold: bool,
    /// Reports that are drawn up at a time, each on a connection of its own beside those.
    pub reports: u32,
    /// How long a request waits for a connection, for its turn to write, or for a row that another one holds.
    pub wait: Duration,
    /// How long PostgreSQL works on one statement, or keeps an idle transaction.
    pub statement: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            url: String::new(),
            password_file: None,
            allow_plain: false,
            connections: 8,
            fold: true,
            reports: 2,
            wait: Duration::from_secs(5),
            statement: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// What is wrong with them, for a person. A password is never repeated.
    pub fn check(&self) -> Result<(), String> {
        Target::of(self).map(drop)
    }
}

/// Each statement is planned once, for any number of ids, and by the indexes: a plan made while a table is small would read
/// all of it later, when it is large.
const BY_ID: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
                     SET enable_mergejoin = off; SET enable_material = off; SET jit = off";

/// The till's one connection on SQLite keeps 32 MiB of pages at hand, as mostly nobody else writes meanwhile, and what a statement
/// may have to undo in memory: both would be read from, and written to, files at each batch.
const FOR_BATCHES: &str = "PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY";

#[derive(Clone)]
enum Target {
    Postgres { address: Address, password_file: Option<PathBuf> },
    Sqlite { path: String },
}

impl Target {
    fn of(settings: &Settings) -> Result<Self, String> {
        if let Some(path) = settings.url.strip_prefix("sqlite://") {
            return Ok(Target::Sqlite { path: path.to_owned() });
        }
        let wrong = |message: &str| format!("database.url {message}");
        let address = Address::parse(&settings.url).map_err(wrong)?;
        let password_file = settings.password_file.clone();
        address.check(password_file.is_some(), settings.allow_plain).map_err(|message| wrong(&message))?;
        Ok(Target::Postgres { address, password_file })
    }
}

#[derive(Clone)]
pub struct Manager {
    target: Target,
    wait: Duration,
    statement: Duration,
    fold: bool,
    batches: bool,
    /// When a batch was last committed.
    heard: Arc<Mutex<Option<Instant>>>,
}

/// For which a connection for batches is taken to be good without being asked.
const LATELY: Duration = Duration::from_secs(1);

impl Manager {
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let (wait, statement) = (settings.wait, settings.statement);
        Ok(Manager {
            target: Target::of(settings)?,
            wait,
            statement,
            fold: settings.fold,
            batches: false,
            heard: Arc::default(),
        })
    }

    /// The same for connections that do nothing but batches of look-ups by id.
    pub fn for_batches(&self) -> Self {
        Manager { batches: true, ..self.clone() }
    }

    /// Says whether a batch has just been committed: after one that has not, the next connection is asked.
    pub fn hear(&self, committed: bool) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = committed.then(Instant::now);
    }

    pub fn has_heard_lately(&self) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() < LATELY)
    }

    pub fn folds(&self) -> bool {
        self.fold && !self.is_postgres()
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.target, Target::Postgres { .. })
    }

    /// Tells the log of what weakens this deployment.
    pub fn warn(&self, conn: &mut Conn) -> Result<(), Error> {
        let (Target::Postgres { address, .. }, Conn::Pg(conn)) = (&self.target, conn) else { return Ok(()) };
        if !address.is_safe() {
            tracing::warn!("PostgreSQL is reached over a network without TLS that checks who answers");
        }
        let setting = diesel::dsl::sql::<diesel::sql_types::Text>("SELECT current_setting('lc_messages')");
        let messages: String = diesel::RunQueryDsl::get_result(setting, conn)?;
        if !["C", "POSIX", "en", ""].iter().any(|english| messages.split(['.', '_']).next() == Some(english)) {
            tracing::warn!(
                lc_messages = messages,
                "PostgreSQL's messages are not in English: what passes is taken for an error of ours (500, not 503)"
            );
        }
        Ok(())
    }

    /// A connection for work that takes as long as it takes, and waits as long as it must.
    pub fn connect_at_leisure(&self) -> Result<Conn, r2d2::Error> {
        let mut conn = self.establish(Duration::ZERO, Duration::ZERO)?;
        if let Conn::Pg(conn) = &mut conn {
            // of long queries over plain columns, which it only delays
            conn.batch_execute("SET jit = off").map_err(r2d2::Error::QueryError)?;
        }
        Ok(conn)
    }

    fn establish(&self, wait: Duration, statement: Duration) -> Result<Conn, r2d2::Error> {
        let bad = |message: String| r2d2::Error::ConnectionError(ConnectionError::BadConnection(message));
        match &self.target {
            Target::Postgres { address, password_file } => {
                let password = password_file.as_deref().map(address::read_password).transpose().map_err(bad)?;
                let conninfo = address.conninfo(password.as_deref(), self.wait);
                let mut conn = PgConnection::establish(&conninfo).map_err(r2d2::Error::ConnectionError)?;
                // a server, database or role that answers before it has synced does not weaken us; a stronger one may stay
                conn.batch_execute(
                    "SELECT set_config('synchronous_commit', 'on', false) \
                     WHERE current_setting('synchronous_commit') <> 'remote_apply'",
                )
                .map_err(r2d2::Error::QueryError)?;
                // in milliseconds, and 0 is without end
                let (wait, statement) = (wait.as_millis(), statement.as_millis());
                conn.batch_execute(&format!(
                    "SET lock_timeout = {wait}; SET statement_timeout = {statement}; \
                     SET idle_in_transaction_session_timeout = {statement}",
                ))
                .map_err(r2d2::Error::QueryError)?;
                if self.batches {
                    conn.batch_execute(BY_ID).map_err(r2d2::Error::QueryError)?;
                }
                Ok(Conn::Pg(conn))
            }
            Target::Sqlite { path } => {
                let mut conn = SqliteConnection::establish(path).map_err(r2d2::Error::ConnectionError)?;
                // FULL: what was answered survives a power cut; the timeout is for other processes, ours take turns by themselves;
                // secure_delete: what was erased is overwritten
                conn.batch_execute(&format!(
                    "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                     PRAGMA secure_delete = ON;",
                    self.wait.as_millis()
                ))
                .map_err(r2d2::Error::QueryError)?;
                if self.batches {
                    conn.batch_execute(FOR_BATCHES).map_err(r2d2::Error::QueryError)?;
                }
                if self.batches && self.fold {
                    conn.batch_execute("PRAGMA wal_autocheckpoint = 0").map_err(r2d2::Error::QueryError)?;
                }
                Ok(Conn::Sqlite(conn))
            }
        }
    }
}

impl ManageConnection for Manager {
    type Connection = Conn;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<Conn, r2d2::Error> {
        self.establish(self.wait, self.statement)
    }

    fn is_valid(&self, conn: &mut Conn) -> Result<(), r2d2::Error> {
        match self.batches && self.has_heard_lately() {
            true => Ok(()),
            false => conn.ping().map_err(r2d2::Error::QueryError),
        }
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        std::thread::panicking() || conn.is_broken()
    }
}

/// Ends what is left of a transaction, and lets the pool keep the connection only if it is good for another.
///
/// A session that is read-only stays so when its server is not any more, and one with SQLite's file opened where
/// nothing could be written never writes.
pub fn end(conn: &mut Conn, failure: Option<&Error>) {
    let rolled_back = <Conn as Connection>::TransactionManager::rollback_transaction(conn);
    let unavailable = match failure {
        Some(Error::Unavailable(cause)) => Some(cause),
        _ => None,
    };
    match conn {
        Conn::Pg(conn) if unavailable.is_some() => {
            AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
        }
        Conn::Sqlite(conn) => {
            // on a full disk SQLite rolls back by itself, and diesel despairs; another connection might not open there
            let clean = rolled_back.is_ok()
                || conn
                    .batch_execute("ROLLBACK")
                    .err()
                    .is_none_or(|e| e.to_string().contains("no transaction is active"));
            let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
            if unavailable.is_some_and(|cause| cause.contains("readonly")) {
                status.set_in_error();
            } else if clean {
                *status = TransactionManagerStatus::default();
            }
        }
        Conn::Pg(_) => {}
    }
}
