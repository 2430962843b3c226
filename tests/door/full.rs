//! A source whose inbox takes nothing: the connection lives, what it says keeps its place, and a stop is heard.

use std::time::Duration;

use serde_json::json;
use tidegate::source::{Item, State};

use super::{PROTOCOLS, persistent};
use crate::support::gateway::fleet_source;
use crate::support::mosquitto::Mosquitto;
use crate::support::source::Rig;

/// With room for one message.
fn rig(name: &str, broker: &Mosquitto, protocol: &str) -> Rig {
    let more = format!("protocol = \"{protocol}\"\nkeep_alive = \"1s\"");
    let source = fleet_source(name, broker.port, &more);
    Rig::new(name, source.trim_start_matches("[[source]]\n"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_says_of_itself_waits_for_room_in_its_place_and_its_connection_lives() {
    for protocol in PROTOCOLS {
        let name = format!("door-unsaid-{protocol}");
        let mut broker = persistent();
        let mut rig = rig(&name, &broker, protocol);
        rig.is("connected", State::is_connected).await;
        // That it is up is all that the inbox has room for; "down" and "up" have none.
        broker.stop();
        rig.is("down", |state| matches!(state, State::Down { .. })).await;
        broker.restart();
        rig.is("connected", State::is_connected).await;
        broker.publish("sensors/p/telemetry", b"{\"n\":1}", &[]);
        let from = ["Received PINGREQ from ", &name];
        broker.says(broker.lines(&from).len() + 3, &from).await;
        let connections = broker.lines(&["New client connected", &format!(" as {name} (")]).len();
        assert_eq!(connections, 2, "{}", broker.log());

        assert!(matches!(rig.next().await, Item::Up(_)));
        assert!(matches!(rig.next().await, Item::Down(_)));
        assert!(matches!(rig.next().await, Item::Up(_)));
        assert_eq!(rig.reading().await, ("p".to_owned(), json!({"n": 1})));
        broker.says(1, &["Received PUBACK from ", &name]).await;
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_heard_ends_at_once_when_it_is_stopped() {
    for protocol in PROTOCOLS {
        let name = format!("door-unheard-{protocol}");
        let mut broker = persistent();
        let mut rig = rig(&name, &broker, protocol);
        rig.is("connected", State::is_connected).await;
        broker.stop();
        rig.is("down", |state| matches!(state, State::Down { .. })).await;
        let (_items, task) = rig.stopping();
        let ended = tokio::time::timeout(Duration::from_secs(4), task).await;
        ended.expect("it does not stop").unwrap().unwrap();
    }
}

/// A 3.1.1 broker sends what it retains at each connection.
#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_that_are_ignored_and_need_no_acknowledgement_take_up_no_room() {
    let name = "door-retained-room";
    let broker = persistent();
    for n in 0..3 {
        broker.publish(&format!("kept/{n}"), b"1", &["-r"]);
    }
    for n in 0..20 {
        broker.publish(&format!("ignored/{n}"), b"1", &["-r", "-q", "0"]);
    }
    let keys = format!(
        "type = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\nclient_id = \"{name}\"\nprotocol = \"3.1.1\"\n\
         in_flight = 5\n\
         [[source.subscribe]]\nfilter = \"kept/#\"\n[[source.subscribe]]\nfilter = \"ignored/#\"\nretained = \"ignore\"\n",
        broker.port
    );
    // For that the source is up, and one message; the others wait in front of what is ignored.
    let mut rig = Rig::new(name, &keys, 2);
    rig.is("connected", State::is_connected).await;
    rig.metric_reaches("readings_total{outcome=\"retained\",source=\"plant\"}", 20).await;
    assert!(matches!(rig.next().await, Item::Up(_)));
    for _ in 0..3 {
        rig.reading().await;
    }
    // Had more than five been in flight, the connection would have ended, and the log would know before it has this.
    broker.publish("kept/3", b"1", &[]);
    assert_eq!(rig.reading().await.0, "kept/3");
    assert_eq!(rig.metric("source_overruns_total{source=\"plant\"}"), 0);
    rig.stop().await;
}
