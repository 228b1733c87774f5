//! The program itself, as its own process.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::world::{directory, new_postgresql_database};

/// An address to listen on later, also after an end: its port is none that the kernel gives to who asks for any (32,768 and
/// up, `ip(7)`), and other processes of these tests begin elsewhere.
pub fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 10_000 + place % 20_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// One deployment, whose `serve` may be killed and started again. What still runs at the end is killed.
pub struct Process {
    pub directory: PathBuf,
    pub database_url: String,
    pub address: String,
    /// Settings of this one, as `PRIMEUR__DATABASE__WAIT_SECONDS`.
    pub settings: Vec<(&'static str, String)>,
    /// What a shell does before it becomes the program.
    pub before: &'static str,
    pub child: Option<Child>,
    /// What stands before the program when it serves: `strace` and its arguments, or nothing.
    pub wrapper: Vec<String>,
}

impl Process {
    pub fn on_sqlite() -> Self {
        let directory = directory();
        let url = format!("sqlite://{}/primeur.db", directory.display());
        Self::new(directory, url)
    }

    pub fn on_postgresql() -> Self {
        Self::on(new_postgresql_database())
    }

    /// On a PostgreSQL database of the test's own.
    pub fn on(database_url: String) -> Self {
        Self::new(directory(), database_url)
    }

    /// Another server of the same deployment: the same database, keys and log.
    pub fn beside(&self) -> Self {
        let mut other = Self::new(self.directory.clone(), self.database_url.clone());
        other.settings.clone_from(&self.settings);
        other
    }

    pub fn new(directory: PathBuf, database_url: String) -> Self {
        Process {
            directory,
            database_url,
            address: format!("http://{}", address()),
            settings: Vec::new(),
            before: "",
            child: None,
            wrapper: Vec::new(),
        }
    }

    /// A command of the program, on this deployment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{} exec \"$0\" \"$@\"", self.before), env!("CARGO_BIN_EXE_primeur")])
            .args(arguments)
            .current_dir(&self.directory)
            .env("PRIMEUR__SERVER__LISTEN", self.address.trim_start_matches("http://"))
            .env("PRIMEUR__SERVER__PUBLIC_URL", &self.address)
            .env("PRIMEUR__DATABASE__URL", &self.database_url)
            // load comes from one address, by few sessions
            .env("PRIMEUR__LIMITS__SESSION_PER_SECOND", "0")
            .env("PRIMEUR__LIMITS__ADDRESS_PER_SECOND", "0")
            .env("PRIMEUR__LIMITS__STRANGER_PER_SECOND", "0")
            .env("PRIMEUR__KEYS__DIRECTORY", self.directory.join("keys"))
            .env("PRIMEUR__REPORTS__DIRECTORY", self.directory.join("reports"))
            .env("PRIMEUR__ACCESS__SECOND_FACTOR", "optional")
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Lets no file of what serves grow past so many bytes, or `unlimited`: stands for a full disk, since any user may set
    /// it. What runs must not end by the signal for it: `before` is [`Process::OUTLIVES_LIMITS`].
    pub fn limit_files(&self, bytes: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let mut set = Command::new("prlimit");
        assert!(set.args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status().unwrap().success());
    }

    pub const OUTLIVES_LIMITS: &str = "trap '' XFSZ;";

    /// Starts `serve` and waits until it is ready. Its log goes on in `serve.log`.
    pub fn serve(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let child = self
            .wrapped(self.command(&["serve"]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait_until_ready();
    }

    pub fn wait_until_ready(&mut self) {
        let ready = format!("{}/health/ready", self.address);
        // a look a twentieth of a second, a minute at most: the machine may be busy
        let up = (0..1200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
            assert!(!ended, "serve has ended: {}", std::fs::read_to_string(self.log()).unwrap());
            ureq::get(&ready).call().is_ok()
        });
        assert!(up, "serve is not ready: {}", std::fs::read_to_string(self.log()).unwrap());
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("serve.log")
    }

    fn wrapped(&self, command: Command) -> Command {
        let Some((first, more)) = self.wrapper.split_first() else { return command };
        let mut wrapped = Command::new(first);
        wrapped.args(more).arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.current_dir(&self.directory);
        wrapped
    }

    /// Ends it in good order; what it is wrapped in ends with it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal("TERM", &self.own(&child));
        child.wait().unwrap();
    }

    /// The program's own process: the child, or that one's child.
    fn own(&self, child: &Child) -> String {
        let id = child.id();
        if self.wrapper.is_empty() {
            return id.to_string();
        }
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap().trim().to_owned()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal("KILL", &self.own(&child));
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that has ended meanwhile does not matter.
pub fn signal(name: &str, pid: &str) {
    let _ = Command::new("kill").args(["-s", name, "--", pid]).stderr(Stdio::null()).status();
}
