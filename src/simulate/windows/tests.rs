//! The plain telling beside the gateway's fold, which knows nothing of each other; and mistakes, each of which is found.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{self, Environment};
use crate::queue::entry::{Entry, Group, Stamp};
use crate::reading::{Micros, Reading, Series, Value};
use crate::simulate::sensor::{COUNTER, Sensor, What};
use crate::window::{Closed, Windows};

const START: i64 = 1_800_000_000_000_000;
const SECOND: i64 = Micros::PER_SECOND;

fn specs(text: &str) -> Vec<Spec> {
    let rest = "[[source]]\ntype = \"mqtt\"\nname = \"fleet\"\nurl = \"mqtt://broker\"\n[[source.subscribe]]\n\
                filter = \"a\"\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n";
    let (config, _) = config::parse(&format!("{text}\n{rest}"), Path::new("t.toml"), &Environment::default()).unwrap();
    config.windows.into_iter().map(|window| window.spec).collect()
}

fn query(sql: &str) -> Vec<Spec> {
    specs(&format!("[[window]]\nname = \"asked\"\nwatermark = \"3s\"\nsql = \"\"\"{sql}\"\"\""))
}

/// What a reading is before it has a place in the log: when it arrives, and what it says.
type Arrival = (i64, Row);

fn arrival(at: i64, device: &str, time: i64, fields: Vec<(Arc<str>, Value)>) -> Arrival {
    let series = Arc::new(Series { source: "fleet".into(), device: device.into(), ..Series::default() });
    (at, Row { offset: 0, time, received: None, series, fields })
}

/// What so many sensors publish in so many seconds.
fn fleet(seed: u64, sensors: usize, rate: f64, seconds: u64) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for sensor in (0..sensors).map(|index| Sensor::synthetic(seed, index, rate)) {
        let steps = sensor.script(Micros(START)).take_while(|step| step.due < Duration::from_secs(seconds));
        for step in steps {
            let What::Reading(mut sent) = step.what else { continue };
            sent.fields.push((COUNTER.into(), Value::from(sent.n)));
            arrivals.push(arrival(START + step.due.as_micros() as i64, &sensor.device, sent.time.0, sent.fields));
        }
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals
}

/// Kills: now and then the broker sends the last few hundred again.
fn with_repeats(arrivals: Vec<Arrival>, random: &mut fastrand::Rng) -> Vec<Arrival> {
    let mut repeated: Vec<Arrival> = Vec::new();
    for (at, row) in arrivals {
        repeated.push((at, row));
        if random.u32(0..500) == 0 {
            let again = repeated.split_at(repeated.len() - random.usize(0..300).min(repeated.len())).1.to_vec();
            repeated.extend(again.into_iter().map(|(_, row)| (at, row)));
        }
    }
    repeated
}

/// The log, in groups of any size.
fn log(arrivals: &[Arrival], random: &mut fastrand::Rng) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut left = arrivals;
    let mut first = 0;
    while !left.is_empty() {
        let (now, later) = left.split_at(random.usize(1..=50).min(left.len()));
        left = later;
        let entries = now.iter().map(|(_, row)| {
            let (time, series, fields) = (Some(Micros(row.time)), row.series.clone(), row.fields.clone());
            Entry::Reading { reading: Reading { time, series, fields }, age: 0 }
        });
        let entries: Vec<_> = entries.chain(left.is_empty().then_some(Entry::End)).collect();
        let at = now[now.len() - 1].0;
        let stamp = Stamp { received: at, boot: "boot".into(), mono: at - START, synced: true };
        groups.push(Group { epoch: 7, first, stamp, entries });
        first += groups[groups.len() - 1].entries.len() as u64;
    }
    groups
}

fn delivered(offset: u64, row: Closed) -> Row {
    let Closed { window, device, end, fields, .. } = row;
    let series = Series { source: "window".into(), device, window: Some(window), tags: Vec::new() };
    Row { offset, time: end, received: None, series: Arc::new(series), fields }
}

/// What arrives of these readings, and how many of them were late.
fn evidence(specs: &[Spec], arrivals: &[Arrival], random: &mut fastrand::Rng) -> (Evidence, u64) {
    let mut windows = Windows::new(specs.to_vec());
    let mut evidence = Evidence::of(specs.to_vec());
    let (mut offset, mut late) = (0, 0);
    for group in log(arrivals, random) {
        let folded = windows.apply(&group);
        late += folded.counts.iter().map(|counts| counts.late).sum::<u64>();
        for row in folded.rows {
            evidence.row(&delivered(offset, row));
            offset += 1;
        }
    }
    for (offset, (_, row)) in (0..).zip(arrivals) {
        evidence.reading(7, &Row { offset, ..row.clone() });
    }
    // Lanes arrive as they like.
    random.shuffle(&mut evidence.readings);
    random.shuffle(&mut evidence.rows);
    (evidence, late)
}

#[track_caller]
fn agree(evidence: &Evidence) -> u64 {
    let judgement = evidence.judge();
    assert_eq!((judgement.missing, judgement.unexpected), (0, 0), "{judgement:?}");
    assert_eq!((judgement.expected, judgement.first_fault), (judgement.delivered, None));
    judgement.expected
}

#[test]
fn plain_and_fold_agree_on_a_fleet() {
    for (seed, rate, least) in [(1, 10.0, 400), (2, 50.0, 400), (3, 0.5, 100)] {
        let random = &mut fastrand::Rng::with_seed(seed);
        let arrivals = with_repeats(fleet(seed, 10, rate, 40), random);
        let (evidence, _) = evidence(&specs(LIVE), &arrivals, random);
        assert_eq!(evidence.not_independent().count(), 0);
        assert!(agree(&evidence) > least);
    }
}

#[test]
fn the_usual_watermark_makes_nothing_late() {
    let random = &mut fastrand::Rng::with_seed(3);
    let (_, late) = evidence(&specs(LIVE), &fleet(3, 20, 10.0, 120), random);
    assert_eq!(late, 0);
}

#[test]
fn plain_and_fold_agree_on_what_is_late() {
    for watermark in [0, SECOND / 20, SECOND] {
        let random = &mut fastrand::Rng::with_seed(4);
        let specs: Vec<_> = specs(LIVE).into_iter().map(|spec| Spec { watermark, ..spec }).collect();
        let arrivals = with_repeats(fleet(4, 10, 10.0, 120), random);
        let (evidence, late) = evidence(&specs, &arrivals, random);
        assert!(late > 10, "{late}");
        agree(&evidence);
    }
}

/// Years of sparse readings of every kind of value, out of order and with equal times.
fn recorded(random: &mut fastrand::Rng) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut time = START - 300 * 86_400 * SECOND;
    for n in 0..5_000_i64 {
        time += random.choice([0, 60, 300, 3_600, 7_200, 7_201]).unwrap_or(0) * SECOND;
        let late = if random.u32(0..20) == 0 { random.i64(0..7_200) * SECOND } else { 0 };
        let mut fields: Vec<(Arc<str>, Value)> = vec![(COUNTER.into(), Value::I64(n))];
        let value = match random.u32(0..6) {
            0 => Value::I64(random.i64(-1_000..1_000)),
            1 => Value::F64(random.i64(-10..10) as f64),
            2 => Value::U64(u64::MAX - random.u64(0..10)),
            3 => Value::Bool(random.bool()),
            4 => Value::Text(["a", "b", ""][random.usize(0..3)].into()),
            _ => Value::F64(random.f64() - 0.5),
        };
        fields.push(("mixed".into(), value));
        if random.bool() {
            fields.push(("some".into(), Value::F64(random.f64() * 1e6)));
        }
        let device = ["boiler", "pump"][random.usize(0..2)];
        arrivals.push(arrival(START + n, device, time - late, fields));
    }
    arrivals
}

#[test]
fn plain_and_fold_agree_on_files() {
    for seed in 0..3 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let (evidence, late) = evidence(&specs(RECORDED), &recorded(random), random);
        assert!(late > 0);
        assert!(agree(&evidence) > 1_000);
    }
}

#[test]
fn plain_and_fold_agree_on_other_queries_over_columns() {
    for sql in [
        "SELECT COUNT(*) AS all, COUNT(some) AS some, AVG(some) AS avg FROM readings GROUP BY TUMBLE(time, INTERVAL '1' DAY)",
        "SELECT source, FIRST_VALUE(mixed) AS a, LAST_VALUE(mixed) AS b FROM readings \
         GROUP BY source, HOP(time, INTERVAL '1' HOUR, INTERVAL '10' MINUTE)",
        "SELECT mixed, MIN(some) AS least, MAX(n) AS last FROM readings GROUP BY mixed, TUMBLE(time, INTERVAL '6' HOUR)",
        // A key that is not told apart in the row.
        "SELECT COUNT(*) AS n FROM readings GROUP BY device, mixed, TUMBLE(time, INTERVAL '1' DAY)",
    ] {
        let random = &mut fastrand::Rng::with_seed(5);
        let (evidence, _) = evidence(&query(sql), &recorded(random), random);
        assert_eq!(evidence.not_independent().count(), 0, "{sql}");
        assert!(agree(&evidence) > 20, "{sql}");
    }
}

#[test]
fn what_cannot_be_told_plainly_is_folded_once_more_and_said_to_be() {
    let watermarks = "watermark = \"2h\"\nidle_timeout = \"366d\"";
    for sql in [
        "SELECT device, PERCENTILE(some, 0.9) AS p FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' HOUR)",
        "SELECT AVG(some) * 2 AS twice FROM readings WHERE some > 10 GROUP BY TUMBLE(time, INTERVAL '1' HOUR)",
        "SELECT device, COUNT(*) AS n FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' DAY) HAVING COUNT(*) > 3",
    ] {
        let text = format!("[[window]]\nname = \"asked\"\n{watermarks}\nsql = \"{sql}\"");
        let random = &mut fastrand::Rng::with_seed(6);
        let (mut evidence, _) = evidence(&specs(&text), &recorded(random), random);
        assert_eq!(evidence.not_independent().map(|name| &**name).collect::<Vec<_>>(), ["asked"]);
        assert!(agree(&evidence) > 20, "{sql}");
        evidence.readings.pop();
        evidence.rows.pop();
        assert_ne!(evidence.judge().missing, 0, "{sql}");
    }
}

/// A mistake in the rows that arrived.
type Mistake = fn(&mut Vec<Row>);

#[test]
fn each_mistake_is_found_and_named() {
    let random = &mut fastrand::Rng::with_seed(8);
    let arrivals = fleet(8, 5, 10.0, 20);
    let mistakes: [(&str, Mistake, (u64, u64), &str); 9] = [
        ("lost", |rows| drop(rows.swap_remove(0)), (1, 0), "never came"),
        ("twice", |rows| rows.push(Row { offset: 1 << 40, ..rows[0].clone() }), (0, 1), "came, and should not have"),
        ("a count", |rows| *field(&mut rows[0], "count") = Value::I64(0), (0, 1), "says count is 0; "),
        ("a sum", |rows| *field(&mut rows[0], "sum") = Value::F64(0.1), (0, 1), "says sum is 0.1; "),
        ("a column less", |rows| rows[0].fields.retain(|(name, _)| &**name != "count"), (0, 1), "has no count; "),
        (
            "one more",
            |rows| rows[0].fields.push(("x".into(), Value::Bool(true))),
            (0, 1),
            "has a x that should be NULL",
        ),
        ("its end", |rows| rows[0].time += 1, (1, 1), "never came"),
        ("its device", |rows| series(&mut rows[0]).device = "nobody".into(), (1, 1), "came, and should not have"),
        ("no row", |rows| series(&mut rows[0]).source = "fleet".into(), (1, 1), "came, and should not have"),
    ];
    for (what, mistake, expected, said) in mistakes {
        let (mut evidence, _) = evidence(&specs(LIVE), &arrivals, random);
        evidence.rows.sort_by_key(|row| row.series.window.as_deref() != Some("sessions"));
        agree(&evidence);
        mistake(&mut evidence.rows);
        let judgement = evidence.judge();
        assert_eq!((judgement.missing, judgement.unexpected), expected, "{what}: {judgement:?}");
        assert!(judgement.first_fault.as_ref().unwrap().contains(said), "{what}: {judgement:?}");
    }
}

fn field<'a>(row: &'a mut Row, name: &str) -> &'a mut Value {
    row.fields.iter_mut().find(|(field, _)| &**field == name).map(|(_, value)| value).unwrap()
}

fn series(row: &mut Row) -> &mut Series {
    Arc::make_mut(&mut row.series)
}

#[test]
fn a_reading_that_was_counted_twice_or_not_at_all_is_found() {
    let random = &mut fastrand::Rng::with_seed(9);
    let arrivals = fleet(9, 5, 10.0, 20);
    let (mut evidence, _) = evidence(&specs(LIVE), &arrivals, random);
    let committed = evidence.readings.pop().unwrap();
    assert!(evidence.judge().unexpected > 0, "the rows hold a reading that never was");
    evidence.readings.extend([committed.clone(), committed]);
    assert!(evidence.judge().unexpected > 0, "the rows lack a reading");
}

#[test]
fn float_sums_agree_but_for_their_last_digits() {
    let about = Answer::About(1e6, 1e-3);
    assert!(about.is(&Value::F64(1e6 + 9e-4)) && about.is(&Value::I64(1_000_000)));
    assert!(!about.is(&Value::F64(1e6 + 2e-3)) && !about.is(&Value::Text("1000000".into())));
    let exact = Answer::Exactly(Value::F64(21.0));
    assert!(exact.is(&Value::I64(21)) && !exact.is(&Value::F64(21.000_000_1)));
}

#[test]
fn without_windows_nothing_is_kept_and_no_row_is_expected() {
    let mut evidence = Evidence::default();
    let (_, row) = arrival(START, "a", START, Vec::new());
    evidence.reading(1, &row);
    assert!(evidence.readings.is_empty() && !evidence.has_windows());
    assert_eq!(agree(&evidence), 0);
    evidence.row(&row);
    assert_eq!(evidence.judge().unexpected, 1);
}
