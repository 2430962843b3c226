//! Where a log ends, as a crash, a power cut or rot has left it.
//!
//! The generations are looked at from the newest back, until one can be read. That one is read through: its last
//! whole group is the end. What lies behind it was never acknowledged and is void.
//!
//! | what is found | what follows |
//! | --- | --- |
//! | the newest, clean to its end | the appender goes on in it |
//! | void chunks, rot, or the newest cannot be read | the appender begins a new one, behind what is known to have been durable |
//! | the newest without head and chunks | its making was cut short: it goes |
//!
//! Invariant: what is taken for the end is on stable storage before anyone hears of it. A process that was killed
//! may have left a group that is whole but was never synced.

use std::sync::Arc;

use super::chunk::Chunk;
use super::entry::Header;
use super::log::{Found, Log, Place};
use super::seal::Seal;
use super::store::{Generation, StoreError};

/// The end of a log as it was found.
#[derive(Default)]
pub(super) struct Tail {
    /// The newest generation and its seal so far, where nothing in it is void or damaged.
    pub clean: Option<(Arc<dyn Generation>, Seal)>,
    pub end: Place,
    /// The highest number that was in use.
    pub newest: u32,
    /// The epoch of the last group.
    pub epoch: u64,
}

impl Tail {
    /// Finds it. `durable` is where the log is known to have been durable: a lower bound.
    pub fn find(log: &Log, durable: Place) -> Result<Self, StoreError> {
        let numbers = log.numbers();
        let newest = numbers.last().copied().unwrap_or_default();
        let mut half_made = None;
        let mut spoiled = false;
        let mut tail = Self { newest, ..Self::default() };
        for number in numbers.into_iter().rev() {
            match log.find(number)? {
                Found::Whole(generation, head) => {
                    tail = Self { newest, ..Self::of(number, generation, head.begin)? };
                    break;
                }
                Found::Empty if number == newest => half_made = Some(number),
                Found::Empty => spoil(&mut spoiled, log, number, "it is empty")?,
                Found::Damaged(why) => spoil(&mut spoiled, log, number, &why)?,
            }
        }
        match half_made {
            // It may as well have been emptied by rot, where more than this is known to have been durable.
            Some(number) if durable > tail.end => spoil(&mut spoiled, log, number, "it is empty")?,
            Some(number) => log.discard(number)?,
            None => {}
        }
        if spoiled {
            // The successor is gone: what comes next begins a generation of its own.
            tail.clean = None;
        }
        Ok(tail)
    }

    /// Makes what lies at or past `until` void. Generations that begin there go; the chunks of an earlier one stay
    /// where they are, behind the place where its successor will begin.
    pub fn cut(&mut self, log: &Log, until: Place) -> Result<(), StoreError> {
        if self.end <= until {
            return Ok(());
        }
        for number in log.numbers().into_iter().rev() {
            match log.begin(number)? {
                Some(begin) if begin < until => break,
                Some(_) => log.discard(number)?,
                None => {}
            }
        }
        self.clean = None;
        self.end = until;
        Ok(())
    }

    /// Reads a generation through, to the end of its last whole group.
    fn of(number: u32, generation: Arc<dyn Generation>, begin: Place) -> Result<Self, StoreError> {
        let (mut end, mut epoch) = (begin, 0);
        let mut seal = Seal::empty(number);
        let (mut clean, mut at) = (true, begin.chunk);
        loop {
            let found = match generation.next(at) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(StoreError::Damaged { .. }) => {
                    clean = false;
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some((group, header, chunks)) = read_group_at(&*generation, found)? else {
                clean = false;
                at = found + 1;
                continue;
            };
            clean &= found == end.chunk && header.first == end.offset;
            at = found + chunks;
            end = Place { offset: header.end(), chunk: at };
            epoch = header.epoch;
            seal.add(&group, chunks, at - 1);
        }
        generation.sync()?;
        // Behind void chunks too: a number is never given twice.
        end.chunk = end.chunk.max(at);
        Ok(Self { clean: clean.then_some((generation, seal)), end, newest: number, epoch })
    }
}

fn spoil(spoiled: &mut bool, log: &Log, number: u32, why: &str) -> Result<(), StoreError> {
    *spoiled = true;
    log.put_aside(number, why)
}

/// The group that begins at this chunk, its header, and how many chunks it took; `None` where it is not whole.
pub(super) fn read_group_at(
    generation: &dyn Generation,
    first: u64,
) -> Result<Option<(Vec<u8>, Header, u64)>, StoreError> {
    let mut group = Vec::new();
    let (mut index, mut total) = (0, 1);
    while index < total {
        let number = first + u64::from(index);
        let stored = match generation.get(number) {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match Chunk::read(number, &stored) {
            Some(chunk) if chunk.index == index && (index == 0 || chunk.total == total) => {
                total = chunk.total;
                group.extend(chunk.bytes);
            }
            _ => return Ok(None),
        }
        index += 1;
    }
    let header = Header::read(&group).ok();
    Ok(header.map(|header| (group, header, u64::from(total))))
}
