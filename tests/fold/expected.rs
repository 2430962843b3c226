//! What windows must have closed with: the readings of a log, put together plainly, all at once.

use std::collections::BTreeMap;

use tidegate::reading::{Reading, Value};

use super::life::Named;

const SECOND: i64 = 1_000_000;

/// Three windows of different shapes. None of their readings is late, if readings come within a second of their time.
pub const WINDOWS: &str = r#"
[[window]]
name = "tumbling"
watermark = "1s"
checkpoint_interval = "2s"
sql = """SELECT device, COUNT(*) AS n, SUM(x) AS sum, MIN(x) AS least, MAX(x) AS most
         FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' SECOND)"""
[[window]]
name = "hopping"
watermark = "1s"
checkpoint_interval = "2s"
sql = """SELECT device, FIRST_VALUE(x) AS first, LAST_VALUE(x) AS last, HOP_START(time, INTERVAL '1' SECOND, INTERVAL '3' SECOND) AS start
         FROM readings GROUP BY device, HOP(time, INTERVAL '1' SECOND, INTERVAL '3' SECOND)"""
[[window]]
name = "session"
watermark = "1s"
checkpoint_interval = "2s"
by = "source"
sql = """SELECT COUNT(*) AS n, SESSION_START(time, INTERVAL '400' MILLISECOND) AS start
         FROM readings GROUP BY SESSION(time, INTERVAL '400' MILLISECOND)"""
"#;

/// A row without its name: window, device, end, and its fields.
pub type Row = (String, String, i64, Vec<(String, Value)>);

pub fn row(reading: &Reading) -> Row {
    let fields = reading.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let series = &reading.series;
    assert_eq!(&*series.source, "window");
    let window = series.window.as_ref().expect("a row names its window");
    (window.to_string(), series.device.to_string(), reading.time.expect("a row has a time").0, fields)
}

/// A field that is an integer.
pub fn integer(reading: &Reading, name: &str) -> i64 {
    match reading.fields.iter().find(|(field, _)| &**field == name) {
        Some((_, Value::I64(n))) => *n,
        other => panic!("{name}: {other:?}"),
    }
}

/// The rows that these readings make up, in no order.
pub fn rows(readings: &[Named]) -> Vec<Row> {
    let mut seen: Vec<(i64, String, i64)> = Vec::new();
    for (_, arrived, reading) in readings {
        let [(_, Value::I64(x))] = &reading.fields[..] else { panic!("one integer") };
        seen.push((reading.time.unwrap_or(*arrived).0, reading.series.device.to_string(), *x));
    }
    // Of one time, the first is what came first: the sort is stable.
    seen.sort_by_key(|(time, ..)| *time);
    let mut rows = Vec::new();
    for ((device, start), values) in spread(&seen, SECOND, SECOND) {
        let fields = [
            ("n", values.len() as i64),
            ("sum", values.iter().sum()),
            ("least", *values.iter().min().unwrap()),
            ("most", *values.iter().max().unwrap()),
        ];
        rows.push(made("tumbling", &device, start + SECOND, &fields, Some(&device)));
    }
    for ((device, start), values) in spread(&seen, SECOND, 3 * SECOND) {
        let fields = [("first", values[0]), ("last", *values.last().unwrap()), ("start", start)];
        rows.push(made("hopping", &device, start + 3 * SECOND, &fields, Some(&device)));
    }
    let gap = SECOND * 2 / 5;
    let mut sessions: Vec<(i64, i64, i64)> = Vec::new();
    for (time, ..) in &seen {
        match sessions.last_mut() {
            Some((_, last, n)) if *time - *last <= gap => (*last, *n) = (*time, *n + 1),
            _ => sessions.push((*time, *time, 1)),
        }
    }
    let session = |(start, last, n)| made("session", "", last + gap, &[("n", n), ("start", start)], None);
    rows.extend(sessions.into_iter().map(session));
    rows
}

fn spread(seen: &[(i64, String, i64)], slide: i64, size: i64) -> BTreeMap<(String, i64), Vec<i64>> {
    let mut windows: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for (time, device, x) in seen {
        let newest = time.div_euclid(slide) * slide;
        let starts = (0..size / slide).map(|back| newest - back * slide);
        starts.for_each(|start| windows.entry((device.clone(), start)).or_default().push(*x));
    }
    windows
}

fn made(window: &str, of: &str, end: i64, fields: &[(&str, i64)], device: Option<&String>) -> Row {
    let device = device.map(|device| ("device".to_owned(), Value::Text(device.as_str().into())));
    let fields = fields.iter().map(|(name, n)| ((*name).to_owned(), Value::I64(*n)));
    (window.to_owned(), of.to_owned(), end, device.into_iter().chain(fields).collect())
}
