//! A typed code could be guessed, a signed QR could not: codes that name no card slow down those who type them.

use crate::access::Actor;
use crate::access::attempts::{self, Kind};
use crate::db::Conn;
use crate::kit::error::{Code, Error, Result};
use crate::kit::keys::{Digest32, Secret};
use crate::kit::time::Instant;
use crate::voucher::Presented;

/// A seller's organisation at one address, where they type a well-formed code. Mistyped ones show themselves, and no
/// card is looked for: they count for nothing.
#[derive(Clone, Copy)]
pub struct Typist(Digest32);

impl Typist {
    /// None for a card that was scanned. `from` is the digest of the address.
    pub fn of(secret: &Secret, actor: &Actor, from: &Digest32, presented: &Presented) -> Option<Self> {
        let subject =
            || secret.digest("attempts of voucher codes", &[actor.organisation.as_bytes(), &from[..]].concat());
        matches!(presented, Presented::Code { .. }).then(|| Typist(subject()))
    }

    /// `too_many_attempts` while they must wait, whatever they type.
    pub fn may_type(self, conn: &mut Conn, now: Instant) -> Result<()> {
        match attempts::wait(conn, now, Kind::VoucherCode, &self.0)? {
            Some(seconds) => Err(Error::Wait { code: Code::TooManyAttempts, seconds }),
            None => Ok(()),
        }
    }

    /// Counts a code that names no card.
    pub fn guessed_wrong(self, conn: &mut Conn, now: Instant) -> Result<()> {
        attempts::failed(conn, now, Kind::VoucherCode, &self.0)
    }
}
