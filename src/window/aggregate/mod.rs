//! Aggregates: a state that takes rows in any order, joins another, and has an answer at any time.
//!
//! NULL is skipped, and so are NaN, and what an aggregate has no use for (text in a sum).
//!
//! Invariants:
//! - counts, MIN, MAX, `FIRST_VALUE`, `LAST_VALUE`, integer sums and percentiles depend on the rows alone; sums, averages
//!   and variances of floats on their order only beyond the digits of an `f64`;
//! - `merge` joins rows that lie wholly later in event time, as the slices of a hop and the parts of a session do;
//! - what was written comes back bit for bit.

mod distinct;
mod quantile;
mod samples;
mod sum;
mod wide;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use self::distinct::Distinct;
use self::quantile::Quantile;
use self::samples::Samples;
use self::sum::{Moments, Sum};
use self::wide::Wide;
use super::plan::{Aggregate, Datum, Kind};
use crate::reading::Value;

/// What could not be done as asked, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readings of which a row came after every window that it belongs to had closed.
    pub late: u64,
    /// Readings whose time was too far ahead of their arrival to move the clock.
    pub ahead: u64,
    /// Rows that would have opened a group beyond `max_groups`.
    pub group_overflow: u64,
    /// Values beyond those that a COUNT(DISTINCT) tells apart.
    pub distinct_overflow: u64,
    /// Integer sums beyond 64 bits, given as floats.
    pub integer_overflow: u64,
    /// Samples that came too late, or from too many series, for RATE and `TIME_AVG`.
    pub sample_overflow: u64,
}

/// What one aggregate keeps of the rows of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum State {
    Count(u64),
    Distinct(Box<Distinct>),
    Sum(Sum),
    Moments(Moments),
    Min(Option<Kept>),
    Max(Option<Kept>),
    First(Option<(i64, Kept)>),
    Last(Option<(i64, Kept)>),
    Quantile(Quantile),
    Samples(Samples),
}

/// One row's part in an aggregate.
pub struct Input<'a> {
    /// Event time.
    pub time: i64,
    /// Source, device, tags and metric in one text, where an aggregate asks for it.
    pub series: &'a str,
    pub value: &'a Value,
}

impl State {
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count(0),
            Kind::CountDistinct => Self::Distinct(Box::default()),
            Kind::Sum | Kind::Avg => Self::Sum(Sum::default()),
            Kind::VarPop | Kind::VarSamp | Kind::StddevPop | Kind::StddevSamp => Self::Moments(Moments::default()),
            Kind::Min => Self::Min(None),
            Kind::Max => Self::Max(None),
            Kind::FirstValue => Self::First(None),
            Kind::LastValue => Self::Last(None),
            Kind::Percentile(_) => Self::Quantile(Quantile::default()),
            Kind::Rate | Kind::TimeAvg => Self::Samples(Samples::default()),
        }
    }

    /// A row of `COUNT(*)`.
    pub fn count(&mut self) {
        if let Self::Count(count) = self {
            *count += 1;
        }
    }

    /// A row; rows come in the order of the log.
    pub fn add(&mut self, input: &Input, counts: &mut Counts) {
        let Input { time, series, value } = *input;
        if matches!(value, Value::F64(x) if x.is_nan()) {
            return;
        }
        match self {
            Self::Count(count) => *count += 1,
            Self::Distinct(distinct) => distinct.add(value, counts),
            Self::Sum(sum) => sum.add(value),
            Self::Moments(moments) => moments.add(value),
            Self::Min(kept) => keep(kept, value, Ordering::Less),
            Self::Max(kept) => keep(kept, value, Ordering::Greater),
            Self::First(Some((first, _))) if *first <= time => {}
            Self::Last(Some((last, _))) if *last > time => {}
            Self::First(kept) | Self::Last(kept) => *kept = Some((time, Kept(value.clone()))),
            Self::Quantile(quantile) => {
                if let Some(x) = Wide::number(value) {
                    quantile.add(x.value());
                }
            }
            Self::Samples(samples) => {
                if let Some(x) = Wide::number(value) {
                    samples.add(series, (time, x.value()), counts);
                }
            }
        }
    }

    /// Joins the state of rows that lie wholly later.
    pub fn merge(&mut self, later: &Self, counts: &mut Counts) {
        match (self, later) {
            (Self::Count(count), Self::Count(more)) => *count += more,
            (Self::Distinct(distinct), Self::Distinct(later)) => distinct.merge(later, counts),
            (Self::Sum(sum), Self::Sum(later)) => sum.merge(later),
            (Self::Moments(moments), Self::Moments(later)) => moments.merge(later),
            (Self::Min(kept), Self::Min(Some(Kept(value)))) => keep(kept, value, Ordering::Less),
            (Self::Max(kept), Self::Max(Some(Kept(value)))) => keep(kept, value, Ordering::Greater),
            (Self::First(kept @ None), Self::First(later)) => kept.clone_from(later),
            (Self::Last(kept), Self::Last(Some(later))) => *kept = Some(later.clone()),
            (Self::Quantile(quantile), Self::Quantile(later)) => quantile.merge(later),
            (Self::Samples(samples), Self::Samples(later)) => samples.merge(later, counts),
            // Nothing to add, or (of First) something earlier that stays.
            _ => {}
        }
    }

    /// The answer over all rows so far, for a window that ends at `end`.
    pub fn finish(&self, kind: Kind, end: i64, counts: &mut Counts) -> Datum {
        match self {
            Self::Count(count) => Some(Value::from(*count)),
            Self::Distinct(distinct) => Some(Value::from(distinct.count())),
            Self::Sum(sum) if kind == Kind::Avg => float(sum.average()),
            Self::Sum(sum) => sum.sum(counts),
            Self::Moments(moments) => float(match kind {
                Kind::VarPop => moments.variance(0),
                Kind::VarSamp => moments.variance(1),
                Kind::StddevPop => moments.variance(0).map(f64::sqrt),
                _ => moments.variance(1).map(f64::sqrt),
            }),
            Self::Min(kept) | Self::Max(kept) => kept.as_ref().map(|kept| kept.0.clone()),
            Self::First(kept) | Self::Last(kept) => kept.as_ref().map(|(_, kept)| kept.0.clone()),
            Self::Quantile(quantile) => match kind {
                Kind::Percentile(q) => float(quantile.value(q)),
                _ => None,
            },
            Self::Samples(samples) if kind == Kind::Rate => float(samples.rate()),
            Self::Samples(samples) => float(samples.time_average(end)),
        }
    }

    /// Roughly what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let beyond = match self {
            Self::Distinct(distinct) => size_of::<Distinct>() + distinct.bytes(),
            Self::Quantile(quantile) => quantile.bytes(),
            Self::Samples(samples) => samples.bytes(),
            Self::Min(Some(Kept(Value::Text(text)))) | Self::Max(Some(Kept(Value::Text(text)))) => text.len(),
            Self::First(Some((_, Kept(Value::Text(text))))) | Self::Last(Some((_, Kept(Value::Text(text))))) => {
                text.len()
            }
            _ => 0,
        };
        size_of::<Self>() + beyond
    }
}

/// A result that is not finite is NULL, as everywhere in an expression.
fn float(x: Option<f64>) -> Datum {
    x.filter(|x| x.is_finite()).map(Value::F64)
}

/// Keeps the new value if it stands on that side of the kept one.
fn keep(kept: &mut Option<Kept>, value: &Value, side: Ordering) {
    if kept.as_ref().is_none_or(|kept| order(value, &kept.0) == side) {
        *kept = Some(Kept(value.clone()));
    }
}

/// One order over all values: as SQL compares them; bools before numbers before text.
///
/// Equal numbers of different kinds have a place too, so that which of them is kept depends on no order of arrival.
fn order(a: &Value, b: &Value) -> Ordering {
    let class = |value: &Value| match value {
        Value::Bool(_) => 0,
        Value::Text(_) => 2,
        _ => 1,
    };
    let kind = |value: &Value| match value {
        Value::F64(x) if x.is_sign_negative() => 1,
        Value::F64(_) => 2,
        _ => 0,
    };
    let by_value = super::expr::order(a, b).unwrap_or_else(|| class(a).cmp(&class(b)));
    by_value.then_with(|| kind(a).cmp(&kind(b)))
}

/// A value in a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept(#[serde(with = "Written")] pub Value);

/// How a value is written in a state; the type itself knows nothing of serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Value")]
enum Written {
    F64(f64),
    I64(i64),
    U64(u64),
    Bool(bool),
    Text(std::sync::Arc<str>),
}

/// Roughly what a group of these aggregates takes in memory while it is young.
#[must_use]
pub fn bytes(aggregates: &[Aggregate]) -> usize {
    aggregates.iter().map(|aggregate| State::of(aggregate.kind).bytes()).sum()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
