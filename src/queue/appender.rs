//! The end of a log where it grows. Only the [`Appender`] writes, and it cannot be cloned.

use std::sync::Arc;

use super::chunk;
use super::entry::{Encoder, Entry, Group, Stamp};
use super::log::{Log, Place};
use super::recover::Tail;
use super::seal::{Head, Seal};
use super::store::{Generation, StoreError};
use crate::faults::Point;

/// The one that writes.
pub struct Appender {
    log: Log,
    generation: Arc<dyn Generation>,
    /// Of the generation being written, so far.
    seal: Seal,
    next: Place,
    generation_bytes: u64,
    encoder: Encoder,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first entry.
    pub first: u64,
    /// What the group weighs in its generation.
    pub bytes: u64,
}

impl Appender {
    /// Goes on where the log was found to end, but not before `durable`.
    pub(super) fn after(log: &Log, tail: Tail, durable: Place, generation_bytes: u64) -> Result<Self, StoreError> {
        let next = Place { offset: tail.end.offset.max(durable.offset), chunk: tail.end.chunk.max(durable.chunk) };
        let (generation, seal) = match tail.clean {
            Some(clean) if next == tail.end => clean,
            _ => {
                let number = tail.newest + 1;
                (log.create(number, Head::new(next, None))?, Seal::empty(number))
            }
        };
        Ok(Self { log: log.clone(), generation, seal, next, generation_bytes, encoder: Encoder::default() })
    }

    /// Adds entries as one group. They are durable after [`Appender::persist`], and readable after [`Appender::show`].
    pub fn append(&mut self, epoch: u64, stamp: Stamp, entries: Vec<Entry>) -> Result<Appended, StoreError> {
        assert!(!entries.is_empty(), "a group has entries");
        if self.seal.weight() >= self.generation_bytes {
            self.turn()?;
        }
        let count = entries.len() as u64;
        let first = self.next.offset;
        let group = self.encoder.encode(&Group { epoch, first, stamp, entries });
        let chunks = chunk::cut(&group, self.next.chunk);
        self.generation.append(&chunks)?;
        self.next = Place { offset: first + count, chunk: self.next.chunk + chunks.len() as u64 };
        let before = self.seal.weight();
        self.seal.add(&group, chunks.len() as u64, self.next.chunk - 1);
        Ok(Appended { first, bytes: self.seal.weight() - before })
    }

    /// Makes everything appended durable, then shows it to the readers.
    pub fn sync(&mut self) -> Result<Place, StoreError> {
        self.persist()?;
        self.show();
        Ok(self.next)
    }

    /// Makes everything appended durable, and leaves it unseen: it may yet be void.
    pub(super) fn persist(&mut self) -> Result<(), StoreError> {
        self.generation.sync()
    }

    /// Shows the readers what was made durable.
    pub(super) fn show(&mut self) {
        self.log.show(self.next);
    }

    /// Seals the generation and begins the next.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        self.turn()?;
        self.show();
        Ok(())
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        self.generation.seal()?;
        Point::Sealed.reached();
        let number = self.seal.number + 1;
        self.generation = self.log.create(number, Head::new(self.next, Some(self.seal)))?;
        self.seal = Seal::empty(number);
        Ok(())
    }

    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The place the next entry gets.
    #[must_use]
    pub fn next(&self) -> Place {
        self.next
    }

    /// Whether nothing has been written to the newest generation since it was begun.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.seal.chunks == 0
    }
}
