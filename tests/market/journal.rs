//! SQLite's journal under the till's load: it is folded and started anew beside it, and by nothing else here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{buy, cards};
use crate::support::sql::Sql;
use crate::support::{Card, Town, World};

/// Pages in the journal past which it is to be started anew, in place of those of a server in service.
const BOUND: i64 = 512;

/// Bytes of a page in the journal, with its head.
const FRAME: u64 = 4096 + 24;

/// Pages that are written before the folder has looked: it looks ten times a second, on a machine that has other work.
const UNSEEN: u64 = 4096;

/// The file that ends in `-wal`.
struct Journal(PathBuf);

impl Journal {
    fn of(world: &World) -> Self {
        Journal(Path::new(&world.directory).join("primeur.db-wal"))
    }

    /// How often it was started anew: the number is in its head, big endian.
    fn starts(&self) -> u32 {
        let head = fs::read(&self.0).unwrap();
        head.get(12..16).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    }

    fn pages(&self) -> u64 {
        fs::metadata(&self.0).unwrap().len() / FRAME
    }
}

/// Buys until it is so, and tells the most pages that the journal has had.
#[track_caller]
fn buy_until(town: &Town, cards: &[Card], what: &str, is_so: impl Fn(&Journal) -> bool) -> u64 {
    let (journal, deadline, mut most) = (Journal::of(&town.world), Instant::now() + Duration::from_secs(60), 0);
    for nth in 0.. {
        let answer = buy(&town.tills[nth % 2], &cards[nth % cards.len()], 1)();
        assert_eq!(answer.status, 201, "{}", answer.json());
        most = most.max(journal.pages());
        if is_so(&journal) {
            break;
        }
        let pages = journal.pages();
        assert!(Instant::now() < deadline, "{what}: not after {nth} purchases, and the journal has {pages} pages");
    }
    most
}

#[test]
fn the_journal_stays_short_under_load_and_what_a_reader_held_up_is_made_good() {
    let town = Town::new(World::on_sqlite());
    town.world.state.db.shorten_journal_past(BOUND);
    let cards = cards(&town, 4);
    let journal = Journal::of(&town.world);
    let begun = journal.starts();
    let most = buy_until(&town, &cards, "it is started anew, again and again", |now| now.starts() >= begun + 3);
    let bound = u64::try_from(BOUND).unwrap();
    assert!(most <= bound + UNSEEN, "{most} pages");

    // who reads an old moment holds it up: it grows, and nobody is refused
    let mut reader = Sql::of(&town.world);
    reader.run("BEGIN").unwrap();
    let sold = reader.number("SELECT count(*) FROM redemptions");
    let (before, starts) = (journal.pages(), journal.starts());
    let held = before.max(bound + UNSEEN) + 2 * bound;
    buy_until(&town, &cards, "it grows behind the reader", |now| now.pages() > held);
    assert!(journal.starts() <= starts + 1, "started anew under a reader");
    assert_eq!(reader.number("SELECT count(*) FROM redemptions"), sold, "the reader sees another moment");
    reader.run("ROLLBACK").unwrap();

    // and then no more than up to the next look, and one more try
    let (grown, starts) = (journal.pages(), journal.starts());
    let most = buy_until(&town, &cards, "it is started anew behind the reader", |now| now.starts() >= starts + 3);
    assert!(most <= grown + bound + UNSEEN, "{most} pages, of {grown}");
    town.world.verify();
}
