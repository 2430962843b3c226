//! SenML: the examples of RFC 8428, in JSON and in CBOR, and what may be wrong with a pack.

use super::*;

const NOW: i64 = 1_767_323_045_678_901;

fn json() -> Decoder {
    decoder(&subscription(Format::SenmlJson))
}

fn cbor() -> Decoder {
    decoder(&subscription(Format::SenmlCbor))
}

impl Decoder {
    fn now(&mut self, payload: impl AsRef<[u8]>) -> Delivery {
        self.decode_at("sensors/a", &Bytes::copy_from_slice(payload.as_ref()), Some(Micros(NOW)))
    }
}

/// Each reading as `device @time: fields`.
fn told(delivery: &Delivery) -> Vec<String> {
    assert_eq!(delivery.rejects, []);
    let told = delivery.readings.iter().map(|reading| {
        let time = reading.time.map_or("arrival".to_owned(), |time| time.to_string());
        format!("{} @{time}: {}", reading.series.device, shown(reading))
    });
    told.collect()
}

fn rejects(delivery: &Delivery) -> Vec<(Reason, &str, &str)> {
    let text = |r| std::str::from_utf8(r).unwrap();
    delivery.rejects.iter().map(|r| (r.reason, text(&r.payload), &*r.detail)).collect()
}

#[test]
fn the_examples_of_the_standard_are_resolved() {
    // RFC 8428, sections 5.1.1 to 5.1.7.
    let table: [(&str, &[&str]); 8] = [
        (
            r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#,
            &["urn:dev:ow:10e2073a01080063 @arrival: Cel=23.1"],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
                {"n":"current","u":"A","v":1.2}]"#,
            &[r#"urn:dev:ow:10e2073a01080063 @arrival: voltage=120.1 voltage.unit="V" current=1.2 current.unit="A""#],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
                 "n":"voltage","u":"V","v":120.1},
                {"n":"current","t":-5,"v":1.2},
                {"n":"current","t":-4,"v":1.3},
                {"n":"current","v":1.7}]"#,
            &[
                r#"urn:dev:ow:10e2073a0108006 @2010-06-08T18:01:16.001000Z: voltage=120.1 voltage.unit="V" current=1.7 current.unit="A""#,
                r#"urn:dev:ow:10e2073a0108006 @2010-06-08T18:01:11.001000Z: current=1.2 current.unit="A""#,
                r#"urn:dev:ow:10e2073a0108006 @2010-06-08T18:01:12.001000Z: current=1.3 current.unit="A""#,
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
                {"u":"lon","v":24.30621},{"u":"lat","v":60.07965},
                {"t":60,"v":20.3},{"u":"lon","t":60,"v":24.30622},{"u":"lat","t":60,"v":60.07965},
                {"u":"%EL","t":150,"v":98}]"#,
            &[
                "urn:dev:ow:10e2073a01080063 @2011-10-31T13:24:24.000000Z: %RH=20 lon=24.30621 lat=60.07965",
                "urn:dev:ow:10e2073a01080063 @2011-10-31T13:25:24.000000Z: %RH=20.3 lon=24.30622 lat=60.07965",
                "urn:dev:ow:10e2073a01080063 @2011-10-31T13:26:54.000000Z: %EL=98",
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
                {"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#,
            &[
                r#"urn:dev:ow:10e2073a01080063 @arrival: temp=23.1 temp.unit="Cel" label="Machine Room" open=false nfc-reader="aGkgCg""#,
            ],
        ),
        (
            r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
                {"n":"humidity","u":"%RH","v":30},
                {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
                {"n":"humidity","u":"%RH","v":67}]"#,
            &[
                r#"2001:db8::2 @2011-10-31T16:27:09.000000Z: temperature=25.2 temperature.unit="Cel" humidity=30 humidity.unit="%RH""#,
                r#"2001:db8::1 @2011-10-31T16:27:09.000000Z: temperature=12.3 temperature.unit="Cel" humidity=67 humidity.unit="%RH""#,
            ],
        ),
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:"},{"n":"temp","u":"Cel","v":23.1},{"n":"heat","u":"/","v":1}]"#,
            &[r#"urn:dev:ow:10e2073a01080063 @arrival: temp=23.1 temp.unit="Cel" heat=1 heat.unit="/""#],
        ),
        (
            r#"[{"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},{"n":"2001:db8::4","v":0.5},
                {"n":"2001:db8::3","t":0.1,"v":0}]"#,
            &[
                "2001:db8::3 @2011-10-31T16:27:09.000000Z: /=0.5",
                "2001:db8::4 @2011-10-31T16:27:09.000000Z: /=0.5",
                "2001:db8::3 @2011-10-31T16:27:09.100000Z: /=0",
            ],
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(told(&json().on(payload)), expected, "{payload}");
    }
}

#[test]
fn the_example_in_cbor_says_the_same_as_the_one_in_json() {
    // RFC 8428, section 6, by the working group's own generator.
    let payload = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f\
                   6c74616765016156 02fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e\
                   74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e\
                   00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";
    let delivery = cbor().on(bytes(payload));
    let said = json().on(r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
             "n":"voltage","u":"V","v":120.1},
            {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
            {"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]"#);
    assert_eq!(told(&delivery), told(&said));
    assert_eq!(delivery.readings.len(), 6);
}

#[test]
fn cbor_has_data_decimal_fractions_and_labels_in_words() {
    // {"n": "t", 2: 273.15 as a decimal fraction}, {0: "d", 8: h'68690a'}, {0: "on", 4: true, 3: null}
    let delivery = cbor().on(bytes("83a2616e617402c48221196ab3a20061640843 68690aa300626f6e04f503f6"));
    assert_eq!(told(&delivery), [r#"sensors/a @arrival: t=273.15 d="aGkK" on=true"#]);
    let delivery = cbor().on(bytes("82a200616102f97e00a20061620201"));
    assert_eq!((delivery.readings.len(), delivery.rejects.len()), (1, 1));
    assert_eq!(*delivery.rejects[0].payload, bytes("a2006161 02f97e00"));
    assert_eq!(delivery.rejects[0].detail, r#"record 1 of 2: label "v": NaN is not a finite number"#);
}

#[test]
fn bases_are_added_and_integers_stay_integers() {
    let table = [
        (r#"[{"bv":20,"n":"a","v":1},{"n":"b","v":-1},{"n":"c","v":0.5}]"#, "a=21 b=19 c=20.5"),
        (
            r#"[{"bv":18446744073709551615,"n":"a","v":0},{"n":"b","v":1}]"#,
            "a=18446744073709551615u b=1.8446744073709552e19",
        ),
        (r#"[{"bs":100,"n":"e","u":"J","v":7,"s":5}]"#, r#"e=7 e.sum=105 e.unit="J""#),
        (r#"[{"n":"e","s":5.5,"ut":60}]"#, "e.sum=5.5 e.update_time=60"),
        (r#"[{"bv":20,"n":"a","vs":"x"},{"n":"b","vb":true}]"#, r#"a="x" b=true"#),
        (r#"[{"v":3}]"#, "value=3"),
        (r#"{"n":"alone","v":3}"#, "alone=3"),
        (r#"[{"n":"a","v":1,"unheard-of":{"x":[1]}}]"#, "a=1"),
        (r#"[{"n":"a","v":1,"u":null}]"#, "a=1"),
        (r#"[{"n":"\u0061","v":1}]"#, "a=1"),
    ];
    for (payload, expected) in table {
        assert_eq!(shown(&json().one(payload)), expected, "{payload}");
    }
}

#[test]
fn times_below_2_to_the_28_count_from_the_arrival() {
    let arrived = |micros: i64| Some(Micros(NOW + micros));
    let table = [
        (r#"[{"n":"a","t":0,"v":1}]"#, None),
        (r#"[{"n":"a","t":-5,"v":1}]"#, arrived(-5_000_000)),
        (r#"[{"bt":-10,"n":"a","t":0.25,"v":1}]"#, arrived(-9_750_000)),
        (r#"[{"n":"a","t":20,"v":1}]"#, arrived(20_000_000)),
        (r#"[{"n":"a","t":268435455,"v":1}]"#, arrived(268_435_455_000_000)),
        (r#"[{"n":"a","t":268435456,"v":1}]"#, Some(Micros(268_435_456_000_000))),
        (r#"[{"bt":1767323045,"n":"a","t":-5,"v":1}]"#, Some(Micros(1_767_323_040_000_000))),
    ];
    for (payload, time) in table {
        assert_eq!(json().now(payload).readings[0].time, time, "{payload}");
    }
    let delivery = json().on(r#"[{"n":"a","t":-5,"v":1},{"n":"b","v":2}]"#);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["b=2"]);
    let why = "record 1 of 2: its time counts from its arrival, and the gateway's clock is not set yet";
    assert_eq!(rejects(&delivery), [(Reason::Time, r#"{"n":"a","t":-5,"v":1}"#, why)]);
    let beyond = json().no(r#"[{"bt":2e11,"n":"a","t":2e11,"v":1}]"#);
    assert_eq!(
        (beyond.reason, &*beyond.detail),
        (Reason::Time, "record 1 of 1: its time is outside the years -9999 to 9999")
    );
}

#[test]
fn the_template_outranks_the_name() {
    let mut subscription = subscription(Format::SenmlJson);
    subscription.topic = Some("sensors/{device}".to_owned());
    let reading = decoder(&subscription).one(r#"[{"n":"boiler:temp","v":1}]"#);
    assert_eq!((&*reading.series.device, &*shown(&reading)), ("a", "temp=1"));
    // They still are two devices, and their values two readings.
    let delivery = decoder(&subscription).on(r#"[{"n":"b1:temp","v":1},{"n":"b2:temp","v":2}]"#);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["temp=1", "temp=2"]);
}

#[test]
fn a_name_that_comes_again_begins_another_reading() {
    let delivery = json().on(r#"[{"n":"a","v":1},{"n":"b","v":2},{"n":"a","v":3},{"n":"b","v":4}]"#);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1 b=2", "a=3 b=4"]);
}

#[test]
fn a_bad_record_is_rejected_alone() {
    let delivery = json().on(
        r#"[{"n":"a","v":1},{"n":"b","v":"x"},{"n":"c","v":1,"vs":"x"},{"n":"d"},{},7,{"n":"e","v":1e999},{"n":"f","v":1,"must_":1},{"n":7,"v":1},{"n":"g","vb":1},{"n":"h","v":[1]},{"n":"z","v":9}]"#,
    );
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1 z=9"]);
    assert_eq!(
        rejects(&delivery),
        [
            (Reason::Malformed, r#"{"n":"b","v":"x"}"#, r#"record 2 of 12: label "v": not a number"#),
            (
                Reason::Malformed,
                r#"{"n":"c","v":1,"vs":"x"}"#,
                r#"record 3 of 12: label "vs": a second value; a record holds one"#
            ),
            (Reason::Empty, r#"{"n":"d"}"#, "record 4 of 12: there is no value in it"),
            (Reason::Empty, "{}", "record 5 of 12: there is no value in it"),
            (Reason::Malformed, "7", "record 6 of 12: a record has to be an object"),
            (
                Reason::Value,
                r#"{"n":"e","v":1e999}"#,
                r#"record 7 of 12: label "v": number out of range at line 1 column 5"#
            ),
            (
                Reason::Malformed,
                r#"{"n":"f","v":1,"must_":1}"#,
                r#"record 8 of 12: label "must_": has to be understood, and is not known here"#
            ),
            (Reason::Malformed, r#"{"n":7,"v":1}"#, r#"record 9 of 12: label "n": not a text"#),
            (Reason::Malformed, r#"{"n":"g","vb":1}"#, r#"record 10 of 12: label "vb": not a bool"#),
            (Reason::Malformed, r#"{"n":"h","v":[1]}"#, r#"record 11 of 12: label "v": not a number"#),
        ]
    );
}

#[test]
fn what_is_said_of_a_bad_record_is_a_sentence_however_long_its_words_are() {
    let long = "x".repeat(5_000);
    for record in [format!(r#"{{"n":"a","v":1,"{long}_":1}}"#), format!("\"{long}\"")] {
        for payload in [record.clone(), format!("[{record}]")] {
            let rejected = json().no(payload);
            assert!(rejected.detail.len() < 200, "{}", rejected.detail);
        }
    }
    // {"x…_": 1}, a label of 5,000 bytes.
    let record = [&bytes("a1791388")[..], &long.as_bytes()[1..], b"_\x01"].concat();
    assert!(cbor().no(record).detail.len() < 200);
}

#[test]
fn where_a_base_cannot_be_read_what_follows_is_rejected_too() {
    let behind = "it follows a record whose base fields could not be read";
    for (bad, reason, why) in [
        (r#"{"bn":7,"n":"b","v":1}"#, Reason::Malformed, r#"label "bn": not a text"#),
        (r#"{"bt":"x"}"#, Reason::Malformed, r#"label "bt": not a number"#),
        (r#"{"bv":1e999}"#, Reason::Value, r#"label "bv": number out of range at line 1 column 5"#),
        (r#"{"bver":11,"n":"b","v":1}"#, Reason::Value, r#"label "bver": version 11, and this program knows 10"#),
        (
            r#"{"bnew_":1,"n":"b","v":1}"#,
            Reason::Malformed,
            r#"label "bnew_": has to be understood, and is not known here"#,
        ),
    ] {
        let delivery = json().on(format!(r#"[{{"n":"a","v":1}},{bad},{{"n":"c","v":3}}]"#));
        assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1"]);
        let [first, second] = &rejects(&delivery)[..] else { panic!("{delivery:?}") };
        assert_eq!(*first, (reason, bad, &*format!("record 2 of 3: {why}")));
        assert_eq!(*second, (Reason::Malformed, r#"{"n":"c","v":3}"#, &*format!("record 3 of 3: {behind}")));
    }
    // Bases of a record that is bad otherwise hold.
    let delivery = json().on(r#"[{"bn":"b1:","n":"a","v":"x"},{"n":"c","v":3}]"#);
    assert_eq!((&*delivery.readings[0].series.device, delivery.rejects.len()), ("b1", 1));
}

#[test]
fn a_pack_without_a_value_is_empty_and_what_does_not_parse_is_rejected_whole() {
    for payload in ["[]", r#"[{"bn":"b1:"}]"#, "{}", ""] {
        assert_eq!(json().no(payload).reason, Reason::Empty, "{payload}");
    }
    for payload in ["[", r#"[{"n":"a","v":1},{"n":}]"#, "7", "[7]", "null"] {
        assert_eq!(json().no(payload).reason, Reason::Malformed, "{payload}");
    }
    for hex in ["", "80", "a0", "81a121616e"] {
        assert_eq!(cbor().no(bytes(hex)).reason, Reason::Empty, "{hex}");
    }
    for hex in ["81", "07", "8107", "a1"] {
        assert_eq!(cbor().no(bytes(hex)).reason, Reason::Malformed, "{hex}");
    }
}

#[test]
fn the_limits_hold() {
    let record = |name: &str| format!(r#"{{"n":"{name}","v":1}}"#);
    let pack = |count: usize| {
        let records: Vec<_> = (0..count).map(|n| record(&format!("f{n}"))).collect();
        format!("[{}]", records.join(","))
    };
    let delivery = json().on(pack(MAX_FIELDS + 1));
    let fields: Vec<_> = delivery.readings.iter().map(|reading| reading.fields.len()).collect();
    assert_eq!((fields, delivery.rejects.len()), (vec![MAX_FIELDS, 1], 0), "a full reading is followed by another");
    assert_eq!(json().no(pack(MAX_READINGS + 1)).reason, Reason::Value);
    assert_eq!(json().one(format!("[{}]", record(&"n".repeat(MAX_NAME_BYTES)))).fields.len(), 1);
    assert_eq!(json().no(format!("[{}]", record(&"n".repeat(MAX_NAME_BYTES + 1)))).reason, Reason::Value);
    let same = format!("[{}]", vec![record("a"); MAX_READINGS].join(","));
    assert_eq!(json().on(same).readings.len(), MAX_READINGS);
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let seeds: [&[u8]; 2] = [
        br#"[{"bn":"urn:dev:ow:10e2:","bt":1.276020076001e+09,"bver":5,"n":"voltage","u":"V","v":120.1},{"n":"c","t":-5,"vs":"x"}]"#,
        br#"{"n":"a","v":1,"s":2.5,"ut":60}"#,
    ];
    survives(json, &seeds, b"{}[]\",:0e-\\b");
    let seeds = [
        "82a321646465763a22fb41d303a15b00106202fb405e066666666666a20061 640843 68690a",
        "83a2616e617402c48221196ab3a2006164084368690aa300626f6e04f503f6",
    ]
    .map(bytes);
    survives(cbor, &seeds.each_ref().map(Vec::as_slice), &[0x9f, 0xbf, 0xff, 0x20, 0x21, 0x02, 0x06, 0xa2, 0x61, 0xc4]);
}

#[test]
fn names_and_units_are_no_longer_than_a_fields_name_may_be() {
    let long = "u".repeat(MAX_NAME_BYTES + 1);
    for label in ["bn", "bu", "n", "u"] {
        let (delivery, value) =
            (json().now(format!(r#"[{{"{label}":"{long}","v":1}},{{"n":"a","v":2}}]"#)), Reason::Value);
        assert_eq!(delivery.rejects[0].reason, value, "{label}");
        // Without its bases nobody knows what follows.
        assert_eq!(delivery.readings.len(), usize::from(!label.starts_with('b')), "{label}");
    }
    let records = r#",{"n":"a","v":1}"#.repeat(1_000);
    let unit = "u".repeat(MAX_NAME_BYTES);
    let delivery = json().now(format!(r#"[{{"bu":"{unit}"}}{records}]"#));
    let held: usize = delivery
        .readings
        .iter()
        .flat_map(|reading| &reading.fields)
        .map(|(_, value)| match value {
            Value::Text(text) => text.len(),
            _ => 0,
        })
        .sum();
    assert!(held >= 1_000 * MAX_NAME_BYTES && delivery.weight >= held, "{held} bytes weigh {}", delivery.weight);
}
