//! The lines of a month, in an order that tells no more than the day: sorted beyond what memory holds, and summed up on
//! the way.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::sync_channel;

use super::pseudonyms::{Name, Pseudonyms};
use super::store::{self, Entry, Purchase};
use super::{Control, ProducerRow};
use crate::db::Conn;
use crate::kit::crew;
use crate::kit::error::{Error, Result};
use crate::kit::id::{AgreementId, EnrolmentId, Id, OrganisationId, ProgrammeId};
use crate::kit::money::Cents;
use crate::kit::sort::{Record, Room, Sorted, Sorter};
use crate::kit::time::{Day, Instant, Zone};
use crate::ledger::{Totals, TransferCode};

/// Rows that are handed at a time from the one that reads them to the one that sorts them.
const BATCH: usize = 256;

/// One purchase or void: what it covered in all, and the part that the agreement bears. In the order of a report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub day: Day,
    pub line: Name,
    /// `redeem` or `void`.
    pub kind: TransferCode,
    /// More of the digest that `line` shows the beginning of: no two purchases share it all.
    apart: [u8; 8],
    pub household: Name,
    /// A place in [`Lines::sellers`].
    pub seller: u32,
    pub covered: Cents,
    pub part: Cents,
}

impl Record for Line {
    const LENGTH: usize = 4 + 12 + 1 + 8 + 12 + 4 + 8 + 8;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.day.since_2000().to_le_bytes());
        to.extend_from_slice(&self.line.0);
        to.push(u8::from(self.kind == TransferCode::Void));
        to.extend_from_slice(&self.apart);
        to.extend_from_slice(&self.household.0);
        to.extend_from_slice(&self.seller.to_le_bytes());
        to.extend_from_slice(&self.covered.0.to_le_bytes());
        to.extend_from_slice(&self.part.0.to_le_bytes());
    }

    fn get(mut from: &[u8]) -> Self {
        Line {
            day: Day::from_days_since_2000(i32::from_le_bytes(next(&mut from))),
            line: Name(next(&mut from)),
            kind: if next(&mut from) == [0] { TransferCode::Redeem } else { TransferCode::Void },
            apart: next(&mut from),
            household: Name(next(&mut from)),
            seller: u32::from_le_bytes(next(&mut from)),
            covered: Cents(i64::from_le_bytes(next(&mut from))),
            part: Cents(i64::from_le_bytes(next(&mut from))),
        }
    }

    /// Several allowances may each have paid a part of a purchase.
    fn absorb(&mut self, next: &Self) -> bool {
        let key = |line: &Self| (line.day, line.line, line.kind, line.apart);
        let same = key(self) == key(next);
        if same {
            self.part += next.part;
        }
        same
    }
}

/// What an enrolment has bought and undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    enrolment: EnrolmentId,
    redeemed: Cents,
    voided: Cents,
}

impl Record for Share {
    const LENGTH: usize = 16 + 8 + 8;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.enrolment.as_bytes());
        to.extend_from_slice(&self.redeemed.0.to_le_bytes());
        to.extend_from_slice(&self.voided.0.to_le_bytes());
    }

    fn get(mut from: &[u8]) -> Self {
        Share {
            enrolment: Id::from_bytes(next(&mut from)),
            redeemed: Cents(i64::from_le_bytes(next(&mut from))),
            voided: Cents(i64::from_le_bytes(next(&mut from))),
        }
    }

    fn absorb(&mut self, next: &Self) -> bool {
        let same = self.enrolment == next.enrolment;
        if same {
            self.redeemed += next.redeemed;
            self.voided += next.voided;
        }
        same
    }
}

/// The next bytes of a record.
fn next<const N: usize>(from: &mut &[u8]) -> [u8; N] {
    let (these, rest) = from.split_first_chunk().expect("a record is as long as it says");
    *from = rest;
    *these
}

/// The lines of a month, with what they sum up to.
pub struct Lines {
    pub sorted: Sorted<Line>,
    /// Producers under the SIRET that they had, without an order; a seller's name is its row's `producer`.
    pub sellers: Vec<ProducerRow>,
    pub by_commune: BTreeMap<String, (Cents, Cents)>,
    pub control: Control,
    /// Of all that moved, purchases or not.
    pub moved: Totals,
}

/// Whose lines, and of what time.
pub struct Span<'a> {
    pub agreement: AgreementId,
    pub programme: ProgrammeId,
    pub from: Instant,
    pub until: Instant,
    pub zone: &'a Zone,
}

/// Reads them once, row by row, while another thread names and sorts them.
pub fn gather(conn: &mut Conn, span: &Span, pseudonyms: Pseudonyms, room: &Room) -> Result<Lines> {
    let (give, take) = sync_channel::<Vec<Entry>>(2);
    let mut gathered = Gathered::new(room, span.zone.clone());
    let gathering = crew::begin(move || {
        take.into_iter().flatten().try_for_each(|entry| gathered.add(&pseudonyms, entry)).map(|()| gathered)
    });
    let gathering = gathering.map_err(Error::internal)?;
    let gone = |_| Error::internal("nobody takes the lines");
    let mut batch = Vec::with_capacity(BATCH);
    let read = store::entries(conn, span.agreement, span.from, span.until, |entry| {
        batch.push(entry);
        match batch.len() {
            BATCH => give.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).map_err(gone),
            _ => Ok(()),
        }
    });
    let read = read.and_then(|()| give.send(batch).map_err(gone));
    drop(give);
    let gathered = gathering.end().unwrap_or_else(|_| Err(Error::internal("the lines could not be gathered")));
    // why nobody took them is the better reason
    let Gathered { lines, shares, sellers, moved, .. } = gathered.and_then(|gathered| read.map(|()| gathered))?;

    let mut totals = vec![ProducerRow::default(); sellers.len()];
    let mut control = Control::default();
    let show = |line: &Line| {
        control.lines += 1;
        let row = &mut totals[line.seller as usize];
        if line.kind == TransferCode::Void {
            row.voids += 1;
            row.voided += line.part;
            control.voided += line.part;
        } else {
            row.redemptions += 1;
            row.redeemed += line.part;
            control.redeemed += line.part;
        }
    };
    let sorted = lines.finish(show).map_err(no_room)?;
    control.net = control.redeemed - control.voided;

    let names = store::producers(conn, &sellers.keys().map(|(producer, _)| *producer).collect())?;
    for ((producer, siret), place) in sellers {
        let row = &mut totals[place as usize];
        row.producer = names.get(&producer).cloned().unwrap_or_default();
        row.siret = siret;
        row.net = row.redeemed - row.voided;
    }
    let by_commune = by_commune(conn, span.programme, shares)?;
    Ok(Lines { sorted, sellers: totals, by_commune, control, moved })
}

/// Lays what each enrolment bought beside the enrolments of the programme, both in order of id.
fn by_commune(
    conn: &mut Conn,
    programme: ProgrammeId,
    shares: Sorter<Share>,
) -> Result<BTreeMap<String, (Cents, Cents)>> {
    let mut shares = shares.finish(|_| ()).map_err(no_room)?;
    let mut communes = BTreeMap::<String, (Cents, Cents)>::new();
    let mut share = shares.read().map_err(no_room)?;
    if share.is_none() {
        return Ok(communes);
    }
    store::communes(conn, programme, |enrolment, commune| {
        if let Some(found) = share.take_if(|share| share.enrolment == enrolment) {
            let sums = communes.entry(commune).or_default();
            sums.0 += found.redeemed;
            sums.1 += found.voided;
            share = shares.read().map_err(no_room)?;
        }
        Ok(())
    })?;
    match share {
        Some(share) => Err(Error::Internal(format!("{} bought in a programme that it is not in", share.enrolment))),
        None => Ok(communes),
    }
}

/// What passes once there is room again.
pub fn no_room(error: std::io::Error) -> Error {
    Error::Unavailable(format!("the lines of a report cannot be sorted: {error}"))
}

struct Gathered {
    lines: Sorter<Line>,
    shares: Sorter<Share>,
    sellers: HashMap<(OrganisationId, String), u32>,
    moved: Totals,
    zone: Zone,
    /// The day that was met last, from its first instant to the next day's.
    day: Option<(Instant, Day, Instant)>,
}

impl Gathered {
    fn new(room: &Room, zone: Zone) -> Self {
        let (lines, shares) = (Sorter::new(room), Sorter::new(room));
        Gathered { lines, shares, sellers: HashMap::new(), moved: Totals::default(), zone, day: None }
    }

    fn add(&mut self, pseudonyms: &Pseudonyms, entry: Entry) -> Result<()> {
        let Entry { reference, code, amount, occurred_at, purchase } = entry;
        if ![TransferCode::Redeem, TransferCode::Void].contains(&code) {
            self.moved.count(code, amount);
            return Ok(());
        }
        let Purchase { enrolment, producer, siret, covered } =
            purchase.ok_or_else(|| Error::internal("a transfer without its purchase"))?;
        if covered == Cents::ZERO {
            // nothing was paid: what was collected for the pot, and is given back
            self.moved.count_given_back(amount);
            return Ok(());
        }
        self.moved.count(code, amount);
        let (line, apart) = pseudonyms.line(reference.cast());
        let places = u32::try_from(self.sellers.len()).map_err(Error::internal)?;
        let line = Line {
            day: self.day_of(occurred_at),
            line,
            kind: code,
            apart,
            household: pseudonyms.household(enrolment),
            seller: *self.sellers.entry((producer, siret)).or_insert(places),
            covered,
            part: amount,
        };
        self.lines.push(line).map_err(no_room)?;
        let sums = if code == TransferCode::Void { (Cents::ZERO, amount) } else { (amount, Cents::ZERO) };
        self.shares.push(Share { enrolment, redeemed: sums.0, voided: sums.1 }).map_err(no_room)
    }

    /// The zone's answer, which is dear, once for all that follow each other on a day.
    fn day_of(&mut self, at: Instant) -> Day {
        match self.day {
            Some((start, day, end)) if start <= at && at < end => day,
            _ => {
                let day = self.zone.day_of(at);
                self.day = Some((self.zone.start_of(day), day, self.zone.end_of(day)));
                day
            }
        }
    }
}
