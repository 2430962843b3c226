//! What a window's groups take in memory, before there are any.

use super::aggregate::bytes;
use super::plan::{Aggregate, Kind, Plan};

/// The key, its places in the maps, and the frame around the states.
const FRAME: usize = 240;
const KEY: usize = 32;
/// Text, values, samples: what those that keep more than a sum have kept after some sixty rows.
const ROWS: usize = 60;
const DISTINCT: usize = 48;
const QUANTILE: usize = 8;
const SAMPLE: usize = 16;

impl Plan {
    /// Bytes of one open group, roughly: one key in one window, or in one slice of a hop.
    #[must_use]
    pub fn bytes_per_group(&self) -> usize {
        let kept = |aggregate: &Aggregate| match aggregate.kind {
            Kind::CountDistinct => ROWS * DISTINCT,
            Kind::Percentile(_) => ROWS * QUANTILE,
            Kind::Rate | Kind::TimeAvg => ROWS * SAMPLE + FRAME,
            _ => 0,
        };
        let kept: usize = self.aggregates.iter().map(kept).sum();
        FRAME + KEY * self.keys.len() + bytes(&self.aggregates) + kept
    }

    /// Whether a group goes on to grow with its rows.
    #[must_use]
    pub fn keeps_values(&self) -> bool {
        let keeps = |kind| matches!(kind, Kind::CountDistinct | Kind::Percentile(_) | Kind::Rate | Kind::TimeAvg);
        self.aggregates.iter().any(|aggregate| keeps(aggregate.kind))
    }
}
