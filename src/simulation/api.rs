//! Simulations over HTTP. They write nothing.

use std::sync::{Mutex, TryLockError};

use actix_web::web;

use super::{Outcome, ProgrammeRequest, Request, Scheme};
use crate::access::still_signed_in;
use crate::http::extract::{Json, PathId};
use crate::http::permission::MayManageProgrammes;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::error::{Error, Result};
use crate::kit::id::kind;

pub async fn simulate(state: web::Data<State>, permit: MayManageProgrammes, body: Json<Request>) -> Answer {
    let outcome = state.run(move |state| {
        let now = state.db.now();
        // the body may have come long after its head
        state.db.read(|conn| still_signed_in(conn, now, &permit.actor))?;
        one_at_a_time(&body.value.scheme()?)
    });
    Ok(ok(&outcome.await?))
}

pub async fn simulate_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
    body: Json<ProgrammeRequest>,
) -> Answer {
    let outcome = state.run(move |state| {
        let now = state.db.now();
        let scheme = state.db.read(|conn| {
            still_signed_in(conn, now, &permit.actor)?;
            super::of_programme(conn, now, &permit.actor, id.0, &body.value)
        })?;
        one_at_a_time(&scheme)
    });
    Ok(ok(&outcome.await?))
}

static TURN: Mutex<()> = Mutex::new(());

/// Tills go first: a server never reckons on more than one core. Whoever comes meanwhile is told to come again.
fn one_at_a_time(scheme: &Scheme) -> Result<Outcome> {
    let _turn = match TURN.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(Error::Unavailable("a simulation is running".to_owned())),
    };
    super::simulate(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_a_simulation_runs_is_told_to_come_again() {
        let scheme = serde_json::from_str::<Request>(include_str!("../../docs/scheme.json")).unwrap();
        let scheme = scheme.with_preset("caph".to_owned()).scheme().unwrap();
        let running = TURN.lock().unwrap();
        assert!(matches!(one_at_a_time(&scheme), Err(Error::Unavailable(_))));
        drop(running);
        assert_eq!(one_at_a_time(&scheme).unwrap().households.asked, 75);
    }
}
