//! Group commit: everything that waits becomes one entry group, is made durable, and only then acknowledged.
//!
//! Under load this needs no timer: the next group is whatever gathered while the last fsync ran. At low rates a
//! group waits up to `commit_linger` for company, to spare the card; but it closes early when 64 KiB are there,
//! when the in-flight window is full, or when a burst is over: at least 4 messages, or messages that followed our
//! last acknowledgement within 5 ms, and none for 2 ms. (Stock Mosquitto hands out 20 messages at a time and
//! waits: without the burst rule it would be held to 80 a second.)
//!
//! Invariants:
//! - an [`Ack`] is confirmed after the fsync of everything its delivery held, and then of the mark, or never: two places
//!   know of it, and when the medium loses one of them the other tells;
//! - after a failed write or fsync nothing is confirmed any more: the error ends the process, and the disk is
//!   read anew at the next start;
//! - while a window is open and nothing is committed, a `Tick` is, so that time passes in the log too;
//! - when the queue is full nothing is taken from the inbox, but what delivery asks for is still written, since
//!   that is what makes room.

mod gather;
mod room;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use gather::Gathered;

use super::appender::Appender;
use super::checkpoint::{Checkpoints, FoldCommit};
use super::dead;
use super::entry::{Entry, Letter, Stamp};
use super::files::Mark;
use super::log::Place;
use super::retention::{Retention, Room};
use super::store::{Store, StoreError};
use crate::clock::Clock;
use crate::config::WhenFull;
#[cfg(feature = "faults")]
use crate::faults::Mutant;
use crate::faults::Point;
use crate::metrics::Metrics;
use crate::reading::Reading;
use crate::source::Item;

const FOLLOWS_ACK: Duration = Duration::from_millis(5);
/// Rows in one entry group.
const ROWS_A_GROUP: usize = 8_192;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the writer is told at the start.
pub struct Options {
    pub linger: Duration,
    pub when_full: WhenFull,
    pub max_dead: u64,
    /// While a window is open and nothing else is committed, so often a tick is.
    pub tick: Duration,
    /// The smallest in-flight window of the sources: a group as large as that has no one left to wait for.
    pub in_flight: usize,
}

/// What others ask the writer to put into the logs; it answers once that is durable.
#[derive(Debug)]
pub enum Request {
    /// Gap records, for the stream `gaps`.
    Gaps(Vec<Reading>, oneshot::Sender<()>),
    Letters(Vec<Letter>, oneshot::Sender<()>),
    /// Rows, state and position of the fold.
    Fold(FoldCommit, oneshot::Sender<Folded>),
    /// Nothing more will come: whatever window is open may close.
    End(oneshot::Sender<()>),
    /// Throws away letters before this id; the answer is how many went.
    Purge(u64, oneshot::Sender<u64>),
}

/// What the fold hears of its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Whether the next commit should be a snapshot.
    pub want_snapshot: bool,
}

/// What delivery is asked to give up, since the queue is full: what lies before these offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShedBefore {
    pub readings: u64,
    /// Rows go last: once there is no reading left to give up.
    pub rows: u64,
}

/// What the status page says of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreState {
    pub full: bool,
    pub used_bytes: u64,
}

pub struct Appenders {
    pub readings: Appender,
    pub rows: Appender,
    pub notes: Appender,
    pub checkpoints: Checkpoints,
    pub dead: Appender,
}

pub struct Writer {
    pub store: Arc<dyn Store>,
    pub appenders: Appenders,
    pub inbox: mpsc::Receiver<Item>,
    pub requests: mpsc::Receiver<Request>,
    /// Whether a window waits for time to pass.
    pub open_windows: watch::Receiver<bool>,
    pub shed_before: watch::Sender<ShedBefore>,
    pub state: watch::Sender<StoreState>,
    pub retention: Retention,
    pub options: Options,
    pub clock: Clock,
    pub boot: Arc<str>,
    pub mark: Mark,
    pub metrics: Arc<Metrics>,
}

impl Writer {
    /// Writes until every source and everyone with a request is gone.
    pub async fn run(mut self) -> Result<(), StoreError> {
        self.commit_entries(vec![Entry::Started])?;
        let mut last_ack = None;
        let mut stamped = (self.mark.readings, Instant::now());
        let mut open = true;
        loop {
            let full = self.make_room()? == Room::Full;
            if stamped.0 != self.mark.readings {
                stamped = (self.mark.readings, Instant::now());
            }
            let ticks = *self.open_windows.borrow_and_update() && !full;
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request)?,
                    // Delivery is gone. While there is room, the log still takes what the sources bring.
                    None if !open || full => break,
                    None => match self.inbox.recv().await {
                        Some(item) => last_ack = Some(self.take(item, last_ack).await?),
                        None => break,
                    },
                },
                item = self.inbox.recv(), if open && !full => match item {
                    Some(item) => last_ack = Some(self.take(item, last_ack).await?),
                    None => open = false,
                },
                () = tokio::time::sleep(LOOK_AGAIN), if full => self.retention.forget(),
                () = tokio::time::sleep_until(stamped.1 + self.options.tick), if ticks => {
                    self.commit_entries(vec![Entry::Tick])?;
                }
                Ok(()) = self.open_windows.changed() => {}
            }
        }
        Ok(())
    }

    async fn take(&mut self, first: Item, last_ack: Option<Instant>) -> Result<Instant, StoreError> {
        let opened = Instant::now();
        let follows = last_ack.is_some_and(|at| opened.duration_since(at) <= FOLLOWS_ACK);
        let gathered = self.gather(first, opened, follows).await;
        self.commit(gathered)?;
        self.metrics.commit_seconds.observe(opened.elapsed().as_secs_f64());
        Ok(Instant::now())
    }

    /// Appends, makes durable, and only then confirms.
    fn commit(&mut self, gathered: Gathered) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut entries = Vec::with_capacity(gathered.messages());
        let mut letters = Vec::new();
        let mut acks = Vec::with_capacity(gathered.messages());
        let mut events = gathered.events.into_iter().peekable();
        for (number, (delivery, at, ack, room)) in gathered.deliveries.into_iter().enumerate() {
            while let Some((_, event)) = events.next_if(|(before, _)| *before <= number) {
                entries.push(event);
            }
            let age = u32::try_from((now.mono.0 - at.0).max(0)).unwrap_or(u32::MAX);
            for reading in &delivery.readings {
                self.metrics.readings.with_label_values(&[&*reading.series.source, "committed"]).inc();
            }
            entries.extend(delivery.readings.into_iter().map(|reading| Entry::Reading { reading, age }));
            letters.extend(delivery.rejects.into_iter().map(Letter::from));
            acks.push((ack, room));
        }
        entries.extend(events.map(|(_, event)| event));
        #[cfg(feature = "faults")]
        if Mutant::AckFirst.lives() {
            acks.drain(..).for_each(|(ack, _room)| ack.confirm());
        }
        self.append_letters(letters)?;
        self.commit_entries(entries)?;
        for (ack, _room) in acks {
            ack.confirm();
        }
        Ok(())
    }

    fn commit_entries(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let appended = self.appenders.readings.append(self.mark.epoch, self.stamp(), entries)?;
        Point::Appended.reached();
        self.settle(|appenders| &mut appenders.readings, |mark| &mut mark.readings)?;
        Point::Synced.reached();
        self.retention.appended(appended.bytes);
        self.metrics.commits.inc();
        Ok(())
    }

    /// Makes what was appended to a log durable, then marks it so, and only then shows it to readers.
    fn settle(
        &mut self,
        log: fn(&mut Appenders) -> &mut Appender,
        place: fn(&mut Mark) -> &mut Place,
    ) -> Result<(), StoreError> {
        let appender = log(&mut self.appenders);
        appender.persist()?;
        *place(&mut self.mark) = appender.next();
        self.mark.store(&*self.store)?;
        appender.show();
        Ok(())
    }

    fn append_letters(&mut self, letters: Vec<Letter>) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        for letter in &letters {
            self.metrics.dead_letters.with_label_values(&[&*letter.reason]).inc();
        }
        let entries = letters.into_iter().map(|letter| Entry::Letter(Box::new(letter))).collect();
        let appended = self.appenders.dead.append(self.mark.epoch, self.stamp(), entries)?;
        self.settle(|appenders| &mut appenders.dead, |mark| &mut mark.dead)?;
        self.retention.appended(appended.bytes);
        let shed = dead::shed(&*self.store, &mut self.appenders.dead, self.options.max_dead)?;
        self.metrics.dead_shed.inc_by(shed);
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Result<(), StoreError> {
        // Whoever asked and has gone away meanwhile needs no answer.
        match request {
            Request::Gaps(gaps, done) => {
                let entries = gaps.into_iter().map(|reading| Entry::Reading { reading, age: 0 }).collect();
                let appended = self.appenders.notes.append(self.mark.epoch, self.stamp(), entries)?;
                self.settle(|appenders| &mut appenders.notes, |mark| &mut mark.notes)?;
                self.retention.appended(appended.bytes);
                let _ = done.send(());
            }
            Request::Letters(letters, done) => {
                self.append_letters(letters)?;
                let _ = done.send(());
            }
            Request::Fold(commit, done) => {
                self.commit_fold(commit)?;
                let _ = done.send(Folded { want_snapshot: self.appenders.checkpoints.want_snapshot() });
            }
            Request::End(done) => {
                self.commit_entries(vec![Entry::End])?;
                let _ = done.send(());
            }
            Request::Purge(before, done) => {
                let gone = dead::purge(&*self.store, &mut self.appenders.dead, before)?;
                self.mark.dead = self.appenders.dead.next();
                self.retention.forget();
                let _ = done.send(gone);
            }
        }
        Ok(())
    }

    /// Rows unseen, then the checkpoint that counts their readings, and only then the rows to be seen.
    fn commit_fold(&mut self, mut commit: FoldCommit) -> Result<(), StoreError> {
        let (stamp, epoch, position) = (self.stamp(), self.mark.epoch, commit.position);
        let mut rows = std::mem::take(&mut commit.rows).into_iter().map(|reading| Entry::Reading { reading, age: 0 });
        let mut bytes = 0;
        loop {
            let entries: Vec<_> = rows.by_ref().take(ROWS_A_GROUP).collect();
            if entries.is_empty() {
                break;
            }
            bytes += self.appenders.rows.append(epoch, stamp.clone(), entries)?.bytes;
            self.persist_rows()?;
        }
        if bytes > 0 {
            Point::RowsSynced.reached();
        }
        let rows_end = self.appenders.rows.next();
        #[cfg(feature = "faults")]
        if Mutant::PositionAlone.lives() {
            commit.pieces.clear();
        }
        bytes += self.appenders.checkpoints.append(epoch, &stamp, commit, rows_end)?;
        #[cfg(feature = "faults")]
        if Mutant::CheckpointFirst.lives() {
            self.appenders.rows.persist()?;
        }
        self.mark.rows = self.appenders.rows.next();
        self.mark.state = self.appenders.checkpoints.next();
        self.mark.folded = position;
        self.mark.store(&*self.store)?;
        self.appenders.rows.show();
        self.retention.appended(bytes);
        Ok(())
    }

    fn persist_rows(&mut self) -> Result<(), StoreError> {
        #[cfg(feature = "faults")]
        if Mutant::CheckpointFirst.lives() {
            return Ok(());
        }
        self.appenders.rows.persist()
    }

    fn stamp(&self) -> Stamp {
        let now = self.clock.now();
        Stamp { received: now.wall.0, boot: self.boot.clone(), mono: now.mono.0, synced: now.synced() }
    }
}
