//! Purchases beside the load that know nothing of it: each on a connection of its own, twenty a second, whatever became of
//! those before.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client;
use super::machine;
use super::orders::{Mix, Orders};
use super::world::Cast;

const EVERY: Duration = Duration::from_millis(50);

/// For which one waits for its connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// One that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub begun: Instant,
    pub took: Duration,
    /// 0 where no answer came.
    pub status: u16,
}

impl Probe {
    pub fn millis(&self) -> f64 {
        self.took.as_secs_f64() * 1000.0
    }

    /// Whether it was decided as purchases are, and that within so many milliseconds.
    pub fn is_well(&self, millis: f64) -> bool {
        matches!(self.status, 201 | 409) && self.millis() < millis
    }

    fn end(&self) -> Instant {
        self.begun + self.took
    }
}

/// How long after a moment all of those that were begun from then on were well, in the order in which they were begun; none
/// where they never were.
pub fn recovery(probes: &[Probe], from: Instant, millis: f64) -> Option<Duration> {
    let since: Vec<&Probe> = probes.iter().filter(|probe| probe.begun >= from).collect();
    let well = since.iter().rposition(|probe| !probe.is_well(millis)).map_or(0, |last| last + 1);
    let unwell = since[..well].iter().map(|probe| probe.end()).max();
    let first = since.get(well)?.end();
    Some(unwell.map_or(first, |unwell| unwell.max(first)) - from)
}

/// Those that are sent until this is ended.
pub struct Probes {
    ended: Arc<Mutex<Vec<Probe>>>,
    memory: Arc<Mutex<Vec<(Instant, f64)>>>,
    stop: Arc<AtomicBool>,
    prober: JoinHandle<()>,
}

impl Probes {
    /// At a server, whose memory is looked at as often.
    pub fn begin(address: SocketAddr, pid: u32, cast: &Arc<Cast>, run: u64) -> Self {
        let (ended, memory, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let orders = Orders::new(cast, Mix::HAPPY, run);
        let prober = thread::spawn({
            let (ended, memory, stop) = (Arc::clone(&ended), Arc::clone(&memory), Arc::clone(&stop));
            move || probe(address, pid, &orders, &ended, &memory, &stop)
        });
        Probes { ended, memory, stop, prober }
    }

    /// Those that were begun from a moment on and have ended, in the order in which they were begun.
    pub fn since(&self, from: Instant) -> Vec<Probe> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut since: Vec<Probe> = ended.iter().filter(|probe| probe.begun >= from).copied().collect();
        since.sort_by_key(|probe| probe.begun);
        since
    }

    /// MiB of the server at the most between two moments.
    pub fn memory(&self, from: Instant, until: Instant) -> f64 {
        let seen = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, mib)| *mib).fold(0.0, f64::max)
    }

    /// Waits for those that are under way: all that there were, in the order in which they were begun.
    pub fn end(self, from: Instant) -> Vec<Probe> {
        self.stop.store(true, Ordering::SeqCst);
        while !self.prober.is_finished() {
            thread::sleep(EVERY);
        }
        self.since(from)
    }
}

fn probe(
    address: SocketAddr,
    pid: u32,
    orders: &Orders,
    ended: &Arc<Mutex<Vec<Probe>>>,
    memory: &Mutex<Vec<(Instant, f64)>>,
    stop: &AtomicBool,
) {
    let (mut under_way, mut body): (Vec<JoinHandle<()>>, _) = (Vec::new(), Vec::new());
    let mut due = Instant::now();
    for nth in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        memory.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), machine::memory(pid, "VmRSS")));
        let mut request = Vec::with_capacity(2048);
        orders.write(nth, &mut body, &mut request);
        let ended = Arc::clone(ended);
        under_way.push(thread::spawn(move || {
            let begun = Instant::now();
            let status = client::ask(address, &request, PATIENCE).map_or(0, |seen| seen.status);
            let probe = Probe { begun, took: begun.elapsed(), status };
            ended.lock().unwrap_or_else(PoisonError::into_inner).push(probe);
        }));
        under_way.retain(|probe| !probe.is_finished());
        due += EVERY;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    under_way.into_iter().for_each(|probe| drop(probe.join()));
}
