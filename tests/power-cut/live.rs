//! Rounds of `simulate` on a machine whose power is cut a dozen times in each, and what must be true at the end.
//!
//! A round is drawn from its seed: when the cuts fall, what each leaves, what the sensors say. It is in order when every
//! reading that was generated has arrived, each row says what it must, no gap was recorded, and every life but the
//! killed ones went on: readings wait in the broker until they are acknowledged, so whatever is missing was acknowledged
//! and not kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tidegate::faults::{GENERATION_BYTES, Mutant};
use tidegate::simulate::gateway::Wires;
use tidegate::simulate::report::Report;
use tidegate::simulate::sensor::Sensor;
use tidegate::simulate::stream::Faults;
use tidegate::simulate::{self, Settings, windows};

use crate::Ground;
use crate::machine::{Cut, Machine, Tally, When};
use crate::mount::{Ext4, Mount, StrictFiles};
use crate::place::Place;
use crate::power::Fuse;
use crate::verdict;

/// Cuts in a full round.
const CUTS: u64 = 14;
const DURATION: Duration = Duration::from_secs(8);
const SENSORS: usize = 10;
const RATE: f64 = 20.0;
/// So small that generations are made, sealed and removed all the time; in the third of the rounds as large as they are by
/// themselves, so that sled has several segments in each, and uses them again.
pub const GENERATION: u64 = 50_000;
const GENERATION_WHOLE: u64 = 5 << 19;
/// Records that wait for their next try are on the road when the power goes.
pub const THROTTLE: f64 = 0.3;
/// For what goes wrong there alone, most are; and most readings wait in the queue, where they can be lost.
pub const THROTTLE_MOST: f64 = 0.8;
/// What a new directory is made in.
const FIRST: Duration = Duration::from_millis(220);
const LIFE: std::ops::Range<u64> = 50..900;
const SYNCS: std::ops::RangeInclusive<u64> = 1..=150;
const WRITES: std::ops::RangeInclusive<u64> = 1..=500;
const FOLD_SYNCS: std::ops::RangeInclusive<u64> = 1..=6;
const RUNS_ON_MAX: u64 = 20;

/// Nothing waits long for company or for its next try: a round is over soon, and generations go soon. Its doors and its
/// road are those of `simulate`.
const CONFIG: &str = r#"
[[source]]
type = "mqtt"
name = "fleet"
url = "mqtt://127.0.0.1"
[[source.subscribe]]
filter = "sensors/+/telemetry"
format = "json"
[batch]
max_age = "500ms"
[kinesis]
stream = "simulated"
region = "eu-west-1"
backoff = { base = "100ms", max = "500ms" }
"#;

/// What came of one round.
pub struct Round {
    pub seed: u64,
    pub report: Report,
    pub tally: Tally,
    /// How to look at what the last cut left, where something is wrong.
    pub kept: Option<String>,
}

impl Round {
    pub fn is_ok(&self) -> bool {
        self.wrong().is_none()
    }

    /// What is wrong, in words.
    pub fn wrong(&self) -> Option<String> {
        verdict::wrong(&self.report)
    }

    pub fn lost(&self) -> u64 {
        verdict::lost(&self.report)
    }

    pub fn has_failed_start(&self) -> bool {
        verdict::has_failed_start(&self.report)
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Tally { cuts, in_balance, pieces, .. }, Report { delivered, windows, .. }) = (self.tally, &self.report);
        write!(f, "seed {:>5}  {cuts} cuts, {in_balance} with {pieces} pieces in the balance; ", self.seed)?;
        write!(f, "{} readings and {} rows arrived: ", delivered.unique, windows.delivered)?;
        f.write_str(self.wrong().as_deref().unwrap_or("ok"))
    }
}

/// Runs so many cuts, in as many rounds as that takes. Says whether all is well.
pub async fn run(on: Ground, cuts: u64, seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    match on {
        Ground::Ext4 => rounds(&Ext4::new(place.path())?, on, cuts, seed, &place).await,
        Ground::Strict => rounds(&StrictFiles, on, cuts, seed, &place).await,
    }
}

async fn rounds<M: Mount>(mount: &M, on: Ground, cuts: u64, seed: u64, place: &Place) -> anyhow::Result<bool> {
    let mut sum = Tally::default();
    let (mut seeds, mut failed, mut lost, mut wrong, mut failed_starts) = (Vec::new(), Vec::new(), 0, 0, 0);
    while sum.cuts < cuts {
        let seed = seed + seeds.len() as u64;
        let asked = CUTS.min(cuts - sum.cuts);
        let mut random = fastrand::Rng::with_seed(seed);
        let cuts = (0..asked).map(|number| draw(&mut random, number == 0, M::KNOWS_LOGS)).collect();
        let round = round(mount, seed, cuts, random, None, THROTTLE, place.path()).await?;
        println!("{round}");
        if !round.is_ok() {
            println!("  again: tests/power-cut/run live --on {on} --cuts {asked} --seed {seed}");
            println!("  kept: {}", round.kept.as_deref().unwrap_or("nothing"));
            failed.push(seed);
        }
        seeds.push(seed);
        sum.cuts += round.tally.cuts;
        sum.in_balance += round.tally.in_balance;
        sum.pieces += round.tally.pieces;
        sum.bytes_written += round.tally.bytes_written;
        lost += round.lost();
        wrong += round.report.windows.wrong;
        failed_starts += u64::from(round.has_failed_start());
        // One that ended by itself does not come to all its cuts.
        if round.tally.cuts < asked {
            sum.cuts += asked - round.tally.cuts;
        }
    }
    // Cuts at which nothing can be lost would pass as well; of a few, all may be such by chance.
    let at_stake = 4 * sum.in_balance >= sum.cuts || sum.cuts < CUTS;
    if !at_stake {
        println!("only {} of {} cuts had anything in the balance", sum.in_balance, sum.cuts);
    }
    let line = json!({
        "mode": "live", "on": on.to_string(), "seeds": seeds, "done": sum.cuts, "in_balance": sum.in_balance,
        "pieces": sum.pieces, "bytes_written": sum.bytes_written, "lost": lost, "rows_wrong": wrong,
        "failed_starts": failed_starts, "failed": failed,
    });
    println!("{line}");
    Ok(failed.is_empty() && at_stake)
}

/// One life of a data directory, of a gateway that is sound or a mutant, with so much of its road failing.
pub async fn round<M: Mount>(
    mount: &M,
    seed: u64,
    cuts: Vec<Cut>,
    random: fastrand::Rng,
    mutant: Option<Mutant>,
    throttle: f64,
    place: &Path,
) -> anyhow::Result<Round> {
    let mut machine = Machine::start(mount, &place.join(format!("round-{seed}")), cuts, random)?;
    let settings = settings(seed, machine.data_dir(), place, mutant, throttle)?;
    let report = simulate::run_on(&mut machine, settings, |_| {}).await?;
    let mut round = Round { seed, report, tally: machine.tally, kept: None };
    if !round.is_ok() && mutant.is_none() {
        round.kept = Some(machine.keep(&std::env::temp_dir().join(format!("tidegate-power-cut-seed-{seed}")))?);
    }
    Ok(round)
}

/// When a cut falls, and what it leaves. The first of a round falls into the making of the directory.
pub fn draw(random: &mut fastrand::Rng, is_first: bool, knows_logs: bool) -> Cut {
    let when = match random.u32(..if knows_logs { 4 } else { 3 }) {
        _ if is_first => When::After(FIRST.mul_f64(random.f64())),
        0 => When::At(Fuse::Sync(random.u64(SYNCS))),
        1 => When::At(Fuse::Write(random.u64(WRITES))),
        2 => When::After(Duration::from_millis(random.u64(LIFE))),
        // In the middle of what the fold commits.
        _ => When::At(Fuse::SyncOf(if random.bool() { "rows" } else { "state" }, random.u64(FOLD_SYNCS))),
    };
    let keep = f64::from(random.u32(0..=4)) / 4.0;
    Cut { when, runs_on: Duration::from_millis(random.u64(0..=RUNS_ON_MAX)), keep, spoilt: None, stays_on: false }
}

/// What is simulated, from a seed; what it needs beside the data directory is put below `place`.
pub fn settings(
    seed: u64,
    dir: PathBuf,
    place: &Path,
    mutant: Option<Mutant>,
    throttle: f64,
) -> std::io::Result<Settings> {
    let (wires, config) = (place.join(format!("wires-{seed}")), place.join("gateway.toml"));
    std::fs::create_dir_all(&wires)?;
    write_config(&config)?;
    let published = (0..SENSORS).map(|index| Sensor::synthetic(seed, index, RATE));
    Ok(Settings {
        duration: Some(DURATION),
        sensors: published.chain([Sensor::serial(seed, 0, RATE)]).collect(),
        faults: Faults { seed, throttle, ..Faults::default() },
        config: Some(config),
        http: None,
        mqtt: None,
        endpoint: None,
        dir,
        wires: Wires { dir: wires, serial: 1, modbus: 0, poll: Duration::from_secs(1) },
        env: environment(mutant, if seed.is_multiple_of(3) { GENERATION_WHOLE } else { GENERATION }),
    })
}

pub fn write_config(path: &Path) -> std::io::Result<()> {
    std::fs::write(path, format!("{CONFIG}{}", windows::LIVE))
}

/// What the gateway finds in its environment.
pub fn environment(mutant: Option<Mutant>, generation: u64) -> Vec<(String, String)> {
    let generation = (GENERATION_BYTES.to_owned(), generation.to_string());
    let mutant = mutant.map(|mutant| (Mutant::VARIABLE.to_owned(), mutant.name().to_owned()));
    [generation].into_iter().chain(mutant).collect()
}
