//! The independent check: what arrived in the stream against what the sensors' scripts say.
//!
//! It reads the records as `tidegate decode` does, applies the consumer's rule, and plays each script again beside
//! what arrives from that sensor. Nothing here knows how a gateway works.
//!
//! What windows closed with is gathered beside it, with the readings they must have been made of ([`Evidence`]).
//!
//! A meter is asked, and acknowledged to by nobody: what it had said last before a kill may be gone, and is counted apart.
//! What is kept is kept in order, so that an answer is not excused where a later one was kept by that kill.
//!
//! Invariant: `unique + unprotected + lost = generated`, but for what gap records explain; every reading taken is exactly
//! one of unique, door repeat and corrupt.

mod device;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_wire::{Row, Value};

use self::device::{Device, is_same};
use super::consumer::{Admission, Consumer};
use super::fleet::Ledger;
use super::sensor::{COUNTER, Link, Sensor};
use super::stream::Record;
use super::windows::Evidence;
use crate::batch::read::{ReadRecord, read_record};
use crate::reading::Micros;

/// What the check has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings that arrived as they were generated, each counted once.
    pub unique: u64,
    /// Readings that arrived again under the same identity and were dropped by the rule.
    pub duplicates: u64,
    /// Readings that were committed twice, because the broker sent them twice.
    pub door_repeats: u64,
    /// Readings that arrived behind a later one of the same sensor.
    pub out_of_order: u64,
    /// Readings with another time or other values than were generated, or that nobody generated.
    pub corrupt: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Rows of windows that arrived again under the same identity.
    pub row_duplicates: u64,
    /// Of the records with readings and of those with rows, keys and repeats included.
    pub reading_bytes: u64,
    pub row_bytes: u64,
    /// The first thing that was wrong with a record or a reading, in words.
    pub first_fault: Option<String>,
    /// From generation to arrival in the stream, milliseconds, in order of arrival.
    pub latencies: Vec<u32>,
}

/// A check in progress.
pub struct Check {
    ledger: Arc<Ledger>,
    consumer: Consumer,
    devices: HashMap<Arc<str>, Device>,
    tally: Tally,
    windows: Evidence,
    kills: Vec<Micros>,
}

/// A reading that was generated and has not arrived.
struct Missing<'a> {
    name: &'a str,
    device: &'a Device,
    n: u64,
    at: Micros,
}

/// The longest that an answer is in a gateway's hand before it is committed, on a disk and a machine that are busy.
const IN_HAND: i64 = 5 * Micros::PER_SECOND;
/// The longest until a meter has answered what a gateway asked that is gone.
const ON_THE_LINE: i64 = Micros::PER_SECOND / 2;
/// The longest until an answer has its time.
const STAMPED: i64 = 10 * Micros::PER_SECOND;

impl Check {
    #[must_use]
    pub fn new(sensors: &[Sensor], ledger: Arc<Ledger>) -> Self {
        let device = |(index, sensor): (usize, &Sensor)| {
            let script = sensor.script(ledger.start);
            (sensor.device.clone(), Device::new(index, sensor.link, script))
        };
        let devices = sensors.iter().enumerate().map(device).collect();
        let windows = Evidence::default();
        let (consumer, tally, kills) = (Consumer::default(), Tally::default(), Vec::new());
        Self { ledger, consumer, devices, tally, windows, kills }
    }

    /// The same for a gateway that runs windows.
    #[must_use]
    pub fn with_windows(self, windows: Evidence) -> Self {
        Self { windows, ..self }
    }

    /// Takes what arrived in the stream, in the order of arrival.
    pub fn take(&mut self, record: &Record) {
        let ReadRecord { envelope, rows } = match read_record(&record.data) {
            Ok(read) => read,
            Err(fault) => {
                self.tally.unreadable += 1;
                return self.fault(fault.to_string());
            }
        };
        let bytes = (record.data.len() + record.partition_key.len()) as u64;
        match &*envelope.stream {
            "readings" => self.tally.reading_bytes += bytes,
            "rows" => self.tally.row_bytes += bytes,
            _ => {}
        }
        let admission = self.consumer.admit(&envelope);
        for row in rows {
            let fresh = match admission {
                Admission::Repeat => false,
                Admission::Above(above) => above.is_none_or(|high| row.offset > high),
            };
            match &*envelope.stream {
                "readings" if fresh => {
                    self.reading(&row, record);
                    self.windows.reading(envelope.epoch, &row);
                }
                "readings" => self.tally.duplicates += 1,
                "rows" if fresh => self.windows.row(&row),
                "rows" => self.tally.row_duplicates += 1,
                "gaps" if fresh && !self.consumer.explain(&envelope.gateway, &row) => {
                    self.tally.unreadable += 1;
                    self.fault(format!("the gap record at offset {} cannot be read", row.offset));
                }
                // Other streams say nothing about readings.
                _ => {}
            }
        }
    }

    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// What arrived, as far as windows are concerned.
    #[must_use]
    pub fn windows(&self) -> &Evidence {
        &self.windows
    }

    /// The gateway is killed at this moment.
    pub fn killed(&mut self, at: Micros) {
        self.kills.push(at);
    }

    /// Generated, but neither arrived nor given up with a gap record, nor beyond what can be promised.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let accounted = self.tally.unique + self.consumer.explained("readings") + self.unprotected();
        self.ledger.total().saturating_sub(accounted)
    }

    /// Answers of meters that did not arrive, and can have been in hand or on the line at a kill.
    #[must_use]
    pub fn unprotected(&self) -> u64 {
        self.missing().filter(|missing| self.was_in_hand(missing)).count() as u64
    }

    /// The first reading that did not arrive and should have, in words. Gap records give up no readings by their numbers, so
    /// where there are some it may be one of theirs.
    #[must_use]
    pub fn first_lost(&self) -> Option<String> {
        let missing = self.missing().filter(|missing| !self.was_in_hand(missing)).min_by_key(|missing| missing.at)?;
        let Missing { name, n, at, .. } = missing;
        let seconds = |from: Micros, to: Micros| (to.0 - from.0) as f64 / Micros::PER_SECOND as f64;
        let kill = self.kills.iter().filter(|kill| **kill >= at).min();
        let kill = kill.map(|kill| format!(", {:.3} s before a kill", seconds(at, *kill))).unwrap_or_default();
        Some(format!(
            "the first that did not arrive is reading {n} of {name}, generated at {:.3} s{kill}",
            seconds(self.ledger.start, at)
        ))
    }

    /// Whether an answer can have been in a gateway's hand, or on the line, at a kill: no later one had been kept by then.
    fn was_in_hand(&self, missing: &Missing<'_>) -> bool {
        let Missing { device, n, at, .. } = missing;
        let in_reach = at.0 - ON_THE_LINE..=at.0 + IN_HAND;
        let none_later_is_kept = |kill: &Micros| {
            let is_by_then = |n: &u64| self.ledger.moment(device.index, *n).is_some_and(|moment| moment <= *kill);
            (n + 1..device.next).take_while(is_by_then).all(|n| device.missing.contains_key(&n))
        };
        let explains = |kill: &Micros| in_reach.contains(&kill.0) && none_later_is_kept(kill);
        device.link == Link::Modbus && self.kills.iter().any(explains)
    }

    fn missing(&self) -> impl Iterator<Item = Missing<'_>> {
        self.devices.iter().flat_map(|(name, device)| {
            let unplayed = device.next..self.ledger.published(device.index);
            device.missing.keys().copied().chain(unplayed).filter_map(|n| {
                let at = self.ledger.moment(device.index, n)?;
                Some(Missing { name, device, n, at })
            })
        })
    }

    fn reading(&mut self, row: &Row, record: &Record) {
        let name = &row.series.device;
        let Some(device) = self.devices.get_mut(name) else {
            self.tally.corrupt += 1;
            return self.fault(format!("no sensor is called {name}"));
        };
        let counter = row.fields.iter().find(|(field, _)| &**field == COUNTER).map(|(_, value)| value);
        let generated = match counter {
            Some(Value::I64(n)) => self.ledger.moment(device.index, *n as u64).map(|moment| (*n as u64, moment)),
            _ => None,
        };
        let Some((n, moment)) = generated else {
            self.tally.corrupt += 1;
            return self.fault(format!("{name} never generated the reading at offset {}", row.offset));
        };
        let late = n < device.next;
        device.play_to(n);
        let Some(sent) = device.missing.remove(&n) else {
            self.tally.door_repeats += 1;
            return;
        };
        // An answer has no time of its own.
        let time = match device.link {
            Link::Mqtt | Link::Serial => row.time == sent.time.0,
            Link::Modbus => (moment.0 - Micros::PER_SECOND..moment.0 + STAMPED).contains(&row.time),
        };
        if !time || !is_same(&sent, row) {
            self.tally.corrupt += 1;
            return self.fault(format!("reading {n} of {name} was sent as {sent:?} and arrived as {row:?}"));
        }
        self.tally.unique += 1;
        // What a serial sensor sends again comes behind what it sent meanwhile.
        self.tally.out_of_order += u64::from(late && device.link != Link::Serial);
        self.tally.latencies.push(((record.arrived.0 - moment.0) / 1_000).clamp(0, i64::from(u32::MAX)) as u32);
    }

    fn fault(&mut self, fault: String) {
        self.tally.first_fault.get_or_insert(fault);
    }
}
