//! What `primeur keys` does. Each answers with what to print.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::reseal::still_under;
use crate::access::keys::{KnownKey, awaited, known_keys, register_keys, retire_key};
use crate::db::{Conn, Db};
use crate::kit::complaint::Complaint;
use crate::kit::error::Error;
use crate::kit::keys::files::{self, KeyFile};
use crate::kit::keys::{Keys, Purpose, signer};
use crate::kit::time::Instant;

/// How keys are kept and used in this deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    pub directory: PathBuf,
    /// Minutes from the making of a key until it signs.
    pub overlap_minutes: i64,
    /// Minutes that an access token is good for.
    pub access_minutes: i64,
    /// Seconds between two looks of a running server.
    pub look_seconds: i64,
}

type Said = Result<String, String>;

/// The clocks of two servers may differ by so much.
const SKEW_SECONDS: i64 = 60;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Current,
    Older,
    Waits(Instant),
}

/// What a directory holds of one purpose.
struct Held {
    files: Vec<KeyFile>,
    begin: Vec<Instant>,
    now: Instant,
}

impl Held {
    fn new(settings: &Settings, purpose: Purpose, now: Instant) -> Result<Self, String> {
        let mut files = files::list(&settings.directory)?;
        files.retain(|file| file.purpose == purpose);
        let begin = files.iter().map(|file| file.begins(settings.overlap_minutes)).collect();
        Ok(Held { files, begin, now })
    }

    fn state(&self, place: usize) -> State {
        match signer(&self.begin, self.now) {
            current if place == current => State::Current,
            current if place < current => State::Older,
            _ => State::Waits(self.begin[place]),
        }
    }

    fn place(&self, key: &KnownKey) -> Option<usize> {
        self.files.iter().position(|file| key.is(file.purpose, file.id))
    }
}

/// A line a key, in order of purpose and making: those of the directory, and those that only the database knows.
pub fn list(db: &Db, settings: &Settings) -> Said {
    let known = db.read(known_keys).map_err(|e| e.to_string())?;
    let mut page = format!("{:<9} {:<9} {:<20} STATE\n", "PURPOSE", "KEY", "MADE");
    let mut line = |purpose: Purpose, id: &str, made: Instant, state: &str| {
        let made = Instant::from_microsecond(made.as_second() * 1_000_000);
        writeln!(page, "{:<9} {id:<9} {:<20} {state}", purpose.as_str(), made.to_string())
    };
    for purpose in Purpose::ALL {
        let held = Held::new(settings, *purpose, db.now())?;
        let gone = known.iter().filter(|key| key.purpose == *purpose && held.place(key).is_none());
        for key in gone {
            let state = match key.retired_at {
                Some(at) => format!("retired {}", day(at)),
                None => "MISSING: restore its file, or copy it from another server".to_owned(),
            };
            line(*purpose, &key.key_id, key.created_at, &state).map_err(|e| e.to_string())?;
        }
        for (place, file) in held.files.iter().enumerate() {
            let retired = known.iter().find(|key| key.is(*purpose, file.id)).and_then(|key| key.retired_at);
            let state = match (retired, held.state(place)) {
                (Some(at), _) => format!("retired {}: its file may be removed", day(at)),
                (None, State::Waits(until)) => format!("waits until {until}, then {}", verb(*purpose)),
                (None, State::Current) => verb(*purpose).to_owned(),
                (None, State::Older) if *purpose == Purpose::Identity => "opens".to_owned(),
                (None, State::Older) => "verifies".to_owned(),
            };
            line(*purpose, &file.id.to_string(), file.made, &state).map_err(|e| e.to_string())?;
        }
    }
    Ok(page)
}

/// Makes a key that signs once the overlap is over, and says what to do until then.
pub fn rotate(db: &Db, settings: &Settings, purpose: Purpose) -> Said {
    if purpose == Purpose::Secret {
        return Err(
            "the secret is not rotated: every typed code, pseudonym and fingerprint is made with it, and none \
                    could be told from another under a new one. Keep it as long as the deployment lives."
                .to_owned(),
        );
    }
    let (dir, overlap) = (&settings.directory, settings.overlap_minutes);
    let register = |now| {
        let keys = Keys::open(dir, now, overlap)?;
        db.write(|conn, now| register_keys(conn, now, &keys)).map_err(|e| e.to_string())
    };
    let now = db.now();
    // with a key missing, or a directory that is not this database's, nothing is made
    if db.read(known_keys).map_err(|e| e.to_string())?.is_empty() {
        return Err("this database has not been used with keys yet: start the service first".to_owned());
    }
    register(now)?;
    let keys = Keys::open(dir, now, overlap)?;
    if let Some((key, _)) = db.read(|conn| awaited(conn, now, &keys)).map_err(|e| e.to_string())?.first() {
        return Err(key.is_missing());
    }
    let held = Held::new(settings, purpose, now)?;
    for (place, file) in held.files.iter().enumerate() {
        if let State::Waits(begins) = held.state(place) {
            let (id, verb) = (file.id, verb(purpose));
            return Err(format!("the {purpose} key {id} waits already: from {begins} on it {verb}"));
        }
    }
    let path = files::make(dir, purpose, now)?;
    register(now).map_err(|e| {
        format!("{e}\n{} is written all the same: a running server or the next start takes it", path.display())
    })?;
    let made = Held::new(settings, purpose, now)?.files.into_iter().find(|file| file.path == path);
    let made = made.ok_or_else(|| format!("{} was removed again", path.display()))?;
    let after = match purpose {
        Purpose::Identity => "What older keys have sealed is sealed anew by itself then; once it is, retire them.",
        Purpose::Voucher => {
            "The cards of older keys stay valid, and their keys are needed as long as the service runs."
        }
        _ => "Older keys can be retired once the last token they signed has expired.",
    };
    let (id, begins, looks) = (made.id, made.begins(overlap), settings.look_seconds);
    Ok(format!(
        "made the {purpose} key {id}: {}\nFrom {begins} on it {}. Before then, copy the file, with mode 0600, into the \
         key directory of every other server, and to where the keys are backed up, apart from the database. Running \
         servers take it by themselves within {looks} s.\n{after}\n",
        path.display(),
        verb(purpose)
    ))
}

/// Gives up a key that nothing needs any more; or, where its file is lost for good, one that something does need.
pub fn retire(db: &Db, settings: &Settings, id: &str, lost: bool) -> Said {
    let known = db.read(known_keys).map_err(|e| e.to_string())?;
    let Some(key) = known.iter().find(|key| key.key_id == id) else {
        return Err(format!("there is no key {id}: see `primeur keys list`"));
    };
    let purpose = key.purpose;
    if purpose == Purpose::Secret {
        return Err(
            "the secret cannot be retired: every typed code, pseudonym and fingerprint is made with it".to_owned()
        );
    }
    let held = Held::new(settings, purpose, db.now())?;
    match (held.place(key), lost) {
        (Some(_), true) => {
            Err(format!("the {purpose} key {id} is not lost: {} holds it", settings.directory.display()))
        }
        (None, true) => {
            let retire = |conn: &mut Conn, now| retire_key(conn, now, key, " lost");
            db.write(retire).map_err(|e| e.to_string())?;
            Ok(format!("retired the {purpose} key {id}, which is lost: {}\n", loss(purpose)))
        }
        (None, false) if key.retired_at.is_some() => Ok(format!("the {purpose} key {id} is retired already\n")),
        (None, false) => Err(format!(
            "the {purpose} key {id} is not in {}: run this where it is. If its file is lost for good, add --lost: {}",
            settings.directory.display(),
            loss(purpose)
        )),
        (Some(place), false) => {
            if key.retired_at.is_none() {
                is_needless(settings, purpose, &held, place)?;
                let file = held.files[place].id;
                // first retired, so that nobody seals under it any more, and only then looked for
                let mut sealed = None;
                let retire = |conn: &mut Conn, now| {
                    retire_key(conn, now, key, "")?;
                    sealed = still_under(conn, file)?;
                    if sealed.is_some() { Err(Error::invalid("key", Complaint::KeyInUse)) } else { Ok(()) }
                };
                db.write(retire).map_err(|e| match (e, sealed) {
                    (Error::Invalid(_), Some(what)) => still_sealed(id, what),
                    (other, _) => other.to_string(),
                })?;
            }
            let path = held.files[place].path.display();
            Ok(format!(
                "retired the {purpose} key {id}: {path} may be removed, here and on every other server.\n{}",
                if purpose == Purpose::Identity {
                    "A backup of the database from before now needs it: keep a copy as long as such a backup.\n"
                } else {
                    ""
                }
            ))
        }
    }
}

fn is_needless(settings: &Settings, purpose: Purpose, held: &Held, place: usize) -> Result<(), String> {
    let id = held.files[place].id;
    if purpose == Purpose::Voucher {
        return Err(format!(
            "the voucher key {id} cannot be retired: the cards it signed are valid, and it is what tells them from others"
        ));
    }
    let Some(next) = held.begin.get(place + 1).filter(|_| held.state(place) == State::Older) else {
        return Err(match held.state(place) {
            State::Waits(until) => format!("the {purpose} key {id} waits: from {until} on it {}", verb(purpose)),
            _ => format!("the {purpose} key {id} {} now: rotate first, and wait for the new one", verb(purpose)),
        });
    };
    let seconds = match purpose {
        Purpose::Login => settings.access_minutes * 60,
        // a server seals with what it took at its last look
        _ => settings.look_seconds,
    };
    let needed_until = next.plus_seconds(seconds + SKEW_SECONDS);
    if held.now < needed_until {
        let why = if purpose == Purpose::Login { "what it signed may be shown" } else { "a server may seal under it" };
        return Err(format!("the {purpose} key {id} is still needed: {why} until {needed_until}"));
    }
    Ok(())
}

fn still_sealed(id: &str, what: &str) -> String {
    format!("the identity key {id} is still needed: {what} are sealed under it. A running server seals them anew.")
}

fn verb(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Login | Purpose::Voucher => "signs",
        Purpose::Identity => "seals",
        Purpose::Secret => "is in use, and never rotated",
    }
}

/// What goes with a key that is lost.
fn loss(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Login => "who holds a token of it has to refresh it or log in again.",
        Purpose::Voucher => "the cards it signed are refused when scanned; their typed codes work. Replace them.",
        _ => "whatever is still sealed under it can never be opened again.",
    }
}

fn day(at: Instant) -> String {
    at.to_string().chars().take(10).collect()
}
