//! Media that rot: what is lost is named from where to where, what is whole is kept, and service goes on.

use std::sync::Arc;

use tidegate::queue::files::Mark;
use tidegate::queue::{Appenders, Queue, Store};

use super::{at_second, entry, noise, stamp, told};
use crate::support::lossy::LossyStore;

/// Three sealed generations of four entries each, and a newest one with two.
fn three_sealed(store: &Arc<LossyStore>) {
    let (queue, mut appenders) = open(store, 1);
    for number in 0..14 {
        if number > 0 && number % 4 == 0 {
            appenders.readings.rotate().unwrap();
        }
        append(&queue, &mut appenders, number);
    }
}

fn open(store: &Arc<LossyStore>, second: i64) -> (Queue, Appenders) {
    Queue::open(store.clone(), at_second(second), 1 << 20).unwrap()
}

fn append(queue: &Queue, appenders: &mut Appenders, number: u64) {
    let entries = vec![entry(&noise(number, 20_000))];
    appenders.readings.append(queue.identity.epoch, stamp(), entries).unwrap();
    let readings = appenders.readings.sync().unwrap();
    // As the writer does, so that a tail that rots is missed.
    Mark { readings, ..queue.mark }.store(&*queue.store, false).unwrap();
}

/// The offsets that are lost; all others must be what was appended.
fn lost(queue: &Queue) -> Vec<u64> {
    let mut lost = Vec::new();
    for (offset, found) in told(&queue.readings, 0) {
        match found {
            Some((_, text)) => assert_eq!(text, noise(offset, 20_000), "offset {offset}"),
            None => lost.push(offset),
        }
    }
    lost
}

#[test]
fn a_changed_byte_costs_its_group_and_no_other() {
    for at in 0..14 {
        let store = Arc::new(LossyStore::default());
        three_sealed(&store);
        let generation = 1 + (at / 4) as u32;
        let chunk = store.chunks("readings", generation)[2 * (at % 4) as usize];
        store.rot("readings", generation, chunk, |bytes| bytes[100] ^= 4);
        let (queue, mut appenders) = open(&store, 2);
        assert_eq!(lost(&queue), [at]);
        let next = appenders.readings.next().offset;
        assert_eq!(next, 14, "no offset is given twice");
        append(&queue, &mut appenders, next);
        assert_eq!(lost(&queue), [at], "and service goes on");
    }
}

#[test]
fn a_sealed_generation_that_came_back_short_is_found_out_by_its_successor() {
    let store = Arc::new(LossyStore::default());
    three_sealed(&store);
    // sled opens such a one without a word.
    for chunk in store.chunks("readings", 2).into_iter().skip(4) {
        store.rot("readings", 2, chunk, Vec::clear);
    }
    assert_eq!(lost(&open(&store, 2).0), [6, 7]);
}

#[test]
fn a_generation_that_cannot_be_read_is_put_aside_and_is_a_gap() {
    for (number, gone) in [(1, 0..4), (2, 4..8), (4, 12..14)] {
        let store = Arc::new(LossyStore::default());
        three_sealed(&store);
        store.break_generation("readings", number);
        let (queue, mut appenders) = open(&store, 2);
        assert_eq!(lost(&queue), gone.clone().collect::<Vec<_>>());
        assert_eq!(store.damaged("readings"), [number]);
        let next = appenders.readings.next().offset;
        assert_eq!(next, 14, "the mark remembers what was durable");
        append(&queue, &mut appenders, next);
        assert_eq!(lost(&queue), gone.collect::<Vec<_>>());
    }
}

#[test]
fn a_generation_that_is_gone_is_a_gap() {
    for (number, gone) in [(2, 4..8), (4, 12..14)] {
        let store = Arc::new(LossyStore::default());
        three_sealed(&store);
        store.lose_generation("readings", number);
        let (queue, appenders) = open(&store, 2);
        assert_eq!(lost(&queue), gone.collect::<Vec<_>>());
        assert_eq!(appenders.readings.next().offset, 14);
    }
}

#[test]
fn a_generation_that_was_only_begun_is_nothing() {
    let store = Arc::new(LossyStore::default());
    three_sealed(&store);
    store.half_create("readings", 5);
    let (queue, mut appenders) = open(&store, 2);
    append(&queue, &mut appenders, 14);
    assert!(lost(&queue).is_empty());
    assert!(store.damaged("readings").is_empty());
}

#[test]
fn the_epoch_rises_though_the_clock_goes_back_and_the_identity_rots() {
    let store = Arc::new(LossyStore::default());
    three_sealed(&store);
    let first = open(&store, 1_000).0.identity.epoch;
    let second = open(&store, 5).0.identity.epoch;
    assert!(first >= 1_000 && second > first, "{first} {second}");
    store.put("identity", b"rot").unwrap();
    assert!(open(&store, 5).0.identity.epoch > second);
}
