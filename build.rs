//! Embeds every file of `config/presets`: a preset more is a file more, and nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder")).join("config/presets");
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(&folder).expect("config/presets is part of the source");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut list = "[\n".to_owned();
    for file in files {
        let code = file.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let text = format!("include_str!({:?})", file.display().to_string());
        writeln!(list, "    ({code:?}, {text}),").expect("a string takes any text");
    }
    list.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo names a folder")).join("presets.rs");
    fs::write(out, list).expect("the folder that cargo names can be written");
}
