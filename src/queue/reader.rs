//! Reading a log back, from any offset, in order.
//!
//! Invariants: a reader sees only what is durable; it names every offset it could not read; it never stops at
//! damage, and never reads behind the end of a generation, where a crash may have left void chunks.

use std::sync::Arc;

use super::entry::{Decoder, Group};
use super::log::{Log, Place, read_group_at};
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
                if let Some(lost) = self.enter(0, durable)? {
                    return Ok(lost);
                }
                continue;
            };
            let next = self.log.numbers().into_iter().find(|next| *next > at.number);
            let end = match next {
                Some(next) => self.log.begin(next)?.map(|begin| begin.chunk),
                None => Some(durable.chunk),
            };
            // A successor that cannot be read does not say where this one ends: its own chunks do.
            if end.is_some_and(|end| at.chunk >= end) || at.next_chunk()?.is_none() {
                if let Some(lost) = self.enter(next.unwrap_or(u32::MAX), durable)? {
                    return Ok(lost);
                }
                continue;
            }
            let Some((group, chunks)) = read_group(&mut self.decoder, at)? else {
                at.chunk += 1;
                at.chunk = at.next_chunk()?.unwrap_or(u64::MAX);
                continue;
            };
            if group.first > self.offset {
                return Ok(self.lose(group.first));
            }
            at.chunk += chunks;
            if group.end() > self.offset {
                self.offset = group.end();
                return Ok(Step::Group(group));
            }
        }
        Ok(Step::End)
    }

    fn lose(&mut self, to: u64) -> Step {
        let from = std::mem::replace(&mut self.offset, to);
        Step::Lost { from, to }
    }

    /// Enters the newest generation, from number `least` on, that begins at or before our offset; where none
    /// does, the oldest of them, and says what is lost by that.
    fn enter(&mut self, least: u32, durable: Place) -> Result<Option<Step>, StoreError> {
        self.at = None;
        let mut begins = durable.offset;
        for number in self.log.numbers().into_iter().filter(|number| *number >= least) {
            let Some((generation, begin)) = self.open(number)? else { continue };
            if self.at.is_some() && begin.offset > self.offset {
                break;
            }
            self.at = Some(At { number, generation, chunk: begin.chunk });
            begins = begin.offset;
            if begin.offset > self.offset {
                break;
            }
        }
        Ok((begins > self.offset).then(|| self.lose(begins)))
    }

    /// Opens a generation; one that is damaged is put aside.
    fn open(&self, number: u32) -> Result<Option<Opened>, StoreError> {
        match self.log.generation(number) {
            Ok(generation) => Ok(self.log.begin(number)?.map(|begin| (generation, begin))),
            Err(StoreError::Damaged { path, why }) => {
                tracing::error!(path = %path.display(), why, "a generation is damaged; it is put aside");
                self.log.forget(number)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A generation and where it begins.
type Opened = (Arc<dyn Generation>, Place);

impl At {
    fn next_chunk(&self) -> Result<Option<u64>, StoreError> {
        match self.generation.next(self.chunk) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            found => found,
        }
    }
}

/// The group at this place; `None` where there is none that is whole and right.
fn read_group(decoder: &mut Decoder, at: &At) -> Result<Option<(Group, u64)>, StoreError> {
    let read = read_group_at(&*at.generation, at.chunk)?;
    Ok(read.and_then(|(bytes, _, chunks)| Some((decoder.decode(&bytes).ok()?, chunks))))
}
