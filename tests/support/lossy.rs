//! A store in memory that forgets what was not synced, the way a disk does when the power goes.
//!
//! Each generation has chunks that are durable and chunks that are only live. [`LossyStore::cut`] drops the live
//! ones, or keeps some of them, so that a group may be torn between its chunks; small files and the mark are
//! durable at once. A process that is killed leaves all of it as it is: live, and not durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tidegate::queue::store::{Disk as Room, Generation, Store, StoreError};

/// What of the live bytes a power cut leaves.
#[derive(Clone, Copy, Debug)]
pub enum Survives {
    Nothing,
    /// The beginning, up to a chunk.
    Prefix,
    /// Any of the chunks.
    Some,
}

#[derive(Default)]
pub struct LossyStore {
    disk: Mutex<Disk>,
    /// Failures to be had: what the next calls do.
    pub faults: Arc<Mutex<Faults>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The power goes after so many more operations that change anything.
    pub power_lasts: Option<u64>,
    /// The fsync line taken out: `sync` says yes and does nothing.
    pub sync_lies: bool,
    /// Syncing this log fails.
    pub sync_fails: Option<&'static str>,
    /// Bytes in use beside the chunks.
    pub used_more: u64,
    pub disk: Room,
    /// Whether the ballast was taken.
    pub ballast: bool,
}

impl Default for Faults {
    fn default() -> Self {
        let disk = Room { free: 1 << 39, size: 1 << 40 };
        Self { power_lasts: None, sync_lies: false, sync_fails: None, used_more: 0, disk, ballast: false }
    }
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    generations: BTreeMap<(String, u32), Arc<Mutex<Chunks>>>,
    damaged: Vec<(String, u32)>,
}

#[derive(Default)]
struct Chunks {
    head: Option<Bytes>,
    durable: BTreeMap<u64, Bytes>,
    live: Vec<(u64, Bytes)>,
    /// Nothing of it can be read.
    broken: bool,
}

impl LossyStore {
    fn inner(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// The power goes. Whoever had the store open must be gone.
    pub fn cut(&self, survives: Survives, random: &mut fastrand::Rng) {
        let disk = &mut *self.inner();
        for chunks in disk.generations.values() {
            let mut chunks = chunks.lock().unwrap();
            let mut live = std::mem::take(&mut chunks.live);
            match survives {
                Survives::Nothing => live.clear(),
                Survives::Prefix => live.truncate(random.usize(..=live.len())),
                Survives::Some => live.retain(|_| random.bool()),
            }
            chunks.durable.extend(live);
        }
    }

    /// Generations of the log that were put aside.
    pub fn damaged(&self, log: &str) -> Vec<u32> {
        self.inner().damaged.iter().filter(|(of, _)| of == log).map(|(_, number)| *number).collect()
    }

    /// The numbers of the chunks in a generation.
    pub fn chunks(&self, log: &str, number: u32) -> Vec<u64> {
        let chunks = self.generation(log, number);
        let chunks = chunks.lock().unwrap();
        let mut numbers: Vec<u64> = chunks.durable.keys().copied().chain(chunks.live.iter().map(|(n, _)| *n)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Rot: changes the bytes of one chunk, or takes it away where nothing is left of them.
    pub fn rot(&self, log: &str, number: u32, chunk: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let chunks = self.generation(log, number);
        let mut chunks = chunks.lock().unwrap();
        let live = std::mem::take(&mut chunks.live);
        chunks.durable.extend(live);
        let mut bytes = chunks.durable.remove(&chunk).unwrap().to_vec();
        change(&mut bytes);
        if !bytes.is_empty() {
            chunks.durable.insert(chunk, bytes.into());
        }
    }

    /// Nothing of a generation can be read any more.
    pub fn break_generation(&self, log: &str, number: u32) {
        self.generation(log, number).lock().unwrap().broken = true;
    }

    /// A generation is gone without a trace.
    pub fn lose_generation(&self, log: &str, number: u32) {
        self.inner().generations.remove(&(log.to_owned(), number)).unwrap();
    }

    /// What a crash leaves in the middle of `create`.
    pub fn half_create(&self, log: &str, number: u32) {
        self.inner().generations.insert((log.to_owned(), number), Arc::default());
    }

    fn generation(&self, log: &str, number: u32) -> Arc<Mutex<Chunks>> {
        self.inner().generations[&(log.to_owned(), number)].clone()
    }

    fn opened(&self, log: &str, chunks: Arc<Mutex<Chunks>>) -> Arc<dyn Generation> {
        Arc::new(LossyGeneration { log: log.to_owned(), chunks, faults: self.faults.clone() })
    }
}

impl Store for LossyStore {
    fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn generations(&self, log: &str) -> Result<Vec<u32>, StoreError> {
        Ok(self.inner().generations.keys().filter(|(of, _)| of == log).map(|(_, number)| *number).collect())
    }

    fn create(&self, log: &str, number: u32, head: &[u8]) -> Result<Arc<dyn Generation>, StoreError> {
        draw_power(&self.faults)?;
        let made = Arc::new(Mutex::new(Chunks { head: Some(Bytes::copy_from_slice(head)), ..Chunks::default() }));
        let before = self.inner().generations.insert((log.to_owned(), number), made.clone());
        assert!(before.is_none(), "{log}/{number} is made twice");
        Ok(self.opened(log, made))
    }

    fn open(&self, log: &str, number: u32) -> Result<Arc<dyn Generation>, StoreError> {
        let found = self.generation(log, number);
        let broken = found.lock().unwrap().broken;
        if broken { Err(rotten()) } else { Ok(self.opened(log, found)) }
    }

    fn remove(&self, log: &str, number: u32) -> Result<(), StoreError> {
        draw_power(&self.faults)?;
        self.lose_generation(log, number);
        Ok(())
    }

    fn quarantine(&self, log: &str, number: u32) -> Result<(), StoreError> {
        self.lose_generation(log, number);
        self.inner().damaged.push((log.to_owned(), number));
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        draw_power(&self.faults)?;
        self.inner().files.insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner().files.get(name).cloned())
    }

    fn mark(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.put("mark", bytes)
    }

    fn used(&self, log: Option<&str>) -> Result<u64, StoreError> {
        let disk = self.inner();
        let of_log = disk.generations.iter().filter(|((of, _), _)| log.is_none_or(|log| log == of));
        let bytes = of_log.map(|(_, chunks)| {
            let chunks = chunks.lock().unwrap();
            chunks.durable.values().chain(chunks.live.iter().map(|(_, bytes)| bytes)).map(Bytes::len).sum::<usize>()
        });
        Ok(bytes.sum::<usize>() as u64 + self.faults.lock().unwrap().used_more)
    }

    fn disk(&self) -> Result<Room, StoreError> {
        Ok(self.faults.lock().unwrap().disk)
    }

    fn drop_ballast(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn take_ballast(&self) -> Result<(), StoreError> {
        self.faults.lock().unwrap().ballast = true;
        Ok(())
    }
}

struct LossyGeneration {
    log: String,
    chunks: Arc<Mutex<Chunks>>,
    faults: Arc<Mutex<Faults>>,
}

impl Generation for LossyGeneration {
    fn append(&self, chunks: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        draw_power(&self.faults)?;
        let chunks = chunks.iter().map(|(number, bytes)| (*number, Bytes::copy_from_slice(bytes)));
        self.chunks.lock().unwrap().live.extend(chunks);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        draw_power(&self.faults)?;
        let Faults { sync_lies, sync_fails, .. } = *self.faults.lock().unwrap();
        if sync_fails.is_some_and(|log| log == self.log) {
            let source = std::io::Error::other("no");
            return Err(StoreError::Io { what: "cannot sync", path: "lossy".into(), source });
        }
        let mut chunks = self.chunks.lock().unwrap();
        if !sync_lies {
            let live = std::mem::take(&mut chunks.live);
            chunks.durable.extend(live);
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.chunks.lock().unwrap().head.clone())
    }

    fn get(&self, number: u64) -> Result<Option<Bytes>, StoreError> {
        let chunks = self.chunks.lock().unwrap();
        let live = || chunks.live.iter().find(|(at, _)| *at == number).map(|(_, bytes)| bytes);
        Ok(chunks.durable.get(&number).or_else(live).cloned())
    }

    fn next(&self, number: u64) -> Result<Option<u64>, StoreError> {
        let chunks = self.chunks.lock().unwrap();
        let durable = chunks.durable.range(number..).next().map(|(at, _)| *at);
        let live = chunks.live.iter().map(|(at, _)| *at).filter(|at| *at >= number).min();
        Ok(durable.into_iter().chain(live).min())
    }
}

/// Counts an operation; none succeeds once the power has gone.
fn draw_power(faults: &Mutex<Faults>) -> Result<(), StoreError> {
    match &mut faults.lock().unwrap().power_lasts {
        Some(0) => {
            let source = std::io::Error::other("the power has gone");
            Err(StoreError::Io { what: "cannot write", path: "lossy".into(), source })
        }
        Some(left) => {
            *left -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

fn rotten() -> StoreError {
    StoreError::Damaged { path: "lossy".into(), why: "it is rotten".to_owned() }
}
