//! A disk that is really full: a small one of its own, filled to the last block.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tidegate::queue::{Appenders, Queue, SledStore, Store, StoreError};

use super::{at_second, entry, noise, stamp, told};
use crate::support::TempDir;

/// A disk in memory; gone with the test.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this user may not mount anything.
    fn new(size: &str) -> Option<Self> {
        let dir = TempDir::new("queue-full");
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir.path).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: only root may mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.path).status();
    }
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

fn open(store: &Arc<dyn Store>) -> (Queue, Appenders) {
    Queue::open(store.clone(), at_second(1), 1 << 20).unwrap()
}

#[test]
fn on_a_full_disk_a_write_fails_cleanly_and_the_next_start_finds_all_that_was_synced() {
    let Some(disk) = SmallDisk::new("24m") else { return };
    let data = disk.0.path.join("data");
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
    let filler = disk.0.path.join("filler");
    fill(&filler);
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

    fs::remove_file(filler).unwrap();
    let (queue, mut appenders) = open(&store);
    appenders.readings.append(1, stamp(), vec![entry(&noise(there, 30_000))]).unwrap();
    appenders.readings.sync().unwrap();
    assert_eq!(all(&queue), there + 1);
    store.take_ballast().unwrap();
    assert!(data.join("ballast").exists());
    assert!(!data.join("damaged").exists());
}
