//! What the log holds, byte by byte. These bytes know nothing of sled.
//!
//! One commit writes one **entry group**:
//!
//! ```text
//! group = version u8 (1) | flags u8 (1 = zstd) | epoch u64 | first u64 | count u32 | size u32 | body     big endian
//! body  = CBOR [stamp, [series], [name], [entry]]              size bytes before compression
//! stamp = [received µs, boot id, mono µs, synced]
//! series = [source, device, {tag: value}]                     and on rows the window's name
//! entry = [series, µs to add to received, or null where the payload has no time, age µs, name, value, name, value …]
//!       | ["started"] | ["tick"] | ["up", source] | ["down", source] | ["end"] | ["letter", letter]
//!       | ["state", piece] | ["checkpoint", {position, rows_end, snapshot, pieces}]
//! ```
//!
//! Series and names are numbers into the group's own tables. `first` is the offset of the first entry, and the
//! others follow densely. An entry arrived `age` before its group was stamped.
//!
//! Invariants: what `encode` wrote, `decode` gives back; anything else is refused, never a panic.

mod read;
mod write;

use std::sync::Arc;

use bytes::Bytes;

use super::log::Place;
use crate::reading::{Micros, Reading};

const VERSION: u8 = 1;
const ZSTD: u8 = 1;
const HEADER: usize = 26;
/// Larger bodies are refused before anything is allocated for them.
const BODY_MAX: usize = 256 << 20;
/// Below this there is nothing to win.
const WORTH_COMPRESSING: usize = 160;

/// When a group was committed, by the writer's clocks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    pub received: i64,
    /// The boot that `mono` counts from.
    pub boot: Arc<str>,
    pub mono: i64,
    /// Whether the wall clock could be right.
    pub synced: bool,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Reading {
        reading: Reading,
        /// How long before the group's stamp it arrived, microseconds.
        age: u32,
    },
    /// The gateway started.
    Started,
    /// Time passed.
    Tick,
    Up(Arc<str>),
    Down(Arc<str>),
    /// Nothing more will come: what is open may close.
    End,
    Letter(Box<Letter>),
    /// A piece of the fold's state; the checkpoint behind it says of when.
    State(Bytes),
    Checkpoint(Checkpoint),
}

/// The fold's commit: what the pieces of state before it add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// Every reading before this offset is in the state, or in a row.
    pub position: u64,
    /// Rows at or past this place are void: readings from `position` on make them anew.
    pub rows_end: Place,
    /// Whether its pieces are the whole state, or what has changed since the checkpoint before.
    pub snapshot: bool,
    /// How many entries before it are its pieces.
    pub pieces: u32,
}

/// A dead letter: what could not become, or stay, a reading.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Letter {
    pub source: Arc<str>,
    /// Topic, port, or the lane of a record.
    pub origin: Arc<str>,
    pub reason: Arc<str>,
    pub detail: String,
    #[serde(with = "byte_string")]
    pub payload: Bytes,
    /// The whole length, and its SHA-256 in hex where `payload` is only the beginning.
    pub length: u64,
    pub sha256: Option<String>,
}

/// What one commit wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub epoch: u64,
    /// The offset of the first entry.
    pub first: u64,
    pub stamp: Stamp,
    pub entries: Vec<Entry>,
}

impl Group {
    /// The offset after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// When a reading arrived.
    #[must_use]
    pub fn received(&self, age: u32) -> Micros {
        Micros(self.stamp.received - i64::from(age))
    }
}

/// The fixed part of a group, readable without decompressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub epoch: u64,
    pub first: u64,
    pub count: u32,
    flags: u8,
    size: u32,
}

/// Bytes that no `encode` wrote.
#[derive(Debug, thiserror::Error)]
#[error("not an entry group: {0}")]
pub struct Malformed(String);

impl Header {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return malformed("shorter than its header") };
        if header[0] != VERSION {
            return malformed(format!("version {}, and this program knows {VERSION}", header[0]));
        }
        Ok(Self {
            flags: header[1],
            epoch: u64::from_be_bytes(header[2..10].try_into().expect("eight bytes")),
            first: u64::from_be_bytes(header[10..18].try_into().expect("eight bytes")),
            count: u32::from_be_bytes(header[18..22].try_into().expect("four bytes")),
            size: u32::from_be_bytes(header[22..26].try_into().expect("four bytes")),
        })
    }

    /// The offset after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Writes groups; keeps the compressor between them.
pub struct Encoder(zstd::bulk::Compressor<'static>);

impl Default for Encoder {
    fn default() -> Self {
        // Level 1: the disk is spared by it, and the link never sees these bytes.
        Self(zstd::bulk::Compressor::new(1).expect("level 1 exists"))
    }
}

impl Encoder {
    #[must_use]
    pub fn encode(&mut self, group: &Group) -> Vec<u8> {
        let body = write::body(group);
        let packed = if body.len() < WORTH_COMPRESSING { None } else { self.0.compress(&body).ok() };
        let packed = packed.filter(|packed| packed.len() < body.len());
        let mut bytes = Vec::with_capacity(HEADER + packed.as_ref().unwrap_or(&body).len());
        bytes.extend([VERSION, if packed.is_some() { ZSTD } else { 0 }]);
        bytes.extend(group.epoch.to_be_bytes());
        bytes.extend(group.first.to_be_bytes());
        bytes.extend((group.entries.len() as u32).to_be_bytes());
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(packed.unwrap_or(body));
        bytes
    }
}

/// Reads groups; keeps the decompressor between them.
pub struct Decoder(zstd::bulk::Decompressor<'static>);

impl Default for Decoder {
    fn default() -> Self {
        Self(zstd::bulk::Decompressor::new().expect("memory for a decompressor"))
    }
}

impl Decoder {
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Group, Malformed> {
        let header = Header::read(bytes)?;
        let size = header.size as usize;
        if size > BODY_MAX {
            return malformed(format!("a body of {size} bytes"));
        }
        let packed = &bytes[HEADER..];
        let unpacked;
        let body = if header.flags & ZSTD == 0 {
            packed
        } else {
            unpacked = self.0.decompress(packed, size).map_err(|error| Malformed(error.to_string()))?;
            &unpacked
        };
        if body.len() != size {
            return malformed("its size is another than it says");
        }
        let group = read::group(body, header)?;
        if group.entries.len() != header.count as usize {
            return malformed("its count is another than it says");
        }
        Ok(group)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Bytes that are one value.
#[derive(serde::Serialize, serde::Deserialize)]
struct ByteString(#[serde(with = "byte_string")] Bytes);

/// CBOR has byte strings; serde's own `Vec<u8>` would be an array of numbers.
mod byte_string {
    use std::fmt;

    use bytes::Bytes;
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
        deserializer.deserialize_bytes(Take)
    }
}

#[cfg(test)]
mod tests;
