//! The body: rows gathered into groups of one series, each field a column.
//!
//! A second group of the same series opens only where a row's value cannot join the column of its field: another type,
//! an integer that a float cannot tell apart, or integers further apart than a delta reaches.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::column::{self, Values, bitmap};
use crate::{BODY_MAX, CELLS_MAX, Envelope, ROWS_MAX, ROWS_READ_MAX, Refusal, Row, Series, Value};

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
    write(&gather(rows, usize::MAX).unwrap_or_default(), rows.len())
}

/// The same, within the caps of an encoder; `None`: these rows are more than one body takes.
#[must_use]
pub fn fit_body(rows: &[Row]) -> Option<Vec<u8>> {
    if rows.len() > ROWS_MAX {
        return None;
    }
    let body = write(&gather(rows, CELLS_MAX)?, rows.len());
    (body.len() <= BODY_MAX).then_some(body)
}

fn write(groups: &[Group<'_>], rows: usize) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(16 * rows));
    out.array(groups.len());
    for group in groups {
        group.write(&mut out);
    }
    out.0
}

/// `None`: there are more cells than that. Every row with a field of its own makes their square.
fn gather(rows: &[Row], cells_max: usize) -> Option<Vec<Group<'_>>> {
    let mut cells = 0;
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
        cells -= groups[at].cells();
        groups[at].push(row);
        cells += groups[at].cells();
        if cells > cells_max {
            return None;
        }
    }
    Some(groups)
}

impl<'a> Group<'a> {
    fn takes(&self, row: &Row) -> bool {
        row.fields.iter().enumerate().all(|(at, (name, value))| {
            self.column(at, name).is_none_or(|column| self.columns[column].values.takes(value))
        })
    }

    fn cells(&self) -> usize {
        self.rows.len() * self.columns.len()
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
    let (count, mut cells) = (envelope.count.min(ROWS_READ_MAX) as usize, CELLS_MAX);
    for _ in 0..input.array()? {
        read_group(&mut input, count, &mut rows, &mut cells)?;
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

/// `count` is how many rows there are in all, `cells` how many more cells may come.
fn read_group(input: &mut Reader<'_>, count: usize, rows: &mut Vec<Row>, cells: &mut usize) -> Result<(), Refusal> {
    let most = count - rows.len();
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
        series.tags = read_tags(input)?;
    }
    if key(input, "window", true)? {
        series.window = Some(input.text()?.into());
    }
    key(input, "offset", false)?;
    let offsets = column::read_integers(input, most)?;
    key(input, "time", false)?;
    let times = column::read_integers(input, most)?;
    let received = if key(input, "received", true)? { Some(column::read_integers(input, most)?) } else { None };
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
    read_fields(input, &mut rows[start..], cells)
}

type Tags = Vec<(Arc<str>, Arc<str>)>;

fn read_tags(input: &mut Reader<'_>) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    for _ in 0..input.map()? {
        let (name, value) = (input.text()?, input.text()?);
        if tags.last().is_some_and(|(before, _)| **before >= *name) {
            return Err(Refusal::UnknownKey);
        }
        tags.push((name.into(), value.into()));
    }
    if tags.is_empty() { Err(Refusal::UnknownKey) } else { Ok(tags) }
}

fn read_fields(input: &mut Reader<'_>, rows: &mut [Row], left: &mut usize) -> Result<(), Refusal> {
    let fields = input.map()?;
    *left = fields.checked_mul(rows.len()).and_then(|cells| left.checked_sub(cells)).ok_or(Refusal::TooMany)?;
    let mut before: Option<&str> = None;
    for _ in 0..fields {
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
