//! The open groups of a window, and how they close.
//!
//! A group is one key with its **cells**: the slices of hops, or the sessions, that have rows, each with a state for
//! every aggregate. Groups are found by key; what closes next is found by end, in one heap for each part of the window
//! that has a watermark of its own. An entry of a heap may have become too early (a session went on): the group is
//! looked at then and stands there anew.
//!
//! Invariants: cells are in order of time and do not overlap; sessions are further apart than the gap; a group without
//! cells is not there; each group stands in its heap under `queued`, which is not after its next end.

mod changes;
mod closing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

pub use self::changes::Change;
pub use self::closing::Closing;
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

#[derive(Debug)]
pub struct Groups {
    cut: Cut,
    aggregators: Vec<Aggregator>,
    most: usize,
    numbers: HashMap<Key, usize, Hash>,
    /// Free places keep their last group.
    places: Vec<Group>,
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
            places: Vec::new(),
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
        let cell = &mut self.places[number].cells[place];
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
        let cells = number.map_or(&[][..], |number| &self.places[number].cells);
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
        let cells = number.map_or(none, |number| &mut self.places[number].cells);
        // Readings exactly one gap apart are one session, as Flink has it (tests/golden/flink).
        let first = cells.partition_point(|cell| cell.last + gap < time);
        if cells.get(first).is_none_or(|cell| cell.start - gap > time) {
            return if time + gap <= watermark { Found::Not(Placed::Late) } else { Found::New(time) };
        }
        let cell = &mut cells[first];
        (cell.start, cell.last) = (cell.start.min(time), cell.last.max(time));
        if cells.get(first + 1).is_some_and(|next| next.start - gap <= time) {
            let number = number.expect("these are the cells of a group");
            let next = self.places[number].cells.remove(first + 1);
            let cell = &mut self.places[number].cells[first];
            cell.last = next.last;
            join(&mut cell.states, &next.states, counts);
            self.open -= 1;
        }
        Found::Cell(first)
    }

    fn insert(&mut self, key: Key, part: usize) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            let key = key.clone();
            self.places.push(Group { key, part, cells: Vec::new(), queued: i64::MAX, dirty: false });
            self.places.len() - 1
        });
        let group = &mut self.places[number];
        // `dirty` stays: it says whether this place stands in the list of those.
        (group.key, group.part, group.queued) = (key.clone(), part, i64::MAX);
        self.numbers.insert(key, number);
        number
    }

    fn open_cell(&mut self, number: usize, start: i64, last: i64, watermark: i64) -> usize {
        let states = self.aggregators.iter().map(|aggregator| State::of(aggregator.kind)).collect();
        let last = if matches!(self.cut, Cut::Session { .. }) { last } else { start };
        let cells = &mut self.places[number].cells;
        let place = cells.partition_point(|cell| cell.start < start);
        cells.insert(place, Cell { start, last, states, dirty: true });
        self.open += 1;
        self.queue(number, watermark);
        place
    }

    /// Sees to it that the group is looked at when its first cell may close.
    fn queue(&mut self, number: usize, watermark: i64) {
        let group = &mut self.places[number];
        let end = self.cut.next_end(&group.cells[0], watermark);
        if end < group.queued {
            group.queued = end;
            self.enqueue(number);
        }
    }

    fn enqueue(&mut self, number: usize) {
        let group = &self.places[number];
        if self.ends.len() <= group.part {
            self.ends.resize_with(group.part + 1, BinaryHeap::new);
        }
        self.ends[group.part].push(Reverse((group.queued, number)));
    }

    fn remove(&mut self, number: usize) {
        let group = &mut self.places[number];
        self.numbers.remove(&group.key);
        if self.tracked {
            self.gone.push(group.key.clone());
        }
        self.free.push(number);
    }

    fn touch(&mut self, number: usize) {
        let group = &mut self.places[number];
        if !group.dirty {
            group.dirty = true;
            self.dirty.push(number);
        }
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

fn join(states: &mut [State], later: &[State], counts: &mut Counts) {
    for (state, later) in states.iter_mut().zip(later) {
        state.merge(later, counts);
    }
}
