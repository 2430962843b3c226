//! The road against a scripted Kinesis: what is refused, cut off, poisoned or shed, and what arrives all the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::batch::read::{ReadRecord, read_record};
use tidegate::batch::{Limits, Record};
use tidegate::clock::Clock;
use tidegate::config::{Backoff, Compression, WhenFull};
use tidegate::metrics::Metrics;
use tidegate::queue::retention::Retention;
use tidegate::queue::writer::{Options, StoreState};
use tidegate::queue::{Cursor, Cursors, Queue, Request, SledStore, Span, Store, StreamCursors, Writer, dead};
use tidegate::reading::{Reading, Series, Value};
use tidegate::sink::delivery::Delivery;
use tidegate::sink::losses::Losses;
use tidegate::sink::stream::Stream;
use tidegate::sink::{Mode, Outcome, RoadState, SendError, Sink};
use tidegate::source::{Delivery as Message, Inbox};
use tidegate_wire::Envelope;
use tokio::sync::{mpsc, watch};

use crate::support::TempDir;

type Answer = Result<Vec<Outcome>, SendError>;
type Script = Arc<Mutex<dyn FnMut(&[&Record]) -> Answer + Send>>;

/// A Kinesis that answers as a test wants, and keeps what it took.
#[derive(Clone)]
struct Scripted {
    script: Script,
    taken: Arc<Mutex<Vec<Record>>>,
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

fn all_taken(records: &[&Record]) -> Answer {
    Ok(vec![Outcome::Taken; records.len()])
}

/// A queue on disk with its writer and its delivery, which can be stopped and begun anew.
struct Rig {
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
    inbox: Inbox,
    writer: tokio::task::JoinHandle<()>,
    shed_before: watch::Sender<u64>,
    state: watch::Sender<RoadState>,
    requests: mpsc::Sender<Request>,
    sink: Scripted,
    lanes: u32,
    max_record: usize,
    max_request: usize,
    max_age: Duration,
}

impl Rig {
    fn new(dir: &TempDir, lanes: u32, script: impl FnMut(&[&Record]) -> Answer + Send + 'static) -> Self {
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
        let clock = Clock::System;
        let (queue, appenders) = Queue::open(store.clone(), clock.now(), 64 << 10).unwrap();
        let (inbox, items) = Inbox::new(10_000, 64 << 20, clock.clone());
        let (requests, asked) = mpsc::channel(4);
        let shed_before = watch::Sender::new(0);
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
            shed_before: watch::Sender::new(0),
            state: watch::Sender::new(StoreState::default()),
            retention: Retention::new(store.clone(), 1 << 40, 0, 64 << 10),
            options,
            clock,
            boot: "boot".into(),
            mark: queue.mark,
            metrics: Metrics::new(),
        };
        Self {
            store,
            queue: Arc::new(queue),
            inbox,
            writer: tokio::spawn(async { writer.run().await.unwrap() }),
            shed_before,
            state: watch::Sender::new(RoadState::default()),
            requests,
            sink: Scripted { script: Arc::new(Mutex::new(script)), taken: Arc::default() },
            lanes,
            max_record: 1 << 20,
            max_request: 5 << 20,
            max_age: Duration::from_millis(5),
        }
    }

    /// Commits a reading of this device, and returns once it is.
    async fn commit(&self, device: &str, text: &str) {
        self.commit_many([(device.to_owned(), text.to_owned())]).await;
    }

    /// Commits readings, device and text, in one message.
    async fn commit_many(&self, readings: impl IntoIterator<Item = (String, String)>) {
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

    /// Delivers until the test's eye sees what it waits for; then stops, politely or not.
    async fn deliver_until(&self, polite: bool, mut seen: impl FnMut(&Rig) -> bool) {
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

    fn delivery(&self) -> Delivery<Scripted> {
        self.delivery_to(self.sink.clone())
    }

    fn delivery_to<S>(&self, sink: S) -> Delivery<S> {
        let cursors = Cursors::load(&*self.store).unwrap();
        let stream = |name: &'static str, log, lanes| {
            let cursors = cursors.streams.get(name).cloned().unwrap_or_default();
            Stream::new(name, "gw".into(), log, &cursors, lanes, false).unwrap()
        };
        let losses = Losses {
            gateway: "gw".into(),
            writer: self.requests.clone(),
            state: self.state.clone(),
            metrics: Metrics::new(),
        };
        Delivery {
            sink,
            store: self.store.clone(),
            gateway: "gw".into(),
            readings: stream("readings", self.queue.readings.clone(), self.lanes),
            gaps: stream("gaps", self.queue.notes.clone(), 1),
            losses,
            shed_before: self.shed_before.subscribe(),
            limits: Limits { target: 4096, max_record: self.max_record, compression: Compression::Zstd, level: 3 },
            max_age: self.max_age,
            max_request: self.max_request,
            backoff: Backoff { base: Duration::from_millis(1), max: Duration::from_millis(4) },
            state: self.state.clone(),
            clock: Clock::System,
            metrics: Metrics::new(),
        }
    }

    /// Ends the writer as well; what is on disk is all that is left.
    async fn close(self) {
        let Self { inbox, requests, writer, queue, store, .. } = self;
        drop((inbox, requests));
        writer.await.unwrap();
        drop((queue, store));
    }

    fn taken(&self) -> Vec<ReadRecord> {
        self.sink.taken.lock().unwrap().iter().map(|record| read_record(&record.data).unwrap()).collect()
    }

    fn texts(&self) -> Vec<String> {
        readings(&self.taken()).into_iter().map(|(_, text)| text).collect()
    }
}

/// Device and text of every reading, in the order of arrival.
fn readings(records: &[ReadRecord]) -> Vec<(String, String)> {
    let readings = records.iter().filter(|record| record.envelope.stream == "readings");
    readings
        .flat_map(|record| &record.rows)
        .map(|row| match &row.fields[0].1 {
            Value::Text(text) => (row.series.device.to_string(), text.to_string()),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn gaps(records: &[ReadRecord]) -> Vec<BTreeMap<String, Value>> {
    let gaps = records.iter().filter(|record| record.envelope.stream == "gaps").flat_map(|record| &record.rows);
    gaps.map(|row| row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()).collect()
}

/// How many readings the gap records name.
fn missing(records: &[ReadRecord]) -> u64 {
    let count = |gap: &BTreeMap<String, Value>| match gap["count"] {
        Value::I64(count) => count.unsigned_abs(),
        ref other => panic!("{other:?}"),
    };
    gaps(records).iter().map(count).sum()
}

/// In each lane a record's `prev` is the last entry of the record before it.
fn assert_chained(records: &[ReadRecord]) {
    let mut last = BTreeMap::new();
    for record in records {
        let envelope = &record.envelope;
        let lane = (envelope.stream.clone(), envelope.lane);
        let before = last.insert(lane.clone(), (envelope.epoch, envelope.last));
        assert_eq!(envelope.prev, before, "lane {lane:?}");
    }
}

#[tokio::test]
async fn what_is_refused_goes_again_and_nothing_of_its_lane_overtakes() {
    let dir = TempDir::new("road-refused");
    let mut random = fastrand::Rng::with_seed(11);
    let rig = Rig::new(&dir, 4, move |records| {
        let refuse = |_| if random.f64() < 0.4 { Outcome::Again("Throttled".to_owned()) } else { Outcome::Taken };
        Ok(records.iter().map(refuse).collect())
    });
    for n in 0..400 {
        rig.commit(&format!("d{}", n % 20), &format!("{n} {}", fastrand::u64(..))).await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 400).await;
    let records = rig.taken();
    assert_chained(&records);
    assert!(records.iter().map(|record| record.envelope.lane).max() == Some(3));
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (device, text) in readings(&records) {
        let n = text.split(' ').next().unwrap().parse().unwrap();
        assert!(last.insert(device, n).is_none_or(|before| before < n));
    }
}

#[tokio::test]
async fn an_outage_only_means_that_the_cursor_does_not_move() {
    let dir = TempDir::new("road-outage");
    let mut attempts = 0;
    let rig = Rig::new(&dir, 1, move |records| {
        attempts += 1;
        if attempts <= 6 { Err(SendError::Unreachable("no route".to_owned())) } else { all_taken(records) }
    });
    rig.commit("a", "first").await;
    rig.deliver_until(false, |rig| rig.state.borrow().mode == Mode::BackingOff).await;
    let cursors = Cursors::load(&*rig.store).unwrap();
    assert_eq!(cursors.streams["readings"].lanes[&0], Cursor::default());
    rig.commit("a", "second").await;
    rig.deliver_until(true, |rig| rig.texts().len() == 2).await;
    assert_eq!(rig.texts(), ["first", "second"]);
}

#[tokio::test]
async fn a_crash_of_delivery_repeats_and_never_skips_and_a_polite_stop_does_not_even_repeat() {
    let dir = TempDir::new("road-crash");
    let rig = Rig::new(&dir, 1, all_taken);
    rig.commit("a", "1").await;
    rig.deliver_until(false, |rig| rig.texts() == ["1"]).await;
    rig.commit("a", "2").await;
    rig.deliver_until(true, |rig| rig.texts().iter().any(|text| text == "2")).await;
    assert!(rig.texts() == ["1", "1", "2"], "{:?}", rig.texts());
    rig.commit("a", "3").await;
    rig.deliver_until(true, |rig| rig.texts().len() == 4).await;
    assert_eq!(rig.texts()[3], "3");
    let records = rig.taken();
    let (before, after) = (&records[records.len() - 2].envelope, &records[records.len() - 1].envelope);
    assert_eq!(after.prev, Some((before.epoch, before.last)));
}

#[tokio::test]
async fn poison_is_found_alone_and_given_up_only_after_others_were_accepted() {
    let dir = TempDir::new("road-poison");
    let rig = Rig::new(&dir, 3, |records| {
        let poison = |record: &&Record| {
            read_record(&record.data).unwrap().rows.iter().any(|row| &*row.series.device == "poison")
        };
        if records.iter().any(poison) {
            return Err(SendError::Invalid("ValidationException".to_owned()));
        }
        all_taken(records)
    });
    rig.commit("poison", "p").await;
    rig.deliver_until(false, |rig| rig.state.borrow().mode == Mode::Refused).await;
    assert_eq!(dead::count(&*rig.store, &rig.queue.dead).unwrap(), 0, "nothing was accepted yet");
    for n in 0..30 {
        rig.commit(&format!("d{n}"), "good").await;
    }
    // The record that is given up takes its own company with it, and nothing else.
    let settled = |rig: &Rig| rig.texts().len() as u64 + missing(&rig.taken());
    rig.deliver_until(true, |rig| settled(rig) == 31).await;
    assert!(rig.texts().len() > 15);
    let letters = dead::list(&*rig.store, &rig.queue.dead, 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(&*letters[0].letter.reason, "refused");
    assert!(read_record(&letters[0].letter.payload).unwrap().rows.iter().any(|row| &*row.series.device == "poison"));
    assert_eq!(gaps(&rig.taken())[0]["reason"], Value::Text("dead-lettered".into()));
}

#[tokio::test]
async fn a_configuration_that_was_never_accepted_gives_nothing_up() {
    let dir = TempDir::new("road-config");
    let attempts = Arc::new(Mutex::new(0));
    let counted = attempts.clone();
    let rig = Rig::new(&dir, 1, move |_| {
        *counted.lock().unwrap() += 1;
        Err(SendError::Invalid("InvalidArgumentException".to_owned()))
    });
    rig.commit("a", "kept").await;
    rig.deliver_until(true, |_| *attempts.lock().unwrap() > 12).await;
    assert_eq!(dead::count(&*rig.store, &rig.queue.dead).unwrap(), 0);
    assert!(rig.state.borrow().why.as_ref().unwrap().contains("[kinesis]"));
}

#[tokio::test]
async fn a_reading_that_no_record_may_hold_is_a_dead_letter_and_the_rest_goes_on() {
    let dir = TempDir::new("road-large");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.max_record = 8 << 10;
    let noise: String = (0..40_000).map(|_| fastrand::alphanumeric()).collect();
    rig.commit("a", "before").await;
    rig.commit("a", &noise).await;
    rig.commit("a", "after").await;
    rig.deliver_until(true, |rig| rig.texts().len() == 2 && gaps(&rig.taken()).len() == 1).await;
    assert_eq!(rig.texts(), ["before", "after"]);
    let letters = dead::list(&*rig.store, &rig.queue.dead, 0, 10).unwrap();
    assert_eq!((letters.len(), &*letters[0].letter.reason), (1, "record-too-large"));
    let gap = &gaps(&rig.taken())[0];
    let after = rig.taken().into_iter().rfind(|record| record.envelope.stream == "readings").unwrap();
    let to = (
        after.envelope.epoch,
        match gap["to"] {
            Value::I64(to) => to as u64,
            _ => panic!(),
        },
    );
    assert_eq!(after.envelope.prev, Some(to), "the next record names what was given up");
}

#[tokio::test]
async fn what_is_shed_is_counted_exactly_and_explained() {
    let dir = TempDir::new("road-shed");
    let mut offline = true;
    let (online, is_online) = watch::channel(false);
    let rig = Rig::new(&dir, 2, move |records| {
        offline &= !*is_online.borrow();
        if offline { Err(SendError::Unreachable("no route".to_owned())) } else { all_taken(records) }
    });
    for n in 0..100 {
        rig.commit(&format!("d{}", n % 10), &n.to_string()).await;
    }
    let half = rig.queue.readings.durable().offset - 50;
    rig.shed_before.send_replace(half);
    let watching = std::cell::Cell::new(false);
    rig.deliver_until(true, |rig| {
        if rig.state.borrow().gaps >= 2 && !watching.replace(true) {
            online.send_replace(true);
        }
        let count = missing(&rig.taken());
        count > 0 && count + rig.texts().len() as u64 == 100
    })
    .await;
    let records = rig.taken();
    assert!(rig.texts().len() <= 50);
    for lane in [0, 1] {
        let first = records.iter().find(|r| r.envelope.stream == "readings" && r.envelope.lane == lane).unwrap();
        let of_lane = |gap: &&BTreeMap<String, Value>| gap["lane"] == Value::I64(lane as i64);
        let gap = gaps(&records).iter().find(of_lane).unwrap()["to"].clone();
        assert_eq!(Value::from(first.envelope.prev.unwrap().1), gap);
    }
}

#[tokio::test]
async fn a_changed_number_of_lanes_opens_new_ones_after_the_old_have_drained() {
    let dir = TempDir::new("road-lanes");
    let mut rig = Rig::new(&dir, 1, all_taken);
    for n in 0..20 {
        rig.commit(&format!("d{n}"), "old").await;
    }
    rig.deliver_until(true, |rig| !rig.taken().is_empty()).await;
    rig.lanes = 3;
    for n in 0..20 {
        rig.commit(&format!("d{n}"), "waiting").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() >= 40).await;
    for n in 0..20 {
        rig.commit(&format!("d{n}"), "new").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() >= 60).await;
    let records = rig.taken();
    assert_chained(&records);
    for record in &records {
        for (_, text) in readings(std::slice::from_ref(record)) {
            let new = record.envelope.lane > 0;
            assert_eq!(new, text == "new", "lane {}: {text}", record.envelope.lane);
        }
    }
}

#[tokio::test]
async fn what_was_delivered_gives_its_disk_back_and_a_restart_goes_on_behind_it() {
    let dir = TempDir::new("road-release");
    let rig = Rig::new(&dir, 1, all_taken);
    for n in 0..60 {
        let noise: String = (0..4_000).map(|_| fastrand::alphanumeric()).collect();
        rig.commit("a", &format!("{n} {noise}")).await;
    }
    let generations = || std::fs::read_dir(PathBuf::from(&dir.path).join("readings")).unwrap().count();
    assert!(generations() >= 3);
    rig.deliver_until(true, |rig| rig.texts().len() == 60).await;
    assert_eq!(generations(), 1);
    rig.close().await;

    let rig = Rig::new(&dir, 1, all_taken);
    rig.commit("a", "after").await;
    rig.deliver_until(true, |rig| !rig.texts().is_empty()).await;
    assert_eq!(rig.texts(), ["after"]);
}

#[tokio::test]
async fn a_passing_fault_behind_an_outage_gives_nothing_up() {
    let dir = TempDir::new("road-passing");
    let mut attempts = 0;
    let rig = Rig::new(&dir, 2, move |records| {
        attempts += 1;
        match attempts {
            1 => Ok([Outcome::Taken, Outcome::Again("Throttled".to_owned())][..records.len()].to_vec()),
            2..8 => Err(SendError::Unreachable("no route".to_owned())),
            // A proxy on the way that mangles a request or two.
            8..10 => Err(SendError::Invalid("SerializationException".to_owned())),
            _ => all_taken(records),
        }
    });
    rig.commit_many((0..10).map(|n| (format!("d{n}"), "x".to_owned()))).await;
    rig.deliver_until(true, |rig| rig.texts().len() == 10 || rig.state.borrow().gaps > 0).await;
    assert_eq!(rig.texts().len(), 10);
    assert_eq!(dead::count(&*rig.store, &rig.queue.dead).unwrap(), 0);
}

#[tokio::test]
async fn a_stream_that_turns_against_everything_costs_one_record_and_no_more() {
    let dir = TempDir::new("road-turned");
    let attempts = Arc::new(Mutex::new(0));
    let counted = attempts.clone();
    let rig = Rig::new(&dir, 8, move |records| {
        let mut attempts = counted.lock().unwrap();
        *attempts += 1;
        if *attempts > 1 {
            return Err(SendError::Invalid("ValidationException".to_owned()));
        }
        let refused = Outcome::Again("Throttled".to_owned());
        Ok((0..records.len()).map(|n| if n == 0 { Outcome::Taken } else { refused.clone() }).collect())
    });
    rig.commit_many((0..40).map(|n| (format!("d{n}"), "x".to_owned()))).await;
    rig.deliver_until(true, |_| *attempts.lock().unwrap() > 100).await;
    assert_eq!(dead::count(&*rig.store, &rig.queue.dead).unwrap(), 1);
}

#[tokio::test]
async fn new_lanes_begin_at_one_offset_whatever_is_killed() {
    let dir = TempDir::new("road-lanes-kept");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.commit("a", "old").await;
    rig.deliver_until(true, |rig| rig.texts().len() == 1).await;
    rig.lanes = 3;
    let (_stop, stopped) = watch::channel(false);
    let killed = tokio::spawn(rig.delivery().run(stopped));
    rig.commit_many((0..20).map(|n| (format!("d{n}"), "new".to_owned()))).await;
    while rig.texts().len() < 21 {
        tokio::task::yield_now().await;
    }
    killed.abort();
    let _ = killed.await;
    rig.commit("a", "after").await;
    rig.deliver_until(true, |rig| rig.texts().iter().any(|text| text == "after")).await;
    let mut lanes: BTreeMap<u64, u64> = BTreeMap::new();
    for record in rig.taken() {
        for row in &record.rows {
            let lane = *lanes.entry(row.offset).or_insert(record.envelope.lane);
            assert_eq!(lane, record.envelope.lane, "offset {} came in two lanes", row.offset);
        }
    }
}

#[tokio::test]
async fn damage_is_a_gap_of_the_lanes_that_had_not_passed_it() {
    let dir = TempDir::new("road-damage");
    let rig = Rig::new(&dir, 2, all_taken);
    for n in 0..60 {
        let noise: String = (0..4_000).map(|_| fastrand::alphanumeric()).collect();
        rig.commit(&format!("d{n}"), &format!("{n} {noise}")).await;
    }
    let epoch = rig.queue.identity.epoch;
    let cursor = |done: u64| Cursor { done, prev: Some((epoch, done - 1)) };
    let lanes = [(0, cursor(58)), (1, cursor(3))].into();
    let spans = vec![Span { from: 0, base: 0, lanes: 2 }];
    let streams = [("readings".to_owned(), StreamCursors { spans, lanes })].into();
    Cursors { streams }.store(&*rig.store).unwrap();
    rig.close().await;
    std::fs::remove_dir_all(dir.path.join("readings/000001")).unwrap();

    let rig = Rig::new(&dir, 2, all_taken);
    rig.deliver_until(true, |rig| rig.texts().len() > 10 && !gaps(&rig.taken()).is_empty()).await;
    let gaps = gaps(&rig.taken());
    let lanes: Vec<_> = gaps.iter().map(|gap| (&gap["lane"], &gap["reason"])).collect();
    assert_eq!(lanes, [(&Value::I64(1), &Value::Text("damaged".into()))]);
    for record in rig.taken().iter().filter(|record| record.envelope.stream == "readings") {
        let Envelope { lane, epoch, first, prev, .. } = record.envelope;
        assert!(prev < Some((epoch, first)), "{prev:?} is due before {first}");
        assert!(lane == 1 || prev >= Some((epoch, 57)), "lane 0 goes back to {prev:?}");
    }
}

#[tokio::test]
async fn a_lane_that_is_refused_again_and_again_is_not_called_well() {
    let dir = TempDir::new("road-starved");
    let mut attempts = 0;
    let rig = Rig::new(&dir, 1, move |records| {
        attempts += 1;
        if attempts < 12 { Ok(vec![Outcome::Again("Throttled".to_owned())]) } else { all_taken(records) }
    });
    rig.commit("a", "1").await;
    let mut modes = Vec::new();
    rig.deliver_until(true, |rig| {
        modes.push(rig.state.borrow().mode);
        !rig.texts().is_empty()
    })
    .await;
    assert!(modes.contains(&Mode::BackingOff), "{modes:?}");
    assert_eq!(rig.state.borrow().mode, Mode::Ok);
}

/// A Kinesis whose answer comes when the test wants it.
#[derive(Clone)]
struct Slow {
    asked: Arc<tokio::sync::Notify>,
    answer: Arc<tokio::sync::Notify>,
}

impl Sink for Slow {
    async fn send(&self, records: &[&Record]) -> Answer {
        self.asked.notify_one();
        self.answer.notified().await;
        all_taken(records)
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_request_on_the_road_and_saves_what_it_settled() {
    let dir = TempDir::new("road-stop");
    let rig = Rig::new(&dir, 1, all_taken);
    rig.commit("a", "1").await;
    let slow = Slow { asked: Arc::default(), answer: Arc::default() };
    let (stop, stopped) = watch::channel(false);
    let delivery = tokio::spawn(rig.delivery_to(slow.clone()).run(stopped));
    slow.asked.notified().await;
    stop.send_replace(true);
    tokio::task::yield_now().await;
    assert!(!delivery.is_finished());
    slow.answer.notify_one();
    delivery.await.unwrap().unwrap();
    let cursors = Cursors::load(&*rig.store).unwrap();
    assert_eq!(cursors.streams["readings"].lanes[&0].done, rig.queue.readings.durable().offset);
}

#[tokio::test]
async fn a_request_holds_no_more_records_and_bytes_than_kinesis_takes() {
    let dir = TempDir::new("road-request");
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let mut rig = Rig::new(&dir, 600, move |records| {
        let bytes: usize = records.iter().map(|record| record.data.len() + record.key.len()).sum();
        seen.lock().unwrap().push((records.len(), bytes));
        all_taken(records)
    });
    rig.max_request = 100 << 10;
    for n in 0..40 {
        rig.commit_many((0..50).map(|device| (format!("d{}", n * 50 + device), "x".to_owned()))).await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 2_000).await;
    rig.max_request = 5 << 20;
    rig.commit_many((0..2_000).map(|device| (format!("d{device}"), "x".to_owned()))).await;
    rig.deliver_until(true, |rig| rig.texts().len() == 4_000).await;
    let sizes = sizes.lock().unwrap();
    assert!(sizes.iter().all(|(records, bytes)| *records <= 500 && *bytes <= 5 << 20), "{sizes:?}");
    assert!(sizes.iter().any(|(records, _)| *records == 500), "{sizes:?}");
    assert!(sizes.iter().any(|(records, bytes)| *records < 500 && *bytes > 90 << 10), "{sizes:?}");
}

#[tokio::test]
async fn what_waited_before_a_start_does_not_wait_for_company_again_and_goes_together() {
    let dir = TempDir::new("road-overdue");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.max_age = Duration::from_hours(1);
    for _ in 0..300 {
        rig.commit("a", "before").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 300).await;
    assert_eq!(rig.taken().iter().filter(|record| record.envelope.stream == "readings").count(), 1);
}
