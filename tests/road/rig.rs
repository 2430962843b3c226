//! A delivery out of a real queue into a scripted Kinesis.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::batch::read::{ReadRecord, read_record};
use tidegate::batch::{Limits, Record};
use tidegate::clock::Clock;
use tidegate::config::{Backoff, Compression, WhenFull};
use tidegate::metrics::Metrics;
use tidegate::queue::retention::Retention;
use tidegate::queue::writer::{Options, StoreState};
use tidegate::queue::{Cursors, FoldCommit, Queue, Request, ShedBefore, SledStore, Store, Writer};
use tidegate::reading::{Micros, Reading, Series, Value};
use tidegate::sink::delivery::Delivery;
use tidegate::sink::losses::Losses;
use tidegate::sink::stream::Stream;
use tidegate::sink::streams::Streams;
use tidegate::sink::{Outcome, RoadState, SendError, Sink};
use tidegate::source::{Delivery as Message, Inbox};
use tokio::sync::{mpsc, oneshot, watch};

use crate::queue::noise;
use crate::support::TempDir;

pub type Answer = Result<Vec<Outcome>, SendError>;
pub type Script = Arc<Mutex<dyn FnMut(&[&Record]) -> Answer + Send>>;

/// A Kinesis that answers as a test wants, and keeps what it took.
#[derive(Clone)]
pub struct Scripted {
    pub script: Script,
    pub taken: Arc<Mutex<Vec<Record>>>,
}

impl Sink for Scripted {
    async fn send(&self, records: &[&Record]) -> Answer {
        let answer = (self.script.lock().unwrap())(records);
        if let Ok(outcomes) = &answer {
            let taken = records.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Taken);
            self.taken.lock().unwrap().extend(taken.map(|(record, _)| (*record).clone()));
        }
        answer
    }
}

pub fn all_taken(records: &[&Record]) -> Answer {
    Ok(vec![Outcome::Taken; records.len()])
}

/// A queue on disk with its writer and its delivery, which can be stopped and begun anew.
pub struct Rig {
    pub store: Arc<dyn Store>,
    pub queue: Arc<Queue>,
    pub inbox: Inbox,
    pub writer: tokio::task::JoinHandle<()>,
    pub shed_before: watch::Sender<ShedBefore>,
    /// How far the fold is, once it has committed anything.
    pub folded: Option<watch::Sender<u64>>,
    /// Whether readings are delivered, or rows only, as what follows is.
    only_rows: bool,
    pub metrics: Arc<Metrics>,
    pub state: watch::Sender<RoadState>,
    pub requests: mpsc::Sender<Request>,
    pub sink: Scripted,
    pub lanes: u32,
    pub max_record: usize,
    pub max_request: usize,
    pub max_age: Duration,
}

impl Rig {
    pub fn new(dir: &TempDir, lanes: u32, script: impl FnMut(&[&Record]) -> Answer + Send + 'static) -> Self {
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
        let clock = Clock::System;
        let (queue, appenders) = Queue::open(store.clone(), clock.now(), 64 << 10).unwrap();
        let (inbox, items) = Inbox::new(10_000, 64 << 20, clock.clone());
        let (requests, asked) = mpsc::channel(4);
        let shed_before = watch::Sender::new(ShedBefore::default());
        let options = Options {
            linger: Duration::ZERO,
            when_full: WhenFull::Block,
            max_dead: 64 << 20,
            in_flight: 10_000,
            tick: Duration::from_secs(1),
        };
        let writer = Writer {
            store: store.clone(),
            appenders,
            inbox: items,
            requests: asked,
            open_windows: watch::channel(false).1,
            shed_before: watch::Sender::new(ShedBefore::default()),
            state: watch::Sender::new(StoreState::default()),
            retention: Retention::new(store.clone(), 1 << 40, 0, 64 << 10),
            options,
            clock,
            boot: "boot".into(),
            mark: queue.mark,
            metrics: Metrics::new(),
        };
        let folded = queue.restored.known.then(|| watch::Sender::new(queue.restored.position));
        Self {
            store,
            queue: Arc::new(queue),
            inbox,
            writer: tokio::spawn(async { writer.run().await.unwrap() }),
            shed_before,
            folded,
            only_rows: false,
            metrics: Metrics::new(),
            state: watch::Sender::new(RoadState::default()),
            requests,
            sink: Scripted { script: Arc::new(Mutex::new(script)), taken: Arc::default() },
            lanes,
            max_record: 1 << 20,
            max_request: 5 << 20,
            max_age: Duration::from_millis(5),
        }
    }

    /// Has Kinesis answer otherwise from now on.
    pub fn answer(&mut self, script: impl FnMut(&[&Record]) -> Answer + Send + 'static) {
        self.sink.script = Arc::new(Mutex::new(script));
    }

    /// Commits a reading of this device, and returns once it is.
    pub async fn commit(&self, device: &str, text: &str) {
        self.commit_many([(device.to_owned(), text.to_owned())]).await;
    }

    /// Commits readings, device and text, in one message.
    pub async fn commit_many(&self, readings: impl IntoIterator<Item = (String, String)>) {
        let mut weight = 0;
        let reading = |(device, text): (String, String)| {
            weight += text.len();
            let series = Series { source: "plant".into(), device: device.into(), ..Series::default() };
            let fields = vec![("text".into(), Value::Text(text.into()))];
            Reading { time: None, series: Arc::new(series), fields }
        };
        let readings = readings.into_iter().map(reading).collect();
        let message = Message { readings, rejects: Vec::new(), weight };
        self.inbox.put(message).await.unwrap().await.unwrap();
    }

    /// Has the fold commit: readings before `position` are folded, and these rows came of it. A row's time is its
    /// number.
    pub async fn fold(&mut self, position: u64, rows: impl IntoIterator<Item = u64>) {
        let series = Series { source: "window".into(), window: Some("w".into()), ..Series::default() };
        let series = Arc::new(series);
        let row = |n: u64| Reading {
            time: Some(Micros(n as i64)),
            series: series.clone(),
            fields: vec![("text".into(), Value::Text(noise(n, 300).into()))],
        };
        let rows = rows.into_iter().map(row).collect();
        let commit = FoldCommit { rows, position, pieces: vec![b"state".to_vec()], snapshot: true };
        let (done, committed) = oneshot::channel();
        self.requests.send(Request::Fold(commit, done)).await.unwrap();
        committed.await.unwrap();
        self.folded.get_or_insert_default().send_replace(position);
    }

    /// Only rows are wanted of what is committed from now on, and the windows for that are there. Says from where on.
    pub fn only_rows(&mut self) -> u64 {
        self.only_rows = true;
        self.folded.get_or_insert_default();
        self.settle_passing().unwrap()
    }

    fn settle_passing(&self) -> Option<u64> {
        Cursors::settle_passing(&*self.store, self.only_rows, self.end()).unwrap()
    }

    /// Where the log of readings ends.
    pub fn end(&self) -> u64 {
        self.queue.readings.durable().offset
    }

    /// Where the log of readings begins, after what was released.
    pub fn oldest(&self) -> u64 {
        self.queue.readings.oldest().unwrap().offset
    }

    /// The numbers of the rows that were taken, in the order of arrival.
    pub fn rows(&self) -> Vec<i64> {
        let taken = self.taken();
        let rows = taken.iter().filter(|record| record.envelope.stream == "rows").flat_map(|record| &record.rows);
        rows.map(|row| row.time).collect()
    }

    /// Delivers until the test's eye sees what it waits for; then stops, politely or not.
    pub async fn deliver_until(&self, polite: bool, mut seen: impl FnMut(&Rig) -> bool) {
        let (stop, stopped) = watch::channel(false);
        let delivery = tokio::spawn(self.delivery().run(stopped));
        let patience = tokio::time::timeout(Duration::from_secs(20), async {
            while !seen(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let in_time = patience.await.is_ok();
        if polite {
            stop.send_replace(true);
            delivery.await.unwrap().unwrap();
        } else {
            delivery.abort();
            let _ = delivery.await;
        }
        assert!(in_time, "what the test waits for did not come: {:?}", self.state.borrow());
    }

    pub fn delivery(&self) -> Delivery<Scripted> {
        self.delivery_to(self.sink.clone())
    }

    pub fn delivery_to<S>(&self, sink: S) -> Delivery<S> {
        self.settle_passing();
        let cursors = Cursors::load(&*self.store).unwrap();
        let stream = |name: &'static str, log, lanes| {
            let cursors = cursors.streams.get(name).cloned().unwrap_or_default();
            Stream::new(name, "gw".into(), log, &cursors, lanes, false).unwrap()
        };
        let streams = Streams {
            gaps: stream("gaps", self.queue.notes.clone(), 1),
            rows: stream("rows", self.queue.rows.clone(), 1),
            readings: stream("readings", self.queue.readings.clone(), self.lanes),
            folded: self.folded.as_ref().map(watch::Sender::subscribe),
        };
        let losses = Losses {
            gateway: "gw".into(),
            writer: self.requests.clone(),
            state: self.state.clone(),
            metrics: self.metrics.clone(),
        };
        Delivery {
            sink,
            store: self.store.clone(),
            gateway: "gw".into(),
            streams,
            losses,
            shed_before: self.shed_before.subscribe(),
            limits: Limits { target: 4096, max_record: self.max_record, compression: Compression::Zstd, level: 3 },
            max_age: self.max_age,
            max_request: self.max_request,
            backoff: Backoff { base: Duration::from_millis(1), max: Duration::from_millis(4) },
            state: self.state.clone(),
            clock: Clock::System,
            metrics: self.metrics.clone(),
        }
    }

    /// Ends the writer as well; what is on disk is all that is left.
    pub async fn close(self) {
        let Self { inbox, requests, writer, queue, store, .. } = self;
        drop((inbox, requests));
        writer.await.unwrap();
        drop((queue, store));
    }

    pub fn taken(&self) -> Vec<ReadRecord> {
        self.sink.taken.lock().unwrap().iter().map(|record| read_record(&record.data).unwrap()).collect()
    }

    pub fn texts(&self) -> Vec<String> {
        readings(&self.taken()).into_iter().map(|(_, text)| text).collect()
    }
}

/// Device and text of every reading, in the order of arrival.
pub fn readings(records: &[ReadRecord]) -> Vec<(String, String)> {
    let readings = records.iter().filter(|record| record.envelope.stream == "readings");
    readings
        .flat_map(|record| &record.rows)
        .map(|row| match &row.fields[0].1 {
            Value::Text(text) => (row.series.device.to_string(), text.to_string()),
            other => panic!("{other:?}"),
        })
        .collect()
}

pub fn gaps(records: &[ReadRecord]) -> Vec<BTreeMap<String, Value>> {
    let gaps = records.iter().filter(|record| record.envelope.stream == "gaps").flat_map(|record| &record.rows);
    gaps.map(|row| row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()).collect()
}

/// How many readings the gap records name.
pub fn missing(records: &[ReadRecord]) -> u64 {
    let count = |gap: &BTreeMap<String, Value>| match gap["count"] {
        Value::I64(count) => count.unsigned_abs(),
        ref other => panic!("{other:?}"),
    };
    gaps(records).iter().map(count).sum()
}

/// In each lane a record's `prev` is the last entry of the record before it.
pub fn assert_chained(records: &[ReadRecord]) {
    let mut last = BTreeMap::new();
    for record in records {
        let envelope = &record.envelope;
        let lane = (envelope.stream.clone(), envelope.lane);
        let before = last.insert(lane.clone(), (envelope.epoch, envelope.last));
        assert_eq!(envelope.prev, before, "lane {lane:?}");
    }
}
