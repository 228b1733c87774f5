//! Ten times what can be carried: who is turned away how fast, what becomes of memory, and how soon all is well again.

use std::time::{Duration, Instant};

use super::super::figures::{Figure, Series};
use super::super::load::Pressure;
use super::super::server::Server;
use super::super::{Bench, Database, Plan, machine};

/// Connections of the crowd at the most.
const CROWD: usize = 2_000;

/// All is well again once nobody waits longer than so many milliseconds for a quarter of a second.
const WELL: f64 = 100.0;

pub fn overload(bench: &mut Bench, database: Database) -> Result<(), String> {
    let world = bench.world(database, bench.usual())?;
    let copy = bench.copy(&world)?;
    let servers = [copy.serve(&bench.folder, &[])?];
    let pid = servers[0].pid();
    let capacity = bench.press_servers("256 connections", database, &servers, &copy, bench.closed(256))?.outcome.rate();
    let before = machine::memory(pid, "VmRSS");
    let crowd = Plan {
        lasting: Duration::from_secs(bench.scale.overload),
        ..bench.plan(Pressure::Open { rate: capacity * 10.0, connections: CROWD })
    };
    let done = bench.press_servers("ten times its capacity, open loop", database, &servers, &copy, crowd)?;
    let begun = Instant::now();
    let mut recovered = None;
    while recovered.is_none() && begun.elapsed() < Duration::from_secs(60) {
        let look = Plan {
            warm: Duration::ZERO,
            lasting: Duration::from_millis(250),
            ..bench.plan(Pressure::Closed { connections: 1 })
        };
        let from = begun.elapsed();
        let seen = bench.press_servers("afterwards, 1 connection", database, &servers, &copy, look)?.outcome;
        let well = seen.decided.count > 0 && seen.turned_away.count == 0 && seen.decided.most < WELL;
        recovered = well.then_some(from);
    }
    let after = machine::memory(pid, "VmRSS");
    servers.into_iter().for_each(Server::stop);
    let of = Some(database.name());
    let mut figure = |name: &str, unit, value: f64| {
        let name = format!("ten times the capacity for {} s: {name}", bench.scale.overload);
        bench.figure(Figure::new("overload", name, of, Series::new("measured", unit, vec![value]), None, None));
    };
    figure("asked for", "req/s", capacity * 10.0);
    figure("answered with a decision", "req/s", done.outcome.rate());
    figure("turned away with 503", "%", done.outcome.share(503) * 100.0);
    figure("never answered", "%", done.outcome.share(0) * 100.0);
    figure("p50 of the 503s, once sent", "ms", done.outcome.turned_away_once_sent.p50);
    figure("p99 of the 503s, once sent", "ms", done.outcome.turned_away_once_sent.p99);
    figure("p99 of the served, once sent", "ms", done.outcome.decided_once_sent.p99);
    figure("p99 of the served, from when they were due", "ms", done.outcome.decided.p99);
    figure("memory before", "MiB", before);
    figure("memory at the most", "MiB", done.peak);
    figure("memory afterwards", "MiB", after);
    // the last that were sent are answered first
    let answering = done.outcome.seconds - crowd.lasting.as_secs_f64();
    let well = answering + recovered.map_or(60.0, |after| after.as_secs_f64());
    figure("from the last request until all is well again", "s", well);
    Ok(())
}
