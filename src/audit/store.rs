//! The SQL of the audit log.

use diesel::prelude::*;

use super::{Action, Sight};
use crate::db::schema::{audit_entries, organisations};
use crate::db::{Conn, Page, Queue, wait_in};
use crate::kit::error::Result;
use crate::kit::id::{AuditEntryId, OrganisationId, PersonId};
use crate::kit::time::Instant;

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_entries, treat_none_as_default_value = false)]
pub struct Entry {
    /// 1, 2, 3, without gaps.
    pub sequence: i64,
    pub occurred_at: Instant,
    pub person_id: Option<PersonId>,
    pub organisation_id: Option<OrganisationId>,
    pub action: String,
    pub subject: Option<String>,
    pub detail: Option<String>,
    pub digest: Vec<u8>,
}

/// Which entries a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub subject: Option<String>,
    pub person: Option<PersonId>,
}

/// Until this transaction ends, no other writes an entry.
pub fn queue(conn: &mut Conn) -> Result<()> {
    wait_in(conn, Queue::Audit)
}

pub fn last(conn: &mut Conn) -> Result<Option<Entry>> {
    let last = audit_entries::table.order(audit_entries::sequence.desc()).select(Entry::as_select());
    Ok(last.first(conn).optional()?)
}

/// The sequence of the last entry; 0 for an empty log.
pub fn head(conn: &mut Conn) -> Result<i64> {
    let last: Option<i64> = audit_entries::table.select(diesel::dsl::max(audit_entries::sequence)).first(conn)?;
    Ok(last.unwrap_or(0))
}

pub fn insert(conn: &mut Conn, entry: &Entry) -> Result<()> {
    diesel::insert_into(audit_entries::table).values(entry).execute(conn)?;
    Ok(())
}

/// In order, after a sequence.
pub fn following(conn: &mut Conn, sequence: i64, limit: i64) -> Result<Vec<Entry>> {
    let query = audit_entries::table.filter(audit_entries::sequence.gt(sequence)).order(audit_entries::sequence);
    Ok(query.limit(limit).select(Entry::as_select()).load(conn)?)
}

pub fn about(conn: &mut Conn, subject: &str, actions: &[Action]) -> Result<Vec<Entry>> {
    let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    Ok(audit_entries::table
        .filter(audit_entries::subject.eq(subject))
        .filter(audit_entries::action.eq_any(actions))
        .order(audit_entries::sequence)
        .select(Entry::as_select())
        .load(conn)?)
}

pub fn list(conn: &mut Conn, sight: Sight, filter: &Filter, page: Page<AuditEntryId>) -> Result<Vec<Entry>> {
    let mut query = audit_entries::table.select(Entry::as_select()).into_boxed();
    if let Sight::Own(own) = sight {
        let brought_in =
            organisations::table.filter(organisations::created_by.eq(own)).select(organisations::id.nullable());
        query =
            query.filter(audit_entries::organisation_id.eq(own).or(audit_entries::organisation_id.eq_any(brought_in)));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(audit_entries::subject.eq(subject));
    }
    if let Some(person) = filter.person {
        query = query.filter(audit_entries::person_id.eq(person));
    }
    if let Some(after) = page.after {
        let place = u128::from_be_bytes(*after.as_bytes());
        query = query.filter(audit_entries::sequence.lt(i64::try_from(place).unwrap_or(i64::MAX)));
    }
    Ok(query.order(audit_entries::sequence.desc()).limit(page.fetch()).load(conn)?)
}
