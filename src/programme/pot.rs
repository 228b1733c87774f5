//! The common pot of a programme: money that households pay in, behind it like an agreement.

use super::{Agreement, AgreementKind, Programme, Rules, store};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger;

/// After every agreement, however many are still to be signed.
pub(super) const POSITION: i32 = 1_000_000;

/// The most there can be: no funder has set a pot's money an end, and a window may outlast its programme by a year.
const GRACE_DAYS: i32 = 366;

/// Opens the pot that rules ask for; nothing where there is one, or none is needed.
pub(super) fn open_if_needed(
    conn: &mut Conn,
    now: Instant,
    programme: &Programme,
    rules: &Rules,
) -> Result<Option<AgreementId>> {
    let agreements = store::agreements_of(conn, programme.id)?;
    if !rules.needs_pot() || agreements.iter().any(|agreement| agreement.kind == AgreementKind::Pot) {
        return Ok(None);
    }
    let is_free = |name: &String| agreements.iter().all(|agreement| &agreement.reference != name);
    let others = (2..).map(|number| format!("Caisse commune {number}"));
    let mut names = std::iter::once("Caisse commune".to_owned()).chain(others);
    let pot = Agreement {
        id: AgreementId::new(now),
        programme_id: programme.id,
        funder_id: programme.organisation_id,
        reference: names.find(is_free).unwrap_or_default(),
        position: POSITION,
        share_weight: 1,
        granted_cents: Cents::ZERO,
        starts_on: programme.starts_on,
        ends_on: programme.ends_on,
        grace_days: GRACE_DAYS,
        signed_at: now,
        kind: AgreementKind::Pot,
    };
    store::insert_agreement(conn, &pot)?;
    ledger::open_agreement(conn, now, pot.id)?;
    Ok(Some(pot.id))
}

/// The common pot behind a programme, if it has one.
pub fn pot(conn: &mut Conn, programme: ProgrammeId) -> Result<Option<Agreement>> {
    Ok(store::agreements_of(conn, programme)?.into_iter().find(|agreement| agreement.kind == AgreementKind::Pot))
}
