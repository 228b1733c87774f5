//! The audit log over HTTP.

use actix_web::web;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::{Entry, Filter, Sight};
use crate::http::extract::Query;
use crate::http::permission::MayReadAudit;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::id::{OrganisationId, PersonId, kind};
use crate::kit::text::Line;
use crate::kit::time::Instant;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    subject: Option<Line<100>>,
    person_id: Option<PersonId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct EntryBody {
    sequence: i64,
    occurred_at: Instant,
    person_id: Option<PersonId>,
    organisation_id: Option<OrganisationId>,
    action: String,
    subject: Option<String>,
    detail: Option<String>,
    digest: String,
}

impl From<Entry> for EntryBody {
    fn from(entry: Entry) -> Self {
        let Entry { sequence, occurred_at, person_id, organisation_id, action, subject, detail, digest } = entry;
        let digest = HEXLOWER.encode(&digest);
        EntryBody { sequence, occurred_at, person_id, organisation_id, action, subject, detail, digest }
    }
}

pub async fn list_entries(state: web::Data<State>, permit: MayReadAudit, Query(query): Query<AuditQuery>) -> Answer {
    let page = permit.cursors.page::<kind::AuditEntry>(&query.cursor, &query.limit)?;
    let filter = Filter { subject: query.subject.map(Line::into_string), person: query.person_id };
    let actor = permit.actor;
    let sight = if actor.sees_every_organisation() { Sight::All } else { Sight::Own(actor.organisation) };
    let (entries, next) = state.read(move |conn| super::list(conn, sight, &filter, page)).await?;
    Ok(ok(&permit.cursors.list(entries.into_iter().map(EntryBody::from), next)))
}
