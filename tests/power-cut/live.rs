//! Rounds of `simulate` on a machine whose power is cut a dozen times in each, and what must be true at the end.
//!
//! A round is drawn from its seed: when the cuts fall, what each leaves, what the sensors say. Unless its mode judges
//! otherwise it is in order when every reading that was generated has arrived, each row says what it must, no gap was
//! recorded, and every life but the killed ones went on: readings wait in the broker until they are acknowledged, so
//! whatever is missing was acknowledged and not kept.

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
use crate::sum::Sum;
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

/// What one round is to be.
pub struct Plan {
    pub seed: u64,
    pub cuts: Vec<Cut>,
    /// Draws what each cut leaves.
    pub random: fastrand::Rng,
    /// How much of the road fails.
    pub throttle: f64,
    pub mutant: Option<Mutant>,
    /// What is wrong with what came of it, in words.
    pub judge: fn(&Report) -> Option<String>,
}

impl Plan {
    /// For a sound gateway, with so many cuts.
    pub fn drawn(seed: u64, cuts: u64, draw: impl Fn(&mut fastrand::Rng, u64) -> Cut) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let cuts = (0..cuts).map(|number| draw(&mut random, number)).collect();
        Self { seed, cuts, random, throttle: THROTTLE, mutant: None, judge: verdict::wrong }
    }
}

/// What came of one round.
pub struct Round {
    pub seed: u64,
    pub report: Report,
    pub tally: Tally,
    /// What is wrong, in words.
    pub wrong: Option<String>,
    /// How to look at what the last cut left, where something is wrong with a sound gateway.
    kept: Option<String>,
}

impl Round {
    pub fn is_ok(&self) -> bool {
        self.wrong.is_none()
    }

    pub fn lost(&self) -> u64 {
        verdict::lost(&self.report)
    }

    /// Says how to come to it again, where something is wrong, by these words of the rig.
    pub fn tell_again(&self, words: &str) {
        if let Some(kept) = &self.kept {
            println!("  again: tests/power-cut/run {words} --seed {}", self.seed);
            println!("  kept: {kept}");
        }
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Tally { cuts, in_balance, pieces, .. }, Report { delivered, windows, .. }) = (self.tally, &self.report);
        write!(f, "seed {:>5}  {cuts} cuts, {in_balance} with {pieces} pieces in the balance; ", self.seed)?;
        write!(f, "{} readings and {} rows arrived: ", delivered.unique, windows.delivered)?;
        f.write_str(self.wrong.as_deref().unwrap_or("ok"))
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
    let (mut sum, mut all, mut rows_wrong) = (Sum::new(seed), Tally::default(), 0);
    while sum.done < cuts {
        let asked = CUTS.min(cuts - sum.done);
        let plan = Plan::drawn(sum.seed(), asked, |random, number| draw(random, number == 0, M::KNOWS_LOGS));
        let round = round(mount, plan, place.path()).await?;
        println!("{round}");
        round.tell_again(&format!("live --on {on} --cuts {asked}"));
        sum.add(asked, &round.report, round.lost(), round.is_ok());
        all.in_balance += round.tally.in_balance;
        all.pieces += round.tally.pieces;
        all.bytes_written += round.tally.bytes_written;
        rows_wrong += round.report.windows.wrong;
    }
    // Cuts at which nothing can be lost would pass as well; of a few, all may be such by chance.
    let at_stake = 4 * all.in_balance >= sum.done || sum.done < CUTS;
    let own = json!({
        "on": on.to_string(), "in_balance": all.in_balance, "pieces": all.pieces, "bytes_written": all.bytes_written,
        "rows_wrong": rows_wrong,
    });
    Ok(sum.tell("live", own, at_stake))
}

/// One life of a data directory.
pub async fn round<M: Mount>(mount: &M, plan: Plan, place: &Path) -> anyhow::Result<Round> {
    let Plan { seed, cuts, random, throttle, mutant, judge } = plan;
    let mut machine = Machine::start(mount, &place.join(format!("round-{seed}")), cuts, random)?;
    let settings = settings(seed, machine.data_dir(), place, mutant, throttle)?;
    let report = simulate::run_on(&mut machine, settings, |_| {}).await?;
    let (wrong, mut kept) = (judge(&report), None);
    if wrong.is_some() && mutant.is_none() {
        kept = Some(machine.keep(&std::env::temp_dir().join(format!("tidegate-power-cut-seed-{seed}")))?);
    }
    Ok(Round { seed, report, tally: machine.tally, wrong, kept })
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
