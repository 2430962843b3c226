//! Delivery: what is in the log goes out, in the order of its lane, until it is taken.
//!
//! One request is on the road at a time, with at most one record of each lane, so nothing of a lane can overtake:
//! the records of one `PutRecords` may land in any order. What fails goes again after a full-jitter pause, the
//! same bytes, for ever; being offline only means that no cursor moves.
//!
//! | what comes back | what happens |
//! | --- | --- |
//! | 200, an entry refused | that record again; the other lanes go on |
//! | throttled, 5xx, time-out, no link | all of them again |
//! | no such stream, no right, no credentials | all of them again, and the state says what to put right |
//! | found invalid | each alone; one found so three times is a dead letter, if another was accepted since the last |
//!
//! Invariants:
//! - only this file moves delivery cursors, and only behind what was taken, shed, lost or dead-lettered, with the
//!   gap record of the last three on stable storage before; or behind what is folded, where only rows are wanted;
//! - cursors are on stable storage before a generation goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::losses::Losses;
use super::streams::{Address, Streams};
use super::{Mode, Outcome, RoadState, SendError, Sink};
use crate::backoff;
use crate::batch::lane::Removed;
use crate::batch::{Limits, Record, Sealed, Sealer};
use crate::clock::Clock;
use crate::config;
use crate::faults::Point;
use crate::metrics::Metrics;
use crate::queue::{Cursors, ShedBefore, Store, StoreError};
use crate::reading::Micros;
use crate::source::Reason;

/// How often cursors are saved while data flows.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How often a record must be found invalid before it is given up: one answer may be the fault of a proxy.
const INVALID_TRIES: u32 = 3;
/// A record that is refused for throughput now and then is the ordinary way of Kinesis; this often in a row is not.
const STARVED_TRIES: u32 = 3;
/// A record, and a request of several, aims at what the link carries in this time.
const RECORD_SECONDS: f64 = 10.0;
/// Slower than any link: no record aims lower.
const TARGET_MIN: usize = 8 * 1024;

pub struct Delivery<S> {
    pub sink: S,
    pub store: Arc<dyn Store>,
    pub gateway: Arc<str>,
    pub streams: Streams,
    pub losses: Losses,
    pub shed_before: watch::Receiver<ShedBefore>,
    pub limits: Limits,
    pub max_age: Duration,
    pub max_request: usize,
    pub backoff: config::Backoff,
    pub state: watch::Sender<RoadState>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
}

/// Why delivery ended.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up compression: {0}")]
    Compression(std::io::Error),
    /// The writer has ended, for a reason it tells itself.
    #[error("the queue has stopped")]
    WriterGone,
}

/// What the loop remembers from one turn to the next.
struct Turn {
    sealer: Sealer,
    saved: Cursors,
    saved_at: Instant,
    /// Whether anything was accepted since the start, and since a record was last given up. Only then can a record
    /// be poison; and a stream that turns against everything costs one record, not all of them. (Where two are poison
    /// in a row, what is accepted between them is the gap record of the first.)
    accepted: bool,
    /// What the link carries, bytes a second; `None` until something got through.
    link: Option<f64>,
}

impl<S: Sink> Delivery<S> {
    /// Delivers until `stop` is told, then finishes the request on the road and saves the cursors.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), DeliveryError> {
        let sealer = Sealer::new(self.gateway.clone(), self.limits.level).map_err(DeliveryError::Compression)?;
        let mut turn =
            Turn { sealer, saved: Cursors::default(), saved_at: Instant::now(), accepted: false, link: None };
        // Which lane an entry belongs to is settled before the first is sent, or a crash could settle it otherwise.
        self.save(&mut turn, true)?;
        while !*stop.borrow_and_update() {
            self.streams.mark_seen();
            self.shed(&mut turn).await?;
            let limits = self.limits_now(&turn);
            self.gather(&limits).await?;
            self.seal(&limits, &mut turn).await?;
            self.save(&mut turn, false)?;
            self.publish();
            let due = self.streams.due(Instant::now(), self.max_request.min(turn.carried()));
            if !due.is_empty() {
                #[cfg(feature = "faults")]
                if crate::faults::Mutant::CursorsFirst.lives() {
                    self.save_behind(&due)?;
                }
                let verdict = self.send(&due, &mut turn).await;
                if verdict.is_ok() {
                    Point::Taken.reached();
                }
                self.settle(&due, verdict, &mut turn).await?;
                continue;
            }
            if self.streams.has_more(&limits) {
                tokio::task::yield_now().await;
                continue;
            }
            let wake_at = self.wake_at(turn.saved_at);
            tokio::select! {
                () = self.streams.changed() => {}
                Ok(()) = self.shed_before.changed() => {}
                _ = stop.changed() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
        self.save(&mut turn, true)?;
        Ok(())
    }

    /// Gives up what the writer asks for, since the queue is full.
    async fn shed(&mut self, turn: &mut Turn) -> Result<(), DeliveryError> {
        let asked = *self.shed_before.borrow_and_update();
        let gaps = self.streams.shed(asked, Instant::now())?;
        if gaps.is_empty() {
            return Ok(());
        }
        for stream in ["readings", "rows"] {
            let shed = gaps.iter().filter(|gap| gap.stream == stream && gap.reason == "shed");
            let count: u64 = shed.map(|gap| gap.removed.count).sum();
            if count > 0 {
                tracing::warn!(stream, count, "the oldest were shed: the queue is full");
                self.metrics.shed(stream).inc_by(count);
            }
        }
        self.losses.write_gaps(&gaps).await?;
        self.save(turn, true)
    }

    async fn gather(&mut self, limits: &Limits) -> Result<(), DeliveryError> {
        let lost = self.streams.gather(limits, Instant::now())?;
        for gap in &lost {
            let Removed { from, to, .. } = gap.removed;
            tracing::error!(stream = gap.stream, from = from.1, to = to.1, "entries in the log cannot be read");
        }
        self.losses.write_gaps(&lost).await
    }

    async fn seal(&mut self, limits: &Limits, turn: &mut Turn) -> Result<(), DeliveryError> {
        let sealed = self.streams.seal(limits, &mut turn.sealer, self.max_age, Instant::now());
        for made in sealed {
            match made {
                Sealed::Record(record) => {
                    self.metrics.batch_records.inc();
                    self.metrics.batch_bytes.inc_by(record.data.len() as u64);
                    self.metrics.batch_readings.inc_by(record.count);
                }
                Sealed::TooLarge(record) => {
                    let detail =
                        format!("a record of {} bytes, and max_record is {}", record.size(), limits.max_record);
                    self.losses.bury(&record, Reason::RecordTooLarge, detail).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, due: &[Address], turn: &mut Turn) -> Result<Vec<Outcome>, SendError> {
        let records: Vec<&Record> = due.iter().filter_map(|at| Some(&self.streams.on_road(*at)?.record)).collect();
        let bytes: usize = records.iter().map(|record| record.size()).sum();
        let started = Instant::now();
        let result = self.sink.send(&records).await;
        let rate = bytes as f64 / started.elapsed().as_secs_f64().max(1e-6);
        match &result {
            Ok(_) => turn.link = Some(turn.link.map_or(rate, |link| (3.0 * link + rate) / 4.0)),
            Err(SendError::Unreachable(_)) => turn.link = turn.link.map(|link| link / 2.0),
            Err(_) => {}
        }
        let label = match &result {
            Ok(outcomes) if outcomes.iter().all(|outcome| *outcome == Outcome::Taken) => "ok",
            Ok(_) => "partial",
            Err(error) => error.label(),
        };
        self.metrics.kinesis_requests.with_label_values(&[label]).inc();
        result
    }

    async fn settle(
        &mut self,
        due: &[Address],
        result: Result<Vec<Outcome>, SendError>,
        turn: &mut Turn,
    ) -> Result<(), DeliveryError> {
        match result {
            Ok(outcomes) => {
                let mut refused = None;
                let mut starved = true;
                for (at, outcome) in due.iter().zip(outcomes) {
                    match outcome {
                        Outcome::Taken => {
                            self.taken(*at);
                            turn.accepted = true;
                            starved = false;
                        }
                        Outcome::Again(code) => {
                            self.metrics.kinesis_throttled_records.inc();
                            starved &= self.again(*at) >= STARVED_TRIES;
                            refused = Some(code);
                        }
                    }
                }
                let mode = if starved { Mode::BackingOff } else { Mode::Ok };
                self.tell(mode, refused.map(|code| format!("Kinesis refuses some records for now: {code}")));
            }
            Err(SendError::Invalid(why)) => self.invalid(due, why, turn).await?,
            Err(error) => {
                for at in due {
                    self.again(*at);
                }
                let mode = if matches!(error, SendError::Refused(_)) { Mode::Refused } else { Mode::BackingOff };
                self.tell(mode, Some(error.to_string()));
            }
        }
        Ok(())
    }

    /// Splits the request down to the record that is refused; gives that one up once others were accepted.
    async fn invalid(&mut self, due: &[Address], why: String, turn: &mut Turn) -> Result<(), DeliveryError> {
        for at in due {
            self.again(*at);
            if let Some(on) = self.streams.road_record(*at) {
                on.invalid += 1;
            }
        }
        if let [at] = due
            && turn.accepted
            && let Some(on) = self.streams.road_record(*at).take_if(|on| on.invalid >= INVALID_TRIES)
        {
            turn.accepted = false;
            return self.losses.bury(&on.record, Reason::Refused, why).await;
        }
        let why = format!("Kinesis finds the request invalid: {why}; check the [kinesis] section");
        self.tell(Mode::Refused, Some(why));
        Ok(())
    }

    fn taken(&mut self, at: Address) {
        let Some(on) = self.streams.road_record(at).take() else { return };
        let Record { stream, count, arrived, .. } = on.record;
        let now = self.clock.now().wall;
        self.state.send_modify(|state| {
            state.last_success = Some(now);
            match stream {
                "readings" => state.delivered_readings += count,
                "rows" => state.delivered_rows += count,
                _ => {}
            }
        });
        match stream {
            "readings" => self.metrics.delivered_readings.inc_by(count),
            "rows" => return self.metrics.delivered_rows.inc_by(count),
            _ => {}
        }
        for arrived in [arrived.0, arrived.1] {
            self.metrics.delivery_seconds.observe((now.0 - arrived.0).max(0) as f64 / Micros::PER_SECOND as f64);
        }
    }

    /// Has the record go again after a pause, and says how often it has failed.
    fn again(&mut self, at: Address) -> u32 {
        let (settings, now) = (self.backoff, Instant::now());
        let Some(on) = self.streams.road_record(at) else { return 0 };
        on.failed += 1;
        on.due = now + backoff::pause(settings, on.failed);
        on.failed
    }

    /// One line a change of state.
    fn tell(&mut self, mode: Mode, why: Option<String>) {
        let before = self.state.borrow().mode;
        if before != mode {
            let why = why.as_deref().unwrap_or_default();
            match mode {
                Mode::Idle | Mode::Ok => tracing::info!("delivering to Kinesis"),
                Mode::BackingOff => tracing::warn!(why, "not delivering; trying again"),
                Mode::Refused => tracing::error!(why, "Kinesis refuses; trying again"),
            }
        }
        let now = Instant::now();
        let pause = self.streams.on_the_road().map(|(_, on)| on.due.saturating_duration_since(now)).max();
        let seconds = pause.unwrap_or_default().as_secs_f64();
        self.metrics.kinesis_backoff_seconds.set(seconds);
        self.state.send_modify(|state| {
            state.mode = mode;
            state.why = why;
            state.backoff_seconds = seconds;
        });
    }

    /// Saves the cursors, now and then and before a generation goes.
    fn save(&mut self, turn: &mut Turn, now: bool) -> Result<(), DeliveryError> {
        let releases = self.streams.can_release()?;
        if !now && !releases && turn.saved_at.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        let cursors = self.streams.cursors();
        if cursors != turn.saved {
            cursors.store(&*self.store)?;
            Point::CursorsSaved.reached();
            turn.saved = cursors;
        }
        turn.saved_at = Instant::now();
        if releases {
            self.streams.release()?;
        }
        Ok(())
    }

    /// What the mutant does: saves cursors that stand behind what is still on the road.
    #[cfg(feature = "faults")]
    fn save_behind(&self, due: &[Address]) -> Result<(), StoreError> {
        let mut cursors = self.streams.cursors();
        for at in due {
            let (Some(on), Some(stream)) = (self.streams.on_road(*at), cursors.streams.get_mut(at.0)) else { continue };
            let Record { epoch, last, .. } = on.record;
            stream.lanes.insert(at.1, crate::queue::Cursor { done: last + 1, prev: Some((epoch, last)) });
        }
        cursors.store(&*self.store)
    }

    fn publish(&self) {
        let (readings, rows) = (self.streams.queued_readings(), self.streams.queued_rows());
        let oldest = self.streams.readings.oldest();
        self.metrics.queue_readings.set(readings as i64);
        self.metrics.queue_rows.set(rows as i64);
        let age = oldest.map_or(0, |at| (self.clock.now().wall.0 - at.0).max(0));
        self.metrics.queue_age_seconds.set(age as f64 / Micros::PER_SECOND as f64);
        self.state.send_modify(|state| {
            state.queued_readings = readings;
            state.queued_rows = rows;
            state.oldest = oldest;
        });
    }

    fn limits_now(&self, turn: &Turn) -> Limits {
        Limits { target: self.limits.target.min(turn.carried()), ..self.limits }
    }

    fn wake_at(&self, saved_at: Instant) -> Instant {
        let save_at = saved_at + SAVE_EVERY;
        let next = self.streams.next_due(self.max_age).unwrap_or(save_at);
        // Never in the past, or the loop would spin.
        next.min(save_at).max(Instant::now() + Duration::from_millis(1))
    }
}

impl Turn {
    /// What the link carries in the time that a record aims at, bytes. The first record only tries the link: offline
    /// from the start, little is read and held for it.
    fn carried(&self) -> usize {
        self.link.map_or(0, |link| (link * RECORD_SECONDS) as usize).max(TARGET_MIN)
    }
}
