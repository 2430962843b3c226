//! One lane: the rows that wait in it, and the seal that turns the first of them into a record.
//!
//! A lane's rows stand in **runs** of one epoch and one clock state; a run may begin behind a gap, whose last
//! entry it then names as `prev`. How many rows a record takes is foretold from what the last ones weighed and
//! what became of that once compressed.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_wire::{Row, Value};

use super::{Identity, Limits, Record, Sealed, Sealer, partition_key};
use crate::reading::{Micros, held_bytes};

/// Rows heavier than this together are never one body: it keeps memory and the body's cap.
const WEIGHT_MAX: usize = 12 << 20;
/// Memory, bytes, for the rows that wait in one lane: some 35,000 readings of four fields. More of them in one record
/// would make each of them hardly smaller on the road.
const HELD_MAX: usize = 8 << 20;
/// What compression makes of a row's weight before anything is known.
const FIRST_GUESS: f64 = 0.25;

/// An ordered sub-stream with one partition key.
pub struct Lane {
    pub stream: &'static str,
    pub number: u32,
    pub key: Arc<str>,
    /// The last entry that was sealed, shed or lost.
    pub prev: Option<Identity>,
    runs: VecDeque<Run>,
    weight: usize,
    /// Bytes of memory.
    held: usize,
    /// Bytes of a record for a byte of weight.
    ratio: f64,
}

/// Rows of one epoch and one clock state.
pub struct Run {
    pub epoch: u64,
    pub synced: bool,
    /// The end of a gap this run begins behind.
    pub prev: Option<Identity>,
    rows: VecDeque<Row>,
    arrived: VecDeque<Micros>,
}

/// What shedding took out of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub from: Identity,
    pub to: Identity,
    pub count: u64,
}

impl Removed {
    /// Both together: what lies behind follows.
    #[must_use]
    pub fn and(earlier: Option<Self>, later: Self) -> Self {
        earlier.map_or(later, |earlier| Self { from: earlier.from, to: later.to, count: earlier.count + later.count })
    }
}

impl Lane {
    #[must_use]
    pub fn new(gateway: &str, stream: &'static str, number: u32, prev: Option<Identity>) -> Self {
        Self {
            stream,
            number,
            key: partition_key(gateway, stream, number),
            prev,
            runs: VecDeque::new(),
            weight: 0,
            held: 0,
            ratio: FIRST_GUESS,
        }
    }

    pub fn push(&mut self, row: Row, epoch: u64, synced: bool, arrived: Micros) {
        self.weight += weight(&row);
        self.held += held(&row);
        match self.runs.back_mut() {
            Some(run) if run.epoch == epoch && run.synced == synced => run.push(row, arrived),
            _ => {
                let mut run = Run { epoch, synced, prev: None, rows: VecDeque::new(), arrived: VecDeque::new() };
                run.push(row, arrived);
                self.runs.push_back(run);
            }
        }
    }

    /// Says that entries up to this one are missing behind what waits here now.
    pub fn skip(&mut self, to: Identity) {
        if self.runs.is_empty() {
            self.prev = Some(to);
        } else {
            // An empty run: the next row either joins it, being of its epoch, or follows and takes over its `prev`.
            let run =
                Run { epoch: to.0, synced: true, prev: Some(to), rows: VecDeque::new(), arrived: VecDeque::new() };
            self.runs.push_back(run);
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// The first row that waits: its offset, and what its record would name as `prev`.
    #[must_use]
    pub fn first(&self) -> Option<(u64, Option<Identity>)> {
        let prev = self.runs.iter().take_while(|run| run.rows.is_empty()).last().and_then(|run| run.prev);
        let run = self.runs.iter().find(|run| !run.rows.is_empty())?;
        Some((run.rows.front()?.offset, run.prev.or(prev).or(self.prev)))
    }

    /// When the oldest row that waits arrived.
    #[must_use]
    pub fn oldest(&self) -> Option<Micros> {
        self.runs.iter().find_map(|run| run.arrived.front().copied())
    }

    /// Whether there is enough for a record of the target size.
    #[must_use]
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.weight as f64 * self.ratio >= limits.target as f64 || self.weight >= WEIGHT_MAX || self.held >= HELD_MAX
    }

    /// Takes as many of the first rows as one record should hold. `None` while nothing waits.
    pub fn seal(&mut self, limits: &Limits, sealer: &mut Sealer) -> Option<Sealed> {
        self.drop_empty_runs();
        let mut run = self.runs.pop_front()?;
        let rows = run.rows.make_contiguous();
        let most = limits.target.min(limits.max_record.saturating_sub(self.key.len()));
        let (mut count, mut weighed) = foretell(rows, most as f64 / self.ratio);
        let data = loop {
            let written = sealer.write(self, &run, &run.rows.as_slices().0[..count], limits);
            match written {
                Some(data) if data.len() <= most || count == 1 => break data,
                Some(data) => count = (count * most / data.len() * 15 / 16).clamp(1, count - 1),
                None => count = (count / 2).max(1),
            }
            weighed = run.rows.iter().take(count).map(weight).sum();
        };
        self.ratio = f64::midpoint(self.ratio, data.len() as f64 / weighed.max(1) as f64);
        let record = self.take(&mut run, count, data);
        if !run.rows.is_empty() {
            self.runs.push_front(run);
        }
        self.drop_empty_runs();
        self.weight -= weighed;
        let fits = record.size() <= limits.max_record;
        Some(if fits { Sealed::Record(record) } else { Sealed::TooLarge(record) })
    }

    fn take(&mut self, run: &mut Run, count: usize, data: bytes::Bytes) -> Record {
        let (first, last) = (run.rows[0].offset, run.rows[count - 1].offset);
        let record = Record {
            stream: self.stream,
            lane: self.number,
            key: self.key.clone(),
            data,
            epoch: run.epoch,
            first,
            last,
            prev: run.prev.take().or(self.prev),
            count: count as u64,
            arrived: (run.arrived[0], run.arrived[count - 1]),
        };
        self.prev = Some((run.epoch, last));
        self.held -= run.rows.drain(..count).map(|row| held(&row)).sum::<usize>();
        run.arrived.drain(..count);
        record
    }

    /// Gives up every row before this offset.
    pub fn shed(&mut self, before: u64) -> Option<Removed> {
        let mut removed: Option<Removed> = None;
        self.drop_empty_runs();
        while let Some(run) = self.runs.front_mut() {
            while let Some(row) = run.rows.pop_front_if(|row| row.offset < before) {
                run.arrived.pop_front();
                let at = (run.epoch, row.offset);
                removed = Some(Removed::and(removed, Removed { from: at, to: at, count: 1 }));
                self.weight -= weight(&row);
                self.held -= held(&row);
                run.prev = None;
                self.prev = Some(at);
            }
            if !run.rows.is_empty() {
                break;
            }
            self.drop_empty_runs();
        }
        removed
    }

    /// A gap's run that got no row hands its `prev` on.
    fn drop_empty_runs(&mut self) {
        while let Some(run) = self.runs.pop_front_if(|run| run.rows.is_empty()) {
            self.prev = run.prev.or(self.prev);
        }
    }
}

impl Run {
    fn push(&mut self, row: Row, arrived: Micros) {
        self.rows.push_back(row);
        self.arrived.push_back(arrived);
    }
}

/// How many rows may make up a record, and what they weigh.
fn foretell(rows: &[Row], most: f64) -> (usize, usize) {
    let most = most.min(WEIGHT_MAX as f64) as usize;
    let mut sum = 0;
    for (count, row) in rows.iter().enumerate() {
        let more = sum + weight(row);
        if count > 0 && more > most {
            return (count, sum);
        }
        sum = more;
    }
    (rows.len(), sum)
}

/// About what a row takes before compression, bytes.
fn weight(row: &Row) -> usize {
    let field = |value: &Value| match value {
        Value::Text(text) => 2 + text.len(),
        Value::Bool(_) => 1,
        Value::F64(_) | Value::I64(_) | Value::U64(_) => 5,
    };
    8 + row.fields.iter().map(|(_, value)| field(value)).sum::<usize>()
}

/// About what a row takes in memory. Its series is shared.
fn held(row: &Row) -> usize {
    size_of::<(Row, Micros)>() + held_bytes(&row.fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(offset: u64) -> Row {
        Row { offset, time: 0, received: None, series: Arc::default(), fields: Vec::new() }
    }

    const LIMITS: Limits =
        Limits { target: 256 << 10, max_record: 1 << 20, compression: crate::config::Compression::Zstd, level: 3 };

    fn lane() -> (Lane, Sealer) {
        (Lane::new("g", "readings", 0, None), Sealer::new("g".into(), 3).unwrap())
    }

    #[test]
    fn a_reading_whose_body_no_reader_takes_is_too_large_however_small_it_packs() {
        let (mut lane, mut sealer) = lane();
        let zeros = Value::Text("0".repeat(17 << 20).into());
        lane.push(Row { fields: vec![("x".into(), zeros)], ..row(0) }, 1, true, Micros(0));
        assert!(matches!(lane.seal(&LIMITS, &mut sealer), Some(Sealed::TooLarge(_))));
    }

    #[test]
    fn fields_of_their_own_in_every_row_are_cut_into_records_that_fit() {
        let (mut lane, mut sealer) = lane();
        for offset in 0..5_000 {
            let name = format!("f{offset}").into();
            lane.push(Row { fields: vec![(name, Value::Bool(true))], ..row(offset) }, 1, true, Micros(0));
        }
        let mut counts = Vec::new();
        while let Some(Sealed::Record(record)) = lane.seal(&LIMITS, &mut sealer) {
            assert!(crate::batch::read::read_record(&record.data).is_ok() && record.size() <= LIMITS.target);
            counts.push(record.count);
        }
        assert_eq!((counts.iter().sum::<u64>(), lane.is_empty()), (5_000, true), "{counts:?}");
        assert!(counts.len() >= 2);
    }

    #[test]
    fn what_waits_is_bounded_by_the_memory_it_takes_however_small_it_packs() {
        let (mut lane, mut sealer) = lane();
        let limits = Limits { target: usize::MAX, ..LIMITS };
        let fields: Vec<_> = ["a", "b", "c", "d"].map(|name| (name.into(), Value::I64(7))).into();
        let mut count = 0;
        while !lane.is_full(&limits) {
            lane.push(Row { fields: fields.clone(), ..row(count) }, 1, true, Micros(0));
            count += 1;
        }
        // The more of them the narrower a pointer is.
        assert!((20_000..90_000).contains(&count), "{count}");
        let Some(Sealed::Record(record)) = lane.seal(&limits, &mut sealer) else { panic!("there is enough for one") };
        assert_eq!((record.count, lane.is_empty(), lane.is_full(&limits)), (count, true, false));
    }

    #[test]
    fn a_gap_behind_what_is_shed_is_what_the_next_record_names() {
        let (mut lane, _) = lane();
        (0..10).for_each(|offset| lane.push(row(offset), 1, true, Micros(0)));
        lane.skip((1, 20));
        let removed = lane.shed(15).unwrap();
        assert_eq!((removed.from, removed.to, removed.count), ((1, 0), (1, 9), 10));
        lane.push(row(21), 1, true, Micros(0));
        assert_eq!(lane.first(), Some((21, Some((1, 20)))));
    }
}
