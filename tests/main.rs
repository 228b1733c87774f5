//! The whole suite, in one binary: the real app over real HTTP, on both databases.

mod support;

mod access;
mod allowance;
mod attempts;
mod audit;
mod backup;
mod bonus;
mod concurrency;
mod crash;
mod downloads;
mod durability;
mod enrolment;
mod faults;
mod fuzz;
mod history;
mod household;
mod input;
mod keys;
mod keys_between_servers;
mod keys_commands;
mod limits;
mod lists;
mod metrics;
mod migrations;
mod privacy;
mod producer;
mod programme;
mod reconciliation;
mod redemption;
mod retention;
mod roles;
mod rules;
mod schema;
mod second_factor;
mod servers;
mod service;
mod sessions;
mod tidy;
#[cfg(feature = "postgres-tls")]
mod tls;
mod tour;
mod traffic;
mod verify;
mod voucher;
mod waiting_list;
