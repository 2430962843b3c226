//! Group commit: who is acknowledged, and when.

use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::config::WhenFull;
use tidegate::metrics::Metrics;
use tidegate::queue::retention::Retention;
use tidegate::queue::writer::{Options, StoreState};
use tidegate::queue::{Queue, Request, StoreError, Writer};
use tidegate::reading::Micros;
use tidegate::source::{Delivery, Inbox, Reason, Receipt, Rejected};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{at_second, reading, told};
use crate::support::lossy::{LossyStore, Survives};

const LINGER: Duration = Duration::from_millis(250);

struct Desk {
    store: Arc<LossyStore>,
    queue: Queue,
    inbox: Inbox,
    requests: mpsc::Sender<Request>,
    metrics: Arc<Metrics>,
    writer: JoinHandle<Result<(), StoreError>>,
}

impl Desk {
    fn open() -> Self {
        let store = Arc::new(LossyStore::default());
        let (queue, appenders) = Queue::open(store.clone(), at_second(1), 1 << 20).unwrap();
        let clock = Clock::hand(Micros(1_800_000_000_000_000));
        let (inbox, items) = Inbox::new(1_000, 1 << 20, clock.clone());
        let (requests, asked) = mpsc::channel(4);
        let metrics = Metrics::new();
        let writer = Writer {
            store: store.clone(),
            appenders,
            inbox: items,
            requests: asked,
            shed_before: watch::Sender::new(0),
            state: watch::Sender::new(StoreState::default()),
            retention: Retention::new(store.clone(), 1 << 40, 0, 1 << 20),
            options: Options { linger: LINGER, when_full: WhenFull::Block, max_dead: 1 << 20, in_flight: 100 },
            clock,
            boot: "boot".into(),
            mark: queue.mark,
            metrics: metrics.clone(),
        };
        let writer = tokio::spawn(writer.run());
        Self { store, queue, inbox, requests, metrics, writer }
    }

    fn put(&self, text: &str) -> Receipt {
        self.inbox.try_put(Delivery { readings: vec![reading(text)], rejects: Vec::new(), weight: 64 }).unwrap()
    }

    /// The group that says that the writer has started is committed.
    async fn started(&self) {
        while self.metrics.commits.get() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// What is read after the power has gone.
    async fn after_a_cut(self) -> Vec<String> {
        self.writer.abort();
        let _ = self.writer.await;
        drop(self.queue);
        self.store.cut(Survives::Nothing, &mut fastrand::Rng::with_seed(1));
        let (queue, _appenders) = Queue::open(self.store, at_second(2), 1 << 20).unwrap();
        // Offset 0 says that the writer has started.
        told(&queue.readings, 1).into_iter().map(|(_, found)| found.expect("nothing is damaged").1).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_outlives_a_power_cut() {
    let desk = Desk::open();
    for n in 0..20 {
        desk.put(&n.to_string()).await.unwrap();
    }
    assert_eq!(desk.after_a_cut().await, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_acknowledges_nothing_and_ends_the_writer() {
    let desk = Desk::open();
    desk.put("a").await.unwrap();
    desk.store.faults.lock().unwrap().sync_fails = true;
    let (first, second) = (desk.put("b"), desk.put("c"));
    assert!(first.await.is_err() && second.await.is_err());
    assert!(desk.writer.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lone_message_waits_for_company_and_a_burst_does_not() {
    let desk = Desk::open();
    desk.started().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    desk.put("lone").await.unwrap();
    assert!(begun.elapsed() >= LINGER, "{:?}", begun.elapsed());

    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let burst: Vec<_> = (0..4).map(|n| desk.put(&n.to_string())).collect();
    for receipt in burst {
        receipt.await.unwrap();
    }
    assert!(begun.elapsed() < LINGER / 10, "{:?}", begun.elapsed());
    // What follows an acknowledgement at once is part of the burst.
    desk.put("next").await.unwrap();
    assert!(begun.elapsed() < LINGER / 5, "{:?}", begun.elapsed());
    assert_eq!(desk.metrics.commits.get(), 4, "started, lone, burst, next");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_a_dead_letter_before_it_is_acknowledged() {
    let desk = Desk::open();
    let reject = Rejected {
        source: "plant".into(),
        origin: "a/b".into(),
        reason: Reason::Malformed,
        detail: "no JSON".to_owned(),
        payload: b"[1,"[..].into(),
        cut: None,
    };
    let delivery = Delivery { readings: vec![reading("whole")], rejects: vec![reject], weight: 64 };
    desk.inbox.try_put(delivery).unwrap().await.unwrap();
    let letters = tidegate::queue::dead::list(&*desk.store, &desk.queue.dead, 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&*letters[0].letter.reason, &letters[0].letter.payload[..]), ("malformed", &b"[1,"[..]));
    assert_eq!(desk.after_a_cut().await, ["whole"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_takes_nothing_from_the_door_and_still_writes_what_makes_room() {
    let desk = Desk::open();
    desk.put("before").await.unwrap();
    desk.store.faults.lock().unwrap().used_more = 1 << 41;
    // The writer looks at the disk now and then: until it does, it takes what comes.
    while timeout(Duration::from_secs(30), desk.put("probe")).await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (done, written) = oneshot::channel();
    desk.requests.send(Request::Gaps(vec![reading("gap")], done)).await.unwrap();
    written.await.unwrap();
    desk.store.faults.lock().unwrap().used_more = 0;
    timeout(Duration::from_secs(30), desk.put("after")).await.unwrap().unwrap();
}
