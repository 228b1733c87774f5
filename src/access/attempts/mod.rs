//! Failures that slow the next try down: of passwords and of codes that could be guessed.
//!
//! What was tried is known by a keyed digest only, and counted whether it exists or not: waiting tells nothing. The
//! counts are in the database, for all servers together.

mod store;

use crate::db::Conn;
use crate::kit::error::{Error, Result};
use crate::kit::keys::Digest32;
use crate::kit::time::Instant;

/// Counts begin anew after so much time: without a failure, or since the first for those that count [`Pace::InAll`].
const FADES_MINUTES: i64 = 15;

crate::text_enum! {
    /// What failures are counted of; the subject is a digest of it.
    pub enum Kind {
        /// A login name at one address.
        AccountAddress = "account_address",
        /// A login name, from all the addresses where it never logged in.
        Account = "account",
        /// An address, over all login names that never logged in from there.
        Address = "address",
        /// A voucher's typed code, by one organisation at one address.
        VoucherCode = "voucher_code",
    }
}

/// From which failure on there is a wait of a second, doubled by each further one up to so many seconds.
struct Rule {
    failures: i32,
    longest_seconds: i64,
    pace: Pace,
}

#[derive(PartialEq)]
enum Pace {
    /// Failures add up as long as one follows the other.
    OneAfterAnother,
    /// So many are nothing unusual over a day: they add up within a quarter of an hour.
    InAll,
}

impl Kind {
    fn rule(self) -> Rule {
        match self {
            // somebody who has forgotten waits no longer than it takes to ask for a new invitation
            Kind::AccountAddress => Rule { failures: 5, longest_seconds: 300, pace: Pace::OneAfterAnother },
            // strangers can bring this about for anybody: it stays bearable
            Kind::Account => Rule { failures: 20, longest_seconds: 60, pace: Pace::OneAfterAnother },
            // a market or an office is one address: only newcomers there wait, and not for long
            Kind::Address => Rule { failures: 100, longest_seconds: 60, pace: Pace::InAll },
            // no stall has twenty cards whose code is well formed and unknown
            Kind::VoucherCode => Rule { failures: 20, longest_seconds: 900, pace: Pace::InAll },
        }
    }
}

/// Failures so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    failures: i32,
    began_at: Instant,
    last_at: Instant,
}

impl Count {
    /// What it still counts for.
    fn standing(self, now: Instant, rule: &Rule) -> Option<Self> {
        let since = if rule.pace == Pace::InAll { self.began_at } else { self.last_at };
        (now < since.plus_minutes(FADES_MINUTES)).then_some(self)
    }

    /// Whole seconds until the next try, if that is not now.
    fn wait(self, now: Instant, rule: &Rule) -> Option<i64> {
        let further = u32::try_from(self.failures - rule.failures).ok()?;
        let seconds = 1_i64.checked_shl(further.min(32)).unwrap_or(i64::MAX).min(rule.longest_seconds);
        // a clock that was set back makes nobody wait longer than the rule
        let left =
            (self.last_at.plus_seconds(seconds).as_microsecond() - now.as_microsecond()).min(seconds * 1_000_000);
        (left > 0).then_some((left + 999_999) / 1_000_000)
    }

    fn and_one(self, now: Instant) -> Self {
        let last_at = self.last_at.max(now);
        Count { failures: self.failures.saturating_add(1), last_at, ..self }
    }
}

/// A try that counts as a failure until it is taken back or all is forgotten.
pub struct Try {
    kind: Kind,
    subject: Digest32,
    /// What stood before it.
    before: Option<Count>,
    /// What stands with it, unless others have come since.
    counted: Count,
}

impl Try {
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// What [`attempt`] says.
pub enum Attempt {
    /// Seconds until the next try may be made.
    Wait(i64),
    Begun(Try),
}

/// Seconds until the next try may be made, if it must wait.
pub fn wait(conn: &mut Conn, now: Instant, kind: Kind, subject: &Digest32) -> Result<Option<i64>> {
    let rule = kind.rule();
    let count = store::read(conn, kind, subject)?.and_then(|count| count.standing(now, &rule));
    Ok(count.and_then(|count| count.wait(now, &rule)))
}

/// Counts a failure. It must be committed, although whoever failed is refused.
pub fn failed(conn: &mut Conn, now: Instant, kind: Kind, subject: &Digest32) -> Result<()> {
    begin(conn, now, kind, subject, |_, _| None).map(drop)
}

/// Begins a try, unless it must wait. It counts as a failure from now on, so that of many tries at once none is free,
/// until [`forget`] or [`take_back`] says that it was none.
pub fn attempt(conn: &mut Conn, now: Instant, kind: Kind, subject: &Digest32) -> Result<Attempt> {
    begin(conn, now, kind, subject, |count, rule| count.wait(now, rule))
}

fn begin(
    conn: &mut Conn,
    now: Instant,
    kind: Kind,
    subject: &Digest32,
    wait: impl FnOnce(Count, &Rule) -> Option<i64>,
) -> Result<Attempt> {
    let begun = |before, counted| Attempt::Begun(Try { kind, subject: *subject, before, counted });
    let first = Count { failures: 1, began_at: now, last_at: now };
    if store::insert(conn, kind, subject, &first)? {
        return Ok(begun(None, first));
    }
    let rule = kind.rule();
    let Some(count) = store::lock(conn, kind, subject)? else {
        return Err(Error::Retry("failures were forgotten while another was counted".to_owned()));
    };
    let standing = count.standing(now, &rule);
    if let Some(seconds) = standing.and_then(|count| wait(count, &rule)) {
        return Ok(Attempt::Wait(seconds));
    }
    let counted = standing.map_or(first, |count| count.and_one(now));
    store::set(conn, kind, subject, &counted)?;
    Ok(begun(standing, counted))
}

impl Count {
    /// What is left of it without a try.
    fn without(self, undone: &Try) -> Option<Self> {
        if self == undone.counted {
            // nobody came since: it leaves no trace, and a wait ends when it would have ended
            return undone.before;
        }
        (self.failures > 1).then(|| Count { failures: self.failures - 1, ..self })
    }
}

/// Ends all counting of what was tried: whoever tried has proved to be who they say.
pub fn forget(conn: &mut Conn, proved: &Try) -> Result<()> {
    store::delete(conn, proved.kind, &proved.subject)
}

/// Takes a try back that was no failure; those of others stay.
pub fn take_back(conn: &mut Conn, undone: &Try) -> Result<()> {
    let Try { kind, subject, .. } = undone;
    let Some(count) = store::lock(conn, *kind, subject)? else { return Ok(()) };
    match count.without(undone) {
        Some(left) => store::set(conn, *kind, subject, &left),
        None => store::delete(conn, *kind, subject),
    }
}

/// Deletes some counts that stand for nothing any more; returns how many.
pub fn clear_away(conn: &mut Conn, now: Instant, limit: i64) -> Result<usize> {
    store::delete_older(conn, now.plus_minutes(-2 * FADES_MINUTES), limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Instant {
        Instant::from_microsecond(1_782_900_000_000_000).plus_seconds(second)
    }

    fn waits(kind: Kind, failures: i32) -> i64 {
        let count = Count { failures, began_at: at(0), last_at: at(0) };
        count.wait(at(0), &kind.rule()).unwrap_or(0)
    }

    #[test]
    fn the_wait_doubles_from_a_second_and_has_an_end() {
        let of = |kind, failures: &[i32]| failures.iter().map(|n| waits(kind, *n)).collect::<Vec<_>>();
        assert_eq!(
            of(Kind::AccountAddress, &[0, 4, 5, 6, 7, 13, 14, 200, i32::MAX]),
            [0, 0, 1, 2, 4, 256, 300, 300, 300]
        );
        assert_eq!(of(Kind::Account, &[19, 20, 25, 26, 1000]), [0, 1, 32, 60, 60]);
        assert_eq!(of(Kind::Address, &[99, 100, 106]), [0, 1, 60]);
        assert_eq!(of(Kind::VoucherCode, &[19, 20, 29, 30]), [0, 1, 512, 900]);
    }

    #[test]
    fn a_wait_passes_in_whole_seconds_and_never_grows_with_a_clock_set_back() {
        let rule = Kind::AccountAddress.rule();
        let count = Count { failures: 9, began_at: at(0), last_at: at(0) };
        let wait = |now: Instant| count.wait(now, &rule);
        assert_eq!(wait(at(0)), Some(16));
        assert_eq!(wait(Instant::from_microsecond(at(0).as_microsecond() + 1)), Some(16));
        assert_eq!(wait(at(15)), Some(1));
        assert_eq!(wait(at(16)), None);
        assert_eq!(wait(at(-3600)), Some(16));
    }

    #[test]
    fn a_try_taken_back_leaves_no_trace_but_of_those_who_came_meanwhile() {
        let before = Count { failures: 105, began_at: at(0), last_at: at(60) };
        let counted = before.and_one(at(100));
        let of = |before| Try { kind: Kind::Address, subject: [7; 32], before, counted };
        assert_eq!(counted.without(&of(Some(before))), Some(before));
        assert_eq!(counted.without(&of(None)), None);
        let another = counted.and_one(at(110));
        let left = Count { failures: 106, began_at: at(0), last_at: at(110) };
        assert_eq!(another.without(&of(Some(before))), Some(left));
        let first = Count { failures: 1, began_at: at(2000), last_at: at(2000) };
        assert_eq!(first.without(&of(Some(before))), None);
    }

    #[test]
    fn failures_fade_after_quiet_or_with_their_quarter_of_an_hour() {
        let count = Count { failures: 9, began_at: at(0), last_at: at(600) };
        for (kind, until) in [(Kind::AccountAddress, 1500), (Kind::Account, 1500), (Kind::Address, 900)] {
            assert!(count.standing(at(until - 1), &kind.rule()).is_some(), "{kind}");
            assert_eq!(count.standing(at(until), &kind.rule()), None, "{kind}");
        }
    }
}
