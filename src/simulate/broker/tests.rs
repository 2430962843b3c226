use std::collections::BTreeSet;
use std::time::Duration;

use rumqttc::mqttbytes::v5::{Packet, Publish};
use rumqttc::{
    AckMode, AsyncClient, Broker as Address, BrokerSessionResumePolicy, Event, EventLoop, MqttOptions, PublishOptions,
    SessionMode,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    async fn connect(broker: &Broker, id: &str, receive_maximum: u16) -> (Self, bool) {
        let mut options = MqttOptions::new(id, Address::tcp("127.0.0.1", broker.address().port()));
        options.set_session_mode(SessionMode::Persistent);
        options.set_ack_mode(AckMode::Manual);
        options.set_receive_maximum(Some(receive_maximum));
        options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
        options.set_unlimited_incoming_packet_size();
        let (client, events) = AsyncClient::builder(options).capacity(100).build();
        let mut connected = Self { client, events };
        let connack = connected.until(|packet| matches!(packet, Packet::ConnAck(_))).await;
        let Packet::ConnAck(connack) = connack else { unreachable!() };
        (connected, connack.session_present)
    }

    async fn subscriber(broker: &Broker, id: &str, filter: &str, receive_maximum: u16) -> Self {
        let (mut client, _) = Self::connect(broker, id, receive_maximum).await;
        client.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        client.until(|packet| matches!(packet, Packet::SubAck(_))).await;
        client
    }

    async fn until(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let found = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && wanted(&packet)
                {
                    return packet;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the packet did not come in time")
    }

    async fn message(&mut self) -> Publish {
        match self.until(|packet| matches!(packet, Packet::Publish(_))).await {
            Packet::Publish(publish) => publish,
            _ => unreachable!(),
        }
    }

    async fn messages(&mut self, count: usize) -> Vec<Publish> {
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(self.message().await);
        }
        messages
    }

    /// Whether the broker answers a ping without having sent a message before.
    async fn is_silent(&mut self) -> bool {
        self.client.subscribe("nothing", QoS::AtMostOnce).await.unwrap();
        let packet = self.until(|packet| matches!(packet, Packet::Publish(_) | Packet::SubAck(_))).await;
        matches!(packet, Packet::SubAck(_))
    }

    async fn publish(&mut self, topic: &str, payload: String) {
        self.client.publish(topic, payload, PublishOptions::at_least_once()).await.unwrap();
        self.until(|packet| matches!(packet, Packet::PubAck(_))).await;
    }
}

fn payloads(messages: &[Publish]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_message_reaches_those_whose_filter_matches_and_nobody_else() {
    let broker = Broker::start().await.unwrap();
    let mut plus = Client::subscriber(&broker, "plus", "sensors/+/telemetry", 10).await;
    let mut hash = Client::subscriber(&broker, "hash", "$share/one/sensors/#", 10).await;
    let mut other = Client::subscriber(&broker, "other", "sensors/a", 10).await;
    let (mut publisher, _) = Client::connect(&broker, "publisher", 10).await;
    publisher.publish("sensors/a/telemetry", "1".to_owned()).await;
    assert_eq!(payloads(&plus.messages(1).await), ["1"]);
    assert_eq!(payloads(&hash.messages(1).await), ["1"]);
    assert!(other.is_silent().await);
}

#[tokio::test]
async fn a_reconnect_brings_back_what_was_not_acknowledged_and_then_the_rest() {
    let broker = Broker::start().await.unwrap();
    let mut gateway = Client::subscriber(&broker, "gateway", "t", 3).await;
    let (mut publisher, _) = Client::connect(&broker, "publisher", 10).await;
    for n in 0..5 {
        publisher.publish("t", n.to_string()).await;
    }
    let messages = gateway.messages(3).await;
    assert_eq!(payloads(&messages), ["0", "1", "2"]);
    assert!(gateway.is_silent().await, "no more than receive_maximum");
    gateway.client.ack(&messages[0]).await.unwrap();
    assert_eq!(payloads(&gateway.messages(1).await), ["3"]);
    drop(gateway);

    publisher.publish("t", "5".to_owned()).await;
    let (mut gateway, session_present) = Client::connect(&broker, "gateway", 10).await;
    assert!(session_present);
    let messages = gateway.messages(5).await;
    assert_eq!(payloads(&messages), ["1", "2", "3", "4", "5"]);
    assert_eq!(messages.iter().map(|message| message.dup).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(broker.pending(), 5);
}

#[tokio::test]
async fn a_second_client_of_the_same_id_takes_the_session_over() {
    let broker = Broker::start().await.unwrap();
    let mut first = Client::subscriber(&broker, "gateway", "t", 3).await;
    let (mut second, _) = Client::connect(&broker, "gateway", 3).await;
    let end = async { while first.events.poll().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the first connection goes on");
    let (mut publisher, _) = Client::connect(&broker, "publisher", 10).await;
    publisher.publish("t", "mine".to_owned()).await;
    assert_eq!(payloads(&second.messages(1).await), ["mine"]);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_the_publishers_back_and_nothing_is_lost() {
    const MESSAGES: usize = 24;
    let broker = Broker::start().await.unwrap();
    let mut gateway = Client::subscriber(&broker, "gateway", "t", 1).await;
    let (publisher, _) = Client::connect(&broker, "publisher", 10).await;
    let Client { client, mut events } = publisher;
    let big = "x".repeat(1 << 20);
    let sending = tokio::spawn(async move {
        for n in 0..MESSAGES {
            client.publish("t", format!("{n} {big}"), PublishOptions::at_least_once()).await.unwrap();
        }
        client
    });
    let mut confirmed = 0;
    let mut polling = tokio::spawn(async move {
        while confirmed < MESSAGES {
            if let Ok(Event::Incoming(Packet::PubAck(_))) = events.poll().await {
                confirmed += 1;
            }
        }
    });
    while broker.pending() < 8 {
        tokio::task::yield_now().await;
    }
    let soon = tokio::time::timeout(Duration::from_millis(300), &mut polling).await;
    assert!(soon.is_err(), "all was confirmed although nobody read it");
    assert!(broker.pending() < MESSAGES, "the queue has no bound");

    let mut seen = BTreeSet::new();
    for _ in 0..MESSAGES {
        let message = gateway.message().await;
        gateway.client.ack(&message).await.unwrap();
        seen.insert(payloads(&[message])[0].split(' ').next().unwrap().parse::<usize>().unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..MESSAGES).collect::<Vec<_>>());
    tokio::time::timeout(PATIENCE, polling).await.expect("not all was confirmed").unwrap();
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_session_without_expiry_ends_with_its_connection() {
    let broker = Broker::start().await.unwrap();
    let mut options = MqttOptions::new("short", Address::tcp("127.0.0.1", broker.address().port()));
    options.set_session_mode(SessionMode::Clean);
    let (client, mut events) = AsyncClient::builder(options).capacity(10).build();
    client.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    client.disconnect().await.unwrap();
    while events.poll().await.is_ok() {}
    let (_, session_present) = Client::connect(&broker, "short", 10).await;
    assert!(!session_present);
}
