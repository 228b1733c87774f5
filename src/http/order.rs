//! Who asks is settled before what they ask: a stranger's wrong body gets 401, not a lesson about its fields.
//!
//! actix polls a handler's extractors side by side and answers with whichever fails first. So a [`Permit`] that is
//! being looked up says so on its request, and the extractors declared after it keep their own errors until it is done.
//!
//! [`Permit`]: super::permission::Permit

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::{HttpMessage, HttpRequest};

use super::problem::{Answer, Problem};

/// That a permit is being looked up for a request.
#[derive(Clone)]
pub(super) struct Checking(Rc<Cell<bool>>);

impl Checking {
    pub fn begin(req: &HttpRequest) -> Self {
        let checking = Checking(Rc::new(Cell::new(true)));
        req.extensions_mut().insert(checking.clone());
        checking
    }

    pub fn end(&self) {
        self.0.set(false);
    }
}

/// The future of an extractor: its value as soon as it is there, its error only once nobody is checking any more.
pub struct AfterPermit<T> {
    work: Pin<Box<dyn Future<Output = Answer<T>>>>,
    failed: Option<Problem>,
    checking: Option<Checking>,
}

impl<T> AfterPermit<T> {
    pub(super) fn new(req: &HttpRequest, work: impl Future<Output = Answer<T>> + 'static) -> Self {
        AfterPermit { work: Box::pin(work), failed: None, checking: req.extensions().get().cloned() }
    }
}

impl<T> Future for AfterPermit<T> {
    type Output = Answer<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer<T>> {
        let problem = match self.failed.take() {
            Some(problem) => problem,
            None => match self.work.as_mut().poll(context) {
                Poll::Ready(Err(problem)) => problem,
                undecided_or_fine => return undecided_or_fine,
            },
        };
        if self.checking.as_ref().is_some_and(|checking| checking.0.get()) {
            // the permit's own future wakes this task
            self.failed = Some(problem);
            return Poll::Pending;
        }
        Poll::Ready(Err(problem))
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use actix_web::test::TestRequest;

    use super::*;
    use crate::kit::error::{Code, Error};

    #[test]
    fn an_error_waits_for_the_permit_and_a_value_does_not() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let request = TestRequest::default().to_http_request();
        let fail = || ready(Err::<(), _>(Problem(Error::Refused(Code::MalformedJson))));
        let mut before = AfterPermit::new(&request, fail());
        assert!(Pin::new(&mut before).poll(&mut context).is_ready(), "nobody is checking");

        let checking = Checking::begin(&request);
        let mut value = AfterPermit::new(&request, ready(Ok(7)));
        assert!(matches!(Pin::new(&mut value).poll(&mut context), Poll::Ready(Ok(7))));
        let mut error = AfterPermit::new(&request, fail());
        assert!(Pin::new(&mut error).poll(&mut context).is_pending());
        assert!(Pin::new(&mut error).poll(&mut context).is_pending());
        checking.end();
        assert!(matches!(Pin::new(&mut error).poll(&mut context), Poll::Ready(Err(_))));
    }
}
