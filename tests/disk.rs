//! A disk that fills up, or fails, under the whole gateway: what it then does, and that nothing is lost by it.

use std::time::{Duration, Instant};

use tidegate::simulate::stream::{Faults, Outage};

use crate::support::disk::SmallDisk;
use crate::support::gateway::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

const MEGABYTES: u64 = 96;
const OUTAGE: Duration = Duration::from_secs(6);
const SENDING: Duration = Duration::from_secs(4);

/// A scene whose gateway keeps its data on a small disk, with the link down for a while. `None` where nothing may be
/// mounted.
async fn scene(name: &str, queue: &str) -> Option<(Scene, SmallDisk)> {
    let faults = Faults { outages: vec![Outage { start: Duration::ZERO, length: OUTAGE }], ..Faults::default() };
    let scene = Scene::new(name, Mosquitto::start(PATIENT_BROKER), faults, &format!("{QUICK}[queue]\n{queue}\n")).await;
    let disk = SmallDisk::new(&scene.gateway.dir.path, MEGABYTES)?;
    std::os::unix::fs::symlink(&disk.root, scene.gateway.data_dir()).unwrap();
    Some((scene, disk))
}

/// Fills the disk under a gateway that has its ballast and stands still meanwhile: it would see the disk fill and give the
/// ballast up, and the filler would take that too.
async fn fill(scene: &Scene, disk: &SmallDisk) {
    let ballast = disk.root.join("ballast");
    becomes("the ballast", || ballast.exists()).await;
    scene.gateway.while_stopped(|| disk.fill());
    assert!(ballast.exists());
}

/// Waits for what another process does, and tells nobody.
async fn becomes(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "in vain waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a metric has this value at least, and does what a supervisor does meanwhile. A gateway that finds no room in
/// the middle of a commit ends, with a sentence: what the commit has left is read anew. From then on it knows that the disk is
/// full.
async fn reaches(scene: &mut Scene, metric: &str, least: f64) {
    let mut has_ended = false;
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "{metric} is not {least}: {}", scene.gateway.log());
        if scene.gateway.has_ended() {
            let end = scene.gateway.wait();
            assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
            assert!(end.stderr.contains("is full: free some space"), "{}", end.stderr);
            assert!(!has_ended, "again: {}", end.stderr);
            has_ended = true;
            scene.gateway.spawn();
            scene.gateway.alive().await;
        }
        let page = scene.gateway.get("/metrics").await.map(|(_, text)| text).unwrap_or_default();
        let value = page.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse::<f64>().ok());
        if value.is_some_and(|value| value >= least) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_sources_are_held_back_where_that_is_wanted_and_nothing_is_lost() {
    let Some((mut scene, disk)) = scene("disk-block", "when_full = \"block\"").await else { return };
    scene.gateway.start().await;
    let sending = scene.publish(SENDING);
    scene.metric_reaches("tidegate_queue_readings", 50.0).await;
    fill(&scene, &disk).await;
    reaches(&mut scene, "tidegate_queue_full", 1.0).await;
    sending.await.unwrap();
    assert!(!scene.gateway.has_ended(), "{}", scene.gateway.log());
    disk.free();
    let check = scene.all_arrives().await;
    assert_eq!(check.consumer().holes().len(), 0);
    assert!(scene.gateway.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_the_oldest_are_shed_each_with_its_gap_record() {
    let Some((mut scene, disk)) = scene("disk-shed", "").await else { return };
    scene.gateway.start().await;
    let sending = scene.publish(SENDING);
    scene.metric_reaches("tidegate_queue_readings", 50.0).await;
    fill(&scene, &disk).await;
    reaches(&mut scene, "tidegate_shed_readings_total", 1.0).await;
    disk.free();
    sending.await.unwrap();
    let check = scene.all_arrives().await;
    assert!(check.consumer().explained("readings") > 0, "the gap records say what was shed");
    assert!(scene.gateway.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_gives_the_ballast_up_and_delivers_what_is_queued() {
    let Some((mut scene, disk)) = scene("disk-start", "when_full = \"block\"").await else { return };
    scene.gateway.start().await;
    let sending = scene.publish(SENDING);
    scene.metric_reaches("tidegate_queue_readings", 200.0).await;
    let ballast = disk.root.join("ballast");
    becomes("the ballast", || ballast.exists()).await;
    scene.gateway.kill();
    disk.fill();
    scene.gateway.spawn();
    scene.gateway.alive().await;
    assert!(!ballast.exists(), "{}", scene.gateway.log());
    sending.await.unwrap();
    // What is queued is delivered by and by, on a disk that is still full.
    becomes("what was queued arrives", || scene.check().tally().unique >= 200).await;
    disk.free();
    scene.all_arrives().await;
    becomes("the ballast again", || ballast.exists()).await;
    assert!(scene.gateway.stop().status.success());
    assert!(!disk.root.join("damaged").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_ends_the_gateway_with_a_sentence_and_loses_nothing_acknowledged() {
    let Some((mut scene, disk)) = scene("disk-read-only", "").await else { return };
    scene.gateway.start().await;
    let sending = scene.publish(SENDING);
    scene.metric_reaches("tidegate_queue_readings", 50.0).await;
    disk.fail();
    for _ in 0..2 {
        let ended = scene.gateway.wait();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        let sentences: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("tidegate: ")).collect();
        assert_eq!(sentences.len(), 1, "{}", ended.stderr);
        assert!(sentences[0].contains("ead-only"), "{sentences:?}");
        // A supervisor starts it again, which changes nothing.
        scene.gateway.spawn();
    }
    scene.gateway.wait();
    sending.await.unwrap();
    disk.remount();
    scene.gateway.start().await;
    let check = scene.all_arrives().await;
    assert_eq!(check.consumer().holes().len(), 0);
    assert!(scene.gateway.stop().status.success());
    assert!(!disk.root.join("damaged").exists());
}
