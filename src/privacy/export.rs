//! Everything that is held on one household, for whoever asks for it (GDPR, article 15).

use std::collections::BTreeMap;

use super::store;
use crate::access::{Actor, Role};
use crate::allowance::{self, Allowance};
use crate::audit::{self, Action};
use crate::contribution::{self, Contribution, Refund};
use crate::db::Conn;
use crate::enrolment::{self, Enrolment};
use crate::hold::{self, Hold};
use crate::household::{self, Duplicate, Household, Look};
use crate::kit::error::Result;
use crate::kit::id::{HouseholdId, PersonId, StallId};
use crate::kit::keys::Keys;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant};
use crate::programme;
use crate::redemption::{self, Purchase};
use crate::voucher::{self, Voucher};

#[derive(Clone, Debug)]
pub struct Export {
    pub household: Household,
    pub identity: Look,
    pub holdings: Vec<Holding>,
    pub duplicates: Vec<Duplicate>,
    pub sightings: Vec<Sighting>,
    pub last_contact_at: Instant,
    /// None while it is in a programme.
    pub erased_from: Option<Instant>,
}

/// One enrolment with all that hangs on it.
#[derive(Clone, Debug)]
pub struct Holding {
    pub enrolment: Enrolment,
    pub programme: String,
    /// Each with what it still holds.
    pub allowances: Vec<(Allowance, Cents)>,
    pub vouchers: Vec<Voucher>,
    /// Each with its day in the programme's zone and its stall's name.
    pub purchases: Vec<(Purchase, Day, String)>,
    /// What was ever set aside, each with its lines, its day, and its stall's name if it was for one.
    pub holds: Vec<(Hold, Vec<hold::Line>, Day, Option<String>)>,
    /// What it has paid in, each with what was paid back of it.
    pub contributions: Vec<(Contribution, Vec<Refund>)>,
}

/// Somebody has seen who the household is.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub at: Instant,
    pub action: String,
    pub role: Role,
    pub person: Option<PersonId>,
}

/// Collects what is held on a household of the caller's own structure, its identity too: that is a look, and written
/// down as an export.
pub fn export(
    conn: &mut Conn,
    now: Instant,
    keys: &Keys,
    actor: &Actor,
    id: HouseholdId,
    retention_months: i32,
) -> Result<Export> {
    let household = household::own(conn, actor, id)?;
    let (contacted_at, closes_at, bought_at, running) = store::contacts(conn, id)?;
    let last_contact_at = [contacted_at, closes_at, bought_at].into_iter().flatten().max().unwrap_or(now);
    let holdings = enrolment::of_household(conn, id)?.into_iter().map(|enrolment| holding(conn, enrolment));
    let export = Export {
        holdings: holdings.collect::<Result<_>>()?,
        household,
        identity: household::identity(conn, keys, id)?,
        duplicates: household::duplicates(conn, keys, actor, id)?,
        sightings: sightings(conn, id)?,
        last_contact_at,
        erased_from: (!running).then(|| last_contact_at.plus_months(retention_months)),
    };
    audit::record(conn, now, actor.who(), Action::HouseholdExported, id, None)?;
    Ok(export)
}

fn holding(conn: &mut Conn, enrolment: Enrolment) -> Result<Holding> {
    let programme = programme::by_id(conn, enrolment.programme_id)?;
    let zone = programme.zone()?;
    let purchases = redemption::of_enrolment(conn, enrolment.id)?;
    let holds = hold::of_enrolment(conn, enrolment.id)?;
    let mut stalls: Vec<StallId> = purchases.iter().map(|purchase| purchase.redemption.stall_id).collect();
    stalls.extend(holds.iter().filter_map(|(hold, _)| hold.stall_id));
    let names: BTreeMap<StallId, String> = store::stall_names(conn, &stalls)?;
    let purchases = purchases.into_iter().map(|purchase| {
        let day = zone.day_of(purchase.redemption.recorded_at);
        let stall = names.get(&purchase.redemption.stall_id).cloned().unwrap_or_default();
        (purchase, day, stall)
    });
    let holds = holds.into_iter().map(|(hold, lines)| {
        let stall = hold.stall_id.and_then(|stall| names.get(&stall).cloned());
        let day = zone.day_of(hold.created_at);
        (hold, lines, day, stall)
    });
    Ok(Holding {
        allowances: allowance::allowances(conn, enrolment.id)?,
        vouchers: voucher::of_enrolment(conn, &enrolment)?,
        purchases: purchases.collect(),
        holds: holds.collect(),
        contributions: contribution::all(conn, enrolment.id)?,
        programme: programme.name,
        enrolment,
    })
}

fn sightings(conn: &mut Conn, id: HouseholdId) -> Result<Vec<Sighting>> {
    let entries = audit::about(conn, id, &[Action::IdentityRead, Action::HouseholdExported])?;
    let sighting = |entry: audit::Entry| Sighting {
        at: entry.occurred_at,
        action: entry.action,
        // nobody else gets as far as an identity
        role: Role::SocialWorker,
        person: entry.person_id,
    };
    Ok(entries.into_iter().map(sighting).collect())
}
