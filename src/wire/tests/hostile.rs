//! Bodies that no encoder writes: refused by name, at once, and before much memory is asked for.

use std::sync::Arc;

use tidegate_wire::{
    ClockState, Codec, Envelope, Refusal, Row, Series, Value, decode_body, decode_record, encode_body, fit_body,
};

/// CBOR by hand.
fn head(major: u8, n: u64) -> Vec<u8> {
    [vec![major << 5 | 0x1B], n.to_be_bytes().to_vec()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [head(3, text.len() as u64), text.as_bytes().to_vec()].concat()
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len() as u64), bytes.to_vec()].concat()
}

fn int(n: i64) -> Vec<u8> {
    if n < 0 { head(1, (-1 - n) as u64) } else { head(0, n as u64) }
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

fn ints(ints: &[i64]) -> Vec<u8> {
    array(&ints.iter().copied().map(int).collect::<Vec<_>>())
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [head(5, pairs.len() as u64), pairs.concat()].concat()
}

fn deltas(of: &[i64]) -> Vec<u8> {
    map(&[("d", ints(of))])
}

fn envelope(count: u64, size: usize) -> Envelope {
    Envelope {
        gateway: "g".into(),
        stream: "readings".into(),
        lane: 0,
        epoch: 1,
        first: 0,
        last: count.saturating_sub(1),
        prev: None,
        count,
        clock: ClockState::Synced,
        codec: Codec::None,
        size: size as u64,
    }
}

/// A body of one group of two rows, with one more column or other parts.
fn group(more: &[(&str, Vec<u8>)], fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut parts = vec![("source", text("s")), ("device", text("d"))];
    parts.extend(more.iter().cloned());
    parts.extend([("offset", deltas(&[0, 1])), ("time", deltas(&[0, 1])), ("fields", map(fields))]);
    array(&[map(&parts)])
}

fn read(body: &[u8]) -> Result<Vec<Row>, Refusal> {
    decode_body(&envelope(2, body.len()), body)
}

fn field(column: Vec<u8>) -> Result<Vec<Row>, Refusal> {
    read(&group(&[], &[("x", column)]))
}

#[test]
fn each_lie_of_a_column_is_refused_by_name() {
    use Refusal::{Expected, OutOfRange, Truncated, UnequalColumns, UnknownKey};
    assert!(field(deltas(&[1, 2])).is_ok(), "the frame itself is good");
    let numbers = |more: &[(&str, Vec<u8>)]| map(&[&[("d", ints(&[1, 2]))], more].concat());
    let float = |x: f64| [vec![0xFB], x.to_bits().to_be_bytes().to_vec()].concat();
    let at = |position: u64| [head(5, 1), head(0, position), float(0.5)].concat();
    let twice = [head(5, 2), head(0, 1), float(0.5), head(0, 1), float(0.5)].concat();
    let tagged = |tag: u64, inside: Vec<u8>| [head(6, tag), inside].concat();
    let table = [
        ("more values than rows", deltas(&[1, 2, 3]), UnequalColumns),
        ("fewer", deltas(&[1]), UnequalColumns),
        ("a sum above 2^64-1", map(&[("d", array(&[head(0, u64::MAX), int(1)]))]), OutOfRange),
        ("a sum below -2^63", deltas(&[i64::MIN, -1]), OutOfRange),
        ("a sum that its exponent takes out of range", map(&[("d", ints(&[i64::MAX, 0])), ("e", int(6))]), OutOfRange),
        ("an exponent of 7", numbers(&[("e", int(7))]), Expected("an exponent of -9 to 6")),
        ("an exponent of -10", numbers(&[("e", int(-10))]), Expected("an exponent of -9 to 6")),
        ("an exception behind the end", numbers(&[("x", at(2))]), Expected("a position in the column")),
        ("an exception at 2^64-1", numbers(&[("x", at(u64::MAX))]), Expected("a position in the column")),
        ("an exception twice", numbers(&[("x", twice)]), UnknownKey),
        ("a key twice", numbers(&[("e", int(1)), ("e", int(1))]), UnknownKey),
        ("keys in another order", map(&[("e", int(1)), ("d", ints(&[1, 2]))]), UnknownKey),
        ("no values at all", map(&[]), Refusal::Missing("d, f, b or t")),
        ("a mask with spare bits", map(&[("d", ints(&[1])), ("m", bytes(&[0b101]))]), UnequalColumns),
        ("a mask that is too long", map(&[("d", ints(&[1])), ("m", bytes(&[1, 0]))]), UnequalColumns),
        ("a mask that is too short", map(&[("d", ints(&[1, 1])), ("m", bytes(&[]))]), UnequalColumns),
        ("a mask that hides another number", map(&[("d", ints(&[1])), ("m", bytes(&[0]))]), UnequalColumns),
        ("bools with spare bits", map(&[("b", bytes(&[0b111])), ("n", int(2))]), UnequalColumns),
        ("bools without end", map(&[("b", bytes(&[3])), ("n", head(0, u64::MAX))]), UnequalColumns),
        (
            "an index behind the dictionary",
            map(&[("t", array(&[text("a")])), ("i", ints(&[0, 1]))]),
            Expected("an index of the dictionary"),
        ),
        ("half a float", map(&[("f", tagged(86, bytes(&[0; 12])))]), UnequalColumns),
        ("floats under another tag", map(&[("f", tagged(85, bytes(&[0; 16])))]), Expected("another tag")),
        ("floats under two tags", map(&[("f", tagged(86, tagged(86, bytes(&[0; 16]))))]), Expected("bytes")),
        ("an array of 2^60", map(&[("d", head(4, 1 << 60))]), Truncated),
        ("an array without a length", map(&[("d", vec![0x9F, 1, 2, 0xFF])]), Expected("an array")),
        ("a map in an array", map(&[("d", array(&[map(&[]), map(&[])]))]), Expected("an integer")),
        (
            "a dictionary larger than the record",
            map(&[("t", array(&vec![text(""); 3])), ("i", ints(&[0, 0]))]),
            UnequalColumns,
        ),
    ];
    for (what, column, refusal) in table {
        assert_eq!(field(column), Err(refusal), "{what}");
    }
}

#[test]
fn each_lie_of_a_group_is_refused_by_name() {
    let tags = |names: &[&str]| map(&names.iter().map(|name| (*name, text("v"))).collect::<Vec<_>>());
    assert!(read(&group(&[("tags", tags(&["a", "b"]))], &[])).is_ok());
    for (what, more) in [("twice", tags(&["a", "a"])), ("out of order", tags(&["b", "a"])), ("empty", tags(&[]))] {
        assert_eq!(read(&group(&[("tags", more)], &[])), Err(Refusal::UnknownKey), "tags {what}");
    }
    let two = [("x", deltas(&[1, 2])), ("x", deltas(&[1, 2]))];
    assert_eq!(read(&group(&[], &two)), Err(Refusal::UnknownKey));
    let falling = |offsets: &[i64]| {
        let parts = [("source", text("s")), ("device", text("d")), ("offset", deltas(offsets))];
        array(&[map(&[&parts[..], &[("time", deltas(&[0, 0])), ("fields", map(&[]))]].concat())])
    };
    assert_eq!(read(&falling(&[1, 0])), Err(Refusal::OffsetsNotRising));
    assert_eq!(read(&falling(&[0, -1])), Err(Refusal::OutOfRange));
    assert_eq!(read(&falling(&[0, 1, 1])), Err(Refusal::UnequalColumns), "more rows than `count`");
    assert_eq!(read(&array(&[])), Err(Refusal::Mismatch("count")));
}

#[test]
fn a_small_record_cannot_ask_for_much_memory() {
    // 60 MiB of zeros are 6 KiB of zstd: what they claim to be must not become objects.
    let zeros = |len: usize| [head(4, len as u64), vec![0; len]].concat();
    let bomb = group(&[], &[("x", map(&[("d", zeros(60 << 20))]))]);
    assert_eq!(read(&bomb), Err(Refusal::UnequalColumns));
    // Bools take a bit on the wire and forty bytes as values.
    let rows = 1 << 20;
    let column = map(&[("b", bytes(&vec![0; rows / 8])), ("n", int(rows as i64))]);
    let ones = [head(4, rows as u64), vec![0], vec![1; rows - 1]].concat();
    let parts = [("source", text("s")), ("device", text("d")), ("offset", map(&[("d", ones.clone())]))];
    let names: Vec<_> = (0..20).map(|n| format!("b{n:02}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), column.clone())).collect();
    let body = array(&[map(&[&parts[..], &[("time", map(&[("d", ones)])), ("fields", map(&fields))]].concat())]);
    assert_eq!(decode_body(&envelope(rows as u64, body.len()), &body), Err(Refusal::TooMany));
    let record = tidegate_wire::encode_record(&envelope(5_000_000, 0), &[]);
    assert_eq!(decode_record(&record), Err(Refusal::TooMany));
}

#[test]
fn a_field_of_its_own_in_every_row_does_not_make_a_body_of_their_square() {
    let series = Arc::new(Series { source: "s".into(), device: "d".into(), ..Series::default() });
    let row = |offset: u64| Row {
        offset,
        time: 0,
        received: None,
        series: series.clone(),
        fields: vec![(format!("f{offset}").into(), Value::I64(1))],
    };
    let rows: Vec<_> = (0..20_000).map(row).collect();
    assert_eq!(fit_body(&rows), None);
    assert_eq!(fit_body(&rows[..2_000]).unwrap(), encode_body(&rows[..2_000]));
}

#[test]
fn no_column_has_more_exceptions_than_one_value_in_sixteen() {
    let series = Arc::new(Series { source: "s".into(), device: "d".into(), ..Series::default() });
    // Nine decimals tell the small ones, and take the large ones out of what a float tells exactly.
    let values = (0..15).map(|n| if n % 2 == 0 { 0.000_000_001 } else { 1e10 + 0.5 });
    let row = |(offset, x): (u64, f64)| Row {
        offset,
        time: 0,
        received: None,
        series: series.clone(),
        fields: vec![("x".into(), Value::F64(x))],
    };
    let body = encode_body(&(0..).zip(values).map(row).collect::<Vec<_>>());
    let has = |key: &[u8]| body.windows(key.len()).any(|window| window == key);
    assert!(has(b"\x61f\xD8\x56"), "told as floats: {body:x?}");
}
