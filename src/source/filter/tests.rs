use super::memory::MOST_BYTES;
use super::*;
use crate::clock::{Mono, RELEASED};
use crate::reading::{Micros, Series};

fn filter(keys: &str) -> Filter {
    let text = format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://broker\"\n[[source.subscribe]]\nfilter = \"a\"\n\
         [source.filter]\n{keys}\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n"
    );
    let read = config::parse(&text, "t.toml".as_ref(), &config::Environment::default());
    let (config, _) = read.unwrap_or_else(|faults| panic!("{}", faults[0]));
    match &config.sources[0] {
        config::Source::Mqtt(mqtt) => Filter::new(mqtt.filter.clone()),
        other => panic!("{other:?}"),
    }
}

fn reading(device: &str, fields: &[(&str, Value)]) -> Reading {
    let series = Series { source: "plant".into(), device: device.into(), ..Series::default() };
    let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Reading { time: None, series: Arc::new(series), fields }
}

/// Both clocks so long after a start of theirs.
fn at(since: Duration) -> Now {
    let micros = since.as_micros() as i64;
    Now { wall: Micros(RELEASED.0 + micros), mono: Mono(micros) }
}

const START: Now = Now { wall: RELEASED, mono: Mono(0) };

/// Of readings of one field at seconds of their own, in the order of arrival and a second apart, those that pass.
fn passing_at(keys: &str, said: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut filter = filter(keys);
    let mut pass = |(arrival, (second, value)): (u64, &(i64, i64))| {
        let time = Some(Micros(RELEASED.0 + second * Micros::PER_SECOND));
        let mut readings = vec![Reading { time, ..reading("d", &[("x", Value::I64(*value))]) }];
        filter.apply(&mut readings, at(Duration::from_secs(arrival)));
        !readings.is_empty()
    };
    (0..).zip(said).filter(|said| pass(*said)).map(|(_, said)| *said).collect()
}

/// What is left of the fields of a reading of the device `d`.
fn left(filter: &mut Filter, fields: &[(&str, Value)], at: Now) -> Vec<(String, Value)> {
    let mut readings = vec![reading("d", fields)];
    let gone = filter.apply(&mut readings, at);
    assert_eq!(gone as usize + readings.len(), 1);
    readings.into_iter().flat_map(|reading| reading.fields).map(|(name, value)| (name.to_string(), value)).collect()
}

/// Of a row of values of one field, a second apart, those that pass.
fn passing(keys: &str, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut filter = filter(keys);
    let pass = |(second, value)| left(&mut filter, &[("x", value)], at(Duration::from_secs(second)));
    (0..).zip(values).flat_map(pass).map(|(_, value)| value).collect()
}

#[test]
fn without_rules_everything_passes_as_it_is() {
    let values = [1, 1, 2, 2].map(Value::I64);
    assert_eq!(passing("", values.clone()), values);
    assert_eq!(passing("on_change = [\"y\"]", values.clone()), values, "the rule is for another field");
}

#[test]
fn on_change_passes_what_differs_from_the_last() {
    assert_eq!(passing("on_change = [\"x\"]", [1, 1, 2, 2, 1].map(Value::I64)), [1, 2, 1].map(Value::I64));
    let texts = ["on", "on", "off"].map(|text| Value::Text(text.into()));
    assert_eq!(passing("on_change = [\"x\"]", texts.clone()), [texts[0].clone(), texts[2].clone()]);
    let kinds = [Value::I64(1), Value::Bool(true), Value::F64(1.0)];
    assert_eq!(passing("on_change = [\"*\"]", kinds.clone()), kinds, "another kind is a change");
}

#[test]
fn a_deadband_is_crossed_by_more_than_its_width_from_the_last_that_passed() {
    let slow = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5].map(Value::F64);
    assert_eq!(passing("deadband = { x = 1 }", slow), [0.0, 1.5].map(Value::F64), "drift adds up, and 1.0 is not more");
    let counter = [u64::MAX, u64::MAX - 1, u64::MAX - 3].map(Value::U64);
    assert_eq!(passing("deadband = { x = 2.0 }", counter.clone()), [counter[0].clone(), counter[2].clone()]);
    assert_eq!(passing("deadband = { x = 0 }", [1, 1, 2].map(Value::I64)), [1, 2].map(Value::I64));
    let mixed = [Value::I64(1), Value::F64(1.5), Value::Text("broken".into()), Value::I64(1)];
    let crossed = [mixed[0].clone(), mixed[2].clone(), mixed[3].clone()];
    assert_eq!(passing("deadband = { x = 1.0 }", mixed), crossed, "what is no number has changed");
}

#[test]
fn after_a_heartbeat_a_value_passes_all_the_same() {
    let same = || std::iter::repeat_n(Value::I64(5), 601);
    assert_eq!(passing("on_change = [\"x\"]\nheartbeat = \"10s\"", same()).len(), 61);
    assert_eq!(passing("deadband = { x = 3.0 }", same()).len(), 3, "five minutes, where nothing is said");
}

#[test]
fn what_is_older_than_the_last_report_is_reported_and_holds_nothing_back() {
    let said = [(10, 1), (4, 1), (5, 1), (11, 1), (3, 0), (12, 1), (13, 2), (13, 2)];
    assert_eq!(passing_at("on_change = [\"x\"]", &said), [(10, 1), (4, 1), (5, 1), (3, 0), (13, 2)]);
}

#[test]
fn a_backlog_that_comes_at_once_has_its_heartbeats_where_they_would_have_been() {
    let hour: Vec<_> = (0..3600).map(|second| (second, 7)).collect();
    let passed = passing_at("deadband = { x = 1 }\nheartbeat = \"10m\"", &hour);
    assert_eq!(passed, [0, 600, 1200, 1800, 2400, 3000].map(|second| (second, 7)));
}

#[test]
fn a_clock_that_was_years_ahead_and_is_put_right_holds_nothing_back_or_open() {
    let said = [(0, 1), (100_000_000, 1), (1, 1), (2, 1), (3, 2), (4, 2)];
    assert_eq!(passing_at("on_change = [\"x\"]", &said), [(0, 1), (100_000_000, 1), (1, 1), (3, 2)]);
}

#[test]
fn a_time_that_stands_still_is_heard_of_by_its_heartbeat() {
    let still: Vec<_> = (0..600).map(|_| (5, 7)).collect();
    assert_eq!(passing_at("on_change = [\"x\"]\nheartbeat = \"1m\"", &still).len(), 10);
}

#[test]
fn a_clock_that_fell_back_holds_the_filter_open_for_a_heartbeat_and_no_longer() {
    let fell: Vec<_> = [(1_000, 7)].into_iter().chain((1..=600).map(|second| (second, 7))).collect();
    let passed = passing_at("on_change = [\"x\"]\nheartbeat = \"1m\"", &fell);
    let (open, after): (Vec<_>, Vec<_>) =
        passed[1..].iter().map(|(second, _)| *second).partition(|second| *second < 60);
    assert_eq!((open.len(), after), (59, vec![60, 120, 180, 240, 300, 360, 420, 480, 540, 600]));
}

#[test]
fn a_time_of_its_own_and_the_moment_of_arrival_are_not_compared() {
    let mut filter = filter("on_change = [\"x\"]");
    let mut passes = |time: Option<Micros>| {
        let mut readings = vec![Reading { time, ..reading("d", &[("x", Value::I64(1))]) }];
        filter.apply(&mut readings, START);
        !readings.is_empty()
    };
    let said = Some(Micros(RELEASED.0 + 5));
    assert_eq!([None, None, said, said, None].map(&mut passes), [true, false, true, false, true]);
}

#[test]
fn names_are_changed_first_and_the_rules_are_for_the_new_ones() {
    let mut filter = filter("rename = { t = \"temp\" }\nkeep = [\"temp\", \"gps.*\"]\ndeadband = { temp = 1.0 }");
    let now = START;
    let fields = [("t", Value::I64(1)), ("gps.lat", Value::I64(2)), ("hum", Value::I64(3))];
    assert_eq!(
        left(&mut filter, &fields, now),
        [("temp".to_owned(), Value::I64(1)), ("gps.lat".into(), Value::I64(2))]
    );
    assert_eq!(left(&mut filter, &fields, now), [("gps.lat".to_owned(), Value::I64(2))]);
}

#[test]
fn a_name_that_is_taken_is_not_written_over() {
    for fields in [[("t", Value::I64(1)), ("temp", Value::I64(2))], [("temp", Value::I64(2)), ("t", Value::I64(1))]] {
        let kept = left(&mut filter("rename = { t = \"temp\" }"), &fields, START);
        assert_eq!(kept, fields.map(|(name, value)| (name.to_owned(), value)));
    }
    let two = [("a", Value::I64(1)), ("b", Value::I64(2))];
    let kept = left(&mut filter("rename = { a = \"b\", b = \"a\" }"), &two, START);
    assert_eq!(kept.len(), 2, "nothing is lost by it: {kept:?}");
}

#[test]
fn dropped_fields_go_and_a_reading_without_fields_goes_as_a_whole() {
    let mut filter = filter("drop = [\"debug.*\", \"rssi\"]");
    let (some, none) = ([("rssi", Value::I64(1)), ("x", Value::I64(2))], [("debug.a", Value::I64(1))]);
    let mut readings = vec![reading("d", &some), reading("d", &none)];
    assert_eq!(filter.apply(&mut readings, START), 1);
    assert_eq!(readings, [reading("d", &some[1..])]);
}

#[test]
fn the_longest_pattern_decides_and_a_whole_name_before_any() {
    let mut filter = filter("on_change = [\"*\", \"temp.raw*\"]\ndeadband = { \"temp.*\" = 5, \"x\" = 10 }");
    let now = START;
    let fields = |n| ["temp.a", "temp.raw1", "x", "y"].map(|name| (name, Value::I64(n)));
    assert_eq!(left(&mut filter, &fields(0), now).len(), 4);
    let names: Vec<_> = left(&mut filter, &fields(1), now).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["temp.raw1", "y"]);
}

#[test]
fn each_series_is_for_itself_and_what_is_forgotten_passes_once_more() {
    let (mut filter, now) = (filter("on_change = [\"x\"]"), START);
    let mut count = |devices: &[&str], forget: bool| {
        if forget {
            filter.forget();
        }
        let mut readings: Vec<_> = devices.iter().map(|device| reading(device, &[("x", Value::I64(1))])).collect();
        filter.apply(&mut readings, now);
        readings.len()
    };
    assert_eq!(count(&["a", "b", "a", "b"], false), 2);
    assert_eq!(count(&["a", "b"], false), 0);
    assert_eq!(count(&["a", "b"], true), 2);
}

#[test]
fn what_is_remembered_is_bounded_in_bytes_and_names() {
    let mut filter = filter("on_change = [\"*\"]");
    let long: std::sync::Arc<str> = "x".repeat(10_000).into();
    let mut most = 0;
    for n in 0..20_000 {
        let (name, text) = (format!("f{}", n % 15_000), Value::Text(if n % 2 == 0 { long.clone() } else { "".into() }));
        assert_eq!(left(&mut filter, &[(&name, text)], START).len(), 1);
        most = most.max(filter.memory.bytes());
        assert!(most <= MOST_BYTES + 11_000 && filter.rules.len() <= MOST_NAMES, "{most}");
    }
    assert!(most > MOST_BYTES / 2, "{most}");
    for text in [long.clone(), "".into(), long] {
        left(&mut filter, &[("f0", Value::Text(text))], START);
        filter.memory.bytes();
    }
}

/// A thermometer in a room, ten times a second for an hour: its noise is 0.02 degrees, and the room warms by one.
#[test]
fn a_noisy_temperature_is_reported_a_few_times_and_never_falls_silent() {
    let mut filter = filter("deadband = { temp = 0.1 }\nheartbeat = \"1m\"");
    let mut random = fastrand::Rng::with_seed(3);
    let (mut reported, mut last, mut silence) = (0, 0.0, Duration::ZERO);
    let mut heard = Duration::ZERO;
    for n in 0..36_000_u32 {
        let noise = (0..4).map(|_| random.f64() - 0.5).sum::<f64>() * 0.035;
        let temp = 21.0 + f64::from(n) / 36_000.0 + noise;
        let now = n * Duration::from_millis(100);
        let passed = left(&mut filter, &[("temp", Value::F64(temp))], at(now));
        silence = silence.max(now.saturating_sub(heard));
        if let [(_, Value::F64(value))] = passed[..] {
            (reported, last, heard) = (reported + 1, value, now);
        }
        assert!((temp - last).abs() <= 0.1, "what was said last is off by {}", temp - last);
    }
    assert!(reported * 10 <= 36_000, "{reported} of 36,000");
    assert!(silence <= Duration::from_mins(1), "{silence:?}");
}
