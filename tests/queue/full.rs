//! A disk that is really full: a small one of its own, filled to the last block.

use std::sync::Arc;

use tidegate::queue::{Appenders, Queue, SledStore, Store, StoreError};

use super::{at_second, entry, noise, stamp, told};
use crate::support::TempDir;
use crate::support::disk::SmallDisk;

fn open(store: &Arc<dyn Store>) -> (Queue, Appenders) {
    Queue::open(store.clone(), at_second(1), 1 << 20).unwrap()
}

#[test]
fn on_a_full_disk_a_write_fails_cleanly_and_the_next_start_finds_all_that_was_synced() {
    let dir = TempDir::new("queue-full");
    let Some(disk) = SmallDisk::new(&dir.path, 32) else { return };
    let data = disk.root.join("data");
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&data).unwrap());
    let (queue, mut appenders) = open(&store);
    store.take_ballast().unwrap();
    let mut synced = 0;
    let mut commit = |appenders: &mut Appenders| -> Result<(), StoreError> {
        appenders.readings.append(1, stamp(), vec![entry(&noise(synced, 30_000))])?;
        appenders.readings.sync()?;
        synced += 1;
        Ok(())
    };
    (0..50).for_each(|_| commit(&mut appenders).unwrap());
    disk.fill();
    let refused = (0..200).find_map(|_| commit(&mut appenders).err()).expect("the disk is full");
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    drop((queue, appenders));

    // Nobody made room: the ballast does.
    let all = |queue: &Queue| {
        let found = told(&queue.readings, 0);
        assert!(found.iter().all(|(offset, said)| said.as_ref().unwrap().1 == noise(*offset, 30_000)));
        found.len() as u64
    };
    let (queue, appenders) = open(&store);
    assert!(!data.join("ballast").exists());
    // The one that was refused may be whole: it was never acknowledged, and may be there.
    let there = all(&queue);
    assert!((synced..=synced + 1).contains(&there), "{there} of {synced}");
    drop((queue, appenders));

    disk.free();
    let (queue, mut appenders) = open(&store);
    appenders.readings.append(1, stamp(), vec![entry(&noise(there, 30_000))]).unwrap();
    appenders.readings.sync().unwrap();
    assert_eq!(all(&queue), there + 1);
    store.take_ballast().unwrap();
    assert!(data.join("ballast").exists());
    assert!(!data.join("damaged").exists());
}

#[test]
fn on_a_full_disk_what_makes_room_has_the_ballast() {
    let dir = TempDir::new("queue-ballast");
    let Some(disk) = SmallDisk::new(&dir.path, 32) else { return };
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&disk.root.join("data")).unwrap());
    let (_queue, mut appenders) = open(&store);
    store.take_ballast().unwrap();
    disk.fill();
    let refused = appenders.dead.rotate().unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    store.drop_ballast().unwrap();
    appenders.readings.rotate().unwrap();
}
