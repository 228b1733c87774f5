//! The whole suite, in one binary: the real app over real HTTP, on both databases.

mod support;

mod access;
mod concurrency;
mod crash;
mod history;
mod input;
mod lists;
mod redemption;
mod roles;
mod schema;
mod service;
mod tidy;
mod tour;
mod verify;
