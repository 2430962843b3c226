//! Values that a payload tells one by one, made into readings: those of one device and one time are one reading. Where
//! a name comes again, or a reading is full, another begins.

use std::collections::HashMap;
use std::sync::Arc;

use super::MAX_FIELDS;
use crate::reading::{Micros, Value};

type Fields = Vec<(Arc<str>, Value)>;

/// What the values of one reading have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// None: the device of the place.
    pub device: Option<String>,
    /// None: the moment of arrival.
    pub time: Option<Micros>,
    /// Whether it was kept back by the sender.
    pub historical: bool,
}

#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<(Key, Fields)>,
    newest: HashMap<Key, usize>,
}

impl Groups {
    /// Adds what belongs together to the newest reading of its kind; one that has no room is followed by another.
    pub(super) fn add(&mut self, key: Key, fields: Fields) {
        let known = self.newest.get(&key).map(|at| &mut self.groups[*at].1);
        let fits = |group: &&mut Fields| {
            group.len() + fields.len() <= MAX_FIELDS
                && fields.iter().all(|(name, _)| group.iter().all(|(other, _)| other != name))
        };
        if let Some(group) = known.filter(fits) {
            group.extend(fields);
            return;
        }
        self.newest.insert(key.clone(), self.groups.len());
        self.groups.push((key, fields));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// In the order of their first values.
    pub(super) fn into_readings(self) -> impl Iterator<Item = (Key, Fields)> {
        self.groups.into_iter()
    }
}
