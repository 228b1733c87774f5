//! The two databases. Nothing outside this folder knows that there are two.

mod backend;
mod error;
mod figures;
mod migrate;
mod pool;
mod query;
pub mod schema;

pub use backend::Conn;
pub use figures::{Figures, version};
pub use migrate::{Schema, newer};
pub use pool::{Db, Queue, Settings, wait_in};
pub use query::{Locked, Page, SumCents, Upsert, key_of_seal};
