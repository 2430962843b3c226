//! The files that hold a data directory together, and what a start makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::queue::{Appenders, Lock, OpenError, Queue, SledStore, Store, StoreError};

use super::{at_second, entry, noise, stamp, told};
use crate::support::TempDir;

fn open(dir: &TempDir, generation_bytes: u64) -> (Arc<dyn Store>, Queue, Appenders) {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
    let (queue, appenders) = Queue::open(store.clone(), at_second(1), generation_bytes).unwrap();
    (store, queue, appenders)
}

fn commit(appenders: &mut Appenders, text: &str) {
    appenders.readings.append(1, stamp(), vec![entry(text)]).unwrap();
    appenders.readings.sync().unwrap();
}

/// Every directory and file below one, and what is in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
            all.insert(path, Vec::new());
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_as_it_is() {
    let dir = TempDir::new("queue-version");
    fs::create_dir_all(dir.path.join("readings/000007.gone")).unwrap();
    for version in ["2\n", "x\n"] {
        fs::write(dir.path.join("VERSION"), version).unwrap();
        let before = contents(&dir.path);
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
        let refused = Queue::open(store.clone(), at_second(1), 1 << 20).err().unwrap();
        assert!(matches!(&refused, OpenError::Newer { found } if found == version.trim()), "{refused}");
        assert!(matches!(Queue::look(store).err().unwrap(), OpenError::Newer { .. }));
        assert_eq!(contents(&dir.path), before);
    }
}

#[test]
fn looking_into_a_stopped_queue_makes_no_directory_and_removes_none() {
    let dir = TempDir::new("queue-look");
    let (store, queue, appenders) = open(&dir, 1 << 20);
    drop((queue, appenders));
    fs::create_dir(dir.path.join("readings/000002")).unwrap();
    fs::create_dir(dir.path.join("dead/000007.gone")).unwrap();
    let directories = || contents(&dir.path).into_keys().filter(|path| path.is_dir()).collect::<Vec<_>>();
    let before = directories();
    drop(Queue::look(store).unwrap());
    assert_eq!(directories(), before);
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let dir = TempDir::new("queue-lock");
    let place = dir.path.join("made/on/the/way");
    let lock = Lock::take(&place).unwrap();
    let OpenError::InUse { path, holder } = Lock::take(&place).unwrap_err() else { panic!("taken twice") };
    assert_eq!((path, holder), (place.clone(), std::process::id().to_string()));
    drop(lock);
    Lock::take(&place).unwrap();
}

#[test]
fn a_start_finishes_the_removal_that_a_crash_cut_short() {
    let dir = TempDir::new("queue-gone");
    let gone = dir.path.join("readings/000001.gone");
    fs::create_dir_all(gone.join("blobs")).unwrap();
    fs::write(gone.join("db"), "half of it").unwrap();
    let (store, queue, _appenders) = open(&dir, 1 << 20);
    assert!(!gone.exists() && !dir.path.join("damaged").exists());
    assert_eq!(store.generations("readings").unwrap(), [1]);
    assert_eq!(queue.readings.durable().offset, 0);
}

#[test]
fn what_sled_leaves_on_a_full_disk_does_not_keep_a_generation_from_being_opened() {
    let dir = TempDir::new("queue-snapshots");
    let (_, queue, mut appenders) = open(&dir, 1 << 20);
    commit(&mut appenders, "kept");
    drop((queue, appenders));
    for name in ["snap.0000000000000001.generating", "snap.0000000000FFFFFF"] {
        fs::write(dir.path.join("readings/000001").join(name), "").unwrap();
        let (_, queue, _appenders) = open(&dir, 1 << 20);
        assert_eq!(told(&queue.readings, 0).len(), 1, "{name}");
        assert!(!dir.path.join("damaged").exists(), "{name}");
    }
}

#[test]
fn the_largest_groups_leave_nothing_where_sync_does_not_reach() {
    let dir = TempDir::new("queue-blobs");
    let (_, _queue, mut appenders) = open(&dir, 64 << 20);
    (0..8).for_each(|n| commit(&mut appenders, &noise(n, 600_000)));
    appenders.readings.rotate().unwrap();
    assert_eq!(fs::read_dir(dir.path.join("readings/000001/blobs")).unwrap().count(), 0);
}

#[test]
fn a_generation_with_a_blob_cannot_be_sealed() {
    let dir = TempDir::new("queue-blob");
    let (_, _queue, mut appenders) = open(&dir, 64 << 20);
    fs::write(dir.path.join("readings/000001/blobs/1"), "x").unwrap();
    let refused = appenders.readings.rotate().unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[test]
fn the_ballast_is_real_room_and_stays_while_the_disk_has_some() {
    let dir = TempDir::new("queue-ballast");
    let store = SledStore::open(&dir.path).unwrap();
    let before = store.used(None).unwrap();
    store.take_ballast().unwrap();
    store.take_ballast().unwrap();
    assert!(store.used(None).unwrap() - before >= 6 << 20, "the blocks are taken, not only promised");
    store.prepare().unwrap();
    assert!(dir.path.join("ballast").exists());
    // As a power cut may leave it: the name alone.
    fs::write(dir.path.join("ballast"), "").unwrap();
    store.take_ballast().unwrap();
    assert!(store.used(None).unwrap() - before >= 6 << 20, "an empty one is taken for a full one");
}

#[test]
fn damaged_generations_are_kept_for_a_person_but_not_without_end() {
    let dir = TempDir::new("queue-shelf");
    let store = SledStore::open(&dir.path).unwrap();
    store.prepare().unwrap();
    for number in 1..=12 {
        fs::create_dir(dir.path.join(format!("readings/{number:06}"))).unwrap();
        store.quarantine("readings", number).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path.join("damaged")).unwrap().count(), 8);
    assert!(dir.path.join("damaged/readings-000012").exists());
    // One that a person took away meanwhile is no reason to stop.
    store.quarantine("readings", 13).unwrap();
}

/// Several threads open and close the same sealed generations, and one of them removes what was read.
#[test]
fn readers_and_a_release_at_the_same_time_see_entries_or_gaps_and_no_damage() {
    let dir = TempDir::new("queue-threads");
    let (store, queue, mut appenders) = open(&dir, 20_000);
    (0..60).for_each(|n| commit(&mut appenders, &noise(n, 2_000)));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let all = told(&queue.readings, 0);
                    assert_eq!(all.len(), 60);
                    for (offset, said) in all {
                        assert!(said.is_none_or(|(_, text)| text == noise(offset, 2_000)), "offset {offset}");
                    }
                }
            });
        }
        scope.spawn(|| {
            for offset in (0..60).step_by(7) {
                told(&queue.readings, offset);
                queue.readings.release(offset).unwrap();
            }
        });
    });
    assert!(!dir.path.join("damaged").exists());
    assert!(store.generations("readings").unwrap().len() < 5);
}
