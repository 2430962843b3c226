//! Readings that are whole, late, changed, repeated or not there, and what the check says of them.

use bytes::Bytes;
use tidegate_wire::{ClockState, Codec, Envelope, Series, encode_body, encode_record};

use super::device::is_equal;
use super::*;
use crate::simulate::sensor::{Sent, What};

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
        Self::paced(sensor, 0)
    }

    /// One whose readings come so many microseconds after each other.
    fn paced(sensor: Sensor, pace: i64) -> Self {
        let ledger = Arc::new(Ledger::new(1, START));
        let series = Arc::new(Series { device: sensor.device.clone(), ..Series::default() });
        let readings = sensor.script(START).filter_map(|step| match step.what {
            What::Reading(sent) => Some(sent),
            What::Corrupt(_) => None,
        });
        let row = |sent: Sent| {
            ledger.enter(0, Micros(START.0 + pace * sent.n as i64));
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
    let device = scene.rows[0].series.device.clone();
    let first =
        format!("the first that did not arrive is reading 90 of {device}, generated at 0.000 s, 5.000 s before a kill");
    assert_eq!(scene.check.first_lost(), Some(first));
    scene.check.killed(Micros(START.0 + IN_HAND));
    assert_eq!((scene.check.lost(), scene.check.unprotected()), (0, 10));
    assert_eq!(scene.check.first_lost(), None);
    scene.take(92..95);
    assert_eq!(
        (scene.check.lost(), scene.check.unprotected()),
        (2, 5),
        "what came before one that was kept had its turn"
    );
    scene.rows[95].time = START.0 + STAMPED;
    scene.take(95..100);
    assert_eq!(scene.check.tally().corrupt, 1, "that is no time of its arrival");
}

#[test]
fn what_a_meter_answered_before_another_that_a_kill_left_had_its_turn() {
    const PACE: i64 = 100_000;
    let mut scene = Scene::paced(Sensor::modbus(1, 0, 10.0), PACE);
    for (n, row) in scene.rows.iter_mut().enumerate() {
        row.time = START.0 + PACE * n as i64 + 10_000;
    }
    // With reading 20, and right behind reading 40.
    scene.check.killed(Micros(START.0 + 20 * PACE));
    scene.check.killed(Micros(START.0 + 40 * PACE + 1));
    // In hand at a kill, whatever was kept behind it: 19 and 20, and 40. On the line at the first: 25, at the latest. Nothing
    // explains 10 and 26: at each kill behind them later ones had been kept.
    for kept in [0..10, 11..19, 21..25, 27..40, 41..100] {
        scene.take(kept);
    }
    assert_eq!((scene.check.tally().corrupt, scene.check.lost(), scene.check.unprotected()), (0, 2, 4));
    let device = scene.rows[0].series.device.clone();
    let first =
        format!("the first that did not arrive is reading 10 of {device}, generated at 1.000 s, 1.000 s before a kill");
    assert_eq!(scene.check.first_lost(), Some(first));
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
