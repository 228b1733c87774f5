//! The bearer instrument that draws on an enrolment's allowances: a signed QR and a typed code, blocked or replaced at will.

pub mod api;
pub mod code;
pub mod denomination;
pub mod qr;
mod store;
pub mod token;

use std::collections::{BTreeMap, BTreeSet};

use crate::access::Actor;
use crate::allowance;
use crate::audit::{self, Action};
use crate::db::{Ask, Conn, Page};
use crate::enrolment::{self, Enrolment};
use crate::hold::{self, Hold};
use crate::household;
use crate::kit::error::{Code as ErrorCode, Error, Result};
use crate::kit::id::{EnrolmentId, VoucherId};
use crate::kit::keys::{Keys, Secret};
use crate::kit::money::Cents;
use crate::kit::time::Instant;
use crate::programme;

pub use code::Code;
pub use store::Voucher;
pub use token::Token;

crate::text_enum! {
    pub enum State {
        Active = "active",
        Blocked = "blocked",
        /// Another card took its place: it never comes back.
        Replaced = "replaced",
    }
}

/// What a stall has read or typed; genuine, but not yet looked up.
#[derive(Clone, Debug)]
pub enum Presented {
    Token(VoucherId),
    Code { lookup: [u8; 32] },
}

impl Presented {
    /// Reads the text of a QR or a typed code. What is neither is an unknown voucher; it is not told why.
    pub fn read(text: &str, keys: &Keys) -> Result<Self> {
        // a code has 12 symbols beside its hyphens, a token more than a hundred
        let unknown = Error::Refused(ErrorCode::UnknownVoucher);
        if text.len() > 40 {
            let token = Token::decode(text, &keys.voucher).map_err(|_| unknown)?;
            return Ok(Presented::Token(token.voucher));
        }
        let code: Code = text.parse().map_err(|_| unknown)?;
        Ok(Presented::Code { lookup: code.lookup(&keys.secret) })
    }
}

pub fn find(conn: &mut Conn, presented: &Presented) -> Result<Voucher> {
    store::presented(conn, presented)?.ok_or(Error::Refused(ErrorCode::UnknownVoucher))
}

/// Which of what some stalls have read or typed are cards.
pub fn ask_presented(presented: &[&Presented]) -> impl Ask<Answer = Vec<Voucher>> + use<> {
    let (mut ids, mut lookups) = (BTreeSet::new(), BTreeSet::new());
    for shown in presented {
        match shown {
            Presented::Token(id) => ids.insert(*id),
            Presented::Code { lookup } => lookups.insert(*lookup),
        };
    }
    store::shown(ids.into_iter().collect(), lookups.into_iter().collect())
}

/// The same for each that was shown; none for what is no card.
pub fn presented(presented: &[&Presented], found: &[Voucher]) -> Vec<Option<Voucher>> {
    let by_id: BTreeMap<VoucherId, &Voucher> = found.iter().map(|voucher| (voucher.id, voucher)).collect();
    let find = |shown: &&Presented| match shown {
        Presented::Token(id) => by_id.get(id).copied().cloned(),
        Presented::Code { lookup } => found.iter().find(|voucher| voucher.code_digest == lookup).cloned(),
    };
    presented.iter().map(find).collect()
}

/// For parts of the house that have found the voucher through something of the caller's.
pub fn by_id(conn: &mut Conn, id: VoucherId) -> Result<Voucher> {
    store::voucher(conn, id)?.ok_or(Error::Refused(ErrorCode::NotFound))
}

/// Makes the first card of an enrolment.
pub fn hand_over(
    conn: &mut Conn,
    now: Instant,
    actor: &Actor,
    secret: &Secret,
    enrolment: EnrolmentId,
) -> Result<Voucher> {
    let household = enrolment::own(conn, actor, enrolment)?.household_id;
    household::touch(conn, now, household)?;
    allowance::lock(conn, enrolment)?;
    let enrolment = enrolment::own(conn, actor, enrolment)?;
    if !matches!(enrolment.state, enrolment::State::Active | enrolment::State::Suspended) {
        return Err(Error::Refused(ErrorCode::EnrolmentState));
    }
    if store::standing(conn, enrolment.id)?.is_some() {
        return Err(Error::Refused(ErrorCode::VoucherExists));
    }
    let voucher = make_card(conn, now, secret, &enrolment, None)?;
    audit::record(conn, now, actor.who(), Action::VoucherHandedOver, voucher.id, None)?;
    Ok(voucher)
}

/// Makes a new card and refuses the old one from this moment. What is on it stays: money is the enrolment's, not the card's.
/// What the old one has set aside goes on with the new.
pub fn replace(conn: &mut Conn, now: Instant, actor: &Actor, secret: &Secret, id: VoucherId) -> Result<Voucher> {
    let enrolment = own(conn, actor, id)?.enrolment_id;
    let household = enrolment::own(conn, actor, enrolment)?.household_id;
    household::touch(conn, now, household)?;
    let old = taken(conn, actor, id)?;
    if old.state == State::Replaced {
        return Err(Error::Refused(ErrorCode::VoucherState));
    }
    let enrolment = enrolment::own(conn, actor, old.enrolment_id)?;
    let held = title(conn, &old)?;
    match old.denomination_cents {
        // a lost one goes on for as long as its money does, if nobody has used it
        Some(_) if held.as_ref().is_none_or(|hold| !hold.stands(now)) => {
            return Err(Error::Refused(ErrorCode::VoucherState));
        }
        // who has left, or had a late void, may still have money in hand, and lose the card that holds it
        None if allowance::purse(conn, now, enrolment.id)?.over => {
            return Err(Error::Refused(ErrorCode::EnrolmentState));
        }
        _ => {}
    }
    store::set_state(conn, id, State::Replaced)?;
    let voucher = match held {
        Some(hold) => make(conn, now, secret, &enrolment, Some(id), old.denomination_cents, hold.expires_at)?,
        None => make_card(conn, now, secret, &enrolment, Some(id))?,
    };
    hold::take_over(conn, id, voucher.id)?;
    audit::record(conn, now, actor.who(), Action::VoucherReplaced, id, Some(voucher.id.to_string()))?;
    Ok(voucher)
}

/// Refuses a card until it is unblocked.
pub fn block(conn: &mut Conn, now: Instant, actor: &Actor, id: VoucherId) -> Result<Voucher> {
    let blocked = change(conn, actor, id, State::Active, State::Blocked)?;
    audit::record(conn, now, actor.who(), Action::VoucherBlocked, id, None)?;
    Ok(blocked)
}

pub fn unblock(conn: &mut Conn, now: Instant, actor: &Actor, id: VoucherId) -> Result<Voucher> {
    let unblocked = change(conn, actor, id, State::Blocked, State::Active)?;
    audit::record(conn, now, actor.who(), Action::VoucherUnblocked, id, None)?;
    Ok(unblocked)
}

fn change(conn: &mut Conn, actor: &Actor, id: VoucherId, from: State, to: State) -> Result<Voucher> {
    let voucher = taken(conn, actor, id)?;
    if voucher.state != from {
        return Err(Error::Refused(ErrorCode::VoucherState));
    }
    store::set_state(conn, id, to)?;
    Ok(Voucher { state: to, ..voucher })
}

/// Refuses whatever vouchers an enrolment has, where its household is erased. The caller has taken its purse.
pub fn withdraw(conn: &mut Conn, enrolment: EnrolmentId) -> Result<()> {
    store::block_all(conn, enrolment)
}

/// What is set aside behind a voucher of a fixed value, or was; none for the running card.
pub fn title(conn: &mut Conn, voucher: &Voucher) -> Result<Option<Hold>> {
    match voucher.denomination_cents {
        Some(_) => Ok(hold::behind(conn, &[voucher.id])?.pop()),
        None => Ok(None),
    }
}

/// Those of some vouchers that have paid for the one purchase they were for.
pub fn used(conn: &mut Conn, vouchers: &[Voucher]) -> Result<BTreeSet<VoucherId>> {
    let titles = vouchers.iter().filter(|voucher| voucher.denomination_cents.is_some());
    let behind = hold::behind(conn, &titles.map(|voucher| voucher.id).collect::<Vec<_>>())?;
    let captured = behind.into_iter().filter(|hold| hold.state == hold::State::Captured);
    Ok(captured.map(|hold| hold.voucher_id).collect())
}

/// All cards of an enrolment, in order of id.
pub fn of_enrolment(conn: &mut Conn, enrolment: &Enrolment) -> Result<Vec<Voucher>> {
    let all = Page { after: None, limit: i64::MAX - 1 };
    store::list(conn, enrolment.organisation_id, Some(enrolment.id), &all)
}

/// A voucher of the caller's structure, its purse taken: no purchase is under way.
fn taken(conn: &mut Conn, actor: &Actor, id: VoucherId) -> Result<Voucher> {
    let enrolment = own(conn, actor, id)?.enrolment_id;
    allowance::lock(conn, enrolment)?;
    own(conn, actor, id)
}

pub fn own(conn: &mut Conn, actor: &Actor, id: VoucherId) -> Result<Voucher> {
    let found = store::voucher(conn, id)?.filter(|voucher| voucher.organisation_id == actor.organisation);
    found.ok_or(Error::Refused(ErrorCode::NotFound))
}

pub fn list(
    conn: &mut Conn,
    actor: &Actor,
    enrolment: Option<EnrolmentId>,
    page: &Page<VoucherId>,
) -> Result<Vec<Voucher>> {
    store::list(conn, actor.organisation, enrolment, page)
}

/// The running card lasts as long as any of its enrolment's money.
fn make_card(
    conn: &mut Conn,
    now: Instant,
    secret: &Secret,
    enrolment: &Enrolment,
    replaces: Option<VoucherId>,
) -> Result<Voucher> {
    let closes_at = allowance::spendable_until(conn, enrolment.id)?;
    make(conn, now, secret, enrolment, replaces, None, closes_at)
}

fn make(
    conn: &mut Conn,
    now: Instant,
    secret: &Secret,
    enrolment: &Enrolment,
    replaces: Option<VoucherId>,
    denomination: Option<Cents>,
    closes_at: Instant,
) -> Result<Voucher> {
    let zone = programme::by_id(conn, enrolment.programme_id)?.zone()?;
    let id = VoucherId::new(now);
    let mut code_try = 0;
    let code_digest = loop {
        let lookup = Code::of(secret, id, code_try).lookup(secret);
        if !store::code_exists(conn, &lookup)? {
            break lookup;
        }
        code_try += 1;
    };
    let voucher = Voucher {
        id,
        enrolment_id: enrolment.id,
        organisation_id: enrolment.organisation_id,
        state: State::Active,
        code_digest: code_digest.to_vec(),
        code_try,
        valid_from: enrolment.starts_on,
        // the last day on which something can be spent is the one that ends when the last window closes
        valid_to: zone.day_of(closes_at.max(now).plus_seconds(-1)),
        replaces,
        created_at: now,
        denomination_cents: denomination,
    };
    store::insert(conn, &voucher).map_err(|e| e.or_duplicate(ErrorCode::VoucherExists))?;
    Ok(voucher)
}

impl Voucher {
    /// The typed code, from the deployment's secret: it is nowhere in the database.
    pub fn code(&self, secret: &Secret) -> Code {
        Code::of(secret, self.id, self.code_try)
    }

    /// The text of its QR, an address at `host`, signed with the key of the day it was made: always the same text.
    pub fn token(&self, keys: &Keys, host: &str) -> String {
        let token = Token {
            voucher: self.id,
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            // no programme lets a stall accept without the server yet: a reader must take 0 as never
            offline_ceiling: Cents::ZERO,
        };
        token.sign(keys.voucher.at(self.created_at), host)
    }
}
