//! Sparkplug B: whole lives of nodes as two other implementations write them, and what may be wrong with a message.

use std::collections::BTreeMap;

use super::*;

fn sparkplug() -> Decoder {
    let mut subscription = subscription(Format::Sparkplug);
    subscription.filter = "spBv1.0/#".to_owned();
    decoder(&subscription)
}

impl Decoder {
    fn from(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> Delivery {
        self.decode(topic, &Bytes::copy_from_slice(payload.as_ref()))
    }
}

/// Each reading as `device {tags} @time: fields`.
fn told(delivery: &Delivery) -> Vec<String> {
    let told = delivery.readings.iter().map(|reading| {
        let tags: Vec<_> = reading.series.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let time = reading.time.map_or("arrival".to_owned(), |time| time.to_string());
        format!("{} {{{}}} @{time}: {}", reading.series.device, tags.join(" "), shown(reading))
    });
    told.collect()
}

/// A field of a protobuf message: a number.
fn number(field: u8, n: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    let mut rest = n;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A field of a protobuf message: bytes, a text or a message. Fields above 15 take two bytes.
fn part(field: u8, bytes: &[u8]) -> Vec<u8> {
    let length = number(0, bytes.len() as u64)[1..].to_vec();
    let key = if field < 16 { vec![field << 3 | 2] } else { vec![(field & 0x0f) << 3 | 2 | 0x80, field >> 4] };
    [key, length, bytes.to_vec()].concat()
}

fn payload(time: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
    let metrics: Vec<_> = metrics.iter().map(|metric| part(2, metric)).collect();
    [number(1, time), metrics.concat()].concat()
}

/// A metric with a name, and an alias other than 0.
fn named(name: &str, alias: u64, datatype: u64, value: &[u8]) -> Vec<u8> {
    let alias = if alias == 0 { Vec::new() } else { number(2, alias) };
    [part(1, name.as_bytes()), alias, number(4, datatype), value.to_vec()].concat()
}

/// A metric with an alias and an integer.
fn aliased(alias: u64, n: u64) -> Vec<u8> {
    [number(2, alias), number(10, n)].concat()
}

const AT: u64 = 1_767_323_045_678;
const INT32: u64 = 3;

fn lives() -> [(&'static str, &'static str); 2] {
    [
        ("sparkplug-payload", include_str!("../../../tests/golden/sparkplug/javascript.txt")),
        ("pysparkplug", include_str!("../../../tests/golden/sparkplug/python.txt")),
    ]
}

#[test]
fn the_life_of_a_node_is_read_as_others_write_it() {
    for (writer, life) in lives() {
        let mut decoder = sparkplug();
        let mut readings = Vec::new();
        for line in life.lines() {
            let (topic, hex) = line.split_once(' ').unwrap();
            let delivery = decoder.from(topic, bytes(hex));
            assert_eq!(delivery.rejects, [], "{writer} {topic}");
            readings.push((topic.split('/').nth(2).unwrap(), delivery));
        }
        let born = &readings[0].1.readings[0];
        assert_eq!((&*born.series.device, born.time), ("plant/gate", Some(Micros(AT as i64 * 1000))), "{writer}");
        let fields: BTreeMap<_, _> = born.fields.iter().map(|(name, value)| (&**name, value.clone())).collect();
        for (name, value) in [
            ("sparkplug.online", Value::Bool(true)),
            ("bdSeq", Value::I64(7)),
            ("Node Control/Rebirth", Value::Bool(false)),
            ("int8", Value::I64(-5)),
            ("int16", Value::I64(-300)),
            ("int32", Value::I64(-70_000)),
            ("int64", Value::I64(-5_000_000_000)),
            ("uint8", Value::I64(200)),
            ("uint16", Value::I64(60_000)),
            ("uint32", Value::I64(4_000_000_000)),
            ("uint64", Value::I64(9_000_000_000)),
            ("float", Value::F64(1.5)),
            ("double", Value::F64(21.7)),
            ("bool", Value::Bool(true)),
            ("text", Value::Text("größe".into())),
            ("moment", Value::I64(AT as i64)),
            ("uuid", Value::Text("6e8bc430-9c3a-11d9-9669-0800200c9a66".into())),
            ("bytes", Value::Text("AQL9".into())),
        ] {
            assert_eq!(fields.get(name), Some(&value), "{writer} {name}");
        }
        assert_eq!(fields.get("nothing"), None, "{writer}");
        let own: &[(&str, Value)] = match writer {
            "pysparkplug" => &[
                ("int8s.0", Value::I64(-1)),
                ("int16s.0", Value::I64(-300)),
                ("uint32s.0", Value::I64(4_000_000_000)),
                ("int64s.0", Value::I64(-5_000_000_000)),
                ("floats.1", Value::F64(-2.25)),
                ("doubles.0", Value::F64(21.7)),
                ("bools.0", Value::Bool(true)),
                ("bools.1", Value::Bool(false)),
                ("bools.8", Value::Bool(true)),
                ("texts.1", Value::Text("ü".into())),
            ],
            _ => &[
                ("set.0.name", Value::Text("low".into())),
                ("set.1.limit", Value::F64(9.25)),
                ("pump.speed", Value::I64(-12)),
                ("pump.on", Value::Bool(true)),
            ],
        };
        for (name, value) in own {
            assert_eq!(fields.get(name), Some(value), "{writer} {name}");
        }
        let rest = readings[1..]
            .iter()
            .flat_map(|(kind, delivery)| told(delivery).into_iter().map(move |told| format!("{kind} {told}")));
        let rest: Vec<_> = rest.collect();
        assert_eq!(
            rest,
            [
                "NDATA plant/gate {} @2026-01-02T03:04:06.678000Z: int32=-70001 double=21.8",
                "DBIRTH plant/gate/boiler {} @2026-01-02T03:04:05.678000Z: sparkplug.online=true temp=60.5",
                "DDATA plant/gate/boiler {historical=true} @2026-01-02T03:03:05.678000Z: temp=59.5",
                "DDATA plant/gate/boiler {} @2026-01-02T03:04:07.678000Z: temp=61.5",
                "DDEATH plant/gate/boiler {} @2026-01-02T03:04:08.678000Z: sparkplug.online=false",
                "NDEATH plant/gate {} @arrival: sparkplug.online=false bdSeq=7",
            ],
            "{writer}"
        );
    }
}

#[test]
fn an_alias_without_its_birth_is_rejected_alone_and_a_rebirth_is_wanted() {
    let mut decoder = sparkplug();
    let metrics = [named("plain", 0, INT32, &number(10, 1)), aliased(7, 2)];
    let delivery = decoder.from("spBv1.0/g/DDATA/n/d", payload(AT, &metrics));
    assert_eq!(told(&delivery), ["g/n/d {} @2026-01-02T03:04:05.678000Z: plain=1"]);
    let [rejected] = &delivery.rejects[..] else { panic!("{delivery:?}") };
    assert_eq!((rejected.reason, &*rejected.payload), (Reason::NoBirth, &*metrics[1]));
    assert!(rejected.detail.starts_with("alias 7 is of a birth of \"g/n/d\" that was not seen"), "{}", rejected.detail);
    assert_eq!(decoder.take_rebirth().as_deref(), Some("spBv1.0/g/NCMD/n"));
    assert_eq!(decoder.take_rebirth(), None, "it is told once");
    // A node's aliases are not its devices'.
    decoder.from("spBv1.0/g/NBIRTH/n", payload(AT, &[named("a", 7, INT32, &number(10, 1))]));
    assert_eq!(decoder.from("spBv1.0/g/DDATA/n/d", payload(AT, &[aliased(7, 2)])).rejects.len(), 1);
    assert!(decoder.take_rebirth().is_some());
    decoder.from("spBv1.0/g/DBIRTH/n/d", payload(AT, &[named("b", 7, INT32, &number(10, 1))]));
    let delivery = decoder.from("spBv1.0/g/DDATA/n/d", payload(AT, &[aliased(7, 2)]));
    assert_eq!((&*shown(&delivery.readings[0]), decoder.take_rebirth()), ("b=2", None));
}

#[test]
fn a_birth_also_explains_an_integer_without_a_datatype() {
    let mut decoder = sparkplug();
    let bare = [part(1, b"a"), number(10, u64::from((-3_i32).cast_unsigned()))].concat();
    let delivery = decoder.from("spBv1.0/g/NDATA/n", payload(AT, std::slice::from_ref(&bare)));
    assert_eq!((delivery.rejects[0].reason, decoder.take_rebirth().is_some()), (Reason::NoBirth, true));
    decoder.from("spBv1.0/g/NBIRTH/n", payload(AT, &[named("a", 0, INT32, &number(10, 1))]));
    assert_eq!(shown(&decoder.from("spBv1.0/g/NDATA/n", payload(AT, &[bare])).readings[0]), "a=-3");
}

#[test]
fn an_address_is_cut_where_a_letter_shows_it() {
    let node = "n".repeat(10_000);
    let bare = [part(1, b"a"), number(10, 1)].concat();
    for metric in [aliased(7, 2), bare] {
        let delivery = sparkplug().from(&format!("spBv1.0/g/NDATA/{node}"), payload(AT, &[metric]));
        let detail = &delivery.rejects[0].detail;
        assert_eq!(delivery.rejects[0].reason, Reason::NoBirth);
        assert!(
            detail.contains("of \"g/nnn") && detail.contains("n\"… that was not seen") && detail.len() < 300,
            "{detail}"
        );
    }
}

#[test]
fn what_died_or_was_born_again_keeps_no_alias() {
    let mut decoder = sparkplug();
    let birth = |name: &str, alias| {
        payload(AT, &[named("bdSeq", 0, 8, &number(11, 3)), named(name, alias, INT32, &number(10, 1))])
    };
    decoder.from("spBv1.0/g/NBIRTH/n", birth("a", 1));
    decoder.from("spBv1.0/g/DBIRTH/n/d1", birth("b", 2));
    decoder.from("spBv1.0/g/DBIRTH/n/d2", birth("c", 3));
    decoder.from("spBv1.0/g/DDEATH/n/d1", payload(AT, &[]));
    assert_eq!(decoder.from("spBv1.0/g/DDATA/n/d1", payload(AT, &[aliased(2, 5)])).rejects[0].reason, Reason::NoBirth);
    // The will of a life before this one: nobody died of it.
    let late = decoder.from("spBv1.0/g/NDEATH/n", payload(AT, &[named("bdSeq", 0, 8, &number(11, 2))]));
    assert_eq!(told(&late), ["g/n {} @arrival: bdSeq=2"]);
    assert_eq!(shown(&decoder.from("spBv1.0/g/DDATA/n/d2", payload(AT, &[aliased(3, 5)])).readings[0]), "c=5");
    let death = decoder.from("spBv1.0/g/NDEATH/n", payload(AT, &[named("bdSeq", 0, 8, &number(11, 3))]));
    assert_eq!(
        told(&death),
        ["g/n/d2 {} @arrival: sparkplug.online=false", "g/n {} @arrival: sparkplug.online=false bdSeq=3"]
    );
    for topic in ["spBv1.0/g/NDATA/n", "spBv1.0/g/DDATA/n/d2"] {
        assert_eq!(decoder.from(topic, payload(AT, &[aliased(3, 5)])).rejects[0].reason, Reason::NoBirth, "{topic}");
    }
    decoder.from("spBv1.0/g/NBIRTH/n", birth("a", 1));
    decoder.from("spBv1.0/g/NBIRTH/n", birth("z", 9));
    assert_eq!(decoder.from("spBv1.0/g/NDATA/n", payload(AT, &[aliased(1, 5)])).rejects[0].reason, Reason::NoBirth);
}

#[test]
fn commands_and_states_are_told_as_what_they_are() {
    let mut decoder = sparkplug();
    let command = super::super::rebirth(Micros(AT as i64 * 1000));
    assert_eq!(
        told(&decoder.from("spBv1.0/g/NCMD/n", &command)),
        ["g/n {message=NCMD} @2026-01-02T03:04:05.678000Z: Node Control/Rebirth=true"]
    );
    let state = decoder.from("spBv1.0/STATE/host", br#"{"online":true,"timestamp":1767323045678}"#);
    assert_eq!(told(&state), ["spBv1.0/STATE/host {} @arrival: online=true timestamp=1767323045678"]);
}

#[test]
fn the_template_names_devices_also_where_they_die_with_their_node() {
    let mut subscription = subscription(Format::Sparkplug);
    subscription.filter = "spBv1.0/#".to_owned();
    subscription.topic = Some("spBv1.0/{group}/+/{node}/{device}".to_owned());
    let mut decoder = decoder(&subscription);
    let born = decoder.from("spBv1.0/g/DBIRTH/n/d", payload(AT, &[]));
    let death = decoder.from("spBv1.0/g/NDEATH/n", payload(AT, &[]));
    assert_eq!(told(&born), ["d {group=g node=n} @2026-01-02T03:04:05.678000Z: sparkplug.online=true"]);
    assert_eq!(
        told(&death),
        ["d {group=g node=n} @arrival: sparkplug.online=false", "g/n {} @arrival: sparkplug.online=false"]
    );
}

#[test]
fn a_bad_metric_is_rejected_alone_with_its_own_bytes() {
    let good = named("a", 0, INT32, &number(10, 1));
    let float = |n: f32| [vec![12 << 3 | 5], n.to_le_bytes().to_vec()].concat();
    let deep = |levels: usize| {
        let member = |inner: Vec<u8>| part(18, &part(2, &named("t", 0, 19, &inner)));
        let mut value = part(18, &part(2, &good));
        (0..levels).for_each(|_| value = member(std::mem::take(&mut value)));
        named("t", 0, 19, &value)
    };
    let set = |types: &[u64]| {
        let types: Vec<_> = types.iter().flat_map(|datatype| number(3, *datatype)).collect();
        let row = part(4, &[part(1, &number(1, 1)), part(1, &number(1, 2))].concat());
        named("x", 0, 16, &part(17, &[part(2, b"a"), part(2, b"b"), types, row].concat()))
    };
    let nameless = part(2, &[number(4, INT32), number(10, 1)].concat());
    let table = [
        (
            set(&[INT32]),
            Reason::Malformed,
            r#"metric "x": row 0 of a data set has more cells than there are columns with a type"#,
        ),
        (
            named("x", 0, 19, &part(18, &nameless)),
            Reason::Malformed,
            r#"metric "x": a member of a template has a value and no name"#,
        ),
        (named("x", 0, 9, &float(f32::NAN)), Reason::Value, r#"metric "x": "x" is NaN, not a finite number"#),
        (named("x", 0, 1, &number(10, 300)), Reason::Value, r#"metric "x": 300 does not fit 8 bits"#),
        (
            named("x", 0, 12, &number(10, 1)),
            Reason::Malformed,
            r#"metric "x": its value is of another kind than its datatype, 12"#,
        ),
        (named("x", 0, 99, &number(10, 1)), Reason::Value, r#"metric "x": datatype 99 is not supported"#),
        (
            named("x", 0, 24, &part(16, &[1, 2, 3])),
            Reason::Malformed,
            r#"metric "x": an array that is no multiple of 4 bytes"#,
        ),
        (
            named("x", 0, 32, &part(16, &[9, 0, 0, 0, 1])),
            Reason::Malformed,
            r#"metric "x": an array of booleans shorter than it says"#,
        ),
        ([number(3, u64::MAX), good.clone()].concat(), Reason::Time, "18446744073709551615 is outside the years"),
        (number(10, 1), Reason::Malformed, "a metric with neither a name nor an alias"),
        (part(1, b"\xff"), Reason::Malformed, "not Sparkplug B: "),
        (named(&"n".repeat(MAX_NAME_BYTES + 1), 0, INT32, &number(10, 1)), Reason::Value, "metric \"nnn"),
        (deep(40), Reason::Value, r#"metric "t": deeper than 32 levels"#),
        (deep(200), Reason::Malformed, "not Sparkplug B: "),
    ];
    for (bad, reason, detail) in table {
        let payload = Bytes::from(payload(AT, &[good.clone(), bad.clone(), named("b", 0, INT32, &number(10, 2))]));
        let delivery = sparkplug().decode("spBv1.0/g/NDATA/n", &payload);
        assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1 b=2"], "{detail}");
        let [rejected] = &delivery.rejects[..] else { panic!("{delivery:?}") };
        assert_eq!((rejected.reason, &*rejected.payload), (reason, &*bad), "{}", rejected.detail);
        assert!(rejected.detail.starts_with(detail), "{}", rejected.detail);
        assert!(payload.as_ptr_range().contains(&rejected.payload.as_ptr()), "shared, not copied");
    }
    let whole = sparkplug().from("spBv1.0/g/NDATA/n", payload(AT, &[set(&[INT32, INT32])]));
    assert_eq!((&*shown(&whole.readings[0]), whole.rejects.len()), ("x.0.a=1 x.0.b=2", 0));
}

#[test]
fn small_negative_numbers_come_as_wide_as_their_type_or_wider() {
    for (datatype, bits) in [(1, 0xfb), (1, 0xffff_fffb), (2, 0xfffb), (2, 0xffff_fffb), (3, 0xffff_fffb)] {
        let delivery =
            sparkplug().from("spBv1.0/g/NDATA/n", payload(AT, &[named("a", 0, datatype, &number(10, bits))]));
        assert_eq!(shown(&delivery.readings[0]), "a=-5", "{datatype} {bits:x}");
    }
    let long = payload(AT, &[named("a", 0, 4, &number(11, (-5_i64).cast_unsigned()))]);
    assert_eq!(shown(&sparkplug().from("spBv1.0/g/NDATA/n", long).readings[0]), "a=-5");
}

#[test]
fn what_is_no_message_of_sparkplug_is_rejected_whole() {
    let good = payload(AT, &[named("a", 0, INT32, &number(10, 1))]);
    for topic in [
        "sensors/a",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/XDATA/n",
        "spBv1.0/g/DDATA/n/d/e",
        "spBv1.0//NDATA/n",
    ] {
        assert_eq!(sparkplug().from(topic, &good).rejects[0].reason, Reason::Malformed, "{topic}");
    }
    for (bytes, reason) in
        [(&b"\xff\xff"[..], Reason::Malformed), (b"", Reason::Empty), (&number(1, AT), Reason::Empty)]
    {
        let delivery = sparkplug().from("spBv1.0/g/NDATA/n", bytes);
        assert_eq!((delivery.readings.len(), delivery.rejects[0].reason), (0, reason), "{bytes:?}");
    }
    let null = payload(AT, &[[part(1, b"a"), number(7, 1)].concat()]);
    assert_eq!(sparkplug().from("spBv1.0/g/NDATA/n", null).rejects[0].reason, Reason::Empty);
}

#[test]
fn births_are_remembered_within_a_limit_and_forgotten_with_the_dead() {
    let mut decoder = sparkplug();
    let metrics: Vec<_> = (1..=9_000).map(|n| named(&format!("m{n}"), n, INT32, &number(10, 1))).collect();
    let birth = payload(AT, &metrics);
    let mut full = 0;
    for n in 0..8 {
        let delivery = decoder.from(&format!("spBv1.0/g/NBIRTH/n{n}"), &birth);
        assert_eq!(delivery.readings.len(), 10, "a reading is full at 1,000 fields");
        full += delivery.rejects.iter().filter(|r| r.detail.starts_with("not all of this birth is remembered")).count();
    }
    assert_eq!(full, 3, "each takes two places a metric");
    for n in 0..8 {
        decoder.from(&format!("spBv1.0/g/NDEATH/n{n}"), payload(AT, &[]));
    }
    let again = decoder.from("spBv1.0/g/NBIRTH/n9", &birth);
    assert!(again.rejects.iter().all(|r| !r.detail.starts_with("not all of this birth")), "there is room again");
    assert_eq!(shown(&decoder.from("spBv1.0/g/NDATA/n9", payload(AT, &[aliased(8_999, 5)])).readings[0]), "m8999=5");
}

#[test]
fn what_has_a_name_beyond_the_limit_is_not_remembered() {
    let mut decoder = sparkplug();
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let metric = |name: &str| payload(AT, &[named(name, 7, INT32, &number(10, 1))]);
    for (topic, birth) in [
        ("spBv1.0/g/NBIRTH/n".to_owned(), metric(&long)),
        (format!("spBv1.0/g/NBIRTH/{long}"), metric("a")),
        (format!("spBv1.0/g/DBIRTH/n/{long}"), metric("a")),
    ] {
        let delivery = decoder.from(&topic, birth);
        let last = delivery.rejects.last().unwrap();
        assert!(last.detail.starts_with("not all of this birth is remembered"), "{}", last.detail);
        let data = topic.replace("BIRTH", "DATA");
        assert_eq!(decoder.from(&data, payload(AT, &[aliased(7, 2)])).rejects[0].reason, Reason::NoBirth);
    }
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let mut random = fastrand::Rng::with_seed(7);
    for (_, life) in lives() {
        let mut decoder = sparkplug();
        for round in 0..5_000 {
            let (topic, hex) = life.lines().nth(round % 6).unwrap().split_once(' ').unwrap();
            let mut payload = bytes(hex);
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..payload.len());
                match random.u8(..3) {
                    0 => payload[at] = random.u8(..),
                    1 => payload.truncate(at.max(1)),
                    _ => payload.insert(at, random.u8(..)),
                }
            }
            let delivery = decoder.from(topic, &payload);
            assert!(!delivery.readings.is_empty() || !delivery.rejects.is_empty(), "{payload:?}");
            assert!(delivery.readings.iter().all(|reading| !reading.fields.is_empty()));
        }
    }
}
