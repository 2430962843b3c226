//! How fast the door is behind a stock Mosquitto, which hands out 20 messages and waits for their PUBACKs.

use std::time::{Duration, Instant};

use tidegate::simulate::stream::Faults;

use crate::support::gateway::fleet_source;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

const COMMITTED: &str = r#"tidegate_readings_total{outcome="committed",source="plant"}"#;

/// Measured in a debug build beside other tests: 15,000 to 20,000 messages a second, 3.3 commits a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_broker_is_emptied_at_speed_and_lone_messages_share_their_commits() {
    let broker = Mosquitto::start(&format!("{PATIENT_BROKER}log_type error\n"));
    let source = fleet_source("door-speed", broker.port, "");
    let mut scene = Scene::with_sources("door-speed", broker, &source, Faults::default(), QUICK).await;
    scene.gateway.start().await;

    let lines: String = (0..8_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let started = Instant::now();
    scene.broker.publish_lines("sensors/a/telemetry", &lines);
    scene.metric_reaches(COMMITTED, 8_000.0).await;
    let rate = 8_000.0 / started.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s");
    assert!(rate >= 2_000.0, "{rate:.0} messages/s");

    let before = scene.gateway.metric("tidegate_commits_total").await;
    let started = Instant::now();
    scene.broker.publish_paced("sensors/a/telemetry", 30, Duration::from_millis(100));
    scene.metric_reaches(COMMITTED, 8_030.0).await;
    let commits = scene.gateway.metric("tidegate_commits_total").await - before;
    let rate = commits / started.elapsed().as_secs_f64();
    println!("{rate:.1} commits/s at 10 messages/s");
    assert!(rate <= 5.0, "{rate:.1} commits/s");
}
