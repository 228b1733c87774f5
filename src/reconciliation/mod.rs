//! A month of one agreement that adds up, for its funder: every cent, and no person.

pub mod api;
mod communes;
mod csv;
mod pot;
mod store;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE32_NOPAD;
use serde::Serialize;

use crate::access::{self, Actor};
use crate::db::Conn;
use crate::kit::complaint::Complaint;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, EnrolmentId, OrganisationId, ProgrammeId, RedemptionId};
use crate::kit::keys::Secret;
use crate::kit::money::Cents;
use crate::kit::time::{Day, Instant, Month};
use crate::ledger::{self, Totals, Transfer, TransferCode};
use crate::programme::{self, Agreement, AgreementKind};

pub use csv::Flavour;
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
    pub lines: Vec<Line>,
    pub control: Control,
    /// Of the plain CSV, up to and without its last line, which carries it.
    pub sha256: String,
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

/// One purchase or void: what it covered in all, and the part that this agreement bears.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The same for a purchase and its void, within the month.
    pub line: String,
    pub kind: TransferCode,
    pub day: Day,
    pub household: String,
    pub producer: String,
    pub covered: Cents,
    pub part: Cents,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Control {
    pub lines: usize,
    pub redeemed: Cents,
    pub voided: Cents,
    pub net: Cents,
}

/// Draws up the report on a month. Read it with [`crate::db::Db::read_settled`]: what was recorded in a past month is then all there.
pub fn report(
    conn: &mut Conn,
    now: Instant,
    secret: &Secret,
    actor: &Actor,
    agreement: AgreementId,
    month: Month,
) -> Result<Report> {
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
    let opening = ledger::totals(conn, agreement.id, None, Some(from))?;
    let moved = ledger::totals(conn, agreement.id, Some(from), Some(until))?;

    let codes = [TransferCode::Redeem, TransferCode::Void];
    let journal = ledger::journal(conn, agreement.id, &codes, from, until)?;
    let purchases = store::purchases(conn, &journal.iter().map(|t| t.reference.cast()).collect::<BTreeSet<_>>())?;
    let producers = store::producers(conn, &purchases.values().map(|p| p.producer).collect::<BTreeSet<_>>())?;
    let pseudonyms = Pseudonyms { secret, agreement: agreement.id, month };
    let mut lines = Vec::new();
    let mut by_producer = BTreeMap::<(OrganisationId, &str), ProducerRow>::new();
    let mut by_commune = BTreeMap::<String, (Cents, Cents)>::new();
    for (redemption, transfers) in by_purchase(journal) {
        let purchase = purchases.get(&redemption).ok_or_else(|| Error::internal("a transfer without its purchase"))?;
        if purchase.covered == Cents::ZERO {
            // nothing was paid: what was collected for the pot, and is given back
            continue;
        }
        let name = producers.get(&purchase.producer).cloned().unwrap_or_default();
        for (code, day, part) in transfers {
            let voided = code == TransferCode::Void;
            let row = by_producer.entry((purchase.producer, &purchase.siret)).or_default();
            (row.producer, row.siret) = (name.clone(), purchase.siret.clone());
            let commune = by_commune.entry(purchase.commune.clone()).or_default();
            if voided {
                row.voids += 1;
                row.voided += part;
                commune.1 += part;
            } else {
                row.redemptions += 1;
                row.redeemed += part;
                commune.0 += part;
            }
            row.net = row.redeemed - row.voided;
            lines.push(Line {
                line: pseudonyms.line(redemption),
                kind: code,
                day: zone.day_of(day),
                household: pseudonyms.household(purchase.enrolment),
                producer: name.clone(),
                covered: purchase.covered,
                part,
            });
        }
    }
    let households = store::households(conn, programme.id, from, until)?;
    let territory = programme::territory(conn, programme.id)?;
    let mut by_producer: Vec<ProducerRow> = by_producer.into_values().collect();
    by_producer.sort_by(|a, b| (&a.producer, &a.siret).cmp(&(&b.producer, &b.siret)));
    // by day, then by pseudonym: the order of the journal would tell more than the day
    lines.sort_by(|a, b| (a.day, &a.line, a.kind).cmp(&(b.day, &b.line, b.kind)));

    // a draft may still change its name and its zone
    let over = until <= now && programme.state != programme::State::Draft;
    let status = if over { Status::Final } else { Status::Open };
    let pot = match agreement.kind {
        AgreementKind::Grant => None,
        AgreementKind::Pot => Some(Pot {
            surplus: pot::surplus(&opening, &moved),
            held: pot::held(&opening, &moved),
            by_holder: pot::by_holder(conn, agreement.id, from, until)?,
        }),
    };
    let mut report = Report {
        agreement: heading(conn, &agreement, programme.name)?,
        month,
        time_zone: programme.time_zone,
        status,
        as_of: now,
        available: available(&opening, &moved),
        committed: committed(&opening, &moved),
        outstanding: outstanding(&opening, &moved),
        payable: payable(&opening, &moved),
        pot,
        by_producer,
        by_commune: communes::rows(&households, &territory, &by_commune),
        control: control(&lines),
        lines,
        sha256: String::new(),
    };
    report.sha256 = csv::digest(&report);
    Ok(report)
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

/// The transfers of each purchase: its parts of this agreement in one sum, its void in another.
fn by_purchase(journal: Vec<Transfer>) -> BTreeMap<RedemptionId, Vec<(TransferCode, Instant, Cents)>> {
    let mut purchases = BTreeMap::<RedemptionId, Vec<(TransferCode, Instant, Cents)>>::new();
    for transfer in journal {
        let sums = purchases.entry(transfer.reference.cast()).or_default();
        match sums.iter_mut().find(|(code, ..)| *code == transfer.code) {
            Some((.., sum)) => *sum += transfer.amount_cents,
            None => sums.push((transfer.code, transfer.occurred_at, transfer.amount_cents)),
        }
    }
    purchases
}

/// Names that last one month and one agreement: two months cannot be laid side by side, nor two funders' lists.
struct Pseudonyms<'a> {
    secret: &'a Secret,
    agreement: AgreementId,
    month: Month,
}

impl Pseudonyms<'_> {
    fn name(&self, purpose: &str, prefix: &str, id: &[u8; 16]) -> String {
        let message = [&self.agreement.as_bytes()[..], self.month.to_string().as_bytes(), id].concat();
        let digest = self.secret.digest(purpose, &message);
        format!("{prefix}-{}", &BASE32_NOPAD.encode(&digest)[..12])
    }

    fn household(&self, enrolment: EnrolmentId) -> String {
        self.name("household of a month", "M", enrolment.as_bytes())
    }

    fn line(&self, redemption: RedemptionId) -> String {
        self.name("line of a month", "L", redemption.as_bytes())
    }
}

fn available(opening: &Totals, moved: &Totals) -> Available {
    use TransferCode::*;
    let paid_in = |t: &Totals| t.of(Grant) + t.of(Contribute) + t.of(Pool) - t.of(Refund);
    let held = |t: &Totals| paid_in(t) - t.of(Commit) + t.of(Release) + t.of(Return);
    Available {
        opening: held(opening),
        granted: moved.of(Grant),
        contributed: moved.of(Contribute),
        pooled: moved.of(Pool),
        committed: moved.of(Commit),
        released: moved.of(Release),
        returned: moved.of(Return),
        refunded: moved.of(Refund),
        closing: held(opening) + held(moved),
    }
}

fn committed(opening: &Totals, moved: &Totals) -> Committed {
    use TransferCode::*;
    let held = |t: &Totals| t.of(Commit) - t.of(Release) - t.of(Issue);
    Committed {
        opening: held(opening),
        committed: moved.of(Commit),
        released: moved.of(Release),
        issued: moved.of(Issue),
        closing: held(opening) + held(moved),
    }
}

fn outstanding(opening: &Totals, moved: &Totals) -> Outstanding {
    use TransferCode::*;
    let held = |t: &Totals| t.of(Issue) - t.of(Redeem) + t.of(Void) - t.of(Return);
    Outstanding {
        opening: held(opening),
        issued: moved.of(Issue),
        redeemed: moved.of(Redeem),
        voided: moved.of(Void),
        returned: moved.of(Return),
        closing: held(opening) + held(moved),
    }
}

fn payable(opening: &Totals, moved: &Totals) -> Payable {
    use TransferCode::*;
    let held = |t: &Totals| t.of(Redeem) - t.of(Void);
    Payable {
        opening: held(opening),
        redeemed: moved.of(Redeem),
        voided: moved.of(Void),
        closing: held(opening) + held(moved),
    }
}

fn control(lines: &[Line]) -> Control {
    let sum = |kind| lines.iter().filter(|line| line.kind == kind).map(|line| line.part).sum::<Cents>();
    let (redeemed, voided) = (sum(TransferCode::Redeem), sum(TransferCode::Void));
    Control { lines: lines.len(), redeemed, voided, net: redeemed - voided }
}
