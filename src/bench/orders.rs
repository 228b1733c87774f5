//! The requests that load is made of: the same for the same number, so that one can be sent again.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::fill::scatter;
use super::world::Cast;

/// How many in a hundred are something else than a first purchase with a card of one's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mix {
    /// The same request as before, under the same key.
    pub replays: u64,
    /// Purchases with one of few cards.
    pub hot: u64,
    /// Blocked cards, and baskets above what is on the card.
    pub refusals: u64,
}

impl Mix {
    pub const HAPPY: Mix = Mix { replays: 0, hot: 0, refusals: 0 };
}

/// Cards that are hot.
const HOT: u64 = 8;

/// A replay comes so many requests after its first, or up to as many more: by then most are answered.
const LATER: u64 = 100;

pub struct Orders {
    cast: Arc<Cast>,
    mix: Mix,
    /// Tells the keys of one run from those of another.
    run: u64,
    stride: u64,
}

impl Orders {
    pub fn new(cast: &Arc<Cast>, mix: Mix, run: u64) -> Self {
        let cards = cast.cards.len() as u64;
        let stride = (7_919..).find(|stride| gcd(*stride, cards) == 1).unwrap_or(1);
        Orders { cast: Arc::clone(cast), mix, run, stride }
    }

    fn chance(&self, nth: u64, what: u64) -> u64 {
        scatter(self.run.wrapping_mul(0x1_0000_0001).wrapping_add(nth).wrapping_mul(8).wrapping_add(what))
    }

    fn is_replay(&self, nth: u64) -> bool {
        nth > 2 * LATER && self.chance(nth, 0) % 100 < self.mix.replays
    }

    /// Writes a whole request, head and body.
    pub fn write(&self, nth: u64, body: &mut Vec<u8>, request: &mut Vec<u8>) {
        let mut nth = nth;
        while self.is_replay(nth) {
            nth -= LATER + self.chance(nth, 1) % LATER;
        }
        let sellers = self.cast.sellers.len() as u64;
        let seller = &self.cast.sellers[(self.chance(nth, 2) % sellers) as usize];
        let mut cents = 100 + self.chance(nth, 3) % 800;
        let mut card = self.card(nth);
        let kind = self.chance(nth, 4) % 100;
        if kind < self.mix.hot {
            card = &self.cast.cards[(self.chance(nth, 5) % HOT.min(self.cast.cards.len() as u64)) as usize];
        } else if kind < self.mix.hot + self.mix.refusals {
            match self.cast.blocked.len() as u64 {
                blocked if blocked > 0 && self.chance(nth, 5).is_multiple_of(2) => {
                    card = &self.cast.blocked[(self.chance(nth, 6) % blocked) as usize];
                }
                // above all that a card ever held
                _ => cents = 990_000,
            }
        }
        let (euros, rest, stall) = (cents / 100, cents % 100, &seller.stall);
        body.clear();
        request.clear();
        // writing to memory does not fail
        let _ = write!(
            body,
            r#"{{"voucher":"{card}","stall_id":"{stall}","basket":"{euros}.{rest:02}","lines":[],"partial":false}}"#
        );
        let (high, low) = (self.chance(nth, 7), scatter(self.run ^ (nth << 20)));
        let _ = write!(
            request,
            "POST /api/v1/redemptions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\nidempotency-key: \
             {high:016x}{low:016x}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            seller.token,
            body.len()
        );
        request.extend_from_slice(body);
    }

    /// All cards once, before any comes again.
    fn card(&self, nth: u64) -> &str {
        let cards = self.cast.cards.len() as u64;
        let place = nth.wrapping_mul(self.stride).wrapping_add(scatter(self.run)) % cards;
        &self.cast.cards[place as usize]
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
