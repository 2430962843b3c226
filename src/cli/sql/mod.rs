//! `tidegate sql`: a window's query over a file, for trying out what it will say.
//!
//! A line is a payload as a `json` source gets it, or a record as `tidegate decode` prints it. The file is all there
//! is: with no `--watermark` every window closes at its end, so that the order of the lines does not matter.

mod lines;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use self::lines::Lines;
use self::rows::{print, tell};
use crate::queue::entry::{Entry, Group, Stamp};
use crate::reading::Reading;
use crate::window::plan::Plan;
use crate::window::sql::{Names, plan};
use crate::window::{By, Counts, Late, Spec, Windows};

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
