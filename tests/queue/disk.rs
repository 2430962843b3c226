//! The files that hold a data directory together, and what a start makes of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidegate::queue::files::{OLDEST, VERSION};
use tidegate::queue::{Appenders, LOGS, Lock, OpenError, Queue, SledStore, Store, StoreError};

use super::{at_second, entry, golden, noise, stamp, told};
use crate::support::TempDir;
use crate::support::gateway::{TestGateway, tidegate};

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
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

/// Not a lock is taken, no ballast dropped or made, nothing renamed and nothing finished.
#[test]
fn a_directory_of_another_format_is_refused_and_left_as_it_is() {
    let gateway = TestGateway::new("queue-version", 1, "http://127.0.0.1:1", "");
    let data = gateway.data_dir();
    let (config, place) = (gateway.config().to_str().unwrap(), data.to_str().unwrap());
    golden::unpack_into(VERSION, &data);
    fs::create_dir_all(data.join("readings/000007.gone")).unwrap();
    fs::write(data.join("LOCK"), "4711\n").unwrap();
    fs::write(data.join("ballast"), "").unwrap();
    let commands: [&[&str]; 7] = [
        &["run", "-c", config],
        &["queue", "stat", "-c", config],
        &["queue", "peek", "--data-dir", place],
        &["queue", "verify", "--data-dir", place],
        &["queue", "export", "--data-dir", place],
        &["dead", "list", "-c", config],
        &["dead", "purge", "--all", "-c", config],
    ];
    for (version, said) in [
        (VERSION + 1, "use a newer one; nothing was changed"),
        (OLDEST - 1, "start it once with an older one that knows both; nothing was changed"),
    ]
    .map(|(version, said)| (format!("{version}\n"), said))
    {
        fs::write(data.join("VERSION"), version.repeat(3)).unwrap();
        let before = contents(&data);
        for command in commands {
            let refused = tidegate(command);
            let stderr = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(1), "{version:?}, {command:?}: {stderr}");
            assert!(stderr.contains(said), "{version:?}, {command:?}: {stderr}");
            assert!(contents(&data) == before, "{version:?}: {command:?} has written");
        }
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&data).unwrap());
        Queue::open(store, at_second(1), 1 << 20).err().unwrap();
        assert!(contents(&data) == before, "{version:?}: opening has written");
    }
}

/// Segments of another size, as builds before the first release had them.
#[test]
fn a_directory_of_another_build_is_refused_and_not_taken_for_damaged() {
    let dir = golden::unpack(VERSION);
    for generation in fs::read_dir(dir.path.join("readings")).unwrap() {
        let mut settings = b"segment_size: 1048576\nuse_compression: false\nversion: 0.34\n".to_vec();
        settings.extend([1, 2, 3, 4]);
        fs::write(generation.unwrap().path().join("conf"), settings).unwrap();
    }
    let before = contents(&dir.path.join("readings"));
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
    let refused = Queue::open(store, at_second(1), 1 << 20).err().unwrap();
    assert!(refused.to_string().contains("another build of tidegate, with segments of 1048576 bytes"), "{refused}");
    assert!(contents(&dir.path.join("readings")) == before && !dir.path.join("damaged").exists());
}

#[test]
fn a_format_that_can_no_longer_be_read_keeps_nobody_from_the_data() {
    let dir = golden::unpack(VERSION);
    let file = dir.path.join("VERSION");
    let whole = fs::read(&file).unwrap();
    for rotten in ["", "1\n", "1\n3\n1\n", "x", "1\n1", "\0\0\0\0\0\0"] {
        fs::write(&file, rotten).unwrap();
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
        let (queue, _appenders) = Queue::open(store, at_second(1), 4_000).unwrap();
        assert!(queue.readings.durable().offset > golden::READINGS, "{rotten:?}");
        assert_eq!(fs::read(&file).unwrap(), whole, "{rotten:?}");
    }
}

#[test]
fn a_changed_bit_in_the_settings_of_sled_costs_nothing() {
    let dir = golden::unpack(VERSION);
    let conf = dir.path.join("readings/000002/conf");
    let whole = fs::read(&conf).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&conf, changed).unwrap();
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir.path).unwrap());
        let generation = store.open("readings", 2);
        assert!(generation.is_ok_and(|generation| generation.head().unwrap().is_some()), "byte {at}");
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

/// What a sync has failed to write can be read as long as the machine is up, and no other sync writes it.
#[test]
fn a_start_writes_once_more_what_a_life_before_may_have_left_unwritten() {
    let dir = TempDir::new("queue-renewed");
    let (store, queue, mut appenders) = open(&dir, 64 << 20);
    commit(&mut appenders, "kept");
    drop((store, queue, appenders));
    let newest = LOGS.map(|log| dir.path.join(format!("{log}/000001/db")));
    // sled closes in the background.
    for db in &newest {
        File::open(db).unwrap().lock().unwrap();
    }
    let before = newest.each_ref().map(|db| fs::read(db).unwrap());
    let age = |db| File::options().write(true).open(db).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    newest.iter().for_each(age);
    fs::write(dir.path.join("readings/000001/db.new"), "cut short").unwrap();
    SledStore::open(&dir.path).unwrap().prepare().unwrap();
    assert_eq!(newest.each_ref().map(|db| fs::read(db).unwrap()), before);
    let changed = newest.each_ref().map(|db| fs::metadata(db).unwrap().modified().unwrap());
    assert!(changed.iter().all(|changed| *changed > SystemTime::UNIX_EPOCH), "{changed:?}");
    assert!(!dir.path.join("readings/000001/db.new").exists());
    let (_, queue, _) = open(&dir, 64 << 20);
    assert_eq!(told(&queue.readings, 0), [(0, Some((1, "kept".to_owned())))]);
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
