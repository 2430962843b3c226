//! Cuts the power under a gateway, again and again, and checks that nothing it acknowledged is gone.
//!
//! | file | holds |
//! | --- | --- |
//! | `live` | rounds of `simulate` with cuts at seeded moments, and what must be true after each |
//! | `kill` | rounds of `simulate` in which only the process is killed, at named points and at random |
//! | `replay` | one short run recorded, and every moment at which the power could have gone |
//! | `broker` | the broker of that run: one message after the other |
//! | `errors` | calls to the disk that fail, and what they leave for a power cut to find |
//! | `garbage` | power cuts that find the card at work: an erase block is garbage |
//! | `mutants` | gateways that are wrong on purpose, each of which must be found out |
//! | `machine` | ground for a simulated gateway whose power is cut |
//! | `mount` | a real ext4, or strict files, under a directory |
//! | `power` | the switch: a medium that answers nothing while it is off |
//! | `platter`, `disk` | a disk with a cache that forgets, and how the kernel sees it |
//! | `names`, `strict` | files that keep what POSIX promises and no more, and how the kernel sees them |
//! | `luck` | what a cut leaves of what was not synced |
//! | `verdict` | what a report says of all this |
//! | `sum` | what the rounds of a run come to |
//!
//! It needs root and `/dev/fuse`; `tests/power-cut/run` builds it and gives it a mount namespace of its own. The gateway
//! is this program as well, started by `simulate`.

#![forbid(unsafe_code)]

mod broker;
mod disk;
mod errors;
mod garbage;
mod kill;
mod live;
mod luck;
mod machine;
mod mount;
mod mutants;
mod names;
mod place;
mod platter;
mod power;
mod replay;
mod strict;
mod sum;
mod verdict;

use std::fmt;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

/// Cuts the power under a gateway, and checks that nothing it acknowledged is gone
#[derive(Parser)]
struct Rig {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Cuts at seeded moments, a dozen in each life of a data directory
    Live {
        #[arg(long, default_value_t = 40)]
        cuts: u64,
        /// Of the first round; those after it have the numbers that follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, value_enum, default_value_t = Ground::Ext4)]
        on: Ground,
    },
    /// Kills the process, at named points and at random; the power stays on
    Kill {
        #[arg(long, default_value_t = 30)]
        kills: u64,
        /// Of the first round; those after it have the numbers that follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Cuts that leave garbage in the erase block around the last write: what is gone has to be told of
    Garbage {
        #[arg(long, default_value_t = 16)]
        cuts: u64,
        /// Of the first round; those after it have the numbers that follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// In two lives of three a call to the disk fails, with EIO or ENOSPC; the power is cut behind it, or behind a later life
    Errors {
        #[arg(long, default_value_t = 40)]
        lives: u64,
        /// Of the first round; those after it have the numbers that follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Records a short run on ext4, and tries every moment of it
    Replay {
        /// Of what is drawn where neither all nor nothing is kept
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Gateways that are wrong on purpose, each of which must be found out
    Mutants {
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// What the data directory lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ground {
    /// A real ext4 on a disk that loses what was not flushed
    Ext4,
    /// Files that keep what POSIX promises, and no more
    Strict,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Strict => "strict",
        })
    }
}

fn main() -> ExitCode {
    // As `simulate` starts its gateway.
    if std::env::args().nth(1).is_some_and(|word| word == "simulate") {
        return tidegate::cli::main();
    }
    match run(Rig::parse().mode) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("power-cut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(mode: Mode) -> anyhow::Result<bool> {
    let rig = async {
        match mode {
            Mode::Live { cuts, seed, on } => live::run(on, cuts, seed).await,
            Mode::Kill { kills, seed } => kill::run(kills, seed).await,
            Mode::Garbage { cuts, seed } => garbage::run(cuts, seed).await,
            Mode::Errors { lives, seed } => errors::run(lives, seed).await,
            Mode::Replay { seed } => replay::run(seed).await,
            Mode::Mutants { seed } => mutants::run(seed).await,
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = rig => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted: nothing is known"),
        _ = terminate.recv() => bail!("interrupted: nothing is known"),
    }
}
