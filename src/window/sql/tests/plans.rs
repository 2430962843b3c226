//! What queries mean.

use super::*;

#[test]
fn the_query_that_must_run_is_planned() {
    let names = Names { table: "transactions".to_owned(), time_column: "event_time".to_owned() };
    let plan = plan(
        "SELECT card_id, COUNT(*) AS txn_count, SUM(amount) AS total_amount, TUMBLE_START(event_time, INTERVAL '5' MINUTE) \
         AS window_start FROM transactions WHERE merchant_country <> 'CA' GROUP BY card_id, TUMBLE(event_time, INTERVAL '5' \
         MINUTE) HAVING COUNT(*) > 3 AND SUM(amount) > 500",
        &names,
    )
    .unwrap();
    let field = |name: &str| Expr::Ref(Ref::Field(name.into()));
    let text = |text: &str| Expr::Literal(Some(Value::Text(text.into())));
    let number = |n: i64| Expr::Literal(Some(Value::I64(n)));
    let compare = |how, left, right| Expr::Compare(how, Box::new(left), Box::new(right));
    let aggregate = |at| Expr::Ref(Ref::Aggregate(at));
    let expected = Plan {
        table: Table::Readings,
        filter: Some(compare(Comparison::NotEqual, field("merchant_country"), text("CA"))),
        keys: vec![field("card_id")],
        device_key: None,
        shape: Shape::Tumble { size: 5 * MINUTE },
        aggregates: vec![
            Aggregate { kind: Kind::Count, argument: None },
            Aggregate { kind: Kind::Sum, argument: Some(field("amount")) },
        ],
        having: Some(Expr::And(
            Box::new(compare(Comparison::Greater, aggregate(0), number(3))),
            Box::new(compare(Comparison::Greater, aggregate(1), number(500))),
        )),
        select: vec![
            ("card_id".into(), Expr::Ref(Ref::Key(0))),
            ("txn_count".into(), aggregate(0)),
            ("total_amount".into(), aggregate(1)),
            ("window_start".into(), Expr::Ref(Ref::WindowStart)),
        ],
    };
    assert_eq!(plan, expected);
}

#[test]
fn each_window_has_its_shape_and_its_bounds() {
    let second = |n| n * SECOND;
    for (window, bounds, shape) in [
        ("TUMBLE(time, INTERVAL '1' MINUTE)", "TUMBLE", Shape::Tumble { size: MINUTE }),
        ("tumble(time, interval '90' second)", "tumble", Shape::Tumble { size: second(90) }),
        ("TUMBLE(time, INTERVAL 2 HOURS)", "TUMBLE", Shape::Tumble { size: 120 * MINUTE }),
        ("TUMBLE(time, INTERVAL '7' DAY)", "TUMBLE", Shape::Tumble { size: 7 * 1440 * MINUTE }),
        ("TUMBLE(time, INTERVAL '0.5' SECOND)", "TUMBLE", Shape::Tumble { size: SECOND / 2 }),
        ("TUMBLE(time, INTERVAL '250' MILLISECOND)", "TUMBLE", Shape::Tumble { size: SECOND / 4 }),
        ("HOP(time, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)", "HOP", Shape::Hop { slide: second(10), size: MINUTE }),
        (
            "HOP(time, INTERVAL '7' SECOND, INTERVAL '10' SECOND)",
            "HOP",
            Shape::Hop { slide: second(7), size: second(10) },
        ),
        ("HOP(time, INTERVAL '2' MINUTE, INTERVAL '1' MINUTE)", "HOP", Shape::Hop { slide: 2 * MINUTE, size: MINUTE }),
        ("SESSION(time, INTERVAL '5' MINUTE)", "SESSION", Shape::Session { gap: 5 * MINUTE }),
    ] {
        let arguments = window.split_once('(').unwrap().1;
        let sql = format!(
            "SELECT {bounds}_START({arguments}, {bounds}_end({arguments} AS e, {bounds}_ROWTIME({arguments} FROM readings \
             GROUP BY {window}"
        );
        let plan = planned(&sql);
        assert_eq!(plan.shape, shape, "{window}");
        let columns: Vec<_> = plan.select.iter().map(|(name, expr)| format!("{name}: {}", show(expr, &plan))).collect();
        assert_eq!(columns, ["window_start: windowstart", "e: windowend", "window_time: (windowend - 1000)"]);
        assert!(plan.keys.is_empty());
    }
}

#[test]
fn a_window_over_a_table_has_its_bounds_as_columns() {
    for from in [
        "TABLE(TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE))",
        "TABLE(TUMBLE(readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)) AS w",
        "TUMBLE(TABLE readings, DESCRIPTOR(time), INTERVAL '1' MINUTE)",
        "table ( tumble ( table\n readings, descriptor(time), interval '1' minute ) )",
    ] {
        let plan = planned(&format!(
            "SELECT device, window_start, window_end AS e, window_time, AVG(temp) FROM {from} GROUP BY window_start, device, \
             window_end"
        ));
        assert_eq!((plan.shape, plan.device_key, plan.keys.len()), (Shape::Tumble { size: MINUTE }, Some(0), 1));
        let columns: Vec<_> = plan.select.iter().map(|(name, expr)| format!("{name}: {}", show(expr, &plan))).collect();
        assert_eq!(
            columns,
            [
                "device: key0[device]",
                "window_start: windowstart",
                "e: windowend",
                "window_time: (windowend - 1000)",
                "avg_temp: Avg[temp]"
            ]
        );
    }
    let plan = planned(
        "SELECT w.device, w.window_end FROM TABLE(HOP(TABLE samples, DESCRIPTOR(time), INTERVAL '10' SECOND, INTERVAL '1' \
         MINUTE)) w GROUP BY w.device, w.window_start, w.window_end",
    );
    assert_eq!((plan.table, plan.shape), (Table::Samples, Shape::Hop { slide: 10 * SECOND, size: MINUTE }));
}

#[test]
fn conditions_become_three_valued_expressions() {
    for (condition, expected) in [
        ("temp > 20.5 and NOT hum <= 3", "((temp > 20.5) and (not (hum <= 3)))"),
        ("a = 1 OR b = 2 AND c = 3", "((a = 1) or ((b = 2) and (c = 3)))"),
        ("(a != 1 OR b = 2) AND c = 3", "(((a <> 1) or (b = 2)) and (c = 3))"),
        ("a + 2 * b - -3 > c / 4 % 5", "(((a + (2 * b)) - -3) > ((c / 4) % 5))"),
        ("MOD(a, 2) = +1", "((a % 2) = 1)"),
        ("- a < 0", "((- a) < 0)"),
        ("a = 18446744073709551615", "(a = 18446744073709551615u)"),
        ("a = -9223372036854775808", "(a = -9223372036854775808)"),
        ("a = 1e3", "(a = 1000.0)"),
        ("a IN (1, 2.5, NULL)", "(a in 1 2.5 null)"),
        ("a NOT IN ('x')", "(not (a in 'x'))"),
        ("a BETWEEN 1 AND 2", "((a >= 1) and (a <= 2))"),
        ("a NOT BETWEEN 1 AND 2 AND b", "((not ((a >= 1) and (a <= 2))) and b)"),
        ("a LIKE 'x%' OR a NOT LIKE '_'", "((a like 'x%') or (not (a like '_')))"),
        ("a IS NULL AND b IS NOT NULL", "((a is null) and (not (b is null)))"),
        ("ok", "ok"),
        ("ok IS TRUE", "coalesce((ok = true) false)"),
        ("ok IS NOT FALSE", "(not coalesce((ok = false) false))"),
        ("(a > 1) IS UNKNOWN", "((a > 1) is null)"),
        ("CASE WHEN a > 1 THEN b WHEN c THEN FALSE ELSE TRUE END", "((a > 1) -> b, c -> false, else true)"),
        ("CASE a WHEN 1 THEN TRUE WHEN 'x' THEN FALSE END", "((a = 1) -> true, (a = 'x') -> false, else null)"),
        (
            "ABS(a) > ROUND(b) + ROUND(c, 2) * FLOOR(d) - CEIL(e) + ceiling(f)",
            "(abs(a) > (((round(b) + (round(c 2) * floor(d))) - ceil(e)) + ceil(f)))",
        ),
        ("COALESCE(a, b, 0) = 0", "(coalesce(a b 0) = 0)"),
        ("CAST(a AS BIGINT) = 1 AND CAST(b AS double) > 1", "(((a as Integer) = 1) and ((b as Double) > 1))"),
        ("CAST(a AS VARCHAR) = 'x' OR TRY_CAST(a AS STRING) = 'y'", "(((a as Text) = 'x') or ((a as Text) = 'y'))"),
        ("CAST(a AS BOOLEAN) AND a::INT = 3", "((a as Boolean) and ((a as Integer) = 3))"),
        ("tags['site'] = 'north' AND source = 'plant'", "((tag:site = 'north') and (source = 'plant'))"),
        ("device LIKE 'b%' AND time >= 1767225600000000", "((device like 'b%') and (time >= 1767225600000000))"),
        ("\"motor.temp\" > 80 OR `end` = 1", "((motor.temp > 80) or (end = 1))"),
        ("readings.temp > 80", "(temp > 80)"),
        (
            "value = 1 AND metric = 2 AND count = 3 AND level = 4",
            "((((value = 1) and (metric = 2)) and (count = 3)) and (level = 4))",
        ),
        ("\"Device\" = 1 AND Temp = 2", "((Device = 1) and (Temp = 2))"),
        ("a = 'it''s' -- so it is\n AND /* yes */ b", "((a = 'it's') and b)"),
    ] {
        assert_eq!(filter(condition), expected, "{condition}");
    }
}

#[test]
fn columns_have_names_and_refer_to_keys_and_aggregates() {
    for (expression, name, expected) in [
        ("device", "device", "key0[device]"),
        ("a AS b", "b", "key1[a]"),
        ("readings.a", "a", "key1[a]"),
        ("COUNT(*)", "count", "Count[*]"),
        ("count(temp)", "count_temp", "Count[temp]"),
        ("COUNT(DISTINCT temp)", "count_distinct_temp", "CountDistinct[temp]"),
        ("COUNT(ALL temp)", "count_temp", "Count[temp]"),
        ("SUM(temp)", "sum_temp", "Sum[temp]"),
        ("AVG(\"motor.temp\")", "avg_motor.temp", "Avg[motor.temp]"),
        ("MIN(device)", "min_device", "Min[device]"),
        ("MAX(tags['site'])", "max_site", "Max[tag:site]"),
        ("STDDEV_POP(t)", "stddev_pop_t", "StddevPop[t]"),
        ("STDDEV(t)", "stddev_t", "StddevSamp[t]"),
        ("STDDEV_SAMP(t)", "stddev_samp_t", "StddevSamp[t]"),
        ("VAR_POP(t)", "var_pop_t", "VarPop[t]"),
        ("VARIANCE(t)", "variance_t", "VarSamp[t]"),
        ("VAR_SAMP(t)", "var_samp_t", "VarSamp[t]"),
        ("FIRST_VALUE(t)", "first_value_t", "FirstValue[t]"),
        ("LAST_VALUE(t)", "last_value_t", "LastValue[t]"),
        ("PERCENTILE(t, 0.95)", "percentile_t_0_95", "Percentile(0.95)[t]"),
        ("PERCENTILE(t, 1)", "percentile_t_1", "Percentile(1.0)[t]"),
        ("RATE(n)", "rate_n", "Rate[n]"),
        ("TIME_AVG(t)", "time_avg_t", "TimeAvg[t]"),
        ("MAX(time) - MIN(time)", "max_time_minus_min_time", "(Max[time] - Min[time])"),
        ("SUM(x) / COUNT(*)", "sum_x_over_count", "(Sum[x] / Count[*])"),
        ("SUM(CASE WHEN ok THEN 1 ELSE 0 END)", "sum_case", "Sum[(ok -> 1, else 0)]"),
        ("ROUND(AVG(x) * 1.8 + 32, 1) AS f", "f", "round(((Avg[x] * 1.8) + 32) 1)"),
        ("CASE WHEN a = 1 THEN COUNT(*) ELSE -1 END", "case", "((key1[a] = 1) -> Count[*], else -1)"),
        ("a + 1", "a_plus_1", "(key1[a] + 1)"),
        ("COALESCE(MAX(x), 0)", "coalesce_max_x_0", "coalesce(Max[x] 0)"),
        ("MAX(x) IS NULL", "max_x_is_null", "(Max[x] is null)"),
        ("'eu' AS region", "region", "'eu'"),
    ] {
        assert_eq!(column(expression), (name.to_owned(), expected.to_owned()), "{expression}");
    }
}

#[test]
fn a_key_may_be_any_expression_and_is_known_again() {
    let plan = planned(&format!(
        "SELECT FLOOR(temp / 10) AS bucket, FLOOR( (temp)/10 ) * 10 AS low, tags['site'] FROM readings GROUP BY tags['site'], \
         FLOOR(temp / 10), tags['site'], {TUMBLE} HAVING FLOOR(temp / 10) > 1"
    ));
    assert_eq!(plan.keys.len(), 2);
    let columns: Vec<_> = plan.select.iter().map(|(_, expr)| show(expr, &plan)).collect();
    let bucket = "key1[floor((temp / 10))]";
    assert_eq!(columns, [bucket, &format!("({bucket} * 10)"), "key0[tag:site]"]);
    assert_eq!(show(plan.having.as_ref().unwrap(), &plan), format!("({bucket} > 1)"));
    assert_eq!(plan.device_key, None);
}

#[test]
fn an_aggregate_named_twice_is_one() {
    let plan = planned(&format!(
        "SELECT AVG(x), avg( x ) + 1 AS y, AVG(\"x\") AS z, AVG(y) AS w FROM readings GROUP BY {TUMBLE} HAVING AVG(x) > COUNT(*)"
    ));
    let kinds: Vec<_> = plan.aggregates.iter().map(|aggregate| aggregate.kind).collect();
    assert_eq!(kinds, [Kind::Avg, Kind::Avg, Kind::Count]);
}

#[test]
fn samples_have_a_metric_and_a_value() {
    let plan = planned(&format!(
        "SELECT device, metric, AVG(value) AS avg FROM samples WHERE value IS NOT NULL GROUP BY device, metric, {TUMBLE};"
    ));
    assert_eq!((plan.table, plan.device_key), (Table::Samples, Some(0)));
    assert_eq!(plan.keys[1], Expr::Ref(Ref::Metric));
    assert_eq!(plan.aggregates[0].argument, Some(Expr::Ref(Ref::Value)));
    assert_eq!(
        faults(&format!("SELECT AVG(temp) FROM samples GROUP BY {TUMBLE}")),
        [
            "1:12: samples has no column `temp`; its columns are time, source, device, metric, value and tags['…']; fields are columns of readings"
        ]
    );
}
