//! The whole suite, in one binary: the real app over real HTTP, on both databases.

mod support;

mod access;
mod allowance;
mod attempts;
mod audit;
mod backup;
mod concurrency;
mod crash;
mod downloads;
mod enrolment;
mod history;
mod input;
mod keys;
mod keys_commands;
mod limits;
mod lists;
mod metrics;
mod migrations;
mod producer;
mod programme;
mod reconciliation;
mod redemption;
mod roles;
mod schema;
mod second_factor;
mod service;
mod sessions;
mod tidy;
mod tour;
mod verify;
mod voucher;
mod waiting_list;
