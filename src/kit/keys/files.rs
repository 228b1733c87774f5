//! The key directory: a file a key, named `PURPOSE-STAMP.key` after the microsecond of its making, of mode 0600.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::{Digest32, KeyId, Purpose, random};
use crate::kit::time::Instant;

/// A key as it lies in the directory.
pub struct KeyFile {
    pub purpose: Purpose,
    pub id: KeyId,
    pub made: Instant,
    pub path: PathBuf,
    bytes: Digest32,
}

impl KeyFile {
    fn at(path: PathBuf, purpose: Purpose, bytes: Digest32, made: Instant) -> Self {
        KeyFile { purpose, id: KeyId::new(purpose, &bytes), made, path, bytes }
    }

    #[cfg(test)]
    pub(in crate::kit) fn new(purpose: Purpose, bytes: Digest32, made: Instant) -> Self {
        Self::at(PathBuf::new(), purpose, bytes, made)
    }

    pub(super) fn bytes(&self) -> &Digest32 {
        &self.bytes
    }

    /// When it signs or seals, if an older key does so until then.
    pub fn begins(&self, overlap_minutes: i64) -> Instant {
        self.made.plus_minutes(overlap_minutes)
    }
}

/// The keys of a directory: purpose by purpose, the oldest first. Files of other names are not looked at.
pub fn list(dir: &Path) -> Result<Vec<KeyFile>, String> {
    let listing = fs::read_dir(dir).map_err(|e| format!("cannot read the key directory {}: {e}", dir.display()))?;
    let mut keys = Vec::new();
    for entry in listing {
        let path = entry.map_err(|e| format!("cannot read the key directory {}: {e}", dir.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".key"));
        let Some((purpose, stamp)) = name.and_then(|name| name.split_once('-')) else { continue };
        let Ok(purpose) = purpose.parse() else { continue };
        let shown = path.display();
        let stamp = stamp.parse().map_err(|_| format!("{shown} is not named {purpose}-MICROSECONDS.key"))?;
        let bytes = read(&path)?;
        keys.push(KeyFile::at(path, purpose, bytes, Instant::from_microsecond(stamp)));
    }
    keys.sort_by_key(|key| (key.purpose, key.made));
    Ok(keys)
}

fn read(path: &Path) -> Result<Digest32, String> {
    let shown = path.display();
    let mode = fs::metadata(path).map_err(|e| format!("cannot read {shown}: {e}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("{shown} can be read by other users: chmod 600 {shown}"));
    }
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok();
    bytes
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| format!("{shown} is not a key: 64 hexadecimal digits are expected"))
}

/// Makes a key of each purpose that the directory has none of, and the directory itself; tells the files.
pub fn make_missing(dir: &Path, purposes: &[Purpose], now: Instant) -> Result<Vec<PathBuf>, String> {
    if !purposes.is_empty() && !dir.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| format!("cannot make the key directory {}: {e}", dir.display()))?;
    }
    if purposes.is_empty() {
        return Ok(Vec::new());
    }
    // servers that start at once make them once; the lock ends with the file
    let turn = fs::File::open(dir).and_then(|turn| turn.lock().map(|()| turn));
    let _turn = turn.map_err(|e| format!("cannot lock the key directory {}: {e}", dir.display()))?;
    let held = list(dir)?;
    let missing = purposes.iter().filter(|purpose| !held.iter().any(|key| key.purpose == **purpose));
    missing.map(|purpose| make(dir, *purpose, now)).collect()
}

/// Makes a new key: it lies there whole and for good, or not at all.
pub fn make(dir: &Path, purpose: Purpose, now: Instant) -> Result<PathBuf, String> {
    let name = format!("{purpose}-{:020}.key", now.as_microsecond());
    let path = dir.join(&name);
    let unfinished = dir.join(format!(".{name}.{}", HEXLOWER.encode(&random::<4>())));
    let written = write(&unfinished, &path);
    // once linked it is there under its own name
    let _ = fs::remove_file(&unfinished);
    written
        .and_then(|()| fs::File::open(dir)?.sync_all())
        .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

fn write(unfinished: &Path, path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    writeln!(file, "{}", HEXLOWER.encode(&random::<32>()))?;
    file.sync_all()?;
    // unlike a renaming, a link never takes the place of a file that is there
    fs::hard_link(unfinished, path)
}
