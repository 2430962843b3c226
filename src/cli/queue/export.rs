//! `tidegate queue export`: a log as JSON lines, as much of it as can be read.
//!
//! Lines are those of `queue peek`, for letters those of `dead list --json`. What is missing is told on stderr.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value as Json;

use super::{Place, get, last_offset, quietly, running, untouched};
use crate::config::Secret;
use crate::queue::export::{Export, Told, lines};
use crate::queue::look::{self, Stat};
use crate::queue::{CopyStore, OpenError, Queue, dead};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tidegate queue export -c tidegate.toml -o readings.ndjson
  tidegate queue export --data-dir /mnt/card/tidegate --damaged | jq .fields
  tidegate queue export --data-dir /mnt/card/tidegate --log dead -o letters.ndjson

Reads and changes nothing: the directory may be damaged, and mounted read-only. Generations are read from copies in
the temporary directory (TMPDIR), a few MiB at a time. A running gateway is asked through its HTTP port, for readings
and dead letters. Exit code: 0 all was written, 1 something is missing: what there is was written all the same.")]
pub struct Args {
    /// Which log
    #[arg(long, value_enum, default_value_t = Which::Readings)]
    log: Which,
    /// Into this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Only what has not been delivered, as far as the saved cursors tell
    #[arg(long, conflicts_with = "from")]
    undelivered: bool,
    /// Also what is left in generations that were put aside into `damaged/`
    #[arg(long)]
    damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// What arrived
    Readings,
    /// What windows closed with
    Rows,
    /// The stream `gaps`: what is missing, and why
    Notes,
    /// Dead letters
    Dead,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Rows => "rows",
            Self::Notes => "notes",
            Self::Dead => "dead",
        }
    }

    fn delivered(self, stat: &Stat) -> anyhow::Result<u64> {
        match self {
            Self::Readings => Ok(stat.readings.delivered),
            Self::Rows => Ok(stat.rows.delivered),
            Self::Notes => Ok(stat.notes.delivered),
            Self::Dead => bail!("dead letters are not delivered: leave --undelivered out"),
        }
    }
}

pub fn run(args: Args, place: &Place) -> anyhow::Result<ExitCode> {
    let (dir, config) = place.dir()?;
    let whole = match untouched(&dir) {
        Ok((store, _lock)) => quietly(|| kept(&args, &dir, &store)),
        Err(OpenError::InUse { holder, .. }) => {
            let (address, token) = running(&dir, &holder, config)?;
            asked(&args, address, token.as_ref())
        }
        Err(error) => Err(error.into()),
    };
    match whole {
        // Whoever reads the pipe has seen enough.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        whole => Ok(if whole? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

/// Writes what a stopped gateway keeps, and says whether that is all of it.
fn kept(args: &Args, dir: &Path, store: &Arc<CopyStore>) -> anyhow::Result<bool> {
    let queue = Queue::look(store.clone()).with_context(|| format!("cannot export {}", dir.display()))?;
    let name = args.log.name();
    let log = match args.log {
        Which::Readings => &queue.readings,
        Which::Rows => &queue.rows,
        Which::Notes => &queue.notes,
        Which::Dead => &queue.dead,
    };
    let from = match args.log {
        _ if args.undelivered => Some(args.log.delivered(&look::stat(&queue)?)?),
        Which::Dead => Some(args.from.unwrap_or_default().max(dead::purged(&**store)?)),
        _ => args.from,
    };
    let mut export = Export::new(store, log, name, from, args.damaged)?;
    let mut out = Output::new(args, export.offsets())?;
    for (number, why) in export.unread() {
        out.say(&format!("{name}/{number:06} cannot be read as a whole: {why}"));
    }
    if export.lacks_beginning() {
        out.whole = false;
        out.say("nothing says where the oldest of it began: more may be missing than is told");
    }
    while let Some(told) = export.step()? {
        match told {
            Told::Missing(from, to) => out.missing(from, to - 1),
            Told::Entries(group, from, to) => {
                lines(group, from, to).try_for_each(|line| out.line(&line))?;
                out.bar.set_position(to);
            }
        }
    }
    out.finish()
}

/// Writes what a running gateway tells, and says whether that is all of it.
fn asked(args: &Args, address: SocketAddr, token: Option<&Secret>) -> anyhow::Result<bool> {
    // What the gateway answers at most.
    const PAGE: usize = 1_000;
    if args.damaged || matches!(args.log, Which::Rows | Which::Notes) {
        bail!("a running gateway tells its readings and dead letters only: stop it for the rest");
    }
    let stat: Stat = serde_json::from_value(get(address, "/queue/stat", token)?)?;
    let mut from = if args.undelivered { args.log.delivered(&stat)? } else { args.from.unwrap_or_default() };
    let path = if args.log == Which::Dead { "/dead" } else { "/queue/peek" };
    if args.log == Which::Readings {
        from = from.max(stat.readings.oldest);
    }
    let mut out = Output::new(args, (from, stat.readings.end))?;
    loop {
        let Json::Array(page) = get(address, &format!("{path}?from={from}&n={PAGE}"), token)? else {
            bail!("the gateway's answer is no list")
        };
        for item in &page {
            match (item["lost"]["from"].as_u64(), item["lost"]["to"].as_u64()) {
                (Some(from), Some(to)) => out.missing(from, to),
                _ => out.line(item)?,
            }
        }
        match page.last().and_then(|item| item["id"].as_u64().or(last_offset(item))) {
            Some(last) if page.len() == PAGE => from = last + 1,
            _ => return out.finish(),
        }
        out.bar.set_position(from);
    }
}

/// Where lines go, and what is said beside them.
struct Output {
    to: Box<dyn Write>,
    file: Option<File>,
    bar: ProgressBar,
    lines: u64,
    missing: u64,
    whole: bool,
}

impl Output {
    fn new(args: &Args, (start, end): (u64, u64)) -> anyhow::Result<Self> {
        let made = args
            .output
            .as_ref()
            .map(|path| File::create(path).with_context(|| format!("cannot write {}", path.display())));
        let file = made.transpose()?;
        let (to, bar): (Box<dyn Write>, _) = match &file {
            Some(file) => (Box::new(BufWriter::new(file.try_clone()?)), ProgressBar::new(end)),
            // Lines on a terminal show by themselves how it goes.
            None => (Box::new(BufWriter::new(io::stdout().lock())), ProgressBar::hidden()),
        };
        let style = ProgressStyle::with_template("{bar:30} offset {pos} of {len}, {eta} left")?;
        let bar = bar.with_style(style).with_position(start);
        Ok(Self { to, file, bar, lines: 0, missing: 0, whole: true })
    }

    fn line(&mut self, line: &Json) -> anyhow::Result<()> {
        self.lines += 1;
        serde_json::to_writer(&mut self.to, line).map_err(io::Error::from)?;
        Ok(self.to.write_all(b"\n")?)
    }

    fn missing(&mut self, from: u64, to: u64) {
        self.missing += to + 1 - from;
        self.whole = false;
        self.say(&format!("offsets {from} to {to} are missing"));
    }

    fn say(&self, what: &str) {
        self.bar.suspend(|| eprintln!("tidegate: {what}"));
    }

    /// Makes sure that all of it is written, and says whether that is all there was.
    fn finish(mut self) -> anyhow::Result<bool> {
        self.to.flush()?;
        if let Some(file) = &self.file {
            // Somebody may be about to throw the original away.
            file.sync_all()?;
        }
        self.bar.finish_and_clear();
        if !self.whole {
            eprintln!("tidegate: {} lines written, {} entries are missing", self.lines, self.missing);
        }
        Ok(self.whole)
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
