//! The writer, on a store that forgets: what it confirms, when it commits, and what it does when there is no room.
//!
//! Time is turned by the test: what takes 250 ms here takes none.

use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::config::WhenFull;
use tidegate::metrics::Metrics;
use tidegate::queue::files::Mark;
use tidegate::queue::retention::Retention;
use tidegate::queue::writer::{Options, StoreState};
use tidegate::queue::{
    Entry, FoldCommit, Letter, OpenError, Queue, Reader, Request, ShedBefore, Step, Store, StoreError, Writer, dead,
};
use tidegate::reading::{Micros, Reading};
use tidegate::source::{Delivery, Inbox, Reason, Receipt, Rejected};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{at_second, noise, reading};
use crate::support::gateway::PATIENCE;
use crate::support::lossy::{Faults, LossyStore, Survives};

const GENERATION: u64 = 4_000;
const MAX_BYTES: u64 = 1 << 20;

/// A writer at work, and all that others have of it.
pub struct Rig {
    pub inbox: Inbox,
    pub requests: mpsc::Sender<Request>,
    pub queue: Queue,
    /// Whether a window is open.
    open: watch::Sender<bool>,
    shed_before: watch::Receiver<ShedBefore>,
    state: watch::Receiver<StoreState>,
    metrics: Arc<Metrics>,
    pub writer: JoinHandle<Result<(), StoreError>>,
}

pub fn options() -> Options {
    Options {
        linger: Duration::from_millis(250),
        when_full: WhenFull::Block,
        max_dead: 1 << 30,
        in_flight: 1_000,
        tick: Duration::from_secs(1),
    }
}

/// Starts a writer and waits until it has committed its start.
pub async fn start(store: Arc<dyn Store>, options: Options) -> Rig {
    let rig = begin(store, options, MAX_BYTES).unwrap();
    let (mut durable, before) = (rig.queue.readings.watch(), rig.queue.mark.readings.offset);
    let begun = durable.wait_for(|durable| durable.offset > before);
    timeout(PATIENCE, begun).await.expect("the writer begins").unwrap();
    rig
}

/// Starts a writer, which may fail, for a queue that is full at so many bytes.
pub fn begin(store: Arc<dyn Store>, options: Options, max_bytes: u64) -> Result<Rig, OpenError> {
    let (queue, appenders) = Queue::open(store.clone(), at_second(1), GENERATION)?;
    let clock = Clock::hand(Micros(1_800_000_000_000_000));
    let (inbox, items) = Inbox::new(1_000, 1 << 20, clock.clone());
    let (requests, asked) = mpsc::channel(4);
    let (shed_before, shed_asked) = watch::channel(ShedBefore::default());
    let (open, open_windows) = watch::channel(false);
    let state = watch::Sender::new(StoreState::default());
    let said = state.subscribe();
    let metrics = Metrics::new();
    let writer = Writer {
        store: store.clone(),
        appenders,
        inbox: items,
        requests: asked,
        open_windows,
        shed_before,
        state,
        retention: Retention::new(store, max_bytes, 0, GENERATION),
        options,
        clock,
        boot: "boot".into(),
        mark: queue.mark,
        metrics: metrics.clone(),
    };
    let writer = tokio::spawn(writer.run());
    Ok(Rig { inbox, requests, queue, open, shed_before: shed_asked, state: said, metrics, writer })
}

pub fn delivery(text: &str) -> Delivery {
    Delivery { readings: vec![reading(text)], rejects: Vec::new(), weight: text.len() }
}

pub fn reject(detail: &str) -> Delivery {
    let rejected = Rejected {
        source: "plant".into(),
        origin: "a/b".into(),
        reason: Reason::Malformed,
        detail: detail.to_owned(),
        payload: bytes::Bytes::from_static(b"{"),
        cut: None,
    };
    Delivery { readings: Vec::new(), rejects: vec![rejected], weight: 10 }
}

impl Rig {
    pub async fn put(&self, delivery: Delivery) -> Receipt {
        self.inbox.put(delivery).await.unwrap()
    }

    pub async fn gap(&self) -> Result<(), oneshot::error::RecvError> {
        let (done, written) = oneshot::channel();
        self.requests.send(Request::Gaps(vec![reading("gap")], done)).await.unwrap();
        written.await
    }

    /// Commits rows, and that readings before `position` are folded.
    pub async fn fold(&self, position: u64, rows: Vec<Reading>) {
        self.commit(FoldCommit { rows, position, ..FoldCommit::default() }).await;
    }

    pub async fn commit(&self, commit: FoldCommit) {
        let (done, committed) = oneshot::channel();
        self.requests.send(Request::Fold(commit, done)).await.unwrap();
        committed.await.unwrap();
    }

    pub async fn purge(&self, before: u64) -> u64 {
        let (done, gone) = oneshot::channel();
        self.requests.send(Request::Purge(before, done)).await.unwrap();
        gone.await.unwrap()
    }

    /// The texts in the log, without the events that the writer itself puts there.
    fn texts(&self) -> Vec<String> {
        let mut reader = Reader::new(&self.queue.readings, 0);
        let mut texts = Vec::new();
        while let Step::Group(group) = reader.step().unwrap() {
            let readings = group.entries.iter().filter(|entry| matches!(entry, Entry::Reading { .. }));
            texts.extend(readings.map(|entry| super::text(entry).to_owned()));
        }
        texts
    }

    /// The ids of the letters from one on.
    fn letters(&self, from: u64, most: usize) -> Vec<u64> {
        let kept = dead::list(&*self.queue.store, &self.queue.dead, from, most).unwrap();
        kept.iter().map(|kept| kept.id).collect()
    }

    /// The process is killed; the store is all that is left.
    pub async fn kill(self) {
        self.writer.abort();
        let _ = self.writer.await;
    }
}

fn faulty(store: &LossyStore, change: impl FnOnce(&mut Faults)) {
    change(&mut store.faults.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_there_after_a_power_cut() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), options()).await;
    for n in 0..60 {
        rig.put(delivery(&n.to_string())).await.await.unwrap();
        if n % 10 == 0 {
            rig.put(reject(&n.to_string())).await.await.unwrap();
        }
    }
    rig.kill().await;
    store.cut(Survives::Nothing, &mut fastrand::Rng::new());
    let rig = start(store.clone(), options()).await;
    assert_eq!(rig.texts(), (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(dead::count(&*store, &rig.queue.dead).unwrap(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_confirms_nothing_and_ends_the_writer_with_the_error() {
    for log in ["readings", "dead"] {
        let store = Arc::new(LossyStore::default());
        let rig = start(store.clone(), options()).await;
        rig.put(delivery("before")).await.await.unwrap();
        faulty(&store, |faults| faults.sync_fails = Some(log));
        let both = Delivery { readings: vec![reading("r")], ..reject("d") };
        let receipts = [rig.put(both).await, rig.put(delivery("a")).await, rig.put(reject("b")).await];
        for receipt in receipts {
            receipt.await.unwrap_err();
        }
        assert!(matches!(rig.writer.await.unwrap(), Err(StoreError::Io { what: "cannot sync", .. })));
        assert!(rig.requests.is_closed(), "nothing is asked of a writer that has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_record_is_answered_only_after_its_sync() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), options()).await;
    rig.gap().await.unwrap();
    faulty(&store, |faults| faults.sync_fails = Some("notes"));
    rig.gap().await.unwrap_err();
    rig.writer.await.unwrap().unwrap_err();
}

/// How long these take to be confirmed when they come together after a pause, and in how many commits.
async fn together(options: Options, deliveries: Vec<Delivery>) -> (Duration, u64) {
    let rig = start(Arc::new(LossyStore::default()), options).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (began, commits) = (Instant::now(), rig.metrics.commits.get());
    let mut receipts = Vec::new();
    for delivery in deliveries {
        receipts.push(rig.put(delivery).await);
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    (began.elapsed(), rig.metrics.commits.get() - commits)
}

fn some(count: usize) -> Vec<Delivery> {
    (0..count).map(|n| delivery(&n.to_string())).collect()
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Timers go in whole milliseconds, rounded up.
#[track_caller]
fn assert_about(found: Duration, wait: Duration) {
    assert!(found >= wait && found <= wait + millis(1), "{found:?}, not {wait:?}");
}

#[track_caller]
fn assert_one_commit_after((found, commits): (Duration, u64), wait: Duration) {
    assert_about(found, wait);
    assert_eq!(commits, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lone_message_waits_for_company_as_long_as_commit_linger() {
    assert_one_commit_after(together(options(), some(1)).await, millis(250));
    assert_one_commit_after(together(options(), some(3)).await, millis(250));
    assert_one_commit_after(together(Options { linger: Duration::ZERO, ..options() }, some(1)).await, millis(0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_four_is_over_after_two_milliseconds_of_silence() {
    assert_one_commit_after(together(options(), some(4)).await, millis(2));
    assert_one_commit_after(together(options(), some(20)).await, millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_and_a_large_group_wait_for_nobody() {
    assert_one_commit_after(together(Options { in_flight: 3, ..options() }, some(3)).await, millis(0));
    assert_one_commit_after(together(options(), vec![delivery(&noise(1, 64 << 10))]).await, millis(0));
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_acknowledgement_at_once_is_the_rest_of_a_burst() {
    let rig = start(Arc::new(LossyStore::default()), options()).await;
    rig.put(delivery("first")).await.await.unwrap();
    for (after, wait) in [(0, 2), (4, 2), (6, 250)] {
        tokio::time::sleep(millis(after)).await;
        let began = Instant::now();
        rig.put(delivery("next")).await.await.unwrap();
        assert_about(began.elapsed(), millis(wait));
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_become_letters_and_are_acknowledged_with_their_group() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), options()).await;
    let mixed = Delivery { readings: vec![reading("c")], ..reject("d") };
    let mut receipts = Vec::new();
    for delivery in [delivery("a"), reject("b"), mixed, delivery("e")] {
        receipts.push(rig.put(delivery).await);
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(rig.texts(), ["a", "c", "e"]);
    let letters = dead::list(&*store, &rig.queue.dead, 0, 10).unwrap();
    let details: Vec<_> = letters.iter().map(|kept| kept.letter.detail.as_str()).collect();
    assert_eq!(details, ["b", "d"]);
    let Letter { source, origin, reason, payload, length, sha256, .. } = &letters[0].letter;
    assert_eq!((&**source, &**origin, &**reason, &payload[..]), ("plant", "a/b", "malformed", &b"{"[..]));
    assert_eq!((*length, sha256), (1, &None));
}

#[tokio::test(start_paused = true)]
async fn when_it_blocks_nothing_is_taken_until_there_is_room_and_gaps_are_still_written() {
    let store = Arc::new(LossyStore::default());
    faulty(&store, |faults| faults.used_more = MAX_BYTES);
    let rig = start(store.clone(), options()).await;
    let mut receipt = rig.put(delivery("held back")).await;
    timeout(Duration::from_mins(1), &mut receipt).await.unwrap_err();
    assert!(rig.state.borrow().full);
    assert!(!rig.shed_before.has_changed().unwrap(), "nothing is given up");
    rig.gap().await.unwrap();
    assert!(rig.texts().is_empty());
    faulty(&store, |faults| faults.used_more = 0);
    timeout(Duration::from_secs(1), receipt).await.unwrap().unwrap();
    assert!(!rig.state.borrow().full);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_that_stops_takes_nothing_more_and_confirms_nothing_more() {
    let store = Arc::new(LossyStore::default());
    faulty(&store, |faults| faults.used_more = MAX_BYTES);
    let Rig { inbox, requests, writer, queue, .. } = start(store, options()).await;
    let receipt = inbox.put(delivery("held back")).await.unwrap();
    let end = queue.readings.durable();
    drop((inbox, requests));
    writer.await.unwrap().unwrap();
    receipt.await.unwrap_err();
    assert_eq!(queue.readings.durable(), end);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stops_commits_what_waits_in_the_inbox() {
    let Rig { inbox, requests, writer, .. } = start(Arc::new(LossyStore::default()), options()).await;
    let receipt = inbox.put(delivery("last")).await.unwrap();
    drop((inbox, requests));
    writer.await.unwrap().unwrap();
    receipt.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_it_gets_tight_delivery_is_asked_to_give_up_the_oldest_generation() {
    let store = Arc::new(LossyStore::default());
    let mut rig = start(store.clone(), Options { when_full: WhenFull::ShedOldest, ..options() }).await;
    for n in 0..20 {
        rig.put(delivery(&noise(n, 1_000))).await.await.unwrap();
    }
    assert!(!rig.shed_before.has_changed().unwrap());
    let oldest_end = rig.queue.readings.oldest_end().unwrap().unwrap().offset;
    faulty(&store, |faults| faults.disk.free = 3 * GENERATION);
    rig.put(delivery("one more")).await.await.unwrap();
    rig.shed_before.changed().await.unwrap();
    assert_eq!(rig.shed_before.borrow_and_update().readings, oldest_end);
    // Delivery does as it is asked, and it is still tight: the next one goes.
    rig.queue.readings.release(oldest_end).unwrap();
    rig.put(delivery("and one more")).await.await.unwrap();
    rig.shed_before.changed().await.unwrap();
    assert!(rig.shed_before.borrow().readings > oldest_end);
}

#[tokio::test(start_paused = true)]
async fn a_newest_generation_that_is_all_there_is_is_sealed_so_that_it_can_be_given_up() {
    let store = Arc::new(LossyStore::default());
    faulty(&store, |faults| faults.used_more = MAX_BYTES);
    let mut rig = start(store.clone(), Options { when_full: WhenFull::ShedOldest, ..options() }).await;
    rig.shed_before.changed().await.unwrap();
    let all = rig.queue.readings.durable().offset;
    assert_eq!(*rig.shed_before.borrow_and_update(), ShedBefore { readings: all, rows: 0 });
    rig.queue.readings.release(all).unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!rig.shed_before.has_changed().unwrap(), "what is empty is not given up again");
    assert_eq!(store.generations("readings").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rows_are_asked_for_when_there_is_no_reading_left_and_it_is_full() {
    let store = Arc::new(LossyStore::default());
    let mut rig = start(store.clone(), Options { when_full: WhenFull::ShedOldest, ..options() }).await;
    for n in 0..10 {
        rig.put(delivery("folded")).await.await.unwrap();
        rig.fold(0, vec![reading(&noise(n, 1_000))]).await;
    }
    let oldest_end = rig.queue.rows.oldest_end().unwrap().unwrap().offset;
    // While it is tight, a generation that readings are added to is left to grow.
    faulty(&store, |faults| faults.disk.free = 3 * GENERATION);
    rig.queue.readings.release(u64::MAX).unwrap();
    for _ in 0..3 {
        rig.put(delivery("one more")).await.await.unwrap();
    }
    let generations = store.generations("readings").unwrap().len();
    assert!(generations == 1 && !rig.shed_before.has_changed().unwrap());

    faulty(&store, |faults| faults.used_more = MAX_BYTES);
    let _held_back = rig.put(delivery("held back")).await;
    rig.shed_before.changed().await.unwrap();
    let readings = rig.queue.readings.durable().offset;
    assert_eq!(*rig.shed_before.borrow_and_update(), ShedBefore { readings, rows: 0 });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!rig.shed_before.has_changed().unwrap(), "readings are there yet");
    rig.queue.readings.release(readings).unwrap();
    rig.shed_before.changed().await.unwrap();
    assert_eq!(*rig.shed_before.borrow_and_update(), ShedBefore { readings, rows: oldest_end });
    // All of them, one generation after the other, the last one too.
    let rows = rig.queue.rows.durable().offset;
    while rig.shed_before.borrow_and_update().rows < rows {
        rig.queue.rows.release(rig.shed_before.borrow().rows).unwrap();
        timeout(PATIENCE, rig.shed_before.changed()).await.expect("there are more").unwrap();
    }
    rig.queue.rows.release(rows).unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!rig.shed_before.has_changed().unwrap(), "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn ticks_are_written_while_a_window_is_open_and_nothing_else_is() {
    let rig = start(Arc::new(LossyStore::default()), Options { linger: Duration::ZERO, ..options() }).await;
    let end = || rig.queue.readings.durable().offset;
    let begun = end();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(end(), begun, "no window is open");
    rig.open.send_replace(true);
    tokio::time::sleep(millis(10_500)).await;
    assert_eq!(end() - begun, 11, "one at once, since it has been silent for long");
    for _ in 0..20 {
        rig.put(delivery("x")).await.await.unwrap();
        tokio::time::sleep(millis(500)).await;
    }
    assert_eq!(end() - begun, 31, "readings tell the time as well");
    rig.open.send_replace(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(end() - begun <= 32);
}

#[tokio::test(start_paused = true)]
async fn the_mark_is_where_the_log_is_whenever_someone_hears_of_a_commit() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), options()).await;
    for n in 0..30 {
        rig.put(delivery(&noise(n, 1_000))).await.await.unwrap();
        assert_eq!(Mark::load(&*store).unwrap().readings, rig.queue.readings.durable());
    }
    assert!(store.generations("readings").unwrap().len() > 4);
    rig.put(reject("x")).await.await.unwrap();
    assert_eq!(Mark::load(&*store).unwrap().dead, rig.queue.dead.durable());
}

#[tokio::test(start_paused = true)]
async fn letters_beyond_max_dead_go_oldest_first_and_are_counted() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), Options { max_dead: 12_000, ..options() }).await;
    for n in 0..40 {
        rig.put(reject(&noise(n, 1_000))).await.await.unwrap();
    }
    assert!(store.used(Some("dead")).unwrap() <= 12_000);
    let kept = dead::list(&*store, &rig.queue.dead, 0, 100).unwrap();
    assert_eq!(kept.last().unwrap().letter.detail, noise(39, 1_000));
    assert_eq!(kept.len() as u64, dead::count(&*store, &rig.queue.dead).unwrap());
    assert_eq!(rig.metrics.dead_shed.get() + kept.len() as u64, 40);
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_from_anywhere_and_purged_up_to_anywhere() {
    let store = Arc::new(LossyStore::default());
    let rig = start(store.clone(), options()).await;
    for n in 0..20 {
        rig.put(reject(&noise(n, 500))).await.await.unwrap();
    }
    assert_eq!(rig.letters(7, 3), [7, 8, 9]);
    assert_eq!(rig.purge(8).await, 8);
    assert_eq!(rig.purge(3).await, 0, "they are gone already");
    assert_eq!(rig.letters(0, 3), [8, 9, 10]);
    assert_eq!(rig.purge(u64::MAX).await, 12);
    assert_eq!(rig.letters(0, 3), [0; 0]);
    assert_eq!(store.generations("dead").unwrap().len(), 1, "the disk is given back");
    rig.put(reject("new")).await.await.unwrap();
    assert_eq!(rig.letters(0, 3), [20], "an id is never given again");
    rig.kill().await;
    let rig = start(store.clone(), options()).await;
    assert_eq!(rig.letters(0, 3), [20]);
}
