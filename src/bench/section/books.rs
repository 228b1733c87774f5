//! Whether the books are right: of a world as it was made, and after a load of everything that can happen at a till.

use std::sync::Arc;

use super::super::figures::{Figure, Series};
use super::super::orders::Mix;
use super::super::server::Server;
use super::super::world::{Copy, Size};
use super::super::{Bench, Database, Plan};
use crate::kit::time::SystemClock;
use crate::{service, verify};

/// Enough to find every mistake, and soon looked through.
const HOUSEHOLDS: u64 = 10_000;
const PURCHASES: u64 = 20_000;

pub fn books(bench: &mut Bench, database: Database) -> Result<(), String> {
    let households = HOUSEHOLDS.min(bench.scale.households);
    let world = bench.world(database, Size { households, purchases: PURCHASES, ..bench.usual() })?;
    let copy = bench.copy(&world)?;
    look(bench, database, &copy, "as a world is made")?;
    let servers = [copy.serve(&bench.folder, &[])?];
    let plan = Plan { mix: Mix { replays: 10, hot: 10, refusals: 10 }, ..bench.closed(64) };
    bench.press_servers("64 connections, 10 % of each, to be verified", database, &servers, &copy, plan)?;
    servers.into_iter().for_each(Server::stop);
    look(bench, database, &copy, "after load with 10 % of replays, hot vouchers and refusals")
}

fn look(bench: &mut Bench, database: Database, copy: &Copy, when: &str) -> Result<(), String> {
    let db = service::open_database(&copy.config()?, Arc::new(SystemClock))?;
    let verdict = verify::run(&db).map_err(|e| e.to_string())?;
    for finding in verdict.findings.iter().take(3) {
        bench.note(format!("{}: WRONG {finding}", database.name()));
    }
    let wrong = Series::new("wrong", "rows", vec![verdict.findings.len() as f64]);
    let name = format!("primeur verify, {when}");
    bench.figure(Figure::new("books", name, Some(database.name()), wrong, None, None));
    Ok(())
}
