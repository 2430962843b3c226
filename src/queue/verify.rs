//! Whether a data directory holds what was committed: all of it is read, and nothing changed.
//!
//! | what | is held against |
//! | --- | --- |
//! | a chunk | its checksum, which covers its number |
//! | a group | its own header: version, size, count |
//! | a log | dense offsets, from where its oldest generation begins to where mark, cursors and checkpoint know it to end |
//! | a sealed generation | chunks, bytes and checksum in its successor |
//! | the state of the windows | how far readings are known to be folded |
//! | a small file | its checksum |
//!
//! What is void is no damage: chunks of a group that was never whole, rows behind the last checkpoint, a generation
//! whose making was cut short. What was put aside earlier is named, and its offsets are missing as others are.

use std::sync::Arc;

use serde::Serialize;

use super::entry::Decoder;
use super::files;
use super::log::{Log, Place, Unread, enter};
use super::recover::read_group_at;
use super::seal::{Head, Seal};
use super::store::{Generation, Store, StoreError};
use super::{LOGS, OpenError, Queue};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub logs: Vec<LogReport>,
    /// Small files that are damaged.
    pub files: Vec<FileFault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFault {
    pub file: &'static str,
    pub why: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    pub log: &'static str,
    pub generations: usize,
    /// The first offset kept, and the one after the last.
    pub oldest: u64,
    pub end: u64,
    /// How many can be read.
    pub entries: u64,
    pub faults: Vec<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// `None`: it is none of those that are there.
    pub generation: Option<u32>,
    pub why: String,
    pub missing: Option<Missing>,
}

/// Offsets that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// `None`: nothing says where the generation began.
    pub from: Option<u64>,
    /// The last of them.
    pub to: u64,
}

impl Report {
    /// Reads a directory that no gateway uses through; `seen` is called after each generation.
    pub fn of(store: &Arc<dyn Store>, mut seen: impl FnMut()) -> Result<Self, OpenError> {
        let queue = Queue::look(store.clone())?;
        let state = Log::look(store, "state", queue.mark.state)?;
        let mut logs = Vec::new();
        for (name, log) in LOGS.into_iter().zip([&queue.readings, &queue.rows, &queue.notes, &state, &queue.dead]) {
            let mut end = log.durable();
            if name == "readings" {
                end.offset = end.offset.max(queue.restored.position);
            }
            logs.push(Walk::new(&**store, name, end).run(&mut seen)?);
        }
        let state = logs.iter_mut().find(|log| log.log == "state").filter(|state| state.faults.is_empty());
        if let (Some(state), true) = (state, queue.restored.damaged) {
            let why = "what was open in the windows is gone: readings are known to be folded that no checkpoint counts";
            state.faults.push(Fault { generation: None, why: why.to_owned(), missing: None });
        }
        let begun = logs.iter().any(|log| log.entries > 0);
        let files = files::faults(&**store, begun)?.into_iter();
        Ok(Self { logs, files: files.map(|(file, why)| FileFault { file, why }).collect() })
    }

    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.files.is_empty() && self.logs.iter().all(|log| log.faults.is_empty())
    }

    /// How many entries are known to be missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.logs.iter().map(LogReport::missing).sum()
    }
}

impl LogReport {
    fn missing(&self) -> u64 {
        let missing = self.faults.iter().filter_map(|fault| fault.missing);
        missing.map(|missing| missing.from.map_or(1, |from| missing.to + 1 - from)).sum()
    }
}

/// A walk through the generations of a log, from the oldest on.
struct Walk<'a> {
    store: &'a dyn Store,
    /// Where the log ends; what lies behind is void.
    end: Place,
    report: LogReport,
    /// The last generation that can be read: read through once it is known where it ends.
    open: Option<Open>,
    /// Those since that cannot be read.
    unread: Vec<Unread>,
    /// The next offset; `None` while nothing was read.
    reached: Option<u64>,
    decoder: Decoder,
}

struct Open {
    number: u32,
    generation: Arc<dyn Generation>,
    begin: Place,
}

impl<'a> Walk<'a> {
    fn new(store: &'a dyn Store, log: &'static str, end: Place) -> Self {
        let report = LogReport { log, end: end.offset, ..LogReport::default() };
        Self { store, end, report, open: None, unread: Vec::new(), reached: None, decoder: Decoder::default() }
    }

    fn run(mut self, seen: &mut impl FnMut()) -> Result<LogReport, StoreError> {
        let numbers = self.store.generations(self.report.log)?;
        self.report.generations = numbers.len();
        for number in numbers {
            match enter(self.store, self.report.log, number)? {
                Err(unread) => self.unread.push(unread),
                // It is void, and goes at the next start.
                Ok((_, head)) if head.begin > self.end => break,
                Ok((generation, head)) => {
                    self.close(Some((number, &head)))?;
                    self.open = Some(Open { number, generation, begin: head.begin });
                }
            }
            seen();
        }
        self.close(None)?;
        Ok(self.report)
    }

    /// Reads the open generation through, now that it is known where it ends: at `next`, or with the log.
    fn close(&mut self, next: Option<(u32, &Head)>) -> Result<(), StoreError> {
        let end = next.map_or(self.end, |(_, head)| head.begin);
        let Some(open) = self.open.take() else {
            self.skip(None, end.offset);
            return Ok(());
        };
        let faults = self.report.faults.len();
        let seal = self.read(&open, end.chunk)?;
        let whole = self.report.faults.len() == faults && self.reached == Some(end.offset);
        let told = next.and_then(|(_, head)| head.previous).filter(|told| told.number == open.number);
        if whole && told.is_some_and(|told| told != seal) {
            self.fault(Some(open.number), "it is whole, but not the one that was sealed here", None);
        }
        // Numbers follow each other, unless what was between has been put aside.
        let beside = next.is_none_or(|(number, _)| number == open.number + 1);
        self.skip(beside.then_some(open.number), end.offset);
        Ok(())
    }

    fn read(&mut self, open: &Open, until: u64) -> Result<Seal, StoreError> {
        self.reached = self.reached.max(Some(open.begin.offset));
        let mut seal = Seal::empty(open.number);
        let mut at = open.begin.chunk;
        loop {
            let found = match open.generation.next(at) {
                Ok(Some(found)) if found < until => found,
                Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(seal),
                Err(error) => return Err(error),
            };
            at = found + 1;
            let Some((group, header, chunks)) = read_group_at(&*open.generation, found)? else { continue };
            if self.decoder.decode(&group).is_err() {
                continue;
            }
            at = found + chunks;
            let reached = self.reached.unwrap_or_default();
            if header.first < reached {
                self.fault(Some(open.number), &format!("offset {} comes twice", header.first), None);
                continue;
            }
            if header.first > reached {
                let missing = Missing { from: Some(reached), to: header.first - 1 };
                self.fault(Some(open.number), "some of its chunks are spoiled", Some(missing));
            }
            self.reached = Some(header.end());
            self.report.entries += u64::from(header.count);
            seal.add(&group, chunks, at - 1);
        }
    }

    /// Says what is missing before `to`, where the next generation begins or the log ends. `open` is the generation it
    /// was in, where none that cannot be read comes between.
    fn skip(&mut self, open: Option<u32>, to: u64) {
        let mut unread = std::mem::take(&mut self.unread);
        let begins = unread.first().is_some_and(|unread| unread.number == 1);
        let from = self.reached.or(begins.then_some(0));
        // The making of the newest was cut short.
        unread.pop_if(|unread| unread.empty && from == Some(to) && to == self.end.offset);
        let missing = (to > 0 && from.is_none_or(|from| from < to)).then(|| Missing { from, to: to - 1 });
        if self.reached.is_none() {
            self.report.oldest = from.unwrap_or(to);
        }
        let last = unread.pop();
        for Unread { number, why, .. } in unread {
            self.fault(Some(number), &format!("it cannot be read: {why}"), None);
        }
        match last {
            Some(Unread { number, why, .. }) => {
                self.fault(Some(number), &format!("it cannot be read: {why}"), missing);
            }
            None if self.reached.is_none() && self.report.generations > 0 => {}
            None if missing.is_none() => {}
            None if open.is_some() => self.fault(open, "its end is spoiled", missing),
            None => self.fault(None, "what was here is gone, or was put aside", missing),
        }
        self.reached = self.reached.max(Some(to));
    }

    fn fault(&mut self, generation: Option<u32>, why: &str, missing: Option<Missing>) {
        self.report.faults.push(Fault { generation, why: why.to_owned(), missing });
    }
}
