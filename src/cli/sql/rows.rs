//! Rows to lines, and what there is to say beside them.

use std::io::{self, Write};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::reading::{Micros, Plain, Value};
use crate::window::{Closed, Counts, Folded};

/// A line a row; the counts are added up.
pub fn print(folded: &Folded, whole: bool, counts: &mut Counts, out: &mut impl Write) -> anyhow::Result<()> {
    for row in &folded.rows {
        let row = Row { row, whole };
        // As an I/O error, so that a closed pipe is known for one.
        serde_json::to_writer(&mut *out, &row).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    for more in &folded.counts {
        counts.late += more.late;
        counts.distinct_overflow += more.distinct_overflow;
        counts.integer_overflow += more.integer_overflow;
        counts.sample_overflow += more.sample_overflow;
    }
    Ok(())
}

/// What of the readings is in no row, or not as it came.
pub fn tell(counts: &Counts, err: &mut impl Write) -> io::Result<()> {
    for (count, what) in [
        (counts.late, "readings came too late for their windows: the watermark is too short for them"),
        (counts.distinct_overflow, "values were beyond those that COUNT(DISTINCT …) tells apart"),
        (counts.integer_overflow, "integer sums were beyond 64 bits, and are given as floats"),
        (counts.sample_overflow, "samples came too late, or from too many series, for RATE or TIME_AVG"),
    ] {
        if count > 0 {
            writeln!(err, "note: {count} {what}")?;
        }
    }
    Ok(())
}

/// A row as a line: its columns, or all that is delivered of it.
struct Row<'a> {
    row: &'a Closed,
    whole: bool,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { row, whole } = self;
        let columns = Columns(&row.fields);
        if !whole {
            return columns.serialize(serializer);
        }
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("stream", "rows")?;
        line.serialize_entry("window", &row.window)?;
        line.serialize_entry("start", &Micros(row.start).to_string())?;
        line.serialize_entry("time", &Micros(row.end).to_string())?;
        line.serialize_entry("time_ms", &row.end.div_euclid(1_000))?;
        line.serialize_entry("device", &row.device)?;
        line.serialize_entry("fields", &columns)?;
        line.end()
    }
}

struct Columns<'a>(&'a [(Arc<str>, Value)]);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Plain(value))))
    }
}
