use super::*;
use crate::reading::Micros;

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
    Reading { time: Some(Micros(7)), series: Arc::new(series), fields }
}

/// What is left of the fields of a reading of the device `d`.
fn left(filter: &mut Filter, fields: &[(&str, Value)], at: Instant) -> Vec<(String, Value)> {
    let mut readings = vec![reading("d", fields)];
    let gone = filter.apply(&mut readings, at);
    assert_eq!(gone as usize + readings.len(), 1);
    readings.into_iter().flat_map(|reading| reading.fields).map(|(name, value)| (name.to_string(), value)).collect()
}

/// Of a row of values of one field, a second apart, those that pass.
fn passing(keys: &str, values: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let (mut filter, start) = (filter(keys), Instant::now());
    let pass = |(second, value)| left(&mut filter, &[("x", value)], start + Duration::from_secs(second));
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
fn names_are_changed_first_and_the_rules_are_for_the_new_ones() {
    let mut filter = filter("rename = { t = \"temp\" }\nkeep = [\"temp\", \"gps.*\"]\ndeadband = { temp = 1.0 }");
    let now = Instant::now();
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
        let kept = left(&mut filter("rename = { t = \"temp\" }"), &fields, Instant::now());
        assert_eq!(kept, fields.map(|(name, value)| (name.to_owned(), value)));
    }
    let two = [("a", Value::I64(1)), ("b", Value::I64(2))];
    let kept = left(&mut filter("rename = { a = \"b\", b = \"a\" }"), &two, Instant::now());
    assert_eq!(kept.len(), 2, "nothing is lost by it: {kept:?}");
}

#[test]
fn dropped_fields_go_and_a_reading_without_fields_goes_as_a_whole() {
    let mut filter = filter("drop = [\"debug.*\", \"rssi\"]");
    let (some, none) = ([("rssi", Value::I64(1)), ("x", Value::I64(2))], [("debug.a", Value::I64(1))]);
    let mut readings = vec![reading("d", &some), reading("d", &none)];
    assert_eq!(filter.apply(&mut readings, Instant::now()), 1);
    assert_eq!(readings, [reading("d", &some[1..])]);
}

#[test]
fn the_longest_pattern_decides_and_a_whole_name_before_any() {
    let mut filter = filter("on_change = [\"*\", \"temp.raw*\"]\ndeadband = { \"temp.*\" = 5, \"x\" = 10 }");
    let now = Instant::now();
    let fields = |n| ["temp.a", "temp.raw1", "x", "y"].map(|name| (name, Value::I64(n)));
    assert_eq!(left(&mut filter, &fields(0), now).len(), 4);
    let names: Vec<_> = left(&mut filter, &fields(1), now).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["temp.raw1", "y"]);
}

#[test]
fn each_series_is_for_itself_and_what_is_forgotten_passes_once_more() {
    let (mut filter, now) = (filter("on_change = [\"x\"]"), Instant::now());
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
fn what_is_remembered_is_bounded() {
    let (mut filter, now) = (filter("on_change = [\"*\"]"), Instant::now());
    for n in 0..MOST + 10 {
        assert_eq!(left(&mut filter, &[(&format!("f{n}"), Value::I64(1))], now).len(), 1);
    }
    assert!(filter.values <= MOST && filter.rules.len() <= MOST_NAMES);
    assert_eq!(filter.passed.values().map(HashMap::len).sum::<usize>(), filter.values);
}

/// A thermometer in a room, ten times a second for an hour: its noise is 0.02 degrees, and the room warms by one.
#[test]
fn a_noisy_temperature_is_reported_a_few_times_and_never_falls_silent() {
    let (mut filter, start) = (filter("deadband = { temp = 0.1 }\nheartbeat = \"1m\""), Instant::now());
    let mut random = fastrand::Rng::with_seed(3);
    let (mut reported, mut last, mut silence) = (0, 0.0, Duration::ZERO);
    let mut heard = start;
    for n in 0..36_000_u32 {
        let noise = (0..4).map(|_| random.f64() - 0.5).sum::<f64>() * 0.035;
        let temp = 21.0 + f64::from(n) / 36_000.0 + noise;
        let now = start + n * Duration::from_millis(100);
        let passed = left(&mut filter, &[("temp", Value::F64(temp))], now);
        silence = silence.max(now - heard);
        if let [(_, Value::F64(value))] = passed[..] {
            (reported, last, heard) = (reported + 1, value, now);
        }
        assert!((temp - last).abs() <= 0.1, "what was said last is off by {}", temp - last);
    }
    assert!(reported * 10 <= 36_000, "{reported} of 36,000");
    assert!(silence <= Duration::from_mins(1), "{silence:?}");
}
