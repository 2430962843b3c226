//! What can still be read where a log has gaps.
//!
//! | looked through | when |
//! | --- | --- |
//! | a generation of the log that cannot be read as a whole | always |
//! | one that lacks some of its groups | when the log comes to the gap |
//! | one that was put aside into `damaged/` | when asked for |
//!
//! Each by sled, as far as it gets, and then in the bare file. A generation is looked through for the chunks between
//! where it begins and where the next does, as far as those can be read.
//!
//! Invariant: a piece is a group of which every chunk has its checksum and which can be decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::entry::Decoder;
use super::log::{Place, Unread, enter};
use super::recover::read_group_at;
use super::store::{CopyStore, Generation, Store, StoreError};

/// What a generation without a successor may hold beyond what is known to be durable.
const CHUNKS_BEHIND: u64 = 1 << 12;

/// What there is beside a log itself.
pub(super) struct Salvage {
    store: Arc<CopyStore>,
    name: String,
    /// By the offset each begins with.
    pub pieces: BTreeMap<u64, Piece>,
    /// Generations of the log that cannot be read as a whole, and why.
    pub unread: Vec<(u32, String)>,
    /// Where the log would begin if it could read them, where that is before all others.
    pub lowest: Option<u64>,
    /// Whether the oldest is among them and nothing says where it began.
    pub lacks_beginning: bool,
    /// Where those begin that can be read.
    begins: BTreeMap<u32, Place>,
    /// Those that were looked through.
    taken: BTreeSet<u32>,
    /// Up to which chunk the log is known to have been durable.
    durable: u64,
    /// What ends at or before this offset is not wanted.
    after: u64,
}

/// A group that is whole.
pub(super) struct Piece {
    pub end: u64,
    pub generation: Arc<dyn Generation>,
    pub chunk: u64,
}

impl Salvage {
    /// Looks through the generations of a log that cannot be read as a whole.
    pub fn of(store: &Arc<CopyStore>, name: &str, durable: u64) -> Result<Self, StoreError> {
        let mut salvage = Self {
            store: store.clone(),
            name: name.to_owned(),
            pieces: BTreeMap::new(),
            unread: Vec::new(),
            lowest: None,
            lacks_beginning: false,
            begins: BTreeMap::new(),
            taken: BTreeSet::new(),
            durable,
            after: 0,
        };
        let numbers = store.generations(name)?;
        for number in numbers.iter().copied() {
            match enter(&**store, name, number)? {
                Ok((_, head)) => drop(salvage.begins.insert(number, head.begin)),
                // The making of the newest was cut short, or what it held is a gap that the log knows of.
                Err(Unread { empty: true, .. }) if numbers.last() == Some(&number) => {}
                Err(Unread { why, .. }) => salvage.unread.push((number, why)),
            }
        }
        for number in salvage.unread.iter().map(|(number, _)| *number).collect::<Vec<_>>() {
            salvage.take_number(number)?;
        }
        let oldest = numbers.first().filter(|oldest| salvage.unread.iter().any(|(number, _)| number == *oldest));
        if let Some(oldest) = oldest {
            salvage.lacks_beginning = *oldest != 1;
            salvage.lowest = if *oldest == 1 { Some(0) } else { salvage.pieces.keys().next().copied() };
        }
        Ok(salvage)
    }

    /// Looks through those that were put aside.
    pub fn take_shelved(&mut self) -> Result<(), StoreError> {
        for shelved in self.store.shelf()? {
            let Some(rest) = shelved.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-')) else { continue };
            let number = rest.split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
            self.take(self.store.open_shelved(&shelved))?;
            let found = self.store.find_shelved(&shelved, self.chunks(number));
            self.take(Ok(found))?;
        }
        Ok(())
    }

    /// Looks through those in which the log lacks these offsets.
    pub fn take_of_gap(&mut self, from: u64, to: u64) -> Result<(), StoreError> {
        let before = self.begins.iter().rev().find(|(_, begin)| begin.offset <= from).map_or(0, |(number, _)| *number);
        let within = self.begins.range(before..).filter(|(_, begin)| begin.offset < to);
        for number in within.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.take_number(number)?;
        }
        Ok(())
    }

    /// Forgets what ends at or before an offset, and takes no more of that.
    pub fn drop_before(&mut self, offset: u64) {
        self.after = offset;
        self.pieces.retain(|_, piece| piece.end > offset);
    }

    fn take_number(&mut self, number: u32) -> Result<(), StoreError> {
        if self.taken.insert(number) {
            self.take(self.store.open(&self.name, number))?;
            let found = self.store.find(&self.name, number, self.chunks(number));
            self.take(Ok(found))?;
        }
        Ok(())
    }

    /// The chunks that a generation may hold.
    fn chunks(&self, number: u32) -> Range<u64> {
        let begin = self.begins.range(..=number).next_back().map_or(0, |(_, begin)| begin.chunk);
        let next = self.begins.range(number + 1..).next().map(|(_, begin)| begin.chunk);
        begin..next.unwrap_or(self.durable + CHUNKS_BEHIND)
    }

    /// Takes every group of a generation that is whole.
    fn take(&mut self, opened: Result<Arc<dyn Generation>, StoreError>) -> Result<(), StoreError> {
        let generation = match opened {
            Err(StoreError::Damaged { .. } | StoreError::Missing { .. }) => return Ok(()),
            opened => opened?,
        };
        let mut decoder = Decoder::default();
        let mut at = 0;
        loop {
            let chunk = match generation.next(at) {
                Ok(Some(chunk)) => chunk,
                Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            at = chunk + 1;
            let Some((group, header, chunks)) = read_group_at(&*generation, chunk)? else { continue };
            if decoder.decode(&group).is_err() {
                continue;
            }
            at = chunk + chunks;
            if header.end() > self.after {
                let generation = generation.clone();
                self.pieces.entry(header.first).or_insert(Piece { end: header.end(), generation, chunk });
            }
        }
    }
}
