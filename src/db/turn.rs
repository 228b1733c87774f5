//! A queue of writers in which nobody waits for ever.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub struct Turns {
    taken: Mutex<bool>,
    free: Condvar,
}

/// The turn of one writer, until it is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    /// None if it did not come in time.
    pub fn take(self: &Arc<Self>, within: Duration) -> Option<Turn> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.free.wait_timeout_while(taken, within, |taken| *taken);
        let (mut taken, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return None;
        }
        *taken = true;
        Some(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
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
}
