//! COUNT(DISTINCT): exact to a bound, a lower bound beyond it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::reading::Value;
use crate::window::key::{Key, write_value};

/// The most distinct values that one group tells apart.
const MOST: usize = 10_000;

/// The values, as keys are written: 1 and 1.0 are one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Distinct(BTreeSet<Key>);

impl Distinct {
    pub fn add(&mut self, value: &Value, counts: &mut Counts) {
        let mut key = Vec::new();
        write_value(value, &mut key);
        self.insert(&key, counts);
    }

    pub fn merge(&mut self, other: &Self, counts: &mut Counts) {
        for key in &other.0 {
            self.insert(key, counts);
        }
    }

    fn insert(&mut self, key: &[u8], counts: &mut Counts) {
        if self.0.contains(key) {
            return;
        }
        if self.0.len() < MOST {
            self.0.insert(Key::from(key));
        } else {
            counts.distinct_overflow += 1;
        }
    }

    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn bytes(&self) -> usize {
        self.0.iter().map(|key| key.len() + 24).sum()
    }
}
