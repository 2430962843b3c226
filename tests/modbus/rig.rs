//! A Modbus source, and the meters that it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate::clock::Clock;
use tidegate::config::{self, Environment, Source};
use tidegate::metrics::Metrics;
use tidegate::reading::Plain;
use tidegate::simulate::modbus::slave::{self, Asked, Reply};
use tidegate::simulate::pty::Pty;
use tidegate::source::{Inbox, Item, SourceError, State, modbus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::support::TempDir;
use crate::support::gateway::PATIENCE;

/// What the meters of a line hold and have been asked.
#[derive(Default)]
pub struct Bank {
    /// By unit, function and address.
    pub words: BTreeMap<(u8, u8, u16), u16>,
    pub dead: BTreeSet<u8>,
    /// Whoever asks for these addresses finds the connection ended.
    pub hangs_up: BTreeSet<u16>,
    /// A unit's answers come so late.
    pub late: BTreeMap<u8, Duration>,
    pub asked: Vec<Asked>,
}

#[derive(Clone, Default)]
pub struct Meters(pub Arc<Mutex<Bank>>);

impl Meters {
    pub fn set(&self, unit: u8, function: u8, first: u16, words: &[u16]) {
        let mut bank = self.0.lock().unwrap();
        bank.words.extend((first..).zip(words).map(|(address, word)| ((unit, function, address), *word)));
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }

    pub fn asked_of(&self, unit: u8) -> usize {
        self.asked().iter().filter(|asked| asked.unit == unit).count()
    }

    fn reply(&self, asked: Asked) -> (Reply, Duration) {
        let mut bank = self.0.lock().unwrap();
        bank.asked.push(asked);
        let late = bank.late.get(&asked.unit).copied().unwrap_or_default();
        if bank.dead.contains(&asked.unit) {
            return (Reply::Silence, late);
        }
        let word = |address| bank.words.get(&(asked.unit, asked.function, address)).copied();
        let words: Option<Vec<_>> = (asked.first..=asked.first + (asked.count - 1)).map(word).collect();
        // 2: an address that this meter does not have.
        (words.map_or(Reply::Exception(2), Reply::Words), late)
    }

    /// Serves TCP until it is aborted, at this address or a free one.
    pub async fn tcp(&self, at: Option<SocketAddr>) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind(at.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await.unwrap();
        let (address, meters) = (listener.local_addr().unwrap(), self.clone());
        let serve = async move {
            // Its connections end with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let meters = meters.clone();
                connections.spawn(async move {
                    let mut line = Vec::new();
                    while stream.read_buf(&mut line).await.is_ok_and(|read| read > 0) {
                        let (mut late, mut hangs_up) = (Duration::ZERO, false);
                        let reply = |asked: Asked| {
                            hangs_up = meters.0.lock().unwrap().hangs_up.contains(&asked.first);
                            let (reply, after) = meters.reply(asked);
                            late = after;
                            reply
                        };
                        let answer = slave::tcp(&mut line, reply);
                        if hangs_up {
                            return;
                        }
                        if let Some(answer) = answer {
                            tokio::time::sleep(late).await;
                            stream.write_all(&answer).await.unwrap();
                        }
                    }
                });
            }
        };
        (address, tokio::spawn(serve))
    }

    /// Serves a line until it is aborted, which unplugs it.
    pub fn rtu(&self, path: &std::path::Path) -> JoinHandle<()> {
        let (pty, meters) = (Pty::plug(path).unwrap(), self.clone());
        tokio::spawn(async move {
            let (mut line, mut some) = (Vec::new(), [0; 256]);
            loop {
                let read = pty.read(&mut some).await.unwrap();
                line.extend_from_slice(&some[..read]);
                let mut late = Duration::ZERO;
                let reply = |asked| {
                    let (reply, after) = meters.reply(asked);
                    late = after;
                    reply
                };
                if let Some(answer) = slave::rtu(&mut line, reply) {
                    tokio::time::sleep(late).await;
                    pty.write(&answer).await.unwrap();
                }
            }
        })
    }
}

pub struct Rig {
    pub dir: TempDir,
    pub items: mpsc::Receiver<Item>,
    state: watch::Receiver<State>,
    metrics: Arc<Metrics>,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<Result<(), SourceError>>,
}

impl Rig {
    /// A source with these keys; `DIR` in them is the rig's directory.
    pub fn new(name: &str, keys: &str, messages: usize) -> Self {
        let dir = TempDir::new(name);
        let keys = keys.replace("DIR", dir.path.to_str().unwrap());
        let text =
            format!("[[source]]\ntype = \"modbus\"\nname = \"m\"\n{keys}\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n");
        let (mut config, _) = config::parse(&text, "t.toml".as_ref(), &Environment::default()).unwrap();
        let Source::Modbus(config) = config.sources.remove(0) else { panic!() };
        let (inbox, items) = Inbox::new(messages, 1 << 20, Clock::System);
        let (says, state) = watch::channel(State::Connecting);
        let (stop, stops) = oneshot::channel();
        let metrics = Metrics::new();
        let run = modbus::run(config, inbox, says, metrics.clone(), async {
            let _ = stops.await;
        });
        Self { dir, items, state, metrics, _stop: stop, _task: tokio::spawn(run) }
    }

    pub async fn is(&mut self, what: &str, is: impl Fn(&State) -> bool) -> State {
        let waited = tokio::time::timeout(PATIENCE, self.state.wait_for(|state| is(state))).await;
        waited.unwrap_or_else(|_| panic!("not {what}")).unwrap().clone()
    }

    /// The next reading: its device and fields. What says that the source is up or down is passed over.
    pub async fn reading(&mut self) -> (String, Json) {
        loop {
            let item = tokio::time::timeout(PATIENCE, self.items.recv()).await.expect("nothing came").unwrap();
            let Item::Delivery { delivery, ack, .. } = item else { continue };
            ack.confirm();
            let [reading] = &delivery.readings[..] else { panic!("{delivery:?}") };
            assert_eq!(reading.time, None, "its time is that of its arrival");
            let fields = reading.fields.iter().map(|(name, value)| (name.to_string(), serde_json::json!(Plain(value))));
            return (reading.series.device.to_string(), fields.collect::<serde_json::Map<_, _>>().into());
        }
    }

    /// The value of a counter of a unit.
    pub fn count(&self, metric: &str, kind: &str, unit: u8) -> u64 {
        let label = if metric == "faults" { "fault" } else { "outcome" };
        let text = self.metrics.text();
        let name = match label {
            "fault" => format!("tidegate_modbus_faults_total{{fault=\"{kind}\",source=\"m\",unit=\"{unit}\"}}"),
            _ => format!("tidegate_modbus_{metric}_total{{outcome=\"{kind}\",source=\"m\",unit=\"{unit}\"}}"),
        };
        let value = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Requests to a unit.
    pub fn requests(&self, unit: u8) -> u64 {
        let name = format!("tidegate_modbus_requests_total{{source=\"m\",unit=\"{unit}\"}}");
        let text = self.metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub async fn count_reaches(&self, metric: &str, kind: &str, unit: u8, least: u64) {
        let until = Instant::now() + PATIENCE;
        while self.count(metric, kind, unit) < least {
            assert!(Instant::now() < until, "{metric} {kind} is {}", self.count(metric, kind, unit));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
