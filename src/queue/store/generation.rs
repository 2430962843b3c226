//! A generation on sled: a small database of its own, `head` and the chunks by number.
//!
//! sled's `flush` ends in `sync_file_range`, which a power cut does not respect; so [`Generation::sync`] follows it
//! with `fdatasync` on a handle of our own, and only then is anything durable.
//!
//! Invariants:
//! - keys are appended, never overwritten and never deleted. sled writes their leaves anew all the same, and uses the
//!   segments of the old ones again: so there is one batch between two syncs, and what one failed to write is written once
//!   more before sled opens it (see [`renew`]);
//! - settings and names of a generation are durable before its head is;
//! - a value is at most [`VALUE_MAX`], so that a leaf of 17 of them stays below a quarter of a segment and sled
//!   never puts one into `blobs/`, which it does not sync;
//! - a panic inside sled is an error here, while it opens, works and closes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::directory::sync_directory;
use super::guard::{flush, guard};
use super::{Generation, StoreError, io_error};
#[cfg(feature = "faults")]
use crate::faults::Mutant;
use crate::faults::Point;

/// The most bytes one value may have.
pub const VALUE_MAX: usize = 7_680;
const SEGMENT: usize = 512 << 10;
const _: () = assert!(17 * VALUE_MAX < SEGMENT / 4, "a leaf this large would go to blobs/, which sled does not sync");

const HEAD: &[u8] = b"head";
/// How long whoever had it open before may take to let go: sled closes in the background.
const LET_GO: Duration = Duration::from_secs(5);
/// How long what the disk fails to give is waited for, each time: what fails once may be the bus, and a generation that is
/// put aside is put aside for good.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

pub struct SledGeneration {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    /// Our own handle on sled's file: the one that is really synced.
    file: File,
    dir: PathBuf,
}

impl SledGeneration {
    /// Makes a new one in a directory that is not there yet.
    pub fn create(dir: &Path, head: &[u8]) -> Result<Self, StoreError> {
        let made = Self::from_db(dir, guard(dir, || config(dir).open())?)?;
        // sled writes its settings once and never syncs them, and with torn ones it opens nothing any more.
        let conf = dir.join("conf");
        File::open(&conf).and_then(|conf| conf.sync_all()).map_err(io_error("cannot sync", &conf))?;
        sync_directory(dir)?;
        guard(dir, || made.db().insert(HEAD, head).map(drop))?;
        made.sync()?;
        Ok(made)
    }

    /// Opens one that is there.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let until = Instant::now() + LET_GO;
        loop {
            match reading(patiently(|| attempt(dir))) {
                Err(StoreError::Io { source, .. }) if is_locked(&source) && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                // A snapshot only saves time: without it sled reads its whole log.
                Err(StoreError::Damaged { .. }) if remove_snapshots(dir, "")? > 0 => {}
                opened => return Self::from_db(dir, opened?),
            }
        }
    }

    fn from_db(dir: &Path, db: sled::Db) -> Result<Self, StoreError> {
        let path = dir.join("db");
        let file = File::options().read(true).write(true).open(&path).map_err(io_error("cannot open", &path))?;
        Ok(Self { db: Some(db), file, dir: dir.to_owned() })
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is open until it is dropped")
    }
}

/// sled by itself would make a new one of what is missing.
fn attempt(dir: &Path) -> Result<sled::Db, StoreError> {
    let path = dir.join("db");
    if !path.try_exists().map_err(io_error("cannot look for", &path))? {
        return Err(StoreError::Missing { path });
    }
    read_through(&path).map_err(io_error("cannot read", &path))?;
    mend_settings(dir)?;
    // On a full disk sled leaves an empty snapshot behind, and then takes the whole database for corrupt.
    remove_snapshots(dir, ".generating")?;
    guard(dir, || config(dir).open())
}

fn config(dir: &Path) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT)
        .cache_capacity(2 << 20)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput)
}

impl Generation for SledGeneration {
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (number, chunk) in chunks {
            assert!(chunk.len() <= VALUE_MAX, "a chunk of {} bytes would go to blobs/", chunk.len());
            batch.insert(&number.to_be_bytes(), chunk.as_slice());
        }
        guard(&self.dir, || self.db().apply_batch(batch))
    }

    fn sync(&self) -> Result<(), StoreError> {
        flush(&self.dir, self.db())?;
        Point::Flushed.reached();
        #[cfg(feature = "faults")]
        if Mutant::NoFsync.lives() {
            return Ok(());
        }
        // What makes it durable: sled's flush alone does not survive a power cut.
        self.file.sync_data().map_err(io_error("cannot sync", &self.dir))
    }

    fn seal(&self) -> Result<(), StoreError> {
        self.sync()?;
        let blobs = self.dir.join("blobs");
        match fs::read_dir(&blobs).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(StoreError::Damaged {
                path: blobs,
                why: "it holds a file, and what sled puts there is never synced".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        reading(patiently(|| guard(&self.dir, || self.db().get(HEAD)))).map(owned)
    }

    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        reading(patiently(|| guard(&self.dir, || self.db().get(number.to_be_bytes())))).map(owned)
    }

    fn next(&self, number: u64) -> Result<Option<u64>, StoreError> {
        // Chunk numbers are eight bytes long; the head's key, four bytes of letters, sorts behind any of them.
        let first = || self.db().range(number.to_be_bytes()..).keys().next().transpose();
        let found = patiently(|| guard(&self.dir, first));
        Ok(reading(found)?.and_then(|key| key.as_ref().try_into().ok()).map(u64::from_be_bytes))
    }
}

impl Drop for SledGeneration {
    /// sled syncs once more when it closes, and panics where that fails.
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = guard(&self.dir, || {
            drop(db);
            Ok(())
        });
    }
}

fn owned(value: Option<sled::IVec>) -> Option<Bytes> {
    value.map(|value| Bytes::copy_from_slice(&value))
}

/// What the disk gives back shortened, garbled or not at all is damage to this one generation, and no reason for
/// the process to end.
fn reading<T>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    read.map_err(|error| match error {
        StoreError::Io { path, source, .. }
            if matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) || is_of_the_medium(&source) =>
        {
            StoreError::Damaged { path, why: source.to_string() }
        }
        error => error,
    })
}

/// Has the disk give a file back, to the kernel at least. What it fails to give must not come to sled, which takes it for
/// an end that was torn and clears it away.
fn read_through(path: &Path) -> io::Result<()> {
    in_pieces(&File::open(path)?, |_, _| Ok(()))
}

/// Writes the database in this directory once more, as it can be read, before sled opens it: an earlier life may have ended
/// because a sync failed. A kernel that has told so shows what it did not write, takes it for written, and writes it with no
/// later sync; with the power it would be gone, and leave a hole in front of all that was added behind it. Where the disk
/// does not take it back in its place, it gets another.
pub(super) fn renew(dir: &Path) -> Result<(), StoreError> {
    #[cfg(feature = "faults")]
    if Mutant::NoRenewal.lives() {
        return Ok(());
    }
    let (path, beside) = (dir.join("db"), dir.join("db.new"));
    // Of one that was cut short.
    let _ = fs::remove_file(&beside);
    // One that cannot be read is put aside as it is opened; one that is not there was never made.
    if patiently(|| read_through(&path).map_err(io_error("cannot read", &path))).is_err() {
        return Ok(());
    }
    let write = || {
        let file = File::options().read(true).write(true).open(&path)?;
        let_go_of(&file)?;
        write_to(&file, &file).or_else(|error| {
            let moved = write_to(&file, &File::create(&beside)?).and_then(|()| fs::rename(&beside, &path));
            // What went wrong first is what is wrong.
            moved.map_err(|_| drop(fs::remove_file(&beside))).map_err(|()| error)
        })
    };
    write().map_err(io_error("cannot write once more what can be read in", &path))?;
    sync_directory(dir)
}

/// Waits until nobody has it open: sled closes in the background.
fn let_go_of(file: &File) -> io::Result<()> {
    let until = Instant::now() + LET_GO;
    while let Err(error) = file.try_lock() {
        if Instant::now() > until {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// What is in a file, into that or another one, as it is read: a copy made by the file system may share what is on the disk.
fn write_to(from: &File, to: &File) -> io::Result<()> {
    in_pieces(from, |at, bytes| to.write_all_at(bytes, at))?;
    to.sync_data()
}

/// Gives a file piece by piece, and where each begins.
fn in_pieces(file: &File, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut at, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(());
        }
        take(at, &buffer[..read])?;
        at += read as u64;
    }
}

/// Asks again where the disk fails.
fn patiently<T>(mut call: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for pause in PAUSES {
        match call() {
            Err(StoreError::Io { source, .. }) if is_of_the_medium(&source) => std::thread::sleep(pause),
            outcome => return outcome,
        }
    }
    call()
}

/// That the disk does not give something back, or that its file system finds it garbled (EUCLEAN, EBADMSG).
fn is_of_the_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// sled keeps its settings in a file of each database, and takes a changed bit in it for the wish to have others. Ours
/// are always the same, so a damaged file is made anew; one that another build wrote is not damaged.
fn mend_settings(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("conf");
    // sled writes one where there is none.
    let Ok(bytes) = fs::read(&path) else { return Ok(()) };
    let text = String::from_utf8_lossy(&bytes);
    let told = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let segment = told("segment_size").and_then(|size| size.parse::<usize>().ok());
    match segment {
        Some(SEGMENT) if told("use_compression") == Some("false") && told("version") == Some("0.34") => Ok(()),
        // No changed bit makes another power of two of ours.
        Some(segment) if segment.is_power_of_two() && segment != SEGMENT => {
            Err(StoreError::OtherBuild { path: dir.to_owned(), segment })
        }
        _ => fs::remove_file(&path).map_err(io_error("cannot remove", &path)),
    }
}

/// Removes sled's snapshots whose names end like this, and says how many there were.
fn remove_snapshots(dir: &Path, end: &str) -> Result<usize, StoreError> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(io_error("cannot list", dir))? {
        let entry = entry.map_err(io_error("cannot list", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(end) {
            fs::remove_file(entry.path()).map_err(io_error("cannot remove", &entry.path()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::queue::SledStore;
    use crate::queue::store::Store;

    #[test]
    fn a_generation_can_be_opened_while_another_thread_is_closing_it() {
        let dir = std::env::temp_dir().join(format!("tidegate-store-{}", std::process::id()));
        let store = SledStore::open(&dir).unwrap();
        store.create("readings", 1, b"head").unwrap();
        // What a log does: whoever comes takes the open one, or opens it where the last has let go.
        let shared: std::sync::Mutex<std::sync::Weak<dyn Generation>> =
            std::sync::Mutex::new(std::sync::Weak::<SledGeneration>::new());
        let open = &|| {
            let mut shared = shared.lock().unwrap();
            let generation = shared.upgrade().map_or_else(|| store.open("readings", 1), Ok).unwrap();
            *shared = Arc::downgrade(&generation);
            generation
        };
        std::thread::scope(|threads| {
            for thread in 0..2_u64 {
                // Something to flush makes closing slow.
                let touch = move |n| open().append(&[(thread << 32 | n, vec![7; VALUE_MAX])]).unwrap();
                threads.spawn(move || (0..200).for_each(touch));
            }
        });
        fs::remove_dir_all(&dir).unwrap();
    }
}
