pub mod db;
pub mod kit;
