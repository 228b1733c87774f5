//! The whole suite, in one binary: the real app over real HTTP, on both databases.

mod support;

mod concurrency;
mod crash;
mod history;
mod redemption;
mod tour;
mod verify;
