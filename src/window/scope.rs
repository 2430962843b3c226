//! What expressions see: a row of the table, or a group that has closed.

use std::sync::Arc;

use super::plan::{Datum, Ref, Scope};
use crate::reading::{Reading, Value};

/// A reading as a row, or, in `samples`, one field of it.
pub struct RowScope<'a> {
    pub time: i64,
    pub reading: &'a Reading,
    pub field: Option<usize>,
}

impl Scope for RowScope<'_> {
    fn get(&self, name: &Ref) -> Datum {
        let field = self.field.map(|field| &self.reading.fields[field]);
        let text = |text: &Arc<str>| Value::Text(text.clone());
        match name {
            Ref::Time => Some(Value::I64(self.time)),
            Ref::Source => Some(text(&self.reading.series.source)),
            Ref::Device => Some(text(&self.reading.series.device)),
            Ref::Tag(name) => {
                let tags = &self.reading.series.tags;
                tags.iter().find(|(tag, _)| tag == name).map(|(_, value)| text(value))
            }
            Ref::Field(name) => {
                let fields = &self.reading.fields;
                fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
            }
            Ref::Metric => field.map(|(name, _)| text(name)),
            Ref::Value => field.map(|(_, value)| value.clone()),
            Ref::Key(_) | Ref::Aggregate(_) | Ref::WindowStart | Ref::WindowEnd => None,
        }
    }
}

pub struct GroupScope<'a> {
    pub keys: &'a [Datum],
    pub answers: &'a [Datum],
    pub start: i64,
    pub end: i64,
}

impl Scope for GroupScope<'_> {
    fn get(&self, name: &Ref) -> Datum {
        match name {
            Ref::Key(number) => self.keys.get(*number)?.clone(),
            Ref::Aggregate(number) => self.answers.get(*number)?.clone(),
            Ref::WindowStart => Some(Value::I64(self.start)),
            Ref::WindowEnd => Some(Value::I64(self.end)),
            _ => None,
        }
    }
}

/// Writes what tells one line of samples from another: the series, and of a row of `samples` the metric.
pub fn write_series(reading: &Reading, field: Option<usize>, to: &mut String) {
    let series = &reading.series;
    let tags = series.tags.iter().flat_map(|(name, value)| [name, value]);
    let metric = field.map(|field| &reading.fields[field].0);
    for part in [&series.source, &series.device].into_iter().chain(tags).chain(metric) {
        to.push_str(part);
        to.push('\0');
    }
}
