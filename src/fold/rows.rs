//! What the fold puts into the log `rows`: rows, and readings that are in none.

use std::sync::Arc;

use tidegate_wire::Series;

use crate::queue::{Entry, Group};
use crate::reading::{Micros, Reading};
use crate::window::{Aside, Closed, Why};

/// The source of rows.
const SOURCE: &str = "window";

/// A row as the log holds it.
pub fn row(closed: Closed) -> Reading {
    let Closed { window, device, start: _, end, fields } = closed;
    let series = Series { source: SOURCE.into(), device, tags: Vec::new(), window: Some(window) };
    Reading { time: Some(Micros(end)), series: Arc::new(series), fields }
}

/// A reading of this group that no window has taken, to be delivered as it is, with a tag that says why.
pub fn aside(aside: Aside, group: &Group) -> Reading {
    let Aside { offset, why, mut reading } = aside;
    reading.time.get_or_insert(arrival(group, offset));
    let why = match why {
        Why::Late => "late",
        Why::Overflow => "overflow",
    };
    Arc::make_mut(&mut reading.series).tags.push((why.into(), "true".into()));
    reading
}

/// When the entry at this offset arrived.
fn arrival(group: &Group, offset: u64) -> Micros {
    match group.entries.get((offset - group.first) as usize) {
        Some(Entry::Reading { age, .. }) => group.received(*age),
        _ => group.received(0),
    }
}
