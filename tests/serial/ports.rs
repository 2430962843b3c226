//! Ports that are not there, are there twice, go and come back.

use serde_json::json;
use tidegate::source::Item;

use super::rig::{Rig, Sensor};

#[tokio::test]
async fn a_port_is_opened_whenever_it_appears_and_again_after_each_unplugging() {
    let mut rig = Rig::serial("ports", "", 10);
    assert!(rig.is_down("there is no ").await.ends_with("plug the device in, or correct `port`"));
    for n in 0..4 {
        let sensor = rig.plug().await;
        sensor.send(format!("{n}\nunfin").as_bytes()).await;
        assert_eq!(rig.reading().await.1, json!({"value": n}), "what was cut off is not in front of it");
        drop(sensor);
        rig.is_down("was unplugged").await;
        assert!(matches!(rig.next().await, Item::Down(_)), "the log knows that the source is down");
    }
    assert_eq!(rig.metric("source_connects_total{source=\"wire\"}"), 4);
    assert_eq!(rig.metric("source_connected{source=\"wire\"}"), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_pattern_has_to_fit_exactly_one_device() {
    let mut rig = Rig::serial("ports-glob", "port = \"DIR/usb-*\"", 10);
    rig.is_down("no device fits ").await;
    let path = |rig: &Rig, name: &str| rig.dir.path.join(name);
    let (first, second) = (Sensor::at(&path(&rig, "usb-a")), Sensor::at(&path(&rig, "usb-b")));
    // It may have found the first before the second was there.
    if rig.metric("source_connected{source=\"wire\"}") == 0 {
        rig.is_down("2 devices fit ").await;
    }
    drop(second);
    rig.is("connected", tidegate::source::State::is_connected).await;
    first.send(b"1\n").await;
    while !matches!(rig.next().await, Item::Delivery { .. }) {}
    let second = Sensor::at(&path(&rig, "usb-b"));
    let third = Sensor::at(&path(&rig, "usb-c"));
    drop(first);
    let why = rig.is_down("2 devices fit ").await;
    assert!(why.contains("usb-b, ") && why.ends_with("only one of them has"), "{why}");
    drop(third);
    rig.is("connected", tidegate::source::State::is_connected).await;
    second.send(b"2\n").await;
    while !matches!(rig.next().await, Item::Delivery { .. }) {}
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_serial_device_is_named() {
    let mut rig = Rig::serial("ports-file", "port = \"DIR/file\"", 10);
    std::fs::write(rig.dir.path.join("file"), "").unwrap();
    let why = rig.is_down("cannot be set up").await;
    assert!(why.contains("check that it is a serial device"), "{why}");
    rig.stop().await;
}
