//! Any history under any valid rules: households, tills, structures and time in any order, held to a journal of the
//! test's own and to a second opinion on the rules (`support/oracle.rs`).
//!
//! Each run takes other cases. `CASES=100 NEXTEST_PROFILE=drill scripts/test history::` takes more of them, and prints what
//! has happened in them; `STEPS=120` takes longer ones, and `SHRINK=0` tells of the first failure as it is.

mod desk;
mod hold;
mod life;
mod story;
mod till;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};

use crate::support::World;
use life::Life;
use story::{Event, Story, edge, latest, stories};

fn live(world: World, story: &Story) -> Life {
    let mut life = Life::begin(world, story);
    for (step, event) in story.events.iter().enumerate() {
        happen(&mut life, event);
        // what each step itself must leave alone or move, it has looked at
        if step % 4 == 3 {
            life.check();
        }
        if step % 16 == 15 {
            life.town.world.verify();
        }
    }
    life.check();
    life.end();
    life
}

fn happen(life: &mut Life, event: &Event) {
    match event {
        Event::Enrol { adults, children, band, in_days } => life.enrol(*adults, *children, band.as_ref(), *in_days),
        Event::Redeem { wish, undo } => life.redeem(wish, *undo),
        Event::Void { sale } => life.void(sale),
        Event::SetAside { wish } => life.set_aside(wish),
        Event::Capture { hold, percent } => life.capture(hold, *percent),
        Event::Release { hold, by_structure } => life.release(hold, *by_structure),
        Event::HandOver { member, values, done } => life.hand_over(member, values, *done),
        Event::Contribute { member, place } => life.contribute(member, *place),
        Event::Band { member, tariff } => life.band(member, tariff.as_ref()),
        Event::Suspend { member } => life.suspend(member),
        Event::Leave { member, return_issued } => life.leave(member, *return_issued),
        Event::Block { member } => life.block(member),
        Event::Replace { member, title } => life.replace(member, *title),
        Event::NewRules => life.new_rules(),
        Event::Seller { till } => life.seller(till),
        Event::Minutes(minutes) => life.town.world.pass_minutes(*minutes),
        Event::Days(days) => {
            let day = life.zone.day_of(life.now()).plus_days(*days);
            let at = life.zone.start_of(day).plus_minutes(10 * 60);
            if at < latest() {
                life.town.world.set_clock(&at.to_string());
            }
        }
        Event::Edge { before } => {
            if let Some(at) = edge(life.now(), *before).filter(|at| *at < latest()) {
                life.town.world.set_clock(&at.to_string());
            }
        }
        Event::Schedule => {
            life.schedule();
            let again = primeur::schedule::run(&life.town.world.state.db).unwrap();
            assert_eq!(again, primeur::schedule::Done::default());
        }
    }
}

/// A number from the environment, or the suite's own.
fn number(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |number| number.parse().expect("CASES and STEPS are numbers"))
}

/// Lives through so many stories, and tells how often each kind of step succeeded.
fn any_history_adds_up(world: impl Fn() -> World, cases: u32, rng: Option<TestRng>) -> BTreeMap<String, usize> {
    let persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    let config =
        Config { cases, failure_persistence: persistence, max_shrink_iters: number("SHRINK", 40), ..Config::default() };
    let mut runner = match rng {
        Some(rng) => TestRunner::new_with_rng(config, rng),
        None => TestRunner::new(config),
    };
    let steps = usize::try_from(number("STEPS", 56)).unwrap();
    let seen = RefCell::new(BTreeMap::<String, usize>::new());
    let outcome = runner.run(&stories(steps), |story| {
        for (step, times) in live(world(), &story).seen {
            *seen.borrow_mut().entry(step).or_default() += times;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    println!("{cases} stories: {seen:?}");
    seen
}

#[test]
fn any_history_adds_up_on_sqlite() {
    any_history_adds_up(World::on_sqlite, number("CASES", 6), None);
}

#[test]
fn any_history_adds_up_on_postgresql() {
    any_history_adds_up(World::on_postgresql, number("CASES", 6), None);
}

/// The same stories on every machine: each kind of step succeeds in them, so that what is checked after it is checked.
#[test]
fn every_kind_of_step_succeeds_in_some_history() {
    let seed = [u8::try_from(number("SEED", 2)).unwrap(); 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let seen = any_history_adds_up(World::on_sqlite, number("CASES", 12), Some(rng));
    let steps = "
        enrolled waits moved_up issued closed granted freed pooled ended
        redeemed redeemed_in_part title_redeemed sub_purse surplus bonus tariff_chosen
        voided undone_at_once void_refused insufficient_balance producer_suspended voucher_blocked voucher_suspended
        set_aside captured captured_less released_by_hand handed_over contributed contributed_own
        band_set suspended resumed left left_and_returned blocked unblocked replaced title_replaced
        rules_changed seller_suspended seller_approved";
    let missing: Vec<&str> =
        steps.split_whitespace().filter(|step| seen.get(*step).is_none_or(|times| *times == 0)).collect();
    assert_eq!(missing, [""; 0], "{seen:?}");
}
