//! Programmes, their members and agreements over HTTP.

use actix_web::web;
use serde::{Deserialize, Serialize};

use super::{
    Agreement, AgreementKind, Draft, FundingRule, LegalBasis, NewAgreement, Programme, Rules, State as ProgrammeState,
    Version,
};
use crate::access::{self, Organisation};
use crate::db::Conn;
use crate::http::extract::{Json, PathId, PathIds, Query};
use crate::http::idempotency::{IdempotencyKey, once};
use crate::http::permission::{MayManageProgrammes, MayReadAgreements, MayReadPresets, MayReadProgrammes};
use crate::http::problem::Answer;
use crate::http::{State, created, no_content, ok};
use crate::kit::commune::Commune;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, OrganisationId, ProgrammeId, kind};
use crate::kit::money::Cents;
use crate::kit::text::Line;
use crate::kit::time::{Day, Instant, Zone};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgrammeRequest {
    name: Line<200>,
    #[serde(default = "paris")]
    time_zone: Zone,
    starts_on: Day,
    ends_on: Day,
    funding_rule: FundingRule,
    #[serde(deserialize_with = "crate::kit::object::object")]
    rules: Rules,
    #[serde(deserialize_with = "crate::kit::object::objects")]
    communes: Vec<Commune>,
    #[serde(default, deserialize_with = "crate::kit::object::maybe_object")]
    legal_basis: Option<LegalBasisRequest>,
}

fn paris() -> Zone {
    "Europe/Paris".parse().expect("the zone is in the bundled list")
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LegalBasisRequest {
    code: LegalBasis,
    reference: Line<500>,
}

impl From<ProgrammeRequest> for Draft {
    fn from(request: ProgrammeRequest) -> Self {
        let ProgrammeRequest { name, time_zone, starts_on, ends_on, funding_rule, rules, communes, legal_basis } =
            request;
        let legal_basis = legal_basis.map(|basis| (basis.code, basis.reference));
        Draft { name, time_zone, starts_on, ends_on, funding_rule, rules, communes, legal_basis }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementRequest {
    funder_id: OrganisationId,
    reference: Line<100>,
    granted: Cents,
    starts_on: Day,
    ends_on: Day,
    grace_days: i32,
    share_weight: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementsQuery {
    programme_id: Option<ProgrammeId>,
    cursor: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
struct ProgrammeAnswer {
    id: ProgrammeId,
    organisation_id: OrganisationId,
    name: String,
    state: ProgrammeState,
    time_zone: String,
    starts_on: Day,
    ends_on: Day,
    funding_rule: FundingRule,
    /// Those of today's newcomers.
    rules: Rules,
    rules_version: i32,
    communes: Vec<CommuneAnswer>,
    legal_basis: Option<LegalBasisAnswer>,
    created_at: Instant,
    opened_at: Option<Instant>,
    closed_at: Option<Instant>,
}

#[derive(Serialize)]
struct CommuneAnswer {
    code: String,
    name: String,
}

#[derive(Serialize)]
struct LegalBasisAnswer {
    code: LegalBasis,
    reference: String,
}

fn programme_answer(conn: &mut Conn, programme: Programme) -> Result<ProgrammeAnswer> {
    let communes = super::territory(conn, programme.id)?;
    let rules = super::rules(conn, programme.id)?;
    let basis = programme.legal_basis.zip(programme.legal_reference.clone());
    Ok(ProgrammeAnswer {
        rules: rules.rules,
        rules_version: rules.version,
        communes: communes.into_iter().map(|c| CommuneAnswer { code: c.code, name: c.name }).collect(),
        legal_basis: basis.map(|(code, reference)| LegalBasisAnswer { code, reference }),
        id: programme.id,
        organisation_id: programme.organisation_id,
        name: programme.name,
        state: programme.state,
        time_zone: programme.time_zone,
        starts_on: programme.starts_on,
        ends_on: programme.ends_on,
        funding_rule: programme.funding_rule,
        created_at: programme.created_at,
        opened_at: programme.opened_at,
        closed_at: programme.closed_at,
    })
}

#[derive(Serialize)]
struct AgreementAnswer {
    id: AgreementId,
    programme_id: ProgrammeId,
    kind: AgreementKind,
    funder: FunderAnswer,
    reference: String,
    position: i32,
    share_weight: i32,
    granted: Cents,
    starts_on: Day,
    ends_on: Day,
    grace_days: i32,
    signed_at: Instant,
}

#[derive(Serialize)]
struct FunderAnswer {
    id: OrganisationId,
    name: String,
}

fn agreement_answer(conn: &mut Conn, agreement: Agreement) -> Result<AgreementAnswer> {
    Ok(AgreementAnswer {
        funder: FunderAnswer { id: agreement.funder_id, name: access::organisation_name(conn, agreement.funder_id)? },
        id: agreement.id,
        programme_id: agreement.programme_id,
        kind: agreement.kind,
        reference: agreement.reference,
        position: agreement.position,
        share_weight: agreement.share_weight,
        granted: agreement.granted_cents,
        starts_on: agreement.starts_on,
        ends_on: agreement.ends_on,
        grace_days: agreement.grace_days,
        signed_at: agreement.signed_at,
    })
}

#[derive(Serialize)]
struct MemberAnswer {
    organisation: OrganisationAnswer,
    since: Instant,
}

#[derive(Serialize)]
struct OrganisationAnswer {
    id: OrganisationId,
    kind: access::OrganisationKind,
    name: String,
}

pub async fn create_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    body: Json<ProgrammeRequest>,
) -> Answer {
    let draft = Draft::from(body.value);
    let answer = state.write_as(permit.actor.clone(), move |conn, now| {
        let programme = super::create(conn, now, &permit.actor, &draft)?;
        programme_answer(conn, programme)
    });
    Ok(created(&answer.await?))
}

pub async fn rewrite_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
    body: Json<ProgrammeRequest>,
) -> Answer {
    let draft = Draft::from(body.value);
    let answer = state.write_as(permit.actor.clone(), move |conn, now| {
        let programme = super::rewrite(conn, now, &permit.actor, id.0, &draft)?;
        programme_answer(conn, programme)
    });
    Ok(ok(&answer.await?))
}

pub async fn list_programmes(state: web::Data<State>, permit: MayReadProgrammes, query: Query<PageQuery>) -> Answer {
    let page = permit.cursors.page(&query.0.cursor, &query.0.limit)?;
    let answer = state.read(move |conn| {
        let programmes = super::list(conn, &permit.actor, &page)?;
        let (programmes, next) = page.cut(programmes, |programme| programme.id);
        let items: Result<Vec<_>> = programmes.into_iter().map(|programme| programme_answer(conn, programme)).collect();
        Ok(permit.cursors.list(items?, next))
    });
    Ok(ok(&answer.await?))
}

pub async fn get_programme(state: web::Data<State>, permit: MayReadProgrammes, id: PathId<kind::Programme>) -> Answer {
    let answer = state.read(move |conn| {
        let programme = super::readable(conn, &permit.actor, id.0)?;
        programme_answer(conn, programme)
    });
    Ok(ok(&answer.await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesRequest {
    #[serde(deserialize_with = "crate::kit::object::object")]
    rules: Rules,
}

#[derive(Serialize)]
struct RuleVersionAnswer {
    version: i32,
    rules: Rules,
    created_at: Instant,
}

impl From<Version> for RuleVersionAnswer {
    fn from(Version { version, rules, created_at }: Version) -> Self {
        RuleVersionAnswer { version, rules, created_at }
    }
}

pub async fn list_rules(state: web::Data<State>, permit: MayReadProgrammes, id: PathId<kind::Programme>) -> Answer {
    #[derive(Serialize)]
    struct Versions {
        items: Vec<RuleVersionAnswer>,
    }
    let versions = state.read(move |conn| super::versions(conn, &permit.actor, id.0)).await?;
    Ok(ok(&Versions { items: versions.into_iter().map(RuleVersionAnswer::from).collect() }))
}

pub async fn get_presets(_permit: MayReadPresets) -> Answer {
    #[derive(Serialize)]
    struct Presets {
        items: Vec<super::Preset>,
    }
    Ok(ok(&Presets { items: super::presets()? }))
}

pub async fn change_rules(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
    body: Json<RulesRequest>,
) -> Answer {
    let rules = body.value.rules;
    let changed = state
        .write_as(permit.actor.clone(), move |conn, now| super::change_rules(conn, now, &permit.actor, id.0, &rules));
    Ok(ok(&RuleVersionAnswer::from(changed.await?)))
}

pub async fn open_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
) -> Answer {
    let answer = state.write_as(permit.actor.clone(), move |conn, now| {
        let programme = super::open(conn, now, &permit.actor, id.0)?;
        programme_answer(conn, programme)
    });
    Ok(ok(&answer.await?))
}

pub async fn close_programme(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    id: PathId<kind::Programme>,
) -> Answer {
    let answer = state.write_as(permit.actor.clone(), move |conn, now| {
        let programme = super::close(conn, now, &permit.actor, id.0)?;
        programme_answer(conn, programme)
    });
    Ok(ok(&answer.await?))
}

pub async fn list_members(state: web::Data<State>, permit: MayManageProgrammes, id: PathId<kind::Programme>) -> Answer {
    #[derive(Serialize)]
    struct Members {
        items: Vec<MemberAnswer>,
    }
    let answer = state.read(move |conn| {
        let members = super::members(conn, &permit.actor, id.0)?;
        let member = |(id, since)| {
            let kinds = [access::OrganisationKind::SocialStructure, access::OrganisationKind::Evaluator];
            let found = access::organisation_of_kind(conn, id, &kinds)?;
            Ok(found.map(|Organisation { id, kind, name, .. }| MemberAnswer {
                organisation: OrganisationAnswer { id, kind, name },
                since,
            }))
        };
        let items: Result<Vec<Option<MemberAnswer>>> = members.into_iter().map(member).collect();
        Ok(Members { items: items?.into_iter().flatten().collect() })
    });
    Ok(ok(&answer.await?))
}

pub async fn admit_member(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    ids: PathIds<kind::Programme, kind::Organisation>,
) -> Answer {
    state.write_as(permit.actor.clone(), move |conn, now| super::admit(conn, now, &permit.actor, ids.0, ids.1)).await?;
    Ok(no_content())
}

pub async fn sign_agreement(
    state: web::Data<State>,
    permit: MayManageProgrammes,
    key: IdempotencyKey,
    id: PathId<kind::Programme>,
    body: Json<AgreementRequest>,
) -> Answer {
    let AgreementRequest { funder_id, reference, granted, starts_on, ends_on, grace_days, share_weight } = body.value;
    let new = NewAgreement { funder: funder_id, reference, granted, starts_on, ends_on, grace_days, share_weight };
    let actor = permit.actor.clone();
    once(&state, &permit.actor, key, body.digest, move |conn, now| {
        let agreement = super::sign(conn, now, &actor, id.0, &new)?;
        agreement_answer(conn, agreement)
    })
    .await
}

pub async fn list_agreements(
    state: web::Data<State>,
    permit: MayReadAgreements,
    query: Query<AgreementsQuery>,
) -> Answer {
    let page = permit.cursors.page(&query.0.cursor, &query.0.limit)?;
    let answer = state.read(move |conn| {
        let agreements = super::agreements(conn, &permit.actor, query.0.programme_id, &page)?;
        let (agreements, next) = page.cut(agreements, |agreement| agreement.id);
        let items: Result<Vec<_>> = agreements.into_iter().map(|agreement| agreement_answer(conn, agreement)).collect();
        Ok(permit.cursors.list(items?, next))
    });
    Ok(ok(&answer.await?))
}

pub async fn get_agreement(state: web::Data<State>, permit: MayReadAgreements, id: PathId<kind::Agreement>) -> Answer {
    let answer = state.read(move |conn| {
        let agreement = super::agreement(conn, &permit.actor, id.0)?;
        agreement_answer(conn, agreement)
    });
    Ok(ok(&answer.await?))
}
