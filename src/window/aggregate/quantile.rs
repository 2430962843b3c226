//! PERCENTILE(x, q): the value of rank ⌊q·(n − 1)⌋ among the n values, from 0.
//!
//! Up to 128 values it is exact. Beyond them a `DDSketch` (C. Masson et al., VLDB 2019) answers within 0.5 % of that
//! value, whatever the distribution; the least and the greatest stay exact. Values nearer to zero than 10⁻⁹ count
//! as zero, and where the greatest is more than 10¹⁷ times the least, the least run together. Infinities
//! count as the greatest finite floats.
//!
//! Invariant: the answer depends on the values, not on the order they came in.

use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

const FEW: usize = 128;
const ERROR: f64 = 0.005;
const BINS: u32 = 4096;
const ZERO: f64 = 1e-9;

#[derive(Clone, Serialize, Deserialize)]
pub enum Quantile {
    Few(Vec<f64>),
    Many(Box<DDSketch>),
}

impl Default for Quantile {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl std::fmt::Debug for Quantile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Few(values) => f.debug_tuple("Few").field(values).finish(),
            Self::Many(sketch) => f.debug_tuple("Many").field(&sketch.count()).finish(),
        }
    }
}

impl Quantile {
    pub fn add(&mut self, x: f64) {
        // The sketch has no bin for infinity.
        let x = x.clamp(f64::MIN, f64::MAX);
        match self {
            Self::Few(values) if values.len() < FEW => values.push(x),
            _ => self.sketch().add(x),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        match other {
            Self::Few(values) => values.iter().for_each(|x| self.add(*x)),
            Self::Many(sketch) => self.sketch().merge(sketch).expect("all sketches have one configuration"),
        }
    }

    fn sketch(&mut self) -> &mut DDSketch {
        if let Self::Few(values) = self {
            let mut sketch = DDSketch::new(Config::new(ERROR, BINS, ZERO));
            for x in values {
                sketch.add(*x);
            }
            *self = Self::Many(Box::new(sketch));
        }
        let Self::Many(sketch) = self else { unreachable!("made above") };
        sketch
    }

    pub fn value(&self, q: f64) -> Option<f64> {
        match self {
            Self::Few(values) if values.is_empty() => None,
            Self::Few(values) => {
                let mut values = values.clone();
                values.sort_unstable_by(f64::total_cmp);
                Some(values[(q * (values.len() - 1) as f64) as usize])
            }
            Self::Many(sketch) => {
                let (least, most) = (sketch.min()?, sketch.max()?);
                Some(sketch.quantile(q).ok()??.clamp(least, most))
            }
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Few(values) => values.capacity() * 8,
            Self::Many(sketch) => size_of::<DDSketch>() + sketch.length() * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Quantile {
        let mut quantile = Quantile::default();
        values.into_iter().for_each(|x| quantile.add(x));
        quantile
    }

    #[test]
    fn few_values_are_answered_exactly() {
        let hundred = of((1..=101).rev().map(f64::from));
        assert_eq!(hundred.value(0.5), Some(51.0));
        assert_eq!(hundred.value(0.95), Some(96.0));
        assert_eq!((hundred.value(0.0), hundred.value(1.0)), (Some(1.0), Some(101.0)));
        assert_eq!(Quantile::default().value(0.5), None);
    }

    #[test]
    fn many_values_are_answered_within_half_a_percent() {
        let many = of((0..100_000).map(|n| f64::from(n * 7919 % 100_000) - 20_000.0));
        for (q, exact) in [(0.01, -19_000.0), (0.1, -10_000.0), (0.5, 30_000.0), (0.999, 79_900.0)] {
            let value = many.value(q).unwrap();
            assert!((value - exact).abs() <= 0.0051 * f64::abs(exact), "{q}: {value} for {exact}");
        }
    }

    #[test]
    fn the_answer_is_the_same_in_any_order_and_however_it_was_put_together() {
        let values: Vec<f64> = (0..1000).map(|n| f64::from(n * 577 % 1000).exp2().min(1e300) / 1e9).collect();
        let whole = of(values.iter().copied());
        let backwards = of(values.iter().rev().copied());
        let mut parts = of(values[..60].iter().copied());
        parts.merge(&of(values[60..100].iter().copied()));
        parts.merge(&of(values[100..].iter().copied()));
        for q in [0.0, 0.001, 0.3, 0.5, 0.9, 0.99, 1.0] {
            assert_eq!(whole.value(q), backwards.value(q), "{q}");
            assert_eq!(whole.value(q), parts.value(q), "{q}");
        }
    }

    #[test]
    fn what_has_no_place_in_a_sketch_does_not_break_it() {
        let odd = [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -0.0, f64::MAX, 5e-324];
        let many = of(odd.into_iter().cycle().take(2000));
        assert_eq!(many.value(1.0), Some(f64::MAX));
        assert_eq!(many.value(0.0), Some(f64::MIN));
        assert!(many.value(0.5).unwrap().is_finite());
    }
}
