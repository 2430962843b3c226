//! Readings as sensors really send them, for sizes and speeds: 50 devices, each with two decimals, a counter and a
//! switch, 20 times a second.

use std::sync::Arc;

use tidegate::reading::Micros;
use tidegate::simulate::sensor::{COUNTER, Sensor, Sent, What};
use tidegate_wire::{ClockState, Codec, Envelope, Row, Series, Value, encode_body, encode_record};

const START: Micros = Micros(1_790_000_000_000_000);

/// So many rows, in the order in which they would arrive.
pub fn rows(count: usize) -> Vec<Row> {
    let scripts = (0..50).flat_map(|index| {
        let sensor = Sensor::synthetic(7, index, 20.0);
        let series = Arc::new(Series { source: "plant".into(), device: sensor.device.clone(), ..Series::default() });
        let readings = sensor.script(START).filter_map(|step| match step.what {
            What::Reading(sent) => Some((step.due, sent)),
            What::Corrupt(_) => None,
        });
        // Dropouts make some sensors fall behind: a few more than their share, of which the last are cut off below.
        readings.take(count / 40 + 1).map(move |(due, sent)| (due, series.clone(), sent))
    });
    let mut sent: Vec<(_, Arc<Series>, Sent)> = scripts.collect();
    sent.sort_by_key(|(due, ..)| *due);
    assert!(sent.len() >= count);
    sent.truncate(count);
    let row = |(offset, (_, series, Sent { n, time, mut fields }))| {
        fields.push((COUNTER.into(), Value::from(n)));
        Row { offset, time: time.0, received: None, series, fields }
    };
    (1_000_000..).zip(sent).map(row).collect()
}

/// One record of these rows, with zstd of this level.
pub fn record(rows: &[Row], level: i32) -> Vec<u8> {
    let body = encode_body(rows);
    let envelope = Envelope {
        gateway: "plant-7".to_owned(),
        stream: "readings".to_owned(),
        lane: 0,
        epoch: 1_790_000_000,
        first: rows[0].offset,
        last: rows[rows.len() - 1].offset,
        prev: Some((1_790_000_000, rows[0].offset - 1)),
        count: rows.len() as u64,
        clock: ClockState::Synced,
        codec: Codec::Zstd,
        size: body.len() as u64,
    };
    encode_record(&envelope, &zstd::bulk::compress(&body, level).unwrap())
}
