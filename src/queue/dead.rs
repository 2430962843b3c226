//! Dead letters: what could not become a reading, or could not be delivered as one, kept for a person to look at.
//!
//! A letter's id is its offset in the log `dead`. `purge` moves a line before which letters are thrown away;
//! beyond `max_dead` the oldest generation goes, counted.

use super::appender::Appender;
use super::entry::{Entry, Letter};
use super::files;
use super::log::Log;
use super::reader::{Reader, Step};
use super::store::{Store, StoreError};
use crate::reading::Micros;
use crate::source::Rejected;

/// A letter with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: u64,
    pub time: Micros,
    pub letter: Letter,
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

impl From<Rejected> for Letter {
    fn from(rejected: Rejected) -> Self {
        let length = rejected.cut.map_or(rejected.payload.len() as u64, |cut| cut.length);
        let sha256 = rejected.cut.map(|cut| hex(&cut.sha256));
        Self {
            source: rejected.source,
            origin: rejected.origin,
            reason: rejected.reason.label().into(),
            detail: rejected.detail,
            payload: rejected.payload,
            length,
            sha256,
        }
    }
}

/// Up to `most` letters from `from` on, oldest first.
pub fn list(store: &dyn Store, log: &Log, from: u64, most: usize) -> Result<Vec<Kept>, StoreError> {
    let from = from.max(purged(store)?).max(log.oldest()?.offset);
    let mut reader = Reader::new(log, from);
    let mut letters = Vec::new();
    while letters.len() < most {
        let group = match reader.step()? {
            Step::Group(group) => group,
            Step::Lost { .. } => continue,
            Step::End => break,
        };
        let time = Micros(group.stamp.received);
        for (id, entry) in (group.first..).zip(group.entries) {
            if let Entry::Letter(letter) = entry
                && id >= from
                && letters.len() < most
            {
                letters.push(Kept { id, time, letter: *letter });
            }
        }
    }
    Ok(letters)
}

/// How many letters are kept.
pub fn count(store: &dyn Store, log: &Log) -> Result<u64, StoreError> {
    Ok(log.durable().offset - first(store, log)?.min(log.durable().offset))
}

/// The id before which letters have been thrown away.
pub fn purged(store: &dyn Store) -> Result<u64, StoreError> {
    Ok(files::read(store, "purged")?.unwrap_or(0))
}

/// Throws away every letter before `before` and says how many went.
pub fn purge(store: &dyn Store, dead: &mut Appender, before: u64) -> Result<u64, StoreError> {
    let kept_from = first(store, dead.log())?;
    let before = before.clamp(kept_from, dead.next().offset);
    files::write(store, "purged", &before)?;
    if before == dead.next().offset && !dead.is_fresh() {
        dead.rotate()?;
    }
    dead.log().release(before)?;
    Ok(before - kept_from)
}

/// Removes the oldest letters until no more than `max_bytes` of disk are used, and says how many went.
pub fn shed(store: &dyn Store, dead: &mut Appender, max_bytes: u64) -> Result<u64, StoreError> {
    let mut gone = 0;
    while store.used(Some("dead"))? > max_bytes {
        let kept_from = first(store, dead.log())?;
        let Some(end) = dead.log().oldest_end()? else {
            if dead.is_fresh() {
                break;
            }
            dead.rotate()?;
            continue;
        };
        dead.log().release(end.offset)?;
        gone += end.offset - kept_from.min(end.offset);
    }
    Ok(gone)
}

fn first(store: &dyn Store, log: &Log) -> Result<u64, StoreError> {
    Ok(purged(store)?.max(log.oldest()?.offset))
}
