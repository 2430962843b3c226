//! Saves what can be saved of a log: its entries in the order of their offsets, and what is missing in between.
//!
//! Where the log has a gap, groups of it may be whole all the same; [`Salvage`] looks for them.
//!
//! ```text
//! log      ──── 1 ────│░░░░ 2 ░░░░│──── 3 ────▶       2 has lost its head
//! pieces               ▒▒▒▒  ▒▒▒                      groups of 2 that are whole
//! told     ────────────▒▒▒▒!!▒▒▒!!────────────▶       ! missing
//! ```
//!
//! Invariant: an offset is told once, as an entry or as missing, in rising order. Only of what was put aside and lies
//! before the oldest generation nothing is told missing: most of what was there has been delivered and is gone.

use std::sync::Arc;

use serde_json::Value as Json;

use super::dead::Kept;
use super::entry::{Decoder, Entry, Group};
use super::log::Log;
use super::look::{entry_json, letter_json};
use super::reader::{Reader, Step};
use super::recover::read_group_at;
use super::salvage::{Piece, Salvage};
use super::store::{CopyStore, StoreError};
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

impl Export {
    /// Begins at `from`, or at the oldest that is kept. `shelved`: with what was put aside.
    pub fn new(
        store: &Arc<CopyStore>,
        log: &Log,
        name: &str,
        from: Option<u64>,
        shelved: bool,
    ) -> Result<Self, StoreError> {
        let mut salvage = Salvage::of(store, name, log.durable().chunk)?;
        if shelved {
            salvage.take_shelved()?;
        }
        let oldest = log.oldest()?.offset;
        let from = from.unwrap_or_default();
        let start = salvage.lowest.unwrap_or(oldest).min(oldest).max(from);
        salvage.drop_before(from);
        let (reader, end) = (Reader::new(log, start), log.durable().offset);
        Ok(Self { reader, salvage, start, gap: None, decoder: Decoder::default(), end })
    }

    /// Generations of the log that cannot be read as a whole, and why.
    #[must_use]
    pub fn unread(&self) -> &[(u32, String)] {
        &self.salvage.unread
    }

    /// Whether nothing says where the oldest generation began, since it cannot be read.
    #[must_use]
    pub fn lacks_beginning(&self) -> bool {
        self.salvage.lacks_beginning
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
                Step::Lost { from, to } => {
                    self.salvage.take_of_gap(from, to)?;
                    self.gap = Some((from, to));
                }
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

/// The lines of a group from one offset up to another: letters as `dead list` gives them, all else as `peek` does.
pub fn lines(group: Group, from: u64, to: u64) -> impl Iterator<Item = Json> {
    let (epoch, received) = (group.epoch, group.stamp.received);
    let within = (group.first..).zip(group.entries).filter(move |(offset, _)| (from..to).contains(offset));
    within.map(move |(offset, entry)| match entry {
        Entry::Letter(letter) => letter_json(&Kept { id: offset, time: Micros(received), letter: *letter }),
        entry => entry_json(epoch, offset, received, &entry),
    })
}
