//! A data directory on a real disk: a directory a log, in it one a generation, and small files beside them.
//!
//! Invariants:
//! - a new name is durable before anything relies on it: directories are synced, up to the first that was there;
//! - a generation that goes is renamed first, and the name synced, so that a removal that is cut short does not
//!   look like damage at the next start;
//! - the ballast is there while the disk has room, and gone when it has none: sled cannot even be opened then.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::generation::{SledGeneration, renew};
use super::{Disk, Generation, Store, StoreError, io_error};
#[cfg(feature = "faults")]
use crate::faults::Mutant;
use crate::faults::Point;
use crate::queue::LOGS;

const GONE: &str = "gone";
/// Where damaged generations are kept for a person, and how many.
pub(super) const SHELF: &str = "damaged";
const SHELF_MAX: usize = 8;
const BALLAST: &str = "ballast";
/// Room for opening three logs and what delivery reads: opening one takes up to a segment.
const BALLAST_BYTES: u64 = 6 << 20;

/// A data directory on a real disk.
pub struct SledStore {
    root: PathBuf,
    mark: OnceLock<File>,
}

impl SledStore {
    /// Takes the directory, making it where it is missing; what is in it stays as it is.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        make_directory(root).map_err(io_error("cannot make", root))?;
        // A life before this one may not have come to it. Not everybody may look into what is above, nor can all of it be
        // synced.
        let _ = sync_names(above(root));
        Ok(Self::at(root))
    }

    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), mark: OnceLock::new() }
    }

    pub(super) fn directory(&self, log: &str, number: u32) -> PathBuf {
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
    fn prepare(&self) -> Result<(), StoreError> {
        self.drop_ballast()?;
        for log in LOGS {
            let dir = self.root.join(log);
            make_directory(&dir).map_err(io_error("cannot make", &dir))?;
            // A life that ended before this, or because it failed, has left names that may be gone with the power.
            sync_directory(&dir)?;
            if let Some(newest) = self.generations(log)?.pop() {
                renew(&self.directory(log, newest))?;
            }
            for path in list(&dir)?.iter().filter(|path| path.extension().is_some_and(|end| end == GONE)) {
                sweep(path);
            }
        }
        Ok(())
    }

    fn generations(&self, log: &str) -> Result<Vec<u32>, StoreError> {
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        let mut numbers: Vec<u32> = list(&self.root.join(log))?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, log: &str, number: u32, head: &[u8]) -> Result<Arc<dyn Generation>, StoreError> {
        let dir = self.directory(log, number);
        let made = SledGeneration::create(&dir, head)?;
        sync_directory(&self.root.join(log))?;
        Point::Created.reached();
        Ok(Arc::new(made))
    }

    fn open(&self, log: &str, number: u32) -> Result<Arc<dyn Generation>, StoreError> {
        Ok(Arc::new(SledGeneration::open(&self.directory(log, number))?))
    }

    fn remove(&self, log: &str, number: u32) -> Result<(), StoreError> {
        let dir = self.directory(log, number);
        let gone = dir.with_extension(GONE);
        fs::rename(&dir, &gone).map_err(io_error("cannot rename", &dir))?;
        sync_directory(&self.root.join(log))?;
        Point::Renamed.reached();
        fs::remove_dir_all(&gone).map_err(io_error("cannot remove", &gone))
    }

    fn quarantine(&self, log: &str, number: u32) -> Result<(), StoreError> {
        let dir = self.directory(log, number);
        let shelf = self.root.join(SHELF);
        make_directory(&shelf).map_err(io_error("cannot make", &shelf))?;
        clear_shelf(&shelf)?;
        let mut to = shelf.join(format!("{log}-{number:06}"));
        for again in 1.. {
            if !to.exists() {
                break;
            }
            to = shelf.join(format!("{log}-{number:06}-{again}"));
        }
        match fs::rename(&dir, &to) {
            Ok(()) => {}
            // Someone took it away while we ran; there is nothing to keep.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("cannot put aside", &dir)(error)),
        }
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

    fn mark(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.mark_file()?;
        file.write_all_at(bytes, 0)
            .and_then(|()| file.sync_data())
            .map_err(io_error("cannot write", &self.root.join("mark")))
    }

    fn used(&self, log: Option<&str>) -> Result<u64, StoreError> {
        let dir = log.map_or_else(|| self.root.clone(), |log| self.root.join(log));
        blocks(&dir).map_err(io_error("cannot measure", &dir))
    }

    fn disk(&self) -> Result<Disk, StoreError> {
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| io_error("cannot measure the disk of", &self.root)(error.into()))?;
        Ok(Disk { free: disk.f_bavail * disk.f_frsize, size: disk.f_blocks * disk.f_frsize })
    }

    fn take_ballast(&self) -> Result<(), StoreError> {
        let path = self.root.join(BALLAST);
        // One that is short was cut short itself, by a power cut or a full disk.
        let is_whole = fs::metadata(&path).is_ok_and(|about| about.blocks() * 512 >= BALLAST_BYTES);
        if is_whole || self.disk()?.free < 2 * BALLAST_BYTES {
            return Ok(());
        }
        let file = File::create(&path).map_err(io_error("cannot make", &path))?;
        let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES);
        // Where the disk cannot promise room, zeros take it.
        let taken = taken.map_err(io::Error::from).or_else(|_| (&file).write_all(&vec![0; BALLAST_BYTES as usize]));
        match taken.map_err(io_error("cannot make", &path)) {
            // Someone else was quicker.
            Err(StoreError::DiskFull { .. }) => fs::remove_file(&path).map_err(io_error("cannot remove", &path)),
            taken => taken,
        }
    }

    fn drop_ballast(&self) -> Result<(), StoreError> {
        if self.disk()?.free >= BALLAST_BYTES {
            return Ok(());
        }
        let path = self.root.join(BALLAST);
        match fs::remove_file(&path) {
            Ok(()) => tracing::warn!(path = %path.display(), "the disk is full; the ballast is dropped"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("cannot remove", &path)(error)),
        }
        Ok(())
    }
}

/// Makes room for one more: a card that rots on and on must not fill itself with what it spoiled.
fn clear_shelf(shelf: &Path) -> Result<(), StoreError> {
    let mut kept = list(shelf)?;
    kept.sort_by_cached_key(|path| fs::metadata(path).and_then(|about| about.modified()).ok());
    let surplus = (kept.len() + 1).saturating_sub(SHELF_MAX);
    for path in &kept[..surplus] {
        tracing::error!(path = %path.display(), "the oldest damaged generation is removed, to make room for another");
        sweep(path);
    }
    Ok(())
}

/// Removes what nobody needs any more. Where a rotten card does not let it go, it stays: nothing depends on it.
fn sweep(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::error!(path = %path.display(), %error, "cannot be removed");
    }
}

/// Makes a directory and those above it, each under a durable name.
pub fn make_directory(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = above(dir);
    make_directory(above)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_names(above)
}

fn above(dir: &Path) -> &Path {
    dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    sync_names(dir).map_err(io_error("cannot sync", dir))
}

fn sync_names(dir: &Path) -> io::Result<()> {
    #[cfg(feature = "faults")]
    if Mutant::NoDirectoryFsync.lives() {
        return Ok(());
    }
    File::open(dir)?.sync_all()
}

/// What is in a directory; one that is not there holds nothing.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("cannot list", dir))?,
    };
    let paths: io::Result<_> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.map_err(io_error("cannot list", dir))
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
