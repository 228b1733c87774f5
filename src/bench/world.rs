//! The worlds that are measured: one programme, two agreements in fixed shares, sellers at their stalls, and as many
//! households with a card as are asked for, with so many purchases behind them. `primeur verify` finds nothing wrong in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cluster::Cluster;
use super::fill::{self, Filled};
use super::founding::{self, Founded};
use super::server::Server;
use super::{Database, machine, sink};
use crate::access::token::{self, Claims};
use crate::config::Config;
use crate::kit::id::{SessionId, VoucherId};
use crate::kit::keys::{Keys, sha256};
use crate::kit::time::{Clock, Day, Instant, ManualClock, SystemClock, Zone};
use crate::service;
use crate::voucher::Token;
use sink::{Cell, Sink};

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub households: u64,
    /// Purchases behind them, all of the month before this.
    pub purchases: u64,
    /// Agreements that bear each promise, 1 or 2.
    pub agreements: usize,
    /// Whether this period's money is issued already.
    pub issued: bool,
}

/// A filled database that nobody works on: what is measured works on copies.
pub struct World {
    pub database: Database,
    pub size: Size,
    place: Place,
    keys_directory: PathBuf,
    pub cast: Arc<Cast>,
}

/// Who acts, and with which cards.
pub struct Cast {
    pub founded: Founded,
    pub sellers: Vec<Signed>,
    pub funder: String,
    /// The texts of QR codes.
    pub cards: Vec<String>,
    pub blocked: Vec<String>,
    /// The month that the purchases are of, as `2026-10`.
    pub month: String,
}

/// Somebody signed in, with where they sell.
pub struct Signed {
    pub token: String,
    pub stall: String,
}

/// Where a database lies.
#[derive(Clone, Debug)]
pub enum Place {
    Postgresql { name: String },
    Sqlite { file: PathBuf },
}

impl Place {
    pub fn url(&self, cluster: Option<&Cluster>) -> String {
        match (self, cluster) {
            (Place::Sqlite { file }, _) => format!("sqlite://{}", file.display()),
            (Place::Postgresql { name }, Some(cluster)) => cluster.url(name),
            (Place::Postgresql { .. }, None) => String::new(),
        }
    }
}

/// What every process of the bench is told: nothing of its load may be taken for an attack.
pub fn settings(url: &str, keys: &Path) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = [
        ("DATABASE__URL", url),
        ("ACCESS__SECOND_FACTOR", "optional"),
        ("LIMITS__SESSION_PER_SECOND", "0"),
        ("LIMITS__ADDRESS_PER_SECOND", "0"),
        ("LIMITS__STRANGER_PER_SECOND", "0"),
        ("LIMITS__CONNECTIONS", "20000"),
        // what is due is done before, not beside what is measured
        ("SCHEDULE__EVERY_SECONDS", "3600"),
        // as a service of this load would have it
        ("LOG__LEVEL", "warn"),
    ]
    .map(|(key, value)| (format!("PRIMEUR__{key}"), value.to_owned()))
    .into();
    settings.push(("PRIMEUR__KEYS__DIRECTORY".to_owned(), keys.display().to_string()));
    settings
}

/// Whether this build has a setting, as `TILL__QUEUE`.
pub fn knows(key: &str, value: &str) -> bool {
    Config::load(None, [(format!("PRIMEUR__{key}"), value.to_owned())].into_iter()).is_ok()
}

impl World {
    pub fn make(folder: &Path, cluster: Option<&Cluster>, database: Database, size: Size) -> Result<Self, String> {
        let Size { households, purchases, agreements, issued } = size;
        let name = format!("w_{households}_{purchases}_{agreements}{}", if issued { "" } else { "_due" });
        let keys_directory = folder.join(format!("{}_{name}_keys", database.name()));
        let place = match database {
            Database::Sqlite => Place::Sqlite { file: folder.join(format!("{name}.db")) },
            Database::Postgresql => {
                let cluster = cluster.ok_or("there is no PostgreSQL server")?;
                cluster.sql("postgres", &format!("CREATE DATABASE {name}"))?;
                Place::Postgresql { name }
            }
        };
        let url = place.url(cluster);
        let config = Config::load(None, settings(&url, &keys_directory).into_iter())?;
        let zone: Zone = founding::ZONE.parse().map_err(|e| format!("{e}"))?;
        let now = SystemClock.now();
        let first = month_before(zone.day_of(now));
        let begins = zone.start_of(first).plus_minutes(6 * 60);
        let state = service::open(&config, Arc::new(ManualClock::at(begins)))?;
        let founded = founding::found(&state, size, first)?;
        drop(state);

        let keys = Keys::open(&keys_directory, now, 0)?;
        let mut filled = Filled::default();
        let mut tokens = Vec::new();
        let fill = |sink: &mut dyn Sink| {
            filled = fill::fill(sink, &founded, &keys.secret, size, &zone)?;
            for actor in founded.sellers.iter().map(|seller| &seller.actor).chain([&founded.funder]) {
                let session = SessionId::new(now);
                let digest = sha256(session.as_bytes());
                let (begun, until) = (now.plus_minutes(-1), now.plus_minutes(24 * 60));
                let cells = [session.into(), actor.person.into(), Cell::Bytes(&digest), begun.into(), until.into()];
                sink.row(fill::SESSIONS, &cells)?;
                let claims = Claims {
                    iss: config.access().issuer,
                    aud: config.access().audience,
                    sub: actor.person,
                    org: actor.organisation,
                    role: actor.role,
                    sid: session,
                    iat: begun.as_second(),
                    exp: until.as_second(),
                };
                tokens.push(token::sign(&keys.login, &claims).map_err(|e| e.to_string())?);
            }
            Ok(())
        };
        match (&place, cluster) {
            (Place::Postgresql { name }, Some(cluster)) => {
                sink::into_postgresql(cluster, name, fill::TABLES, fill)?;
                cluster.sql(name, &fill::totals(&founded, size, |id| format!("'{}'", hex(id))))?;
                cluster.sql(name, "VACUUM (ANALYZE)")?;
                cluster.sql(name, "CHECKPOINT")?;
            }
            (Place::Sqlite { file }, _) => {
                sink::into_sqlite(file, fill::TABLES, fill)?;
                sink::sqlite(file, &fill::totals(&founded, size, |id| format!("x'{}'", hex(id))))?;
                sink::sqlite(file, "PRAGMA wal_checkpoint(TRUNCATE)")?;
                synced(file)?;
            }
            (Place::Postgresql { .. }, None) => {}
        }
        let card = |id: &VoucherId| {
            let token = Token {
                voucher: *id,
                valid_from: founded.allowance.starts_on,
                valid_to: founded.allowance.ends_on,
                offline_ceiling: Default::default(),
            };
            token.sign(keys.voucher.current(), "bench.example")
        };
        let funder = tokens.pop().ok_or("nobody is signed in")?;
        let stall = |(token, seller): (String, &founding::Seller)| Signed { token, stall: seller.stall.to_string() };
        let cast = Cast {
            sellers: tokens.into_iter().zip(&founded.sellers).map(stall).collect(),
            funder,
            cards: filled.cards.iter().map(card).collect(),
            blocked: filled.blocked.iter().map(card).collect(),
            month: first.month().to_string(),
            founded,
        };
        Ok(World { database, size, place, keys_directory, cast: Arc::new(cast) })
    }

    /// A database like it, to be worked on and thrown away.
    pub fn copy(&self, folder: &Path, cluster: Option<&Cluster>) -> Result<Copy, String> {
        let place = match (&self.place, cluster) {
            (Place::Postgresql { name }, Some(cluster)) => {
                let copy = "copy".to_owned();
                cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)"))?;
                // files are copied with a checkpoint before and after: what is measured finds none that is due
                let create = format!("CREATE DATABASE {copy} TEMPLATE {name} STRATEGY file_copy");
                cluster.sql("postgres", &create)?;
                Place::Postgresql { name: copy }
            }
            (Place::Sqlite { file }, _) => {
                let copy = folder.join("copy.db");
                remove(&copy);
                fs::copy(file, &copy).map_err(|e| format!("cannot copy {}: {e}", file.display()))?;
                synced(&copy)?;
                Place::Sqlite { file: copy }
            }
            (Place::Postgresql { .. }, None) => return Err("there is no PostgreSQL server".to_owned()),
        };
        let settings = settings(&place.url(cluster), &self.keys_directory);
        Ok(Copy { place, settings, cast: Arc::clone(&self.cast) })
    }

    /// Itself, to be worked on: for worlds too large to be copied. It keeps what is written.
    pub fn lend(&self, cluster: Option<&Cluster>) -> Copy {
        let settings = settings(&self.place.url(cluster), &self.keys_directory);
        Copy { place: self.place.clone(), settings, cast: Arc::clone(&self.cast) }
    }

    /// Has the system read it: filling it may have driven it out of memory, and a service that has run for a while has what
    /// it needs there, as far as it goes.
    pub fn warm(&self, cluster: Option<&Cluster>) -> Result<(), String> {
        match (&self.place, cluster) {
            (Place::Postgresql { .. }, Some(cluster)) => machine::read_through(&cluster.tables()),
            (Place::Sqlite { file }, _) => machine::read_through(file),
            (Place::Postgresql { .. }, None) => Ok(()),
        }
    }

    /// Gives its room on the disk back.
    pub fn remove(&self, cluster: Option<&Cluster>) {
        match (&self.place, cluster) {
            (Place::Postgresql { name }, Some(cluster)) => {
                for name in ["copy", name] {
                    drop(cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
                }
            }
            (Place::Sqlite { file }, _) => remove(file),
            _ => {}
        }
    }
}

/// A copy of a world.
pub struct Copy {
    pub place: Place,
    settings: Vec<(String, String)>,
    pub cast: Arc<Cast>,
}

impl Copy {
    /// `primeur serve` on it, with settings of its own, ready to answer.
    pub fn serve(&self, folder: &Path, own: &[(String, String)]) -> Result<Server, String> {
        Server::start(folder, self.settings.iter().chain(own))
    }

    pub fn config(&self) -> Result<Config, String> {
        Config::load(None, self.settings.iter().cloned())
    }
}

/// What was left to the system to write is not to be waited for by what is measured.
fn synced(file: &Path) -> Result<(), String> {
    fs::File::open(file).and_then(|file| file.sync_all()).map_err(|e| format!("cannot sync {}: {e}", file.display()))
}

/// Removes a file of SQLite with what lies beside it.
fn remove(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{end}", file.display())));
    }
}

fn hex(id: &[u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(id)
}

fn month_before(day: Day) -> Day {
    day.first_of_month().plus_months(-1)
}

/// When the purchases of a month that begins on a day are: from its second day to its last hour.
pub fn span(zone: &Zone, first: Day) -> (Instant, Instant) {
    (zone.start_of(first).plus_minutes(24 * 60), zone.start_of(first.month().next().first_day()).plus_minutes(-60))
}
