//! The independent check: what arrived in the stream against what the sensors' scripts say.
//!
//! It reads the records as `tidegate decode` does, applies the consumer's rule, and plays each script again beside
//! what arrives from that sensor. Nothing here knows how a gateway works.
//!
//! What windows closed with is gathered beside it, with the readings they must have been made of ([`Evidence`]).
//!
//! A meter is asked, and acknowledged to by nobody: what it had said just before a kill may be gone, and is counted apart.
//!
//! Invariant: `unique + unprotected + lost = generated`, but for what gap records explain; every reading taken is exactly one of unique, door repeat and corrupt.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate_wire::{Row, Value};

use super::consumer::{Admission, Consumer};
use super::fleet::Ledger;
use super::sensor::{COUNTER, Link, Script, Sensor, Sent, What};
use super::stream::Record;
use super::windows::Evidence;
use crate::batch::read::{ReadRecord, read_record};
use crate::reading::Micros;

/// What the check has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings that arrived as they were generated, each counted once.
    pub unique: u64,
    /// Readings that arrived again under the same identity and were dropped by the rule.
    pub duplicates: u64,
    /// Readings that were committed twice, because the broker sent them twice.
    pub door_repeats: u64,
    /// Readings that arrived behind a later one of the same sensor.
    pub out_of_order: u64,
    /// Readings with another time or other values than were generated, or that nobody generated.
    pub corrupt: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Rows of windows that arrived again under the same identity.
    pub row_duplicates: u64,
    /// Of the records with readings and of those with rows, keys and repeats included.
    pub reading_bytes: u64,
    pub row_bytes: u64,
    /// The first thing that was wrong with a record or a reading, in words.
    pub first_fault: Option<String>,
    /// From generation to arrival in the stream, milliseconds, in order of arrival.
    pub latencies: Vec<u32>,
}

/// A check in progress.
pub struct Check {
    ledger: Arc<Ledger>,
    consumer: Consumer,
    devices: HashMap<Arc<str>, Device>,
    tally: Tally,
    windows: Evidence,
    kills: Vec<Micros>,
}

/// The longest that an answer is in a gateway's hand before it is committed.
const IN_HAND: i64 = 2 * Micros::PER_SECOND;
/// The longest until a meter has answered what a gateway asked that is gone.
const ON_THE_LINE: i64 = Micros::PER_SECOND / 2;
/// The longest until an answer has its time.
const STAMPED: i64 = 10 * Micros::PER_SECOND;

/// One sensor's script, played as far as its readings have arrived.
struct Device {
    index: usize,
    link: Link,
    script: Script,
    /// The `n` the script comes to next.
    next: u64,
    /// Played, but not arrived.
    missing: BTreeMap<u64, Sent>,
}

impl Check {
    #[must_use]
    pub fn new(sensors: &[Sensor], ledger: Arc<Ledger>) -> Self {
        let device = |(index, sensor): (usize, &Sensor)| {
            let script = sensor.script(ledger.start);
            (sensor.device.clone(), Device { index, link: sensor.link, script, next: 0, missing: BTreeMap::new() })
        };
        let devices = sensors.iter().enumerate().map(device).collect();
        let windows = Evidence::default();
        let (consumer, tally, kills) = (Consumer::default(), Tally::default(), Vec::new());
        Self { ledger, consumer, devices, tally, windows, kills }
    }

    /// The same for a gateway that runs windows.
    #[must_use]
    pub fn with_windows(self, windows: Evidence) -> Self {
        Self { windows, ..self }
    }

    /// Takes what arrived in the stream, in the order of arrival.
    pub fn take(&mut self, record: &Record) {
        let ReadRecord { envelope, rows } = match read_record(&record.data) {
            Ok(read) => read,
            Err(fault) => {
                self.tally.unreadable += 1;
                return self.fault(fault.to_string());
            }
        };
        let bytes = (record.data.len() + record.partition_key.len()) as u64;
        match &*envelope.stream {
            "readings" => self.tally.reading_bytes += bytes,
            "rows" => self.tally.row_bytes += bytes,
            _ => {}
        }
        let admission = self.consumer.admit(&envelope);
        for row in rows {
            let fresh = match admission {
                Admission::Repeat => false,
                Admission::Above(above) => above.is_none_or(|high| row.offset > high),
            };
            match &*envelope.stream {
                "readings" if fresh => {
                    self.reading(&row, record);
                    self.windows.reading(envelope.epoch, &row);
                }
                "readings" => self.tally.duplicates += 1,
                "rows" if fresh => self.windows.row(&row),
                "rows" => self.tally.row_duplicates += 1,
                "gaps" if fresh && !self.consumer.explain(&envelope.gateway, &row) => {
                    self.tally.unreadable += 1;
                    self.fault(format!("the gap record at offset {} cannot be read", row.offset));
                }
                // Other streams say nothing about readings.
                _ => {}
            }
        }
    }

    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// What arrived, as far as windows are concerned.
    #[must_use]
    pub fn windows(&self) -> &Evidence {
        &self.windows
    }

    /// The gateway is killed at this moment.
    pub fn killed(&mut self, at: Micros) {
        self.kills.push(at);
    }

    /// Generated, but neither arrived nor given up with a gap record, nor beyond what can be promised.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let accounted = self.tally.unique + self.consumer.explained("readings") + self.unprotected();
        self.ledger.total().saturating_sub(accounted)
    }

    /// Answers of meters that did not arrive, from just before a kill.
    #[must_use]
    pub fn unprotected(&self) -> u64 {
        let in_hand =
            |at: Micros| self.kills.iter().any(|kill| (at.0 - ON_THE_LINE..=at.0 + IN_HAND).contains(&kill.0));
        let meters = self.devices.values().filter(|device| device.link == Link::Modbus);
        let missing = meters.flat_map(|device| {
            let unplayed = device.next..self.ledger.published(device.index);
            device.missing.keys().copied().chain(unplayed).filter_map(|n| self.ledger.moment(device.index, n))
        });
        missing.filter(|at| in_hand(*at)).count() as u64
    }

    fn reading(&mut self, row: &Row, record: &Record) {
        let name = &row.series.device;
        let Some(device) = self.devices.get_mut(name) else {
            self.tally.corrupt += 1;
            return self.fault(format!("no sensor is called {name}"));
        };
        let counter = row.fields.iter().find(|(field, _)| &**field == COUNTER).map(|(_, value)| value);
        let generated = match counter {
            Some(Value::I64(n)) => self.ledger.moment(device.index, *n as u64).map(|moment| (*n as u64, moment)),
            _ => None,
        };
        let Some((n, moment)) = generated else {
            self.tally.corrupt += 1;
            return self.fault(format!("{name} never generated the reading at offset {}", row.offset));
        };
        let late = n < device.next;
        device.play_to(n);
        let Some(sent) = device.missing.remove(&n) else {
            self.tally.door_repeats += 1;
            return;
        };
        // An answer has no time of its own.
        let time = match device.link {
            Link::Mqtt | Link::Serial => row.time == sent.time.0,
            Link::Modbus => (moment.0 - Micros::PER_SECOND..moment.0 + STAMPED).contains(&row.time),
        };
        if !time || !is_same(&sent, row) {
            self.tally.corrupt += 1;
            return self.fault(format!("reading {n} of {name} was sent as {sent:?} and arrived as {row:?}"));
        }
        self.tally.unique += 1;
        // What a serial sensor sends again comes behind what it sent meanwhile.
        self.tally.out_of_order += u64::from(late && device.link != Link::Serial);
        self.tally.latencies.push(((record.arrived.0 - moment.0) / 1_000).clamp(0, i64::from(u32::MAX)) as u32);
    }

    fn fault(&mut self, fault: String) {
        self.tally.first_fault.get_or_insert(fault);
    }
}

impl Device {
    /// Plays the script up to and with the reading `n`.
    fn play_to(&mut self, n: u64) {
        while self.next <= n {
            let Some(step) = self.script.next() else { return };
            if let What::Reading(sent) = step.what {
                self.next = sent.n + 1;
                self.missing.insert(sent.n, sent);
            }
        }
    }
}

fn is_same(sent: &Sent, row: &Row) -> bool {
    let arrived = |name: &str| row.fields.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
    row.fields.len() == sent.fields.len() + 1
        && sent.fields.iter().all(|(name, value)| arrived(name).is_some_and(|found| is_equal(value, found)))
}

/// Numbers are equal by value, floats bit for bit, and a whole float may arrive as an integer.
#[expect(clippy::float_cmp, reason = "equal is what is asked")]
fn is_equal(sent: &Value, arrived: &Value) -> bool {
    match (sent, arrived) {
        (Value::F64(sent), Value::F64(arrived)) => sent.to_bits() == arrived.to_bits(),
        (Value::F64(sent), Value::I64(arrived)) => *sent == *arrived as f64,
        (Value::I64(sent), Value::F64(arrived)) => *sent as f64 == *arrived && *arrived as i64 == *sent,
        _ => sent == arrived,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_wire::{ClockState, Codec, Envelope, Series, encode_body, encode_record};

    use super::*;

    const START: Micros = Micros(1_800_000_000_000_000);

    /// A sensor whose readings are cut into records by hand.
    struct Scene {
        check: Check,
        rows: Vec<Row>,
    }

    impl Scene {
        fn new() -> Self {
            Self::of(Sensor::synthetic(1, 0, 10.0))
        }

        fn of(sensor: Sensor) -> Self {
            let ledger = Arc::new(Ledger::new(1, START));
            let series = Arc::new(Series { device: sensor.device.clone(), ..Series::default() });
            let readings = sensor.script(START).filter_map(|step| match step.what {
                What::Reading(sent) => Some(sent),
                What::Corrupt(_) => None,
            });
            let row = |sent: Sent| {
                ledger.enter(0, START);
                let mut fields = sent.fields;
                fields.push((COUNTER.into(), Value::from(sent.n)));
                Row { offset: sent.n, time: sent.time.0, received: None, series: series.clone(), fields }
            };
            let rows = readings.take(100).map(row).collect();
            Self { check: Check::new(&[sensor], ledger), rows }
        }

        /// A record of these readings.
        fn record(rows: &[Row], prev: Option<u64>) -> Record {
            Self::record_of("readings", rows, prev)
        }

        fn record_of(stream: &str, rows: &[Row], prev: Option<u64>) -> Record {
            let body = encode_body(rows);
            let envelope = Envelope {
                gateway: "g".to_owned(),
                stream: stream.to_owned(),
                lane: 0,
                epoch: 1,
                first: rows[0].offset,
                last: rows[rows.len() - 1].offset,
                prev: prev.map(|offset| (1, offset)),
                count: rows.len() as u64,
                clock: ClockState::Synced,
                codec: Codec::Zstd,
                size: body.len() as u64,
            };
            let data = encode_record(&envelope, &zstd::bulk::compress(&body, 3).unwrap());
            let arrived = Micros(START.0 + 250_000);
            Record { shard: 0, sequence: 1, partition_key: "k".to_owned(), data: data.into(), arrived }
        }

        fn take(&mut self, rows: std::ops::Range<usize>) {
            let prev = rows.start.checked_sub(1).map(|offset| offset as u64);
            self.check.take(&Self::record(&self.rows[rows], prev));
        }
    }

    #[test]
    fn all_that_was_generated_and_arrived_is_in_order() {
        let mut scene = Scene::new();
        scene.take(0..60);
        assert_eq!(scene.check.lost(), 40);
        scene.take(60..100);
        let tally = scene.check.tally();
        let (latencies, reading_bytes) = (vec![250; 100], tally.reading_bytes);
        assert_eq!(*tally, Tally { unique: 100, reading_bytes, latencies, ..Tally::default() });
        assert!(reading_bytes > 100);
        assert_eq!(scene.check.lost(), 0);
    }

    #[test]
    fn repeats_of_the_road_are_duplicates_and_no_readings() {
        let mut scene = Scene::new();
        scene.take(0..60);
        scene.take(0..60);
        scene.take(40..100);
        assert_eq!((scene.check.tally().unique, scene.check.tally().duplicates), (100, 80));
    }

    #[test]
    fn rows_of_windows_are_counted_apart() {
        let mut scene = Scene::new();
        let rows = Scene::record_of("rows", &scene.rows[..10], None);
        scene.take(0..100);
        scene.check.take(&rows);
        scene.check.take(&rows);
        let Tally { unique, duplicates, row_duplicates, row_bytes, corrupt, .. } = *scene.check.tally();
        assert_eq!((unique, duplicates, row_duplicates, corrupt), (100, 0, 10, 0));
        assert_eq!((scene.check.windows().delivered(), row_bytes), (10, 2 * (rows.data.len() as u64 + 1)));
        scene.check.take(&Scene::record_of("rows", &scene.rows[20..30], Some(19)));
        assert_eq!(scene.check.consumer().unexplained().count(), 1, "rows were lost");
    }

    #[test]
    fn a_record_that_never_came_is_a_hole_and_its_readings_are_lost() {
        let mut scene = Scene::new();
        scene.take(0..40);
        scene.take(60..100);
        assert_eq!(scene.check.lost(), 20);
        assert_eq!(scene.check.consumer().unexplained().count(), 1);
        assert_eq!(scene.check.tally().out_of_order, 0);
    }

    #[test]
    fn what_the_broker_sent_twice_is_a_door_repeat_and_not_out_of_order() {
        let mut scene = Scene::new();
        let again = scene.rows[50..60].to_vec();
        scene.rows.splice(60..60, again);
        for (offset, row) in scene.rows.iter_mut().enumerate() {
            row.offset = offset as u64;
        }
        scene.take(0..110);
        let tally = scene.check.tally();
        assert_eq!((tally.unique, tally.door_repeats, tally.out_of_order, tally.corrupt), (100, 10, 0, 0));
    }

    #[test]
    fn readings_that_changed_places_are_out_of_order() {
        let mut scene = Scene::new();
        scene.rows.swap(10, 11);
        scene.rows[10].offset = 10;
        scene.rows[11].offset = 11;
        scene.take(0..100);
        assert_eq!((scene.check.tally().unique, scene.check.tally().out_of_order), (100, 1));
    }

    #[test]
    fn a_changed_value_time_field_or_device_is_corrupt() {
        let changes: [fn(&mut Row); 5] = [
            |row| row.fields[0].1 = Value::F64(1e6),
            |row| row.time += 1,
            |row| drop(row.fields.remove(0)),
            |row| row.fields.push(("more".into(), Value::Bool(true))),
            |row| row.series = Arc::new(Series { device: "nobody".into(), ..Series::default() }),
        ];
        for change in changes {
            let mut scene = Scene::new();
            change(&mut scene.rows[50]);
            scene.take(0..100);
            let tally = scene.check.tally();
            assert_eq!((tally.unique, tally.corrupt), (99, 1));
            assert!(tally.first_fault.is_some());
        }
    }

    #[test]
    fn what_a_serial_sensor_sends_again_may_come_later_and_is_missed_if_it_does_not() {
        let mut scene = Scene::of(Sensor::serial(1, 0, 10.0));
        scene.rows[5..30].rotate_left(1);
        for (offset, row) in (0..).zip(&mut scene.rows) {
            row.offset = offset;
        }
        scene.take(0..99);
        let tally = scene.check.tally();
        assert_eq!((tally.unique, tally.out_of_order, scene.check.lost()), (99, 0, 1));
        scene.check.killed(START);
        assert_eq!(scene.check.lost(), 1, "a kill is no excuse for what is sent until it is acknowledged");
    }

    #[test]
    fn answers_of_meters_are_excused_by_a_kill_right_behind_them_and_by_nothing_else() {
        let mut scene = Scene::of(Sensor::modbus(1, 0, 10.0));
        // Their times are those of their arrival.
        for row in &mut scene.rows {
            row.time = START.0 + 100_000;
        }
        scene.take(0..90);
        assert_eq!((scene.check.tally().unique, scene.check.tally().corrupt, scene.check.lost()), (90, 0, 10));
        scene.check.killed(Micros(START.0 - ON_THE_LINE - 1));
        scene.check.killed(Micros(START.0 + IN_HAND + 1));
        assert_eq!((scene.check.lost(), scene.check.unprotected()), (10, 0));
        scene.check.killed(Micros(START.0 + IN_HAND));
        assert_eq!((scene.check.lost(), scene.check.unprotected()), (0, 10));
        scene.rows[95].time = START.0 + STAMPED;
        scene.take(90..100);
        assert_eq!(scene.check.tally().corrupt, 1, "that is no time of its arrival");
    }

    #[test]
    fn a_reading_that_was_never_generated_is_corrupt() {
        let mut scene = Scene::new();
        for (name, value) in &mut scene.rows[99].fields {
            if &**name == COUNTER {
                *value = Value::I64(100);
            }
        }
        scene.take(0..100);
        assert_eq!((scene.check.tally().corrupt, scene.check.lost()), (1, 1));
    }

    #[test]
    fn bytes_that_are_no_record_are_counted_and_named() {
        let mut scene = Scene::new();
        let good = Scene::record(&scene.rows[..10], None);
        for length in 0..good.data.len() {
            scene.check.take(&Record { data: good.data.slice(..length), ..good.clone() });
        }
        scene.check.take(&Record { data: Bytes::from_static(b"{}"), ..good });
        let tally = scene.check.tally();
        assert_eq!((tally.unreadable > 10, tally.unique), (true, 0));
        assert!(tally.first_fault.is_some());
    }

    #[test]
    fn whole_floats_may_come_as_integers_and_nothing_else_may_change() {
        assert!(is_equal(&Value::F64(21.0), &Value::I64(21)));
        assert!(!is_equal(&Value::F64(21.5), &Value::I64(21)));
        assert!(!is_equal(&Value::F64(0.1), &Value::F64(0.1 + f64::EPSILON)));
        assert!(!is_equal(&Value::Bool(true), &Value::I64(1)));
        assert!(!is_equal(&Value::Text("1".into()), &Value::I64(1)));
    }
}
