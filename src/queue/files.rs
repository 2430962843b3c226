//! The small files beside the logs.
//!
//! | file | holds |
//! | --- | --- |
//! | `LOCK` | the number of the process; locked while a process uses the directory |
//! | `VERSION` | the format of the directory: a number, on three lines, so that one that rots is outvoted |
//! | `identity` | who this gateway is, and the last epoch drawn |
//! | `mark` | where each log is known to be durable: a lower bound |
//! | `cursors` | how far each lane has been delivered |
//! | `purged` | how far the dead letters have been thrown away |
//! | `ballast` | nothing: room for a start on a full disk |
//!
//! Those that are not for people are CBOR followed by its CRC32C.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cursors::Cursors;
use super::log::Place;
use super::store::{SledStore, Store, StoreError, make_directory};
use crate::clock::Now;
use crate::reading::Micros;

/// The format this program writes.
pub const VERSION: u32 = 1;
/// How often `VERSION` says it.
const COPIES: usize = 3;
/// The oldest it reads: the one before its own. The first has none before it.
pub const OLDEST: u32 = if VERSION > 1 { VERSION - 1 } else { 1 };

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is in use by another tidegate (process {holder}): stop it, or give this one its own `gateway.data_dir`"
    )]
    InUse { path: PathBuf, holder: String },
    #[error("cannot write to {path}: {source}; make it writable for this user, or set `gateway.data_dir`")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("there is no data directory at {path}")]
    Missing { path: PathBuf },
    #[error(
        "the data directory has format {found} and this tidegate knows {OLDEST} to {VERSION}: use a newer one; nothing \
         was changed"
    )]
    Newer { found: u32 },
    #[error(
        "the data directory has format {found} and this tidegate knows {OLDEST} to {VERSION}: start it once with an \
         older one that knows both; nothing was changed"
    )]
    Older { found: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Holds the data directory for one process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the directory, making it where it is missing. One of a format that this program does not know is left
    /// without even a lock.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let unwritable = |source| OpenError::Unwritable { path: dir.to_owned(), source };
        make_directory(dir).map_err(unwritable)?;
        if !dir.is_dir() {
            return Err(unwritable(io::ErrorKind::NotADirectory.into()));
        }
        check_version(&SledStore::open(dir)?)?;
        let path = dir.join("LOCK");
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(unwritable)?;
        held(file.try_lock(), dir)?;
        // Only told to people; on a full disk it is the lock that counts.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }

    /// Keeps a gateway from starting while the directory is read, without writing a byte. One that has no lock yet
    /// was never used.
    pub fn look(dir: &Path) -> Result<Option<Self>, OpenError> {
        let file = match File::open(dir.join("LOCK")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            open => open.map_err(|source| OpenError::Unreadable { path: dir.to_owned(), source })?,
        };
        held(file.try_lock_shared(), dir)?;
        Ok(Some(Self(file)))
    }
}

/// Says who has the directory, where it is not us.
fn held(lock: Result<(), TryLockError>, dir: &Path) -> Result<(), OpenError> {
    match lock {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(dir.join("LOCK")).unwrap_or_default();
            Err(OpenError::InUse { path: dir.to_owned(), holder: holder.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(OpenError::Unwritable { path: dir.to_owned(), source }),
    }
}

/// Refuses a directory of a format that this program does not know, and leaves it as it is. What has rotted so far that it
/// says nothing says nothing against it: the number is there three times, and what the logs hold has marks of its own.
pub fn check_version(store: &dyn Store) -> Result<(), OpenError> {
    let Some(bytes) = store.get("VERSION")? else { return Ok(()) };
    match version(&bytes) {
        Some(OLDEST..=VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(OpenError::Newer { found }),
        Some(found) => Err(OpenError::Older { found }),
        None => {
            tracing::error!(file = "VERSION", "a file in the data directory is damaged; it is made anew");
            Ok(())
        }
    }
}

/// Says which format the directory has from now on.
pub fn claim_version(store: &dyn Store) -> Result<(), StoreError> {
    let ours = format!("{VERSION}\n").repeat(COPIES);
    match store.get("VERSION")? {
        Some(found) if found == ours.as_bytes() => Ok(()),
        _ => store.put("VERSION", ours.as_bytes()),
    }
}

/// What two lines of three agree on, or what the only one says.
fn version(bytes: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(bytes);
    let said: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let twice = said.iter().find(|number| said.iter().filter(|other| other == number).count() > 1);
    twice.or(said.first().filter(|_| said.len() == 1)).copied()
}

/// Whether its lines agree. Early programs wrote one.
fn is_whole(version: &[u8]) -> bool {
    let lines: Vec<_> = version.split_inclusive(|byte| *byte == b'\n').collect();
    [1, COPIES].contains(&lines.len()) && lines.iter().all(|line| *line == lines[0])
}

/// Who this gateway is, for the life of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Four hex digits: 400 machines are called `raspberrypi`.
    pub suffix: String,
    /// Of the machine the suffix was drawn on.
    pub machine: String,
    /// Drawn at each start, above every earlier one.
    pub epoch: u64,
}

impl Identity {
    /// Draws the epoch of this start, and a suffix where there is none or the directory came from another machine.
    pub fn draw(store: &dyn Store, now: Now, at_least: u64) -> Result<Self, StoreError> {
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned();
        let known: Option<Self> = read(store, "identity")?;
        let last = known.as_ref().map_or(0, |known| known.epoch).max(at_least);
        let suffix = match known {
            Some(known) if known.machine == machine => known.suffix,
            other => {
                if other.is_some() {
                    tracing::warn!("the data directory comes from another machine; a new gateway id is drawn");
                }
                format!("{:04x}", fastrand::u16(..))
            }
        };
        let wall = now.wall.0.max(0) as u64 / Micros::PER_SECOND as u64;
        let drawn = Self { suffix, machine, epoch: wall.max(last + 1) };
        write(store, "identity", &drawn)?;
        Ok(drawn)
    }
}

/// Where each log is durable: never ahead of the truth, nor behind what was shown to a reader or acknowledged. Whatever the
/// medium loses of a newest generation, which has no successor to tell of its end, is missed by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub epoch: u64,
    pub readings: Place,
    pub rows: Place,
    pub notes: Place,
    pub state: Place,
    pub dead: Place,
    /// Readings before this offset are folded.
    pub folded: u64,
}

impl Mark {
    const SIZE: usize = 12 * 8 + 4;

    /// A mark that cannot be read is none: it only ever was a lower bound.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(store.get("mark")?.and_then(|bytes| Self::read(&bytes)).unwrap_or_default())
    }

    /// Returns once it is on stable storage.
    pub fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        store.mark(&self.write())
    }

    /// Of one size always, since it is overwritten in place.
    fn write(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.extend(self.epoch.to_be_bytes());
        for place in [self.readings, self.rows, self.notes, self.state, self.dead] {
            bytes.extend(place.offset.to_be_bytes());
            bytes.extend(place.chunk.to_be_bytes());
        }
        bytes.extend(self.folded.to_be_bytes());
        seal(bytes)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = unseal(bytes)?;
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let &[epoch, ref places @ .., folded] = words else { return None };
        let (&[readings, rows, notes, state, dead], []) = places.as_chunks::<2>() else { return None };
        let place = |[offset, chunk]: [[u8; 8]; 2]| Place {
            offset: u64::from_be_bytes(offset),
            chunk: u64::from_be_bytes(chunk),
        };
        Some(Self {
            epoch: u64::from_be_bytes(epoch),
            readings: place(readings),
            rows: place(rows),
            notes: place(notes),
            state: place(state),
            dead: place(dead),
            folded: u64::from_be_bytes(folded),
        })
    }
}

/// A small file; `None` where there is none, or where it is damaged.
pub(super) fn read<T: DeserializeOwned>(store: &dyn Store, name: &str) -> Result<Option<T>, StoreError> {
    let Some(bytes) = store.get(name)? else { return Ok(None) };
    let value = open(&bytes);
    if value.is_none() {
        tracing::error!(file = name, "a file in the data directory is damaged; it is made anew");
    }
    Ok(value)
}

fn open<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    unseal(bytes).and_then(|bytes| serde_cbor::from_slice(bytes).ok())
}

/// What is wrong with the small files, each with its name. Those of a gateway that has `begun` to keep something are
/// there; what was purged comes when there is something to say, and a lost file of cursors is no fault: it is written anew.
pub(super) fn faults(store: &dyn Store, begun: bool) -> Result<Vec<(&'static str, &'static str)>, StoreError> {
    let mut faults = Vec::new();
    let mut look = |name, needed: bool, whole: fn(&[u8]) -> bool| {
        match store.get(name)? {
            None if needed => faults.push((name, "it is missing")),
            Some(bytes) if !whole(&bytes) => faults.push((name, "it is not what was written")),
            _ => {}
        }
        Ok::<_, StoreError>(())
    };
    look("VERSION", true, is_whole)?;
    look("identity", begun, |bytes| open::<Identity>(bytes).is_some())?;
    look("mark", begun, |bytes| Mark::read(bytes).is_some())?;
    look("cursors", false, |bytes| open::<Cursors>(bytes).is_some())?;
    look("purged", false, |bytes| open::<u64>(bytes).is_some())?;
    Ok(faults)
}

pub(super) fn write<T: Serialize>(store: &dyn Store, name: &str, value: &T) -> Result<(), StoreError> {
    store.put(name, &seal(serde_cbor::to_vec(value).expect("small files are plain")))
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, sum) = bytes.split_last_chunk::<4>()?;
    (crc32c::crc32c(bytes).to_be_bytes() == *sum).then_some(bytes)
}

/// The name of this machine.
#[must_use]
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_changed_one_is_none() {
        let mark = Mark {
            epoch: 9,
            readings: Place { offset: 1, chunk: 2 },
            rows: Place { offset: 3, chunk: 4 },
            notes: Place { offset: 5, chunk: 6 },
            state: Place { offset: 7, chunk: 8 },
            dead: Place { offset: 9, chunk: u64::MAX },
            folded: 10,
        };
        let bytes = mark.write();
        assert_eq!(bytes.len(), Mark::SIZE);
        assert_eq!(Mark::read(&bytes), Some(mark));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(Mark::read(&bad), None);
        }
    }
}
