//! What a source writes to a broker: a request for a birth, and only where it may.

use serde_json::json;
use tidegate::simulate::stream::Faults;

use super::PROTOCOLS;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

/// A node's birth with the alias 3 for `int32`, and what it sends then; by pysparkplug.
const LIFE: &str = include_str!("../golden/sparkplug/python.txt");

fn message(kind: &str) -> (&'static str, Vec<u8>) {
    let line = LIFE.lines().find(|line| line.contains(kind)).unwrap();
    let (topic, hex) = line.split_once(' ').unwrap();
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    (topic, bytes.collect())
}

async fn scene(name: &str, protocol: &str, subscription: &str) -> Scene {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let source = format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nclient_id = \"{name}\"\nprotocol = \"{protocol}\"\n\
         url = \"mqtt://127.0.0.1:{}\"\n[[source.subscribe]]\nfilter = \"spBv1.0/+/+/gate\"\nformat = \"sparkplug\"\n\
         {subscription}\n",
        broker.port
    );
    let mut scene = Scene::with_sources(name, broker, &source, Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_asked_for_the_birth_that_was_missed_and_then_understood() {
    for protocol in PROTOCOLS {
        let name = &format!("door-rebirth-{protocol}");
        let scene = scene(name, protocol, "request_rebirth = true").await;
        let (topic, data) = message("/NDATA/");
        for _ in 0..3 {
            scene.broker.publish(topic, &data, &[]);
        }
        // The subscription takes commands too: ours comes back, as what it is.
        let readings = scene.readings(1).await;
        assert_eq!(readings, [("plant/gate".to_owned(), json!({ "Node Control/Rebirth": true }))], "{protocol}");
        let (birth_topic, birth) = message("/NBIRTH/");
        scene.broker.publish(birth_topic, &birth, &[]);
        scene.broker.publish(topic, &data, &[]);
        let readings = scene.readings(3).await;
        assert!(
            readings.contains(&("plant/gate".to_owned(), json!({ "int32": -70001, "double": 21.8 }))),
            "{readings:?}"
        );
        let asked = scene.broker.lines(&["Received PUBLISH from", name, "spBv1.0/plant/NCMD/gate"]);
        assert_eq!(asked.len(), 1, "once a minute: {asked:?}");
        let letters = scene.letters();
        assert_eq!(letters.len(), 6, "two metrics of three messages: {letters:?}");
        assert!(letters.iter().all(|letter| letter["reason"] == "no-birth"), "{letters:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_it_was_not_allowed() {
    let name = "door-no-rebirth";
    let scene = scene(name, "5", "").await;
    let (topic, data) = message("/NDATA/");
    scene.broker.publish(topic, &data, &[]);
    let (birth_topic, birth) = message("/NBIRTH/");
    scene.broker.publish(birth_topic, &birth, &[]);
    scene.readings(1).await;
    assert_eq!(scene.letters().len(), 2);
    assert_eq!(scene.broker.lines(&["Received PUBLISH from", name]).len(), 0, "a source only listens");
}
