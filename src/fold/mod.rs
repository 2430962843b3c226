//! The fold's edge: reads the log, lets the windows take it in, and has the writer commit what came of it.
//!
//! ```text
//!   readings ──▶ reader ──▶ Windows ──▶ rows, changes of state, position ──▶ writer: one commit
//! ```
//!
//! It runs at once, online or not, a little behind the fsync. A commit comes at most once a second while rows wait,
//! else each `checkpoint_interval`, and sooner where many rows wait, where what waited at the start is folded, or where
//! the queue is full and wants readings gone. The first one after a start is a snapshot, made before anything is read:
//! so there is a checkpoint before there is a row, and what a changed configuration lost is settled. Without windows it
//! is empty. Nothing is saved on the way out.
//!
//! Invariants:
//! - what was folded since the last commit is in memory alone, and is folded again after a crash;
//! - `folded` tells others of readings that are on stable storage in rows and state, never of more.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::batch::lane::Removed;
use crate::metrics::Metrics;
use crate::queue::writer::StoreState;
use crate::queue::{FoldCommit, Group, Log, Queue, Reader, Request, Restored, ShedBefore, Step, StoreError};
use crate::reading::Reading;
use crate::sink::losses::{Gap, Losses};
use crate::window::{Counts, Folded, Spec, Stat, Windows};

/// How many groups are folded before anything else gets its turn.
const GROUPS_A_TURN: usize = 64;
/// Rows that are waiting for a commit: more are not kept in memory.
const ROWS_MAX: usize = 8_192;
/// Rows wait so long for company.
const ROWS_LINGER: Duration = Duration::from_secs(1);
/// How old what is told of the windows may be.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Commits that others ask for are so far apart.
const ASKED_LINGER: Duration = Duration::from_millis(100);
/// While nothing waits for a time.
const LONG: Duration = Duration::from_hours(1);

/// Why the fold ended.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer has ended, for a reason it tells itself.
    #[error("the queue has stopped")]
    WriterGone,
}

/// What the fold is told at the start.
pub struct Options {
    pub specs: Vec<Spec>,
    /// The longest that what was folded stays uncommitted.
    pub checkpoint_interval: Duration,
    /// Readings from this offset on are delivered by being folded: those that no window takes, and gaps among them,
    /// are for the fold to tell.
    pub passes_from: Option<u64>,
}

/// What the fold hears from the writer.
pub struct Hears {
    /// Where the queue is full, readings before this offset are asked for.
    pub shed_before: watch::Receiver<ShedBefore>,
    pub store: watch::Receiver<StoreState>,
}

/// What the fold tells others.
pub struct Tells {
    /// Every reading before this offset is on stable storage in rows and state; without windows every one there is.
    pub folded: watch::Sender<u64>,
    /// Whether a window is open, and time has to pass for it.
    pub open: watch::Sender<bool>,
    pub stats: watch::Sender<Vec<Stat>>,
}

pub struct Fold {
    log: Log,
    reader: Reader,
    windows: Windows,
    checkpoint_interval: Duration,
    passes_from: Option<u64>,
    /// Without windows there is nothing to do but to say that there are none any more.
    idle: bool,
    writer: mpsc::Sender<Request>,
    hears: Hears,
    losses: Losses,
    tells: Tells,
    metrics: Arc<Metrics>,
    /// Of the last group read.
    epoch: u64,
    pending: Pending,
}

/// What the next commit takes along.
struct Pending {
    rows: Vec<Reading>,
    /// Readings before this offset are folded.
    position: u64,
    committed: u64,
    /// What was durable at the start is committed as soon as it is folded: a gateway that is killed again and again
    /// must get on all the same.
    backlog: u64,
    committed_at: Instant,
    told_at: Instant,
    snapshot: bool,
}

impl Fold {
    /// Takes up where the last checkpoint stands.
    pub fn take_up(
        options: Options,
        queue: &Queue,
        restored: Restored,
        losses: Losses,
        hears: Hears,
        tells: Tells,
    ) -> Result<Self, StoreError> {
        let Options { specs, checkpoint_interval, passes_from } = options;
        let idle = specs.is_empty() && !restored.known;
        let log = queue.readings.clone();
        // Behind a state, and of what is passed, nothing went that was not folded: what is not there cannot be read, and
        // is told of. Otherwise what was delivered may have gone.
        let had_windows = !restored.pieces.is_empty();
        let oldest = log.oldest()?.offset.min(passes_from.unwrap_or(u64::MAX));
        let begin = if had_windows { restored.position } else { restored.position.max(oldest) };
        let epoch = restored.epoch;
        let position = if specs.is_empty() { log.durable().offset } else { begin };
        let metrics = losses.metrics.clone();
        let windows = restore(specs, restored, &metrics);
        tells.folded.send_replace(if windows.is_empty() { u64::MAX } else { position });
        let now = Instant::now();
        let pending = Pending {
            rows: Vec::new(),
            position,
            committed: position,
            backlog: log.durable().offset,
            committed_at: now,
            told_at: now,
            snapshot: true,
        };
        let (reader, writer) = (Reader::new(&log, position), losses.writer.clone());
        Ok(Self {
            log,
            reader,
            windows,
            checkpoint_interval,
            passes_from,
            idle,
            writer,
            hears,
            losses,
            tells,
            metrics,
            epoch,
            pending,
        })
    }

    /// Folds until `stop` is told.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), FoldError> {
        if !self.idle {
            self.commit().await?;
        }
        if self.windows.is_empty() {
            let _ = stop.wait_for(|stop| *stop).await;
            return Ok(());
        }
        let mut durable = self.log.watch();
        while !*stop.borrow_and_update() {
            durable.mark_unchanged();
            self.hears.shed_before.mark_unchanged();
            self.hears.store.mark_unchanged();
            let more = self.read().await?;
            if self.commit_at() <= Instant::now() {
                self.commit().await?;
            }
            self.tell(false);
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let wake_at = self.commit_at().min(self.pending.told_at + TELL_EVERY);
            tokio::select! {
                _ = durable.changed() => {}
                Ok(()) = self.hears.shed_before.changed() => {}
                Ok(()) = self.hears.store.changed() => {}
                _ = stop.changed() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
        Ok(())
    }

    /// Folds what is durable, a turn's worth, and says whether there is more.
    async fn read(&mut self) -> Result<bool, FoldError> {
        for _ in 0..GROUPS_A_TURN {
            if self.pending.rows.len() >= ROWS_MAX {
                return Ok(true);
            }
            match self.reader.step()? {
                Step::End => return Ok(false),
                Step::Group(group) => self.take(group),
                Step::Lost { from, to } => self.lose(from, to).await?,
            }
        }
        Ok(true)
    }

    fn take(&mut self, mut group: Group) {
        let before = self.pending.position.saturating_sub(group.first);
        group.entries.drain(..before as usize);
        group.first += before;
        self.epoch = group.epoch;
        self.pending.position = group.end();
        let Folded { rows, aside, counts } = self.windows.apply(&group);
        for (name, counts) in self.windows.names().zip(counts) {
            count(&self.metrics, name, counts);
        }
        for row in &rows {
            self.metrics.window_rows.with_label_values(&[&*row.window]).inc();
        }
        self.pending.rows.extend(rows.into_iter().map(rows::row));
        let told = aside.into_iter().filter(|aside| self.passes_from.is_some_and(|from| aside.offset >= from));
        self.pending.rows.extend(told.map(|aside| rows::aside(aside, &group)));
    }

    /// Entries that cannot be read are in no window. Of those that are delivered, delivery tells.
    async fn lose(&mut self, from: u64, to: u64) -> Result<(), FoldError> {
        self.pending.position = to;
        self.metrics.window_unread.inc_by(to - from);
        let from = match self.passes_from {
            Some(passes_from) if passes_from < to => from.max(passes_from),
            _ => return Ok(()),
        };
        let removed = Removed { from: (self.epoch, from), to: (self.epoch, to - 1), count: to - from };
        let gap = Gap { stream: "readings", lane: 0, removed, reason: "damaged" };
        self.losses.write_gaps(&[gap]).await.map_err(|_| FoldError::WriterGone)
    }

    /// When the next commit is due.
    fn commit_at(&self) -> Instant {
        let Pending { rows, position, committed, backlog, committed_at, .. } = &self.pending;
        let wanted = self.hears.store.borrow().full || self.hears.shed_before.borrow().readings > *committed;
        match rows.len() {
            ROWS_MAX.. => *committed_at,
            _ if position == committed => *committed_at + LONG,
            _ if committed < backlog && position >= backlog => *committed_at,
            _ if wanted => *committed_at + ASKED_LINGER,
            0 => *committed_at + self.checkpoint_interval,
            _ => *committed_at + ROWS_LINGER.min(self.checkpoint_interval),
        }
    }

    async fn commit(&mut self) -> Result<(), FoldError> {
        let begun = Instant::now();
        // What has changed since the last commit is in a snapshot too: it is asked for, to be forgotten.
        let changes = self.windows.changes();
        let snapshot = self.pending.snapshot;
        let pieces = match snapshot {
            _ if self.windows.is_empty() => Vec::new(),
            true => self.windows.snapshot().collect(),
            false => vec![changes],
        };
        let position = self.pending.position;
        let commit = FoldCommit { rows: std::mem::take(&mut self.pending.rows), position, pieces, snapshot };
        let (done, committed) = oneshot::channel();
        self.writer.send(Request::Fold(commit, done)).await.map_err(|_| FoldError::WriterGone)?;
        let committed = committed.await.map_err(|_| FoldError::WriterGone)?;
        self.pending.snapshot = committed.want_snapshot;
        self.pending.committed = position;
        self.pending.committed_at = Instant::now();
        self.metrics.fold_commit_seconds.observe(begun.elapsed().as_secs_f64());
        self.tell(true);
        Ok(())
    }

    /// Tells how far it is, and now and then how the windows stand.
    fn tell(&mut self, committed: bool) {
        if committed && !self.windows.is_empty() {
            self.tells.folded.send_replace(self.pending.committed);
        }
        let open = self.windows.is_open();
        self.tells.open.send_if_modified(|was| std::mem::replace(was, open) != open);
        if self.pending.told_at.elapsed() >= TELL_EVERY {
            self.tells.stats.send_replace(self.windows.stats());
            self.pending.told_at = Instant::now();
        }
    }
}

/// The windows as the last checkpoint has them; what is lost is said and counted.
fn restore(specs: Vec<Spec>, restored: Restored, metrics: &Metrics) -> Windows {
    if restored.damaged {
        tracing::error!("the state of the windows cannot be read: windows that were open are lost");
    }
    let (windows, lost) = match Windows::restore(specs.clone(), &restored.pieces) {
        Ok(restored) => restored,
        Err(error) => {
            tracing::error!(%error, "the state of the windows cannot be read: windows that were open are lost");
            (Windows::new(specs), Vec::new())
        }
    };
    for lost in lost.iter().filter(|lost| lost.open > 0) {
        tracing::warn!(
            window = &*lost.window,
            open = lost.open,
            "the window has gone or has another query: what was open is lost"
        );
        metrics.window_lost.with_label_values(&[&*lost.window]).inc_by(lost.open as u64);
    }
    windows
}

fn count(metrics: &Metrics, window: &str, counts: Counts) {
    let Counts { late, ahead, group_overflow, distinct_overflow, integer_overflow, sample_overflow } = counts;
    for (kind, count) in [
        ("late", late),
        ("ahead", ahead),
        ("group_overflow", group_overflow),
        ("distinct_overflow", distinct_overflow),
        ("integer_overflow", integer_overflow),
        ("sample_overflow", sample_overflow),
    ] {
        if count > 0 {
            metrics.window_exceptions.with_label_values(&[window, kind]).inc_by(count);
        }
    }
}
