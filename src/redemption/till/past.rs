//! What households have bought so far, as far as their rules and a second tap ask for it: read for all of them at once.

use std::collections::BTreeMap;

use super::situation::{Asked, distinct};
use crate::db::{Ask, Conn, ask};
use crate::enrolment::Enrolment;
use crate::hold::{self, Waiting};
use crate::kit::error::Result;
use crate::kit::id::EnrolmentId;
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Zone};
use crate::programme::{self, Programme, Rules};
use crate::redemption::SECOND_TAP_SECONDS;
use crate::redemption::decide::History;
use crate::redemption::store::{self, Bought};

/// From which instants on a household's past matters; none where it does not. A plain cheque looks at a moment only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    today: Option<Instant>,
    this_period: Option<Instant>,
    /// Long enough for the days between two purchases.
    last: Option<Instant>,
    /// After which the same basket again would be a second tap.
    tap: Option<Instant>,
}

impl Since {
    pub fn of(
        now: Instant,
        zone: &Zone,
        rules: &Rules,
        enrolment: &Enrolment,
        programme: &Programme,
        is_purchase: bool,
    ) -> Self {
        let today = zone.day_of(now);
        let this_period = || {
            let periods = programme::periods(rules, zone, programme.starts_on, enrolment.starts_on);
            periods.iter().rev().find(|period| period.opens_at <= now).map(|period| period.opens_at)
        };
        let days = rules.days_between_purchases;
        Since {
            today: rules.coverage.per_day.map(|_| zone.start_of(today)),
            this_period: rules.coverage.per_period.and_then(|_| this_period()),
            last: (days > 0).then(|| zone.start_of(today.plus_days(-days))),
            tap: is_purchase.then(|| now.plus_seconds(-SECOND_TAP_SECONDS)),
        }
    }

    fn first(&self) -> Option<Instant> {
        [self.today, self.this_period, self.last, self.tap].into_iter().flatten().min()
    }
}

/// What some households have bought, and what waits for them to be fetched.
pub struct Past {
    bought: BTreeMap<EnrolmentId, Vec<Bought>>,
    waiting: BTreeMap<EnrolmentId, Vec<Waiting>>,
}

impl Past {
    /// Reads it, and asks something else on the way.
    pub fn read<A: Ask>(conn: &mut Conn, of: &[(EnrolmentId, Since)], also: A) -> Result<(Self, A::Answer)> {
        let mut past = Past { bought: BTreeMap::new(), waiting: BTreeMap::new() };
        let of: Vec<_> = of.iter().filter_map(|(id, since)| Some((*id, since.first()?))).collect();
        let Some(first) = of.iter().map(|(_, since)| *since).min() else {
            return Ok((past, ask(conn, of.len(), also)?));
        };
        let households = distinct(of.iter().map(|(id, _)| *id));
        let asked = (store::bought_since(&of), hold::ask_waiting(&households, first), also);
        let (bought, waiting, answer) = ask(conn, of.len(), asked)?;
        for bought in bought {
            past.bought.entry(bought.enrolment).or_default().push(bought);
        }
        for waiting in waiting {
            past.waiting.entry(waiting.enrolment).or_default().push(waiting);
        }
        Ok((past, answer))
    }

    /// All but the bonus. A basket that was set aside counts from then on, for ever if it is fetched.
    pub fn history(&self, now: Instant, zone: &Zone, enrolment: EnrolmentId, since: &Since) -> History {
        let mut counted: Vec<(Instant, Cents)> = Vec::new();
        let counts_from = |bought: &Bought| bought.set_aside_at.unwrap_or(bought.recorded_at);
        counted.extend(self.bought(enrolment).map(|bought| (counts_from(bought), bought.covered)));
        counted.extend(self.standing(now, enrolment).map(|waiting| (waiting.created_at, waiting.covered)));
        let sum = |since: Option<Instant>| {
            since.map_or(Cents::ZERO, |since| counted.iter().filter(|(at, _)| *at >= since).map(|(_, sum)| *sum).sum())
        };
        let last = since.last.and_then(|_| counted.iter().map(|(at, _)| *at).max());
        History {
            today: sum(since.today),
            this_period: sum(since.this_period),
            last_on: last.map(|at| zone.day_of(at)),
            bonus_left: Cents::ZERO,
        }
    }

    /// Whether the same basket went over the same counter by the same card a moment ago.
    pub fn has_seen(&self, now: Instant, asked: &Asked, since: &Since) -> bool {
        let (Some(basket), Some(tap)) = (asked.basket, since.tap) else { return false };
        let is = |same: (_, _, _, Instant)| {
            let (voucher, stall, amount, at) = same;
            (voucher, stall, amount) == (asked.voucher.id, asked.counter.stall.id, basket) && at > tap
        };
        let enrolment = asked.voucher.enrolment_id;
        self.bought(enrolment).any(|bought| is((bought.voucher, bought.stall, bought.basket, bought.recorded_at)))
            || self.standing(now, enrolment).any(|held| is((held.voucher, held.stall, held.basket, held.created_at)))
    }

    fn bought(&self, enrolment: EnrolmentId) -> impl Iterator<Item = &Bought> {
        self.bought.get(&enrolment).into_iter().flatten()
    }

    /// One whose time is over is free, whether or not that is written yet.
    fn standing(&self, now: Instant, enrolment: EnrolmentId) -> impl Iterator<Item = &Waiting> {
        let waiting = self.waiting.get(&enrolment).into_iter().flatten();
        waiting.filter(move |waiting| now < waiting.expires_at)
    }
}
