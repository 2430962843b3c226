//! Modbus, RTU and TCP: one task a source, which asks one unit after the other.
//!
//! ```text
//!   schedule ──▶ unit ──▶ requests ──▶ line ──▶ words ──▶ values ──▶ one reading ──▶ inbox
//! ```
//!
//! A meter does not wait for anyone: there is nothing to acknowledge, and a reading is safe from its commit on.
//!
//! Invariants:
//! - one request is on the line at a time, and each unit has its beat, whatever the others do;
//! - a unit that does not answer costs a time-out, is left alone for ever longer, and never starves another;
//! - nothing queues: while the inbox has no room, polls are skipped and counted.

mod line;
mod plan;
mod schedule;
mod words;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::line::{Answer, Line};
use self::plan::Request;
use self::schedule::{Schedule, Went};
use super::filter::Filter;
use super::standing::Standing;
use super::{Delivery, Inbox, Refused, SourceError, StateSender};
use crate::backoff;
use crate::config::{self, Backoff, Transport};
use crate::metrics::Metrics;
use crate::reading::{Reading, Series, Value};

const REOPEN: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(5) };
/// A line that is lost sooner than this was hardly there.
const SHORT: Duration = Duration::from_secs(2);

/// Runs one source until `stop` resolves.
pub async fn run(
    modbus: config::Modbus,
    inbox: Inbox,
    state: StateSender,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> Result<(), SourceError> {
    let mut bus = Bus::new(modbus, inbox, state, metrics);
    // Nothing is half done that another poll would not do.
    tokio::select! {
        ended = bus.run() => ended,
        () = stop => Ok(()),
    }
}

struct Bus {
    transport: Transport,
    timeout: Duration,
    gap: Duration,
    units: Vec<Unit>,
    schedule: Schedule,
    start: Instant,
    /// The unit in whose turn the line failed last, until it answers.
    culprit: Option<usize>,
    standing: Standing,
    /// What is worth reporting.
    exceptions: Filter,
}

/// A unit with what is asked of it.
struct Unit {
    config: config::Unit,
    label: String,
    series: Arc<Series>,
    names: Vec<Arc<str>>,
    requests: Vec<Request>,
}

/// Why a line is not used any more.
enum Ended {
    Failed(std::io::Error),
    /// Over TCP: none of its units answers, as if nobody were there.
    Silent,
}

impl Bus {
    fn new(modbus: config::Modbus, inbox: Inbox, state: StateSender, metrics: Arc<Metrics>) -> Self {
        let standing = Standing::new(&modbus.name, inbox, metrics, state);
        let unit = |unit: config::Unit| Unit {
            label: unit.unit.to_string(),
            series: Arc::new(Series {
                source: standing.name.clone(),
                device: unit.device.as_str().into(),
                ..Series::default()
            }),
            names: unit.registers.iter().map(|register| register.field.as_str().into()).collect(),
            requests: plan::requests(&unit.registers),
            config: unit,
        };
        Self {
            schedule: Schedule::new(modbus.units.iter().map(|unit| unit.poll), 2 * modbus.timeout),
            units: modbus.units.into_iter().map(unit).collect(),
            transport: modbus.transport,
            timeout: modbus.timeout,
            gap: modbus.gap,
            start: Instant::now(),
            culprit: None,
            exceptions: Filter::new(modbus.filter),
            standing,
        }
    }

    async fn run(&mut self) -> Result<(), SourceError> {
        let mut failed = 0;
        loop {
            let opened = Instant::now();
            let why = match Line::open(&self.transport, self.timeout).await {
                Ok((line, place)) => {
                    if !self.standing.is_up() {
                        self.schedule.forgive(self.start.elapsed(), self.culprit);
                        self.standing.up(&place)?;
                    }
                    match self.serve(line).await? {
                        Ended::Failed(error) => format!("{place} failed: {error}; check the device and its cable"),
                        // The pause is that of its units.
                        Ended::Silent => continue,
                    }
                }
                Err(why) => why,
            };
            failed = if opened.elapsed() >= SHORT { 1 } else { failed + 1 };
            self.standing.down(why)?;
            self.standing.inlet.sleep_until(Instant::now() + backoff::pause(REOPEN, failed)).await?;
        }
    }

    /// Polls by the schedule until the line is of no more use.
    async fn serve(&mut self, mut line: Line) -> Result<Ended, SourceError> {
        loop {
            let Some((_, due)) = self.schedule.next(self.start.elapsed()) else { return std::future::pending().await };
            self.standing.inlet.sleep_until(self.start + due).await?;
            let Some((unit, _)) = self.schedule.next(self.start.elapsed()) else { continue };
            let went = match self.poll(unit, &mut line).await? {
                Ok(went) => went,
                Err(error) => {
                    // Whoever costs everybody the line has had its turn like one who is silent, and is not forgiven.
                    self.culprit = Some(unit);
                    let missed = self.schedule.took(unit, self.start.elapsed(), Went::Silent);
                    self.count(unit, "missed", missed);
                    return Ok(Ended::Failed(error));
                }
            };
            let missed = self.schedule.took(unit, self.start.elapsed(), went);
            self.count(unit, "missed", missed);
            if went == Went::Answered && self.culprit == Some(unit) {
                self.culprit = None;
            }
            if went == Went::Skipped {
                continue;
            }
            let silent: Vec<_> = (0..self.units.len()).filter(|unit| self.schedule.is_silent(*unit)).collect();
            self.standing.partly(self.who(&silent));
            if went == Went::Silent
                && silent.len() == self.units.len()
                && matches!(self.transport, Transport::Tcp { .. })
            {
                return Ok(Ended::Silent);
            }
        }
    }

    /// One turn of a unit: all that is asked of it, as one reading. What a request brought is kept whatever becomes of the
    /// others, which are counted.
    async fn poll(&mut self, unit: usize, line: &mut Line) -> Result<Result<Went, std::io::Error>, SourceError> {
        if !self.standing.inlet.has_room()? {
            self.count(unit, "skipped", 1);
            return Ok(Ok(Went::Skipped));
        }
        let Unit { config, label, names, series, requests } = &self.units[unit];
        let mut fields = Vec::with_capacity(names.len());
        let mut went = Ok(Went::Answered);
        for request in requests {
            self.standing.metrics.modbus_requests.with_label_values(&[&*self.standing.name, label]).inc();
            match line.ask(config.unit, request).await {
                Ok(Answer::Words(words)) => self.values(unit, request, &words, &mut fields),
                Ok(Answer::Exception(exception)) => {
                    tracing::debug!(source = &*self.standing.name, unit = config.unit, %exception, "exception");
                    self.fault(unit, "exception");
                }
                Ok(Answer::Garbled) => self.fault(unit, "garbled"),
                Ok(Answer::Silence) => {
                    self.fault(unit, "timeout");
                    went = Ok(Went::Silent);
                }
                Err(error) => {
                    self.fault(unit, "line");
                    went = Err(error);
                }
            }
            if !self.gap.is_zero() {
                sleep(self.gap).await;
            }
            // Whoever is silent once is not asked for the rest.
            if !matches!(went, Ok(Went::Answered)) {
                break;
            }
        }
        if !fields.is_empty() {
            self.put(unit, Reading { time: None, series: series.clone(), fields })?;
        }
        Ok(went)
    }

    fn values(&self, unit: usize, request: &Request, words: &[u16], fields: &mut Vec<(Arc<str>, Value)>) {
        let Unit { config, names, .. } = &self.units[unit];
        for (place, from) in &request.registers {
            let register = &config.registers[*place];
            match words::value(register, &words[*from..from + usize::from(register.length())]) {
                Ok(value) => fields.push((names[*place].clone(), value)),
                Err(words::NotFinite) => self.fault(unit, "not_finite"),
            }
        }
    }

    fn put(&mut self, unit: usize, reading: Reading) -> Result<(), SourceError> {
        let mut readings = vec![reading];
        let filtered = self.exceptions.apply(&mut readings, self.standing.inlet.now());
        self.standing.metrics.readings.with_label_values(&[&*self.standing.name, "filtered"]).inc_by(filtered);
        let [reading] = &readings[..] else {
            self.count(unit, "read", 1);
            return Ok(());
        };
        let weight = size_of::<Reading>() + reading.fields.len() * size_of::<(Arc<str>, Value)>();
        let delivery = Delivery { readings, rejects: Vec::new(), weight };
        match self.standing.inlet.try_put(delivery) {
            Ok(_not_awaited) => self.count(unit, "read", 1),
            Err(Refused::Full(_)) => {
                self.count(unit, "dropped", 1);
                self.exceptions.forget();
            }
            Err(Refused::Closed) => return Err(SourceError::QueueStopped),
        }
        Ok(())
    }

    /// Who does not answer, in a sentence.
    fn who(&self, silent: &[usize]) -> Option<String> {
        let named = |unit: &usize| format!("{} ({})", self.units[*unit].label, self.units[*unit].config.device);
        let units: Vec<_> = silent.iter().take(8).map(named).collect();
        let count = silent.len();
        (count > 0).then(|| {
            let more = if count > units.len() { format!(" and {} more", count - units.len()) } else { String::new() };
            format!(
                "no answer from unit {}{more}; check power, wiring, unit number and, on a line, baud and parity",
                units.join(", ")
            )
        })
    }

    fn count(&self, unit: usize, outcome: &str, count: u64) {
        if count > 0 {
            let labels = [&*self.standing.name, &self.units[unit].label, outcome];
            self.standing.metrics.modbus_polls.with_label_values(&labels).inc_by(count);
        }
    }

    fn fault(&self, unit: usize, fault: &str) {
        let labels = [&*self.standing.name, &self.units[unit].label, fault];
        self.standing.metrics.modbus_faults.with_label_values(&labels).inc();
    }
}
