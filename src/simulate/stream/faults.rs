//! What goes wrong, and how often. Pure.

use std::time::Duration;

use super::Sabotage;

/// How the stream and the link to it misbehave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    pub seed: u64,
    /// The fraction of records that are refused for throughput, inside a reply of 200.
    pub throttle: f64,
    /// The fraction of requests that end in a 500.
    pub failure: f64,
    /// The fraction of requests whose connection is cut after the records were stored: the sender must send again.
    pub cut: f64,
    pub outages: Vec<Outage>,
    /// What the stream lies about, to try the check.
    pub sabotage: Option<Sabotage>,
}

/// The link is down from `start` to `start + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    pub start: Duration,
    pub length: Duration,
}

impl Outage {
    #[must_use]
    pub fn end(&self) -> Duration {
        self.start + self.length
    }

    #[must_use]
    pub fn holds_at(&self, elapsed: Duration) -> bool {
        (self.start..self.end()).contains(&elapsed)
    }
}

/// Seeded chance with a promise: `n` throws hit `n × fraction` times, one more or less. A run with a dozen
/// requests then meets its faults as surely as a long one. The first throw hits; after that one hit lies in each
/// stride of 1 / fraction throws, at a place drawn anew in each.
pub struct Dice {
    random: fastrand::Rng,
    fraction: f64,
    /// Strides gone by, in whole and in part.
    at: f64,
    /// Where the next hit lies.
    next: f64,
}

impl Dice {
    pub fn new(seed: u64, fraction: f64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let next = random.f64() * fraction.clamp(0.0, 1.0);
        Self { random, fraction: fraction.clamp(0.0, 1.0), at: 0.0, next }
    }

    pub fn hit(&mut self) -> bool {
        self.at += self.fraction;
        let hit = self.at > self.next;
        if hit {
            self.next = self.next.floor() + 1.0 + self.random.f64();
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(seed: u64, fraction: f64) -> Vec<bool> {
        let mut dice = Dice::new(seed, fraction);
        (0..1_000).map(|_| dice.hit()).collect()
    }

    #[test]
    fn dice_hit_as_often_as_they_were_told_to_from_the_first_throws_on() {
        for seed in 0..50 {
            let hits = throws(seed, 0.3);
            assert!(hits[0], "seed {seed} spares the first");
            let count = hits.iter().filter(|hit| **hit).count();
            assert!((298..=302).contains(&count), "seed {seed}: {count} of 1000");
        }
        assert!(!throws(1, 0.0).contains(&true));
        assert!(throws(1, 1.0).iter().filter(|hit| **hit).count() >= 999);
    }

    #[test]
    fn dice_of_one_seed_fall_alike_and_are_not_a_metronome() {
        assert_eq!(throws(7, 0.3), throws(7, 0.3));
        assert_ne!(throws(7, 0.3), throws(8, 0.3));
        assert!(throws(7, 0.3).windows(2).any(|pair| pair == [true, true]));
    }

    #[test]
    fn an_outage_holds_from_its_start_to_just_before_its_end() {
        let outage = Outage { start: Duration::from_secs(2), length: Duration::from_secs(4) };
        let held: Vec<u64> = (0..8).filter(|second| outage.holds_at(Duration::from_secs(*second))).collect();
        assert_eq!(held, [2, 3, 4, 5]);
    }
}
