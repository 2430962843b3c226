//! Whether there is room for more: the data directory under `max_bytes`, the disk above `min_free`.
//!
//! Sizes come from the disk's own blocks, measured anew now and then; between two looks what was appended is
//! counted double, since sled writes up to twice what it is given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::{Disk, Store, StoreError};

/// What was appended since the last look before the next one.
const LOOK_EVERY_BYTES: u64 = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    Enough,
    /// Time to make room: there is still some left to do it in.
    Tight,
    /// Nothing more may be taken.
    Full,
}

/// Of a disk smaller than this, `min_free` takes no more than a tenth. On a larger one it is what was asked for.
const SMALL_DISK: u64 = 2560 << 20;

pub struct Retention {
    store: Arc<dyn Store>,
    max_bytes: u64,
    min_free: u64,
    /// How long before `max_bytes`, and before `min_free`, it gets tight.
    slack: (u64, u64),
    used: u64,
    appended: u64,
    looked: Option<Instant>,
}

impl Retention {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, max_bytes: u64, min_free: u64, generation_bytes: u64) -> Self {
        let generations = 4 * generation_bytes;
        let slack = ((max_bytes / 16).max(generations).min(max_bytes / 2), generations);
        Self { store, max_bytes, min_free, slack, used: 0, appended: 0, looked: None }
    }

    /// Says that so many bytes were appended.
    pub fn appended(&mut self, bytes: u64) {
        self.appended += 2 * bytes;
    }

    /// Has the next look measure, because something was removed.
    pub fn forget(&mut self) {
        self.looked = None;
    }

    /// Disk blocks in use at the last look, bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used + self.appended
    }

    pub fn look(&mut self) -> Result<Room, StoreError> {
        let disk = self.store.disk()?;
        self.fit_to(disk);
        let measures = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) || self.appended >= LOOK_EVERY_BYTES;
        if measures {
            self.used = self.store.used(None)?;
            self.appended = 0;
            self.looked = Some(Instant::now());
        }
        let left = self.max_bytes.saturating_sub(self.used());
        let spare = disk.free.saturating_sub(self.min_free);
        let room = match (left, spare) {
            (0, _) | (_, 0) => Room::Full,
            _ if left < self.slack.0 || spare < self.slack.1 => Room::Tight,
            _ => Room::Enough,
        };
        if measures && room == Room::Enough {
            self.store.take_ballast()?;
        }
        Ok(room)
    }

    fn fit_to(&mut self, disk: Disk) {
        let most = disk.size / 10;
        if disk.size < SMALL_DISK && self.min_free > most {
            tracing::info!(
                min_free = self.min_free,
                lowered_to = most,
                disk_bytes = disk.size,
                "queue.min_free is lowered: the disk is small"
            );
            self.min_free = most;
        }
    }
}
