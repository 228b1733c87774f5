//! The configuration: defaults, then a file, then environment variables; checked whole before anything starts.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use crate::db::group;
use crate::http::address::Proxies;
use crate::http::guard::{self, Rate};
use crate::http::stream;
use crate::kit::sort::Room;
use crate::{access, app, db, keyring};

const DEFAULTS: &str = include_str!("../config/default.toml");

/// `PRIMEUR__SECTION__KEY` overrides a key.
const PREFIX: &str = "PRIMEUR__";

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub database: Database,
    pub keys: Keys,
    pub access: Access,
    pub limits: Limits,
    till: Till,
    pub schedule: Schedule,
    pub privacy: Privacy,
    pub reports: Reports,
    pub metrics: Metrics,
    pub log: Log,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub public_url: String,
    trusted_proxies: Vec<IpAddr>,
    workers: usize,
    shutdown_seconds: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    password_file: String,
    allow_plain: bool,
    checkpoint: Checkpoint,
    pub connections: u32,
    wait_seconds: u64,
    statement_seconds: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub directory: PathBuf,
    pub overlap_minutes: i64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    issuer: String,
    audience: String,
    access_minutes: i64,
    session_hours: i64,
    invitation_hours: i64,
    pub password_memory_kib: u32,
    pub password_iterations: u32,
    pub second_factor: SecondFactor,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondFactor {
    Required,
    Optional,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    session_per_second: u32,
    session_burst: u32,
    address_per_second: u32,
    address_burst: u32,
    stranger_per_second: u32,
    stranger_burst: u32,
    head_seconds: u64,
    body_seconds: u64,
    idle_seconds: u64,
    connections: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checkpoint {
    Beside,
    Default,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Till {
    queue: usize,
    writers: usize,
    batch: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    every_seconds: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    pub retention_months: i32,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    at_once: u32,
    downloads: usize,
    stall_seconds: u64,
    pub directory: PathBuf,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    listen: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Config {
    /// Reads the defaults, a file if one is given, and the environment.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let mut table = defaults();
        if let Some(path) = file {
            let shown = path.display();
            let text =
                std::fs::read_to_string(path).map_err(|e| format!("cannot read the configuration {shown}: {e}"))?;
            // the whole of the error would quote the line, and that may have a password in it
            let own: Table = text.parse().map_err(|e: toml::de::Error| {
                let line = 1 + text[..e.span().map_or(0, |span| span.start)].matches('\n').count();
                format!("{shown} is not TOML: line {line}: {}", e.message())
            })?;
            merge(&mut table, own, "").map_err(|e| format!("{shown}: {e}"))?;
        }
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(PREFIX) {
                set(&mut table, key, &value).map_err(|e| format!("{name}: {e}"))?;
            }
        }
        let config: Config = Value::Table(table).try_into().map_err(|e| format!("the configuration is wrong: {e}"))?;
        config.check().map(|()| config)
    }

    fn check(&self) -> Result<(), String> {
        let must = |holds: bool, message: &str| if holds { Ok(()) } else { Err(message.to_owned()) };
        self.database().check()?;
        must((1..=500).contains(&self.database.connections), "database.connections must be 1 to 500")?;
        must((1..=60).contains(&self.database.wait_seconds), "database.wait_seconds must be 1 to 60")?;
        must((5..=600).contains(&self.database.statement_seconds), "database.statement_seconds must be 5 to 600")?;
        let host = self.server.public_url.split_once("://").map(|(_, host)| host.trim_end_matches('/'));
        let plain = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
        must(
            host.is_some_and(|host| !host.is_empty() && plain(host))
                && ["http://", "https://"].iter().any(|scheme| self.server.public_url.starts_with(scheme)),
            "server.public_url must be http(s)://HOST, without a path",
        )?;
        must(self.server.workers <= 512, "server.workers must be 0 to 512")?;
        must(self.server.shutdown_seconds <= 600, "server.shutdown_seconds must be 0 to 600")?;
        let named = !self.access.issuer.trim().is_empty() && !self.access.audience.trim().is_empty();
        must(named, "access.issuer and access.audience must not be empty")?;
        // a misspelt level would be taken for the name of a module, and nothing logged at all
        let known = |part: &str| {
            let level = part.rsplit('=').next().unwrap_or(part).trim();
            ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
        };
        let levels = "log.level must be error, warn, info, debug or trace, or a list of module=level";
        must(self.log.level.split(',').all(known), levels)?;
        must((1..=60).contains(&self.access.access_minutes), "access.access_minutes must be 1 to 60")?;
        must((1..=8760).contains(&self.access.session_hours), "access.session_hours must be 1 to 8760")?;
        must((1..=720).contains(&self.access.invitation_hours), "access.invitation_hours must be 1 to 720")?;
        let strong = self.access.password_memory_kib >= 19_456 && self.access.password_iterations >= 2;
        must(strong, "access.password_memory_kib and password_iterations must be 19456 and 2 at least")?;
        let Limits { head_seconds, body_seconds, idle_seconds, connections, .. } = self.limits;
        let waits = [head_seconds, body_seconds, idle_seconds].iter().all(|seconds| (1..=600).contains(seconds));
        must(waits, "limits.head_seconds, body_seconds and idle_seconds must be 1 to 600")?;
        must((1..=100_000).contains(&connections), "limits.connections must be 1 to 100000")?;
        must(self.till.queue <= 100_000, "till.queue must be 0 to 100000")?;
        must((1..=16).contains(&self.till.writers), "till.writers must be 1 to 16")?;
        must((1..=500).contains(&self.till.batch), "till.batch must be 1 to 500")?;
        let overlap = "keys.overlap_minutes must be 0 to 10080, a week";
        must((0..=10_080).contains(&self.keys.overlap_minutes), overlap)?;
        must((1..=3600).contains(&self.schedule.every_seconds), "schedule.every_seconds must be 1 to 3600")?;
        must((1..=120).contains(&self.privacy.retention_months), "privacy.retention_months must be 1 to 120")?;
        must((1..=100).contains(&self.reports.at_once), "reports.at_once must be 1 to 100")?;
        must((1..=10_000).contains(&self.reports.downloads), "reports.downloads must be 1 to 10000")?;
        must((1..=600).contains(&self.reports.stall_seconds), "reports.stall_seconds must be 1 to 600")?;
        let address = self.metrics.listen.is_empty() || self.metrics_listen().is_some();
        must(address, "metrics.listen must be an address with a port, as 127.0.0.1:9464, or empty")
    }

    pub fn database(&self) -> db::Settings {
        let Database { url, password_file, allow_plain, checkpoint, connections, wait_seconds, statement_seconds } =
            &self.database;
        db::Settings {
            url: url.clone(),
            password_file: (!password_file.is_empty()).then(|| password_file.into()),
            allow_plain: *allow_plain,
            fold: *checkpoint == Checkpoint::Beside,
            connections: *connections,
            reports: self.reports.at_once,
            wait: Duration::from_secs(*wait_seconds),
            statement: Duration::from_secs(*statement_seconds),
        }
    }

    pub fn access(&self) -> access::Settings {
        access::Settings {
            issuer: self.access.issuer.clone(),
            audience: self.access.audience.clone(),
            access_minutes: self.access.access_minutes,
            session_hours: self.access.session_hours,
            invitation_hours: self.access.invitation_hours,
            password_memory_kib: self.access.password_memory_kib,
            password_iterations: self.access.password_iterations,
            second_factor_required: self.access.second_factor == SecondFactor::Required,
        }
    }

    pub fn keyring(&self) -> keyring::commands::Settings {
        keyring::commands::Settings {
            directory: self.keys.directory.clone(),
            overlap_minutes: self.keys.overlap_minutes,
            access_minutes: self.access.access_minutes,
            look_seconds: i64::try_from(self.schedule.every_seconds).unwrap_or(i64::MAX),
        }
    }

    pub fn app(&self) -> app::Settings {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = if self.server.workers == 0 { cores() } else { self.server.workers };
        let shutdown = Duration::from_secs(self.server.shutdown_seconds);
        app::Settings { workers, shutdown, limits: self.limits(), till: self.till() }
    }

    fn till(&self) -> group::Settings {
        group::Settings { places: self.till.queue, writers: self.till.writers, batch: self.till.batch }
    }

    fn limits(&self) -> guard::Limits {
        let own = &self.limits;
        guard::Limits {
            session: Rate::a_second(own.session_per_second, own.session_burst),
            address: Rate::a_second(own.address_per_second, own.address_burst),
            stranger: Rate::a_second(own.stranger_per_second, own.stranger_burst),
            head: Duration::from_secs(own.head_seconds),
            body: Duration::from_secs(own.body_seconds),
            idle: Duration::from_secs(own.idle_seconds),
            connections: own.connections,
            ready: Duration::from_secs(1),
        }
    }

    pub fn streams(&self) -> stream::Settings {
        let Reports { downloads, stall_seconds, directory, .. } = &self.reports;
        let room = Room { directory: directory.clone(), ..stream::Settings::default().room };
        stream::Settings { room, patience: Duration::from_secs(*stall_seconds), at_once: *downloads }
    }

    pub fn proxies(&self) -> Proxies {
        Proxies::new(self.server.trusted_proxies.iter().copied())
    }

    /// Where the metrics are served, if they are.
    pub fn metrics_listen(&self) -> Option<SocketAddr> {
        self.metrics.listen.parse().ok()
    }

    pub fn schedule_every(&self) -> Duration {
        Duration::from_secs(self.schedule.every_seconds)
    }
}

fn defaults() -> Table {
    DEFAULTS.parse().expect("the built-in configuration is TOML: a test reads it")
}

/// Lays a file over the defaults; a key that they do not have is a mistake.
fn merge(table: &mut Table, own: Table, path: &str) -> Result<(), String> {
    for (key, value) in own {
        let shown = format!("{path}{key}");
        match (table.get_mut(&key), value) {
            (None, _) => return Err(format!("unknown key {shown}")),
            (Some(Value::Table(section)), Value::Table(own)) => merge(section, own, &format!("{shown}."))?,
            (Some(Value::Table(_)), _) => return Err(format!("{shown} is a section, not a value")),
            (Some(slot), value) => *slot = value,
        }
    }
    Ok(())
}

fn set(table: &mut Table, key: &str, value: &str) -> Result<(), String> {
    let key = key.to_ascii_lowercase();
    let slot = key
        .split_once("__")
        .and_then(|(section, key)| table.get_mut(section)?.as_table_mut()?.get_mut(key))
        .ok_or("no such key in the configuration")?;
    *slot = match slot {
        Value::Integer(_) => Value::Integer(value.parse().map_err(|_| "must be a whole number")?),
        Value::Array(_) => {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        Value::Boolean(_) => Value::Boolean(value.parse().map_err(|_| "must be true or false")?),
        _ => Value::String(value.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let path = std::env::temp_dir().join(format!("primeur-config-{}.toml", uuid::Uuid::now_v7()));
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let loaded = Config::load(Some(&path), environment);
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[database]\nconnections = 3\n";
        let config = load(file, &[("PRIMEUR__DATABASE__CONNECTIONS", "5"), ("PATH", "/bin")]).unwrap();
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.database.connections, 5);
        assert_eq!(config.schedule_every(), Duration::from_secs(60));
        assert_eq!(config.server.trusted_proxies.len(), 2);
        let config = load("", &[("PRIMEUR__SERVER__TRUSTED_PROXIES", "192.0.2.1, 2001:db8::1")]).unwrap();
        assert_eq!(config.server.trusted_proxies, ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        let config = load("", &[("PRIMEUR__SERVER__TRUSTED_PROXIES", "")]).unwrap();
        assert!(config.server.trusted_proxies.is_empty());
        assert!(config.access().second_factor_required);
    }

    #[test]
    fn no_complaint_repeats_a_password() {
        for file in [
            "[database]\nurl = \"postgres://u:hunter2@db\nconnections = 3\n",
            "[database]\nurl = \"postgres://u:hunter2@far/d\"\n",
            "[database]\nurl = \"postgres://u:hunter2/@far/d\"\n",
            "[database]\nurl = \"mysql://u:hunter2@far/d\"\n",
        ] {
            let message = load(file, &[]).err().unwrap();
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("line 2") || message.contains("database.url"), "{message}");
        }
        let far = "[database]\nurl = \"postgres://u:p@far/d\"\n";
        assert!(load(far, &[("PRIMEUR__DATABASE__ALLOW_PLAIN", "true")]).is_ok());
    }

    #[test]
    fn a_wrong_or_unknown_key_stops_the_start_and_is_named() {
        let says = |file: &str, environment: &[(&str, &str)], part: &str| {
            let message = load(file, environment).err().unwrap();
            assert!(message.contains(part), "{message}");
        };
        says("[server]\nlissten = \"x\"", &[], "unknown key server.lissten");
        says("[servers]\n", &[], "unknown key servers");
        says("[server]\nlisten = \"nowhere\"", &[], "listen");
        says("[log]\nformat = \"xml\"", &[], "format");
        says("[database]\nurl = \"mysql://x\"", &[], "database.url");
        says("[database]\nurl = \"postgres://u@db.example/d\"", &[], "sslmode=verify-full");
        says("", &[("PRIMEUR__DATABASE__ALLOW_PLAIN", "oui")], "true or false");
        says("[server]\npublic_url = \"https://host/path\"", &[], "public_url");
        says("[server]\npublic_url = \"httpx://host\"", &[], "public_url");
        says("[server]\ntrusted_proxies = [\"10.0.0.0/8\"]", &[], "trusted_proxies");
        says("[limits]\nbody_seconds = 0", &[], "body_seconds");
        says("[limits]\nsession_burst = -1", &[], "session_burst");
        says("", &[("PRIMEUR__LOG__LEVEL", "inof")], "log.level");
        says("[access]\nissuer = \"\"", &[], "access.issuer");
        says("[keys]\noverlap_minutes = -1", &[], "keys.overlap_minutes");
        says("[privacy]\nretention_months = 0", &[], "privacy.retention_months");
        says("[reports]\nstall_seconds = 0", &[], "reports.stall_seconds");
        says("[access]\npassword_iterations = 1", &[], "password_iterations");
        says("[access]\nsecond_factor = \"never\"", &[], "second_factor");
        says("", &[("PRIMEUR__METRICS__LISTEN", "9464")], "metrics.listen");
        says("", &[("PRIMEUR__SERVER__LISSTEN", "x")], "PRIMEUR__SERVER__LISSTEN");
        says("", &[("PRIMEUR__DATABASE__CONNECTIONS", "many")], "whole number");
    }
}
