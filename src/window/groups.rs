//! The open groups of a window, and how they close.
//!
//! A group is one key with its **cells**: the slices of hops, or the sessions, that have rows, each with a state for
//! every aggregate. Groups are found by key; what closes next is found by end, in one heap for each part of the window
//! that has a watermark of its own. An entry of a heap may have become too early (a session went on): the group is
//! looked at then and stands there anew.
//!
//! Invariants: cells are in order of time and do not overlap; sessions are further apart than the gap; a group without
//! cells is not there; each group stands in its heap under `queued`, which is not after its next end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Hash;
use super::aggregate::{Counts, Input, State};
use super::key::Key;
use super::plan::{Datum, Kind, Shape};
use super::shape::Hops;

/// One row's part in a group.
pub struct Row<'a> {
    pub time: i64,
    pub series: &'a str,
    /// The arguments of the aggregates, as `Aggregator::argument` numbers them.
    pub values: &'a [Datum],
}

/// An aggregate, and which of a row's values it is over; `None` counts rows.
#[derive(Clone, Copy, Debug)]
pub struct Aggregator {
    pub kind: Kind,
    pub argument: Option<usize>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    Taken,
    /// All that it belongs to has closed.
    Late,
    /// It would have opened one group too many.
    Overflow,
    /// It lies between two hops.
    Nowhere,
}

/// A group that has closed.
#[derive(Debug)]
pub struct Closing {
    pub end: i64,
    pub start: i64,
    pub key: Key,
    pub answers: Vec<Datum>,
}

#[derive(Debug)]
pub struct Groups {
    cut: Cut,
    aggregators: Vec<Aggregator>,
    most: usize,
    numbers: HashMap<Key, usize, Hash>,
    groups: Vec<Group>,
    free: Vec<usize>,
    /// By part: ends, and groups. Those that are not their group's `queued` are void.
    ends: Vec<BinaryHeap<Reverse<(i64, usize)>>>,
    open: usize,
    dirty: Vec<usize>,
    gone: Vec<Key>,
    /// Whether anyone asks for changes, so that `gone` does not grow for nobody.
    tracked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Hops(Hops),
    Session { gap: i64 },
}

#[derive(Debug)]
pub struct Group {
    pub key: Key,
    part: usize,
    pub cells: Vec<Cell>,
    queued: i64,
    dirty: bool,
}

#[derive(Debug)]
pub struct Cell {
    pub start: i64,
    /// The latest reading of a session; of a slice its start.
    pub last: i64,
    pub states: Box<[State]>,
    dirty: bool,
}

impl Groups {
    pub fn new(shape: Shape, aggregators: Vec<Aggregator>, most: usize) -> Self {
        let cut = match (shape, Hops::of(shape)) {
            (_, Some(hops)) => Cut::Hops(hops),
            (Shape::Session { gap }, _) => Cut::Session { gap },
            _ => unreachable!("only sessions have no hops"),
        };
        Self {
            cut,
            aggregators,
            most,
            numbers: HashMap::default(),
            groups: Vec::new(),
            free: Vec::new(),
            ends: Vec::new(),
            open: 0,
            dirty: Vec::new(),
            gone: Vec::new(),
            tracked: false,
        }
    }

    /// How many cells are open.
    pub fn open(&self) -> usize {
        self.open
    }

    pub fn keys(&self) -> usize {
        self.numbers.len()
    }

    /// When the next group of a part may close: not after its end.
    pub fn next_end(&self, part: usize) -> Option<i64> {
        self.ends.get(part)?.peek().map(|Reverse((end, _))| *end)
    }

    /// Puts a row where it belongs.
    pub fn add(&mut self, part: usize, key: &[u8], row: &Row, watermark: i64, counts: &mut Counts) -> Placed {
        let number = self.numbers.get(key).copied();
        let found = match self.cut {
            Cut::Hops(hops) => self.find_slice(hops, number, row.time, watermark),
            Cut::Session { gap } => self.find_session(gap, number, row.time, watermark, counts),
        };
        let (number, place) = match (found, number) {
            (Found::Cell(place), Some(number)) => (number, place),
            (Found::New(..), _) if self.open >= self.most => return Placed::Overflow,
            (Found::New(start), number) => {
                let number = number.unwrap_or_else(|| self.insert(Key::from(key), part));
                (number, self.open_cell(number, start, row.time, watermark))
            }
            (Found::Not(placed), _) => return placed,
            (Found::Cell(_), None) => unreachable!("a cell is found in a group"),
        };
        let cell = &mut self.groups[number].cells[place];
        cell.dirty = true;
        for (state, aggregator) in cell.states.iter_mut().zip(&self.aggregators) {
            match aggregator.argument.map(|argument| &row.values[argument]) {
                None => state.count(),
                Some(Some(value)) => state.add(&Input { time: row.time, series: row.series, value }, counts),
                Some(None) => {}
            }
        }
        self.touch(number);
        Placed::Taken
    }

    fn find_slice(&self, hops: Hops, number: Option<usize>, time: i64, watermark: i64) -> Found {
        let start = hops.slice(time);
        let last_end = hops.last_end(start);
        if last_end <= start {
            return Found::Not(Placed::Nowhere);
        }
        if last_end <= watermark {
            return Found::Not(Placed::Late);
        }
        let cells = number.map_or(&[][..], |number| &self.groups[number].cells);
        match cells.last() {
            // Nearly always.
            Some(last) if last.start == start => Found::Cell(cells.len() - 1),
            Some(last) if last.start > start => {
                cells.binary_search_by_key(&start, |cell| cell.start).map_or(Found::New(start), Found::Cell)
            }
            _ => Found::New(start),
        }
    }

    /// Finds the session that takes this reading, and makes it reach there; two that it bridges become one.
    fn find_session(
        &mut self,
        gap: i64,
        number: Option<usize>,
        time: i64,
        watermark: i64,
        counts: &mut Counts,
    ) -> Found {
        let none = &mut [][..];
        let cells = number.map_or(none, |number| &mut self.groups[number].cells);
        // Readings exactly one gap apart are one session, as Flink has it.
        let first = cells.partition_point(|cell| cell.last + gap < time);
        if cells.get(first).is_none_or(|cell| cell.start - gap > time) {
            return if time + gap <= watermark { Found::Not(Placed::Late) } else { Found::New(time) };
        }
        let cell = &mut cells[first];
        (cell.start, cell.last) = (cell.start.min(time), cell.last.max(time));
        if cells.get(first + 1).is_some_and(|next| next.start - gap <= time) {
            let number = number.expect("these are the cells of a group");
            let next = self.groups[number].cells.remove(first + 1);
            let cell = &mut self.groups[number].cells[first];
            cell.last = next.last;
            join(&mut cell.states, &next.states, counts);
            self.open -= 1;
        }
        Found::Cell(first)
    }

    fn insert(&mut self, key: Key, part: usize) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            let key = key.clone();
            self.groups.push(Group { key, part, cells: Vec::new(), queued: i64::MAX, dirty: false });
            self.groups.len() - 1
        });
        let group = &mut self.groups[number];
        // `dirty` stays: it says whether this place stands in the list of those.
        (group.key, group.part, group.queued) = (key.clone(), part, i64::MAX);
        self.numbers.insert(key, number);
        number
    }

    fn open_cell(&mut self, number: usize, start: i64, last: i64, watermark: i64) -> usize {
        let states = self.aggregators.iter().map(|aggregator| State::of(aggregator.kind)).collect();
        let last = if matches!(self.cut, Cut::Session { .. }) { last } else { start };
        let cells = &mut self.groups[number].cells;
        let place = cells.partition_point(|cell| cell.start < start);
        cells.insert(place, Cell { start, last, states, dirty: true });
        self.open += 1;
        self.queue(number, watermark);
        place
    }

    /// Sees to it that the group is looked at when its first cell may close.
    fn queue(&mut self, number: usize, watermark: i64) {
        let group = &mut self.groups[number];
        let end = self.cut.next_end(&group.cells[0], watermark);
        if end < group.queued {
            group.queued = end;
            self.enqueue(number);
        }
    }

    fn enqueue(&mut self, number: usize) {
        let group = &self.groups[number];
        if self.ends.len() <= group.part {
            self.ends.resize_with(group.part + 1, BinaryHeap::new);
        }
        self.ends[group.part].push(Reverse((group.queued, number)));
    }

    /// Closes all of a part that ends at or before its watermark. In no order: the caller sorts.
    pub fn close(&mut self, part: usize, watermark: i64, closed: &mut Vec<Closing>, counts: &mut Counts) {
        while let Some(Reverse((end, number))) = self.ends.get_mut(part).and_then(|ends| {
            let due = ends.peek().is_some_and(|Reverse((end, _))| *end <= watermark);
            if due { ends.pop() } else { None }
        }) {
            let group = &mut self.groups[number];
            if group.queued != end || group.part != part {
                continue;
            }
            group.queued = i64::MAX;
            let before = group.cells.len();
            match self.cut {
                Cut::Hops(hops) => close_hops(hops, group, end, watermark, &self.aggregators, closed, counts),
                Cut::Session { gap } => close_sessions(gap, group, watermark, &self.aggregators, closed, counts),
            }
            self.open -= before - group.cells.len();
            if group.cells.is_empty() {
                self.remove(number);
            } else {
                self.touch(number);
                self.queue(number, watermark);
            }
        }
    }

    fn remove(&mut self, number: usize) {
        let group = &mut self.groups[number];
        self.numbers.remove(&group.key);
        if self.tracked {
            self.gone.push(group.key.clone());
        }
        self.free.push(number);
    }

    fn touch(&mut self, number: usize) {
        let group = &mut self.groups[number];
        if !group.dirty {
            group.dirty = true;
            self.dirty.push(number);
        }
    }

    /// The last end of all that is open, for each part that has something open.
    pub fn last_ends(&self) -> Vec<(usize, i64)> {
        let mut ends = HashMap::<usize, i64, Hash>::default();
        for number in self.numbers.values() {
            let group = &self.groups[*number];
            let end = group.cells.last().map_or(i64::MIN, |cell| match self.cut {
                Cut::Hops(hops) => hops.last_end(cell.start),
                Cut::Session { gap } => cell.last + gap,
            });
            let last = ends.entry(group.part).or_insert(end);
            *last = end.max(*last);
        }
        ends.into_iter().collect()
    }
}

enum Found {
    Cell(usize),
    /// A cell that starts here is to be opened.
    New(i64),
    Not(Placed),
}

impl Cut {
    /// When something of this group, whose first cell this is, closes next.
    fn next_end(self, first: &Cell, watermark: i64) -> i64 {
        match self {
            Self::Hops(hops) => hops.end_after(first.start.max(watermark)),
            Self::Session { gap } => first.last + gap,
        }
    }
}

fn close_hops(
    hops: Hops,
    group: &mut Group,
    first_end: i64,
    watermark: i64,
    aggregators: &[Aggregator],
    closed: &mut Vec<Closing>,
    counts: &mut Counts,
) {
    let mut end = first_end;
    while end <= watermark {
        let start = end - hops.size();
        let first = group.cells.partition_point(|cell| cell.start < start);
        let within = group.cells[first..].partition_point(|cell| cell.start < end);
        if let Some(cells) = group.cells.get(first..first + within).filter(|cells| !cells.is_empty()) {
            let answers = match cells {
                [only] => answers(&only.states, aggregators, end, counts),
                [earliest, later @ ..] => {
                    let mut states = earliest.states.clone();
                    later.iter().for_each(|cell| join(&mut states, &cell.states, counts));
                    answers(&states, aggregators, end, counts)
                }
                [] => unreachable!("filtered"),
            };
            closed.push(Closing { end, start, key: group.key.clone(), answers });
        }
        let over = group.cells.partition_point(|cell| hops.last_end(cell.start) <= end);
        group.cells.drain(..over);
        let Some(cell) = group.cells.first() else { return };
        end = hops.end_after(end.max(cell.start));
    }
}

fn close_sessions(
    gap: i64,
    group: &mut Group,
    watermark: i64,
    aggregators: &[Aggregator],
    closed: &mut Vec<Closing>,
    counts: &mut Counts,
) {
    let over = group.cells.partition_point(|cell| cell.last + gap <= watermark);
    for cell in group.cells.drain(..over) {
        let end = cell.last + gap;
        let answers = answers(&cell.states, aggregators, end, counts);
        closed.push(Closing { end, start: cell.start, key: group.key.clone(), answers });
    }
}

fn join(states: &mut [State], later: &[State], counts: &mut Counts) {
    for (state, later) in states.iter_mut().zip(later) {
        state.merge(later, counts);
    }
}

fn answers(states: &[State], aggregators: &[Aggregator], end: i64, counts: &mut Counts) -> Vec<Datum> {
    states.iter().zip(aggregators).map(|(state, aggregator)| state.finish(aggregator.kind, end, counts)).collect()
}

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
            let group = &self.groups[number];
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
            let group = &mut self.groups[number];
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
        self.groups[number].queued = next;
        let kept = &mut self.groups[number].cells;
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
            self.open -= std::mem::take(&mut self.groups[number].cells).len();
            self.remove(number);
        }
    }

    /// After the last piece.
    pub fn restored(&mut self) {
        self.gone.clear();
        self.tracked = true;
        for number in self.numbers.values().copied().collect::<Vec<_>>() {
            if self.groups[number].cells.is_empty() {
                self.remove(number);
            } else {
                self.enqueue(number);
            }
        }
    }
}
