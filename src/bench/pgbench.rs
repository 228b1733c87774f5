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
    let said = pgbench(cluster, clients, seconds, &[])?;
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.ok_or_else(|| format!("pgbench said no tps: {said}"))
}

/// Latency in milliseconds that 99 of 100 have at so many transactions a second, from the moment that each is due, once a
/// second at full speed has brought the tables into memory.
pub fn paced_p99(cluster: &Cluster, clients: usize, rate: f64, seconds: u64) -> Result<f64, String> {
    run(cluster, clients, 1)?;
    let log = cluster.directory().join("paced");
    drop(fs::remove_dir_all(&log));
    fs::create_dir(&log).map_err(|e| format!("cannot make {}: {e}", log.display()))?;
    pgbench(cluster, clients, seconds, &["-l", "--log-prefix=paced/log", "-R", &rate.to_string()])?;
    let mut micros = Vec::new();
    for file in fs::read_dir(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))? {
        let file = file.and_then(|file| fs::read_to_string(file.path()));
        let file = file.map_err(|e| format!("cannot read what pgbench logs: {e}"))?;
        // client, transaction, microseconds
        let third = |line: &str| line.split(' ').nth(2).and_then(|field| field.parse::<f64>().ok());
        micros.extend(file.lines().filter_map(third));
    }
    micros.sort_by(f64::total_cmp);
    let p99 = micros.get(micros.len() * 99 / 100).ok_or("pgbench logged nothing")?;
    Ok(p99 / 1000.0)
}

fn pgbench(cluster: &Cluster, clients: usize, seconds: u64, more: &[&str]) -> Result<String, String> {
    let mut command = cluster.program("pgbench", COPY);
    let threads = if clients == 1 { "1" } else { "2" };
    command.args(["-n", "-M", "prepared", "-j", threads, "-c", &clients.to_string(), "-T", &seconds.to_string()]);
    output(command.args(more).args(["-f", "bare.pgbench"]).current_dir(cluster.directory()))
}
