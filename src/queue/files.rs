//! The small files beside the logs.
//!
//! | file | holds |
//! | --- | --- |
//! | `LOCK` | the number of the process; locked while a process uses the directory |
//! | `VERSION` | the format of the directory, a number |
//! | `identity` | who this gateway is, and the last epoch drawn |
//! | `mark` | where each log is known to be durable: a lower bound |
//! | `cursors` | how far each lane has been delivered |
//! | `purged` | how far the dead letters have been thrown away |
//! | `ballast` | nothing: room for a start on a full disk |
//!
//! Each is CBOR followed by its CRC32C.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::log::Place;
use super::store::{Store, StoreError, make_directory};
use crate::clock::Now;
use crate::reading::Micros;

/// The format this program writes; it reads this one and the one before.
pub const VERSION: u32 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is in use by another tidegate (process {holder}): stop it, or give this one its own `gateway.data_dir`"
    )]
    InUse { path: PathBuf, holder: String },
    #[error("cannot write to {path}: {source}; make it writable for this user, or set `gateway.data_dir`")]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("there is no data directory at {path}")]
    Missing { path: PathBuf },
    #[error(
        "the data directory has format {found} and this tidegate knows up to {VERSION}: use a newer one; nothing was changed"
    )]
    Newer { found: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Holds the data directory for one process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the directory, making it where it is missing.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let unwritable = |source| OpenError::Unwritable { path: dir.to_owned(), source };
        make_directory(dir).map_err(unwritable)?;
        let path = dir.join("LOCK");
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(OpenError::InUse { path: dir.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        // Only told to people; on a full disk it is the lock that counts.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

/// Refuses a directory of a newer format and leaves it as it is.
pub fn check_version(store: &dyn Store) -> Result<(), OpenError> {
    let Some(bytes) = store.get("VERSION")? else { return Ok(()) };
    let found = String::from_utf8_lossy(&bytes).trim().to_owned();
    match found.parse::<u32>() {
        Ok(version) if version <= VERSION => Ok(()),
        _ => Err(OpenError::Newer { found }),
    }
}

/// Says of a new directory which format it has.
pub fn claim_version(store: &dyn Store) -> Result<(), StoreError> {
    match store.get("VERSION")? {
        Some(_) => Ok(()),
        None => store.put("VERSION", format!("{VERSION}\n").as_bytes()),
    }
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

/// Where each log is durable: written at each commit, synced now and then, never ahead of the truth.
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

    pub fn store(&self, store: &dyn Store, sync: bool) -> Result<(), StoreError> {
        store.mark(&self.write(), sync)
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
    let value = unseal(&bytes).and_then(|bytes| serde_cbor::from_slice(bytes).ok());
    if value.is_none() {
        tracing::error!(file = name, "a file in the data directory is damaged; it is made anew");
    }
    Ok(value)
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
