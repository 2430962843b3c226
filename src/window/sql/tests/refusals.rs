//! Each sentence that refuses a query: what is wrong, at its place, and what is supported.

use super::super::{Names, plan};
use super::TUMBLE;

/// A query, `{T}` a tumbling window, and how its only fault begins.
type Refusals = [(&'static str, &'static str)];

fn refused(table: &Refusals) {
    let mut differ = Vec::new();
    for (sql, expected) in table {
        let found = plan(&sql.replace("{T}", TUMBLE), &Names::default()).map(|_| ()).expect_err(sql);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        if found.len() != 1 || !found[0].starts_with(expected) {
            differ.push(format!("{sql}\n  expected {expected}\n  found    {found:#?}"));
        }
    }
    assert!(differ.is_empty(), "{} of the sentences differ:\n{}", differ.len(), differ.join("\n"));
}

const WINDOWS: &Refusals = &[
    (
        "SELECT device FROM readings GROUP BY device",
        "1:29: the query has no window; write GROUP BY …, TUMBLE(time, INTERVAL '1' MINUTE), or HOP(time, slide, size), or SESSION(time, gap)",
    ),
    ("SELECT COUNT(*) FROM readings", "1:1: the query has no window;"),
    (
        "SELECT COUNT(*) FROM readings GROUP BY {T}, SESSION(time, INTERVAL '1' DAY)",
        "1:75: this is a second window; GROUP BY takes exactly one; write a [[window]] for each",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        "1:47: TUMBLE goes by event time, which is the column `time`; write TUMBLE(time, …), or set time_column",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time)",
        "1:40: TUMBLE has 1 arguments; write TUMBLE(time, INTERVAL '1' MINUTE)",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY HOP(time, INTERVAL '1' MINUTE)",
        "1:40: HOP has 2 arguments; write HOP(time, slide, size), as in INTERVAL '10' SECOND, INTERVAL '1' MINUTE",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY HOP(time, INTERVAL '1' SECOND, INTERVAL '1' DAY)",
        "1:40: each of these windows would be joined from 86400 slices; HOP takes slide, then size: make the size a multiple of the slide, up to 1000 times it",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY HOP(time, INTERVAL '9.999' SECOND, INTERVAL '10' SECOND)",
        "1:40: each of these windows would be joined from 10000 slices;",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY CUMULATE(time, INTERVAL '1' MINUTE, INTERVAL '1' HOUR)",
        "1:40: CUMULATE is not supported; the windows are TUMBLE(time, size), HOP(time, slide, size) and SESSION(time, gap)",
    ),
    (
        "SELECT TUMBLE(time, INTERVAL '1' MINUTE) FROM readings GROUP BY {T}",
        "1:8: TUMBLE cannot stand here; TUMBLE stands in GROUP BY alone; elsewhere write TUMBLE_START(…) or TUMBLE_END(…)",
    ),
    (
        "SELECT TUMBLE_START(time, INTERVAL '2' MINUTE) FROM readings GROUP BY {T}",
        "1:8: TUMBLE_START is not about the window in GROUP BY; write TUMBLE and its intervals alike in both places",
    ),
    (
        "SELECT HOP_END(time, INTERVAL '1' MINUTE, INTERVAL '1' MINUTE) FROM readings GROUP BY {T}",
        "1:8: HOP_END is not about the window in GROUP BY; write HOP and its intervals alike in both places",
    ),
    (
        "SELECT TUMBLE_PROCTIME(time, INTERVAL '1' MINUTE) FROM readings GROUP BY {T}",
        "1:8: there is no function `TUMBLE_PROCTIME`;",
    ),
    (
        "SELECT COUNT(*) FROM readings WHERE TUMBLE_START(time, INTERVAL '1' MINUTE) > 0 GROUP BY {T}",
        "1:37: `TUMBLE_START` is known of groups alone, not of rows; it stands in SELECT and HAVING",
    ),
    (
        "SELECT device FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)) GROUP BY device",
        "1:89: the query is not grouped by its window; write GROUP BY …, window_start, window_end",
    ),
    (
        "SELECT device FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY device, window_end",
        "1:60: TUMBLE goes by event time, which is the column `time`;",
    ),
    (
        "SELECT device FROM TABLE(SESSION(TABLE readings PARTITION BY device, DESCRIPTOR(time), INTERVAL '1' MINUTE)) GROUP BY device, window_end",
        "1:26: SESSION over a table is not supported; write FROM readings GROUP BY device, SESSION(time, INTERVAL '5' MINUTE)",
    ),
    (
        "SELECT device FROM TABLE(CUMULATE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE, INTERVAL '1' DAY)) GROUP BY device, window_end",
        "1:26: CUMULATE over a table is not supported; write FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)), or HOP with slide and size",
    ),
    (
        "SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE readings, time, INTERVAL '1' MINUTE)) GROUP BY window_end",
        "1:51: this argument is the column of time; write TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)",
    ),
    (
        "SELECT TUMBLE_START(time, INTERVAL '1' MINUTE) FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)) GROUP BY window_end",
        "1:8: TUMBLE_START goes with TUMBLE in GROUP BY; behind FROM TABLE(…) write window_start or window_end",
    ),
    (
        "SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)) WHERE window_start > 0 GROUP BY window_end",
        "1:97: `window_start` is known of groups alone, not of rows; it stands in SELECT and HAVING",
    ),
];

#[test]
fn windows() {
    refused(WINDOWS);
}

const INTERVALS: &Refusals = &[
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, '1 minute')",
        "1:53: this is the place of an interval; write INTERVAL '5' MINUTE; the units are MILLISECOND, SECOND, MINUTE, HOUR and DAY",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '1:30' MINUTE TO SECOND)",
        "1:62: an interval in two units is not supported;",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '1' MONTH)",
        "1:62: months and years are not all of one length;",
    ),
    ("SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '1 minute')", "1:62: the interval has no unit;"),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '0' MINUTE)",
        "1:62: an interval of this length is not supported; it is above nothing and up to 366 days",
    ),
    ("SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '400' DAY)", "1:62: an interval of this length"),
    (
        "SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '-1' DAY)",
        "1:62: the length of an interval is a number of whole microseconds;",
    ),
];

#[test]
fn intervals() {
    refused(INTERVALS);
}

const COLUMNS_AND_AGGREGATES: &Refusals = &[
    (
        "SELECT temp FROM readings GROUP BY {T}",
        "1:8: `temp` is neither in GROUP BY nor inside an aggregate; group by it, or write MAX(temp) or LAST_VALUE(temp)",
    ),
    (
        "SELECT tags['a'] FROM readings GROUP BY {T}",
        "1:8: tags['a'] is neither in GROUP BY nor inside an aggregate; group by it, or write LAST_VALUE(tags['a'])",
    ),
    (
        "SELECT COUNT(*) AS n FROM readings GROUP BY {T} HAVING n > 3",
        "1:86: `n` is a name that SELECT gives, which HAVING does not know; write the expression itself, as in HAVING COUNT(*) > 3",
    ),
    (
        "SELECT AVG(x), AVG(X) AS avg_x FROM readings GROUP BY {T}",
        "1:26: two columns are called `avg_x`; give one another name with AS",
    ),
    (
        "SELECT device, COUNT(*) 'device' FROM readings GROUP BY device, {T}",
        "1:16: two columns are called `device`; give one another name with AS",
    ),
    (
        "SELECT device FROM readings WHERE COUNT(*) > 3 GROUP BY device, {T}",
        "1:35: COUNT is an aggregate in WHERE, which sees single rows; conditions on groups stand in HAVING",
    ),
    (
        "SELECT MAX(AVG(x)) FROM readings GROUP BY {T}",
        "1:12: AVG is an aggregate inside an aggregate; an aggregate is over the rows of the table",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY MAX(x), {T}",
        "1:40: MAX is an aggregate in GROUP BY, which makes the groups; group by columns of the table",
    ),
    ("SELECT SUM(*) FROM readings GROUP BY {T}", "1:8: SUM(*) has no meaning; write SUM(x)"),
    ("SELECT SUM(DISTINCT x) FROM readings GROUP BY {T}", "1:8: DISTINCT in SUM is not supported; write SUM(x)"),
    (
        "SELECT COUNT(DISTINCT x, y) FROM readings GROUP BY {T}",
        "1:8: COUNT(DISTINCT …) counts one expression; write COUNT(DISTINCT x)",
    ),
    ("SELECT AVG(x, y) FROM readings GROUP BY {T}", "1:8: AVG has 2 arguments; write AVG(x)"),
    ("SELECT PERCENTILE(x) FROM readings GROUP BY {T}", "1:8: PERCENTILE has 1 arguments; write PERCENTILE(x, 0.95)"),
    (
        "SELECT PERCENTILE(x, 95) FROM readings GROUP BY {T}",
        "1:22: the quantile of PERCENTILE is a number from 0 to 1; write PERCENTILE(x, 0.95)",
    ),
    (
        "SELECT COUNT(*) FILTER (WHERE x > 1) FROM readings GROUP BY {T}",
        "1:8: FILTER is not supported; write the condition inside: AVG(CASE WHEN … THEN x END)",
    ),
    (
        "SELECT COUNT(*) OVER (PARTITION BY device) FROM readings GROUP BY {T}",
        "1:8: OVER is not supported; a window's rows are its groups: GROUP BY says what they are",
    ),
    (
        "SELECT FIRST_VALUE(x) IGNORE NULLS FROM readings GROUP BY {T}",
        "1:8: this clause of a call is not supported; aggregates pass NULLs over and go by event time",
    ),
    (
        "SELECT MEDIAN(x) FROM readings GROUP BY {T}",
        "1:8: there is no function `MEDIAN`; the functions are ABS, ROUND, FLOOR, CEIL, COALESCE, MOD, SUM, AVG, MIN, MAX, STDDEV_POP, STDDEV_SAMP, STDDEV, VAR_POP, VAR_SAMP, VARIANCE, FIRST_VALUE, LAST_VALUE, RATE, TIME_AVG, COUNT and PERCENTILE",
    ),
    ("SELECT TUMBLE_SIZE(x) FROM readings GROUP BY {T}", "1:8: there is no function `TUMBLE_SIZE`;"),
    ("SELECT * FROM readings GROUP BY {T}", "1:8: SELECT * has no meaning in a window; name the keys and aggregates"),
    (
        "SELECT COUNT(*) FROM readings WHERE Time > 3 GROUP BY {T}",
        "1:37: the column `time` is written as `Time`; write `time`; a field of that name is quoted: \"Time\"",
    ),
    (
        "SELECT AVG(motor.temp) FROM readings GROUP BY {T}",
        "1:12: `motor.temp` is no column; a field with dots in its name is quoted: \"motor.temp\"",
    ),
    ("SELECT COUNT(tags) FROM readings GROUP BY {T}", "1:14: `tags` is a map; name one of them: tags['site']"),
    (
        "SELECT COUNT(tag['x']) FROM readings GROUP BY {T}",
        "1:14: this access is not supported; tags are read as tags['site'], nested fields as \"a.b\"",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY 1, {T}",
        "1:40: a constant groups nothing; GROUP BY takes columns and expressions, not their numbers",
    ),
];

#[test]
fn columns_and_aggregates() {
    refused(COLUMNS_AND_AGGREGATES);
}

const TYPES_THAT_NEVER_MEET: &Refusals = &[
    (
        "SELECT COUNT(*) FROM readings WHERE device > 3 GROUP BY {T}",
        "1:37: text and a number never meet; CAST one of them: CAST(x AS DOUBLE), CAST(x AS VARCHAR)",
    ),
    ("SELECT COUNT(*) FROM readings WHERE time > '2026-01-01' GROUP BY {T}", "1:37: a number and text never meet;"),
    ("SELECT COUNT(*) FROM readings WHERE x > 1 = 2 GROUP BY {T}", "1:37: true or false and a number never meet;"),
    ("SELECT COUNT(*) FROM readings WHERE device IN (1) GROUP BY {T}", "1:37: text and a number never meet;"),
    ("SELECT COUNT(*) FROM readings WHERE time BETWEEN 1 AND 'x' GROUP BY {T}", "1:37: a number and text never meet;"),
    (
        "SELECT COUNT(*) FROM readings WHERE device GROUP BY {T}",
        "1:37: this is text, where true or false is needed; write a comparison, as in x > 0",
    ),
    (
        "SELECT COUNT(*) FROM readings WHERE NOT 1 GROUP BY {T}",
        "1:41: this is a number, where true or false is needed;",
    ),
    (
        "SELECT SUM(device) FROM readings GROUP BY {T}",
        "1:12: this is text, where a number is needed; CAST(x AS DOUBLE) makes a number of text",
    ),
    ("SELECT COUNT(*) + 'x' FROM readings GROUP BY {T}", "1:19: this is text, where a number is needed;"),
    ("SELECT ABS(x > 1) FROM readings GROUP BY x, {T}", "1:12: this is true or false, where a number is needed;"),
    (
        "SELECT COUNT(*) FROM readings WHERE time LIKE 'x' GROUP BY {T}",
        "1:37: this is a number, where text is needed; CAST(x AS VARCHAR) makes text of a number",
    ),
    ("SELECT CASE WHEN TRUE THEN 1 ELSE 'x' END FROM readings GROUP BY {T}", "1:8: a number and text never meet;"),
    ("SELECT COALESCE(MAX(time), 'x') FROM readings GROUP BY {T}", "1:8: a number and text never meet;"),
    (
        "SELECT CAST(MAX(x) AS DECIMAL(10, 2)) FROM readings GROUP BY {T}",
        "1:13: CAST to DECIMAL(10,2) is not supported; the types are BIGINT, DOUBLE, BOOLEAN and VARCHAR, without a length",
    ),
];

#[test]
fn types_that_never_meet() {
    refused(TYPES_THAT_NEVER_MEET);
}

const WHAT_SQL_HAS_AND_A_WINDOW_HAS_NOT: &Refusals = &[
    (
        "SELECT COUNT(*) FROM readings JOIN other ON TRUE GROUP BY {T}",
        "1:36: JOIN is not supported; a window reads one table; join where its rows arrive",
    ),
    (
        "SELECT COUNT(*) FROM readings, samples GROUP BY {T}",
        "1:32: a second table in FROM is a join, which is not supported; a window reads one table",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT * FROM readings) GROUP BY {T}",
        "1:23: a subquery is not supported; write FROM readings (a row a reading) or FROM samples (a row a field)",
    ),
    (
        "SELECT COUNT(*) FROM readings WHERE x IN (SELECT 1) GROUP BY {T}",
        "1:37: a subquery is not supported; IN takes a list: x IN (1, 2)",
    ),
    ("SELECT COUNT(*) FROM readings WHERE x = (SELECT 1) GROUP BY {T}", "1:42: a subquery is not supported;"),
    (
        "SELECT COUNT(*) FROM sensors GROUP BY {T}",
        "1:22: there is no table `sensors`; write FROM readings (a row a reading) or FROM samples (a row a field), or set table = \"sensors\"",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY {T} ORDER BY 1",
        "1:74: ORDER BY is not supported; a window has SELECT, FROM, WHERE, GROUP BY and HAVING",
    ),
    ("SELECT COUNT(*) FROM readings GROUP BY {T} LIMIT 5", "1:74: LIMIT is not supported;"),
    ("SELECT COUNT(*) FROM readings GROUP BY {T} OFFSET 5", "1:74: OFFSET is not supported;"),
    ("SELECT DISTINCT device FROM readings GROUP BY device, {T}", "1:8: SELECT DISTINCT is not supported;"),
    ("WITH t AS (SELECT 1) SELECT COUNT(*) FROM readings GROUP BY {T}", "1:1: WITH is not supported;"),
    (
        "SELECT COUNT(*) FROM readings GROUP BY {T} UNION ALL SELECT COUNT(*) FROM readings GROUP BY {T}",
        "1:74: UNION is not supported; a window is one SELECT; write a [[window]] for each",
    ),
    (
        "SELECT COUNT(*) FROM readings GROUP BY ROLLUP (device), {T}",
        "1:48: ROLLUP is not supported; write a [[window]] for each way of grouping",
    ),
    ("SELECT COUNT(*) FROM readings GROUP BY GROUPING SETS ((device)), {T}", "1:56: GROUPING SETS is not supported;"),
    ("SELECT COUNT(*) FROM readings WHERE a ILIKE 'x' GROUP BY {T}", "1:37: ILIKE is not supported; write x LIKE 'a%'"),
    (
        "SELECT COUNT(*) FROM readings WHERE a LIKE 'x' ESCAPE '!' GROUP BY {T}",
        "1:37: LIKE with ANY or ESCAPE is not supported;",
    ),
    ("SELECT a || 'x' FROM readings GROUP BY a, {T}", "1:8: the operator || is not supported; the operators are"),
    (
        "SELECT COUNT(*) FROM readings WHERE time > TIMESTAMP '2026-01-01 00:00:00' GROUP BY {T}",
        "1:54: a literal of date or time is not supported; times are whole microseconds since 1970",
    ),
    ("SELECT EXTRACT(HOUR FROM time) FROM readings GROUP BY time, {T}", "1:26: a calendar is not supported;"),
    ("SELECT CURRENT_TIMESTAMP FROM readings GROUP BY {T}", "1:8: CURRENT_TIMESTAMP is not supported;"),
    ("SELECT x IS DISTINCT FROM 1 FROM readings GROUP BY x, {T}", "1:8: IS DISTINCT FROM is not supported;"),
    (
        "SELECT FLOOR(time TO MINUTE) FROM readings GROUP BY time, {T}",
        "1:14: FLOOR or CEIL to a unit is not supported;",
    ),
];

#[test]
fn what_sql_has_and_a_window_has_not() {
    refused(WHAT_SQL_HAS_AND_A_WINDOW_HAS_NOT);
}

const WHAT_IS_NOT_SQL: &Refusals = &[
    ("", "1:1: there is no query; write SELECT … FROM readings GROUP BY …"),
    ("DELETE FROM readings", "1:1: `DELETE` begins no query; a window is one SELECT"),
    ("SELECT FROM readings", "1:13: expected"),
    (
        "SELECT MAX(case) FROM readings GROUP BY {T}",
        "1:12: `case` is a word of SQL; a field of that name is quoted: \"case\"",
    ),
    ("SELECT COUNT(*) FROM readings WHERE AND GROUP BY {T}", "1:37: `AND` is a word of SQL;"),
    ("SELECT COUNT(*), FROM readings GROUP BY {T}", "1:23: expected an expression, found FROM;"),
    (
        "SELECT COUNT(*) n FROM readings GROUP {T}",
        "1:33: `GROUP` is not expected here; a field that is called like a word of SQL is quoted: \"end\"",
    ),
    ("SELECT COUNT(*) FROM readings WHERE x > AND y GROUP BY {T}", "1:45: `y` is not expected here;"),
    ("SELECT COUNT(* FROM readings", "1:16: expected ), found FROM;"),
    ("SELECT COUNT(*) FROM readings GROUP BY", "1:39: expected an expression before the end;"),
    (
        "SELECT 'a FROM readings",
        "1:8: unterminated string literal; text is quoted 'like this', an odd name \"like this\"",
    ),
    ("SELECT COUNT(*) FROM readings GROUP BY {T}; SELECT 1", "1:75: `SELECT` is not expected here;"),
];

#[test]
fn what_is_not_sql() {
    refused(WHAT_IS_NOT_SQL);
}
