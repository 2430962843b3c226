//! What the log holds, byte by byte. These bytes know nothing of sled.
//!
//! One commit writes one **entry group**:
//!
//! ```text
//! group = version u8 (1) | flags u8 (1 = zstd) | epoch u64 | first u64 | count u32 | size u32 | body     big endian
//! body  = CBOR [stamp, [series], [name], [entry]]              size bytes before compression
//! stamp = [received µs, boot id, mono µs, synced]
//! series = [source, device, {tag: value}]
//! entry = [series, µs to add to received, or null where the payload has no time, age µs, name, value, name, value …]
//!       | ["started"] | ["tick"] | ["up", source] | ["down", source] | ["end"] | ["letter", letter]
//! ```
//!
//! Series and names are numbers into the group's own tables. `first` is the offset of the first entry, and the
//! others follow densely. An entry arrived `age` before its group was stamped.
//!
//! Invariants: what `encode` wrote, `decode` gives back; anything else is refused, never a panic.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::reading::{Micros, Reading, Series, Value};

const VERSION: u8 = 1;
const ZSTD: u8 = 1;
const HEADER: usize = 26;
/// Larger bodies are refused before anything is allocated for them.
const BODY_MAX: usize = 256 << 20;
/// Below this there is nothing to win.
const WORTH_COMPRESSING: usize = 160;

/// When a group was committed, by the writer's clocks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    pub received: i64,
    /// The boot that `mono` counts from.
    pub boot: Arc<str>,
    pub mono: i64,
    /// Whether the wall clock could be right.
    pub synced: bool,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Reading {
        reading: Reading,
        /// How long before the group's stamp it arrived, microseconds.
        age: u32,
    },
    /// The gateway started.
    Started,
    /// Time passed.
    Tick,
    Up(Arc<str>),
    Down(Arc<str>),
    /// Nothing more will come: what is open may close.
    End,
    Letter(Box<Letter>),
}

/// A dead letter: what could not become, or stay, a reading.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Letter {
    pub source: Arc<str>,
    /// Topic, port, or the lane of a record.
    pub origin: Arc<str>,
    pub reason: Arc<str>,
    pub detail: String,
    #[serde(with = "byte_string")]
    pub payload: bytes::Bytes,
    /// The whole length, and its SHA-256 in hex where `payload` is only the beginning.
    pub length: u64,
    pub sha256: Option<String>,
}

/// What one commit wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub epoch: u64,
    /// The offset of the first entry.
    pub first: u64,
    pub stamp: Stamp,
    pub entries: Vec<Entry>,
}

impl Group {
    /// The offset after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// When a reading arrived.
    #[must_use]
    pub fn received(&self, age: u32) -> Micros {
        Micros(self.stamp.received - i64::from(age))
    }
}

/// The fixed part of a group, readable without decompressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub epoch: u64,
    pub first: u64,
    pub count: u32,
    flags: u8,
    size: u32,
}

/// Bytes that no `encode` wrote.
#[derive(Debug, thiserror::Error)]
#[error("not an entry group: {0}")]
pub struct Malformed(String);

impl Header {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return malformed("shorter than its header") };
        if header[0] != VERSION {
            return malformed(format!("version {}, and this program knows {VERSION}", header[0]));
        }
        Ok(Self {
            flags: header[1],
            epoch: u64::from_be_bytes(header[2..10].try_into().expect("eight bytes")),
            first: u64::from_be_bytes(header[10..18].try_into().expect("eight bytes")),
            count: u32::from_be_bytes(header[18..22].try_into().expect("four bytes")),
            size: u32::from_be_bytes(header[22..26].try_into().expect("four bytes")),
        })
    }

    /// The offset after the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

/// Writes groups; keeps the compressor between them.
pub struct Encoder(zstd::bulk::Compressor<'static>);

impl Default for Encoder {
    fn default() -> Self {
        // Level 1: the disk is spared by it, and the link never sees these bytes.
        Self(zstd::bulk::Compressor::new(1).expect("level 1 exists"))
    }
}

impl Encoder {
    #[must_use]
    pub fn encode(&mut self, group: &Group) -> Vec<u8> {
        let tables = Tables::of(&group.entries);
        let body = serde_cbor::to_vec(&Body { group, tables: &tables }).expect("memory takes any group");
        let packed = if body.len() < WORTH_COMPRESSING { None } else { self.0.compress(&body).ok() };
        let packed = packed.filter(|packed| packed.len() < body.len());
        let mut bytes = Vec::with_capacity(HEADER + packed.as_ref().unwrap_or(&body).len());
        bytes.extend([VERSION, if packed.is_some() { ZSTD } else { 0 }]);
        bytes.extend(group.epoch.to_be_bytes());
        bytes.extend(group.first.to_be_bytes());
        bytes.extend((group.entries.len() as u32).to_be_bytes());
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(packed.unwrap_or(body));
        bytes
    }
}

/// Reads groups; keeps the decompressor between them.
pub struct Decoder(zstd::bulk::Decompressor<'static>);

impl Default for Decoder {
    fn default() -> Self {
        Self(zstd::bulk::Decompressor::new().expect("memory for a decompressor"))
    }
}

impl Decoder {
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Group, Malformed> {
        let header = Header::read(bytes)?;
        let size = header.size as usize;
        if size > BODY_MAX {
            return malformed(format!("a body of {size} bytes"));
        }
        let packed = &bytes[HEADER..];
        let unpacked;
        let body = if header.flags & ZSTD == 0 {
            packed
        } else {
            unpacked = self.0.decompress(packed, size).map_err(|error| Malformed(error.to_string()))?;
            &unpacked
        };
        if body.len() != size {
            return malformed("its size is another than it says");
        }
        let read: ReadBody = serde_cbor::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
        let group = read.resolve(header)?;
        if group.entries.len() != header.count as usize {
            return malformed("its count is another than it says");
        }
        Ok(group)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
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
        (&self.0.source, &self.0.device, &self.0.tags).serialize(serializer)
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
                    row.serialize_element(&WrittenValue(value))?;
                }
                row.end()
            }
            Entry::Started => ["started"].serialize(serializer),
            Entry::Tick => ["tick"].serialize(serializer),
            Entry::Up(source) => ["up", source].serialize(serializer),
            Entry::Down(source) => ["down", source].serialize(serializer),
            Entry::End => ["end"].serialize(serializer),
            Entry::Letter(letter) => ("letter", letter).serialize(serializer),
        }
    }
}

struct WrittenValue<'a>(&'a Value);

impl Serialize for WrittenValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::F64(x) => serializer.serialize_f64(*x),
            Value::I64(n) => serializer.serialize_i64(*n),
            Value::U64(n) => serializer.serialize_u64(*n),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}

type ReadSeries = (Arc<str>, Arc<str>, Vec<(Arc<str>, Arc<str>)>);

#[derive(serde::Deserialize)]
struct ReadBody((i64, Arc<str>, i64, bool), Vec<ReadSeries>, Vec<Arc<str>>, Vec<ReadEntry>);

impl ReadBody {
    fn resolve(self, header: Header) -> Result<Group, Malformed> {
        let Self((received, boot, mono, synced), series, names, entries) = self;
        let series: Vec<_> = series
            .into_iter()
            .map(|(source, device, tags)| Arc::new(Series { source, device, tags, window: None }))
            .collect();
        let entries = entries
            .into_iter()
            .map(|entry| entry.resolve(received, &series, &names))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Malformed("a number that its tables do not have".to_owned()))?;
        let stamp = Stamp { received, boot, mono, synced };
        Ok(Group { epoch: header.epoch, first: header.first, stamp, entries })
    }
}

enum ReadEntry {
    Reading { series: u32, time: Option<i64>, age: u32, fields: Vec<(u32, ReadValue)> },
    Other(Entry),
}

impl ReadEntry {
    fn resolve(self, received: i64, series: &[Arc<Series>], names: &[Arc<str>]) -> Option<Entry> {
        match self {
            Self::Other(entry) => Some(entry),
            Self::Reading { series: number, time, age, fields } => {
                let series = series.get(number as usize)?.clone();
                let time = time.map(|ahead| Micros(received.wrapping_add(ahead)));
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| Some((names.get(name as usize)?.clone(), value.0)))
                    .collect::<Option<_>>()?;
                Some(Entry::Reading { reading: Reading { time, series, fields }, age })
            }
        }
    }
}

impl<'de> Deserialize<'de> for ReadEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Row;
        impl<'de> Visitor<'de> for Row {
            type Value = ReadEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<ReadEntry, A::Error> {
                let series = match need(&mut row)? {
                    First::Series(number) => number,
                    First::Kind(kind) => return other(kind, &mut row).map(ReadEntry::Other),
                };
                let (time, age) = (need(&mut row)?, need(&mut row)?);
                let mut fields = Vec::with_capacity(row.size_hint().unwrap_or(0).min(1024) / 2);
                while let Some(name) = row.next_element()? {
                    fields.push((name, need(&mut row)?));
                }
                Ok(ReadEntry::Reading { series, time, age, fields })
            }
        }
        deserializer.deserialize_seq(Row)
    }
}

/// How an entry begins: a reading with the number of its series, anything else with its kind.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum First<'a> {
    Series(u32),
    Kind(&'a str),
}

fn other<'de, A: SeqAccess<'de>>(kind: &str, row: &mut A) -> Result<Entry, A::Error> {
    match kind {
        "started" => Ok(Entry::Started),
        "tick" => Ok(Entry::Tick),
        "up" => need(row).map(Entry::Up),
        "down" => need(row).map(Entry::Down),
        "end" => Ok(Entry::End),
        "letter" => need(row).map(Entry::Letter),
        _ => Err(de::Error::custom(format_args!("an entry of kind {kind:?}"))),
    }
}

fn need<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(row: &mut A) -> Result<T, A::Error> {
    row.next_element()?.ok_or_else(|| de::Error::custom("an entry that is too short"))
}

struct ReadValue(Value);

impl<'de> Deserialize<'de> for ReadValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = ReadValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_f64<E>(self, x: f64) -> Result<ReadValue, E> {
                Ok(ReadValue(Value::F64(x)))
            }
            fn visit_i64<E>(self, n: i64) -> Result<ReadValue, E> {
                Ok(ReadValue(Value::I64(n)))
            }
            fn visit_u64<E>(self, n: u64) -> Result<ReadValue, E> {
                Ok(ReadValue(Value::from(n)))
            }
            fn visit_bool<E>(self, b: bool) -> Result<ReadValue, E> {
                Ok(ReadValue(Value::Bool(b)))
            }
            fn visit_str<E>(self, text: &str) -> Result<ReadValue, E> {
                Ok(ReadValue(Value::Text(text.into())))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// CBOR has byte strings; serde's own `Vec<u8>` would be an array of numbers.
mod byte_string {
    use super::{Deserializer, Serializer, Visitor, fmt};
    use bytes::Bytes;

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
        deserializer.deserialize_bytes(Take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { received: 1_790_000_000_000_000, boot: "b".into(), mono: 7, synced: true }
    }

    fn reading(device: &str, fields: &[(&str, Value)]) -> Reading {
        let series = Series {
            source: "plant".into(),
            device: device.into(),
            tags: vec![("line".into(), "2".into())],
            window: None,
        };
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        Reading { time: Some(Micros(1_790_000_000_000_001)), series: Arc::new(series), fields }
    }

    fn every_kind() -> Group {
        let values = [
            ("f", Value::F64(-0.0)),
            ("nan", Value::F64(f64::MAX)),
            ("whole", Value::F64(3.0)),
            ("i", Value::I64(i64::MIN)),
            ("u", Value::U64(u64::MAX)),
            ("b", Value::Bool(true)),
            ("t", Value::Text("ja, jö".into())),
        ];
        let mut untimed = reading("b", &values[..1]);
        untimed.time = None;
        let letter = Letter {
            source: "plant".into(),
            origin: "a/b".into(),
            reason: "malformed".into(),
            detail: "expected a value".to_owned(),
            payload: vec![0, 255, 1].into(),
            length: 3,
            sha256: None,
        };
        let entries = vec![
            Entry::Started,
            Entry::Up("plant".into()),
            Entry::Reading { reading: reading("a", &values), age: 12 },
            Entry::Reading { reading: untimed, age: 0 },
            Entry::Tick,
            Entry::Letter(Box::new(letter)),
            Entry::Down("plant".into()),
            Entry::End,
        ];
        Group { epoch: 5, first: 100, stamp: stamp(), entries }
    }

    #[test]
    fn a_group_comes_back_as_it_was_written() {
        let group = every_kind();
        let bytes = Encoder::default().encode(&group);
        let header = Header::read(&bytes).unwrap();
        assert_eq!((header.epoch, header.first, header.end()), (5, 100, 108));
        assert_eq!(Decoder::default().decode(&bytes).unwrap(), group);
    }

    #[test]
    fn times_at_both_ends_of_the_calendar_come_back() {
        for time in [i64::MIN, i64::MAX, 0] {
            let mut far = reading("a", &[("x", Value::I64(1))]);
            far.time = Some(Micros(time));
            let entries = vec![Entry::Reading { reading: far, age: 0 }];
            let group = Group { epoch: 1, first: 0, stamp: stamp(), entries };
            let bytes = Encoder::default().encode(&group);
            assert_eq!(Decoder::default().decode(&bytes).unwrap(), group);
        }
    }

    #[test]
    fn bytes_that_were_changed_are_refused_or_read_and_never_panic() {
        let good = Encoder::default().encode(&every_kind());
        let mut decoder = Decoder::default();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let _ = decoder.decode(&bad);
            assert!(decoder.decode(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn many_alike_readings_take_few_bytes() {
        let entries: Vec<_> = (0..1000)
            .map(|n| {
                let fields = [("temp", Value::F64(20.0 + f64::from(n % 7) / 10.0)), ("n", Value::I64(n.into()))];
                Entry::Reading { reading: reading(&format!("d{}", n % 20), &fields), age: 0 }
            })
            .collect();
        let bytes = Encoder::default().encode(&Group { epoch: 1, first: 0, stamp: stamp(), entries });
        assert!(bytes.len() < 12_000, "{} bytes", bytes.len());
    }
}
