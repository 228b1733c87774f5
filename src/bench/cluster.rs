//! A throwaway PostgreSQL server that syncs what it commits, and its own programs: psql and pgbench.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::machine::{self, output};

const SCRIPT: &str = "scripts/postgres";

/// Everything durable, and a quarter of the machine's memory for its pages, as PostgreSQL's manual begins with (19.4.1).
pub fn settings() -> Vec<String> {
    let pages = format!("shared_buffers={}MB", machine::total_memory() / 4096);
    let settings = [
        "fsync=on",
        "synchronous_commit=on",
        "full_page_writes=on",
        "wal_sync_method=fdatasync",
        &pages,
        "max_wal_size=8GB",
        "max_connections=400",
        "checkpoint_timeout=15min",
        "autovacuum_naptime=20s",
    ];
    settings.map(str::to_owned).to_vec()
}

pub struct Cluster {
    directory: PathBuf,
    programs: PathBuf,
    server: Option<Child>,
}

impl Cluster {
    /// Makes one in a folder of its own, and starts it.
    pub fn start(parent: &Path) -> Result<Self, String> {
        let programs = output(Command::new(SCRIPT).arg("programs"))?;
        let directory = parent.join("pg");
        fs::create_dir(&directory).map_err(|e| format!("cannot make {}: {e}", directory.display()))?;
        output(Command::new(SCRIPT).arg("init").arg(&directory))?;
        let mut cluster = Cluster { directory, programs: programs.trim().into(), server: None };
        cluster.run(None)?;
        Ok(cluster)
    }

    /// Where the databases' files lie.
    pub fn tables(&self) -> PathBuf {
        self.directory.join("data/base")
    }

    /// Starts the server again, with every sync of it so much longer.
    pub fn restart(&mut self, slower: Option<Duration>) -> Result<(), String> {
        self.stop();
        self.run(slower)
    }

    fn run(&mut self, slower: Option<Duration>) -> Result<(), String> {
        let told = |e: std::io::Error| format!("cannot start PostgreSQL: {e}");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).map_err(told)?;
        let mut command = Command::new(SCRIPT);
        command.arg("run").arg(&self.directory);
        command.args(settings().iter().flat_map(|setting| ["-c", setting]));
        if let Some(slower) = slower {
            let library = self.directory.join("slow-sync.so");
            output(
                Command::new("cc")
                    .args(["-O2", "-shared", "-fPIC", "-o"])
                    .arg(&library)
                    .args([&format!("-DMICROSECONDS={}", slower.as_micros()), "scripts/bench.d/slow-sync.c"]),
            )?;
            command.env("SERVER_PRELOAD", &library);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(told)?).stderr(log);
        self.server = Some(command.spawn().map_err(told)?);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
            let pid = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
            let ready = pid.lines().nth(7).is_some_and(|status| status.trim() == "ready");
            if ready && self.sql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
        }
        Err(format!("PostgreSQL does not start: see {}", self.directory.join("log").display()))
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // fast: whoever is connected is not waited for, and what was written is
            let pid = self.postmaster().to_string();
            let told = Command::new("kill").args(["-s", "INT", "--", &pid]).status();
            if told.is_err() {
                drop(server.kill());
            }
            drop(server.wait());
        }
    }

    pub fn postmaster(&self) -> u32 {
        let pid = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        pid.lines().next().and_then(|pid| pid.trim().parse().ok()).unwrap_or(0)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Seconds of processor that all its processes have used.
    pub fn cpu(&self) -> f64 {
        machine::cpu_with_children(self.postmaster())
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://test@/{database}?host={}", self.directory.display())
    }

    /// One of its programs, to work on a database.
    pub fn program(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(variable);
        }
        command.env("PGHOST", &self.directory).env("PGUSER", "test").env("PGDATABASE", database);
        command
    }

    /// Statements, each in a transaction of its own; what they say, columns by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut command = self.program("psql", database);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("cannot run psql: {e}"))?;
        if let Some(mut input) = child.stdin.take() {
            // whoever refuses to read says why at the end
            drop(input.write_all(statements.as_bytes()));
        }
        let done = child.wait_with_output().map_err(|e| format!("cannot run psql: {e}"))?;
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
            false => Err(format!("psql: {}", String::from_utf8_lossy(&done.stderr).trim())),
        }
    }

    pub fn version(&self) -> String {
        self.sql("postgres", "SHOW server_version").unwrap_or_default()
    }

    /// What its connections were doing or waiting for, looked at ten times a second: the most frequent first.
    pub fn watch(&self, database: &str) -> Result<Waits, String> {
        let mut command = self.program("psql", database);
        command.args(["-X", "-q", "-A", "-t"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("cannot run psql: {e}"))?;
        if let Some(input) = child.stdin.as_mut() {
            let look = "SELECT 'w', coalesce(wait_event_type || ':' || wait_event, 'processor') FROM pg_stat_activity \
                        WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = current_database() \\watch 0.1\n";
            input.write_all(look.as_bytes()).map_err(|e| format!("cannot ask psql: {e}"))?;
        }
        Ok(Waits(child))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

pub struct Waits(Child);

impl Waits {
    pub fn end(mut self) -> String {
        drop(self.0.kill());
        let said = self.0.wait_with_output().map(|done| done.stdout).unwrap_or_default();
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        let said = String::from_utf8_lossy(&said);
        said.lines().filter_map(|line| line.strip_prefix("w|")).for_each(|what| *counts.entry(what).or_default() += 1);
        let all: usize = counts.values().sum();
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = counts.iter().take(5).map(|(what, count)| format!("{what} {} %", count * 100 / all.max(1)));
        shown.collect::<Vec<_>>().join(", ")
    }
}
