//! The two databases. Nothing outside this folder knows that there are two.

mod address;
mod ask;
mod backend;
mod connect;
mod error;
mod figures;
mod fold;
pub mod group;
mod migrate;
mod pool;
mod query;
mod rows;
pub mod schema;
mod set;
mod turn;
mod wipe;

pub(crate) use ask::portable;
pub use ask::{Ask, RowOf, ask, columns_of, question, sqlite};
pub use backend::Conn;
pub use connect::Settings;
pub use figures::{Figures, version};
pub use fold::Folder;
pub use migrate::{Schema, newer};
pub use pool::{Db, GIVEN_UP, Queue, wait_in};
pub use query::{Locked, Page, SumCents, Upsert, key_of_seal};
pub use rows::each_row;
pub(crate) use set::unwalked;
pub use set::{any_of, column, hex, listed, listed_rows, unnested, unnested_rows, verbatim};
