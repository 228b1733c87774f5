//! Whether the service lives, and whether it can do its work.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::http::problem::Answer;
use crate::http::{State, ok};

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    database: &'static str,
}

/// The process answers.
pub async fn live() -> HttpResponse {
    ok(&Live { status: "ok" })
}

/// The database answers too; 503 otherwise.
pub async fn ready(state: web::Data<State>) -> Answer {
    state.read(|conn| crate::programme::all(conn).map(drop)).await?;
    Ok(ok(&Ready { status: "ok", database: state.db.kind() }))
}
