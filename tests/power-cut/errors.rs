//! Calls to the disk that fail, one a life, with EIO or ENOSPC. The process ends by itself, with an error, or goes on; then
//! the power is cut. Or it stays on and is cut under a later life, undisturbed as every third is: what a failed sync left
//! behind can be read by then and is not on the disk, and no later sync brings it there.
//!
//! Whatever it is, nothing acknowledged is lost, nothing is taken for damaged, and the next start goes on by itself. On
//! strict files alone, which are asked what the gateway asks, and with a road on which little gets through.

use fuser::Errno;
use serde_json::json;

use crate::live::{self, Plan};
use crate::machine::{Cut, Tally, When};
use crate::mount::{Mount, StrictFiles};
use crate::place::Place;
use crate::power::{Call, Failure};
use crate::sum::Sum;

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
    let (mut sum, mut all, mut rows_wrong) = (Sum::new(seed), Tally::default(), 0);
    while sum.done < lives {
        let asked = LIVES.min(lives - sum.done);
        let plan = Plan { throttle: live::THROTTLE_MOST, ..Plan::drawn(sum.seed(), asked, draw) };
        let round = live::round(&StrictFiles, plan, place.path()).await?;
        let Tally { cuts, failures, ended, .. } = round.tally;
        println!(
            "seed {:>5}  {cuts} lives, {failures} with a call that failed, {ended} ended by it; {} readings and {} rows \
             arrived: {}",
            round.seed,
            round.report.delivered.unique,
            round.report.windows.delivered,
            round.wrong.as_deref().unwrap_or("ok")
        );
        round.tell_again(&format!("errors --lives {asked}"));
        sum.add(asked, &round.report, round.lost(), round.is_ok());
        all.failures += failures;
        all.ended += ended;
        rows_wrong += round.report.windows.wrong;
    }
    // Failures that nobody comes to would pass as well.
    let are_met = 3 * all.failures >= sum.done || sum.done < LIVES;
    let own = json!({ "failures": all.failures, "ended": all.ended, "rows_wrong": rows_wrong });
    Ok(sum.tell("errors", own, are_met))
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
