//! What windows mean, told once more without any cleverness: second by second, every reading kept, every row worked
//! out from scratch.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One reading as a row.
#[derive(Clone, Debug)]
pub struct Row {
    pub time: i64,
    pub series: String,
    pub key: Vec<Option<Value>>,
    pub x: Option<f64>,
    pub i: Option<i64>,
}

/// A row that should come: its key, its bounds, and what it is over, in the order of the log.
#[derive(Debug)]
pub struct Expected {
    pub key: Vec<Option<Value>>,
    pub start: i64,
    pub end: i64,
    pub rows: Vec<Row>,
}

#[derive(Default)]
struct Clock {
    /// What its device, or source, told last; `None` while it never told a time of its own.
    time: Option<i64>,
    silent_for: i64,
}

/// Clocks under one watermark.
#[derive(Default)]
struct Part {
    clocks: BTreeMap<String, Clock>,
    watermark: Option<i64>,
    /// Where the time passes that counts for it, if that is one source alone.
    source: String,
}

pub struct Model {
    spec: Spec,
    connected: BTreeMap<String, bool>,
    parts: BTreeMap<String, Part>,
    /// The rows of each open window: part, key, start and end.
    open: Vec<(String, Expected)>,
}

impl Model {
    pub fn new(spec: Spec) -> Self {
        Self { spec, connected: BTreeMap::new(), parts: BTreeMap::new(), open: Vec::new() }
    }

    /// The rows that this group of the log should close, and how many of its readings are late.
    pub fn apply(&mut self, group: &Group, passed: i64) -> (Vec<Expected>, u64) {
        let (mut closed, mut late) = (Vec::new(), 0);
        let mut left = passed;
        for entry in &group.entries {
            match entry {
                Entry::Reading { reading, age } => {
                    while left > i64::from(*age) / SECOND {
                        self.second(&mut closed);
                        left -= 1;
                    }
                    late += u64::from(self.reading(group, reading, *age));
                    self.close(&mut closed);
                }
                Entry::Started => self.connected.values_mut().for_each(|connected| *connected = false),
                Entry::Up(source) | Entry::Down(source) => {
                    (0..std::mem::take(&mut left)).for_each(|_| self.second(&mut closed));
                    self.connected.insert(source.to_string(), matches!(entry, Entry::Up(_)));
                }
                Entry::End => closed.extend(self.open.drain(..).map(|(_, expected)| expected)),
                Entry::Tick | Entry::Letter(_) | Entry::State(_) | Entry::Checkpoint(_) => {}
            }
        }
        (0..left).for_each(|_| self.second(&mut closed));
        (closed, late)
    }

    fn own(&self) -> bool {
        self.spec.by == By::Device && self.spec.plan.device_key.is_some()
    }

    /// A second passes.
    fn second(&mut self, closed: &mut Vec<Expected>) {
        let (own, idle) = (self.own(), self.spec.idle_timeout);
        for part in self.parts.values_mut() {
            let up = |source: &String| self.connected.get(source) == Some(&true);
            if if own { up(&part.source) } else { self.connected.values().any(|up| *up) } {
                if part.clocks.values().all(|clock| clock.silent_for >= idle) {
                    part.watermark = part.watermark.map(|watermark| watermark + SECOND);
                }
                part.clocks.values_mut().for_each(|clock| clock.silent_for += SECOND);
                if !own {
                    // One that comes back starts anew.
                    part.clocks.retain(|_, clock| clock.silent_for < idle);
                }
            }
            part.follow(idle, self.spec.watermark);
        }
        self.close(closed);
    }

    /// Whether it was late.
    fn reading(&mut self, group: &Group, reading: &Reading, age: u32) -> bool {
        let series = &reading.series;
        self.connected.entry(series.source.to_string()).or_insert(true);
        let arrived = group.received(age).0;
        let time = reading.time.map_or(arrived, |time| time.0);
        let name = if self.own() { series.device.to_string() } else { String::new() };
        let watermark = self.parts.get(&name).and_then(|part| part.watermark).unwrap_or(i64::MIN);
        let late = !self.place(&name, row(&self.spec, reading, time), watermark);

        let ahead = group.stamp.synced && time > arrived + self.spec.max_ahead;
        let own = self.own();
        let part = self.parts.entry(name).or_default();
        let clock = if self.spec.by == By::Device { &series.device } else { &series.source };
        if !ahead {
            let clock = part.clocks.entry(clock.to_string()).or_default();
            *clock = Clock { time: Some(clock.time.map_or(time, |told| told.max(time))), silent_for: 0 };
        } else if part.watermark.is_none() {
            part.watermark = Some(arrived - self.spec.watermark);
            if own {
                let clock = Clock { time: Some(arrived), silent_for: self.spec.idle_timeout };
                part.clocks.insert(series.device.to_string(), clock);
            }
        }
        if !ahead || part.source.is_empty() {
            part.source = series.source.to_string();
        }
        part.follow(self.spec.idle_timeout, self.spec.watermark);
        late
    }

    /// Puts a row into every window it belongs to that is open. Whether there was one, or never could be.
    fn place(&mut self, part: &str, row: Row, watermark: i64) -> bool {
        let (slide, size) = match self.spec.plan.shape {
            Shape::Tumble { size } => (size, size),
            Shape::Hop { slide, size } => (slide, size),
            Shape::Session { gap } => return self.place_in_session(part, row, watermark, gap),
        };
        let newest = row.time.div_euclid(slide) * slide;
        let starts = (0..).map(|n| newest - n * slide).take_while(|start| start + size > row.time);
        let starts: Vec<_> = starts.collect();
        let mut taken = starts.is_empty();
        for start in starts.into_iter().filter(|start| start + size > watermark) {
            taken = true;
            let found = self.open.iter_mut().find(|(_, open)| open.start == start && open.key == row.key);
            if let Some((_, open)) = found {
                open.rows.push(row.clone());
            } else {
                let open = Expected { key: row.key.clone(), start, end: start + size, rows: vec![row.clone()] };
                self.open.push((part.to_owned(), open));
            }
        }
        taken
    }

    fn place_in_session(&mut self, part: &str, row: Row, watermark: i64, gap: i64) -> bool {
        let touches = |open: &Expected| open.key == row.key && open.start <= row.time + gap && row.time <= open.end;
        let touched: Vec<_> = self.open.extract_if(.., |(_, open)| touches(open)).collect();
        if touched.is_empty() && row.time + gap <= watermark {
            return false;
        }
        let mut joined = Expected { key: row.key.clone(), start: row.time, end: row.time + gap, rows: Vec::new() };
        for (_, open) in touched {
            (joined.start, joined.end) = (joined.start.min(open.start), joined.end.max(open.end));
            joined.rows.extend(open.rows);
        }
        joined.rows.push(row);
        self.open.push((part.to_owned(), joined));
        true
    }

    fn close(&mut self, closed: &mut Vec<Expected>) {
        let parts = &self.parts;
        let is_over = |(part, open): &mut (String, Expected)| {
            parts.get(part).and_then(|part| part.watermark).is_some_and(|watermark| open.end <= watermark)
        };
        closed.extend(self.open.extract_if(.., is_over).map(|(_, open)| open));
    }
}

impl Part {
    fn follow(&mut self, idle: i64, delay: i64) {
        let active = self.clocks.values().filter(|clock| clock.silent_for < idle).filter_map(|clock| clock.time);
        if let Some(least) = active.min() {
            self.watermark = Some(self.watermark.map_or(least - delay, |watermark| watermark.max(least - delay)));
        }
    }
}

fn row(spec: &Spec, reading: &Reading, time: i64) -> Row {
    let field = |name: &str| reading.fields.iter().find(|(field, _)| **field == *name).map(|(_, value)| value.clone());
    let key = spec.plan.keys.iter().map(|key| match key {
        Expr::Ref(Ref::Device) => Some(Value::Text(reading.series.device.clone())),
        _ => field("k"),
    });
    Row {
        time,
        series: format!("{}/{}", reading.series.source, reading.series.device),
        key: key.collect(),
        x: field("x").map(|x| if let Value::F64(x) = x { x } else { unreachable!("x is a float") }),
        i: field("i").map(|i| if let Value::I64(i) = i { i } else { unreachable!("i is an integer") }),
    }
}

impl Expected {
    /// The answers in the order of `life::KINDS`; `rows` is in the order of the log within each session's parts.
    pub fn answers(&self) -> Vec<Option<Value>> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.time);
        let xs: Vec<f64> = rows.iter().filter_map(|row| row.x).collect();
        let is: Vec<i64> = rows.iter().filter_map(|row| row.i).collect();
        let wide = is.iter().map(|i| i128::from(*i)).sum::<i128>();
        let sum = i64::try_from(wide).map(Value::I64).or_else(|_| u64::try_from(wide).map(Value::U64));
        let int_floats: Vec<f64> = is.iter().map(|i| *i as f64).collect();
        let mut sorted = xs.clone();
        sorted.sort_by(f64::total_cmp);
        let float = |x: Option<f64>| x.map(Value::F64);
        vec![
            Some(Value::I64(rows.len() as i64)),
            Some(Value::I64(xs.len() as i64)),
            Some(Value::I64(is.iter().collect::<BTreeSet<_>>().len() as i64)),
            (!is.is_empty()).then(|| sum.unwrap_or(Value::F64(wide as f64))),
            float((!xs.is_empty()).then(|| xs.iter().sum())),
            float(mean(&xs)),
            float(sorted.first().copied()),
            is.iter().max().copied().map(Value::I64),
            float(variance(&xs, 0).map(f64::sqrt)),
            float(variance(&int_floats, 1).map(f64::sqrt)),
            float(variance(&int_floats, 0)),
            float(variance(&xs, 1)),
            float(xs.first().copied()),
            is.last().copied().map(Value::I64),
            float((!xs.is_empty()).then(|| sorted[(0.9 * (sorted.len() - 1) as f64) as usize])),
            float(rate(&rows)),
            float(self.time_average(&rows)),
        ]
    }

    fn time_average(&self, rows: &[&Row]) -> Option<f64> {
        let mut lines = BTreeMap::<&str, Vec<(i64, f64)>>::new();
        for row in rows {
            lines.entry(&row.series).or_default().extend(row.x.map(|x| (row.time, x)));
        }
        let (mut area, mut weight) = (0.0, 0.0);
        for line in lines.values() {
            for (n, (time, x)) in line.iter().enumerate() {
                let held = (line.get(n + 1).map_or(self.end, |next| next.0) - time) as f64;
                area += x * held;
                weight += held;
            }
        }
        (weight > 0.0).then(|| area / weight)
    }
}

fn rate(rows: &[&Row]) -> Option<f64> {
    let mut lines = BTreeMap::<&str, Vec<(i64, f64)>>::new();
    for row in rows {
        lines.entry(&row.series).or_default().extend(row.i.map(|i| (row.time, i as f64)));
    }
    let rates = lines.values().filter_map(|line| {
        let span = line.last()?.0 - line.first()?.0;
        let rises = line.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 });
        (span > 0).then(|| rises.sum::<f64>() / (span as f64 / 1e6))
    });
    rates.reduce(|sum, rate| sum + rate)
}

fn mean(xs: &[f64]) -> Option<f64> {
    (!xs.is_empty()).then(|| xs.iter().sum::<f64>() / xs.len() as f64)
}

/// In two passes.
fn variance(xs: &[f64], less: usize) -> Option<f64> {
    let mean = mean(xs)?;
    let squares = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (xs.len() > less).then(|| squares / (xs.len() - less) as f64)
}
