//! Queries over lines of payloads and of records.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Output, errors, and whether all lines were good.
fn printed(query: &str, more: &str, input: &str) -> (String, String, bool) {
    let words = ["sql", "dir/boiler.jsonl", "--query", query].into_iter().chain(more.split_whitespace());
    let Command { args } = Command::parse_from(words);
    let names = Names { table: args.table.clone(), time_column: args.time_column.clone() };
    let plan = plan(&args.query, &names).unwrap();
    let mut lines = Lines::new(&args, "file".to_owned()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let good = over(spec(&args, plan), input.as_bytes(), &mut lines, args.json, &mut out, &mut err).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), good)
}

const CLIMATE: &str = "SELECT device, COUNT(*) AS n, AVG(temp) AS avg, TUMBLE_START(time, INTERVAL '1' MINUTE) AS \
                       start FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)";

#[test]
fn payloads_in_any_order_make_the_rows_of_their_windows() {
    let input = r#"{"id":"a","ts":65,"temp":1}
[{"id":"a","ts":5,"temp":20},{"id":"b","ts":59.5,"temp":-1}]

{"id":"a","ts":"1970-01-01T00:00:06Z","temp":21.5}"#;
    let rows = r#"{"device":"a","n":2,"avg":20.75,"start":0}
{"device":"b","n":1,"avg":-1.0,"start":0}
{"device":"a","n":1,"avg":1.0,"start":60000000}
"#;
    assert_eq!(printed(CLIMATE, "--time ts --device id", input), (rows.to_owned(), String::new(), true));
}

#[test]
fn the_query_on_transactions_runs() {
    let query = "SELECT card_id, COUNT(*) AS txn_count, SUM(amount) AS total_amount, TUMBLE_START(event_time, \
                 INTERVAL '5' MINUTE) AS window_start FROM transactions WHERE merchant_country <> 'CA' GROUP BY \
                 card_id, TUMBLE(event_time, INTERVAL '5' MINUTE) HAVING COUNT(*) > 3 AND SUM(amount) > 500";
    let line = |card: &str, second: i64, amount: i64, country: &str| {
        let time = 1_767_225_600 + second;
        format!("{{\"card_id\":\"{card}\",\"at\":{time},\"amount\":{amount},\"merchant_country\":\"{country}\"}}\n")
    };
    let mut input = String::new();
    for second in 0..4 {
        input += &line("c1", second, 200, "US");
        input += &line("c2", second, 100, "US");
        input += &line("c3", second, 900, "CA");
        input += &line("c4", 100 * second, 900, "FR");
    }
    input += "{\"card_id\":\"c5\",\"at\":1767225600,\"amount\":1}\n";
    let rows = "{\"card_id\":\"c1\",\"txn_count\":4,\"total_amount\":800,\"window_start\":1767225600000000}\n";
    let more = "--table transactions --time-column event_time --time at";
    assert_eq!(printed(query, more, &input), (rows.to_owned(), String::new(), true));
}

#[test]
fn records_bring_their_own_time_device_and_tags() {
    let record = |stream: &str, time: &str, device: &str, site: &str, fields: &str| {
        format!(
            "{{\"gateway\":\"g\",\"stream\":\"{stream}\",\"lane\":0,\"epoch\":1,\"offset\":2,\"prev\":null,\"time\":\"{time}\",\
             \"time_ms\":0,\"source\":\"plant\",\"device\":\"{device}\",\"tags\":{{\"site\":\"{site}\"}},\"fields\":{fields}}}\n"
        )
    };
    let input = [
        record("readings", "2026-01-02T03:04:05.678901Z", "a", "north", r#"{"x":18446744073709551615,"y.z":"é"}"#),
        record("readings", "2026-01-02T03:04:06Z", "b", "north", r#"{"x":1,"on":true}"#),
        record("rows", "2026-01-02T03:04:06Z", "b", "north", r#"{"x":1}"#),
        record("readings", "2026-01-02T03:05:06Z", "b", "south", r#"{"x":1}"#),
        record("readings", "when", "b", "south", r#"{"x":1}"#),
    ];
    let query = "SELECT tags['site'], source, metric, COUNT(*) AS n, LAST_VALUE(value) AS last, MIN(time) AS at FROM \
                 samples GROUP BY tags['site'], source, metric, TUMBLE(time, INTERVAL '1' MINUTE)";
    let (out, err, good) = printed(query, "", &input.concat());
    let rows = r#"{"site":"north","source":"plant","metric":"on","n":1,"last":true,"at":1767323046000000}
{"site":"north","source":"plant","metric":"x","n":2,"last":1,"at":1767323045678901}
{"site":"north","source":"plant","metric":"y.z","n":1,"last":"é","at":1767323045678901}
{"site":"south","source":"plant","metric":"x","n":1,"last":1,"at":1767323106000000}
"#;
    assert_eq!(out, rows);
    assert_eq!((err.as_str(), good), ("file:5: `when` is no time\n", false));
}

#[test]
fn whole_rows_have_the_bounds_of_their_window() {
    let (out, ..) = printed(CLIMATE, "--time ts --json", "{\"ts\":5,\"temp\":1}");
    let row = r#"{"stream":"rows","window":"sql","start":"1970-01-01T00:00:00.000000Z","time":"1970-01-01T00:01:00.000000Z","time_ms":60000,"device":"boiler","fields":{"device":"boiler","n":1,"avg":1.0,"start":0}}"#;
    assert_eq!(out, format!("{row}\n"));
}

#[test]
fn lines_that_cannot_be_read_are_named_and_the_rest_goes_on() {
    let input =
        "{\"ts\":5,\"temp\":1}\n{\"ts\":5,\n{\"temp\":1}\n{\"ts\":\"soon\",\"temp\":1}\n{\"ts\":6,\"temp\":2}\n";
    let (out, err, good) = printed(CLIMATE, "--time ts", input);
    assert_eq!((out.as_str(), good), ("{\"device\":\"boiler\",\"n\":2,\"avg\":1.5,\"start\":0}\n", false));
    let named: Vec<_> = err.lines().map(|line| &line[..7]).collect();
    assert_eq!(named, ["file:2:", "file:3:", "file:4:"], "{err}");
    let (_, err, _) = printed(CLIMATE, "", "{\"temp\":1}");
    assert_eq!(err, "file:1: a payload tells no time by itself; name the field that does with --time\n");
}

#[test]
fn a_query_may_begin_with_a_comment() {
    let query = format!("-- the climate\n{CLIMATE}");
    assert_eq!(
        printed(&query, "--time ts", "{\"ts\":5,\"temp\":1}"),
        printed(CLIMATE, "--time ts", "{\"ts\":5,\"temp\":1}")
    );
}

#[test]
fn with_a_watermark_what_comes_later_is_left_out_and_counted() {
    let mut input: String = (0..200).map(|second| format!("{{\"ts\":{second},\"temp\":{second}}}\n")).collect();
    input += "{\"ts\":7,\"temp\":1000}\n";
    let rows = |more: &str| {
        let (out, err, _) = printed(CLIMATE, more, &input);
        (out.lines().next().unwrap().to_owned(), out.lines().count(), err)
    };
    let on_time = "{\"device\":\"boiler\",\"n\":60,\"avg\":29.5,\"start\":0}".to_owned();
    let note = "note: 1 readings came too late for their windows: the watermark is too short for them\n";
    assert_eq!(rows("--time ts --watermark 30s"), (on_time, 4, note.to_owned()));
    let (first, _, err) = rows("--time ts");
    assert!(first.contains("\"n\":61") && err.is_empty(), "{first} {err}");
}
