//! Which shard a key belongs to, and what a shard takes in a second. Pure.
//! <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>

use std::time::Instant;

use md5::{Digest, Md5};

/// A shard takes 1 MB and 1,000 records a second.
const BYTES_PER_SECOND: f64 = (1 << 20) as f64;
const RECORDS_PER_SECOND: f64 = 1_000.0;

/// One shard's throughput and its numbering.
#[derive(Debug, Default)]
pub struct Shard {
    next_sequence: u64,
    level: Option<Level>,
}

/// What may still come in now; a second's worth at most.
#[derive(Clone, Copy, Debug)]
struct Level {
    bytes: f64,
    records: f64,
    at: Instant,
}

impl Shard {
    /// Takes a record of so many bytes and numbers it. `None`: the shard's throughput is exceeded.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Option<u64> {
        let mut level = match self.level {
            None => Level { bytes: BYTES_PER_SECOND, records: RECORDS_PER_SECOND, at: now },
            Some(level) => {
                let seconds = now.saturating_duration_since(level.at).as_secs_f64();
                Level {
                    bytes: (level.bytes + seconds * BYTES_PER_SECOND).min(BYTES_PER_SECOND),
                    records: (level.records + seconds * RECORDS_PER_SECOND).min(RECORDS_PER_SECOND),
                    at: now,
                }
            }
        };
        let bytes = bytes as f64;
        let room = level.bytes >= bytes && level.records >= 1.0;
        if room {
            level.bytes -= bytes;
            level.records -= 1.0;
        }
        self.level = Some(level);
        room.then(|| {
            self.next_sequence += 1;
            self.next_sequence
        })
    }
}

/// The shard a partition key belongs to: MD5 as a 128-bit number, the range cut into equal parts.
pub fn of_key(partition_key: &str, shards: u32) -> u32 {
    of_hash(u128::from_be_bytes(Md5::digest(partition_key).into()), shards)
}

/// The shard a hash key belongs to.
pub fn of_hash(hash: u128, shards: u32) -> u32 {
    // The upper half of the number is enough: 2^32 shards would still be told apart.
    (((hash >> 64) * u128::from(shards)) >> 64) as u32
}

/// The first and the last hash key of a shard.
pub fn hash_keys(shard: u32, shards: u32) -> (u128, u128) {
    let first = |shard: u32| ((u128::from(shard) << 64).div_ceil(u128::from(shards))) << 64;
    (first(shard), if shard + 1 == shards { u128::MAX } else { first(shard + 1) - 1 })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_shard_takes_a_thousand_records_and_then_one_a_millisecond() {
        let start = Instant::now();
        let mut shard = Shard::default();
        let taken = (0..1_500).filter(|_| shard.take(1, start).is_some()).count();
        assert_eq!(taken, 1_000);
        let later = start + Duration::from_millis(10);
        let taken = (0..1_500).filter(|_| shard.take(1, later).is_some()).count();
        assert!((9..=10).contains(&taken), "{taken}");
    }

    #[test]
    fn a_shard_takes_a_megabyte_and_never_saves_up_for_more() {
        let start = Instant::now();
        let mut shard = Shard::default();
        assert_eq!(shard.take(1 << 20, start), Some(1));
        assert_eq!(shard.take(1_000, start), None);
        assert_eq!(shard.take(1 << 19, start + Duration::from_millis(501)), Some(2));
        let much_later = start + Duration::from_hours(1);
        assert_eq!(shard.take(1 << 20, much_later), Some(3));
        assert_eq!(shard.take(1_000, much_later), None);
    }

    #[test]
    fn a_key_is_placed_by_its_md5_in_the_ranges_that_are_told() {
        // md5("a") = 0cc1…, md5("b") = 92eb…
        assert_eq!((of_key("a", 2), of_key("b", 2)), (0, 1));
        for shards in [1, 2, 3, 7] {
            for shard in 0..shards {
                let (first, last) = hash_keys(shard, shards);
                assert_eq!((of_hash(first, shards), of_hash(last, shards)), (shard, shard));
            }
            assert_eq!((hash_keys(0, shards).0, hash_keys(shards - 1, shards).1), (0, u128::MAX));
        }
    }
}
