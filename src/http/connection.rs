//! Connections on which nothing is asked for long: actix itself waits without end for a first byte, for the rest of a
//! second head, for the rest of a chunked body that nobody reads, and for a client to take its answer.

use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
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
    watch: JoinHandle<()>,
}

/// Ends the connection once it has had no request at work for so long. For `HttpServer::on_connect`.
pub fn watch(patience: Duration, socket: &dyn Any, data: &mut Extensions) {
    let socket = socket.downcast_ref::<net::TcpStream>().map(|socket| socket.as_fd().try_clone_to_owned());
    let Some(Ok(socket)) = socket else { return };
    let idle = Rc::new(Cell::new(Some(Instant::now())));
    let since = idle.clone();
    let watch = spawn(async move {
        loop {
            let now = Instant::now();
            let end = since.get().unwrap_or(now) + patience;
            if end <= now {
                // where it cannot be ended it has ended by itself
                let _ = TcpStream::from(socket).shutdown(Shutdown::Both);
                return;
            }
            sleep_until(end).await;
        }
    });
    data.insert(Watched { idle, watch });
}

impl Drop for Watched {
    /// The connection is gone, and the watch must not keep its socket.
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// A request of a connection begins (`true`), or its answer is there.
pub fn at_work(request: &HttpRequest, begins: bool) {
    if let Some(watched) = request.conn_data::<Watched>() {
        watched.idle.set((!begins).then(Instant::now));
    }
}
