//! The queue on its own: a model in lockstep, damage, the writer, and what really reaches the disk, or does not.

mod damage;
mod disk;
mod full;
mod golden;
mod model;
mod retention;
mod rot;
mod syscalls;
mod traced;
mod verify;
mod writer;

use std::sync::Arc;

use tidegate::clock::{Mono, Now};
use tidegate::queue::entry::Stamp;
use tidegate::queue::{Entry, Letter, Log, Reader, Step};
use tidegate::reading::{Micros, Reading, Series, Value};

pub fn at_second(second: i64) -> Now {
    Now { wall: Micros(second * Micros::PER_SECOND), mono: Mono(0) }
}

pub fn stamp() -> Stamp {
    Stamp { received: 1_800_000_000_000_000, boot: "boot".into(), mono: 1, synced: true }
}

/// A reading that carries this text.
pub fn reading(text: &str) -> Reading {
    let series = Series { source: "plant".into(), device: "d".into(), ..Series::default() };
    Reading { time: None, series: Arc::new(series), fields: vec![("text".into(), Value::Text(text.into()))] }
}

pub fn entry(text: &str) -> Entry {
    Entry::Reading { reading: reading(text), age: 0 }
}

pub fn text(entry: &Entry) -> &str {
    let Entry::Reading { reading, .. } = entry else { panic!("{entry:?}") };
    let [(_, Value::Text(text))] = &reading.fields[..] else { panic!("one text") };
    text
}

pub fn letter(detail: &str) -> Entry {
    Entry::Letter(Box::new(Letter {
        source: "plant".into(),
        origin: "a/b".into(),
        reason: "malformed".into(),
        detail: detail.to_owned(),
        payload: bytes::Bytes::from_static(b"{"),
        length: 1,
        sha256: None,
    }))
}

/// A number that the environment may give.
pub fn setting(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

/// What a test draws from: `tests/soak` goes on with other seeds.
pub const SEED: &str = "TIDEGATE_TEST_SEED";

/// Text that does not compress, the same for the same number.
pub fn noise(number: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    (0..length).map(|_| random.alphanumeric()).collect()
}

/// What a log says of an offset: an entry under an epoch, or lost.
pub type Told = (u64, Option<(u64, String)>);

/// What a log says of its offsets from `from` on.
pub fn told(log: &Log, from: u64) -> Vec<Told> {
    let mut reader = Reader::new(log, from);
    let mut told = Vec::new();
    loop {
        let next = reader.offset();
        match reader.step().unwrap() {
            Step::End => return told,
            Step::Lost { from, to } => told.extend((from..to).map(|offset| (offset, None))),
            Step::Group(group) => {
                let entries = (group.first..).zip(&group.entries).filter(|(offset, _)| *offset >= next);
                told.extend(entries.map(|(offset, entry)| (offset, Some((group.epoch, text(entry).to_owned())))));
            }
        }
    }
}
