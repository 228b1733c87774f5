//! The queue that purchases and voids of all stalls wait in: whatever is there is decided and committed together, and
//! then everybody is answered.

use std::collections::BTreeSet;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Stopwatch};

use actix_web::dev::Payload;
use actix_web::rt::time::timeout;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};

use super::{Request, Taken, Verdict, redeem_all, take};
use crate::access::{self, Actor};
use crate::allowance;
use crate::db::group::{self, Fate, Group, Work};
use crate::db::{Conn, Db, Folder, ask};
use crate::http::State;
use crate::http::extract;
use crate::http::idempotency::{self, Claim, IdempotencyKey};
use crate::http::metrics::Metrics;
use crate::http::problem::{Answer, Problem};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::RedemptionId;
use crate::kit::keys::Digest32;
use crate::kit::text::Line as Text;
use crate::kit::time::Instant;
use crate::redemption::api::RedemptionAnswer;
use crate::redemption::{NewRedemption, own, void};
use crate::voucher::Presented;

/// The till of one server.
pub struct Till {
    way: Way,
    metrics: Arc<Metrics>,
    /// Somebody was turned away since it last stood empty, and the log has been told so.
    crowded: AtomicBool,
    /// Ends with it.
    _folder: Option<Folder>,
    /// For which somebody waits for an answer; what they asked for is done all the same.
    wait: Duration,
}

enum Way {
    Together(Group<Counter>),
    /// Each in a transaction of its own, on the threads for what may block.
    Alone(web::Data<Counter>),
}

/// Who decides what waits.
struct Counter {
    db: Db,
    hashes: RandomState,
}

/// What somebody asks for.
struct Item {
    actor: Actor,
    errand: Errand,
}

enum Errand {
    Redeem { new: NewRedemption, key: String, digest: Digest32 },
    Void { id: RedemptionId, reason: Option<Text<200>> },
}

/// A session is looked at again where it was looked at longer ago than this: who is logged out is refused within a second.
const SOON: Duration = Duration::from_millis(100);

/// What is told: JSON, and whether it is a repeat.
type Told = Result<(String, bool)>;

impl Till {
    /// Begins to work. With no places in the queue there is none.
    pub fn start(state: &State, settings: &group::Settings) -> std::io::Result<Self> {
        let counter = Counter { db: state.db.clone(), hashes: RandomState::new() };
        let mut folder = None;
        let way = match settings.places {
            0 => Way::Alone(web::Data::new(counter)),
            _ => {
                folder = Folder::start(&state.db).map_err(std::io::Error::other)?;
                let writers = if state.db.has_one_writer() { 1 } else { settings.writers };
                Way::Together(Group::start(counter, group::Settings { writers, ..*settings })?)
            }
        };
        let (metrics, crowded) = (state.metrics.clone(), AtomicBool::default());
        Ok(Till { way, _folder: folder, metrics, crowded, wait: state.db.wait() })
    }

    /// Redeems once for a key: 201 with the first answer.
    pub async fn redeem(
        &self,
        actor: Actor,
        key: IdempotencyKey,
        body: &Digest32,
        new: NewRedemption,
    ) -> Answer<HttpResponse> {
        let digest = key.digest(body);
        let errand = Errand::Redeem { new, key: key.key, digest };
        let (json, replay) = self.ask(Item { actor, errand }).await?;
        Ok(idempotency::answer(json, replay))
    }

    /// Undoes a purchase: its JSON.
    pub async fn void(&self, actor: Actor, id: RedemptionId, reason: Option<Text<200>>) -> Answer<String> {
        let told = self.ask(Item { actor, errand: Errand::Void { id, reason } }).await?;
        Ok(told.0)
    }

    /// Whether one more would find a place: what costs something is not begun for who would not.
    fn must_have_room(&self) -> Result<()> {
        match &self.way {
            Way::Together(group) if group.is_full() => Err(self.full()),
            _ => Ok(()),
        }
    }

    async fn ask(&self, item: Item) -> Answer<(String, bool)> {
        let told = match &self.way {
            Way::Together(group) => {
                let answer = group.submit(item).ok_or_else(|| self.full())?;
                if self.metrics.waiting_at_the_till() == 0 {
                    self.crowded.store(false, Ordering::Relaxed);
                }
                let _waiting = self.metrics.wait_at_the_till();
                let late = || Error::Unavailable("the till did not answer in time".to_owned());
                timeout(self.wait, answer).await.map_err(|_| late())?.ok()
            }
            Way::Alone(counter) => {
                let counter = counter.clone();
                web::block(move || counter.alone(&item)).await.ok()
            }
        };
        told.unwrap_or_else(|| Err(Error::internal("the till panicked"))).map_err(Problem)
    }

    /// The log is told once, and not ten thousand times a second.
    fn full(&self) -> Error {
        if !self.crowded.swap(true, Ordering::Relaxed) {
            tracing::warn!("the till's queue is full: until it has run dry, who finds no place is turned away");
        }
        Error::Wait { code: Code::Unavailable, seconds: 1 }
    }
}

/// What a purchase is made of, read only if there is a place for it: who is turned away costs neither a look at a token nor
/// at a body.
pub struct WithRoom<T>(pub T);

impl<T: FromRequest + 'static> FromRequest for WithRoom<T> {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, actix_web::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, mut payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let till = request.app_data::<web::Data<Till>>();
            if let Some(Err(full)) = till.map(|till| till.must_have_room()) {
                // the connection would be closed, and made anew, for a body that nobody took
                drop(extract::whole(&request, &mut payload).await);
                return Err(Problem(full).into());
            }
            T::from_request(&request, &mut payload).await.map(WithRoom).map_err(Into::into)
        })
    }
}

impl Work for Counter {
    type Item = Item;
    type Outcome = Told;

    /// The card, and the idempotency key.
    fn keys(&self, item: &Item) -> [u64; 2] {
        match &item.errand {
            Errand::Redeem { new, key, .. } => {
                let card = match &new.voucher {
                    Presented::Token(id) => self.hashes.hash_one(id),
                    Presented::Code { lookup } => self.hashes.hash_one(lookup),
                };
                [card, self.hashes.hash_one((item.actor.organisation, key))]
            }
            Errand::Void { id, .. } => [self.hashes.hash_one(id); 2],
        }
    }

    /// A void moves money several times over: beside others it could wait for one that waits for it.
    fn is_alone(&self, item: &Item) -> bool {
        matches!(item.errand, Errand::Void { .. })
    }

    fn run(&self, items: &[Item], may_wait: bool) -> Vec<Fate<Told>> {
        let failure = match unbroken(|| self.db.write_batch(|conn, now| decide_all(conn, now, items, may_wait))) {
            Ok(told) => return told,
            Err(failure) => failure,
        };
        match (items, failure) {
            ([_], failure) => vec![Fate::Done(Err(failure))],
            // nobody can write now, and whoever tries again learns what became of a commit whose answer was lost
            (_, Error::Unavailable(cause)) => {
                items.iter().map(|_| Fate::Done(Err(Error::Unavailable(cause.clone())))).collect()
            }
            // one of them is at fault: the others go on without it
            (_, failure) => {
                tracing::error!(%failure, items = items.len(), "the till could not write a batch, and does it one by one");
                items.iter().map(|item| Fate::Done(unbroken(|| self.alone(item)))).collect()
            }
        }
    }
}

impl Counter {
    fn alone(&self, item: &Item) -> Told {
        let told = self.db.write(|conn, now| match decide_all(conn, now, std::slice::from_ref(item), true)?.pop() {
            Some(Fate::Done(told)) => Ok(told),
            _ => Err(Error::Retry("the card has just been made".to_owned())),
        });
        told?
    }
}

/// A panic over one item is an error like another: its neighbours are done without it. The transaction has been given up.
fn unbroken<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::internal("the till panicked")))
}

/// Decides and writes all items in one transaction.
fn decide_all(conn: &mut Conn, now: Instant, items: &[Item], may_wait: bool) -> Result<Vec<Fate<Told>>> {
    if let [Item { actor, errand: Errand::Void { id, reason } }] = items {
        if !may_wait && is_held_up(conn, actor, *id)? {
            return Ok(vec![Fate::HeldUp]);
        }
        return void_one(conn, now, actor, *id, reason.clone()).map(|told| vec![Fate::Done(Ok(told))]);
    }
    let (mut requests, mut claims) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for Item { actor, errand } in items {
        let Errand::Redeem { new, key, digest } = errand else {
            return Err(Error::internal("a void came with others"));
        };
        requests.push(Request { actor, new });
        claims.push(Claim { organisation: actor.organisation, key, digest: *digest });
    }
    let taken = take(conn, &requests, may_wait)?;
    let purses = &taken.purses;
    let actors: Vec<&Actor> = requests.iter().map(|request| request.actor).collect();
    let sessions: BTreeSet<_> = actors.iter().map(|actor| actor.session).collect();
    let sessions: Vec<_> = sessions.into_iter().collect();
    let looked = Stopwatch::now();
    let asked = (access::ask_living(now, &sessions), idempotency::ask_taken(&claims), taken.ask(now));
    let (living, first, read) = ask(conn, items.len(), asked)?;
    let standing = access::standing(&actors, living);
    let first = idempotency::first_answers(&claims, first);

    let mut told: Vec<Fate<Told>> = Vec::with_capacity(items.len());
    let mut fresh = Vec::new();
    for (place, (stands, first)) in standing.iter().zip(first).enumerate() {
        told.push(match first {
            _ if !stands => Fate::Done(Err(Error::Refused(Code::Unauthenticated))),
            Some(first) => Fate::Done(first.map(|json| (json, true))),
            None if purses[place] == Taken::HeldUp => Fate::HeldUp,
            None => {
                fresh.push(place);
                Fate::Later
            }
        });
    }
    let asked: Vec<Request> = fresh.iter().map(|&place| requests[place]).collect();
    let purses: Vec<_> = fresh.iter().map(|&place| purses[place]).collect();
    for (&place, verdict) in fresh.iter().zip(redeem_all(conn, now, &asked, &purses, read)?) {
        told[place] = match verdict {
            Verdict::Decided(Ok(purchase)) => {
                let json = serde_json::to_string(&RedemptionAnswer::from(*purchase)).map_err(Error::internal)?;
                Fate::Done(Ok((json, false)))
            }
            Verdict::Decided(Err(refusal)) if refusal.is_refusal() => Fate::Done(Err(refusal)),
            Verdict::Decided(Err(failure)) => return Err(failure),
            Verdict::Later => Fate::Later,
        };
    }
    let answers = claims.iter().zip(&told).filter_map(|(claim, told)| match told {
        Fate::Done(Ok((json, false))) => Some((*claim, json.as_str())),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    if !answers.is_empty() {
        idempotency::keep(conn, now, &answers)?;
        // what was done may have waited for others
        if looked.elapsed() > SOON
            && access::standing(&actors, ask(conn, sessions.len(), access::ask_living(now, &sessions))?) != standing
        {
            return Err(Error::Retry("a session has ended meanwhile".to_owned()));
        }
    }
    Ok(told)
}

/// Whether somebody else has the purse that a purchase is to be given back to.
fn is_held_up(conn: &mut Conn, actor: &Actor, id: RedemptionId) -> Result<bool> {
    match own(conn, actor, id) {
        Ok(purchase) => Ok(allowance::lock_free(conn, &[purchase.redemption.enrolment_id])?.is_empty()),
        Err(Error::Refused(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

fn void_one(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    id: RedemptionId,
    reason: Option<Text<200>>,
) -> Result<(String, bool)> {
    access::still_signed_in(conn, now, actor)?;
    let voided = void(conn, now, actor, id, reason)?;
    access::still_signed_in(conn, now, actor)?;
    let json = serde_json::to_string(&RedemptionAnswer::from(voided)).map_err(Error::internal)?;
    Ok((json, false))
}
