//! The README's first command, and that its check finds what is wrong.

use serde_json::Value as Json;

use crate::support::TempDir;
use crate::support::gateway::tidegate;

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
    assert!(report["bytes_per_reading"].as_f64().unwrap() <= 6.0, "{report}");
    for key in ["link_bytes_per_reading", "rss_peak_bytes", "cpu_seconds", "disk_bytes_written"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
}

#[test]
fn outage_throttles_and_a_kill_lose_nothing() {
    let faults = ["--outage", "1s+2s", "--throttle", "0.3", "--kill-after", "2", "--kill-after", "3.5"];
    let (code, report) = simulate(&[&["--duration", "5s", "--seed", "7"][..], &faults].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &"ok".into()), "{report}");
    assert_eq!(report["delivered"]["lost"], 0, "{report}");
    assert!(report["kinesis"]["throttled"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["kills"], 2);
}

#[test]
fn a_file_is_replayed_to_its_end() {
    let dir = TempDir::new("replay");
    let file = dir.path.join("boiler.csv");
    let rows: String = (0..500).map(|n| format!("2026-01-02 03:{:02}:{:02},{}.5,x\n", n / 60, n % 60, n)).collect();
    std::fs::write(&file, format!("timestamp,value,note\n{rows}")).unwrap();
    let (code, report) = simulate(&["--replay", file.to_str().unwrap(), "--speed", "100000"]);
    assert_eq!((code, &report["delivered"]["unique"]), (Some(0), &500.into()), "{report}");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_sentence() {
    let dir = TempDir::new("simulate");
    std::fs::write(dir.path.join("old"), "").unwrap();
    let kept = tidegate(&["simulate", "--keep", dir.path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&kept.stderr).contains("is not empty: name a new directory"), "{kept:?}");
    let nobody = tidegate(&["simulate", "--mqtt-sensors", "0"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("there is no sensor"), "{nobody:?}");
}
