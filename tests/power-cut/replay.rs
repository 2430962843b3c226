//! One short run recorded, and then every moment of it at which the power could have gone, in the manner of ALICE and
//! `CrashMonkey`.
//!
//! Twelve messages are published, each when the one before is acknowledged, and the recording of the disk has a mark
//! where each PUBACK came. For every write there are three disks: with all that was written so far, with what was
//! flushed alone, and with a part of the rest that is drawn. On each the ext4 is mounted, its journal replayed and the
//! queue opened: what was acknowledged by then must be there, in order, with nothing in between missing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tidegate::clock::Clock;
use tidegate::faults::Mutant;
use tidegate::queue::{Entry, Queue, Reader, SledStore, Step, Store};
use tidegate::reading::Value;
use tidegate::simulate::fleet::Target;
use tidegate::simulate::gateway::{Gateway, Place as GatewayPlace, Wires};
use tidegate::simulate::ground::Firm;
use tokio::net::TcpListener;

use crate::broker::Client;
use crate::live;
use crate::luck::Luck;
use crate::mount::{Ext4, Mount};
use crate::place::Place;
use crate::platter::{Event, Platter};
use crate::power::{Medium, Power};

const MESSAGES: u16 = 12;
/// Failures that are told one by one.
const TOLD_MAX: usize = 10;
const KEEP: f64 = 0.5;

/// What the states came to.
#[derive(Default)]
struct Verdicts {
    states: u64,
    lost: u64,
    failed_starts: u64,
}

/// What a disk held.
enum Found {
    Numbers(Vec<i64>),
    /// Why the queue could not be opened, or read.
    Nothing(String),
}

/// Records a run, and tries every moment of it. Says whether all is well.
pub async fn run(seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let ext4 = Ext4::new(place.path())?;
    let recorded = record(&ext4, None, place.path()).await?;
    let verdicts = tokio::task::block_in_place(|| replay(&ext4, &recorded, seed, false, place.path()))?;
    let failed: Vec<u64> = if verdicts.are_good() { Vec::new() } else { vec![seed] };
    let Verdicts { states, lost, failed_starts } = verdicts;
    let writes = recorded.iter().filter(|event| matches!(event, Event::Write(..))).count();
    let line = json!({
        "mode": "replay", "seeds": [seed], "messages": MESSAGES, "writes": writes, "done": states, "lost": lost,
        "failed_starts": failed_starts, "failed": failed,
    });
    println!("{line}");
    Ok(failed.is_empty())
}

/// Whether this mutant is found out so.
pub async fn finds_out(ext4: &Ext4, mutant: Mutant, seed: u64, place: &Path) -> anyhow::Result<bool> {
    let recorded = record(ext4, Some(mutant), place).await?;
    let verdicts = tokio::task::block_in_place(|| replay(ext4, &recorded, seed, true, place))?;
    Ok(!verdicts.are_good())
}

/// What the disk saw of a gateway that was given the messages.
async fn record(ext4: &Ext4, mutant: Option<Mutant>, place: &Path) -> anyhow::Result<Vec<Event>> {
    let power = Power::new(ext4.blank().recording());
    let mounted = ext4.up(&power, &place.join("recorded"))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let config = place.join("gateway.toml");
    live::write_config(&config)?;
    let mut gateway = Gateway::start(GatewayPlace {
        name: "recorded".to_owned(),
        broker: Target { host: "127.0.0.1".to_owned(), port: listener.local_addr()?.port() },
        // Nobody: what is acknowledged stays in the queue.
        endpoint: "http://127.0.0.1:1".to_owned(),
        real_stream: false,
        http: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        data_dir: mounted.root.join("data"),
        config: Some(config),
        recorded: false,
        wires: Wires { dir: place.to_owned(), serial: 0, modbus: 0, poll: Duration::from_secs(1) },
        env: live::environment(mutant, live::GENERATION),
    })?;
    let mut client = Client::accept(&listener).await?;
    for n in 0..MESSAGES {
        client.publish(n + 1, "sensors/a/telemetry", &format!("{{\"n\":{n}}}")).await?;
        power.ask(Platter::mark).context("the disk is gone")?;
    }
    gateway.kill(&mut Firm::new(Vec::new())).await?;
    drop(mounted);
    let platter = power.into_medium().context("somebody still holds the disk")?;
    Ok(platter.into_recorded())
}

/// Tries every moment, or those up to the first that is wrong.
fn replay(ext4: &Ext4, recorded: &[Event], seed: u64, until_wrong: bool, place: &Path) -> anyhow::Result<Verdicts> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut verdicts = Verdicts::default();
    let mut disk = ext4.blank();
    let mut acknowledged = 0;
    // Whether what is durable was looked at since it changed, or since more was acknowledged.
    let mut durable_is_known = false;
    for (number, event) in recorded.iter().enumerate() {
        match event {
            Event::Write(offset, bytes) => drop(disk.write(*offset, bytes)),
            Event::Flush => {
                disk.flush();
                durable_is_known = false;
                continue;
            }
            Event::Mark => (acknowledged, durable_is_known) = (acknowledged + 1, false),
        }
        let mut states = vec![("all", 1.0, true), ("a part", KEEP, disk.in_balance() > 1)];
        states.push(("what was flushed", 0.0, !durable_is_known));
        durable_is_known = true;
        for (what, keep, wanted) in states {
            if !wanted {
                continue;
            }
            let left = if keep < 1.0 {
                disk.clone().survive(&mut Luck::new(random.fork(), keep))
            } else {
                let mut whole = disk.clone();
                whole.flush();
                whole
            };
            if let Some(wrong) = verdicts.judge(look(ext4, left, &place.join("replayed"))?, acknowledged) {
                if until_wrong {
                    return Ok(verdicts);
                }
                println!("at event {number} of seed {seed}, {acknowledged} acknowledged, with {what}: {wrong}");
            }
        }
    }
    Ok(verdicts)
}

impl Verdicts {
    fn are_good(&self) -> bool {
        self.lost + self.failed_starts == 0
    }

    /// What is wrong, if it is to be told.
    fn judge(&mut self, found: Found, acknowledged: i64) -> Option<String> {
        self.states += 1;
        let wrong = match found {
            Found::Nothing(why) => {
                self.failed_starts += 1;
                why
            }
            Found::Numbers(numbers) => {
                let dense = numbers.iter().copied().eq(0..numbers.len() as i64);
                if dense && numbers.len() as i64 >= acknowledged {
                    return None;
                }
                self.lost += 1;
                format!("found {numbers:?}")
            }
        };
        (self.lost + self.failed_starts <= TOLD_MAX as u64).then_some(wrong)
    }
}

/// Mounts a disk and reads its queue.
fn look(ext4: &Ext4, disk: Platter, below: &Path) -> anyhow::Result<Found> {
    let power = Power::new(disk);
    // As long as the file system itself is being made nothing is promised; it was, before anything was recorded.
    let mounted = ext4.up(&power, below)?;
    let found = numbers(&mounted.root.join("data"));
    Ok(found.map_or_else(|error| Found::Nothing(format!("{error:#}")), Found::Numbers))
}

fn numbers(dir: &Path) -> anyhow::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    if !dir.exists() {
        return Ok(numbers);
    }
    let store: Arc<dyn Store> = Arc::new(SledStore::open(dir)?);
    let (queue, _appenders) = Queue::open(store, Clock::System.now(), live::GENERATION)?;
    let mut reader = Reader::new(&queue.readings, 0);
    loop {
        let group = match reader.step()? {
            Step::End => return Ok(numbers),
            Step::Lost { from, to } => bail!("the offsets from {from} to {to} cannot be read"),
            Step::Group(group) => group,
        };
        let readings = group.entries.iter().filter_map(|entry| match entry {
            Entry::Reading { reading, .. } => reading.fields.first(),
            _ => None,
        });
        numbers.extend(readings.map(|(_, value)| if let Value::I64(n) = value { *n } else { -1 }));
    }
}
