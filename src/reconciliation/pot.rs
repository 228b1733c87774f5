//! What a common pot has beside an agreement's blocks: what households paid above the price, and which producers hold it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::store;
use crate::db::Conn;
use crate::kit::error::Result;
use crate::kit::id::{AgreementId, OrganisationId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, Totals, TransferCode};

#[derive(Clone, Debug, Serialize)]
pub struct Pot {
    pub surplus: Surplus,
    pub held: Held,
    pub by_holder: Vec<Holder>,
}

/// Collected by purchases that may still be undone.
#[derive(Clone, Debug, Serialize)]
pub struct Surplus {
    pub opening: Cents,
    pub collected: Cents,
    pub given_back: Cents,
    pub pooled: Cents,
    pub closing: Cents,
}

/// What producers have collected, and owe.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Held {
    pub opening: Cents,
    pub collected: Cents,
    pub given_back: Cents,
    pub closing: Cents,
}

/// One producer's part of it.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    pub producer: String,
    #[serde(flatten)]
    pub held: Held,
}

pub fn surplus(opening: Cents, moved: &Totals, closing: Cents) -> Surplus {
    let (collected, given_back) = (moved.of(TransferCode::Collect), moved.given_back());
    Surplus { opening, collected, given_back, pooled: moved.of(TransferCode::Pool), closing }
}

pub fn held(opening: Cents, moved: &Totals, closing: Cents) -> Held {
    Held { opening, collected: moved.of(TransferCode::Collect), given_back: moved.given_back(), closing }
}

/// Each producer that holds something at the beginning or moves something in the month, by name.
pub fn by_holder(conn: &mut Conn, pot: AgreementId, from: Instant, until: Instant) -> Result<Vec<Holder>> {
    use TransferCode::{Collect, Void};
    let held = ledger::held(conn, pot)?;
    let mut sums = |code, until| store::collected(conn, pot, code, from, until);
    let (since, back_since) = (sums(Collect, None)?, sums(Void, None)?);
    let (collected, given_back) = (sums(Collect, Some(until))?, sums(Void, Some(until))?);
    let producers = held.keys().copied().collect();
    let mut rows = Vec::new();
    for (id, producer) in store::producers(conn, &producers)? {
        let of = |sums: &BTreeMap<OrganisationId, Cents>| sums.get(&id).copied().unwrap_or_default();
        let opening = of(&held) - of(&since) + of(&back_since);
        let (collected, given_back) = (of(&collected), of(&given_back));
        let closing = opening + collected - given_back;
        rows.push(Holder { producer, held: Held { opening, collected, given_back, closing } });
    }
    let moves = |h: &Held| [h.opening, h.collected, h.given_back].iter().any(|amount| amount.is_positive());
    rows.retain(|row| moves(&row.held));
    rows.sort_by(|a, b| a.producer.cmp(&b.producer));
    Ok(rows)
}
