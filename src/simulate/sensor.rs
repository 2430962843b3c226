//! What a sensor does, as a script: a deterministic iterator that the fleet plays and the check plays again. Pure.
//!
//! A synthetic sensor has a sine with noise, a drift, a switch and a counter; it drops out, repeats itself, reports
//! late, and sends the odd corrupt payload. A replayed one has the rows of a CSV file.
//!
//! Invariant: `n` counts the readings of a sensor in the order they are published, so `(device, n)` names one for
//! ever: a reading that the sensor repeats has the time and the values of the one before it, and an `n` of its own.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::replay::Rows;
use crate::reading::{Micros, Value};

/// The field that holds `n`.
pub const COUNTER: &str = "n";
/// The payload's event time.
pub const TIME: &str = "ts";

/// A sensor falls silent this often, on average.
const DROPOUT_EVERY: Duration = Duration::from_secs(50);
const ONE_LATE_IN: u32 = 200;
const ONE_REPEAT_IN: u32 = 200;
const ONE_CORRUPT_IN: u32 = 500;
const ONE_SWITCH_IN: u32 = 100;
const DROPOUT_MAX: Duration = Duration::from_secs(2);
/// How far a sensor's own timer is off.
const JITTER_MS: i64 = 3;

/// A sensor that can play its script any number of times.
#[derive(Clone, Debug)]
pub struct Sensor {
    pub device: Arc<str>,
    pub link: Link,
    kind: Kind,
}

/// How what it measures comes to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Published, in order, with the time of the measurement.
    Mqtt,
    /// Framed, and sent again until it is acknowledged: what is sent again may come behind what followed it.
    Serial,
    /// Asked for: a reading for each answer, at the time of its arrival. What a gateway had in hand when it was killed is
    /// gone.
    Modbus,
}

#[derive(Clone, Debug)]
enum Kind {
    Synthetic { seed: u64, period: Duration },
    Replay { rows: Arc<Rows>, speed: f64 },
}

/// One publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, since the start.
    pub due: Duration,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Reading(Sent),
    /// Bytes that cannot become a reading.
    Corrupt(Bytes),
}

/// A reading as it was published; what must arrive.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub n: u64,
    pub time: Micros,
    pub fields: Vec<(Arc<str>, Value)>,
}

impl Sent {
    #[must_use]
    pub fn payload(&self) -> Bytes {
        let mut object = serde_json::Map::new();
        // Milliseconds where they say it all: the shorter form, which most sensors use.
        let time = if self.time.0 % 1_000 == 0 && self.time.0 >= 100_000_000_000_000 {
            (self.time.0 / 1_000).into()
        } else {
            self.time.to_string().into()
        };
        object.insert(TIME.to_owned(), time);
        object.insert(COUNTER.to_owned(), self.n.into());
        for (name, value) in &self.fields {
            object.insert(name.to_string(), json(value));
        }
        serde_json::Value::from(object).to_string().into()
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::F64(number) => (*number).into(),
        Value::I64(number) => (*number).into(),
        Value::U64(number) => (*number).into(),
        Value::Bool(on) => (*on).into(),
        Value::Text(text) => text.to_string().into(),
    }
}

impl Sensor {
    /// The `index`-th of a seeded fleet, with so many readings a second.
    #[must_use]
    pub fn synthetic(fleet_seed: u64, index: usize, rate: f64) -> Self {
        // Seeds side by side give alike beginnings; a stride of large odd numbers does not.
        let seed = fleet_seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index as u64);
        let kind = Kind::Synthetic { seed, period: Duration::from_secs_f64(1.0 / rate) };
        Self { device: format!("sensor-{index:03}").into(), link: Link::Mqtt, kind }
    }

    /// The same on a serial line.
    #[must_use]
    pub fn serial(fleet_seed: u64, index: usize, rate: f64) -> Self {
        let device = format!("serial-{index:03}").into();
        Self { device, link: Link::Serial, ..Self::synthetic(!fleet_seed, index, rate) }
    }

    /// The same as a meter that is polled.
    #[must_use]
    pub fn modbus(fleet_seed: u64, index: usize, rate: f64) -> Self {
        let device = format!("meter-{index:03}").into();
        Self { device, link: Link::Modbus, ..Self::synthetic(!fleet_seed, index + 10_000, rate) }
    }

    /// The rows of a file, `speed` times as fast as they were recorded.
    #[must_use]
    pub fn replay(device: Arc<str>, rows: Arc<Rows>, speed: f64) -> Self {
        Self { device, link: Link::Mqtt, kind: Kind::Replay { rows, speed } }
    }

    /// Whether its event times are those of a file, and not of now.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        matches!(self.kind, Kind::Replay { .. })
    }

    #[must_use]
    pub fn topic(&self) -> String {
        format!("sensors/{}/telemetry", self.device)
    }

    /// Everything it will do from `start` on; the same every time.
    #[must_use]
    pub fn script(&self, start: Micros) -> Script {
        match &self.kind {
            Kind::Synthetic { seed, period } => Script::Synthetic(Box::new(Synthetic::new(*seed, *period, start))),
            Kind::Replay { rows, speed } => {
                Script::Replay { rows: rows.clone(), speed: *speed, next: 0, due: Duration::ZERO }
            }
        }
    }
}

/// An iterator over steps whose `due` never goes back.
pub enum Script {
    Synthetic(Box<Synthetic>),
    Replay { rows: Arc<Rows>, speed: f64, next: usize, due: Duration },
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        match self {
            Self::Synthetic(synthetic) => Some(synthetic.next_step()),
            Self::Replay { rows, speed, next, due } => {
                let row = rows.get(*next)?;
                let sent = Sent { n: *next as u64, time: row.time, fields: row.fields };
                *next += 1;
                *due = row.since_first.div_f64(*speed).max(*due);
                Some(Step { due: *due, what: What::Reading(sent) })
            }
        }
    }
}

/// The state of a made-up sensor.
pub struct Synthetic {
    random: fastrand::Rng,
    start: Micros,
    period: Duration,
    phase: Duration,
    tick: u32,
    silent_until: Duration,
    wave_offset: f64,
    /// Hundredths of a percent.
    humidity: i64,
    on: bool,
    /// Measured, but kept for after the next one.
    held: Option<Measured>,
    /// Due now, not yet handed out.
    steps: VecDeque<Step>,
    n: u64,
    names: [Arc<str>; 3],
}

#[derive(Clone, Debug)]
struct Measured {
    time: Micros,
    /// Hundredths of a degree.
    temperature: i64,
    humidity: i64,
    on: bool,
}

impl Synthetic {
    fn new(seed: u64, period: Duration, start: Micros) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            phase: period.mul_f64(random.f64()),
            wave_offset: random.f64() * TAU,
            humidity: random.i64(3_000..6_000),
            on: random.bool(),
            random,
            start,
            period,
            tick: 0,
            silent_until: Duration::ZERO,
            held: None,
            steps: VecDeque::new(),
            n: 0,
            names: ["temp".into(), "hum".into(), "on".into()],
        }
    }

    fn next_step(&mut self) -> Step {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return step;
            }
            let due = self.phase + self.period * self.tick;
            self.tick += 1;
            if due >= self.silent_until {
                self.act(due);
            }
        }
    }

    fn act(&mut self, due: Duration) {
        if self.random.f64() < self.period.div_duration_f64(DROPOUT_EVERY) {
            self.silent_until = due + DROPOUT_MAX.mul_f64(self.random.f64());
            return;
        }
        let measured = self.measure(due);
        if self.one_in(ONE_CORRUPT_IN) {
            let whole = self.sent(&measured).payload();
            self.steps.push_back(Step { due, what: What::Corrupt(whole.slice(..whole.len() - 2)) });
        }
        if self.held.is_none() && self.one_in(ONE_LATE_IN) {
            self.held = Some(measured);
            return;
        }
        self.publish(due, &measured);
        if self.one_in(ONE_REPEAT_IN) {
            self.publish(due, &measured);
        }
        if let Some(late) = self.held.take() {
            self.publish(due, &late);
        }
    }

    fn publish(&mut self, due: Duration, measured: &Measured) {
        let what = What::Reading(self.sent(measured));
        self.steps.push_back(Step { due, what });
        self.n += 1;
    }

    fn measure(&mut self, due: Duration) -> Measured {
        let wave = (due.as_secs_f64() / 60.0 * TAU + self.wave_offset).sin();
        let temperature = 2_150 + (wave * 500.0) as i64 + self.random.i64(-5..=5);
        self.humidity = (self.humidity + self.random.i64(-3..=3)).clamp(0, 10_000);
        if self.one_in(ONE_SWITCH_IN) {
            self.on = !self.on;
        }
        let millis = self.start.0 / 1_000 + due.as_millis() as i64 + self.random.i64(0..=JITTER_MS);
        Measured { time: Micros(millis * 1_000), temperature, humidity: self.humidity, on: self.on }
    }

    fn sent(&self, measured: &Measured) -> Sent {
        let [temp, hum, on] = self.names.clone();
        let hundredths = |number: i64| Value::F64(number as f64 / 100.0);
        let fields = vec![
            (temp, hundredths(measured.temperature)),
            (hum, hundredths(measured.humidity)),
            (on, Value::Bool(measured.on)),
        ];
        Sent { n: self.n, time: measured.time, fields }
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.random.u32(0..chances) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Micros = Micros(1_800_000_000_000_000);

    fn steps(index: usize, count: usize) -> Vec<Step> {
        Sensor::synthetic(7, index, 20.0).script(START).take(count).collect()
    }

    fn readings(steps: &[Step]) -> Vec<&Sent> {
        let reading = |step: &'_ Step| matches!(step.what, What::Reading(_));
        steps
            .iter()
            .filter(|step| reading(step))
            .map(|step| match &step.what {
                What::Reading(sent) => sent,
                What::Corrupt(_) => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn a_script_plays_the_same_every_time_and_differently_for_each_sensor() {
        assert_eq!(steps(3, 2_000), steps(3, 2_000));
        assert_ne!(steps(3, 100), steps(4, 100));
    }

    #[test]
    fn a_sensor_does_everything_real_ones_do() {
        let steps = steps(0, 20_000);
        assert!(steps.is_sorted_by_key(|step| step.due));
        let readings = readings(&steps);
        assert!(readings.iter().enumerate().all(|(at, sent)| sent.n == at as u64), "n names each reading");
        let pairs = || readings.windows(2);
        assert!(pairs().any(|pair| pair[0].time == pair[1].time && pair[0].fields == pair[1].fields), "repeats");
        assert!(pairs().any(|pair| pair[0].time > pair[1].time), "out of order");
        assert!(pairs().any(|pair| pair[1].time.0 - pair[0].time.0 > 1_000_000), "drops out");
        let corrupt = steps.len() - readings.len();
        assert!((10..100).contains(&corrupt), "{corrupt} corrupt");
        let seconds = steps.last().unwrap().due.as_secs_f64();
        assert!(readings.len() as f64 > 0.95 * seconds * 20.0, "is silent for too long");
    }

    #[test]
    fn a_corrupt_payload_does_not_parse_and_a_good_one_holds_what_was_measured() {
        for step in steps(1, 5_000) {
            match step.what {
                What::Corrupt(bytes) => assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_err()),
                What::Reading(sent) => {
                    let parsed: serde_json::Value = serde_json::from_slice(&sent.payload()).unwrap();
                    assert_eq!(parsed[TIME].as_i64().unwrap() * 1_000, sent.time.0);
                    assert_eq!(parsed[COUNTER], sent.n);
                    let Value::F64(temp) = sent.fields[0].1 else { panic!() };
                    assert_eq!(parsed["temp"].as_f64().unwrap().to_bits(), temp.to_bits());
                }
            }
        }
    }
}
