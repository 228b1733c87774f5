//! What happens by itself as time goes on: periods open, windows close, the waiting list moves up.

use crate::db::{Conn, Db, GIVEN_UP};
use crate::kit::error::{Error, Result};
use crate::kit::id::{Id, Kind};
use crate::kit::time::Instant;
use crate::{access, allowance, enrolment, hold, programme, surplus};

/// Rows handled in one transaction, one after the other: short enough that a till never waits long for it.
const FEW: usize = 50;

/// The same of what is done set by set: some tens of milliseconds.
const MANY: usize = 500;

/// Rows looked up at a time, for however many transactions: to look may be to read all that is due.
const LOOK: i64 = 65_536;

/// What one run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Allowances issued.
    pub issued: usize,
    /// Bonuses granted.
    pub granted: usize,
    /// Holds whose time was over.
    pub freed: usize,
    /// Parts of allowances whose rest went back to their agreements.
    pub closed: usize,
    /// Surpluses of purchases put into pots.
    pub pooled: usize,
    /// Households let in from waiting lists.
    pub moved_up: usize,
    /// Enrolments whose last window has closed.
    pub ended: usize,
}

impl Done {
    /// Each figure by its name.
    pub fn counts(&self) -> [(&'static str, usize); 7] {
        let Done { issued, granted, freed, closed, pooled, moved_up, ended } = *self;
        [
            ("issued", issued),
            ("granted", granted),
            ("freed", freed),
            ("closed", closed),
            ("pooled", pooled),
            ("moved_up", moved_up),
            ("ended", ended),
        ]
    }
}

/// Does all that is due. Any number may run at once and after any pause: what is done is not done again.
///
/// What fails for one enrolment or programme is logged and left for the next run; the others have theirs done.
pub fn run(db: &Db) -> Result<Done> {
    db.keep_time()?;
    let issued = each_batch(db, MANY, allowance::enrolments_due, allowance::issue)?;
    let granted = each_batch(db, FEW, allowance::bonus::enrolments_due, allowance::bonus::grant)?;
    let freed = each_batch(db, FEW, hold::enrolments_to_free, hold::free_expired)?;
    let closed = each_batch(db, FEW, allowance::enrolments_to_close, allowance::close)?;
    let pooled = each_batch(db, FEW, surplus::due, surplus::pool)?;
    let ended = each_batch(db, FEW, enrolment::finished, enrolment::end_finished)?;
    let mut done = Done { issued, granted, freed, closed, pooled, moved_up: 0, ended };
    for programme in db.read(programme::all)? {
        match enrolment::move_up(db, programme) {
            Ok(moved) => done.moved_up += moved,
            Err(error) => tracing::error!(%programme, %error, "a waiting list could not move up"),
        }
    }
    while db.write(access::clear_away)? > 0 {}
    Ok(done)
}

type Find<K> = fn(&mut Conn, Instant, Option<Id<K>>, i64) -> Result<Vec<Id<K>>>;
type Work<K> = fn(&mut Conn, Instant, &[Id<K>]) -> Result<usize>;

/// Finds rows in order of id and works on them, so many in one transaction.
fn each_batch<K: Kind>(db: &Db, size: usize, find: Find<K>, work: Work<K>) -> Result<usize> {
    let (mut done, mut last) = (0, None);
    loop {
        let found = db.read(|conn| find(conn, db.now(), last, LOOK))?;
        let Some(&end) = found.last() else { return Ok(done) };
        last = Some(end);
        for batch in found.chunks(size) {
            done += together(db, work, batch)?;
        }
    }
}

/// Works on some rows at once, and where that fails on each half of them, down to the one at fault.
fn together<K: Kind>(db: &Db, work: Work<K>, ids: &[Id<K>]) -> Result<usize> {
    match (write(db, |conn, now| work(conn, now, ids)), ids) {
        (Ok(count), _) => Ok(count),
        // what the database puts off again and again is the fault of some; anything else that of all
        (Err(Error::Unavailable(cause)), _) if !cause.starts_with(GIVEN_UP) => Err(Error::Unavailable(cause)),
        (Err(error), [id]) => {
            tracing::error!(%id, %error, "what is due could not be done");
            Ok(0)
        }
        (Err(_), _) => {
            let (former, latter) = ids.split_at(ids.len() / 2);
            Ok(together(db, work, former)? + together(db, work, latter)?)
        }
    }
}

/// On PostgreSQL on a connection that plans for many ids and by the indexes, whatever is known of the tables; on SQLite on
/// one whose commits fold the journal, as nobody else may be there who does.
fn write<T>(db: &Db, work: impl FnMut(&mut Conn, Instant) -> Result<T>) -> Result<T> {
    if db.has_one_writer() { db.write(work) } else { db.write_batch(work) }
}
