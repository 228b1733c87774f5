//! Erasing one household: who it is goes, what was paid stays, and belongs to nobody.

use crate::access::Actor;
use crate::audit::{self, Action, Who};
use crate::db::Conn;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::HouseholdId;
use crate::kit::time::Instant;
use crate::{allowance, enrolment, hold, household, voucher};

/// Erases a household of the caller's own structure: identity, fingerprints, pairs and reference. Enrolments, purchases
/// and the ledger stay as they are, nameless.
///
/// `still_enrolled` while it waits, is enrolled, or has money to spend. There is no way back.
pub fn erase(conn: &mut Conn, now: Instant, actor: &Actor, id: HouseholdId) -> Result<()> {
    household::own(conn, actor, id)?;
    erase_for(conn, now, actor.who(), id, None)
}

/// The same for whoever may. It takes the household before its purses: whoever enrols it waits, and then finds nobody.
pub(super) fn erase_for(conn: &mut Conn, now: Instant, who: Who, id: HouseholdId, why: Option<&str>) -> Result<()> {
    let taken = household::take(conn, id)?;
    let enrolments = enrolment::of_household(conn, id)?;
    for enrolment in &enrolments {
        allowance::lock(conn, enrolment.id)?;
        let held = allowance::purse(conn, now, enrolment.id)?.spendable();
        let set_aside = hold::standing(conn, enrolment.id)?.iter().any(|hold| hold.stands(now));
        if enrolment.is_running() || held.is_positive() || set_aside {
            return Err(Error::Refused(Code::StillEnrolled));
        }
    }
    for enrolment in &enrolments {
        voucher::withdraw(conn, enrolment.id)?;
    }
    household::erase(conn, now, &taken)?;
    audit::record(conn, now, who, Action::HouseholdErased, id, why.map(str::to_owned))
}
