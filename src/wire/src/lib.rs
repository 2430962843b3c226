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
//! **Frames**: what goes over a serial line, with acknowledgements ([`frame`]). They need no heap: without the feature
//! `alloc` they are all there is.
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

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod frame;

#[cfg(feature = "alloc")]
mod body;
#[cfg(feature = "alloc")]
mod cbor;
#[cfg(feature = "alloc")]
mod column;
#[cfg(feature = "alloc")]
mod envelope;
#[cfg(feature = "alloc")]
mod number;
#[cfg(feature = "alloc")]
mod refusal;
#[cfg(feature = "alloc")]
mod row;

#[cfg(feature = "alloc")]
pub use self::{
    body::{decode_body, encode_body, fit_body},
    envelope::{ClockState, Codec, Envelope, decode_record, encode_record},
    refusal::Refusal,
    row::{Row, Series, Value},
};

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
