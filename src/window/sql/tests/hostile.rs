//! Every fault of a query at once, each at its place; and no text takes the process down.

use super::*;

#[test]
fn every_fault_of_a_query_is_found_at_once_on_its_own_line() {
    let sql = "\nSELECT device, MEDIAN(temp),\n  'ü' || hum AS both,\n  AVG(device)\nFROM sensors\nWHERE COUNT(*) > 1 AND device > 3\nGROUP BY device\nORDER BY 1";
    let found = plan(sql, &Names::default()).unwrap_err();
    let places: Vec<_> = found.iter().map(|fault| (fault.line, fault.column)).collect();
    assert_eq!(places, [(2, 16), (3, 3), (4, 7), (5, 6), (6, 7), (6, 24), (7, 1), (8, 1)], "{found:#?}");
}

#[test]
fn columns_count_in_characters() {
    let found = faults(&format!("SELECT 'üüü' AS ü, MEDIAN(x) FROM readings GROUP BY {TUMBLE}"));
    assert!(found[0].starts_with("1:20: there is no function"), "{found:?}");
}

#[test]
fn no_text_takes_the_process_down() {
    let long = |part: &str, times: usize| {
        format!("SELECT COUNT(*) FROM readings WHERE {}1 > 0 GROUP BY {TUMBLE}", part.repeat(times))
    };
    assert!(plan(&long("1 + ", 90), &Names::default()).is_ok());
    planned(&format!("SELECT {}COUNT(*){} AS n FROM readings GROUP BY {TUMBLE}", "ABS(".repeat(20), ")".repeat(20)));
    for sql in [
        long("1 + ", 740),
        long("1 + ", 100_000),
        long("(", 10_000),
        long("NOT ", 3_000),
        long("- ", 3_000),
        long("a = 1 AND ", 900),
        long("CASE WHEN ", 900),
        long("x IN (", 900),
        long("ABS(", 900),
        format!("SELECT {} FROM readings GROUP BY {TUMBLE}", "1 + ".repeat(740) + "1"),
    ] {
        let found = plan(&sql, &Names::default()).map(|_| ()).unwrap_err();
        assert!(!found.is_empty());
    }
}

#[test]
fn pieces_of_queries_in_any_order_are_refused_or_planned() {
    let pieces = [
        "SELECT",
        "FROM",
        "readings",
        "WHERE",
        "GROUP BY",
        "HAVING",
        "device",
        ",",
        "(",
        ")",
        "COUNT(*)",
        "AVG(x)",
        "x",
        "1",
        "'a'",
        "=",
        "AND",
        "NOT",
        TUMBLE,
        "TUMBLE_START(time, INTERVAL '1' MINUTE)",
        "TABLE(",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "INTERVAL",
        "tags['a']",
        "[",
        ".",
        "*",
        "AS",
        "IN",
        "BETWEEN",
        "IS NULL",
        "\"q\"",
        ";",
        "SESSION(",
        "DESCRIPTOR(time)",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let mut good = 0;
    for _ in 0..20_000 {
        // Mostly a query with a few pieces put in, taken out or exchanged.
        let mut words: Vec<&str> = vec![
            "SELECT", "device", ",", "COUNT(*)", "FROM", "readings", "WHERE", "x", "=", "1", "GROUP BY", "device", ",",
            TUMBLE,
        ];
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..words.len());
            let piece = pieces[random.usize(..pieces.len())];
            match random.u8(..3) {
                0 => words.insert(at, piece),
                1 => words[at] = piece,
                _ => drop(words.remove(at)),
            }
        }
        let sql = words.join(" ");
        match plan(&sql, &Names::default()) {
            Ok(plan) => {
                good += 1;
                assert_in_range(&plan, &sql);
            }
            Err(found) => {
                let end = sql.chars().count() + 1;
                assert!(!found.is_empty(), "{sql}");
                assert!(
                    found.iter().all(|fault| fault.line == 1 && (1..=end).contains(&fault.column)),
                    "{sql}\n{found:?}"
                );
            }
        }
    }
    assert!((200..15_000).contains(&good), "{good} were good: the pieces say little");
}

/// The plan's invariant: each reference is to something that its scope has.
fn assert_in_range(plan: &Plan, sql: &str) {
    let rows = plan.keys.iter().chain(&plan.filter);
    let rows = rows.chain(plan.aggregates.iter().filter_map(|aggregate| aggregate.argument.as_ref()));
    for expr in rows {
        let of_a_group = ["Key(", "Aggregate(", "WindowStart", "WindowEnd"];
        assert!(of_a_group.iter().all(|name| !format!("{expr:?}").contains(name)), "{sql}\n{expr:?}");
    }
    for expr in plan.select.iter().map(|(_, expr)| expr).chain(&plan.having) {
        let of_a_row = ["Ref(Field", "Ref(Device", "Ref(Source", "Ref(Time", "Ref(Tag", "Ref(Metric", "Ref(Value"];
        assert!(of_a_row.iter().all(|name| !format!("{expr:?}").contains(name)), "{sql}\n{expr:?}");
        // Panics where a number is out of range.
        show(expr, plan);
    }
}

#[test]
fn call_and_function_enums_are_all_reachable() {
    let functions = [
        ("ABS(a)", Function::Abs),
        ("ROUND(a)", Function::Round),
        ("FLOOR(a)", Function::Floor),
        ("CEIL(a)", Function::Ceil),
        ("COALESCE(a, 1)", Function::Coalesce),
    ];
    for (sql, function) in functions {
        assert!(column(sql).1.starts_with(&format!("{function:?}(").to_lowercase()), "{sql}");
    }
}
