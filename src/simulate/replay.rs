//! CSV files as sensors.
//!
//! The first line names the columns. `time`, `timestamp` or `ts` (in any case) is the event time: RFC 3339, a civil
//! time (no zone: UTC), or a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart
//! by size. Every other column is a field: an integer, a number, or else text; an empty cell is no value.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::sensor::{COUNTER, TIME};
use crate::reading::{Micros, Value};

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{file}: cannot be read as CSV: {source}")]
    Csv { file: PathBuf, source: csv::Error },
    #[error("{file}:1: no column is called time, timestamp or ts; the first line must name the columns")]
    NoTime { file: PathBuf },
    #[error("{file}:{line}: `{text}` is no time; RFC 3339, YYYY-MM-DD HH:MM:SS or a number since the epoch is")]
    Time { file: PathBuf, line: u64, text: String },
    #[error("{file}: holds no rows")]
    Empty { file: PathBuf },
}

/// The rows of a file.
#[derive(Debug, PartialEq)]
pub struct Rows {
    names: Vec<Arc<str>>,
    times: Vec<Micros>,
    /// Row by row, `names.len()` of them each.
    values: Vec<Option<Value>>,
}

/// One row, ready to be sent.
pub struct Row {
    pub time: Micros,
    /// Recorded time since the first row; zero for one from before it.
    pub since_first: Duration,
    pub fields: Vec<(Arc<str>, Value)>,
}

impl Rows {
    pub fn load(file: &Path) -> Result<Self, ReplayError> {
        let csv = |source| ReplayError::Csv { file: file.to_owned(), source };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(csv)?;
        let headers = reader.headers().map_err(csv)?.clone();
        let is_time = |name: &str| ["time", "timestamp", "ts"].iter().any(|known| name.eq_ignore_ascii_case(known));
        let time_column =
            headers.iter().position(is_time).ok_or_else(|| ReplayError::NoTime { file: file.to_owned() })?;
        let others = |at: usize| at != time_column;
        let names =
            headers.iter().enumerate().filter(|(at, _)| others(*at)).map(|(_, name)| field_name(name)).collect();
        let mut rows = Self { names, times: Vec::new(), values: Vec::new() };
        for record in reader.into_records() {
            let record = record.map_err(csv)?;
            let text = &record[time_column];
            let time = time(text).ok_or_else(|| ReplayError::Time {
                file: file.to_owned(),
                line: record.position().map_or(0, csv::Position::line),
                text: text.to_owned(),
            })?;
            rows.times.push(time);
            rows.values.extend(record.iter().enumerate().filter(|(at, _)| others(*at)).map(|(_, cell)| value(cell)));
        }
        if rows.times.is_empty() {
            return Err(ReplayError::Empty { file: file.to_owned() });
        }
        Ok(rows)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    #[must_use]
    pub fn get(&self, at: usize) -> Option<Row> {
        let time = *self.times.get(at)?;
        let since_first = Duration::from_micros(time.0.saturating_sub(self.times[0].0).max(0) as u64);
        let values = &self.values[at * self.names.len()..][..self.names.len()];
        let fields =
            self.names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        Some(Row { time, since_first, fields })
    }
}

/// A column that is called as one of the payload's own fields makes room for it.
fn field_name(column: &str) -> Arc<str> {
    if [COUNTER, TIME].contains(&column) { format!("{column}_").into() } else { column.into() }
}

fn time(text: &str) -> Option<Micros> {
    if let Ok(number) = text.parse::<f64>() {
        // 10^11 seconds are the year 5138, 10^11 milliseconds are 1973, and so on.
        let scale = match number.abs() {
            size if size < 1e11 => 1e6,
            size if size < 1e14 => 1e3,
            size if size < 1e17 => 1.0,
            _ => 1e-3,
        };
        return number.is_finite().then_some(Micros((number * scale).round() as i64));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(Micros(at.as_microsecond()));
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    let at = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(Micros(at.as_microsecond()))
}

fn value(cell: &str) -> Option<Value> {
    if cell.is_empty() {
        return None;
    }
    if let Ok(number) = cell.parse::<i64>() {
        return Some(Value::I64(number));
    }
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(Value::F64(number)),
        _ => Some(Value::Text(cell.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Rows, ReplayError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-replay-{}-{}.csv", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).unwrap();
        let rows = Rows::load(&file);
        std::fs::remove_file(&file).unwrap();
        rows
    }

    #[test]
    fn columns_become_fields_of_the_type_their_cells_have() {
        let rows =
            load("a,Timestamp,b,c\n1,2013-07-04 00:00:00,74.93588199999998,on\n,2013-07-04 00:05:00,2,\n").unwrap();
        let first = rows.get(0).unwrap();
        assert_eq!(first.time.to_string(), "2013-07-04T00:00:00.000000Z");
        let fields: Vec<(&str, &Value)> = first.fields.iter().map(|(name, value)| (&**name, value)).collect();
        let text = Value::Text("on".into());
        assert_eq!(fields, [("a", &Value::I64(1)), ("b", &Value::F64(74.935_881_999_999_98)), ("c", &text)]);
        let second = rows.get(1).unwrap();
        assert_eq!(second.since_first, Duration::from_mins(5));
        assert_eq!(second.fields.len(), 1, "empty cells are no values");
        assert!(rows.get(2).is_none());
    }

    #[test]
    fn every_way_to_write_a_time_means_the_same() {
        for text in
            ["1372896000", "1372896000000", "1372896000000000", "2013-07-04T00:00:00Z", "2013-07-04T02:00:00+02:00"]
        {
            assert_eq!(time(text), Some(Micros(1_372_896_000_000_000)), "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn a_file_that_is_no_series_is_refused_with_the_place_and_the_remedy() {
        let message = |text: &str| load(text).unwrap_err().to_string();
        assert!(message("a,b\n1,2\n").contains(":1: no column is called time"));
        assert!(message("ts,b\n0,2\nsoon,2\n").contains(":3: `soon` is no time"));
        assert!(message("ts,b\n").ends_with("holds no rows"));
        assert!(message("ts,b\n1\n").contains("cannot be read as CSV"));
    }
}
