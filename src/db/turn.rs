//! Queues in which nobody waits for ever: of writers, and of what takes long.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

pub struct Turns {
    /// How many more may have theirs now.
    left: Mutex<u32>,
    free: Condvar,
}

/// The turn of one, until it is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    /// For so many at a time.
    pub fn new(at_once: u32) -> Self {
        Turns { left: Mutex::new(at_once), free: Condvar::new() }
    }

    /// None if it did not come in time.
    pub fn take(self: &Arc<Self>, within: Duration) -> Option<Turn> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.free.wait_timeout_while(left, within, |left| *left == 0);
        let (mut left, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return None;
        }
        *left -= 1;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.free.notify_one();
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
    fn no_more_have_a_turn_than_may_have_one_at_a_time() {
        let turns = Arc::new(Turns::new(2));
        let (first, second) = (turns.take(Duration::ZERO), turns.take(Duration::ZERO));
        assert!(first.is_some() && second.is_some() && turns.take(Duration::ZERO).is_none());
        drop(first);
        assert!(turns.take(Duration::ZERO).is_some());
    }
}
