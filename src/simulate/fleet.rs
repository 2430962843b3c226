//! Plays the sensors' scripts: publishes over TCP with `QoS` 1, pipelined, each publish confirmed by its PUBACK.
//!
//! Invariants:
//! - all readings of a sensor go over one connection, in the order of its script;
//! - a reading is in the ledger before it is published, so nothing can arrive that is not known there;
//! - [`play`] returns only once the broker has confirmed everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::mqttbytes::{QoS, valid_filter};
use rumqttc::{
    AsyncClient, Broker as Address, BrokerSessionResumePolicy, ClientError, ConnectionError, Event, EventLoop,
    MqttOptions, PublishOptions, SessionMode, ValidatedTopic,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::sensor::{Link, Script, Sensor, Step, What};
use crate::clock::Clock;
use crate::reading::Micros;

/// As many as carry any load here; more only cost.
const CONNECTIONS_MAX: usize = 4;
/// Publishes between the script and the wire.
const QUEUE: usize = 100;
const BATCH: usize = 100;
const SESSION_EXPIRY_SECONDS: u32 = 3_600;
const PAUSE_BEFORE_RECONNECT: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("no MQTT connection to {host}:{port}: {why}; a broker that speaks MQTT 5 must listen there")]
    Connect { host: String, port: u16, why: String },
    #[error("the MQTT client stopped: {0}")]
    Client(#[from] ClientError),
    #[error("`{0}` cannot be part of a topic")]
    Topic(Arc<str>),
    #[error("a simulated port failed: {0}")]
    Wire(#[from] std::io::Error),
}

/// The broker the sensors publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text} is no broker that the sensors can speak to; write mqtt://HOST:PORT");
        let place = text.strip_prefix("mqtt://").ok_or_else(wanted)?.trim_end_matches('/');
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| wanted())?),
            _ => (place, 1883),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            Err(wanted())
        } else {
            Ok(Self { host: host.to_owned(), port })
        }
    }
}

impl Target {
    fn client(&self, id: &str) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, Address::tcp(&self.host, self.port));
        options.set_session_mode(SessionMode::Persistent);
        options.set_session_expiry_interval(Some(SESSION_EXPIRY_SECONDS));
        options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
        // A broker that holds publishers back answers no pings either.
        options.set_keep_alive(0);
        options.set_max_request_batch(BATCH);
        options.set_read_batch_size(BATCH);
        AsyncClient::builder(options).capacity(QUEUE).build()
    }

    fn failed(&self, source: ConnectionError) -> FleetError {
        FleetError::Connect { host: self.host.clone(), port: self.port, why: source.to_string() }
    }
}

/// What was generated, and when; the values are recomputed from the scripts.
pub struct Ledger {
    pub start: Micros,
    /// For each sensor the moment of each reading, milliseconds since `start`: half of what a timestamp takes.
    readings: Vec<Mutex<Vec<u32>>>,
    corrupt: AtomicU64,
}

impl Ledger {
    #[must_use]
    pub fn new(sensors: usize, start: Micros) -> Self {
        Self { start, readings: (0..sensors).map(|_| Mutex::default()).collect(), corrupt: AtomicU64::new(0) }
    }

    /// How many readings a sensor has generated.
    #[must_use]
    pub fn published(&self, sensor: usize) -> u64 {
        self.moments(sensor).len() as u64
    }

    /// How many readings all sensors have generated.
    #[must_use]
    pub fn total(&self) -> u64 {
        (0..self.readings.len()).map(|sensor| self.published(sensor)).sum()
    }

    /// When a reading was generated.
    #[must_use]
    pub fn moment(&self, sensor: usize, n: u64) -> Option<Micros> {
        let millis = *self.moments(sensor).get(usize::try_from(n).ok()?)?;
        Some(Micros(self.start.0 + i64::from(millis) * 1_000))
    }

    /// How many corrupt payloads were sent.
    #[must_use]
    pub fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    pub(super) fn enter_corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters one reading; the fleet does, and tests that have none.
    pub(super) fn enter(&self, sensor: usize, now: Micros) {
        self.moments(sensor).push(((now.0 - self.start.0) / 1_000).max(0) as u32);
    }

    fn moments(&self, sensor: usize) -> MutexGuard<'_, Vec<u32>> {
        self.readings[sensor].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the gateway's session before the gateway does, so that nothing is published to nobody.
pub async fn open_session(target: &Target, client_id: &str, filter: &str) -> Result<(), FleetError> {
    debug_assert!(valid_filter(filter));
    let (client, mut events) = target.client(client_id);
    client.subscribe(filter, QoS::AtLeastOnce).await?;
    while !matches!(events.poll().await.map_err(|error| target.failed(error))?, Event::Incoming(Packet::SubAck(_))) {}
    client.disconnect().await?;
    // The broker answers a DISCONNECT by closing, which the client reports as an error.
    while events.poll().await.is_ok() {}
    Ok(())
}

/// Publishes everything of the sensors that publish, as it is due, until `duration` or the scripts are over.
pub async fn play(
    sensors: &[Sensor],
    target: &Target,
    duration: Option<Duration>,
    ledger: &Arc<Ledger>,
) -> Result<(), FleetError> {
    let start = Instant::now();
    let sensors: Vec<_> = sensors.iter().enumerate().filter(|(_, sensor)| sensor.link == Link::Mqtt).collect();
    let connections = sensors.len().min(CONNECTIONS_MAX);
    let mut players = JoinSet::new();
    for connection in 0..connections {
        let mut player = Player { ledger: ledger.clone(), start, until: duration, parts: Vec::new() };
        for (index, sensor) in sensors.iter().copied().skip(connection).step_by(connections) {
            let topic = ValidatedTopic::new(sensor.topic()).map_err(|_| FleetError::Topic(sensor.device.clone()))?;
            player.parts.push(Part { index, topic, script: sensor.script(ledger.start) });
        }
        let id = format!("tidegate-sensors-{}-{connection}", std::process::id());
        let (client, events) = target.client(&id);
        let target = target.clone();
        players.spawn(async move {
            let (confirmed, confirmations) = watch::channel(0);
            tokio::select! {
                failed = confirm(&target, events, confirmed) => Err(failed),
                played = player.play(client, confirmations) => played,
            }
        });
    }
    while let Some(played) = players.join_next().await {
        match played {
            Ok(played) => played?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Ok(())
}

/// One sensor's part in a connection.
struct Part {
    index: usize,
    topic: ValidatedTopic,
    script: Script,
}

/// The sensors of one connection.
struct Player {
    ledger: Arc<Ledger>,
    start: Instant,
    until: Option<Duration>,
    parts: Vec<Part>,
}

impl Player {
    async fn play(mut self, client: AsyncClient, mut confirmed: watch::Receiver<u64>) -> Result<(), FleetError> {
        let mut next: Vec<Option<Step>> = self.parts.iter_mut().map(|part| part.script.next()).collect();
        let due = |steps: &[Option<Step>], part: usize| steps[part].as_ref().map(|step| Reverse((step.due, part)));
        let mut queue: BinaryHeap<_> = (0..next.len()).filter_map(|part| due(&next, part)).collect();
        let mut published = 0;
        while let Some(Reverse((at, part))) = queue.pop() {
            if self.until.is_some_and(|until| at >= until) {
                break;
            }
            tokio::time::sleep_until(self.start + at).await;
            if let Some(step) = next[part].take() {
                let payload = self.enter(part, step.what);
                client.publish(self.parts[part].topic.clone(), payload, PublishOptions::at_least_once()).await?;
                published += 1;
            }
            next[part] = self.parts[part].script.next();
            queue.extend(due(&next, part));
        }
        // It fails only with the task that polls, whose own error is the one to report.
        let _ = confirmed.wait_for(|confirmed| *confirmed >= published).await;
        Ok(client.disconnect().await?)
    }

    fn enter(&self, part: usize, what: What) -> Bytes {
        match what {
            What::Reading(sent) => {
                self.ledger.enter(self.parts[part].index, Clock::System.now().wall);
                sent.payload()
            }
            What::Corrupt(bytes) => {
                self.ledger.enter_corrupt();
                bytes
            }
        }
    }
}

/// Drives one connection and counts PUBACKs. It ends only if there never was a connection: one that is lost is made
/// again, and what was not confirmed goes again.
async fn confirm(target: &Target, mut events: EventLoop, confirmed: watch::Sender<u64>) -> FleetError {
    let mut connected = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => confirmed.send_modify(|confirmed| *confirmed += 1),
            Ok(Event::Incoming(Packet::ConnAck(_))) => connected = true,
            Ok(_) => {}
            Err(error) if !connected => return target.failed(error),
            Err(error) => {
                tracing::debug!(%error, "the sensors lost their broker");
                tokio::time::sleep(PAUSE_BEFORE_RECONNECT).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rumqttc::AckMode;

    use super::*;
    use crate::simulate::broker::Broker;

    const START: Micros = Micros(1_800_000_000_000_000);

    /// Takes messages until there were so many, and says what each device sent.
    async fn receive(target: &Target, count: u64) -> HashMap<String, Vec<Bytes>> {
        let mut options = MqttOptions::new("gateway", Address::tcp(&target.host, target.port));
        options.set_session_mode(SessionMode::Persistent);
        options.set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly);
        options.set_ack_mode(AckMode::Automatic);
        let (_client, mut events) = AsyncClient::builder(options).capacity(10).build();
        let mut received: HashMap<String, Vec<Bytes>> = HashMap::new();
        let mut left = count;
        while left > 0 {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                received.entry(topic).or_default().push(publish.payload);
                left -= 1;
            }
        }
        received
    }

    #[tokio::test]
    async fn what_the_scripts_say_is_published_in_order_and_entered_in_the_ledger() {
        let broker = Broker::start().await.unwrap();
        let target = Target { host: "127.0.0.1".to_owned(), port: broker.address().port() };
        open_session(&target, "gateway", "sensors/+/telemetry").await.unwrap();
        let sensors: Vec<Sensor> = (0..6).map(|index| Sensor::synthetic(1, index, 200.0)).collect();
        let ledger = Arc::new(Ledger::new(sensors.len(), START));
        play(&sensors, &target, Some(Duration::from_secs(1)), &ledger).await.unwrap();

        let total = ledger.total() + ledger.corrupt();
        assert!(ledger.total() > 900, "{total}");
        let received = tokio::time::timeout(Duration::from_secs(20), receive(&target, total)).await.unwrap();
        for (index, sensor) in sensors.iter().enumerate() {
            let played = &received[&sensor.topic()];
            let script: Vec<Bytes> = sensor
                .script(START)
                .take(played.len())
                .map(|step| match step.what {
                    What::Reading(sent) => sent.payload(),
                    What::Corrupt(bytes) => bytes,
                })
                .collect();
            assert_eq!(*played, script);
            assert!(ledger.moment(index, ledger.published(index)).is_none());
        }
    }

    #[test]
    fn a_broker_is_named_by_a_url() {
        let target = |text: &str| text.parse::<Target>().map(|target| target.to_string());
        assert_eq!(target("mqtt://hall-3:1884"), Ok("mqtt://hall-3:1884".to_owned()));
        assert_eq!(target("mqtt://10.0.0.1/"), Ok("mqtt://10.0.0.1:1883".to_owned()));
        for wrong in ["hall-3:1883", "mqtts://hall-3", "mqtt://", "mqtt://hall:port", "mqtt://user@hall"] {
            assert!(target(wrong).unwrap_err().ends_with("write mqtt://HOST:PORT"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_named() {
        let port = Broker::start().await.unwrap().address().port();
        let target = Target { host: "127.0.0.1".to_owned(), port };
        let ledger = Arc::new(Ledger::new(1, START));
        let sensors = [Sensor::synthetic(1, 0, 10.0)];
        let error = play(&sensors, &target, None, &ledger).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("no MQTT connection to 127.0.0.1:{port}: ")), "{error}");
    }
}
