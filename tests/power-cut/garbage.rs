//! Power cuts that find the card at work: the erase block around the last write to a generation holds garbage afterwards, as
//! cards without a buffer of their own do it. The small files lie in other blocks: where the mark, which alone knows how far
//! the newest generation went, is hit with it, nobody can tell what is gone.
//!
//! What was acknowledged may be gone then. But it is found out and put aside, a gap record says which offsets it was, what
//! arrives is as it was sent and in order, and service goes on by itself. On strict files alone: under ext4 it is the file
//! system that is gone.

use serde_json::json;
use tidegate::simulate::report::Report;

use crate::live;
use crate::machine::Cut;
use crate::mount::{Mount, StrictFiles};
use crate::place::Place;
use crate::verdict;

/// Of small cards to large.
const BLOCKS: [u64; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Cuts in a full round.
const CUTS: u64 = 8;

/// Runs so many cuts, in as many rounds as that takes. Says whether all is well.
pub async fn run(cuts: u64, seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let (mut seeds, mut failed) = (Vec::new(), Vec::new());
    let (mut done, mut lost, mut gaps, mut unjudged, mut failed_starts) = (0, 0, 0, Vec::new(), 0);
    while done < cuts {
        let seed = seed + seeds.len() as u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let asked = CUTS.min(cuts - done);
        let drawn = (0..asked).map(|number| {
            let block = BLOCKS[random.usize(..BLOCKS.len())];
            Cut { spoilt: Some(block), ..live::draw(&mut random, number == 0, StrictFiles::KNOWS_LOGS) }
        });
        let drawn = drawn.collect();
        let round = live::round(&StrictFiles, seed, drawn, random, None, live::THROTTLE, place.path()).await?;
        let Report { delivered, gaps: told, .. } = &round.report;
        let untold = verdict::untold(&round.report);
        let is_unjudged = verdict::is_unjudged(&round.report);
        let said = if is_unjudged { "not to be judged, since a gap record is lost as well" } else { "each told" };
        println!(
            "seed {seed:>5}  {asked} cuts; {} readings arrived, {told} gaps: {}",
            delivered.unique,
            untold.as_deref().unwrap_or(said)
        );
        failed.extend(untold.map(|_| seed));
        unjudged.extend(is_unjudged.then_some(seed));
        seeds.push(seed);
        done += asked;
        lost += if is_unjudged { 0 } else { delivered.lost };
        gaps += told;
        failed_starts += u64::from(round.has_failed_start());
    }
    let line = json!({
        "mode": "garbage", "seeds": seeds, "done": done, "lost": lost, "gaps": gaps, "unjudged": unjudged,
        "failed_starts": failed_starts, "failed": failed,
    });
    println!("{line}");
    // Garbage that costs nothing was put nowhere; a few cuts may all find the card at something that is held twice.
    let is_judged = 2 * unjudged.len() <= seeds.len() + 1;
    Ok(failed.is_empty() && is_judged && (gaps > 0 || done < 2 * CUTS))
}
