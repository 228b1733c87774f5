//! `/metrics` for Prometheus: what was counted as it happened, and what is looked up when it asks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Stopwatch};

use actix_web::{HttpResponse, rt, web};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::http::State;
use crate::kit::error::{Error, Result};
use crate::kit::time::Instant;
use crate::{allowance, audit, db, hold};

/// How long a scrape waits for the database, before it goes without.
const PATIENCE: Duration = Duration::from_secs(2);

/// One scrape at a time asks the database, however many come.
static TURN: Mutex<()> = Mutex::new(());

/// What only the database knows.
struct Looked {
    version: String,
    /// Seconds that the oldest period to issue, hold to free, and part to close are late.
    lags: [(&'static str, i64); 3],
    audit_head: i64,
}

/// Everything, as OpenMetrics text. What cannot be had is left out.
pub async fn scrape(state: web::Data<State>) -> HttpResponse {
    let (asked, since) = (state.clone(), Stopwatch::now());
    let looked = rt::time::timeout(PATIENCE, web::block(move || look(&asked, since))).await;
    let looked = match looked {
        Ok(Ok(looked)) => looked,
        Ok(Err(_)) => Err(Error::internal("the look at the database panicked")),
        Err(_) => Err(Error::Unavailable("the database did not answer in time".to_owned())),
    };
    if let Err(error) = &looked {
        tracing::warn!(%error, "metrics without the database");
    }
    match text(&state, looked.ok()) {
        Ok(text) => {
            HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn look(state: &State, since: Stopwatch) -> Result<Looked> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if since.elapsed() >= PATIENCE {
        return Err(Error::Unavailable("another scrape took all the time".to_owned()));
    }
    state.db.read(|conn| {
        let now = state.db.now();
        let late = |since: Option<Instant>| since.map_or(0, |since| now.as_second() - since.as_second());
        let lags = [
            ("issue", late(allowance::oldest_to_issue(conn, now)?)),
            ("free", late(hold::oldest_to_free(conn, now)?)),
            ("close", late(allowance::oldest_to_close(conn, now)?)),
        ];
        Ok(Looked { version: db::version(conn)?, lags, audit_head: audit::head(conn)? })
    })
}

fn text(state: &State, looked: Option<Looked>) -> std::result::Result<String, std::fmt::Error> {
    let mut now = Registry::default();
    pool(&mut now, &state.db.figures());
    process(&mut now);
    now.register("primeur_build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let help = "Whether the database answered this scrape in time";
    now.register("primeur_database_up", help, ConstGauge::new(i64::from(looked.is_some())));
    if let Some(Looked { version, lags, audit_head }) = looked {
        let labels = [("kind", state.db.kind().to_owned()), ("version", version)];
        now.register("primeur_database", "The database behind it", Info::new(labels));
        let lag = Family::<[(&str, &str); 1], Gauge>::default();
        for (what, seconds) in lags {
            lag.get_or_create(&[("what", what)]).set(seconds);
        }
        let help = "How late the oldest thing due is: a period to issue, a hold to free, a window to close";
        now.register_with_unit("primeur_ledger_lag", help, Unit::Seconds, lag);
        let help = "The last entry of the audit log; it never falls";
        now.register("primeur_audit_head_sequence", help, ConstGauge::new(audit_head));
    }
    let mut text = String::new();
    encode_registry(&mut text, &state.metrics.registry)?;
    encode_registry(&mut text, &now)?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn pool(registry: &mut Registry, figures: &db::Figures) {
    let connections = Family::<[(&str, &str); 1], Gauge>::default();
    connections.get_or_create(&[("state", "in_use")]).set(i64::from(figures.in_use));
    connections.get_or_create(&[("state", "idle")]).set(i64::from(figures.idle));
    registry.register("primeur_database_connections", "Connections to the database", connections);
    let gauge = |count: u64| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
    let mut register = |name: &str, help: &str, count| registry.register(name, help, gauge(count));
    register("primeur_database_connections_max", "Connections there may be", figures.max.into());
    register("primeur_database_connections_awaited", "Who waits for a connection now", figures.waiting);
    register("primeur_database_writer_queue", "Who waits for the turn to write (SQLite)", figures.queue);
    let help = "How often somebody had to wait for a connection";
    registry.register("primeur_database_connection_waits", help, ConstCounter::new(figures.waits));
    let help = "How often a transaction was done again, as the database asked";
    registry.register("primeur_database_retries", help, ConstCounter::new(figures.retries));
}

/// What Linux tells of this process; elsewhere nothing.
fn process(registry: &mut Registry) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    if let Some(kib) = resident.and_then(|kib: i64| kib.checked_mul(1024)) {
        registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, ConstGauge::new(kib));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let open = i64::try_from(files.count()).unwrap_or(i64::MAX);
        registry.register("process_open_fds", "Files and connections open", ConstGauge::new(open));
    }
}
