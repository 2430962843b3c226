//! The wire formats of Tidegate: what firmware, gateway and cloud share.
//!
//! **Columns, version 1**: what one Kinesis record holds.
//!
//! ```text
//! record   = D9 D9 F7 envelope                    CBOR (RFC 8949), self-described
//! envelope = { v, gateway, stream, lane, epoch, first, last, prev, count, clock, codec, size, body }
//! body     = [+ group]                            compressed as `codec` says, `size` bytes before that
//! group    = { source, device, ? tags, ? window, offset: column, time: column, ? received: column,
//!              fields: { * name: column } }
//! column   = { d: [* int], ? e: -9..6, ? x: { position: float }, ? m: bitmap }     decimal deltas
//!          | { f: #6.86(bytes), ? m }  | { b: bytes, n: uint, ? m }  | { t: [* text], i: [* uint], ? m }
//! ```
//!
//! Compression is the caller's: this crate has no dependencies and needs no operating system.
//!
//! Invariants:
//! - the same rows give the same bytes (definite lengths, shortest integers, keys in the order shown);
//! - what was written comes back: numbers by value, floats bit for bit, except that a whole float may come back as an
//!   integer;
//! - bytes from elsewhere are read or refused with a reason, never with a panic; what they may have allocated is
//!   bounded by the caps of a reader, not by what they claim: a few kilobytes of zstd can be 60 MiB of zeros, and a bit
//!   of a bitmap becomes a value of forty bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod body;
mod cbor;
mod column;
mod envelope;
mod number;
mod refusal;
mod row;

pub use body::{decode_body, encode_body, fit_body};
pub use envelope::{ClockState, Codec, Envelope, decode_record, encode_record};
pub use refusal::Refusal;
pub use row::{Row, Series, Value};

/// The most bytes of a body, before compression, that an encoder writes.
pub const BODY_MAX: usize = 16 << 20;
/// The most readings of a body that an encoder writes.
pub const ROWS_MAX: usize = 1_000_000;
/// The most bytes of a body, before compression, that a reader takes.
pub const BODY_READ_MAX: u64 = 64 << 20;
/// The most readings of a record that a reader takes.
pub const ROWS_READ_MAX: u64 = 4_000_000;
/// The most cells of a record, rows × fields of all groups: a cell costs a bit on the wire, and up to forty bytes and
/// some time to whoever reads or writes it.
pub const CELLS_MAX: usize = 1 << 24;
