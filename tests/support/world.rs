//! One deployment for one test: a real server on a loopback port, a database of its own, a clock set by hand.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use primeur::db::group;
use primeur::db::{Db, Settings};
use primeur::http::State;
use primeur::http::address::Proxies;
use primeur::http::guard::Limits;
use primeur::http::stream::{self, Streams};
use primeur::kit::keys::{KeyStore, Keys};
use primeur::kit::sort::Room;
use primeur::kit::time::{Clock, Instant, ManualClock, SystemClock};
use primeur::{access, app, schedule, verify};

use super::{Client, Process, traffic};

pub struct World {
    pub state: State,
    pub database_url: String,
    pub directory: PathBuf,
    clock: ManualClock,
    address: String,
    server: Option<(ServerHandle, JoinHandle<()>)>,
    till: group::Settings,
    /// Further servers on the same database.
    others: Mutex<Vec<(ServerHandle, JoinHandle<()>)>>,
}

/// The password of everybody in the tests.
pub const PASSWORD: &str = "des pommes et des poires";

/// Minutes until a new key signs.
pub const OVERLAP: i64 = 60;

/// 1 July 2026, ten in the morning in Paris: a market day.
pub const START: &str = "2026-07-01T08:00:00Z";

/// The machine may be busy, and some tests are hundreds of requests at once.
const PATIENT: Duration = Duration::from_secs(30);

impl World {
    pub fn on_sqlite() -> Self {
        let directory = directory();
        let url = format!("sqlite://{}/primeur.db", directory.display());
        Self::start(directory, url, PATIENT, START)
    }

    pub fn on_postgresql() -> Self {
        Self::on(new_postgresql_database(), PATIENT)
    }

    /// On PostgreSQL, from another time than the tests' usual.
    pub fn since(day: &str) -> Self {
        Self::start(directory(), new_postgresql_database(), PATIENT, day)
    }

    /// On a PostgreSQL database, with requests that wait so long for what they need of it.
    pub fn on(database_url: String, wait: Duration) -> Self {
        Self::start(directory(), database_url, wait, START)
    }

    /// The same deployment with requests that wait a second for what they need of the database.
    pub fn impatient(mut self) -> Self {
        self.stop();
        let settings = Settings { url: self.database_url.clone(), wait: Duration::from_secs(1), ..Settings::default() };
        self.state.db = Db::open(&settings, Arc::new(self.clock.clone())).unwrap();
        self.serve_anew(no_limits());
        self
    }

    fn start(directory: PathBuf, database_url: String, wait: Duration, day: &str) -> Self {
        let clock = ManualClock::at(day.parse().unwrap());
        let settings = Settings { url: database_url.clone(), wait, ..Settings::default() };
        let db = Db::open(&settings, Arc::new(clock.clone())).unwrap();
        db.migrate().unwrap();
        // of the day before, as a clock that stands still gives two keys the same name
        let keys = Keys::create(&directory.join("keys"), db.now().plus_minutes(-24 * 60)).unwrap();
        db.write(|conn, now| access::keys::register_keys(conn, now, &keys)).unwrap();
        let keys = KeyStore::open(&directory.join("keys"), OVERLAP, db.now()).unwrap();
        let origin = "https://cheque.primeur.example".to_owned();
        let state = state(db, keys, origin, &directory);
        let (listener, address) = listener();
        let till = group::Settings::default();
        let server = Some(serve(state.clone(), no_limits(), till, listener));
        World { state, database_url, directory, clock, address, server, till, others: Mutex::default() }
    }

    /// A world that a process of its own serves, by the system's clock.
    pub fn served_by(process: &Process) -> Self {
        let Process { directory, database_url, address, .. } = process;
        let settings = Settings { url: database_url.clone(), connections: 4, ..Settings::default() };
        let db = Db::open(&settings, Arc::new(SystemClock)).unwrap();
        let clock = ManualClock::at(db.now());
        let keys = KeyStore::open(&directory.join("keys"), OVERLAP, db.now()).unwrap();
        let state = state(db, keys, address.clone(), directory);
        let (directory, database_url) = (directory.clone(), database_url.clone());
        let (address, server, others) = (address.clone(), None, Mutex::default());
        World { state, database_url, directory, clock, address, server, till: group::Settings::default(), others }
    }

    /// The same deployment where tokens and sessions last as long as in service: ten minutes, twelve hours.
    pub fn with_short_sessions(self) -> Self {
        self.restarted(access::Settings { access_minutes: 10, session_hours: 12, ..lasting_access() })
    }

    /// The same deployment where managers and administrators need a second factor, as in service.
    pub fn requiring_second_factor(self) -> Self {
        self.restarted(access::Settings { second_factor_required: true, ..lasting_access() })
    }

    fn restarted(mut self, settings: access::Settings) -> Self {
        self.state.access = Arc::new(settings);
        self.with_limits(no_limits())
    }

    /// The same deployment served under limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.stop();
        self.serve_anew(limits);
        self
    }

    /// The same deployment with another queue at its till.
    pub fn with_till(mut self, till: group::Settings) -> Self {
        self.stop();
        self.till = till;
        self.serve_anew(no_limits());
        self
    }

    fn serve_anew(&mut self, limits: Limits) {
        let (listener, address) = listener();
        self.address = address;
        self.server = Some(serve(self.state.clone(), limits, self.till, listener));
    }

    /// Host and port, for what speaks less than HTTP.
    pub fn socket(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// A second server on the same database, with keys of its own directory.
    pub fn served_beside(&self, keys: KeyStore) -> Client {
        self.serve_beside(State { keys, ..self.state.clone() })
    }

    /// A second server whose long answers are sent under other settings.
    pub fn streaming_beside(&self, change: impl FnOnce(&mut stream::Settings)) -> Client {
        let mut settings = (*self.state.streams.settings).clone();
        change(&mut settings);
        self.serve_beside(State { streams: Streams::new(settings), ..self.state.clone() })
    }

    fn serve_beside(&self, state: State) -> Client {
        let (listener, address) = listener();
        self.others.lock().unwrap().push(serve(state, no_limits(), self.till, listener));
        Client::new(&address)
    }

    fn stop(&mut self) {
        let others = std::mem::take(self.others.get_mut().unwrap());
        for (server, thread) in self.server.take().into_iter().chain(others) {
            drop(server.stop(false));
            let _ = thread.join();
        }
    }

    /// As `http://127.0.0.1:1234`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client that has not logged in.
    pub fn anybody(&self) -> Client {
        Client::new(&self.address)
    }

    /// A client of another server on the same database and keys, which shares nothing else with the first.
    pub fn at_another_server(&self) -> Client {
        self.at_a_server_by(Arc::new(self.clock.clone()))
    }

    /// The same, where that server goes by a clock of its own.
    pub fn at_a_server_by(&self, clock: Arc<dyn Clock>) -> Client {
        let url = self.database_url.clone();
        let db = Db::open(&Settings { url, wait: PATIENT, connections: 4, ..Settings::default() }, clock).unwrap();
        let keys = KeyStore::open(&self.directory.join("keys"), OVERLAP, db.now()).unwrap();
        self.serve_beside(State { db, keys, ..self.state.clone() })
    }

    pub fn now(&self) -> Instant {
        self.state.db.now()
    }

    /// Sets the clock, as `2026-07-31T21:59:59Z`.
    pub fn set_clock(&self, to: &str) {
        self.clock.set(to.parse().unwrap());
    }

    pub fn pass_seconds(&self, seconds: i64) {
        self.clock.set(self.now().plus_seconds(seconds));
    }

    pub fn pass_minutes(&self, minutes: i64) {
        self.clock.set(self.now().plus_minutes(minutes));
    }

    /// Sets the clock and does what is due by then, as the scheduler would.
    pub fn advance_to(&self, to: &str) -> schedule::Done {
        self.set_clock(to);
        schedule::run(&self.state.db).unwrap()
    }

    /// Every invariant holds.
    #[track_caller]
    pub fn verify(&self) {
        let verdict = verify::run_with_keys(&self.state.db, &self.state.keys.now()).unwrap();
        assert!(verdict.findings.is_empty(), "{:#?}", verdict.findings);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Tokens that last through a test's years, and hashing that costs next to nothing: what either is in service is
/// `config`'s to check.
fn lasting_access() -> access::Settings {
    access::Settings {
        issuer: "primeur-tests".to_owned(),
        audience: "primeur-tests-api".to_owned(),
        access_minutes: 3 * 365 * 24 * 60,
        session_hours: 3 * 365 * 24,
        invitation_hours: 72,
        password_memory_kib: 8,
        password_iterations: 1,
        second_factor_required: false,
    }
}

/// Long answers as in service, sorted in the test's own directory.
fn streams(directory: &Path) -> Streams {
    let room = Room { directory: directory.to_owned(), ..stream::Settings::default().room };
    Streams::new(stream::Settings { room, ..stream::Settings::default() })
}

/// A test sends `X-Forwarded-For` for the address it wants to be seen at.
fn loopback() -> Proxies {
    Proxies::new([Ipv4Addr::LOCALHOST.into()])
}

/// No limits but of time: those of a server in service would stop tests that ask for much at once.
pub fn no_limits() -> Limits {
    let (head, body, idle) = (Duration::from_secs(10), Duration::from_secs(15), Duration::from_secs(75));
    let ready = Duration::ZERO;
    Limits { session: None, address: None, stranger: None, head, body, idle, connections: 1000, ready }
}

/// What a server of a test has at hand.
fn state(db: Db, keys: KeyStore, origin: String, directory: &Path) -> State {
    State {
        db,
        keys,
        access: Arc::new(lasting_access()),
        proxies: loopback(),
        retention_months: 24,
        origin,
        metrics: Arc::default(),
        streams: streams(directory),
    }
}

/// Where a server of this process listens: what was told at an address that the kernel gave before is another's.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    traffic::forget(&address);
    (listener, address)
}

fn serve(state: State, limits: Limits, till: group::Settings, listener: TcpListener) -> (ServerHandle, JoinHandle<()>) {
    let (give, take) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        System::new().block_on(async move {
            let settings = app::Settings { workers: 2, shutdown: Duration::from_secs(5), limits, till };
            let server = app::server(state, listener, &settings, false).unwrap();
            give.send(server.handle()).unwrap();
            server.await.unwrap();
        });
    });
    (take.recv().unwrap(), thread)
}

/// A directory of one test's own.
pub fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(uuid::Uuid::now_v7().to_string());
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A new, empty database of the cluster that `scripts/test` has started.
pub fn new_postgresql_database() -> String {
    let base = std::env::var("TEST_DATABASE_URL")
        .expect("TEST_DATABASE_URL names no PostgreSQL server: run the suite by scripts/test, which starts one");
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut admin = PgConnection::establish(&base).unwrap();
    diesel::sql_query(format!("CREATE DATABASE {name}")).execute(&mut admin).unwrap();
    base.replace("/postgres?", &format!("/{name}?"))
}
