//! What a record holds, before and after the wire.

use alloc::sync::Arc;
use alloc::vec::Vec;

/// The value of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    F64(f64),
    /// Any integer that fits; `U64` is only for what does not.
    I64(i64),
    /// Above `i64::MAX`.
    U64(u64),
    Bool(bool),
    Text(Arc<str>),
}

impl From<u64> for Value {
    /// The one form of each integer: `I64` wherever it fits.
    fn from(n: u64) -> Self {
        i64::try_from(n).map_or(Self::U64(n), Self::I64)
    }
}

/// What many readings have in common: where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub source: Arc<str>,
    pub device: Arc<str>,
    /// Sorted by name, names unique.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// The window a row closed; `None` for readings.
    pub window: Option<Arc<str>>,
}

/// One reading with its place in a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub offset: u64,
    /// Microseconds since the Unix epoch, UTC.
    pub time: i64,
    /// The moment of arrival, microseconds since the Unix epoch, UTC.
    pub received: Option<i64>,
    pub series: Arc<Series>,
    /// Names unique.
    pub fields: Vec<(Arc<str>, Value)>,
}
