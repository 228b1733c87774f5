//! The service for real use: opens what it needs, serves, and does by itself what is due.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use actix_web::dev::Server;
use actix_web::{rt, web};

use crate::access::keys::{purposes_in_use, register_keys};
use crate::config::Config;
use crate::db::{Conn, Db, Queue, wait_in};
use crate::http::State;
use crate::http::stream::Streams;
use crate::kit::error::Error;
use crate::kit::keys::{KeyStore, Purpose, files};
use crate::kit::time::{Clock, SystemClock};
use crate::{app, keyring, privacy, schedule};

/// Makes the directory of an embedded database, for nobody else to read.
pub fn make_directory(config: &Config) -> Result<(), String> {
    let path = config.database.url.strip_prefix("sqlite://").and_then(|path| Path::new(path).parent());
    path.filter(|directory| !directory.as_os_str().is_empty()).map_or(Ok(()), make)
}

fn make(directory: &Path) -> Result<(), String> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| format!("cannot make {}: {e}", directory.display()))
}

/// Opens the database, without touching its schema.
pub fn open_database(config: &Config, clock: Arc<dyn Clock>) -> Result<Db, String> {
    make_directory(config)?;
    Db::open(&config.database(), clock).map_err(|e| e.to_string())
}

/// Opens the database and brings its schema up to date.
pub fn open_migrated(config: &Config, clock: Arc<dyn Clock>) -> Result<Db, String> {
    let db = open_database(config, clock)?;
    db.migrate().map_err(|e| e.to_string())?;
    Ok(db)
}

/// Opens everything that a request needs: the database, and the keys. A key is made only for what the database has never
/// been used with a key for; any other must be found.
pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<State, String> {
    let db = open_migrated(config, clock)?;
    let keys = open_keys(config, &db)?;
    let streams = Streams::new(config.streams());
    make(&streams.settings.room.directory)?;
    Ok(State {
        db,
        keys,
        access: Arc::new(config.access()),
        proxies: config.proxies(),
        retention_months: config.privacy.retention_months,
        origin: config.server.public_url.trim_end_matches('/').to_owned(),
        metrics: Arc::default(),
        streams,
    })
}

fn open_keys(config: &Config, db: &Db) -> Result<KeyStore, String> {
    let (directory, overlap) = (&config.keys.directory, config.keys.overlap_minutes);
    let open = |conn: &mut Conn, now| {
        // of two first starts at once, one makes keys and the other finds them known
        wait_in(conn, Queue::Audit)?;
        let in_use = purposes_in_use(conn)?;
        let never_used: Vec<_> = Purpose::ALL.iter().copied().filter(|purpose| !in_use.contains(purpose)).collect();
        files::make_missing(directory, &never_used, now).map_err(Error::Internal)?;
        let store = KeyStore::open(directory, overlap, now).map_err(|e| match in_use.is_empty() {
            true => Error::Internal(e),
            false => {
                Error::Internal(format!("{e}. This database has been used with keys: restore them from your backup."))
            }
        })?;
        register_keys(conn, now, &store.now())?;
        Ok(store)
    };
    let store = db.write(open).map_err(|e| e.to_string())?;
    keyring::tell_of_awaited(db, &store.now()).map_err(|e| e.to_string())?;
    Ok(store)
}

/// Serves until it is told to stop, and then finishes what it has accepted.
pub fn serve(config: &Config) -> Result<(), String> {
    let state = open(config, Arc::new(SystemClock))?;
    let listener = listen(config)?;
    tracing::info!(listen = %config.server.listen, database = state.db.kind(), "serving");
    run(state, listener, config)
}

/// Takes the address before anything else is said or done.
pub fn listen(config: &Config) -> Result<TcpListener, String> {
    bind(config.server.listen)
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))
}

pub fn run(state: State, listener: TcpListener, config: &Config) -> Result<(), String> {
    let (every, settings) = (config.schedule_every(), config.app());
    let watched = config.metrics_listen().map(bind).transpose()?;
    rt::System::new().block_on(async move {
        let scheduler = rt::spawn(look_after(state.clone(), every));
        let watch = watched.map(|listener| app::metrics_server(state.clone(), listener));
        let watch = watch.transpose().map_err(|e| format!("cannot serve the metrics: {e}"))?;
        let watching = watch.as_ref().map(Server::handle);
        watch.map(rt::spawn);
        let server = app::server(state, listener, &settings, true).map_err(|e| format!("cannot serve: {e}"))?;
        let ended = server.await.map_err(|e| format!("the server failed: {e}"));
        scheduler.abort();
        if let Some(watching) = watching {
            watching.stop(false).await;
        }
        ended
    })
}

/// Does what is due, again and again. A failure is logged and tried again at the next turn.
async fn look_after(state: State, every: Duration) {
    let mut turn = rt::time::interval(every);
    loop {
        turn.tick().await;
        let State { db, keys, .. } = state.clone();
        let started = Stopwatch::now();
        let work = move || {
            keyring::look(&db, &keys);
            schedule::run(&db)
        };
        let outcome = web::block(work).await;
        match &outcome {
            Ok(Ok(done)) => state.metrics.looked(state.db.now(), started.elapsed(), &done.counts()),
            _ => state.metrics.failed_to_look(),
        }
        match outcome {
            Ok(Ok(done)) if done == schedule::Done::default() => {}
            Ok(Ok(schedule::Done { issued, granted, freed, closed, pooled, moved_up, ended })) => {
                tracing::info!(issued, granted, freed, closed, pooled, moved_up, ended, "done what was due");
            }
            Ok(Err(error)) => tracing::error!(%error, "what is due could not be done"),
            Err(_) => tracing::error!("what is due could not be done: the job panicked"),
        }
        let (db, months) = (state.db.clone(), state.retention_months);
        match web::block(move || privacy::erase_due(&db, months)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(erased)) => tracing::info!(erased, "erased households that nobody has dealt with for long"),
            Ok(Err(error)) => tracing::error!(%error, "what is due could not be erased"),
            Err(_) => tracing::error!("what is due could not be erased: the job panicked"),
        }
    }
}
