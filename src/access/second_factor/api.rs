//! The second factor over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{Begun, Shown};
use crate::access::{Actor, Settings, address_digest, write_ending};
use crate::db::Conn;
use crate::http::address::ClientAddress;
use crate::http::extract::{Json, OptionalJson, PathId};
use crate::http::permission::{AnyRole, MayCreatePeople};
use crate::http::problem::{Answer, Problem};
use crate::http::{State, created, no_content, ok};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::kind;
use crate::kit::keys::Keys;
use crate::kit::text::Line;
use crate::kit::time::Instant;

/// A code as it was typed: of the authenticator, or a recovery code.
pub type Typed = Line<64>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    password: Option<String>,
    code: Option<Typed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    code: Typed,
}

#[derive(Serialize)]
struct BegunBody {
    secret: String,
    otpauth_url: String,
}

#[derive(Serialize)]
struct CodesBody {
    recovery_codes: Vec<String>,
}

pub async fn begin_second_factor(
    state: web::Data<State>,
    caller: AnyRole,
    address: ClientAddress,
    body: OptionalJson<Begin>,
) -> Answer {
    let Begin { password, code } = body.0.unwrap_or_default().value;
    let from = address_digest(&state.keys.now(), &address.bytes());
    let begin = move |s: &State| {
        let shown = Shown { password: password.as_deref(), code: code.as_ref().map(Line::as_str) };
        super::begin(&s.db, &s.keys.now(), &s.access, &from, &caller.actor, &shown)
    };
    let begun = state.run(begin).await?.ok_or(Problem(Error::Refused(Code::WrongCode)))?;
    let Begun { secret, otpauth_url } = begun;
    Ok(created(&BegunBody { secret, otpauth_url }))
}

pub async fn confirm_second_factor(state: web::Data<State>, caller: AnyRole, body: Json<Proof>) -> Answer {
    let code = body.value.code;
    let recovery_codes =
        proven(&state, caller, move |conn, now, keys, _, actor| super::confirm(conn, now, keys, actor, code.as_str()));
    Ok(ok(&CodesBody { recovery_codes: recovery_codes.await? }))
}

pub async fn renew_recovery_codes(state: web::Data<State>, caller: AnyRole, body: Json<Proof>) -> Answer {
    let code = body.value.code;
    let recovery_codes = proven(&state, caller, move |conn, now, keys, _, actor| {
        super::renew_codes(conn, now, keys, actor, code.as_str())
    });
    Ok(ok(&CodesBody { recovery_codes: recovery_codes.await? }))
}

pub async fn remove_second_factor(state: web::Data<State>, caller: AnyRole, body: Json<Proof>) -> Answer {
    let code = body.value.code;
    proven(&state, caller, move |conn, now, keys, settings, actor| {
        super::remove(conn, now, keys, settings, actor, code.as_str())
    })
    .await?;
    Ok(no_content())
}

pub async fn reset_second_factor(state: web::Data<State>, caller: MayCreatePeople, id: PathId<kind::Person>) -> Answer {
    state.write_as(caller.actor.clone(), move |conn, now| super::reset(conn, now, &caller.actor, id.0)).await?;
    Ok(no_content())
}

/// Runs a command that answers nothing to a wrong code, whose count is then committed: `wrong_code`.
async fn proven<T: Send + 'static>(
    state: &State,
    caller: AnyRole,
    command: impl Fn(&mut Conn, Instant, &Keys, &Settings, &Actor) -> Result<Option<T>> + Send + 'static,
) -> Answer<T> {
    let run = move |s: &State| {
        let work = |conn: &mut Conn, now| command(conn, now, &s.keys.now(), &s.access, &caller.actor);
        write_ending(&s.db, &caller.actor, work, Option::is_none)
    };
    state.run(run).await?.ok_or(Problem(Error::Refused(Code::WrongCode)))
}
