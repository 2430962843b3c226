//! What the gateway says of itself: the states of its parts, gathered into one board for the status page.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Clock, Now};
use crate::config::{self, Config};
use crate::http::{self, SinkState, Status, Storage};
use crate::metrics::Metrics;
use crate::queue::writer::StoreState;
use crate::queue::{Queue, dead};
use crate::reading::Micros;
use crate::sink::{Mode, RoadState};
use crate::source::State;
use crate::window::Stat;

/// How old the board may be.
const EVERY: Duration = Duration::from_millis(500);
/// What has to be added up over a directory is looked at less often.
const SIZES_EVERY: u32 = 20;

pub struct Board {
    pub config: Config,
    pub id: Arc<str>,
    pub queue: Arc<Queue>,
    pub sources: Vec<(config::Source, watch::Receiver<State>)>,
    pub store: watch::Receiver<StoreState>,
    pub road: watch::Receiver<RoadState>,
    /// Readings before this offset are folded.
    pub folded: watch::Receiver<u64>,
    pub windows: watch::Receiver<Vec<Stat>>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

impl Board {
    /// Keeps the board up to date until nobody looks any more.
    pub fn watch(self) -> watch::Receiver<Status> {
        let started = self.clock.now();
        let (board, looks) = watch::channel(self.status(started));
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            for round in 0_u32.. {
                tick.tick().await;
                if board.is_closed() {
                    break;
                }
                if round % SIZES_EVERY == 0 {
                    self.measure().await;
                }
                board.send_replace(self.status(started));
            }
        });
        looks
    }

    /// The log's size on disk; where it cannot be read the writer will say so.
    async fn measure(&self) {
        let store = self.queue.store.clone();
        if let Ok(Ok(bytes)) = tokio::task::spawn_blocking(move || store.used(Some("readings"))).await {
            self.metrics.queue_bytes.set(bytes as i64);
        }
    }

    fn status(&self, started: Now) -> Status {
        let now = self.clock.now();
        let road = self.road.borrow().clone();
        let store = *self.store.borrow();
        let writable = self.store.has_changed().is_ok();
        self.metrics.disk_bytes.set(store.used_bytes as i64);
        self.metrics.clock_synced.set(now.synced().into());
        self.metrics.resident_bytes.set(resident_bytes());
        Status {
            gateway: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.queue.identity.epoch,
            started: started.wall.to_string(),
            uptime_seconds: ((now.mono.0 - started.mono.0) / Micros::PER_SECOND).unsigned_abs(),
            clock_synced: now.synced(),
            storage: Storage {
                writable,
                full: store.full,
                why: match (writable, store.full) {
                    (false, _) => Some("the writer has stopped".to_owned()),
                    (true, true) => Some("max_bytes or min_free is reached".to_owned()),
                    (true, false) => None,
                },
                bytes: store.used_bytes,
                max_bytes: self.config.queue.max_bytes,
            },
            queue: http::Queue {
                readings: road.queued_readings,
                unfolded: self.unfolded(),
                rows: road.queued_rows,
                oldest_age_seconds: road.oldest.map(|at| seconds(now.wall.0 - at.0)),
            },
            sources: self.sources.iter().map(source).collect(),
            windows: self.windows.borrow().iter().map(|stat| self.window(stat, now)).collect(),
            sink: http::Sink {
                stream: self.config.kinesis.stream.clone(),
                state: match road.mode {
                    Mode::Idle => SinkState::Idle,
                    Mode::Ok => SinkState::Ok,
                    Mode::BackingOff => SinkState::BackingOff,
                    Mode::Refused => SinkState::Refused,
                },
                why: road.why,
                last_success: road.last_success.map(|at| at.to_string()),
                backoff_seconds: road.backoff_seconds,
                delivered_readings: road.delivered_readings,
                delivered_rows: road.delivered_rows,
            },
            dead_letters: dead::count(&*self.queue.store, &self.queue.dead).unwrap_or_default(),
            gaps: road.gaps,
        }
    }

    /// Entries that the windows have not committed yet.
    fn unfolded(&self) -> u64 {
        let unfolded = self.queue.readings.durable().offset.saturating_sub(*self.folded.borrow());
        self.metrics.unfolded_readings.set(unfolded as i64);
        unfolded
    }

    fn window(&self, stat: &Stat, now: Now) -> http::Window {
        let lag = stat.watermark.filter(|_| stat.open > 0).map(|watermark| seconds(now.wall.0 - watermark));
        self.metrics.window_open.with_label_values(&[&*stat.window]).set(stat.open as i64);
        self.metrics.window_lag.with_label_values(&[&*stat.window]).set(lag.unwrap_or(0.0));
        http::Window { name: stat.window.to_string(), open: stat.open as u64, lag_seconds: lag }
    }
}

fn source((source, state): &(config::Source, watch::Receiver<State>)) -> http::Source {
    let connected = state.borrow().is_connected();
    let (word, why) = match &*state.borrow() {
        State::Connecting => ("connecting", None),
        State::Connected => ("connected", None),
        State::Partly { why } => ("partly", Some(why.clone())),
        State::Down { why } => ("down", Some(why.clone())),
        State::Stopped { why } => ("stopped", Some(why.clone())),
    };
    let kind = match source {
        config::Source::Mqtt(_) => "mqtt",
        config::Source::Serial(_) => "serial",
        config::Source::Modbus(_) => "modbus",
    };
    http::Source { name: source.name().to_owned(), kind: kind.to_owned(), state: word.to_owned(), connected, why }
}

fn seconds(micros: i64) -> f64 {
    micros.max(0) as f64 / Micros::PER_SECOND as f64
}

/// Resident memory of this process, bytes; 0 where the system does not tell.
fn resident_bytes() -> i64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = status.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as i64
}
