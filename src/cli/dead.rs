//! `tidegate dead list|show|purge`: what could not become a reading, or could not be delivered as one.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Subcommand;
use serde_json::Value as Json;

use super::queue::{Found, Place, get, in_pages, post, print_lines};
use crate::clock::Clock;
use crate::queue::{self, Queue, SledStore, dead, look};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidegate dead list -c tidegate.toml\n  tidegate dead show 17 -c tidegate.toml\n  \
                        tidegate dead purge --all -c tidegate.toml\n\nA running gateway is asked through its HTTP port."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum Command {
    /// The oldest letters, a line each
    List {
        /// How many
        #[arg(short, default_value_t = 100)]
        n: usize,
        /// From this id on
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// JSON lines, payloads included
        #[arg(long)]
        json: bool,
    },
    /// One letter, payload included, as JSON
    Show { id: u64 },
    /// Throw letters away
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Purge {
        /// Those before this id
        #[arg(long, group = "which")]
        before: Option<u64>,
        /// All of them
        #[arg(long, group = "which")]
        all: bool,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let found = args.place.find()?;
    match args.command {
        Command::List { n, from, json } => {
            let letters = letters(&found, from, n)?;
            if json {
                print_lines(&letters);
            } else {
                letters.iter().for_each(print_letter);
            }
        }
        Command::Show { id } => match letters(&found, id, 1)?.first() {
            Some(letter) if letter["id"] == id => println!("{}", serde_json::to_string_pretty(letter)?),
            _ => bail!("there is no dead letter {id}; `tidegate dead list` names those that are kept"),
        },
        Command::Purge { before, .. } => {
            let gone = purge(found, before.unwrap_or(u64::MAX))?;
            println!("{gone} dead letters thrown away");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn letters(found: &Found, from: u64, n: usize) -> anyhow::Result<Vec<Json>> {
    match found {
        Found::Stopped(queue, ..) => Ok(look::letters(&*queue.store, &queue.dead, from, n)?),
        Found::Running(address, token) => {
            let page = |from: Option<u64>, n| {
                get(*address, &format!("/dead?from={}&n={n}", from.unwrap_or_default()), token.as_ref())
            };
            in_pages(n, Some(from), page, |letter| letter["id"].as_u64())
        }
    }
}

fn purge(found: Found, before: u64) -> anyhow::Result<u64> {
    match found {
        Found::Stopped(looked, _lock, dir) => {
            drop(looked);
            let store = Arc::new(SledStore::open(&dir)?);
            let (queue, mut appenders) = Queue::open(store, Clock::System.now(), queue::generation_bytes(0))?;
            Ok(dead::purge(&*queue.store, &mut appenders.dead, before)?)
        }
        Found::Running(address, token) => {
            let answer = post(address, &format!("/dead/purge?before={before}"), token.as_ref())?;
            Ok(answer["purged"].as_u64().unwrap_or_default())
        }
    }
}

fn print_letter(letter: &Json) {
    let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
    println!(
        "{:>8}  {}  {:<16} {} {}  {} bytes: {}",
        letter["id"],
        text("time"),
        text("reason"),
        text("source"),
        text("origin"),
        letter["length"],
        text("detail")
    );
}
