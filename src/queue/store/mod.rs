//! What the log stands on: generations that keep chunks by number, and a few small files.
//!
//! Three keep them: [`SledStore`] on a real disk, [`CopyStore`] for looking at one without touching it, and in the tests
//! one in memory that forgets what was not synced.
//!
//! Invariants:
//! - chunks are added, never overwritten and never taken away; a generation goes as a whole;
//! - what `create` and `put` wrote is durable, name and all, when they return;
//! - what cannot be read is an error that says so, never a panic and never an empty answer.

mod copy;
mod directory;
mod generation;
mod guard;
mod raw;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use copy::CopyStore;
pub use directory::{SledStore, make_directory};
pub use generation::VALUE_MAX;

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
    /// A generation has no content: its making was cut short, or it was lost.
    #[error("{path} is missing")]
    Missing { path: PathBuf },
    /// It is whole, and not ours.
    #[error(
        "{path} was written by another build of tidegate, with segments of {segment} bytes: use that one, or set another \
         `gateway.data_dir`; nothing of it was changed"
    )]
    OtherBuild { path: PathBuf, segment: usize },
}

/// The disk a data directory is on, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it has left for us.
    pub free: u64,
    /// How large it is.
    pub size: u64,
}

/// Where a data directory lives: a real one, or one in memory that forgets what was not synced.
pub trait Store: Send + Sync {
    /// Makes the directory ready for a gateway: frees the ballast where the disk is full, finishes what a crash cut short,
    /// and makes durable what can be read of the newest generations.
    fn prepare(&self) -> Result<(), StoreError>;
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
    /// Overwrites the mark, a few bytes in place, and returns once they are on stable storage.
    fn mark(&self, bytes: &[u8]) -> Result<(), StoreError>;
    /// Disk blocks in use, bytes: of the whole directory, or of one log.
    fn used(&self, log: Option<&str>) -> Result<u64, StoreError>;
    fn disk(&self) -> Result<Disk, StoreError>;
    /// Takes the room that a start on a full disk will need, where the disk has it to spare.
    fn take_ballast(&self) -> Result<(), StoreError>;
    /// Gives that room back where the disk is really full: for a start, or for what makes room.
    fn drop_ballast(&self) -> Result<(), StoreError>;
}

/// A row of chunks by rising number.
pub trait Generation: Send + Sync {
    /// Adds chunks, all or none of them; readable at once, durable after `sync`.
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError>;
    /// Returns once everything appended is on stable storage.
    fn sync(&self) -> Result<(), StoreError>;
    /// Syncs for the last time, and looks whether all of it really is where `sync` reaches.
    fn seal(&self) -> Result<(), StoreError> {
        self.sync()
    }
    fn head(&self) -> Result<Option<Bytes>, StoreError>;
    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError>;
    /// The first number at or after this one.
    fn next(&self, number: u64) -> Result<Option<u64>, StoreError>;
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + use<'a> {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path: path.to_owned() },
        _ => StoreError::Io { what, path: path.to_owned(), source },
    }
}
