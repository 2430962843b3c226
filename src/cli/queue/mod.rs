//! `tidegate queue stat|peek|verify|export`: what is in the log.

mod export;
mod verify;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytesize::ByteSize;
use clap::Subcommand;
use serde_json::Value as Json;

use super::{ask, load};
use crate::config::{Config, Secret};
use crate::queue::look::{self, LogStat, Stat};
use crate::queue::{CopyStore, LOGS, Lock, OpenError, Queue};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tidegate queue stat -c tidegate.toml
  tidegate queue peek --data-dir /var/lib/tidegate -n 20
  tidegate queue verify --data-dir /var/lib/tidegate
  tidegate queue export -c tidegate.toml -o readings.ndjson

A running gateway is asked through its HTTP port.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// How much is there, and how much of it waits
    Stat {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// The next entries that wait, as JSON lines
    Peek {
        /// How many
        #[arg(short, default_value_t = 10)]
        n: usize,
        /// From this offset on
        #[arg(long)]
        from: Option<u64>,
    },
    /// Read all of it, of a stopped gateway, and say what is damaged
    Verify(verify::Args),
    /// Write a log as JSON lines, as much of it as can be read
    Export(export::Args),
}

/// Where the queue is: `queue` and `dead` take the same.
#[derive(clap::Args)]
pub struct Place {
    /// The configuration, for its data directory and HTTP port
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The data directory of a stopped gateway
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

/// A data directory nobody uses, or the gateway that uses it.
pub enum Found {
    Stopped(Box<Queue>, Lock, PathBuf),
    Running(SocketAddr, Option<Secret>),
}

impl Place {
    pub fn find(&self) -> anyhow::Result<Found> {
        let (dir, config) = self.dir()?;
        match open(&dir) {
            Ok((queue, lock)) => Ok(Found::Stopped(Box::new(queue), lock, dir)),
            Err(OpenError::InUse { holder, .. }) => {
                let (address, token) = running(&dir, &holder, config)?;
                Ok(Found::Running(address, token))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The data directory, and the configuration where one was given.
    fn dir(&self) -> anyhow::Result<(PathBuf, Option<Config>)> {
        let config = self.config.as_deref().map(load::load).transpose()?;
        match (&self.data_dir, &config) {
            (Some(dir), _) => Ok((dir.clone(), config)),
            (None, Some(found)) => Ok((found.gateway.data_dir.clone(), config)),
            (None, None) => bail!("which queue? give -c FILE or --data-dir DIR"),
        }
    }
}

/// Where a running gateway is asked.
fn running(dir: &Path, holder: &str, config: Option<Config>) -> anyhow::Result<(SocketAddr, Option<Secret>)> {
    let http = config.map(|config| config.http);
    http.and_then(|http| Some((http.listen?, http.token))).with_context(|| {
        format!(
            "{} is in use by a running gateway (process {holder}): give -c FILE, so that it can be asked through its \
             HTTP port, or stop it",
            dir.display()
        )
    })
}

/// A data directory that nobody uses, of which not a byte is changed, and the lock that keeps it so.
fn untouched(dir: &Path) -> Result<(Arc<CopyStore>, Option<Lock>), OpenError> {
    if !dir.join("VERSION").exists() && !LOGS.iter().any(|log| dir.join(log).exists()) {
        return Err(OpenError::Missing { path: dir.to_owned() });
    }
    let lock = Lock::look(dir)?;
    Ok((Arc::new(CopyStore::new(dir)), lock))
}

fn open(dir: &Path) -> Result<(Queue, Lock), OpenError> {
    if !dir.join("VERSION").exists() {
        return Err(OpenError::Missing { path: dir.to_owned() });
    }
    let lock = Lock::take(dir)?;
    Ok((Queue::look(Arc::new(CopyStore::new(dir)))?, lock))
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let place = args.place;
    match args.command {
        Command::Stat { json } => stat(&place.find()?, json),
        Command::Peek { n, from } => peek(&place.find()?, n, from),
        Command::Verify(args) => verify::run(args, &place),
        Command::Export(args) => export::run(args, &place),
    }
}

fn stat(found: &Found, json: bool) -> anyhow::Result<ExitCode> {
    let stat = match found {
        Found::Stopped(queue, ..) => look::stat(queue)?,
        Found::Running(address, token) => serde_json::from_value(get(*address, "/queue/stat", token.as_ref())?)?,
    };
    print_stat(&stat, json)?;
    Ok(ExitCode::SUCCESS)
}

fn peek(found: &Found, n: usize, from: Option<u64>) -> anyhow::Result<ExitCode> {
    let entries = match found {
        Found::Stopped(queue, ..) => look::peek(queue, from, n)?,
        Found::Running(address, token) => {
            let page = |from: Option<u64>, n| {
                let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
                get(*address, &format!("/queue/peek?n={n}{from}"), token.as_ref())
            };
            in_pages(n, from, page, last_offset)?
        }
    };
    print_lines(&entries);
    Ok(ExitCode::SUCCESS)
}

/// The last offset that an item of `peek` is about.
fn last_offset(entry: &Json) -> Option<u64> {
    entry["offset"].as_u64().or(entry["lost"]["to"].as_u64())
}

/// Runs without the log lines of the queue: what it finds is told by the command, in order.
fn quietly<T>(look: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), look)
}

/// Asks a running gateway.
pub fn get(address: SocketAddr, path: &str, token: Option<&Secret>) -> anyhow::Result<Json> {
    let runtime = tokio::runtime::Runtime::new()?;
    let body = ask::answer(runtime.block_on(ask::get(address, path, token))?)?;
    serde_json::from_slice(&body).context("the gateway's answer is not JSON")
}

/// Asks until there are `n`, or no more: an answer of the gateway has an end. `number` says where an item stands.
pub fn in_pages(
    n: usize,
    mut from: Option<u64>,
    get: impl Fn(Option<u64>, usize) -> anyhow::Result<Json>,
    number: impl Fn(&Json) -> Option<u64>,
) -> anyhow::Result<Vec<Json>> {
    // Twenty letters of the largest size are an answer that may be.
    const PAGE: usize = 20;
    let mut items: Vec<Json> = Vec::new();
    while items.len() < n {
        let wanted = PAGE.min(n - items.len());
        let Json::Array(page) = get(from, wanted)? else { bail!("the gateway's answer is no list") };
        let full = page.len() == wanted;
        items.extend(page);
        match items.last().and_then(&number) {
            Some(last) if full => from = Some(last + 1),
            _ => break,
        }
    }
    Ok(items)
}

/// Tells a running gateway.
pub fn post(address: SocketAddr, path: &str, token: Option<&Secret>) -> anyhow::Result<Json> {
    let runtime = tokio::runtime::Runtime::new()?;
    let body = ask::answer(runtime.block_on(ask::post(address, path, token))?)?;
    serde_json::from_slice(&body).context("the gateway's answer is not JSON")
}

pub fn print_lines(lines: &[Json]) {
    for line in lines {
        println!("{line}");
    }
}

fn print_stat(stat: &Stat, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(stat)?);
        return Ok(());
    }
    let Stat { epoch, disk_bytes, free_bytes, readings, rows, notes, dead_letters } = stat;
    println!("epoch         {epoch}");
    println!("disk          {} used, {} free", ByteSize(*disk_bytes), ByteSize(*free_bytes));
    for (name, log) in [("readings", readings), ("rows", rows), ("gaps", notes)] {
        let LogStat { generations, oldest, end, delivered, waiting, disk_bytes } = log;
        println!(
            "{name:<13} {waiting} waiting (offsets {delivered} to {end}), oldest kept {oldest}, \
             {generations} generations, {}",
            ByteSize(*disk_bytes)
        );
    }
    println!("dead letters  {dead_letters}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_much_comes_as_was_asked_for_however_small_the_pages() {
        let kept: Vec<u64> = (3..93).filter(|id| id % 7 != 0).collect();
        let page = |from: Option<u64>, n: usize| {
            let rest = kept.iter().filter(|id| **id >= from.unwrap_or_default());
            Ok(rest.take(n).map(|id| json!({ "id": id })).collect::<Json>())
        };
        let ids = |n, from| -> Vec<u64> {
            let items = in_pages(n, from, page, |item| item["id"].as_u64()).unwrap();
            items.iter().map(|item| item["id"].as_u64().unwrap()).collect()
        };
        assert_eq!(ids(1_000, None), kept);
        assert_eq!(ids(45, Some(10)), kept.iter().copied().filter(|id| *id >= 10).take(45).collect::<Vec<_>>());
        assert!(ids(5, Some(1_000)).is_empty());
    }
}
