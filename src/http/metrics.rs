//! What is counted as it happens: requests, refusals, the scheduler's looks.
//!
//! No label holds anything unbounded: routes are templates, and what is none of the API's is `other`.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::kit::error::Code;
use crate::kit::time::Instant;

/// Seconds: a till waits for a tenth, nobody for ten.
const SECONDS: [f64; 12] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// The counters of one process.
pub struct Metrics {
    pub registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
    at_the_till: Gauge<i64, AtomicI64>,
    refusals: Family<Refused, Counter>,
    looks: Histogram,
    failed_looks: Counter,
    last_look: Gauge<f64, AtomicU64>,
    done: Family<What, Counter>,
}

/// One more under way, until it is dropped.
pub struct InFlight(Gauge<i64, AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
            at_the_till: Gauge::default(),
            refusals: Family::default(),
            looks: Histogram::new(SECONDS),
            failed_looks: Counter::default(),
            last_look: Gauge::default(),
            done: Family::default(),
        };
        // from the first, so that a rate sees the step from none to one
        for code in Code::ALL {
            let _ = metrics.refusals.get_or_create(&Refused { code: code.as_str() });
        }
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        all.register("primeur_requests", "Requests answered, by route template", self.requests.clone());
        let help = "From the arrival of a request to its answer";
        all.register_with_unit("primeur_request_duration", help, Unit::Seconds, self.durations.clone());
        all.register("primeur_requests_in_flight", "Requests under way", self.in_flight.clone());
        let help = "Purchases and voids that wait to be written";
        all.register("primeur_till_waiting", help, self.at_the_till.clone());
        all.register("primeur_refusals", "Answers that are problems, by their code", self.refusals.clone());
        let help = "How long each successful look at what is due took";
        all.register_with_unit("primeur_scheduler_duration", help, Unit::Seconds, self.looks.clone());
        all.register("primeur_scheduler_failures", "Looks at what is due that failed", self.failed_looks.clone());
        let help = "When the last successful look at what is due ended; 0 before the first";
        all.register_with_unit("primeur_scheduler_last_success_timestamp", help, Unit::Seconds, self.last_look.clone());
        all.register("primeur_scheduler_done", "What the scheduler has done", self.done.clone());
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let help = "When this process began";
        all.register_with_unit("process_start_time", help, Unit::Seconds, ConstGauge::new(started));
        self
    }

    /// Counts a request as under way.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a purchase or void as waiting to be written.
    pub fn wait_at_the_till(&self) -> InFlight {
        self.at_the_till.inc();
        InFlight(self.at_the_till.clone())
    }

    /// How many wait to be written.
    pub fn waiting_at_the_till(&self) -> i64 {
        self.at_the_till.get()
    }

    /// A request was answered. `route` is its template, if it has one.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: u16, took: Duration, code: Option<Code>) {
        let (method, route) = (known(method), route.unwrap_or("other").to_owned());
        self.durations.get_or_create(&Route { method, route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { method, route, status }).inc();
        if let Some(code) = code {
            self.refusals.get_or_create(&Refused { code: code.as_str() }).inc();
        }
    }

    /// The scheduler has looked at what is due, and done so much of each kind.
    pub fn looked(&self, at: Instant, took: Duration, done: &[(&'static str, usize)]) {
        self.looks.observe(took.as_secs_f64());
        self.last_look.set(at.as_microsecond() as f64 / 1e6);
        for &(what, count) in done {
            self.done.get_or_create(&What { what }).inc_by(count as u64);
        }
    }

    /// The scheduler could not do what is due.
    pub fn failed_to_look(&self) {
        self.failed_looks.inc();
    }
}

/// A client can send any word as a method.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
