//! A disk with a cache that forgets: what was written since the last flush is kept apart, in the order it came.
//!
//! Invariant: a flush makes durable all that was written before, and nothing else does, but for luck.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::luck::{Luck, UNIT};
use crate::power::Medium;

const PAGE: usize = UNIT as usize;

/// By number; what is not there is zeros. Shared by all who hold the same.
type Pages = HashMap<u64, Arc<Vec<u8>>>;

#[derive(Clone)]
pub struct Platter {
    size: u64,
    durable: Pages,
    /// What is read.
    current: Pages,
    /// What was written since the last flush, where and what.
    fresh: Vec<(u64, Vec<u8>)>,
    written: u64,
    /// All that happened, where it is recorded.
    recorded: Option<Vec<Event>>,
}

/// What happened to a disk, in its order.
#[derive(Clone)]
pub enum Event {
    Write(u64, Vec<u8>),
    Flush,
    /// Put there by whoever records.
    Mark,
}

impl Platter {
    /// Takes the contents of a file.
    pub fn load(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut durable = Pages::new();
        let mut page = vec![0; PAGE];
        for number in 0..size / UNIT {
            file.read_exact_at(&mut page, number * UNIT)?;
            if page.iter().any(|byte| *byte != 0) {
                durable.insert(number, Arc::new(page.clone()));
            }
        }
        Ok(Self { size, current: durable.clone(), durable, fresh: Vec::new(), written: 0, recorded: None })
    }

    /// The same, which records what happens to it from here on.
    pub fn recording(self) -> Self {
        Self { recorded: Some(Vec::new()), ..self }
    }

    pub fn into_recorded(self) -> Vec<Event> {
        self.recorded.unwrap_or_default()
    }

    pub fn mark(&mut self) {
        self.record(|| Event::Mark);
    }

    fn record(&mut self, event: impl FnOnce() -> Event) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(event());
        }
    }

    /// Writes what is durable to a file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size)?;
        self.durable.iter().try_for_each(|(number, page)| file.write_all_at(page, number * UNIT))
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = (offset + len as u64).min(self.size);
        let mut bytes = Vec::with_capacity(len);
        let mut from = offset;
        while from < end {
            let (at, next) = ((from % UNIT) as usize, ((from / UNIT + 1) * UNIT).min(end));
            let len = (next - from) as usize;
            match self.current.get(&(from / UNIT)) {
                Some(page) => bytes.extend_from_slice(&page[at..at + len]),
                None => bytes.resize(bytes.len() + len, 0),
            }
            from = next;
        }
        bytes
    }

    /// Says how much of it there was room for.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> usize {
        let room = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        put(&mut self.current, offset, bytes);
        self.fresh.push((offset, bytes.to_vec()));
        self.record(|| Event::Write(offset, bytes.to_vec()));
        self.written += bytes.len() as u64;
        bytes.len()
    }

    pub fn flush(&mut self) {
        self.record(|| Event::Flush);
        for (offset, bytes) in self.fresh.drain(..) {
            put(&mut self.durable, offset, &bytes);
        }
    }
}

impl Medium for Platter {
    fn in_balance(&self) -> usize {
        self.fresh.len()
    }

    fn survive(mut self, luck: &mut Luck) -> Self {
        for (offset, bytes) in std::mem::take(&mut self.fresh) {
            for part in kept(luck, offset, bytes.len()) {
                put(&mut self.durable, offset + part.start as u64, &bytes[part]);
            }
        }
        self.current = self.durable.clone();
        self
    }

    fn written(&self) -> u64 {
        self.written
    }
}

/// The parts of a write that are kept. The first unit is never torn: ext4 writes its superblock over itself, checksum and
/// all, and where that is torn it cannot be mounted, whoever stands on it.
fn kept(luck: &mut Luck, offset: u64, len: usize) -> Vec<Range<usize>> {
    let first = (UNIT.saturating_sub(offset) as usize).min(len);
    let whole = (first > 0 && luck.keeps()).then_some(0..first);
    let rest = luck.parts(offset + first as u64, len - first).into_iter();
    whole.into_iter().chain(rest.map(|part| part.start + first..part.end + first)).collect()
}

fn put(pages: &mut Pages, offset: u64, mut bytes: &[u8]) {
    let mut from = offset;
    while !bytes.is_empty() {
        let at = (from % UNIT) as usize;
        let (here, rest) = bytes.split_at(bytes.len().min(PAGE - at));
        let page = pages.entry(from / UNIT).or_insert_with(|| Arc::new(vec![0; PAGE]));
        Arc::make_mut(page)[at..at + here.len()].copy_from_slice(here);
        from += here.len() as u64;
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platter() -> Platter {
        let (durable, current) = (Pages::new(), Pages::new());
        Platter { size: 1 << 20, durable, current, fresh: Vec::new(), written: 0, recorded: None }
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_not_is_a_matter_of_luck() {
        let mut platter = platter();
        platter.write(5_000, &[1; 10_000]);
        platter.flush();
        platter.write(0, &[2; 16_384]);
        assert_eq!((platter.read(0, 16_384), platter.in_balance()), (vec![2; 16_384], 1));
        let without = platter.clone().survive(&mut Luck::new(fastrand::Rng::with_seed(1), 0.0));
        let expected = [vec![0; 5_000], vec![1; 10_000], vec![0; 1_384]].concat();
        assert_eq!((without.read(0, 16_384), without.in_balance()), (expected, 0));
        let mut some = 0;
        for seed in 0..50 {
            let survivor = platter.clone().survive(&mut Luck::new(fastrand::Rng::with_seed(seed), 0.5));
            let bytes = survivor.read(0, 16_384);
            let is_new = |sector: &[u8]| sector.contains(&2);
            let whole = |sector: &[u8]| !is_new(sector) || sector.iter().all(|byte| *byte == 2);
            assert!(bytes.chunks(512).all(whole), "torn inside a sector");
            assert!(bytes[..4_096].iter().all(|byte| *byte == bytes[0]), "the first unit is torn");
            some += usize::from(bytes.chunks(512).any(is_new) && !bytes.chunks(512).all(is_new));
        }
        assert!(some > 40, "{some}");
    }

    #[test]
    fn it_has_an_end() {
        let mut platter = platter();
        assert_eq!(platter.write((1 << 20) - 100, &[7; 300]), 100);
        assert_eq!(platter.read((1 << 20) - 200, 300), [vec![0; 100], vec![7; 100]].concat());
    }
}
