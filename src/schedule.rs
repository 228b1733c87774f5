//! What happens by itself as time goes on: periods open, windows close, the waiting list moves up.

use crate::db::{Conn, Db};
use crate::kit::error::{Error, Result};
use crate::kit::id::{Id, Kind};
use crate::kit::time::Instant;
use crate::{access, allowance, enrolment, hold, programme, surplus};

/// Rows handled in one transaction: short enough that a till never waits long for it.
const BATCH: i64 = 50;

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
    let issued = each_batch(db, allowance::enrolments_due, allowance::issue)?;
    let granted = each_batch(db, allowance::bonus::enrolments_due, allowance::bonus::grant)?;
    let freed = each_batch(db, hold::enrolments_to_free, hold::free_expired)?;
    let closed = each_batch(db, allowance::enrolments_to_close, allowance::close)?;
    let pooled = each_batch(db, surplus::due, surplus::pool)?;
    let ended = each_batch(db, enrolment::finished, enrolment::end_finished)?;
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

/// Finds rows in order of id and works on them, many in one transaction, or one by one where that fails.
fn each_batch<K: Kind>(db: &Db, find: Find<K>, work: Work<K>) -> Result<usize> {
    let (mut done, mut last) = (0, None);
    loop {
        let batch = db.read(|conn| find(conn, db.now(), last, BATCH))?;
        let Some(&end) = batch.last() else { return Ok(done) };
        last = Some(end);
        match db.write(|conn, now| work(conn, now, &batch)) {
            Ok(count) => done += count,
            Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
            Err(_) => done += batch.iter().map(|id| alone(db, work, *id)).sum::<usize>(),
        }
    }
}

fn alone<K: Kind>(db: &Db, work: Work<K>, id: Id<K>) -> usize {
    db.write(|conn, now| work(conn, now, &[id])).unwrap_or_else(|error| {
        tracing::error!(%id, %error, "what is due could not be done");
        0
    })
}
