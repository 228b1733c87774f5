//! The tour of `docs/` passes against the program itself, on both databases.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::Process;
use crate::support::world::PASSWORD;

#[test]
fn the_tour_passes_on_sqlite() {
    passes(Process::on_sqlite());
}

#[test]
fn the_tour_passes_on_postgresql() {
    passes(Process::on_postgresql());
}

fn passes(mut process: Process) {
    let mut create = process
        .command(&[
            "admin",
            "create",
            "--email",
            "admin@primeur.example",
            "--name",
            "Camille",
            "--organisation",
            "Primeur",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    create.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(create.wait().unwrap().success());
    process.serve();
    let tour = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.sh");
    let output = Command::new(tour).args([&process.address, "admin@primeur.example", PASSWORD]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().last().is_some_and(|line| line.starts_with("The tour passed")), "{said}");
    let verify = process.command(&["verify"]).output().unwrap();
    assert!(String::from_utf8_lossy(&verify.stdout).ends_with("OK\n"), "{verify:?}");
}
