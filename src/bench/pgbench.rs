//! The bare redemption by pgbench, on the same server and settings as what it is held against.

use std::fs;

use super::cluster::Cluster;
use super::machine::output;

const TABLES: &str = include_str!("bare.sql");

const NAME: &str = "bare";
const COPY: &str = "c_bare";

/// Makes the tables, once.
pub fn prepare(cluster: &Cluster, vouchers: u64) -> Result<(), String> {
    cluster.sql("postgres", &format!("CREATE DATABASE {NAME}"))?;
    cluster.sql(NAME, &format!("\\set vouchers {vouchers}\n{TABLES}"))?;
    cluster.sql(NAME, "VACUUM (ANALYZE)")?;
    let script = format!(
        "\\set v random(1, {vouchers})\n\\set p random(1, 200)\n\\set cents random(100, 900)\n\
         \\set k random(1, 9000000000000000000)\nSELECT redeem(:v, :p, :cents, :k);\n"
    );
    let path = cluster.directory().join("bare.pgbench");
    fs::write(&path, script).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Transactions a second of so many clients for so many seconds, on tables as they were prepared.
pub fn run(cluster: &Cluster, clients: usize, seconds: u64) -> Result<f64, String> {
    cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)"))?;
    cluster.sql("postgres", &format!("CREATE DATABASE {COPY} TEMPLATE {NAME} STRATEGY file_copy"))?;
    let mut command = cluster.program("pgbench", COPY);
    command.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string(), "-T", &seconds.to_string(), "-f"]);
    if clients == 1 {
        command.args(["bare.pgbench", "-j", "1"]);
    } else {
        command.arg("bare.pgbench");
    }
    let said = output(command.current_dir(cluster.directory()))?;
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.ok_or_else(|| format!("pgbench said no tps: {said}"))
}
