//! `tidegate queue verify`: whether all that was committed is there and whole.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Place, untouched};
use crate::queue::verify::{Fault, LogReport, Missing, Report};
use crate::queue::{CopyStore, LOGS, OpenError, Store};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  systemctl stop tidegate
  tidegate queue verify -c tidegate.toml
  tidegate queue verify --data-dir /mnt/card/tidegate --json

Reads everything and changes nothing: the directory may be mounted read-only. Generations are read from copies in the
temporary directory (TMPDIR), a few MiB at a time. Exit code: 0 all is sound, 1 something is damaged.")]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, place: &Place) -> anyhow::Result<ExitCode> {
    let (dir, _) = place.dir()?;
    let (store, _lock) = match untouched(&dir) {
        Err(OpenError::InUse { holder, .. }) => bail!(
            "{} is in use by a running gateway (process {holder}): stop it, what it is writing cannot be verified",
            dir.display()
        ),
        found => found?,
    };
    let shelf = store.shelf()?;
    let report = read(store).with_context(|| format!("cannot verify {}", dir.display()))?;
    if args.json {
        println!("{}", as_json(&dir, &report, &shelf));
    } else {
        print(&report, &shelf);
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(store: Arc<CopyStore>) -> anyhow::Result<Report> {
    let store: Arc<dyn Store> = store;
    let mut generations = 0;
    for log in LOGS {
        generations += store.generations(log)?.len();
    }
    // Drawn only where somebody watches.
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} generations, {eta} left")?;
    let bar = ProgressBar::new(generations as u64).with_style(style);
    let report = super::quietly(|| Report::of(&store, || bar.inc(1)));
    bar.finish_and_clear();
    Ok(report?)
}

fn as_json(dir: &Path, report: &Report, shelf: &[String]) -> serde_json::Value {
    json!({
        "data_dir": dir.display().to_string(), "sound": report.is_sound(), "missing": report.missing(),
        "logs": report.logs, "files": report.files, "damaged": shelf,
    })
}

fn print(report: &Report, shelf: &[String]) {
    for log in &report.logs {
        print_log(log);
    }
    for fault in &report.files {
        println!("{:<9} {}", fault.file, fault.why);
    }
    for name in shelf {
        println!(
            "damaged/{name} was put aside by a gateway; `tidegate queue export --damaged` looks what is left in it"
        );
    }
    match (report.is_sound(), report.missing()) {
        (true, _) => println!("Sound: all that was committed and is kept is there and whole."),
        (false, 0) => println!("Damaged, but no entry is missing."),
        (false, missing) => println!(
            "Damaged: {missing} entries or more cannot be read. A gateway puts aside what it cannot read, reports the gap \
             and goes on; `tidegate queue export` saves the rest."
        ),
    }
}

fn print_log(log: &LogReport) {
    let LogReport { log, generations, oldest, end, entries, faults } = log;
    let offsets =
        if oldest == end { format!("nothing before offset {end}") } else { format!("offsets {oldest} to {}", end - 1) };
    let sound = if faults.is_empty() { "sound" } else { "damaged" };
    let s = if *generations == 1 { "" } else { "s" };
    println!("{log:<9} {generations} generation{s}, {offsets}, {entries} entries: {sound}");
    for Fault { generation, why, missing } in faults {
        let place = generation.map_or_else(|| (*log).to_owned(), |number| format!("{log}/{number:06}"));
        let missing = match missing {
            None => String::new(),
            Some(Missing { from: Some(from), to }) if from == to => format!("; offset {to} is missing"),
            Some(Missing { from: Some(from), to }) => format!("; offsets {from} to {to} are missing"),
            Some(Missing { from: None, to }) => format!("; offsets up to {to} are missing"),
        };
        println!("  {place}: {why}{missing}");
    }
}
