//! What the machine tells: processors, memory, disk; of processes what /proc says.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Ticks of `/proc/PID/stat` a second: fixed by Linux's interface.
const TICKS: f64 = 100.0;

/// Seconds of processor that a process and those it has waited for have used.
pub fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    fields(&stat).map_or(0.0, |(_, ticks)| ticks / TICKS)
}

/// The same of a process and all its children that still run.
pub fn cpu_with_children(pid: u32) -> f64 {
    let mut sum = cpu(pid);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((parent, ticks)) = fields(&stat)
            && parent == pid
        {
            sum += ticks / TICKS;
        }
    }
    sum
}

/// The parent, and the ticks used.
fn fields(stat: &str) -> Option<(u32, f64)> {
    // the name may have blanks and parentheses in it
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

/// One field of `/proc/PID/status` in MiB, as `VmRSS` or `VmHWM`.
pub fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// MiB that all disks have been read since the machine has started: what was no longer in memory, or never.
pub fn read_from_disks() -> f64 {
    let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let kib = counters.lines().find_map(|line| line.strip_prefix("pgpgin ")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Lets `VmHWM` begin anew.
pub fn forget_peak(pid: u32) -> Result<(), String> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").map_err(|e| format!("cannot reset the peak of {pid}: {e}"))
}

/// Microseconds of one `fdatasync` of 8 kB written anew in a folder: the median of many.
pub fn fdatasync(folder: &Path, lasting: Duration) -> Result<f64, String> {
    let path = folder.join("fdatasync");
    let told = |e: std::io::Error| format!("cannot sync in {}: {e}", folder.display());
    let mut file = File::create(&path).map_err(told)?;
    let block = [7_u8; 8192];
    file.write_all(&block).and_then(|()| file.sync_all()).map_err(told)?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasting || times.len() < 20 {
        let once = Instant::now();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&block)).map_err(told)?;
        file.sync_data().map_err(told)?;
        times.push(once.elapsed().as_secs_f64() * 1e6);
    }
    drop(fs::remove_file(&path));
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Reads a file, or all files below a folder, so that the system has them at hand as far as its memory goes.
pub fn read_through(path: &Path) -> Result<(), String> {
    let told = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(told)? {
            read_through(&entry.map_err(told)?.path())?;
        }
        return Ok(());
    }
    let read = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink()));
    match read {
        // removed meanwhile
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        read => read.map(drop).map_err(told),
    }
}

/// MiB that are free where a folder lies.
pub fn free(folder: &Path) -> f64 {
    let said = output(Command::new("df").args(["-m", "--output=avail"]).arg(folder)).unwrap_or_default();
    said.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0.0)
}

/// The kind of file system of a folder, as `ext4` or `tmpfs`.
pub fn file_system(folder: &Path) -> String {
    let said = output(Command::new("df").args(["--output=fstype"]).arg(folder)).unwrap_or_default();
    said.lines().last().unwrap_or("unknown").trim().to_owned()
}

/// The load of the last minute, before anything was measured: whatever else is at work.
pub fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} × {}", model.map_or("unknown", |(_, model)| model))
}

/// KiB.
pub fn total_memory() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
    line.and_then(|kib| kib.trim().parse().ok()).unwrap_or(1 << 20)
}

/// What a program prints; its complaint where it fails.
pub fn output(command: &mut Command) -> Result<String, String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| format!("cannot run {shown}: {e}"))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(format!("{shown} failed: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_blanks_and_parentheses_in_its_name_is_read() {
        let stat = "17 (a (b) c) S 3 17 17 0 -1 4194560 1 0 0 0 10 20 30 40 20 0 1 0";
        assert_eq!(fields(stat), Some((3, 100.0)));
        let own = std::process::id();
        // read first: it grows while this runs
        let alone = cpu(own);
        assert!(memory(own, "VmRSS") > 1.0 && cpu_with_children(own) >= alone);
    }
}
