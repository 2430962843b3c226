//! Saves what can be saved of a log: its entries in the order of their offsets, and what is missing in between.
//!
//! A generation that the log passes over may have groups that are whole all the same, and so may one that was put
//! aside into `damaged/`. Those are looked for chunk by chunk, and what is found of them stands in the log's gaps.
//!
//! ```text
//! log      ──── 1 ────│░░░░ 2 ░░░░│──── 3 ────▶       2 has lost its head
//! pieces               ▒▒▒▒  ▒▒▒                      groups of 2 that are whole
//! told     ────────────▒▒▒▒!!▒▒▒!!────────────▶       ! missing
//! ```
//!
//! Invariant: an offset is told once, as an entry or as missing, in rising order. Only of what was put aside and lies
//! before the oldest generation nothing is told missing: most of what was there has been delivered and is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::dead::Kept;
use super::entry::{Decoder, Entry, Group};
use super::log::{Log, Unread, enter};
use super::look::{entry_json, letter_json};
use super::reader::{Reader, Step};
use super::recover::read_group_at;
use super::store::{CopyStore, Generation, Store, StoreError};
use crate::reading::Micros;

/// A log on its way out.
pub struct Export {
    reader: Reader,
    salvage: Salvage,
    /// Where the log itself begins.
    start: u64,
    /// The offsets the log has lost, as far as they are not told yet.
    gap: Option<(u64, u64)>,
    decoder: Decoder,
    /// The offset after the last.
    end: u64,
}

/// What is told of a log, in the order of its offsets.
#[derive(Debug)]
pub enum Told {
    /// The entries of the group from one offset up to, not including, another.
    Entries(Group, u64, u64),
    /// Offsets from the first up to, not including, the second cannot be read.
    Missing(u64, u64),
}

/// What there is beside the log itself.
#[derive(Default)]
struct Salvage {
    /// By the offset each begins with.
    pieces: BTreeMap<u64, Piece>,
    /// Generations of the log that cannot be read as a whole, and why.
    unread: Vec<(u32, String)>,
    /// Where the log would begin if it could read them, where that is before all others.
    lowest: Option<u64>,
}

/// A group of a generation that cannot be read as a whole.
struct Piece {
    end: u64,
    generation: Arc<dyn Generation>,
    chunk: u64,
}

impl Export {
    /// Begins at `from`, or at the oldest that is kept. `shelved`: with what was put aside.
    pub fn new(store: &CopyStore, log: &Log, name: &str, from: Option<u64>, shelved: bool) -> Result<Self, StoreError> {
        let mut salvage = Salvage::default();
        if shelved {
            salvage.take_shelved(store, name)?;
        }
        salvage.take_unread(store, name)?;
        let oldest = log.oldest()?.offset;
        let from = from.unwrap_or_default();
        let start = salvage.lowest.unwrap_or(oldest).min(oldest).max(from);
        salvage.pieces.retain(|_, piece| piece.end > from);
        let (reader, end) = (Reader::new(log, start), log.durable().offset);
        Ok(Self { reader, salvage, start, gap: None, decoder: Decoder::default(), end })
    }

    /// Generations of the log that cannot be read as a whole, and why.
    #[must_use]
    pub fn unread(&self) -> &[(u32, String)] {
        &self.salvage.unread
    }

    /// Where it begins, and the offset after the last.
    #[must_use]
    pub fn offsets(&self) -> (u64, u64) {
        (self.start, self.end)
    }

    /// What comes next; `None` at the end.
    pub fn step(&mut self) -> Result<Option<Told>, StoreError> {
        // What was put aside and lies before the log.
        if let Some(before) = self.salvage.pieces.first_entry().filter(|piece| piece.get().end <= self.start) {
            let (first, piece) = before.remove_entry();
            let to = piece.end;
            return self.tell(first, &piece, first, to).map(Some);
        }
        loop {
            if let Some((from, to)) = self.gap {
                return self.fill(from, to).map(Some);
            }
            let next = self.reader.offset();
            match self.reader.step()? {
                Step::End => return Ok(None),
                Step::Lost { from, to } => self.gap = Some((from, to)),
                Step::Group(group) => {
                    let end = group.end();
                    return Ok(Some(Told::Entries(group, next, end)));
                }
            }
        }
    }

    /// The next of a gap: of a piece, or that it is missing.
    fn fill(&mut self, from: u64, to: u64) -> Result<Told, StoreError> {
        let found = self.salvage.pieces.range(..to).find(|(_, piece)| piece.end > from).map(|(first, _)| *first);
        let Some(first) = found else {
            self.gap = None;
            return Ok(Told::Missing(from, to));
        };
        if first > from {
            self.gap = Some((first, to));
            return Ok(Told::Missing(from, first));
        }
        let piece = self.salvage.pieces.remove(&first).expect("it was just found");
        let end = piece.end.min(to);
        self.gap = (end < to).then_some((end, to));
        self.tell(first, &piece, from, end)
    }

    fn tell(&mut self, first: u64, piece: &Piece, from: u64, to: u64) -> Result<Told, StoreError> {
        let group = read_group_at(&*piece.generation, piece.chunk)?;
        let group = group.and_then(|(group, ..)| self.decoder.decode(&group).ok());
        Ok(group
            .filter(|group| group.first == first)
            .map_or(Told::Missing(from, to), |group| Told::Entries(group, from, to)))
    }
}

impl Salvage {
    /// Takes what is whole of the generations that were put aside.
    fn take_shelved(&mut self, store: &CopyStore, name: &str) -> Result<(), StoreError> {
        for shelved in store.shelf()? {
            if shelved.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')) {
                self.take(store.open_shelved(&shelved))?;
            }
        }
        Ok(())
    }

    /// Takes what is whole of the generations of the log that it cannot read.
    fn take_unread(&mut self, store: &CopyStore, name: &str) -> Result<(), StoreError> {
        let numbers = store.generations(name)?;
        let (first, last) = (numbers.first().copied(), numbers.last().copied());
        for number in numbers {
            match enter(store, name, number)? {
                // The making of the newest was cut short, or what it held is a gap that the log knows of.
                Err(Unread { empty: true, .. }) if Some(number) == last => {}
                Err(Unread { why, .. }) => {
                    let lowest = self.take(store.open(name, number))?;
                    if Some(number) == first {
                        self.lowest = if number == 1 { Some(0) } else { lowest };
                    }
                    self.unread.push((number, why));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Takes every group of a generation that is whole, and says where the first begins.
    fn take(&mut self, opened: Result<Arc<dyn Generation>, StoreError>) -> Result<Option<u64>, StoreError> {
        let generation = match opened {
            Err(StoreError::Damaged { .. }) => return Ok(None),
            opened => opened?,
        };
        let mut decoder = Decoder::default();
        let (mut lowest, mut at) = (None, 0);
        loop {
            let chunk = match generation.next(at) {
                Ok(Some(chunk)) => chunk,
                Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(lowest),
                Err(error) => return Err(error),
            };
            at = chunk + 1;
            let Some((group, header, chunks)) = read_group_at(&*generation, chunk)? else { continue };
            if decoder.decode(&group).is_ok() {
                at = chunk + chunks;
                lowest = lowest.or(Some(header.first));
                let generation = generation.clone();
                self.pieces.insert(header.first, Piece { end: header.end(), generation, chunk });
            }
        }
    }
}

/// The lines of a group from one offset up to another: letters as `dead list` gives them, all else as `peek` does.
pub fn lines(group: Group, from: u64, to: u64) -> impl Iterator<Item = Json> {
    let (epoch, received) = (group.epoch, group.stamp.received);
    let within = (group.first..).zip(group.entries).filter(move |(offset, _)| (from..to).contains(offset));
    within.map(move |(offset, entry)| match entry {
        Entry::Letter(letter) => letter_json(&Kept { id: offset, time: Micros(received), letter: *letter }),
        entry => entry_json(epoch, offset, received, &entry),
    })
}
