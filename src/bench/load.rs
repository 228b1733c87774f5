//! The load: closed, where each connection sends as soon as it is answered; or open, at a rate, where latency counts from
//! when a request was to be sent, so that nobody who waits is left out.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt;
use serde::Serialize;

use super::client::{Connection, Seen};
use super::orders::{Mix, Orders};

/// What a run of the load was like.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub seconds: f64,
    /// Answers by status, warming up left out; 0 for those that never came.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests of an open loop that were overdue at its end, and never sent.
    pub unsent: u64,
    /// When the last request was due.
    #[serde(skip)]
    pub end: Option<Instant>,
    pub replays: u64,
    /// Milliseconds, of what was decided: all but 503 and what never came. In an open loop from when it was due,
    pub decided: Latency,
    /// and from when it was sent.
    pub decided_once_sent: Latency,
    /// The same two of 503.
    pub turned_away: Latency,
    pub turned_away_once_sent: Latency,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

impl Latency {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |part: f64| {
            let place = ((micros.len() as f64 * part).ceil() as usize).clamp(1, micros.len().max(1)) - 1;
            micros.get(place).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        Latency { count: micros.len() as u64, p50: at(0.5), p99: at(0.99), most: at(1.0) }
    }
}

impl Outcome {
    /// Answers a second that decided something: purchases, repeats and refusals.
    pub fn rate(&self) -> f64 {
        self.decided.count as f64 / self.seconds
    }

    pub fn share(&self, status: u16) -> f64 {
        let all: u64 = self.statuses.values().sum();
        *self.statuses.get(&status).unwrap_or(&0) as f64 / all.max(1) as f64
    }
}

/// How hard.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Pressure {
    /// So many connections, each sending as soon as it is answered.
    Closed { connections: usize },
    /// So many requests a second over so many connections at most; what is overdue at the end is sent for so long after it.
    Open { rate: f64, connections: usize, overdue: Duration },
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    pub mix: Mix,
    pub pressure: Pressure,
    pub warm: Duration,
    pub lasting: Duration,
}

/// Requests that the load's clock says are due in one go, at the most.
const RINGS: usize = 4096;

struct Shared {
    orders: Orders,
    addresses: Vec<SocketAddr>,
    begun: Instant,
    plan: Plan,
    state: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    next: u64,
    statuses: BTreeMap<u16, u64>,
    unsent: u64,
    replays: u64,
    decided: [Vec<u32>; 2],
    turned_away: [Vec<u32>; 2],
    idle: Vec<Connection>,
    open: usize,
    waiting: VecDeque<u64>,
}

impl Shared {
    fn count(&self, due: Instant, sent: Instant, seen: Option<Seen>) {
        // what was due and overdue counts as well
        if sent < self.begun + self.plan.warm {
            return;
        }
        let micros = [due, sent].map(|from| u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX));
        let mut counts = self.state.borrow_mut();
        let status = seen.map_or(0, |seen| seen.status);
        *counts.statuses.entry(status).or_default() += 1;
        counts.replays += u64::from(seen.is_some_and(|seen| seen.replay));
        match status {
            0 => {}
            503 => counts.turned_away.iter_mut().zip(micros).for_each(|(all, one)| all.push(one)),
            _ => counts.decided.iter_mut().zip(micros).for_each(|(all, one)| all.push(one)),
        }
    }

    /// A new connection, to each server in turn.
    async fn connect(&self, place: usize) -> std::io::Result<Connection> {
        Connection::open(self.addresses[place % self.addresses.len()]).await
    }

    fn end(&self) -> Instant {
        self.begun + self.plan.warm + self.plan.lasting
    }
}

/// Puts a server under load, or several in equal parts.
pub fn press(addresses: Vec<SocketAddr>, orders: Orders, plan: Plan) -> Result<Outcome, String> {
    let begun = Instant::now();
    let shared = Rc::new(Shared { orders, addresses, begun, plan, state: RefCell::default() });
    let load = Rc::clone(&shared);
    rt::System::new().block_on(async move {
        match plan.pressure {
            Pressure::Closed { connections } => closed(&load, connections).await,
            Pressure::Open { rate, connections, overdue } => open(&load, rate, connections, overdue).await,
        }
    })?;
    // the last answers may come long after the last request was due
    let seconds = begun.elapsed().saturating_sub(plan.warm).as_secs_f64();
    let counts = shared.state.take();
    let [decided, decided_once_sent] = counts.decided.map(Latency::of);
    let [turned_away, turned_away_once_sent] = counts.turned_away.map(Latency::of);
    let Counts { statuses, unsent, replays, .. } = counts;
    let outcome = Outcome {
        seconds,
        statuses,
        unsent,
        end: Some(shared.end()),
        replays,
        decided,
        decided_once_sent,
        turned_away,
        turned_away_once_sent,
    };
    match outcome.statuses.keys().any(|status| *status != 0) {
        true => Ok(outcome),
        false => Err("the server gave no answer at all".to_owned()),
    }
}

async fn closed(shared: &Rc<Shared>, connections: usize) -> Result<(), String> {
    let workers: Vec<_> = (0..connections).map(|place| rt::spawn(work(Rc::clone(shared), place))).collect();
    for worker in workers {
        worker.await.map_err(|e| format!("the load failed: {e}"))?;
    }
    Ok(())
}

async fn work(shared: Rc<Shared>, place: usize) {
    let (mut body, mut request) = (Vec::with_capacity(512), Vec::with_capacity(2048));
    let mut connection = None;
    while Instant::now() < shared.end() {
        let mut link = match connection.take() {
            Some(link) => link,
            None => match shared.connect(place).await {
                Ok(link) => link,
                Err(_) => {
                    let now = Instant::now();
                    shared.count(now, now, None);
                    rt::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let nth = {
            let mut counts = shared.state.borrow_mut();
            counts.next += 1;
            counts.next
        };
        shared.orders.write(nth, &mut body, &mut request);
        let from = Instant::now();
        let seen = link.exchange(&request).await.ok();
        shared.count(from, from, seen);
        connection = seen.map(|_| link);
    }
}

/// A thread keeps the time, finer than the runtime's timers, and says by a byte each that a request is due.
async fn open(shared: &Rc<Shared>, rate: f64, most: usize, overdue: Duration) -> Result<(), String> {
    let told = |e: std::io::Error| format!("the load failed: {e}");
    let (mut bell, heard) = UnixStream::pair().map_err(told)?;
    heard.set_nonblocking(true).map_err(told)?;
    let (begun, end) = (shared.begun, shared.end());
    let due = move |nth: u64| begun + Duration::from_secs_f64(nth as f64 / rate);
    let ringer = std::thread::spawn(move || {
        let (mut nth, mut ready) = (0, Vec::with_capacity(RINGS));
        loop {
            // all that are due by now at once
            let now = Instant::now();
            while ready.len() < RINGS && due(nth) <= now && due(nth) < end {
                ready.push(0);
                nth += 1;
            }
            if ready.is_empty() && due(nth) >= end || bell.write_all(&ready).is_err() {
                break;
            }
            ready.clear();
            if let Some(early) = due(nth).min(end).checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
        }
    });
    let heard = rt::net::UnixStream::from_std(heard).map_err(told)?;
    let (mut rings, mut tasks) = (vec![0; RINGS], VecDeque::new());
    let (mut nth, last) = (0, end + overdue);
    loop {
        heard.readable().await.map_err(told)?;
        let count = match heard.try_read(&mut rings) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(told(e)),
        };
        for _ in 0..count {
            shared.state.borrow_mut().waiting.push_back(nth);
            nth += 1;
            let (link, place) = {
                let mut counts = shared.state.borrow_mut();
                let link = counts.idle.pop();
                if link.is_none() {
                    if counts.open >= most {
                        continue;
                    }
                    counts.open += 1;
                }
                (link, counts.open)
            };
            tasks.push_back(rt::spawn(serve(Rc::clone(shared), place, link, due, last)));
            while tasks.front().is_some_and(|task| task.is_finished()) {
                tasks.pop_front();
            }
        }
    }
    for task in tasks {
        task.await.map_err(|e| format!("the load failed: {e}"))?;
    }
    ringer.join().map_err(|_| "the load's clock failed".to_owned())
}

/// Sends what waits until nothing does, or until so late that nothing more is sent, and lays the connection back.
async fn serve(
    shared: Rc<Shared>,
    place: usize,
    link: Option<Connection>,
    due: impl Fn(u64) -> Instant,
    last: Instant,
) {
    let (mut body, mut request) = (Vec::with_capacity(512), Vec::with_capacity(2048));
    let mut link = match link {
        Some(link) => Some(link),
        None => shared.connect(place).await.ok(),
    };
    loop {
        let sent = Instant::now();
        let nth = {
            let mut counts = shared.state.borrow_mut();
            if sent >= last {
                counts.unsent += std::mem::take(&mut counts.waiting).len() as u64;
            }
            counts.waiting.pop_front()
        };
        let Some(nth) = nth else { break };
        shared.orders.write(nth, &mut body, &mut request);
        let seen = match &mut link {
            Some(link) => link.exchange(&request).await.ok(),
            None => None,
        };
        shared.count(due(nth), sent, seen);
        if seen.is_none() {
            link = shared.connect(place).await.ok();
        }
    }
    let mut counts = shared.state.borrow_mut();
    match link {
        Some(link) => counts.idle.push(link),
        None => counts.open -= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninety_nine_of_a_hundred_are_no_slower_than_the_p99() {
        let latency = Latency::of((1..=200).rev().map(|n| n * 1000).collect());
        assert_eq!(latency, Latency { count: 200, p50: 100.0, p99: 198.0, most: 200.0 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
