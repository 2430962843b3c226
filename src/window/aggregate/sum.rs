//! SUM, AVG, VAR and STDDEV: the state of sums.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Counts;
use super::wide::Wide;
use crate::reading::Value;

/// Integers exactly, floats widely, and each apart, so that a sum of integers alone is an integer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sum {
    count: u64,
    #[serde(serialize_with = "write_integer", deserialize_with = "read_integer")]
    integers: i128,
    floats: Wide,
    /// Whether a float was among them.
    floating: bool,
}

impl Sum {
    pub fn add(&mut self, value: &Value) {
        match *value {
            Value::F64(x) => {
                self.floats.add(x);
                self.floating = true;
            }
            Value::I64(n) => self.integers += i128::from(n),
            Value::U64(n) => self.integers += i128::from(n),
            Value::Bool(_) | Value::Text(_) => return,
        }
        self.count += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.integers += other.integers;
        self.floats = self.floats.plus(other.floats);
        self.floating |= other.floating;
    }

    pub fn sum(&self, counts: &mut Counts) -> Option<Value> {
        if self.count == 0 {
            return None;
        }
        if self.floating {
            return super::float(Some(self.wide().value()));
        }
        if let Ok(sum) = i64::try_from(self.integers) {
            return Some(Value::I64(sum));
        }
        u64::try_from(self.integers).map(Value::U64).ok().or_else(|| {
            counts.integer_overflow += 1;
            Some(Value::F64(self.wide().value()))
        })
    }

    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.wide().over(self.count as f64).value())
    }

    fn wide(&self) -> Wide {
        self.floats.plus(Wide::from(self.integers))
    }
}

/// The first two moments.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    sum: Wide,
    squares: Wide,
}

impl Moments {
    pub fn add(&mut self, value: &Value) {
        let Some(x) = Wide::number(value) else { return };
        self.count += 1;
        self.sum = self.sum.plus(x);
        self.squares = self.squares.plus(x.square());
    }

    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.plus(other.sum);
        self.squares = self.squares.plus(other.squares);
    }

    /// The variance of a whole population (`less` 0) or of a sample of it (`less` 1); NULL where it has none.
    pub fn variance(&self, less: u64) -> Option<f64> {
        if self.count <= less {
            return None;
        }
        let spread = self.squares.minus(self.sum.square().over(self.count as f64));
        let variance = spread.over((self.count - less) as f64).value();
        // `max` would turn NaN, the honest answer to infinite values, into 0.
        Some(if variance < 0.0 { 0.0 } else { variance })
    }
}

/// CBOR's integers have 64 bits.
fn write_integer<S: Serializer>(n: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    ((n >> 64) as i64, *n as u64).serialize(serializer)
}

fn read_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
    let (high, low) = <(i64, u64)>::deserialize(deserializer)?;
    Ok(i128::from(high) << 64 | i128::from(low))
}
