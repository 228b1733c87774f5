//! `primeur bench` (`scripts/bench`): what the service does in a second, against what its databases and disk can do. In
//! builds with the feature `bench` only.
//!
//! It starts what it needs, measures in one run, A and B in turns, and tells medians, spreads and ratios. It is no test,
//! and never fails on a figure.

mod client;
mod cluster;
mod figures;
mod fill;
mod founding;
mod load;
mod machine;
mod orders;
mod pgbench;
mod probe;
mod section;
mod server;
mod sink;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::{Args, ValueEnum};
use serde_json::json;

use cluster::Cluster;
use figures::{Figure, Report, short};
use load::{Outcome, Plan, Pressure};
use orders::{Mix, Orders};
use server::Server;
use world::{Copy, Size, World};

#[derive(Args)]
pub struct Options {
    /// What to measure; everything but `history` and `crowd` where nothing is named.
    sections: Vec<Section>,
    /// Everything, small and short: whether it works, and first impressions.
    #[arg(long)]
    quick: bool,
    /// Everything, at full size and length.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// On one of the two databases only.
    #[arg(long)]
    on: Option<Database>,
    /// Rounds, in which each side is measured once.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<u64>,
    /// A folder on the disk that is measured: everything is made in a new one inside it, and removed at the end.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
    /// Where the result is written as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Database {
    Postgresql,
    Sqlite,
}

impl Database {
    const ALL: [Database; 2] = [Database::Postgresql, Database::Sqlite];

    fn name(self) -> &'static str {
        match self {
            Database::Postgresql => "postgresql",
            Database::Sqlite => "sqlite",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Whether `primeur verify` finds nothing wrong, before and after a load.
    Books,
    /// From the start of the process to the first time that it is ready.
    Start,
    /// Redemptions a second at 1, 64 and 256 connections, against pgbench and one transaction a request.
    Till,
    /// The same with replays, hot cards and refusals.
    Mixes,
    /// A second server on the same database (PostgreSQL only).
    Servers,
    /// One connection alone.
    Lone,
    /// What the signature of the QR code costs.
    Signature,
    /// SQLite with a past, against its own checkpointing.
    Checkpoint,
    /// Latency at 1,100 requests a second, against one sync of the disk.
    Open,
    /// With 2 ms more for every sync.
    SlowDisk,
    /// A month as CSV, against the databases' own programs.
    Month,
    /// A month issued to many households, against one INSERT … SELECT.
    Issue,
    /// Ten times what can be carried.
    Overload,
    /// Ten million purchases behind.
    History,
    /// Nine million cards.
    Crowd,
}

/// How large and how long.
#[derive(Clone, Copy, Debug)]
struct Scale {
    households: u64,
    aged: u64,
    month: u64,
    to_issue: u64,
    behind: u64,
    crowd: u64,
    rounds: usize,
    seconds: u64,
    overload: u64,
}

const QUICK: Scale = Scale {
    households: 10_000,
    aged: 20_000,
    month: 50_000,
    to_issue: 2_048,
    behind: 100_000,
    crowd: 50_000,
    rounds: 2,
    seconds: 2,
    overload: 5,
};

const FULL: Scale = Scale {
    households: 100_000,
    aged: 200_000,
    month: 1_000_000,
    to_issue: 131_072,
    behind: 10_000_000,
    crowd: 9_000_000,
    rounds: 5,
    seconds: 10,
    overload: 60,
};

const USUAL: Scale = Scale { rounds: 3, seconds: 5, ..FULL };

/// MiB that a thousand purchases, and a thousand households, take on the disk with their indexes, and what is written
/// beside them while they come.
const PURCHASES: f64 = 2.4;
const HOUSEHOLDS: f64 = 3.2;

/// The run, as its sections see it.
struct Bench {
    scale: Scale,
    folder: PathBuf,
    databases: Vec<Database>,
    cluster: Option<Cluster>,
    worlds: Vec<Rc<World>>,
    report: Report,
    runs: u64,
    bare: bool,
}

/// One run of the load, and what it cost.
struct Measured {
    outcome: Outcome,
    /// Processors' worth of time of the server and of the database.
    server: f64,
    database: f64,
    load: f64,
}

pub fn run(options: &Options) -> Result<(), String> {
    if !Path::new("scripts/postgres").exists() {
        return Err("run it where the source is: scripts/bench".to_owned());
    }
    let mut scale = if options.quick { QUICK } else { [USUAL, FULL][usize::from(options.full)] };
    scale.rounds = options.rounds.unwrap_or(scale.rounds).max(1);
    scale.seconds = options.seconds.unwrap_or(scale.seconds).max(1);
    let big = [Section::History, Section::Crowd];
    let usual = |section: &Section| options.quick || options.full || !big.contains(section);
    let sections: Vec<Section> = match options.sections.is_empty() {
        true => Section::value_variants().iter().copied().filter(usual).collect(),
        false => options.sections.clone(),
    };
    let name = format!("primeur-bench-{}", std::process::id());
    let folder = options.directory.join(name);
    fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let databases = Database::ALL.into_iter().filter(|one| options.on.is_none_or(|on| on == *one)).collect();
    let mut bench = Bench {
        scale,
        folder: folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?,
        databases,
        cluster: None,
        worlds: Vec::new(),
        report: Report::default(),
        runs: 0,
        bare: false,
    };
    let begun = Instant::now();
    let outcome = bench.all(&sections);
    bench.tell("seconds in all", format!("{:.0}", begun.elapsed().as_secs_f64()));
    let Bench { report, cluster, .. } = bench;
    drop(cluster);
    drop(fs::remove_dir_all(&folder));
    print!("\n{}", report.table());
    let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
    if let Some(parent) = options.json.parent() {
        drop(fs::create_dir_all(parent));
    }
    fs::write(&options.json, text).map_err(|e| format!("cannot write {}: {e}", options.json.display()))?;
    println!("\nAs JSON in {}.", options.json.display());
    outcome
}

impl Bench {
    fn all(&mut self, sections: &[Section]) -> Result<(), String> {
        self.circumstances()?;
        if self.databases.contains(&Database::Postgresql) {
            self.cluster = Some(Cluster::start(&self.folder)?);
            self.tell("PostgreSQL", self.cluster()?.version());
            self.tell("its settings", cluster::settings().join(" "));
        }
        let sync = machine::fdatasync(&self.folder, Duration::from_secs(1))?;
        self.tell("fdatasync of 8 kB", format!("{sync:.0} µs"));
        for section in sections {
            let begun = Instant::now();
            // what goes wrong in one leaves the others standing
            if let Err(message) = section::run(self, *section) {
                self.skip(format!("{section:?} ended early: {message}"));
            }
            println!("{section:?}: {:.0} s", begun.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn circumstances(&mut self) -> Result<(), String> {
        let file_system = machine::file_system(&self.folder);
        if file_system == "tmpfs" {
            self.note("the folder lies in memory: nothing here is durable, and no figure means anything".to_owned());
        }
        let Scale { households, rounds, seconds, .. } = self.scale;
        self.tell("primeur", env!("CARGO_PKG_VERSION").to_owned());
        // told where they are at hand
        for (name, program, arguments) in [("commit", "git", "rev-parse HEAD"), ("compiler", "rustc", "--version")] {
            let said = machine::output(Command::new(program).args(arguments.split(' '))).unwrap_or_default();
            self.tell(name, said.trim().to_owned());
        }
        self.tell("processors", machine::processor());
        self.tell("memory", format!("{} MiB", machine::total_memory() / 1024));
        self.tell("load before", machine::load());
        self.tell("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned());
        self.tell("disk", format!("{file_system}, {:.0} GiB free", machine::free(&self.folder) / 1024.0));
        self.tell("SQLite", rusqlite::version().to_owned());
        self.tell("scale", format!("{households} cards, {rounds} rounds of {seconds} s, 200 stalls"));
        if cfg!(debug_assertions) {
            self.note("this is no release build: no figure means anything".to_owned());
        }
        Ok(())
    }

    fn tell(&mut self, name: &str, value: String) {
        println!("{name}: {value}");
        self.report.circumstances.push((name.to_owned(), value));
    }

    fn note(&mut self, note: String) {
        println!("  {note}");
        self.report.notes.push(note);
    }

    fn skip(&mut self, what: String) {
        println!("  left out: {what}");
        if !self.report.skipped.contains(&what) {
            self.report.skipped.push(what);
        }
    }

    fn figure(&mut self, figure: Figure) {
        let ratio = figure.ratio.map_or(String::new(), |ratio| format!(", ratio {}", short(ratio.median)));
        let ours = figure.ours_middle.map_or(0.0, |middle| middle.median);
        let database = figure.database.unwrap_or_default();
        println!("  {database} {}: {} {}{ratio}", figure.name, short(ours), figure.ours.unit);
        self.report.figures.push(figure);
    }

    fn cluster(&self) -> Result<&Cluster, String> {
        self.cluster.as_ref().ok_or_else(|| "there is no PostgreSQL server".to_owned())
    }

    /// A world of a size: made once, and kept.
    fn world(&mut self, database: Database, size: Size) -> Result<Rc<World>, String> {
        if let Some(world) = self.worlds.iter().find(|world| world.database == database && world.size == size) {
            return Ok(Rc::clone(world));
        }
        let needed = (size.purchases as f64 * PURCHASES + size.households as f64 * HOUSEHOLDS) / 1000.0 + 2048.0;
        let free = machine::free(&self.folder);
        if free < needed {
            let (needed, free, Size { households, purchases, .. }) = (needed / 1024.0, free / 1024.0, size);
            return Err(format!(
                "{households} households with {purchases} purchases on {} need some {needed:.0} GiB of disk, {free:.0} are free",
                database.name()
            ));
        }
        let begun = Instant::now();
        let world = Rc::new(World::make(&self.folder, self.cluster.as_ref(), database, size)?);
        let (households, purchases, took) = (size.households, size.purchases, begun.elapsed().as_secs_f64());
        println!("  {} has {households} households and {purchases} purchases after {took:.0} s", database.name());
        self.worlds.push(Rc::clone(&world));
        Ok(world)
    }

    /// The usual one.
    fn usual(&self) -> Size {
        Size { households: self.scale.households, purchases: 0, agreements: 2, issued: true }
    }

    /// What the tills of a world are measured on: a copy, unless it is too large.
    fn copy(&self, world: &World) -> Result<Copy, String> {
        let large = world.size.households > 1_000_000 || world.size.purchases > 1_000_000;
        match large {
            true => Ok(world.lend(self.cluster.as_ref())),
            false => world.copy(&self.folder, self.cluster.as_ref()),
        }
    }

    fn forget(&mut self, world: &Rc<World>) {
        world.remove(self.cluster.as_ref());
        self.worlds.retain(|kept| !Rc::ptr_eq(kept, world));
    }

    fn closed(&self, connections: usize) -> Plan {
        self.plan(Pressure::Closed { connections })
    }

    fn plan(&self, pressure: Pressure) -> Plan {
        let (warm, lasting) = (Duration::from_secs(1), Duration::from_secs(self.scale.seconds));
        Plan { mix: Mix::HAPPY, pressure, warm, lasting }
    }

    /// Serves a copy of a world with settings of its own, and presses it.
    fn press(
        &mut self,
        label: &str,
        world: &World,
        settings: &[(String, String)],
        plan: Plan,
    ) -> Result<Measured, String> {
        let copy = self.copy(world)?;
        let server = copy.serve(&self.folder, settings)?;
        let servers = [server];
        let measured = self.press_servers(label, world.database, &servers, &copy, plan)?;
        servers.into_iter().for_each(Server::stop);
        Ok(measured)
    }

    /// Presses servers that run already, in equal parts.
    fn press_servers(
        &mut self,
        label: &str,
        database: Database,
        servers: &[Server],
        copy: &Copy,
        plan: Plan,
    ) -> Result<Measured, String> {
        self.runs += 1;
        let orders = Orders::new(&copy.cast, plan.mix, (u64::from(std::process::id()) << 20) + self.runs);
        let waits = match (&copy.place, &self.cluster) {
            (world::Place::Postgresql { name }, Some(cluster)) => Some(cluster.watch(name)?),
            _ => None,
        };
        let used = |bench: &Bench| {
            let database =
                bench.cluster.as_ref().filter(|_| database == Database::Postgresql).map_or(0.0, Cluster::cpu);
            let server = servers.iter().map(|server| machine::cpu(server.pid())).sum();
            [server, database, machine::cpu(std::process::id())]
        };
        for server in servers {
            machine::forget_peak(server.pid())?;
        }
        let (before, begun, read_before) = (used(self), Instant::now(), machine::read_from_disks());
        let outcome = load::press(servers.iter().map(|server| server.address).collect(), orders, plan)?;
        let (after, lasted) = (used(self), begun.elapsed().as_secs_f64());
        let share = |what: usize| (after[what] - before[what]) / lasted;
        let peak: f64 = servers.iter().map(|server| machine::memory(server.pid(), "VmHWM")).sum();
        let measured = Measured { outcome, server: share(0), database: share(1), load: share(2) };
        let waits = waits.map(cluster::Waits::end);
        let read = machine::read_from_disks() - read_before;
        self.report.runs.push(json!({
            "what": label, "database": database.name(), "plan": plan, "outcome": measured.outcome,
            "processors": {"server": measured.server, "database": measured.database, "load": measured.load},
            "peak_mib": peak, "read_mib": read, "waits": waits,
        }));
        let load::Latency { p50, p99, .. } = measured.outcome.decided;
        let mut told = format!(
            "  {} {label}: {} a second, p50 {} ms, p99 {} ms; processors: server {:.2}, database {:.2}, load {:.2}; {} MiB; {} MiB read from disk",
            database.name(),
            short(measured.outcome.rate()),
            short(p50),
            short(p99),
            measured.server,
            measured.database,
            measured.load,
            short(peak),
            short(read)
        );
        if let Some(waits) = waits {
            told += &format!("; {waits}");
        }
        let Outcome { statuses, unsent, replays, .. } = &measured.outcome;
        println!("{told}; {statuses:?}, {unsent} not sent, {replays} replays");
        Ok(measured)
    }
}
