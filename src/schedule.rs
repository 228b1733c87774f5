//! What happens by itself as time goes on: periods open, windows close, the waiting list moves up.

use crate::db::Db;
use crate::kit::error::Result;
use crate::{allowance, enrolment, programme};

/// Enrolments handled in one transaction: short enough that a till never waits long for it.
const BATCH: i64 = 50;

/// What one run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Allowances issued.
    pub issued: usize,
    /// Parts of allowances whose rest went back to their agreements.
    pub closed: usize,
    /// Households let in from waiting lists.
    pub moved_up: usize,
    /// Enrolments whose last window has closed.
    pub ended: usize,
}

/// Does all that is due. Any number may run at once and after any pause: what is done is not done again.
pub fn run(db: &Db) -> Result<Done> {
    let mut done = Done::default();
    loop {
        let due = db.read(|conn| allowance::enrolments_due(conn, db.now(), BATCH))?;
        if due.is_empty() {
            break;
        }
        done.issued += db.write(|conn, now| allowance::issue(conn, now, &due))?;
    }
    loop {
        let over = db.read(|conn| allowance::enrolments_to_close(conn, db.now(), BATCH))?;
        if over.is_empty() {
            break;
        }
        done.closed += db.write(|conn, now| allowance::close(conn, now, &over))?;
    }
    done.ended = db.write(enrolment::end_finished)?;
    for programme in db.read(programme::all)? {
        done.moved_up += enrolment::move_up(db, programme)?;
    }
    Ok(done)
}
