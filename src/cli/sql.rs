//! `tidegate sql`: a window's query over a file, for trying out what it will say.
//!
//! A line is a payload as a `json` source gets it, or a record as `tidegate decode` prints it. The file is all there
//! is: with no `--watermark` every window closes at its end, so that the order of the lines does not matter.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::config::{Format, Payload};
use crate::decode::Decoder;
use crate::queue::entry::{Entry, Group, Stamp};
use crate::reading::{Micros, Plain, Reading, Series, Value};
use crate::window::plan::Plan;
use crate::window::sql::{Names, plan};
use crate::window::{By, Closed, Counts, Folded, Late, Spec, Windows};

/// Readings that are folded at once.
const AT_ONCE: usize = 1_000;
/// The watermark of one who waits for the end: longer than event times reach.
const FOR_EVER: i64 = 1 << 61;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate sql telemetry.jsonl --time ts --device id \\
    --query \"SELECT device, AVG(temp) FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)\"
  tidegate decode record.b64 | tidegate sql - \\
    --query \"SELECT metric, MAX(value) FROM samples GROUP BY metric, TUMBLE(time, INTERVAL '1' HOUR)\"

Exit code 2 if the query is wrong, 1 if a line could not be read.")]
pub struct Args {
    /// Lines of JSON: payloads, or records as `tidegate decode` prints them; `-`: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The SELECT
    // Which may begin with a comment, `-- …`.
    #[arg(short, long, allow_hyphen_values = true)]
    query: String,
    /// The field of a payload that holds its time
    #[arg(long, value_name = "FIELD")]
    time: Option<String>,
    /// The field of a payload that names its device; none: the file is one device
    #[arg(long, value_name = "FIELD")]
    device: Option<String>,
    /// What the query calls the table of readings
    #[arg(long, value_name = "NAME", default_value = "readings")]
    table: String,
    /// What the query calls the time of a reading
    #[arg(long, value_name = "NAME", default_value = "time")]
    time_column: String,
    /// How far out of order lines may come; what is later is left out, and counted. Absent: any order
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    watermark: Option<std::time::Duration>,
    /// Whole rows, with their window's bounds and device, instead of the columns of SELECT alone
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let names = Names { table: args.table.clone(), time_column: args.time_column.clone() };
    let plan = match plan(&args.query, &names) {
        Ok(plan) => plan,
        Err(faults) => {
            for fault in &faults {
                eprintln!("query:{fault}");
            }
            return Ok(ExitCode::from(2));
        }
    };
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let input: Box<dyn BufRead> = match args.file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(&args.file).with_context(|| format!("cannot read {name}"))?)),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut lines = Lines::new(&args, name)?;
    let outcome = over(spec(&args, plan), input, &mut lines, args.json, &mut out, &mut io::stderr().lock());
    match outcome.and_then(|outcome| out.flush().map(|()| outcome).map_err(Into::into)) {
        // Whoever reads the pipe has seen enough.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    }
}

fn spec(args: &Args, plan: Plan) -> Spec {
    let by = if plan.device_key.is_some() { By::Device } else { By::Source };
    let watermark = args.watermark.map_or(FOR_EVER, |watermark| watermark.as_micros().min(FOR_EVER as u128) as i64);
    Spec {
        name: "sql".into(),
        sql: args.query.as_str().into(),
        plan,
        watermark,
        by,
        idle_timeout: FOR_EVER,
        max_ahead: FOR_EVER,
        max_groups: usize::MAX,
        late: Late::Drop,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Folds every line and prints what closes. Whether every line could be read.
fn over(
    spec: Spec,
    mut input: impl BufRead,
    lines: &mut Lines,
    whole: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut windows = Windows::new(vec![spec]);
    let mut counts = Counts::default();
    let (mut good, mut first, mut readings, mut line) = (true, 0, Vec::new(), Vec::new());
    let mut number = 0;
    loop {
        line.clear();
        let more = input.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", lines.name))? > 0;
        number += 1;
        if !line.trim_ascii().is_empty() {
            for fault in lines.read(&line, &mut readings) {
                good = false;
                writeln!(err, "{}:{number}: {fault}", lines.name)?;
            }
        }
        if readings.len() >= AT_ONCE || !more {
            let group = group(first, std::mem::take(&mut readings));
            first = group.end();
            print(&windows.apply(&group), whole, &mut counts, out)?;
        }
        if !more {
            break;
        }
    }
    print(&windows.finish(), whole, &mut counts, out)?;
    tell(&counts, err)?;
    Ok(good)
}

fn group(first: u64, readings: Vec<Reading>) -> Group {
    let entries = readings.into_iter().map(|reading| Entry::Reading { reading, age: 0 }).collect();
    // No time passes while a file is read, and nothing in it is ahead of the present.
    let stamp = Stamp { received: 0, boot: Arc::default(), mono: 0, synced: false };
    Group { epoch: 0, first, stamp, entries }
}

fn print(folded: &Folded, whole: bool, counts: &mut Counts, out: &mut impl Write) -> anyhow::Result<()> {
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

fn tell(counts: &Counts, err: &mut impl Write) -> io::Result<()> {
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

/// Lines to readings.
struct Lines {
    name: String,
    topic: String,
    payloads: Decoder,
    /// Of the fields of a record, whose time and device stand beside them.
    fields: Decoder,
    time: Option<String>,
}

/// A record as it stands in Kinesis, in the nested layout.
#[derive(Deserialize)]
struct Record<'a> {
    stream: String,
    #[serde(rename = "epoch")]
    _epoch: u64,
    #[serde(rename = "offset")]
    _offset: u64,
    time: String,
    source: Arc<str>,
    device: Arc<str>,
    #[serde(default)]
    tags: std::collections::BTreeMap<Arc<str>, Arc<str>>,
    #[serde(borrow)]
    fields: &'a RawValue,
}

impl Lines {
    fn new(args: &Args, name: String) -> anyhow::Result<Self> {
        let decoder = |time: Option<&String>, device: Option<&String>| {
            let payload = Payload {
                format: Format::Json,
                device_field: device.cloned(),
                time: time.cloned(),
                ..Payload::default()
            };
            Decoder::new("file".into(), "#", None, &payload)
        };
        Ok(Self {
            // What stands for the topic, and so for the device.
            topic: args.file.file_stem().map_or("file".into(), |stem| stem.to_string_lossy().into_owned()),
            name,
            payloads: decoder(args.time.as_ref(), args.device.as_ref())?,
            fields: decoder(None, None)?,
            time: args.time.clone(),
        })
    }

    /// Adds the readings of a line; what could not be read is told.
    fn read(&mut self, line: &[u8], readings: &mut Vec<Reading>) -> Vec<String> {
        match serde_json::from_slice::<Record<'_>>(line) {
            Ok(record) if record.stream == "readings" => match self.record(&record) {
                Ok(more) => {
                    readings.extend(more);
                    Vec::new()
                }
                Err(fault) => vec![fault],
            },
            // Gaps, rows and the like are no readings.
            Ok(_) => Vec::new(),
            Err(_) => self.payload(line, readings),
        }
    }

    fn payload(&mut self, line: &[u8], readings: &mut Vec<Reading>) -> Vec<String> {
        let delivery = self.payloads.decode(&self.topic, &Bytes::copy_from_slice(line.trim_ascii()));
        let mut faults: Vec<_> = delivery.rejects.into_iter().map(|reject| reject.detail).collect();
        for reading in delivery.readings {
            if reading.time.is_some() {
                readings.push(reading);
            } else {
                faults.push(match &self.time {
                    Some(field) => format!("there is no time `{field}` in this"),
                    None => "a payload tells no time by itself; name the field that does with --time".to_owned(),
                });
            }
        }
        faults
    }

    fn record(&mut self, record: &Record<'_>) -> Result<Vec<Reading>, String> {
        let time: jiff::Timestamp = record.time.parse().map_err(|_| format!("`{}` is no time", record.time))?;
        let delivery = self.fields.decode(&self.topic, &Bytes::copy_from_slice(record.fields.get().as_bytes()));
        if let Some(reject) = delivery.rejects.into_iter().next() {
            return Err(reject.detail);
        }
        let series = Arc::new(Series {
            source: record.source.clone(),
            device: record.device.clone(),
            tags: record.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..Series::default()
        });
        let time = Some(Micros(time.as_microsecond()));
        Ok(delivery.readings.into_iter().map(|reading| Reading { time, series: series.clone(), ..reading }).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// Output, errors, and whether all lines were good.
    fn printed(query: &str, more: &str, input: &str) -> (String, String, bool) {
        let words = ["sql", "dir/boiler.jsonl", "--query", query].into_iter().chain(more.split_whitespace());
        let Command { args } = Command::parse_from(words);
        let names = Names { table: args.table.clone(), time_column: args.time_column.clone() };
        let plan = plan(&args.query, &names).unwrap();
        let mut lines = Lines::new(&args, "file".to_owned()).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let good = over(spec(&args, plan), input.as_bytes(), &mut lines, args.json, &mut out, &mut err).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), good)
    }

    const CLIMATE: &str = "SELECT device, COUNT(*) AS n, AVG(temp) AS avg, TUMBLE_START(time, INTERVAL '1' MINUTE) AS \
                           start FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)";

    #[test]
    fn payloads_in_any_order_make_the_rows_of_their_windows() {
        let input = r#"{"id":"a","ts":65,"temp":1}
[{"id":"a","ts":5,"temp":20},{"id":"b","ts":59.5,"temp":-1}]

{"id":"a","ts":"1970-01-01T00:00:06Z","temp":21.5}"#;
        let rows = r#"{"device":"a","n":2,"avg":20.75,"start":0}
{"device":"b","n":1,"avg":-1.0,"start":0}
{"device":"a","n":1,"avg":1.0,"start":60000000}
"#;
        assert_eq!(printed(CLIMATE, "--time ts --device id", input), (rows.to_owned(), String::new(), true));
    }

    #[test]
    fn the_query_on_transactions_runs() {
        let query = "SELECT card_id, COUNT(*) AS txn_count, SUM(amount) AS total_amount, TUMBLE_START(event_time, \
                     INTERVAL '5' MINUTE) AS window_start FROM transactions WHERE merchant_country <> 'CA' GROUP BY \
                     card_id, TUMBLE(event_time, INTERVAL '5' MINUTE) HAVING COUNT(*) > 3 AND SUM(amount) > 500";
        let line = |card: &str, second: i64, amount: i64, country: &str| {
            let time = 1_767_225_600 + second;
            format!("{{\"card_id\":\"{card}\",\"at\":{time},\"amount\":{amount},\"merchant_country\":\"{country}\"}}\n")
        };
        let mut input = String::new();
        for second in 0..4 {
            input += &line("c1", second, 200, "US");
            input += &line("c2", second, 100, "US");
            input += &line("c3", second, 900, "CA");
            input += &line("c4", 100 * second, 900, "FR");
        }
        input += "{\"card_id\":\"c5\",\"at\":1767225600,\"amount\":1}\n";
        let rows = "{\"card_id\":\"c1\",\"txn_count\":4,\"total_amount\":800,\"window_start\":1767225600000000}\n";
        let more = "--table transactions --time-column event_time --time at";
        assert_eq!(printed(query, more, &input), (rows.to_owned(), String::new(), true));
    }

    #[test]
    fn records_bring_their_own_time_device_and_tags() {
        let record = |stream: &str, time: &str, device: &str, site: &str, fields: &str| {
            format!(
                "{{\"gateway\":\"g\",\"stream\":\"{stream}\",\"lane\":0,\"epoch\":1,\"offset\":2,\"prev\":null,\"time\":\"{time}\",\
                 \"time_ms\":0,\"source\":\"plant\",\"device\":\"{device}\",\"tags\":{{\"site\":\"{site}\"}},\"fields\":{fields}}}\n"
            )
        };
        let input = [
            record("readings", "2026-01-02T03:04:05.678901Z", "a", "north", r#"{"x":18446744073709551615,"y.z":"é"}"#),
            record("readings", "2026-01-02T03:04:06Z", "b", "north", r#"{"x":1,"on":true}"#),
            record("rows", "2026-01-02T03:04:06Z", "b", "north", r#"{"x":1}"#),
            record("readings", "2026-01-02T03:05:06Z", "b", "south", r#"{"x":1}"#),
            record("readings", "when", "b", "south", r#"{"x":1}"#),
        ];
        let query = "SELECT tags['site'], source, metric, COUNT(*) AS n, LAST_VALUE(value) AS last, MIN(time) AS at FROM \
                     samples GROUP BY tags['site'], source, metric, TUMBLE(time, INTERVAL '1' MINUTE)";
        let (out, err, good) = printed(query, "", &input.concat());
        let rows = r#"{"site":"north","source":"plant","metric":"on","n":1,"last":true,"at":1767323046000000}
{"site":"north","source":"plant","metric":"x","n":2,"last":1,"at":1767323045678901}
{"site":"north","source":"plant","metric":"y.z","n":1,"last":"é","at":1767323045678901}
{"site":"south","source":"plant","metric":"x","n":1,"last":1,"at":1767323106000000}
"#;
        assert_eq!(out, rows);
        assert_eq!((err.as_str(), good), ("file:5: `when` is no time\n", false));
    }

    #[test]
    fn whole_rows_have_the_bounds_of_their_window() {
        let (out, ..) = printed(CLIMATE, "--time ts --json", "{\"ts\":5,\"temp\":1}");
        let row = r#"{"stream":"rows","window":"sql","start":"1970-01-01T00:00:00.000000Z","time":"1970-01-01T00:01:00.000000Z","time_ms":60000,"device":"boiler","fields":{"device":"boiler","n":1,"avg":1.0,"start":0}}"#;
        assert_eq!(out, format!("{row}\n"));
    }

    #[test]
    fn lines_that_cannot_be_read_are_named_and_the_rest_goes_on() {
        let input =
            "{\"ts\":5,\"temp\":1}\n{\"ts\":5,\n{\"temp\":1}\n{\"ts\":\"soon\",\"temp\":1}\n{\"ts\":6,\"temp\":2}\n";
        let (out, err, good) = printed(CLIMATE, "--time ts", input);
        assert_eq!((out.as_str(), good), ("{\"device\":\"boiler\",\"n\":2,\"avg\":1.5,\"start\":0}\n", false));
        let named: Vec<_> = err.lines().map(|line| &line[..7]).collect();
        assert_eq!(named, ["file:2:", "file:3:", "file:4:"], "{err}");
        let (_, err, _) = printed(CLIMATE, "", "{\"temp\":1}");
        assert_eq!(err, "file:1: a payload tells no time by itself; name the field that does with --time\n");
    }

    #[test]
    fn a_query_may_begin_with_a_comment() {
        let query = format!("-- the climate\n{CLIMATE}");
        assert_eq!(
            printed(&query, "--time ts", "{\"ts\":5,\"temp\":1}"),
            printed(CLIMATE, "--time ts", "{\"ts\":5,\"temp\":1}")
        );
    }

    #[test]
    fn with_a_watermark_what_comes_later_is_left_out_and_counted() {
        let mut input: String = (0..200).map(|second| format!("{{\"ts\":{second},\"temp\":{second}}}\n")).collect();
        input += "{\"ts\":7,\"temp\":1000}\n";
        let rows = |more: &str| {
            let (out, err, _) = printed(CLIMATE, more, &input);
            (out.lines().next().unwrap().to_owned(), out.lines().count(), err)
        };
        let on_time = "{\"device\":\"boiler\",\"n\":60,\"avg\":29.5,\"start\":0}".to_owned();
        let note = "note: 1 readings came too late for their windows: the watermark is too short for them\n";
        assert_eq!(rows("--time ts --watermark 30s"), (on_time, 4, note.to_owned()));
        let (first, _, err) = rows("--time ts");
        assert!(first.contains("\"n\":61") && err.is_empty(), "{first} {err}");
    }
}
