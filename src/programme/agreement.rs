//! Funding agreements: what one funder grants one programme.

use super::pot::POSITION;
use super::{AgreementKind, Period, State, store};
use crate::access::{self, Actor, OrganisationKind};
use crate::audit::{self, Action};
use crate::db::{Conn, Page};
use crate::kit::complaint::Complaint;
use crate::kit::error::{Code, Error, Fields, Result};
use crate::kit::id::{AgreementId, OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::text::Line;
use crate::kit::time::{Day, Instant, Zone};
use crate::ledger::{self, Entry, Finding, TransferCode};

pub use super::store::Agreement;

#[derive(Clone, Debug)]
pub struct NewAgreement {
    pub funder: OrganisationId,
    pub reference: Line<100>,
    pub granted: Cents,
    pub starts_on: Day,
    pub ends_on: Day,
    pub grace_days: i32,
    pub share_weight: i32,
}

impl NewAgreement {
    fn check(&self) -> Result<()> {
        let mut fields = Fields::default();
        fields.must(self.granted.is_positive(), "granted", Complaint::NothingAtAll);
        let in_order = self.starts_on <= self.ends_on;
        fields.must(in_order, "ends_on", Complaint::Before { other: "starts_on".to_owned() });
        fields.between("grace_days", self.grace_days, 0..=366);
        fields.between("share_weight", self.share_weight, 1..=10_000);
        fields.settle()
    }
}

/// Signs an agreement behind a programme of the caller's: its money is there at once.
pub fn sign(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    programme: ProgrammeId,
    new: &NewAgreement,
) -> Result<Agreement> {
    new.check()?;
    let programme = super::locked(conn, actor, programme)?;
    if programme.state == State::Closed {
        return Err(Error::Refused(Code::ProgrammeClosed));
    }
    if access::organisation_of_kind(conn, new.funder, &[OrganisationKind::Funder])?.is_none() {
        return Err(Error::invalid("funder_id", Complaint::NotAFunder));
    }
    let others = agreements_of(conn, programme.id)?;
    if others.iter().any(|other| other.reference == new.reference.as_str()) {
        return Err(Error::Refused(Code::ReferenceTaken));
    }
    let agreement = Agreement {
        id: AgreementId::new(now),
        programme_id: programme.id,
        funder_id: new.funder,
        reference: new.reference.as_str().to_owned(),
        position: others.iter().map(|other| other.position).filter(|p| *p < POSITION).max().unwrap_or(0) + 1,
        share_weight: new.share_weight,
        granted_cents: new.granted,
        starts_on: new.starts_on,
        ends_on: new.ends_on,
        grace_days: new.grace_days,
        signed_at: now,
        kind: AgreementKind::Grant,
    };
    store::insert_agreement(conn, &agreement)?;
    let accounts = ledger::open_agreement(conn, now, agreement.id)?;
    let grant = Entry {
        debit: accounts.funder,
        credit: accounts.available,
        agreement: agreement.id,
        amount: agreement.granted_cents,
        code: TransferCode::Grant,
        reference: agreement.id.cast(),
        reverses: None,
        occurred_at: now,
    };
    ledger::post(conn, now, &[grant])?;
    let detail = Some(programme.id.to_string());
    audit::record(conn, now, actor.who(), Action::AgreementSigned, agreement.id, detail)?;
    Ok(agreement)
}

/// An agreement that the caller may see: of an own programme, or an own grant.
pub fn agreement(conn: &mut Conn, actor: &Actor, id: AgreementId) -> Result<Agreement> {
    let found = store::visible_agreements(conn, actor, Some(id), None, &Page { after: None, limit: 1 })?.pop();
    found.ok_or(Error::Refused(Code::NotFound))
}

pub fn agreements(
    conn: &mut Conn,
    actor: &Actor,
    programme: Option<ProgrammeId>,
    page: &Page<AgreementId>,
) -> Result<Vec<Agreement>> {
    store::visible_agreements(conn, actor, None, programme, page)
}

/// All agreements behind a programme, in their order.
pub fn agreements_of(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<Agreement>> {
    store::agreements_of(conn, programme)
}

impl Agreement {
    /// Whether this money may be promised for a period: the agreement's own days cover all of the period's.
    pub fn covers(&self, period: &Period) -> bool {
        self.starts_on <= period.starts_on && period.ends_on <= self.ends_on
    }

    /// The first instant at which no cent of it may be spent any more.
    pub fn spendable_until(&self, zone: &Zone) -> Instant {
        zone.end_of(self.ends_on.plus_days(self.grace_days))
    }
}

/// What an agreement grants is what the journal says it granted.
pub fn verify(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<usize> {
    let mut count = 0;
    for programme in super::all(conn)? {
        for agreement in agreements_of(conn, programme)? {
            count += 1;
            let granted = ledger::totals(conn, agreement.id, None, None)?.of(TransferCode::Grant);
            if granted != agreement.granted_cents {
                let what = format!("grants {} but the journal says {granted}", agreement.granted_cents);
                findings.push(Finding::new("agreements", agreement.id, what));
            }
        }
    }
    Ok(count)
}
