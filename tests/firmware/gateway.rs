//! Emulated sensors, the real gateway and a stream: what was measured is what arrives, whatever is killed in between.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate::simulate::stream::Faults;

use super::board::Board;
use super::micropython::{self, Script, Wire};
use super::{avr, cortex, modbus};
use crate::support::gateway::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{QUICK, Scene};

fn serial(name: &str, port: &Path, keys: &str) -> String {
    format!(
        "[[source]]\ntype = \"serial\"\nname = \"{name}\"\nport = \"{}\"\ndevice = \"{name}\"\n{keys}\n",
        port.display()
    )
}

const FRAMES: &str = "framing = \"cobs\"\nformat = \"cbor\"";

async fn scene(name: &str, sources: &str) -> Scene {
    Scene::with_sources(name, Mosquitto::start(""), sources, Faults::default(), QUICK).await
}

/// Power comes once the gateway listens: an emulator that ran while others were built has dropped readings by now.
async fn power_on(scene: &mut Scene, boards: &mut [&mut Board]) {
    for board in boards.iter_mut() {
        board.unplug();
    }
    scene.gateway.spawn();
    scene.gateway.alive().await;
    for board in boards.iter_mut() {
        board.plug_in();
    }
}

fn number(reading: &Json, field: &str) -> u64 {
    reading[field].as_u64().unwrap_or_else(|| panic!("no {field} in {reading}"))
}

/// Waits until the readings of a device, by a field that counts them, are whole: from `first` (or the first there is) to
/// `last` (or the last there is by now), none missing.
async fn whole(scene: &Scene, device: &str, field: &str, first: Option<u64>, last: Option<u64>) -> Vec<Json> {
    let counts = |readings: &[Json]| readings.iter().map(|reading| number(reading, field)).collect::<BTreeSet<_>>();
    let now = counts(&scene.readings_of(device, 1).await);
    let (first, last) = (first.unwrap_or(*now.first().unwrap()), last.unwrap_or(*now.last().unwrap()));
    let until = Instant::now() + PATIENCE;
    loop {
        let readings = scene.readings_of(device, 1).await;
        let there = counts(&readings);
        let missing: Vec<_> = (first..=last).filter(|n| !there.contains(n)).collect();
        if missing.is_empty() {
            return readings;
        }
        assert!(Instant::now() < until, "of {first} to {last} of {device} these are missing: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What runs for twenty seconds, and what the gateway has to know of it.
struct Plant {
    sources: String,
    boards: Vec<(&'static str, Board)>,
    /// With the wire, where there is one.
    scripts: Vec<(&'static str, Script, Option<Wire>)>,
    broker: Mosquitto,
}

impl Plant {
    /// All that the tools for are there.
    fn new() -> Self {
        let (broker, port) = micropython::tls_broker();
        let mut plant = Self { sources: String::new(), boards: Vec::new(), scripts: Vec::new(), broker };
        if let Some(board) = avr::slow_uno() {
            plant.board("uno-1", FRAMES, board);
        }
        if let Some(board) = avr::uno(true) {
            plant.board("uno-lines", "framing = \"lines\"\nformat = \"json\"", board);
        }
        if let Some(board) = cortex::slow_cortex() {
            plant.board("lm3s-1", FRAMES, board);
        }
        if let Some(board) = modbus::slave(&[], "avr-modbus") {
            plant.sources += &meters(&board.port);
            plant.boards.push(("meter-1", board));
        }
        if let Some((script, wire)) = micropython::by_wire(50) {
            plant.sources += &serial("esp32-1", &wire.ends[1], "framing = \"cobs\"\nformat = \"json\"");
            plant.scripts.push(("esp32-1", script, Some(wire)));
        }
        if let Some(script) = micropython::by_tls(&plant.broker, port, "ca.der", "esp32-tls") {
            plant.sources += &format!(
                "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtts://localhost:{port}\"\nca_file = \"{}\"\n\
                 [[source.subscribe]]\nfilter = \"sensors/+/telemetry\"\ntopic = \"sensors/{{device}}/telemetry\"\n",
                plant.broker.dir.path.join("ca.pem").display()
            );
            plant.scripts.push(("esp32-tls", script, None));
        }
        plant
    }

    fn board(&mut self, name: &'static str, keys: &str, board: Board) {
        self.sources += &serial(name, &board.port, keys);
        self.boards.push((name, board));
    }

    fn voltage(&mut self, millivolts: u16) {
        self.boards
            .iter_mut()
            .filter(|(name, _)| *name != "lm3s-1")
            .for_each(|(_, board)| board.voltage(0, millivolts));
        self.scripts.iter().for_each(|(_, script, _)| script.voltage(millivolts));
    }
}

/// All input registers of the slave, in one request.
fn meters(port: &Path) -> String {
    let registers = [
        ("mv", 0, "u16"),
        ("a1", 1, "u16"),
        ("seconds", 2, "u32"),
        ("volts", 4, "f32"),
        ("n", 6, "u16"),
        ("broken", 7, "u16"),
    ];
    let registers = registers.map(|(field, address, kind)| {
        format!(
            "[[source.unit.register]]\nfield = \"{field}\"\ntable = \"input\"\naddress = {address}\ntype = \"{kind}\"\n"
        )
    });
    format!(
        "[[source]]\ntype = \"modbus\"\nname = \"meters\"\ntransport = \"rtu\"\nport = \"{}\"\nbaud = 19200\nparity = \"even\"\n\
         timeout = \"2s\"\n[[source.unit]]\nunit = 1\ndevice = \"meter-1\"\npoll = \"100ms\"\n{}",
        port.display(),
        registers.concat()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_for_twenty_seconds_and_no_reading_is_lost() {
    let mut plant = Plant::new();
    let names: Vec<_> =
        plant.boards.iter().map(|(name, _)| *name).chain(plant.scripts.iter().map(|(name, ..)| *name)).collect();
    if names.is_empty() {
        return;
    }
    let mut scene = scene("plant", &plant.sources).await;
    plant.scripts.iter_mut().for_each(|(_, script, _)| script.kill());
    power_on(&mut scene, &mut plant.boards.iter_mut().map(|(_, board)| board).collect::<Vec<_>>()).await;
    if names.contains(&"esp32-tls") {
        // A broker confirms what nobody has subscribed to yet, and drops it.
        scene.source_is("plant", &["connected"], "").await;
    }
    plant.scripts.iter_mut().for_each(|(_, script, _)| script.start());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let seconds = start.elapsed().as_secs() as u16;
        plant.voltage(700 + 100 * (seconds / 5));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for name in names {
        // What nobody acknowledges begins when the gateway came; a poll is counted by the slave, which began before.
        let first = if ["uno-lines", "meter-1"].contains(&name) { None } else { Some(0) };
        let readings = whole(&scene, name, "n", first, None).await;
        assert!(readings.len() > 100, "{name}: {} readings", readings.len());
        assert!(readings.iter().all(|reading| reading["dropped"].as_u64().unwrap_or(0) == 0), "{name}");
        let levels = [700, 800, 900, 1_000];
        let between = |reading: &Json| number(reading, "mv") <= 1_010;
        let near = |reading: &Json, level: u64| number(reading, "mv").abs_diff(level) <= 10;
        if name == "lm3s-1" {
            assert!(readings.iter().all(|reading| (1_500..1_524).contains(&number(reading, "mv"))), "{name}");
        } else {
            assert!(readings.iter().all(between), "{name}: {readings:?}");
            assert!(levels.iter().all(|level| readings.iter().any(|one| near(one, *level))), "{name}: {readings:?}");
        }
        if name == "meter-1" {
            let volts = |one: &Json| (one["volts"].as_f64().unwrap() * 1_000.0 - one["mv"].as_f64().unwrap()).abs();
            // The two are converted one after the other: a step of the voltage may fall between them.
            let torn: Vec<_> = readings.iter().filter(|one| volts(one) >= 10.0).collect();
            assert!(torn.len() <= levels.len(), "{torn:?}");
            // A request whose bytes came apart is not answered, and the gateway knows of it.
            let unanswered = r#"tidegate_modbus_faults_total{fault="timeout",source="meters",unit="1"}"#;
            let broken = readings.iter().map(|one| number(one, "broken")).max().unwrap_or(0);
            assert!(broken as f64 <= scene.gateway.metric(unanswered).await, "{broken} requests came broken");
        }
    }
    assert!(scene.letters().len() <= 1, "but for one line that was cut in front: {:?}", scene.letters());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_nothing_that_it_acknowledged_nor_what_the_firmware_still_holds() {
    let (Some(mut uno), Some(mut cortex)) = (avr::slow_uno(), cortex::slow_cortex()) else { return };
    let sources = serial("uno-1", &uno.port, FRAMES) + &serial("lm3s-1", &cortex.port, FRAMES);
    let mut scene = scene("firmware-killed", &sources).await;
    let mut random = fastrand::Rng::with_seed(11);
    power_on(&mut scene, &mut [&mut uno, &mut cortex]).await;
    for life in 1..=6 {
        // At least one reading of each is acknowledged in each life.
        for name in ["uno-1", "lm3s-1"] {
            scene
                .metric_reaches(&format!("tidegate_source_acks_total{{outcome=\"sent\",source=\"{name}\"}}"), 2.0)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
        if life < 6 {
            scene.gateway.kill();
            scene.gateway.start().await;
        }
    }
    for name in ["uno-1", "lm3s-1"] {
        // Not only those of the first lives, where the road is slow.
        scene.readings_of(name, 21).await;
        let readings = whole(&scene, name, "n", Some(0), None).await;
        assert!(readings.iter().all(|reading| number(reading, "dropped") == 0), "there was room for all: {readings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_is_unplugged_is_down_and_comes_back_by_itself() {
    let (Some(mut uno), Some(mut cortex)) = (avr::slow_uno(), cortex::slow_cortex()) else { return };
    let sources = serial("uno-1", &uno.port, FRAMES) + &serial("lm3s-1", &cortex.port, FRAMES);
    let mut scene = scene("firmware-unplugged", &sources).await;
    power_on(&mut scene, &mut [&mut uno, &mut cortex]).await;
    for (name, mut board) in [("uno-1", uno), ("lm3s-1", cortex)] {
        for power in 1..=3 {
            scene.source_is(name, &["connected"], "").await;
            // Without power nothing is held: a sensor begins at 0 each time.
            let begun = |readings: &[Json]| readings.iter().filter(|reading| number(reading, "n") == 0).count();
            let mut readings = scene.readings_of(name, 1).await;
            let until = Instant::now() + PATIENCE;
            while begun(&readings) < power {
                assert!(Instant::now() < until, "{name} does not come back: {:?}", readings.last());
                readings = scene.readings_of(name, readings.len() + 1).await;
            }
            board.unplug();
            scene.source_is(name, &["down"], "").await;
            board.plug_in();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_is_reset_after_each_number_of_frames_loses_nothing() {
    let Some(mut uno) = avr::uno(false) else { return };
    let mut scene = scene("firmware-reset", &serial("uno-1", &uno.port, FRAMES)).await;
    power_on(&mut scene, &mut [&mut uno]).await;
    let frames = "tidegate_source_frames_total{source=\"uno-1\"}";
    // Many and few in turn: after few frames more readings wait than before.
    for after in (0..=70).map(|step| if step % 2 == 0 { 70 - step / 2 } else { step / 2 }) {
        // The HELLO is one.
        let before = scene.gateway.metric(frames).await;
        scene.metric_reaches(frames, before + 1.0 + f64::from(after)).await;
        uno.reset();
    }
    let readings = whole(&scene, "uno-1", "n", Some(0), None).await;
    let last = readings.iter().map(|reading| number(reading, "n")).max().unwrap();
    let readings = whole(&scene, "uno-1", "n", Some(0), Some(last + 50)).await;
    assert!(readings.iter().all(|reading| number(reading, "dropped") == 0), "there was room for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_line_is_counted_and_costs_no_reading() {
    let Some(mut uno) = avr::uno(false) else { return };
    let mut scene = scene("firmware-noise", &serial("uno-1", &uno.port, FRAMES)).await;
    power_on(&mut scene, &mut [&mut uno]).await;
    let mut random = fastrand::Rng::with_seed(5);
    for count in 1..=40 {
        let length = random.usize(1..20);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        uno.noise(&noise);
        scene.readings_of("uno-1", 5 * count).await;
    }
    let readings = whole(&scene, "uno-1", "n", Some(0), None).await;
    assert!(readings.iter().all(|reading| number(reading, "dropped") == 0), "there was room for all");
    let (_, text) = scene.gateway.get("/metrics").await.unwrap();
    let faults = text.lines().filter(|line| line.starts_with("tidegate_source_frame_faults_total{"));
    let faults: f64 = faults.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!(faults >= 5.0, "{faults} faults were counted");
    assert_eq!(scene.letters(), Vec::<Json>::new());
}
