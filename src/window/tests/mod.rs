//! Stories: what happened, line by line, and what came of it.
//!
//! ```text
//!   seconds  event; event            -> outcome | outcome
//!
//!   event    = up SOURCE | down SOURCE | tick | start | boot ID | step SECONDS | end
//!            | DEVICE[@SOURCE] TIME|now FIELD=VALUE …           a reading
//!   outcome  = DEVICE [START, END) FIELD=VALUE …                a row
//!            | late DEVICE TIME                             a reading that is handed back; so is one on `overflow`
//! ```
//!
//! A line is one group of the log. All times are seconds after the same midnight; `step` sets the wall clock without
//! time passing. Every story is told four times: at once, with its readings' groups torn into groups of one entry, and
//! with the state written and read back after each line, whole or as changes. All must end the same.

mod closing;
mod cutting;
mod life;
mod model;
mod property;
mod state;

use std::fmt::Write;
use std::sync::Arc;

use super::aggregate::Counts;
use super::plan::{Aggregate, Comparison, Expr, Kind, Plan, Ref, Shape, Table};
use super::{Aside, By, Closed, Folded, Late, Lost, Spec, Why, Windows};
use crate::queue::entry::{Entry, Group, Stamp};
use crate::reading::{Micros, Reading, Series, Value};

pub const SECOND: i64 = Micros::PER_SECOND;
/// 2030-01-01.
pub const MIDNIGHT: i64 = 1_893_456_000 * SECOND;

/// `SELECT COUNT(*) AS n, SUM(x) AS sum … GROUP BY device, TUMBLE(time, INTERVAL '10' SECOND)`, five seconds of
/// watermark, twenty of patience.
pub fn spec() -> Spec {
    let aggregates = vec![aggregate(Kind::Count, None), aggregate(Kind::Sum, Some("x"))];
    let select = vec![("n".into(), Expr::Ref(Ref::Aggregate(0))), ("sum".into(), Expr::Ref(Ref::Aggregate(1)))];
    let plan = Plan {
        table: Table::Readings,
        filter: None,
        keys: vec![Expr::Ref(Ref::Device)],
        device_key: Some(0),
        shape: Shape::Tumble { size: 10 * SECOND },
        aggregates,
        having: None,
        select,
    };
    Spec {
        name: "w".into(),
        sql: "as in the plan".into(),
        plan,
        watermark: 5 * SECOND,
        by: By::Device,
        idle_timeout: 20 * SECOND,
        max_ahead: 3600 * SECOND,
        max_groups: 1000,
        late: Late::Forward,
    }
}

/// The same for all devices together.
pub fn of_all() -> Spec {
    let mut spec = spec();
    spec.plan.keys.clear();
    spec.plan.device_key = None;
    spec
}

pub fn aggregate(kind: Kind, field: Option<&str>) -> Aggregate {
    Aggregate { kind, argument: field.map(|name| Expr::Ref(Ref::Field(name.into()))) }
}

pub fn compare(how: Comparison, left: Ref, right: Value) -> Expr {
    Expr::Compare(how, Box::new(Expr::Ref(left)), Box::new(Expr::Literal(Some(right))))
}

/// Tells a story, and gives what was counted on the way.
#[track_caller]
pub fn tell(spec: &Spec, story: &str) -> Counts {
    let lines: Vec<_> = story.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut log = Log::default();
    let groups: Vec<_> = lines.iter().map(|line| log.group(line.split("->").next().unwrap())).collect();
    let expected: Vec<_> = lines.iter().map(|line| line.split("->").nth(1).unwrap_or("").trim().to_owned()).collect();

    let mut sum = Counts::default();
    let mut windows = Windows::new(vec![spec.clone()]);
    let mut whole = Windows::new(vec![spec.clone()]);
    let mut changing = Windows::new(vec![spec.clone()]);
    let mut torn = Windows::new(vec![spec.clone()]);
    let mut deltas = Vec::new();
    for ((line, group), expected) in lines.iter().zip(&groups).zip(&expected) {
        let folded = windows.apply(group);
        assert_eq!(show(&folded), *expected, "\nafter {line}");
        add(&mut sum, &folded.counts[0]);

        let pieces: Vec<_> = whole.snapshot().collect();
        whole = Windows::restore(vec![spec.clone()], pieces).unwrap().0;
        assert_eq!(whole.apply(group), folded, "from a snapshot, at {line}");

        deltas.push(changing.changes());
        changing = Windows::restore(vec![spec.clone()], &deltas).unwrap().0;
        assert_eq!(changing.apply(group), folded, "from deltas, at {line}");

        let mut rows = Vec::new();
        for part in tear(group) {
            rows.append(&mut torn.apply(&part).rows);
        }
        assert_eq!(rows, folded.rows, "entry by entry, at {line}");
    }
    sum
}

fn tear(group: &Group) -> impl Iterator<Item = Group> {
    (group.first..).zip(&group.entries).map(|(first, entry)| Group {
        first,
        entries: vec![entry.clone()],
        ..group.clone()
    })
}

pub fn add(sum: &mut Counts, counts: &Counts) {
    sum.late += counts.late;
    sum.ahead += counts.ahead;
    sum.group_overflow += counts.group_overflow;
    sum.distinct_overflow += counts.distinct_overflow;
    sum.integer_overflow += counts.integer_overflow;
    sum.sample_overflow += counts.sample_overflow;
}

fn show(folded: &Folded) -> String {
    let rows = folded.rows.iter().map(show_row);
    let aside = folded.aside.iter().map(|Aside { why, reading, .. }| {
        let why = format!("{why:?}").to_lowercase();
        format!("{why} {} {}", reading.series.device, seconds(reading.time.unwrap().0))
    });
    rows.chain(aside).collect::<Vec<_>>().join(" | ")
}

fn show_row(row: &Closed) -> String {
    let mut text = format!("{} [{}, {})", row.device, seconds(row.start), seconds(row.end));
    for (name, value) in &row.fields {
        let value = match value {
            Value::F64(x) => x.to_string(),
            Value::I64(n) => n.to_string(),
            Value::U64(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Text(text) => text.to_string(),
        };
        write!(text, " {name}={value}").unwrap();
    }
    text.trim_start().to_owned()
}

fn seconds(time: i64) -> i64 {
    (time - MIDNIGHT) / SECOND
}

/// The log of a story as it is written.
pub struct Log {
    next: u64,
    boot: Arc<str>,
    /// What `mono` was 0 at, and what the wall clock is ahead of the story.
    booted: i64,
    step: i64,
    pub synced: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { next: 0, boot: "first".into(), booted: 0, step: 0, synced: true }
    }
}

impl Log {
    /// One line's group.
    fn group(&mut self, line: &str) -> Group {
        let (second, events) = line.trim().split_once(' ').unwrap_or_else(|| panic!("a time and an event: {line}"));
        let second: i64 = second.parse().unwrap();
        let entries = events.split(';').map(|event| self.entry(event.trim(), second)).collect();
        self.stamped(second * SECOND, entries)
    }

    /// A group at a moment of the story, microseconds.
    pub fn stamped(&mut self, now: i64, entries: Vec<Entry>) -> Group {
        let received = MIDNIGHT + now + self.step;
        let stamp = Stamp { received, boot: self.boot.clone(), mono: now - self.booted, synced: self.synced };
        let first = self.next;
        self.next += entries.len() as u64;
        Group { epoch: 1, first, stamp, entries }
    }

    pub fn boot(&mut self, id: &str, now: i64) {
        (self.boot, self.booted) = (id.into(), now);
    }

    fn entry(&mut self, event: &str, second: i64) -> Entry {
        let words: Vec<_> = event.split_whitespace().collect();
        match words[..] {
            ["up", source] => Entry::Up(source.into()),
            ["down", source] => Entry::Down(source.into()),
            ["tick"] => Entry::Tick,
            ["start"] => Entry::Started,
            ["boot", id] => {
                self.boot(id, second * SECOND);
                Entry::Started
            }
            ["step", by] => {
                self.step += by.parse::<i64>().unwrap() * SECOND;
                Entry::Tick
            }
            ["end"] => Entry::End,
            [device, time, ref fields @ ..] => {
                let (device, source) = device.split_once('@').unwrap_or((device, "plant"));
                let time = (time != "now").then(|| MIDNIGHT + time.parse::<i64>().unwrap() * SECOND);
                let fields = fields.iter().map(|field| {
                    let (name, value) = field.split_once('=').unwrap();
                    (name.into(), value_of(value))
                });
                reading(source, device, time, fields.collect())
            }
            _ => panic!("no event: {event}"),
        }
    }
}

fn value_of(text: &str) -> Value {
    if let Ok(n) = text.parse() {
        return Value::I64(n);
    }
    text.parse().map_or_else(|_| Value::Text(text.into()), Value::F64)
}

pub fn reading(source: &str, device: &str, time: Option<i64>, fields: Vec<(Arc<str>, Value)>) -> Entry {
    let series = Series { source: source.into(), device: device.into(), ..Series::default() };
    Entry::Reading { reading: Reading { time: time.map(Micros), series: Arc::new(series), fields }, age: 0 }
}
