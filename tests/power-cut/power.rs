//! The switch between a medium and whoever asks it.
//!
//! ```text
//!   on ──off, or a fuse blows──▶ off ──tear_down──▶ gone
//!   answers                      answers nothing    EIO to all
//! ```
//!
//! A disk without power says nothing, not even that it failed: a gateway that got an error could still act on it. So
//! while it is off every question waits. Once the process that asked has its SIGKILL, nobody is left to hear an answer,
//! and all that wait are given an error, so that the kernel lets go of the dead.
//!
//! While it is on, one call may be told that it failed; it has not happened then.
//!
//! Invariant: after the power went off nothing changes on the medium, and no sync that was not answered before is.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::Errno;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::luck::Luck;

/// What a disk takes that tries again before it says that it failed.
const LATE: Duration = Duration::from_millis(20);

/// What is written to, and what a cut leaves of it.
pub trait Medium: Clone + Send + 'static {
    /// How many pieces were written and not synced.
    fn in_balance(&self) -> usize;

    /// What is left after a power cut.
    fn survive(self, luck: &mut Luck) -> Self;

    /// Bytes that were ever written.
    fn written(&self) -> u64;
}

pub struct Power<T> {
    state: Mutex<State<T>>,
    turned: Condvar,
    is_on: watch::Sender<bool>,
    /// When it was written to first since it was armed.
    woken: watch::Sender<Option<Instant>>,
    /// Whether a call has failed since then.
    has_failed: watch::Sender<bool>,
}

struct State<T> {
    medium: T,
    supply: Supply,
    /// Where the power goes off by itself, counted down.
    fuse: Option<Fuse>,
    /// What is to fail, counted down.
    failure: Option<Failure>,
    /// Bytes that were written after the last call.
    written: u64,
}

/// A call that is answered with an error and is not carried out, once: the n-th of its kind, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    pub call: Call,
    pub at: u64,
    pub error: Errno,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Of a file or a directory, with something at stake.
    Sync,
    Write,
    Read,
    Open,
    /// Of a file or a directory.
    Make,
    Remove,
    Rename,
    /// A file is made longer or shorter.
    Resize,
}

/// A call on which the power goes off: none of this kind before, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuse {
    /// As the n-th sync begins: it has not happened.
    Sync(u64),
    /// As the n-th sync in this log begins.
    SyncOf(&'static str, u64),
    /// After the n-th write: it lies in the balance.
    Write(u64),
}

impl Fuse {
    /// Whether it blows now, counted down by one.
    fn blows(&mut self) -> bool {
        let (Self::Sync(left) | Self::SyncOf(_, left) | Self::Write(left)) = self;
        *left = left.saturating_sub(1);
        *left == 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    On,
    Off,
    Gone,
}

impl<T: Medium> Power<T> {
    pub fn new(medium: T) -> Arc<Self> {
        let state = State { medium, supply: Supply::On, fuse: None, failure: None, written: 0 };
        let (is_on, woken, has_failed) =
            (watch::Sender::new(true), watch::Sender::new(None), watch::Sender::new(false));
        Arc::new(Self { state: Mutex::new(state), turned: Condvar::new(), is_on, woken, has_failed })
    }

    /// Asks the medium. Waits while the power is off; `None` once it is gone for good.
    pub fn ask<R>(&self, question: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut state = self.supplied();
        if state.supply == Supply::Gone {
            return None;
        }
        let answer = question(&mut state.medium);
        let written = state.medium.written();
        if state.written == written {
            return Some(answer);
        }
        state.written = written;
        if self.woken.borrow().is_none() {
            self.woken.send_replace(Some(Instant::now()));
        }
        if let Some(fuse @ Fuse::Write(_)) = &mut state.fuse
            && fuse.blows()
        {
            self.turn(&mut state, Supply::Off);
            drop(state);
            // It was written, and nobody hears of it.
            drop(self.supplied());
            return None;
        }
        Some(answer)
    }

    /// The same for a sync of something in a log, where the medium knows in which.
    pub fn sync<R>(&self, log: Option<&str>, question: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut state = self.supplied();
        let blows = match &mut state.fuse {
            Some(fuse @ Fuse::Sync(_)) => fuse.blows(),
            Some(fuse @ Fuse::SyncOf(..)) => matches!(fuse, Fuse::SyncOf(of, _) if log == Some(*of)) && fuse.blows(),
            _ => false,
        };
        if blows {
            self.turn(&mut state, Supply::Off);
        }
        drop(state);
        self.ask(question)
    }

    /// Whether this call is the one to fail, and how. Errors come late, as from a disk that has tried again.
    pub fn fails(&self, call: Call) -> Option<Errno> {
        let mut state = self.supplied();
        let failure = state.failure.as_mut().filter(|failure| failure.call == call)?;
        failure.at -= 1;
        if failure.at > 0 {
            return None;
        }
        let error = failure.error;
        state.failure = None;
        drop(state);
        self.has_failed.send_replace(true);
        std::thread::sleep(LATE);
        Some(error)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn supplied(&self) -> MutexGuard<'_, State<T>> {
        let waits = |state: &mut State<T>| state.supply == Supply::Off;
        self.turned.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, state: &mut State<T>, supply: Supply) {
        state.supply = supply;
        (state.fuse, state.failure) = (None, None);
        self.is_on.send_replace(supply == Supply::On);
        self.turned.notify_all();
    }

    /// A life begins: from here its first write is waited for, and calls are counted.
    pub fn arm(&self, fuse: Option<Fuse>, failure: Option<Failure>) {
        let mut state = self.state();
        (state.fuse, state.failure) = (fuse, failure);
        state.written = state.medium.written();
        self.woken.send_replace(None);
        self.has_failed.send_replace(false);
    }

    /// Resolves when it has been written to in this life, and says when that was first.
    pub async fn woken(&self) -> Instant {
        // The sender is ours: it cannot be gone.
        let woken = self.woken.subscribe().wait_for(Option::is_some).await.ok().and_then(|woken| *woken);
        woken.unwrap_or_else(Instant::now)
    }

    /// Resolves when a call has failed in this life.
    pub async fn failed(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.has_failed.subscribe().wait_for(|failed| *failed).await;
    }

    pub fn has_failed(&self) -> bool {
        *self.has_failed.borrow()
    }

    pub fn off(&self) {
        let mut state = self.state();
        if state.supply == Supply::On {
            self.turn(&mut state, Supply::Off);
        }
    }

    /// Resolves when the power has gone off.
    pub async fn went_off(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.is_on.subscribe().wait_for(|on| !on).await;
    }

    pub fn tear_down(&self) {
        self.turn(&mut self.state(), Supply::Gone);
    }

    /// The medium as it was when the power went off.
    pub fn into_medium(self: Arc<Self>) -> Option<T> {
        let power = Arc::into_inner(self)?;
        Some(power.state.into_inner().unwrap_or_else(PoisonError::into_inner).medium)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Counter(u64);

    impl Medium for Counter {
        fn in_balance(&self) -> usize {
            0
        }

        fn survive(self, _: &mut Luck) -> Self {
            self
        }

        fn written(&self) -> u64 {
            self.0
        }
    }

    fn write(counter: &mut Counter) -> u64 {
        counter.0 += 1;
        counter.0
    }

    #[test]
    fn the_sync_at_which_it_goes_off_has_not_happened_and_is_never_answered_well() {
        let power = Power::new(Counter(7));
        power.arm(Some(Fuse::Sync(2)), None);
        let woken = || *power.woken.borrow();
        assert_eq!((woken(), power.sync(None, write)), (None, Some(8)));
        assert!(woken().is_some());
        let waiting = {
            let power = power.clone();
            std::thread::spawn(move || (power.sync(None, write), power.ask(write)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(power.went_off());
        assert!(!waiting.is_finished(), "it was answered without power");
        power.tear_down();
        assert_eq!(waiting.join().unwrap(), (None, None));
        assert_eq!(power.into_medium().unwrap().0, 8);
    }

    #[test]
    fn a_fuse_for_one_log_does_not_blow_for_another() {
        let power = Power::new(Counter(0));
        power.arm(Some(Fuse::SyncOf("rows", 1)), None);
        assert_eq!((power.sync(None, write), power.sync(Some("state"), write)), (Some(1), Some(2)));
        let waiting = {
            let power = power.clone();
            std::thread::spawn(move || power.sync(Some("rows"), write))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(power.went_off());
        power.tear_down();
        assert_eq!(waiting.join().unwrap(), None);
    }

    #[test]
    fn the_write_after_which_it_goes_off_has_happened_and_nobody_hears_of_it() {
        let power = Power::new(Counter(0));
        power.arm(Some(Fuse::Write(2)), None);
        assert_eq!((power.ask(write), power.ask(|counter| counter.0)), (Some(1), Some(1)));
        let waiting = {
            let power = power.clone();
            std::thread::spawn(move || power.ask(write))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(power.went_off());
        power.tear_down();
        assert_eq!(waiting.join().unwrap(), None);
        assert_eq!(power.into_medium().unwrap().0, 2);
    }
}
