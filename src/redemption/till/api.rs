//! The queue that purchases and voids of all stalls wait in: whatever is there is decided and committed together, and
//! then everybody is answered.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::time::timeout;
use actix_web::{HttpResponse, web};

use super::{Request, Taken, Verdict, redeem_all, take};
use crate::access::{self, Actor};
use crate::allowance;
use crate::db::group::{self, Fate, Group, Work};
use crate::db::{Conn, Db, Folder};
use crate::http::State;
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
        Ok(Till { way, _folder: folder, metrics: state.metrics.clone(), wait: state.db.wait() })
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
    pub fn must_have_room(&self) -> Result<()> {
        match &self.way {
            Way::Together(group) if group.is_full() => Err(full()),
            _ => Ok(()),
        }
    }

    async fn ask(&self, item: Item) -> Answer<(String, bool)> {
        let told = match &self.way {
            Way::Together(group) => {
                let answer = group.submit(item).ok_or_else(full)?;
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
}

fn full() -> Error {
    Error::Unavailable("the till's queue is full".to_owned())
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
    let purses = take(conn, &requests, may_wait)?;
    let actors: Vec<&Actor> = requests.iter().map(|request| request.actor).collect();
    let standing = access::standing(conn, now, &actors)?;
    let first = idempotency::first_answers(conn, &claims)?;

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
    for (&place, verdict) in fresh.iter().zip(redeem_all(conn, now, &asked, &purses)?) {
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
        if access::standing(conn, now, &actors)? != standing {
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
