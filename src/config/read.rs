//! Reading a section: each key asked for by name and kind; what is wrong with it becomes a fault with its place, and
//! its default stands in, so that one run finds all.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use super::fault::{At, Fault, Note};
use super::files::Environment;
use super::tree::{Entry, Node, Table, Value};

/// Sections and keys of the whole plan that this version does not have.
const LATER: &[&str] = &[
    "meta",
    "route",
    "firehose",
    "credentials",
    "filter",
    "wait_for_clock",
    "max_devices",
    "bytes_per_second",
    "schedule",
    "layout",
    "max_rows",
    "pricing",
    "device_series",
    "request_rebirth",
    "max_age@queue",
];

/// What a run of reading has found out, and what it needs for it.
pub struct Reading<'a> {
    pub faults: RefCell<Vec<Fault>>,
    pub notes: RefCell<Vec<Note>>,
    /// Relative paths count from here.
    pub directory: &'a Path,
    pub env: &'a Environment,
}

impl Reading<'_> {
    pub fn fault(&self, at: &At, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.borrow_mut().push(Fault { at: at.clone(), what: what.into(), remedy: remedy.into() });
    }

    pub fn note(&self, at: &At, what: impl Into<String>) {
        self.notes.borrow_mut().push(Note { at: at.clone(), what: what.into() });
    }

    /// Puts environment variables in for `${NAME}`.
    fn expand(&self, at: &At, text: &str) -> Option<String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else {
                self.fault(at, "`${` without its `}`", "write ${NAME}");
                return None;
            };
            let Some(value) = self.env.get(name) else {
                self.fault(at, format!("the environment has no {name}"), "set it, or write the value here");
                return None;
            };
            expanded.push_str(before);
            expanded.push_str(value);
            rest = behind;
        }
        expanded.push_str(rest);
        Some(expanded)
    }
}

/// One section of the configuration.
pub struct Section<'a> {
    pub reading: &'a Reading<'a>,
    /// As in `kinesis.backoff`.
    pub name: String,
    pub at: At,
    table: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub at: At,
    pub value: T,
}

impl<'a> Section<'a> {
    pub fn new(reading: &'a Reading<'a>, name: &str, at: &At, table: &'a Table) -> Self {
        Self { reading, name: name.to_owned(), at: at.clone(), table, asked: RefCell::default() }
    }

    fn find(&self, key: &'static str) -> Option<&'a Entry> {
        self.asked.borrow_mut().push(key);
        self.table.iter().find(|entry| entry.key == key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub fn fault(&self, at: &At, what: impl Into<String>, remedy: impl Into<String>) {
        self.reading.fault(at, what, remedy);
    }

    fn wrong_kind(&self, entry: &Entry, remedy: impl Into<String>) {
        self.fault(&entry.node.at, format!("`{}` is {}", self.path(&entry.key), entry.node.value.kind()), remedy);
    }

    pub fn text(&self, key: &'static str) -> Option<Placed<String>> {
        let entry = self.find(key)?;
        let at = entry.node.at.clone();
        let Value::Text(text) = &entry.node.value else {
            self.wrong_kind(entry, "write it in quotes");
            return None;
        };
        let value = self.reading.expand(&at, text)?;
        if value.is_empty() {
            self.fault(&at, format!("`{}` is empty", self.path(key)), "write something, or leave the key out");
            return None;
        }
        Some(Placed { at, value })
    }

    /// Where the first letter of a text stands in its file, if the text stands there letter for letter.
    pub fn first_letter(&self, key: &'static str, text: &str) -> Option<At> {
        let entry = self.find(key)?;
        let as_written = matches!(&entry.node.value, Value::Text(written) if written == text);
        entry.first_letter.clone().filter(|_| as_written)
    }

    /// A text that must be there.
    pub fn needed(&self, key: &'static str, example: &str) -> Option<Placed<String>> {
        if self.table.iter().all(|entry| entry.key != key) {
            self.asked.borrow_mut().push(key);
            self.fault(&self.at, format!("`{}` is missing", self.path(key)), format!("write {key} = \"{example}\""));
            return None;
        }
        self.text(key)
    }

    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.find(key) else { return default };
        let Value::Bool(flag) = entry.node.value else {
            self.wrong_kind(entry, "write true or false");
            return default;
        };
        flag
    }

    pub fn number(&self, key: &'static str, allowed: RangeInclusive<i64>, default: i64) -> i64 {
        let Some(entry) = self.find(key) else { return default };
        let Value::Int(number) = entry.node.value else {
            self.wrong_kind(entry, "write a whole number");
            return default;
        };
        self.bounded(&entry.node.at, key, &number, &allowed).unwrap_or(default)
    }

    /// A number, whole or not; always finite.
    pub fn float(&self, key: &'static str) -> Option<Placed<f64>> {
        let entry = self.find(key)?;
        let value = match entry.node.value {
            Value::Int(number) => number as f64,
            Value::Float(number) if number.is_finite() => number,
            _ => {
                self.wrong_kind(entry, "write a number that is finite");
                return None;
            }
        };
        Some(Placed { at: entry.node.at.clone(), value })
    }

    /// A whole number, or a text.
    pub fn number_or_text(&self, key: &'static str) -> Option<Placed<Result<i64, String>>> {
        let entry = self.find(key)?;
        if let Value::Int(number) = entry.node.value {
            return Some(Placed { at: entry.node.at.clone(), value: Ok(number) });
        }
        self.text(key).map(|text| Placed { at: text.at, value: Err(text.value) })
    }

    pub fn duration(&self, key: &'static str, allowed: RangeInclusive<Duration>, default: Duration) -> Duration {
        let Some(entry) = self.find(key) else { return default };
        let Value::Text(text) = &entry.node.value else {
            self.wrong_kind(entry, "a duration is written \"5s\", \"250ms\" or \"7d\"");
            return default;
        };
        let Some(text) = self.reading.expand(&entry.node.at, text) else { return default };
        if let Ok(duration) = humantime::parse_duration(&text) {
            let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
            let shown = (show(allowed.start()), show(allowed.end()));
            self.within(&entry.node.at, key, duration, &allowed, &show(&duration), &shown).unwrap_or(default)
        } else {
            let what = format!("`{}` = \"{text}\" is not a duration", self.path(key));
            self.fault(&entry.node.at, what, "write it like \"5s\", \"250ms\" or \"7d\"");
            default
        }
    }

    pub fn size(&self, key: &'static str, allowed: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(entry) = self.find(key) else { return default };
        let Value::Text(text) = &entry.node.value else {
            self.wrong_kind(entry, "a size is written \"64MiB\" or \"2GiB\"");
            return default;
        };
        let Some(text) = self.reading.expand(&entry.node.at, text) else { return default };
        if let Ok(ByteSize(size)) = text.parse::<ByteSize>() {
            let show = |size: &u64| ByteSize(*size).to_string();
            let shown = (show(allowed.start()), show(allowed.end()));
            self.within(&entry.node.at, key, size, &allowed, &show(&size), &shown).unwrap_or(default)
        } else {
            let what = format!("`{}` = \"{text}\" is not a size", self.path(key));
            self.fault(&entry.node.at, what, "write it like \"64MiB\" or \"2GiB\"");
            default
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        let Some(Placed { at, value }) = self.text(key) else { return default };
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == value) {
            return *found;
        }
        let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let what = format!("`{}` = \"{value}\" is not known in this version", self.path(key));
        self.fault(&at, what, format!("write {}", words.join(" or ")));
        default
    }

    /// The bytes of a file that a key names.
    pub fn file(&self, key: &'static str) -> Option<Placed<Vec<u8>>> {
        let Placed { at, value } = self.text(key)?;
        let path = self.reading.directory.join(PathBuf::from(&value));
        match std::fs::read(&path) {
            Ok(value) => Some(Placed { at, value }),
            Err(error) => {
                let what = format!("`{}` names {}, which cannot be read: {error}", self.path(key), path.display());
                self.fault(&at, what, "correct the path, or make the file readable for this user");
                None
            }
        }
    }

    /// A section inside this one; an empty one where there is none.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let path = self.path(key);
        let empty = Section {
            reading: self.reading,
            name: path.clone(),
            at: self.at.clone(),
            table: &[],
            asked: RefCell::default(),
        };
        let Some(entry) = self.find(key) else { return empty };
        if let Value::Table(table) = &entry.node.value {
            Section::new(self.reading, &path, &entry.at, table)
        } else {
            self.wrong_kind(entry, format!("write [{path}] and its keys below"));
            empty
        }
    }

    /// The sections of a list: `[[key]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.find(key) else { return Vec::new() };
        let path = self.path(key);
        let section = |node: &'a Node| match &node.value {
            Value::Table(table) => Some(Section::new(self.reading, &path, &node.at, table)),
            _ => None,
        };
        let list = match &entry.node.value {
            Value::List(list) => list.iter().map(section).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        list.unwrap_or_else(|| {
            self.wrong_kind(entry, format!("write [[{path}]] and its keys below"));
            Vec::new()
        })
    }

    /// Names every key that nobody asked for.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for entry in self.table.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let path = self.path(&entry.key);
            let later =
                LATER.contains(&entry.key.as_str()) || LATER.contains(&format!("{}@{}", entry.key, self.name).as_str());
            if later {
                self.fault(&entry.at, format!("`{path}` is not in this version of tidegate"), "leave it out");
                continue;
            }
            let near = asked.iter().map(|key| (distance(key, &entry.key), key)).min();
            let remedy = match near {
                Some((distance, key)) if distance <= 2.max(key.len() / 3) => format!("did you mean `{key}`?"),
                _ => {
                    let mut known = asked.clone();
                    known.sort_unstable();
                    format!("known here: {}", known.join(", "))
                }
            };
            self.fault(&entry.at, format!("`{path}` is an unknown key"), remedy);
        }
    }

    fn bounded<T: PartialOrd + Display + Copy>(
        &self,
        at: &At,
        key: &str,
        value: &T,
        allowed: &RangeInclusive<T>,
    ) -> Option<T> {
        let shown = (allowed.start().to_string(), allowed.end().to_string());
        self.within(at, key, *value, allowed, &value.to_string(), &shown)
    }

    fn within<T: PartialOrd>(
        &self,
        at: &At,
        key: &str,
        value: T,
        allowed: &RangeInclusive<T>,
        shown: &str,
        bounds: &(String, String),
    ) -> Option<T> {
        if allowed.contains(&value) {
            return Some(value);
        }
        let what = format!("`{}` = {shown} is out of bounds", self.path(key));
        self.fault(at, what, format!("it may be {} to {}", bounds.0, bounds.1));
        None
    }
}

/// How many letters two words differ by (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let here = if from == *to { corner } else { 1 + corner.min(row[j]).min(row[j + 1]) };
            corner = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()]
}
