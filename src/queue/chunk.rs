//! A group in pieces that the store can hold.
//!
//! ```text
//! chunk = index u16 | total u16 | crc32c u32 | bytes          big endian
//! ```
//!
//! The checksum covers the chunk's number, index, total and bytes: a chunk in another's place is found out too.
//! Numbers are dense for the life of a log, across generations, so a missing one is seen.

use super::store::VALUE_MAX;

const HEADER: usize = 8;
/// Bytes of a group that one chunk takes.
pub const CHUNK_MAX: usize = 7 * 1024;
const _: () = assert!(CHUNK_MAX + HEADER <= VALUE_MAX);

/// Cuts a group into numbered chunks.
#[must_use]
pub fn cut(group: &[u8], first: u64) -> Vec<(u64, Vec<u8>)> {
    let total = group.len().div_ceil(CHUNK_MAX);
    let total = u16::try_from(total).expect("the writer closes a group long before 900 MiB");
    (0..total)
        .zip(group.chunks(CHUNK_MAX))
        .map(|(index, bytes)| {
            let number = first + u64::from(index);
            let mut chunk = Vec::with_capacity(HEADER + bytes.len());
            chunk.extend(index.to_be_bytes());
            chunk.extend(total.to_be_bytes());
            chunk.extend(checksum(number, index, total, bytes).to_be_bytes());
            chunk.extend(bytes);
            (number, chunk)
        })
        .collect()
}

/// One chunk, its checksum found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub index: u16,
    pub total: u16,
    pub bytes: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// `None` where the bytes are not what was written under this number.
    #[must_use]
    pub fn read(number: u64, stored: &'a [u8]) -> Option<Self> {
        let (header, bytes) = stored.split_first_chunk::<HEADER>()?;
        let index = u16::from_be_bytes([header[0], header[1]]);
        let total = u16::from_be_bytes([header[2], header[3]]);
        let told = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        (told == checksum(number, index, total, bytes) && index < total).then_some(Self { index, total, bytes })
    }
}

fn checksum(number: u64, index: u16, total: u16, bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&number.to_be_bytes());
    let sum = crc32c::crc32c_append(sum, &index.to_be_bytes());
    let sum = crc32c::crc32c_append(sum, &total.to_be_bytes());
    crc32c::crc32c_append(sum, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_any_size_comes_back_from_its_chunks() {
        for size in [1, CHUNK_MAX - 1, CHUNK_MAX, CHUNK_MAX + 1, 1 << 20] {
            let group: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let chunks = cut(&group, 40);
            let mut back: Vec<u8> = Vec::new();
            for (at, (number, stored)) in chunks.iter().enumerate() {
                assert_eq!(*number, 40 + at as u64);
                assert!(stored.len() <= VALUE_MAX);
                let chunk = Chunk::read(*number, stored).unwrap();
                assert_eq!((chunk.index as usize, chunk.total as usize), (at, chunks.len()));
                back.extend(chunk.bytes);
            }
            assert_eq!(back, group);
        }
    }

    #[test]
    fn a_changed_byte_and_a_wrong_place_are_found_out() {
        let (number, stored) = cut(b"reading", 7).remove(0);
        assert!(Chunk::read(number + 1, &stored).is_none());
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            assert!(Chunk::read(number, &changed).is_none(), "byte {at}");
        }
    }
}
