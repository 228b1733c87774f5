//! Connections on which nothing is asked for long: actix itself waits without end for a first byte, for the rest of a
//! second head, for the rest of a chunked body that nobody reads, and for a client to take its answer.

use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::rt::task::JoinHandle;
use actix_web::rt::time::{Instant, sleep_until};
use actix_web::rt::{net, spawn};

/// What a connection's requests tell the one who watches it.
pub struct Watched {
    /// Since when it has had no request at work.
    idle: Rc<Cell<Option<Instant>>>,
    socket: Rc<OwnedFd>,
    watch: JoinHandle<()>,
}

/// Ends the connection once it has had no request at work for so long. For `HttpServer::on_connect`.
pub fn watch(patience: Duration, socket: &dyn Any, data: &mut Extensions) {
    let socket = socket.downcast_ref::<net::TcpStream>().map(|socket| socket.as_fd().try_clone_to_owned());
    let Some(Ok(socket)) = socket else { return };
    let socket = Rc::new(socket);
    let idle = Rc::new(Cell::new(Some(Instant::now())));
    let watch = spawn(end_after(patience, idle.clone(), socket.clone()));
    data.insert(Watched { idle, socket, watch });
}

/// Ends a connection once it has been idle for so long.
async fn end_after(patience: Duration, idle: Rc<Cell<Option<Instant>>>, socket: Rc<OwnedFd>) {
    loop {
        let now = Instant::now();
        let end = idle.get().unwrap_or(now) + patience;
        if end <= now {
            // where it cannot be ended it has ended by itself
            let _ = socket.try_clone().map(|socket| TcpStream::from(socket).shutdown(Shutdown::Both));
            return;
        }
        sleep_until(end).await;
    }
}

impl Drop for Watched {
    /// The connection is gone, and the watch must not keep its socket.
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// That a long answer is on its way: its client is given up once it has taken nothing for so long.
pub struct Taking {
    connection: Rc<Cell<Option<Instant>>>,
    /// Since when there has been something for it to take.
    offered: Rc<Cell<Option<Instant>>>,
    watch: JoinHandle<()>,
}

impl Taking {
    /// None for a request that came over no socket.
    pub fn begin(request: &HttpRequest, patience: Duration) -> Option<Self> {
        let Watched { idle, socket, .. } = request.conn_data::<Watched>()?;
        let offered = Rc::new(Cell::new(None));
        let watch = spawn(end_after(patience, offered.clone(), socket.clone()));
        Some(Taking { connection: idle.clone(), offered, watch })
    }

    /// The client has something to take (`true`), or has taken all there is so far.
    pub fn offer(&self, something: bool) {
        self.connection.set(None);
        self.offered.set(something.then(Instant::now));
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.watch.abort();
        self.connection.set(Some(Instant::now()));
    }
}

/// A request of a connection begins (`true`), or its answer is there.
pub fn at_work(request: &HttpRequest, begins: bool) {
    if let Some(watched) = request.conn_data::<Watched>() {
        watched.idle.set((!begins).then(Instant::now));
    }
}
