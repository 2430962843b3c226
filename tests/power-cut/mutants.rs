//! The rig against gateways that are wrong on purpose: one that it does not find out shows that it finds nothing.

use fuser::Errno;
use serde_json::json;
use tidegate::faults::Mutant;

use crate::Ground;
use crate::live::{self, Plan, Round};
use crate::machine::{Cut, When};
use crate::mount::{Ext4, StrictFiles};
use crate::place::Place;
use crate::power::{Call, Failure, Fuse};
use crate::replay;
use crate::verdict;

/// Rounds until one is given up as not found out.
const ROUNDS: u64 = 8;
const CUTS: u64 = 12;
/// Syncs in `rows` of which one is a fold's: those before are of the start.
const IN_MID_FOLD: std::ops::RangeInclusive<u64> = 3..=5;
/// Of commits, behind those of the start.
const FAILING_SYNC: std::ops::RangeInclusive<u64> = 20..=100;

/// Those that acknowledge what is not kept.
const REPLAYED: [Mutant; 2] = [Mutant::NoFsync, Mutant::AckFirst];

/// Where a mutant shows. ext4 brings all names along with the fsync of any file, and so hides one.
fn ground(mutant: Mutant) -> Ground {
    match mutant {
        Mutant::NoDirectoryFsync | Mutant::CheckpointFirst | Mutant::NoRenewal => Ground::Strict,
        _ => Ground::Ext4,
    }
}

/// Whether a round shows what is wrong with it, and not merely that it came to no good end.
fn shows(mutant: Mutant, round: &Round) -> bool {
    let report = &round.report;
    let is_missing = round.lost() + report.windows.wrong + report.gaps > 0;
    is_missing || mutant == Mutant::NoDirectoryFsync && verdict::has_failed_start(report)
}

/// How much of the road fails, and where the cuts fall: drawn as for a sound gateway, or where that comes to what is wrong
/// now and then only, aimed at it.
fn aimed_at(mutant: Mutant, seed: u64) -> Plan {
    let plan = Plan::drawn(seed, CUTS, |random, number| {
        let cut = live::draw(random, number == 0, ground(mutant) == Ground::Strict);
        match mutant {
            Mutant::CheckpointFirst => {
                Cut { when: When::At(Fuse::SyncOf("rows", random.u64(IN_MID_FOLD))), keep: 0.0, ..cut }
            }
            // Every other life begins behind a sync that failed.
            Mutant::NoRenewal if number % 2 == 0 => {
                let failure = Failure { call: Call::Sync, at: random.u64(FAILING_SYNC), error: Errno::EIO };
                Cut { when: When::Fails(failure), stays_on: true, ..cut }
            }
            _ => cut,
        }
    });
    let on_the_road = matches!(mutant, Mutant::CursorsFirst | Mutant::NoRenewal);
    let throttle = if on_the_road { live::THROTTLE_MOST } else { plan.throttle };
    Plan { throttle, mutant: Some(mutant), ..plan }
}

/// Runs each until it is found out. Says whether all were.
pub async fn run(seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let ext4 = Ext4::new(place.path())?;
    let mut caught = 0;
    for mutant in Mutant::ALL {
        let on = ground(mutant);
        let mut found = None;
        for seed in seed..seed + ROUNDS {
            let (plan, place) = (aimed_at(mutant, seed), place.path());
            let round = match on {
                Ground::Ext4 => live::round(&ext4, plan, place).await?,
                Ground::Strict => live::round(&StrictFiles, plan, place).await?,
            };
            if shows(mutant, &round) {
                found = Some(round);
                break;
            }
        }
        caught += usize::from(found.is_some());
        let told = found.map_or_else(|| "NOT FOUND OUT".to_owned(), |round: Round| format!("found out. {round}"));
        println!("{:<20} on {on}: {told}", mutant.name());
    }
    // The other mode must be able to fail too.
    let mut replayed = 0;
    for mutant in REPLAYED {
        let is_found = replay::finds_out(&ext4, mutant, seed, place.path()).await?;
        replayed += usize::from(is_found);
        println!("{:<20} replayed: {}", mutant.name(), if is_found { "found out" } else { "NOT FOUND OUT" });
    }
    let (mutants, caught) = (Mutant::ALL.len() + REPLAYED.len(), caught + replayed);
    println!("{}", json!({ "mode": "mutants", "seed": seed, "mutants": mutants, "caught": caught }));
    Ok(caught == mutants)
}
