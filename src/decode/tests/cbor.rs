//! CBOR: the examples of RFC 8949, and what JSON does not have.

use super::*;

fn cbor() -> Decoder {
    decoder(&subscription(Format::Cbor))
}

fn cbor_with(time: &str, device: &str) -> Decoder {
    let mut subscription = subscription(Format::Cbor);
    subscription.payload.time = Some(time.to_owned());
    subscription.payload.device_field = Some(device.to_owned());
    decoder(&subscription)
}

#[test]
fn the_examples_of_the_standard_become_their_fields() {
    // RFC 8949, appendix A.
    let table = [
        ("00", "value=0"),
        ("09", "value=9"),
        ("0a", "value=10"),
        ("20", "value=-1"),
        ("1864", "value=100"),
        ("1b000000e8d4a51000", "value=1000000000000"),
        ("1bffffffffffffffff", "value=18446744073709551615u"),
        ("c249010000000000000000", "value=1.8446744073709552e19"),
        ("3bffffffffffffffff", "value=-1.8446744073709552e19"),
        ("c349010000000000000000", "value=-1.8446744073709552e19"),
        ("3903e7", "value=-1000"),
        ("f98000", "value=-0.0"),
        ("f93c00", "value=1.0"),
        ("fb3ff199999999999a", "value=1.1"),
        ("fa47c35000", "value=100000.0"),
        ("fb7e37e43c8800759c", "value=1e300"),
        ("f90001", "value=5.960464477539063e-8"),
        ("f5", "value=true"),
        ("c074323031332d30332d32315432303a30343a30305a", r#"value="2013-03-21T20:04:00Z""#),
        ("c11a514b67b0", "value=1363896240"),
        ("4401020304", r#"value="AQIDBA""#),
        ("6449455446", r#"value="IETF""#),
        ("62c3bc", r#"value="ü""#),
        ("a201020304", "1=2 3=4"),
        ("a26161016162820203", "a=1 b.0=2 b.1=3"),
        ("a56161614161626142616361436164614461656145", r#"a="A" b="B" c="C" d="D" e="E""#),
        ("5f42010243030405ff", r#"value="AQIDBAU""#),
        ("7f657374726561646d696e67ff", r#"value="streaming""#),
        ("bf61610161629f0203ffff", "a=1 b.0=2 b.1=3"),
        ("bf6346756ef563416d7421ff", "Fun=true Amt=-2"),
        // Section 3.4.4: the decimal fraction 273.15.
        ("c48221196ab3", "value=273.15"),
        ("c4820018ff", "value=255"),
        ("d9d9f7a1617402", "t=2"),
        ("c24107", "value=7"),
        ("a26161f66162a16163f7", "there is no field in it"),
    ];
    for (hex, expected) in table {
        let delivery = cbor().on(bytes(hex));
        match (&*delivery.readings, &*delivery.rejects) {
            ([reading], []) => assert_eq!(shown(reading), expected, "{hex}"),
            ([], [rejected]) => assert_eq!(rejected.detail, expected, "{hex}"),
            _ => panic!("{delivery:?}"),
        }
    }
}

#[test]
fn a_bad_element_is_rejected_alone_with_its_own_bytes() {
    for (head, tail) in [("85", ""), ("9f", "ff"), ("d9d9f785", "")] {
        // {"a": 1}, {"a": NaN}, 7, {}, {"a": 9}
        let payload = Bytes::from(bytes(&format!("{head}a1616101a16161f97e0007a0a1616109{tail}")));
        let delivery = cbor().decode("sensors/a", &payload);
        assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1", "a=9"]);
        let rejects: Vec<_> = delivery.rejects.iter().map(|r| (r.reason, r.payload.to_vec())).collect();
        assert_eq!(
            rejects,
            [(Reason::Value, bytes("a16161f97e00")), (Reason::Malformed, bytes("07")), (Reason::Empty, bytes("a0"))]
        );
        assert_eq!(delivery.rejects[1].detail, "element 3 of 5: an element of an array has to be a map");
    }
}

#[test]
fn what_does_not_parse_is_rejected_whole() {
    let table = [
        ("80", Reason::Empty, "the array is empty"),
        ("9fff", Reason::Empty, "the array is empty"),
        ("f6", Reason::Empty, "there is no field in it"),
        ("a161", Reason::Malformed, "not CBOR: end of input bytes"),
        ("9a00ffffff", Reason::Malformed, "not CBOR: end of input bytes"),
        ("9bffffffffffffffff01", Reason::Malformed, "not CBOR: end of input bytes"),
        ("7bffffffffffffffff61", Reason::Malformed, "not CBOR: end of input bytes"),
        ("a1616101a1", Reason::Malformed, "not CBOR: 1 bytes follow its end"),
        ("8001", Reason::Malformed, "not CBOR: 1 bytes follow its end"),
        ("a16161ff", Reason::Malformed, "not CBOR: unexpected type break at position 3: expected int"),
        ("1c", Reason::Malformed, "not CBOR: unexpected type 0x1c at position 0: expected int"),
        ("61ff", Reason::Malformed, "not CBOR: invalid utf-8 at position 0"),
        ("f97c00", Reason::Value, r#""value" is inf, not a finite number"#),
        ("fb7ff8000000000000", Reason::Value, r#""value" is NaN, not a finite number"#),
        ("a1f501", Reason::Value, "a key is bool; it has to be text or an integer"),
        ("f0", Reason::Value, "simple value 16 has no meaning"),
        ("c5822003", Reason::Value, "a bigfloat (tag 5) is not supported; send a float"),
        ("c25818ffffffffffffffffffffffffffffffffffffffffffffffff", Reason::Value, "a bignum of more than 120 bits"),
        ("c48120", Reason::Malformed, "a decimal fraction (tag 4) is an exponent and a mantissa"),
        ("c4821a7fffffff01", Reason::Value, r#""value" is inf, not a finite number"#),
    ];
    for (hex, reason, detail) in table {
        let rejected = cbor().no(bytes(hex));
        assert_eq!(rejected.reason, reason, "{hex}: {}", rejected.detail);
        assert!(rejected.detail.starts_with(detail), "{hex}: {}", rejected.detail);
        assert_eq!(*rejected.payload, bytes(hex));
    }
    assert_eq!(cbor().no([]).detail, "the payload is empty");
}

#[test]
fn time_and_device_are_taken_out_of_the_fields() {
    let at = Some(Micros(1_363_896_240_500_000));
    let mut decoder = cbor_with("ts", "id");
    for hex in [
        // Epoch time: seconds, whatever its size, and a text.
        "a3627473c1fb41d452d9ec2000006269646162616101",
        "a3627473fb41d452d9ec2000006269646162616101",
        "a3627473c07818323031332d30332d32315432303a30343a30302e3530305a6269646162616101",
    ] {
        let reading = decoder.one(bytes(hex));
        assert_eq!((reading.time, &*reading.series.device, &*shown(&reading)), (at, "b", "a=1"), "{hex}");
    }
    let mut milliseconds = subscription(Format::Cbor);
    milliseconds.payload.time = Some("ts".to_owned());
    milliseconds.payload.time_unit = Some(TimeUnit::Millis);
    let mut milliseconds = super::decoder(&milliseconds);
    let seconds = Some(Micros(1_363_896_240_000_000));
    assert_eq!(milliseconds.one(bytes("a2627473c11a514b67b0616101")).time, seconds, "the tag says what it counts");
    assert_eq!(milliseconds.one(bytes("a26274731b0000013d8e8d0780616101")).time, seconds);
}

#[test]
fn the_limits_hold_and_one_less_passes() {
    let nested = |depth: usize| bytes(&format!("{}01", "a16161".repeat(depth)));
    let indefinite = |depth: usize| bytes(&format!("{}01{}", "bf6161".repeat(depth), "ff".repeat(depth)));
    let fields = |count: usize| {
        let fields: String = (0..count).map(|n| format!("19{n:04x}00")).collect();
        bytes(&format!("b9{count:04x}{fields}"))
    };
    let named = |length: usize| bytes(&format!("a179{length:04x}{}01", "6e".repeat(length)));
    let readings = |count: usize| bytes(&format!("99{count:04x}{}", "a1616101".repeat(count)));

    cbor().one(nested(MAX_DEPTH));
    cbor().one(indefinite(MAX_DEPTH));
    assert_eq!(cbor().one(fields(MAX_FIELDS)).fields.len(), MAX_FIELDS);
    cbor().one(named(MAX_NAME_BYTES));
    assert_eq!(cbor().on(readings(MAX_READINGS)).readings.len(), MAX_READINGS);
    // Tags do not count as depth, and cost no stack.
    cbor().one([vec![0xc1; 100_000], vec![0x01]].concat());

    for (payload, detail) in [
        (nested(MAX_DEPTH + 1), "deeper than 32 levels"),
        (indefinite(100_000), "deeper than 32 levels"),
        (fields(MAX_FIELDS + 1), "more than 1000 fields"),
        (named(MAX_NAME_BYTES + 1), "is longer than 256 bytes"),
        (readings(MAX_READINGS + 1), "more than 10000 readings"),
        ([bytes("81"), nested(100_000)].concat(), "element 1 of 1: deeper than 32 levels"),
    ] {
        let rejected = cbor().no(&payload);
        assert_eq!(rejected.reason, Reason::Value);
        assert!(rejected.detail.contains(detail), "{}", rejected.detail);
    }
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let seeds = [
        "a3627473c1fb41d452d9ec20000062696461626161820102",
        "9fa1616101bf6161f93c00ffa2616120627473c11a514b67b0ff",
        "c48221196ab3",
        "7f657374726561646d696e67ff",
    ]
    .map(bytes);
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    survives(|| cbor_with("ts", "id"), &seeds, &[0x9f, 0xbf, 0xff, 0xc1, 0xc4, 0x81, 0xa1, 0x7f, 0xfb, 0x61]);
}
