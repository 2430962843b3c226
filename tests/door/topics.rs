//! What is subscribed to, and what becomes of a topic and its payload.

use std::time::Duration;

use serde_json::json;
use tidegate::simulate::stream::Faults;

use super::PROTOCOLS;
use crate::support::gateway::tidegate;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

/// A source on this broker, with these keys and subscriptions.
fn source(name: &str, broker: &Mosquitto, more: &str) -> String {
    format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nclient_id = \"{name}\"\nurl = \"mqtt://127.0.0.1:{}\"\n{more}\n",
        broker.port
    )
}

fn subscribe(filter: &str, more: &str) -> String {
    format!("[[source.subscribe]]\nfilter = \"{filter}\"\n{more}\n")
}

async fn scene(name: &str, more: &str) -> Scene {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let source = source(name, &broker, more);
    Scene::with_sources(name, broker, &source, Faults::default(), QUICK).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_loses_is_unsubscribed_and_what_it_gains_is_subscribed_at_the_next_start() {
    for protocol in PROTOCOLS {
        let name = &format!("door-filters-{protocol}");
        let keys = format!("protocol = \"{protocol}\"");
        let mut scene = scene(name, &format!("{keys}\n{}{}", subscribe("kept/#", ""), subscribe("lost/#", ""))).await;
        scene.gateway.start().await;
        scene.gateway.stop();
        // While it is away, so that the session is what the next start finds.
        scene.broker.publish("kept/a", b"1", &[]);
        scene.broker.publish("lost/a", b"2", &[]);
        scene.gateway.edit(|text| text.replace("\"lost/#\"", "\"new/#\""));
        scene.gateway.start().await;
        scene.broker_says(1, &["Received UNSUBSCRIBE from", name]).await;
        assert_eq!(scene.broker.lines(&["\tlost/#"]).len(), 2, "subscribed once, unsubscribed once");
        for topic in ["kept/b", "lost/b", "new/b"] {
            scene.broker.publish(topic, b"3", &[]);
        }
        let readings = scene.readings(3).await;
        let expected = [("kept/a", 1), ("kept/b", 3), ("new/b", 3)];
        let expected: Vec<_> = expected.map(|(device, n)| (device.to_owned(), json!({ "value": n }))).into();
        assert_eq!(readings, expected, "{protocol}");
        let letters = scene.letters();
        assert_eq!(letters.len(), 1, "what the broker had already kept is not lost: {letters:?}");
        assert_eq!(letters[0]["origin"], "lost/a");
        scene.gateway.stop();
        scene.gateway.start().await;
        scene.broker.publish("new/c", b"4", &[]);
        scene.readings(4).await;
        assert_eq!(scene.broker.lines(&["Received UNSUBSCRIBE from", name]).len(), 1, "and only once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_kept_or_ignored_and_ignored_ones_are_counted_and_acknowledged() {
    for protocol in PROTOCOLS {
        for (word, expected) in [("keep", 2), ("ignore", 1)] {
            let name = format!("door-retained-{word}-{protocol}");
            let subscription = subscribe("r/#", &format!("retained = \"{word}\""));
            let mut scene = scene(&name, &format!("protocol = \"{protocol}\"\n{subscription}")).await;
            scene.broker.publish("r/old", b"1", &["-r"]);
            scene.gateway.start().await;
            scene.broker.publish("r/new", b"2", &["-r"]);
            let readings = scene.readings(expected).await;
            assert_eq!(readings.len(), expected, "{name}: {readings:?}");
            assert_eq!(readings.last().unwrap().0, "r/new");
            if protocol == "3.1.1" && word == "ignore" {
                let ignored = format!("tidegate_readings_total{{outcome=\"retained\",source=\"{name}\"}}");
                assert_eq!(scene.gateway.metric(&ignored).await as u64, 1);
                scene.broker_says(2, &["Received PUBACK from", &name]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_name_device_and_tags_and_payloads_are_read_as_their_subscription_says() {
    let templates = [
        subscribe("plant/+/+/t", "topic = \"plant/{site}/{device}/t\"\nqos = 2"),
        subscribe("ids/#", "device_field = \"id\"\ntime = \"at\"\ntime_unit = \"s\"\nqos = 0"),
        subscribe("raw/#", "format = \"raw\""),
    ];
    for protocol in PROTOCOLS {
        let name = format!("door-topics-{protocol}");
        let mut scene = scene(&name, &format!("protocol = \"{protocol}\"\n{}", templates.concat())).await;
        scene.gateway.start().await;
        scene.broker.publish("plant/berlin/b1/t", br#"{"x":{"y":1}}"#, &["-q", "2"]);
        scene.broker.publish("ids/a", br#"[{"id":"p","at":1767323045,"v":1},{"v":2}]"#, &[]);
        scene.broker.publish("raw/a", b"21.5", &[]);
        scene.broker.publish("raw/b", b"open", &["-q", "0"]);
        scene.readings(5).await;
        let rows: Vec<_> = scene.records().into_iter().flat_map(|record| record.rows).collect();
        let row = |device: &str| rows.iter().find(|row| &*row.series.device == device).unwrap();
        assert_eq!(row("b1").series.tags, [("site".into(), "berlin".into())]);
        assert_eq!(&*row("b1").fields[0].0, "x.y");
        assert_eq!(row("p").time, 1_767_323_045_000_000);
        assert_eq!((row("p").fields.len(), &*row("ids/a").fields[0].0), (1, "v"));
        assert_eq!((&*row("raw/a").fields[0].0, &*row("raw/b").fields[0].0), ("value", "value"));
        // What was asked for, by the broker's word.
        for (filter, qos) in [("plant/+/+/t", 1), ("ids/#", 0), ("raw/#", 1)] {
            assert_eq!(scene.broker.lines(&[&format!("\t{filter} (QoS {qos})")]).len(), 1, "{filter}");
        }
        let checked = tidegate(&["check", "-c", scene.gateway.config().to_str().unwrap()]);
        assert!(String::from_utf8_lossy(&checked.stdout).contains("qos = 2 is asked for as 1"), "{checked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_is_shared_with_others_of_its_group() {
    for protocol in PROTOCOLS {
        let name = format!("door-share-{protocol}");
        let broker = Mosquitto::start(PATIENT_BROKER);
        let keys = format!("protocol = \"{protocol}\"\n{}", subscribe("$share/edge/s/+", "topic = \"s/{device}\""));
        let sources = [source(&format!("{name}-a"), &broker, &keys), source(&format!("{name}-b"), &broker, &keys)];
        let mut scene = Scene::with_sources(&name, broker, &sources.concat(), Faults::default(), QUICK).await;
        scene.gateway.start().await;
        for one in ["a", "b"] {
            scene.source_is(&format!("{name}-{one}"), &["connected"], "").await;
        }
        let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
        scene.broker.publish_lines("s/d", &lines);
        let readings = scene.readings(100).await;
        let mut numbers: Vec<_> = readings.iter().map(|(_, fields)| fields["value"].as_i64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "each once");
        for one in ["a", "b"] {
            let committed = format!("tidegate_readings_total{{outcome=\"committed\",source=\"{name}-{one}\"}}");
            assert!(scene.gateway.metric(&committed).await > 10.0, "{one} has its share");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_does_not_hold_up_another() {
    let up = Mosquitto::start(PATIENT_BROKER);
    let mut other = Mosquitto::start(PATIENT_BROKER);
    let keys = subscribe("s/+", "topic = \"s/{device}\"");
    let sources = [source("door-up", &up, &keys), source("door-other", &other, &keys)].concat();
    let mut scene = Scene::with_sources("door-two", up, &sources, Faults::default(), QUICK).await;
    other.kill();
    scene.gateway.start().await;
    let why = scene.source_is("door-other", &["down"], "nothing listens").await;
    assert!(why.contains("127.0.0.1") && why.contains("; "), "{why}");
    scene.broker.publish("s/a", b"1", &[]);
    scene.readings(1).await;
    other.restart();
    scene.source_is("door-other", &["connected"], "").await;
    other.publish("s/b", b"2", &[]);
    assert_eq!(scene.readings(2).await[1], ("b".to_owned(), json!({ "value": 2 })));
}

/// A broker sends again what it has no PUBACK for; `drop_repeats` recognises it by its content, once it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_counted_and_dropped_where_that_is_wanted() {
    for protocol in PROTOCOLS {
        for drop in [false, true] {
            let name = format!("door-repeats-{drop}-{protocol}");
            let subscription = subscribe("s/+", &format!("drop_repeats = {drop}"));
            let mut scene = scene(&name, &format!("protocol = \"{protocol}\"\n{subscription}")).await;
            scene.gateway.edit(|text| text + "[queue]\ncommit_linger = \"1s\"\n");
            scene.gateway.start().await;
            scene.broker.publish("s/a", b"1", &[]);
            scene.broker_says(1, &["Sending PUBLISH to", &name]).await;
            // It has reached the gateway, which nothing tells before the commit, and waits for company; meanwhile its
            // connection goes, and with it the PUBACK.
            tokio::time::sleep(Duration::from_millis(200)).await;
            scene.broker.take_over(&name);
            let repeats = format!("tidegate_door_repeats_total{{source=\"{name}\"}}");
            scene.metric_reaches(&repeats, 1.0).await;
            scene.broker.publish("s/b", b"2", &[]);
            let readings = scene.readings(if drop { 2 } else { 3 }).await;
            assert_eq!(readings.iter().filter(|(device, _)| device == "s/a").count(), if drop { 1 } else { 2 });
            if drop {
                let dropped = format!("tidegate_readings_total{{outcome=\"repeat\",source=\"{name}\"}}");
                assert_eq!(scene.gateway.metric(&dropped).await as u64, 1);
            }
        }
    }
}
