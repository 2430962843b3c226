//! How fast readings are folded, and how long a checkpoint takes: `cargo bench --bench fold`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidegate::queue::entry::{Entry, Group, Stamp};
use tidegate::reading::{Micros, Reading, Series, Value};
use tidegate::window::sql::{self, Names};
use tidegate::window::{By, Late, Spec, Windows};

const SECOND: i64 = Micros::PER_SECOND;
const START: i64 = 1_893_456_000 * SECOND;
const SECONDS: i64 = 300;
const ROUNDS: u32 = 5;

const SIMPLE: &str = "COUNT(*) AS n, AVG(temp) AS mean, MIN(temp) AS least, MAX(temp) AS most";
const TUMBLE: &str = "TUMBLE(time, INTERVAL '1' MINUTE)";
const HOP: &str = "HOP(time, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)";

fn main() {
    let log = log(1_000, SECONDS);
    let by_device =
        |select: &str, window: &str| format!("SELECT device, {select} FROM readings GROUP BY device, {window}");
    speed("COUNT, AVG, MIN, MAX by device (at least 3)", &log, &by_device(SIMPLE, TUMBLE), By::Device);
    speed("the same by source", &log, &by_device(SIMPLE, TUMBLE), By::Source);
    speed("HOP of 6 overlaps (at least 1.5)", &log, &by_device(SIMPLE, HOP), By::Device);
    let percentile = by_device("PERCENTILE(temp, 0.95) AS p95", TUMBLE);
    speed("PERCENTILE (at least 1.5)", &log, &percentile, By::Device);
    speed("RATE", &log, &by_device("RATE(temp) AS rate", TUMBLE), By::Device);
    speed("all devices together", &log, &format!("SELECT {SIMPLE} FROM readings GROUP BY {TUMBLE}"), By::Device);
    checkpoint(&by_device(SIMPLE, TUMBLE));
}

/// A reading of each device a second, a group a second, all a little out of order.
fn log(devices: usize, seconds: i64) -> Vec<Group> {
    let series = |n: usize| {
        let device = format!("plant-7/line-{}/press-{n}", n % 10).into();
        Arc::new(Series { source: "plant".into(), device, ..Series::default() })
    };
    let series: Vec<_> = (0..devices).map(series).collect();
    let (temp, state): (Arc<str>, Arc<str>) = ("temp".into(), "state".into());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut reading = |series: &Arc<Series>, second: i64| {
        let time = Some(Micros(START + second * SECOND - rng.i64(0..2 * SECOND)));
        let value = Value::F64(20.0 + f64::from(rng.i32(-100..100)) / 10.0);
        let fields = vec![(state.clone(), Value::I64(1)), (temp.clone(), value)];
        Entry::Reading { reading: Reading { time, series: series.clone(), fields }, age: 0 }
    };
    let group = |second: i64| {
        let entries: Vec<_> = series.iter().map(|series| reading(series, second)).collect();
        let stamp = Stamp { received: START + second * SECOND, boot: "b".into(), mono: second * SECOND, synced: true };
        Group { epoch: 1, first: second as u64 * devices as u64, stamp, entries }
    };
    (0..seconds).map(group).collect()
}

fn windows(query: &str, by: By) -> Windows {
    Windows::new(vec![Spec {
        name: "w".into(),
        sql: query.into(),
        plan: sql::plan(query, &Names::default()).unwrap(),
        watermark: 5 * SECOND,
        by,
        idle_timeout: 30 * SECOND,
        max_ahead: 3600 * SECOND,
        max_groups: 1_000_000,
        late: Late::Drop,
    }])
}

fn speed(what: &str, log: &[Group], query: &str, by: By) {
    let readings: usize = log.iter().map(|group| group.entries.len()).sum();
    let times = (0..ROUNDS).map(|_| {
        let mut windows = windows(query, by);
        let start = Instant::now();
        let rows: usize = log.iter().map(|group| black_box(windows.apply(group)).rows.len()).sum();
        assert!(rows > 0);
        start.elapsed().as_secs_f64()
    });
    let rate = readings as f64 / times.fold(f64::INFINITY, f64::min) / 1e6;
    println!("{what}: {rate:.1} million readings/s");
}

fn checkpoint(query: &str) {
    let log = log(10_000, 50);
    let mut windows = windows(query, By::Device);
    for group in &log {
        windows.apply(group);
    }
    let start = Instant::now();
    let delta = windows.changes();
    let took = start.elapsed().as_secs_f64() * 1e3;
    println!("a checkpoint of 10,000 groups (at most 50 ms): {took:.1} ms, {} kB", delta.len() / 1000);
    let start = Instant::now();
    let snapshot = windows.snapshot().count();
    println!("a snapshot of them: {:.1} ms in {snapshot} pieces", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let closed = windows.finish().rows.len();
    println!("{closed} groups closed at once: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}
