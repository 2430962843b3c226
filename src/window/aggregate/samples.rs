//! RATE and `TIME_AVG`: what depends on the order of event time, whatever the order of arrival.
//!
//! ```text
//!   head: all up to some moment, summed up │ tail: the latest samples, in order of event time
//! ```
//!
//! A sample that comes late goes between two others and changes both of their steps, so the samples themselves are
//! kept, up to `MOST` a series; then the older half of them is summed up. A sample older than what was summed up is
//! left out and counted: the answers are exact as long as no reading comes more than `MOST / 2` samples late.
//!
//! A counter or a level is one series' own (source, device, tags, and the metric in `samples`), so each series has
//! its own line: RATE adds their rates, `TIME_AVG` weighs each by its time.
//!
//! - **Step** from one sample to the next: the increase is the difference, or, where the counter fell, the new value
//!   (it was reset and counts from zero). Of equal times the later in the log comes later.
//! - **RATE** = increases between a series' first and last sample ÷ the seconds between those two. NULL with one
//!   moment only.
//! - **`TIME_AVG`**: each value weighs from its time to the next one's, the last until the window's end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Counts;
use super::wide::Wide;

/// The most samples of a series that are kept apart.
const MOST: usize = 1024;
/// The most series in one group.
const MOST_SERIES: usize = 1000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Samples(BTreeMap<Box<str>, Line>);

/// Event time in microseconds, value.
type Sample = (i64, f64);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Line {
    head: Option<Head>,
    tail: Vec<Sample>,
}

/// All samples from `first` to `last`, summed up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Head {
    first: Sample,
    last: Sample,
    increase: Wide,
    /// Values times the microseconds they held.
    area: Wide,
}

impl Samples {
    pub fn add(&mut self, series: &str, sample: Sample, counts: &mut Counts) {
        if !sample.1.is_finite() {
            return;
        }
        if let Some(line) = self.0.get_mut(series) {
            line.add(sample, counts);
        } else if self.0.len() < MOST_SERIES {
            self.0.insert(series.into(), Line { head: None, tail: vec![sample] });
        } else {
            counts.sample_overflow += 1;
        }
    }

    /// Joins what lies wholly after.
    pub fn merge(&mut self, later: &Self, counts: &mut Counts) {
        for (series, line) in &later.0 {
            if let Some(before) = self.0.get_mut(series) {
                before.merge(line);
            } else if self.0.len() < MOST_SERIES {
                self.0.insert(series.clone(), line.clone());
            } else {
                counts.sample_overflow += 1;
            }
        }
    }

    /// Increase a second.
    pub fn rate(&self) -> Option<f64> {
        let rates = self.0.values().filter_map(|line| {
            let all = line.sum_up()?;
            let span = all.last.0 - all.first.0;
            (span > 0).then(|| all.increase.value() / (span as f64 / 1e6))
        });
        rates.reduce(|sum, rate| sum + rate)
    }

    pub fn time_average(&self, end: i64) -> Option<f64> {
        let (mut area, mut weight) = (Wide::default(), 0);
        for all in self.0.values().filter_map(Line::sum_up) {
            let held = end - all.last.0;
            area = area.plus(all.area).plus(Wide::from(all.last.1).times(Wide::from(held as f64)));
            weight += i128::from(end - all.first.0);
        }
        (weight > 0).then(|| area.over(weight as f64).value())
    }

    pub fn bytes(&self) -> usize {
        let lines = self.0.iter();
        lines.map(|(series, line)| series.len() + size_of::<Line>() + 16 + line.tail.capacity() * 16).sum()
    }
}

impl Line {
    fn add(&mut self, sample: Sample, counts: &mut Counts) {
        if self.head.is_some_and(|head| sample.0 < head.last.0) {
            counts.sample_overflow += 1;
            return;
        }
        if self.tail.len() == MOST {
            self.shorten(MOST / 2);
            return self.add(sample, counts);
        }
        let place = match self.tail.last() {
            Some(last) if last.0 > sample.0 => self.tail.partition_point(|kept| kept.0 <= sample.0),
            _ => self.tail.len(),
        };
        self.tail.insert(place, sample);
    }

    /// Sums up all but the latest `keep` samples.
    fn shorten(&mut self, keep: usize) {
        let older = self.tail.drain(..self.tail.len() - keep);
        self.head = older.fold(self.head, |head, sample| Some(step(head, sample)));
    }

    fn merge(&mut self, later: &Self) {
        let Some(next) = later.head else {
            self.tail.extend_from_slice(&later.tail);
            if self.tail.len() > MOST {
                self.shorten(MOST / 2);
            }
            return;
        };
        self.shorten(0);
        let mut head = step(self.head, next.first);
        head.increase = head.increase.plus(next.increase);
        head.area = head.area.plus(next.area);
        head.last = next.last;
        *self = Self { head: Some(head), tail: later.tail.clone() };
    }

    fn sum_up(&self) -> Option<Head> {
        self.tail.iter().fold(self.head, |head, sample| Some(step(head, *sample)))
    }
}

fn step(head: Option<Head>, sample: Sample) -> Head {
    let Some(mut head) = head else {
        return Head { first: sample, last: sample, increase: Wide::default(), area: Wide::default() };
    };
    let (before, now) = (head.last.1, sample.1);
    let increase = if now < before { Wide::from(now) } else { Wide::from(now).minus(Wide::from(before)) };
    head.increase = head.increase.plus(increase);
    let held = (sample.0 - head.last.0) as f64;
    head.area = head.area.plus(Wide::from(before).times(Wide::from(held)));
    head.last = sample;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn of(samples: &[(i64, f64)]) -> (Samples, Counts) {
        let (mut all, mut counts) = (Samples::default(), Counts::default());
        for (second, value) in samples {
            all.add("s", (second * SECOND, *value), &mut counts);
        }
        (all, counts)
    }

    #[test]
    fn a_counter_that_restarts_goes_on_from_zero() {
        let (samples, _) = of(&[(0, 100.0), (10, 150.0), (20, 5.0), (30, 25.0)]);
        assert_eq!(samples.rate(), Some((50.0 + 5.0 + 20.0) / 30.0));
        assert_eq!(of(&[(0, 100.0)]).0.rate(), None, "one reading tells of no increase");
    }

    #[test]
    fn each_value_weighs_until_the_next_and_the_last_until_the_end() {
        let (samples, _) = of(&[(10, 1.0), (20, 3.0), (50, 2.0)]);
        assert_eq!(samples.time_average(60 * SECOND), Some((10.0 + 90.0 + 20.0) / 50.0));
        assert_eq!(of(&[]).0.time_average(60 * SECOND), None);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let ordered: Vec<_> = (0..500).map(|n| (n, f64::from(n as i32 * 37 % 101))).collect();
        let mut shuffled = ordered.clone();
        fastrand::Rng::with_seed(1).shuffle(&mut shuffled);
        let ((ordered, _), (shuffled, counts)) = (of(&ordered), of(&shuffled));
        assert_eq!(counts, Counts::default());
        assert_eq!(ordered.rate().map(f64::to_bits), shuffled.rate().map(f64::to_bits));
        assert_eq!(
            ordered.time_average(600 * SECOND).map(f64::to_bits),
            shuffled.time_average(600 * SECOND).map(f64::to_bits)
        );
    }

    #[test]
    fn long_windows_are_summed_up_and_what_comes_too_late_is_counted() {
        let long: Vec<_> = (0..10_000).map(|n| (n, n as f64)).collect();
        let (mut samples, mut counts) = of(&long);
        assert_eq!(samples.rate(), Some(1.0));
        assert!(samples.bytes() < 32 * MOST);
        samples.add("s", (5 * SECOND, 0.0), &mut counts);
        assert_eq!(counts.sample_overflow, 1);
        assert_eq!(samples.rate(), Some(1.0));
    }

    #[test]
    fn parts_joined_are_the_whole() {
        let long: Vec<_> = (0..4000).map(|n| (n, (n % 700) as f64)).collect();
        let (whole, _) = of(&long);
        let (mut joined, mut counts) = of(&long[..100]);
        for part in [&long[100..1700], &long[1700..1800], &long[1800..]] {
            joined.merge(&of(part).0, &mut counts);
        }
        assert_eq!(joined.rate(), whole.rate());
        assert_eq!(joined.time_average(5000 * SECOND), whole.time_average(5000 * SECOND));
    }

    #[test]
    fn each_series_counts_for_itself() {
        let mut counts = Counts::default();
        let mut samples = Samples::default();
        for (series, second, value) in [("a", 0, 0.0), ("b", 5, 1000.0), ("a", 10, 10.0), ("b", 15, 1020.0)] {
            samples.add(series, (second * SECOND, value), &mut counts);
        }
        assert_eq!(samples.rate(), Some(3.0));
    }
}
