//! `[[window]]`: queries over event time, and `[forward]`: what goes on besides their rows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::At;
use super::read::{Placed, Section};
use super::{Forward, Window};
use crate::window::sql::{Names, SqlFault, plan};
use crate::window::{By, Late, Spec};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const YEAR: Duration = Duration::from_hours(366 * 24);

/// Every window; the faults of those that cannot be read have been noted.
pub fn windows(root: &Section<'_>) -> Vec<Window> {
    let mut names = BTreeMap::new();
    let mut windows = Vec::new();
    for section in root.sections("window") {
        if let Some(name) = section.text("name")
            && let Some(first) = names.insert(name.value.clone(), name.at.clone())
        {
            let what = format!("two windows are called \"{}\", the first at {first}", name.value);
            section.fault(&name.at, what, "give each a name of its own: their rows are told apart by it");
        }
        windows.extend(window(section));
    }
    windows
}

fn window(section: Section<'_>) -> Option<Window> {
    let name = section.needed("name", "climate_1m").filter(|name| {
        let fits = name.value.len() <= 64 && name.value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fits {
            let what = format!("`window.name` = \"{}\" cannot be a name", name.value);
            section.fault(&name.at, what, "up to 64 letters, digits, dots, dashes and underscores");
        }
        fits
    });
    let usual = Names::default();
    let names = Names {
        table: section.text("table").map_or(usual.table, |table| table.value),
        time_column: section.text("time_column").map_or(usual.time_column, |column| column.value),
    };
    let example = "SELECT device, AVG(temp) FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)";
    let sql = section.needed("sql", example);
    let plan = sql.as_ref().and_then(|sql| match plan(&sql.value, &names) {
        Ok(plan) => Some(plan),
        Err(faults) => {
            let first = section.first_letter("sql", &sql.value);
            for fault in faults {
                section.fault(&place(sql, first.as_ref(), &fault), fault.what, fault.remedy);
            }
            None
        }
    });
    let by_device = plan.as_ref().is_some_and(|plan| plan.device_key.is_some());
    let by = if by_device { By::Device } else { By::Source };
    let micros = |key, allowed, default| section.duration(key, allowed, default).as_micros() as i64;
    let watermark = micros("watermark", Duration::ZERO..=YEAR, 30 * SECOND);
    let by = section.choice("by", &[("device", By::Device), ("source", By::Source)], by);
    let idle_timeout = micros("idle_timeout", SECOND / 10..=YEAR, 30 * SECOND);
    let max_ahead = micros("max_ahead", Duration::ZERO..=YEAR, HOUR);
    let max_groups = section.number("max_groups", 1..=10_000_000, 100_000) as usize;
    let late = section.choice("late", &[("forward", Late::Forward), ("drop", Late::Drop)], Late::Forward);
    let checkpoint_interval = section.duration("checkpoint_interval", SECOND..=HOUR, 10 * SECOND);
    section.finish();
    let (name, sql, plan) = (name?.value.into(), sql?.value.into(), plan?);
    let spec = Spec { name, sql, plan, watermark, by, idle_timeout, max_ahead, max_groups, late };
    Some(Window { spec, checkpoint_interval })
}

/// Where in the file a fault of the query is: exactly, if the query stands there letter for letter.
fn place(sql: &Placed<String>, first: Option<&At>, fault: &SqlFault) -> At {
    match first {
        None => sql.at.clone(),
        Some(first) if fault.line == 1 => At { column: first.column + fault.column - 1, ..first.clone() },
        Some(first) => At { line: first.line + fault.line - 1, column: fault.column, ..first.clone() },
    }
}

pub fn forward(section: Section<'_>, has_windows: bool) -> Forward {
    let written = section.text("readings").filter(|written| written.value == "none" && !has_windows);
    if let Some(Placed { at, .. }) = written {
        let what = "`forward.readings` = \"none\" without a `[[window]]` would deliver nothing at all";
        section.fault(&at, what, "add a window whose rows are delivered instead, or write \"all\"");
    }
    let readings = section.choice("readings", &[("all", true), ("none", false)], true);
    section.choice("rows", &[("all", ())], ());
    section.finish();
    Forward { readings }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Environment, parse};
    use super::*;
    use crate::window::plan::Shape;

    const REST: &str = "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://broker\"\n[[source.subscribe]]\nfilter = \"a\"\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n";

    fn read(windows: &str) -> Result<Config, Vec<String>> {
        let read = parse(&format!("{windows}\n{REST}"), Path::new("t.toml"), &Environment::default());
        read.map(|(config, _)| config).map_err(|faults| {
            faults.iter().map(|fault| fault.to_string().trim_start_matches("t.toml:").to_owned()).collect()
        })
    }

    /// The line and column of each fault.
    fn places(windows: &str) -> Vec<String> {
        let faults = read(windows).expect_err(windows);
        faults.iter().map(|fault| fault.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")).collect()
    }

    #[test]
    fn the_least_window_has_every_default() {
        let sql = "SELECT device, AVG(t) FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)";
        let config = read(&format!("[[window]]\nname = \"one\"\nsql = \"{sql}\"")).unwrap();
        let [Window { spec, checkpoint_interval }] = config.windows.as_slice() else { panic!("{config:?}") };
        assert_eq!((&*spec.name, &*spec.sql), ("one", sql));
        assert_eq!((spec.watermark, spec.idle_timeout, spec.max_ahead), (30_000_000, 30_000_000, 3_600_000_000));
        assert_eq!((spec.by, spec.late, spec.max_groups), (By::Device, Late::Forward, 100_000));
        assert_eq!(*checkpoint_interval, Duration::from_secs(10));
        assert_eq!(config.forward, Forward { readings: true });

        let config = read(&format!(
            "[forward]\nreadings = \"none\"\nrows = \"all\"\n[[window]]\nname = \"one\"\nby = \"source\"\nlate = \"drop\"\n\
             watermark = \"0s\"\nsql = \"{sql}\"\n[[window]]\nname = \"two\"\ntable = \"transactions\"\n\
             time_column = \"at\"\nsql = \"SELECT COUNT(*) FROM transactions GROUP BY SESSION(at, INTERVAL '1' HOUR)\"\n"
        ))
        .unwrap();
        assert_eq!(config.forward, Forward { readings: false });
        let spec = &config.windows[0].spec;
        assert_eq!((spec.by, spec.late, spec.watermark), (By::Source, Late::Drop, 0));
        let spec = &config.windows[1].spec;
        assert_eq!((spec.by, spec.plan.shape), (By::Source, Shape::Session { gap: 3_600_000_000 }));
    }

    #[test]
    fn faults_of_a_query_stand_where_it_stands_in_the_file() {
        let wrong = "SELECT MEDIAN(x), 'ü', temp FROM readings\n  WHERE COUNT(*) > 1";
        for (written, expected) in [
            // The window is missing: the place of the SELECT.
            (format!("\"\"\"{wrong}\"\"\""), ["3:10", "3:17", "3:33", "4:9"]),
            (format!("\"\"\"\n{wrong}\"\"\""), ["4:1", "4:8", "4:24", "5:9"]),
            (format!("'''{wrong}'''"), ["3:10", "3:17", "3:33", "4:9"]),
            (format!("'''\n\n  {wrong}\n'''"), ["5:3", "5:10", "5:26", "6:9"]),
            (format!("   \"{}\"", wrong.replace('\n', " ")), ["3:11", "3:18", "3:34", "3:61"]),
            (format!("'{}'", wrong.replace('\n', " ").replace('\'', "")), ["3:8", "3:15", "3:26", "3:29"]),
        ] {
            let found = places(&format!("[[window]]\nname = \"one\"\nsql = {written}"));
            assert_eq!(found[..3], expected[..3], "{written}");
            if written.contains("'ü'") {
                assert_eq!(found, expected, "{written}");
            }
        }
    }

    #[test]
    fn a_query_that_is_not_written_letter_by_letter_has_its_faults_at_its_value() {
        for written in [
            r#""SELECT AVG(\"a.b\") FROM readings""#,
            "\"\"\"SELECT AVG(x)  \\\n   FROM readings\"\"\"",
            r#""SELECT \u0041VG(x) FROM readings""#,
        ] {
            assert_eq!(places(&format!("[[window]]\nname = \"one\"\nsql = {written}")), ["3:7"], "{written}");
        }
    }

    #[test]
    fn windows_line_ends_do_not_move_a_fault() {
        let text = "[[window]]\r\nname = \"one\"\r\nsql = \"\"\"\r\nSELECT x,\r\n  MEDIAN(y) FROM readings\r\n\"\"\"";
        assert_eq!(places(text), ["4:1", "4:8", "5:3"]);
    }

    #[test]
    fn every_other_key_has_its_faults_too() {
        let sql = "sql = \"SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '1' MINUTE)\"";
        for (window, expected) in [
            ("[[window]]\nname = \"a b\"\n{sql}", "2:8: `window.name` = \"a b\" cannot be a name;"),
            ("[[window]]\n{sql}", "1:1: `window.name` is missing;"),
            ("[[window]]\nname = \"a\"", "1:1: `window.sql` is missing;"),
            (
                "[[window]]\nname = \"a\"\n{sql}\n[[window]]\nname = \"a\"\n{sql}",
                "5:8: two windows are called \"a\", the first at t.toml:2:8;",
            ),
            (
                "[[window]]\nname = \"a\"\n{sql}\nlate = \"keep\"",
                "4:8: `window.late` = \"keep\" is not known in this version; write \"forward\" or \"drop\"",
            ),
            ("[[window]]\nname = \"a\"\n{sql}\nmax_groups = 0", "4:14: `window.max_groups` = 0 is out of bounds;"),
            ("[[window]]\nname = \"a\"\n{sql}\nidle = \"5s\"", "4:1: `window.idle` is an unknown key;"),
            ("[forward]\nmeta = \"1h\"", "2:1: `forward.meta` is not in this version of tidegate;"),
            (
                "[forward]\nreadings = \"none\"",
                "2:12: `forward.readings` = \"none\" without a `[[window]]` would deliver nothing at all;",
            ),
            (
                "[forward]\nrows = \"none\"",
                "2:8: `forward.rows` = \"none\" is not known in this version; write \"all\"",
            ),
        ] {
            let Err(found) = read(&window.replace("{sql}", sql)) else { panic!("{window} is fine") };
            assert!(found.len() == 1 && found[0].starts_with(expected), "{window}\n{found:#?}\nexpected {expected}");
        }
    }
}
