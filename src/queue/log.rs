//! A log: a row of generations, one appender, any number of readers.
//!
//! ```text
//! readings/000017  ◀─ tail: goes once every reader has passed it
//! readings/000018     sealed: nothing is added any more
//! readings/000019  ◀─ head: the appender adds here; when it is large enough, 000020 follows
//! ```
//!
//! A generation begins with a head record: the first chunk number and offset in it, and the seal of the generation
//! before. So where one ends is known by the next, whatever has become of its own end.
//!
//! Invariants:
//! - offsets and chunk numbers are dense and never given twice, restarts and damage included: after damage the
//!   log goes on behind the durable mark, in a new generation;
//! - readers see nothing that was not synced;
//! - a generation is open once, shared by all who read it, and none that has gone is opened again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::appender::Appender;
use super::recover::Tail;
use super::seal::Head;
use super::store::{Generation, Store, StoreError};

/// A place between two entries: the next chunk number and the next offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub offset: u64,
    pub chunk: u64,
}

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
    /// By number. Held while a generation is opened, made or let go; never while one is read.
    generations: Mutex<BTreeMap<u32, Known>>,
    durable: watch::Sender<Place>,
}

#[derive(Default)]
struct Known {
    head: Option<Head>,
    open: Option<Weak<dyn Generation>>,
}

/// What a number in the row turned out to be.
pub(super) enum Found {
    Whole(Arc<dyn Generation>, Head),
    /// Neither a head nor chunks.
    Empty,
    Damaged(String),
}

/// A generation and what it begins with.
pub(super) type Headed = (Arc<dyn Generation>, Head);

/// A generation that cannot be read, and why.
pub(super) struct Unread {
    pub number: u32,
    pub why: String,
    /// Neither a head nor chunks.
    pub empty: bool,
}

/// A log that was opened for writing, and the last epoch found in it.
pub(super) struct Opened {
    pub log: Log,
    pub appender: Appender,
    pub epoch: u64,
}

impl Opened {
    pub fn split(self) -> (Log, Appender) {
        (self.log, self.appender)
    }
}

impl Log {
    /// Opens a log for looking only: nothing is put right. `durable` is where it is known to have been durable.
    pub(super) fn look(store: &Arc<dyn Store>, name: &'static str, durable: Place) -> Result<Self, StoreError> {
        let log = Self::row(store, name, false)?;
        let tail = Tail::find(&log, durable)?;
        log.show(tail.end.max(durable));
        Ok(log)
    }

    /// Opens a log for its appender, making it where there is none.
    pub(super) fn open(
        store: &Arc<dyn Store>,
        name: &'static str,
        durable: Place,
        generation_bytes: u64,
    ) -> Result<Opened, StoreError> {
        Self::open_until(store, name, durable, None, generation_bytes)
    }

    /// Opens a log of which what lies at or past a place is void, durable or not.
    pub(super) fn open_until(
        store: &Arc<dyn Store>,
        name: &'static str,
        durable: Place,
        until: Option<Place>,
        generation_bytes: u64,
    ) -> Result<Opened, StoreError> {
        let log = Self::row(store, name, true)?;
        let durable = durable.max(until.unwrap_or_default());
        let mut tail = Tail::find(&log, durable)?;
        if let Some(until) = until {
            tail.cut(&log, until)?;
        }
        let epoch = tail.epoch;
        let appender = Appender::after(&log, tail, durable, generation_bytes)?;
        log.show(appender.next());
        Ok(Opened { log, appender, epoch })
    }

    fn row(store: &Arc<dyn Store>, name: &'static str, repair: bool) -> Result<Self, StoreError> {
        let numbers = store.generations(name)?;
        let generations = Mutex::new(numbers.into_iter().map(|number| (number, Known::default())).collect());
        let durable = watch::Sender::new(Place::default());
        Ok(Self { shared: Arc::new(Shared { store: store.clone(), name, repair, generations, durable }) })
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

    /// Shows the readers that everything before is durable.
    pub(super) fn show(&self, durable: Place) {
        self.shared.durable.send_replace(durable);
    }

    /// Where the oldest generation begins.
    pub fn oldest(&self) -> Result<Place, StoreError> {
        while let Some(first) = self.first_from(0) {
            if let Some(begin) = self.begin(first)? {
                return Ok(begin);
            }
        }
        Ok(self.durable())
    }

    /// Where the oldest generation ends: what shedding it would cost. `None` while it is also the newest.
    pub fn oldest_end(&self) -> Result<Option<Place>, StoreError> {
        while let Some((_, second)) = self.first_two() {
            if let Some(begin) = self.begin(second)? {
                return Ok(Some(begin));
            }
        }
        Ok(None)
    }

    /// Removes every generation that holds nothing at or after `offset`, and says how many went.
    pub fn release(&self, offset: u64) -> Result<usize, StoreError> {
        let mut gone = 0;
        while let Some((first, second)) = self.first_two() {
            match self.begin(second)? {
                // The second cannot be read and is out of the row: look at the next.
                None => continue,
                Some(begin) if begin.offset > offset => break,
                Some(_) => {}
            }
            self.discard(first)?;
            gone += 1;
        }
        Ok(gone)
    }

    #[must_use]
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.known().keys().copied().collect()
    }

    /// The first generation of this number or a higher one.
    pub(super) fn first_from(&self, least: u32) -> Option<u32> {
        self.known().range(least..).next().map(|(number, _)| *number)
    }

    fn first_two(&self) -> Option<(u32, u32)> {
        let known = self.known();
        let mut numbers = known.keys().copied();
        Some((numbers.next()?, numbers.next()?))
    }

    /// The last generation that begins at or before `offset`; where none does, the first.
    pub(super) fn covering(&self, offset: u64) -> Result<Option<u32>, StoreError> {
        'again: loop {
            let numbers = self.numbers();
            let (mut low, mut high) = (0, numbers.len());
            while low < high {
                let middle = low.midpoint(high);
                match self.begin(numbers[middle])? {
                    None => continue 'again,
                    Some(begin) if begin.offset <= offset => low = middle + 1,
                    Some(_) => high = middle,
                }
            }
            return Ok(numbers.get(low.saturating_sub(1)).copied());
        }
    }

    /// Where a generation begins, opening it where that is not known yet; `None` where it is gone or cannot be read,
    /// and then it is out of the row.
    pub(super) fn begin(&self, number: u32) -> Result<Option<Place>, StoreError> {
        let head = self.known().get(&number).and_then(|known| known.head);
        match head {
            Some(head) => Ok(Some(head.begin)),
            None => Ok(self.generation(number)?.map(|(_, head)| head.begin)),
        }
    }

    /// Opens a generation, or takes it from whoever has it open. One that cannot be read is put aside.
    pub(super) fn generation(&self, number: u32) -> Result<Option<Headed>, StoreError> {
        match self.find(number)? {
            Found::Whole(generation, head) => return Ok(Some((generation, head))),
            Found::Empty => self.put_aside(number, "it is empty")?,
            Found::Damaged(why) => self.put_aside(number, &why)?,
        }
        Ok(None)
    }

    /// Looks what a number in the row is.
    pub(super) fn find(&self, number: u32) -> Result<Found, StoreError> {
        let mut known = self.known();
        let Some(Known { head, open }) = known.get(&number) else {
            return Ok(Found::Damaged("it has gone".to_owned()));
        };
        if let (Some(head), Some(open)) = (head, open.as_ref().and_then(Weak::upgrade)) {
            return Ok(Found::Whole(open, *head));
        }
        match enter(&*self.shared.store, self.shared.name, number)? {
            Err(Unread { empty: true, .. }) => Ok(Found::Empty),
            Err(Unread { why, .. }) => Ok(Found::Damaged(why)),
            Ok((generation, head)) => {
                known.insert(number, Known { head: Some(head), open: Some(Arc::downgrade(&generation)) });
                Ok(Found::Whole(generation, head))
            }
        }
    }

    /// Takes a generation that cannot be read out of the row; its offsets become a gap.
    pub(super) fn put_aside(&self, number: u32, why: &str) -> Result<(), StoreError> {
        let Shared { store, name, repair, .. } = &*self.shared;
        if self.known().remove(&number).is_none() {
            return Ok(());
        }
        tracing::error!(log = name, generation = number, why, "a generation is damaged");
        if *repair { store.quarantine(name, number) } else { Ok(()) }
    }

    /// Removes a generation that nobody needs. It leaves the row first, so that no one opens it any more.
    pub(super) fn discard(&self, number: u32) -> Result<(), StoreError> {
        let Shared { store, name, repair, .. } = &*self.shared;
        self.known().remove(&number);
        if *repair { store.remove(name, number) } else { Ok(()) }
    }

    pub(super) fn create(&self, number: u32, head: Head) -> Result<Arc<dyn Generation>, StoreError> {
        let generation = self.shared.store.create(self.shared.name, number, &head.write())?;
        let known = Known { head: Some(head), open: Some(Arc::downgrade(&generation)) };
        self.known().insert(number, known);
        Ok(generation)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u32, Known>> {
        self.shared.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a generation that is there, or says why it cannot be read.
pub(super) fn enter(store: &dyn Store, log: &str, number: u32) -> Result<Result<Headed, Unread>, StoreError> {
    let unread = |why: &str| Ok(Err(Unread { number, why: why.to_owned(), empty: false }));
    let read = store.open(log, number).and_then(|generation| {
        let head = generation.head()?;
        let empty = head.is_none() && generation.next(0)?.is_none();
        Ok((generation, head, empty))
    });
    match read {
        Err(StoreError::Damaged { why, .. }) => unread(&why),
        Err(StoreError::Missing { .. }) | Ok((_, _, true)) => {
            Ok(Err(Unread { number, why: "it is empty".to_owned(), empty: true }))
        }
        Err(error) => Err(error),
        Ok((generation, head, false)) => match head.and_then(|bytes| Head::read(&bytes)) {
            None => unread("its head record cannot be read"),
            Some(head) => Ok(Ok((generation, head))),
        },
    }
}
