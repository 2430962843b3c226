//! The README's first command, and that its check finds what is wrong.

use serde_json::Value as Json;

use crate::support::TempDir;
use crate::support::binary::binary;
use crate::support::gateway::tidegate;
use crate::support::mosquitto::Mosquitto;
use crate::support::moto::Moto;

fn simulate(words: &[&str]) -> (Option<i32>, Json) {
    let ran = tidegate(&[&["simulate", "--json"], words].concat());
    let report = serde_json::from_slice(&ran.stdout);
    (ran.status.code(), report.unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

#[test]
fn a_fleet_comes_through_whole_and_small() {
    let (code, report) = simulate(&["--duration", "4s", "--mqtt-sensors", "50", "--rate", "20", "--seed", "7"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    let generated = report["generated"]["readings"].as_u64().unwrap();
    assert!(generated >= 3_600, "{report}");
    assert_eq!(report["delivered"]["unique"], generated);
    assert_eq!((&report["delivered"]["lost"], &report["gaps"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(report["dead_letters"], report["generated"]["corrupt"]);
    windows_are_right(&report, 500);
    assert!(report["bytes_per_reading"].as_f64().unwrap() <= 6.0, "{report}");
    for key in ["link_bytes_per_reading", "rss_peak_bytes", "cpu_seconds", "disk_bytes_written"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
}

/// At least so many rows were expected, and all of them came, each once.
#[track_caller]
fn windows_are_right(report: &Json, least: u64) {
    let windows = &report["windows"];
    assert!(windows["expected"].as_u64().unwrap() >= least, "{report}");
    assert_eq!((&windows["delivered"], &windows["wrong"]), (&windows["expected"], &0.into()), "{report}");
    assert_eq!((&windows["unchecked"], &windows["not_independent"]), (&Json::Null, &Json::Array(vec![])), "{report}");
    assert!(windows["bytes"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn windows_close_as_they_must_have_and_at_the_end_of_the_stream() {
    let (code, report) = simulate(&["--duration", "20s", "--seed", "3"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    windows_are_right(&report, 500);
}

#[test]
fn a_gateway_that_is_killed_while_windows_are_open_counts_each_reading_once() {
    let mut random = fastrand::Rng::with_seed(30);
    let mut at = 0.0;
    let mut moment = || {
        at += 0.4 + 0.8 * random.f64();
        format!("{at:.3}")
    };
    let kills: Vec<String> = (0..30).flat_map(|_| ["--kill-after".to_owned(), moment()]).collect();
    let kills: Vec<&str> = kills.iter().map(String::as_str).collect();
    let (code, report) = simulate(&[&["--duration", "26s", "--seed", "3"][..], &kills].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert_eq!(report["kills"], 30);
    windows_are_right(&report, 500);
    assert!(report["windows"]["duplicates"].as_u64().unwrap() > 0, "no row was delivered between two kills: {report}");
}

#[test]
fn windows_go_on_while_the_link_is_down() {
    let (code, report) = simulate(&["--duration", "10s", "--seed", "3", "--outage", "1s+11s", "--throttle", "0.3"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    windows_are_right(&report, 300);
}

#[test]
fn outage_throttles_and_a_kill_lose_nothing() {
    let faults = ["--outage", "1s+2s", "--throttle", "0.3", "--kill-after", "2", "--kill-after", "3.5"];
    let (code, report) = simulate(&[&["--duration", "5s", "--seed", "7"][..], &faults].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert_eq!(report["delivered"]["lost"], 0, "{report}");
    assert!(report["kinesis"]["throttled"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["kills"], 2);
    windows_are_right(&report, 100);
}

/// Noise, cut frames, flipped bits and unplugging; meters that refuse.
#[test]
fn bad_wires_lose_nothing_and_what_came_broken_is_counted() {
    let sensors = ["--mqtt-sensors", "2", "--serial-sensors", "6", "--modbus-units", "3", "--rate", "20"];
    let (code, report) = simulate(&[&["--duration", "8s", "--seed", "5"][..], &sensors].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert_eq!(report["delivered"]["lost"], 0, "{report}");
    assert_eq!(report["delivered"]["unique"], report["generated"]["readings"], "{report}");
    let wires = &report["wires"];
    for (done, least) in [("corrupt_frames", 20), ("exceptions", 1)] {
        assert!(wires[done].as_u64().unwrap() >= least, "{report}");
        assert_eq!(wires[done], wires[format!("{done}_counted")], "{report}");
    }
    assert!(wires["unplugged"].as_u64().unwrap() >= 3, "{report}");
    windows_are_right(&report, 100);
}

#[test]
fn bad_wires_and_kills_lose_nothing_that_was_acknowledged() {
    let sensors = ["--mqtt-sensors", "2", "--serial-sensors", "6", "--modbus-units", "3", "--rate", "20"];
    let kills = ["--kill-after", "1.5", "--kill-after", "3", "--kill-after", "4.2"];
    let (code, report) = simulate(&[&["--duration", "6s", "--seed", "6"][..], &sensors, &kills].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    let count = |what: &str| report["delivered"][what].as_u64().unwrap();
    assert_eq!(count("lost"), 0, "{report}");
    assert_eq!(count("unique") + count("unprotected"), report["generated"]["readings"], "{report}");
    // Three of eleven sensors are meters: of what they answered, most arrived.
    assert!(2 * 11 * count("unprotected") < 3 * report["generated"]["readings"].as_u64().unwrap(), "{report}");
}

/// The check finds what it looks for: a stream that lies once is found out.
#[test]
fn a_stream_that_loses_changes_or_reorders_a_record_is_found_out() {
    let dir = TempDir::new("sabotage");
    let file = dir.path.join("quick.toml");
    std::fs::write(&file, QUICK).unwrap();
    // Of one kind, so that it is known whose row will be wrong.
    let quick = ["--duration", "3s", "--serial-sensors", "0", "--config", file.to_str().unwrap(), "--sabotage"];
    let found_out = |sabotage: &str, verdict: &str| {
        let (code, report) = simulate(&[&quick[..], &[sabotage]].concat());
        let said = report["verdict"].as_str().unwrap();
        assert!(code == Some(1) && said.contains(verdict), "{sabotage}: {report}");
        let count = |of: &str, what: &str| report[of][what].as_u64().unwrap();
        let of_rows = sabotage.ends_with("-rows");
        assert_eq!(count("delivered", "lost") > 0, !of_rows, "{sabotage}: {report}");
        assert!(!of_rows || count("windows", "wrong") > 0, "{sabotage}: {report}");
        let is_change = sabotage.starts_with("change");
        assert_eq!(report["gaps"].as_u64().unwrap() > 0, !is_change, "{sabotage}: {report}");
    };
    let cases = [
        ("lose", "readings are lost"),
        ("swap", "readings are lost"),
        ("change", "1 readings arrived changed: reading "),
        ("lose-rows", "rows are wrong: the row of \"sums\" of sensor-"),
        ("swap-rows", "rows are wrong: the row of \"sums\" of sensor-"),
        ("change-rows", "windows: 1 rows are wrong: the row of \"sums\" of sensor-"),
    ];
    std::thread::scope(|scope| {
        for (sabotage, verdict) in cases {
            scope.spawn(move || found_out(sabotage, verdict));
        }
    });
}

/// A user's windows run instead of the usual ones; those that cannot be worked out plainly are named.
#[test]
fn a_users_own_windows_are_checked_as_well() {
    let dir = TempDir::new("own-windows");
    let file = dir.path.join("own.toml");
    let own = "[forward]\nreadings = \"none\"\n[[window]]\nname = \"high\"\n\
               sql = \"SELECT device, PERCENTILE(temp, 0.9) AS p FROM readings WHERE hum > 1 \
               GROUP BY device, TUMBLE(time, INTERVAL '1' SECOND) HAVING COUNT(*) > 1\"\n";
    std::fs::write(&file, format!("{QUICK}{own}")).unwrap();
    let (code, report) = simulate(&["--duration", "3s", "--config", file.to_str().unwrap()]);
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert!(report["windows"]["expected"].as_u64().unwrap() >= 100, "{report}");
    assert_eq!(report["windows"]["not_independent"], serde_json::json!(["high"]), "{report}");
}

/// A user's configuration: its doors and its road are led into the simulation.
const QUICK: &str = r#"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1"
[[source.subscribe]]
filter = "a"
format = "json"
[batch]
max_age = "200ms"
[kinesis]
stream = "telemetry"
region = "eu-west-1"
[[window]]
name = "sums"
sql = "SELECT device, SUM(temp) AS sum FROM readings GROUP BY device, TUMBLE(time, INTERVAL '500' MILLISECOND)"
watermark = "500ms"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_runs_against_a_real_broker_and_a_stream_that_is_not_ours() {
    let mosquitto = Mosquitto::start("");
    let Some(moto) = Moto::start("telemetry", 2).await else { return };
    let dir = TempDir::new("real");
    let file = dir.path.join("quick.toml");
    std::fs::write(&file, QUICK).unwrap();
    let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let ends = ["--mqtt", &broker, "--endpoint", &moto.url(), "--config", file.to_str().unwrap()];
    let words = [&["simulate", "--json", "--duration", "2s"][..], &ends].concat();
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let ran = binary().args(words).envs(keys).output().unwrap();
    let report: Json = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!((ran.status.code(), &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert!(report["delivered"]["unique"].as_u64().unwrap() > 300, "{report}");
    windows_are_right(&report, 50);
    assert!(moto.records("telemetry").await.len() as u64 >= report["kinesis"]["records"].as_u64().unwrap());
}

#[test]
fn a_file_is_replayed_to_its_end() {
    let dir = TempDir::new("replay");
    let file = dir.path.join("boiler.csv");
    let rows: String = (0..500).map(|n| format!("2026-01-02 03:{:02}:{:02},{}.5,x\n", n / 60, n % 60, n)).collect();
    std::fs::write(&file, format!("timestamp,value,note\n{rows}")).unwrap();
    let (code, report) = simulate(&["--replay", file.to_str().unwrap(), "--speed", "100000"]);
    assert_eq!((code, &report["delivered"]["unique"]), (Some(0), &500.into()), "{report}");
    // An hour of three columns and the counter, hops of a day, one session.
    windows_are_right(&report, 6);
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_sentence() {
    let dir = TempDir::new("simulate");
    std::fs::write(dir.path.join("old"), "").unwrap();
    let kept = tidegate(&["simulate", "--keep", dir.path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&kept.stderr).contains("is not empty: name a new directory"), "{kept:?}");
    let nobody = tidegate(&["simulate", "--mqtt-sensors", "0", "--serial-sensors", "0"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("there is no sensor"), "{nobody:?}");
    let many = tidegate(&["simulate", "--modbus-units", "248"]);
    assert!(many.status.code() == Some(2) && String::from_utf8_lossy(&many.stderr).contains("247"), "{many:?}");
    let nowhere = tidegate(&["simulate", "--endpoint", "foo"]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("write http://HOST:PORT"), "{nowhere:?}");
}
