//! What one sensor was to say, beside what arrives from it.

use std::collections::BTreeMap;

use tidegate_wire::{Row, Value};

use crate::simulate::sensor::{Link, Script, Sent, What};

/// One sensor's script, played as far as its readings have arrived.
pub struct Device {
    pub index: usize,
    pub link: Link,
    script: Script,
    /// The `n` the script comes to next.
    pub next: u64,
    /// Played, but not arrived.
    pub missing: BTreeMap<u64, Sent>,
}

impl Device {
    pub fn new(index: usize, link: Link, script: Script) -> Self {
        Self { index, link, script, next: 0, missing: BTreeMap::new() }
    }

    /// Plays the script up to and with the reading `n`.
    pub fn play_to(&mut self, n: u64) {
        while self.next <= n {
            let Some(step) = self.script.next() else { return };
            if let What::Reading(sent) = step.what {
                self.next = sent.n + 1;
                self.missing.insert(sent.n, sent);
            }
        }
    }
}

/// Whether a row has all that was sent, and the number of the reading beside it.
pub fn is_same(sent: &Sent, row: &Row) -> bool {
    let arrived = |name: &str| row.fields.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
    row.fields.len() == sent.fields.len() + 1
        && sent.fields.iter().all(|(name, value)| arrived(name).is_some_and(|found| is_equal(value, found)))
}

/// Numbers are equal by value, floats bit for bit, and a whole float may arrive as an integer.
#[expect(clippy::float_cmp, reason = "equal is what is asked")]
pub fn is_equal(sent: &Value, arrived: &Value) -> bool {
    match (sent, arrived) {
        (Value::F64(sent), Value::F64(arrived)) => sent.to_bits() == arrived.to_bits(),
        (Value::F64(sent), Value::I64(arrived)) => *sent == *arrived as f64,
        (Value::I64(sent), Value::F64(arrived)) => *sent as f64 == *arrived && *arrived as i64 == *sent,
        _ => sent == arrived,
    }
}
