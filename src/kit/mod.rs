//! What every part of the house uses: money, ids, time, errors, keys. Knows no business and no database.

pub mod commune;
pub mod complaint;
pub mod crew;
pub mod error;
pub mod id;
pub mod keys;
pub mod money;
pub mod object;
pub mod phone;
pub mod seal;
pub mod sort;
pub mod sql;
pub mod text;
pub mod time;
