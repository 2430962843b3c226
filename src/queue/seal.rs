//! How a generation begins, and what is known of the one before.
//!
//! ```text
//! head = CBOR { format, begin, previous: seal or null } | crc32c u32
//! seal = { number, chunks, bytes, last, checksum }
//! ```
//!
//! `begin` alone says what a sealed generation must have held: everything from its own `begin` to its successor's. So
//! readers go by that, and what is short by a tail is a gap. The seal is for whoever wants to know whether a
//! generation that is whole is the one that was sealed, and not another of the same numbers from a backup.

use serde::{Deserialize, Serialize};

use super::log::Place;

const FORMAT: u8 = 1;
/// What sled takes for a chunk beside its bytes, measured with groups of one reading.
const CHUNK_OVERHEAD: u64 = 480;

/// What a generation begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u8,
    /// The first chunk number and offset in it.
    pub begin: Place,
    /// Of the generation before, where that was sealed.
    pub previous: Option<Seal>,
}

/// What a full generation held, kept in its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub number: u32,
    pub chunks: u64,
    pub bytes: u64,
    /// The last chunk.
    pub last: u64,
    /// CRC32C over its groups, one after the other.
    pub checksum: u32,
}

impl Seal {
    /// Of a generation that holds nothing yet.
    #[must_use]
    pub fn empty(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    /// What it weighs, bytes: so that many small groups fill a generation, and its memory, as a few large ones do.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.bytes + self.chunks * CHUNK_OVERHEAD
    }

    /// Takes in a group of so many chunks, of which this is the last.
    pub fn add(&mut self, group: &[u8], chunks: u64, last: u64) {
        self.chunks += chunks;
        self.bytes += group.len() as u64;
        self.last = last;
        self.checksum = crc32c::crc32c_append(self.checksum, group);
    }
}

impl Head {
    #[must_use]
    pub fn new(begin: Place, previous: Option<Seal>) -> Self {
        Self { format: FORMAT, begin, previous }
    }

    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = serde_cbor::to_vec(self).expect("a head is plain");
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// `None` where the bytes are not what was written.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, sum) = bytes.split_last_chunk::<4>()?;
        let whole = crc32c::crc32c(head).to_be_bytes() == *sum;
        whole.then(|| serde_cbor::from_slice(head).ok()).flatten().filter(|head: &Self| head.format == FORMAT)
    }
}
