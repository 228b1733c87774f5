use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells each batch that it begins, and ends it when told to.
struct Bench {
    begun: Mutex<Sender<Vec<Item>>>,
    go: Mutex<Receiver<Verdict>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    name: u32,
    key: u64,
    alone: bool,
}

/// What a batch is told to do.
enum Verdict {
    Done,
    /// All but the first come again.
    First,
    HoldUp,
    Panic,
}

fn item(name: u32, key: u64) -> Item {
    Item { name, key, alone: false }
}

impl Work for Bench {
    type Item = Item;
    type Outcome = u32;

    fn keys(&self, item: &Item) -> [u64; 2] {
        [item.key; 2]
    }

    fn is_alone(&self, item: &Item) -> bool {
        item.alone
    }

    fn run(&self, items: &[Item], may_wait: bool) -> Vec<Fate<u32>> {
        self.begun.lock().unwrap().send(items.to_vec()).unwrap();
        let verdict = self.go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        match verdict {
            Verdict::Done => items.iter().map(|item| Fate::Done(item.name)).collect(),
            Verdict::First => {
                let first = |(n, item): (usize, &Item)| if n == 0 { Fate::Done(item.name) } else { Fate::Later };
                items.iter().enumerate().map(first).collect()
            }
            Verdict::HoldUp => {
                assert!(!may_wait, "held up aside");
                items.iter().map(|_| Fate::HeldUp).collect()
            }
            Verdict::Panic => panic!("planted"),
        }
    }
}

struct Scene {
    group: Group<Bench>,
    begun: Receiver<Vec<Item>>,
    go: Sender<Verdict>,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let ((tell, begun), (go, told)) = (channel(), channel());
        let bench = Bench { begun: Mutex::new(tell), go: Mutex::new(told) };
        Scene { group: Group::start(bench, settings).unwrap(), begun, go }
    }

    /// The names in the batch that begins next.
    fn next(&self) -> Vec<u32> {
        self.begun.recv_timeout(PATIENCE).unwrap().iter().map(|item| item.name).collect()
    }

    fn submit(&self, item: Item) -> oneshot::Receiver<u32> {
        self.group.submit(item).unwrap()
    }

    fn end(&self, verdict: Verdict) {
        self.go.send(verdict).unwrap();
    }
}

fn one_writer(places: usize, batch: usize) -> Scene {
    Scene::new(Settings { places, writers: 1, batch })
}

#[test]
fn what_comes_while_one_is_written_is_written_together_and_in_order() {
    let scene = one_writer(100, 3);
    let answers: Vec<_> = (1..=6).map(|n| scene.submit(item(n, n.into()))).collect();
    let mut batches = Vec::new();
    while batches.iter().map(Vec::len).sum::<usize>() < 6 {
        batches.push(scene.next());
        scene.end(Verdict::Done);
    }
    assert_eq!(batches.concat(), [1, 2, 3, 4, 5, 6]);
    assert!(batches.iter().all(|batch| batch.len() <= 3), "{batches:?}");
    let told: Vec<u32> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
    assert_eq!(told, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_full_queue_takes_nothing_and_takes_again_once_there_is_room() {
    let scene = one_writer(2, 10);
    let first = scene.submit(item(1, 1));
    assert_eq!(scene.next(), [1]);
    let waiting = [scene.submit(item(2, 2)), scene.submit(item(3, 3))];
    assert!(scene.group.is_full());
    assert!(scene.group.submit(item(4, 4)).is_none());
    scene.end(Verdict::Done);
    assert_eq!(scene.next(), [2, 3]);
    let last = scene.submit(item(5, 5));
    (0..2).for_each(|_| scene.end(Verdict::Done));
    let told: Vec<u32> = [first].into_iter().chain(waiting).chain([last]).map(|a| a.blocking_recv().unwrap()).collect();
    assert_eq!(told, [1, 2, 3, 5]);
}

#[test]
fn two_of_one_key_are_never_in_hand_together_and_keep_their_order() {
    let scene = Scene::new(Settings { places: 100, writers: 2, batch: 10 });
    let first = scene.submit(item(1, 7));
    assert_eq!(scene.next(), [1]);
    let later = [scene.submit(item(2, 7)), scene.submit(item(3, 7))];
    // the other writer takes what is free, past those that wait
    let other = scene.submit(item(4, 8));
    assert_eq!(scene.next(), [4]);
    (0..4).for_each(|_| scene.end(Verdict::Done));
    assert_eq!((scene.next(), scene.next()), (vec![2], vec![3]));
    let told: Vec<u32> =
        [first, other].into_iter().chain(later).map(|answer| answer.blocking_recv().unwrap()).collect();
    assert_eq!(told, [1, 4, 2, 3]);
}

#[test]
fn what_must_be_alone_is_and_overtakes_nobody() {
    let scene = one_writer(100, 10);
    let mut answers = vec![scene.submit(item(1, 1))];
    assert_eq!(scene.next(), [1]);
    answers.push(scene.submit(item(2, 2)));
    answers.push(scene.submit(Item { alone: true, ..item(3, 3) }));
    answers.push(scene.submit(item(4, 4)));
    (0..4).for_each(|_| scene.end(Verdict::Done));
    assert_eq!((scene.next(), scene.next(), scene.next()), (vec![2], vec![3], vec![4]));
    answers.into_iter().for_each(|answer| assert!(answer.blocking_recv().is_ok()));
}

#[test]
fn what_is_put_off_comes_again_before_whatever_came_later() {
    let scene = one_writer(100, 10);
    let mut answers = vec![scene.submit(item(1, 1))];
    assert_eq!(scene.next(), [1]);
    answers.extend([scene.submit(item(2, 2)), scene.submit(item(3, 3))]);
    scene.end(Verdict::Done);
    assert_eq!(scene.next(), [2, 3]);
    answers.push(scene.submit(item(4, 4)));
    scene.end(Verdict::First);
    assert_eq!(scene.next(), [3, 4]);
    scene.end(Verdict::Done);
    let told: Vec<u32> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
    assert_eq!(told, [1, 2, 3, 4]);
}

#[test]
fn a_panic_leaves_nobody_waiting_and_the_writer_goes_on() {
    let scene = one_writer(100, 10);
    let lost = scene.submit(item(1, 1));
    assert_eq!(scene.next(), [1]);
    scene.end(Verdict::Panic);
    assert!(lost.blocking_recv().is_err());
    let next = scene.submit(item(2, 1));
    assert_eq!(scene.next(), [2]);
    scene.end(Verdict::Done);
    assert_eq!(next.blocking_recv(), Ok(2));
}

#[test]
fn what_nobody_waits_for_any_more_is_done_all_the_same_and_so_is_what_waits_at_the_end() {
    let Scene { group, begun, go } = Scene::new(Settings { places: 100, writers: 2, batch: 1 });
    drop(group.submit(item(1, 1)).unwrap());
    let (second, third) = (group.submit(item(2, 1)).unwrap(), group.submit(item(3, 1)).unwrap());
    drop(group);
    (0..3).for_each(|_| go.send(Verdict::Done).unwrap());
    assert_eq!((second.blocking_recv(), third.blocking_recv()), (Ok(2), Ok(3)));
    let done: Vec<Vec<Item>> = begun.iter().collect();
    assert_eq!(done.concat().iter().map(|item| item.name).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn who_is_held_up_waits_aside_and_holds_up_only_its_own_key() {
    let scene = one_writer(100, 10);
    let stuck = scene.submit(item(1, 7));
    assert_eq!(scene.next(), [1]);
    scene.end(Verdict::HoldUp);
    // aside, and not ended yet
    assert_eq!(scene.next(), [1]);
    let (behind, other) = (scene.submit(item(2, 7)), scene.submit(item(3, 8)));
    assert_eq!(scene.next(), [3]);
    // for the one aside and for the writer
    (0..2).for_each(|_| scene.end(Verdict::Done));
    assert_eq!(other.blocking_recv(), Ok(3));
    assert_eq!(stuck.blocking_recv(), Ok(1));
    assert_eq!(scene.next(), [2]);
    scene.end(Verdict::Done);
    assert_eq!(behind.blocking_recv(), Ok(2));
}

#[test]
fn one_key_takes_no_more_than_half_of_the_queue() {
    let scene = one_writer(8, 10);
    let mut answers = vec![scene.submit(item(0, 1))];
    assert_eq!(scene.next(), [0]);
    answers.extend((1..=5).map(|n| scene.submit(item(n, 7))));
    assert!(scene.group.submit(item(6, 7)).is_none());
    answers.extend((7..=9).map(|n| scene.submit(item(n, 100 + u64::from(n)))));
    assert!(scene.group.submit(item(10, 110)).is_none(), "the queue is full");
    (0..6).for_each(|_| scene.end(Verdict::Done));
    answers.into_iter().for_each(|answer| assert!(answer.blocking_recv().is_ok()));
}
