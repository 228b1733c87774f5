//! Builds the service, for `serve`, the demo and the tests alike.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, middleware, web};

use crate::access::Callers;
use crate::db::group;
use crate::health::Readiness;
use crate::http::guard::{Guard, Limits};
use crate::http::middleware::observe;
use crate::http::{State, connection};
use crate::redemption::till::api::Till;
use crate::{metrics, routes};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads that serve connections.
    pub workers: usize,
    /// How long a stopping server waits for what it has accepted.
    pub shutdown: Duration,
    pub limits: Limits,
    pub till: group::Settings,
}

/// How long a closing connection is waited for, to take the last answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server on a listening socket; it runs once it is awaited.
pub fn server(state: State, listener: TcpListener, settings: &Settings, signals: bool) -> std::io::Result<Server> {
    let (state, limits) = (web::Data::new(state), &settings.limits);
    let patience = limits.idle + limits.head;
    let guard = web::Data::new(Guard::new(limits));
    let readiness = web::Data::new(Readiness::new(limits.ready));
    let callers = web::Data::new(Callers::default());
    let till = web::Data::new(Till::start(&state, &settings.till)?);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(guard.clone())
            .app_data(readiness.clone())
            .app_data(callers.clone())
            .app_data(till.clone())
            .wrap(middleware::from_fn(observe))
            .configure(routes::configure)
    })
    .workers(settings.workers)
    .shutdown_timeout(settings.shutdown.as_secs())
    .on_connect(move |socket, data| connection::watch(patience, socket, data))
    .client_request_timeout(limits.head)
    .client_disconnect_timeout(FAREWELL)
    .keep_alive(limits.idle)
    .max_connections(limits.connections)
    .listen(listener)?;
    Ok(if signals { server.run() } else { server.disable_signals().run() })
}

/// The metrics, on a listening socket of their own; it runs once it is awaited.
pub fn metrics_server(state: State, listener: TcpListener) -> std::io::Result<Server> {
    let state = web::Data::new(state);
    let app = move || App::new().app_data(state.clone()).route("/metrics", web::get().to(metrics::scrape));
    Ok(HttpServer::new(app).workers(1).shutdown_timeout(1).listen(listener)?.disable_signals().run())
}
