//! The rows of a window that [`super::plain`] does not know: the gateway's own fold, run once over everything.

use std::sync::Arc;

use super::answer::Answer;
use super::{Committed, Expected};
use crate::queue::entry::{Entry, Group, Stamp};
use crate::reading::{Micros, Reading};
use crate::window::{Closed, Spec, Windows};

/// Readings that are folded at once.
const AT_ONCE: usize = 1_000;
/// No sensor is silent for so long, and no time so far ahead.
const FOR_EVER: i64 = 1 << 61;

/// Over readings in the order of the log.
pub fn rows(spec: &Spec, readings: &[&Committed]) -> Vec<Expected> {
    let spec = Spec { idle_timeout: FOR_EVER, max_ahead: FOR_EVER, max_groups: usize::MAX, ..spec.clone() };
    let mut windows = Windows::new(vec![spec]);
    let mut rows: Vec<_> = readings.chunks(AT_ONCE).flat_map(|readings| windows.apply(&group(readings)).rows).collect();
    rows.extend(windows.finish().rows);
    rows.into_iter().map(expected).collect()
}

fn group(readings: &[&Committed]) -> Group {
    let entry = |Committed { row, .. }: &Committed| {
        let reading = Reading { time: Some(Micros(row.time)), series: row.series.clone(), fields: row.fields.clone() };
        Entry::Reading { reading, age: 0 }
    };
    let stamp = Stamp { received: 0, boot: Arc::default(), mono: 0, synced: false };
    let entries = readings.iter().map(|reading| entry(reading)).collect();
    Group { epoch: 0, first: readings[0].at.1, stamp, entries }
}

fn expected(row: Closed) -> Expected {
    let fields = row.fields.into_iter().map(|(name, value)| (name, Answer::from(value))).collect();
    Expected { device: row.device, end: row.end, fields }
}
