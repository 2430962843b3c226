//! InfluxDB line protocol: what its documentation shows, and bad lines among good ones.

use super::*;

fn influx() -> Decoder {
    decoder(&subscription(Format::Influx))
}

fn tags(reading: &Reading) -> String {
    let tags = reading.series.tags.iter().map(|(name, value)| format!("{name}={value}"));
    tags.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_part_of_a_line_has_its_place() {
    let at = Some(Micros(1_465_839_830_100_400));
    let table = [
        (
            "weather,location=us-midwest temp=82 1465839830100400200",
            at,
            "location=us-midwest measurement=weather",
            "temp=82.0",
        ),
        ("weather temp=82,bug=3i,n=7u", None, "measurement=weather", "temp=82.0 bug=3 n=7"),
        (
            "w a=t,b=F,c=true,d=\"x y, \\\"z\\\"\",e=-1.5e3",
            None,
            "measurement=w",
            r#"a=true b=false c=true d="x y, \"z\"" e=-1500.0"#,
        ),
        (
            "w n=18446744073709551615u,m=-9223372036854775808i",
            None,
            "measurement=w",
            "n=18446744073709551615u m=-9223372036854775808",
        ),
        (
            r"wea\,ther,loc\ ation=us\ mid\=west te\,mp=1i",
            None,
            "loc ation=us mid=west measurement=wea,ther",
            "te,mp=1",
        ),
        ("w,b=2,a=1 v=1i\r\n", None, "a=1 b=2 measurement=w", "v=1"),
        ("# a comment\n\nw v=\"two\nlines\"\n", None, "measurement=w", r#"v="two\nlines""#),
        ("w,measurement=own v=1i", None, "measurement=w", "v=1"),
        ("w v=1i -1", Some(Micros(-1)), "measurement=w", "v=1"),
        ("größe,ort=köln wärme=1i", None, "measurement=größe ort=köln", "wärme=1"),
        ("w v=1i,v=2i", None, "measurement=w", "v=2"),
    ];
    for (payload, time, series, fields) in table {
        let reading = influx().one(payload);
        assert_eq!((reading.time, &*tags(&reading), &*shown(&reading)), (time, series, fields), "{payload}");
        assert_eq!(&*reading.series.device, "sensors/a");
    }
}

#[test]
fn the_unit_of_the_time_may_be_told() {
    let mut seconds = subscription(Format::Influx);
    seconds.payload.time_unit = Some(TimeUnit::Seconds);
    assert_eq!(decoder(&seconds).one("w v=1i 1465839830").time, Some(Micros(1_465_839_830_000_000)));
    let rejected = decoder(&seconds).no("w v=1i 1465839830100400200");
    assert_eq!(rejected.reason, Reason::Time);
    assert_eq!(
        rejected.detail,
        "line 1 of 1: 1465839830100400200 is outside the years -9999 to 9999; is time_unit right?"
    );
}

#[test]
fn a_tag_or_a_field_may_name_the_device() {
    let mut named = subscription(Format::Influx);
    named.payload.device_field = Some("host".to_owned());
    let mut decoder = decoder(&named);
    for payload in ["cpu,host=b1,core=0 load=0.5", "cpu,core=0 load=0.5,host=\"b1\""] {
        let reading = decoder.one(payload);
        assert_eq!((&*reading.series.device, &*tags(&reading)), ("b1", "core=0 measurement=cpu"), "{payload}");
        assert_eq!(shown(&reading), "load=0.5");
    }
    assert_eq!(&*decoder.one("cpu load=0.5").series.device, "sensors/a");
}

#[test]
fn the_template_outranks_the_line() {
    let mut subscription = subscription(Format::Influx);
    subscription.topic = Some("sensors/{device}/{site}/{measurement}".to_owned());
    subscription.payload.device_field = Some("host".to_owned());
    let payload = Bytes::from_static(b"cpu,host=x,site=paris,rack=7 load=1i");
    let delivery = decoder(&subscription).decode("sensors/b1/berlin/load", &payload);
    let reading = &delivery.readings[0];
    assert_eq!((&*reading.series.device, &*tags(reading)), ("b1", "measurement=load rack=7 site=berlin"));
}

#[test]
fn series_are_shared_between_lines_and_told_apart_by_every_tag() {
    let mut decoder = influx();
    let delivery = decoder.on("w,a=1 v=1i\nw,a=1 v=2i\nw,a=2 v=3i\nx,a=1 v=4i\nw,a=1,b=1 v=5i\nw,a=11:b1:1 v=6i");
    let series: Vec<_> = delivery.readings.iter().map(|reading| reading.series.clone()).collect();
    assert!(Arc::ptr_eq(&series[0], &series[1]));
    let told: std::collections::HashSet<_> = delivery.readings.iter().map(tags).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(Arc::ptr_eq(&decoder.one("w,a=1 v=9i").series, &series[0]));
}

#[test]
fn a_bad_line_is_rejected_alone_with_its_own_bytes() {
    let payload = Bytes::from_static(
        b"w v=1i\nw\nw v=\nw v=1e999\nw,a=1,a=2 v=1i\nw v=9223372036854775808i\nw v=1i 12x\n# w\n\nw v=9i",
    );
    let delivery = influx().decode("sensors/a", &payload);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["v=1", "v=9"]);
    let rejects: Vec<_> =
        delivery.rejects.iter().map(|r| (r.reason, std::str::from_utf8(&r.payload).unwrap(), &*r.detail)).collect();
    assert_eq!(
        rejects,
        [
            (Reason::Malformed, "w", "line 2 of 8: not line protocol, which is MEASUREMENT,TAG=VALUE FIELD=VALUE TIME"),
            (Reason::Malformed, "w v=", "line 3 of 8: not line protocol: No fields were provided"),
            (Reason::Value, "w v=1e999", r#"line 4 of 8: "v" is inf, not a finite number"#),
            (Reason::Malformed, "w,a=1,a=2 v=1i", r#"line 5 of 8: the tag "a" stands twice"#),
            (
                Reason::Malformed,
                "w v=9223372036854775808i",
                "line 6 of 8: not line protocol: Unable to parse integer value '9223372036854775808'"
            ),
            (
                Reason::Malformed,
                "w v=1i 12x",
                "line 7 of 8: not line protocol: Could not parse entire line. Found trailing content: 'x'"
            ),
        ]
    );
}

#[test]
fn what_holds_no_line_is_rejected_whole() {
    assert_eq!(influx().no("# only a comment\n").reason, Reason::Empty);
    assert_eq!(influx().no("\n \n").reason, Reason::Empty);
    assert_eq!(influx().no(b"w v=1i\nw v=\xff").detail, "not UTF-8 from byte 11 on");
}

#[test]
fn the_limits_hold_and_one_less_passes() {
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|n| format!("f{n}={n}i")).collect();
        format!("w {}", fields.join(","))
    };
    let tags = |count: usize| {
        let tags: String = (0..count).map(|n| format!(",t{n}=x")).collect();
        format!("w{tags} v=1i")
    };
    let lines = |count: usize| "w v=1i\n".repeat(count);
    assert_eq!(influx().one(fields(MAX_FIELDS)).fields.len(), MAX_FIELDS);
    // The measurement is a tag too.
    assert_eq!(influx().one(tags(MAX_TAGS)).series.tags.len(), MAX_TAGS + 1);
    assert_eq!(influx().on(lines(MAX_READINGS)).readings.len(), MAX_READINGS);
    for payload in [
        fields(MAX_FIELDS + 1),
        tags(MAX_TAGS + 1),
        lines(MAX_READINGS + 1),
        format!("{} v=1i", "w".repeat(MAX_NAME_BYTES + 1)),
        format!("w,{}=x v=1i", "t".repeat(MAX_NAME_BYTES + 1)),
        format!("w,t={} v=1i", "x".repeat(MAX_NAME_BYTES + 1)),
        format!("w {}=1i", "f".repeat(MAX_NAME_BYTES + 1)),
    ] {
        let rejected = influx().no(payload);
        assert_eq!(rejected.reason, Reason::Value, "{}", rejected.detail);
        assert!(rejected.detail.len() < 200, "{}", rejected.detail);
    }
    let long = influx().no(format!("w v=1i {}", "x".repeat(100_000)));
    assert!(long.detail.len() < 300, "{}", long.detail);
}

#[test]
fn a_flood_of_tags_is_bounded_and_told_apart() {
    let mut decoder = influx();
    for n in 0..50_000 {
        let reading = decoder.one(format!("w,id={n} v=1i"));
        assert_eq!(tags(&reading), format!("id={n} measurement=w"));
    }
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let seeds: [&[u8]; 3] = [
        b"weather,location=us-midwest temp=82,n=3i,u=4u 1465839830100400200\nw v=\"a b\"",
        br#"wea\,ther,a\ b=c\=d,e=f x="\"\\",y=t -5"#,
        b"# c\nw v=1e5\r\nw v=F",
    ];
    survives(influx, &seeds, b",= \\\"\n#iu-.e");
}
