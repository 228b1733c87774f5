//! Finding one's own households again by who they are, without opening a seal.

use super::fingerprint::{Fingerprint, email, name, person, phone};
use super::{Overview, overviews, store};
use crate::access::Actor;
use crate::audit::{self, Action};
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::keys::Secret;
use crate::kit::phone::Phone;
use crate::kit::text::{Email, Line};
use crate::kit::time::{Day, Instant};

/// Households that a search shows at most.
const MOST: i64 = 200;

/// What somebody is searched by. How it is written does not matter; part of it finds nothing.
#[derive(Clone)]
pub enum Words {
    /// With a date of birth, only who said the same one is found.
    Name {
        family: Line<100>,
        first: Line<100>,
        born: Option<Day>,
    },
    Phone(Phone),
    Email(Email),
}

impl Words {
    fn fingerprint(&self, secret: &Secret) -> Option<Fingerprint> {
        match self {
            Words::Name { family, first, born: None } => name(secret, family.as_str(), first.as_str()),
            Words::Name { family, first, born: Some(born) } => person(secret, family.as_str(), first.as_str(), *born),
            Words::Phone(number) => Some(phone(secret, number)),
            Words::Email(address) => Some(email(secret, address)),
        }
    }
}

/// Finds households of the caller's own structure, and writes down that they searched, not for whom.
pub fn search(conn: &mut Conn, now: Instant, secret: &Secret, actor: &Actor, words: &Words) -> Result<Vec<Overview>> {
    let print = words.fingerprint(secret);
    let found = match &print {
        Some((kind, digest)) => store::find(conn, actor.organisation, *kind, digest, MOST)?,
        None => Vec::new(),
    };
    let found = overviews(conn, found)?;
    let detail = print.map(|(kind, _)| format!("by {kind}, {} found", found.len()));
    audit::record(conn, now, actor.who(), Action::HouseholdSearched, "", detail)?;
    Ok(found)
}
