//! Rows of windows on the road, and readings that the fold still needs, or that only it needs.

use std::sync::Arc;
use std::time::Duration;

use tidegate::batch::read::ReadRecord;
use tidegate::queue::{FoldCommit, Request, ShedBefore};
use tidegate::reading::{Micros, Reading, Series, Value};
use tidegate::sink::SendError;
use tokio::sync::oneshot;

use super::rig::{Rig, all_taken, gaps, missing};
use crate::queue::noise;
use crate::support::TempDir;

fn unreachable() -> SendError {
    SendError::Unreachable("no route".to_owned())
}

impl Rig {
    /// Has the fold commit: everything before is folded, and these rows came of it.
    async fn fold(&self, rows: impl IntoIterator<Item = u64>) {
        let series = Series { source: "window".into(), window: Some("w".into()), ..Series::default() };
        let series = Arc::new(series);
        let row = |n: u64| Reading {
            time: Some(Micros(n as i64)),
            series: series.clone(),
            fields: vec![("text".into(), Value::Text(noise(n, 300).into()))],
        };
        let position = self.queue.readings.durable().offset;
        let rows = rows.into_iter().map(row).collect();
        let commit = FoldCommit { rows, position, pieces: vec![vec![1]], snapshot: true };
        let (done, committed) = oneshot::channel();
        self.requests.send(Request::Fold(commit, done)).await.unwrap();
        committed.await.unwrap();
        self.folded.send_replace(position);
    }

    /// The times of the rows that were taken, in the order of arrival: their numbers.
    fn rows(&self) -> Vec<i64> {
        let taken = self.taken();
        let rows = taken.iter().filter(|record| record.envelope.stream == "rows").flat_map(|record| &record.rows);
        rows.map(|row| row.time).collect()
    }

    fn oldest(&self) -> u64 {
        self.queue.readings.oldest().unwrap().offset
    }
}

#[tokio::test]
async fn rows_go_before_readings() {
    let dir = TempDir::new("road-rows-first");
    let mut rig = Rig::new(&dir, 1, all_taken);
    // One record a request.
    rig.max_request = 1;
    rig.max_age = Duration::ZERO;
    rig.commit("d", "reading").await;
    rig.fold([7]).await;
    rig.deliver_until(true, |rig| rig.texts() == ["reading"]).await;
    let streams: Vec<_> = rig.taken().iter().map(|record| record.envelope.stream.clone()).collect();
    assert_eq!(streams, ["rows", "readings"]);
    let row = &rig.taken()[0].rows[0];
    assert_eq!((row.series.window.as_deref(), row.time), (Some("w"), 7));
    let state = rig.state.borrow().clone();
    assert_eq!((state.delivered_rows, state.delivered_readings, state.queued_rows), (1, 1, 0));
}

#[tokio::test]
async fn rows_are_delivered_once_over_restarts_and_give_their_disk_back() {
    let dir = TempDir::new("road-rows-restart");
    let rig = Rig::new(&dir, 1, all_taken);
    for start in (0..1_000).step_by(100) {
        rig.fold(start..start + 100).await;
    }
    let generations = rig.store.generations("rows").unwrap().len();
    assert!(generations > 2);
    rig.deliver_until(true, |rig| rig.rows().len() == 1_000).await;
    assert!(rig.store.generations("rows").unwrap().len() < generations);
    rig.close().await;
    let rig = Rig::new(&dir, 1, all_taken);
    rig.fold([1_000]).await;
    rig.deliver_until(true, |rig| !rig.rows().is_empty()).await;
    assert_eq!(rig.rows(), [1_000]);
    assert!(rig.taken()[0].envelope.prev.is_some());
}

#[tokio::test]
async fn what_is_delivered_stays_until_it_is_folded() {
    let dir = TempDir::new("road-folded");
    let rig = Rig::new(&dir, 1, all_taken);
    rig.folded.send_replace(0);
    for n in 0..300 {
        rig.commit("d", &noise(n, 1_000)).await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 300).await;
    assert_eq!(rig.oldest(), 0, "the fold has read nothing of it");
    rig.fold([]).await;
    rig.deliver_until(true, |rig| rig.oldest() > 100).await;
}

#[tokio::test]
async fn shedding_waits_for_the_fold() {
    let dir = TempDir::new("road-shed-fold");
    let rig = Rig::new(&dir, 1, |_| Err(unreachable()));
    rig.folded.send_replace(0);
    for n in 0..100 {
        rig.commit("d", &n.to_string()).await;
    }
    let end = rig.queue.readings.durable().offset;
    rig.shed_before.send_replace(ShedBefore { readings: end, rows: 0 });
    rig.deliver_until(true, |rig| rig.state.borrow().backoff_seconds > 0.0).await;
    assert_eq!(rig.state.borrow().gaps, 0, "nothing is given up that is not folded");
    rig.folded.send_replace(end - 40);
    rig.deliver_until(true, |rig| rig.state.borrow().gaps == 1 && rig.state.borrow().queued_readings == 40).await;
    rig.folded.send_replace(end);
    rig.deliver_until(true, |rig| rig.state.borrow().gaps == 2 && rig.state.borrow().queued_readings == 0).await;
}

#[tokio::test]
async fn where_only_rows_are_wanted_readings_go_once_they_are_folded_and_nothing_seems_to_be_missing() {
    let dir = TempDir::new("road-none");
    let rig = Rig::new(&dir, 2, all_taken);
    for n in 0..10 {
        rig.commit(&format!("d{n}"), "before").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 10).await;
    rig.close().await;

    let mut rig = Rig::new(&dir, 2, all_taken);
    rig.forward = false;
    rig.folded.send_replace(0);
    for n in 0..300 {
        rig.commit(&format!("d{}", n % 10), &noise(n, 1_000)).await;
    }
    rig.deliver_until(true, |rig| rig.state.borrow().queued_readings >= 300).await;
    assert_eq!(rig.oldest(), 0);
    rig.fold(0..3).await;
    rig.deliver_until(true, |rig| rig.rows().len() == 3 && rig.state.borrow().queued_readings == 0).await;
    assert!(rig.oldest() > 100, "folded, they are gone");
    assert!(rig.texts().is_empty());
    let folded = *rig.folded.borrow();
    rig.commit("d3", "folded by nobody").await;
    rig.close().await;

    let rig = Rig::new(&dir, 2, all_taken);
    for n in 0..10 {
        rig.commit(&format!("d{n}"), "after").await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 11).await;
    let taken = rig.taken();
    assert!(gaps(&taken).is_empty(), "{:?}", gaps(&taken));
    assert!(rig.texts().contains(&"folded by nobody".to_owned()));
    for lane in [0, 1] {
        let of_lane = |record: &&ReadRecord| record.envelope.stream == "readings" && record.envelope.lane == lane;
        let (_, prev) = taken.iter().find(of_lane).unwrap().envelope.prev.unwrap();
        assert!(prev < folded - 300, "{prev}: the consumer knows of none but what was delivered last");
    }
}

#[tokio::test]
async fn rows_are_given_up_with_a_gap_record() {
    let dir = TempDir::new("road-shed-rows");
    let (mut tries, mut online) = (0, false);
    let rig = Rig::new(&dir, 1, move |records| {
        tries += 1;
        online |= tries > 3;
        if online { all_taken(records) } else { Err(unreachable()) }
    });
    for start in (0..1_000).step_by(100) {
        rig.fold(start..start + 100).await;
    }
    rig.shed_before.send_replace(ShedBefore { readings: 0, rows: 600 });
    rig.deliver_until(true, |rig| rig.rows().len() == 400).await;
    assert_eq!(rig.rows(), (600..1_000).collect::<Vec<_>>());
    let taken = rig.taken();
    assert_eq!(missing(&taken), 600);
    assert!(gaps(&taken).iter().all(|gap| gap["stream"] == Value::Text("rows".into())));
}
