//! Aggregates over a list of values, told as plainly as SQL defines them, and what counts as the same answer.

use std::cmp::Ordering;

use crate::reading::Value;
use crate::window::plan::Kind;

/// How far the digits of a float may depend on the order in which it was summed, in parts of what was summed.
const ROUNDING: f64 = 1e-9;

/// A value that a row should have.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Exactly(Value),
    /// At most so far from it.
    About(f64, f64),
}

/// One row's argument: when, and what; rows are in the order of the log.
pub type Sample<'a> = (i64, &'a Value);

impl Answer {
    /// `None` is NULL. `samples` are without NULLs.
    pub fn of(kind: Kind, samples: &[Sample<'_>]) -> Option<Self> {
        let values = || samples.iter().map(|(_, value)| *value);
        let found = match kind {
            Kind::Count => return Some(Self::count(samples.len())),
            Kind::Sum => return sum(values()),
            Kind::Avg => return average(values()),
            Kind::Min => values().min_by(|a, b| order(a, b)),
            Kind::Max => values().max_by(|a, b| order(a, b)),
            // Of equals the first, and the last: as `min_by_key` and `max_by_key` have it.
            Kind::FirstValue => samples.iter().min_by_key(|(time, _)| *time).map(|(_, value)| *value),
            Kind::LastValue => samples.iter().max_by_key(|(time, _)| *time).map(|(_, value)| *value),
            _ => None,
        };
        found.cloned().map(Self::Exactly)
    }

    pub fn count(rows: usize) -> Self {
        Self::Exactly(Value::from(rows as u64))
    }

    /// Whether a value that arrived is this.
    pub fn is(&self, arrived: &Value) -> bool {
        match self {
            Self::Exactly(value) => order(value, arrived) == Ordering::Equal,
            Self::About(x, within) => float(arrived).is_some_and(|y| (x - y).abs() <= *within),
        }
    }
}

impl From<Value> for Answer {
    /// As exact as its kind allows.
    fn from(value: Value) -> Self {
        match value {
            Value::F64(x) => Self::About(x, x.abs() * ROUNDING),
            value => Self::Exactly(value),
        }
    }
}

pub const KINDS: [Kind; 7] =
    [Kind::Count, Kind::Sum, Kind::Avg, Kind::Min, Kind::Max, Kind::FirstValue, Kind::LastValue];

fn sum<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Answer> {
    let numbers: Vec<&Value> = values.filter(|value| float(value).is_some()).collect();
    let integers = numbers.iter().map(|number| integer(number)).sum::<Option<i128>>();
    if let Some(exact) = integers.filter(|_| !numbers.is_empty()).and_then(narrow) {
        return Some(Answer::Exactly(exact));
    }
    let (sum, size) = total(&numbers)?;
    Some(Answer::About(sum, size * ROUNDING))
}

fn average<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Answer> {
    let numbers: Vec<&Value> = values.filter(|value| float(value).is_some()).collect();
    let (sum, size) = total(&numbers)?;
    let count = numbers.len() as f64;
    Some(Answer::About(sum / count, size * ROUNDING / count))
}

/// The sum, and the sum of the absolute values.
fn total(numbers: &[&Value]) -> Option<(f64, f64)> {
    let floats = || numbers.iter().filter_map(|number| float(number));
    (!numbers.is_empty()).then(|| (floats().sum(), floats().map(f64::abs).sum()))
}

fn narrow(n: i128) -> Option<Value> {
    i64::try_from(n).map(Value::I64).or_else(|_| u64::try_from(n).map(Value::U64)).ok()
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I64(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::F64(x) => Some(*x),
        _ => integer(value).map(|n| n as f64),
    }
}

/// Bools before numbers before text; numbers by value, whatever their kind: on the wire a whole float is an integer.
pub fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bool(_), _) | (_, Value::Text(_)) => Ordering::Less,
        (_, Value::Bool(_)) | (Value::Text(_), _) => Ordering::Greater,
        _ => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal),
        },
    }
}

/// The same text for values that are equal.
pub fn name(value: Option<&Value>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(Value::Text(text)) => format!("{text:?}"),
        Some(Value::Bool(on)) => on.to_string(),
        // Whole floats have no point, and all digits: as integers have.
        Some(number) => {
            integer(number).map_or_else(|| (float(number).unwrap_or(0.0) + 0.0).to_string(), |n| n.to_string())
        }
    }
}
