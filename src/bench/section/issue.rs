//! The scheduler's month: every household's money issued, against one statement that writes the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::figures::{Aim, Figure, Series};
use super::super::sink::told;
use super::super::world::{Copy, Place, Size};
use super::super::{Bench, Database, sink};
use crate::kit::time::SystemClock;
use crate::{schedule, service};

/// What issuing writes, and which rows of it: two tables' anew, two tables' again.
const TABLES: [(&str, &str); 4] = [
    ("accounts", "kind = 'allowance'"),
    ("transfers", "code = 'issue'"),
    ("allowances", "state = 'issued'"),
    ("allowance_parts", "issued_cents > 0"),
];

pub fn issue(bench: &mut Bench, database: Database) -> Result<(), String> {
    let size = Size { households: bench.scale.to_issue, issued: false, ..bench.usual() };
    let world = bench.world(database, size)?;
    let (mut ours, mut inserted, mut all) = (Vec::new(), Vec::new(), Vec::new());
    // minutes each: two show whether they agree
    for _ in 0..bench.scale.rounds.min(2) {
        let copy = bench.copy(&world)?;
        let db = service::open_database(&copy.config()?, Arc::new(SystemClock))?;
        let begun = Instant::now();
        let done = schedule::run(&db).map_err(|e| e.to_string())?;
        ours.push(begun.elapsed().as_secs_f64());
        drop(db);
        if done.issued as u64 != size.households + 1 {
            return Err(format!("{} of {} were issued", done.issued, size.households + 1));
        }
        inserted.push(bare(bench, &copy, 2)?);
        all.push(bare(bench, &copy, TABLES.len())?);
    }
    bench.forget(&world);
    let of = Some(database.name());
    let name =
        format!("issuing a month for {} households ÷ one bare INSERT … SELECT of the same rows", size.households);
    let ours = Series::new("the scheduler", "s", ours);
    let base = Series::new("INSERT … SELECT of the rows written (accounts, transfers, allowances, parts)", "s", all);
    bench.figure(Figure::new("issue", name, of, ours.clone(), Some(base), Aim::less(4.0, 2.0)));
    let base = Series::new("INSERT … SELECT of the new rows only (accounts, transfers)", "s", inserted);
    bench.figure(Figure::new("issue", "the same ÷ its new rows only", of, ours, Some(base), None));
    Ok(())
}

/// Seconds that the rows of the first so many tables take into copies of these, with their indexes and checks, in one
/// durable transaction.
fn bare(bench: &Bench, copy: &Copy, count: usize) -> Result<f64, String> {
    let tables = &TABLES[..count];
    let insert = |(table, rows): &(&str, &str)| format!("INSERT INTO bare_{table} SELECT * FROM {table} WHERE {rows};");
    let work = format!("BEGIN; {} COMMIT;", tables.iter().map(insert).collect::<String>());
    match &copy.place {
        Place::Postgresql { name } => {
            let make = |(table, _): &(&str, &str)| {
                format!("DROP TABLE IF EXISTS bare_{table}; CREATE TABLE bare_{table} (LIKE {table} INCLUDING ALL);")
            };
            let cluster = bench.cluster()?;
            cluster.sql(name, &tables.iter().map(make).collect::<String>())?;
            cluster.sql(name, "CHECKPOINT")?;
            let begun = Instant::now();
            cluster.sql(name, &work)?;
            Ok(begun.elapsed().as_secs_f64())
        }
        Place::Sqlite { file } => {
            for (table, _) in tables {
                sink::sqlite(file, &bare_table(file, table)?)?;
            }
            let begun = Instant::now();
            sink::sqlite(file, &format!("PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; {work}"))?;
            Ok(begun.elapsed().as_secs_f64())
        }
    }
}

/// What makes an empty table like another one, with its indexes.
fn bare_table(file: &Path, table: &str) -> Result<String, String> {
    let conn = rusqlite::Connection::open(file).map_err(told)?;
    let known = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = ?1 AND sql IS NOT NULL AND type <> 'trigger' \
                 ORDER BY type = 'index'";
    let mut known = conn.prepare(known).map_err(told)?;
    let rows = known.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(told)?;
    let mut made = format!("DROP TABLE IF EXISTS bare_{table};\n");
    for row in rows {
        let (kind, name, sql): (String, String, String) = row.map_err(told)?;
        let (head, rest) = sql.split_once('(').ok_or("a table without columns")?;
        let unique = if head.to_uppercase().contains("UNIQUE") { "UNIQUE " } else { "" };
        made += &match kind.as_str() {
            "table" => format!("CREATE TABLE bare_{table} ({rest};\n"),
            _ => format!("CREATE {unique}INDEX bare_{name} ON bare_{table} ({rest};\n"),
        };
    }
    Ok(made)
}
