//! A month of one agreement that adds up, for its funder: every cent, and no person.

pub mod api;
mod balances;
mod communes;
mod csv;
mod file;
mod lines;
mod pot;
mod pseudonyms;
mod store;
mod verify;

use serde::Serialize;

use crate::access::{self, Actor};
use crate::db::Conn;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, ProgrammeId};
use crate::kit::keys::Secret;
use crate::kit::money::Cents;
use crate::kit::sort::{Room, Sorted};
use crate::kit::time::{Instant, Month};
use crate::ledger::{self, Totals, TransferCode};
use crate::programme::{self, Agreement, AgreementKind};

use balances::Balances;
use lines::{Line, Lines, Span};
use pseudonyms::Pseudonyms;

pub use csv::Flavour;
pub use file::File;
pub use pot::Pot;
pub use verify::verify;

/// A month of one agreement. Every block holds: opening, what came in, what went out, closing.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub agreement: Heading,
    pub month: Month,
    pub time_zone: String,
    pub status: Status,
    pub as_of: Instant,
    pub available: Available,
    pub committed: Committed,
    pub outstanding: Outstanding,
    pub payable: Payable,
    /// Only a common pot has it.
    pub pot: Option<Pot>,
    pub by_producer: Vec<ProducerRow>,
    pub by_commune: Vec<CommuneRow>,
}

/// A report as it was drawn up: what stands before its lines, the lines, and what follows them.
pub struct Drawn {
    report: Report,
    lines: Sorted<Line>,
    /// Of the lines' sellers.
    names: Vec<String>,
    control: Control,
}

#[derive(Clone, Debug, Serialize)]
pub struct Heading {
    pub id: AgreementId,
    pub kind: AgreementKind,
    pub reference: String,
    pub programme_id: ProgrammeId,
    pub programme: String,
    pub funder: String,
}

crate::text_enum! {
    pub enum Status {
        /// The month is over: this never changes again.
        Final = "final",
        /// The month is not over, or the programme is still a draft: these are figures so far.
        Open = "open",
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Available {
    pub opening: Cents,
    pub granted: Cents,
    /// Paid in by households, where the agreement is a pot.
    pub contributed: Cents,
    /// Paid above the price, and no more to be undone.
    pub pooled: Cents,
    pub committed: Cents,
    pub released: Cents,
    pub returned: Cents,
    /// Paid back to households of what they had paid in for themselves.
    pub refunded: Cents,
    pub closing: Cents,
}

#[derive(Clone, Debug, Serialize)]
pub struct Committed {
    pub opening: Cents,
    pub committed: Cents,
    pub released: Cents,
    pub issued: Cents,
    pub closing: Cents,
}

/// What households hold.
#[derive(Clone, Debug, Serialize)]
pub struct Outstanding {
    pub opening: Cents,
    pub issued: Cents,
    pub redeemed: Cents,
    pub voided: Cents,
    pub returned: Cents,
    pub closing: Cents,
}

/// What producers are owed.
#[derive(Clone, Debug, Serialize)]
pub struct Payable {
    pub opening: Cents,
    pub redeemed: Cents,
    pub voided: Cents,
    pub closing: Cents,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ProducerRow {
    pub producer: String,
    pub siret: String,
    pub redemptions: usize,
    pub voids: usize,
    pub redeemed: Cents,
    pub voided: Cents,
    pub net: Cents,
}

#[derive(Clone, Debug, Serialize)]
pub struct CommuneRow {
    /// INSEE code; none for the communes that are too small to be named.
    pub commune: Option<String>,
    pub name: String,
    /// Households of that commune in the programme during the month.
    pub households: i64,
    pub redeemed: Cents,
    pub voided: Cents,
    pub net: Cents,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Control {
    pub lines: usize,
    pub redeemed: Cents,
    pub voided: Cents,
    pub net: Cents,
}

/// Draws up the report on a month, its lines sorted within so much room. Read it with [`crate::db::Db::read_settled`]: what was recorded in a past month is then all there.
pub fn report(
    conn: &mut Conn,
    now: Instant,
    secret: &Secret,
    actor: &Actor,
    agreement: AgreementId,
    month: Month,
    room: &Room,
) -> Result<Drawn> {
    let agreement = programme::agreement(conn, actor, agreement)?;
    let programme = programme::by_id(conn, agreement.programme_id)?;
    let zone = programme.zone()?;
    let (from, until) = (zone.start_of(month.first_day()), zone.start_of(month.next().first_day()));
    if from > now {
        return Err(Error::invalid("month", Complaint::InFuture));
    }
    if until <= agreement.signed_at {
        return Err(Error::invalid("month", Complaint::BeforeSignature));
    }
    let span = Span { agreement: agreement.id, programme: programme.id, from, until, zone: &zone };
    let pseudonyms = Pseudonyms::new(secret, agreement.id, month);
    let Lines { sorted: lines, sellers, by_commune, control, moved } = lines::gather(conn, &span, pseudonyms, room)?;
    // backwards from what the accounts hold, as what came before grows with the years
    let later = ledger::totals(conn, agreement.id, Some(until), None)?;
    let closing = Balances::held(conn, agreement.id)?.before(&later);
    let opening = closing.before(&moved);
    let households = store::households(conn, programme.id, from, until)?;
    let territory = programme::territory(conn, programme.id)?;
    let names = sellers.iter().map(|row| row.producer.clone()).collect();
    let mut by_producer = sellers;
    by_producer.sort_by(|a, b| (&a.producer, &a.siret).cmp(&(&b.producer, &b.siret)));

    // a draft may still change its name and its zone
    let over = until <= now && programme.state != programme::State::Draft;
    let status = if over { Status::Final } else { Status::Open };
    let pot = match agreement.kind {
        AgreementKind::Grant => None,
        AgreementKind::Pot => Some(Pot {
            surplus: pot::surplus(opening.surplus, &moved, closing.surplus),
            held: pot::held(opening.held, &moved, closing.held),
            by_holder: pot::by_holder(conn, agreement.id, from, until)?,
        }),
    };
    let report = Report {
        agreement: heading(conn, &agreement, programme.name)?,
        month,
        time_zone: programme.time_zone,
        status,
        as_of: now,
        available: available(opening.available, &moved, closing.available),
        committed: committed(opening.committed, &moved, closing.committed),
        outstanding: outstanding(opening.outstanding, &moved, closing.outstanding),
        payable: payable(opening.payable, &moved, closing.payable),
        pot,
        by_producer,
        by_commune: communes::rows(&households, &territory, &by_commune),
    };
    Ok(Drawn { report, lines, names, control })
}

fn heading(conn: &mut Conn, agreement: &Agreement, programme: String) -> Result<Heading> {
    Ok(Heading {
        id: agreement.id,
        kind: agreement.kind,
        reference: agreement.reference.clone(),
        programme_id: agreement.programme_id,
        programme,
        funder: access::organisation_name(conn, agreement.funder_id)?,
    })
}

fn available(opening: Cents, moved: &Totals, closing: Cents) -> Available {
    use TransferCode::*;
    Available {
        opening,
        granted: moved.of(Grant),
        contributed: moved.of(Contribute),
        pooled: moved.of(Pool),
        committed: moved.of(Commit),
        released: moved.of(Release),
        returned: moved.of(Return),
        refunded: moved.of(Refund),
        closing,
    }
}

fn committed(opening: Cents, moved: &Totals, closing: Cents) -> Committed {
    use TransferCode::*;
    Committed { opening, committed: moved.of(Commit), released: moved.of(Release), issued: moved.of(Issue), closing }
}

fn outstanding(opening: Cents, moved: &Totals, closing: Cents) -> Outstanding {
    use TransferCode::*;
    Outstanding {
        opening,
        issued: moved.of(Issue),
        redeemed: moved.of(Redeem),
        voided: moved.of(Void),
        returned: moved.of(Return),
        closing,
    }
}

fn payable(opening: Cents, moved: &Totals, closing: Cents) -> Payable {
    use TransferCode::*;
    Payable { opening, redeemed: moved.of(Redeem), voided: moved.of(Void), closing }
}
