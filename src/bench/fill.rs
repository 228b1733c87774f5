//! A world's households and their past, row by row as the house's own commands would have written them.

use std::collections::HashSet;

use super::founding::{Founded, Seller};
use super::sink::{Cell, Sink, Table};
use super::world::{Size, span};
use crate::kit::id::{AccountId, AllowanceId, EnrolmentId, HouseholdId, PartId, RedemptionId, VoucherId};
use crate::kit::keys::{Digest32, Secret, sha256};
use crate::kit::money::Cents;
use crate::kit::time::{Instant, Zone};
use crate::ledger::{Entry, Transfer, TransferCode};
use crate::voucher::Code;

const HOUSEHOLDS: usize = 0;
const ENROLMENTS: usize = 1;
const ALLOWANCES: usize = 2;
const PARTS: usize = 3;
const ACCOUNTS: usize = 4;
const TRANSFERS: usize = 5;
const VOUCHERS: usize = 6;
const REDEMPTIONS: usize = 7;
const KEYS: usize = 8;
pub const SESSIONS: usize = 9;

pub const TABLES: &[Table] = &[
    ("households", "id, organisation_id, reference, adults, children, commune_code, created_at, contacted_at"),
    (
        "enrolments",
        "id, household_id, programme_id, organisation_id, adults, children, commune_code, state, starts_on, \
         promised_cents, closes_at, waiting_since, activated_at, left_at, created_at, rules_version",
    ),
    (
        "allowances",
        "id, enrolment_id, period, starts_on, ends_on, opens_at, closes_at, amount_cents, state, funding_set_id, \
         issued_at, purse, waits",
    ),
    (
        "allowance_parts",
        "id, allowance_id, agreement_id, position, amount_cents, spendable_until, open, issued_cents, released_cents",
    ),
    ("accounts", "id, agreement_id, kind, producer_id, balance_cents"),
    (
        "transfers",
        "id, debit_account, credit_account, agreement_id, amount_cents, code, reference, reverses, occurred_at, \
         recorded_at, digest",
    ),
    ("vouchers", "id, enrolment_id, organisation_id, state, code_digest, code_try, valid_from, valid_to, created_at"),
    (
        "redemptions",
        "id, voucher_id, enrolment_id, producer_id, stall_id, person_id, siret, basket_cents, covered_cents, \
         void_until, occurred_at, recorded_at, surplus_cents",
    ),
    ("idempotency_keys", "organisation_id, key, request_digest, answer, created_at"),
    ("sessions", "id, person_id, refresh_digest, created_at, expires_at"),
];

/// Of the cards that load is made with.
const MOST_CARDS: u64 = 100_000;

/// What was filled in.
#[derive(Default)]
pub struct Filled {
    /// Cards to pay with, and cards that are refused.
    pub cards: Vec<VoucherId>,
    pub blocked: Vec<VoucherId>,
}

/// A household, as far as its purchases need to know it.
struct Purse {
    voucher: VoucherId,
    enrolment: EnrolmentId,
    parts: [PartId; 2],
}

/// The codes of a world's cards: among millions two are equal by chance, and the database refuses the second.
struct Codes<'a> {
    secret: &'a Secret,
    given: HashSet<Code>,
}

impl Codes<'_> {
    /// A code that no card has, by its try and as the database keeps it.
    fn give(&mut self, voucher: VoucherId) -> (i32, Digest32) {
        let mut code_try = 0;
        loop {
            let code = Code::of(self.secret, voucher, code_try);
            if self.given.insert(code) {
                return (code_try, code.lookup(self.secret));
            }
            code_try += 1;
        }
    }
}

/// Evenly spread over all 64 bits, and the same for the same number.
pub fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One purchase of the past: whose, where, and how many cents.
fn purchase(nth: u64, households: u64, sellers: u64) -> (usize, usize, i64) {
    let household = scatter(nth * 3) % households;
    let seller = scatter(nth * 3 + 1) % sellers;
    let cents = 100 + scatter(nth * 3 + 2) % 800;
    (household as usize, seller as usize, cents as i64)
}

/// An amount by the agreements' weights, 3 and 2, or all of it where there is one.
fn split(cents: i64, agreements: usize) -> [i64; 2] {
    let second = if agreements == 2 { cents * 2 / 5 } else { 0 };
    [cents - second, second]
}

pub fn fill(
    sink: &mut dyn Sink,
    founded: &Founded,
    secret: &Secret,
    size: Size,
    zone: &Zone,
) -> Result<Filled, String> {
    let mut spent = vec![[0_i64; 2]; if size.purchases > 0 { size.households as usize } else { 0 }];
    let sellers = founded.sellers.len() as u64;
    for nth in 0..size.purchases {
        let (household, _, cents) = purchase(nth, size.households, sellers);
        let parts = split(cents, size.agreements);
        spent[household] = [0, 1].map(|place| spent[household][place] + parts[place]);
    }
    let (mut filled, mut codes) = (Filled::default(), Codes { secret, given: HashSet::new() });
    let mut purses = Vec::with_capacity(spent.len());
    let step = (size.households / MOST_CARDS).max(1);
    for nth in 0..size.households {
        let blocked = nth % 100 == 99;
        let spent = spent.get(nth as usize).copied().unwrap_or_default();
        let purse = household(sink, founded, &mut codes, size.issued, (nth, blocked, spent))?;
        if blocked && filled.blocked.len() < 100 {
            filled.blocked.push(purse.voucher);
        } else if !blocked && nth % step == 0 {
            filled.cards.push(purse.voucher);
        }
        if size.purchases > 0 {
            purses.push(purse);
        }
    }
    if size.purchases > 0 {
        past(sink, founded, size, &purses, zone)?;
    }
    Ok(filled)
}

fn household(
    sink: &mut dyn Sink,
    founded: &Founded,
    codes: &mut Codes,
    issued: bool,
    (nth, blocked, spent): (u64, bool, [i64; 2]),
) -> Result<Purse, String> {
    let at = founded.at;
    let (like, deal, money) = (&founded.household, &founded.enrolment, &founded.allowance);
    let (id, enrolment, allowance) = (HouseholdId::new(at), EnrolmentId::new(at), AllowanceId::new(at));
    let reference = format!("B-{nth:08}");
    sink.row(
        HOUSEHOLDS,
        &[
            id.into(),
            like.organisation_id.into(),
            Cell::Text(&reference),
            like.adults.into(),
            like.children.into(),
            Cell::Text(&like.commune_code),
            at.into(),
            at.into(),
        ],
    )?;
    sink.row(
        ENROLMENTS,
        &[
            enrolment.into(),
            id.into(),
            deal.programme_id.into(),
            deal.organisation_id.into(),
            deal.adults.into(),
            deal.children.into(),
            Cell::Text(&deal.commune_code),
            deal.state.as_str().into(),
            deal.starts_on.into(),
            deal.promised_cents.into(),
            deal.closes_at.into(),
            deal.waiting_since.into(),
            deal.activated_at.into(),
            deal.left_at.into(),
            at.into(),
            deal.rules_version.into(),
        ],
    )?;
    sink.row(
        ALLOWANCES,
        &[
            allowance.into(),
            enrolment.into(),
            money.period.into(),
            money.starts_on.into(),
            money.ends_on.into(),
            money.opens_at.into(),
            money.closes_at.into(),
            money.amount_cents.into(),
            money.state.as_str().into(),
            money.funding_set_id.into(),
            money.issued_at.into(),
            Cell::Text(&money.purse),
            money.waits.into(),
        ],
    )?;
    let parts = [PartId::new(at), PartId::new(at)];
    for (place, (agreement, share)) in founded.shares().into_iter().enumerate() {
        let part = parts[place];
        let given = if issued { share } else { Cents::ZERO };
        sink.row(
            PARTS,
            &[
                part.into(),
                allowance.into(),
                agreement.into(),
                founded.agreements[place].position.into(),
                share.into(),
                money.closes_at.into(),
                issued.into(),
                given.into(),
                Cents::ZERO.into(),
            ],
        )?;
        let own = founded.accounts[place];
        let transfer = |debit, credit, code| Entry {
            debit,
            credit,
            agreement,
            amount: share,
            code,
            reference: allowance.cast(),
            reverses: None,
            occurred_at: at,
        };
        journal(sink, at, &transfer(own.available, own.committed, TransferCode::Commit))?;
        if issued {
            let left = Cents(share.0 - spent[place]);
            sink.row(ACCOUNTS, &[part.into(), agreement.into(), "allowance".into(), Cell::Null, left.into()])?;
            journal(sink, at, &transfer(own.committed, part.cast(), TransferCode::Issue))?;
        }
    }
    let voucher = VoucherId::new(at);
    let (code_try, digest) = codes.give(voucher);
    sink.row(
        VOUCHERS,
        &[
            voucher.into(),
            enrolment.into(),
            deal.organisation_id.into(),
            if blocked { "blocked" } else { "active" }.into(),
            Cell::Bytes(&digest),
            code_try.into(),
            money.starts_on.into(),
            money.ends_on.into(),
            at.into(),
        ],
    )?;
    Ok(Purse { voucher, enrolment, parts })
}

fn journal(sink: &mut dyn Sink, at: Instant, entry: &Entry) -> Result<(), String> {
    let transfer = Transfer::record(entry, at);
    sink.row(
        TRANSFERS,
        &[
            transfer.id.into(),
            transfer.debit_account.into(),
            transfer.credit_account.into(),
            transfer.agreement_id.into(),
            transfer.amount_cents.into(),
            transfer.code.as_str().into(),
            transfer.reference.into(),
            transfer.reverses.into(),
            transfer.occurred_at.into(),
            transfer.recorded_at.into(),
            Cell::Bytes(&transfer.digest),
        ],
    )
}

/// The purchases of the month before this, evenly over it.
fn past(sink: &mut dyn Sink, founded: &Founded, size: Size, purses: &[Purse], zone: &Zone) -> Result<(), String> {
    let (from, until) = span(zone, founded.allowance.starts_on);
    let (from, lasts) = (from.as_microsecond(), until.as_microsecond() - from.as_microsecond());
    let sellers = &founded.sellers;
    let payables: Vec<[AccountId; 2]> =
        sellers.iter().map(|_| [AccountId::new(founded.at), AccountId::new(founded.at)]).collect();
    let mut owed = vec![[0_i64; 2]; sellers.len()];
    for nth in 0..size.purchases {
        let (household, seller, cents) = purchase(nth, size.households, sellers.len() as u64);
        let share = |of: u64| (i128::from(lasts) * i128::from(of) / i128::from(size.purchases)) as i64;
        let at = Instant::from_microsecond(from + share(nth));
        let (purse, stall) = (&purses[household], &sellers[seller]);
        let redemption = RedemptionId::new(at);
        bought(sink, founded, purse, stall, (nth, redemption, cents, at))?;
        for (place, agreement) in founded.agreements.iter().enumerate() {
            let amount = split(cents, founded.agreements.len())[place];
            owed[seller][place] += amount;
            let entry = Entry {
                debit: purse.parts[place].cast(),
                credit: payables[seller][place],
                agreement: agreement.id,
                amount: Cents(amount),
                code: TransferCode::Redeem,
                reference: redemption.cast(),
                reverses: None,
                occurred_at: at,
            };
            journal(sink, at, &entry)?;
        }
    }
    for ((seller, accounts), owed) in sellers.iter().zip(&payables).zip(&owed) {
        for (place, account) in accounts.iter().enumerate().filter(|(place, _)| owed[*place] > 0) {
            let agreement = founded.agreements[place].id;
            let cells = [
                (*account).into(),
                agreement.into(),
                "payable".into(),
                seller.actor.organisation.into(),
                Cell::Int(owed[place]),
            ];
            sink.row(ACCOUNTS, &cells)?;
        }
    }
    Ok(())
}

fn bought(
    sink: &mut dyn Sink,
    founded: &Founded,
    purse: &Purse,
    seller: &Seller,
    (nth, id, cents, at): (u64, RedemptionId, i64, Instant),
) -> Result<(), String> {
    let void_until = at.plus_minutes(founded.void_minutes);
    let actor = &seller.actor;
    sink.row(
        REDEMPTIONS,
        &[
            id.into(),
            purse.voucher.into(),
            purse.enrolment.into(),
            actor.organisation.into(),
            seller.stall.into(),
            actor.person.into(),
            Cell::Text(&seller.siret),
            Cell::Int(cents),
            Cell::Int(cents),
            void_until.into(),
            at.into(),
            at.into(),
            Cell::Int(0),
        ],
    )?;
    let amount = Cents(cents);
    let answer = format!(
        "{{\"id\":\"{id}\",\"stall_id\":\"{}\",\"display\":{{\"accepted\":true,\"basket\":\"{amount}\"}},\"basket\":\"{amount}\",\
         \"covered\":\"{amount}\",\"to_collect\":\"0.00\",\"lines\":[],\"hold_id\":null,\"at\":\"{at}\",\
         \"void_until\":\"{void_until}\",\"voided\":null}}",
        seller.stall
    );
    let key = format!("{:016x}{:016x}", scatter(nth ^ 0x5555_5555_0000), scatter(nth ^ 0xaaaa_aaaa_0000));
    let digest = sha256(key.as_bytes());
    let cells = [actor.organisation.into(), Cell::Text(&key), Cell::Bytes(&digest), Cell::Text(&answer), at.into()];
    sink.row(KEYS, &cells)
}

/// The statements that bring the agreements' own sums up to what was filled in.
pub fn totals(founded: &Founded, size: Size, literal: impl Fn(&[u8; 16]) -> String) -> String {
    let households = size.households as i64;
    let mut statements = String::new();
    let mut whole = 0;
    for (place, (_, share)) in founded.shares().into_iter().enumerate() {
        let moved = share.0 * households;
        whole += moved;
        let own = founded.accounts[place];
        let mut add = |account: AccountId, cents: i64| {
            let id = literal(account.as_bytes());
            statements += &format!("UPDATE accounts SET balance_cents = balance_cents + {cents} WHERE id = {id};\n");
        };
        add(own.available, -moved);
        if !size.issued {
            add(own.committed, moved);
        }
    }
    if let Some(set) = founded.allowance.funding_set_id {
        let id = literal(set.as_bytes());
        statements +=
            &format!("UPDATE funding_sets SET cumulated_cents = cumulated_cents + {whole} WHERE id = {id};\n");
    }
    statements
}
