//! TOML as a tree in which each value knows where it stands, so that several files can become one.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{At, Fault};

#[derive(Clone, Debug)]
pub struct Node {
    pub at: At,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time,
    List(Vec<Node>),
    Table(Table),
}

/// Keys in the order they were written.
pub type Table = Vec<Entry>;

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub at: At,
    pub node: Node,
    /// Of a text in which every letter stands for itself: where the first one is.
    pub first_letter: Option<At>,
}

impl Value {
    /// What a person would call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Time => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
        }
    }
}

/// One text to its tree, or every place where it is not TOML.
pub fn parse(text: &str, file: &Path) -> Result<Node, Vec<Fault>> {
    let places = Places { file: Arc::new(file.to_owned()), text };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let at = places.at(0);
        return Ok(Node { at, value: Value::Table(places.table(table.get_ref())) });
    }
    let fault = |error: toml::de::Error| Fault {
        at: places.at(error.span().map_or(0, |span| span.start)),
        what: error.message().lines().next().unwrap_or("not TOML").to_owned(),
        remedy: "see https://toml.io for how it is written".to_owned(),
    };
    let mut faults: Vec<_> = errors.into_iter().map(fault).collect();
    faults.sort_by(|a, b| a.at.cmp(&b.at));
    // What follows on the same line mostly follows from the first.
    faults.dedup_by_key(|fault| fault.at.line);
    Err(faults)
}

struct Places<'a> {
    file: Arc<std::path::PathBuf>,
    text: &'a str,
}

impl Places<'_> {
    fn at(&self, byte: usize) -> At {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        At { file: self.file.clone(), line, column }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| Entry {
            key: AsRef::<str>::as_ref(key.get_ref() as &std::borrow::Cow<'_, str>).to_owned(),
            at: self.at(key.span().start),
            node: self.node(value),
            first_letter: self.first_letter(value),
        };
        let mut entries: Vec<_> = table.iter().map(entry).collect();
        entries.sort_by(|a, b| a.at.cmp(&b.at));
        entries
    }

    fn first_letter(&self, value: &Spanned<DeValue<'_>>) -> Option<At> {
        let DeValue::String(text) = value.get_ref() else { return None };
        let written = self.text.get(value.span())?;
        let fence = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|fence| written.starts_with(fence))?;
        let mut inner = written.strip_prefix(fence)?.strip_suffix(fence)?;
        if fence.len() == 3 {
            // A line end right behind the quotes is not part of the text.
            inner = inner.strip_prefix("\r\n").or(inner.strip_prefix('\n')).unwrap_or(inner);
        }
        let letters = |text: &str| text.replace("\r\n", "\n");
        (letters(inner) == letters(text)).then(|| self.at(value.span().end - fence.len() - inner.len()))
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let at = self.at(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                // One that does not fit is asked for by nobody.
                i64::from_str_radix(&digits, number.radix()).map_or(Value::Float(f64::NAN), Value::Int)
            }
            DeValue::Float(number) => Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(_) => Value::Time,
            DeValue::Array(list) => Value::List(list.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { at, value }
    }
}

/// Adds one tree to another: sections join, lists of sections grow, and what is set twice is a fault.
pub fn merge(into: &mut Table, more: Table, faults: &mut Vec<Fault>) {
    for entry in more {
        let Some(there) = into.iter_mut().find(|there| there.key == entry.key) else {
            into.push(entry);
            continue;
        };
        match (&mut there.node.value, entry.node.value) {
            (Value::Table(into), Value::Table(more)) => merge(into, more, faults),
            (Value::List(into), Value::List(more)) if are_sections(into) && are_sections(&more) => into.extend(more),
            _ => faults.push(Fault {
                at: entry.at,
                what: format!("`{}` is set twice, the first time at {}", entry.key, there.at),
                remedy: "keep one of them".to_owned(),
            }),
        }
    }
}

/// The path leads through something that is no section.
pub struct NoSection;

/// Sets one value, replacing what is there: the environment overrides files.
pub fn set(table: &mut Table, path: &[&str], node: &Node) -> Result<(), NoSection> {
    let [key, rest @ ..] = path else { return Ok(()) };
    let there = table.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
        let node = Node { at: node.at.clone(), value: Value::Table(Vec::new()) };
        table.push(Entry { key: (*key).to_owned(), at: node.at.clone(), node, first_letter: None });
        table.len() - 1
    });
    match &mut table[there].node.value {
        Value::Table(inner) if !rest.is_empty() => return set(inner, rest, node),
        _ if rest.is_empty() => table[there].node = node.clone(),
        _ => return Err(NoSection),
    }
    Ok(())
}

fn are_sections(list: &[Node]) -> bool {
    list.iter().all(|node| matches!(node.value, Value::Table(_)))
}
