//! What every `api.rs` is written with: the state behind a request, permissions, JSON in and out, problems.

pub mod address;
pub mod connection;
pub mod extract;
pub mod guard;
pub mod idempotency;
pub mod list;
pub mod metrics;
pub mod middleware;
pub mod negotiate;
mod order;
pub mod permission;
pub mod problem;
mod sentences;
mod store;
pub mod stream;

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::access::{self, Actor};
use crate::db::{Conn, Db};
use crate::kit::error::{Error, Result};
use crate::kit::keys::KeyStore;
use crate::kit::time::Instant;
use problem::{Answer, Problem};

/// What every handler has at hand, as `web::Data<State>`. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub db: Db,
    pub keys: KeyStore,
    pub access: Arc<access::Settings>,
    /// Whose word is taken for where a request comes from.
    pub proxies: address::Proxies,
    /// Calendar months after the last contact, when a household is erased.
    pub retention_months: i32,
    /// `https://host`, before the path of links printed on vouchers.
    pub origin: String,
    pub metrics: Arc<metrics::Metrics>,
    pub streams: stream::Streams,
}

impl State {
    /// The host of the origin, for the links printed on vouchers.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host)
    }

    /// Runs `f` where it may block, off the threads that serve connections.
    pub async fn run<T: Send + 'static>(&self, f: impl FnOnce(&State) -> Result<T> + Send + 'static) -> Answer<T> {
        let state = self.clone();
        match web::block(move || f(&state)).await {
            Ok(outcome) => outcome.map_err(Problem),
            Err(_) => Err(Problem(Error::Internal("a blocking job panicked".to_owned()))),
        }
    }

    /// [`Db::read`], where it may block.
    pub async fn read<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Answer<T> {
        self.run(|state| state.db.read(f)).await
    }

    /// [`Db::write`], where it may block.
    pub async fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Conn, Instant) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.run(|state| state.db.write(f)).await
    }

    /// [`access::write_as`].
    pub fn commit_as<T>(&self, actor: &Actor, f: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        access::write_as(&self.db, actor, f)
    }

    /// [`access::write_as`], where it may block.
    pub async fn write_as<T: Send + 'static>(
        &self,
        actor: Actor,
        f: impl FnMut(&mut Conn, Instant) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.run(move |state| state.commit_as(&actor, f)).await
    }
}

/// 200 with a JSON body.
pub fn ok(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(body)
}

/// 201 with a JSON body.
pub fn created(body: &impl Serialize) -> HttpResponse {
    HttpResponse::Created().json(body)
}

/// 204, without a body.
pub fn no_content() -> HttpResponse {
    HttpResponse::NoContent().finish()
}
