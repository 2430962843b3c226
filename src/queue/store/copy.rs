//! A data directory that is only looked into: not a byte of it changes, and it may be on a disk mounted read-only.
//!
//! sled writes when it opens a database: it takes a lock, cuts off what is torn, makes snapshots. So a generation is
//! copied into the temporary directory (`TMPDIR`) and opened there. One is a few MiB, few are open at a time, and the
//! copy goes with the last who reads it. Small files are read where they are.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{SHELF, list};
use super::generation::SledGeneration;
use super::raw::Raw;
use super::{Disk, Generation, SledStore, Store, StoreError, io_error};

/// A data directory from which is only read.
pub struct CopyStore {
    origin: SledStore,
    root: PathBuf,
}

impl CopyStore {
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { origin: SledStore::at(root), root: root.to_owned() }
    }

    /// What was put aside as damaged, by name: `LOG-NNNNNN`.
    pub fn shelf(&self) -> Result<Vec<String>, StoreError> {
        let names = list(&self.root.join(SHELF))?.into_iter();
        let mut names: Vec<_> = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Opens one of those.
    pub fn open_shelved(&self, name: &str) -> Result<Arc<dyn Generation>, StoreError> {
        Copy::open(&self.root.join(SHELF).join(name))
    }

    /// What can be found of the chunks of these numbers where sled cannot read a generation, or not all of it.
    pub fn find(&self, log: &str, number: u32, chunks: Range<u64>) -> Arc<dyn Generation> {
        find(&self.origin.directory(log, number), chunks)
    }

    /// The same of one that was put aside.
    pub fn find_shelved(&self, name: &str, chunks: Range<u64>) -> Arc<dyn Generation> {
        find(&self.root.join(SHELF).join(name), chunks)
    }

    fn refuse<T>(&self) -> Result<T, StoreError> {
        let source = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        Err(StoreError::Io { what: "only reading, will not write to", path: self.root.clone(), source })
    }
}

impl Store for CopyStore {
    fn prepare(&self) -> Result<(), StoreError> {
        self.refuse()
    }

    fn generations(&self, log: &str) -> Result<Vec<u32>, StoreError> {
        self.origin.generations(log)
    }

    fn create(&self, _: &str, _: u32, _: &[u8]) -> Result<Arc<dyn Generation>, StoreError> {
        self.refuse()
    }

    fn open(&self, log: &str, number: u32) -> Result<Arc<dyn Generation>, StoreError> {
        Copy::open(&self.origin.directory(log, number))
    }

    fn remove(&self, _: &str, _: u32) -> Result<(), StoreError> {
        self.refuse()
    }

    fn quarantine(&self, _: &str, _: u32) -> Result<(), StoreError> {
        self.refuse()
    }

    fn put(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        self.refuse()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.origin.get(name)
    }

    fn mark(&self, _: &[u8]) -> Result<(), StoreError> {
        self.refuse()
    }

    fn used(&self, log: Option<&str>) -> Result<u64, StoreError> {
        self.origin.used(log)
    }

    fn disk(&self) -> Result<Disk, StoreError> {
        self.origin.disk()
    }

    fn take_ballast(&self) -> Result<(), StoreError> {
        self.refuse()
    }

    fn drop_ballast(&self) -> Result<(), StoreError> {
        self.refuse()
    }
}

fn find(dir: &Path, chunks: Range<u64>) -> Arc<dyn Generation> {
    let mut bytes = Vec::new();
    // As far as the disk gives it back.
    let _ = File::open(dir.join("db")).and_then(|mut file| file.read_to_end(&mut bytes));
    Arc::new(Raw::find(&bytes, chunks))
}

/// A copy of a generation, open. It is closed before it goes: fields are dropped in their order.
struct Copy {
    generation: SledGeneration,
    _place: Scratch,
}

impl Copy {
    fn open(dir: &Path) -> Result<Arc<dyn Generation>, StoreError> {
        let place = Scratch::copy(dir)?;
        // People know the place of the original.
        let generation = SledGeneration::open(&place.0).map_err(|error| match error {
            StoreError::Damaged { why, .. } => StoreError::Damaged { path: dir.to_owned(), why },
            StoreError::OtherBuild { segment, .. } => StoreError::OtherBuild { path: dir.to_owned(), segment },
            error => error,
        })?;
        Ok(Arc::new(Self { generation, _place: place }))
    }
}

impl Generation for Copy {
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        self.generation.append(chunks)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // What is on stable storage is the original.
        Ok(())
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        self.generation.head()
    }

    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        self.generation.get(number)
    }

    fn next(&self, number: u64) -> Result<Option<u64>, StoreError> {
        self.generation.next(number)
    }
}

/// A directory in the temporary one, gone with its user.
struct Scratch(PathBuf);

impl Scratch {
    fn copy(dir: &Path) -> Result<Self, StoreError> {
        let name = format!("tidegate-look-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let scratch = Self(std::env::temp_dir().join(name));
        copy(dir, &scratch.0)?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in a place made for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(io_error("cannot make", to))?;
    for path in list(from)? {
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            copy_file(&path, &to)?;
        }
    }
    Ok(())
}

/// Copies a file; one that the disk does not give back is damage, one that finds no room is not.
fn copy_file(path: &Path, to: &Path) -> Result<(), StoreError> {
    let unreadable = |error: io::Error| StoreError::Damaged { path: path.to_owned(), why: error.to_string() };
    let bytes = fs::read(path).map_err(unreadable)?;
    let no_room = |source| StoreError::Io { what: "cannot copy into TMPDIR, to", path: to.to_owned(), source };
    fs::write(to, bytes).map_err(no_room)
}
