//! Groups that close: hops joined from their slices, sessions as they are.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::super::Hash;
use super::super::aggregate::{Counts, State};
use super::super::key::Key;
use super::super::plan::Datum;
use super::super::shape::Hops;
use super::{Aggregator, Cut, Group, Groups, join};

/// A group that has closed.
#[derive(Debug)]
pub struct Closing {
    pub end: i64,
    pub start: i64,
    pub key: Key,
    pub answers: Vec<Datum>,
}

impl Groups {
    /// Closes all of a part that ends at or before its watermark. In no order: the caller sorts.
    pub fn close(&mut self, part: usize, watermark: i64, closed: &mut Vec<Closing>, counts: &mut Counts) {
        while let Some(Reverse((end, number))) = self.ends.get_mut(part).and_then(|ends| {
            let due = ends.peek().is_some_and(|Reverse((end, _))| *end <= watermark);
            if due { ends.pop() } else { None }
        }) {
            let group = &mut self.places[number];
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

    /// The last end of all that is open, for each part that has something open.
    pub fn last_ends(&self) -> Vec<(usize, i64)> {
        let mut ends = HashMap::<usize, i64, Hash>::default();
        for number in self.numbers.values() {
            let group = &self.places[*number];
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
                    for cell in later {
                        join(&mut states, &cell.states, counts);
                    }
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

fn answers(states: &[State], aggregators: &[Aggregator], end: i64, counts: &mut Counts) -> Vec<Datum> {
    states.iter().zip(aggregators).map(|(state, aggregator)| state.finish(aggregator.kind, end, counts)).collect()
}
