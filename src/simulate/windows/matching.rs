//! Rows that arrived beside rows that should have: each finds its own, or is one too many.

use std::collections::BTreeMap;

use tidegate_wire::Row;

use super::answer::{self, Answer};
use super::{Expected, key_columns};
use crate::reading::{Micros, Plain, Value};
use crate::window::Spec;

/// How the rows compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub expected: u64,
    pub delivered: u64,
    /// Should have come and did not.
    pub missing: u64,
    /// Came and should not have, or came with other values.
    pub unexpected: u64,
    pub first_fault: Option<String>,
}

impl Judgement {
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.missing + self.unexpected
    }
}

/// Window, device, end, and the columns that are keys: nearly always one row.
type Place = (String, String, i64, Vec<(String, String)>);

#[derive(Default)]
struct Pair<'a> {
    expected: Vec<Expected>,
    delivered: Vec<&'a Row>,
}

pub fn judge(expected: Vec<(&Spec, Vec<Expected>)>, delivered: &[Row]) -> Judgement {
    let mut pairs: BTreeMap<Place, Pair<'_>> = BTreeMap::new();
    let columns: BTreeMap<_, _> = expected.iter().map(|(spec, _)| (spec.name.clone(), key_columns(spec))).collect();
    let mut judgement = Judgement { delivered: delivered.len() as u64, ..Judgement::default() };
    for (spec, rows) in expected {
        for row in rows {
            judgement.expected += 1;
            let value = |name: &str| row.fields.iter().find(|(field, _)| &**field == name).map(|(_, answer)| answer);
            let exact = |answer: &Answer| match answer {
                Answer::Exactly(value) => value.clone(),
                Answer::About(x, _) => Value::F64(*x),
            };
            let keys = columns[&spec.name].iter().map(|name| (*name, value(name).map(exact)));
            let place = place(&spec.name, &row.device, row.end, keys);
            pairs.entry(place).or_default().expected.push(row);
        }
    }
    for row in delivered {
        // One that is not as rows are belongs to no window.
        let window = row.series.window.as_deref().filter(|_| &*row.series.source == "window").unwrap_or_default();
        let value = |name: &str| row.fields.iter().find(|(field, _)| &**field == name).map(|(_, value)| value.clone());
        let keys = columns.get(window).into_iter().flatten().map(|name| (*name, value(name)));
        pairs.entry(place(window, &row.series.device, row.time, keys)).or_default().delivered.push(row);
    }
    for (place, pair) in pairs {
        judgement.add(&place, pair);
    }
    judgement
}

fn place<'a>(window: &str, device: &str, end: i64, keys: impl Iterator<Item = (&'a str, Option<Value>)>) -> Place {
    let keys = keys.map(|(name, value)| (name.to_owned(), answer::name(value.as_ref())));
    (window.to_owned(), device.to_owned(), end, keys.collect())
}

impl Judgement {
    fn add(&mut self, place: &Place, Pair { mut expected, delivered }: Pair<'_>) {
        let mut others = Vec::new();
        for row in delivered {
            match expected.iter().position(|expected| expected.differs(row).is_none()) {
                Some(found) => drop(expected.swap_remove(found)),
                None => others.push(row),
            }
        }
        let (missing, unexpected) = (expected.len(), others.len());
        // One that came with other values is wrong once.
        self.unexpected += unexpected as u64;
        self.missing += missing.saturating_sub(unexpected) as u64;
        if missing + unexpected > 0 && self.first_fault.is_none() {
            let what = match (expected.first(), others.first()) {
                (Some(expected), Some(row)) => expected.differs(row).unwrap_or_default(),
                (Some(_), None) => "never came".to_owned(),
                _ => "came, and should not have".to_owned(),
            };
            self.first_fault = Some(format!("{} {what}", describe(place)));
        }
    }
}

fn describe((window, device, end, keys): &Place) -> String {
    let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let of = if device.is_empty() { String::new() } else { format!(" of {device}") };
    format!("the row of \"{window}\"{of} until {} ({})", Micros(*end), keys.join(", "))
}

impl Expected {
    /// In what a row is another than this, in words.
    fn differs(&self, row: &Row) -> Option<String> {
        let arrived = |name: &str| row.fields.iter().find(|(field, _)| &**field == name).map(|(_, value)| value);
        let other = self.fields.iter().find(|(name, answer)| !arrived(name).is_some_and(|value| answer.is(value)));
        if let Some((name, answer)) = other {
            return Some(match (answer, arrived(name)) {
                (answer, None) => format!("has no {name}; {} was expected", show(answer)),
                (answer, Some(value)) => {
                    format!("says {name} is {}; {} was expected", serde_json::json!(Plain(value)), show(answer))
                }
            });
        }
        let is_known = |name: &str| self.fields.iter().any(|(field, _)| &**field == name);
        let more = row.fields.iter().find(|(name, _)| !is_known(name));
        more.map(|(name, _)| format!("has a {name} that should be NULL"))
    }
}

fn show(answer: &Answer) -> String {
    match answer {
        Answer::Exactly(value) => serde_json::json!(Plain(value)).to_string(),
        Answer::About(x, _) => x.to_string(),
    }
}
