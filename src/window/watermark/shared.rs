//! One watermark under the least of all active clocks.
//!
//! Both heaps are lazy: an entry may be older than its clock and is brought up to date when it comes to the top, so
//! that a reading costs no more than a look, unless it moves the slowest clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::super::Hash;
use super::{NEVER, Rule, Told};

#[derive(Debug)]
pub struct Shared {
    rule: Rule,
    names: HashMap<Arc<str>, usize, Hash>,
    /// The active clocks; `None` are free places.
    clocks: Vec<Option<Clock>>,
    free: Vec<usize>,
    /// By event time.
    slowest: BinaryHeap<Reverse<(i64, usize)>>,
    /// By the moment at which they fall silent.
    silent: BinaryHeap<Reverse<(i64, usize)>>,
    /// What the watermark has reached; once no clock is active: where it was at `alone`.
    reached: i64,
    /// Since when no clock is active.
    alone: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Clock {
    pub name: Arc<str>,
    pub time: i64,
    /// When its last reading arrived, as time passes for all sources together.
    pub heard: i64,
    /// The time under which it stands in `slowest`.
    queued: i64,
    dirty: bool,
}

impl Shared {
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            names: HashMap::default(),
            clocks: Vec::new(),
            free: Vec::new(),
            slowest: BinaryHeap::new(),
            silent: BinaryHeap::new(),
            reached: NEVER,
            alone: None,
        }
    }

    pub fn watermark(&self, now: i64) -> i64 {
        self.alone.map_or(self.reached, |since| self.reached.saturating_add(now - since))
    }

    pub fn raise(&mut self, to: i64, now: i64) {
        if to > self.watermark(now) {
            self.reached = to;
            self.alone = self.alone.map(|_| now);
        }
    }

    /// A clock tells the time.
    pub fn hear(&mut self, name: &Arc<str>, told: Told, now: i64) {
        let time = match told {
            Told::Time(time) => time,
            Told::Ahead(arrived) => {
                if self.reached == NEVER {
                    self.reached = arrived.saturating_sub(self.rule.watermark);
                    self.alone = Some(now);
                }
                return;
            }
        };
        if let Some(place) = self.names.get(name) {
            let clock = self.clocks[*place].as_mut().expect("a name stands for a clock");
            clock.time = clock.time.max(time);
            clock.heard = now;
            clock.dirty = true;
        } else if self.names.len() < self.rule.most {
            self.reached = self.watermark(now);
            self.alone = None;
            self.start(name.clone(), time, now, true);
        }
        self.follow();
    }

    /// Goes on to `now`: clocks fall silent in the order of their last readings.
    pub fn pass(&mut self, now: i64) {
        while let Some(moment) = self.next_silent().filter(|moment| *moment <= now) {
            // Those of one moment go together: the order among them would be arbitrary.
            while self.next_silent() == Some(moment) {
                let Reverse((_, place)) = self.silent.pop().expect("just seen");
                let clock = self.clocks[place].take().expect("a silent clock was active");
                self.names.remove(&clock.name);
                self.free.push(place);
            }
            if self.names.is_empty() {
                self.alone = Some(moment);
            }
            self.follow();
        }
    }

    fn follow(&mut self) {
        if let Some(time) = self.next_slowest() {
            self.reached = self.reached.max(time.saturating_sub(self.rule.watermark));
        }
    }

    /// The least time of the active clocks.
    fn next_slowest(&mut self) -> Option<i64> {
        loop {
            let mut top = self.slowest.peek_mut()?;
            let Reverse((queued, place)) = *top;
            match &mut self.clocks[place] {
                Some(clock) if clock.queued == queued => {
                    if clock.time == queued {
                        return Some(queued);
                    }
                    clock.queued = clock.time;
                    *top = Reverse((clock.time, place));
                }
                _ => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
        }
    }

    /// When the next clock falls silent, if nothing comes from it.
    fn next_silent(&mut self) -> Option<i64> {
        loop {
            let mut top = self.silent.peek_mut()?;
            let Reverse((moment, place)) = *top;
            let clock = self.clocks[place].as_ref().expect("each active clock stands here once");
            let actual = clock.heard.saturating_add(self.rule.idle_timeout);
            if actual == moment {
                return Some(moment);
            }
            *top = Reverse((actual, place));
        }
    }

    fn start(&mut self, name: Arc<str>, time: i64, heard: i64, dirty: bool) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.clocks.push(None);
            self.clocks.len() - 1
        });
        self.slowest.push(Reverse((time, place)));
        self.silent.push(Reverse((heard.saturating_add(self.rule.idle_timeout), place)));
        self.names.insert(name.clone(), place);
        self.clocks[place] = Some(Clock { name, time, heard, queued: time, dirty });
    }

    /// What the watermark has reached, and since when no clock is active.
    pub fn reached(&self) -> (i64, Option<i64>) {
        (self.reached, self.alone)
    }

    pub fn restore(&mut self, reached: i64, alone: Option<i64>) {
        (self.reached, self.alone) = (reached, alone);
    }

    /// A clock as it was written; a later one under the same name takes its place. [`Self::restored`] follows.
    pub fn restore_clock(&mut self, name: Arc<str>, time: i64, heard: i64) {
        match self.names.get(&name) {
            Some(place) => {
                let clock = self.clocks[*place].as_mut().expect("a name stands for a clock");
                (clock.time, clock.heard) = (time, heard);
            }
            None => self.start(name, time, heard, false),
        }
    }

    /// After the last piece: clocks that fell silent since they were written are not active.
    pub fn restored(&mut self, now: i64) {
        let kept = std::mem::replace(self, Self::new(self.rule));
        self.restore(kept.reached, kept.alone);
        for clock in kept.clocks.into_iter().flatten() {
            if clock.heard.saturating_add(self.rule.idle_timeout) > now {
                self.start(clock.name, clock.time, clock.heard, false);
            }
        }
        // With less patience than before, all may have fallen silent at once.
        if self.names.is_empty() && self.reached != NEVER {
            self.alone = self.alone.or(Some(now));
        }
    }

    pub fn clocks(&self) -> impl Iterator<Item = &Clock> {
        self.clocks.iter().flatten()
    }

    /// Hands out the clocks that changed since the last call.
    pub fn changed(&mut self) -> impl Iterator<Item = &Clock> {
        let clocks = self.clocks.iter_mut().flatten();
        clocks.filter_map(|clock| std::mem::take(&mut clock.dirty).then_some(&*clock))
    }
}
