//! A PostgreSQL server of one test's own, which may be stopped and started again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres");

pub struct Cluster {
    pub directory: PathBuf,
    /// On 127.0.0.1, if it listens there at all.
    pub port: u16,
    options: Vec<String>,
    server: Option<Child>,
}

impl Cluster {
    /// A running server without TCP.
    pub fn start() -> Self {
        let mut cluster = Self::new(|_| Vec::new());
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
        Cluster { directory, port, options, server: None }
    }

    pub fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).unwrap();
        let mut command = Command::new(SCRIPT);
        command.arg("run").arg(&self.directory).args(["-p", &self.port.to_string()]).args(&self.options);
        // it may crash, and what was committed must be there then
        command.args(["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
        let up = (0..1200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            PgConnection::establish(&self.url("postgres")).is_ok()
        });
        assert!(up, "{}", std::fs::read_to_string(self.directory.join("log")).unwrap());
    }

    /// Ends all connections and stops: `TERM` would wait for them, `INT` does not, `QUIT` is a crash.
    pub fn stop(&mut self, signal: &str) {
        if let Some(mut server) = self.server.take() {
            let sent = Command::new("kill").args(["-s", signal, &server.id().to_string()]).status().unwrap();
            assert!(sent.success());
            server.wait().unwrap();
        }
    }

    /// A database of it by the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://test@/{database}?host={}&port={}", self.directory.display(), self.port)
    }

    pub fn sql(&self, statements: &str) {
        PgConnection::establish(&self.url("postgres")).unwrap().batch_execute(statements).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop("QUIT");
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
