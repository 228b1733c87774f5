//! Sorting more than memory is to hold. What is over goes to a file that has no name, so that nobody else opens it and it
//! is gone with the last who holds it, however the program ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Runs that are merged at a time: their buffers are all in memory.
const FAN: usize = 128;

/// Bytes that are read of a run at a time.
const BUFFER: usize = 8 * 1024;

/// What is sorted: of a fixed length, in the order of `Ord`, in which those that belong together lie side by side.
pub trait Record: Ord + Sized {
    /// Bytes in a file.
    const LENGTH: usize;

    fn put(&self, to: &mut Vec<u8>);

    fn get(from: &[u8]) -> Self;

    /// Takes another up, if it belongs to this one.
    fn absorb(&mut self, next: &Self) -> bool;
}

/// How much is sorted in memory, and where the rest lies.
#[derive(Clone, Debug)]
pub struct Room {
    /// Records that are held in memory.
    pub records: usize,
    /// Where a file is made if there are more.
    pub directory: PathBuf,
}

/// Takes records in any order.
pub struct Sorter<R> {
    room: Room,
    held: Vec<R>,
    spilt: Option<Runs>,
}

/// A file of sorted runs, one after the other.
struct Runs {
    file: File,
    ends: Vec<u64>,
}

/// All of it in order, and nothing twice that belongs together.
pub struct Sorted<R>(Source<R>);

enum Source<R> {
    Memory(std::vec::IntoIter<R>),
    File(File, Run),
}

impl<R: Record> Sorter<R> {
    pub fn new(room: &Room) -> Self {
        Sorter { room: room.clone(), held: Vec::new(), spilt: None }
    }

    pub fn push(&mut self, record: R) -> io::Result<()> {
        if self.held.len() >= self.room.records {
            self.spill()?;
        }
        self.held.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let runs = match &mut self.spilt {
            Some(runs) => runs,
            None => self.spilt.insert(Runs { file: nameless(&self.room.directory)?, ends: Vec::new() }),
        };
        let mut writer = Writer::new(&runs.file, runs.ends.last().copied().unwrap_or(0));
        together(self.held.drain(..).map(Ok), |record| writer.write(&record))?;
        runs.ends.push(writer.end()?);
        Ok(())
    }

    /// Shows each record once, in order, as it will be read.
    pub fn finish(mut self, mut show: impl FnMut(&R)) -> io::Result<Sorted<R>> {
        if self.spilt.is_none() {
            self.held.sort_unstable();
            let mut held = Vec::new();
            together(self.held.into_iter().map(Ok), |record| {
                show(&record);
                held.push(record);
                Ok(())
            })?;
            return Ok(Sorted(Source::Memory(held.into_iter())));
        }
        self.spill()?;
        let Sorter { room, held, spilt } = self;
        // its memory is better used by what reads the runs
        drop(held);
        let mut runs = spilt.map_or_else(|| Err(io::ErrorKind::NotFound.into()), Ok::<_, io::Error>)?;
        while runs.ends.len() > FAN {
            runs = runs.merged::<R>(&room.directory, FAN, |_| ())?;
        }
        let runs = runs.merged(&room.directory, FAN, show)?;
        let length = runs.ends.last().copied().unwrap_or(0);
        Ok(Sorted(Source::File(runs.file, Run::new(0..length))))
    }
}

impl<R: Record> Sorted<R> {
    /// The next record; none after the last.
    pub fn read(&mut self) -> io::Result<Option<R>> {
        match &mut self.0 {
            Source::Memory(records) => Ok(records.next()),
            Source::File(file, run) => run.next(file),
        }
    }
}

impl Runs {
    /// Fewer, longer runs in another file: one for so many at a time.
    fn merged<R: Record>(&self, directory: &Path, fan: usize, mut show: impl FnMut(&R)) -> io::Result<Self> {
        let mut merged = Runs { file: nameless(directory)?, ends: Vec::new() };
        let mut starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bounds: Vec<Range<u64>> = self.ends.iter().zip(&mut starts).map(|(end, start)| start..*end).collect();
        for bounds in bounds.chunks(fan) {
            let mut runs: Vec<Run> = bounds.iter().cloned().map(Run::new).collect();
            let mut heads = BinaryHeap::new();
            for (number, run) in runs.iter_mut().enumerate() {
                heads.extend(run.next(&self.file)?.map(|record: R| Reverse((record, number))));
            }
            let next = || {
                let mut head = heads.peek_mut()?;
                let number = head.0.1;
                match runs[number].next(&self.file) {
                    Ok(Some(record)) => Some(Ok(std::mem::replace(&mut *head, Reverse((record, number))).0.0)),
                    Ok(None) => Some(Ok(std::collections::binary_heap::PeekMut::pop(head).0.0)),
                    Err(error) => Some(Err(error)),
                }
            };
            let mut writer = Writer::new(&merged.file, merged.ends.last().copied().unwrap_or(0));
            together(std::iter::from_fn(next), |record| {
                show(&record);
                writer.write(&record)
            })?;
            merged.ends.push(writer.end()?);
        }
        Ok(merged)
    }
}

/// Hands on each record with all that follow it and belong to it.
fn together<R: Record>(
    sorted: impl Iterator<Item = io::Result<R>>,
    mut each: impl FnMut(R) -> io::Result<()>,
) -> io::Result<()> {
    let mut last: Option<R> = None;
    for record in sorted {
        let record = record?;
        if !last.as_mut().is_some_and(|last| last.absorb(&record)) {
            last.replace(record).map_or(Ok(()), &mut each)?;
        }
    }
    last.map_or(Ok(()), each)
}

/// Reads one run of a file.
struct Run {
    rest: Range<u64>,
    buffer: Vec<u8>,
    read: usize,
}

impl Run {
    fn new(rest: Range<u64>) -> Self {
        Run { rest, buffer: Vec::new(), read: 0 }
    }

    fn next<R: Record>(&mut self, file: &File) -> io::Result<Option<R>> {
        if self.read == self.buffer.len() {
            let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
            let most = (BUFFER / R::LENGTH).max(1) * R::LENGTH;
            self.buffer.resize(left.min(most), 0);
            file.read_exact_at(&mut self.buffer, self.rest.start)?;
            self.rest.start += self.buffer.len() as u64;
            self.read = 0;
        }
        let record = self.buffer.get(self.read..self.read + R::LENGTH).map(R::get);
        self.read += if record.is_some() { R::LENGTH } else { 0 };
        Ok(record)
    }
}

/// Writes one run to the end of a file.
struct Writer<'a> {
    file: BufWriter<&'a File>,
    end: u64,
    bytes: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// The file has only ever been written to through one of these: it stands at its end.
    fn new(file: &'a File, end: u64) -> Self {
        Writer { file: BufWriter::with_capacity(8 * BUFFER, file), end, bytes: Vec::new() }
    }

    fn write<R: Record>(&mut self, record: &R) -> io::Result<()> {
        self.bytes.clear();
        record.put(&mut self.bytes);
        self.end += self.bytes.len() as u64;
        self.file.write_all(&self.bytes)
    }

    fn end(mut self) -> io::Result<u64> {
        self.file.flush()?;
        Ok(self.end)
    }
}

fn nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".sorting-{}", Uuid::now_v7()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Sum(u16, u64);

    impl Record for Sum {
        const LENGTH: usize = 10;

        fn put(&self, to: &mut Vec<u8>) {
            to.extend_from_slice(&self.0.to_le_bytes());
            to.extend_from_slice(&self.1.to_le_bytes());
        }

        fn get(from: &[u8]) -> Self {
            let (key, sum) = from.split_at(2);
            Sum(u16::from_le_bytes(key.try_into().unwrap()), u64::from_le_bytes(sum.try_into().unwrap()))
        }

        fn absorb(&mut self, next: &Self) -> bool {
            let same = self.0 == next.0;
            self.1 += if same { next.1 } else { 0 };
            same
        }
    }

    fn sorted(records: &[Sum], room: usize) -> Vec<Sum> {
        let directory = std::env::temp_dir();
        let mut sorter = Sorter::new(&Room { records: room, directory });
        for record in records {
            sorter.push(record.clone()).unwrap();
        }
        let mut shown = Vec::new();
        let mut sorted = sorter.finish(|record| shown.push(record.clone())).unwrap();
        let read: Vec<Sum> = std::iter::from_fn(|| sorted.read().unwrap()).collect();
        assert_eq!(shown, read);
        read
    }

    proptest! {
        #[test]
        fn what_is_sorted_and_summed_does_not_depend_on_the_room(
            keys in proptest::collection::vec((0_u16..300, 1_u64..9), 0..700), room in 1_usize..40,
        ) {
            let records: Vec<Sum> = keys.iter().map(|(key, amount)| Sum(*key, *amount)).collect();
            let mut sums = std::collections::BTreeMap::new();
            for (key, amount) in keys {
                *sums.entry(key).or_insert(0) += amount;
            }
            let expected: Vec<Sum> = sums.into_iter().map(|(key, sum)| Sum(key, sum)).collect();
            prop_assert_eq!(&sorted(&records, room), &expected);
            prop_assert_eq!(&sorted(&records, 1000), &expected);
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_and_no_panic() {
        let mut sorter = Sorter::new(&Room { records: 1, directory: "/nowhere/at/all".into() });
        sorter.push(Sum(1, 1)).unwrap();
        assert!(sorter.push(Sum(2, 1)).is_err());
    }
}
