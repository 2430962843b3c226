//! How event time is cut.
//!
//! Tumbling windows are hops that do not overlap. A hop is made of **slices**, as long as the greatest length that
//! divides both slide and size: a reading goes into one slice, however many hops share it, and a hop that closes
//! joins its slices.
//!
//! ```text
//!   size 15 s, slide 10 s    slices of 5 s  │a│b│c│d│e│f│
//!                            hops           └─────┘         a b c
//!                                               └─────┘     c d e
//! ```
//!
//! Sessions have no slices: each is a span of readings no further apart than the gap.
//!
//! Invariants: every start and end is within `FAR` and a window's length of the epoch, so that sums do not overflow.

use super::plan::Shape;

/// Event times beyond this (about 36,000 years away) count as this.
pub const FAR: i64 = 1 << 60;

/// The hops of a window, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hops {
    slide: i64,
    size: i64,
    slice: i64,
}

impl Hops {
    /// `None` for sessions.
    pub fn of(shape: Shape) -> Option<Self> {
        let (slide, size) = match shape {
            Shape::Tumble { size } => (size, size),
            Shape::Hop { slide, size } => (slide, size),
            Shape::Session { .. } => return None,
        };
        assert!((1..=FAR).contains(&slide) && (1..=FAR).contains(&size), "a plan's lengths are in range");
        Some(Self { slide, size, slice: divisor(slide, size) })
    }

    pub fn size(self) -> i64 {
        self.size
    }

    /// The start of the slice that this time lies in.
    pub fn slice(self, time: i64) -> i64 {
        time - time.rem_euclid(self.slice)
    }

    /// The end of the last hop that this slice is part of. At most `start`, if it lies between two hops.
    pub fn last_end(self, start: i64) -> i64 {
        start - start.rem_euclid(self.slide) + self.size
    }

    /// The first end of a hop after this time.
    pub fn end_after(self, time: i64) -> i64 {
        time - (time - self.size).rem_euclid(self.slide) + self.slide
    }
}

/// The greatest that divides both.
pub fn divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(slide: i64, size: i64) -> Hops {
        Hops::of(Shape::Hop { slide, size }).unwrap()
    }

    /// The ends of all hops that hold a time, by trying.
    fn ends(hops: Hops, time: i64) -> Vec<i64> {
        (-50..100).map(|n| n * hops.slide + hops.size).filter(|end| (end - hops.size..*end).contains(&time)).collect()
    }

    #[test]
    fn hops_and_slices_agree_with_what_a_hop_is() {
        for (slide, size) in [(10, 10), (10, 15), (5, 30), (7, 3), (1, 4), (6, 4)] {
            let hops = hops(slide, size);
            for time in -40..40 {
                let slice = hops.slice(time);
                assert!((slice..slice + hops.slice).contains(&time));
                let all = ends(hops, time);
                assert_eq!(all, ends(hops, slice), "{slide} {size}: a slice is wholly in or out");
                match all.last() {
                    Some(last) => assert_eq!(hops.last_end(slice), *last),
                    None => assert!(hops.last_end(slice) <= slice),
                }
                let next = (-50..100).map(|n| n * slide + size).find(|end| *end > time);
                assert_eq!(hops.end_after(time), next.unwrap());
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for shape in [Shape::Tumble { size: FAR }, Shape::Hop { slide: 7, size: FAR }] {
            let hops = Hops::of(shape).unwrap();
            for time in [-FAR, FAR] {
                assert!(hops.slice(time) <= time);
                assert!(hops.end_after(time) > time);
                assert!(hops.last_end(hops.slice(time)) > time);
            }
        }
    }
}
