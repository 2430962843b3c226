//! The queue: five logs in one data directory, and the one writer.
//!
//! ```text
//! data_dir/  LOCK  VERSION  identity  mark  cursors  purged  ballast
//!            readings/NNNNNN/   what arrived
//!            rows/NNNNNN/       what windows closed with
//!            state/NNNNNN/      checkpoints of the fold
//!            notes/NNNNNN/      the stream `gaps`: what is missing, and why
//!            dead/NNNNNN/       dead letters
//!            damaged/           the last generations that could not be read, kept for a person
//! ```
//!
//! ```text
//!   inbox ──▶ writer ──▶ appender ──▶ generation ──▶ fsync ──▶ durable ──▶ readers
//!                │                                                │
//!                └────────────── ack ◀────────────────────────────┘
//! ```
//!
//! Invariants:
//! - what was acknowledged is on stable storage, and is read back whatever was killed or cut off in between;
//! - offsets rise strictly for the life of a data directory, and `(epoch, offset)` names an entry for ever;
//! - readers never see past what the writer has synced;
//! - what cannot be read is named, from where to where.

pub mod appender;
pub mod checkpoint;
pub mod chunk;
pub mod cursors;
pub mod dead;
pub mod entry;
pub mod export;
pub mod files;
pub mod log;
pub mod look;
pub mod reader;
mod recover;
pub mod retention;
mod salvage;
mod seal;
pub mod store;
pub mod verify;
pub mod writer;

use std::sync::Arc;

pub use checkpoint::{Checkpoints, FoldCommit, Restored};
pub use cursors::{Cursor, Cursors, Span, StreamCursors};
pub use entry::{Entry, Group, Letter};
pub use export::Export;
pub use files::{Identity, Lock, OpenError};
pub use log::{Log, Place};
pub use reader::{Reader, Step};
pub use store::{CopyStore, SledStore, Store, StoreError};
pub use writer::{Appenders, Request, ShedBefore, Writer};

use crate::clock::Now;
use files::Mark;

/// The logs a data directory has.
pub const LOGS: [&str; 5] = ["readings", "rows", "notes", "state", "dead"];

/// The bytes after which a generation is full: small enough that opening one is quick and its memory small. sled keeps the
/// leaves of the open ones in memory; half of this would save little more and cost a fifth of the disk in half empty
/// segments.
const GENERATION_BYTES: u64 = 5 << 19;
const GENERATION_BYTES_MIN: u64 = 1 << 20;

/// How large generations are under a cap on the whole directory: so small that a cap holds many of them.
#[must_use]
pub fn generation_bytes(max_bytes: u64) -> u64 {
    #[cfg(feature = "faults")]
    if let Some(bytes) = crate::faults::generation_bytes() {
        return bytes;
    }
    (max_bytes / 64).clamp(GENERATION_BYTES_MIN, GENERATION_BYTES)
}

/// A data directory, open for a gateway.
pub struct Queue {
    pub store: Arc<dyn Store>,
    pub readings: Log,
    pub rows: Log,
    pub notes: Log,
    pub dead: Log,
    pub identity: Identity,
    pub mark: Mark,
    /// Where the fold stood.
    pub restored: Restored,
}

impl Queue {
    /// Recovers what a crash left, draws a new epoch, and gives out the appenders.
    pub fn open(store: Arc<dyn Store>, now: Now, generation_bytes: u64) -> Result<(Self, Appenders), OpenError> {
        files::check_version(&*store)?;
        store.prepare()?;
        files::claim_version(&*store)?;
        Cursors::begin(&*store)?;
        let mut known = known_durable(&*store)?;
        let open = |name, durable| Log::open(&store, name, durable, generation_bytes);
        let state = open("state", known.state)?;
        let restored = Restored::newest(&state.log, &known)?;
        // What is folded was durable, whatever has become of it since: its offsets are not given again.
        known.readings.offset = known.readings.offset.max(restored.position);
        let readings = open("readings", known.readings)?;
        let notes = open("notes", known.notes)?;
        let dead = open("dead", known.dead)?;
        let rows = Log::open_until(&store, "rows", known.rows, restored.rows_end, generation_bytes)?;
        let last = [readings.epoch, rows.epoch, notes.epoch, state.epoch, dead.epoch].into_iter().max();
        let identity = Identity::draw(&*store, now, known.epoch.max(last.unwrap_or_default()))?;
        let mark = Mark {
            epoch: identity.epoch,
            readings: readings.appender.next(),
            rows: rows.appender.next(),
            notes: notes.appender.next(),
            state: state.appender.next(),
            dead: dead.appender.next(),
            folded: restored.position,
        };
        mark.store(&*store)?;
        let (readings, rows, notes, dead) = (readings.split(), rows.split(), notes.split(), dead.split());
        let checkpoints = Checkpoints::new(state.appender, generation_bytes);
        let appenders = Appenders { readings: readings.1, rows: rows.1, notes: notes.1, checkpoints, dead: dead.1 };
        let queue =
            Self { store, readings: readings.0, rows: rows.0, notes: notes.0, dead: dead.0, identity, mark, restored };
        Ok((queue, appenders))
    }

    /// Opens a stopped gateway's directory to look into it; nothing is put right and nothing put aside.
    pub fn look(store: Arc<dyn Store>) -> Result<Self, OpenError> {
        files::check_version(&*store)?;
        let mark = known_durable(&*store)?;
        let identity = files::read(&*store, "identity")?.unwrap_or_default();
        let restored = Restored::newest(&Log::look(&store, "state", mark.state)?, &mark)?;
        let rows = Log::look(&store, "rows", mark.rows)?;
        if let Some(end) = restored.rows_end {
            rows.show(end);
        }
        Ok(Self {
            readings: Log::look(&store, "readings", mark.readings)?,
            rows,
            notes: Log::look(&store, "notes", mark.notes)?,
            dead: Log::look(&store, "dead", mark.dead)?,
            restored,
            store,
            identity,
            mark,
        })
    }
}

/// Where each log is known to have been durable, whatever can still be read of it: by the mark, and by what was
/// delivered or thrown away and said so in a file of its own.
fn known_durable(store: &dyn Store) -> Result<Mark, StoreError> {
    let mut mark = Mark::load(store)?;
    let cursors = Cursors::load(store)?;
    let done = |stream: &str| {
        let lanes = cursors.streams.get(stream).into_iter().flat_map(|stream| stream.lanes.values());
        lanes.map(|lane| lane.done).max().unwrap_or_default()
    };
    mark.readings.offset = mark.readings.offset.max(done("readings"));
    mark.rows.offset = mark.rows.offset.max(done("rows"));
    mark.folded = mark.folded.max(cursors.passed());
    mark.notes.offset = mark.notes.offset.max(done("gaps"));
    mark.dead.offset = mark.dead.offset.max(dead::purged(store)?);
    let delivered = cursors.streams.values().flat_map(|stream| stream.lanes.values());
    mark.epoch = mark.epoch.max(delivered.filter_map(|lane| Some(lane.prev?.0)).max().unwrap_or_default());
    Ok(mark)
}
