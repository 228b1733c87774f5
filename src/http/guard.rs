//! What a server takes from one session and from one address, and how long it waits for what is sent.
//!
//! Counted in the memory of each server: several of them let through so many times as much.

use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header;
use actix_web::{HttpRequest, web};
use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota};

use super::address::ClientAddress;
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::SessionId;

/// Bytes of a request's address and headers together. An access token is some 500.
const LONGEST_HEAD: usize = 8 * 1024;

/// After so many requests, the sessions and addresses that have rested are forgotten.
const FORGET_EVERY: u32 = 10_000;

/// How often: `burst` at once, and then one `every` so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub every: Duration,
    pub burst: u32,
}

impl Rate {
    /// None, for no limit, where either is 0.
    pub fn a_second(times: u32, burst: u32) -> Option<Self> {
        let every = Duration::from_secs(1).checked_div(times)?;
        (burst > 0).then_some(Rate { every, burst })
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one session, once it is known to be good.
    pub session: Option<Rate>,
    /// Of one client address, whoever they are: a whole market may share one.
    pub address: Option<Rate>,
    /// Of one client address, where nobody is signed in.
    pub stranger: Option<Rate>,
    /// In which the first head on a connection must have come.
    pub head: Duration,
    /// In which a body must have come.
    pub body: Duration,
    /// For which a connection waits for its next request.
    pub idle: Duration,
    /// Connections to each worker at a time; further ones wait.
    pub connections: usize,
    /// For which whoever asks whether the service is ready is told what was found last.
    pub ready: Duration,
}

/// Counts, for all workers of one server.
pub struct Guard {
    sessions: Option<Counter<SessionId>>,
    addresses: Option<Counter<ClientAddress>>,
    strangers: Option<Counter<ClientAddress>>,
    /// In which a body must have come.
    pub body: Duration,
}

impl Guard {
    pub fn new(limits: &Limits) -> Self {
        Guard {
            sessions: limits.session.and_then(Counter::new),
            addresses: limits.address.and_then(Counter::new),
            strangers: limits.stranger.and_then(Counter::new),
            body: limits.body,
        }
    }

    pub fn of(request: &HttpRequest) -> Option<web::Data<Self>> {
        request.app_data::<web::Data<Self>>().cloned()
    }

    /// Before anything of a request is read but its head.
    pub fn admit(&self, request: &ServiceRequest) -> Result<()> {
        let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let address = request.head().uri.path_and_query().map_or(0, |address| address.as_str().len());
        if address + headers > LONGEST_HEAD {
            return Err(Error::Refused(Code::HeadersTooLarge));
        }
        // who watches over the service must see it however busy it is, and it costs next to nothing
        if request.path().starts_with("/health/") {
            return Ok(());
        }
        let client = ClientAddress::of(request.request());
        check(&self.addresses, client)?;
        // signing in costs much, and a token in the header says nothing of who signs in
        // (no address of ours needs a percent sign, and one in it may hide which it is)
        let signs_in = request.path().starts_with("/api/v1/access/") || request.path().contains('%');
        let token = request.headers().contains_key(header::AUTHORIZATION);
        if signs_in || !token { check(&self.strangers, client) } else { Ok(()) }
    }

    /// A request whose token was good.
    pub fn admit_session(&self, session: SessionId) -> Result<()> {
        check(&self.sessions, session)
    }

    /// A request whose token was not.
    pub fn admit_stranger(&self, client: ClientAddress) -> Result<()> {
        check(&self.strangers, client)
    }
}

fn check<K: Hash + Eq + Clone>(counter: &Option<Counter<K>>, who: K) -> Result<()> {
    counter.as_ref().map_or(Ok(()), |counter| counter.check(who))
}

struct Counter<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Counter<K> {
    fn new(rate: Rate) -> Option<Self> {
        let quota = Quota::with_period(rate.every)?.allow_burst(rate.burst.try_into().ok()?);
        Some(Counter { limiter: DefaultKeyedRateLimiter::keyed(quota), checks: AtomicU32::new(0) })
    }

    fn check(&self, who: K) -> Result<()> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&who).map(drop).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            Error::Wait {
                code: Code::TooManyRequests,
                seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).saturating_add(1),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let hour = Duration::from_secs(3600);
        let counter = Counter::new(Rate { every: hour, burst: 3 }).unwrap();
        for _ in 0..3 {
            assert_eq!(counter.check(7), Ok(()));
        }
        let Err(Error::Wait { code, seconds }) = counter.check(7) else { panic!("a fourth passed") };
        assert_eq!(code, Code::TooManyRequests);
        assert!((3590..=3600).contains(&seconds), "{seconds}");
        assert_eq!(counter.check(8), Ok(()), "another has a count of its own");
        assert_eq!(Rate::a_second(0, 5), None);
        assert_eq!(Rate::a_second(5, 0), None);
        assert_eq!(Rate::a_second(20, 100), Some(Rate { every: Duration::from_millis(50), burst: 100 }));
    }

    #[test]
    fn whoever_has_rested_is_forgotten() {
        let counter = Counter::new(Rate { every: Duration::from_nanos(1), burst: 1 }).unwrap();
        for who in 0..3 * FORGET_EVERY {
            let _ = counter.check(who);
        }
        assert!(counter.limiter.len() <= 2 * FORGET_EVERY as usize, "{}", counter.limiter.len());
    }
}
