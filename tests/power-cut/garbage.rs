//! Power cuts that find the card at work: the erase block around the last write to a generation holds garbage afterwards, as
//! cards without a buffer of their own do it. The small files lie in other blocks: where the mark, which alone knows how far
//! the newest generation went, is hit with it, nobody can tell what is gone.
//!
//! What was acknowledged may be gone then. But it is found out and put aside, a gap record says which offsets it was, what
//! arrives is as it was sent and in order, and service goes on by itself. On strict files alone: under ext4 it is the file
//! system that is gone.

use serde_json::json;
use tidegate::simulate::report::Report;

use crate::live::{self, Plan};
use crate::machine::Cut;
use crate::mount::{Mount, StrictFiles};
use crate::place::Place;
use crate::sum::Sum;
use crate::verdict;

/// Of small cards to large.
const BLOCKS: [u64; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Cuts in a full round.
const CUTS: u64 = 8;

/// Runs so many cuts, in as many rounds as that takes. Says whether all is well.
pub async fn run(cuts: u64, seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let (mut sum, mut gaps, mut unjudged) = (Sum::new(seed), 0, Vec::new());
    while sum.done < cuts {
        let asked = CUTS.min(cuts - sum.done);
        let plan = Plan { judge: verdict::untold, ..Plan::drawn(sum.seed(), asked, draw) };
        let round = live::round(&StrictFiles, plan, place.path()).await?;
        let Report { delivered, gaps: told, .. } = &round.report;
        let is_unjudged = verdict::is_unjudged(&round.report);
        let said = if is_unjudged { "not to be judged, since a gap record is lost as well" } else { "each told" };
        println!(
            "seed {:>5}  {asked} cuts; {} readings arrived, {told} gaps: {}",
            round.seed,
            delivered.unique,
            round.wrong.as_deref().unwrap_or(said)
        );
        round.tell_again(&format!("garbage --cuts {asked}"));
        sum.add(asked, &round.report, if is_unjudged { 0 } else { delivered.lost }, round.is_ok());
        unjudged.extend(is_unjudged.then_some(round.seed));
        gaps += told;
    }
    // Garbage that costs nothing was put nowhere; a few cuts may all find the card at something that is held twice.
    let costs = gaps > 0 || sum.done < 2 * CUTS;
    let is_judged = 2 * unjudged.len() as u64 <= sum.rounds + 1;
    Ok(sum.tell("garbage", json!({ "gaps": gaps, "unjudged": unjudged }), costs && is_judged))
}

fn draw(random: &mut fastrand::Rng, number: u64) -> Cut {
    let block = BLOCKS[random.usize(..BLOCKS.len())];
    Cut { spoilt: Some(block), ..live::draw(random, number == 0, StrictFiles::KNOWS_LOGS) }
}
