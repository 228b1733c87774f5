//! The versions of a programme's rules: a new one is for those who are enrolled from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{FIRST, Programme, Rules, State, store};
use crate::access::Actor;
use crate::audit::{self, Action};
use crate::db::{Ask, Conn};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{EnrolmentId, ProgrammeId};
use crate::kit::time::Instant;

/// One version, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub version: i32,
    pub rules: Rules,
    pub created_at: Instant,
}

impl Version {
    fn read(row: store::RuleVersion) -> Result<Self> {
        Ok(Version { version: row.version, rules: Rules::from_json(&row.rules)?, created_at: row.created_at })
    }
}

pub(super) fn first(now: Instant, actor: &Actor, programme: ProgrammeId, rules: &Rules) -> store::RuleVersion {
    written(now, actor, programme, FIRST, rules)
}

fn written(now: Instant, actor: &Actor, programme: ProgrammeId, version: i32, rules: &Rules) -> store::RuleVersion {
    let rules = rules.to_json();
    store::RuleVersion { programme_id: programme, version, rules, created_at: now, created_by: Some(actor.person) }
}

/// The rules for whoever is enrolled now.
pub fn rules(conn: &mut Conn, programme: ProgrammeId) -> Result<Version> {
    let latest = store::latest_version(conn, programme)?;
    Version::read(latest.ok_or_else(|| Error::internal("a programme has no rules"))?)
}

/// The rules that an enrolment is frozen to.
pub fn rules_of(conn: &mut Conn, programme: ProgrammeId, version: i32) -> Result<Rules> {
    let found = store::version(conn, programme, version)?;
    Ok(Version::read(found.ok_or_else(|| Error::internal("rules are missing that somebody was enrolled by"))?)?.rules)
}

/// Programmes with the rules that enrolments are frozen to, by programme and version.
pub type Deals = BTreeMap<(ProgrammeId, i32), (Programme, Rc<Rules>)>;

/// Programmes, and versions of rules.
pub type FoundDeals = (Vec<Programme>, Vec<store::RuleVersion>);

/// The same for many enrolments at once.
pub fn ask_deals(of: &[EnrolmentId]) -> impl Ask<Answer = FoundDeals> {
    store::deals(of)
}

/// Those that were asked for, of what was answered.
pub fn deals(of: &BTreeSet<(ProgrammeId, i32)>, (programmes, versions): FoundDeals) -> Result<Deals> {
    let mut found = Deals::new();
    for version in versions {
        let name = (version.programme_id, version.version);
        let programme = programmes.iter().find(|programme| programme.id == version.programme_id);
        if let Some(programme) = programme.filter(|_| of.contains(&name)) {
            found.insert(name, (programme.clone(), Rc::new(Version::read(version)?.rules)));
        }
    }
    Ok(found)
}

/// All versions, oldest first, for whoever may read the programme.
pub fn versions(conn: &mut Conn, actor: &Actor, programme: ProgrammeId) -> Result<Vec<Version>> {
    super::readable(conn, actor, programme)?;
    all_versions(conn, programme)
}

/// For parts of the house that have found the programme through something of the caller's.
pub fn all_versions(conn: &mut Conn, programme: ProgrammeId) -> Result<Vec<Version>> {
    store::versions(conn, programme)?.into_iter().map(Version::read).collect()
}

/// Puts new rules in force for those who are enrolled from now on; the same rules again change nothing.
pub fn change_rules(conn: &mut Conn, now: Instant, actor: &Actor, id: ProgrammeId, rules: &Rules) -> Result<Version> {
    let programme = super::locked(conn, actor, id)?;
    if programme.state != State::Open {
        return Err(Error::Refused(Code::ProgrammeNotOpen));
    }
    super::fits(conn, now, &programme, rules)?;
    let standing = self::rules(conn, id)?;
    if &standing.rules == rules {
        return Ok(standing);
    }
    let row = written(now, actor, id, standing.version + 1, rules);
    store::insert_version(conn, &row)?;
    if let Some(pot) = super::pot::open_if_needed(conn, now, &programme, rules)? {
        audit::record(conn, now, actor.who(), Action::PotOpened, pot, Some(id.to_string()))?;
    }
    audit::record(conn, now, actor.who(), Action::RulesChanged, id, Some(row.version.to_string()))?;
    Version::read(row)
}
