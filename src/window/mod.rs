//! The fold: readings to rows, in event time. Pure: no clock, no I/O, no logging.
//!
//! ```text
//!   group of the log ──▶ passing ──▶ watermark ─────────────────┐ closes
//!        │                (time)     (clocks: what each          ▼
//!        │                            device or source told)   groups ──▶ having, select ──▶ rows
//!        └─▶ readings ──▶ filter, keys, arguments ───────────────▲
//!                                                         puts in (aggregates)
//! ```
//!
//! Invariants:
//! - what comes out, and in what order, depends on the log and the queries alone: not on where a state was written
//!   and read back in between, nor on a seed;
//! - a row that was taken counts exactly once in each window it belongs to; a window of a key closes once;
//! - a reading costs no more than a few look-ups: nothing is gone through for it that grows with the groups.

pub mod aggregate;
pub mod expr;
mod groups;
mod key;
mod like;
mod memory;
mod number;
mod one;
mod passing;
pub mod plan;
mod scope;
mod shape;
pub mod sql;
mod state;
mod watermark;

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

pub use self::aggregate::Counts;
use self::one::{One, Seen};
use self::passing::Passing;
use self::plan::Plan;
pub use self::state::{Lost, Malformed};
use crate::queue::entry::{Entry, Group};
use crate::reading::{Micros, Reading, Value};

/// The same in every run. Names come from our own sensors: they are not out to collide.
type Hash = BuildHasherDefault<DefaultHasher>;

/// 2020-01-01. A wall clock before it has not been set.
const CREDIBLE: i64 = 1_577_836_800 * Micros::PER_SECOND;

/// A window as configured. Lengths of time in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub name: Arc<str>,
    /// The query's text; with another, what was open starts anew.
    pub sql: Arc<str>,
    pub plan: Plan,
    /// How far out of order readings may come.
    pub watermark: i64,
    pub by: By,
    pub idle_timeout: i64,
    pub max_ahead: i64,
    /// The most groups open at once: keys times slices or sessions. Also the most clocks.
    pub max_groups: usize,
    pub late: Late,
}

/// Whose clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Device,
    Source,
}

/// What becomes of a late reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    Forward,
    Drop,
}

/// A window of one key that closed: a row to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub window: Arc<str>,
    /// The device it was grouped by, or empty.
    pub device: Arc<str>,
    /// Inclusive, microseconds since the Unix epoch.
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    /// The SELECT list without what is NULL.
    pub fields: Vec<(Arc<str>, Value)>,
}

/// What came of one group of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Folded {
    pub rows: Vec<Closed>,
    /// Readings that no window has taken whole, and that are not dropped.
    pub aside: Vec<Aside>,
    /// In the order of the windows.
    pub counts: Vec<Counts>,
}

/// A reading that is in no row, or not with all its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Aside {
    pub offset: u64,
    pub why: Why,
    pub reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Every window it belongs to has closed, and forwards what is late.
    Late,
    /// A window has as many groups open as it may.
    Overflow,
}

/// How one window stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub window: Arc<str>,
    /// Open groups: keys times slices or sessions.
    pub open: usize,
    pub keys: usize,
    pub clocks: usize,
    /// The least watermark that something open waits for, microseconds since the Unix epoch.
    pub watermark: Option<i64>,
}

/// All windows over one log.
#[derive(Debug)]
pub struct Windows {
    windows: Vec<One>,
    passing: Passing,
}

impl Windows {
    #[must_use]
    pub fn new(specs: Vec<Spec>) -> Self {
        Self { windows: specs.into_iter().map(One::new).collect(), passing: Passing::default() }
    }

    /// Folds the next group of the log.
    pub fn apply(&mut self, group: &Group) -> Folded {
        let mut folded = self.nothing();
        self.passing.enter(&group.stamp);
        for (offset, entry) in (group.first..).zip(&group.entries) {
            match entry {
                Entry::Reading { reading, age } => {
                    self.go_to(*age, &mut folded);
                    self.fold(group, offset, reading, *age, &mut folded);
                }
                Entry::Started => self.passing.restart(),
                Entry::Up(source) | Entry::Down(source) => {
                    self.go_to(0, &mut folded);
                    self.passing.connect(source, matches!(entry, Entry::Up(_)));
                }
                Entry::End => {
                    self.go_to(0, &mut folded);
                    self.close_all(&mut folded);
                }
                Entry::Tick | Entry::Letter(_) | Entry::State(_) | Entry::Checkpoint(_) => {}
            }
        }
        self.go_to(0, &mut folded);
        folded
    }

    /// Closes all that is open, as `Entry::End` does.
    pub fn finish(&mut self) -> Folded {
        let mut folded = self.nothing();
        self.close_all(&mut folded);
        folded
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// In the order in which they were configured.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.windows.iter().map(|window| &window.spec.name)
    }

    /// Whether any window is open: only then is there anything to wait for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.windows.iter().any(|window| window.groups.open() > 0)
    }

    /// How each window stands. Goes through all clocks: not for every reading.
    #[must_use]
    pub fn stats(&self) -> Vec<Stat> {
        self.windows.iter().map(|window| window.stat(&self.passing)).collect()
    }

    fn fold(&mut self, group: &Group, offset: u64, reading: &Reading, age: u32, folded: &mut Folded) {
        let arrived = group.received(age).0;
        let time = reading.time.map_or(arrived, |time| time.0).clamp(-shape::FAR, shape::FAR);
        let source = self.passing.source(&reading.series.source);
        let synced = group.stamp.synced && arrived >= CREDIBLE;
        let seen = Seen { reading, source, time, arrived, synced };
        let (mut why, mut taken) = (None, false);
        for (window, counts) in self.windows.iter_mut().zip(&mut folded.counts) {
            let fate = window.fold(&seen, &self.passing, &mut folded.rows, counts);
            if fate.overflow {
                why = Some(Why::Overflow);
            } else if fate.late && window.spec.late == Late::Forward {
                why = why.or(Some(Why::Late));
            }
            // Of `samples`, some fields may have been taken and others not.
            taken |= fate.taken && !fate.overflow && !(fate.late && window.spec.late == Late::Forward);
        }
        if let Some(why) = why.filter(|_| !taken) {
            folded.aside.push(Aside { offset, why, reading: reading.clone() });
        }
    }

    fn go_to(&mut self, age: u32, folded: &mut Folded) {
        if self.passing.go_to(age) {
            for (window, counts) in self.windows.iter_mut().zip(&mut folded.counts) {
                window.pass(&self.passing, &mut folded.rows, counts);
            }
        }
    }

    fn close_all(&mut self, folded: &mut Folded) {
        for (window, counts) in self.windows.iter_mut().zip(&mut folded.counts) {
            window.finish(&self.passing, &mut folded.rows, counts);
        }
    }

    fn nothing(&self) -> Folded {
        Folded { rows: Vec::new(), aside: Vec::new(), counts: vec![Counts::default(); self.windows.len()] }
    }
}

#[cfg(test)]
mod tests;
