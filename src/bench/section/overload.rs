//! Ten times what can be carried: who is turned away how fast, what becomes of memory, and how soon all is well again.

use std::time::{Duration, Instant};

use super::super::figures::{Figure, Series};
use super::super::load::{Outcome, Pressure};
use super::super::probe::{Probe, Probes, recovery};
use super::super::server::Server;
use super::super::{Bench, Database, Plan, machine};
use super::setting;

/// Connections of the crowd at the most.
const CROWD: usize = 2_000;

/// For which the probes are served as on a quiet server, before all is said to be well again.
const LASTING: Duration = Duration::from_secs(2);

/// After which that is no longer waited for.
const ENOUGH: Duration = Duration::from_secs(60);

pub fn overload(bench: &mut Bench, database: Database) -> Result<(), String> {
    let world = bench.world(database, bench.usual())?;
    let copy = bench.copy(&world)?;
    let servers = [copy.serve(&bench.folder, &[])?];
    let (pid, address) = (servers[0].pid(), servers[0].address);
    let capacity = bench.press_servers("256 connections", database, &servers, &copy, bench.closed(256))?.outcome.rate();
    let before = machine::memory(pid, "VmRSS");
    // nothing of the load's own backlog is sent once its time is over: what is left then is the service's
    let pressure = Pressure::Open { rate: capacity * 10.0, connections: CROWD, overdue: Duration::ZERO };
    let lasting = Duration::from_secs(bench.scale.overload);
    let crowd = Plan { lasting, ..bench.plan(pressure) };
    let probes = Probes::begin(address, pid, &copy.cast, u64::from(std::process::id()) << 21);
    let quiet = Instant::now();
    std::thread::sleep(LASTING);
    let begun = Instant::now();
    let at_rest: Vec<Probe> = probes.since(quiet).into_iter().filter(|probe| probe.begun < begun).collect();
    let well = (2.0 * part(&at_rest, 1.0)).max(50.0);
    let done = bench.press_servers("ten times its capacity, open loop", database, &servers, &copy, crowd)?.outcome;
    let end = done.end.ok_or("the load has no end")?;
    // until it looks well; whether it was, those still under way will tell
    while end.elapsed() < ENOUGH
        && recovery(&probes.since(end), end, well).is_none_or(|after| end.elapsed() <= after + LASTING)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    // all connections stand from the first second on
    let [early, most] = [end - lasting * 3 / 4, end].map(|until| probes.memory(begun, until));
    let probed = probes.end(begun + crowd.warm);
    let recovered = recovery(&probed, end, well);
    let beside: Vec<Probe> = probed.into_iter().filter(|probe| probe.begun < end).collect();
    let after = machine::memory(pid, "VmRSS");
    servers.into_iter().for_each(Server::stop);
    let refusing = setting("TILL__QUEUE", "1").ok_or("this build has no setting till.queue")?;
    let refused = bench.press("64 connections and one place", &world, &refusing, bench.closed(64))?;
    let each = refused.server * refused.outcome.seconds / of_all(&refused.outcome) * 1e6;

    let of = Some(database.name());
    let mut figure = |name: &str, unit, value: f64| {
        let name = format!("ten times the capacity for {} s: {name}", bench.scale.overload);
        bench.figure(Figure::new("overload", name, of, Series::new("measured", unit, vec![value]), None, None));
    };
    figure("asked for", "req/s", capacity * 10.0);
    figure("sent, over 2,000 connections", "req/s", of_all(&done) / done.seconds);
    figure("answered with a decision", "req/s", done.rate());
    figure("of what was sent, turned away with 503", "%", done.share(503) * 100.0);
    figure("of what was sent, never answered", "%", done.share(0) * 100.0);
    figure("p50 of the 503s, once sent", "ms", done.turned_away_once_sent.p50);
    figure("p99 of the 503s, once sent", "ms", done.turned_away_once_sent.p99);
    figure("p50 of the served, once sent", "ms", done.decided_once_sent.p50);
    figure("p99 of the served, once sent", "ms", done.decided_once_sent.p99);
    figure("p99 of any answer on a new connection beside it", "ms", part(&beside, 0.99));
    figure("memory before", "MiB", before);
    figure("memory at the most in its first quarter", "MiB", early);
    figure("memory at the most", "MiB", most);
    figure("memory afterwards", "MiB", after);
    figure("the server's processor time for an answer where nearly all are 503", "µs", each);
    figure("the slowest of a new connection's purchases at rest", "ms", part(&at_rest, 1.0));
    let again = recovered.map_or(ENOUGH, |after| after).as_secs_f64();
    figure("from the last request until a new connection is served as at rest", "s", again);
    Ok(())
}

/// Answers, and what never came.
fn of_all(outcome: &Outcome) -> f64 {
    outcome.statuses.values().sum::<u64>() as f64
}

/// Milliseconds that no more than the rest of them took longer than.
fn part(probes: &[Probe], part: f64) -> f64 {
    let mut millis: Vec<f64> = probes.iter().map(Probe::millis).collect();
    millis.sort_by(f64::total_cmp);
    let place = (millis.len() as f64 * part).ceil() as usize;
    millis.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
