//! The state of the fold, as it goes into checkpoints: written whole, or what changed since it was written last.
//!
//! ```text
//! piece  = record record …                              CBOR values, one after the other
//! record = passing                                      how much time has passed
//!        | window [name, fingerprint, idle_timeout, reached, alone]     what follows is this window's
//!        | clock [name, source, reached or time, heard] of a device with a watermark of its own; of a shared one
//!        | clock gone [name]
//!        | group [key, next end, from, [cell]]          cells before `from` are no more, these are new or changed
//!        | group gone [key]
//! cell   = [start, last, [state of an aggregate]]
//! ```
//!
//! A snapshot is its windows' clocks and groups as changes to nothing, in pieces of about 256 KiB; a delta is one
//! piece. Each begins with `passing` and names every window there is. Restoring is reading pieces in the order in
//! which they were written, from a snapshot on.
//!
//! A window's state belongs to its name and its query: with another query it starts anew, and what was open is lost,
//! and said. So does one that the latest snapshot or delta does not name: while it was away, the log went on without
//! it. Lengths of time, bounds and what becomes of late readings may change at will.
//!
//! Invariants: `restore` of a snapshot and of the deltas since gives windows that go on exactly as those that wrote
//! them; a delta is as large as what changed.

mod restore;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::restore::Lost;
use super::aggregate::State;
use super::groups::Change;
use super::key::Key;
use super::one::One;
use super::passing::Passing;
use super::watermark::{Clocks, NEVER};
use super::{By, Spec, Windows};

/// Of a state's form. With another number, windows start anew.
const VERSION: u8 = 1;
const PIECE: usize = 256 << 10;

/// Bytes that no `changes` or `snapshot` wrote.
#[derive(Debug, thiserror::Error)]
#[error("not a state of windows: {0}")]
pub struct Malformed(String);

#[derive(Serialize, Deserialize)]
enum Record<P, C> {
    Passing(P),
    Window(Arc<str>, u64, i64, i64, Option<i64>),
    Clock(Arc<str>, u32, i64, i64),
    ClockGone(Arc<str>),
    Group(Key, i64, i64, Vec<C>),
    GroupGone(Key),
}

type Written<'a> = Record<&'a Passing, (i64, i64, &'a [State])>;
type Read = Record<Passing, (i64, i64, Box<[State]>)>;

impl Windows {
    /// All that changed since the last call; at first, all.
    pub fn changes(&mut self) -> Vec<u8> {
        let mut piece = Vec::new();
        write(&Record::Passing(&self.passing), &mut piece);
        for window in &mut self.windows {
            write_header(window, &mut piece);
            match &mut window.clocks {
                Clocks::Own(own) => {
                    let (gone, changed) = own.changed();
                    let gone = gone.into_iter().map(Record::ClockGone);
                    for record in gone.chain(changed.iter().map(Into::into)) {
                        write(&record, &mut piece);
                    }
                }
                Clocks::Shared(shared) => shared.changed().for_each(|clock| write(&clock.into(), &mut piece)),
            }
            for key in window.groups.gone() {
                write(&Record::GroupGone(key), &mut piece);
            }
            window.groups.changed(|change| write(&change.into(), &mut piece));
        }
        piece
    }

    /// The whole state, in pieces. It changes nothing about what `changes` gives next.
    pub fn snapshot(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut first = Vec::new();
        write(&Record::Passing(&self.passing), &mut first);
        std::iter::once(first).chain(self.windows.iter().flat_map(pieces))
    }
}

/// One window as changes to nothing.
fn pieces(window: &One) -> impl Iterator<Item = Vec<u8>> {
    let clocks: Box<dyn Iterator<Item = Written>> = match &window.clocks {
        Clocks::Own(own) => Box::new(own.devices().map(|(_, device)| device.into())),
        Clocks::Shared(shared) => Box::new(shared.clocks().map(Into::into)),
    };
    let mut records = clocks.chain(window.groups.all().map(Into::into)).peekable();
    let mut begun = false;
    std::iter::from_fn(move || {
        if begun && records.peek().is_none() {
            return None;
        }
        begun = true;
        let mut piece = Vec::new();
        write_header(window, &mut piece);
        while piece.len() < PIECE
            && let Some(record) = records.next()
        {
            write(&record, &mut piece);
        }
        Some(piece)
    })
}

fn write_header(window: &One, piece: &mut Vec<u8>) {
    let (reached, alone) = match &window.clocks {
        Clocks::Own(_) => (NEVER, None),
        Clocks::Shared(shared) => shared.reached(),
    };
    let Spec { name, idle_timeout, .. } = &window.spec;
    let header: Written = Record::Window(name.clone(), fingerprint(&window.spec), *idle_timeout, reached, alone);
    write(&header, piece);
}

fn write(record: &Written, piece: &mut Vec<u8>) {
    let writer = serde_cbor::ser::IoWrite::new(piece);
    record.serialize(&mut serde_cbor::Serializer::new(writer).packed_format()).expect("memory takes any record");
}

/// What a window's state depends on: FNV-1a over the query and whose clock counts.
fn fingerprint(spec: &Spec) -> u64 {
    let by = match spec.by {
        By::Device => 0,
        By::Source => 1,
    };
    let bytes = [VERSION, by].into_iter().chain(spec.sql.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

impl<'a> From<&'a super::watermark::Device> for Written<'a> {
    fn from(device: &'a super::watermark::Device) -> Self {
        Record::Clock(device.name.clone(), device.source as u32, device.reached, device.heard)
    }
}

impl<'a> From<&'a super::watermark::Clock> for Written<'a> {
    fn from(clock: &'a super::watermark::Clock) -> Self {
        Record::Clock(clock.name.clone(), 0, clock.time, clock.heard)
    }
}

impl<'a> From<Change<'a>> for Written<'a> {
    fn from(change: Change<'a>) -> Self {
        let cells = change.cells.iter().map(|cell| (cell.start, cell.last, &*cell.states));
        Record::Group(change.key.clone(), change.next, change.from, cells.collect())
    }
}
