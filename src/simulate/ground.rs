//! What the data directory of a simulated gateway lies on: when the process is killed, and what goes with it.
//!
//! On firm ground that is the process alone, and all it ever wrote is there for its next life. Ground that loses power
//! takes what was not synced as well: the rig in `tests/power-cut` brings such.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::Instant;

pub trait Ground {
    /// Waits for the next moment to kill the gateway. May be dropped while it waits.
    fn strike(&mut self) -> impl Future<Output = ()>;

    /// Whether there is no such moment to come.
    fn is_quiet(&self) -> bool;

    /// Kills the process, says how it ended, and has ready what is left for its next life.
    fn cut(&mut self, process: &mut Child) -> impl Future<Output = anyhow::Result<ExitStatus>>;

    /// Whether it was to end so.
    fn allows(&self, ended: ExitStatus) -> bool {
        ended.signal() == Some(Signal::KILL.as_raw())
    }
}

/// Ground that keeps everything.
pub struct Firm {
    start: Instant,
    kills: VecDeque<Duration>,
}

impl Firm {
    /// The gateway is killed so long after now.
    #[must_use]
    pub fn new(mut kills: Vec<Duration>) -> Self {
        kills.sort();
        Self { start: Instant::now(), kills: kills.into() }
    }
}

impl Ground for Firm {
    async fn strike(&mut self) {
        match self.kills.front() {
            Some(at) => tokio::time::sleep_until(self.start + *at).await,
            None => std::future::pending().await,
        }
    }

    fn is_quiet(&self) -> bool {
        self.kills.is_empty()
    }

    async fn cut(&mut self, process: &mut Child) -> anyhow::Result<ExitStatus> {
        self.kills.pop_front();
        process.start_kill().context("the gateway cannot be killed")?;
        Ok(process.wait().await?)
    }
}
