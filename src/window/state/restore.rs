//! Reading a state back, window by window.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::key::Key;
use super::super::one::One;
use super::super::passing::Passing;
use super::super::watermark::Clocks;
use super::super::{Hash, Spec, Windows};
use super::{Malformed, Read, Record, fingerprint};

/// A window whose state is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub window: Arc<str>,
    /// How many groups were open.
    pub open: usize,
}

impl Windows {
    /// Windows as they were when the last of these pieces was written, and those whose state had to go.
    pub fn restore<P: AsRef<[u8]>>(
        specs: Vec<Spec>,
        pieces: impl IntoIterator<Item = P>,
    ) -> Result<(Self, Vec<Lost>), Malformed> {
        let mut restoring = Restoring::new(specs);
        for piece in pieces {
            let records = serde_cbor::Deserializer::from_slice(piece.as_ref()).into_iter::<Read>();
            for record in records {
                let record = record.map_err(|error| Malformed(error.to_string()))?;
                restoring.take(record).ok_or_else(|| Malformed("a record of what is not there".to_owned()))?;
            }
        }
        Ok(restoring.finish())
    }
}

struct Restoring {
    windows: Windows,
    /// Which of ours the snapshot or delta that is being read has named so far.
    named: Vec<bool>,
    strange: Vec<Strange>,
    at: At,
}

/// Whose records follow.
enum At {
    Nowhere,
    /// One of ours.
    Window(usize),
    /// One of the strange ones.
    Strange(usize),
}

/// A window that we do not have, or with another query: only what is open is followed.
struct Strange {
    name: Arc<str>,
    fingerprint: u64,
    named: bool,
    groups: HashMap<Key, Vec<i64>, Hash>,
}

impl Strange {
    fn lost(self) -> Option<Lost> {
        let open = self.groups.values().map(Vec::len).sum();
        (open > 0).then_some(Lost { window: self.name, open })
    }

    fn take(&mut self, record: Read) {
        match record {
            Record::Group(key, _, from, cells) => {
                let starts = self.groups.entry(key).or_default();
                starts.retain(|start| *start >= from && cells.iter().all(|cell| cell.0 != *start));
                starts.extend(cells.iter().map(|cell| cell.0));
            }
            Record::GroupGone(key) => drop(self.groups.remove(&key)),
            _ => {}
        }
    }
}

impl Restoring {
    fn new(specs: Vec<Spec>) -> Self {
        let named = vec![true; specs.len()];
        Self { windows: Windows::new(specs), named, strange: Vec::new(), at: At::Nowhere }
    }

    fn take(&mut self, record: Read) -> Option<()> {
        match (record, &self.at) {
            (Record::Passing(passing), _) => {
                self.drop_unnamed();
                self.windows.passing = passing;
            }
            (Record::Window(name, fingerprint, idle_timeout, reached, alone), _) => {
                if let Some(window) = self.enter(name, fingerprint) {
                    match &mut window.clocks {
                        Clocks::Own(own) => own.restore_rule(idle_timeout),
                        Clocks::Shared(shared) => shared.restore(reached, alone),
                    }
                }
            }
            (record, At::Window(number)) => take(&mut self.windows.windows[*number], record, &self.windows.passing)?,
            (record, At::Strange(number)) => self.strange[*number].take(record),
            (_, At::Nowhere) => return None,
        }
        Some(())
    }

    /// A snapshot or delta is over: what it did not name was no longer there when it was written.
    fn drop_unnamed(&mut self) {
        for (window, named) in self.windows.windows.iter_mut().zip(&mut self.named) {
            if !std::mem::take(named) {
                *window = One::new(window.spec.clone());
            }
        }
        self.strange.retain_mut(|strange| std::mem::take(&mut strange.named));
        self.at = At::Nowhere;
    }

    /// What follows is of this window: of ours, if it is one of them.
    fn enter(&mut self, name: Arc<str>, written: u64) -> Option<&mut One> {
        let windows = &mut self.windows.windows;
        let ours = |window: &One| window.spec.name == name && fingerprint(&window.spec) == written;
        if let Some(number) = windows.iter().position(ours) {
            self.named[number] = true;
            self.at = At::Window(number);
            return Some(&mut windows[number]);
        }
        let known = self.strange.iter().position(|strange| strange.name == name && strange.fingerprint == written);
        let number = known.unwrap_or_else(|| {
            self.strange.push(Strange { name, fingerprint: written, named: true, groups: HashMap::default() });
            self.strange.len() - 1
        });
        self.strange[number].named = true;
        self.at = At::Strange(number);
        None
    }

    fn finish(mut self) -> (Windows, Vec<Lost>) {
        self.drop_unnamed();
        let mut windows = self.windows;
        for window in &mut windows.windows {
            window.restored(&windows.passing);
        }
        (windows, self.strange.into_iter().filter_map(Strange::lost).collect())
    }
}

/// `None` for what cannot be of this window.
fn take(window: &mut One, record: Read, passing: &Passing) -> Option<()> {
    match (record, &mut window.clocks) {
        (Record::Clock(name, source, reached, heard), Clocks::Own(own)) => {
            if source as usize >= passing.sources() {
                return None;
            }
            own.restore(name, source as usize, reached, heard);
        }
        (Record::Clock(name, _, time, heard), Clocks::Shared(shared)) => shared.restore_clock(name, time, heard),
        (Record::ClockGone(name), Clocks::Own(own)) => own.restore_gone(&name),
        (Record::Group(key, next, from, cells), _) => {
            let part = window.part_of(&key)?;
            let states = window.spec.plan.aggregates.len();
            if cells.iter().any(|(_, _, cell)| cell.len() != states) {
                return None;
            }
            window.groups.restore(part, key, next, from, cells);
        }
        (Record::GroupGone(key), _) => window.groups.restore_gone(&key),
        _ => return None,
    }
    Some(())
}
