//! `primeur verify`: every balance and every invariant, recomputed from the journal.

use crate::db::{Conn, Db};
use crate::kit::error::Result;
use crate::kit::keys::Keys;
use crate::ledger::Finding;
use crate::{
    allowance, audit, contribution, enrolment, hold, household, ledger, programme, reconciliation, redemption, surplus,
};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How many rows of each kind were checked.
    pub checked: Vec<(&'static str, usize)>,
    pub findings: Vec<Finding>,
}

type Check = fn(&mut Conn, &mut Vec<Finding>) -> Result<usize>;

/// Checks one single moment of the database.
pub fn run(db: &Db) -> Result<Verdict> {
    const CHECKS: [(&str, Check); 11] = [
        ("transfers", ledger::verify),
        ("agreements", programme::verify),
        ("allowances", allowance::verify),
        ("bonuses", allowance::bonus::verify),
        ("holds", hold::verify),
        ("enrolments", enrolment::verify),
        ("contributions", contribution::verify),
        ("redemptions", redemption::verify),
        ("surpluses", surplus::verify),
        ("reports", reconciliation::verify),
        ("audit entries", audit::verify),
    ];
    db.read_at_leisure(|conn| {
        let mut findings = Vec::new();
        let check = |(name, check): (&'static str, Check)| Ok((name, check(conn, &mut findings)?));
        let checked: Result<Vec<_>> = CHECKS.into_iter().map(check).collect();
        Ok(Verdict { checked: checked?, findings })
    })
}

/// Checks also what only the deployment's keys can open.
pub fn run_with_keys(db: &Db, keys: &Keys) -> Result<Verdict> {
    let mut verdict = run(db)?;
    let identities = db.read(|conn| household::verify(conn, keys, &mut verdict.findings))?;
    verdict.checked.push(("identities", identities));
    Ok(verdict)
}
