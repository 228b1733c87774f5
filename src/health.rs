//! Whether the service lives, and whether it can do its work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Stopwatch};

use actix_web::{HttpResponse, rt, web};
use serde::Serialize;

use crate::http::problem::{Answer, Problem};
use crate::http::{State, ok};
use crate::kit::error::Result;

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    database: &'static str,
}

/// How long one who asks while another one looks waits before asking again.
const PAUSE: Duration = Duration::from_millis(10);

/// What the last look at the database has found, for all workers: nobody is refused who asks, and however many they are,
/// they do not keep the database busy.
pub struct Readiness {
    stands: Duration,
    last: Mutex<Last>,
}

enum Last {
    Nothing,
    Underway,
    Found(Stopwatch, Result<()>),
}

/// A look that is under way, and no other beside it.
struct Look(web::Data<Readiness>);

enum Turn {
    Look(Look),
    Wait,
    Found(Result<()>),
}

impl Readiness {
    pub fn new(stands: Duration) -> Self {
        Readiness { stands, last: Mutex::new(Last::Nothing) }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(this: &web::Data<Self>) -> Turn {
        let mut last = this.last();
        match &*last {
            Last::Underway => Turn::Wait,
            Last::Found(at, found) if at.elapsed() < this.stands => Turn::Found(found.clone()),
            _ => {
                *last = Last::Underway;
                Turn::Look(Look(this.clone()))
            }
        }
    }
}

impl Look {
    fn done(self, found: Result<()>) -> Result<()> {
        *self.0.last() = Last::Found(Stopwatch::now(), found.clone());
        found
    }
}

/// A look that ended in a panic, or never began, leaves the turn to the next.
impl Drop for Look {
    fn drop(&mut self) {
        let mut last = self.0.last();
        if matches!(*last, Last::Underway) {
            *last = Last::Nothing;
        }
    }
}

/// The process answers.
pub async fn live() -> HttpResponse {
    ok(&Live { status: "ok" })
}

/// The database answers too; 503 otherwise.
pub async fn ready(state: web::Data<State>, readiness: web::Data<Readiness>) -> Answer {
    let found = loop {
        match Readiness::turn(&readiness) {
            // it goes on where the one who asked has gone
            Turn::Look(look) => {
                let database = |state: &State| state.db.read(|conn| crate::programme::all(conn).map(drop));
                break state.run(move |state| look.done(database(state))).await;
            }
            Turn::Wait => rt::time::sleep(PAUSE).await,
            Turn::Found(found) => break found.map_err(Problem),
        }
    };
    found.map(|()| ok(&Ready { status: "ok", database: state.db.kind() }))
}
