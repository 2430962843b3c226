//! The rows of a window, told without any cleverness: all readings kept, each key and each window gone through from
//! scratch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate_wire::Row;

use super::answer::{self, Answer, Sample};
use super::{Committed, Expected};
use crate::reading::Value;
use crate::window::plan::{Expr, Kind, Plan, Ref, Shape, Table};
use crate::window::{By, Spec};

/// A row of the table: a reading, or in `samples` one field of it.
#[derive(Clone)]
struct Line<'a> {
    row: &'a Row,
    field: Option<usize>,
    /// Up to where all is believed to have come, just before this reading.
    watermark: i64,
}

/// A window of one key, and what fell into it in the order of the log.
struct Window<'a> {
    start: i64,
    end: i64,
    lines: Vec<Line<'a>>,
}

/// Whether this window can be told plainly.
pub fn knows(spec: &Spec) -> bool {
    Query::of(spec).is_some()
}

/// The rows of a window over readings in the order of the log; `None`: it says more than is understood here.
pub fn rows(spec: &Spec, readings: &[&Committed]) -> Option<Vec<Expected>> {
    let query = Query::of(spec)?;
    let mut keys: BTreeMap<Vec<String>, (Vec<Option<Value>>, Vec<Line<'_>>)> = BTreeMap::new();
    for line in lines(spec, readings) {
        let key: Vec<_> = query.keys.iter().map(|column| line.get(column)).collect();
        let name = key.iter().map(|value| answer::name(value.as_ref())).collect();
        keys.entry(name).or_insert_with(|| (key, Vec::new())).1.push(line);
    }
    let of_key = |(key, lines): (Vec<Option<Value>>, Vec<_>)| {
        let windows = cut(spec.plan.shape, lines);
        windows.into_iter().map(|window| query.row(&key, &window)).collect::<Vec<_>>()
    };
    Some(keys.into_values().flat_map(of_key).collect())
}

/// A query over columns.
struct Query<'a> {
    plan: &'a Plan,
    keys: Vec<&'a Ref>,
    aggregates: Vec<(Kind, Option<&'a Ref>)>,
    select: Vec<(&'a Arc<str>, &'a Ref)>,
}

impl<'a> Query<'a> {
    fn of(spec: &'a Spec) -> Option<Self> {
        let plan = &spec.plan;
        // One watermark under the clocks of several devices waits for each of them, and for none that is silent.
        let own_clocks = spec.by == By::Source || plan.device_key.is_some();
        if plan.filter.is_some() || plan.having.is_some() || !own_clocks {
            return None;
        }
        let aggregates = plan.aggregates.iter().map(|aggregate| {
            let argument = aggregate.argument.as_ref().map(column);
            let is_known = answer::KINDS.contains(&aggregate.kind) && argument != Some(None);
            is_known.then_some((aggregate.kind, argument.flatten()))
        });
        Some(Self {
            plan,
            keys: plan.keys.iter().map(column).collect::<Option<_>>()?,
            aggregates: aggregates.collect::<Option<_>>()?,
            select: plan.select.iter().map(|(name, it)| Some((name, column(it)?))).collect::<Option<_>>()?,
        })
    }

    fn row(&self, key: &[Option<Value>], window: &Window<'_>) -> Expected {
        let answer = |column: &Ref| match column {
            Ref::Key(number) => key[*number].clone().map(Answer::Exactly),
            Ref::Aggregate(number) => window.answer(self.aggregates[*number]),
            Ref::WindowStart => Some(Answer::Exactly(Value::I64(window.start))),
            Ref::WindowEnd => Some(Answer::Exactly(Value::I64(window.end))),
            _ => None,
        };
        let fields = self.select.iter().filter_map(|(name, column)| Some(((*name).clone(), answer(column)?)));
        let device = match self.plan.device_key.map(|number| &key[number]) {
            Some(Some(Value::Text(device))) => device.clone(),
            _ => Arc::default(),
        };
        Expected { device, end: window.end, fields: fields.collect() }
    }
}

fn column(expression: &Expr) -> Option<&Ref> {
    if let Expr::Ref(column) = expression { Some(column) } else { None }
}

/// The rows of the table, each with its watermark: the latest time of its clock so far, less the delay.
fn lines<'a>(spec: &Spec, readings: &[&'a Committed]) -> Vec<Line<'a>> {
    let mut latest: HashMap<&str, i64> = HashMap::new();
    let mut lines = Vec::new();
    for Committed { row, .. } in readings {
        let clock = if spec.by == By::Source { &row.series.source } else { &row.series.device };
        let latest = latest.entry(clock).or_insert(i64::MIN);
        let watermark = latest.saturating_sub(spec.watermark);
        let fields = match spec.plan.table {
            Table::Readings => vec![None],
            Table::Samples => (0..row.fields.len()).map(Some).collect(),
        };
        lines.extend(fields.into_iter().map(|field| Line { row, field, watermark }));
        *latest = row.time.max(*latest);
    }
    lines
}

impl Line<'_> {
    fn get(&self, column: &Ref) -> Option<Value> {
        let (series, fields) = (&self.row.series, &self.row.fields);
        match column {
            Ref::Time => Some(Value::I64(self.row.time)),
            Ref::Source => Some(Value::Text(series.source.clone())),
            Ref::Device => Some(Value::Text(series.device.clone())),
            Ref::Tag(name) => series.tags.iter().find(|(tag, _)| tag == name).map(|(_, tag)| Value::Text(tag.clone())),
            Ref::Field(name) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()),
            Ref::Metric => self.field.map(|field| Value::Text(fields[field].0.clone())),
            Ref::Value => self.field.map(|field| fields[field].1.clone()),
            Ref::Key(_) | Ref::Aggregate(_) | Ref::WindowStart | Ref::WindowEnd => None,
        }
    }
}

impl Window<'_> {
    fn answer(&self, (kind, argument): (Kind, Option<&Ref>)) -> Option<Answer> {
        let Some(argument) = argument else { return Some(Answer::count(self.lines.len())) };
        let values = self.lines.iter().filter_map(|line| Some((line.row.time, line.get(argument)?)));
        let values: Vec<(i64, Value)> = values.collect();
        let samples: Vec<Sample<'_>> = values.iter().map(|(time, value)| (*time, value)).collect();
        Answer::of(kind, &samples)
    }
}

/// Cuts what has one key into windows; what is late falls into none.
fn cut(shape: Shape, lines: Vec<Line<'_>>) -> Vec<Window<'_>> {
    match shape {
        Shape::Tumble { size } => hops(size, size, lines),
        Shape::Hop { slide, size } => hops(slide, size, lines),
        Shape::Session { gap } => sessions(gap, lines),
    }
}

fn hops(slide: i64, size: i64, lines: Vec<Line<'_>>) -> Vec<Window<'_>> {
    let mut windows: BTreeMap<i64, Vec<Line<'_>>> = BTreeMap::new();
    for line in lines {
        let newest = line.row.time.div_euclid(slide) * slide;
        let starts = (0..).map(|n| newest - n * slide).take_while(|start| start + size > line.row.time);
        for start in starts.filter(|start| start + size > line.watermark) {
            windows.entry(start).or_default().push(line.clone());
        }
    }
    windows.into_iter().map(|(start, lines)| Window { start, end: start + size, lines }).collect()
}

/// Readings at most one gap apart are one session; its end is one gap after the last.
fn sessions(gap: i64, lines: Vec<Line<'_>>) -> Vec<Window<'_>> {
    let (mut open, mut closed) = (Vec::<Window<'_>>::new(), Vec::new());
    for line in lines {
        let time = line.row.time;
        closed.extend(open.extract_if(.., |session| session.end <= line.watermark));
        let joined = open.extract_if(.., |session| session.start - gap <= time && time <= session.end);
        let joined: Vec<_> = joined.collect();
        if joined.is_empty() && time + gap <= line.watermark {
            continue;
        }
        let mut session = Window { start: time, end: time + gap, lines: Vec::new() };
        for part in joined {
            (session.start, session.end) = (session.start.min(part.start), session.end.max(part.end));
            session.lines.extend(part.lines);
        }
        session.lines.push(line);
        open.push(session);
    }
    closed.extend(open);
    closed
}
