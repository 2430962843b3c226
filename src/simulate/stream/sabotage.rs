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
