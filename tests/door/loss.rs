//! Brokers and gateways that are stopped or killed in mid-stream, and what must not be missing then.

use std::collections::HashSet;
use std::time::Duration;

use tidegate::simulate::stream::Faults;
use tokio::task::JoinSet;

use super::{PROTOCOLS, persistent};
use crate::support::gateway::fleet_source;
use crate::support::mosquitto::Mosquitto;
use crate::support::publisher::Publisher;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

async fn scene(name: &str, protocol: &str, broker: Mosquitto) -> Scene {
    let source = fleet_source(name, broker.port, &format!("protocol = \"{protocol}\""));
    let mut scene = Scene::with_sources(name, broker, &source, Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene
}

/// One life for each protocol, at once.
async fn each_protocol<F: Future<Output = ()> + Send + 'static>(life: impl Fn(&'static str) -> F) {
    let mut lives: JoinSet<()> = PROTOCOLS.into_iter().map(life).collect();
    while let Some(ended) = lives.join_next().await {
        ended.unwrap();
    }
}

/// Waits until all that the publisher saw confirmed has arrived.
async fn all_arrives(scene: &Scene, device: &str, confirmed: u64) {
    assert!(confirmed > 200, "it was in mid-stream: {confirmed}");
    let mut least = confirmed as usize;
    loop {
        let arrived = scene.readings_of(device, least).await;
        let distinct: HashSet<_> = arrived.iter().map(|fields| fields["n"].as_u64().unwrap()).collect();
        if (0..confirmed).all(|n| distinct.contains(&n)) {
            return;
        }
        // Some of what has arrived are repeats: there must be more to come.
        least = arrived.len() + 1;
    }
}

/// So many connections and no more, and nothing of an old one acknowledged on a new one.
async fn calm(scene: &Scene, client: &str, connections: u64) {
    let connects = scene.gateway.metric("tidegate_source_connects_total{source=\"plant\"}").await;
    assert_eq!(connects as u64, connections, "{client}: {}", scene.gateway.log());
    assert!(scene.broker.pubacks(client) > 0);
}

/// A broker that is asked to stop saves what it has: nothing at all is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_keeps_its_memory_may_be_restarted_and_nothing_is_missing() {
    each_protocol(|protocol| async move {
        let name = format!("door-restart-{protocol}");
        let mut scene = scene(&name, protocol, persistent()).await;
        let publisher = Publisher::start(scene.broker.port, "sensors/p/telemetry");
        for _ in 0..2 {
            publisher.confirms(150).await;
            scene.broker.stop();
            scene.source_is("plant", &["down"], "").await;
            scene.broker.restart();
            scene.source_is("plant", &["connected"], "").await;
        }
        publisher.confirms(50).await;
        all_arrives(&scene, "p", publisher.stop()).await;
        calm(&scene, &name, 3).await;
    })
    .await;
}

/// A broker that is killed forgets what it had in memory only: that is not ours to promise. What it had our PUBACK for
/// is delivered, and so is all that comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_costs_nothing_that_was_acknowledged_and_nothing_that_comes_after() {
    for keeps in [false, true] {
        each_protocol(move |protocol| async move {
            let name = format!("door-killed-{keeps}-{protocol}");
            let broker = if keeps { persistent() } else { Mosquitto::start(PATIENT_BROKER) };
            let mut scene = scene(&name, protocol, broker).await;
            let publisher = Publisher::start(scene.broker.port, "sensors/p/telemetry");
            if keeps {
                // Of two more saves the first is whole, and has the session.
                let saves = &["Saving in-memory database"];
                scene.broker_says(scene.broker.lines(saves).len() + 2, saves).await;
            }
            publisher.confirms(200).await;
            scene.broker_says(101, &[&format!("Received PUBACK from {name} ")]).await;
            scene.broker.kill();
            let acknowledged = scene.broker.pubacks(&name);
            scene.source_is("plant", &["down"], "").await;
            scene.broker.restart();
            scene.source_is("plant", &["connected"], "").await;
            assert!(acknowledged > 100 && publisher.stop() > 200, "the kill was in mid-stream: {acknowledged}");
            assert!(scene.readings_of("p", acknowledged).await.len() >= acknowledged);

            let publisher = Publisher::start(scene.broker.port, "sensors/after/telemetry");
            publisher.confirms(250).await;
            all_arrives(&scene, "after", publisher.stop()).await;
            let resumed = scene.gateway.log().matches("session_present=true").count();
            assert_eq!(resumed, usize::from(keeps), "{}", scene.gateway.log());
            calm(&scene, &name, 2).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_stopped_or_killed_misses_nothing_that_its_broker_keeps() {
    each_protocol(|protocol| async move {
        let name = format!("door-lives-{protocol}");
        let mut scene = scene(&name, protocol, Mosquitto::start(PATIENT_BROKER)).await;
        let publisher = Publisher::start(scene.broker.port, "sensors/p/telemetry");
        let mut random = fastrand::Rng::with_seed(9);
        for life in 0..6 {
            tokio::time::sleep(Duration::from_millis(random.u64(100..600))).await;
            if life % 3 == 2 {
                assert_eq!(scene.gateway.stop().status.code(), Some(0));
            } else {
                scene.gateway.kill();
            }
            scene.gateway.start().await;
        }
        all_arrives(&scene, "p", publisher.stop()).await;
        assert!(scene.broker.pubacks(&name) > 200);
    })
    .await;
}
