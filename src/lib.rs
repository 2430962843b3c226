//! # Tidegate
//!
//! An edge gateway: telemetry from MQTT, serial lines and Modbus into a durable queue on disk, there into windows of
//! event time, and from there in compressed batches to AWS Kinesis, through days offline.
//!
//! **The gateway is a deterministic fold over a durable log.** What the sensors said is the ground state;
//! everything else can be computed again.
//!
//! ```text
//!  sensors ──▶ source ──▶ queue ══▶ window ──▶ batch ──▶ sink ──▶ Kinesis
//!              (door)     (log)     (fold)     (seal)    (road)
//!                           ▲          │                   │
//!    PUBACK, ACK ◀──────────┘ fsync    └─▶ rows (a log)     └─▶ cursors
//! ```
//!
//! There is no online mode and no offline mode: a reading goes to the log, is acknowledged once the log is on
//! stable storage, and is read back from the log. Being offline only means that a cursor does not move.
//!
//! The modules, in the order data flows:

#![forbid(unsafe_code)]

/// The nouns: reading, value, series, microseconds.
pub mod reading;

/// Readings to records: lanes, and the seal of a batch. Pure.
pub mod batch;
/// Bytes and where they came from to readings, or a named reason why not. Pure.
pub mod decode;
/// The fold's edge: the log into the windows, and what came of it into the log.
pub mod fold;
/// The log: what was acknowledged is here, whatever happens.
pub mod queue;
/// The road: records to Kinesis, again and again until it has them.
pub mod sink;
/// The door: where readings come in, and where they are acknowledged.
pub mod source;
/// Readings to rows, in windows of event time. Pure.
pub mod window;

/// The wiring and the stop order; the only module that knows everyone.
pub mod gateway;

/// The pause before the next attempt.
pub mod backoff;
/// One file a command.
pub mod cli;
/// The one place that asks for the time.
pub mod clock;
/// TOML as written to the configuration as meant, or every fault with its place.
pub mod config;
/// Faults made on purpose, for the power-cut rig.
pub mod faults;
/// Status, metrics and health for people and machines.
pub mod http;
/// Every metric, named once.
pub mod metrics;
/// The whole gateway against simulated sensors and a simulated stream.
pub mod simulate;
