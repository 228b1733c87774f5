//! Group commit: many wait in a bounded queue, and one transaction writes for all that are there.
//!
//! Nobody waits for company: a writer that is free takes what has come, be it one. While it commits the next ones gather.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// What a group does.
pub trait Work: Send + Sync + 'static {
    type Item: Send + 'static;
    type Outcome: Send + 'static;

    /// Names of what no two items may work on at the same time, as numbers: the later one waits for the earlier. Two things
    /// that share a number by chance only wait.
    fn keys(&self, item: &Self::Item) -> [u64; 2];

    /// Whether an item is done in a transaction of its own.
    fn is_alone(&self, item: &Self::Item) -> bool;

    /// Does all items, in their order, and tells what became of each once that is durable. At least one of several must be
    /// done or held up. One alone may wait for what others hold; several must not.
    fn run(&self, items: &[Self::Item], may_wait: bool) -> Vec<Fate<Self::Outcome>>;
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<O> {
    Done(O),
    /// It could not be done beside the others, and comes again in a later batch.
    Later,
    /// Somebody else holds what it needs: it waits for that aside, so that nobody waits for it.
    HeldUp,
}

/// Threads on which the held up wait, each for one at a time.
const ASIDE: usize = 4;

/// How a group waits and works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Items that may wait.
    pub places: usize,
    /// Threads that write.
    pub writers: usize,
    /// Items in one transaction at most.
    pub batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { places: 1024, writers: 2, batch: 128 }
    }
}

/// A queue with its writers, which end when it is dropped, after all that waits is done.
pub struct Group<W: Work> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: Work> {
    work: W,
    settings: Settings,
    queue: Mutex<Queue<W>>,
    news: Condvar,
    /// For those who work aside.
    aside: Condvar,
}

struct Queue<W: Work> {
    waiting: VecDeque<Waiting<W>>,
    held_up: VecDeque<Waiting<W>>,
    /// The keys of what the writers have in hand, and of what is held up.
    in_hand: HashSet<u64>,
    closed: bool,
}

struct Waiting<W: Work> {
    item: W::Item,
    keys: [u64; 2],
    answer: oneshot::Sender<W::Outcome>,
}

impl<W: Work> Group<W> {
    pub fn start(work: W, settings: Settings) -> std::io::Result<Self> {
        let queue = Mutex::new(Queue {
            waiting: VecDeque::new(),
            held_up: VecDeque::new(),
            in_hand: HashSet::new(),
            closed: false,
        });
        let group =
            Group { shared: Arc::new(Shared { work, settings, queue, news: Condvar::new(), aside: Condvar::new() }) };
        for number in 1..=settings.writers {
            let shared = group.shared.clone();
            thread::Builder::new().name(format!("writer-{number}")).spawn(move || shared.write(false))?;
        }
        for number in 1..=ASIDE {
            let shared = group.shared.clone();
            thread::Builder::new().name(format!("aside-{number}")).spawn(move || shared.write(true))?;
        }
        Ok(group)
    }

    /// Puts an item into the queue; none where it is full, or half full of items that share a key with it. The answer is an error only where the work has panicked. An item
    /// is done whether or not somebody still waits for its answer.
    pub fn submit(&self, item: W::Item) -> Option<oneshot::Receiver<W::Outcome>> {
        let keys = self.shared.work.keys(&item);
        let mut queue = self.shared.queue();
        let places = self.shared.settings.places;
        if queue.len() >= places || queue.len() > places / 2 && queue.sharing(&keys) > places / 2 {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        queue.waiting.push_back(Waiting { item, keys, answer });
        drop(queue);
        self.shared.news.notify_one();
        Some(receiver)
    }

    /// Whether one more would find no place.
    pub fn is_full(&self) -> bool {
        self.shared.queue().len() >= self.shared.settings.places
    }
}

impl<W: Work> Drop for Group<W> {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.news.notify_all();
        self.shared.aside.notify_all();
    }
}

impl<W: Work> Shared<W> {
    /// A panic of the work is kept from the queue, which is whole whenever its lock is free.
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of one writer, or of one that works aside.
    fn write(&self, aside: bool) {
        while let Some(batch) = self.take(aside) {
            let mut keys = HashSet::with_capacity(2 * batch.len());
            let (mut items, mut answers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for Waiting { item, keys: of_item, answer } in batch {
                items.push(item);
                answers.push((of_item, answer));
                keys.extend(of_item);
            }
            // whoever waits for the answer of a panic is told so by its sender's end
            let outcomes = catch_unwind(AssertUnwindSafe(|| self.work.run(&items, aside))).unwrap_or_default();
            let mut queue = self.queue();
            let (mut later, mut held_up) = (Vec::new(), Vec::new());
            let mut done = Vec::with_capacity(outcomes.len());
            for ((item, (keys, answer)), outcome) in items.into_iter().zip(answers).zip(outcomes) {
                match outcome {
                    Fate::Done(outcome) => done.push((answer, outcome)),
                    Fate::Later => later.push(Waiting { item, keys, answer }),
                    Fate::HeldUp => held_up.push(Waiting { item, keys, answer }),
                }
            }
            let kept: HashSet<u64> = held_up.iter().flat_map(|waiting| waiting.keys).collect();
            queue.in_hand.retain(|key| !keys.contains(key) || kept.contains(key));
            queue.held_up.extend(held_up);
            for waiting in later.into_iter().rev() {
                queue.waiting.push_front(waiting);
            }
            // what waited for these keys may be for a writer that sleeps, and the end is for all
            let (more, aside) = (!queue.waiting.is_empty() || queue.closed, !queue.held_up.is_empty() || queue.closed);
            drop(queue);
            if more {
                self.news.notify_all();
            }
            if aside {
                self.aside.notify_all();
            }
            for (answer, outcome) in done {
                // who has gone away finds the answer under its key
                drop(answer.send(outcome));
            }
        }
    }

    /// Waits for something to do, and takes it: what came first, up to a batch, and nothing that shares a key with what is
    /// in hand. None at the end.
    fn take(&self, aside: bool) -> Option<Vec<Waiting<W>>> {
        let mut queue = self.queue();
        loop {
            let batch = match aside {
                true => queue.held_up.pop_front().into_iter().collect(),
                false => queue.draw(self.settings.batch, |item| self.work.is_alone(item)),
            };
            if !batch.is_empty() {
                return Some(batch);
            }
            // what is in hand may still be held up
            if queue.closed && queue.len() == 0 && queue.in_hand.is_empty() {
                return None;
            }
            let news = if aside { &self.aside } else { &self.news };
            queue = news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<W: Work> Queue<W> {
    fn len(&self) -> usize {
        self.waiting.len() + self.held_up.len()
    }

    /// How many wait that share a key with these.
    fn sharing(&self, keys: &[u64]) -> usize {
        let shares = |waiting: &&Waiting<W>| waiting.keys.iter().any(|key| keys.contains(key));
        self.waiting.iter().chain(&self.held_up).filter(shares).count()
    }

    fn draw(&mut self, most: usize, is_alone: impl Fn(&W::Item) -> bool) -> Vec<Waiting<W>> {
        let mut batch = Vec::new();
        let mut passed = VecDeque::new();
        // a later item of a key must not overtake an earlier one that had to wait for another key
        let mut blocked = HashSet::new();
        while batch.len() < most
            && let Some(waiting) = self.waiting.pop_front()
        {
            if waiting.keys.iter().any(|key| self.in_hand.contains(key) || blocked.contains(key)) {
                blocked.extend(waiting.keys);
                passed.push_back(waiting);
                continue;
            }
            let alone = is_alone(&waiting.item);
            if alone && !batch.is_empty() {
                passed.push_back(waiting);
                break;
            }
            self.in_hand.extend(waiting.keys);
            batch.push(waiting);
            if alone {
                break;
            }
        }
        while let Some(waiting) = passed.pop_back() {
            self.waiting.push_front(waiting);
        }
        batch
    }
}

#[cfg(test)]
mod tests;
