//! Primeur: the payment backend for sustainable food vouchers.
//!
//! One folder a business word, one shape a folder: `mod.rs` (nouns, states, rules, commands), `store.rs` (its SQL),
//! `api.rs` (JSON). Imports run one way, from a later name of this list to an earlier one; names between
//! commas do not know each other:
//!
//! `kit < db < ledger < audit < access < http < programme < household, producer < allowance < hold < enrolment <
//! voucher, contribution, surplus, budget < redemption < reconciliation, privacy, simulation < health, metrics, schedule,
//! keyring, verify < routes < app < config < service < backup, demo <
//! bench < main`
//!
//! `http` serves `api.rs` files, the root, the demo and the bench only. A neighbour calls another's `mod.rs`, never its `store.rs`. `diesel`
//! appears only in `db/`, in `store.rs` and in `kit`'s type impls; `actix_web` only in `http/`, `api.rs`, root files and the bench; `rusqlite`
//! only in `backup.rs` and the bench, which no build has that serves households.
//! `tests/tidy.rs` holds the rule.

pub mod access;
pub mod allowance;
pub mod app;
pub mod audit;
pub mod backup;
#[cfg(feature = "bench")]
pub mod bench;
pub mod budget;
pub mod config;
pub mod contribution;
pub mod db;
pub mod demo;
pub mod enrolment;
pub mod health;
pub mod hold;
pub mod household;
pub mod http;
pub mod keyring;
pub mod kit;
pub mod ledger;
pub mod metrics;
pub mod privacy;
pub mod producer;
pub mod programme;
pub mod reconciliation;
pub mod redemption;
pub mod routes;
pub mod schedule;
pub mod service;
pub mod simulation;
pub mod surplus;
pub mod verify;
pub mod voucher;
