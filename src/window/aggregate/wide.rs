//! A float of twice the precision: the unevaluated sum of two, for sums that must not depend on the order.
//!
//! Adding to it errs by less than 2⁻¹⁰⁴ of the running sum, so that a million readings summed in any order agree
//! in all that an `f64` shows, and the variance of values far from zero does not drown (the textbook difference of
//! sums of squares loses twice the digits that the mean has more than the spread, and here there are 32 to lose).
//!
//! Algorithms: T. J. Dekker, "A floating-point technique for extending the available precision" (1971), and D. E.
//! Knuth's two-sum. Dekker's product needs no fused multiply-add, which many a small machine lacks: the results
//! are the same everywhere.
//!
//! Invariant: `low` is at most half a unit in the last place of `high`; it is 0 where `high` is not finite.

use serde::{Deserialize, Serialize};

use crate::reading::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wide {
    high: f64,
    low: f64,
}

impl Wide {
    /// The exact square.
    pub fn square(self) -> Self {
        self.times(self)
    }

    pub fn add(&mut self, x: f64) {
        let (sum, error) = two_sum(self.high, x);
        *self = Self::of(sum, error + self.low);
    }

    pub fn plus(self, other: Self) -> Self {
        let (high, error) = two_sum(self.high, other.high);
        let (low, rest) = two_sum(self.low, other.low);
        let first = Self::of(high, error + low);
        Self::of(first.high, first.low + rest)
    }

    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    pub fn times(self, other: Self) -> Self {
        let (high, error) = two_product(self.high, other.high);
        Self::of(high, error + (self.high * other.low + self.low * other.high))
    }

    pub fn over(self, by: f64) -> Self {
        let first = self.high / by;
        let rest = self.minus(Self::from(first).times(Self::from(by)));
        Self::of(first, rest.high / by)
    }

    pub fn value(self) -> f64 {
        self.high
    }

    fn of(high: f64, low: f64) -> Self {
        let sum = high + low;
        Self { high: sum, low: if sum.is_finite() { low - (sum - high) } else { 0.0 } }
    }

    /// A number; `None` for what is none.
    pub fn number(value: &Value) -> Option<Self> {
        match *value {
            Value::F64(x) => Some(x.into()),
            Value::I64(n) => Some(i128::from(n).into()),
            Value::U64(n) => Some(i128::from(n).into()),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }
}

impl From<f64> for Wide {
    fn from(x: f64) -> Self {
        Self { high: x, low: 0.0 }
    }
}

impl From<i128> for Wide {
    /// Exact to 106 bits.
    fn from(n: i128) -> Self {
        let high = n as f64;
        // Only at the very end of the range does the nearest float lie outside it, and then this saturates.
        Self::of(high, n.wrapping_sub(high as i128) as f64)
    }
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    (sum, if sum.is_finite() { error } else { 0.0 })
}

fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    (product, if error.is_finite() { error } else { 0.0 })
}

/// Two halves of 26 bits each.
fn split(x: f64) -> (f64, f64) {
    let scaled = 134_217_729.0 * x;
    let high = scaled - (scaled - x);
    (high, x - high)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the whole point is what comes out to the bit")]

    use super::*;

    #[test]
    fn what_a_float_would_lose_comes_back() {
        let mut sum = Wide::default();
        for x in [1.0, 1e17, 1.0, -1e17] {
            sum.add(x);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn integers_beyond_a_floats_digits_square_exactly() {
        let n = (1_i128 << 52) + 1;
        assert_ne!(n * n, (n * n) as f64 as i128, "more digits than a float has");
        let square = Wide::from(n).square();
        assert_eq!(square.minus(Wide::from(n * n - 3)).value(), 3.0);
        assert_eq!(Wide::from(7_i128).over(2.0).value(), 3.5);
    }

    #[test]
    fn infinity_stays_and_does_not_turn_into_something_else() {
        let mut sum = Wide::from(1.0);
        sum.add(f64::INFINITY);
        sum.add(1.0);
        assert_eq!(sum.value(), f64::INFINITY);
        assert_eq!(sum.plus(Wide::from(2.0)).value(), f64::INFINITY);
    }
}
