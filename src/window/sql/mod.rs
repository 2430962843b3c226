//! The SQL of a window to the [`Plan`] that the fold runs.
//!
//! ```sql
//! SELECT   key | aggregate | TUMBLE_START(…) | anything made of these [AS name], …
//! FROM     readings | samples
//! [WHERE   condition on a row]
//! GROUP BY [key, …] TUMBLE(time, size) | HOP(time, slide, size) | SESSION(time, gap)
//! [HAVING  condition on a group]
//! ```
//!
//! or, as Apache Flink writes it today, with the columns `window_start`, `window_end` and `window_time`:
//!
//! ```sql
//! SELECT … FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)) GROUP BY key, window_start, window_end
//! ```
//!
//! - A row of `readings` has `time`, `source`, `device`, `tags['…']` and every field by its name; a row of `samples` has
//!   `metric` and `value` in place of the fields. A dotted or odd name is quoted: `"motor.temp"`.
//! - Keywords and functions are written in any case; names are as they are.
//! - Times are microseconds since the Unix epoch. `window_time` and `TUMBLE_ROWTIME` are the end less one millisecond.
//! - A column without `AS` has the name of the column or tag it shows, or else one made from the expression:
//!   `AVG(temp)` is `avg_temp`, `COUNT(*)` is `count`, `a / b` is `a_over_b`, `TUMBLE_START(…)` is `window_start`.
//!
//! A field has whatever type its payload gave it. Types are checked as far as they are known, from literals, aggregates
//! and the columns that are always text or always numbers; the rest is NULL when it comes to it ([`super::expr`]).
//!
//! Invariants: a text becomes a plan or at least one fault, each at the place of what it is about; no text, however
//! long or nested, takes the process down.
//!
//! The grammar is that of the crate `sqlparser`, which is named here only. It reads far more than a window can mean:
//! whatever is not understood is refused by name, never passed over.

mod aggregate;
mod call;
mod column;
mod expr;
mod family;
mod from;
mod interval;
mod name;
mod parse;
mod query;
mod refuse;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;

use super::plan::Plan;

/// Under which names a query knows the table of readings and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub table: String,
    pub time_column: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { table: "readings".to_owned(), time_column: "time".to_owned() }
    }
}

/// What is wrong with a query, where, and what would be right. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlFault {
    pub line: usize,
    pub column: usize,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.line, self.column, self.what, self.remedy)
    }
}

/// What a query means, or everything that is wrong with it in the order it is written.
///
/// A text that is not SQL has one fault: behind it nothing is sure.
pub fn plan(sql: &str, names: &Names) -> Result<Plan, Vec<SqlFault>> {
    let (query, words) = parse::parse(sql).map_err(|fault| vec![fault])?;
    let mut planner = query::Planner::new(names, words);
    let plan = planner.query(&query);
    let mut faults = planner.faults;
    faults.sort();
    faults.dedup();
    match plan {
        Some(plan) if faults.is_empty() => Ok(plan),
        _ => Err(faults),
    }
}
