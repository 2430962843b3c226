//! Report by exception on a real broker: what is reported is little, and of that nothing is lost.

use std::time::Duration;

use tidegate::simulate::stream::Faults;

use super::{PROTOCOLS, persistent};
use crate::support::gateway::fleet_source;
use crate::support::publisher::Publisher;
use crate::support::scene::{QUICK, Scene};

const FILTERED: &str = r#"tidegate_readings_total{outcome="filtered",source="plant"}"#;
/// How far the publisher's number may move unreported.
const BAND: i64 = 50;

/// A value that was let through and then lost with its connection would leave a hole wider than the deadband.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_further_from_the_last_report_than_the_deadband_whatever_is_killed() {
    for protocol in PROTOCOLS {
        let name = format!("door-deadband-{protocol}");
        let broker = persistent();
        let source = fleet_source(&name, broker.port, &format!("protocol = \"{protocol}\""));
        let sources = format!("{source}[source.filter]\ndeadband = {{ n = {BAND} }}\n");
        let mut scene = Scene::with_sources(&name, broker, &sources, Faults::default(), QUICK).await;
        scene.gateway.start().await;
        let publisher = Publisher::start(scene.broker.port, "sensors/p/telemetry");
        publisher.confirms(300).await;
        let mut filtered = scene.gateway.metric(FILTERED).await;
        for _ in 0..3 {
            scene.gateway.kill();
            publisher.confirms(20).await;
            scene.gateway.start().await;
            publisher.confirms(120).await;
            filtered += scene.gateway.metric(FILTERED).await;
        }
        scene.broker.stop();
        scene.source_is("plant", &["down"], "").await;
        scene.broker.restart();
        scene.source_is("plant", &["connected"], "").await;
        publisher.confirms(200).await;
        let published = publisher.stop() as i64;
        scene.broker_says(1, &["Received PUBACK from", &name]).await;

        let reported = loop {
            let mut reported: Vec<_> = scene.readings_of("p", 1).await.iter().filter_map(|x| x["n"].as_i64()).collect();
            reported.sort_unstable();
            // Deliveries are repeated after a kill.
            reported.dedup();
            if reported.last().is_some_and(|last| published - 1 - last <= BAND) {
                break reported;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(reported[0], 0);
        let wide: Vec<_> = reported.windows(2).filter(|pair| pair[1] - pair[0] > BAND + 1).collect();
        assert!(wide.is_empty(), "nothing between {wide:?}");
        assert!((reported.len() as i64) < published / 10, "{} of {published} were reported", reported.len());
        assert!(filtered > 500.0, "{filtered} counted");
    }
}

/// A value that came as `QoS` 0 and is not stored yet, and the same as `QoS` 1, which says nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_a_value_that_nobody_acknowledges_is_acknowledged_once_that_is_stored() {
    let name = "door-qos0-repeat";
    let broker = persistent();
    let sources = fleet_source(name, broker.port, "") + "[source.filter]\non_change = [\"state\"]\n";
    let config = format!("{QUICK}[queue]\ncommit_linger = \"2s\"\n");
    let mut scene = Scene::with_sources(name, broker, &sources, Faults::default(), &config).await;
    scene.gateway.start().await;
    for qos in ["0", "1"] {
        scene.broker.publish("sensors/p/telemetry", br#"{"state":1}"#, &["-q", qos]);
    }
    scene.broker_says(1, &["Received PUBACK from", name]).await;
    let committed = r#"tidegate_readings_total{outcome="committed",source="plant"}"#;
    assert_eq!((scene.gateway.metric(committed).await, scene.gateway.metric(FILTERED).await), (1.0, 1.0));
}
