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

    /// Does all items, in their order, and tells what became of each once that is durable; none for an item that could not
    /// be done beside the others and comes again in a later batch. At least one must be done.
    fn run(&self, items: &[Self::Item]) -> Vec<Option<Self::Outcome>>;
}

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
}

struct Queue<W: Work> {
    waiting: VecDeque<Waiting<W>>,
    /// The keys of what the writers have in hand.
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
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), in_hand: HashSet::new(), closed: false });
        let group = Group { shared: Arc::new(Shared { work, settings, queue, news: Condvar::new() }) };
        for number in 1..=settings.writers {
            let shared = group.shared.clone();
            thread::Builder::new().name(format!("writer-{number}")).spawn(move || shared.write())?;
        }
        Ok(group)
    }

    /// Puts an item into the queue; none where it is full. The answer is an error only where the work has panicked. An item
    /// is done whether or not somebody still waits for its answer.
    pub fn submit(&self, item: W::Item) -> Option<oneshot::Receiver<W::Outcome>> {
        let keys = self.shared.work.keys(&item);
        let mut queue = self.shared.queue();
        if queue.waiting.len() >= self.shared.settings.places {
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
        self.shared.queue().waiting.len() >= self.shared.settings.places
    }

    /// How many wait at this moment.
    pub fn waiting(&self) -> usize {
        self.shared.queue().waiting.len()
    }
}

impl<W: Work> Drop for Group<W> {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.news.notify_all();
    }
}

impl<W: Work> Shared<W> {
    /// A panic of the work is kept from the queue, which is whole whenever its lock is free.
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of one writer.
    fn write(&self) {
        while let Some(batch) = self.take() {
            let mut keys = HashSet::with_capacity(2 * batch.len());
            let (mut items, mut answers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for Waiting { item, keys: of_item, answer } in batch {
                items.push(item);
                answers.push((of_item, answer));
                keys.extend(of_item);
            }
            // whoever waits for the answer of a panic is told so by its sender's end
            let outcomes = catch_unwind(AssertUnwindSafe(|| self.work.run(&items))).unwrap_or_default();
            let mut queue = self.queue();
            queue.in_hand.retain(|key| !keys.contains(key));
            let mut later = Vec::new();
            let mut done = Vec::with_capacity(outcomes.len());
            for ((item, (keys, answer)), outcome) in items.into_iter().zip(answers).zip(outcomes) {
                match outcome {
                    Some(outcome) => done.push((answer, outcome)),
                    None => later.push(Waiting { item, keys, answer }),
                }
            }
            for waiting in later.into_iter().rev() {
                queue.waiting.push_front(waiting);
            }
            // what waited for these keys may be for a writer that sleeps, and the end is for all
            let more = !queue.waiting.is_empty() || queue.closed;
            drop(queue);
            if more {
                self.news.notify_all();
            }
            for (answer, outcome) in done {
                // who has gone away finds the answer under its key
                drop(answer.send(outcome));
            }
        }
    }

    /// Waits for something to do, and takes it: what came first, up to a batch, and nothing that shares a key with what is
    /// in hand. None at the end.
    fn take(&self) -> Option<Vec<Waiting<W>>> {
        let mut queue = self.queue();
        loop {
            let batch = queue.draw(self.settings.batch, |item| self.work.is_alone(item));
            if !batch.is_empty() {
                return Some(batch);
            }
            if queue.closed && queue.waiting.is_empty() {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<W: Work> Queue<W> {
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
