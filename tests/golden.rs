//! Goldens by another hand: `golden/flink/NAME.sql` over `readings.jsonl`, as Apache Flink answered it in `NAME.jsonl`,
//! is answered alike here. How they came about, and where the two differ, stands in `golden/flink/README.md`.
//!
//! All is compared exactly, but for numbers computed in floats, where the order of adding shows.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::support::gateway::tidegate;

type Row = Map<String, Value>;

/// One of these words in the name of a column says that its floats were computed.
const COMPUTED: [&str; 4] = ["sum", "avg", "stddev", "var"];
const TOLERANCE: f64 = 1e-9;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/flink")
}

/// The names of all files that end so.
fn names(end: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(end)?.to_owned())).collect();
    names.sort();
    names
}

fn queries() -> Vec<String> {
    // `NAME.flink.sql` is what Flink is asked instead of `NAME.sql`.
    names(".sql").into_iter().filter(|name| !name.contains('.')).collect()
}

fn ours(name: &str) -> Vec<Row> {
    let query = std::fs::read_to_string(folder().join(format!("{name}.sql"))).unwrap();
    let readings = folder().join("readings.jsonl");
    let file = readings.to_str().unwrap();
    let command = ["sql", file, "--time", "at", "--device", "device", "--time-column", "ts", "--query", &query];
    let done = tidegate(&command);
    let notes = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && notes.is_empty(), "{name}: {notes}");
    rows(name, &String::from_utf8(done.stdout).unwrap())
}

fn theirs(name: &str) -> Vec<Row> {
    let file = folder().join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    rows(name, &text)
}

fn rows(name: &str, lines: &str) -> Vec<Row> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

fn is_computed(column: &str) -> bool {
    column.split('_').any(|word| COMPUTED.contains(&word))
}

/// The part of a row that is exact, as text to sort and compare by; whole floats and integers are written alike.
fn exact(row: &Row) -> String {
    let mut text = String::new();
    for (column, value) in row.iter().filter(|(column, value)| !value.is_null() && !is_computed(column)) {
        let value = value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:?}"));
        text += &format!("{column} {value} ");
    }
    text
}

/// Whether two values of one column are alike. A float that is whole may be an integer here; never the reverse.
fn are_alike(column: &str, ours: &Value, theirs: &Value) -> bool {
    let (Some(x), Some(y)) = (ours.as_f64(), theirs.as_f64()) else { return ours == theirs };
    let tolerance = if is_computed(column) { TOLERANCE * x.abs().max(y.abs()) } else { 0.0 };
    (x - y).abs() <= tolerance && (ours.is_i64() || !theirs.is_i64())
}

fn compare(name: &str, ours: &mut [Row], theirs: &mut [Row]) {
    assert!(!theirs.is_empty(), "{name}: the golden has no rows");
    ours.sort_by_cached_key(exact);
    theirs.sort_by_cached_key(exact);
    for (ours, theirs) in ours.iter().zip(theirs.iter()) {
        for column in theirs.keys().chain(ours.keys()) {
            // A column that is NULL is left out of our rows, and written in theirs.
            let known = theirs.get(column).unwrap_or_else(|| panic!("{name}: a column `{column}` of ours alone"));
            let alike = are_alike(column, ours.get(column).unwrap_or(&Value::Null), known);
            assert!(alike, "{name}: `{column}`\n  ours   {ours:?}\n  theirs {theirs:?}");
        }
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: rows of ours, and theirs");
}

#[test]
fn windows_answer_as_apache_flink_does() {
    let queries = queries();
    assert!(queries.len() >= 12, "{queries:?}");
    for name in &queries {
        compare(name, &mut ours(name), &mut theirs(name));
    }
}

#[test]
fn every_golden_has_its_query() {
    let goldens: Vec<_> = names(".jsonl").into_iter().filter(|name| name != "readings").collect();
    assert_eq!(goldens, queries());
}
