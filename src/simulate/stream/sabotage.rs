//! A stream that lies: it says it has stored what it has not, or stores something else. No stream does this; it is how
//! the check is shown to find what it looks for. Pure.

use std::sync::Arc;

use tidegate_wire::{Codec, Value, decode_record, encode_body, encode_record};

use super::Record;
use crate::batch::read::{ReadRecord, read_record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// One record is confirmed and not kept.
    Lose,
    /// One value is another.
    Change,
    /// Two records of a lane change places.
    Swap,
}

/// Does it once, to the first record of readings.
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
        let is_readings = || decode_record(&record.data).is_ok_and(|(envelope, _)| envelope.stream == "readings");
        let Some(plan) = self.plan.filter(|_| is_readings()) else { return vec![record] };
        self.seen += 1;
        match (self.seen, plan) {
            (1, Sabotage::Lose) => Vec::new(),
            (1, Sabotage::Change) => vec![changed(record)],
            (1, Sabotage::Swap) => {
                self.held = Some(record);
                Vec::new()
            }
            (2, Sabotage::Swap) => [Some(record), self.held.take()].into_iter().flatten().collect(),
            _ => vec![record],
        }
    }
}

fn changed(record: Record) -> Record {
    let Ok(ReadRecord { mut envelope, mut rows }) = read_record(&record.data) else { return record };
    let value =
        rows.iter_mut().flat_map(|row| &mut row.fields).find(|(name, _)| &**name != crate::simulate::sensor::COUNTER);
    if let Some((_, value)) = value {
        *value = Value::Text(Arc::from("changed"));
    }
    let body = encode_body(&rows);
    (envelope.codec, envelope.size) = (Codec::None, body.len() as u64);
    Record { data: encode_record(&envelope, &body).into(), ..record }
}
