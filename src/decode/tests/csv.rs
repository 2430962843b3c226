//! CSV: cells, headers, and bad lines among good ones.

use super::*;

fn csv(columns: &[&str]) -> Decoder {
    let mut subscription = subscription(Format::Csv);
    subscription.payload.columns = columns.iter().map(|&column| column.to_owned()).collect();
    subscription.payload.time = Some("ts".to_owned());
    subscription.payload.device_field = Some("id".to_owned());
    decoder(&subscription)
}

#[test]
fn each_cell_becomes_its_field() {
    let table = [
        ("21.5,7,idle", r#"a=21.5 b=7 c="idle""#),
        ("21.5,7,idle\r\n", r#"a=21.5 b=7 c="idle""#),
        ("-3,18446744073709551615,1e3", "a=-3 b=18446744073709551615u c=1000.0"),
        (" 1 , 2.50,\t3", "a=1 b=2.5 c=3"),
        ("true,false, True", r#"a=true b=false c=" True""#),
        (",,5", "c=5"),
        (r#""",2,"#, "b=2"),
        (
            r#""x, y","say ""hi""","two
lines""#,
            r#"a="x, y" b="say \"hi\"" c="two\nlines""#,
        ),
        (r#""1","2",nan"#, r#"a=1 b=2 c="nan""#),
    ];
    for (payload, expected) in table {
        assert_eq!(shown(&csv(&["a", "b", "c"]).one(payload)), expected, "{payload}");
    }
    assert_eq!(shown(&csv(&["a", "", "c"]).one("1,2,3")), "a=1 c=3", "a column without a name is not read");
    assert_eq!(shown(&csv(&["größe"]).one("ü")), r#"größe="ü""#);
}

#[test]
fn time_and_device_are_taken_out_of_the_fields() {
    let mut decoder = csv(&["ts", "id", "a"]);
    let reading = decoder.one("1767323045678,boiler,1");
    assert_eq!((reading.time, &*reading.series.device), (Some(Micros(1_767_323_045_678_000)), "boiler"));
    assert_eq!(shown(&reading), "a=1");
    let reading = decoder.one(",,1");
    assert_eq!((reading.time, &*reading.series.device), (None, "sensors/a"));
    assert_eq!(decoder.no("soon,boiler,1").reason, Reason::Time);
}

#[test]
fn a_header_is_passed_over_wherever_it_stands() {
    let delivery = csv(&["ts", "a"]).on("ts,a\n1767323045,1\n\n ts , a \n1767323046,2\n");
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1", "a=2"]);
    assert_eq!(delivery.rejects, []);
    assert_eq!(shown(&csv(&["a", ""]).on("a,whatever\n1,2").readings[0]), "a=1");
    let only = csv(&["ts", "a"]).no("ts,a\r\n");
    assert_eq!((only.reason, &*only.detail), (Reason::Empty, "there is no line in it but a header"));
}

#[test]
fn a_bad_line_is_rejected_alone_with_its_own_bytes() {
    let payload = Bytes::from_static(
        b"\r\n1767323045,1\r\n17673\r\nsoon,2\r\n,\r\n1767323045,\xff\r\n1767323045,1e999\r\n1,2,3\r\n,9",
    );
    let delivery = csv(&["ts", "a"]).decode("sensors/a", &payload);
    assert_eq!(delivery.readings.iter().map(shown).collect::<Vec<_>>(), ["a=1", "a=9"]);
    let rejects: Vec<_> = delivery.rejects.iter().map(|r| (r.reason, &r.payload[..], &*r.detail)).collect();
    let time = r#"field "ts": "soon" is not a time; send RFC 3339, or a number of s, ms, µs or ns since 1970"#;
    let expected: [(_, &[u8], _); 6] = [
        (Reason::Malformed, b"17673", "line 2 of 8: 1 cells, and columns has 2 names"),
        (Reason::Time, b"soon,2", time),
        (Reason::Empty, b",", "there is no field in it"),
        (Reason::Malformed, b"1767323045,\xff", r#"line 5 of 8: the cell of "a" is not UTF-8"#),
        (Reason::Value, b"1767323045,1e999", r#"line 6 of 8: "a" is inf, not a finite number"#),
        (Reason::Malformed, b"1,2,3", "line 7 of 8: 3 cells, and columns has 2 names"),
    ];
    assert_eq!(rejects, expected);
}

#[test]
fn a_quote_that_is_not_closed_takes_what_follows_with_it() {
    let rejected = csv(&["ts", "a"]).no("1767323045,\"x\n1767323046,2\n");
    assert_eq!((&*rejected.detail, rejected.payload.len()), ("line 1 of 1: a quote is not closed", 26));
}

#[test]
fn the_limits_hold_and_one_less_passes() {
    assert_eq!(csv(&["a"]).on("1\n".repeat(MAX_READINGS)).readings.len(), MAX_READINGS);
    assert_eq!(csv(&["a"]).no("1\n".repeat(MAX_READINGS + 1)).reason, Reason::Value);
    let names: Vec<_> = (0..=MAX_FIELDS).map(|n| format!("f{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(csv(&names).one(format!("{}1", "1,".repeat(MAX_FIELDS - 1)) + ",").fields.len(), MAX_FIELDS);
    assert_eq!(csv(&names).no(format!("{}1", "1,".repeat(MAX_FIELDS))).reason, Reason::Value);
}

#[test]
fn whatever_bytes_come_something_is_said_about_them() {
    let seeds: [&[u8]; 3] = [
        b"1767323045,b,21.5,7\n,,\"a \"\"b\"\"\",",
        b"ts,id,a,b\r\n2026-01-02T03:04:05Z,x,true,-1e5\r\n",
        b"\"\",1,2,3",
    ];
    survives(|| csv(&["ts", "id", "a", "b"]), &seeds, b",\"\n\r.e-0");
}
