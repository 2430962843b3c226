//! A machine whose power is cut: ground for a simulated gateway that loses what was not synced. Or a call to its disk fails
//! first, and the power may stay on.
//!
//! ```text
//!   power off ─▶ the disk answers nothing ─▶ SIGKILL ─▶ what waits fails ─▶ unmounted ─▶ survivors drawn ─▶ mounted
//! ```
//!
//! Between the power going off and the SIGKILL the process runs on for a moment, with a disk that says nothing: whatever
//! it acknowledges then it acknowledges without a sync, and the check misses it later.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tidegate::simulate::ground::Ground;
use tokio::process::Child;
use tokio::time::Instant;

use crate::luck::Luck;
use crate::mount::{Mount, Mounted};
use crate::power::{Failure, Fuse, Medium, Power};

/// A life that has not reached its moment by then is cut all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(2);

/// A process that has not ended by then goes on in spite of the call that failed.
/// sled's own hang is over after two seconds.
const GOES_ON: Duration = Duration::from_millis(2_500);

/// One power cut to come.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub when: When,
    /// How long the process runs on without a disk.
    pub runs_on: Duration,
    /// What was not synced is kept with this probability, piece by piece.
    pub keep: f64,
    /// The erase block of so many bytes that the card was at is garbage afterwards.
    pub spoilt: Option<u64>,
    /// Only the process ends; what it wrote is there for the next, synced or not.
    pub stays_on: bool,
}

/// Counted in each life anew, so that on a slow machine no two cuts fall on one start.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// After the first write.
    After(Duration),
    /// On a call to the medium.
    At(Fuse),
    /// Behind a call that failed, once the process has ended by itself or has shown that it goes on.
    Fails(Failure),
}

/// What the cuts were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub cuts: u64,
    /// Those with anything that was written and not synced.
    pub in_balance: u64,
    pub pieces: u64,
    pub bytes_written: u64,
    /// Calls that failed, and processes that ended by it.
    pub failures: u64,
    pub ended: u64,
}

pub struct Machine<'a, M: Mount> {
    mount: &'a M,
    place: PathBuf,
    power: Arc<Power<M::Medium>>,
    /// `None` only between two lives.
    mounted: Option<Mounted>,
    /// What the last cut left.
    left: M::Medium,
    to_come: VecDeque<Cut>,
    random: fastrand::Rng,
    born: Instant,
    /// The life that is over had a call that failed.
    has_failed: bool,
    pub tally: Tally,
}

impl<'a, M: Mount> Machine<'a, M> {
    /// A new machine with a new medium, mounted below `place`.
    pub fn start(mount: &'a M, place: &Path, cuts: Vec<Cut>, random: fastrand::Rng) -> anyhow::Result<Self> {
        let left = mount.blank();
        let power = Power::new(left.clone());
        let mounted = Some(mount.up(&power, place)?);
        let (place, to_come, born) = (place.to_owned(), cuts.into(), Instant::now());
        let (has_failed, tally) = (false, Tally::default());
        let machine = Self { mount, place, power, mounted, left, to_come, random, born, has_failed, tally };
        machine.arm();
        Ok(machine)
    }

    /// Where the gateway may put its files.
    pub fn data_dir(&self) -> PathBuf {
        self.mounted.as_ref().map_or_else(|| self.place.clone(), |mounted| mounted.root.clone()).join("data")
    }

    /// Writes down what the last cut left, and says how to look at it.
    pub fn keep(&self, dir: &Path) -> anyhow::Result<String> {
        std::fs::create_dir_all(dir)?;
        Ok(self.mount.keep(&self.left, dir)?)
    }

    fn arm(&self) {
        let (fuse, failure) = match self.to_come.front().map(|cut| cut.when) {
            Some(When::At(fuse)) => (Some(fuse), None),
            Some(When::Fails(failure)) => (None, Some(failure)),
            Some(When::After(_)) | None => (None, None),
        };
        self.power.arm(fuse, failure);
    }

    async fn is_so_old(&self, after: Duration) {
        tokio::time::sleep_until(self.power.woken().await + after).await;
    }

    /// The machine without its process is taken apart, and another stands on what is left.
    fn rebuild(&mut self, Cut { keep, spoilt, .. }: Cut) -> anyhow::Result<()> {
        self.mounted = None;
        let power = std::mem::replace(&mut self.power, Power::new(self.left.clone()));
        let medium = power.into_medium().context("somebody still holds the medium")?;
        let pieces = medium.in_balance() as u64;
        self.tally.cuts += 1;
        self.tally.in_balance += u64::from(pieces > 0);
        self.tally.pieces += pieces;
        self.tally.bytes_written = medium.written();
        self.left = medium.survive(&mut Luck::new(self.random.fork(), keep).spoiling(spoilt));
        self.power = Power::new(self.left.clone());
        self.mounted = Some(self.mount.up(&self.power, &self.place).context("what the cut left cannot be mounted")?);
        self.born = Instant::now();
        self.arm();
        Ok(())
    }
}

impl<M: Mount> Ground for Machine<'_, M> {
    async fn strike(&mut self) {
        self.has_failed = false;
        let Some(cut) = self.to_come.front() else { return std::future::pending().await };
        let after = match cut.when {
            When::After(after) => after,
            When::At(_) | When::Fails(_) => LONGEST_LIFE,
        };
        tokio::select! {
            () = self.power.went_off() => {}
            () = self.power.failed() => {}
            () = self.is_so_old(after) => {}
            () = tokio::time::sleep_until(self.born + 2 * LONGEST_LIFE) => {}
        }
    }

    fn is_quiet(&self) -> bool {
        self.to_come.is_empty()
    }

    async fn cut(&mut self, process: &mut Child) -> anyhow::Result<ExitStatus> {
        let cut = self.to_come.pop_front().context("no cut was to come")?;
        if self.power.has_failed() {
            let ended = tokio::time::timeout(GOES_ON, process.wait()).await;
            self.tally.ended += u64::from(ended.is_ok());
        }
        if !cut.stays_on {
            self.power.off();
        }
        tokio::time::sleep(cut.runs_on).await;
        if process.try_wait()?.is_none() {
            process.start_kill().context("the gateway cannot be killed")?;
        }
        if !cut.stays_on {
            self.power.tear_down();
        }
        let ended = process.wait().await?;
        // Or it failed as the process was about to be killed, which then may have ended by either.
        self.has_failed = self.power.has_failed();
        self.tally.failures += u64::from(self.has_failed);
        if cut.stays_on {
            self.tally.cuts += 1;
            self.born = Instant::now();
            self.arm();
            return Ok(ended);
        }
        tokio::task::block_in_place(|| self.rebuild(cut))?;
        Ok(ended)
    }

    /// An error is a reason to end with one.
    fn allows(&self, ended: ExitStatus) -> bool {
        let has_failed = self.has_failed || self.power.has_failed();
        ended.signal() == Some(Signal::KILL.as_raw()) || has_failed && ended.code() == Some(1)
    }
}

impl<M: Mount> Drop for Machine<'_, M> {
    /// Whoever still waits for the disk is let go, so that what was mounted can be taken away.
    fn drop(&mut self) {
        self.power.tear_down();
        self.mounted = None;
    }
}
