//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use primeur::config::{Config, LogFormat};
use primeur::db::{Db, Schema, newer};
use primeur::http::extract;
use primeur::keyring::commands as keyring;
use primeur::kit::error::Error;
use primeur::kit::keys::{Keys as KeyFiles, Purpose};
use primeur::kit::text::{Email, Line};
use primeur::kit::time::SystemClock;
use primeur::{access, backup, demo, privacy, schedule, service, simulation, verify};
use tracing_subscriber::EnvFilter;

/// The payment backend for sustainable food vouchers (chèques alimentaires durables).
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    /// A configuration file over the defaults of config/default.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fill a database with an invented territory, live five months of it, and serve it on this machine only.
    Demo {
        /// Start over: remove the demo's own database and keys first.
        #[arg(long)]
        fresh: bool,
        /// The port to serve on.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Fill and say what there is, but do not serve.
        #[arg(long)]
        no_serve: bool,
    },
    /// Serve the API for real use.
    Serve,
    /// Bring the database's schema up to this version.
    Migrate,
    /// Issue what is due, close what is over, move up the waiting lists, erase what was kept long enough: once, now.
    Issue,
    /// Recompute every balance and every invariant from the journal.
    Verify,
    /// Copy the embedded database into one file, while it serves.
    Backup {
        /// A file that is not there yet. It holds everything but the keys.
        file: PathBuf,
    },
    /// Put a backup in the place of the embedded database, while it serves. What it replaces is kept beside it.
    Restore {
        /// What `primeur backup` has made.
        file: PathBuf,
        /// Restore it even if `verify` finds rows in it that are wrong.
        #[arg(long)]
        although_wrong: bool,
    },
    /// The keys that sign logins and cards, and that seal identities.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Tell what a scheme would cost and give, of a file that says which. Needs no database.
    Simulate {
        /// JSON, as the API's POST /api/v1/simulations takes it.
        file: PathBuf,
        /// By the rules of a preset; the file then says none.
        #[arg(long)]
        preset: Option<String>,
        /// The API's answer instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Administrators.
    Admin {
        #[command(subcommand)]
        command: Admin,
    },
    /// Measure what this machine's disk and both databases carry, on throwaway databases.
    #[cfg(feature = "bench")]
    Bench(primeur::bench::Options),
}

#[derive(Subcommand)]
enum Keys {
    /// List every key: what for, since when, and whether it signs, only verifies, waits, is missing or retired.
    List,
    /// Make a new key. It signs once keys.overlap_minutes are over: until then, copy it to every other server.
    ///
    /// Running servers take it by themselves. What older keys have signed stays valid, and what they have sealed is
    /// sealed anew by and by.
    Rotate {
        /// What for: login, voucher or identity. The secret is never rotated.
        purpose: Purpose,
    },
    /// Give up a login or identity key that nothing needs any more, so that its file may be removed.
    ///
    /// Refused as long as it is needed: for the key in use; for a login key as long as a token it signed may live; for an
    /// identity key as long as anything is sealed under it; for a voucher key always, since cards stay valid.
    Retire {
        /// Its id, as `primeur keys list` shows it.
        key: String,
        /// Its file is lost for good: give up what needs it too, and let the service start without it.
        #[arg(long)]
        lost: bool,
    },
}

#[derive(Subcommand)]
enum Admin {
    /// Make the first administrator. The password is asked for, or read from standard input if that is no terminal.
    Create {
        /// What they log in with.
        #[arg(long)]
        email: Email,
        /// Their own name.
        #[arg(long)]
        name: Line<200>,
        /// The organisation that runs this service.
        #[arg(long)]
        organisation: Line<200>,
    },
    /// Take somebody's second factor away who has lost it and whom nobody else can help; their sessions end.
    ResetSecondFactor {
        /// What they log in with.
        #[arg(long)]
        email: Email,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("primeur: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let file = arguments.config.or_else(|| std::env::var_os("PRIMEUR_CONFIG").map(PathBuf::from));
    // a name or value that is no text is none of ours
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = Config::load(file.as_deref(), environment)?;
    match arguments.command {
        Command::Demo { fresh, port, no_serve } => {
            let files = demo::Files::new("./data/demo");
            let config = demo::settings(config, &files, port);
            log(&config)?;
            demo::run(&config, &files, fresh, !no_serve)?;
        }
        Command::Serve => {
            log(&config)?;
            service::serve(&config)?;
        }
        Command::Migrate => {
            let steps = service::open_database(&config, Arc::new(SystemClock))?.migrate().map_err(|e| e.to_string())?;
            println!("{steps} migrations run");
        }
        Command::Issue => {
            let db = service::open_migrated(&config, Arc::new(SystemClock))?;
            let done = schedule::run(&db).map_err(|e| e.to_string())?;
            let said: Vec<String> =
                done.counts().iter().map(|(what, count)| format!("{} {count}", what.replace('_', " "))).collect();
            let erased = privacy::erase_due(&db, config.privacy.retention_months).map_err(|e| e.to_string())?;
            println!("{}, erased {erased}", said.join(", "));
        }
        Command::Verify => return verify_database(&config),
        Command::Backup { file } => return back_up(&config, &file),
        Command::Restore { file, although_wrong } => return restore(&config, &file, although_wrong),
        #[cfg(feature = "bench")]
        Command::Bench(options) => primeur::bench::run(&options)?,
        Command::Simulate { file, preset, json } => simulate(&file, preset, json)?,
        Command::Keys { command } => {
            let (db, settings) = (open_current(&config)?, config.keyring());
            let said = match command {
                Keys::List => keyring::list(&db, &settings),
                Keys::Rotate { purpose } => keyring::rotate(&db, &settings, purpose),
                Keys::Retire { key, lost } => keyring::retire(&db, &settings, &key, lost),
            };
            print!("{}", said?);
        }
        Command::Admin { command: Admin::Create { email, name, organisation } } => {
            let db = service::open_migrated(&config, Arc::new(SystemClock))?;
            let password = read_password()?;
            password.suits(&email).map_err(|e| format!("password: {e}"))?;
            let hash = access::password::hash(&config.access(), &password).map_err(|e| e.to_string())?;
            let create =
                |conn: &mut _, now| access::create_first_administrator(conn, now, &organisation, &email, &name, &hash);
            db.write(create).map_err(|e| e.to_string())?;
            println!("{} may log in as administrator", email.as_str());
        }
        Command::Admin { command: Admin::ResetSecondFactor { email } } => {
            let db = service::open_migrated(&config, Arc::new(SystemClock))?;
            let reset = |conn: &mut _, now| access::second_factor::reset_by_service(conn, now, &email);
            db.write(reset).map_err(|e| e.to_string())?;
            println!("{} has no second factor any more", email.as_str());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a database that has the schema of this version, and leaves it as it is.
fn open_current(config: &Config) -> Result<Db, String> {
    let db = service::open_database(config, Arc::new(SystemClock))?;
    match db.schema().map_err(|e| e.to_string())? {
        Schema::Current => {}
        Schema::Behind => {
            return Err("this database has not the schema of this version: run `primeur migrate` first".to_owned());
        }
        Schema::Newer(version) => return Err(newer(&version)),
    }
    Ok(db)
}

fn verify_database(config: &Config) -> Result<ExitCode, String> {
    let db = open_current(config)?;
    // a copy may be looked at where its keys are not: what they open is then left out, and said to be
    let keys = match db.read(access::keys::purposes_in_use).map_err(|e| e.to_string())?.is_empty() {
        false => KeyFiles::open(&config.keys.directory, db.now(), config.keys.overlap_minutes)
            .inspect_err(|e| eprintln!("identities: not checked: {e}"))
            .ok(),
        true => None,
    };
    let verdict = match keys {
        Some(keys) => verify::run_with_keys(&db, &keys),
        None => verify::run(&db),
    };
    Ok(say(&verdict.map_err(|e| e.to_string())?))
}

/// Prints a verdict; the exit code is its short form.
fn say(verdict: &verify::Verdict) -> ExitCode {
    for (what, count) in &verdict.checked {
        println!("{what}: {count} checked");
    }
    for finding in &verdict.findings {
        println!("WRONG {finding}");
    }
    if verdict.findings.is_empty() {
        println!("OK");
        return ExitCode::SUCCESS;
    }
    println!("{} rows are wrong", verdict.findings.len());
    ExitCode::FAILURE
}

fn simulate(file: &Path, preset: Option<String>, json: bool) -> Result<(), String> {
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let told = |e: Error| format!("{}: {e}", file.display());
    let request: simulation::Request = extract::parse(&text).map_err(told)?.value;
    let request = match preset {
        Some(preset) => request.with_preset(preset),
        None => request,
    };
    let outcome = request.scheme().and_then(|scheme| simulation::simulate(&scheme)).map_err(told)?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&outcome).map_err(|e| e.to_string())?),
        false => print!("{}", simulation::table(&outcome)),
    }
    Ok(())
}

fn back_up(config: &Config, file: &Path) -> Result<ExitCode, String> {
    let Some(database) = backup::embedded(config) else { return Ok(by_postgresql()) };
    tell(&backup::backup(&database, file)?);
    Ok(ExitCode::SUCCESS)
}

fn restore(config: &Config, file: &Path, although_wrong: bool) -> Result<ExitCode, String> {
    let Some(database) = backup::embedded(config) else { return Ok(by_postgresql()) };
    match backup::restore(config, &database, file, although_wrong)? {
        backup::Outcome::Restored(backup::Restored { kept, migrations, verdict }) => {
            if let Some(kept) = kept {
                println!("what was there is kept:");
                tell(&kept);
            }
            println!("{} is restored; {migrations} migrations run on it", file.display());
            Ok(say(&verdict))
        }
        backup::Outcome::Wrong(verdict) => {
            say(&verdict);
            Err(format!("nothing was replaced: {} holds wrong rows (--although-wrong restores it)", file.display()))
        }
    }
}

fn tell(report: &backup::Report) {
    let backup::Report { file, bytes, moment, counts, audit_head } = report;
    println!("{}: {bytes} bytes, all that was answered before {moment}", file.display());
    for (what, count) in counts {
        println!("{what}: {count}");
    }
    match audit_head {
        Some((sequence, digest)) => println!("audit log: {sequence} entries, the last with digest {digest}"),
        None => println!("audit log: empty"),
    }
}

fn by_postgresql() -> ExitCode {
    eprintln!("primeur: {}", backup::BY_POSTGRESQL);
    ExitCode::from(2)
}

fn read_password() -> Result<access::password::Password, String> {
    use std::io::IsTerminal;
    let typed = if std::io::stdin().is_terminal() {
        rpassword::prompt_password("Password (12 characters at least): ")
    } else {
        std::io::read_to_string(std::io::stdin()).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    };
    typed.map_err(|e| format!("cannot read the password: {e}"))?.parse().map_err(|e| format!("password: {e}"))
}

fn log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log.level).map_err(|e| format!("log.level: {e}"))?;
    // a log that cannot be written, on a full disk, must not stop the service: saying so would panic
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match config.log.format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
    Ok(())
}
