//! Rows by the million into either database: by COPY into PostgreSQL, by prepared INSERTs into SQLite's file.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::cluster::Cluster;
use super::machine;
use crate::kit::id::Id;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};

/// A value as both databases can be given it.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    Id([u8; 16]),
    Int(i64),
    Text(&'a str),
    At(Instant),
    Day(Day),
    Bytes(&'a [u8]),
    Bool(bool),
    Null,
}

impl<K> From<Id<K>> for Cell<'_> {
    fn from(id: Id<K>) -> Self {
        Cell::Id(*id.as_bytes())
    }
}

impl<K> From<Option<Id<K>>> for Cell<'_> {
    fn from(id: Option<Id<K>>) -> Self {
        id.map_or(Cell::Null, Cell::from)
    }
}

impl From<Cents> for Cell<'_> {
    fn from(cents: Cents) -> Self {
        Cell::Int(cents.0)
    }
}

impl From<i32> for Cell<'_> {
    fn from(number: i32) -> Self {
        Cell::Int(number.into())
    }
}

impl From<Instant> for Cell<'_> {
    fn from(at: Instant) -> Self {
        Cell::At(at)
    }
}

impl From<Option<Instant>> for Cell<'_> {
    fn from(at: Option<Instant>) -> Self {
        at.map_or(Cell::Null, Cell::At)
    }
}

impl From<Day> for Cell<'_> {
    fn from(day: Day) -> Self {
        Cell::Day(day)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Cell::Text(text)
    }
}

impl From<bool> for Cell<'_> {
    fn from(whether: bool) -> Self {
        Cell::Bool(whether)
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Cell::Bytes(bytes)
    }
}

/// A table, and those of its columns that are given.
pub type Table = (&'static str, &'static str);

pub trait Sink {
    /// A row of the table of that place in the list.
    fn row(&mut self, table: usize, cells: &[Cell]) -> Result<(), String>;
}

/// Runs `fill` over PostgreSQL's tables: a connection each, so that they are written beside each other. References are not
/// checked meanwhile.
pub fn into_postgresql(
    cluster: &Cluster,
    database: &str,
    tables: &[Table],
    fill: impl FnOnce(&mut dyn Sink) -> Result<(), String>,
) -> Result<(), String> {
    let mut copies = Copies { each: Vec::new(), line: String::new() };
    for (table, columns) in tables {
        let mut command = cluster.program("psql", database);
        command.env("PGOPTIONS", "-c session_replication_role=replica -c synchronous_commit=off");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", &format!("COPY {table} ({columns}) FROM STDIN")]);
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(|e| format!("cannot run psql: {e}"))?;
        let input = child.stdin.take().ok_or("psql has no input")?;
        copies.each.push((child, BufWriter::with_capacity(256 * 1024, input)));
    }
    let filled = fill(&mut copies);
    for ((child, input), (table, _)) in copies.each.into_iter().zip(tables) {
        let (mut child, flushed): (Child, _) = (child, input.into_inner());
        drop(flushed);
        let status = child.wait().map_err(|e| format!("psql: {e}"))?;
        if !status.success() {
            return Err(format!("the rows of {table} were refused"));
        }
    }
    filled
}

struct Copies {
    each: Vec<(Child, BufWriter<ChildStdin>)>,
    line: String,
}

impl Sink for Copies {
    fn row(&mut self, table: usize, cells: &[Cell]) -> Result<(), String> {
        self.line.clear();
        for (place, cell) in cells.iter().enumerate() {
            if place > 0 {
                self.line.push('\t');
            }
            let line = &mut self.line;
            let written = match cell {
                Cell::Id(id) => write!(line, "{}", data_encoding::HEXLOWER.encode(id)),
                Cell::Int(number) => write!(line, "{number}"),
                Cell::Text(text) => write!(line, "{text}"),
                Cell::At(at) => write!(line, "{at}"),
                Cell::Day(day) => write!(line, "{day}"),
                Cell::Bytes(bytes) => write!(line, "\\\\x{}", data_encoding::HEXLOWER.encode(bytes)),
                Cell::Bool(whether) => write!(line, "{}", if *whether { 't' } else { 'f' }),
                Cell::Null => write!(line, "\\N"),
            };
            written.map_err(|e| e.to_string())?;
        }
        self.line.push('\n');
        self.each[table].1.write_all(self.line.as_bytes()).map_err(|e| format!("psql: {e}"))
    }
}

/// The same into SQLite's file, which nobody else has open. Its indexes are made anew at the end: row by row they grow at
/// random places, and beyond what memory holds each row then costs several pages.
pub fn into_sqlite(
    path: &Path,
    tables: &[Table],
    fill: impl FnOnce(&mut dyn Sink) -> Result<(), String>,
) -> Result<(), String> {
    let conn = Connection::open(path).map_err(told)?;
    // keys that are random grow at random places: they are to fit into memory, up to a quarter of it
    let cache = machine::total_memory() / 4;
    let settings = format!("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -{cache}; BEGIN");
    conn.execute_batch(&settings).map_err(told)?;
    let beside = beside(&conn, tables)?;
    for (kind, name, _) in &beside {
        conn.execute_batch(&format!("DROP {kind} {name}")).map_err(told)?;
    }
    let mut prepared = Inserts(Vec::new());
    for (table, columns) in tables {
        let places = vec!["?"; columns.split(',').count()].join(", ");
        let insert = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
        prepared.0.push(conn.prepare(&insert).map_err(told)?);
    }
    fill(&mut prepared)?;
    drop(prepared);
    for (_, _, made) in &beside {
        conn.execute_batch(made).map_err(told)?;
    }
    conn.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").map_err(told)
}

/// Indexes and triggers of some tables: what each is, its name, and what makes it.
fn beside(conn: &Connection, tables: &[Table]) -> Result<Vec<(String, String, String)>, String> {
    let names: Vec<String> = tables.iter().map(|(table, _)| format!("'{table}'")).collect();
    let names = names.join(", ");
    let known = format!(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'table' AND tbl_name IN ({names})"
    );
    let mut known = conn.prepare(&known).map_err(told)?;
    let rows = known.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(told)?;
    rows.collect::<Result<_, _>>().map_err(told)
}

/// Statements on SQLite's file.
pub fn sqlite(path: &Path, statements: &str) -> Result<(), String> {
    Connection::open(path).and_then(|conn| conn.execute_batch(statements)).map_err(told)
}

pub fn told(error: rusqlite::Error) -> String {
    format!("SQLite: {error}")
}

struct Inserts<'c>(Vec<Statement<'c>>);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Id(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id)),
            Cell::Int(number) => ToSqlOutput::from(*number),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::At(at) => ToSqlOutput::from(at.as_microsecond()),
            Cell::Day(day) => ToSqlOutput::from(day.to_string()),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Cell::Bool(whether) => ToSqlOutput::from(*whether),
            Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        })
    }
}

impl Sink for Inserts<'_> {
    fn row(&mut self, table: usize, cells: &[Cell]) -> Result<(), String> {
        self.0[table].execute(rusqlite::params_from_iter(cells)).map(drop).map_err(told)
    }
}
