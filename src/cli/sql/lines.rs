//! Lines to readings: payloads, or records that bring their own time and device.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Args;
use crate::config::{Format, Payload};
use crate::decode::Decoder;
use crate::reading::{Micros, Reading, Series};

/// Lines to readings.
pub struct Lines {
    pub name: String,
    topic: String,
    payloads: Decoder,
    /// Of the fields of a record, whose time and device stand beside them.
    fields: Decoder,
    time: Option<String>,
}

/// A record as it stands in Kinesis, in the nested layout.
#[derive(Deserialize)]
struct Record<'a> {
    stream: String,
    #[serde(rename = "epoch")]
    _epoch: u64,
    #[serde(rename = "offset")]
    _offset: u64,
    time: String,
    source: Arc<str>,
    device: Arc<str>,
    #[serde(default)]
    tags: std::collections::BTreeMap<Arc<str>, Arc<str>>,
    #[serde(borrow)]
    fields: &'a RawValue,
}

impl Lines {
    pub fn new(args: &Args, name: String) -> anyhow::Result<Self> {
        let decoder = |time: Option<&String>, device: Option<&String>| {
            let payload = Payload {
                format: Format::Json,
                device_field: device.cloned(),
                time: time.cloned(),
                ..Payload::default()
            };
            Decoder::new("file".into(), "#", None, &payload)
        };
        Ok(Self {
            // What stands for the topic, and so for the device.
            topic: args.file.file_stem().map_or("file".into(), |stem| stem.to_string_lossy().into_owned()),
            name,
            payloads: decoder(args.time.as_ref(), args.device.as_ref())?,
            fields: decoder(None, None)?,
            time: args.time.clone(),
        })
    }

    /// Adds the readings of a line; what could not be read is told.
    pub fn read(&mut self, line: &[u8], readings: &mut Vec<Reading>) -> Vec<String> {
        match serde_json::from_slice::<Record<'_>>(line) {
            Ok(record) if record.stream == "readings" => match self.record(&record) {
                Ok(more) => {
                    readings.extend(more);
                    Vec::new()
                }
                Err(fault) => vec![fault],
            },
            // Gaps, rows and the like are no readings.
            Ok(_) => Vec::new(),
            Err(_) => self.payload(line, readings),
        }
    }

    fn payload(&mut self, line: &[u8], readings: &mut Vec<Reading>) -> Vec<String> {
        let delivery = self.payloads.decode(&self.topic, &Bytes::copy_from_slice(line.trim_ascii()));
        let mut faults: Vec<_> = delivery.rejects.into_iter().map(|reject| reject.detail).collect();
        for reading in delivery.readings {
            if reading.time.is_some() {
                readings.push(reading);
            } else {
                faults.push(match &self.time {
                    Some(field) => format!("there is no time `{field}` in this"),
                    None => "a payload tells no time by itself; name the field that does with --time".to_owned(),
                });
            }
        }
        faults
    }

    fn record(&mut self, record: &Record<'_>) -> Result<Vec<Reading>, String> {
        let time: jiff::Timestamp = record.time.parse().map_err(|_| format!("`{}` is no time", record.time))?;
        let delivery = self.fields.decode(&self.topic, &Bytes::copy_from_slice(record.fields.get().as_bytes()));
        if let Some(reject) = delivery.rejects.into_iter().next() {
            return Err(reject.detail);
        }
        let series = Arc::new(Series {
            source: record.source.clone(),
            device: record.device.clone(),
            tags: record.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..Series::default()
        });
        let time = Some(Micros(time.as_microsecond()));
        Ok(delivery.readings.into_iter().map(|reading| Reading { time, series: series.clone(), ..reading }).collect())
    }
}
