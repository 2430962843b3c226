//! A stream that lies: it says it has stored what it has not, or stores something else. No stream does this; it is how
//! the check is shown to find what it looks for. Pure.

use tidegate_wire::{Codec, Value, decode_record, encode_body, encode_record};

use super::Record;
use crate::batch::read::{ReadRecord, read_record};
use crate::simulate::sensor::COUNTER;

/// What is done, and to the records of which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sabotage {
    pub stream: &'static str,
    pub deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// One record is confirmed and not kept.
    Lose,
    /// One number is another.
    Change,
    /// Two records of a lane change places.
    Swap,
}

/// Does it once, to the first record of the stream.
pub struct Saboteur {
    plan: Option<Sabotage>,
    seen: u32,
    held: Option<Record>,
}

impl Saboteur {
    pub fn new(plan: Option<Sabotage>) -> Self {
        Self { plan, seen: 0, held: None }
    }

    /// What is kept instead of this record.
    pub fn pass(&mut self, record: Record) -> Vec<Record> {
        let is_of = |stream| decode_record(&record.data).is_ok_and(|(envelope, _)| envelope.stream == stream);
        let Some(plan) = self.plan.filter(|plan| is_of(plan.stream)) else { return vec![record] };
        self.seen += 1;
        match (self.seen, plan.deed) {
            (1, Deed::Lose) => Vec::new(),
            (1, Deed::Change) => vec![changed(record)],
            (1, Deed::Swap) => {
                self.held = Some(record);
                Vec::new()
            }
            (2, Deed::Swap) => [Some(record), self.held.take()].into_iter().flatten().collect(),
            _ => vec![record],
        }
    }
}

fn changed(record: Record) -> Record {
    let Ok(ReadRecord { mut envelope, mut rows }) = read_record(&record.data) else { return record };
    let fields = rows.iter_mut().flat_map(|row| &mut row.fields).filter(|(name, _)| &**name != COUNTER);
    for (_, value) in fields {
        match value {
            Value::F64(x) => *x += 1.0,
            Value::I64(n) => *n += 1,
            _ => continue,
        }
        break;
    }
    let body = encode_body(&rows);
    (envelope.codec, envelope.size) = (Codec::None, body.len() as u64);
    Record { data: encode_record(&envelope, &body).into(), ..record }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_wire::{ClockState, Envelope, Row, Series};

    use super::*;
    use crate::reading::Micros;

    fn record(stream: &str, offset: u64) -> Record {
        let fields = [("device", Value::Text("a".into())), (COUNTER, Value::I64(3)), ("sum", Value::F64(1.5))];
        let fields = fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect();
        let row = Row { offset, time: 0, received: None, series: Arc::new(Series::default()), fields };
        let body = encode_body(&[row]);
        let envelope = Envelope {
            gateway: "g".to_owned(),
            stream: stream.to_owned(),
            lane: 0,
            epoch: 1,
            first: offset,
            last: offset,
            prev: None,
            count: 1,
            clock: ClockState::Synced,
            codec: Codec::None,
            size: body.len() as u64,
        };
        let data = encode_record(&envelope, &body).into();
        Record { shard: 0, sequence: 1, partition_key: "k".to_owned(), data, arrived: Micros(0) }
    }

    /// What becomes of two records of rows behind one of readings.
    fn kept(deed: Deed) -> Vec<Record> {
        let mut saboteur = Saboteur::new(Some(Sabotage { stream: "rows", deed }));
        let records = [record("readings", 0), record("rows", 0), record("rows", 1)];
        records.into_iter().flat_map(|record| saboteur.pass(record)).collect()
    }

    #[test]
    fn it_is_done_once_and_to_one_stream() {
        let [readings, first, second] = [record("readings", 0), record("rows", 0), record("rows", 1)];
        assert_eq!(kept(Deed::Lose), [readings.clone(), second.clone()]);
        assert_eq!(kept(Deed::Swap), [readings.clone(), second.clone(), first.clone()]);
        let changed = kept(Deed::Change);
        assert_eq!((&changed[0], &changed[2]), (&readings, &second));
        let fields = |record: &Record| read_record(&record.data).unwrap().rows[0].fields.clone();
        let (was, is) = (fields(&first), fields(&changed[1]));
        assert_eq!((&was[..2], &is[2].1), (&is[..2], &Value::F64(2.5)));
    }
}
