//! What a household pays above the price: the producer collects it for the common pot, and owes it.

mod store;
mod verify;

use crate::db::Conn;
use crate::kit::error::{Error, Result};
use crate::kit::id::{OrganisationId, ProgrammeId, RedemptionId};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::ledger::{self, AccountKind, Entry, TransferCode};
use crate::programme;

pub use store::due;
pub use verify::verify;

crate::text_enum! {
    pub enum State {
        /// Its purchase may still be undone.
        Collected = "collected",
        Pooled = "pooled",
        /// Its purchase was undone.
        GivenBack = "given_back",
    }
}

/// Writes down what a producer has collected with a purchase, and says the transfer for it: held → surplus of the pot.
pub fn collect(
    conn: &mut Conn,
    now: Instant,
    programme: ProgrammeId,
    producer: OrganisationId,
    redemption: RedemptionId,
    amount: Cents,
    matures_at: Instant,
) -> Result<Entry> {
    let pot = programme::pot(conn, programme)?.ok_or_else(|| Error::internal("a surplus without a pot"))?.id;
    let (agreement_id, state) = (pot, State::Collected);
    let surplus = store::Surplus {
        redemption_id: redemption,
        agreement_id,
        amount_cents: amount,
        matures_at,
        state,
        settled_at: None,
    };
    store::insert(conn, &surplus)?;
    Ok(Entry {
        debit: ledger::account(conn, now, pot, AccountKind::Held, Some(producer))?,
        credit: ledger::account(conn, now, pot, AccountKind::Surplus, None)?,
        agreement: pot,
        amount,
        code: TransferCode::Collect,
        reference: redemption.cast(),
        reverses: None,
        occurred_at: now,
    })
}

/// Gives back what was collected with a purchase that is undone, if anything; false where it is in the pot already. The
/// transfer is the void's.
pub fn undo(conn: &mut Conn, now: Instant, redemption: RedemptionId) -> Result<bool> {
    match store::surplus(conn, redemption)?.map(|surplus| surplus.state) {
        None | Some(State::GivenBack) => Ok(true),
        Some(State::Pooled) => Ok(false),
        Some(State::Collected) => store::settle(conn, now, redemption, State::GivenBack),
    }
}

/// Puts what can no longer be undone into the pot: surplus → available. Returns how many; what another has settled
/// meanwhile is left as it is.
pub fn pool(conn: &mut Conn, now: Instant, redemptions: &[RedemptionId]) -> Result<usize> {
    let mut entries = Vec::new();
    for &id in redemptions {
        if !store::settle(conn, now, id, State::Pooled)? {
            continue;
        }
        let Some(surplus) = store::surplus(conn, id)? else { continue };
        let pot = surplus.agreement_id;
        entries.push(Entry {
            debit: ledger::account(conn, now, pot, AccountKind::Surplus, None)?,
            credit: ledger::agreement_accounts(conn, &[pot])?[&pot].0.available,
            agreement: pot,
            amount: surplus.amount_cents,
            code: TransferCode::Pool,
            reference: id.cast(),
            reverses: None,
            occurred_at: now,
        });
    }
    ledger::post(conn, now, &entries)?;
    Ok(entries.len())
}
