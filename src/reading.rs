//! The nouns that every other module shares.
//!
//! A **reading** is one observation as it arrived: the unit that is counted, stored, acknowledged and delivered.
//! Its **series** (source, device, tags) is shared between the readings that have it in common.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
pub use tidegate_wire::{Series, Value};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    pub const PER_SECOND: i64 = 1_000_000;
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{}µs", self.0),
        }
    }
}

/// One observation, on its way from a source to the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Event time as the payload told it; `None`: the moment of arrival stands in.
    pub time: Option<Micros>,
    pub series: Arc<Series>,
    /// At least one. Names are unique; their order is the payload's.
    pub fields: Vec<(Arc<str>, Value)>,
}

/// What fields take in memory, bytes. Their names are shared.
#[must_use]
pub fn held_bytes(fields: &[(Arc<str>, Value)]) -> usize {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    size_of_val(fields) + fields.iter().map(|(_, value)| text(value)).sum::<usize>()
}

/// A value as itself, whatever the format.
///
/// JSON has no word for what is not finite: there it becomes null.
pub struct Plain<'a>(pub &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::F64(n) => serializer.serialize_f64(*n),
            Value::I64(n) => serializer.serialize_i64(*n),
            Value::U64(n) => serializer.serialize_u64(*n),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}
