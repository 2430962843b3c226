//! What the log stands on: generations that keep chunks by number, and a few small files.
//!
//! [`SledStore`] keeps each generation in a small sled database of its own. sled's `flush` ends in
//! `sync_file_range`, which a power cut does not respect; so [`Generation::sync`] follows it with `fdatasync` on
//! a handle of our own, and only then is anything durable.
//!
//! Invariants:
//! - keys are appended, never overwritten and never deleted; a generation goes as a whole;
//! - a value is at most [`VALUE_MAX`], so that a leaf of 17 of them stays below a quarter of a segment and sled
//!   never puts one into `blobs/`, which it does not sync;
//! - what `create` and `put` wrote is durable, name and all, when they return;
//! - a panic inside sled is an error here.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

use bytes::Bytes;

/// The most bytes one value may have.
pub const VALUE_MAX: usize = 15 * 1024;
const SEGMENT: usize = 1 << 20;
const _: () = assert!(17 * VALUE_MAX < SEGMENT / 4, "a leaf this large would go to blobs/, which sled does not sync");

const HEAD: &[u8] = b"head";
const GONE: &str = ".gone";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the disk under {path} is full: free some space or lower `queue.max_bytes`")]
    DiskFull { path: PathBuf },
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// What is there cannot be trusted.
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
}

/// Where a data directory lives: a real one, or one in memory that forgets what was not synced.
pub trait Store: Send + Sync {
    /// The numbers of the generations of a log, rising.
    fn generations(&self, log: &str) -> Result<Vec<u32>, StoreError>;
    /// Makes an empty generation that begins with `head`.
    fn create(&self, log: &str, number: u32, head: &[u8]) -> Result<Arc<dyn Generation>, StoreError>;
    fn open(&self, log: &str, number: u32) -> Result<Arc<dyn Generation>, StoreError>;
    /// Takes a generation away for good.
    fn remove(&self, log: &str, number: u32) -> Result<(), StoreError>;
    /// Puts a generation that cannot be read aside, to be looked at by a person.
    fn quarantine(&self, log: &str, number: u32) -> Result<(), StoreError>;
    /// Replaces a small file, all or nothing.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Overwrites the mark, a few bytes in place; durable only with `sync`.
    fn mark(&self, bytes: &[u8], sync: bool) -> Result<(), StoreError>;
    /// Disk blocks in use, bytes: of the whole directory, or of one log.
    fn used(&self, log: Option<&str>) -> Result<u64, StoreError>;
    /// Bytes the disk has left for us.
    fn free(&self) -> Result<u64, StoreError>;
}

/// A row of chunks by rising number.
pub trait Generation: Send + Sync {
    /// Adds chunks, all or none of them; readable at once, durable after `sync`.
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError>;
    /// Returns once everything appended is on stable storage.
    fn sync(&self) -> Result<(), StoreError>;
    fn head(&self) -> Result<Option<Bytes>, StoreError>;
    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError>;
    /// The first number at or after this one.
    fn next(&self, number: u64) -> Result<Option<u64>, StoreError>;
}

/// A data directory on a real disk.
pub struct SledStore {
    root: PathBuf,
    mark: OnceLock<File>,
}

impl SledStore {
    /// Takes the directory, making it where it is missing, and finishes removals that were cut short.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(io_error("cannot make", root))?;
        for log in super::LOGS {
            let dir = root.join(log);
            fs::create_dir_all(&dir).map_err(io_error("cannot make", &dir))?;
            for entry in fs::read_dir(&dir).map_err(io_error("cannot list", &dir))?.flatten() {
                if entry.file_name().to_string_lossy().ends_with(GONE) {
                    fs::remove_dir_all(entry.path()).map_err(io_error("cannot remove", &entry.path()))?;
                }
            }
        }
        sync_directory(root)?;
        Ok(Self { root: root.to_owned(), mark: OnceLock::new() })
    }

    fn directory(&self, log: &str, number: u32) -> PathBuf {
        self.root.join(log).join(format!("{number:06}"))
    }

    fn mark_file(&self) -> Result<&File, StoreError> {
        if let Some(file) = self.mark.get() {
            return Ok(file);
        }
        let path = self.root.join("mark");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("cannot write", &path))?;
        sync_directory(&self.root)?;
        Ok(self.mark.get_or_init(|| file))
    }
}

impl Store for SledStore {
    fn generations(&self, log: &str) -> Result<Vec<u32>, StoreError> {
        let dir = self.root.join(log);
        let entries = fs::read_dir(&dir).map_err(io_error("cannot list", &dir))?;
        let mut numbers: Vec<u32> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, log: &str, number: u32, head: &[u8]) -> Result<Arc<dyn Generation>, StoreError> {
        let dir = self.directory(log, number);
        let made = SledGeneration::open(&dir)?;
        made.with(|db| db.insert(HEAD, head).map(drop))?;
        made.sync()?;
        sync_directory(&dir)?;
        sync_directory(&self.root.join(log))?;
        Ok(Arc::new(made))
    }

    fn open(&self, log: &str, number: u32) -> Result<Arc<dyn Generation>, StoreError> {
        Ok(Arc::new(SledGeneration::open(&self.directory(log, number))?))
    }

    /// Renamed first: a removal that is cut short must not look like damage.
    fn remove(&self, log: &str, number: u32) -> Result<(), StoreError> {
        let dir = self.directory(log, number);
        let gone = dir.with_extension(&GONE[1..]);
        fs::rename(&dir, &gone).map_err(io_error("cannot rename", &dir))?;
        fs::remove_dir_all(&gone).map_err(io_error("cannot remove", &gone))
    }

    fn quarantine(&self, log: &str, number: u32) -> Result<(), StoreError> {
        let dir = self.directory(log, number);
        let shelf = self.root.join("damaged");
        fs::create_dir_all(&shelf).map_err(io_error("cannot make", &shelf))?;
        let mut to = shelf.join(format!("{log}-{number:06}"));
        for again in 1.. {
            if !to.exists() {
                break;
            }
            to = shelf.join(format!("{log}-{number:06}-{again}"));
        }
        fs::rename(&dir, &to).map_err(io_error("cannot put aside", &dir))?;
        sync_directory(&shelf)?;
        sync_directory(&self.root.join(log))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let beside = self.root.join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(io_error("cannot write", &path))?;
        sync_directory(&self.root)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("cannot read", &path)(error)),
        }
    }

    fn mark(&self, bytes: &[u8], sync: bool) -> Result<(), StoreError> {
        let file = self.mark_file()?;
        let write = || {
            file.write_all_at(bytes, 0)?;
            if sync { file.sync_data() } else { Ok(()) }
        };
        write().map_err(io_error("cannot write", &self.root.join("mark")))
    }

    fn used(&self, log: Option<&str>) -> Result<u64, StoreError> {
        let dir = log.map_or_else(|| self.root.clone(), |log| self.root.join(log));
        blocks(&dir).map_err(io_error("cannot measure", &dir))
    }

    fn free(&self) -> Result<u64, StoreError> {
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| io_error("cannot measure the disk of", &self.root)(error.into()))?;
        Ok(disk.f_bavail * disk.f_frsize)
    }
}

struct SledGeneration {
    /// There until it is dropped.
    db: Option<sled::Db>,
    /// Our own handle on sled's file: the one that is really synced.
    file: File,
    dir: PathBuf,
}

impl SledGeneration {
    fn open(dir: &Path) -> Result<Self, StoreError> {
        remove_half_snapshots(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT)
            .cache_capacity(2 << 20)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        let db = guard(dir, || config.open())?;
        let path = dir.join("db");
        let file = File::options().read(true).write(true).open(&path).map_err(io_error("cannot open", &path))?;
        let opened = Self { db: Some(db), file, dir: dir.to_owned() };
        opened.assert_no_blobs()?;
        Ok(opened)
    }

    fn with<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        guard(&self.dir, || call(self.db.as_ref().expect("it is open until it is dropped")))
    }

    fn assert_no_blobs(&self) -> Result<(), StoreError> {
        let blobs = self.dir.join("blobs");
        match fs::read_dir(&blobs).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(StoreError::Damaged {
                path: blobs,
                why: "it holds a file, and what sled puts there is never synced".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Generation for SledGeneration {
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (number, chunk) in chunks {
            assert!(chunk.len() <= VALUE_MAX, "a chunk of {} bytes would go to blobs/", chunk.len());
            batch.insert(&number.to_be_bytes(), chunk.as_slice());
        }
        self.with(|db| db.apply_batch(batch))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.with(|db| db.flush().map(drop))?;
        // What makes it durable: sled's flush alone does not survive a power cut.
        self.file.sync_data().map_err(io_error("cannot sync", &self.dir))
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        self.with(|db| db.get(HEAD)).map(owned)
    }

    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        self.with(|db| db.get(number.to_be_bytes())).map(owned)
    }

    fn next(&self, number: u64) -> Result<Option<u64>, StoreError> {
        // Chunk numbers are eight bytes long; the head's key, four bytes of letters, sorts behind any of them.
        let found = self.with(|db| db.range(number.to_be_bytes()..).keys().next().transpose())?;
        Ok(found.and_then(|key| key.as_ref().try_into().ok()).map(u64::from_be_bytes))
    }
}

impl Drop for SledGeneration {
    /// sled syncs as it closes, and panics where the disk refuses that: everything acknowledged is safe by then.
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

thread_local! {
    /// Whether this thread is inside sled: a panic there is an error that is told elsewhere, not a crash to report.
    static IN_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into sled: its errors are ours, and its panics are damage.
fn guard<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IN_SLED.get() {
                report(panic);
            }
        }));
    });
    let outer = IN_SLED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    IN_SLED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(io_error("cannot use", dir)(error)),
        Ok(Err(error)) => Err(StoreError::Damaged { path: dir.to_owned(), why: error.to_string() }),
        Err(_) => Err(StoreError::Damaged { path: dir.to_owned(), why: "sled cannot read it".to_owned() }),
    }
}

/// On a full disk sled leaves an empty snapshot behind, and then takes the whole database for corrupt.
fn remove_half_snapshots(dir: &Path) -> Result<(), StoreError> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(io_error("cannot remove", &entry.path()))?;
        }
    }
    Ok(())
}

fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("cannot sync", dir))
}

fn blocks(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A file may go between the listing and the look: it then weighs nothing.
        let Ok(about) = entry.metadata() else { continue };
        sum += about.blocks() * 512;
        if about.is_dir() {
            sum += blocks(&entry.path()).unwrap_or(0);
        }
    }
    Ok(sum)
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + use<'a> {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path: path.to_owned() },
        _ => StoreError::Io { what, path: path.to_owned(), source },
    }
}
