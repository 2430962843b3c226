//! A log in lockstep with a plain map, with *reopen*, power cuts and rot as ordinary steps.
//!
//! Whatever happens, in whatever order:
//! - what was synced is there, under its own epoch and offset, until it is released or rots;
//! - what rots is reported, each offset of it, and nothing else is;
//! - readers see nothing that was not synced, and what they saw once stays;
//! - offsets rise, and `(epoch, offset)` is never given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tidegate::queue::{Appenders, Queue, Reader, SledStore, Step, Store};

use super::{at_second, entry, noise, stamp, text, told};
use crate::support::TempDir;
use crate::support::lossy::{LossyStore, Survives};

const LOG: &str = "readings";

enum World {
    Lossy(Arc<LossyStore>),
    Sled(TempDir),
}

impl World {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Lossy(store) => store.clone(),
            Self::Sled(dir) => Arc::new(SledStore::open(&dir.path).unwrap()),
        }
    }
}

/// A group as it was appended.
#[derive(Debug)]
struct Placed {
    offsets: Range<u64>,
    chunks: Range<u64>,
}

/// What must be so.
#[derive(Default)]
struct Truth {
    /// Every (epoch, offset) that was ever given.
    given: BTreeSet<(u64, u64)>,
    /// What is in the log, synced or not: epoch and text by offset.
    there: BTreeMap<u64, (u64, String)>,
    groups: Vec<Placed>,
    lost: BTreeSet<u64>,
    epoch: u64,
    /// Nothing before this offset is kept any more.
    kept_from: u64,
    synced: u64,
    next: u64,
}

struct Running {
    queue: Queue,
    appenders: Appenders,
    reader: Reader,
}

struct Life {
    world: World,
    random: Rng,
    truth: Truth,
    running: Option<Running>,
    generation_bytes: u64,
    /// The last steps, to be read when one goes wrong.
    steps: Vec<String>,
}

/// Lives through so many steps.
fn live(world: World, seed: u64, steps: usize) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let generation_bytes = random.u64(1_000..60_000);
    let mut life = Life { world, random, truth: Truth::default(), running: None, generation_bytes, steps: Vec::new() };
    let lived = (|| {
        life.open()?;
        for _ in 0..steps {
            life.step()?;
        }
        life.reopen("reopen", |_, _| ())?;
        life.check_all()
    })();
    let last = life.steps.split_off(life.steps.len().saturating_sub(12)).join(", ");
    lived.with_context(|| format!("seed {seed}, after: {last}"))
}

impl Life {
    fn step(&mut self) -> Result<()> {
        match self.random.u32(..100) {
            0..44 => self.append(),
            44..64 => self.sync(),
            64..68 => self.rotate(),
            68..82 => self.read(),
            82..86 => self.release(),
            86..90 => self.check_all(),
            90..93 => self.reopen("reopen", |_, _| ()),
            93..97 => self.power_cut(),
            _ => self.rot(),
        }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it runs")
    }

    fn append(&mut self) -> Result<()> {
        let most = if self.random.u32(..8) == 0 { 60 } else { 6 };
        let count = self.random.usize(1..=most);
        let length = match self.random.u32(..40) {
            0 => 300_000 / count,
            1..5 => 20_000 / count,
            _ => 80,
        };
        let texts: Vec<_> = (0..count).map(|_| noise(self.random.u64(..), self.random.usize(..=length))).collect();
        self.steps.push(format!("append {count} of {length}"));
        let Running { appenders, .. } = self.running.as_mut().expect("it runs");
        let before = appenders.readings.next();
        let entries = texts.iter().map(|text| entry(text)).collect();
        let done = appenders.readings.append(self.truth.epoch, stamp(), entries)?;
        let after = appenders.readings.next();
        ensure!(done.first == self.truth.next, "offset {} is given, not {}", done.first, self.truth.next);
        ensure!(after.offset == done.first + count as u64, "offsets are not dense");
        for (offset, text) in (done.first..).zip(texts) {
            ensure!(self.truth.given.insert((self.truth.epoch, offset)), "offset {offset} is given twice");
            self.truth.there.insert(offset, (self.truth.epoch, text));
        }
        let placed = Placed { offsets: before.offset..after.offset, chunks: before.chunk..after.chunk };
        self.truth.groups.push(placed);
        self.truth.next = after.offset;
        // An append may have begun a generation, and then synced the one before.
        self.truth.synced = self.truth.synced.max(self.running().queue.readings.durable().offset);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.steps.push("sync".to_owned());
        // The mark may be behind, as after a crash between the two, and is a lower bound all the same.
        let is_marked = self.random.u32(..4) == 0;
        self.sync_with_mark(is_marked)
    }

    fn sync_with_mark(&mut self, is_marked: bool) -> Result<()> {
        let Running { queue, appenders, .. } = self.running();
        queue.mark.readings = appenders.readings.sync()?;
        if is_marked {
            queue.mark.store(&*queue.store)?;
        }
        self.truth.synced = self.truth.next;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        self.steps.push("rotate".to_owned());
        self.running().appenders.readings.rotate()?;
        self.truth.synced = self.truth.next;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let most = self.random.usize(1..8);
        self.steps.push(format!("read {most}"));
        for _ in 0..most {
            let Running { reader, .. } = self.running.as_mut().expect("it runs");
            let from = reader.offset();
            let step = reader.step()?;
            let to = reader.offset();
            ensure!(to <= self.truth.synced, "a reader came to {to}, and {} is synced", self.truth.synced);
            match step {
                Step::End => {
                    ensure!(from == self.truth.synced, "the end at {from}, and {} is synced", self.truth.synced);
                    break;
                }
                Step::Lost { from: lost, to: until } => {
                    ensure!((lost, until) == (from, to), "lost {lost}..{until} between {from} and {to}");
                    let kept = (from..to).find(|offset| !self.truth.lost.contains(offset));
                    ensure!(kept.is_none(), "{kept:?} is reported lost");
                }
                Step::Group(group) => {
                    ensure!(group.first <= from && group.end() == to && from < to, "a group out of its place");
                    for (offset, entry) in (group.first..).zip(&group.entries).filter(|(offset, _)| *offset >= from) {
                        let there = self.truth.there.get(&offset);
                        let right = there.is_some_and(|(epoch, said)| *epoch == group.epoch && said == text(entry));
                        ensure!(right, "offset {offset} is read as another entry");
                    }
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let read = self.running().reader.offset();
        let before = self.random.u64(self.truth.kept_from..=read);
        self.steps.push(format!("release {before}"));
        let log = self.running().queue.readings.clone();
        log.release(before)?;
        self.truth.kept_from = self.truth.kept_from.max(log.oldest()?.offset.min(before));
        Ok(())
    }

    /// Reads everything that is kept, from its beginning.
    fn check_all(&mut self) -> Result<()> {
        self.steps.push("check".to_owned());
        let truth = &self.truth;
        let told = told(&self.running.as_ref().expect("it runs").queue.readings, truth.kept_from);
        ensure!(told.len() as u64 == truth.synced - truth.kept_from, "{} offsets are told", told.len());
        for (expected, (offset, said)) in (truth.kept_from..).zip(told) {
            ensure!(offset == expected, "offset {offset} where {expected} belongs");
            match said {
                Some(said) => ensure!(truth.there.get(&offset) == Some(&said), "offset {offset} is another entry"),
                None => ensure!(truth.lost.contains(&offset), "offset {offset} is lost"),
            }
        }
        Ok(())
    }

    /// The power goes: what was not synced may be gone.
    fn power_cut(&mut self) -> Result<()> {
        let survives = [Survives::Nothing, Survives::Prefix, Survives::Some][self.random.usize(..3)];
        self.reopen(&format!("cut, survives: {survives:?}"), |world, random| {
            if let World::Lossy(store) = world {
                store.cut(survives, random);
            }
        })
    }

    /// Something on the disk rots while the process is dead.
    fn rot(&mut self) -> Result<()> {
        let World::Lossy(store) = &self.world else { return Ok(()) };
        let store = store.clone();
        self.sync_with_mark(true)?;
        let numbers = store.generations(LOG)?;
        let number = numbers[self.random.usize(..numbers.len())];
        let chunks = store.chunks(LOG, number);
        let (gone, how): (Vec<u64>, _) = match self.random.u32(..4) {
            0 => {
                store.break_generation(LOG, number);
                (chunks, "broken")
            }
            1 => {
                store.lose_generation(LOG, number);
                (chunks, "lost")
            }
            2 => {
                let tail = chunks[self.random.usize(..=chunks.len())..].to_vec();
                for chunk in &tail {
                    store.rot(LOG, number, *chunk, Vec::clear);
                }
                (tail, "its tail lost")
            }
            _ => {
                let some: Vec<_> = chunks.into_iter().filter(|_| self.random.u32(..3) == 0).collect();
                for chunk in &some {
                    let (at, bit) = (self.random.usize(..8), self.random.u32(..8));
                    store.rot(LOG, number, *chunk, |bytes| bytes[at] ^= 1 << bit);
                }
                (some, "flipped")
            }
        };
        for group in &self.truth.groups {
            if gone.iter().any(|chunk| group.chunks.contains(chunk)) {
                self.truth.lost.extend(group.offsets.clone());
            }
        }
        self.reopen(&format!("rot in generation {number}: {how}"), |_, _| ())
    }

    /// Ends the process, politely or not: it is the same. Then `meanwhile`, and the next start.
    fn reopen(&mut self, why: &str, meanwhile: impl FnOnce(&World, &mut Rng)) -> Result<()> {
        self.steps.push(why.to_owned());
        let Running { queue, appenders, reader } = self.running.take().expect("it runs");
        let read_to = reader.offset();
        drop((reader, appenders, queue));
        meanwhile(&self.world, &mut self.random);
        self.open()?;
        let log = self.running().queue.readings.clone();
        self.running().reader = Reader::new(&log, read_to);

        let (truth, durable) = (&mut self.truth, log.durable().offset);
        ensure!(
            (truth.synced..=truth.next).contains(&durable),
            "it ends at {durable}, and {} was synced",
            truth.synced
        );
        ensure!(why.starts_with("cut") || durable == truth.next, "{durable} of {} came through", truth.next);
        // Whatever else came through a cut is there now, and has to stay.
        for (offset, said) in told(&log, truth.synced) {
            if said.is_none() {
                truth.lost.insert(offset);
            }
        }
        truth.there.retain(|offset, _| *offset < durable);
        truth.groups.retain(|group| group.offsets.end <= durable);
        (truth.synced, truth.next) = (durable, durable);
        self.check_all()
    }

    fn open(&mut self) -> Result<()> {
        // The wall clock is wrong as often as not.
        let now = at_second(self.random.i64(0..2_000_000_000));
        let (queue, appenders) = Queue::open(self.world.store(), now, self.generation_bytes)?;
        ensure!(queue.identity.epoch > self.truth.epoch, "epoch {} again", queue.identity.epoch);
        self.truth.epoch = queue.identity.epoch;
        ensure!(appenders.readings.next() == queue.readings.durable(), "what is there at the start is durable");
        let reader = Reader::new(&queue.readings, 0);
        self.running = Some(Running { queue, appenders, reader });
        Ok(())
    }
}

fn lossy(lies: bool) -> World {
    let store = LossyStore::default();
    store.faults.lock().unwrap().sync_lies = lies;
    World::Lossy(Arc::new(store))
}

#[test]
fn a_log_keeps_what_was_synced_and_names_what_it_lost() {
    for seed in 0..400 {
        live(lossy(false), seed, 60).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn with_the_fsync_taken_out_the_model_fails() {
    let found = (0..20).filter(|seed| live(lossy(true), *seed, 60).is_err()).count();
    assert!(found >= 10, "only {found} of 20 lives noticed");
}

#[test]
fn a_log_on_sled_keeps_what_was_synced() {
    for seed in 0..12 {
        live(World::Sled(TempDir::new("queue-model")), seed, 60).unwrap_or_else(|error| panic!("{error:#}"));
    }
}
