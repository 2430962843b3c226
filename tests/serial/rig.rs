//! A serial source on a port of its own; the test is both the sensor and the writer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate::clock::Clock;
use tidegate::config::{self, Environment, Source};
use tidegate::metrics::Metrics;
use tidegate::reading::Plain;
use tidegate::simulate::pty::Pty;
use tidegate::simulate::serial::firmware::encode;
use tidegate::source::{Ack, Delivery, Inbox, Item, SourceError, State, serial};
use tidegate_wire::frame::{Deframer, Frame, Hello, Kind};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::support::TempDir;
use crate::support::gateway::PATIENCE;

/// How long nothing has to come before nothing is coming.
const QUIET: Duration = Duration::from_millis(150);

pub struct Rig {
    pub dir: TempDir,
    pub items: mpsc::Receiver<Item>,
    state: watch::Receiver<State>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Rig {
    /// A source with these keys, and an inbox for so many messages. Its port is `port` in the rig's directory, or what
    /// `keys` say of it.
    pub fn new(name: &str, keys: &str, messages: usize) -> Self {
        let dir = TempDir::new(name);
        let port = if keys.contains("port =") {
            keys.replace("DIR", dir.path.to_str().unwrap())
        } else {
            format!("port = \"{}\"\n{keys}", dir.path.join("port").display())
        };
        let text = format!(
            "[[source]]\ntype = \"serial\"\nname = \"wire\"\n{port}\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n"
        );
        let (mut config, _) = config::parse(&text, "t.toml".as_ref(), &Environment::default()).unwrap();
        let Source::Serial(config) = config.sources.remove(0) else { panic!() };
        let (inbox, items) = Inbox::new(messages, 1 << 20, Clock::System);
        let (says, state) = watch::channel(State::Connecting);
        let (stop, stops) = oneshot::channel();
        let metrics = Metrics::new();
        let (data_dir, counts) = (dir.path.clone(), metrics.clone());
        let run = async move {
            let stopped = async {
                let _ = stops.await;
            };
            serial::run(config, &data_dir, inbox, says, counts, stopped).await
        };
        Self { dir, items, state, metrics, stop, task: tokio::spawn(run) }
    }

    /// With frames.
    pub fn frames(name: &str, messages: usize) -> Self {
        Self::new(name, "framing = \"cobs\"", messages)
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path.join("port")
    }

    /// Plugs a sensor in, and waits until the source is connected to it.
    pub async fn plug(&mut self) -> Sensor {
        let sensor = Sensor::at(&self.path());
        self.is("connected", |state| *state == State::Connected).await;
        assert!(matches!(self.next().await, Item::Up(_)), "the log knows that the source is up");
        sensor
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
        let [reading] = &delivery.readings[..] else { panic!("{delivery:?}") };
        let fields = reading.fields.iter().map(|(name, value)| (name.to_string(), serde_json::json!(Plain(value))));
        (reading.series.device.to_string(), fields.collect::<serde_json::Map<_, _>>().into())
    }

    /// The value of a metric of the source; 0 where it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix("tidegate_")?.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How often a fault was counted.
    pub fn faults(&self, fault: &str) -> u64 {
        self.metric(&format!("source_frame_faults_total{{fault=\"{fault}\",source=\"wire\"}}"))
    }

    pub fn outcome(&self, outcome: &str) -> u64 {
        self.metric(&format!("readings_total{{outcome=\"{outcome}\",source=\"wire\"}}"))
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
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it does not stop").unwrap().unwrap();
    }

    /// Asks the source to stop, and leaves the rest to the test.
    pub fn stopping(self) -> (mpsc::Receiver<Item>, JoinHandle<Result<(), SourceError>>) {
        self.stop.send(()).unwrap();
        (self.items, self.task)
    }
}

/// The sensor's end of a port; dropping it is unplugging it.
pub struct Sensor {
    pub pty: Pty,
    deframer: Deframer<64>,
    read: Vec<u8>,
}

impl Sensor {
    pub fn at(path: &std::path::Path) -> Self {
        Self { pty: Pty::plug(path).unwrap(), deframer: Deframer::default(), read: Vec::new() }
    }

    pub async fn send(&self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.pty.write(bytes)).await.expect("the line takes nothing").unwrap();
    }

    pub async fn data(&self, seq: u16, payload: &str) {
        self.send(&encode(Kind::Data, seq, payload.as_bytes())).await;
    }

    pub async fn hello(&self, boot_nonce: u32, device: &str) {
        let mut payload = vec![0; 4 + device.len()];
        Hello { boot_nonce, device }.write(&mut payload).unwrap();
        self.send(&encode(Kind::Hello, boot_nonce as u16, &payload)).await;
    }

    /// The seq of the next ACK.
    pub async fn ack(&mut self) -> u16 {
        tokio::time::timeout(PATIENCE, self.next_ack()).await.expect("no ACK came")
    }

    /// The seq of an ACK that is there or comes at once.
    pub async fn try_ack(&mut self) -> Option<u16> {
        tokio::time::timeout(Duration::from_millis(2), self.next_ack()).await.ok()
    }

    /// Nothing is on the line, and nothing comes.
    pub async fn no_ack(&mut self) {
        if let Ok(seq) = tokio::time::timeout(QUIET, self.next_ack()).await {
            panic!("an ACK of {seq} came");
        }
    }

    async fn next_ack(&mut self) -> u16 {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let piece: Vec<u8> = self.read.drain(..=end).collect();
                if let Some(frame) = self.deframer.next(&mut &piece[..]) {
                    let Frame { kind, seq, payload } = frame.expect("a whole frame");
                    assert_eq!((kind, payload), (Kind::Ack, &[][..]));
                    return seq;
                }
            }
            let mut some = [0; 256];
            let length = self.pty.read(&mut some).await.unwrap();
            self.read.extend_from_slice(&some[..length]);
        }
    }
}
