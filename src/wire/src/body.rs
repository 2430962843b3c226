//! The body: rows gathered into groups of one series, each field a column.
//!
//! A second group of the same series opens only where a row's value cannot join the column of its field: another type,
//! an integer that a float cannot tell apart, or integers further apart than a delta reaches.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::column::{self, Values, bitmap};
use crate::{Envelope, Refusal, Row, Series, Value};

/// Rows of one series, column by column.
struct Group<'a> {
    rows: Vec<&'a Row>,
    columns: Vec<Column<'a>>,
    /// The next group of the same series.
    next: Option<usize>,
}

struct Column<'a> {
    name: &'a Arc<str>,
    values: Values,
    /// The rows that have a value.
    rows: Vec<usize>,
}

/// Rows in offset order to the bytes of a body, before compression.
#[must_use]
pub fn encode_body(rows: &[Row]) -> Vec<u8> {
    let groups = gather(rows);
    let mut out = Writer(Vec::with_capacity(16 * rows.len()));
    out.array(groups.len());
    for group in &groups {
        group.write(&mut out);
    }
    out.0
}

fn gather(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    // Rows of one series mostly share it; those that do not are found by its contents.
    let mut by_address: BTreeMap<*const Series, usize> = BTreeMap::new();
    let mut by_series: BTreeMap<&Series, usize> = BTreeMap::new();
    for row in rows {
        let first = *by_address.entry(Arc::as_ptr(&row.series)).or_insert_with(|| {
            *by_series.entry(&row.series).or_insert_with(|| {
                groups.push(Group { rows: Vec::new(), columns: Vec::new(), next: None });
                groups.len() - 1
            })
        });
        let mut at = first;
        while !groups[at].takes(row) {
            at = if let Some(next) = groups[at].next {
                next
            } else {
                let next = groups.len();
                groups.push(Group { rows: Vec::new(), columns: Vec::new(), next: None });
                groups[at].next = Some(next);
                next
            };
        }
        groups[at].push(row);
    }
    groups
}

impl<'a> Group<'a> {
    fn takes(&self, row: &Row) -> bool {
        row.fields.iter().enumerate().all(|(at, (name, value))| {
            self.column(at, name).is_none_or(|column| self.columns[column].values.takes(value))
        })
    }

    /// The column of a field; it is mostly where the field is.
    fn column(&self, at: usize, name: &Arc<str>) -> Option<usize> {
        let is = |column: &Column<'_>| Arc::ptr_eq(column.name, name) || column.name == name;
        match self.columns.get(at) {
            Some(column) if is(column) => Some(at),
            _ => self.columns.iter().position(is),
        }
    }

    fn push(&mut self, row: &'a Row) {
        let number = self.rows.len();
        self.rows.push(row);
        for (at, (name, value)) in row.fields.iter().enumerate() {
            let column = self.column(at, name).unwrap_or_else(|| {
                self.columns.push(Column { name, values: Values::of(value), rows: Vec::new() });
                self.columns.len() - 1
            });
            self.columns[column].values.push(value);
            self.columns[column].rows.push(number);
        }
    }

    fn write(&self, out: &mut Writer) {
        let series = &self.rows[0].series;
        let received = self.rows.iter().any(|row| row.received.is_some_and(|received| received != row.time));
        let parts = [!series.tags.is_empty(), series.window.is_some(), received];
        out.map(5 + parts.iter().filter(|part| **part).count());
        out.text("source");
        out.text(&series.source);
        out.text("device");
        out.text(&series.device);
        if !series.tags.is_empty() {
            out.text("tags");
            out.map(series.tags.len());
            for (name, value) in &series.tags {
                out.text(name);
                out.text(value);
            }
        }
        if let Some(window) = &series.window {
            out.text("window");
            out.text(window);
        }
        out.text("offset");
        column::write_integers(out, self.rows.iter().map(|row| row.offset.into()));
        out.text("time");
        column::write_integers(out, self.rows.iter().map(|row| row.time.into()));
        if received {
            out.text("received");
            column::write_integers(out, self.rows.iter().map(|row| row.received.unwrap_or(row.time).into()));
        }
        out.text("fields");
        self.write_fields(out);
    }

    fn write_fields(&self, out: &mut Writer) {
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.sort_unstable_by_key(|column| column.name);
        out.map(columns.len());
        for column in columns {
            out.text(column.name);
            let mask = (column.rows.len() < self.rows.len()).then(|| {
                let mut present = column.rows.iter().peekable();
                bitmap((0..self.rows.len()).map(|row| present.next_if_eq(&&row).is_none()))
            });
            column.values.write(out, mask.as_deref());
        }
    }
}

/// A body, decompressed, back to its rows, in offset order.
pub fn decode_body(envelope: &Envelope, body: &[u8]) -> Result<Vec<Row>, Refusal> {
    if body.len() as u64 != envelope.size {
        return Err(Refusal::Mismatch("size"));
    }
    let mut input = Reader(body);
    let mut rows = Vec::new();
    for _ in 0..input.array()? {
        read_group(&mut input, &mut rows)?;
    }
    input.end()?;
    rows.sort_by_key(|row| row.offset);
    if rows.windows(2).any(|pair| pair[0].offset >= pair[1].offset) {
        return Err(Refusal::OffsetsNotRising);
    }
    if rows.len() as u64 != envelope.count {
        return Err(Refusal::Mismatch("count"));
    }
    match (rows.first(), rows.last()) {
        (Some(first), _) if first.offset != envelope.first => Err(Refusal::Mismatch("first")),
        (_, Some(last)) if last.offset != envelope.last => Err(Refusal::Mismatch("last")),
        (None, _) | (_, None) => Err(Refusal::Mismatch("count")),
        _ => Ok(rows),
    }
}

fn read_group(input: &mut Reader<'_>, rows: &mut Vec<Row>) -> Result<(), Refusal> {
    let mut left = input.map()?;
    // An optional key is taken if it is the one that stands there.
    let mut key = |input: &mut Reader<'_>, name: &'static str, optional: bool| {
        let mut ahead = Reader(input.0);
        if left > 0 && ahead.text()? == name {
            *input = Reader(ahead.0);
            left -= 1;
            return Ok(true);
        }
        if optional { Ok(false) } else { Err(Refusal::Missing(name)) }
    };
    // The lifetimes of reader and remainder are one; text is copied out at once.
    let mut series = Series::default();
    key(input, "source", false)?;
    series.source = input.text()?.into();
    key(input, "device", false)?;
    series.device = input.text()?.into();
    if key(input, "tags", true)? {
        for _ in 0..input.map()? {
            series.tags.push((input.text()?.into(), input.text()?.into()));
        }
    }
    if key(input, "window", true)? {
        series.window = Some(input.text()?.into());
    }
    key(input, "offset", false)?;
    let offsets = column::read_integers(input)?;
    key(input, "time", false)?;
    let times = column::read_integers(input)?;
    let received = if key(input, "received", true)? { Some(column::read_integers(input)?) } else { None };
    key(input, "fields", false)?;
    if left > 0 {
        return Err(Refusal::UnknownKey);
    }
    let unequal = times.len() != offsets.len() || received.as_ref().is_some_and(|column| column.len() != offsets.len());
    if unequal {
        return Err(Refusal::UnequalColumns);
    }
    let series = Arc::new(series);
    let start = rows.len();
    for (at, (offset, time)) in offsets.iter().zip(&times).enumerate() {
        let offset = u64::try_from(*offset).map_err(|_| Refusal::OutOfRange)?;
        if rows.len() > start && rows.last().is_some_and(|before| before.offset >= offset) {
            return Err(Refusal::OffsetsNotRising);
        }
        let micros = |n: i128| i64::try_from(n).map_err(|_| Refusal::OutOfRange);
        let received = received.as_ref().map(|column| micros(column[at])).transpose()?;
        rows.push(Row { offset, time: micros(*time)?, received, series: series.clone(), fields: Vec::new() });
    }
    read_fields(input, &mut rows[start..])
}

fn read_fields(input: &mut Reader<'_>, rows: &mut [Row]) -> Result<(), Refusal> {
    let mut before: Option<&str> = None;
    for _ in 0..input.map()? {
        let name = input.text()?;
        if before.is_some_and(|before| before >= name) {
            return Err(Refusal::UnknownKey);
        }
        before = Some(name);
        let shared: Arc<str> = name.into();
        let values: Vec<Option<Value>> = column::read(input, rows.len())?;
        for (row, value) in rows.iter_mut().zip(values) {
            row.fields.extend(value.map(|value| (shared.clone(), value)));
        }
    }
    Ok(())
}
