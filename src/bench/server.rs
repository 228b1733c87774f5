//! `primeur serve` as a process of its own: this same program, with settings of the bench.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    pub address: SocketAddr,
    /// From the start of the process to the first time that it was ready.
    pub start: Duration,
    child: Child,
}

impl Server {
    pub fn start<'a>(folder: &Path, settings: impl Iterator<Item = &'a (String, String)>) -> Result<Self, String> {
        let told = |e: std::io::Error| format!("cannot start primeur serve: {e}");
        // free now, and nobody else's business until we listen on it
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(told)?;
        let path = folder.join("serve.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(told)?;
        let mut command = Command::new(std::env::current_exe().map_err(told)?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PRIMEUR_")) {
            command.env_remove(name);
        }
        command.arg("serve").current_dir(folder);
        command.envs(settings.map(|(name, value)| (name, value)));
        command.env("PRIMEUR__SERVER__LISTEN", address.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let begun = Instant::now();
        let mut server = Server { address, start: Duration::ZERO, child: command.spawn().map_err(told)? };
        while begun.elapsed() < Duration::from_secs(120) {
            if server.ready() {
                server.start = begun.elapsed();
                return Ok(server);
            }
            if server.child.try_wait().ok().flatten().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let log = fs::read_to_string(&path).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        Err(format!("primeur serve is not ready: {}", last.join(" / ")))
    }

    fn ready(&self) -> bool {
        self.get("/health/ready", None, |_| {}).is_ok_and(|status| status == 200)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request on a connection of its own; `seen` gets the answer as it comes, head included. Its status.
    pub fn get(&self, path: &str, token: Option<&str>, mut seen: impl FnMut(&[u8])) -> Result<u16, String> {
        let told = |e: std::io::Error| format!("GET {path}: {e}");
        let mut stream = TcpStream::connect(self.address).map_err(told)?;
        stream.set_read_timeout(Some(Duration::from_secs(600))).map_err(told)?;
        let signed = token.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n{signed}\r\n");
        stream.write_all(head.as_bytes()).map_err(told)?;
        let (mut block, mut status) = (vec![0; 256 * 1024], None);
        loop {
            let count = stream.read(&mut block).map_err(told)?;
            if count == 0 {
                return status.ok_or(format!("GET {path}: no answer"));
            }
            if status.is_none() {
                status = std::str::from_utf8(block.get(9..12).unwrap_or_default()).ok().and_then(|s| s.parse().ok());
            }
            seen(&block[..count]);
        }
    }

    /// Ends it in good order.
    pub fn stop(mut self) {
        let told = Command::new("kill").args(["-s", "TERM", "--", &self.pid().to_string()]).status();
        if told.is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
