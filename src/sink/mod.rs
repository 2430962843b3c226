//! The road: records out, again and again until they are taken.
//!
//! ```text
//!   log ──▶ reader ──▶ lanes ──▶ record on the road ──▶ Sink ──▶ taken: the cursor moves
//!                                     ▲                   │
//!                                     └──── again ◀───────┘ after a pause, the same bytes
//! ```

pub mod aws;
pub mod delivery;
pub mod kinesis;
pub mod losses;
pub mod stream;
pub mod streams;

use std::future::Future;

use crate::batch::Record;

/// Where records go.
pub trait Sink: Send {
    /// Sends records of different lanes in one request. The answer has one outcome a record, in their order.
    fn send(&self, records: &[&Record]) -> impl Future<Output = Result<Vec<Outcome>, SendError>> + Send;
}

/// What became of one record of a request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// Refused for now, with the code of the answer.
    Again(String),
}

/// Why a whole request came to nothing. Each is tried again for ever; they differ in what a person should do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Asked to slow down.
    #[error("{0}")]
    Throttled(String),
    /// No answer, or one that says the other side is broken.
    #[error("{0}")]
    Unreachable(String),
    /// Configuration: no such stream, no right to it, no credentials.
    #[error("{0}")]
    Refused(String),
    /// What was sent is not acceptable: the configuration is wrong, or one record is poison.
    #[error("{0}")]
    Invalid(String),
}

impl SendError {
    /// The label of the metric.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Throttled(_) => "throttled",
            Self::Unreachable(_) => "failed",
            Self::Refused(_) | Self::Invalid(_) => "refused",
        }
    }
}

/// What the road is doing, for the status page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoadState {
    pub mode: Mode,
    /// Why it is not well, in a sentence.
    pub why: Option<String>,
    /// Wall clock of the last record that was taken.
    pub last_success: Option<crate::reading::Micros>,
    pub backoff_seconds: f64,
    pub delivered_readings: u64,
    pub delivered_rows: u64,
    pub gaps: u64,
    /// Readings committed and not yet settled: delivered, or folded where only rows are wanted.
    pub queued_readings: u64,
    /// Rows that windows closed with, not settled.
    pub queued_rows: u64,
    /// Arrival of the oldest of them.
    pub oldest: Option<crate::reading::Micros>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing was sent yet.
    #[default]
    Idle,
    Ok,
    BackingOff,
    Refused,
}
