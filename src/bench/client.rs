//! HTTP/1.1 on a connection that is kept, and nothing that costs: the load shares the processors with what it measures.

use std::io::{ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::time::Duration;

use actix_web::rt::net::TcpStream;

pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// What of an answer is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    /// Whether it says that it repeats a first answer.
    pub replay: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, answer: Vec::with_capacity(4096) })
    }

    /// Sends a request and waits for the whole answer, which must say its length.
    pub async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Seen> {
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.try_write(&request[sent..]) {
                Ok(count) => sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(e) => return Err(e),
            }
        }
        self.answer.clear();
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.answer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    if let Some(seen) = whole(&self.answer)? {
                        return Ok(seen);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Sends one request on a connection of its own, and waits for its answer: no longer than so for a part of it.
pub fn ask(address: SocketAddr, request: &[u8], patience: Duration) -> std::io::Result<Seen> {
    let mut stream = net::TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request)?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&part[..count]),
        }
        if let Some(seen) = whole(&answer)? {
            return Ok(seen);
        }
    }
}

/// None as long as something of it is to come.
fn whole(answer: &[u8]) -> std::io::Result<Option<Seen>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let wrong = || std::io::Error::from(ErrorKind::InvalidData);
    let text = std::str::from_utf8(&answer[..head]).map_err(|_| wrong())?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let (mut length, mut replay) = (None, false);
    for line in text.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
        replay |= name.eq_ignore_ascii_case("idempotent-replay");
    }
    let length = length.ok_or_else(wrong)?;
    Ok((answer.len() >= head + 4 + length).then_some(Seen { status, replay }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_all_its_bytes_are_there() {
        let head = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nidempotent-replay: true\r\n\r\n";
        for (bytes, seen) in [
            ("HTTP/1.1 201", None),
            (head, None),
            (&format!("{head}{{"), None),
            (&format!("{head}{{}}"), Some(Seen { status: 201, replay: true })),
        ] {
            assert_eq!(whole(bytes.as_bytes()).unwrap(), seen, "{bytes}");
        }
        assert!(whole(b"HTTP/1.1 201 Created\r\n\r\n").is_err());
    }
}
