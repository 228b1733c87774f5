//! Threads that are kept for work that takes much memory. What a thread has freed, the allocator keeps for that thread and
//! not for the system: done on any thread, such work would leave its memory with each of them in the end.

use std::sync::mpsc::{Receiver, RecvError, SendError, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

/// Done, it leaves the outcome to be told.
type Work = Box<dyn FnOnce() -> Told + Send>;
type Told = Box<dyn FnOnce()>;

/// Who wait for work; the last that was at it is the first to get more.
static IDLE: Mutex<Vec<SyncSender<Work>>> = Mutex::new(Vec::new());

/// Work that was begun. It is not waited for if this is dropped.
pub struct Begun<T>(Receiver<T>);

impl<T> Begun<T> {
    /// Waits for what came of it; an error if it panicked.
    pub fn end(self) -> Result<T, RecvError> {
        self.0.recv()
    }
}

/// Begins `work` on a thread that has done such work before, or on a new one if all of them are at it: there are as many
/// as were ever needed at once.
pub fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Begun<T>> {
    let (give, outcome) = channel();
    let work: Work = Box::new(move || {
        let done = work();
        // whoever began it may be gone
        Box::new(move || drop(give.send(done)))
    });
    let waiting = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = match waiting {
        Some(waiting) => match waiting.send(work) {
            Ok(()) => return Ok(Begun(outcome)),
            Err(SendError(work)) => work,
        },
        None => work,
    };
    let (give, tasks) = sync_channel::<Work>(1);
    let stay = move || {
        let mut work = work;
        loop {
            // one that panics ends its thread
            let tell = work();
            // before it tells, so that what is begun upon that finds it here
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(give.clone());
            tell();
            match tasks.recv() {
                Ok(next) => work = next,
                Err(RecvError) => return,
            }
        }
    };
    thread::Builder::new().name("crew".to_owned()).spawn(stay)?;
    Ok(Begun(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> thread::ThreadId {
        thread::current().id()
    }

    #[test]
    fn work_is_done_by_who_has_done_such_work_before_and_outlives_a_panic() {
        let (first, second) = (begin(here).unwrap(), begin(here).unwrap());
        let crew = [first.end().unwrap(), second.end().unwrap()];
        assert!(!crew.contains(&here()));
        for _ in 0..100 {
            assert!(crew.contains(&begin(here).unwrap().end().unwrap()));
        }
        assert!(begin(|| panic!("an invented fault")).unwrap().end().is_err());
        assert_eq!(begin(|| 7).unwrap().end(), Ok(7));
    }
}
