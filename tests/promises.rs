//! One test for each sentence that the README promises, in its order, on the real binary, a real Mosquitto and real
//! HTTP.

use std::collections::{HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate::reading::Value;
use tidegate::simulate::stream::{Faults, Outage};
use tidegate::simulate::windows::LIVE;

use crate::serial;
use crate::support::TempDir;
use crate::support::gateway::{PATIENCE, tidegate};
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

const COMMITTED: &str = r#"tidegate_readings_total{outcome="committed",source="plant"}"#;

fn outage(start: u64, length: u64) -> Faults {
    let outage = Outage { start: Duration::from_secs(start), length: Duration::from_secs(length) };
    Faults { outages: vec![outage], ..Faults::default() }
}

/// From now on every fsync of the process fails; `None`: there is nothing to do it with.
async fn failing_fsyncs(pid: u32) -> Option<Child> {
    let tracer = Command::new("strace")
        .args(["-f", "-q", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO", "-p"])
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .spawn();
    let tracer = match tracer {
        Ok(tracer) => tracer,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "strace is missing: {error}");
            eprintln!("SKIPPED: no strace; `bash tests/run` installs it");
            return None;
        }
    };
    let status = format!("/proc/{pid}/status");
    let until = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n") {
        assert!(Instant::now() < until, "strace does not attach");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some(tracer)
}

/// 1. A PUBACK, or an ACK on a serial line, leaves only after the reading it answers is on stable storage (fsync has
///    returned).
///
/// Once every fsync fails, the broker must not see a PUBACK any more, and the process must end.
#[tokio::test(flavor = "multi_thread")]
async fn a_puback_leaves_only_after_the_fsync() {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let mut scene = Scene::new("promise-1", broker, Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene.broker.publish("sensors/a/telemetry", br#"{"x":1}"#, &[]);
    scene.readings(1).await;
    assert_eq!(scene.broker.lines(&["Received PUBACK from promise-1"]).len(), 1);

    let Some(mut tracer) = failing_fsyncs(scene.gateway.pid()).await else { return };
    scene.broker.publish("sensors/a/telemetry", br#"{"x":2}"#, &[]);
    let ended = scene.gateway.wait();
    tracer.wait().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("nothing unwritten was acknowledged"), "{}", ended.stderr);
    assert_eq!(scene.broker.lines(&["Sending PUBLISH to promise-1"]).len(), 2, "it was handed out");
    assert_eq!(scene.broker.lines(&["Received PUBACK from promise-1"]).len(), 1, "and never acknowledged");

    scene.gateway.start().await;
    let readings = scene.readings(2).await;
    assert_eq!(readings.last().unwrap(), &("a".to_owned(), json!({ "x": 2 })));
}

/// The same on a serial line: once every fsync fails, the sensor sees no ACK any more, and still holds its reading.
#[tokio::test(flavor = "multi_thread")]
async fn an_ack_on_a_serial_line_leaves_only_after_the_fsync() {
    let (mut scene, mut sensor) = serial::lives::scene("promise-1-serial", QUICK).await;
    scene.gateway.start().await;
    sensor.measure();
    sensor.all_is_acknowledged().await;

    let Some(mut tracer) = failing_fsyncs(scene.gateway.pid()).await else { return };
    sensor.measure();
    let before = sensor.acknowledged.clone();
    let until = Instant::now() + PATIENCE;
    while !scene.gateway.has_ended() {
        sensor.play(Duration::from_millis(10)).await;
        assert!(Instant::now() < until, "the gateway goes on");
    }
    let ended = scene.gateway.wait();
    tracer.wait().unwrap();
    sensor.play(Duration::from_millis(100)).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert_eq!((sensor.held(), &sensor.acknowledged), (1, &before), "it was sent, and never acknowledged");

    scene.gateway.start().await;
    sensor.all_is_acknowledged().await;
    let readings = scene.readings(2).await;
    assert!(readings.iter().any(|reading| *reading == ("boiler".to_owned(), json!({ "n": 1 }))), "{readings:?}");
}

/// 2. A gateway killed at any moment delivers, once it runs again, everything it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_at_any_moment_delivers_everything_it_acknowledged() {
    let mut scene = Scene::new("promise-2", Mosquitto::start(PATIENT_BROKER), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    let fleet = scene.publish(Duration::from_secs(5));
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(random.u64(300..1_200))).await;
        scene.gateway.kill();
        scene.gateway.start().await;
    }
    fleet.await.unwrap();
    scene.all_arrives().await;
}

/// 3. Each acknowledged reading is delivered to Kinesis at least once, put among the dead letters with the reason, or
///    shed by the retention policy with a record that says what is missing.
///
/// The first two; the third is promise 8.
#[tokio::test(flavor = "multi_thread")]
async fn each_reading_is_delivered_or_a_dead_letter_with_the_reason() {
    let limits = "[[source]]\ntype = \"mqtt\"\nname = \"small\"\nmax_payload = \"1KiB\"\n";
    let broker = Mosquitto::start(PATIENT_BROKER);
    let more = format!(
        "{limits}url = \"mqtt://127.0.0.1:{}\"\n[[source.subscribe]]\nfilter = \"small/+\"\nformat = \"json\"\n{QUICK}",
        broker.port
    );
    let mut scene = Scene::new("promise-3", broker, Faults::default(), &more).await;
    scene.gateway.start().await;
    scene.metric_reaches("tidegate_source_connected{source=\"small\"}", 1.0).await;
    let fleet = scene.publish(Duration::from_secs(2));
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(2_000));
    for payload in ["[1,", "{}", r#"{"x":null}"#, &large] {
        scene.broker.publish("small/a", payload.as_bytes(), &[]);
    }
    fleet.await.unwrap();
    let check = scene.all_arrives().await;
    assert!(check.tally().unique + 4 > scene.ledger.total());
    let listed = tidegate(&["dead", "list", "--json", "-n", "1000", "-c", scene.gateway.config().to_str().unwrap()]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let letters: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons = |origin: &str| -> Vec<&str> {
        letters
            .iter()
            .filter(|letter| letter["origin"] == origin)
            .map(|letter| letter["reason"].as_str().unwrap())
            .collect()
    };
    assert_eq!(reasons("small/a"), ["malformed", "empty", "empty", "oversize"], "{listed}");
    assert_eq!(letters.len() as u64, 4 + scene.ledger.corrupt());
    let oversize = letters.iter().find(|letter| letter["reason"] == "oversize").unwrap();
    assert_eq!(oversize["length"], large.len());
    assert_eq!(oversize["sha256"].as_str().unwrap().len(), 64);
}

/// 4. Repeats are recognisable: `(gateway, epoch, stream, offset)` names a reading for ever, and a consumer needs one
///    remembered pair a lane to drop them.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_recognised_by_the_consumers_rule() {
    let faults = Faults { seed: 4, cut: 0.5, ..Faults::default() };
    let mut scene = Scene::new("promise-4", Mosquitto::start(PATIENT_BROKER), faults, QUICK).await;
    scene.gateway.start().await;
    let fleet = scene.publish(Duration::from_secs(4));
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        scene.gateway.kill();
        scene.gateway.start().await;
    }
    fleet.await.unwrap();
    let check = scene.all_arrives().await;
    assert!(check.tally().duplicates > 100, "records cut off after they were stored come again");

    let mut named = HashMap::new();
    for record in scene.records() {
        for row in record.rows {
            let name =
                (record.envelope.gateway.clone(), record.envelope.epoch, record.envelope.stream.clone(), row.offset);
            let reading = format!("{row:?}");
            let before = named.entry(name).or_insert_with(|| reading.clone());
            assert_eq!(*before, reading, "one name, two readings");
        }
    }
    let distinct: HashSet<_> = named.keys().map(|(_, epoch, stream, offset)| (epoch, stream, offset)).collect();
    assert_eq!(distinct.len(), named.len());
    assert_eq!(named.len() as u64, check.tally().unique + check.tally().door_repeats);
}

/// 5. Per device, readings arrive in the order in which they were committed.
#[tokio::test(flavor = "multi_thread")]
async fn per_device_readings_arrive_in_the_order_of_their_commit() {
    let faults = Faults { seed: 5, throttle: 0.4, failure: 0.2, cut: 0.2, ..Faults::default() };
    let config = "[batch]\nmax_age = \"50ms\"\n";
    let mut scene = Scene::new("promise-5", Mosquitto::start(PATIENT_BROKER), faults, config).await;
    let text = std::fs::read_to_string(scene.gateway.config()).unwrap();
    std::fs::write(scene.gateway.config(), text.replace("[kinesis]\n", "[kinesis]\nlanes = 4\n")).unwrap();
    scene.gateway.start().await;
    scene.publish(Duration::from_secs(4)).await.unwrap();
    let check = scene.all_arrives().await;
    assert_eq!(check.tally().out_of_order, 0);
    let counts = scene.stream.counts();
    assert!(counts.throttled > 3 && counts.failed > 3 && counts.cut > 3, "{counts:?}");

    let mut last: HashMap<String, (u64, u64)> = HashMap::new();
    let mut lanes = HashSet::new();
    for record in scene.records() {
        lanes.insert(record.envelope.lane);
        for row in record.rows {
            let (at, device) = ((record.envelope.epoch, row.offset), row.series.device.to_string());
            // Repeats go back; what is new never does.
            let high = last.entry(device).or_insert(at);
            *high = at.max(*high);
        }
    }
    assert!(lanes.len() > 1, "ten devices in one lane of four");
    assert_eq!(last.len(), scene.sensors.len());
}

/// 6. While Kinesis is away or throttles, nothing is lost and nothing overtakes; delivery goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn while_kinesis_is_away_or_throttles_nothing_is_lost_and_nothing_overtakes() {
    let faults = Faults { seed: 6, throttle: 0.5, ..outage(1, 3) };
    let mut scene = Scene::new("promise-6", Mosquitto::start(PATIENT_BROKER), faults, QUICK).await;
    scene.gateway.start().await;
    let fleet = scene.publish(Duration::from_secs(5));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(scene.stream.is_out());
    let before = scene.gateway.metric(COMMITTED).await;
    scene.metric_reaches(COMMITTED, before + 50.0).await;
    assert_eq!(scene.gateway.get("/readyz").await.unwrap().0, 200, "offline is not unready");
    fleet.await.unwrap();
    let check = scene.all_arrives().await;
    assert_eq!(check.consumer().holes(), []);
    assert!(scene.stream.counts().throttled > 0);
}

/// 7. A payload that cannot be read becomes a dead letter and is acknowledged: it never blocks and never loops.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_cannot_be_read_neither_blocks_nor_loops() {
    let mut scene = Scene::new("promise-7", Mosquitto::start(PATIENT_BROKER), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene.broker.publish("sensors/a/telemetry", b"\xFF\x00not JSON", &[]);
    scene.broker.publish("sensors/a/telemetry", br#"[{"x":1},{"x":[]},{"x":2}]"#, &[]);
    scene.broker.publish("sensors/a/telemetry", br#"{"x":3}"#, &[]);
    let readings = scene.readings(3).await;
    let values: Vec<_> = readings.iter().map(|(_, fields)| fields["x"].as_i64().unwrap()).collect();
    assert_eq!(values, [1, 2, 3], "one bad element goes alone");
    scene.metric_reaches("tidegate_dead_letters_total{reason=\"malformed\"}", 1.0).await;
    let until = Instant::now() + PATIENCE;
    while scene.broker.lines(&["Received PUBACK from promise-7"]).len() < 3 {
        assert!(Instant::now() < until, "not acknowledged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A restart brings nothing back: the broker has nothing left to send.
    scene.gateway.kill();
    scene.gateway.start().await;
    scene.broker.publish("sensors/a/telemetry", br#"{"x":4}"#, &[]);
    scene.readings(4).await;
    assert_eq!(scene.broker.lines(&["Sending PUBLISH to promise-7"]).len(), 4);
}

/// Payloads of 100 KB that no compression makes smaller, numbered.
fn bulky(numbers: std::ops::Range<u32>) -> String {
    let mut random = fastrand::Rng::with_seed(8);
    let mut lines = String::new();
    for n in numbers {
        let noise: String = (0..100_000).map(|_| random.alphanumeric()).collect();
        lines += &format!("{{\"n\":{n},\"noise\":\"{noise}\"}}\n");
    }
    lines
}

const SMALL_QUEUE: &str = "[queue]\nmax_bytes = \"32MiB\"\n";

/// 8. When the queue is full, the oldest readings go first, each loss with a gap record …
#[tokio::test(flavor = "multi_thread")]
async fn when_the_queue_is_full_the_oldest_go_first_each_loss_with_a_gap_record() {
    let config = format!("{SMALL_QUEUE}{QUICK}");
    let mut scene = Scene::new("promise-8a", Mosquitto::start(PATIENT_BROKER), outage(0, 3_600), &config).await;
    scene.gateway.start().await;
    scene.broker.publish_lines("sensors/a/telemetry", &bulky(0..300));
    scene.metric_reaches(COMMITTED, 300.0).await;
    let shed = scene.gateway.metric("tidegate_shed_readings_total").await;
    assert!(shed > 50.0, "{shed}");
    // The link comes back with a new stream; the gateway need not be told of more than its address.
    let online = Scene::new("promise-8a-online", Mosquitto::start(""), Faults::default(), "").await;
    scene.gateway.stop();
    let text = std::fs::read_to_string(scene.gateway.config()).unwrap();
    std::fs::write(scene.gateway.config(), text.replace(&scene.stream.url(), &online.stream.url())).unwrap();
    scene.stream = online.stream;
    scene.gateway.start().await;

    let until = Instant::now() + PATIENCE;
    loop {
        let check = scene.check();
        let (delivered, explained) = (scene.readings(1).await, check.consumer().explained("readings"));
        if delivered.len() as u64 + explained >= 300 {
            let numbers: Vec<_> = delivered.iter().map(|(_, fields)| fields["n"].as_u64().unwrap()).collect();
            // What is on the road when the queue is full is delivered; of what waits, the oldest go.
            let gone: Vec<_> = (0..300).filter(|number| !numbers.contains(number)).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
            assert!(gone.iter().all(|number| *number < 250), "the oldest go, and not {gone:?}");
            assert_eq!(explained, gone.len() as u64);
            assert_eq!(check.consumer().unexplained().count(), 0);
            break;
        }
        assert!(Instant::now() < until, "{} delivered, {explained} explained", delivered.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// 8. … or, with `when_full = "block"`, sources are held back and nothing goes.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_queue_is_full_and_blocks_nothing_goes() {
    let config = format!("{SMALL_QUEUE}when_full = \"block\"\n{QUICK}");
    let mut scene = Scene::new("promise-8b", Mosquitto::start(PATIENT_BROKER), outage(0, 3_600), &config).await;
    scene.gateway.start().await;
    scene.broker.publish_lines("sensors/a/telemetry", &bulky(0..300));
    scene.metric_reaches("tidegate_queue_full", 1.0).await;
    assert!(scene.gateway.metric(COMMITTED).await < 300.0);
    let online = Scene::new("promise-8b-online", Mosquitto::start(""), Faults::default(), "").await;
    scene.gateway.stop();
    let text = std::fs::read_to_string(scene.gateway.config()).unwrap();
    std::fs::write(scene.gateway.config(), text.replace(&scene.stream.url(), &online.stream.url())).unwrap();
    scene.stream = online.stream;
    scene.gateway.start().await;
    let numbers: HashSet<_> = loop {
        let readings = scene.readings(300).await;
        let numbers: HashSet<_> = readings.iter().map(|(_, fields)| fields["n"].as_u64().unwrap()).collect();
        if numbers.len() == 300 || readings.len() > 600 {
            break numbers;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(numbers.len(), 300);
    assert_eq!(scene.check().consumer().explained("readings"), 0);
}

/// 9. A gateway that was stopped misses nothing that its broker keeps for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_misses_nothing() {
    let mut scene = Scene::new("promise-9", Mosquitto::start(PATIENT_BROKER), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    let fleet = scene.publish(Duration::from_secs(3));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(scene.gateway.stop().status.code(), Some(0));
    fleet.await.unwrap();
    let here = scene.check().tally().unique;
    assert!(here < scene.ledger.total() / 2, "most came while it was away");
    scene.gateway.start().await;
    scene.all_arrives().await;
}

/// 10. Rows are what the committed readings make up, each reading in them once and each row under one name, whatever
///     is killed or cut off in between.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_what_the_committed_readings_make_up() {
    let faults = Faults { seed: 10, cut: 0.3, ..Faults::default() };
    let config = format!("{QUICK}{LIVE}");
    let mut scene = Scene::new("promise-10", Mosquitto::start(PATIENT_BROKER), faults, &config).await;
    scene.gateway.start().await;
    let fleet = scene.publish(Duration::from_secs(8));
    let mut random = fastrand::Rng::with_seed(10);
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(random.u64(600..1_300))).await;
        scene.gateway.kill();
        scene.gateway.start().await;
    }
    fleet.await.unwrap();
    scene.all_arrives().await;
    scene.gateway.close_windows().await;
    let until = Instant::now() + PATIENCE;
    let mut rows = scene.check().windows().judge();
    while rows.wrong() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rows = scene.check().windows().judge();
    }
    assert_eq!(rows.wrong(), 0, "{rows:?}");
    assert!(rows.expected > 100 && rows.delivered == rows.expected, "{rows:?}");
}

/// 11. With `forward.readings = "none"` a reading is let go only when the windows have it on stable storage, in a row or
///     in their state; one that they cannot take is delivered as it is: too late, more groups than `max_groups`, or
///     queued before they were asked for.
#[tokio::test(flavor = "multi_thread")]
async fn where_only_rows_are_wanted_each_reading_is_in_one_or_delivered_as_it_is() {
    let all = format!(
        "{QUICK}[forward]\nreadings = \"all\"\n[[window]]\nname = \"w\"\nwatermark = \"3s\"\nmax_groups = 20\nsql = \
         \"SELECT device, COUNT(*) AS n FROM readings GROUP BY device, TUMBLE(time, INTERVAL '2' SECOND)\"\n"
    );
    let mut scene = Scene::new("promise-11", Mosquitto::start(PATIENT_BROKER), outage(0, 4), &all).await;
    scene.gateway.start().await;
    scene.broker.publish("sensors/early/telemetry", br#"{"x":6}"#, &[]);
    scene.metric_reaches(COMMITTED, 1.0).await;
    scene.all_is_acknowledged("promise-11").await;
    scene.gateway.kill();
    scene.gateway.edit(|config| config.replace("readings = \"all\"", "readings = \"none\""));
    scene.gateway.start().await;
    scene.publish(Duration::from_secs(5)).await.unwrap();
    scene.metric_reaches(COMMITTED, scene.ledger.total() as f64).await;
    scene.all_is_acknowledged("promise-11").await;
    scene.gateway.kill();
    scene.gateway.start().await;
    let (topic, late) = (format!("sensors/{}/telemetry", scene.sensors[0].device), br#"{"ts":1750000000,"x":7}"#);
    scene.broker.publish(&topic, late, &[]);
    scene.metric_reaches(COMMITTED, 1.0).await;
    scene.gateway.close_windows().await;

    let until = Instant::now() + PATIENCE;
    loop {
        let records = scene.records();
        let (rows, readings): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.envelope.stream == "rows");
        let early: HashSet<_> = readings.iter().flat_map(|record| &record.rows).map(|row| row.offset).collect();
        let rows: HashMap<_, _> = rows.iter().flat_map(|record| &record.rows).map(|row| (row.offset, row)).collect();
        let tagged = |tag: &str| rows.values().filter(|row| row.series.tags == [(tag.into(), "true".into())]).count();
        let counted: u64 = rows.values().filter(|row| row.series.window.is_some()).map(|row| count(row)).sum();
        // Only what was queued before is delivered as a reading; it is in a row as well.
        let (late, overflow) = (tagged("late"), tagged("overflow") as u64);
        let total = scene.ledger.total() + 1;
        if counted + overflow == total && late == 1 && early.len() == 1 {
            assert!(overflow > 0 && overflow < total / 2, "{overflow} of {total} readings found no group");
            break;
        }
        assert!(counted + overflow <= total && late <= 1 && early.len() <= 1);
        assert!(Instant::now() < until, "{counted} counted, {overflow} beyond of {total}, {late} late, {early:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The field `n` of a row.
fn count(row: &tidegate_wire::Row) -> u64 {
    match row.fields.iter().find(|(name, _)| &**name == "n") {
        Some((_, Value::I64(n))) => n.unsigned_abs(),
        other => panic!("{other:?}"),
    }
}

/// 12. A broken configuration is refused before anything starts, with every fault named by line and column.
#[test]
fn a_broken_configuration_is_refused_before_anything_starts() {
    let dir = TempDir::new("promise-12");
    let file = dir.path.join("tidegate.toml");
    let data = dir.path.join("data");
    let text =
        format!("[gateway]\ndata_dir = \"{}\"\nidd = \"x\"\n[kinesis]\nstream = 5\nregion = \"r\"\n", data.display());
    std::fs::write(&file, text).unwrap();
    let ended = tidegate(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    for place in ["3:1: `gateway.idd`", "5:10: `kinesis.stream`", "1:1: "] {
        assert!(said.contains(&format!("{}:{place}", file.display())), "{said}");
    }
    assert!(!data.exists(), "nothing was started");
}
