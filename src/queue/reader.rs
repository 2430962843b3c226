//! Reading a log back, from any offset, in order.
//!
//! Invariants: a reader sees only what is durable; it names every offset it could not read; it never stops at
//! damage, and never reads behind the end of a generation, where a crash may have left void chunks.

use std::sync::Arc;

use super::entry::{Decoder, Group};
use super::log::{Log, Place};
use super::recover::read_group_at;
use super::store::{Generation, StoreError};

/// One step through a log.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The next group. Its first entries may lie before the offset the reader was opened at.
    Group(Group),
    /// Offsets from `from` up to, not including, `to` cannot be read.
    Lost { from: u64, to: u64 },
    /// Nothing more is durable now.
    End,
}

/// A place in a log, and how to go on from there.
pub struct Reader {
    log: Log,
    /// The next offset.
    offset: u64,
    at: Option<At>,
    decoder: Decoder,
}

struct At {
    number: u32,
    generation: Arc<dyn Generation>,
    chunk: u64,
}

impl Reader {
    #[must_use]
    pub fn new(log: &Log, offset: u64) -> Self {
        Self { log: log.clone(), offset, at: None, decoder: Decoder::default() }
    }

    /// The next offset.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn step(&mut self) -> Result<Step, StoreError> {
        let durable = self.log.durable();
        while self.offset < durable.offset {
            let Some(at) = &mut self.at else {
                let covering = self.log.covering(self.offset)?;
                if let Some(lost) = self.enter(covering, durable)? {
                    return Ok(lost);
                }
                continue;
            };
            let next = self.log.first_from(at.number + 1);
            let end = match next.map(|next| self.log.begin(next)).transpose()? {
                Some(Some(begin)) => begin.chunk,
                // It cannot be read and is out of the row: the one behind it says where this one ends.
                Some(None) => continue,
                None => durable.chunk,
            };
            if at.chunk >= end {
                if let Some(lost) = self.enter(next, durable)? {
                    return Ok(lost);
                }
                continue;
            }
            let Some((group, header, chunks)) = read_group_at(&*at.generation, at.chunk)? else {
                at.skip()?;
                continue;
            };
            if header.end() <= self.offset {
                at.chunk += chunks;
            } else if header.first > self.offset {
                return Ok(self.lose(header.first));
            } else if let Ok(group) = self.decoder.decode(&group) {
                at.chunk += chunks;
                self.offset = group.end();
                return Ok(Step::Group(group));
            } else {
                at.skip()?;
            }
        }
        Ok(Step::End)
    }

    fn lose(&mut self, to: u64) -> Step {
        let from = std::mem::replace(&mut self.offset, to);
        Step::Lost { from, to }
    }

    /// Enters a generation, and says what is lost by that; without one, everything up to the durable mark is.
    fn enter(&mut self, number: Option<u32>, durable: Place) -> Result<Option<Step>, StoreError> {
        self.at = None;
        let mut begin = durable;
        if let Some(number) = number {
            // One that cannot be read has left the row: look for another.
            let Some((generation, head)) = self.log.generation(number)? else { return Ok(None) };
            begin = head.begin;
            self.at = Some(At { number, generation, chunk: begin.chunk });
        }
        Ok((begin.offset > self.offset).then(|| self.lose(begin.offset)))
    }
}

impl At {
    /// Goes past a chunk with which nothing can be done.
    fn skip(&mut self) -> Result<(), StoreError> {
        let next = match self.generation.next(self.chunk + 1) {
            Err(StoreError::Damaged { .. }) => None,
            found => found?,
        };
        self.chunk = next.unwrap_or(u64::MAX);
        Ok(())
    }
}
