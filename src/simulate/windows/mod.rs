//! What rows the windows should have closed with, worked out from the readings that were delivered, against the rows
//! that were.
//!
//! ```text
//!   readings, each (epoch, offset) once ──▶ in the order of their commit ──▶ plain ──▶ rows expected ─┐
//!   rows,     each (epoch, offset) once ────────────────────────────────────────────▶ rows delivered ─┴▶ matching
//! ```
//!
//! [`plain`] shares the query's text and its meaning ([`crate::window::plan`]) with the gateway and nothing else: no
//! aggregate, no watermark, no group. It knows windows over columns: `GROUP BY` columns, `COUNT`, `SUM`, `AVG`, `MIN`,
//! `MAX`, `FIRST_VALUE`, `LAST_VALUE` of columns, no `WHERE`, no `HAVING`. A user's window that says more is worked
//! out by the gateway's own fold, in one piece ([`once_more`]): that proves that each reading entered its rows exactly
//! once, but not that the arithmetic is right.
//!
//! Late readings are known by the order of the log: a reading is late in a window that ends at or before the latest
//! event time of its clock so far, less the watermark. That clocks go on while a sensor is silent (`idle_timeout`) is
//! left out: event times here are those of the clock on the wall, which no silent clock overtakes. A file that is
//! replayed slower than it was recorded, under a user's own windows, may be judged wrongly by that.
//!
//! Invariant: a row is judged once; one that was delivered under two identities is one too many.

mod answer;
mod matching;
mod once_more;
mod plain;

use std::sync::Arc;

use tidegate_wire::Row;

use answer::Answer;
pub use matching::Judgement;

use super::consumer::Identity;
use crate::window::Spec;
use crate::window::plan::{Expr, Ref};

/// For sensors that report as they measure: every 2 and 5 seconds, and whenever one falls silent. The watermark covers
/// how long a sensor keeps a reading back.
pub const LIVE: &str = r#"
[[window]]
name = "samples_5s"
sql = """SELECT device, metric, COUNT(*) AS n, SUM(value) AS sum, AVG(value) AS avg, MIN(value) AS min, MAX(value) AS max
FROM samples GROUP BY device, metric, TUMBLE(time, INTERVAL '5' SECOND)"""
watermark = "3s"
max_groups = 1000000
[[window]]
name = "hops_6s"
sql = """SELECT device, HOP_START(time, INTERVAL '2' SECOND, INTERVAL '6' SECOND) AS start, COUNT(*) AS count,
MIN(n) AS lowest, FIRST_VALUE(n) AS first, LAST_VALUE(n) AS last
FROM readings GROUP BY device, HOP(time, INTERVAL '2' SECOND, INTERVAL '6' SECOND)"""
watermark = "3s"
max_groups = 1000000
[[window]]
name = "sessions"
sql = """SELECT device, SESSION_START(time, INTERVAL '1' SECOND) AS start, SESSION_END(time, INTERVAL '1' SECOND) AS end,
COUNT(*) AS count, SUM(n) AS sum FROM readings GROUP BY device, SESSION(time, INTERVAL '1' SECOND)"""
watermark = "3s"
max_groups = 1000000
"#;

/// For files: by the hour and the day. No silence of a sensor means anything at another speed than the recorded one.
pub const RECORDED: &str = r#"
[[window]]
name = "samples_1h"
sql = """SELECT device, metric, COUNT(*) AS n, SUM(value) AS sum, AVG(value) AS avg, MIN(value) AS min, MAX(value) AS max
FROM samples GROUP BY device, metric, TUMBLE(time, INTERVAL '1' HOUR)"""
watermark = "1h"
idle_timeout = "366d"
max_groups = 1000000
[[window]]
name = "hops_1d"
sql = """SELECT device, HOP_START(time, INTERVAL '6' HOUR, INTERVAL '1' DAY) AS start, COUNT(*) AS count,
MIN(n) AS lowest, FIRST_VALUE(n) AS first, LAST_VALUE(n) AS last
FROM readings GROUP BY device, HOP(time, INTERVAL '6' HOUR, INTERVAL '1' DAY)"""
watermark = "1h"
idle_timeout = "366d"
max_groups = 1000000
[[window]]
name = "sessions"
sql = """SELECT device, SESSION_START(time, INTERVAL '2' HOUR) AS start, SESSION_END(time, INTERVAL '2' HOUR) AS end,
COUNT(*) AS count, SUM(n) AS sum FROM readings GROUP BY device, SESSION(time, INTERVAL '2' HOUR)"""
watermark = "1h"
idle_timeout = "366d"
max_groups = 1000000
"#;

/// What arrived, as far as windows are concerned. It keeps every reading while there is a window.
#[derive(Debug, Default)]
pub struct Evidence {
    specs: Vec<Spec>,
    readings: Vec<Committed>,
    rows: Vec<Row>,
}

/// A reading at its place in the log.
#[derive(Clone, Debug)]
struct Committed {
    at: Identity,
    row: Row,
}

/// A row that should have come.
#[derive(Debug)]
struct Expected {
    device: Arc<str>,
    /// Exclusive.
    end: i64,
    /// Without what is NULL.
    fields: Vec<(Arc<str>, Answer)>,
}

impl Evidence {
    #[must_use]
    pub fn of(specs: Vec<Spec>) -> Self {
        Self { specs, ..Self::default() }
    }

    /// Takes a reading, each identity once.
    pub fn reading(&mut self, epoch: u64, row: &Row) {
        if !self.specs.is_empty() {
            self.readings.push(Committed { at: (epoch, row.offset), row: row.clone() });
        }
    }

    /// Takes a row, each identity once.
    pub fn row(&mut self, row: &Row) {
        self.rows.push(row.clone());
    }

    #[must_use]
    pub fn has_windows(&self) -> bool {
        !self.specs.is_empty()
    }

    /// How many rows have arrived.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The windows whose rows only the gateway's own fold can work out.
    pub fn not_independent(&self) -> impl Iterator<Item = &Arc<str>> {
        self.specs.iter().filter(|spec| !plain::knows(spec)).map(|spec| &spec.name)
    }

    /// Works everything out anew.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let mut readings: Vec<&Committed> = self.readings.iter().collect();
        readings.sort_by_key(|reading| reading.at);
        let expected = self.specs.iter().map(|spec| {
            let rows = plain::rows(spec, &readings).unwrap_or_else(|| once_more::rows(spec, &readings));
            (spec, rows)
        });
        matching::judge(expected.collect(), &self.rows)
    }
}

/// The columns of a row that tell it from others of its window, device and end.
fn key_columns(spec: &Spec) -> Vec<&str> {
    let is_key = |expression: &Expr| matches!(expression, Expr::Ref(Ref::Key(_) | Ref::WindowStart | Ref::WindowEnd));
    spec.plan.select.iter().filter(|(_, expression)| is_key(expression)).map(|(name, _)| &**name).collect()
}

#[cfg(test)]
mod tests;
