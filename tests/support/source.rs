//! One source by itself, of whatever kind; the test is the writer behind its inbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate::clock::Clock;
use tidegate::config::{self, Environment, Source};
use tidegate::metrics::Metrics;
use tidegate::reading::{Plain, Reading};
use tidegate::source::{Ack, Delivery, Inbox, Item, SourceError, State, modbus, mqtt, serial};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::TempDir;
use super::gateway::PATIENCE;

pub struct Rig {
    pub dir: TempDir,
    pub items: mpsc::Receiver<Item>,
    state: watch::Receiver<State>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Rig {
    /// A source of these keys, and an inbox for so many messages; `DIR` in the keys is the rig's directory.
    pub fn new(name: &str, keys: &str, messages: usize) -> Self {
        let dir = TempDir::new(name);
        let keys = keys.replace("DIR", dir.path.to_str().unwrap());
        let text = format!("[[source]]\n{keys}\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n");
        let (mut config, _) = config::parse(&text, "t.toml".as_ref(), &Environment::default()).unwrap();
        let source = config.sources.remove(0);
        let (inbox, items) = Inbox::new(messages, 1 << 20, Clock::System);
        let (says, state) = watch::channel(State::Connecting);
        let (stop, stops) = oneshot::channel();
        let metrics = Metrics::new();
        let (data_dir, counts) = (dir.path.clone(), metrics.clone());
        let run = async move {
            let stopped = async {
                let _ = stops.await;
            };
            match source {
                Source::Mqtt(mqtt) => mqtt::run(mqtt, "rig", &data_dir, inbox, says, counts, stopped).await,
                Source::Serial(serial) => serial::run(serial, &data_dir, inbox, says, counts, stopped).await,
                Source::Modbus(modbus) => modbus::run(modbus, inbox, says, counts, stopped).await,
            }
        };
        Self { dir, items, state, metrics, stop, task: tokio::spawn(run) }
    }

    pub async fn is(&mut self, what: &str, is: impl Fn(&State) -> bool) -> State {
        let waited = tokio::time::timeout(PATIENCE, self.state.wait_for(|state| is(state))).await;
        waited.unwrap_or_else(|_| panic!("not {what}")).unwrap().clone()
    }

    pub async fn is_down(&mut self, because: &str) -> String {
        let state = self.is(because, |state| matches!(state, State::Down { why } if why.contains(because))).await;
        let State::Down { why } = state else { unreachable!() };
        why
    }

    pub async fn next(&mut self) -> Item {
        tokio::time::timeout(PATIENCE, self.items.recv()).await.expect("nothing came").unwrap()
    }

    /// The next delivery, and what stores it.
    pub async fn delivery(&mut self) -> (Delivery, Ack) {
        match self.next().await {
            Item::Delivery { delivery, ack, .. } => (delivery, ack),
            other => panic!("{other:?}"),
        }
    }

    /// The next delivery is one reading: its device and fields. It is stored.
    pub async fn reading(&mut self) -> (String, Json) {
        let (delivery, ack) = self.delivery().await;
        ack.confirm();
        told(&delivery)
    }

    /// The value of a metric of the source; 0 where it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix("tidegate_")?.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub async fn metric_reaches(&self, name: &str, least: u64) {
        let until = Instant::now() + PATIENCE;
        while self.metric(name) < least {
            assert!(Instant::now() < until, "{name} is {}, not {least}", self.metric(name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the source, and waits for its end.
    pub async fn stop(self) {
        let (_items, task) = self.stopping();
        tokio::time::timeout(PATIENCE, task).await.expect("it does not stop").unwrap().unwrap();
    }

    /// Asks the source to stop, and leaves the rest to the test.
    pub fn stopping(self) -> (mpsc::Receiver<Item>, JoinHandle<Result<(), SourceError>>) {
        self.stop.send(()).unwrap();
        (self.items, self.task)
    }
}

/// Device and fields of the one reading there is.
pub fn told(delivery: &Delivery) -> (String, Json) {
    let [Reading { series, fields, .. }] = &delivery.readings[..] else { panic!("{delivery:?}") };
    let fields = fields.iter().map(|(name, value)| (name.to_string(), serde_json::json!(Plain(value))));
    (series.device.to_string(), fields.collect::<serde_json::Map<_, _>>().into())
}
