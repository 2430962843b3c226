//! A Modbus source named `m`, and the meters that it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use tidegate::simulate::modbus::slave::{self, Asked, Reply};
use tidegate::simulate::pty::Pty;
use tidegate::source::Item;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::gateway::PATIENCE;
use crate::support::source::{Rig, told};

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

impl Rig {
    /// With these keys, and an inbox for so many messages.
    pub fn modbus(name: &str, keys: &str, messages: usize) -> Self {
        Self::new(name, &format!("type = \"modbus\"\nname = \"m\"\n{keys}"), messages)
    }

    /// The next reading: its device and fields. What says that the source is up or down is passed over.
    pub async fn polled(&mut self) -> (String, Json) {
        let delivery = async {
            loop {
                if let Item::Delivery { delivery, ack, .. } = self.next().await {
                    ack.confirm();
                    return delivery;
                }
            }
        };
        let delivery = tokio::time::timeout(PATIENCE, delivery).await.expect("no reading came");
        assert_eq!(delivery.readings[0].time, None, "its time is that of its arrival");
        told(&delivery)
    }

    /// The value of a counter of a unit.
    pub fn count(&self, metric: &str, kind: &str, unit: u8) -> u64 {
        self.metric(&counter(metric, kind, unit))
    }

    pub async fn count_reaches(&self, metric: &str, kind: &str, unit: u8, least: u64) {
        self.metric_reaches(&counter(metric, kind, unit), least).await;
    }

    /// Requests to a unit.
    pub fn requests(&self, unit: u8) -> u64 {
        self.metric(&format!("modbus_requests_total{{source=\"m\",unit=\"{unit}\"}}"))
    }
}

fn counter(metric: &str, kind: &str, unit: u8) -> String {
    let label = if metric == "faults" { "fault" } else { "outcome" };
    format!("modbus_{metric}_total{{{label}=\"{kind}\",source=\"m\",unit=\"{unit}\"}}")
}
