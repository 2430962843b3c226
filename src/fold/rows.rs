//! What the fold puts into the log `rows`: rows, and readings that came too late to be in one.

use std::sync::Arc;

use tidegate_wire::Series;

use crate::queue::{Entry, Group};
use crate::reading::{Micros, Reading};
use crate::window::Closed;

/// The source of rows.
const SOURCE: &str = "window";

/// A row as the log holds it.
pub fn row(closed: Closed) -> Reading {
    let Closed { window, device, start: _, end, fields } = closed;
    let series = Series { source: SOURCE.into(), device, tags: Vec::new(), window: Some(window) };
    Reading { time: Some(Micros(end)), series: Arc::new(series), fields }
}

/// A reading of this group that came too late for every window, to be delivered as it is.
pub fn late(mut reading: Reading, group: &Group, offset: u64) -> Reading {
    reading.time.get_or_insert(arrival(group, offset));
    Arc::make_mut(&mut reading.series).tags.push(("late".into(), "true".into()));
    reading
}

/// When the entry at this offset arrived.
fn arrival(group: &Group, offset: u64) -> Micros {
    match group.entries.get((offset - group.first) as usize) {
        Some(Entry::Reading { age, .. }) => group.received(*age),
        _ => group.received(0),
    }
}
