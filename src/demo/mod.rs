//! `primeur demo`: an invented territory that has lived five months, served on this machine only.

mod arrivals;
mod chance;
mod founding;
mod life;
pub(crate) mod numbers;
mod scenes;
mod territory;
mod till;
mod welcome;
mod world;

use std::fs::{self, File, TryLockError};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{Config, LogFormat, SecondFactor};
use crate::kit::complaint::Complaint;
use crate::kit::time::{Clock, SystemClock, Zone};
use crate::{schedule, service};

/// How long the story is, beside the present month.
const MONTHS: i32 = 5;

/// The files of the demo, apart from those of `serve`.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Files { directory: directory.into() }
    }

    fn database(&self) -> PathBuf {
        self.directory.join("primeur.db")
    }

    /// There from the first to the last moment of a fill.
    fn unfinished(&self) -> PathBuf {
        self.directory.join("unfinished")
    }

    fn is_filled(&self) -> bool {
        self.database().exists() && !self.unfinished().exists()
    }

    /// Held as long as a demo runs here; the system lets go of it however the program ends.
    fn lock(&self) -> Result<File, String> {
        let path = self.directory.with_extension("lock");
        let shown = path.display();
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|e| format!("cannot make {}: {e}", parent.display()))?;
        let file = File::create(&path).map_err(|e| format!("cannot write {shown}: {e}"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err("a demo is running here already: stop it first".to_owned()),
            Err(TryLockError::Error(e)) => Err(format!("cannot lock {shown}: {e}")),
        }
    }

    fn clear(&self) -> Result<(), String> {
        match fs::remove_dir_all(&self.directory) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", self.directory.display()))
            }
            _ => Ok(()),
        }
    }
}

/// What the demo takes from a configuration, and what it insists on: its own files, and nobody but this machine.
pub fn settings(mut config: Config, files: &Files, port: u16) -> Config {
    config.server.listen = (Ipv4Addr::LOCALHOST, port).into();
    config.server.public_url = format!("http://127.0.0.1:{port}");
    config.database.url = format!("sqlite://{}", files.database().display());
    config.keys.directory = files.directory.join("keys");
    config.reports.directory = files.directory.join("reports");
    // whoever tries it has no authenticator at hand
    config.access.second_factor = SecondFactor::Optional;
    (config.log.level, config.log.format) = ("warn".to_owned(), LogFormat::Text);
    config
}

/// Lives the story, unless it is there already and `fresh` is not asked for; says what there is; serves it.
pub fn run(config: &Config, files: &Files, fresh: bool, serve: bool) -> Result<(), String> {
    // a port that is taken is told before anything is done
    let listener = match serve {
        true => Some(service::listen(config).map_err(|e| format!("{e}; choose another port with --port"))?),
        false => None,
    };
    let _lock = files.lock()?;
    let mut refusals = None;
    if fresh || !files.is_filled() {
        refusals = Some(fill(config, files)?);
    }
    let state = service::open(config, Arc::new(SystemClock))?;
    // what fell due while nobody served
    schedule::run(&state.db).map_err(|e| e.to_string())?;
    print!("{}", welcome::text(&state, &config.database.url, refusals.as_ref())?);
    let Some(listener) = listener else { return Ok(()) };
    println!("\nServing on {} until Ctrl-C.", config.server.public_url);
    service::run(state, listener, config)
}

fn fill(config: &Config, files: &Files) -> Result<world::Refusals, String> {
    files.clear()?;
    let marker = files.unfinished();
    fs::create_dir_all(&files.directory)
        .and_then(|()| File::create(&marker))
        .map_err(|e| format!("cannot write {}: {e}", marker.display()))?;
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("Living day {pos} of {len} [{bar:40}] {elapsed}");
    bar.set_style(style.map_err(|e| e.to_string())?.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    let paris: Zone = "Europe/Paris".parse().map_err(|e: Complaint| e.to_string())?;
    let begun = Stopwatch::now();
    let refusals = life::live(config, paris, MONTHS, SystemClock.now(), &bar)?;
    bar.finish_and_clear();
    fs::remove_file(&marker).map_err(|e| format!("cannot remove {}: {e}", marker.display()))?;
    println!("Lived {} days in {:.1} s.\n", bar.position(), begun.elapsed().as_secs_f64());
    Ok(refusals)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::access::Actor;
    use crate::allowance::Funds;
    use crate::db::{Conn, Page};
    use crate::enrolment::{self, Enrolment, Filter};
    use crate::http::State;
    use crate::kit::error::Code;
    use crate::kit::id::{AgreementId, ProgrammeId};
    use crate::kit::keys::random;
    use crate::kit::money::Cents;
    use crate::kit::time::{ManualClock, Month};
    use crate::ledger::{self, TransferCode};
    use crate::programme::{self, Programme};
    use crate::redemption;
    use crate::simulation::{self, BasketMix, Estimate, Kind, Scheme, TakeUp};
    use crate::verify;

    /// A place of its own, gone afterwards.
    struct Temporary(Files);

    impl Temporary {
        fn new() -> Self {
            let name = format!("primeur-demo-{:016x}", u64::from_be_bytes(random()));
            Temporary(Files::new(std::env::temp_dir().join(name).join("demo")))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.directory.parent().unwrap());
        }
    }

    /// Lives a story that ends at an instant: where, what it left, and what was refused.
    fn story(months: i32, until: &str) -> (Temporary, Config, State, world::Refusals) {
        let temporary = Temporary::new();
        let config = settings(Config::load(None, std::iter::empty()).unwrap(), &temporary.0, 8080);
        fs::create_dir_all(&temporary.0.directory).unwrap();
        let (until, paris) = (until.parse().unwrap(), "Europe/Paris".parse().unwrap());
        let refusals = life::live(&config, paris, months, until, &ProgressBar::hidden()).unwrap();
        let state = service::open(&config, Arc::new(ManualClock::at(until))).unwrap();
        (temporary, config, state, refusals)
    }

    /// The same: the welcome, what was refused, and how many purchases there were.
    fn lived(months: i32, until: &str) -> (String, world::Refusals, usize) {
        let (_temporary, config, state, refusals) = story(months, until);
        let verdict = verify::run(&state.db).unwrap();
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        let redemptions = verdict.checked.iter().find(|(what, _)| *what == "redemptions").unwrap().1;
        (welcome::text(&state, &config.database.url, Some(&refusals)).unwrap(), refusals, redemptions)
    }

    /// All that were let into a programme, in that order.
    fn let_in(conn: &mut Conn, desks: &[Actor], id: ProgrammeId) -> Vec<Enrolment> {
        let filter = Filter { programme: Some(id), ..Filter::default() };
        let of = |desk| enrolment::list(conn, desk, &filter, &Page { after: None, limit: 500 }).unwrap();
        let mut let_in: Vec<_> = desks.iter().flat_map(of).filter(|one| one.activated_at.is_some()).collect();
        let_in.sort_by_key(|one| (one.activated_at, one.id));
        let_in
    }

    /// A programme's scheme, with all its money, for some households.
    fn scheme(conn: &mut Conn, programme: &Programme, households: &[Enrolment]) -> Scheme {
        let rules = Arc::new(programme::rules(conn, programme.id).unwrap().rules);
        let kind = |one: &Enrolment| Kind {
            rules: Arc::clone(&rules),
            adults: one.adults,
            children: one.children,
            band: one.band.clone(),
            starts_on: one.starts_on,
            count: 1,
        };
        let agreements = programme::agreements_of(conn, programme.id).unwrap();
        Scheme {
            funding_rule: programme.funding_rule,
            zone: programme.zone().unwrap(),
            starts_on: programme.starts_on,
            ends_on: programme.ends_on,
            funds: Funds::new(agreements.iter().map(|agreement| (agreement.id, agreement.granted_cents))),
            agreements,
            population: households.iter().map(kind).collect(),
            examples: Vec::new(),
            take_up: TakeUp::default(),
            basket: BasketMix::default(),
            contribution: None,
        }
    }

    /// What producers were paid for some households' purchases, by month and agreement, net of what was undone.
    fn paid(conn: &mut Conn, zone: &Zone, households: &[Enrolment]) -> BTreeMap<(Month, AgreementId), Cents> {
        let mut paid = BTreeMap::new();
        for household in households {
            for purchase in redemption::of_enrolment(conn, household.id).unwrap() {
                for transfer in ledger::transfers_of(conn, purchase.redemption.id.cast()).unwrap() {
                    let undone = transfer.code == TransferCode::Void;
                    let amount = if undone { -transfer.amount_cents } else { transfer.amount_cents };
                    let month = zone.day_of(transfer.recorded_at).month();
                    *paid.entry((month, transfer.agreement_id)).or_default() += amount;
                }
            }
        }
        paid
    }

    /// Of the households that the money is foretold to reach: what comes back unspent lets more in, and is not foretold.
    #[test]
    fn what_a_story_cost_lies_between_the_low_and_the_high_that_are_foretold() {
        let (_temporary, _, state, _) = story(MONTHS, "2027-07-01T06:00:00Z");
        let manager = world::log_in(&state, territory::MANAGER.login).unwrap();
        let desks = territory::DESKS.map(|desk| world::log_in(&state, desk.login).unwrap());
        let present: Month = "2027-07".parse().unwrap();
        let (mut compared, mut over) = (0, 0);
        let compare = |conn: &mut Conn| {
            for programme in programme::list(conn, &manager, &Page { after: None, limit: 10 })? {
                let households = let_in(conn, &desks, programme.id);
                let scheme = scheme(conn, &programme, &households);
                let told = simulation::simulate(&scheme)?;
                let funded = usize::try_from(told.households.funded).unwrap();
                assert!(funded * 2 > households.len(), "{:?}", told.households);
                let paid = paid(conn, &scheme.zone, &households[..funded]);
                let within = |what: String, paid: Cents, told: Estimate| {
                    assert!(told.low <= paid && paid <= told.high, "{what}: {paid} was paid, foretold: {told:?}");
                };
                for (agreement, foretold) in scheme.agreements.iter().zip(&told.agreements) {
                    for told in foretold.months.iter().filter(|told| told.month < present) {
                        let paid = paid.get(&(told.month, agreement.id)).copied().unwrap_or_default();
                        within(format!("{} {}", agreement.reference, told.month), paid, told.cost);
                        compared += 1;
                    }
                }
                for told in told.months.iter().filter(|told| told.month < present) {
                    let of_month = paid.iter().filter(|((month, _), _)| *month == told.month);
                    within(told.month.to_string(), of_month.map(|(_, amount)| *amount).sum(), told.cost);
                }
                if told.months.iter().all(|told| told.month < present) {
                    within(programme.name, paid.values().copied().sum(), told.cost);
                    over += 1;
                }
            }
            Ok(())
        };
        state.db.read(compare).unwrap();
        assert!(compared >= 30 && over == 1, "{compared} {over}");
    }

    #[test]
    fn a_story_holds_together_on_whatever_day_it_is_told() {
        // a leap day; two minutes into the day of the autumn clock change in Paris
        for until in ["2028-02-29T10:00:00Z", "2026-10-24T22:02:00Z"] {
            let (welcome, ..) = lived(1, until);
            assert!(welcome.contains("it all adds up") && welcome.contains("CARD=HTTPS://"), "{welcome}");
        }
    }

    #[test]
    fn the_whole_story_meets_every_refusal_even_where_it_is_shortest_and_ends_with_money_on_a_card() {
        let (welcome, refusals, redemptions) = lived(MONTHS, "2027-07-01T06:00:00Z");
        assert!(redemptions >= 2000, "{redemptions}");
        let all = [
            Code::OutsideTerritory,
            Code::AlreadyEnrolled,
            Code::UnknownVoucher,
            Code::VoucherBlocked,
            Code::VoucherReplaced,
            Code::VoucherSuspended,
            Code::VoucherExpired,
            Code::NotStarted,
            Code::InsufficientBalance,
            Code::ProducerNotApproved,
            Code::ProducerSuspended,
            Code::StallClosed,
            Code::AlreadyRedeemedByYou,
            Code::VoidWindowOver,
        ];
        assert_eq!(refusals.into_keys().collect::<Vec<_>>(), all);
        let in_sight = |line: &&str| !line.starts_with("PRIMEUR__") && line.chars().count() > 100;
        assert_eq!(welcome.lines().find(in_sight), None);
        for word in ["CARD=HTTPS://", " active", " left", " ended"] {
            assert!(welcome.contains(word), "{welcome}");
        }
    }

    #[test]
    fn a_fill_that_was_interrupted_is_not_taken_for_a_whole_one() {
        let temporary = Temporary::new();
        let files = &temporary.0;
        fs::create_dir_all(&files.directory).unwrap();
        assert!(!files.is_filled());
        fs::write(files.unfinished(), "").unwrap();
        fs::write(files.database(), "").unwrap();
        assert!(!files.is_filled());
        fs::remove_file(files.unfinished()).unwrap();
        assert!(files.is_filled());
        files.clear().unwrap();
        assert!(!files.directory.exists() && files.clear().is_ok());
    }

    #[test]
    fn two_demos_do_not_run_in_one_place() {
        let temporary = Temporary::new();
        let held = temporary.0.lock().unwrap();
        assert!(temporary.0.lock().unwrap_err().contains("already"));
        drop(held);
        assert!(temporary.0.lock().is_ok());
    }
}
