//! A funder's month as CSV over HTTP, against what the databases' own programs write of the same rows.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::super::figures::{Aim, Figure, Series};
use super::super::world::{Copy, Place, Size};
use super::super::{Bench, Database, machine};

pub fn month(bench: &mut Bench, database: Database) -> Result<(), String> {
    let size = Size { purchases: bench.scale.month, ..bench.usual() };
    let world = bench.world(database, size)?;
    let copy = bench.copy(&world)?;
    let agreement = copy.cast.founded.agreements[0].id;
    let path = format!("/api/v1/agreements/{agreement}/reconciliations/{}?format=csv", copy.cast.month);
    let (mut times, mut grown, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    // the first to read what was just filled pays for it, whoever it is
    own_program(bench, &copy)?;
    for round in 0..bench.scale.rounds {
        // they take turns at being first
        let ours_first = round % 2 == 0;
        for ours in [ours_first, !ours_first] {
            if !ours {
                let begun = Instant::now();
                own_program(bench, &copy)?;
                theirs.push(begun.elapsed().as_secs_f64());
                continue;
            }
            let server = copy.serve(&bench.folder, &[])?;
            // what any first request brings into memory is no part of a report
            server.get("/api/v1/agreements", Some(&copy.cast.funder), |_| {})?;
            machine::forget_peak(server.pid())?;
            let idle = machine::memory(server.pid(), "VmRSS");
            let (begun, mut lines) = (Instant::now(), 0_u64);
            let count = |bytes: &[u8]| lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            let status = server.get(&path, Some(&copy.cast.funder), count)?;
            times.push(begun.elapsed().as_secs_f64());
            grown.push(machine::memory(server.pid(), "VmHWM") - idle);
            server.stop();
            if status != 200 || lines < size.purchases {
                return Err(format!("the month was answered {status} with {lines} lines"));
            }
        }
    }
    bench.forget(&world);
    let (name, program) =
        (size.purchases, ["psql's own copy", "sqlite3 -csv"][usize::from(database == Database::Sqlite)]);
    let aim = match database {
        Database::Postgresql => Aim::less(1.2, 0.9),
        Database::Sqlite => Aim::less(1.0, 0.8),
    };
    let (ours, base) = (Series::new("over HTTP", "s", times), Series::new(program, "s", theirs));
    let of = Some(database.name());
    let what = format!("streamed month of {name} lines as CSV: time ÷ {program}");
    bench.figure(Figure::new("month", what, of, ours, Some(base), aim));
    let what = format!("streamed month of {name} lines as CSV: memory over idle");
    bench.figure(Figure::new("month", what, of, Series::new("grown", "MiB", grown), None, Aim::less(12.0, 6.0)));
    Ok(())
}

/// The same rows and columns in the same order: an id of the line, kind, day, household, producer, what was covered, part.
fn own_program(bench: &Bench, copy: &Copy) -> Result<(), String> {
    let file = bench.folder.join("month.csv");
    let made = || File::create(&file).map_err(|e| format!("cannot write {}: {e}", file.display()));
    let agreement = data_encoding::HEXLOWER.encode(copy.cast.founded.agreements[0].id.as_bytes());
    let month = &copy.cast.month;
    let (mut command, script) = match &copy.place {
        Place::Postgresql { name } => {
            let mut command = bench.cluster()?.program("psql", name);
            command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
            let query = format!(
                "SELECT r.id, t.code, (t.occurred_at AT TIME ZONE 'Europe/Paris')::date AS day, r.enrolment_id, o.name, \
                 r.covered_cents, t.amount_cents FROM transfers t JOIN redemptions r ON r.id = t.reference \
                 JOIN organisations o ON o.id = r.producer_id WHERE t.agreement_id = '{agreement}' AND t.code IN \
                 ('redeem', 'void') AND t.recorded_at >= '{month}-01 00:00 Europe/Paris'::timestamptz AND t.recorded_at < \
                 '{month}-01 00:00 Europe/Paris'::timestamptz + interval '1 month' ORDER BY day, r.id"
            );
            (command, format!("\\copy ({query}) TO stdout WITH (FORMAT csv, HEADER)\n"))
        }
        Place::Sqlite { file } => {
            let mut command = Command::new("sqlite3");
            command.args(["-csv", "-header"]).arg(file);
            let query = format!(
                "SELECT lower(hex(r.id)), t.code, date(t.occurred_at / 1000000, 'unixepoch') AS day, \
                 lower(hex(r.enrolment_id)), o.name, r.covered_cents, t.amount_cents FROM transfers t \
                 JOIN redemptions r ON r.id = t.reference JOIN organisations o ON o.id = r.producer_id \
                 WHERE t.agreement_id = x'{agreement}' AND t.code IN ('redeem', 'void') \
                 AND t.recorded_at >= unixepoch('{month}-01', '-2 hours') * 1000000 \
                 AND t.recorded_at < unixepoch('{month}-01', '+1 month') * 1000000 ORDER BY day, r.id;\n"
            );
            (command, query)
        }
    };
    let told = |e: std::io::Error| format!("the database's own program: {e}");
    let mut child = command.stdin(Stdio::piped()).stdout(made()?).stderr(Stdio::piped()).spawn().map_err(told)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).map_err(told)?;
    }
    let done = child.wait_with_output().map_err(told)?;
    match done.status.success() && done.stderr.is_empty() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}
