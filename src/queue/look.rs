//! Looking into a queue: what `queue` and `dead` show, of a running gateway or a stopped one.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::dead::{self, Kept};
use super::{Cursors, Entry, Log, Queue, Reader, Step, Store, StoreError};
use crate::reading::{Micros, Plain};

/// The numbers of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub epoch: u64,
    /// Disk blocks of the whole directory, bytes.
    pub disk_bytes: u64,
    pub free_bytes: u64,
    pub readings: LogStat,
    pub rows: LogStat,
    pub notes: LogStat,
    pub dead_letters: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStat {
    pub generations: usize,
    /// The oldest offset kept, and the offset after the newest.
    pub oldest: u64,
    pub end: u64,
    /// Every entry before this offset has been delivered, as far as the saved cursors tell.
    pub delivered: u64,
    /// Entries not delivered yet.
    pub waiting: u64,
    pub disk_bytes: u64,
}

pub fn stat(queue: &Queue) -> Result<Stat, StoreError> {
    let store = &*queue.store;
    let cursors = Cursors::load(store)?;
    let log = |log: &Log, name: &str, stream: &str| -> Result<LogStat, StoreError> {
        let (oldest, end) = (log.oldest()?.offset, log.durable().offset);
        let lanes = cursors.streams.get(stream).into_iter().flat_map(|stream| stream.lanes.values());
        let delivered = lanes.map(|lane| lane.done).min().unwrap_or(oldest);
        let generations = log.numbers().len();
        let disk_bytes = store.used(Some(name))?;
        Ok(LogStat { generations, oldest, end, delivered, waiting: end.saturating_sub(delivered), disk_bytes })
    };
    Ok(Stat {
        epoch: queue.identity.epoch,
        disk_bytes: store.used(None)?,
        free_bytes: store.disk()?.free,
        readings: log(&queue.readings, "readings", "readings")?,
        rows: log(&queue.rows, "rows", "rows")?,
        notes: log(&queue.notes, "notes", "gaps")?,
        dead_letters: dead::count(store, &queue.dead)?,
    })
}

/// The oldest entries from `from` on, or from the first that waits.
pub fn peek(queue: &Queue, from: Option<u64>, most: usize) -> Result<Vec<Json>, StoreError> {
    let from = match from {
        Some(from) => from,
        None => stat(queue)?.readings.delivered,
    };
    let mut reader = Reader::new(&queue.readings, from);
    let mut found = Vec::new();
    while found.len() < most {
        match reader.step()? {
            Step::End => break,
            Step::Lost { from, to } => found.push(json!({ "lost": { "from": from, "to": to - 1 } })),
            Step::Group(group) => {
                let (epoch, stamp) = (group.epoch, group.stamp);
                for (offset, entry) in (group.first..).zip(group.entries) {
                    if offset >= from && found.len() < most {
                        found.push(entry_json(epoch, offset, stamp.received, &entry));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// An entry as a line of JSON; but for a letter, for which there is [`letter_json`].
pub(super) fn entry_json(epoch: u64, offset: u64, received: i64, entry: &Entry) -> Json {
    let event = |kind: &str, source: Option<&str>| json!({ "epoch": epoch, "offset": offset, "event": kind, "source": source, "received": Micros(received).to_string() });
    match entry {
        Entry::Reading { reading, age } => {
            let arrived = Micros(received - i64::from(*age));
            let tags: serde_json::Map<_, _> =
                reading.series.tags.iter().map(|(name, value)| (name.to_string(), Json::from(&**value))).collect();
            let fields: serde_json::Map<_, _> =
                reading.fields.iter().map(|(name, value)| (name.to_string(), json!(Plain(value)))).collect();
            let mut line = json!({
                "epoch": epoch, "offset": offset, "time": reading.time.unwrap_or(arrived).to_string(),
                "received": arrived.to_string(), "source": &*reading.series.source, "device": &*reading.series.device,
                "tags": tags, "fields": fields,
            });
            if let Some(window) = &reading.series.window {
                line["window"] = Json::from(&**window);
            }
            line
        }
        Entry::Started => event("started", None),
        Entry::Tick => event("tick", None),
        Entry::Up(source) => event("up", Some(source)),
        Entry::Down(source) => event("down", Some(source)),
        Entry::End => event("end", None),
        Entry::Letter(_) => event("letter", None),
        Entry::State(_) => event("state", None),
        Entry::Checkpoint(_) => event("checkpoint", None),
    }
}

/// Up to `most` letters from an id on, oldest first.
pub fn letters(store: &dyn Store, log: &Log, from: u64, most: usize) -> Result<Vec<Json>, StoreError> {
    Ok(dead::list(store, log, from, most)?.iter().map(letter_json).collect())
}

pub(super) fn letter_json(kept: &Kept) -> Json {
    let letter = &kept.letter;
    let payload = if let Ok(text) = std::str::from_utf8(&letter.payload) {
        json!({ "text": text })
    } else {
        use base64::Engine as _;
        json!({ "base64": base64::engine::general_purpose::STANDARD.encode(&letter.payload) })
    };
    json!({
        "id": kept.id, "time": kept.time.to_string(), "source": &*letter.source, "origin": &*letter.origin,
        "reason": &*letter.reason, "detail": letter.detail, "length": letter.length, "sha256": letter.sha256,
        "payload": payload,
    })
}
