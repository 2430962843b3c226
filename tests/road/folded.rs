//! Readings that the fold still needs: not released and not given up before it has them.

use std::time::Duration;

use tidegate::queue::ShedBefore;
use tidegate::sink::SendError;
use tokio::sync::watch;

use super::rig::{Rig, all_taken, missing};
use crate::queue::noise;
use crate::support::TempDir;

#[tokio::test]
async fn what_is_delivered_stays_until_it_is_folded() {
    let dir = TempDir::new("road-folded");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.folded = Some(watch::Sender::new(0));
    for n in 0..300 {
        rig.commit("d", &noise(n, 1_000)).await;
    }
    rig.deliver_until(true, |rig| rig.texts().len() == 300).await;
    assert_eq!(rig.oldest(), 0, "the fold has read nothing of it");
    rig.fold(150, []).await;
    rig.deliver_until(true, |rig| rig.oldest() > 0).await;
    assert!(rig.oldest() <= 150, "{}", rig.oldest());
    // Delivery waits for nothing but the fold now.
    let (stop, stopped) = watch::channel(false);
    let delivery = tokio::spawn(rig.delivery().run(stopped));
    rig.fold(rig.end(), []).await;
    let released = async {
        while rig.oldest() <= 150 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), released).await.expect("delivery wakes when more is folded");
    stop.send_replace(true);
    delivery.await.unwrap().unwrap();
}

#[tokio::test]
async fn shedding_stops_where_the_fold_is_and_goes_on_when_that_moves() {
    let dir = TempDir::new("road-shed-folded");
    let mut rig = Rig::new(&dir, 2, |_| Err(SendError::Unreachable("no route".to_owned())));
    rig.folded = Some(watch::Sender::new(0));
    for n in 0..100 {
        rig.commit(&format!("d{n}"), &n.to_string()).await;
    }
    let end = rig.end();
    rig.shed_before.send_replace(ShedBefore { readings: end, rows: 0 });
    rig.deliver_until(true, |rig| rig.state.borrow().backoff_seconds > 0.0).await;
    assert_eq!(rig.state.borrow().gaps, 0, "nothing is given up that is not folded");

    let folded = rig.folded.clone().unwrap();
    folded.send_replace(end - 40);
    rig.deliver_until(true, |rig| {
        // Both lanes stand between the two.
        let left = rig.state.borrow().queued_readings;
        if left == 40 {
            folded.send_replace(end);
        }
        left == 0
    })
    .await;
    assert_eq!(rig.metrics.shed("readings").get(), 100);
    rig.answer(all_taken);
    rig.commit("d", "after").await;
    rig.deliver_until(true, |rig| rig.texts() == ["after"] && missing(&rig.taken()) == 100).await;
}

#[tokio::test]
async fn a_fold_that_has_ended_is_waited_for_and_not_asked_again_and_again() {
    let dir = TempDir::new("road-fold-ended");
    let mut rig = Rig::new(&dir, 1, all_taken);
    rig.fold(rig.end(), []).await;
    let mut streams = rig.delivery().streams;
    streams.mark_seen();
    rig.folded = None;
    tokio::time::timeout(Duration::from_millis(50), streams.changed()).await.unwrap_err();
    rig.commit("d", "more").await;
    tokio::time::timeout(Duration::from_secs(5), streams.changed()).await.unwrap();
}
