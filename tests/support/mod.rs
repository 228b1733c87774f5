//! What every test stands on: a world with its own database and clock, clients that hold each exchange to the contract.

pub mod authenticator;
pub mod client;
pub mod cluster;
pub mod contract;
pub mod figures;
pub mod openmetrics;
pub mod oracle;
pub mod process;
pub mod rulesets;
pub mod sql;
pub mod strace;
pub mod town;
pub mod traffic;
pub mod world;

pub use client::{Answer, Client, id};
pub use cluster::Cluster;
pub use figures::{cents, euros};
pub use process::Process;
pub use town::{Card, Town};
pub use world::World;

/// Runs each test on both databases, as `name::sqlite` and `name::postgresql`.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        $(
            mod $name {
                #[test]
                fn sqlite() {
                    super::$name($crate::support::World::on_sqlite());
                }

                #[test]
                fn postgresql() {
                    super::$name($crate::support::World::on_postgresql());
                }
            }
        )*
    };
}
pub(crate) use on_both_databases;
