//! Rows of windows on the road: before readings, over restarts, and given up last.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::queue::{Request, ShedBefore};
use tidegate::reading::Value;
use tidegate::sink::SendError;
use tokio::sync::oneshot;

use super::rig::{Rig, all_taken, gaps, missing};
use crate::queue::{noise, reading};
use crate::support::TempDir;

#[tokio::test]
async fn rows_go_before_readings() {
    let dir = TempDir::new("road-rows-first");
    let mut rig = Rig::new(&dir, 3, all_taken);
    for n in 0..300 {
        rig.commit(&format!("d{n}"), &noise(n, 100)).await;
    }
    rig.fold(rig.end(), 0..200).await;
    // One record a request.
    rig.max_request = 1;
    rig.deliver_until(true, |rig| rig.texts().len() == 300).await;
    let streams: Vec<_> = rig.taken().iter().map(|record| record.envelope.stream.clone()).collect();
    let rows = streams.iter().take_while(|stream| *stream == "rows").count();
    assert!(rows > 3 && !streams[rows..].contains(&"rows".to_owned()), "{streams:?}");
    assert_eq!(rig.rows(), (0..200).collect::<Vec<_>>());
    let first = &rig.taken()[0].rows[0];
    assert_eq!((&*first.series.source, first.series.window.as_deref()), ("window", Some("w")));
}

#[tokio::test]
async fn a_small_reading_does_not_overtake_a_row_that_finds_no_room() {
    let dir = TempDir::new("road-overtake");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let mut rig = Rig::new(&dir, 1, move |records| {
        seen.lock().unwrap().push(records.iter().map(|record| record.stream).collect::<Vec<_>>());
        all_taken(records)
    });
    rig.commit("d", "small").await;
    let (done, written) = oneshot::channel();
    rig.requests.send(Request::Gaps(vec![reading("small")], done)).await.unwrap();
    written.await.unwrap();
    rig.fold(rig.end(), 0..5).await;
    rig.max_request = 1_000;
    rig.deliver_until(true, |rig| rig.texts().len() == 1).await;
    assert_eq!(*requests.lock().unwrap(), [["gaps"], ["rows"], ["readings"]]);
}

#[tokio::test]
async fn rows_are_counted_as_rows() {
    let dir = TempDir::new("road-rows-counted");
    let mut rig = Rig::new(&dir, 1, |_| Err(SendError::Unreachable("no route".to_owned())));
    rig.commit("d", "reading").await;
    rig.fold(rig.end(), 0..7).await;
    rig.deliver_until(true, |rig| rig.state.borrow().queued_rows == 7).await;
    let said = |line: &str| rig.metrics.text().lines().any(|said| said == line);
    assert!(said("tidegate_queue_rows 7") && said("tidegate_delivered_rows_total 0"));

    rig.answer(all_taken);
    rig.deliver_until(true, |rig| rig.state.borrow().queued_rows == 0 && rig.texts().len() == 1).await;
    let state = rig.state.borrow().clone();
    assert_eq!((state.delivered_rows, state.delivered_readings), (7, 1));
    let said = |line: &str| rig.metrics.text().lines().any(|said| said == line);
    assert!(said("tidegate_queue_rows 0") && said("tidegate_delivered_rows_total 7"));
    // The first and the last of the record of readings; when a row came is no arrival.
    assert!(said("tidegate_delivery_seconds_count 2"), "{}", rig.metrics.text());
}

#[tokio::test]
async fn rows_are_delivered_once_over_restarts_and_give_their_disk_back() {
    let dir = TempDir::new("road-rows-restart");
    let mut rig = Rig::new(&dir, 1, all_taken);
    for first in (0..1_000).step_by(100) {
        rig.fold(0, first..first + 100).await;
    }
    let generations = rig.store.generations("rows").unwrap().len();
    assert!(generations > 2);
    rig.deliver_until(true, |rig| rig.rows().len() == 1_000).await;
    assert!(rig.store.generations("rows").unwrap().len() < generations);
    let last = rig.taken().last().map(|record| (record.envelope.epoch, record.envelope.last));
    rig.close().await;

    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.fold(0, [1_000]).await;
    rig.deliver_until(true, |rig| !rig.rows().is_empty()).await;
    assert_eq!(rig.rows(), [1_000]);
    assert_eq!(rig.taken()[0].envelope.prev, last);
}

#[tokio::test]
async fn rows_are_given_up_with_a_gap_record_and_counted() {
    let dir = TempDir::new("road-shed-rows");
    let mut rig = Rig::new(&dir, 1, |_| Err(SendError::Unreachable("no route".to_owned())));
    rig.commit("d", "kept").await;
    for first in (0..1_000).step_by(100) {
        rig.fold(rig.end(), first..first + 100).await;
    }
    rig.shed_before.send_replace(ShedBefore { readings: 0, rows: 600 });
    rig.deliver_until(true, |rig| rig.state.borrow().gaps == 1).await;
    rig.answer(all_taken);
    rig.max_age = Duration::ZERO;
    rig.deliver_until(true, |rig| rig.rows().len() == 400 && rig.texts() == ["kept"]).await;
    assert_eq!(rig.rows(), (600..1_000).collect::<Vec<_>>());
    let [gap] = &gaps(&rig.taken())[..] else { panic!("{:?}", gaps(&rig.taken())) };
    assert_eq!((missing(&rig.taken()), &gap["stream"]), (600, &Value::Text("rows".into())));
    assert_eq!((rig.metrics.shed("rows").get(), rig.metrics.shed("readings").get()), (600, 0));
}
