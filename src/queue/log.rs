//! A log: a row of generations, one appender, any number of readers.
//!
//! ```text
//! readings/000017  ◀─ tail: goes once every reader has passed it
//! readings/000018     sealed: nothing is added any more
//! readings/000019  ◀─ head: the appender adds here; when it is large enough, 000020 follows
//! ```
//!
//! A generation begins with a **head** record: the first chunk number and offset in it, and the **seal** of the
//! generation before (count, last chunk, checksum). So where one ends is known by the next, and what a crash left
//! behind its last whole group is void.
//!
//! Invariants:
//! - offsets and chunk numbers are dense and never given twice, restarts and damage included: after damage the
//!   log goes on behind the durable mark, in a new generation;
//! - readers see nothing that was not synced;
//! - only the [`Appender`] writes, and it cannot be cloned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::chunk::{self, Chunk};
use super::entry::{Encoder, Entry, Group, Header, Stamp};
use super::store::{Generation, Store, StoreError};

/// A place between two entries: the next chunk number and the next offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub offset: u64,
    pub chunk: u64,
}

/// What a generation begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: u8,
    begin: Place,
    previous: Option<Seal>,
}

/// What a full generation held, kept in its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    number: u32,
    chunks: u64,
    bytes: u64,
    last: u64,
    /// CRC32C over the checksums of its chunks.
    checksum: u32,
}

const FORMAT: u8 = 1;

/// The readable side of a log; clones share it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    name: &'static str,
    /// Whether damaged generations are put aside, or only passed over.
    repair: bool,
    /// By number. Held for moments, when a generation is opened, made or released; never while one is read.
    generations: Mutex<BTreeMap<u32, Known>>,
    durable: watch::Sender<Place>,
}

#[derive(Default)]
struct Known {
    begin: Option<Place>,
    /// Shared by all who have it open: sled opens a directory once.
    open: Option<Weak<dyn Generation>>,
}

impl Log {
    /// Opens a log for looking only: nothing is written. `mark` is where it is known to have been durable.
    pub fn look(store: &Arc<dyn Store>, name: &'static str, mark: Place) -> Result<Self, StoreError> {
        let (log, tail) = Self::recover(store, name, mark, false)?;
        log.shared.durable.send_replace(tail.end.max(mark));
        Ok(log)
    }

    /// Opens a log for its appender, making it where there is none.
    pub fn open(
        store: &Arc<dyn Store>,
        name: &'static str,
        mark: Place,
        generation_bytes: u64,
    ) -> Result<(Self, Appender), StoreError> {
        let (log, tail) = Self::recover(store, name, mark, true)?;
        let next = Place { offset: tail.end.offset.max(mark.offset), chunk: tail.end.chunk.max(mark.chunk) };
        let (generation, seal) = match tail.head {
            // The clean end of the newest generation: go on there.
            Some((generation, seal)) if next == tail.end => (generation, seal),
            // Void chunks, damage, or nothing at all: go on in a new one.
            _ => {
                let number = tail.newest + 1;
                let generation = log.create(number, Head { format: FORMAT, begin: next, previous: None })?;
                (generation, Seal { number, ..Seal::default() })
            }
        };
        let appender =
            Appender { log: log.clone(), generation, seal, next, generation_bytes, encoder: Encoder::default() };
        log.shared.durable.send_replace(next);
        Ok((log, appender))
    }

    fn recover(
        store: &Arc<dyn Store>,
        name: &'static str,
        mark: Place,
        repair: bool,
    ) -> Result<(Self, Tail), StoreError> {
        let numbers = store.generations(name)?;
        let shared = Shared {
            store: store.clone(),
            name,
            repair,
            generations: Mutex::new(numbers.iter().map(|number| (*number, Known::default())).collect()),
            durable: watch::Sender::new(mark),
        };
        let log = Self { shared: Arc::new(shared) };
        let newest = numbers.last().copied().unwrap_or(0);
        let mut spoiled = false;
        for number in numbers.into_iter().rev() {
            match log.generation(number).and_then(|generation| Tail::of(number, generation, newest)) {
                // Its successor is gone: what comes next begins a generation of its own.
                Ok(tail) if spoiled => return Ok((log, Tail { head: None, ..tail })),
                Ok(tail) => return Ok((log, tail)),
                Err(StoreError::Damaged { path, why }) => {
                    tracing::error!(path = %path.display(), why, "a generation is damaged");
                    log.forget(number)?;
                    spoiled = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((log, Tail { head: None, end: Place::default(), newest }))
    }

    /// Where everything before is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Place {
        *self.shared.durable.borrow()
    }

    /// Resolves each time more is durable.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Place> {
        self.shared.durable.subscribe()
    }

    /// Where the oldest generation begins.
    pub fn oldest(&self) -> Result<Place, StoreError> {
        let first = self.numbers().first().copied();
        Ok(first.map(|number| self.begin(number)).transpose()?.flatten().unwrap_or_else(|| self.durable()))
    }

    /// Where the oldest generation ends: what shedding it would cost. `None` while it is also the newest.
    pub fn oldest_end(&self) -> Result<Option<Place>, StoreError> {
        let second = self.numbers().get(1).copied();
        Ok(second.map(|number| self.begin(number)).transpose()?.flatten())
    }

    /// Removes every generation that holds nothing at or after `offset`, and says how many went.
    pub fn release(&self, offset: u64) -> Result<usize, StoreError> {
        let mut gone = 0;
        while let [first, second, ..] = self.numbers()[..] {
            if self.begin(second)?.is_none_or(|begin| begin.offset > offset) {
                break;
            }
            self.shared.store.remove(self.shared.name, first)?;
            self.known().remove(&first);
            gone += 1;
        }
        Ok(gone)
    }

    #[must_use]
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.known().keys().copied().collect()
    }

    /// Where a generation begins, opening it where that is not known yet; `None` where it cannot be read.
    pub(super) fn begin(&self, number: u32) -> Result<Option<Place>, StoreError> {
        if let Some(Known { begin: Some(begin), .. }) = self.known().get(&number) {
            return Ok(Some(*begin));
        }
        match self.generation(number) {
            Ok(_) => Ok(self.known().get(&number).and_then(|known| known.begin)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a generation, or takes it from whoever has it open.
    pub(super) fn generation(&self, number: u32) -> Result<Arc<dyn Generation>, StoreError> {
        let mut known = self.known();
        if let Some(open) = known.get(&number).and_then(|known| known.open.as_ref()?.upgrade()) {
            return Ok(open);
        }
        let generation = self.shared.store.open(self.shared.name, number)?;
        let head = generation.head()?.and_then(|bytes| read_head(&bytes));
        let Some(head) = head else { return Err(self.damaged(number, "its head record cannot be read")) };
        known.insert(number, Known { begin: Some(head.begin), open: Some(Arc::downgrade(&generation)) });
        Ok(generation)
    }

    /// Takes a generation that cannot be read out of the row; its offsets become a gap.
    pub(super) fn forget(&self, number: u32) -> Result<(), StoreError> {
        self.known().remove(&number);
        if self.shared.repair { self.shared.store.quarantine(self.shared.name, number) } else { Ok(()) }
    }

    fn create(&self, number: u32, head: Head) -> Result<Arc<dyn Generation>, StoreError> {
        let generation = self.shared.store.create(self.shared.name, number, &write_head(&head))?;
        let known = Known { begin: Some(head.begin), open: Some(Arc::downgrade(&generation)) };
        self.known().insert(number, known);
        Ok(generation)
    }

    fn damaged(&self, number: u32, why: &str) -> StoreError {
        StoreError::Damaged { path: format!("{}/{number:06}", self.shared.name).into(), why: why.to_owned() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.shared.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a log as it was found.
struct Tail {
    /// The newest generation, where nothing in it is void or damaged.
    head: Option<(Arc<dyn Generation>, Seal)>,
    end: Place,
    /// The highest number in use.
    newest: u32,
}

impl Tail {
    /// Reads a generation through, to the end of its last whole group.
    fn of(number: u32, generation: Arc<dyn Generation>, newest: u32) -> Result<Self, StoreError> {
        let head = generation.head()?.and_then(|bytes| read_head(&bytes));
        let mut end = head.map(|head| head.begin).unwrap_or_default();
        let mut seal = Seal { number, ..Seal::default() };
        let (mut clean, mut at) = (true, end.chunk);
        // Behind void chunks too: a number is never given twice.
        let mut unused = at;
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
                unused = at;
                continue;
            };
            clean &= found == end.chunk && header.first == end.offset;
            at = found + chunks;
            unused = at;
            end = Place { offset: header.end(), chunk: at };
            seal.add(&group, chunks, at - 1);
        }
        end.chunk = end.chunk.max(unused);
        Ok(Self { head: clean.then_some((generation, seal)), end, newest })
    }
}

impl Seal {
    fn add(&mut self, group: &[u8], chunks: u64, last: u64) {
        self.chunks += chunks;
        self.bytes += group.len() as u64;
        self.last = last;
        self.checksum = crc32c::crc32c_append(self.checksum, group);
    }
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

fn write_head(head: &Head) -> Vec<u8> {
    let mut bytes = serde_cbor::to_vec(head).expect("a head is plain");
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn read_head(bytes: &[u8]) -> Option<Head> {
    let (head, sum) = bytes.split_last_chunk::<4>()?;
    (crc32c::crc32c(head).to_be_bytes() == *sum).then(|| serde_cbor::from_slice(head).ok()).flatten()
}

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
    pub bytes: u64,
}

impl Appender {
    /// Adds entries as one group. They are durable, and readable, after [`Appender::sync`].
    pub fn append(&mut self, epoch: u64, stamp: Stamp, entries: Vec<Entry>) -> Result<Appended, StoreError> {
        assert!(!entries.is_empty(), "a group has entries");
        if self.seal.bytes >= self.generation_bytes {
            self.rotate()?;
        }
        let count = entries.len() as u64;
        let first = self.next.offset;
        let group = self.encoder.encode(&Group { epoch, first, stamp, entries });
        let chunks = chunk::cut(&group, self.next.chunk);
        self.generation.append(&chunks)?;
        self.next = Place { offset: first + count, chunk: self.next.chunk + chunks.len() as u64 };
        self.seal.add(&group, chunks.len() as u64, self.next.chunk - 1);
        Ok(Appended { first, bytes: group.len() as u64 })
    }

    /// Makes everything appended durable, then shows it to the readers.
    pub fn sync(&mut self) -> Result<Place, StoreError> {
        self.generation.sync()?;
        self.log.shared.durable.send_replace(self.next);
        Ok(self.next)
    }

    /// Seals the generation and begins the next.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let head = Head { format: FORMAT, begin: self.next, previous: Some(self.seal) };
        let number = self.seal.number + 1;
        self.generation = self.log.create(number, head)?;
        self.seal = Seal { number, ..Seal::default() };
        Ok(())
    }

    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The offset the next entry gets.
    #[must_use]
    pub fn next(&self) -> Place {
        self.next
    }

    /// Whether nothing has been written to the newest generation since it was begun or opened.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.seal.chunks == 0
    }
}
