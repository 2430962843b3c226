//! One window: from a reading to its groups, and from groups that close to rows.

use std::sync::Arc;

use super::aggregate::Counts;
use super::groups::{Aggregator, Closing, Groups, Placed, Row};
use super::passing::Passing;
use super::plan::{Datum, Expr, Kind, Plan, Table};
use super::scope::{GroupScope, RowScope, write_series};
use super::watermark::{Clocks, NEVER, Own, Rule, Shared, Told};
use super::{By, Closed, Spec, Stat, key};
use crate::reading::{Reading, Value};

/// A reading with what the log says of it.
pub struct Seen<'a> {
    pub reading: &'a Reading,
    /// The number of its source.
    pub source: usize,
    /// Event time: the reading's own, or else the moment of arrival.
    pub time: i64,
    pub arrived: i64,
    /// Whether the moment of arrival can be believed.
    pub synced: bool,
}

/// What became of a reading in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub taken: bool,
    pub late: bool,
    pub overflow: bool,
}

#[derive(Debug)]
pub struct One {
    pub spec: Spec,
    pub clocks: Clocks,
    pub groups: Groups,
    /// The arguments of aggregates, each once.
    arguments: Vec<Expr>,
    /// Whether an aggregate tells series apart.
    by_series: bool,
    scratch: Scratch,
}

/// Room that is used again for each row.
#[derive(Debug, Default)]
struct Scratch {
    key: Vec<u8>,
    series: String,
    values: Vec<Datum>,
    closed: Vec<Closing>,
}

impl One {
    pub fn new(spec: Spec) -> Self {
        let plan = &spec.plan;
        let mut arguments = Vec::<Expr>::new();
        let aggregators = plan.aggregates.iter().map(|aggregate| Aggregator {
            kind: aggregate.kind,
            argument: aggregate.argument.as_ref().map(|argument| {
                arguments.iter().position(|known| known == argument).unwrap_or_else(|| {
                    arguments.push(argument.clone());
                    arguments.len() - 1
                })
            }),
        });
        let groups = Groups::new(plan.shape, aggregators.collect(), spec.max_groups);
        let rule = Rule { watermark: spec.watermark, idle_timeout: spec.idle_timeout, most: spec.max_groups };
        let own = spec.by == By::Device && plan.device_key.is_some();
        let clocks = if own { Clocks::Own(Own::new(rule)) } else { Clocks::Shared(Shared::new(rule)) };
        let by_series = plan.aggregates.iter().any(|aggregate| matches!(aggregate.kind, Kind::Rate | Kind::TimeAvg));
        Self { spec, clocks, groups, arguments, by_series, scratch: Scratch::default() }
    }

    /// Folds a reading; then its clock moves on, and what that closes goes to `rows`.
    pub fn fold(&mut self, seen: &Seen, passing: &Passing, rows: &mut Vec<Closed>, counts: &mut Counts) -> Fate {
        let mut part = self.find_part(seen);
        let mut fate = Fate::default();
        let samples = self.spec.plan.table == Table::Samples;
        for field in 0..if samples { seen.reading.fields.len() } else { 1 } {
            let scope = RowScope { time: seen.time, reading: seen.reading, field: samples.then_some(field) };
            if self.spec.plan.filter.as_ref().is_some_and(|filter| !filter.is_true(&scope)) {
                continue;
            }
            // A device is known from its first row that passes: others have nothing to close.
            part = part.or_else(|| self.open_part(seen, passing));
            match part.map_or(Placed::Overflow, |part| self.place(&scope, part, passing, counts)) {
                Placed::Taken => fate.taken = true,
                Placed::Late => fate.late = true,
                Placed::Overflow => {
                    fate.overflow = true;
                    counts.group_overflow += 1;
                }
                Placed::Nowhere => {}
            }
        }
        counts.late += u64::from(fate.late);
        if let Some(part) = part {
            self.hear(seen, part, passing, counts);
            self.close(part, passing, counts);
            self.emit(rows);
        }
        fate
    }

    fn find_part(&self, seen: &Seen) -> Option<usize> {
        match &self.clocks {
            Clocks::Own(own) => own.find(&seen.reading.series.device),
            Clocks::Shared(_) => Some(0),
        }
    }

    fn open_part(&mut self, seen: &Seen, passing: &Passing) -> Option<usize> {
        let Clocks::Own(own) = &mut self.clocks else { return None };
        if own.is_full() {
            let groups = &self.groups;
            own.forget(passing, |part| groups.next_end(part).is_some());
        }
        (!own.is_full()).then(|| own.open(&seen.reading.series.device, seen.source))
    }

    fn place(&mut self, scope: &RowScope, part: usize, passing: &Passing, counts: &mut Counts) -> Placed {
        let Scratch { key, series, values, .. } = &mut self.scratch;
        key.clear();
        for expression in &self.spec.plan.keys {
            key::write_datum(&expression.eval(scope), key);
        }
        values.clear();
        values.extend(self.arguments.iter().map(|argument| argument.eval(scope)));
        series.clear();
        if self.by_series {
            write_series(scope.reading, scope.field, series);
        }
        let row = Row { time: scope.time, series, values };
        self.groups.add(part, key, &row, self.clocks.watermark(part, passing), counts)
    }

    fn hear(&mut self, seen: &Seen, part: usize, passing: &Passing, counts: &mut Counts) {
        let ahead = seen.synced && seen.time > seen.arrived.saturating_add(self.spec.max_ahead);
        let told = if ahead { Told::Ahead(seen.arrived) } else { Told::Time(seen.time) };
        counts.ahead += u64::from(ahead);
        match &mut self.clocks {
            Clocks::Own(own) => own.hear(part, seen.source, told, passing),
            Clocks::Shared(shared) => {
                let series = &seen.reading.series;
                let name = if self.spec.by == By::Source { &series.source } else { &series.device };
                shared.hear(name, told, passing.time());
            }
        }
    }

    /// Time has passed.
    pub fn pass(&mut self, passing: &Passing, rows: &mut Vec<Closed>, counts: &mut Counts) {
        match &mut self.clocks {
            Clocks::Own(_) => {
                while let Some(part) = self.due(passing) {
                    self.close(part, passing, counts);
                }
            }
            Clocks::Shared(shared) => {
                shared.pass(passing.time());
                self.close(0, passing, counts);
            }
        }
        self.emit(rows);
    }

    fn due(&mut self, passing: &Passing) -> Option<usize> {
        let Clocks::Own(own) = &mut self.clocks else { return None };
        own.due(passing)
    }

    /// Closes what its watermark has reached.
    fn close(&mut self, part: usize, passing: &Passing, counts: &mut Counts) {
        let Some(end) = self.groups.next_end(part) else { return };
        let watermark = self.clocks.watermark(part, passing);
        if end <= watermark {
            self.groups.close(part, watermark, &mut self.scratch.closed, counts);
        }
        if let (Clocks::Own(own), Some(end)) = (&mut self.clocks, self.groups.next_end(part)) {
            own.set_alarm(part, end, passing);
        }
    }

    /// Closes all, as if every watermark had reached the last end.
    pub fn finish(&mut self, passing: &Passing, rows: &mut Vec<Closed>, counts: &mut Counts) {
        for (part, end) in self.groups.last_ends() {
            self.clocks.raise(part, end, passing);
            self.close(part, passing, counts);
        }
        self.emit(rows);
    }

    /// Rows of what has closed, in order of end, key and start: an order that depends on the log alone.
    fn emit(&mut self, rows: &mut Vec<Closed>) {
        let closed = &mut self.scratch.closed;
        closed.sort_unstable_by(|a, b| (a.end, &a.key, a.start).cmp(&(b.end, &b.key, b.start)));
        rows.extend(closed.drain(..).filter_map(|closing| row(&self.spec.name, &self.spec.plan, &closing)));
    }

    /// The least watermark that something open waits for.
    pub fn stat(&self, passing: &Passing) -> Stat {
        let watermark = match &self.clocks {
            Clocks::Own(own) => {
                let waiting = own.devices().filter(|(part, _)| self.groups.next_end(*part).is_some());
                waiting.map(|(part, _)| own.watermark(part, passing)).min()
            }
            Clocks::Shared(shared) => Some(shared.watermark(passing.time())),
        };
        Stat {
            window: self.spec.name.clone(),
            open: self.groups.open(),
            keys: self.groups.keys(),
            clocks: match &self.clocks {
                Clocks::Own(own) => own.len(),
                Clocks::Shared(shared) => shared.clocks().count(),
            },
            watermark: watermark.filter(|watermark| *watermark != NEVER),
        }
    }

    /// The part of a key, as it was written.
    pub fn part_of(&self, key: &[u8]) -> Option<usize> {
        match (&self.clocks, self.spec.plan.device_key) {
            (Clocks::Own(own), Some(number)) => match key::read(key)?.get(number)? {
                Some(Value::Text(device)) => own.find(device),
                _ => None,
            },
            _ => Some(0),
        }
    }

    /// After the last piece of a state.
    pub fn restored(&mut self, passing: &Passing) {
        self.groups.restored();
        match &mut self.clocks {
            Clocks::Own(own) => own.restored(self.spec.idle_timeout, passing),
            Clocks::Shared(shared) => shared.restored(passing.time()),
        }
        let Clocks::Own(own) = &mut self.clocks else { return };
        let parts: Vec<_> = own.devices().map(|(part, _)| part).collect();
        for part in parts {
            if let Some(end) = self.groups.next_end(part) {
                own.set_alarm(part, end, passing);
            }
        }
    }
}

fn row(window: &Arc<str>, plan: &Plan, closing: &Closing) -> Option<Closed> {
    let keys = key::read(&closing.key).expect("a key that was written as one");
    let scope = GroupScope { keys: &keys, answers: &closing.answers, start: closing.start, end: closing.end };
    if plan.having.as_ref().is_some_and(|having| !having.is_true(&scope)) {
        return None;
    }
    let device = match plan.device_key.and_then(|number| keys.get(number)) {
        Some(Some(Value::Text(device))) => device.clone(),
        _ => Arc::default(),
    };
    let fields = plan.select.iter().filter_map(|(name, expression)| Some((name.clone(), expression.eval(&scope)?)));
    Some(Closed { window: window.clone(), device, start: closing.start, end: closing.end, fields: fields.collect() })
}
