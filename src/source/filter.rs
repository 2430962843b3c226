//! Report by exception: of what a sensor says again and again, what is worth a byte. Pure.
//!
//! ```text
//!   reading ─▶ rename ─▶ keep or drop ─▶ moved by more than its deadband? changed? silent for a heartbeat? ─▶ reading
//! ```
//!
//! Each field is looked at by itself, against the value of the same series that was let through last (`memory.rs` says
//! what last means where readings come late), and goes when it has nothing new to say; a reading of which no field is
//! left goes as a whole, is counted and acknowledged. Fields that no rule names pass.
//!
//! A deadband is absolute, as in OPC UA Part 4, 7.22.2: a value passes when it differs by more than that. A value of
//! another kind than the last one has changed.
//!
//! What was let through need not have been stored: whoever drops a reading behind the filter has it forget, and every
//! field passes once more.

mod memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use self::memory::{Memory, Moment, Report};
use crate::clock::Now;
use crate::config;
use crate::reading::{Reading, Value};

/// Names whose rule is remembered.
const MOST_NAMES: usize = 10_000;

pub struct Filter {
    config: config::Filter,
    rules: HashMap<Arc<str>, Rule>,
    memory: Memory,
}

/// What a field of some name is in for.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    /// `None`: it is dropped.
    name: Option<Arc<str>>,
    report: Report,
}

impl Filter {
    #[must_use]
    pub fn new(config: config::Filter) -> Self {
        Self { memory: Memory::new(config.heartbeat), rules: HashMap::new(), config }
    }

    /// Takes out what is not worth reporting, and says how many readings went as a whole.
    pub fn apply(&mut self, readings: &mut Vec<Reading>, now: Now) -> u64 {
        if self.config.is_empty() {
            return 0;
        }
        let before = readings.len();
        readings.retain_mut(|reading| {
            self.one(reading, now);
            !reading.fields.is_empty()
        });
        (before - readings.len()) as u64
    }

    /// What was let through may not have been stored.
    pub fn forget(&mut self) {
        self.memory.forget();
    }

    fn one(&mut self, reading: &mut Reading, now: Now) {
        if self.memory.is_full() {
            self.forget();
        }
        let moment = Moment::of(reading, now);
        let fields = std::mem::take(&mut reading.fields);
        for (name, value) in &fields {
            let Rule { name: Some(new), report } = self.rule(name) else { continue };
            // Where the new name is taken, the old one stays: nothing is written over.
            let is_taken = |(other, _): &(Arc<str>, Value)| *other == new;
            let taken = new != *name && (fields.iter().any(is_taken) || reading.fields.iter().any(is_taken));
            let name = if taken { name.clone() } else { new };
            if self.memory.is_news((&reading.series, &name), value, report, moment) {
                reading.fields.push((name, value.clone()));
            }
        }
    }

    fn rule(&mut self, name: &Arc<str>) -> Rule {
        if let Some(rule) = self.rules.get(name) {
            return rule.clone();
        }
        if self.rules.len() >= MOST_NAMES {
            self.rules.clear();
        }
        let rule = decide(&self.config, name);
        self.rules.insert(name.clone(), rule.clone());
        rule
    }
}

/// The rule for a field, from the configuration. Patterns are held against its new name.
fn decide(config: &config::Filter, name: &Arc<str>) -> Rule {
    let renamed = config.rename.iter().find(|(old, _)| old == &**name).map(|(_, new)| Arc::from(&**new));
    let name = renamed.unwrap_or_else(|| name.clone());
    let names = |pattern: &String| matches(pattern, &name);
    let kept = config.keep.as_ref().is_none_or(|keep| keep.iter().any(names)) && !config.drop.iter().any(names);
    // The most particular pattern wins, which is the longest.
    let on_change = config.on_change.iter().filter(|pattern| names(pattern)).map(|pattern| (pattern, Report::OnChange));
    let deadband = config.deadband.iter().filter(|(pattern, _)| names(pattern));
    let deadband = deadband.map(|(pattern, band)| (pattern, Report::Deadband(*band)));
    let report = on_change.chain(deadband).max_by_key(|(pattern, _)| (!pattern.ends_with('*'), pattern.len()));
    Rule { name: kept.then_some(name), report: report.map_or(Report::Always, |(_, report)| report) }
}

/// A name, or the beginning of names before a `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

impl config::Filter {
    /// Whether everything passes as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { keep, drop, rename, on_change, deadband, heartbeat: Duration { .. } } = self;
        keep.is_none() && drop.is_empty() && rename.is_empty() && on_change.is_empty() && deadband.is_empty()
    }
}

#[cfg(test)]
mod tests;
