//! The house rules of `src/lib.rs`, held by reading the source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 500;

/// How often a file of `access`, or one that speaks to people, may write without `access::write_as`, which looks whether
/// whoever asks is still signed in: before anybody is, as they sign out, or what must be counted or told whoever asks.
const PLAIN_WRITES: [(&str, usize); 6] = [
    ("src/access/api.rs", 2),
    ("src/access/people.rs", 1),
    ("src/access/proof.rs", 4),
    ("src/access/sessions.rs", 2),
    ("src/household/api.rs", 1),
    // the till looks itself, for everybody in a batch, whether they are still signed in
    ("src/redemption/till/api.rs", 2),
];

struct Source {
    /// As in `src/access/api.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The folder or root file that the import rule ranks: `access`, `routes`.
    fn unit(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split_once('/').map_or(inside.trim_end_matches(".rs"), |(folder, _)| folder)
    }

    fn is_root(&self) -> bool {
        self.path.matches('/').count() == 1
    }

    fn is(&self, name: &str) -> bool {
        self.path.rsplit('/').next() == Some(name)
    }

    /// The module it is, as `["access", "api"]`.
    fn module(&self) -> Vec<&str> {
        let mut module: Vec<&str> = self.path.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
        if matches!(module.last(), Some(&"mod" | &"lib" | &"main")) {
            module.pop();
        }
        module
    }
}

/// Every rule that these files break, one line each. `src/lib.rs` must be among them: it ranks the others.
fn complaints(files: &[Source]) -> Vec<String> {
    let lib = files.iter().find(|file| file.path == "src/lib.rs").unwrap();
    let ranks = ranks(&lib.text);
    let mut found = Vec::new();
    for file in files {
        let mut complain = |what: String| found.push(format!("{}: {what}", file.path));
        let lines = file.text.lines().count();
        if lines > LONGEST_FILE {
            complain(format!("{lines} lines are more than {LONGEST_FILE}"));
        }
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            if file.text.contains(mark) {
                complain(format!("says {mark}"));
            }
        }
        if file.path.starts_with("src/") {
            // a module of tests that has a file of its own
            let text = if file.path.ends_with("/tests.rs") { "" } else { product(&file.text) };
            let product = bare(text);
            words(file, &product, &mut complain);
            writes(file, &product, &mut complain);
            imports(file, &product, &ranks, &mut complain);
        }
    }
    found
}

/// The list in the doc comment of `src/lib.rs`; names between commas share a rank.
fn ranks(lib: &str) -> BTreeMap<String, usize> {
    let doc: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let doc = doc.join(" ");
    let list = doc.split('`').find(|part| part.trim().starts_with("kit <")).expect("src/lib.rs ranks the modules");
    let rank = |(rank, names): (usize, &str)| names.split(',').map(|name| (name.trim().to_owned(), rank)).collect();
    list.split('<').enumerate().flat_map::<Vec<_>, _>(rank).collect()
}

fn words(file: &Source, product: &str, complain: &mut impl FnMut(String)) {
    let unit = file.unit();
    let speaks_http = unit == "http" || file.is("api.rs") || file.is_root() || unit == "bench";
    if has_word(product, "diesel") && !(["db", "kit"].contains(&unit) || file.is("store.rs")) {
        complain("diesel is for db, kit and store.rs".to_owned());
    }
    if has_word(product, "rusqlite") && file.path != "src/backup.rs" && unit != "bench" {
        complain("rusqlite is for backup.rs and the bench".to_owned());
    }
    if has_word(product, "actix_web") && !speaks_http {
        complain("actix_web is for http, api.rs and root files".to_owned());
    }
    for refused in [".unwrap()", "todo!", "unimplemented!", "dbg!", "println!", "eprintln!", "print!", "unsafe "] {
        let may = refused.contains("print") && ["main", "demo", "bench"].contains(&unit);
        if !may && product.contains(refused) {
            complain(format!("{} is not for src", refused.trim()));
        }
    }
}

fn writes(file: &Source, product: &str, complain: &mut impl FnMut(String)) {
    if !file.is("api.rs") && file.unit() != "access" {
        return;
    }
    let dense: String = product.split_whitespace().collect();
    let plain = dense.matches("db.write(").count() + dense.matches("state.write(").count();
    let may = PLAIN_WRITES.iter().find(|(path, _)| *path == file.path).map_or(0, |(_, may)| *may);
    if plain > may {
        complain(format!("{plain} plain writes, and {may} known: access::write_as is for who is signed in"));
    }
}

fn imports(file: &Source, product: &str, ranks: &BTreeMap<String, usize>, complain: &mut impl FnMut(String)) {
    let unit = file.unit();
    if unit == "lib" {
        return;
    }
    let Some(own) = ranks.get(unit) else {
        return complain(format!("src/lib.rs does not rank {unit}"));
    };
    for path in paths(product, &file.module()) {
        // a macro of the crate's root is written in kit
        let target = if path[0] == "text_enum" { "kit" } else { path[0].as_str() };
        let shown = path.join("::");
        if target == unit {
            continue;
        }
        // the demo starts the service, as `service.rs` does, and the bench founds its worlds with its state
        let speaks_http = file.is("api.rs") || file.is_root() || unit == "demo" || unit == "bench";
        match ranks.get(target) {
            None => complain(format!("{shown}: src/lib.rs does not rank {target}")),
            Some(_) if target == "http" && speaks_http => {}
            Some(_) if target == "http" => complain(format!("{shown}: http is for api.rs and root files")),
            Some(rank) if rank >= own => complain(format!("{shown}: {unit} does not come after {target}")),
            Some(_) => {}
        }
        if path.iter().skip(1).any(|name| name == "store") {
            complain(format!("{shown}: a neighbour's store is its own"));
        }
    }
}

/// All paths from the crate's root that code names by `crate::`, `primeur::` or `super::`, groups opened.
fn paths(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "primeur::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.ends_with("super::") {
                continue;
            }
            let mut rest = &code[at..];
            let mut base = Vec::new();
            if start == "super::" {
                let mut depth = 0;
                while let Some(further) = rest.strip_prefix("super::") {
                    (rest, depth) = (further, depth + 1);
                }
                base = module[..module.len().saturating_sub(depth)].iter().map(|name| (*name).to_owned()).collect();
            } else {
                rest = &rest[start.len()..];
            }
            tree(rest, &base, &mut found);
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Reads one tree of a `use`, or a path in an expression; returns what follows it.
fn tree<'a>(text: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.strip_prefix('}') {
                Some(after) => return after,
                None if rest.is_empty() => return rest,
                None => rest = tree(rest, base, found),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end.max(text.chars().next().map_or(0, char::len_utf8).min(usize::from(end == 0))));
    let mut path = base.to_vec();
    if name != "self" && name != "*" {
        path.push(name.to_owned());
    }
    if let Some(further) = rest.strip_prefix("::") {
        return tree(further, &path, found);
    }
    found.push(path);
    let alias = rest.trim_start().strip_prefix("as ").map(|alias| alias.trim_start());
    alias.map_or(rest, |alias| alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
}

/// A file without the tests at its end.
fn product(text: &str) -> &str {
    let ends = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"].map(|start| text.find(start));
    &text[..ends.into_iter().flatten().min().unwrap_or(text.len())]
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// Code without comments and without what stands in strings and characters.
fn bare(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => {
                let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
                let close = format!("\"{}", "#".repeat(hashes));
                let body = 2 + hashes;
                rest[body..].find(&close).map_or(rest.len(), |at| body + at + close.len())
            }
            '\'' if rest[1..].starts_with('\\') => 3 + rest[3..].find('\'').map_or(0, |at| at + 1),
            '\'' => match rest[1..].char_indices().nth(1) {
                Some((at, '\'')) => 2 + at,
                _ => 0,
            },
            _ => 0,
        };
        let skip = if skip == 0 {
            bare.push(first);
            first.len_utf8()
        } else {
            skip
        };
        rest = &rest[skip..];
    }
    bare
}

/// The length of the string literal that begins a text.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn read(folder: &Path, root: &Path, files: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(&path, root, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(Source { path: path.strip_prefix(root).unwrap().display().to_string(), text });
        }
    }
}

fn everything() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        read(&root.join(folder), root, &mut files);
    }
    files
}

#[test]
fn the_source_keeps_the_rules_of_the_house() {
    let found = complaints(&everything());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_name_that_is_ranked_is_there() {
    let files = everything();
    let lib = files.iter().find(|file| file.path == "src/lib.rs").unwrap();
    for name in ranks(&lib.text).keys() {
        assert!(files.iter().any(|file| file.path.starts_with("src/") && file.unit() == name), "{name} is nowhere");
    }
}

const LIB: &str = "//! `kit < db < access, ledger <\n//! http < programme < routes < bench < main`\n";

#[track_caller]
fn planted(path: &str, text: &str, complaint: &str) {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let found = complaints(&[source("src/lib.rs", LIB), source(path, text)]);
    match complaint {
        "" => assert!(found.is_empty(), "{text}: {found:?}"),
        _ => assert!(found.iter().any(|line| line.contains(complaint)), "{text}: {found:?}"),
    }
}

#[test]
fn a_planted_import_against_the_order_is_caught() {
    planted("src/programme/mod.rs", "use crate::ledger::{self, post};\nuse super::access;", "");
    planted("src/ledger/mod.rs", "use crate::programme::by_id;", "ledger does not come after programme");
    planted("src/ledger/mod.rs", "use crate::access::Actor;", "ledger does not come after access");
    planted("src/ledger/mod.rs", "use crate::{kit::{id::Id, money::Cents}, programme as p};", "after programme");
    planted("src/ledger/verify.rs", "use super::super::programme;", "after programme");
    planted("src/ledger/mod.rs", "fn f() { super::programme::by_id() }", "after programme");
    planted("src/ledger/mod.rs", "fn f() { crate::programme::by_id() }", "after programme");
    planted("src/ledger/verify.rs", "use super::store::{self, Row};", "");
    planted("src/programme/mod.rs", "use crate::ledger::store;", "store is its own");
    planted("src/programme/mod.rs", "use crate::ledger::{post, store::insert};", "store is its own");
    planted("src/novelty/mod.rs", "", "does not rank novelty");
    planted("src/programme/mod.rs", "use crate::novelty;", "does not rank novelty");
    planted("src/main.rs", "use primeur::programme;", "");
    planted("src/access/api.rs", "use crate::http::State;", "");
    planted("src/bench/world.rs", "use crate::http::State;", "");
    planted("src/programme/mod.rs", "use crate::bench::run;", "programme does not come after bench");
    planted("src/programme/mod.rs", "use crate::http::State;", "http is for api.rs");
    planted("src/programme/mod.rs", "// crate::routes\nconst A: &str = \"crate::routes\";", "");
    planted("src/ledger/mod.rs", "crate::text_enum! { pub enum A {} }", "");
}

#[test]
fn a_planted_word_in_the_wrong_place_is_caught() {
    planted("src/programme/mod.rs", "use diesel::prelude::*;", "diesel is for");
    planted("src/programme/store.rs", "use diesel::prelude::*;", "");
    planted("src/programme/mod.rs", "#[derive(diesel::Queryable)] struct A;", "diesel is for");
    planted("src/programme/store.rs", "use actix_web::web;", "actix_web is for");
    planted("src/programme/store.rs", "use rusqlite::Connection;", "rusqlite is for");
    planted("src/programme/api.rs", "use actix_web::web;", "");
    planted("src/programme/mod.rs", "fn f() { a.unwrap(); }", ".unwrap() is not");
    planted("src/programme/mod.rs", "// no .unwrap() here\n#[cfg(test)]\nmod tests {\n a.unwrap() }", "");
    planted("src/programme/mod.rs", "fn f() { println!(\"a\") }", "println! is not");
    planted("src/main.rs", "fn f() { println!(\"a\") }", "");
    planted("src/bench/load.rs", "use actix_web::rt;\nuse rusqlite::Connection;\nfn f() { print!(\"a\") }", "");
    planted("src/bench/load.rs", "fn f() { a.unwrap(); }", ".unwrap() is not");
    planted("src/bench/load.rs", "use diesel::prelude::*;", "diesel is for");
    planted("src/programme/mod.rs", "fn f<'a>(c: &'a str) { if c == '\"' { todo!() } }", "todo! is not");
    planted("src/programme/mod.rs", "fn f() { r#\"dbg!(\" \"#; }", "");
    planted("src/programme/mod.rs", concat!("// TO", "DO: later"), "says");
    planted("src/programme/api.rs", "fn f() { state.write_as(actor, f); access::write_as(&s.db, a, f) }", "");
    planted("src/programme/api.rs", "fn f() {\n state\n  .write(f)\n}", "1 plain writes, and 0 known");
    planted(
        "src/access/api.rs",
        "fn f() { s.db.write(f); s.db.write(f); s.db.write(f) }",
        "3 plain writes, and 2 known",
    );
    planted("src/programme/mod.rs", "fn f() { db.write(f) }", "");
    planted("tests/long.rs", &"\n".repeat(501), "501 lines");
}
