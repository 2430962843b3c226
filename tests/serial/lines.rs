//! One payload a line, and what cannot be kept because nothing holds the sensor.

use serde_json::json;
use tidegate::source::Reason;

use super::rig::Rig;

#[tokio::test]
async fn each_line_is_a_reading_and_what_cannot_be_read_a_dead_letter() {
    let mut rig = Rig::serial("lines", "format = \"json\"\ndevice = \"boiler\"", 10);
    let sensor = rig.plug().await;
    sensor.send(b"{\"temp\":1}\n{\"temp\":2}\r\n\r\n\n{\"te").await;
    sensor.send(b"mp\":3}\nnonsense\n4\n").await;
    for n in 1..=3 {
        assert_eq!(rig.reading().await, ("boiler".to_owned(), json!({"temp": n})));
    }
    let (delivery, _) = rig.delivery().await;
    assert_eq!((delivery.rejects[0].reason, &delivery.rejects[0].payload[..]), (Reason::Malformed, &b"nonsense"[..]));
    assert_eq!(rig.reading().await.1, json!({"value": 4}));
    assert_eq!(rig.metric("source_frames_total{source=\"wire\"}"), 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_dropped_and_counted_once() {
    let mut rig = Rig::serial("lines-long", "max_frame = 100", 10);
    let sensor = rig.plug().await;
    sensor.send(b"1\n").await;
    sensor.send(&vec![b'2'; 50_000]).await;
    sensor.send(b"\n3\n").await;
    assert_eq!(rig.reading().await.1, json!({"value": 1}));
    assert_eq!(rig.reading().await.1, json!({"value": 3}));
    assert_eq!(rig.faults("oversize"), 1);
    rig.stop().await;
}

#[tokio::test]
async fn lines_that_nothing_holds_back_are_dropped_beyond_a_full_inbox_and_each_is_counted() {
    let mut rig = Rig::serial("lines-full", "", 2);
    let sensor = rig.plug().await;
    for n in 0..500 {
        sensor.send(format!("{n}\n").as_bytes()).await;
    }
    rig.metric_reaches("source_frames_total{source=\"wire\"}", 500).await;
    assert_eq!(rig.outcome("dropped"), 498);
    assert_eq!(rig.reading().await.1, json!({"value": 0}));
    assert_eq!(rig.reading().await.1, json!({"value": 1}));
    rig.stop().await;
}

#[tokio::test]
async fn with_flow_control_the_sensor_waits_and_nothing_is_dropped() {
    let mut rig = Rig::serial("lines-flow", "flow_control = \"hardware\"", 2);
    let sensor = rig.plug().await;
    sensor.send((0..100).map(|n| format!("{n}\n")).collect::<String>().as_bytes()).await;
    for n in 0..100 {
        assert_eq!(rig.reading().await.1, json!({"value": n}));
    }
    assert_eq!(rig.outcome("dropped"), 0);
    rig.stop().await;
}
