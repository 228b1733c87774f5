//! What a long past, and a whole country's cards, do to the till. Worlds too large to be copied: they are made once.

use std::time::Duration;

use super::super::figures::{Aim, Figure, Series};
use super::super::world::Size;
use super::super::{Bench, Database, Plan};
use super::till::PEAK;

/// Before the past is measured: a service that has run for a while has what it touches in memory.
const WARM: Duration = Duration::from_secs(20);

pub fn history(bench: &mut Bench, database: Database) -> Result<(), String> {
    let size = Size { purchases: bench.scale.behind, ..bench.usual() };
    let empty = bench.world(database, bench.usual())?;
    let behind = bench.world(database, size)?;
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    let plan = Plan { warm: WARM, ..bench.plan(PEAK) };
    for _ in 0..bench.scale.rounds {
        base.push(bench.press("1,100 a second, no history", &empty, &[], plan)?.outcome.decided.p99);
        // what nobody touches for some seconds may have left the memory again
        behind.warm(bench.cluster.as_ref())?;
        ours.push(bench.press("1,100 a second, long history", &behind, &[], plan)?.outcome.decided.p99);
    }
    bench.forget(&behind);
    let name = format!("till p99 with {} redemptions behind ÷ with an empty history", size.purchases);
    let (ours, base) = (Series::new("long history", "ms", ours), Series::new("empty history", "ms", base));
    bench.figure(Figure::new("history", name, Some(database.name()), ours, Some(base), Aim::less(1.5, 1.1)));
    Ok(())
}

pub fn crowd(bench: &mut Bench, database: Database) -> Result<(), String> {
    let few = Size { agreements: 1, ..bench.usual() };
    let many = Size { households: bench.scale.crowd, ..few };
    let (few, many) = (bench.world(database, few)?, bench.world(database, many)?);
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.rounds {
        base.push(bench.press("64 connections, few cards", &few, &[], bench.closed(64))?.outcome.rate());
        many.warm(bench.cluster.as_ref())?;
        ours.push(bench.press("64 connections, many cards", &many, &[], bench.closed(64))?.outcome.rate());
    }
    bench.forget(&many);
    bench.forget(&few);
    let name = format!("throughput with {} vouchers ÷ with {}", many.size.households, few.size.households);
    let (ours, base) = (Series::new("many", "req/s", ours), Series::new("few", "req/s", base));
    bench.figure(Figure::new("crowd", name, Some(database.name()), ours, Some(base), Aim::more(0.7, 0.9)));
    Ok(())
}
