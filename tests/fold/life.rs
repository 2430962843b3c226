//! A gateway from inbox to rows, without a road: it is stopped by the loss of its power.

use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::config::{self, Config, WhenFull};
use tidegate::fold::{self, Fold, Hears, Tells};
use tidegate::metrics::Metrics;
use tidegate::queue::retention::Retention;
use tidegate::queue::writer::{Options, StoreState};
use tidegate::queue::{Cursors, Entry, Log, OpenError, Queue, Reader, Request, ShedBefore, Step, Store, Writer};
use tidegate::reading::{Micros, Reading};
use tidegate::sink::RoadState;
use tidegate::sink::losses::Losses;
use tidegate::source::{Delivery, Inbox, Inlet};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Small, so that logs turn over.
const GENERATION: u64 = 6_000;

/// The windows of a configuration, and what goes with them.
pub fn config(windows: &str) -> Config {
    let rest = "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://broker\"\n[[source.subscribe]]\nfilter = \"a\"\n[kinesis]\nstream = \"s\"\nregion = \"r\"\n";
    let read = config::parse(&format!("{windows}\n{rest}"), "t.toml".as_ref(), &config::Environment::default());
    read.unwrap_or_else(|faults| panic!("{}", faults[0])).0
}

/// One run of the gateway.
pub struct Life {
    inbox: Inbox,
    requests: mpsc::Sender<Request>,
    pub folded: watch::Receiver<u64>,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    shed_before: watch::Sender<ShedBefore>,
    store_state: watch::Sender<StoreState>,
    tasks: [JoinHandle<()>; 2],
    stop: watch::Sender<bool>,
}

impl Life {
    pub fn begin(store: &Arc<dyn Store>, clock: &Clock, config: &Config) -> Result<Self, OpenError> {
        let (mut queue, appenders) = Queue::open(store.clone(), clock.now(), GENERATION)?;
        let restored = std::mem::take(&mut queue.restored);
        let queue = Arc::new(queue);
        let (inbox, items) = Inbox::new(1_000, 1 << 20, clock.clone());
        let (requests, asked) = mpsc::channel(4);
        let (open, open_windows) = watch::channel(false);
        let (folded, how_far) = watch::channel(0);
        let metrics = Metrics::new();
        let options = Options {
            linger: Duration::ZERO,
            when_full: WhenFull::Block,
            max_dead: 1 << 20,
            tick: Duration::from_secs(1),
            in_flight: 1,
        };
        let writer = Writer {
            store: store.clone(),
            appenders,
            inbox: items,
            requests: asked,
            open_windows,
            shed_before: watch::Sender::new(ShedBefore::default()),
            state: watch::Sender::new(StoreState::default()),
            retention: Retention::new(store.clone(), 1 << 30, 0, GENERATION),
            options,
            clock: clock.clone(),
            boot: "boot".into(),
            mark: queue.mark,
            metrics: metrics.clone(),
        };
        let only_rows = !config.forward.readings && !config.windows.is_empty();
        let end = queue.readings.durable().offset;
        let options = fold::Options {
            specs: config.windows.iter().map(|window| window.spec.clone()).collect(),
            checkpoint_interval: config.windows.iter().map(|w| w.checkpoint_interval).min().unwrap_or_default(),
            passes_from: Cursors::settle_passing(&**store, only_rows, end)?,
        };
        let losses = Losses {
            gateway: "g".into(),
            writer: requests.clone(),
            state: watch::Sender::new(RoadState::default()),
            metrics: metrics.clone(),
        };
        let (shed_before, store_state) = (watch::Sender::new(ShedBefore::default()), watch::Sender::default());
        let hears = Hears { shed_before: shed_before.subscribe(), store: store_state.subscribe() };
        let tells = Tells { folded, open, stats: watch::Sender::new(Vec::new()) };
        let fold = Fold::take_up(options, &queue, restored, losses, hears, tells)?;
        let (stop, stops) = watch::channel(false);
        let writer = tokio::spawn(async { drop(writer.run().await) });
        let fold = tokio::spawn(async { drop(fold.run(stops).await) });
        Ok(Self {
            inbox,
            requests,
            folded: how_far,
            queue,
            metrics,
            shed_before,
            store_state,
            tasks: [writer, fold],
            stop,
        })
    }

    /// Commits a reading; `false` where it was not acknowledged.
    pub async fn commit(&self, reading: Reading) -> bool {
        self.commit_all(vec![reading]).await
    }

    pub async fn commit_all(&self, readings: Vec<Reading>) -> bool {
        let delivery = Delivery { readings, rejects: Vec::new(), weight: 100 };
        match self.inbox.put(delivery).await {
            Ok(receipt) => receipt.await.is_ok(),
            Err(_) => false,
        }
    }

    /// A source comes.
    pub fn up(&self) -> bool {
        Inlet::new(self.inbox.clone(), "plant".into()).up().is_ok()
    }

    /// Ends the stream and waits until all of it is folded; `false` where that does not come to pass.
    pub async fn finish(&mut self) -> bool {
        let (done, ended) = oneshot::channel();
        let asked = self.requests.send(Request::End(done)).await.is_ok() && ended.await.is_ok();
        asked && self.folded().await
    }

    /// Waits until all that is durable is folded and committed.
    pub async fn folded(&mut self) -> bool {
        let end = self.queue.readings.durable().offset;
        self.folded.wait_for(|folded| *folded >= end).await.is_ok()
    }

    pub fn ask_to_shed(&self, before: u64) {
        self.shed_before.send_replace(ShedBefore { readings: before, rows: 0 });
    }

    /// The writer says that the queue is full, and asks for nothing to be given up.
    pub fn hold_back(&self) {
        self.store_state.send_modify(|state| state.full = true);
    }

    /// The process is gone.
    pub async fn end(self) {
        drop(self.stop);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

/// An entry and the name it has for ever.
pub type Named = ((u64, u64), Micros, Reading);

/// Every reading of a log. Nothing of it may be lost.
pub fn all(log: &Log) -> Vec<Named> {
    let mut reader = Reader::new(log, log.oldest().unwrap().offset);
    let mut all = Vec::new();
    loop {
        match reader.step().unwrap() {
            Step::End => return all,
            Step::Lost { from, to } => panic!("offsets {from} to {to} are lost"),
            Step::Group(group) => {
                for (offset, entry) in (group.first..).zip(&group.entries) {
                    if let Entry::Reading { reading, age } = entry {
                        all.push(((group.epoch, offset), group.received(*age), reading.clone()));
                    }
                }
            }
        }
    }
}
