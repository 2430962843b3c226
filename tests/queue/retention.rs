//! When there is room, when it gets tight, and when there is none.

use std::sync::Arc;

use tidegate::queue::retention::{Retention, Room};
use tidegate::queue::store::Disk;

use crate::support::lossy::{Faults, LossyStore};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const LARGE: Disk = Disk { free: 50 * GIB, size: 100 * GIB };

/// What is said of a directory of 1 GiB at the most, with 256 MiB to stay free, in generations of 6 MiB; and whether
/// the ballast was taken.
fn room(used_more: u64, disk: Disk) -> (Room, bool) {
    let store = LossyStore::default();
    let faults = store.faults.clone();
    *faults.lock().unwrap() = Faults { used_more, disk, ..Faults::default() };
    let room = Retention::new(Arc::new(store), GIB, 256 * MIB, 6 * MIB).look().unwrap();
    let ballast = faults.lock().unwrap().ballast;
    (room, ballast)
}

#[test]
fn it_gets_tight_before_max_bytes_is_reached_and_full_when_it_is() {
    assert_eq!(room(900 * MIB, LARGE), (Room::Enough, true));
    assert_eq!(room(970 * MIB, LARGE), (Room::Tight, false));
    assert_eq!(room(GIB, LARGE), (Room::Full, false));
}

#[test]
fn the_disk_keeps_min_free_whoever_fills_it() {
    let free = |mib| Disk { free: mib * MIB, ..LARGE };
    assert_eq!(room(0, free(300)).0, Room::Enough);
    assert_eq!(room(0, free(270)).0, Room::Tight);
    assert_eq!(room(0, free(256)), (Room::Full, false));
}

#[test]
fn on_a_small_disk_min_free_is_lowered_to_a_tenth() {
    let free = |mib| Disk { free: mib * MIB, size: GIB };
    assert_eq!(room(0, free(256)).0, Room::Enough);
    assert_eq!(room(0, free(103)).0, Room::Tight);
    assert_eq!(room(0, free(102)).0, Room::Full);
    // On any other it is what was asked for.
    assert_eq!(room(0, Disk { free: 256 * MIB, size: 2560 * MIB }).0, Room::Full);
}

#[test]
fn what_is_appended_between_two_looks_counts_double() {
    let store = LossyStore::default();
    store.faults.lock().unwrap().used_more = GIB - 8 * MIB;
    let mut retention = Retention::new(Arc::new(store), GIB, 0, MIB);
    assert_eq!(retention.look().unwrap(), Room::Tight);
    retention.appended(300 << 10);
    assert_eq!(retention.used(), GIB - 8 * MIB + (600 << 10));
    // After a MiB it is measured anew.
    retention.appended(300 << 10);
    retention.look().unwrap();
    assert_eq!(retention.used(), GIB - 8 * MIB);
}
