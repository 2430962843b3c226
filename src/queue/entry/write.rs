//! A group to the CBOR of its body: series and names once, in tables, and entries that refer to them.

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::{ByteString, Entry, Group};
use crate::reading::{Plain, Series};

/// The body of a group, before compression.
pub(super) fn body(group: &Group) -> Vec<u8> {
    let tables = Tables::of(&group.entries);
    serde_cbor::to_vec(&Body { group, tables: &tables }).expect("memory takes any group")
}

/// The series and names of a group, each once.
struct Tables<'a> {
    series: Vec<&'a Series>,
    series_numbers: HashMap<&'a Series, u32>,
    names: Vec<&'a str>,
    name_numbers: HashMap<&'a str, u32>,
}

impl<'a> Tables<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut tables = Self {
            series: Vec::new(),
            series_numbers: HashMap::new(),
            names: Vec::new(),
            name_numbers: HashMap::new(),
        };
        for entry in entries {
            let Entry::Reading { reading, .. } = entry else { continue };
            tables.series_numbers.entry(&*reading.series).or_insert_with(|| {
                tables.series.push(&reading.series);
                tables.series.len() as u32 - 1
            });
            for (name, _) in &reading.fields {
                tables.name_numbers.entry(name).or_insert_with(|| {
                    tables.names.push(name);
                    tables.names.len() as u32 - 1
                });
            }
        }
        tables
    }
}

struct Body<'a> {
    group: &'a Group,
    tables: &'a Tables<'a>,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stamp = &self.group.stamp;
        let series: Vec<_> = self.tables.series.iter().map(|series| WrittenSeries(series)).collect();
        let entries: Vec<_> = self
            .group
            .entries
            .iter()
            .map(|entry| WrittenEntry { entry, tables: self.tables, received: stamp.received })
            .collect();
        let stamp = (stamp.received, &stamp.boot, stamp.mono, stamp.synced);
        (stamp, series, &self.tables.names, entries).serialize(serializer)
    }
}

struct WrittenSeries<'a>(&'a Series);

impl Serialize for WrittenSeries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Series { source, device, tags, window } = self.0;
        match window {
            None => (source, device, tags).serialize(serializer),
            Some(window) => (source, device, tags, window).serialize(serializer),
        }
    }
}

struct WrittenEntry<'a> {
    entry: &'a Entry,
    tables: &'a Tables<'a>,
    received: i64,
}

impl Serialize for WrittenEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.entry {
            Entry::Reading { reading, age } => {
                let mut row = serializer.serialize_seq(Some(3 + 2 * reading.fields.len()))?;
                row.serialize_element(&self.tables.series_numbers[&*reading.series])?;
                // A time too far away to be told as a distance wraps, and wraps back when it is read.
                row.serialize_element(&reading.time.map(|time| time.0.wrapping_sub(self.received)))?;
                row.serialize_element(age)?;
                for (name, value) in &reading.fields {
                    row.serialize_element(&self.tables.name_numbers[&**name])?;
                    row.serialize_element(&Plain(value))?;
                }
                row.end()
            }
            Entry::Started => ["started"].serialize(serializer),
            Entry::Tick => ["tick"].serialize(serializer),
            Entry::Up(source) => ["up", source].serialize(serializer),
            Entry::Down(source) => ["down", source].serialize(serializer),
            Entry::End => ["end"].serialize(serializer),
            Entry::Letter(letter) => ("letter", letter).serialize(serializer),
            Entry::State(piece) => ("state", ByteString(piece.clone())).serialize(serializer),
            Entry::Checkpoint(checkpoint) => ("checkpoint", checkpoint).serialize(serializer),
        }
    }
}
