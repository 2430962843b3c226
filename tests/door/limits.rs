//! What is too large, too much at once, or under a name that somebody else has.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};
use tidegate::simulate::stream::Faults;

use super::PROTOCOLS;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

fn source(name: &str, broker: &Mosquitto, keys: &str) -> String {
    format!(
        "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nclient_id = \"{name}\"\nurl = \"mqtt://127.0.0.1:{}\"\n{keys}\n\
         [[source.subscribe]]\nfilter = \"s/+\"\n",
        broker.port
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_above_the_limit_is_a_dead_letter_with_its_beginning_length_and_digest_and_acknowledged() {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let sources = PROTOCOLS
        .map(|protocol| source(protocol, &broker, &format!("protocol = \"{protocol}\"\nmax_payload = \"100KiB\"")));
    let mut scene = Scene::with_sources("door-large", broker, &sources.concat(), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    for protocol in PROTOCOLS {
        scene.source_is(protocol, &["connected"], "").await;
    }
    let large = "12".repeat(60_000);
    scene.broker.publish("s/a", large.as_bytes(), &[]);
    scene.broker.publish("s/b", b"3", &[]);
    scene.readings(2).await;
    for protocol in PROTOCOLS {
        scene.broker_says(2, &["Received PUBACK from", &format!(" {protocol} ")]).await;
    }
    let letters = scene.letters();
    assert_eq!(letters.len(), 2);
    let digest: String = Sha256::digest(&large).iter().map(|byte| format!("{byte:02x}")).collect();
    for letter in letters {
        assert_eq!(letter["reason"], "oversize");
        assert_eq!(letter["origin"], "s/a");
        assert_eq!(letter["length"], large.len());
        assert_eq!(letter["sha256"], digest);
        assert!(letter["payload"]["text"] == large[..64 << 10], "its first 64 KiB are kept");
    }
}

/// An MQTT 5 broker knows the limit and discards. A 3.1.1 broker does not, and would send it again at once, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_packet_above_the_limit_never_loops_and_stops_at_most_its_own_source() {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let sources = PROTOCOLS
        .map(|protocol| source(protocol, &broker, &format!("protocol = \"{protocol}\"\nmax_packet = \"8KiB\"")));
    let mut scene = Scene::with_sources("door-packet", broker, &sources.concat(), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    for protocol in PROTOCOLS {
        scene.source_is(protocol, &["connected"], "").await;
    }
    scene.broker.publish("s/a", "1".repeat(20_000).as_bytes(), &[]);
    let why = scene.source_is("3.1.1", &["stopped"], "larger than max_packet = 8.0 KiB").await;
    assert!(why.contains("raise it, or use protocol = \"5\""), "{why}");
    for n in 0..5 {
        scene.broker.publish("s/b", n.to_string().as_bytes(), &[]);
    }
    let readings = scene.readings(5).await;
    assert_eq!(readings.len(), 5, "by MQTT 5, which goes on");
    assert_eq!(scene.gateway.metric("tidegate_source_connects_total{source=\"5\"}").await as u64, 1);
    assert_eq!(scene.gateway.metric("tidegate_source_connects_total{source=\"3.1.1\"}").await as u64, 1);
    assert_eq!(scene.gateway.get("/readyz").await.unwrap().0, 200);
    // A person raises the limit: nothing is missing.
    scene.gateway.stop();
    scene.gateway.edit(|text| text.replace("8KiB", "1MiB"));
    scene.gateway.start().await;
    scene.metric_reaches("tidegate_readings_total{outcome=\"committed\",source=\"3.1.1\"}", 5.0).await;
    scene.broker_says(6, &["Received PUBACK from 3.1.1 "]).await;
}

/// A 3.1.1 broker knows no receive maximum: what it sends too early waits in the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_sends_more_than_the_window_at_once_is_read_no_faster_than_it_is_stored() {
    let broker = Mosquitto::start("max_queued_messages 0\nmax_inflight_messages 0\n");
    let source = source("door-window", &broker, "protocol = \"3.1.1\"\nin_flight = 50");
    let mut scene = Scene::with_sources("door-window", broker, &source, Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene.gateway.stop();
    let lines: String = (0..400).map(|n| format!("{n}\n")).collect();
    scene.broker.publish_lines("s/a", &lines);
    scene.gateway.start().await;
    let readings = scene.readings(400).await;
    let numbers = readings.iter().map(|(_, fields)| fields["value"].as_i64().unwrap());
    assert!(numbers.eq(0..400), "each once, in order: {} came", readings.len());
    scene.broker_says(400, &["Received PUBACK from door-window "]).await;
    assert_eq!(scene.gateway.metric("tidegate_source_connects_total{source=\"door-window\"}").await as u64, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_of_the_same_id_is_named_as_such() {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let sources = PROTOCOLS.map(|protocol| source(protocol, &broker, &format!("protocol = \"{protocol}\"")));
    let mut scene = Scene::with_sources("door-twice", broker, &sources.concat(), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    for protocol in PROTOCOLS {
        scene.source_is(protocol, &["connected"], "").await;
    }
    // It connects again whenever it is thrown out, as we do.
    let mut others: Vec<_> = PROTOCOLS
        .iter()
        .map(|id| {
            let port = scene.broker.port.to_string();
            let words = ["-h", "127.0.0.1", "-p", &port, "-i", id, "-t", "x"];
            Command::new("mosquitto_sub").args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    // This broker closes the connection without a word, in MQTT 5 too: only the pattern tells.
    for protocol in PROTOCOLS {
        let expected = format!("does another client use the client_id \"{protocol}\"?");
        let why = scene.source_is(protocol, &["down"], &expected).await;
        assert!(why.starts_with("the broker closed the connection"), "{why}");
    }
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    for protocol in PROTOCOLS {
        scene.source_is(protocol, &["connected"], "").await;
    }
}

/// With the queue full, what comes beyond the window is left to the session: once, and not in a loop.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_window_is_left_to_the_session_while_nothing_can_be_stored() {
    let broker = Mosquitto::start("max_queued_messages 0\nmax_inflight_messages 0\n");
    let source = source("door-overrun", &broker, "protocol = \"3.1.1\"\nin_flight = 50\nkeep_alive = \"2s\"");
    let full = format!("[queue]\nmin_free = \"1000GiB\"\nwhen_full = \"block\"\n{QUICK}");
    let mut scene = Scene::with_sources("door-overrun", broker, &source, Faults::default(), &full).await;
    scene.gateway.spawn();
    scene.gateway.alive().await;
    scene.source_is("door-overrun", &["connected"], "").await;
    let lines: String = (0..400).map(|n| format!("{n}\n")).collect();
    scene.broker.publish_lines("s/a", &lines);
    scene.broker_says(3, &["Received PINGREQ from door-overrun"]).await;
    assert_eq!(scene.broker.pubacks("door-overrun"), 0);
    assert_eq!(scene.gateway.metric("tidegate_source_connects_total{source=\"door-overrun\"}").await as u64, 1);
    scene.gateway.stop();
    scene.gateway.edit(|text| text.replace("1000GiB", "1MiB"));
    scene.gateway.start().await;
    let readings = scene.readings(400).await;
    let numbers: BTreeSet<_> = readings.iter().map(|(_, fields)| fields["value"].as_i64().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..400) && readings.len() <= 460, "{} came", readings.len());
}

/// While nothing can be stored nothing is acknowledged; the connection lives on, and all of it comes in the end.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_queue_is_full_connections_stay_and_what_comes_waits_unacknowledged() {
    let broker = Mosquitto::start(PATIENT_BROKER);
    let sources = PROTOCOLS.map(|protocol| {
        source(protocol, &broker, &format!("protocol = \"{protocol}\"\nkeep_alive = \"2s\"\nin_flight = 50"))
    });
    let full = format!("[queue]\nmin_free = \"1000GiB\"\nwhen_full = \"block\"\n{QUICK}");
    let mut scene = Scene::with_sources("door-full", broker, &sources.concat(), Faults::default(), &full).await;
    scene.gateway.spawn();
    scene.gateway.alive().await;
    for protocol in PROTOCOLS {
        scene.source_is(protocol, &["connected"], "").await;
    }
    let lines: String = (0..300).map(|n| format!("{n}\n")).collect();
    scene.broker.publish_lines("s/a", &lines);
    scene.metric_reaches("tidegate_queue_full", 1.0).await;
    for protocol in PROTOCOLS {
        // Longer than two keep-alives: whoever stalls is thrown out.
        scene.broker_says(2, &[&format!("Received PINGREQ from {protocol}")]).await;
        let connects = format!("tidegate_source_connects_total{{source=\"{protocol}\"}}");
        assert_eq!(scene.gateway.metric(&connects).await as u64, 1, "{protocol}");
        assert_eq!(scene.broker.pubacks(protocol), 0, "{protocol}");
    }
    scene.gateway.stop();
    scene.gateway.edit(|text| text.replace("1000GiB", "1MiB"));
    scene.gateway.start().await;
    scene.readings(600).await;
    for protocol in PROTOCOLS {
        scene.broker_says(300, &[&format!("Received PUBACK from {protocol} ")]).await;
    }
}
