//! What is measured, section by section.

mod books;
mod issue;
mod large;
mod month;
mod overload;
mod till;

use super::world::knows;
use super::{Bench, Database, Section};

pub fn run(bench: &mut Bench, section: Section) -> Result<(), String> {
    match section {
        Section::Till if bench.databases.contains(&Database::Postgresql) => till::postgresql(bench)?,
        Section::Servers if bench.databases.contains(&Database::Postgresql) => return till::servers(bench),
        Section::SlowDisk if bench.databases.contains(&Database::Postgresql) => return till::slow_disk(bench),
        _ => {}
    }
    for database in bench.databases.clone() {
        match (section, database) {
            (Section::Books, _) => books::books(bench, database)?,
            (Section::Start, _) => till::start(bench, database)?,
            (Section::Till, Database::Sqlite) => till::sqlite(bench)?,
            (Section::Till | Section::SlowDisk | Section::Servers, _) => {}
            (Section::Mixes, _) => till::mixes(bench, database)?,
            (Section::Lone, _) => till::lone(bench, database)?,
            (Section::Signature, _) => till::signature(bench, database)?,
            (Section::Checkpoint, Database::Sqlite) => till::checkpoint(bench)?,
            (Section::Checkpoint, Database::Postgresql) => {}
            (Section::Open, _) => till::open(bench, database)?,
            (Section::Month, _) => month::month(bench, database)?,
            (Section::Issue, _) => issue::issue(bench, database)?,
            (Section::Overload, _) => overload::overload(bench, database)?,
            (Section::History, _) => large::history(bench, database)?,
            (Section::Crowd, _) => large::crowd(bench, database)?,
        }
    }
    Ok(())
}

/// Settings under which each request has a transaction of its own, if this build knows how.
fn one_by_one() -> Option<Vec<(String, String)>> {
    setting("TILL__QUEUE", "0")
}

/// SQLite's own checkpointing, if this build has another.
fn default_checkpoints() -> Option<Vec<(String, String)>> {
    setting("DATABASE__CHECKPOINT", "default")
}

fn setting(key: &str, value: &str) -> Option<Vec<(String, String)>> {
    knows(key, value).then(|| vec![(format!("PRIMEUR__{key}"), value.to_owned())])
}

/// Takes the QR code's word for it: see `voucher::token`.
fn trusting() -> Vec<(String, String)> {
    vec![("PRIMEUR_BENCH_TRUST_CARDS".to_owned(), "1".to_owned())]
}
