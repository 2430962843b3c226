use super::*;
use crate::reading::{Series, Value};

fn stamp() -> Stamp {
    Stamp { received: 1_790_000_000_000_000, boot: "b".into(), mono: 7, synced: true }
}

fn reading(device: &str, fields: &[(&str, Value)]) -> Reading {
    let series =
        Series { source: "plant".into(), device: device.into(), tags: vec![("line".into(), "2".into())], window: None };
    let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Reading { time: Some(Micros(1_790_000_000_000_001)), series: Arc::new(series), fields }
}

fn every_kind() -> Group {
    let values = [
        ("f", Value::F64(-0.0)),
        ("nan", Value::F64(f64::MAX)),
        ("whole", Value::F64(3.0)),
        ("i", Value::I64(i64::MIN)),
        ("u", Value::U64(u64::MAX)),
        ("b", Value::Bool(true)),
        ("t", Value::Text("ja, jö".into())),
    ];
    let mut untimed = reading("b", &values[..1]);
    untimed.time = None;
    let mut row = reading("", &[]);
    row.series = Arc::new(Series { source: "window".into(), window: Some("climate_1m".into()), ..Series::default() });
    let letter = Letter {
        source: "plant".into(),
        origin: "a/b".into(),
        reason: "malformed".into(),
        detail: "expected a value".to_owned(),
        payload: vec![0, 255, 1].into(),
        length: 3,
        sha256: None,
    };
    let entries = vec![
        Entry::Started,
        Entry::Up("plant".into()),
        Entry::Reading { reading: reading("a", &values), age: 12 },
        Entry::Reading { reading: untimed, age: 0 },
        Entry::Tick,
        Entry::Letter(Box::new(letter)),
        Entry::Down("plant".into()),
        Entry::End,
        Entry::Reading { reading: row, age: 0 },
        Entry::State(vec![0, 200, 7].into()),
        Entry::Checkpoint(Checkpoint {
            position: 9,
            rows_end: Place { offset: 3, chunk: 2 },
            snapshot: true,
            pieces: 1,
        }),
    ];
    Group { epoch: 5, first: 100, stamp: stamp(), entries }
}

#[test]
fn a_group_comes_back_as_it_was_written() {
    let group = every_kind();
    let bytes = Encoder::default().encode(&group);
    let header = Header::read(&bytes).unwrap();
    assert_eq!((header.epoch, header.first, header.end()), (5, 100, 111));
    assert_eq!(Decoder::default().decode(&bytes).unwrap(), group);
}

#[test]
fn times_at_both_ends_of_the_calendar_come_back() {
    for time in [i64::MIN, i64::MAX, 0] {
        let mut far = reading("a", &[("x", Value::I64(1))]);
        far.time = Some(Micros(time));
        let entries = vec![Entry::Reading { reading: far, age: 0 }];
        let group = Group { epoch: 1, first: 0, stamp: stamp(), entries };
        let bytes = Encoder::default().encode(&group);
        assert_eq!(Decoder::default().decode(&bytes).unwrap(), group);
    }
}

#[test]
fn bytes_that_were_changed_are_refused_or_read_and_never_panic() {
    let good = Encoder::default().encode(&every_kind());
    let mut decoder = Decoder::default();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let _ = decoder.decode(&bad);
        assert!(decoder.decode(&good[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn many_alike_readings_take_few_bytes() {
    let entries: Vec<_> = (0..1000)
        .map(|n| {
            let fields = [("temp", Value::F64(20.0 + f64::from(n % 7) / 10.0)), ("n", Value::I64(n.into()))];
            Entry::Reading { reading: reading(&format!("d{}", n % 20), &fields), age: 0 }
        })
        .collect();
    let bytes = Encoder::default().encode(&Group { epoch: 1, first: 0, stamp: stamp(), entries });
    assert!(bytes.len() < 12_000, "{} bytes", bytes.len());
}
