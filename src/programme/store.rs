//! The SQL of programmes and agreements.

use diesel::prelude::*;

use super::{AgreementKind, FundingRule, LegalBasis, State};
use crate::access::{Actor, Role};
use crate::db::schema::{agreements, enrolments, programme_communes, programme_members, programmes, rule_versions};
use crate::db::{Ask, Conn, Locked, Page, RowOf, Upsert, any_of, column, question, unnested_rows};
use crate::kit::commune::Commune;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, EnrolmentId, OrganisationId, PersonId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::sql::ty;
use crate::kit::time::{Day, Instant};

#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = programmes, treat_none_as_default_value = false, treat_none_as_null = true)]
pub struct Programme {
    pub id: ProgrammeId,
    pub organisation_id: OrganisationId,
    pub name: String,
    pub state: State,
    pub time_zone: String,
    pub starts_on: Day,
    pub ends_on: Day,
    pub funding_rule: FundingRule,
    pub legal_basis: Option<LegalBasis>,
    pub legal_reference: Option<String>,
    pub created_at: Instant,
    pub opened_at: Option<Instant>,
    pub closed_at: Option<Instant>,
}

/// One commune of a programme's territory.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = programme_communes)]
pub struct Territory {
    pub programme_id: ProgrammeId,
    pub code: String,
    pub name: String,
}

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = agreements)]
pub struct Agreement {
    pub id: AgreementId,
    pub programme_id: ProgrammeId,
    pub funder_id: OrganisationId,
    pub reference: String,
    /// The order of priority, and of ties.
    pub position: i32,
    pub share_weight: i32,
    pub granted_cents: Cents,
    pub starts_on: Day,
    pub ends_on: Day,
    pub grace_days: i32,
    pub signed_at: Instant,
    pub kind: AgreementKind,
}

/// Rules as they were written down, and since when.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = rule_versions, treat_none_as_default_value = false)]
pub struct RuleVersion {
    pub programme_id: ProgrammeId,
    pub version: i32,
    /// As JSON.
    pub rules: String,
    pub created_at: Instant,
    pub created_by: Option<PersonId>,
}

pub fn insert(conn: &mut Conn, programme: &Programme) -> Result<()> {
    diesel::insert_into(programmes::table).values(programme).execute(conn)?;
    Ok(())
}

pub fn update(conn: &mut Conn, programme: &Programme) -> Result<()> {
    diesel::update(programmes::table.find(programme.id)).set(programme).execute(conn)?;
    Ok(())
}

pub fn insert_version(conn: &mut Conn, version: &RuleVersion) -> Result<()> {
    diesel::insert_into(rule_versions::table).values(version).execute(conn)?;
    Ok(())
}

/// Rewrites a draft's rules.
pub fn rewrite_version(conn: &mut Conn, programme: ProgrammeId, version: i32, rules: &str) -> Result<()> {
    diesel::update(rule_versions::table.find((programme, version)))
        .set(rule_versions::rules.eq(rules))
        .execute(conn)?;
    Ok(())
}

pub fn version(conn: &mut Conn, programme: ProgrammeId, version: i32) -> Result<Option<RuleVersion>> {
    Ok(rule_versions::table.find((programme, version)).select(RuleVersion::as_select()).first(conn).optional()?)
}

/// The programmes that some enrolments are in, and at least the versions of rules that these are frozen to.
pub fn deals(of: &[EnrolmentId]) -> impl Ask<Answer = (Vec<Programme>, Vec<RuleVersion>)> {
    let ids = || column::<ty::Id, _, _>(of, |&id| id);
    let programmes = unnested_rows::<RowOf<Programme>, _>(
        "SELECT p.* FROM (SELECT DISTINCT d.programme_id FROM unnest(",
        (ids(),),
        ") AS e (id) CROSS JOIN LATERAL (SELECT programme_id FROM enrolments WHERE id = e.id LIMIT 1) AS d) \
         AS e CROSS JOIN LATERAL (SELECT id, organisation_id, name, state, time_zone, starts_on, ends_on, \
         funding_rule, legal_basis, legal_reference, created_at, opened_at, closed_at \
         FROM programmes WHERE id = e.programme_id LIMIT 1) AS p",
    );
    let versions = unnested_rows::<RowOf<RuleVersion>, _>(
        "SELECT v.* FROM (SELECT DISTINCT d.programme_id, d.rules_version FROM unnest(",
        (ids(),),
        ") AS e (id) CROSS JOIN LATERAL (SELECT programme_id, rules_version FROM enrolments WHERE id = e.id LIMIT 1) AS d) \
         AS e CROSS JOIN LATERAL (SELECT programme_id, version, rules, created_at, created_by FROM rule_versions \
         WHERE programme_id = e.programme_id AND version = e.rules_version LIMIT 1) AS v",
    );
    let of_them = move || enrolments::table.filter(any_of(enrolments::id, of)).select(enrolments::programme_id);
    (
        question(programmes, move |conn| {
            let theirs = programmes::table.filter(programmes::id.eq_any(of_them()));
            Ok(theirs.select(Programme::as_select()).load(conn)?)
        }),
        question(versions, move |conn| {
            let theirs = rule_versions::table.filter(rule_versions::programme_id.eq_any(of_them()));
            Ok(theirs.select(RuleVersion::as_select()).load(conn)?)
        }),
    )
}

/// All versions of a programme's rules, oldest first.
pub fn versions(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<RuleVersion>> {
    Ok(rule_versions::table
        .filter(rule_versions::programme_id.eq(programme))
        .order(rule_versions::version)
        .select(RuleVersion::as_select())
        .load(conn)?)
}

pub fn latest_version(conn: &mut Conn, programme: ProgrammeId) -> Result<Option<RuleVersion>> {
    Ok(rule_versions::table
        .filter(rule_versions::programme_id.eq(programme))
        .order(rule_versions::version.desc())
        .select(RuleVersion::as_select())
        .first(conn)
        .optional()?)
}

pub fn programme(conn: &mut Conn, id: ProgrammeId) -> Result<Option<Programme>> {
    Ok(programmes::table.find(id).select(Programme::as_select()).first(conn).optional()?)
}

pub fn locked(conn: &mut Conn, id: ProgrammeId) -> Result<Option<Programme>> {
    Ok(Locked(programmes::table.find(id).select(Programme::as_select())).get_result(conn).optional()?)
}

pub fn all(conn: &mut Conn) -> Result<Vec<ProgrammeId>> {
    Ok(programmes::table.order(programmes::id).select(programmes::id).load(conn)?)
}

/// The programmes that somebody may see: one of them, or a page.
pub fn visible(
    conn: &mut Conn,
    actor: &Actor,
    id: Option<ProgrammeId>,
    page: &Page<ProgrammeId>,
) -> Result<Vec<Programme>> {
    let mut query =
        programmes::table.order(programmes::id).limit(page.fetch()).select(Programme::as_select()).into_boxed();
    let own = actor.organisation;
    query = match actor.role {
        Role::Administrator => query,
        Role::Manager => query.filter(programmes::organisation_id.eq(own)),
        Role::SocialWorker | Role::Evaluator => query.filter(
            programmes::id.eq_any(
                programme_members::table
                    .filter(programme_members::organisation_id.eq(own))
                    .select(programme_members::programme_id),
            ),
        ),
        // what a producer may apply to is no secret; a draft is
        Role::Producer => query.filter(programmes::state.ne(State::Draft)),
        Role::Funder => query.filter(
            programmes::id
                .eq_any(agreements::table.filter(agreements::funder_id.eq(own)).select(agreements::programme_id)),
        ),
    };
    if let Some(id) = id {
        query = query.filter(programmes::id.eq(id));
    }
    if let Some(after) = page.after {
        query = query.filter(programmes::id.gt(after));
    }
    Ok(query.load(conn)?)
}

pub fn communes(conn: &mut Conn, id: ProgrammeId) -> Result<Vec<Territory>> {
    Ok(programme_communes::table
        .filter(programme_communes::programme_id.eq(id))
        .order(programme_communes::code)
        .select(Territory::as_select())
        .load(conn)?)
}

pub fn replace_communes(conn: &mut Conn, id: ProgrammeId, communes: &[Commune]) -> Result<()> {
    diesel::delete(programme_communes::table.filter(programme_communes::programme_id.eq(id))).execute(conn)?;
    for commune in communes {
        let row = Territory {
            programme_id: id,
            code: commune.code.as_str().to_owned(),
            name: commune.name.as_str().to_owned(),
        };
        diesel::insert_into(programme_communes::table).values(&row).execute(conn)?;
    }
    Ok(())
}

/// False where it is a member already.
pub fn insert_member(conn: &mut Conn, id: ProgrammeId, member: OrganisationId, now: Instant) -> Result<bool> {
    let insert = diesel::insert_into(programme_members::table)
        .values((
            programme_members::programme_id.eq(id),
            programme_members::organisation_id.eq(member),
            programme_members::since.eq(now),
        ))
        .on_conflict_do_nothing();
    Ok(Upsert(insert).execute(conn)? == 1)
}

pub fn is_member(conn: &mut Conn, id: ProgrammeId, organisation: OrganisationId) -> Result<bool> {
    let membership = programme_members::table.find((id, organisation));
    Ok(diesel::select(diesel::dsl::exists(membership)).get_result(conn)?)
}

pub fn members(conn: &mut Conn, id: ProgrammeId) -> Result<Vec<(OrganisationId, Instant)>> {
    Ok(programme_members::table
        .filter(programme_members::programme_id.eq(id))
        .order(programme_members::organisation_id)
        .select((programme_members::organisation_id, programme_members::since))
        .load(conn)?)
}

pub fn insert_agreement(conn: &mut Conn, agreement: &Agreement) -> Result<()> {
    diesel::insert_into(agreements::table).values(agreement).execute(conn)?;
    Ok(())
}

pub fn agreements_of(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<Agreement>> {
    Ok(agreements::table
        .filter(agreements::programme_id.eq(programme))
        .order(agreements::position)
        .select(Agreement::as_select())
        .load(conn)?)
}

pub fn visible_agreements(
    conn: &mut Conn,
    actor: &Actor,
    id: Option<AgreementId>,
    programme: Option<ProgrammeId>,
    page: &Page<AgreementId>,
) -> Result<Vec<Agreement>> {
    let mut query =
        agreements::table.order(agreements::id).limit(page.fetch()).select(Agreement::as_select()).into_boxed();
    let own = actor.organisation;
    query = match actor.role {
        Role::Administrator => query,
        Role::Manager => query.filter(
            agreements::programme_id
                .eq_any(programmes::table.filter(programmes::organisation_id.eq(own)).select(programmes::id)),
        ),
        Role::Evaluator => query.filter(
            agreements::programme_id.eq_any(
                programme_members::table
                    .filter(programme_members::organisation_id.eq(own))
                    .select(programme_members::programme_id),
            ),
        ),
        Role::Funder => query.filter(agreements::funder_id.eq(own)),
        // what binds a stall or a household is the programme's rules, not who pays
        Role::Producer | Role::SocialWorker => return Ok(Vec::new()),
    };
    if let Some(id) = id {
        query = query.filter(agreements::id.eq(id));
    }
    if let Some(programme) = programme {
        query = query.filter(agreements::programme_id.eq(programme));
    }
    if let Some(after) = page.after {
        query = query.filter(agreements::id.gt(after));
    }
    Ok(query.load(conn)?)
}
