//! Groups as they are written and read back.

use super::super::aggregate::State;
use super::super::key::Key;
use super::{Cell, Cut, Groups};

/// What has changed of a group, or all of it.
pub struct Change<'a> {
    pub key: &'a Key,
    /// What has closed is not to close again: the next end, or an earlier one of a session that went on.
    pub next: i64,
    /// Cells that start before this are no more, but for those that follow.
    pub from: i64,
    pub cells: Vec<&'a Cell>,
}

impl Groups {
    /// Whole groups.
    pub fn all(&self) -> impl Iterator<Item = Change<'_>> {
        let mut numbers: Vec<_> = self.numbers.values().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| {
            let group = &self.places[number];
            Change { key: &group.key, next: group.queued, from: i64::MAX, cells: group.cells.iter().collect() }
        })
    }

    /// The keys that were closed since the last call, even if they are open again. Comes before [`Self::changed`].
    pub fn gone(&mut self) -> Vec<Key> {
        self.tracked = true;
        std::mem::take(&mut self.gone)
    }

    /// Hands out what has changed since the last call.
    pub fn changed(&mut self, mut write: impl FnMut(Change)) {
        for number in std::mem::take(&mut self.dirty) {
            let group = &mut self.places[number];
            group.dirty = false;
            let Some(first) = group.cells.first() else { continue };
            // The sessions of a key are few, and may have become one in the middle.
            let (from, whole) = match self.cut {
                Cut::Hops(_) => (first.start, false),
                Cut::Session { .. } => (i64::MAX, true),
            };
            let cells = group.cells.iter().filter(|cell| whole || cell.dirty).collect();
            write(Change { key: &group.key, next: group.queued, from, cells });
            group.cells.iter_mut().for_each(|cell| cell.dirty = false);
        }
    }

    /// A change as it was written. [`Self::restored`] follows the last.
    pub fn restore(&mut self, part: usize, key: Key, next: i64, from: i64, cells: Vec<(i64, i64, Box<[State]>)>) {
        let number = self.numbers.get(&key).copied().unwrap_or_else(|| self.insert(key, part));
        self.places[number].queued = next;
        let kept = &mut self.places[number].cells;
        let before = kept.len();
        kept.retain(|cell| cell.start >= from);
        for (start, last, states) in cells {
            let cell = Cell { start, last, states, dirty: false };
            match kept.binary_search_by_key(&start, |cell| cell.start) {
                Ok(place) => kept[place] = cell,
                Err(place) => kept.insert(place, cell),
            }
        }
        self.open = self.open + kept.len() - before;
    }

    pub fn restore_gone(&mut self, key: &[u8]) {
        if let Some(number) = self.numbers.get(key).copied() {
            self.open -= std::mem::take(&mut self.places[number].cells).len();
            self.remove(number);
        }
    }

    /// After the last piece.
    pub fn restored(&mut self) {
        self.gone.clear();
        self.tracked = true;
        for number in self.numbers.values().copied().collect::<Vec<_>>() {
            if self.places[number].cells.is_empty() {
                self.remove(number);
            } else {
                self.enqueue(number);
            }
        }
    }
}
