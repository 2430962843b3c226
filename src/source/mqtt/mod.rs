//! MQTT, 5 and 3.1.1: one task a source, which polls its connection without a pause.
//!
//! ```text
//!   broker ──▶ connection ──▶ decoder ──▶ window ──▶ inbox
//!      ▲                                    │
//!      └──── PUBACKs, in order of arrival ◀─┘ receipts
//! ```
//!
//! The library is the maintained fork of rumqttc. It has a current webpki, drops received events and queued
//! acknowledgements on reconnect, and has manual acknowledgement; rumqttc 0.25 hands out up to ten messages of an old
//! connection after the new CONNACK, where a PUBACK may name another message, and pins a webpki with four advisories.
//!
//! Invariants:
//! - the session persists: clean start is off and the expiry set, so a broker keeps what comes while we are away;
//! - a PUBACK leaves only for what is on stable storage, on the connection it came by, in the order of arrival;
//! - back-pressure is the in-flight window, never a stalled poll: keep-alive goes on whatever the queue does;
//! - no message loops: what is too large or cannot be read is a dead letter, acknowledged in its turn.

mod client;
mod connect;
mod filters;
mod window;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use self::client::{Client, Connection, Event, Message, Puback};
use self::connect::Refusal;
use self::filters::Filters;
use self::window::{Closed, Tag, Window};
use super::{Cut, Delivery, Inbox, Reason, Rejected, State, StateSender};
use crate::backoff;
use crate::config::{self, Backoff, Protocol};
use crate::decode::Decoder;
use crate::metrics::Metrics;

const RECONNECT: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(30) };
/// A packet above the limit comes again at once: the broker is given time, and others the line.
const OVERSIZE_PAUSE: Duration = Duration::from_mins(5);
/// What may be in flight, bytes.
const WINDOW_BYTES: usize = 64 << 20;
/// What is kept of a payload above `max_payload`.
const OVERSIZE_KEPT: usize = 64 * 1024;
/// A connection that lasts shorter than this, several times on end, was probably taken over.
const SHORT: Duration = Duration::from_secs(2);
const SHORT_SUSPICIOUS: u32 = 3;
/// How long the last PUBACKs may take once the gateway stops.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why a source ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("the queue has stopped")]
    QueueStopped,
    #[error("cannot set up the connection: {0}")]
    Setup(String),
    #[error(transparent)]
    Template(#[from] crate::decode::TemplateError),
}

impl From<Closed> for MqttError {
    fn from(_: Closed) -> Self {
        Self::QueueStopped
    }
}

/// Runs one source until `stop` resolves.
pub async fn run(
    mqtt: config::Mqtt,
    gateway: &str,
    data_dir: &Path,
    inbox: Inbox,
    state: StateSender,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> Result<(), MqttError> {
    let name: Arc<str> = mqtt.name.as_str().into();
    let client_id = connect::client_id(&mqtt, gateway);
    let (client, mut connection) = connect::client(&mqtt, &client_id).map_err(MqttError::Setup)?;
    let decoders: Result<Vec<_>, _> =
        mqtt.subscriptions.iter().map(|subscription| Decoder::new(name.clone(), subscription)).collect();
    let mut door = Door {
        filters: Filters::new(data_dir, &mqtt),
        window: Window::new(mqtt.in_flight.into()),
        decoders: decoders?,
        client,
        client_id,
        name,
        mqtt,
        inbox,
        state,
        metrics,
    };
    let mut stop = pin!(stop);
    let mut failed = 0;
    let mut short = 0;
    loop {
        let started = Instant::now();
        let ended = door.connect_and_serve(&mut connection, &mut stop).await?;
        let Some(Ended { why, connected }) = ended else { return door.goodbye(&mut connection).await };
        failed = if connected { 1 } else { failed + 1 };
        short = if connected && started.elapsed() < SHORT { short + 1 } else { 0 };
        let pause =
            if why == Why::Refused(Refusal::Oversize) { OVERSIZE_PAUSE } else { backoff::pause(RECONNECT, failed) };
        door.tell_end(&why, short >= SHORT_SUSPICIOUS, connected).await?;
        let pause = async {
            // What ended connections brought must be stored before more of it comes.
            if why == Why::Overrun {
                door.window.drained().await;
            }
            sleep(pause).await;
        };
        tokio::select! {
            () = pause => {}
            () = &mut stop => return Ok(()),
        }
    }
}

/// How a connection ended, or that none came about.
struct Ended {
    why: Why,
    connected: bool,
}

#[derive(PartialEq, Eq)]
enum Why {
    Refused(Refusal),
    /// More came than the in-flight window holds.
    Overrun,
}

struct Door {
    mqtt: config::Mqtt,
    name: Arc<str>,
    client_id: Arc<str>,
    client: Client,
    filters: Filters,
    decoders: Vec<Decoder>,
    window: Window<Puback>,
    inbox: Inbox,
    state: StateSender,
    metrics: Arc<Metrics>,
}

impl Door {
    /// One connection, from its first try to its end; `None`: the gateway stops.
    async fn connect_and_serve(
        &mut self,
        connection: &mut Connection,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Ended>, MqttError> {
        let mut connected = false;
        loop {
            let event = {
                // A poll is not cancelled: half a handshake, or half a packet, would be lost with it.
                let mut poll = pin!(connection.poll(&self.client));
                loop {
                    tokio::select! {
                        event = &mut poll => break event,
                        () = &mut *stop => return Ok(None),
                        moved = self.window.progress(&self.inbox) => {
                            moved?;
                            self.window.acknowledge(|ack| self.client.acknowledge(ack))?;
                        }
                    }
                }
            };
            // PUBACKs that the request channel had no room for.
            self.window.acknowledge(|ack| self.client.acknowledge(ack))?;
            match event {
                Ok(Event::Connected { session_present }) => {
                    connected = true;
                    self.connected(session_present).await?;
                }
                Ok(Event::Message(message)) => {
                    self.message(message)?;
                    if self.is_overrun() {
                        connection.cut();
                        self.window.end_connection();
                        return Ok(Some(Ended { why: Why::Overrun, connected }));
                    }
                }
                Ok(Event::Subscribed(granted)) => self.subscribed(&granted),
                Ok(Event::Unsubscribed) => self.unsubscribed(),
                Ok(Event::Other) => {}
                Err(refusal) => {
                    connection.cut();
                    self.window.end_connection();
                    return Ok(Some(Ended { why: Why::Refused(refusal), connected }));
                }
            }
        }
    }

    async fn connected(&mut self, session_present: bool) -> Result<(), MqttError> {
        self.window.end_connection();
        self.metrics.source_connects.with_label_values(&[&*self.name]).inc();
        self.metrics.source_connected.with_label_values(&[&*self.name]).set(1);
        self.state.send_replace(State::Connected);
        tracing::info!(source = &*self.name, host = self.mqtt.host, session_present, "connected");
        self.inbox.up(&self.name).await.map_err(|_| MqttError::QueueStopped)?;
        if let Err(error) = self.filters.remember_all() {
            tracing::warn!(source = &*self.name, %error, "the filters cannot be remembered; one that the configuration loses will stay subscribed");
        }
        // The channel has room for both: nothing of the last connection is left in it.
        let lost = self.filters.lost();
        if !lost.is_empty() && self.client.unsubscribe(&lost).is_ok() {
            tracing::info!(source = &*self.name, filters = ?lost, "unsubscribing what the configuration has no more");
        }
        if self.client.subscribe(&self.mqtt.subscriptions).is_err() {
            tracing::error!(source = &*self.name, "SUBSCRIBE could not be sent; it goes out at the next connection");
        }
        Ok(())
    }

    fn subscribed(&self, granted: &[bool]) {
        let refused: Vec<_> = self.mqtt.subscriptions.iter().zip(granted).filter(|(_, granted)| !**granted).collect();
        let filters: Vec<_> = refused.iter().map(|(subscription, _)| subscription.filter.as_str()).collect();
        if filters.is_empty() {
            return;
        }
        let filters = filters.join(" ");
        tracing::error!(source = &*self.name, filters, "the broker refuses subscriptions");
        let why = format!("the broker refuses to subscribe to {filters}: check the filter and its access list");
        self.state.send_replace(State::Partly { why });
    }

    fn unsubscribed(&self) {
        if let Err(error) = self.filters.forget_lost() {
            tracing::warn!(source = &*self.name, %error, "the filters cannot be remembered");
        }
    }

    fn message(&mut self, message: Message) -> Result<(), MqttError> {
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let decoder = self.decoders.iter().position(|decoder| decoder.matches(&topic));
        let subscription = decoder.map(|at| &self.mqtt.subscriptions[at]);
        let wants_retained = subscription.is_none_or(|subscription| subscription.retained);
        let drops_repeats = subscription.is_some_and(|subscription| subscription.drop_repeats);
        let digest = drops_repeats.then(|| digest(&message));
        let weight = message.payload.len() + topic.len() + 128;
        let tag = Tag { ack: message.ack, digest, weight };
        if message.dup {
            self.metrics.door_repeats.with_label_values(&[&*self.name]).inc();
        }
        if message.retain && !wants_retained {
            self.count("retained");
            return Ok(self.window.take_repeat(tag, &self.inbox)?);
        }
        if message.dup && digest.is_some_and(|digest| self.window.is_repeat(&digest)) {
            self.count("repeat");
            return Ok(self.window.take_repeat(tag, &self.inbox)?);
        }
        let mut delivery = match decoder {
            _ if message.payload.len() > self.mqtt.max_payload => self.oversize(&topic, &message.payload),
            Some(at) => self.decoders[at].decode(&topic, &message.payload),
            // A filter the configuration has lost: the broker had this for us before the UNSUBSCRIBE.
            None => self.unasked(&topic, &message.payload),
        };
        delivery.weight = delivery.weight.max(weight);
        if tag.ack.is_none() {
            // QoS 0 has no window to wait in.
            let readings = delivery.readings.len() as u64;
            match self.inbox.try_put(delivery) {
                Ok(_not_awaited) => {}
                Err(super::Refused::Full(_)) => self.dropped(readings),
                Err(super::Refused::Closed) => return Err(MqttError::QueueStopped),
            }
            return Ok(());
        }
        Ok(self.window.take(delivery, tag, &self.inbox)?)
    }

    fn oversize(&self, topic: &str, payload: &Bytes) -> Delivery {
        let detail = format!("a payload of {} bytes, and max_payload is {}", payload.len(), self.mqtt.max_payload);
        let kept = payload.slice(..payload.len().min(OVERSIZE_KEPT));
        let cut = Cut { length: payload.len() as u64, sha256: Sha256::digest(payload).into() };
        self.reject(topic, Reason::Oversize, detail, Bytes::copy_from_slice(&kept), Some(cut))
    }

    fn unasked(&self, topic: &str, payload: &Bytes) -> Delivery {
        let detail = "no subscription of the configuration has this topic".to_owned();
        self.reject(topic, Reason::Malformed, detail, payload.clone(), None)
    }

    fn reject(&self, topic: &str, reason: Reason, detail: String, payload: Bytes, cut: Option<Cut>) -> Delivery {
        let weight = payload.len();
        let rejected = Rejected { source: self.name.clone(), origin: topic.into(), reason, detail, payload, cut };
        Delivery { readings: Vec::new(), rejects: vec![rejected], weight }
    }

    fn count(&self, outcome: &str) {
        self.metrics.readings.with_label_values(&[&*self.name, outcome]).inc();
    }

    fn dropped(&self, readings: u64) {
        self.metrics.readings.with_label_values(&[&*self.name, "dropped"]).inc_by(readings.max(1));
    }

    /// More than was asked for: a 3.1.1 broker knows no receive maximum, and no broker knows one of bytes.
    fn is_overrun(&self) -> bool {
        let messages = self.mqtt.protocol == Protocol::V311 && self.window.len() > self.mqtt.in_flight.into();
        messages || self.window.bytes() > WINDOW_BYTES.max(2 * self.mqtt.max_packet as usize)
    }

    async fn tell_end(&mut self, why: &Why, taken_over: bool, connected: bool) -> Result<(), MqttError> {
        let mut sentence = match why {
            Why::Refused(refusal) => refusal.sentence(&self.mqtt, &self.client_id),
            Why::Overrun => {
                self.metrics.source_overruns.with_label_values(&[&*self.name]).inc();
                "more messages are in flight than in_flight allows; the rest stays with the broker until these are stored"
                    .to_owned()
            }
        };
        if taken_over && !matches!(why, Why::Refused(Refusal::TakenOver)) {
            sentence = format!(
                "{sentence}, again and again shortly after connecting: does another client use the client_id \"{}\"?",
                self.client_id
            );
        }
        let state = match why {
            Why::Refused(Refusal::Oversize) => State::Stopped { why: sentence.clone() },
            _ => State::Down { why: sentence.clone() },
        };
        if self.state.send_replace(state.clone()) != state {
            tracing::warn!(source = &*self.name, why = sentence, "not connected; trying again");
        }
        self.metrics.source_connected.with_label_values(&[&*self.name]).set(0);
        if connected {
            self.inbox.down(&self.name).await.map_err(|_| MqttError::QueueStopped)?;
        }
        Ok(())
    }

    /// The gateway stops: what was taken is stored and acknowledged, then the connection closes; the session stays.
    async fn goodbye(&mut self, connection: &mut Connection) -> Result<(), MqttError> {
        let goodbye = async {
            while self.window.len() > 0 {
                let mut poll = pin!(connection.poll(&self.client));
                tokio::select! {
                    moved = self.window.progress(&self.inbox) => {
                        moved?;
                        self.window.acknowledge(|ack| self.client.acknowledge(ack))?;
                    }
                    // Messages that still come are not taken: the broker keeps them for the next start.
                    event = &mut poll => if event.is_err() { return Ok(()) },
                }
            }
            // A connection that is gone has had its goodbye.
            if self.client.disconnect().is_ok() {
                while connection.poll(&self.client).await.is_ok() {}
            }
            Ok::<(), MqttError>(())
        };
        // Too late only means that the broker sends some messages again.
        timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()))
    }
}

/// Topic and payload together.
fn digest(message: &Message) -> window::Digest {
    let mut sum = Sha256::new();
    sum.update((message.topic.len() as u64).to_be_bytes());
    sum.update(&message.topic);
    sum.update(&message.payload);
    sum.finalize().into()
}
