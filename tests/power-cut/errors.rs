//! Calls to the disk that fail, one a life, with EIO or ENOSPC. The process ends by itself, with an error, or goes on; then
//! the power is cut. Or it stays on and is cut under a later life, undisturbed as every third is: what a failed sync left
//! behind can be read by then and is not on the disk, and no later sync brings it there.
//!
//! Whatever it is, nothing acknowledged is lost, nothing is taken for damaged, and the next start goes on by itself. On
//! strict files alone, which are asked what the gateway asks, and with a road on which little gets through.

use fuser::Errno;
use serde_json::json;

use crate::live;
use crate::machine::{Cut, Tally, When};
use crate::mount::{Mount, StrictFiles};
use crate::place::Place;
use crate::power::{Call, Failure};

/// In a full round.
const LIVES: u64 = 15;
/// With how many a life of two seconds surely makes.
const CALLS: [(Call, u64); 10] = [
    (Call::Sync, 120),
    (Call::Sync, 30),
    (Call::Sync, 8),
    (Call::Write, 300),
    (Call::Read, 10),
    (Call::Open, 60),
    (Call::Make, 15),
    (Call::Remove, 6),
    (Call::Rename, 3),
    (Call::Resize, 6),
];

/// Runs so many lives, in as many rounds as that takes. Says whether all is well.
pub async fn run(lives: u64, seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let mut sum = Tally::default();
    let (mut seeds, mut failed, mut lost, mut wrong, mut failed_starts) = (Vec::new(), Vec::new(), 0, 0, 0);
    while sum.cuts < lives {
        let seed = seed + seeds.len() as u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let asked = LIVES.min(lives - sum.cuts);
        let drawn = (0..asked).map(|number| draw(&mut random, number)).collect();
        let round = live::round(&StrictFiles, seed, drawn, random, None, live::THROTTLE_MOST, place.path()).await?;
        let Tally { cuts, failures, ended, .. } = round.tally;
        println!(
            "seed {seed:>5}  {cuts} lives, {failures} with a call that failed, {ended} ended by it; {} readings and {} rows \
             arrived: {}",
            round.report.delivered.unique,
            round.report.windows.delivered,
            round.wrong().as_deref().unwrap_or("ok")
        );
        if !round.is_ok() {
            println!("  again: tests/power-cut/run errors --lives {asked} --seed {seed}");
            println!("  kept: {}", round.kept.as_deref().unwrap_or("nothing"));
            failed.push(seed);
        }
        seeds.push(seed);
        // One that ended otherwise does not come to all its lives.
        sum.cuts += asked;
        sum.failures += failures;
        sum.ended += ended;
        lost += round.lost();
        wrong += round.report.windows.wrong;
        failed_starts += u64::from(round.has_failed_start());
    }
    let line = json!({
        "mode": "errors", "seeds": seeds, "done": sum.cuts, "failures": sum.failures, "ended": sum.ended, "lost": lost,
        "rows_wrong": wrong, "failed_starts": failed_starts, "failed": failed,
    });
    println!("{line}");
    // Failures that nobody comes to would pass as well.
    Ok(failed.is_empty() && (3 * sum.failures >= sum.cuts || sum.cuts < LIVES))
}

/// A life with a call that fails, or every third time one behind it, whose end is a power cut.
fn draw(random: &mut fastrand::Rng, number: u64) -> Cut {
    let cut = live::draw(random, false, StrictFiles::KNOWS_LOGS);
    if number % 3 == 2 {
        return cut;
    }
    let (call, most) = CALLS[random.usize(..CALLS.len())];
    let error = if random.bool() { Errno::EIO } else { Errno::ENOSPC };
    let failure = Failure { call, at: random.u64(1..=most), error };
    Cut { when: When::Fails(failure), stays_on: random.bool(), ..cut }
}
