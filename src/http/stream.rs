//! Answers that are made while they are sent, so that they may be long: no more of one is in memory than two pieces.

use std::error::Error as StdError;
use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::{self, Bytes};

use super::connection::Taking;
use crate::kit::error::{Error, Result};
use crate::kit::sort::Room;

/// Bytes after which a piece is sent.
pub const PIECE: usize = 64 * 1024;

/// What a server gives to its long answers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the sorting of one answer.
    pub room: Room,
    /// For which a client may take nothing.
    pub patience: Duration,
    /// Answers on their way at a time.
    pub at_once: usize,
}

/// The settings, and what is on its way. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    pub settings: Arc<Settings>,
    on_their_way: Arc<AtomicUsize>,
}

/// The place of one answer among those on their way.
pub struct Place(Arc<AtomicUsize>);

/// An answer in pieces, in order. Each is made where it may block.
pub trait Pieces: Send + 'static {
    /// None after the last.
    fn next(&mut self) -> Result<Option<Vec<u8>>>;
}

impl Default for Settings {
    fn default() -> Self {
        let room = Room { records: 16_384, directory: PathBuf::from("./data/reports") };
        Settings { room, patience: Duration::from_secs(20), at_once: 32 }
    }
}

impl Streams {
    pub fn new(settings: Settings) -> Self {
        Streams { settings: Arc::new(settings), on_their_way: Arc::default() }
    }

    /// `unavailable` while there are too many.
    pub fn enter(&self) -> Result<Place> {
        let place = Place(self.on_their_way.clone());
        if self.on_their_way.fetch_add(1, Ordering::SeqCst) < self.settings.at_once {
            return Ok(place);
        }
        Err(Error::Unavailable("too many long answers are on their way".to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Making<P> = Pin<Box<dyn Future<Output = Result<(P, Option<Vec<u8>>)>>>>;

/// The body of such an answer: the next piece is made while its client takes the one before. Should one fail, the answer
/// breaks off without its end, as there is no other way to tell.
pub struct Body<P> {
    making: Option<Making<P>>,
    taking: Option<Taking>,
    _place: Place,
}

impl<P: Pieces> Body<P> {
    /// The first piece is there already, so that what fails before it is answered as any error.
    pub fn new(pieces: P, first: Option<Vec<u8>>, place: Place, request: &HttpRequest, patience: Duration) -> Self {
        Body {
            making: Some(Box::pin(ready(Ok((pieces, first))))),
            taking: Taking::begin(request, patience),
            _place: place,
        }
    }

    fn offer(&self, something: bool) {
        if let Some(taking) = &self.taking {
            taking.offer(something);
        }
    }
}

fn make<P: Pieces>(mut pieces: P) -> Making<P> {
    let work = web::block(move || pieces.next().map(|piece| (pieces, piece)));
    Box::pin(async { work.await.unwrap_or_else(|_| Err(Error::Internal("a blocking job panicked".to_owned()))) })
}

impl<P: Pieces> MessageBody for Body<P> {
    type Error = Box<dyn StdError>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Bytes, Self::Error>>> {
        self.offer(false);
        let Some(making) = &mut self.making else { return Poll::Ready(None) };
        let made = std::task::ready!(making.as_mut().poll(context));
        self.making = None;
        match made {
            Ok((pieces, Some(piece))) => {
                self.making = Some(make(pieces));
                self.offer(true);
                Poll::Ready(Some(Ok(piece.into())))
            }
            Ok((_, None)) => Poll::Ready(None),
            Err(error) => {
                tracing::error!(cause = %error, "a long answer broke off");
                Poll::Ready(Some(Err(error.to_string().into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    use super::*;

    /// So many pieces, and then an error or the end.
    struct Counted {
        left: u8,
        fails: bool,
    }

    impl Pieces for Counted {
        fn next(&mut self) -> Result<Option<Vec<u8>>> {
            if self.left == 0 {
                return if self.fails { Err(Error::internal("lost")) } else { Ok(None) };
            }
            self.left -= 1;
            Ok(Some(vec![self.left]))
        }
    }

    #[actix_web::test]
    async fn an_answer_ends_only_when_all_of_it_was_sent() {
        let streams = Streams::new(Settings { at_once: 1, ..Settings::default() });
        let request = TestRequest::default().to_http_request();
        let send = |fails| {
            let place = streams.enter().unwrap();
            assert!(streams.enter().is_err(), "two are on their way");
            to_bytes(Body::new(Counted { left: 3, fails }, Some(vec![9]), place, &request, Duration::ZERO))
        };
        assert_eq!(send(false).await.unwrap(), [9, 2, 1, 0].as_slice());
        assert!(send(true).await.is_err());
        assert!(streams.enter().is_ok(), "a place was lost");
    }
}
