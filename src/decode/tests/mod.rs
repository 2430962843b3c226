//! Payloads in, readings or reasons out.

mod cbor;
mod csv;
mod influx;
mod senml;
mod sparkplug;

use super::*;
use crate::config::Subscription;
use crate::reading::{Micros, Value};

fn subscription(format: Format) -> Subscription {
    Subscription {
        filter: "sensors/#".to_owned(),
        topic: None,
        qos: 1,
        retained: true,
        payload: Payload { format, ..Payload::default() },
        drop_repeats: false,
        request_rebirth: false,
    }
}

fn decoder(subscription: &Subscription) -> Decoder {
    build(subscription).unwrap()
}

fn build(Subscription { filter, topic, payload, .. }: &Subscription) -> Result<Decoder, TemplateError> {
    Decoder::new("plant".into(), filter, topic.as_deref(), payload)
}

fn json() -> Decoder {
    decoder(&subscription(Format::Json))
}

/// A decoder that takes time and device from fields of these names.
fn json_with(time: &str, device: &str) -> Decoder {
    let mut subscription = subscription(Format::Json);
    subscription.payload.time = Some(time.to_owned());
    subscription.payload.device_field = Some(device.to_owned());
    decoder(&subscription)
}

impl Decoder {
    fn on(&mut self, payload: impl AsRef<[u8]>) -> Delivery {
        self.decode("sensors/a", &Bytes::copy_from_slice(payload.as_ref()))
    }

    fn one(&mut self, payload: impl AsRef<[u8]>) -> Reading {
        let mut delivery = self.on(&payload);
        let text = String::from_utf8_lossy(payload.as_ref());
        assert_eq!((delivery.readings.len(), &*delivery.rejects), (1, &[][..]), "{text}");
        delivery.readings.remove(0)
    }

    fn no(&mut self, payload: impl AsRef<[u8]>) -> Rejected {
        let mut delivery = self.on(payload);
        assert_eq!((delivery.readings.len(), delivery.rejects.len()), (0, 1), "{delivery:?}");
        delivery.rejects.remove(0)
    }
}

/// Bytes written in hex.
fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.replace(' ', "");
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Fields as `name=value` with the type told by the debug form.
fn shown(reading: &Reading) -> String {
    let fields = reading.fields.iter().map(|(name, value)| match value {
        Value::F64(n) => format!("{name}={n:?}"),
        Value::I64(n) => format!("{name}={n}"),
        Value::U64(n) => format!("{name}={n}u"),
        Value::Bool(b) => format!("{name}={b}"),
        Value::Text(text) => format!("{name}={text:?}"),
    });
    fields.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_shape_of_json_becomes_its_fields() {
    let table = [
        (r#"{"t":21.5,"n":7,"on":true,"state":"idle"}"#, r#"t=21.5 n=7 on=true state="idle""#),
        (r#"{"a":{"b":{"c":1},"d":2},"e":3}"#, "a.b.c=1 a.d=2 e=3"),
        (r#"{"a":[1,[2,3],{"b":4}],"c":[]}"#, "a.0=1 a.1.0=2 a.1.1=3 a.2.b=4"),
        (r#"{"a":null,"b":1,"c":{"d":null},"e":[null,5]}"#, "b=1 e.1=5"),
        ("42", "value=42"),
        (" -4.25 \n", "value=-4.25"),
        ("true", "value=true"),
        (r#""open""#, r#"value="open""#),
        (r#"{"n":9223372036854775807,"m":-9223372036854775808}"#, "n=9223372036854775807 m=-9223372036854775808"),
        (r#"{"n":9223372036854775808,"m":18446744073709551615}"#, "n=9223372036854775808u m=18446744073709551615u"),
        (r#"{"n":18446744073709551616,"m":-9223372036854775809}"#, "n=1.8446744073709552e19 m=-9.223372036854776e18"),
        (r#"{"n":1.0,"m":1e3,"z":-0.0}"#, "n=1.0 m=1000.0 z=-0.0"),
        (r#"{"a":1,"b":2,"a":3}"#, "a=3 b=2"),
        (r#"{"a.b":1,"a":{"b":2}}"#, "a.b=2"),
        (r#"{"gr\u00fc\u00dfe":"\ud83c\udf0a\n"}"#, r#"grüße="🌊\n""#),
        (r#"{"":1,"a":{"":2}}"#, "=1 a.=2"),
    ];
    for (payload, expected) in table {
        assert_eq!(shown(&json().one(payload)), expected, "{payload}");
    }
}

#[test]
fn fractions_are_read_to_the_last_bit() {
    // Each comes out one bit wrong where it is read the quick way, as one in nine of such length does.
    for text in ["22.125814248132162", "24.862965781003666", "19.175040684617006", "51.24817837550540409e0"] {
        let Value::F64(n) = json().one(text).fields[0].1 else { panic!("a float") };
        assert_eq!(n.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}

#[test]
fn an_array_of_objects_is_a_reading_each() {
    let delivery = json().on(r#" [{"a":1}, {"a":2} ,{"b":{"c":3}}] "#);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1", "a=2", "b.c=3"]);
    assert_eq!(delivery.rejects, []);
    assert!(Arc::ptr_eq(&delivery.readings[0].series, &delivery.readings[1].series));
    assert!(Arc::ptr_eq(&delivery.readings[0].fields[0].0, &delivery.readings[1].fields[0].0));
}

#[test]
fn a_bad_element_is_rejected_alone_with_its_own_bytes() {
    let mut decoder = json_with("ts", "id");
    let payload = Bytes::from_static(
        br#"[{"a":1}, {"ts":"yesterday","a":2}, {}, 7, {"a":1e999}, {"a":"\ud800"}, [{"a":1}], {"a":9}]"#,
    );
    let delivery = decoder.decode("sensors/a", &payload);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1", "a=9"]);
    let rejects: Vec<_> =
        delivery.rejects.iter().map(|r| (r.reason, std::str::from_utf8(&r.payload).unwrap())).collect();
    assert_eq!(
        rejects,
        [
            (Reason::Time, r#"{"ts":"yesterday","a":2}"#),
            (Reason::Empty, "{}"),
            (Reason::Malformed, "7"),
            (Reason::Value, r#"{"a":1e999}"#),
            (Reason::Value, r#"{"a":"\ud800"}"#),
            (Reason::Malformed, r#"[{"a":1}]"#),
        ]
    );
    assert_eq!(delivery.rejects[2].detail, "element 4 of 8: an element of an array has to be an object");
    assert_eq!((&*delivery.rejects[0].source, &*delivery.rejects[0].origin), ("plant", "sensors/a"));
    let payload_range = payload.as_ptr_range();
    assert!(delivery.rejects.iter().all(|r| payload_range.contains(&r.payload.as_ptr())), "shared, not copied");
}

#[test]
fn what_does_not_parse_is_rejected_whole_with_its_position() {
    let table: [(&[u8], Reason, &str); 17] = [
        (b"", Reason::Empty, "the payload is empty"),
        (b" \n", Reason::Empty, "the payload is empty"),
        (b"{}", Reason::Empty, "there is no field in it"),
        (b"null", Reason::Empty, "there is no field in it"),
        (b"[ ]", Reason::Empty, "the array is empty"),
        (br#"{"a":null,"b":{},"c":[]}"#, Reason::Empty, "there is no field in it"),
        (b"{", Reason::Malformed, "EOF while parsing an object at line 1 column 1"),
        (br#"{"a":1,}"#, Reason::Malformed, "trailing comma at line 1 column 8"),
        (br#"{"a":1} {"a":2}"#, Reason::Malformed, "trailing characters at line 1 column 9"),
        (br#"{"a":NaN}"#, Reason::Malformed, "expected value at line 1 column 6"),
        (br#"[{"a":1},{"a":}]"#, Reason::Malformed, "expected value at line 1 column 15"),
        (br#"[{"a":1}"#, Reason::Malformed, "EOF while parsing a list at line 1 column 8"),
        (br#"[{"a":1}] x"#, Reason::Malformed, "trailing characters at line 1 column 11"),
        (b"{\"a\":\"\xff\"}", Reason::Malformed, "not UTF-8: invalid utf-8 sequence of 1 bytes from index 6"),
        (b"hello", Reason::Malformed, "expected value at line 1 column 1"),
        (b"1e999", Reason::Value, "number out of range at line 1 column 5"),
        (br#"{"a":-1e999}"#, Reason::Value, "number out of range at line 1 column 11"),
    ];
    for (payload, reason, detail) in table {
        let rejected = json().no(payload);
        let text = String::from_utf8_lossy(payload);
        assert_eq!((rejected.reason, &*rejected.detail), (reason, detail), "{text}");
        assert_eq!(&*rejected.payload, payload, "{text}");
    }
}

#[test]
fn the_limits_hold_and_one_less_passes() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|n| format!(r#""f{n}":{n}"#)).collect();
        format!("{{{}}}", fields.join(","))
    };
    let named = |length: usize| format!(r#"{{"{}":1}}"#, "n".repeat(length));
    let readings = |count: usize| format!("[{}]", vec![r#"{"a":1}"#; count].join(","));

    json().one(nested(MAX_DEPTH));
    assert_eq!(json().one(fields(MAX_FIELDS)).fields.len(), MAX_FIELDS);
    json().one(named(MAX_NAME_BYTES));
    assert_eq!(json().on(readings(MAX_READINGS)).readings.len(), MAX_READINGS);

    for (payload, detail) in [
        (nested(MAX_DEPTH + 1), "deeper than 32 levels"),
        (fields(MAX_FIELDS + 1), "more than 1000 fields"),
        (named(MAX_NAME_BYTES + 1), "is longer than 256 bytes"),
        (readings(MAX_READINGS + 1), "more than 10000 readings"),
        ("[".repeat(100_000), "EOF while parsing"),
    ] {
        let rejected = json().no(&payload);
        let expected = if payload.starts_with("[[") { Reason::Malformed } else { Reason::Value };
        assert_eq!(rejected.reason, expected);
        assert!(rejected.detail.contains(detail), "{}", rejected.detail);
        assert!(rejected.detail.len() < 200, "{}", rejected.detail);
    }
    let deep = format!("[{},{}]", nested(100_000), r#"{"a":1}"#);
    let delivery = json().on(deep);
    assert_eq!((delivery.readings.len(), delivery.rejects[0].reason), (1, Reason::Value));
}

#[test]
fn time_and_device_are_taken_out_of_the_fields() {
    let at = Some(Micros(1_767_323_045_678_000));
    let table = [
        (r#"{"ts":1767323045678,"id":"boiler","a":1}"#, at, "boiler", "a=1"),
        (r#"{"ts":"2026-01-02T03:04:05.678Z","id":17,"a":1}"#, at, "17", "a=1"),
        (r#"{"ts":1767323045.678,"id":18446744073709551615,"a":1}"#, at, "18446744073709551615", "a=1"),
        (r#"{"id":1.5,"a":1}"#, None, "1.5", "a=1"),
        (r#"{"id":" x ","ts":null,"a":1}"#, None, " x ", "a=1"),
        (r#"{"id":"","a":1}"#, None, "sensors/a", "a=1"),
        (r#"{"id":null,"a":1}"#, None, "sensors/a", "a=1"),
        (r#"{"id":true,"a":1}"#, None, "sensors/a", "id=true a=1"),
        (r#"{"id":{"x":2},"a":1}"#, None, "sensors/a", "id.x=2 a=1"),
        (r#"{"ts":0,"id":"x","a":1,"ts":1767323045678,"id":"y"}"#, at, "y", "a=1"),
        (r#"{"ts":"yesterday","a":1,"ts":1767323045678}"#, at, "sensors/a", "a=1"),
    ];
    // One decoder for all: nothing of a reading may show in the next.
    let mut decoder = json_with("ts", "id");
    for (payload, time, device, fields) in table {
        let reading = decoder.one(payload);
        let told = (reading.time, &*reading.series.device, &*shown(&reading));
        assert_eq!(told, (time, device, fields), "{payload}");
        assert_eq!(&*reading.series.source, "plant");
    }
    let nested = json_with("meta.at", "meta.ids.0").one(r#"{"meta":{"at":1767323045678,"ids":["b",2]},"a":1}"#);
    assert_eq!((nested.time, &*nested.series.device, &*shown(&nested)), (at, "b", "meta.ids.1=2 a=1"));
}

#[test]
fn a_time_that_cannot_be_read_is_named() {
    let mut decoder = json_with("ts", "id");
    for payload in
        [r#"{"ts":"soon","a":1}"#, r#"{"ts":true,"a":1}"#, r#"{"ts":1e300,"a":1}"#, r#"{"ts":0,"ts":"","a":1}"#]
    {
        assert_eq!(decoder.no(payload).reason, Reason::Time, "{payload}");
    }
    assert_eq!(
        decoder.no(r#"{"ts":"soon","a":1}"#).detail,
        r#"field "ts": "soon" is not a time; send RFC 3339, or a number of s, ms, µs or ns since 1970"#
    );
    assert_eq!(decoder.no(r#"{"ts":0,"id":"x"}"#).reason, Reason::Empty);
}

#[test]
fn the_template_outranks_the_payload_which_outranks_the_topic() {
    let mut subscription = subscription(Format::Json);
    subscription.topic = Some("sensors/{device}/{site}/{area}".to_owned());
    subscription.payload.device_field = Some("id".to_owned());
    let mut decoder = decoder(&subscription);
    let table = [
        ("sensors/b1/berlin/hall", r#"{"id":"x","a":1}"#, "b1", "area=hall site=berlin"),
        ("sensors//berlin/hall", r#"{"id":"x","a":1}"#, "x", "area=hall site=berlin"),
        ("sensors//berlin/hall", r#"{"a":1}"#, "sensors//berlin/hall", "area=hall site=berlin"),
        ("sensors/b1", r#"{"id":"x","a":1}"#, "x", ""),
        ("sensors/b1", r#"{"a":1}"#, "sensors/b1", ""),
    ];
    for (topic, payload, device, tags) in table {
        let delivery = decoder.decode(topic, &Bytes::from_static(payload.as_bytes()));
        let series = &delivery.readings[0].series;
        let told: Vec<_> = series.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((&*series.device, &*told.join(" ")), (device, tags), "{topic} {payload}");
        assert_eq!(shown(&delivery.readings[0]), "a=1");
        assert_eq!(series.window, None);
    }
}

#[test]
fn at_a_port_the_payload_names_the_device_then_the_other_end_then_the_configuration_then_the_source() {
    let mut payload = subscription(Format::Json).payload;
    payload.device_field = Some("id".to_owned());
    let device = |decoder: &mut Decoder, payload: &'static str| {
        let delivery = decoder.decode("/dev/ttyUSB0", &Bytes::from_static(payload.as_bytes()));
        let series = delivery.readings[0].series.clone();
        assert_eq!((&*series.source, &*series.tags), ("boiler", &[][..]));
        series.device.to_string()
    };
    let mut unnamed = Decoder::for_port("boiler".into(), None, &payload);
    assert_eq!(device(&mut unnamed, r#"{"a":1}"#), "boiler");
    let mut decoder = Decoder::for_port("boiler".into(), Some("boiler-1"), &payload);
    assert_eq!(device(&mut decoder, r#"{"a":1}"#), "boiler-1");
    assert_eq!(device(&mut decoder, r#"{"a":1,"id":"x"}"#), "x");
    decoder.set_device("b7");
    assert_eq!(device(&mut decoder, r#"{"a":1}"#), "b7");
    assert_eq!(device(&mut decoder, r#"{"a":1,"id":"x"}"#), "x");
    decoder.set_device("");
    assert_eq!(device(&mut decoder, r#"{"a":1}"#), "b7", "an empty name names nobody");
    assert!(!decoder.matches("/dev/ttyUSB0"), "a port has no topics");
    let rejected = decoder.decode("/dev/ttyUSB0", &Bytes::from_static(b"{")).rejects.remove(0);
    assert_eq!((&*rejected.source, &*rejected.origin), ("boiler", "/dev/ttyUSB0"));
}

#[test]
fn raw_is_a_number_or_a_text() {
    let table: [(&str, &str); 13] = [
        ("21.5", "value=21.5"),
        (" 7\r\n", "value=7"),
        ("-7", "value=-7"),
        ("18446744073709551615", "value=18446744073709551615u"),
        ("18446744073709551616", "value=1.8446744073709552e19"),
        ("1e3", "value=1000.0"),
        ("true", r#"value="true""#),
        ("open\n", r#"value="open\n""#),
        ("nan", r#"value="nan""#),
        ("-inf", r#"value="-inf""#),
        ("0x1f", r#"value="0x1f""#),
        ("21.5 C", r#"value="21.5 C""#),
        (r#"{"a":1}"#, r#"value="{\"a\":1}""#),
    ];
    let mut decoder = decoder(&subscription(Format::Raw));
    for (payload, expected) in table {
        assert_eq!(shown(&decoder.one(payload)), expected, "{payload}");
    }
    let rejects: [(&[u8], Reason); 4] =
        [(b"", Reason::Empty), (b" \n", Reason::Empty), (b"ab\xff", Reason::Malformed), (b"1e999", Reason::Value)];
    for (payload, reason) in rejects {
        assert_eq!(decoder.no(payload).reason, reason);
    }
    assert_eq!(decoder.no(b"ab\xff").detail, "not UTF-8 from byte 2 on; raw takes a number or a text");
}

#[test]
fn a_template_that_no_topic_of_the_filter_fits_is_refused() {
    let mut wrong = subscription(Format::Json);
    wrong.topic = Some("plant/{device}".to_owned());
    let error = build(&wrong).err().unwrap();
    assert_eq!(error, TemplateError::Never { filter: "sensors/#".into(), template: "plant/{device}".into() });
    wrong.filter = "$share/edge/plant/+".to_owned();
    let decoder = decoder(&wrong);
    assert!(decoder.matches("plant/b1") && !decoder.matches("sensors/b1"));
}

#[test]
fn a_delivery_weighs_more_than_its_payload_and_grows_with_its_readings() {
    let few = json().on(r#"[{"a":1}]"#).weight;
    let many = json().on(format!("[{}]", vec![r#"{"a":1}"#; 100].join(","))).weight;
    assert!(few > 9 && many > 50 * few, "{few} {many}");
    assert!(json().on("{").weight > size_of::<Rejected>());
}

/// Whatever becomes of these payloads, the decoder does not panic, lose one without a word, or leak one reading into
/// the next.
fn survives(fresh: impl Fn() -> Decoder, seeds: &[&[u8]], inserted: &[u8]) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut decoder = fresh();
    for round in 0..20_000 {
        let mut payload = seeds[round % seeds.len()].to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..payload.len());
            match random.u8(..4) {
                0 => payload[at] = random.u8(..),
                1 => payload.truncate(at.max(1)),
                2 => payload.insert(at, *random.choice(inserted).unwrap()),
                _ => payload.extend_from_within(at..),
            }
        }
        let fresh = fresh().on(&payload);
        let used = decoder.on(&payload);
        assert!(!used.readings.is_empty() || !used.rejects.is_empty(), "{payload:?}");
        assert_eq!((&used.readings, &used.rejects), (&fresh.readings, &fresh.rejects), "{payload:?}");
        assert!(used.readings.iter().all(|reading| !reading.fields.is_empty()));
    }
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let seeds: [&[u8]; 4] = [
        br#"{"ts":1767323045678,"id":"b","a":{"b":[1,2.5,null,true,"x\u00e9"]}}"#,
        br#"[{"a":1},{"a":-2e5,"ts":"2026-01-02T03:04:05Z"},{"id":7,"a":"\ud83c\udf0a"}]"#,
        b"-12.5e3",
        b"[[[[{}]]]]",
    ];
    survives(|| json_with("ts", "id"), &seeds, b"{}[]\",:0e-\\");
}
