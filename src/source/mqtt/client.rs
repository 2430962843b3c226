//! One face over the two client libraries, MQTT 5 and 3.1.1: the events we act on, and why a connection ended.

use bytes::Bytes;
use rumqttc as v5;
use rumqttc_v4 as v4;

use super::connect::Refusal;
use crate::config::Subscription;

/// What gives orders to a connection; [`Connection`] carries them out while it is polled.
pub enum Client {
    V5(v5::AsyncClient),
    V311(v4::AsyncClient),
}

/// What must be polled, by one task, without a pause.
pub enum Connection {
    V5(Box<v5::EventLoop>),
    V311(Box<v4::EventLoop>),
}

/// Something that came from the broker.
#[derive(Debug)]
pub enum Event {
    Connected {
        session_present: bool,
    },
    Message(Message),
    /// One answer a filter, in the order asked: the `QoS` granted, or `None`: refused.
    Subscribed(Vec<Option<u8>>),
    Unsubscribed,
    /// A PUBACK has left.
    Acknowledged,
    Other,
}

#[derive(Debug)]
pub struct Message {
    pub topic: Bytes,
    pub payload: Bytes,
    pub dup: bool,
    pub retain: bool,
    /// `None` for `QoS` 0: there is nothing to acknowledge.
    pub ack: Option<Puback>,
}

/// The PUBACK of one message, to be sent on the connection it came by.
#[derive(Clone, Debug)]
pub enum Puback {
    V5(v5::ManualAck),
    V311(v4::ManualAck),
}

/// The request channel is full, or the client is gone: to be tried again.
#[derive(Debug)]
pub struct NotSent;

impl Client {
    pub fn subscribe(&self, subscriptions: &[Subscription]) -> Result<(), NotSent> {
        match self {
            Self::V5(client) => {
                let filter = |subscription: &Subscription| {
                    let mut filter = v5::SubscribeFilter::new(subscription.filter.clone(), v5_qos(subscription.qos));
                    // A resumed session would otherwise send all that is retained at each connection.
                    filter.retain_forward_rule = if subscription.retained {
                        v5::RetainForwardRule::OnNewSubscribe
                    } else {
                        v5::RetainForwardRule::Never
                    };
                    filter
                };
                client.try_subscribe_many(subscriptions.iter().map(filter)).map_err(|_| NotSent)
            }
            Self::V311(client) => {
                let filter = |subscription: &Subscription| {
                    v4::SubscribeFilter::new(subscription.filter.clone(), v4_qos(subscription.qos))
                };
                client.try_subscribe_many(subscriptions.iter().map(filter)).map_err(|_| NotSent)
            }
        }
    }

    pub fn unsubscribe(&self, filters: &[String]) -> Result<(), NotSent> {
        let filters = filters.iter().cloned();
        match self {
            Self::V5(client) => client.try_unsubscribe_many(filters).map_err(|_| NotSent),
            Self::V311(client) => client.try_unsubscribe_many(filters).map_err(|_| NotSent),
        }
    }

    /// Publishes at `QoS` 0, without waiting.
    pub fn publish(&self, topic: &str, payload: Bytes) -> Result<(), NotSent> {
        match self {
            Self::V5(client) => {
                let options = v5::PublishOptions::new(v5::QoS::AtMostOnce);
                client.try_publish(topic, payload, options).map_err(|_| NotSent)
            }
            Self::V311(client) => {
                let options = v4::PublishOptions::new(v4::QoS::AtMostOnce);
                client.try_publish(topic, payload, options).map_err(|_| NotSent)
            }
        }
    }

    /// Hands a PUBACK to the connection, without waiting.
    pub fn acknowledge(&self, puback: &Puback) -> Result<(), NotSent> {
        match (self, puback) {
            (Self::V5(client), Puback::V5(ack)) => client.try_manual_ack(ack.clone()).map_err(|_| NotSent),
            (Self::V311(client), Puback::V311(ack)) => client.try_manual_ack(ack.clone()).map_err(|_| NotSent),
            _ => unreachable!("a PUBACK belongs to the client its message came by"),
        }
    }

    /// Asks for a DISCONNECT once what was handed over before has gone out.
    pub fn disconnect(&self) -> Result<(), NotSent> {
        match self {
            Self::V5(client) => client.try_disconnect().map_err(|_| NotSent),
            Self::V311(client) => client.try_disconnect().map_err(|_| NotSent),
        }
    }

    fn prepare_v5(&self, publish: &v5::Publish) -> Option<Puback> {
        match self {
            Self::V5(client) => client.prepare_ack(publish).map(Puback::V5),
            Self::V311(_) => None,
        }
    }

    fn prepare_v311(&self, publish: &v4::Publish) -> Option<Puback> {
        match self {
            Self::V311(client) => client.prepare_ack(publish).map(Puback::V311),
            Self::V5(_) => None,
        }
    }
}

impl Connection {
    /// The next event, or why the connection ended. The next poll after an error connects anew.
    pub async fn poll(&mut self, client: &Client) -> Result<Event, Refusal> {
        match self {
            Self::V5(events) => match events.poll().await {
                Ok(event) => Ok(v5_event(event, client)),
                Err(error) => Err(Refusal::from_v5(&error)),
            },
            Self::V311(events) => match events.poll().await {
                Ok(event) => Ok(v311_event(event, client)),
                Err(error) => Err(Refusal::from_v311(&error)),
            },
        }
    }

    /// Ends the connection at once and forgets every event of it that was received and not yet seen.
    pub fn cut(&mut self) {
        match self {
            Self::V5(events) => {
                events.clean();
                events.state.events.clear();
            }
            Self::V311(events) => {
                events.clean();
                events.state.events.clear();
            }
        }
    }
}

fn v5_event(event: v5::Event, client: &Client) -> Event {
    match event {
        v5::Event::Incoming(v5::Packet::ConnAck(answer)) => {
            Event::Connected { session_present: answer.session_present }
        }
        v5::Event::Incoming(v5::Packet::Publish(publish)) => Event::Message(Message {
            ack: client.prepare_v5(&publish),
            topic: publish.topic,
            payload: publish.payload,
            dup: publish.dup,
            retain: publish.retain,
        }),
        v5::Event::Incoming(v5::Packet::SubAck(answer)) => {
            let granted = |code: &_| match code {
                v5::SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                _ => None,
            };
            Event::Subscribed(answer.return_codes.iter().map(granted).collect())
        }
        v5::Event::Incoming(v5::Packet::UnsubAck(_)) => Event::Unsubscribed,
        v5::Event::Outgoing(v5::Outgoing::PubAck(_)) => Event::Acknowledged,
        _ => Event::Other,
    }
}

fn v311_event(event: v4::Event, client: &Client) -> Event {
    match event {
        v4::Event::Incoming(v4::Packet::ConnAck(answer)) => {
            Event::Connected { session_present: answer.session_present }
        }
        v4::Event::Incoming(v4::Packet::Publish(publish)) => Event::Message(Message {
            ack: client.prepare_v311(&publish),
            topic: Bytes::copy_from_slice(publish.topic.as_ref()),
            payload: publish.payload,
            dup: publish.dup,
            retain: publish.retain,
        }),
        v4::Event::Incoming(v4::Packet::SubAck(answer)) => {
            let granted = |code: &_| match code {
                v4::SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                v4::SubscribeReasonCode::Failure => None,
            };
            Event::Subscribed(answer.return_codes.iter().map(granted).collect())
        }
        v4::Event::Incoming(v4::Packet::UnsubAck(_)) => Event::Unsubscribed,
        v4::Event::Outgoing(v4::Outgoing::PubAck(_)) => Event::Acknowledged,
        _ => Event::Other,
    }
}

fn v5_qos(qos: u8) -> v5::QoS {
    if qos == 0 { v5::QoS::AtMostOnce } else { v5::QoS::AtLeastOnce }
}

fn v4_qos(qos: u8) -> v4::QoS {
    if qos == 0 { v4::QoS::AtMostOnce } else { v4::QoS::AtLeastOnce }
}
