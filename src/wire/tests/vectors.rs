//! Golden bytes: `tests/vectors/*.record` fix the columns format, on every processor. Any reader of it can be tested
//! against them and against `*.jsonl`, which is what `tidegate decode` prints of each.
//!
//! They are compared, never written, unless `TIDEGATE_WRITE_VECTORS=1` asks for it: the format is fixed, so a file
//! that changes is a version of its own.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_wire::{
    ClockState, Codec, Envelope, Row, Series, Value, decode_body, decode_record, encode_body, encode_record,
};

const TIME: i64 = 1_767_323_045_678_901;

fn series(device: &str) -> Arc<Series> {
    Arc::new(Series { source: "plant".into(), device: device.into(), ..Series::default() })
}

fn row(offset: u64, series: &Arc<Series>, fields: &[(&str, Value)]) -> Row {
    let fields = fields.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect();
    Row { offset, time: TIME + (offset as i64) * 250_000, received: None, series: series.clone(), fields }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// An uncompressed record: zstd may choose other bytes in a later version.
fn record(stream: &str, rows: &[Row]) -> Vec<u8> {
    let body = encode_body(rows);
    let envelope = Envelope {
        gateway: "plant-7".to_owned(),
        stream: stream.to_owned(),
        lane: 0,
        epoch: 1_767_000_000,
        first: rows[0].offset,
        last: rows[rows.len() - 1].offset,
        prev: (rows[0].offset > 0).then(|| (1_766_000_000, rows[0].offset - 1)),
        count: rows.len() as u64,
        clock: ClockState::Synced,
        codec: Codec::None,
        size: body.len() as u64,
    };
    encode_record(&envelope, &body)
}

/// Each shape a column can have, and each a record can have.
fn cases() -> Vec<(&'static str, &'static str, Vec<Row>)> {
    use Value::{Bool, F64, I64, U64};
    let (one, two) = (series("d1"), series("d2"));
    let decimals = |at: u64| (at, F64((2_150 + at as i64 * 3) as f64 / 100.0));
    let exceptions = |at: u64| F64(if at == 7 { 0.1 + 0.2 } else { at as f64 / 2.0 });
    let tagged = Series { tags: vec![("hall".into(), "3".into()), ("line".into(), "ä".into())], ..(*one).clone() };
    let window = Series { source: "window".into(), window: Some("climate_1m".into()), ..(*one).clone() };
    let gap = Series { source: "tidegate".into(), device: "plant-7".into(), ..Series::default() };
    let gap_fields = [
        ("stream", text("readings")),
        ("lane", I64(0)),
        ("from_epoch", I64(1_766_000_000)),
        ("from", I64(10)),
        ("to_epoch", I64(1_767_000_000)),
        ("to", I64(99)),
        ("count", I64(88)),
        ("reason", text("shed")),
    ];
    let all = |range: std::ops::Range<u64>, field: &dyn Fn(u64) -> Value| -> Vec<Row> {
        range.map(|at| row(at, &one, &[("x", field(at))])).collect()
    };
    vec![
        ("one", "readings", vec![row(0, &one, &[("x", I64(1))])]),
        ("decimals", "readings", (5..9).map(decimals).map(|(at, x)| row(at, &one, &[("x", x)])).collect()),
        ("integers", "readings", all(0..4, &|at| I64([-1, 1_000, i64::MIN, 0][at as usize]))),
        ("hundreds", "readings", all(0..4, &|at| I64(at as i64 * 300 - 600))),
        ("large", "readings", all(0..3, &|at| U64(u64::MAX - at))),
        ("exceptions", "readings", all(0..32, &exceptions)),
        ("floats", "readings", all(0..4, &|at| F64([-0.0, f64::INFINITY, f64::MIN_POSITIVE, 0.1][at as usize]))),
        ("bools", "readings", all(0..11, &|at| Bool(at % 3 == 0))),
        ("texts", "readings", all(0..4, &|at| text(["on", "off", "", "on"][at as usize]))),
        (
            "masked",
            "readings",
            vec![
                row(3, &one, &[("x", I64(1)), ("y", text("a"))]),
                row(4, &one, &[("x", I64(2))]),
                row(9, &one, &[("y", text("b"))]),
            ],
        ),
        (
            "groups",
            "readings",
            vec![
                row(0, &one, &[("x", I64(1))]),
                row(1, &two, &[("x", F64(1.5))]),
                row(2, &one, &[("x", text("one"))]),
                row(3, &one, &[("x", I64(2))]),
            ],
        ),
        ("tags", "readings", vec![row(0, &Arc::new(tagged), &[("a.b", Bool(true)), ("z", I64(1))])]),
        (
            "received",
            "readings",
            vec![
                Row { received: Some(TIME + 5_000_000), ..row(7, &one, &[("x", I64(1))]) },
                Row { received: Some(TIME + 5_100_000), ..row(8, &one, &[("x", I64(2))]) },
            ],
        ),
        ("rows", "rows", vec![row(0, &Arc::new(window), &[("n", I64(60)), ("temp_avg", F64(21.53))])]),
        ("gaps", "gaps", vec![row(0, &Arc::new(gap), &gap_fields)]),
    ]
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

fn sorted(rows: Vec<Row>) -> Vec<Row> {
    let mut rows = rows;
    rows.sort_by_key(|row| row.offset);
    for row in &mut rows {
        row.fields.sort_by(|a, b| a.0.cmp(&b.0));
    }
    rows
}

#[test]
fn each_vector_is_written_byte_for_byte_and_read_back() {
    let write = std::env::var_os("TIDEGATE_WRITE_VECTORS").is_some();
    for (name, stream, rows) in cases() {
        let (golden, bytes) = (file(&format!("{name}.record")), record(stream, &rows));
        if write {
            std::fs::write(&golden, &bytes).unwrap();
        }
        let kept = std::fs::read(&golden).unwrap();
        assert_eq!(bytes, kept, "{name} is written otherwise than it was");
        let (envelope, body) = decode_record(&kept).unwrap();
        let read = sorted(decode_body(&envelope, body).unwrap());
        // The rows of these cases hold no whole floats among others, which may come back as integers, but one.
        if name != "exceptions" {
            assert_eq!(format!("{read:?}"), format!("{:?}", sorted(rows)), "{name}");
        }
    }
}

/// The smallest vector spelled out by hand from the format's definition, so that the files are not merely what the
/// encoder happens to write.
#[test]
fn the_smallest_vector_is_what_the_definition_says() {
    let mut expected = vec![0xD9, 0xD9, 0xF7, 0xAD];
    expected.extend(b"\x61v\x01");
    expected.extend(b"\x67gateway\x67plant-7");
    expected.extend(b"\x66stream\x68readings");
    expected.extend(b"\x64lane\x00");
    expected.extend(b"\x65epoch\x1A\x69\x52\x47\xC0");
    expected.extend(b"\x65first\x00\x64last\x00");
    expected.extend(b"\x64prev\xF6");
    expected.extend(b"\x65count\x01");
    expected.extend(b"\x65clock\x66synced");
    expected.extend(b"\x65codec\x64none");
    let mut body = b"\x81\xA5".to_vec();
    body.extend(b"\x66source\x65plant");
    body.extend(b"\x66device\x62d1");
    body.extend(b"\x66offset\xA1\x61d\x81\x00");
    body.extend(b"\x64time\xA1\x61d\x81\x1B\x00\x06\x47\x5E\xF6\x57\x4F\x35");
    body.extend(b"\x66fields\xA1\x61x\xA1\x61d\x81\x01");
    expected.extend(b"\x64size\x18");
    expected.push(body.len() as u8);
    expected.extend(b"\x64body\x58");
    expected.push(body.len() as u8);
    expected.extend(body);
    let (name, stream, rows) = &cases()[0];
    assert_eq!(*name, "one");
    assert_eq!(hex(&record(stream, rows)), hex(&expected));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X} ")).collect()
}
