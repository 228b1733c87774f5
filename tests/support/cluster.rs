//! A PostgreSQL server of one test's own, which syncs what it commits, and may be stopped, killed and started again: the
//! suite's shared one does none of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;

use super::process::signal;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");

pub struct Cluster {
    pub directory: PathBuf,
    /// On 127.0.0.1, if it listens there at all.
    pub port: u16,
    options: Vec<String>,
    /// What stands before the server: `strace` and its arguments, or nothing.
    wrapper: Vec<String>,
    server: Option<Child>,
}

impl Cluster {
    /// A running server without TCP.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// The same with settings of the test's own, as in `fsync=off`, and run by another program.
    pub fn start_with(settings: &[&str], wrapper: &[&str]) -> Self {
        let options = settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]).collect();
        let mut cluster = Self::new(|_| options);
        cluster.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        cluster.run();
        cluster
    }

    /// A cluster that does not run yet. `options` may put files into its directory, and gives those of the server.
    pub fn new(options: impl FnOnce(&Path) -> Vec<String>) -> Self {
        // beside the suite's own server: short enough for a socket, and gone at the end whatever happens
        let base = std::env::var("TEST_DATABASE_URL").unwrap();
        let name = format!("{:x}", uuid::Uuid::now_v7().as_u128() as u64);
        let directory = PathBuf::from(base.split_once("host=").unwrap().1).join(name);
        std::fs::create_dir(&directory).unwrap();
        let options = options(&directory);
        let made = Command::new(SCRIPT).arg("init").arg(&directory).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Cluster { directory, port, options, wrapper: Vec::new(), server: None }
    }

    /// Starts the server, after a crash too, and waits until it takes connections.
    pub fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).chain([SCRIPT, "run"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&self.directory).args(["-p", &self.port.to_string()]);
        // it may crash, and what was committed must be there then
        command.args(["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"]);
        command.args(["-c", "max_connections=100", "-c", "shared_buffers=16MB"]).args(&self.options);
        command.stdin(Stdio::null());
        // a killed server's last child may hold its memory for a moment, which keeps the next one from starting
        for _ in 0..100 {
            command.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
            let mut server = command.spawn().unwrap();
            while server.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(20));
                if self.is_ready() {
                    self.server = Some(server);
                    return;
                }
            }
        }
        panic!("PostgreSQL does not start: {}", std::fs::read_to_string(self.log()).unwrap());
    }

    fn is_ready(&self) -> bool {
        let pid = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        pid.lines().nth(7).is_some_and(|status| status.trim() == "ready")
            && PgConnection::establish(&self.url("postgres")).is_ok()
    }

    /// Ends all connections and stops: `TERM` would wait for them, `INT` does not, `QUIT` is its own emergency stop.
    pub fn stop(&mut self, name: &str) {
        if let Some(mut server) = self.server.take() {
            if let Ok(pid) = std::fs::read_to_string(self.directory.join("data/postmaster.pid")) {
                signal(name, pid.lines().next().unwrap_or_default().trim());
            }
            server.wait().unwrap();
        }
    }

    /// `kill -9` of the server and every process of it, as a power cut would end them.
    pub fn kill(&mut self) {
        let postmaster = self.postmaster();
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        signal("KILL", &postmaster);
        children.split_whitespace().for_each(|child| signal("KILL", child));
        self.server.take().unwrap().wait().unwrap();
    }

    fn postmaster(&self) -> String {
        let pid = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        pid.lines().next().unwrap().trim().to_owned()
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A database of it by the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://test@/{database}?host={}&port={}", self.directory.display(), self.port)
    }

    /// A new, empty database.
    pub fn new_database(&self) -> String {
        self.sql("CREATE DATABASE primeur");
        self.url("primeur")
    }

    pub fn sql(&self, statements: &str) {
        PgConnection::establish(&self.url("postgres")).unwrap().batch_execute(statements).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // a test that failed may have left it without its file
        if let Some(server) = &mut self.server
            && !self.directory.join("data/postmaster.pid").exists()
        {
            let _ = server.kill();
        }
        self.stop("QUIT");
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// One of PostgreSQL's programs.
pub fn program(name: &str) -> Command {
    let folder = std::env::var("TEST_POSTGRESQL_PROGRAMS").expect("scripts/test tells where PostgreSQL's programs are");
    Command::new(Path::new(&folder).join(name))
}
