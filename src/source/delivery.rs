//! What comes in: readings, and what could not become one.

use std::sync::Arc;

use bytes::Bytes;

use crate::reading::Reading;

/// What one message held.
#[derive(Debug, Default)]
pub struct Delivery {
    pub readings: Vec<Reading>,
    /// The parts that could not become readings; they go to the dead letters.
    pub rejects: Vec<Rejected>,
    /// What it weighs in the inbox, bytes.
    pub weight: usize,
}

impl Delivery {
    /// Whether there is nothing to be stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty() && self.rejects.is_empty()
    }
}

/// Something that could not become a reading, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub source: Arc<str>,
    /// The topic or the port it came by.
    pub origin: Arc<str>,
    pub reason: Reason,
    /// A sentence for the person who reads it.
    pub detail: String,
    /// The bytes, or their first 64 KiB.
    pub payload: Bytes,
    /// The whole length and its digest where `payload` was cut.
    pub cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub length: u64,
    pub sha256: [u8; 32],
}

/// Why something became a dead letter; the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The payload is not in the format the subscription names.
    Malformed,
    /// It parses, but holds no field.
    Empty,
    /// Its time cannot be read.
    Time,
    /// A value is outside what can be stored: not finite, too deep, too many fields.
    Value,
    /// Only a birth that was not seen explains it (Sparkplug).
    NoBirth,
    /// Larger than `max_payload`.
    Oversize,
    /// Larger than a record may be.
    RecordTooLarge,
    /// Kinesis takes other records, but not this one.
    Refused,
}

impl Reason {
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Empty,
        Self::Time,
        Self::Value,
        Self::NoBirth,
        Self::Oversize,
        Self::RecordTooLarge,
        Self::Refused,
    ];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::Time => "time",
            Self::Value => "value",
            Self::NoBirth => "no-birth",
            Self::Oversize => "oversize",
            Self::RecordTooLarge => "record-too-large",
            Self::Refused => "refused",
        }
    }
}
