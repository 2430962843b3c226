//! The fold's commit: rows, state and position, all of it or nothing.
//!
//! ```text
//! rows    … row row row │ row row            (1) appended and synced, shown to nobody
//! state   … piece, checkpoint │ piece, checkpoint { position, rows_end, snapshot, pieces }      (2) synced
//!                                            (3) rows shown; readings before `position` may go
//! ```
//!
//! A checkpoint is the last entry of its commit and counts the pieces of state before it; a snapshot's are the whole
//! state, and what lies before them goes. What a crash leaves between (1) and (2) is void: rows at or past the newest
//! checkpoint's `rows_end`, pieces that no checkpoint counts.
//!
//! Invariants:
//! - a row is shown after the checkpoint that counts its readings is on stable storage, never before;
//! - a snapshot is on stable storage before what it replaces goes;
//! - where the newest checkpoint cannot be read the state is gone, and said to be; rows are kept as they are found.

use bytes::Bytes;

use super::appender::Appender;
use super::entry::{Checkpoint, Entry, Stamp};
use super::files::Mark;
use super::log::{Log, Place};
use super::reader::{Reader, Step};
use super::store::StoreError;
use crate::faults::Point;
use crate::reading::Reading;

/// Pieces of state in one entry group, bytes.
const GROUP_BYTES: usize = 4 << 20;

/// What the fold asks the writer to make durable at once.
#[derive(Debug, Default)]
pub struct FoldCommit {
    pub rows: Vec<Reading>,
    /// Readings before this offset are folded.
    pub position: u64,
    pub pieces: Vec<Vec<u8>>,
    /// Whether the pieces are the whole state, or what has changed since the commit before.
    pub snapshot: bool,
}

/// Where the fold stood when the gateway ended.
#[derive(Debug, Default)]
pub struct Restored {
    /// Readings before this offset are folded.
    pub position: u64,
    /// Of the newest group of the log `state` that can be read: what lies before `position` was committed in it or
    /// earlier.
    pub epoch: u64,
    /// The state, in the order it was written; empty where it is gone.
    pub pieces: Vec<Bytes>,
    /// What lies at or past this place of the log `rows` is void. `None`: all that is found counts.
    pub rows_end: Option<Place>,
    /// Whether there ever was a checkpoint, readable or not.
    pub known: bool,
    /// Whether a state was there and cannot be read.
    pub damaged: bool,
}

impl Restored {
    /// Reads the log `state` through. `known` is how far readings were folded, and rows shown or delivered, at least.
    pub(super) fn newest(log: &Log, known: &Mark) -> Result<Self, StoreError> {
        let mut reader = Reader::new(log, log.oldest()?.offset);
        let mut found = Found::default();
        loop {
            match reader.step()? {
                Step::End => return Ok(found.restored(known)),
                Step::Lost { .. } => found.lose(),
                Step::Group(group) => {
                    found.epoch = group.epoch;
                    group.entries.into_iter().for_each(|entry| found.take(entry));
                }
            }
        }
    }
}

/// What was read of the log `state` so far.
#[derive(Default)]
struct Found {
    newest: Option<Checkpoint>,
    epoch: u64,
    pieces: Vec<Bytes>,
    /// Those that no checkpoint counts yet.
    pending: Vec<Bytes>,
    /// Whether the pieces follow each other from a snapshot on.
    whole: bool,
    lost: bool,
}

impl Found {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::State(piece) => self.pending.push(piece),
            Entry::Checkpoint(checkpoint) => {
                let counted = self.pending.len().checked_sub(checkpoint.pieces as usize);
                if checkpoint.snapshot {
                    self.pieces.clear();
                    self.whole = true;
                }
                self.whole &= counted.is_some();
                self.pieces.extend(self.pending.drain(counted.unwrap_or(0)..));
                self.pending.clear();
                self.newest = Some(checkpoint);
            }
            _ => {}
        }
    }

    fn lose(&mut self) {
        self.pending.clear();
        (self.whole, self.lost) = (false, true);
    }

    fn restored(self, &Mark { folded, rows, .. }: &Mark) -> Restored {
        let Self { newest, epoch, pieces, whole, lost, .. } = self;
        let (position, rows_end) = newest.map_or((0, 0), |newest| (newest.position, newest.rows_end.offset));
        let known = newest.is_some() || folded > 0 || rows.offset > 0 || lost;
        let damaged = known && (!whole || position < folded || rows_end < rows.offset);
        Restored {
            position: position.max(folded),
            epoch,
            rows_end: newest.filter(|_| !damaged).map(|newest| newest.rows_end),
            pieces: if damaged { Vec::new() } else { pieces },
            known,
            damaged,
        }
    }
}

/// The log `state` where it grows.
pub struct Checkpoints {
    log: Appender,
    generation_bytes: u64,
    /// Of the newest snapshot, and of what was appended since.
    snapshot_bytes: u64,
    changes_bytes: u64,
}

impl Checkpoints {
    pub(super) fn new(log: Appender, generation_bytes: u64) -> Self {
        Self { log, generation_bytes, snapshot_bytes: 0, changes_bytes: 0 }
    }

    /// Appends one commit's pieces and their checkpoint, syncs, and says how many bytes that took.
    pub(super) fn append(
        &mut self,
        epoch: u64,
        stamp: &Stamp,
        commit: FoldCommit,
        rows_end: Place,
    ) -> Result<u64, StoreError> {
        let FoldCommit { position, pieces, snapshot, rows: _ } = commit;
        if snapshot && !self.log.is_fresh() {
            self.log.rotate()?;
        }
        let first = self.log.next().offset;
        let checkpoint = Checkpoint { position, rows_end, snapshot, pieces: pieces.len() as u32 };
        let mut bytes = 0;
        let mut entries = Vec::new();
        let mut weight = 0;
        for piece in pieces {
            weight += piece.len();
            entries.push(Entry::State(piece.into()));
            if weight >= GROUP_BYTES {
                bytes += self.log.append(epoch, stamp.clone(), std::mem::take(&mut entries))?.bytes;
                self.log.persist()?;
                weight = 0;
            }
        }
        entries.push(Entry::Checkpoint(checkpoint));
        bytes += self.log.append(epoch, stamp.clone(), entries)?.bytes;
        self.log.sync()?;
        if snapshot {
            Point::Snapshot.reached();
            self.log.log().release(first)?;
            (self.snapshot_bytes, self.changes_bytes) = (bytes, 0);
        } else {
            self.changes_bytes += bytes;
        }
        Ok(bytes)
    }

    /// The place the next entry gets.
    #[must_use]
    pub fn next(&self) -> Place {
        self.log.next()
    }

    /// Whether so much was appended that a snapshot would be less to read at a start.
    #[must_use]
    pub fn want_snapshot(&self) -> bool {
        self.changes_bytes >= self.generation_bytes.max(self.snapshot_bytes)
    }
}
