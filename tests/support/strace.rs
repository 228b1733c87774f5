//! A recording of a program's system calls, by `strace`: what it wrote, what it made durable, what it sent, and when.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// One call that ended, with its moments in microseconds.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// What its first argument stands for, as `/var/lib/primeur.db-wal` or `socket:[4711]`.
    pub file: String,
    /// All bytes it was given.
    pub data: Vec<u8>,
    /// The last argument, where that is a number: where a `pwrite64` writes.
    pub offset: Option<u64>,
    pub begun: i64,
    pub ended: i64,
    pub result: i64,
}

/// The words that stand before a program to record it. Data is kept whole.
pub fn wrapper(trace: &Path) -> Vec<String> {
    let calls = "trace=fdatasync,fsync,pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg";
    let words =
        ["strace", "-f", "-qq", "-ttt", "-T", "-y", "-x", "-s", "4194304", "-e", "signal=none", "-e", calls, "-o"];
    words.iter().map(|word| (*word).to_owned()).chain([trace.display().to_string()]).collect()
}

/// Whether programs may be recorded here. Where they may not, that is a failure, unless somebody has said that it is
/// known: a container without the right to trace shows nothing of durability.
pub fn is_allowed() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let trouble = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let known = std::env::var_os("WITHOUT_STRACE").is_some();
    assert!(
        known,
        "NOT SHOWN that answers wait for the disk: strace does not run here ({}). Allow ptrace (a container \
        needs --cap-add=SYS_PTRACE), or set WITHOUT_STRACE=1 to go without.",
        trouble.trim()
    );
    eprintln!("NOT SHOWN that answers wait for the disk, as WITHOUT_STRACE wants it: {}", trouble.trim());
    false
}

/// The calls of a recording, in the order in which they ended.
pub fn read(trace: &Path) -> Vec<Call> {
    let text = std::fs::read(trace).unwrap();
    let mut open: HashMap<&[u8], Call> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((pid, at, rest)) = head(line) else { continue };
        if let Some(rest) = rest.strip_prefix(b"<... ") {
            let Some(mut call) = open.remove(pid) else { continue };
            assert!(rest.starts_with(call.name.as_bytes()), "strace mixes up its calls");
            call.result = result(rest);
            call.ended = at;
            calls.push(call);
        } else if let Some(paren) = rest.iter().position(|byte| *byte == b'(') {
            let (data, offset) = arguments(&rest[paren..]);
            let call = Call {
                name: String::from_utf8_lossy(&rest[..paren]).into_owned(),
                file: file(&rest[paren..]),
                data,
                offset,
                begun: at,
                ended: at + duration(rest),
                result: result(rest),
            };
            if rest.ends_with(b"<unfinished ...>") {
                open.insert(pid, call);
            } else {
                calls.push(call);
            }
        }
    }
    calls
}

/// Process, moment, and the call.
fn head(line: &[u8]) -> Option<(&[u8], i64, &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (pid, rest) = (&line[..end], line[end..].trim_ascii_start());
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let moment = std::str::from_utf8(&rest[..end]).ok()?;
    Some((pid, micros(moment)?, &rest[end + 1..]))
}

/// `1790000000.123456` in microseconds.
fn micros(seconds: &str) -> Option<i64> {
    let (whole, part) = seconds.split_once('.')?;
    Some(whole.parse::<i64>().ok()? * 1_000_000 + part.parse::<i64>().ok()?)
}

/// What `-y` says the first argument is: between `<` and `>`.
fn file(arguments: &[u8]) -> String {
    let start = arguments.iter().position(|byte| *byte == b'<').map_or(0, |at| at + 1);
    let end = arguments[start..].iter().position(|byte| *byte == b'>').map_or(start, |at| start + at);
    String::from_utf8_lossy(&arguments[start..end]).into_owned()
}

/// `= 0 <0.000123>` at the end.
fn duration(call: &[u8]) -> i64 {
    let tail = String::from_utf8_lossy(&call[call.len().saturating_sub(40)..]).into_owned();
    tail.rsplit_once('<').and_then(|(_, tail)| micros(tail.strip_suffix('>')?)).unwrap_or_default()
}

fn result(call: &[u8]) -> i64 {
    let tail = String::from_utf8_lossy(&call[call.len().saturating_sub(120)..]).into_owned();
    let value = tail.rsplit_once(") = ").map(|(_, value)| value.split(' ').next().unwrap_or_default().to_owned());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}

/// All strings that a call was given, unescaped, and the number that stands last.
fn arguments(text: &[u8]) -> (Vec<u8>, Option<u64>) {
    let (mut data, mut at, mut outside) = (Vec::new(), 0, Vec::new());
    while at < text.len() {
        if text[at] != b'"' {
            outside.push(text[at]);
            at += 1;
            continue;
        }
        at += 1;
        while at < text.len() && text[at] != b'"' {
            at += match text[at] {
                b'\\' => unescape(&text[at + 1..], &mut data) + 1,
                plain => {
                    data.push(plain);
                    1
                }
            };
        }
        at += 1;
        assert!(!text[at.min(text.len())..].starts_with(b"..."), "strace cut data off");
    }
    let outside = String::from_utf8_lossy(&outside).into_owned();
    let inside = outside.split(") = ").next().unwrap_or_default().trim_end_matches(" <unfinished ...>");
    (data, inside.rsplit(", ").next().and_then(|last| last.parse().ok()))
}

/// One escape after its backslash, as in C; how long it was.
fn unescape(text: &[u8], data: &mut Vec<u8>) -> usize {
    let number = |digits: &[u8], base| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), base).unwrap();
    match text[0] {
        b'x' => data.push(number(&text[1..3], 16)),
        b'n' => data.push(b'\n'),
        b'r' => data.push(b'\r'),
        b't' => data.push(b'\t'),
        b'v' => data.push(0x0b),
        b'f' => data.push(0x0c),
        b'0'..=b'7' => {
            let digits = text.iter().take(3).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
            data.push(number(&text[..digits], 8));
            return digits;
        }
        other => data.push(other),
    }
    if text[0] == b'x' { 3 } else { 1 }
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let trace = super::world::directory().join("trace");
    std::fs::write(
        &trace,
        "7 1790000000.000010 pwrite64(5</a/b-wal>, \"\\x00\\x41\", 2, 4096) = 2 <0.000007>\n\
         7 1790000000.000020 fdatasync(5</a/b-wal> <unfinished ...>\n\
         8 1790000000.000030 writev(9<socket:[1]>, [{iov_base=\"HTTP\\r\\n\\\"\", iov_len=7}, {iov_base=\"\\7x\", \
         iov_len=2}], 2) = 9 <0.000001>\n7 1790000000.000040 <... fdatasync resumed>) = 0 <0.000020>\n\
         8 1790000000.000050 fsync(6</a/b>) = -1 EIO (Input/output error) <0.000001>\n",
    )
    .unwrap();
    let calls = read(&trace);
    let seen: Vec<_> =
        calls.iter().map(|c| (&*c.name, &*c.file, &*c.data, c.offset, c.ended % 100, c.result)).collect();
    assert_eq!(
        seen,
        [
            ("pwrite64", "/a/b-wal", &b"\0A"[..], Some(4096), 17, 2),
            ("writev", "socket:[1]", b"HTTP\r\n\"\x07x", Some(2), 31, 9),
            ("fdatasync", "/a/b-wal", b"", None, 40, 0),
            ("fsync", "/a/b", b"", None, 51, -1),
        ]
    );
    assert_eq!(calls[2].begun % 100, 20);
}
