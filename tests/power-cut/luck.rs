//! What a power cut leaves of what was written and not synced: drawn from a seed, so that a failure comes again.
//!
//! Disks write by the page and promise whole sectors: of a large write some pages may be there and others not, in any
//! order, and one that was under way is torn between two sectors.

use std::ops::Range;

/// What is kept or lost as a whole, but for one that is torn.
pub const UNIT: u64 = 4_096;
const SECTOR: u64 = 512;
/// One unit in so many that would be kept is torn.
const TORN: u32 = 8;

/// The draws of one cut.
pub struct Luck {
    random: fastrand::Rng,
    keep: f64,
    spoilt: Option<u64>,
}

impl Luck {
    /// Each piece is kept with this probability.
    pub fn new(random: fastrand::Rng, keep: f64) -> Self {
        Self { random, keep, spoilt: None }
    }

    /// What the last write before the cut went to holds garbage afterwards, all of an erase block of so many bytes: the
    /// card was at it when the power went.
    pub fn spoiling(self, block: Option<u64>) -> Self {
        Self { spoilt: block, ..self }
    }

    /// Makes garbage of the erase block of contents around a place.
    pub fn spoil(&mut self, contents: &mut [u8], place: u64) {
        let Some(block) = self.spoilt else { return };
        let from = (place / block * block).min(contents.len() as u64) as usize;
        let to = contents.len().min(from + block as usize);
        self.random.fill(&mut contents[from..to]);
    }

    pub fn keeps(&mut self) -> bool {
        self.random.f64() < self.keep
    }

    /// The parts of a write of `len` bytes at `offset` that are kept, in bytes of the write.
    pub fn parts(&mut self, offset: u64, len: usize) -> Vec<Range<usize>> {
        let end = offset + len as u64;
        let mut kept = Vec::new();
        let mut from = offset;
        while from < end {
            let next = ((from / UNIT + 1) * UNIT).min(end);
            if self.keeps() {
                let to = if self.random.u32(..TORN) == 0 { self.tear(from, next) } else { next };
                kept.push((from - offset) as usize..(to - offset) as usize);
            }
            from = next;
        }
        kept
    }

    /// A place between two sectors of a unit; its beginning where it has only one.
    fn tear(&mut self, from: u64, to: u64) -> u64 {
        let sectors = (to - from) / SECTOR;
        let torn = (from / SECTOR + self.random.u64(0..=sectors)) * SECTOR;
        torn.clamp(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_is_kept_where_luck_is_certain_but_for_what_is_torn() {
        let mut luck = Luck::new(fastrand::Rng::with_seed(1), 0.0);
        assert!(luck.parts(100, 100_000).is_empty());
        let mut luck = Luck::new(fastrand::Rng::with_seed(1), 1.0);
        let parts = luck.parts(100, 1 << 20);
        assert_eq!(parts.len(), 257, "each page once");
        let torn: Vec<_> = parts.iter().filter(|part| !(part.end as u64 + 100).is_multiple_of(UNIT)).collect();
        assert!((16..64).contains(&torn.len()), "{torn:?}");
        assert!(torn.iter().rev().skip(1).all(|part| (part.end as u64 + 100).is_multiple_of(SECTOR)), "{torn:?}");
    }

    #[test]
    fn a_part_lies_within_its_write() {
        let mut luck = Luck::new(fastrand::Rng::with_seed(2), 0.9);
        for _ in 0..1_000 {
            let (offset, len) = (luck.random.u64(..20_000), luck.random.usize(1..20_000));
            let parts = luck.parts(offset, len);
            assert!(parts.is_sorted_by_key(|part| part.start));
            assert!(parts.iter().all(|part| part.start <= part.end && part.end <= len), "{offset} {len} {parts:?}");
        }
    }
}
