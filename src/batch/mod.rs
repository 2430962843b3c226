//! Readings to records: which lane a reading belongs to, and how a lane's readings become one Kinesis record.
//!
//! ```text
//!   log ──▶ lane_of(device) ──▶ Lane: runs of rows ──▶ seal ──▶ Record (columns, zstd) ──▶ sink
//! ```
//!
//! Invariants:
//! - a lane's rows leave in offset order, each record naming the entry due just before it (`prev`);
//! - a record holds rows of one epoch and one state of the clock;
//! - nothing here asks for the time, waits, or does I/O.

pub mod lane;
pub mod read;

use std::sync::Arc;

use bytes::Bytes;
use tidegate_wire::{BODY_MAX, ClockState, Codec, Envelope, Row, encode_body, encode_record, fit_body};

use crate::config::Compression;
use crate::queue::Span;
use crate::reading::Micros;

pub use lane::Lane;

/// An offset with the epoch that makes it unique for ever.
pub type Identity = (u64, u64);

/// A sealed batch: what one Kinesis record holds, and what it settles once it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub stream: &'static str,
    pub lane: u32,
    /// The partition key.
    pub key: Arc<str>,
    pub data: Bytes,
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
    pub prev: Option<Identity>,
    pub count: u64,
    /// Arrival of its first and of its last reading.
    pub arrived: (Micros, Micros),
}

impl Record {
    /// What it counts against the limits of Kinesis: data and key.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.key.len()
    }
}

/// How large a record may become, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// What a record aims at, bytes.
    pub target: usize,
    /// What it may not exceed, partition key included.
    pub max_record: usize,
    pub compression: Compression,
    pub level: i32,
}

/// What a seal made of the head of a lane.
#[derive(Clone, Debug, PartialEq)]
pub enum Sealed {
    Record(Record),
    /// A single reading that no record may hold.
    TooLarge(Record),
}

/// Which lane the entry at this offset belongs to. Stable for ever: a device keeps its lane while `spans` stand.
#[must_use]
pub fn lane_of(spans: &[Span], offset: u64, device: &str) -> u32 {
    let span = spans.iter().rev().find(|span| span.from <= offset).or(spans.first());
    span.map_or(0, |span| span.base + spread(device, span.lanes))
}

/// A lane below `lanes`. A checksum alone is linear: names that differ in one digit would share a few lanes, so its
/// bits are mixed by Fibonacci hashing (Knuth, TAOCP 3, 6.4).
fn spread(device: &str, lanes: u32) -> u32 {
    let mixed = u64::from(crc32c::crc32c(device.as_bytes())).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    ((mixed * u64::from(lanes)) >> 32) as u32
}

/// The partition key of a lane: one for life, so that its records stay on one shard.
#[must_use]
pub fn partition_key(gateway: &str, stream: &str, lane: u32) -> Arc<str> {
    format!("{gateway}/{stream}/{lane}").into()
}

/// Writes one record; keeps the compressor between them.
pub struct Sealer {
    gateway: Arc<str>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Sealer {
    pub fn new(gateway: Arc<str>, level: i32) -> std::io::Result<Self> {
        Ok(Self { gateway, compressor: zstd::bulk::Compressor::new(level)? })
    }

    /// `None` where the body would be more than a reader takes.
    fn write(&mut self, lane: &Lane, run: &lane::Run, rows: &[Row], limits: &Limits) -> Option<Bytes> {
        let body = match rows {
            // One reading is not to be cut smaller: what it comes to is measured by the record.
            [_] => encode_body(rows),
            _ => fit_body(rows)?,
        };
        let packed = match limits.compression {
            // Left as large as it is, it is found too large for a record; small, no reader would take it.
            Compression::Zstd if body.len() > BODY_MAX => None,
            Compression::Zstd => self.compressor.compress(&body).ok().filter(|packed| packed.len() < body.len()),
            Compression::None => None,
        };
        let envelope = Envelope {
            gateway: self.gateway.to_string(),
            stream: lane.stream.to_owned(),
            lane: u64::from(lane.number),
            epoch: run.epoch,
            first: rows.first()?.offset,
            last: rows.last()?.offset,
            prev: run.prev.or(lane.prev),
            count: rows.len() as u64,
            clock: if run.synced { ClockState::Synced } else { ClockState::Unsynced },
            codec: if packed.is_some() { Codec::Zstd } else { Codec::None },
            size: body.len() as u64,
        };
        Some(encode_record(&envelope, packed.as_ref().unwrap_or(&body)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_spread_over_the_lanes_of_the_span_their_offset_lies_in() {
        let spans = [Span { from: 0, base: 0, lanes: 1 }, Span { from: 100, base: 1, lanes: 8 }];
        let lanes: std::collections::BTreeSet<_> =
            (0..200).map(|n| lane_of(&spans, 100, &format!("device-{n}"))).collect();
        assert_eq!(lanes, (1..9).collect());
        assert!((0..200).all(|n| lane_of(&spans, 99, &format!("device-{n}")) == 0));
    }

    #[test]
    fn a_few_devices_with_like_names_do_not_crowd_into_one_lane() {
        for lanes in 2..=5 {
            let spans = [Span { from: 0, base: 0, lanes }];
            let mut devices = vec![0; lanes as usize];
            (0..100).for_each(|n| devices[lane_of(&spans, 0, &format!("sensor-{n:02}")) as usize] += 1);
            let fair = 100 / lanes;
            assert!(devices.iter().all(|count| (fair / 2..=fair * 2).contains(count)), "{lanes}: {devices:?}");
        }
    }
}
