//! The CBOR of a body back to its group. Nothing in it is believed before it is looked up.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::{ByteString, Entry, Group, Header, Malformed, Stamp};
use crate::reading::{Micros, Reading, Series, Value};

#[derive(serde::Deserialize)]
struct ReadSeries(Arc<str>, Arc<str>, Vec<(Arc<str>, Arc<str>)>, #[serde(default)] Option<Arc<str>>);

#[derive(serde::Deserialize)]
struct ReadBody((i64, Arc<str>, i64, bool), Vec<ReadSeries>, Vec<Arc<str>>, Vec<ReadEntry>);

/// The group of this header whose body this is.
pub(super) fn group(body: &[u8], header: Header) -> Result<Group, Malformed> {
    let read: ReadBody = serde_cbor::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
    read.resolve(header)
}

impl ReadBody {
    fn resolve(self, header: Header) -> Result<Group, Malformed> {
        let Self((received, boot, mono, synced), series, names, entries) = self;
        let series: Vec<_> = series
            .into_iter()
            .map(|ReadSeries(source, device, tags, window)| Arc::new(Series { source, device, tags, window }))
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
        "state" => need(row).map(|ByteString(piece)| Entry::State(piece)),
        "checkpoint" => need(row).map(Entry::Checkpoint),
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
