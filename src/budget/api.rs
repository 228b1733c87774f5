//! A programme's budget over HTTP.

use actix_web::web;
use serde::Serialize;

use super::{Budget, Money};
use crate::enrolment;
use crate::http::extract::PathId;
use crate::http::permission::MayReadBudget;
use crate::http::problem::Answer;
use crate::http::{State, ok};
use crate::kit::id::{AgreementId, OrganisationId, ProgrammeId, kind};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Month};

#[derive(Serialize)]
struct BudgetAnswer {
    programme_id: ProgrammeId,
    as_of: Instant,
    total: Money,
    agreements: Vec<AgreementMoney>,
    held: Vec<HeldAnswer>,
    enrolments: Counts,
    daily_pace: Cents,
    runs_out_in: Option<Month>,
}

#[derive(Serialize)]
struct AgreementMoney {
    agreement_id: AgreementId,
    reference: String,
    #[serde(flatten)]
    money: Money,
}

#[derive(Serialize)]
struct HeldAnswer {
    producer_id: OrganisationId,
    producer: String,
    amount: Cents,
}

#[derive(Serialize)]
struct Counts {
    waiting: i64,
    active: i64,
    suspended: i64,
    left: i64,
    ended: i64,
}

pub async fn get_budget(state: web::Data<State>, permit: MayReadBudget, id: PathId<kind::Programme>) -> Answer {
    let now = state.db.now();
    let Budget { total, agreements, held, enrolments, daily_pace, runs_out_in } =
        state.read(move |conn| super::budget(conn, now, &permit.actor, id.0)).await?;
    let count = |state| enrolments.iter().find(|(s, _)| *s == state).map_or(0, |(_, count)| *count);
    let money = |(agreement, money): (crate::programme::Agreement, Money)| AgreementMoney {
        agreement_id: agreement.id,
        reference: agreement.reference,
        money,
    };
    Ok(ok(&BudgetAnswer {
        programme_id: id.0,
        as_of: now,
        total,
        agreements: agreements.into_iter().map(money).collect(),
        held: held
            .into_iter()
            .map(|(producer_id, producer, amount)| HeldAnswer { producer_id, producer, amount })
            .collect(),
        enrolments: Counts {
            waiting: count(enrolment::State::Waiting),
            active: count(enrolment::State::Active),
            suspended: count(enrolment::State::Suspended),
            left: count(enrolment::State::Left),
            ended: count(enrolment::State::Ended),
        },
        daily_pace,
        runs_out_in,
    }))
}
