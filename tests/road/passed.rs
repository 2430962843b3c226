//! Where only rows are wanted: readings are settled by being folded, none is lost on the way into that and out of it,
//! and to the consumer none seems to be missing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate::batch::Record;
use tidegate::batch::read::ReadRecord;
use tidegate::queue::{Cursor, Cursors, ShedBefore, Span, StreamCursors};
use tidegate::simulate::consumer::Consumer;
use tidegate::sink::{Outcome, SendError};
use tidegate_wire::Envelope;
use tokio::sync::watch;

use super::rig::{Answer, Rig, all_taken, gaps, missing, readings};
use crate::queue::noise;
use crate::support::TempDir;

/// Asserts that to a consumer nothing is missing, gap records left aside.
fn assert_whole(records: &[ReadRecord]) {
    let mut consumer = Consumer::default();
    for record in records {
        let Envelope { epoch, first, prev, .. } = record.envelope;
        assert!(prev < Some((epoch, first)), "{prev:?} is due before {first}");
        consumer.admit(&record.envelope);
    }
    assert!(consumer.holes().is_empty(), "{:?}", consumer.holes());
    assert!(gaps(records).is_empty(), "{:?}", gaps(records));
}

#[tokio::test]
async fn readings_go_once_they_are_folded_and_are_delivered_again_when_they_are_wanted_again() {
    let dir = TempDir::new("road-none");
    let rig = Rig::new(&dir, 2, all_taken);
    for n in 0..10 {
        rig.commit(&format!("d{n}"), "before").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 10).await;
    let mut taken = rig.taken();
    rig.close().await;

    let mut rig = Rig::new(&dir, 2, all_taken);
    let before = rig.only_rows();
    for n in 0..300 {
        rig.commit(&format!("d{}", n % 10), &noise(n, 1_000)).await;
    }
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings == rig.end() - before).await;
    assert_eq!(rig.oldest(), 0, "nothing is folded");
    let folded = rig.end();
    rig.fold(folded, 0..3).await;
    rig.commit("d3", "not folded").await;
    rig.deliver_until(true, |rig| rig.rows().len() == 3 && rig.state.borrow().queued_readings == 1).await;
    assert!(rig.oldest() > 100, "what is folded goes");
    assert!(rig.texts().is_empty());
    assert_eq!((rig.state.borrow().delivered_readings, rig.state.borrow().gaps), (0, 0));
    taken.extend(rig.taken());
    rig.close().await;

    let rig = Rig::new(&dir, 2, all_taken);
    for n in 0..10 {
        rig.commit(&format!("d{n}"), "after").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 11).await;
    assert!(rig.texts().contains(&"not folded".to_owned()));
    taken.extend(rig.taken());
    assert_whole(&taken);
    let named = taken.iter().filter(|record| record.envelope.first >= folded).filter_map(|record| record.envelope.prev);
    assert!(named.clone().count() > 0 && named.clone().all(|(_, prev)| prev < folded - 300 || prev >= folded));
}

#[tokio::test]
async fn what_is_folded_is_not_given_up_however_full_the_queue_is() {
    let dir = TempDir::new("road-none-shed");
    let mut rig = Rig::new(&dir, 2, all_taken);
    rig.only_rows();
    for n in 0..100 {
        rig.commit(&format!("d{n}"), &n.to_string()).await;
    }
    rig.fold(80, [1]).await;
    rig.shed_before.send_replace(ShedBefore { readings: rig.end(), rows: 0 });
    let left = rig.end() - 80;
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings == left && rig.rows() == [1]).await;
    rig.fold(rig.end(), [2]).await;
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings == 0 && rig.rows() == [1, 2]).await;
    assert_eq!((rig.metrics.shed("readings").get(), rig.state.borrow().gaps), (0, 0));
}

#[tokio::test]
async fn a_lane_that_is_ahead_of_the_fold_does_not_go_back() {
    let dir = TempDir::new("road-none-ahead");
    let mut rig = Rig::new(&dir, 2, all_taken);
    let passes_from = Some(rig.only_rows());
    rig.commit_many((0..60).map(|n| (format!("d{n}"), n.to_string()))).await;
    let epoch = rig.queue.identity.epoch;
    let cursor = |done: u64| Cursor { done, prev: Some((epoch, done - 1)) };
    let spans = vec![Span { from: 0, base: 0, lanes: 2 }];
    let readings = StreamCursors { spans, lanes: [(0, cursor(50)), (1, cursor(3))].into(), passes_from };
    let streams = [("readings".to_owned(), readings)];
    Cursors { streams: streams.into() }.store(&*rig.store).unwrap();
    rig.fold(20, []).await;
    let stands = |rig: &Rig| rig.state.borrow().queued_readings == rig.end() - 20;
    rig.deliver_until(true, stands).await;
    let cursors = Cursors::load(&*rig.store).unwrap();
    let lanes = &cursors.streams["readings"].lanes;
    assert_eq!((lanes[&0], lanes[&1]), (cursor(50), Cursor { done: 20, ..cursor(3) }));
}

#[tokio::test]
async fn what_was_queued_before_only_rows_were_wanted_is_delivered() {
    let dir = TempDir::new("road-none-backlog");
    let offline = |_: &[&Record]| Err(SendError::Unreachable("no route".to_owned()));
    let mut rig = Rig::new(&dir, 2, offline);
    rig.folded = Some(watch::Sender::new(0));
    for n in 0..40 {
        rig.commit(&format!("d{n}"), &noise(n, 1_000)).await;
    }
    rig.deliver_until(true, |rig| rig.state.borrow().backoff_seconds > 0.0).await;
    rig.close().await;

    let mut rig = Rig::new(&dir, 2, offline);
    let before = rig.only_rows();
    rig.commit_many((40..60).map(|n| (format!("d{n}"), n.to_string()))).await;
    rig.fold(rig.end(), [1]).await;
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings == rig.end() - 1).await;
    assert!(rig.oldest() < before, "{} was let go", rig.oldest());
    rig.answer(all_taken);
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings == 0).await;
    let mut devices: Vec<_> = readings(&rig.taken()).into_iter().map(|(device, _)| device).collect();
    devices.sort_unstable_by_key(|device| device[1..].parse::<u64>().unwrap());
    assert_eq!(devices, (0..40).map(|n| format!("d{n}")).collect::<Vec<_>>());
    assert_whole(&rig.taken());
}

/// A Kinesis that is there now and then, and of which each answer may be lost.
fn moody(seed: u64, online: Arc<AtomicBool>) -> impl FnMut(&[&Record]) -> Answer + Send + 'static {
    let mut random = fastrand::Rng::with_seed(seed);
    move |records| {
        if !online.load(Ordering::Relaxed) {
            return Err(SendError::Unreachable("no route".to_owned()));
        }
        let again = |_: &&Record| {
            if random.u8(..4) == 0 { Outcome::Again("Throttled".to_owned()) } else { Outcome::Taken }
        };
        Ok(records.iter().map(again).collect())
    }
}

/// A life in which readings are wanted at times, the fold is behind or ahead of delivery, and everything is killed
/// now and then.
async fn live(seed: u64) {
    let dir = TempDir::new(&format!("road-none-{seed}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let online = Arc::new(AtomicBool::new(true));
    let mut committed = BTreeSet::new();
    // What may have gone as rows: it came and was folded while only rows were wanted.
    let (mut passes_from, mut passed) = (0, BTreeSet::new());
    let (mut taken, mut rows) = (Vec::new(), 0);
    for life in 0..6 {
        let mut rig = Rig::new(&dir, random.u32(1..4), moody(random.u64(..), online.clone()));
        let only_rows = life < 5 && random.bool();
        if only_rows {
            passes_from = rig.only_rows();
        }
        for _ in 0..random.u8(1..5) {
            let count = random.u64(1..60);
            rig.commit_many((0..count).map(|n| (format!("d{n}"), noise(n, 1_000)))).await;
            committed.extend(rig.end() - count..rig.end());
            if random.bool() {
                let from = rig.folded.as_ref().map_or(0, |folded| *folded.borrow());
                rig.fold(random.u64(from..=rig.end()), [rows]).await;
                rows += 1;
            }
            online.store(random.bool(), Ordering::Relaxed);
            let turns = std::cell::Cell::new(random.u8(..20));
            rig.deliver_until(random.bool(), |_| turns.replace(turns.get().saturating_sub(1)) == 0).await;
            if only_rows && let Some(folded) = &rig.folded {
                passed.extend(passes_from..*folded.borrow());
            }
        }
        if life == 5 {
            online.store(true, Ordering::Relaxed);
            let settled = |rig: &Rig| (rig.state.borrow().queued_readings, rig.state.borrow().queued_rows) == (0, 0);
            rig.deliver_until(true, settled).await;
        }
        assert_eq!(rig.metrics.shed("readings").get(), 0);
        taken.extend(rig.taken());
        rig.close().await;
    }
    assert_whole(&taken);
    let of = |stream: &str| {
        let records = taken.iter().filter(|record| record.envelope.stream == stream);
        records.flat_map(|record| record.rows.iter().map(|row| row.offset)).collect::<BTreeSet<_>>()
    };
    let delivered = of("readings");
    let lost: Vec<_> = committed.difference(&passed).filter(|offset| !delivered.contains(offset)).collect();
    assert!(lost.is_empty(), "neither delivered nor folded: {lost:?}");
    assert!(delivered.is_subset(&committed));
    assert_eq!(of("rows").len() as u64, rows);
}

#[tokio::test]
async fn whatever_is_killed_and_whenever_it_is_wanted_a_reading_is_delivered_or_folded() {
    for seed in 0..8 {
        println!("seed {seed}");
        live(seed).await;
    }
}

#[tokio::test]
async fn a_fold_that_is_behind_what_was_delivered_goes_on_with_its_state() {
    let dir = TempDir::new("road-none-behind");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.commit_many((0..10).map(|n| ("d".to_owned(), n.to_string()))).await;
    rig.fold(3, [1]).await;
    rig.only_rows();
    rig.deliver_until(true, |rig| rig.texts().len() == 10).await;
    let end = rig.end();
    rig.close().await;
    let mut rig = Rig::new(&dir, 1, all_taken);
    let restored = &rig.queue.restored;
    assert_eq!((restored.position, restored.damaged, restored.pieces.len()), (3, false, 1));
    // What is passed is folded, whatever becomes of the state and the mark.
    rig.only_rows();
    rig.commit("d", "passed").await;
    rig.fold(rig.end(), [2]).await;
    rig.deliver_until(true, |rig| rig.rows().contains(&2)).await;
    let folded = rig.end();
    assert!(folded > end);
    assert_eq!(Cursors::load(&*rig.store).unwrap().passed(), folded);
}

/// Of what is passed the fold tells.
#[tokio::test]
async fn damage_that_reaches_into_what_is_passed_is_a_gap_up_to_there() {
    let dir = TempDir::new("road-none-damage");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.folded = Some(watch::Sender::new(0));
    for n in 0..25 {
        rig.commit("d", &noise(n, 4_000)).await;
    }
    let before = rig.only_rows();
    for n in 25..60 {
        rig.commit("d", &noise(n, 4_000)).await;
    }
    rig.close().await;
    std::fs::remove_dir_all(dir.path.join("readings/000002")).unwrap();

    let mut rig = Rig::new(&dir, 1, all_taken);
    assert_eq!(rig.only_rows(), before);
    rig.fold(rig.end(), [1]).await;
    rig.deliver_until(true, |rig| rig.rows() == [1] && !gaps(&rig.taken()).is_empty()).await;
    let taken = rig.taken();
    let delivered = taken.iter().filter(|record| record.envelope.stream == "readings");
    let lost_from = delivered.flat_map(|record| &record.rows).map(|row| row.offset + 1).max().unwrap();
    assert!(lost_from < before, "{lost_from} is where the damage begins");
    assert_eq!((gaps(&taken).len(), missing(&taken)), (1, before - lost_from));
}
