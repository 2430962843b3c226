//! Lanes and cursors: what is shed, damaged, restarted and moved to other lanes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate::batch::{Record, Sealed, Sealer};
use tidegate::queue::{Cursor, Cursors, ShedBefore, Span, StreamCursors};
use tidegate::reading::Value;
use tidegate::sink::stream::Stream;
use tidegate::sink::{SendError, Sink};
use tidegate_wire::Envelope;
use tokio::sync::watch;
use tokio::time::Instant;

use super::rig::{Answer, Rig, all_taken, assert_chained, gaps, missing, readings};
use crate::support::TempDir;

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
    rig.shed_before.send_replace(ShedBefore { readings: half, rows: 0 });
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
async fn nothing_is_read_ahead_while_what_is_on_the_road_does_not_get_through() {
    let dir = TempDir::new("road-ahead");
    let rig = Rig::new(&dir, 1, all_taken);
    rig.commit_many((0..500).map(|_| ("a".to_owned(), "0".repeat(300)))).await;
    rig.commit_many((0..500).map(|_| ("a".to_owned(), "1".repeat(300)))).await;
    let delivery = rig.delivery();
    let (limits, mut stream, now) = (delivery.limits, delivery.streams.readings, Instant::now());
    let mut sealer = Sealer::new("gw".into(), 3).unwrap();
    stream.gather(&limits, now).unwrap();
    while stream.lanes[&0].lane.is_full(&limits) {
        stream.lanes.get_mut(&0).unwrap().record = None;
        assert!(matches!(stream.seal(&limits, &mut sealer, Duration::ZERO, now)[..], [Sealed::Record(_)]));
    }
    assert!(stream.has_more(&limits), "the test wants more than what was read");

    let waits_for = |stream: &mut Stream, failed| {
        stream.lanes.get_mut(&0).unwrap().record.as_mut().unwrap().failed = failed;
        let before = stream.has_more(&limits);
        stream.gather(&limits, now).unwrap();
        (before, stream.has_more(&limits), stream.lanes[&0].lane.is_full(&limits))
    };
    assert_eq!(waits_for(&mut stream, 1), (false, false, false));
    assert_eq!(waits_for(&mut stream, 0), (true, false, true));
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
    let streams = [("readings".to_owned(), StreamCursors { spans, lanes, passes_from: None })].into();
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

#[tokio::test]
async fn what_is_lost_before_a_cursor_was_ever_saved_is_a_gap_as_well() {
    let dir = TempDir::new("road-first-lost");
    let rig = Rig::new(&dir, 2, all_taken);
    rig.commit("a", "lost").await;
    let end = rig.end();
    rig.close().await;
    std::fs::remove_dir_all(dir.path.join("readings/000001")).unwrap();

    let rig = Rig::new(&dir, 2, all_taken);
    rig.commit("a", "kept").await;
    rig.deliver_until(true, |rig| rig.texts() == ["kept"] && gaps(&rig.taken()).len() == 2).await;
    assert_eq!(missing(&rig.taken()), 2 * end, "of each lane, since nobody knows whose it was");
}
