//! How far each lane has been delivered. Losing this file only repeats: what is there is delivered from its beginning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::store::{Store, StoreError};
use super::{LOGS, files};

/// The file `cursors`; while the gateway runs, written by delivery alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// By stream: `gaps`, `rows`, `readings`.
    pub streams: BTreeMap<String, StreamCursors>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCursors {
    /// Which lanes the entries from an offset on belong to; more than one while earlier lanes still drain.
    pub spans: Vec<Span>,
    pub lanes: BTreeMap<u32, Cursor>,
    /// Where only rows are wanted: entries from this offset on are settled by being folded, those before are
    /// delivered.
    #[serde(default)]
    pub passes_from: Option<u64>,
}

/// From this offset on devices are spread over the lanes `base` to `base + lanes - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from: u64,
    pub base: u32,
    pub lanes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Every entry of the lane before this offset is settled.
    pub done: u64,
    /// The last of them: what the next record names as `prev`.
    pub prev: Option<(u64, u64)>,
}

impl Cursors {
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(files::read(store, "cursors")?.unwrap_or_default())
    }

    pub fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        files::write(store, "cursors", self)
    }

    /// Writes those of a new directory: everything is still to come. Without them nobody would miss a first generation that
    /// was lost before delivery had saved any. Where generations are, the file was lost: nobody knows what had gone by then.
    pub fn begin(store: &dyn Store) -> Result<(), StoreError> {
        for log in LOGS {
            if !store.generations(log)?.is_empty() {
                return Ok(());
            }
        }
        if store.get("cursors")?.is_some() {
            return Ok(());
        }
        let lanes = BTreeMap::from([(0, Cursor::default())]);
        let stream = StreamCursors { lanes, ..StreamCursors::default() };
        let streams = ["gaps", "rows", "readings"].map(|name| (name.to_owned(), stream.clone()));
        Self { streams: streams.into() }.store(store)
    }

    /// Readings before this offset were passed, which is to say that they are folded; 0: none was passed yet.
    #[must_use]
    pub fn passed(&self) -> u64 {
        let Some(StreamCursors { passes_from: Some(from), lanes, .. }) = self.streams.get("readings") else { return 0 };
        lanes.values().map(|lane| lane.done).min().filter(|done| done > from).unwrap_or(0)
    }

    /// Settles, before anyone acts on it, from which offset on readings are passed: where only rows are wanted, from
    /// the `end` that the log had when that was asked for first. What was queued before is delivered all the same.
    pub fn settle_passing(store: &dyn Store, only_rows: bool, end: u64) -> Result<Option<u64>, StoreError> {
        let mut cursors = Self::load(store)?;
        let readings = cursors.streams.entry("readings".to_owned()).or_default();
        let before = readings.passes_from;
        readings.passes_from = only_rows.then(|| before.unwrap_or(end));
        let from = readings.passes_from;
        if from != before {
            tracing::info!(only_rows, from_offset = from, "what is delivered of readings has changed");
            cursors.store(store)?;
        }
        Ok(from)
    }
}
