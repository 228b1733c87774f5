//! One client-made key, one effect: a repeat gets the first answer, and a refusal leaves the key free.

use std::collections::BTreeMap;
use std::future::ready;

use actix_web::dev::Payload;
use actix_web::http::header::ContentType;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Serialize;

use super::State;
use super::order::AfterPermit;
use super::problem::{Answer, Problem};
use super::store::{self, Taken};
use crate::access::Actor;
use crate::db::{Ask, Conn};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::OrganisationId;
use crate::kit::keys::{Digest32, sha256};
use crate::kit::time::Instant;

/// The digest to give for an operation without a body.
pub const NO_BODY: Digest32 = [0; 32];

/// The `Idempotency-Key` header, with the operation that it was sent to: one key cannot serve two of them.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    pub key: String,
    operation: Digest32,
}

impl IdempotencyKey {
    fn read(header: Option<&str>, method: &str, path: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        match header {
            Some(key) if (8..=64).contains(&key.len()) && key.bytes().all(plain) => {
                Ok(IdempotencyKey { key: key.to_owned(), operation: sha256(format!("{method} {path}").as_bytes()) })
            }
            _ => Err(Error::Refused(Code::IdempotencyKeyRequired)),
        }
    }

    /// What a repeat must have in common with the first request: method, path and body.
    pub fn digest(&self, body: &Digest32) -> Digest32 {
        sha256(&[self.operation, *body].concat())
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = req.headers().get("idempotency-key").and_then(|value| value.to_str().ok());
        let key = IdempotencyKey::read(header, req.method().as_str(), req.path()).map_err(Problem);
        AfterPermit::new(req, ready(key))
    }
}

/// Runs `work` once for a key of this organisation, in one transaction with the answer that it keeps: 201 with it,
/// the first time and every other. `idempotency_conflict` where the key was used for another request.
///
/// The answer is stored as it is sent: one that carries a secret goes through [`once_in`], keeping less.
pub async fn once<T: Serialize + 'static>(
    state: &State,
    actor: &Actor,
    key: IdempotencyKey,
    digest: Digest32,
    mut work: impl FnMut(&mut Conn, Instant) -> Result<T> + Send + 'static,
) -> Answer {
    let organisation = actor.organisation;
    let (json, replay) = state
        .write_as(actor.clone(), move |conn, now| {
            once_in(conn, now, organisation, &key.key, key.digest(&digest), &mut work)
        })
        .await?;
    Ok(answer(json, replay))
}

/// The part of [`once`] inside the transaction: the answer as JSON text, and whether it is a repeat.
///
/// `digest` stands for the whole request ([`IdempotencyKey::digest`]).
pub fn once_in<T: Serialize>(
    conn: &mut Conn,
    now: Instant,
    organisation: OrganisationId,
    key: &str,
    digest: Digest32,
    work: impl FnOnce(&mut Conn, Instant) -> Result<T>,
) -> Result<(String, bool)> {
    if store::claim(conn, organisation, key, &digest, now)? {
        let json = serde_json::to_string(&work(conn, now)?).map_err(Error::internal)?;
        store::keep_answer(conn, organisation, key, &json)?;
        return Ok((json, false));
    }
    match store::first_answer(conn, organisation, key)? {
        Some((first, Some(json))) if first == digest => Ok((json, true)),
        Some((first, _)) if first != digest => Err(Error::Refused(Code::IdempotencyConflict)),
        // the answer is written in the transaction that takes the key, and neither is ever deleted
        _ => Err(Error::Internal(format!("an idempotency key of {organisation} has no answer"))),
    }
}

/// A key with what it stands for, among many.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub organisation: OrganisationId,
    pub key: &'a str,
    /// [`IdempotencyKey::digest`]
    pub digest: Digest32,
}

/// Those of some keys that were used before. To be asked once what the requests work on is taken: who sends one twice at
/// once then finds the other's answer here.
pub fn ask_taken(claims: &[Claim]) -> impl Ask<Answer = Vec<Taken>> {
    store::taken(claims)
}

/// The first answers to keys that were used before; `idempotency_conflict` where that was for another request.
pub fn first_answers(claims: &[Claim], taken: Vec<Taken>) -> Vec<Option<Result<String>>> {
    let of = |(organisation, key, digest, json): Taken| ((organisation, key), (digest, json));
    let mut found: BTreeMap<_, _> = taken.into_iter().map(of).collect();
    let answer = |claim: &Claim| {
        let (first, json) = found.remove(&(claim.organisation, claim.key.to_owned()))?;
        Some(match json {
            _ if first != claim.digest => Err(Error::Refused(Code::IdempotencyConflict)),
            Some(json) => Ok(json),
            None => Err(Error::Internal(format!("an idempotency key of {} has no answer", claim.organisation))),
        })
    };
    claims.iter().map(answer).collect()
}

/// Keeps the first answers of keys that nobody has used. Where somebody has meanwhile, all is to be done again.
pub fn keep(conn: &mut Conn, now: Instant, answers: &[(Claim, &str)]) -> Result<()> {
    match store::keep(conn, now, answers)? == answers.len() {
        true => Ok(()),
        false => Err(Error::Retry("an idempotency key was used meanwhile".to_owned())),
    }
}

/// Whether [`once`] would repeat a first answer, or refuse the key.
pub fn is_taken(conn: &mut Conn, actor: &Actor, key: &IdempotencyKey) -> Result<bool> {
    Ok(store::first_answer(conn, actor.organisation, &key.key)?.is_some())
}

/// 201 with a first answer or its repeat.
pub fn answer(json: String, replay: bool) -> HttpResponse {
    let mut answer = HttpResponse::Created();
    if replay {
        answer.insert_header(("Idempotent-Replay", "true"));
    }
    answer.insert_header(ContentType::json()).body(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_8_to_64_letters_digits_hyphens_and_underscores() {
        let read = |key: &str| IdempotencyKey::read(Some(key), "POST", "/redemptions");
        for good in ["12345678", "a-B_c-D_9", &"x".repeat(64)] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["", "1234567", "with space", "accentué", "a,b,c,d,e", &"x".repeat(65)] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(IdempotencyKey::read(None, "POST", "/redemptions").is_err());
    }

    #[test]
    fn a_key_stands_for_one_operation_on_one_thing_with_one_body() {
        let digest = |method, path, body| IdempotencyKey::read(Some("12345678"), method, path).unwrap().digest(body);
        let first = digest("POST", "/vouchers/1/replace", &NO_BODY);
        assert_eq!(first, digest("POST", "/vouchers/1/replace", &NO_BODY));
        assert_ne!(first, digest("POST", "/vouchers/2/replace", &NO_BODY));
        assert_ne!(first, digest("PUT", "/vouchers/1/replace", &NO_BODY));
        assert_ne!(first, digest("POST", "/vouchers/1/replace", &[1; 32]));
    }
}
