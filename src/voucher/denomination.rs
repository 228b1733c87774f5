//! Vouchers of a fixed value beside the card: on paper, for one purchase each, and always good while they last.

use super::{Voucher, make};
use crate::access::Actor;
use crate::allowance::{self, PursePart};
use crate::audit::{self, Action};
use crate::db::Conn;
use crate::enrolment;
use crate::hold::{self, Hold, State as HoldState};
use crate::household;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{EnrolmentId, HoldId};
use crate::kit::keys::Secret;
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::programme;

/// The most that are made at once.
pub const MOST: usize = 40;

/// Makes a voucher of each value, with its money set aside: out of what is for any food, what ends first before the rest.
/// Each lasts as long as the money it is made of.
///
/// All of them, or `insufficient_balance` and none.
pub fn hand_over(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    secret: &Secret,
    id: EnrolmentId,
    values: &[Cents],
) -> Result<Vec<Voucher>> {
    let household = enrolment::own(conn, actor, id)?.household_id;
    household::touch(conn, now, household)?;
    hold::free_expired(conn, now, &[id])?;
    let enrolment = enrolment::own(conn, actor, id)?;
    if enrolment.state != enrolment::State::Active {
        return Err(Error::Refused(Code::EnrolmentState));
    }
    let rules = enrolment::rules(conn, &enrolment)?;
    let mut fields = Fields::default();
    for (place, value) in values.iter().enumerate() {
        fields.must(rules.denominations.contains(value), &format!("values[{place}]"), Complaint::NoSuchValue);
    }
    fields.settle()?;

    let funding_rule = programme::by_id(conn, enrolment.programme_id)?.funding_rule;
    let mut purse = allowance::purse(conn, now, id)?;
    purse.parts.retain(|part| rules.sub_purses.iter().all(|sub| sub.code != part.purse));
    allowance::issue(conn, now, &[id])?;
    allowance::bonus::grant(conn, now, &[id])?;
    let mut made = Vec::with_capacity(values.len());
    for &value in values {
        let draws = allowance::draw(&purse.parts, funding_rule, value);
        let held: Cents = draws.iter().map(|draw| draw.amount).sum();
        let Some(expires_at) = hold::good_until(&purse, &draws).filter(|_| held == value) else {
            return Err(Error::Refused(Code::InsufficientBalance));
        };
        let taken =
            |part: &PursePart| draws.iter().filter(|draw| draw.key.part == part.key.part).map(|d| d.amount).sum();
        purse.parts.iter_mut().for_each(|part| part.left -= taken(part));
        let voucher = make(conn, now, secret, &enrolment, None, Some(value), expires_at)?;
        let hold = Hold {
            id: HoldId::new(now),
            voucher_id: voucher.id,
            enrolment_id: id,
            stall_id: None,
            person_id: actor.person,
            basket_cents: None,
            covered_cents: value,
            surplus_cents: Cents::ZERO,
            band: None,
            state: HoldState::Held,
            expires_at,
            created_at: now,
            settled_at: None,
        };
        hold::place(conn, now, &hold, &[], &draws)?;
        made.push(voucher);
    }
    audit::record(conn, now, actor.who(), Action::DenominationsHandedOver, id, Some(made.len().to_string()))?;
    Ok(made)
}
