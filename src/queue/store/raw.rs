//! Chunks found in the bare file of a database that sled cannot read, or reads short of what it holds.
//!
//! A changed bit can cost sled a segment, or the whole database. But it writes values as they are, each behind its
//! length, be it in a leaf (keys first, then values) or as an addition to one (key and value in turn):
//!
//! ```text
//! … key  | 241+h l | index u16 total u16 crc32c u32 bytes … | 241+h l | index u16 …      lengths are SQLite's varints
//! ```
//!
//! So a chunk is looked for at each byte: whatever stands behind a length that fits and begins as a chunk does. Which
//! number it has, its checksum tells: it covers the number, and only those of this generation come into question.
//!
//! What is found is as good as what sled gives: a chunk counts by its checksum, and a group only where it can be decoded.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use bytes::Bytes;

use super::generation::VALUE_MAX;
use super::{Generation, StoreError};
use crate::queue::chunk::Chunk;

/// A value is no shorter than the header of a chunk.
const VALUE_MIN: usize = 8;
const KEY: usize = 8;
/// More of them in one generation than it can hold are not tried.
const NUMBERS_MAX: u64 = 1 << 16;

/// What was found, by number.
pub struct Raw(BTreeMap<u64, Bytes>);

impl Raw {
    /// Finds the chunks of these numbers in a file.
    pub fn find(file: &[u8], numbers: Range<u64>) -> Self {
        let numbers = numbers.start..numbers.end.min(numbers.start.saturating_add(NUMBERS_MAX));
        let mut found = BTreeMap::new();
        // First those with their keys before them: it is quick, and leaves few numbers to try.
        let mut nameless = Vec::new();
        for (value, key) in values(file) {
            let key = key.filter(|key| numbers.contains(key) && Chunk::read(*key, value).is_some());
            match key {
                Some(key) => drop(found.insert(key, Bytes::copy_from_slice(value))),
                None => nameless.push(value),
            }
        }
        let mut open: Vec<u64> = numbers.filter(|number| !found.contains_key(number)).collect();
        // A leaf that was written anew has its values again.
        let mut tried = HashSet::new();
        for value in nameless.into_iter().filter(|value| tried.insert(*value)) {
            if let Some(at) = open.iter().position(|number| Chunk::read(*number, value).is_some()) {
                found.insert(open.remove(at), Bytes::copy_from_slice(value));
            }
        }
        Self(found)
    }
}

/// Whatever could be a chunk, and the key before it, if it is one.
fn values(file: &[u8]) -> impl Iterator<Item = (&[u8], Option<u64>)> {
    let begins = (KEY..file.len().saturating_sub(VALUE_MIN)).filter(|at| begins_chunk(&file[*at..]));
    begins.flat_map(move |at| {
        lengths(&file[..at]).filter_map(move |(length, width)| {
            let key = file[..at - width].last_chunk::<KEY>().map(|key| u64::from_be_bytes(*key));
            Some((file.get(at..at + length)?, key))
        })
    })
}

/// Whether these bytes could be the header of a chunk: an index below a total that is not out of all reason.
fn begins_chunk(bytes: &[u8]) -> bool {
    let index = u16::from_be_bytes([bytes[0], bytes[1]]);
    let total = u16::from_be_bytes([bytes[2], bytes[3]]);
    // The largest of groups is one of 1 MiB payloads.
    index < total && total < 1 << 12
}

/// The lengths of a value that could be told just before it, and in how many bytes.
fn lengths(before: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let one = before.last().map(|last| (usize::from(*last), 1)).filter(|(length, _)| *length <= 240);
    let two = before.last_chunk::<2>().filter(|[high, _]| (241..=248).contains(high));
    let two = two.map(|[high, low]| (240 + 256 * (usize::from(*high) - 241) + usize::from(*low), 2));
    let three = before.last_chunk::<3>().filter(|[mark, ..]| *mark == 249);
    let three = three.map(|[_, high, low]| (2288 + 256 * usize::from(*high) + usize::from(*low), 3));
    let all = [one, two, three].into_iter().flatten();
    all.filter(|(length, _)| (VALUE_MIN + 1..=VALUE_MAX).contains(length))
}

impl Generation for Raw {
    fn append(&self, _: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        unreachable!("nobody appends to what was found in a spoiled file")
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(&number).cloned())
    }

    fn next(&self, number: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.0.range(number..).next().map(|(number, _)| *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::chunk::{CHUNK_MAX, cut};

    /// As sled writes them: an addition with its key, and values of a leaf one after the other.
    fn written(value: &[u8], key: Option<u64>, file: &mut Vec<u8>) {
        if let Some(key) = key {
            file.push(8);
            file.extend(key.to_be_bytes());
        }
        match value.len() {
            length @ ..=240 => file.push(length as u8),
            length @ ..=2287 => file.extend([((length - 240) / 256 + 241) as u8, (length - 240) as u8]),
            length => file.extend([249, ((length - 2288) / 256) as u8, (length - 2288) as u8]),
        }
        file.extend(value);
    }

    #[test]
    fn chunks_of_every_length_are_found_with_their_numbers_and_spoiled_ones_are_not() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut noise = |length| (0..length).map(|_| random.u8(..)).collect::<Vec<_>>();
        let mut file = noise(5_000);
        let mut expected = BTreeMap::new();
        let mut number = 1_000;
        for length in [1, 100, 232, 233, 1_000, 2_279, 2_280, CHUNK_MAX, 3 * CHUNK_MAX + 5] {
            for (at, value) in cut(&noise(length), number) {
                written(&value, (length % 2 == 0).then_some(at), &mut file);
                expected.insert(at, Bytes::from(value));
                number = at + 1;
            }
            file.extend(noise(50));
        }
        file.extend(noise(20));
        assert_eq!(Raw::find(&file, 1_000..1_100).0, expected);
        assert!(Raw::find(&file, 0..1_000).0.is_empty(), "none of another's");
        let spoiled = file.windows(8).position(|bytes| bytes == &expected[&1_002][..8]).unwrap() + 60;
        file[spoiled] ^= 1;
        // A second copy, whole, stands elsewhere.
        let again = expected[&1_003].clone();
        let first = file.windows(8).position(|bytes| bytes == &again[..8]).unwrap() + 60;
        file[first] ^= 1;
        written(&again, None, &mut file);
        file.extend(noise(20));
        expected.remove(&1_002);
        assert_eq!(Raw::find(&file, 1_000..1_100).0, expected);
    }
}
