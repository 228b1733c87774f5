//! Queues in which nobody overtakes and nobody waits for ever: of writers, and of what takes long.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub struct Turns {
    queue: Mutex<Queue>,
}

struct Queue {
    /// How many more may have theirs now.
    left: u32,
    waiting: VecDeque<Arc<Place>>,
}

/// Somebody's place in the queue. Handed over without giving the turn back, so that nobody comes between.
#[derive(Default)]
struct Place {
    mine: AtomicBool,
    called: Condvar,
}

/// The turn of one, until it is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    /// For so many at a time.
    pub fn new(at_once: u32) -> Self {
        Turns { queue: Mutex::new(Queue { left: at_once, waiting: VecDeque::new() }) }
    }

    /// None if it did not come in time.
    pub fn take(self: &Arc<Self>, within: Duration) -> Option<Turn> {
        let mut queue = self.queue();
        if queue.left == 0 {
            let place = Arc::new(Place::default());
            queue.waiting.push_back(place.clone());
            let not_yet = |_: &mut Queue| !place.mine.load(Ordering::Relaxed);
            let waited = place.called.wait_timeout_while(queue, within, not_yet);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !place.mine.load(Ordering::Relaxed) {
                queue.waiting.retain(|other| !Arc::ptr_eq(other, &place));
                return None;
            }
            return Some(Turn(self.clone()));
        }
        queue.left -= 1;
        Some(Turn(self.clone()))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        match queue.waiting.pop_front() {
            Some(next) => {
                next.mine.store(true, Ordering::Relaxed);
                next.called.notify_one();
            }
            None => queue.left += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_writers_and_the_next_gets_it_or_is_told_in_time() {
        let turns = Arc::new(Turns::new(1));
        let first = turns.take(Duration::ZERO);
        assert!(first.is_some());
        assert!(turns.take(Duration::from_millis(1)).is_none());
        let next = std::thread::spawn({
            let turns = turns.clone();
            move || turns.take(Duration::from_secs(60)).is_some()
        });
        drop(first);
        assert!(next.join().unwrap());
        assert!(turns.take(Duration::ZERO).is_some(), "a turn was lost");
    }

    #[test]
    fn nobody_overtakes_who_came_first() {
        let turns = Arc::new(Turns::new(1));
        let held = turns.take(Duration::ZERO);
        let (tell, order) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (turns, tell) = (turns.clone(), tell.clone());
                let thread = std::thread::spawn({
                    let turns = turns.clone();
                    move || {
                        let turn = turns.take(Duration::from_secs(60));
                        tell.send(n).unwrap();
                        drop(turn);
                    }
                });
                while turns.queue().waiting.len() <= n {
                    std::thread::yield_now();
                }
                thread
            })
            .collect();
        drop(held);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(tell);
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_have_a_turn_than_may_have_one_at_a_time() {
        let turns = Arc::new(Turns::new(2));
        let (first, second) = (turns.take(Duration::ZERO), turns.take(Duration::ZERO));
        assert!(first.is_some() && second.is_some() && turns.take(Duration::ZERO).is_none());
        drop(first);
        assert!(turns.take(Duration::ZERO).is_some());
    }
}
