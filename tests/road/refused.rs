//! What is refused, cut off or poisoned, and what arrives all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidegate::batch::Record;
use tidegate::batch::read::read_record;
use tidegate::queue::{Cursor, Cursors, dead};
use tidegate::reading::Value;
use tidegate::sink::{Mode, Outcome, SendError};

use super::rig::{Rig, all_taken, assert_chained, gaps, missing, readings};
use crate::support::TempDir;

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
