//! The real gateway on a serial line: killed, held back, stopped.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate::simulate::pty::Pty;
use tidegate::simulate::serial::firmware::Firmware;
use tidegate::simulate::stream::Faults;
use tidegate_wire::frame::{Deframer, Kind};
use tokio::time::timeout;

use crate::support::gateway::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{QUICK, Scene};

/// A sensor that measures once in a while, holds what is not acknowledged and sends it again.
pub struct Player {
    pty: Pty,
    firmware: Firmware,
    deframer: Deframer<64>,
    start: Instant,
    pub measured: u64,
    pub acknowledged: BTreeSet<u16>,
}

impl Player {
    pub fn new(pty: Pty) -> Self {
        let firmware = Firmware::boot(1 << 16, "boiler");
        let (deframer, start) = (Deframer::default(), Instant::now());
        Self { pty, firmware, deframer, start, measured: 0, acknowledged: BTreeSet::new() }
    }

    pub fn held(&self) -> usize {
        self.firmware.held()
    }

    pub fn measure(&mut self) {
        self.firmware.measured(format!("{{\"n\":{}}}", self.measured).into_bytes());
        self.measured += 1;
    }

    /// Plays until nothing is held any more.
    pub async fn all_is_acknowledged(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.held() > 0 {
            self.play(Duration::from_millis(5)).await;
            assert!(Instant::now() < until, "{} are never acknowledged", self.held());
        }
    }

    /// Sends what is due, and listens for so long.
    pub async fn play(&mut self, long: Duration) {
        while let Some((_seq, frame)) = self.firmware.due(self.start.elapsed()) {
            // The gateway is away, or does not read: what is cut off here is sent again.
            if timeout(long, self.pty.write(&frame)).await.is_err() {
                break;
            }
        }
        let mut some = [0; 256];
        if let Ok(Ok(length)) = timeout(long, self.pty.read(&mut some)).await {
            let mut bytes = &some[..length];
            while let Some(frame) = self.deframer.next(&mut bytes) {
                if let Ok(frame) = frame {
                    assert_eq!(frame.kind, Kind::Ack);
                    self.firmware.acknowledged(frame.seq);
                    self.acknowledged.insert(frame.seq);
                }
            }
        }
    }
}

pub async fn scene(name: &str, more: &str) -> (Scene, Player) {
    let link = std::env::temp_dir().join(format!("tidegate-{name}-{:08x}", fastrand::u32(..)));
    let player = Player::new(Pty::plug(&link).unwrap());
    let source =
        format!("[[source]]\ntype = \"serial\"\nname = \"wire\"\nport = \"{}\"\nframing = \"cobs\"\n", link.display());
    let scene = Scene::with_sources(name, Mosquitto::start(""), &source, Faults::default(), more).await;
    (scene, player)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_nothing_that_it_acknowledged_nor_what_the_sensor_still_holds() {
    let (mut scene, mut player) = scene("serial-killed", QUICK).await;
    let mut random = fastrand::Rng::with_seed(3);
    for _life in 0..5 {
        scene.gateway.start().await;
        let until = Instant::now() + Duration::from_millis(random.u64(300..900));
        let before = player.acknowledged.len();
        while Instant::now() < until || player.acknowledged.len() < before + 10 {
            player.measure();
            player.play(Duration::from_millis(5)).await;
            assert!(until.elapsed() < PATIENCE, "nothing is acknowledged");
        }
        scene.gateway.kill();
    }
    scene.gateway.start().await;
    player.all_is_acknowledged().await;
    let measured = player.measured;
    let mut least = measured as usize;
    loop {
        let arrived = scene.readings_of("boiler", least).await;
        let distinct: BTreeSet<_> = arrived.iter().map(|fields| fields["n"].as_u64().unwrap()).collect();
        if distinct.len() as u64 == measured {
            break;
        }
        least = arrived.len() + 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_stored_nothing_is_acknowledged_and_all_of_it_comes_in_the_end() {
    let full = format!("[queue]\nmin_free = \"1000GiB\"\nwhen_full = \"block\"\n{QUICK}");
    let (mut scene, mut player) = scene("serial-held", &full).await;
    scene.gateway.spawn();
    scene.gateway.alive().await;
    scene.source_is("wire", &["connected"], "").await;
    (0..50).for_each(|_| player.measure());
    let until = Instant::now() + Duration::from_millis(600);
    while Instant::now() < until {
        player.play(Duration::from_millis(20)).await;
    }
    assert_eq!(player.held(), 50);
    assert!(player.acknowledged.iter().all(|seq| *seq == 0), "only the HELLO: {:?}", player.acknowledged);
    assert_eq!(scene.gateway.stop().status.code(), Some(0));
    scene.gateway.edit(|text| text.replace("1000GiB", "1MiB"));
    scene.gateway.start().await;
    player.all_is_acknowledged().await;
    let readings = scene.readings(50).await;
    let numbers: BTreeSet<_> = readings.iter().map(|(_, fields)| fields["n"].as_u64().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..50));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_says_how_a_serial_source_stands() {
    let (mut scene, player) = scene("serial-status", QUICK).await;
    scene.gateway.start().await;
    scene.source_is("wire", &["connected"], "").await;
    let status: serde_json::Value = serde_json::from_str(&scene.gateway.get("/status").await.unwrap().1).unwrap();
    assert_eq!(status["sources"][0]["kind"], json!("serial"));
    drop(player);
    scene.source_is("wire", &["down"], "plug the device in").await;
}
