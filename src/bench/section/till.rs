//! The till: how many a second, how fast, and what bounds it.

use std::time::Duration;

use super::super::figures::{Aim, Figure, Series};
use super::super::load::Pressure;
use super::super::orders::Mix;
use super::super::server::Server;
use super::super::world::Size;
use super::super::{Bench, Database, Plan, machine, pgbench};
use super::{default_checkpoints, one_by_one, trusting};

/// The peak of all of France.
pub const PEAK: Pressure = Pressure::Open { rate: RATE, connections: 256, overdue: Duration::from_secs(10) };
const RATE: f64 = 1100.0;

const REQUESTS: &str = "req/s";
const MILLIS: &str = "ms";

const NO_SWITCH: &str = "this build has no setting till.queue: not held against one transaction a request";

/// Clients of pgbench, of which the best counts.
const CLIENTS: [usize; 4] = [1, 8, 32, 64];

fn prepare(bench: &mut Bench) -> Result<(), String> {
    if !bench.bare {
        pgbench::prepare(bench.cluster()?, bench.scale.households)?;
        bench.bare = true;
    }
    Ok(())
}

pub fn postgresql(bench: &mut Bench) -> Result<(), String> {
    prepare(bench)?;
    let database = Some(Database::Postgresql.name());
    let world = bench.world(Database::Postgresql, bench.usual())?;
    let own = one_by_one();
    let (mut at_64, mut at_256, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    // pgbench's redemption is paid out of one agreement
    let alike = bench.world(Database::Postgresql, Size { agreements: 1, ..bench.usual() })?;
    let (mut alike_at_64, mut alike_at_256) = (Vec::new(), Vec::new());
    let mut clients: Vec<Vec<f64>> = vec![Vec::new(); CLIENTS.len()];
    for _ in 0..bench.scale.rounds {
        at_64.push(bench.press("64 connections", &world, &[], bench.closed(64))?.outcome.rate());
        let plan = bench.closed(64);
        alike_at_64.push(bench.press("64 connections, one agreement", &alike, &[], plan)?.outcome.rate());
        for (place, count) in CLIENTS.into_iter().enumerate() {
            let tps = pgbench::run(bench.cluster()?, count, bench.scale.seconds)?;
            println!("  pgbench, {count} clients: {tps:.0} tps");
            clients[place].push(tps);
        }
        at_256.push(bench.press("256 connections", &world, &[], bench.closed(256))?.outcome.rate());
        let plan = bench.closed(256);
        alike_at_256.push(bench.press("256 connections, one agreement", &alike, &[], plan)?.outcome.rate());
        if let Some(own) = &own {
            let plan = bench.closed(256);
            alone.push(bench.press("256 connections, one by one", &world, own, plan)?.outcome.rate());
        }
    }
    let best: Vec<f64> =
        (0..bench.scale.rounds).map(|round| clients.iter().map(|tps| tps[round]).fold(0.0, f64::max)).collect();
    let ours = |what: &str, values: &[f64]| Series::new(what, REQUESTS, values.to_vec());
    let mut figure = |name: &str, ours, base, aim| bench.figure(Figure::new("till", name, database, ours, base, aim));
    let base = |what: &str, tps: &[f64]| Some(Series::new(what, "tps", tps.to_vec()));
    for (agreements, at_64, at_256) in
        [("two agreements", &at_64, &at_256), ("one agreement, as pgbench's", &alike_at_64, &alike_at_256)]
    {
        figure(
            &format!(
                "durable HTTP redemptions/s at 64 connections ÷ pgbench one-round-trip at 64 clients: {agreements}"
            ),
            ours("HTTP at 64", at_64),
            base("pgbench at 64", &clients[3]),
            Aim::more(2.3, 3.5),
        );
        figure(
            &format!("the same at 256 connections ÷ pgbench's best client count: {agreements}"),
            ours("HTTP at 256", at_256),
            base("pgbench's best of 1, 8, 32, 64", &best),
            Aim::more(2.0, 3.5),
        );
    }
    let base = Some(Series::new("one by one at 256", REQUESTS, alone)).filter(|base| !base.values.is_empty());
    figure(
        "the same at 256 ÷ our own one-transaction-per-request at 256",
        ours("HTTP at 256", &at_256),
        base,
        Aim::more(3.0, 5.0).filter(|_| own.is_some()),
    );
    for (count, tps) in CLIENTS.into_iter().zip(clients) {
        figure(&format!("pgbench one-round-trip, {count} clients"), Series::new("pgbench", "tps", tps), None, None);
    }
    if own.is_none() {
        bench.skip(NO_SWITCH.to_owned());
    }
    Ok(())
}

pub fn sqlite(bench: &mut Bench) -> Result<(), String> {
    let world = bench.world(Database::Sqlite, bench.usual())?;
    let own = one_by_one();
    let (mut at_64, mut at_256, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        at_64.push(bench.press("64 connections", &world, &[], bench.closed(64))?.outcome.rate());
        if let Some(own) = &own {
            let plan = bench.closed(64);
            alone.push(bench.press("64 connections, one by one", &world, own, plan)?.outcome.rate());
        }
        at_256.push(bench.press("256 connections", &world, &[], bench.closed(256))?.outcome.rate());
    }
    let base = Some(Series::new("one by one at 64", REQUESTS, alone)).filter(|base| !base.values.is_empty());
    let aim = Aim::more(3.5, 6.0).filter(|_| own.is_some());
    let name = "(FULL) redemptions/s at 64 connections ÷ one-transaction-per-request";
    let database = Some(Database::Sqlite.name());
    bench.figure(Figure::new("till", name, database, Series::new("HTTP at 64", REQUESTS, at_64), base, aim));
    let ours = Series::new("HTTP at 256", REQUESTS, at_256);
    bench.figure(Figure::new("till", "redemptions/s at 256 connections", database, ours, None, None));
    if own.is_none() {
        bench.skip(NO_SWITCH.to_owned());
    }
    Ok(())
}

pub fn mixes(bench: &mut Bench, database: Database) -> Result<(), String> {
    const KINDS: [(&str, Mix); 5] = [
        ("happy path", Mix::HAPPY),
        ("10 % replays", Mix { replays: 10, ..Mix::HAPPY }),
        ("10 % hot vouchers", Mix { hot: 10, ..Mix::HAPPY }),
        ("10 % refusals", Mix { refusals: 10, ..Mix::HAPPY }),
        ("10 % of each", Mix { replays: 10, hot: 10, refusals: 10 }),
    ];
    let world = bench.world(database, bench.usual())?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); KINDS.len()];
    for _ in 0..bench.scale.rounds {
        for (place, (what, mix)) in KINDS.into_iter().enumerate() {
            let plan = Plan { mix, ..bench.closed(64) };
            let done = bench.press(&format!("64 connections, {what}"), &world, &[], plan)?;
            let strange = done.outcome.statuses.iter().filter(|(status, _)| ![201, 409].contains(*status));
            let strange: Vec<String> = strange.map(|(status, count)| format!("{count} × {status}")).collect();
            if !strange.is_empty() {
                bench.note(format!("{} {what}: unforeseen answers: {}", database.name(), strange.join(", ")));
            }
            rates[place].push(done.outcome.rate());
        }
    }
    let happy = rates[0].clone();
    for ((what, _), rates) in KINDS.into_iter().zip(rates).skip(1) {
        let base = Some(Series::new("happy path", REQUESTS, happy.clone()));
        let ours = Series::new(what, "answers/s", rates);
        let name = format!("answers/s at 64 connections with {what} ÷ the happy path");
        bench.figure(Figure::new("mixes", name, Some(database.name()), ours, base, None));
    }
    Ok(())
}

/// What a second server on the same machine adds to one, with as many connections in all.
pub fn servers(bench: &mut Bench) -> Result<(), String> {
    let database = Database::Postgresql;
    let world = bench.world(database, bench.usual())?;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        one.push(bench.press("256 connections, 1 server", &world, &[], bench.closed(256))?.outcome.rate());
        let copy = bench.copy(&world)?;
        let servers = [copy.serve(&bench.folder, &[])?, copy.serve(&bench.folder, &[])?];
        let plan = bench.closed(256);
        two.push(bench.press_servers("256 connections, 2 servers", database, &servers, &copy, plan)?.outcome.rate());
        servers.into_iter().for_each(Server::stop);
    }
    let (ours, base) = (Series::new("two servers", REQUESTS, two), Series::new("one server", REQUESTS, one));
    let name = "two servers on this machine and one PostgreSQL, 256 connections ÷ one";
    bench.figure(Figure::new("servers", name, Some(database.name()), ours, Some(base), None));
    Ok(())
}

pub fn lone(bench: &mut Bench, database: Database) -> Result<(), String> {
    let world = bench.world(database, bench.usual())?;
    let own = one_by_one();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        with.push(bench.press("1 connection", &world, &[], bench.closed(1))?.outcome.decided.p50);
        if let Some(own) = &own {
            without.push(bench.press("1 connection, one by one", &world, own, bench.closed(1))?.outcome.decided.p50);
        }
    }
    let base = Some(Series::new("without, p50", MILLIS, without)).filter(|base| !base.values.is_empty());
    let aim = Aim::less(1.1, 1.0).filter(|_| own.is_some());
    let ours = Series::new("with the queue, p50", MILLIS, with);
    let name = "a lone connection: latency with the queue ÷ without";
    bench.figure(Figure::new("lone", name, Some(database.name()), ours, base, aim));
    if own.is_none() {
        bench.skip(NO_SWITCH.to_owned());
    }
    Ok(())
}

pub fn signature(bench: &mut Bench, database: Database) -> Result<(), String> {
    let world = bench.world(database, bench.usual())?;
    let (mut checked, mut trusted) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        checked.push(bench.press("64 connections", &world, &[], bench.closed(64))?.outcome.rate());
        let plan = bench.closed(64);
        trusted.push(bench.press("64 connections, unchecked", &world, &trusting(), plan)?.outcome.rate());
    }
    let (ours, base) = (Series::new("checked", REQUESTS, checked), Series::new("unchecked", REQUESTS, trusted));
    let name = "throughput with the QR signature checked ÷ without";
    bench.figure(Figure::new("signature", name, Some(database.name()), ours, Some(base), Aim::more(0.8, 0.95)));
    Ok(())
}

fn aged(bench: &Bench) -> Size {
    Size { purchases: bench.scale.aged, ..bench.usual() }
}

pub fn checkpoint(bench: &mut Bench) -> Result<(), String> {
    let world = bench.world(Database::Sqlite, aged(bench))?;
    let default = default_checkpoints();
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        ours.push(bench.press("64 connections, aged", &world, &[], bench.closed(64))?.outcome.rate());
        if let Some(default) = &default {
            let plan = bench.closed(64);
            let done = bench.press("64 connections, aged, default checkpoints", &world, default, plan)?;
            base.push(done.outcome.rate());
        }
    }
    let base = Some(Series::new("default checkpointing", REQUESTS, base)).filter(|base| !base.values.is_empty());
    let aim = Aim::more(1.3, 2.0).filter(|_| default.is_some());
    let name = format!("after {} redemptions: redemptions/s ÷ the same with default checkpointing", bench.scale.aged);
    let ours = Series::new("ours", REQUESTS, ours);
    bench.figure(Figure::new("checkpoint", name, Some(Database::Sqlite.name()), ours, base, aim));
    if default.is_none() {
        bench.skip("this build has no setting database.checkpoint: nothing to hold it against".to_owned());
    }
    Ok(())
}

pub fn open(bench: &mut Bench, database: Database) -> Result<(), String> {
    let (size, aim, state) = match database {
        Database::Postgresql => (bench.usual(), Aim::less(25.0, 10.0), String::new()),
        Database::Sqlite => (aged(bench), Aim::less(130.0, 45.0), format!(", after {} redemptions", bench.scale.aged)),
    };
    let world = bench.world(database, size)?;
    let (mut p99, mut sync, mut p50, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        sync.push(machine::fdatasync(&bench.folder, Duration::from_secs(1))? / 1000.0);
        let plan = bench.plan(PEAK);
        let done = bench.press("1,100 a second, open loop", &world, &[], plan)?;
        p99.push(done.outcome.decided.p99);
        p50.push(done.outcome.decided.p50);
        if database == Database::Postgresql {
            // eight clients are about its best
            prepare(bench)?;
            bare.push(pgbench::paced_p99(bench.cluster()?, 8, RATE, bench.scale.seconds)?);
        }
    }
    if !bare.is_empty() {
        let base = Some(Series::new("pgbench, 8 clients", MILLIS, bare));
        let name = "p99 at 1,100/s open loop ÷ that of pgbench's bare one-round-trip at that rate";
        let ours = Series::new("HTTP", MILLIS, p99.clone());
        bench.figure(Figure::new("open", name, Some(database.name()), ours, base, None));
    }
    let name = format!("p99 at 1,100/s open loop ÷ one fdatasync of the disk{state}");
    let base = Some(Series::new("one fdatasync", MILLIS, sync));
    let of = Some(database.name());
    bench.figure(Figure::new("open", name, of, Series::new("p99", MILLIS, p99), base, aim));
    bench.figure(Figure::new("open", "p50 at 1,100/s open loop", of, Series::new("p50", MILLIS, p50), None, None));
    Ok(())
}

pub fn slow_disk(bench: &mut Bench) -> Result<(), String> {
    prepare(bench)?;
    let world = bench.world(Database::Postgresql, bench.usual())?;
    let slower = Some(Duration::from_millis(2));
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    let measured = restart(bench, slower).and_then(|()| {
        for _ in 0..bench.scale.rounds {
            ours.push(bench.press("256 connections, slow disk", &world, &[], bench.closed(256))?.outcome.rate());
            let tps = pgbench::run(bench.cluster()?, 64, bench.scale.seconds)?;
            println!("  pgbench, 64 clients, slow disk: {tps:.0} tps");
            base.push(tps);
        }
        Ok(())
    });
    restart(bench, None)?;
    measured?;
    let name = "with 2 ms added to every fsync: PostgreSQL HTTP at 256 ÷ pgbench at 64";
    let (ours, base) = (Series::new("HTTP at 256", REQUESTS, ours), Series::new("pgbench at 64", "tps", base));
    let database = Some(Database::Postgresql.name());
    bench.figure(Figure::new("slow-disk", name, database, ours, Some(base), Aim::more(3.0, 4.0)));
    Ok(())
}

fn restart(bench: &mut Bench, slower: Option<Duration>) -> Result<(), String> {
    bench.cluster.as_mut().ok_or("there is no PostgreSQL server")?.restart(slower)
}

pub fn start(bench: &mut Bench, database: Database) -> Result<(), String> {
    let world = bench.world(database, bench.usual())?;
    let mut times = Vec::new();
    let copy = bench.copy(&world)?;
    for _ in 0..bench.scale.rounds.max(5) {
        let server = copy.serve(&bench.folder, &[])?;
        times.push(server.start.as_secs_f64() * 1000.0);
        server.stop();
    }
    let name = "start-up: from the process to the first ready";
    bench.figure(Figure::new("start", name, Some(database.name()), Series::new("start", MILLIS, times), None, None));
    Ok(())
}
