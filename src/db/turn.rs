//! A queue of writers in which nobody overtakes and nobody waits for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub struct Turns {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    taken: bool,
    waiting: VecDeque<Arc<Place>>,
}

/// Somebody's place in the queue. Handed over with the turn still taken, so that nobody comes between.
#[derive(Default)]
struct Place {
    mine: AtomicBool,
    called: Condvar,
}

/// The turn of one writer, until it is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    /// None if it did not come in time.
    pub fn take(self: &Arc<Self>, within: Duration) -> Option<Turn> {
        let mut queue = self.queue();
        if queue.taken {
            let place = Arc::new(Place::default());
            queue.waiting.push_back(place.clone());
            let not_yet = |_: &mut Queue| !place.mine.load(Ordering::Relaxed);
            let waited = place.called.wait_timeout_while(queue, within, not_yet);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !place.mine.load(Ordering::Relaxed) {
                queue.waiting.retain(|other| !Arc::ptr_eq(other, &place));
                return None;
            }
        }
        queue.taken = true;
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
            None => queue.taken = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_writers_and_the_next_gets_it_or_is_told_in_time() {
        let turns = Arc::new(Turns::default());
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
        let turns = Arc::new(Turns::default());
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
}
