//! What the pool is doing, counted for whoever watches over the service.

use std::sync::atomic::{AtomicU64, Ordering};

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::backend::Conn;
use crate::kit::error::Result;

/// The pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub in_use: u32,
    pub idle: u32,
    /// Connections there may be at most.
    pub max: u32,
    /// Who waits for a connection now.
    pub waiting: u64,
    /// How often somebody had to wait for one.
    pub waits: u64,
    /// Who waits for the turn to write now; always 0 on PostgreSQL.
    pub queue: u64,
    /// How often a transaction was done again.
    pub retries: u64,
}

#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub waiting: AtomicU64,
    pub waits: AtomicU64,
    pub queue: AtomicU64,
    pub retries: AtomicU64,
}

/// One more, as long as it lives.
pub(super) struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    pub fn on(gauge: &'a AtomicU64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Waiting(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gauges {
    pub fn figures(&self, in_use: u32, idle: u32, max: u32) -> Figures {
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let (waiting, waits) = (read(&self.waiting), read(&self.waits));
        Figures { in_use, idle, max, waiting, waits, queue: read(&self.queue), retries: read(&self.retries) }
    }
}

/// The version of the database behind a connection, as `3.51.0`.
pub fn version(conn: &mut Conn) -> Result<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let row: Row = match conn {
        Conn::Pg(conn) => diesel::sql_query("SELECT current_setting('server_version') AS version").get_result(conn)?,
        Conn::Sqlite(conn) => diesel::sql_query("SELECT sqlite_version() AS version").get_result(conn)?,
    };
    Ok(row.version)
}
