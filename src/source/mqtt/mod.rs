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
//! - back-pressure is the in-flight window: a full one holds up reading for a quarter of the keep-alive at the most,
//!   so the connection lives whatever the queue does;
//! - no message loops: what is too large or cannot be read is a dead letter, acknowledged in its turn.

mod client;
mod connect;
mod filters;
mod message;
mod rebirth;
mod session;
mod window;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use self::client::{Client, Connection, Event, Puback};
use self::connect::Refusal;
use self::filters::Filters;
use self::rebirth::Rebirths;
use self::window::{Closed, Window};
use super::filter::Filter;
use super::{Inbox, Inlet, Receipt, SourceError, State, StateSender};
use crate::backoff;
use crate::config::{self, Backoff, Protocol};
use crate::decode::Decoder;
use crate::faults::Point;
use crate::metrics::Metrics;

const RECONNECT: Backoff = Backoff { base: Duration::from_millis(500), max: Duration::from_secs(30) };
/// A packet above the limit comes again at once: the broker is given time, and others the line.
const OVERSIZE_PAUSE: Duration = Duration::from_mins(5);
/// What may be in flight, bytes.
const WINDOW_BYTES: usize = 64 << 20;
/// A connection that lasts shorter than this, several times on end, was probably taken over.
const SHORT: Duration = Duration::from_secs(2);
const SHORT_SUSPICIOUS: u32 = 3;
/// How long the last PUBACKs may take once the gateway stops.
const GOODBYE: Duration = Duration::from_secs(5);

impl From<Closed> for SourceError {
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
) -> Result<(), SourceError> {
    let name: Arc<str> = mqtt.name.as_str().into();
    let client_id = connect::client_id(&mqtt, gateway);
    let (client, mut connection) = connect::client(&mqtt, &client_id).map_err(SourceError::Setup)?;
    let decoder = |to: &config::Subscription| Decoder::new(name.clone(), &to.filter, to.topic.as_deref(), &to.payload);
    let decoders: Result<Vec<_>, _> = mqtt.subscriptions.iter().map(decoder).collect();
    let mut door = Door {
        filters: Filters::new(data_dir, &mqtt),
        rebirths: Rebirths::default(),
        window: Window::new(mqtt.in_flight.into()),
        exceptions: Filter::new(mqtt.filter.clone()),
        unconfirmed: None,
        unsent: 0,
        patience_ends: None,
        connected: None,
        decoders: decoders?,
        client,
        client_id,
        mqtt,
        inlet: Inlet::new(inbox, name.clone()),
        name,
        state,
        metrics,
    };
    let mut stop = pin!(stop);
    let mut failed = 0;
    let mut short = 0;
    loop {
        let Some(ended) = door.connect_and_serve(&mut connection, &mut stop).await? else { return Ok(()) };
        let lasted = ended.connected.map(|at| at.elapsed());
        // A connection that hardly began is no reason to try sooner: two clients of one id would do nothing else.
        failed = if ended.why == Why::Overrun || lasted.is_some_and(|lasted| lasted >= SHORT) { 1 } else { failed + 1 };
        let cut_short = ended.why == Why::Refused(Refusal::Closed) && lasted.is_some_and(|lasted| lasted < SHORT);
        short = if cut_short { short + 1 } else { 0 };
        let pause = if ended.why == Why::Refused(Refusal::Oversize) {
            OVERSIZE_PAUSE
        } else {
            backoff::pause(RECONNECT, failed)
        };
        door.tell_end(&ended, short >= SHORT_SUSPICIOUS)?;
        tokio::select! {
            slept = door.inlet.sleep_until(Instant::now() + pause) => slept?,
            () = &mut stop => return Ok(()),
        }
    }
}

/// How a connection ended, or that none came about.
struct Ended {
    why: Why,
    /// Since when, if it was connected.
    connected: Option<Instant>,
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
    rebirths: Rebirths,
    decoders: Vec<Decoder>,
    window: Window<Puback>,
    /// What is worth reporting.
    exceptions: Filter,
    /// Of the last message that came as `QoS` 0: what came before it is stored when it is.
    unconfirmed: Option<Receipt>,
    /// PUBACKs handed to the connection that have not left yet.
    unsent: usize,
    /// Until when a full window is only waited for.
    patience_ends: Option<Instant>,
    connected: Option<Instant>,
    inlet: Inlet,
    state: StateSender,
    metrics: Arc<Metrics>,
}

impl Door {
    /// One connection, from its first try to its end; `None`: the gateway stops.
    async fn connect_and_serve(
        &mut self,
        connection: &mut Connection,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Ended>, SourceError> {
        self.connected = None;
        let why = loop {
            if self.wait_for_room(stop).await? {
                self.goodbye(connection).await?;
                return Ok(None);
            }
            match self.next(connection, stop).await? {
                None => {
                    self.goodbye(connection).await?;
                    return Ok(None);
                }
                Some(Ok(event)) => self.on(event)?,
                Some(Err(refusal)) => break Why::Refused(refusal),
            }
            if self.is_overrun() {
                match self.drain(connection, stop).await? {
                    None => {
                        self.goodbye(connection).await?;
                        return Ok(None);
                    }
                    Some(Ok(())) => break Why::Overrun,
                    Some(Err(refusal)) => break Why::Refused(refusal),
                }
            }
        };
        connection.cut();
        self.end_connection();
        Ok(Some(Ended { why, connected: self.connected }))
    }

    /// The next event, or why there is none; meanwhile what gets stored is acknowledged. `None`: the gateway stops.
    async fn next(
        &mut self,
        connection: &mut Connection,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Result<Event, Refusal>>, SourceError> {
        let Self { client, window, inlet, unsent, .. } = self;
        // A poll is not cancelled while things go well: half a handshake, or half a packet, would be lost with it.
        let mut poll = pin!(connection.poll(client));
        loop {
            let event = tokio::select! {
                event = &mut poll => Some(event),
                () = &mut *stop => return Ok(None),
                moved = window.progress(inlet) => moved.map(|()| None)?,
            };
            window.acknowledge(|ack| client.acknowledge(ack).inspect(|()| *unsent += 1))?;
            if let Some(event) = event {
                return Ok(Some(event));
            }
        }
    }

    fn on(&mut self, event: Event) -> Result<(), SourceError> {
        match event {
            Event::Connected { session_present } => self.connected(session_present)?,
            Event::Message(message) => self.message(message)?,
            Event::Subscribed(granted) => self.subscribed(&granted),
            Event::Unsubscribed => self.unsubscribed(),
            Event::Acknowledged => {
                self.unsent = self.unsent.saturating_sub(1);
                Point::Acknowledged.reached();
            }
            Event::Other => {}
        }
        Ok(())
    }

    /// Stores and acknowledges what was taken, and takes no more: the broker keeps it. Whoever left without these
    /// PUBACKs would get the same messages again, and never others.
    async fn drain(
        &mut self,
        connection: &mut Connection,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Result<(), Refusal>>, SourceError> {
        while self.window.len() > 0 || self.unsent > 0 {
            match self.next(connection, stop).await? {
                None => return Ok(None),
                Some(Ok(Event::Message(message))) if message.ack.is_some() => {}
                Some(Ok(event)) => self.on(event)?,
                Some(Err(refusal)) => return Ok(Some(Err(refusal))),
            }
        }
        Ok(Some(Ok(())))
    }

    fn end_connection(&mut self) {
        if self.window.end_connection() {
            self.exceptions.forget();
        }
        self.unsent = 0;
        self.patience_ends = None;
    }

    fn set(&self, state: State) {
        self.metrics.source_connected.with_label_values(&[&*self.name]).set(state.is_connected().into());
        self.state.send_replace(state);
    }

    fn connected(&mut self, session_present: bool) -> Result<(), SourceError> {
        self.end_connection();
        self.connected = Some(Instant::now());
        self.metrics.source_connects.with_label_values(&[&*self.name]).inc();
        tracing::info!(source = &*self.name, host = self.mqtt.host, session_present, "connected");
        self.inlet.up()?;
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

    /// Only now does anything come: before, a message published to a session that is new would be lost.
    fn subscribed(&self, granted: &[Option<u8>]) {
        let mut refused = Vec::new();
        let mut lowered = Vec::new();
        for (subscription, granted) in self.mqtt.subscriptions.iter().zip(granted) {
            match granted {
                None => refused.push(&*subscription.filter),
                Some(qos) if *qos < subscription.qos => lowered.push(&*subscription.filter),
                Some(_) => {}
            }
        }
        let mut whys = Vec::new();
        if !refused.is_empty() {
            let filters = refused.join(" ");
            whys.push(format!("the broker refuses to subscribe to {filters}; check the filter and its access list"));
        }
        if !lowered.is_empty() {
            let filters = lowered.join(" ");
            whys.push(format!(
                "the broker grants only QoS 0 for {filters}, where nothing is acknowledged; raise its limit, or write qos = 0"
            ));
        }
        if whys.is_empty() {
            return self.set(State::Connected);
        }
        let why = whys.join("; ");
        tracing::error!(source = &*self.name, why, "not all that was asked for was granted");
        self.set(State::Partly { why });
    }

    fn unsubscribed(&self) {
        if let Err(error) = self.filters.forget_lost() {
            tracing::warn!(source = &*self.name, %error, "the filters cannot be remembered");
        }
    }

    /// More than was asked for: a 3.1.1 broker knows no receive maximum, and no broker knows one of bytes.
    fn is_overrun(&self) -> bool {
        let messages = self.mqtt.protocol == Protocol::V311 && self.window.len() > self.mqtt.in_flight.into();
        messages || self.window.bytes() > self.most_bytes()
    }

    /// The next message may be one too many.
    fn is_full(&self) -> bool {
        let messages = self.mqtt.protocol == Protocol::V311 && self.window.len() >= self.mqtt.in_flight.into();
        messages || self.window.bytes() + self.mqtt.max_packet as usize > self.most_bytes()
    }

    fn most_bytes(&self) -> usize {
        WINDOW_BYTES.max(2 * self.mqtt.max_packet as usize)
    }

    /// While the window is full what comes waits in the connection, but for no longer than the keep-alive allows; then a
    /// full window is an overrun. Says whether the gateway stops.
    async fn wait_for_room(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Result<bool, SourceError> {
        let until = self.patience_ends.unwrap_or_else(|| Instant::now() + self.mqtt.keep_alive / 4);
        while self.is_full() && Instant::now() < until {
            self.patience_ends = Some(until);
            tokio::select! {
                moved = self.window.progress(&mut self.inlet) => moved?,
                () = sleep_until(until) => {}
                () = &mut *stop => return Ok(true),
            }
            let Self { client, window, unsent, .. } = self;
            window.acknowledge(|ack| client.acknowledge(ack).inspect(|()| *unsent += 1))?;
        }
        if !self.is_full() {
            self.patience_ends = None;
        }
        Ok(false)
    }

    fn tell_end(&mut self, ended: &Ended, taken_over: bool) -> Result<(), SourceError> {
        let connected = ended.connected.is_some();
        let mut why = match &ended.why {
            Why::Refused(refusal) => refusal.sentence(&self.mqtt, &self.client_id, connected),
            Why::Overrun => {
                self.metrics.source_overruns.with_label_values(&[&*self.name]).inc();
                "more was in flight than in_flight allows; it is stored, and the rest is fetched from the broker"
                    .to_owned()
            }
        };
        if taken_over {
            why = format!(
                "{why}, again and again shortly after connecting; does another client use the client_id \"{}\"?",
                self.client_id
            );
        }
        let state = match ended.why {
            Why::Refused(Refusal::Oversize) => State::Stopped { why: why.clone() },
            _ => State::Down { why: why.clone() },
        };
        if *self.state.borrow() != state {
            tracing::warn!(source = &*self.name, why, "not connected; trying again");
        }
        self.set(state);
        if connected {
            self.inlet.down()?;
        }
        Ok(())
    }

    /// The gateway stops: what was taken is stored and acknowledged, then the connection closes; the session stays.
    async fn goodbye(&mut self, connection: &mut Connection) -> Result<(), SourceError> {
        // A poll would connect just to say goodbye.
        if self.connected.is_none() {
            return Ok(());
        }
        let goodbye = async {
            let drained = self.drain(connection, &mut pin!(std::future::pending())).await?;
            if drained == Some(Ok(())) && self.client.disconnect().is_ok() {
                while connection.poll(&self.client).await.is_ok() {}
            }
            Ok::<(), SourceError>(())
        };
        // Too late only means that the broker sends some messages again.
        timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()))
    }
}
