//! What the story is lived in: a service with a hand-set clock, and the refusals that were met.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use crate::access::{self, Actor};
use crate::config::Config;
use crate::db::Conn;
use crate::http::State;
use crate::kit::error::{Code, Error, Result};
use crate::kit::time::{Day, Instant, ManualClock, Zone};
use crate::service;

use super::territory::PASSWORD;

/// How often each thing was refused.
pub type Refusals = BTreeMap<Code, usize>;

pub struct World {
    pub state: State,
    pub zone: Zone,
    clock: ManualClock,
    /// The story ends here; nothing is recorded later.
    until: Instant,
    pub refusals: Refusals,
}

impl World {
    pub fn open(config: &Config, zone: Zone, begins: Instant, until: Instant) -> std::result::Result<Self, String> {
        let clock = ManualClock::at(begins);
        let state = service::open(config, Arc::new(clock.clone()))?;
        Ok(World { state, zone, clock, until, refusals: Refusals::new() })
    }

    /// Moves time on to a minute of a day, never back; `false` where that lies beyond the story.
    pub fn reach(&self, day: Day, minute: i64) -> bool {
        let at = self.zone.start_of(day).plus_minutes(minute);
        self.pass(at.as_second() - self.state.db.now().as_second())
    }

    /// Lets so many seconds go by; `false` where they are more than are left.
    pub fn pass(&self, seconds: i64) -> bool {
        let at = self.state.db.now().plus_seconds(seconds.max(0));
        let within = at < self.until;
        if within {
            self.clock.set(at);
        }
        within
    }

    pub fn write<T>(&self, work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
        self.state.db.write(work)
    }

    /// Counts a refusal; any other failure ends the story.
    pub fn met<T>(&mut self, outcome: Result<T>) -> Result<std::result::Result<T, Code>> {
        match outcome {
            Ok(done) => Ok(Ok(done)),
            Err(error @ (Error::Refused(_) | Error::Insufficient { .. })) => {
                *self.refusals.entry(error.code()).or_default() += 1;
                Ok(Err(error.code()))
            }
            Err(other) => Err(other),
        }
    }

    pub fn log_in(&self, login: &str) -> Result<Actor> {
        log_in(&self.state, login)
    }
}

/// Logs somebody in as the API does, and acts as the API would for them.
pub fn log_in(state: &State, login: &str) -> Result<Actor> {
    let keys = state.keys.now();
    let here = access::address_digest(&keys, &[127, 0, 0, 1]);
    let token = access::log_in(&state.db, &keys, &state.access, &here, &text(login)?, PASSWORD, None)?.access_token;
    state.db.read(|conn| {
        access::authenticate(conn, state.db.now(), &keys, &state.access, &token).map(|caller| caller.actor)
    })
}

/// A word of the territory, read as it would be from outside.
pub fn text<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse().map_err(Error::internal)
}
