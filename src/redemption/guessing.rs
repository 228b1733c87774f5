//! A typed code could be guessed, a signed QR could not: codes that name no card slow down those who type them.

use crate::access::Actor;
use crate::access::attempts::{self, Kind};
use crate::db::{Conn, Queue, wait_in};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::StallId;
use crate::kit::keys::{Digest32, Secret};
use crate::kit::time::Instant;
use crate::producer;
use crate::voucher::{self, Presented};

/// A seller's organisation at one address, with the well-formed code that they type. Mistyped ones show themselves, and no
/// card is looked for: they count for nothing.
#[derive(Clone)]
pub struct Typed {
    by: Digest32,
    code: Presented,
}

impl Typed {
    /// None for a card that was scanned. `from` is the digest of the address.
    pub fn of(secret: &Secret, actor: &Actor, from: &Digest32, presented: &Presented) -> Option<Self> {
        let by = || secret.digest("attempts of voucher codes", &[actor.organisation.as_bytes(), &from[..]].concat());
        matches!(presented, Presented::Code { .. }).then(|| Typed { by: by(), code: presented.clone() })
    }

    /// Looks whether the code names a card: `unknown_voucher` as a value where it does not, which counts and must be
    /// committed. `too_many_attempts` while they must wait, whatever they type.
    ///
    /// A transaction of its own: others of theirs wait until it ends, so that of many codes at once no wrong one is free
    /// and no right one counts for a moment.
    pub fn look_up(&self, conn: &mut Conn, now: Instant, actor: &Actor, stall: StallId) -> Result<Option<Code>> {
        // a stranger is not told what a card is
        producer::stall(conn, actor, stall)?;
        wait_in(conn, Queue::TypedCodes(self.by))?;
        if let Some(seconds) = attempts::wait(conn, now, Kind::VoucherCode, &self.by)? {
            return Err(Error::Wait { code: Code::TooManyAttempts, seconds });
        }
        match voucher::find(conn, &self.code) {
            Ok(_) => Ok(None),
            Err(Error::Refused(code @ Code::UnknownVoucher)) => {
                attempts::failed(conn, now, Kind::VoucherCode, &self.by)?;
                Ok(Some(code))
            }
            Err(other) => Err(other),
        }
    }
}
