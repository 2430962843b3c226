//! What was let through last of each field, and whether a value says more than that.
//!
//! Values are compared in the order of their event times, not of their arrival, so that a backlog that comes at once is
//! reported as it would have been in time:
//! - what is not older than the last that was let through passes when it has moved, or when the heartbeat lies between
//!   them, by their own times or by their arrival: the time of a sensor may stand still;
//! - what is older passes, and is not remembered: what was said about its time is not known any more;
//! - where neither has a time of its own, the moments of arrival are compared, by a clock that does not step;
//! - a clock that was wrong and is put right, or right and falls back, holds nothing open: what is older becomes the last
//!   one where that lies further ahead of our clock than [`MAX_AHEAD`], or came a heartbeat ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::reading::{Micros, Reading, Series, Value};

/// Bytes that are remembered, roughly: a field each of 100,000 series. Beyond, all is forgotten: every field passes once more.
pub const MOST_BYTES: usize = 32 * 1024 * 1024;
/// How far a sensor's clock may be ahead of ours and still be believed.
const MAX_AHEAD: i64 = 3600 * Micros::PER_SECOND;
/// What a value or a series costs beside its text.
const EACH: usize = 96;

/// How a field is reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Report {
    Always,
    OnChange,
    Deadband(f64),
}

pub struct Memory {
    /// So long a field may have nothing new to say.
    heartbeat: Duration,
    passed: HashMap<Arc<Series>, HashMap<Arc<str>, Passed>>,
    bytes: usize,
}

/// A value that was let through.
struct Passed {
    value: Value,
    /// The time that its payload told.
    said: Option<Micros>,
    arrived: Mono,
}

/// When a reading was, and when that is looked at.
#[derive(Clone, Copy)]
pub struct Moment {
    said: Option<Micros>,
    now: Now,
}

/// Where a reading lies, seen from the last one.
enum Since {
    /// As long after it.
    After(Duration),
    Before,
    /// Two clocks that cannot be compared.
    Unrelated,
}

impl Memory {
    pub fn new(heartbeat: Duration) -> Self {
        Self { heartbeat, passed: HashMap::new(), bytes: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    pub fn forget(&mut self) {
        *self = Self::new(self.heartbeat);
    }

    /// Whether a value says more than the last one of its field, which it then becomes.
    pub fn is_news(
        &mut self,
        (series, name): (&Arc<Series>, &Arc<str>),
        value: &Value,
        report: Report,
        moment: Moment,
    ) -> bool {
        if report == Report::Always {
            return true;
        }
        if !self.passed.contains_key(series) {
            self.passed.insert(series.clone(), HashMap::new());
            self.bytes += series_bytes(series);
        }
        let fields = self.passed.get_mut(series).expect("it was put there");
        let news = || Passed { value: value.clone(), said: moment.said, arrived: moment.now.mono };
        let Some(last) = fields.get_mut(name) else {
            self.bytes += EACH + name.len() + text_bytes(value);
            fields.insert(name.clone(), news());
            return true;
        };
        let overdue = moment.since_arrival(last) >= self.heartbeat;
        let (passes, is_last) = match moment.since(last) {
            Since::After(silence) => {
                let passes = overdue || silence >= self.heartbeat || has_moved(&last.value, value, report);
                (passes, passes)
            }
            Since::Before => (true, overdue || moment.disbelieves(last)),
            Since::Unrelated => (true, true),
        };
        if is_last {
            self.bytes = self.bytes + text_bytes(value) - text_bytes(&last.value);
            *last = news();
        }
        passes
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let fields = |fields: &HashMap<Arc<str>, Passed>| {
            fields.iter().map(|(name, last)| EACH + name.len() + text_bytes(&last.value)).sum::<usize>()
        };
        let counted = self.passed.iter().map(|(series, each)| series_bytes(series) + fields(each)).sum();
        assert_eq!(self.bytes, counted);
        counted
    }
}

impl Moment {
    pub fn of(reading: &Reading, now: Now) -> Self {
        Self { said: reading.time, now }
    }

    fn since(self, last: &Passed) -> Since {
        match (self.said, last.said) {
            (Some(said), Some(last)) if said < last => Since::Before,
            (Some(Micros(said)), Some(Micros(last))) => Since::After(Duration::from_micros(said.abs_diff(last))),
            (None, None) => Since::After(self.since_arrival(last)),
            _ => Since::Unrelated,
        }
    }

    fn since_arrival(self, last: &Passed) -> Duration {
        Duration::from_micros(self.now.mono.0.saturating_sub(last.arrived.0).max(0) as u64)
    }

    /// Whether a time further ahead than this is that of a wrong clock.
    fn disbelieves(self, last: &Passed) -> bool {
        self.now.synced() && last.said.is_some_and(|said| said.0.saturating_sub(self.now.wall.0) > MAX_AHEAD)
    }
}

fn series_bytes(series: &Series) -> usize {
    let tags = series.tags.iter().map(|(name, value)| name.len() + value.len() + EACH);
    2 * EACH + series.source.len() + series.device.len() + tags.sum::<usize>()
}

fn text_bytes(value: &Value) -> usize {
    if let Value::Text(text) = value { text.len() } else { 0 }
}

fn has_moved(last: &Value, value: &Value, report: Report) -> bool {
    match (report, number(last), number(value)) {
        (Report::Deadband(band), Some(last), Some(value)) => last.distance(value) > band,
        _ => last != value,
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Float(f64),
}

impl Number {
    fn distance(self, other: Self) -> f64 {
        match (self, other) {
            // Counters beyond 2^53 move by less than a double can tell.
            (Self::Whole(a), Self::Whole(b)) => a.abs_diff(b) as f64,
            (a, b) => (a.float() - b.float()).abs(),
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Float(x) => x,
        }
    }
}

fn number(value: &Value) -> Option<Number> {
    match *value {
        Value::I64(n) => Some(Number::Whole(n.into())),
        Value::U64(n) => Some(Number::Whole(n.into())),
        Value::F64(x) => Some(Number::Float(x)),
        Value::Bool(_) | Value::Text(_) => None,
    }
}
