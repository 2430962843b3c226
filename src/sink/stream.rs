//! One stream on its way out: its log, the reader in it, and its lanes.
//!
//! A stream reads its log once and hands each entry to the lane its device belongs to. It reads ahead until some
//! lane has a record's worth, no further, and not while nothing gets through: memory is bounded by that. When the
//! number of lanes was changed, the new lanes open at the offset that was current then, after the earlier ones have
//! drained. Where only rows are wanted, it reads up to the offset where that began; what follows is passed unread once
//! it is folded.
//!
//! Invariants: a cursor stands at the first entry of its lane that is not settled; a generation is released only
//! when every lane has passed it and the cursors that say so are on stable storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_wire::Row;
use tokio::sync::watch;
use tokio::time::Instant;

use super::losses::Gap;
use crate::batch::lane::Removed;
use crate::batch::{Lane, Limits, Record, Sealed, Sealer, lane_of};
use crate::queue::{Cursor, Entry, Group, Log, Place, Reader, Span, Step, StoreError, StreamCursors};
use crate::reading::Micros;

/// How many groups are read before anything else gets its turn.
const GROUPS_A_STEP: usize = 64;

pub struct Stream {
    pub name: &'static str,
    gateway: Arc<str>,
    pub log: Log,
    /// Says when the log has more.
    pub more: watch::Receiver<Place>,
    reader: Reader,
    spans: Vec<Span>,
    pub lanes: BTreeMap<u32, Road>,
    /// Whether records carry the moment of arrival.
    received: bool,
    /// The epoch of the last entry read.
    epoch: u64,
    /// Entries before this offset have waited for company already, in an earlier life.
    backlog: u64,
    /// Entries from here on are not delivered, but passed.
    passes_from: Option<u64>,
}

/// A lane and the record it has on the road.
pub struct Road {
    pub lane: Lane,
    pub record: Option<OnRoad>,
    /// Entries before this offset were settled before the last start.
    from: u64,
    /// Since when something has been waiting in the lane.
    since: Option<Instant>,
    /// Whether something in it has waited since before the last start: a gateway that is killed more often than
    /// `max_age` must deliver all the same.
    overdue: bool,
}

/// A record that was sealed and is not settled.
pub struct OnRoad {
    pub record: Record,
    pub failed: u32,
    pub due: Instant,
    /// How often a request with it was found invalid.
    pub invalid: u32,
}

impl OnRoad {
    /// It goes by itself, to tell whether it was the one.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.invalid > 0
    }
}

impl Stream {
    /// Takes up where the cursors stand.
    pub fn new(
        name: &'static str,
        gateway: Arc<str>,
        log: Log,
        cursors: &StreamCursors,
        lanes: u32,
        received: bool,
    ) -> Result<Self, StoreError> {
        let spans = plan(&cursors.spans, lanes, log.durable().offset);
        let oldest = log.oldest()?.offset;
        let from = cursors.lanes.values().map(|cursor| cursor.done).min().unwrap_or(oldest);
        // Of the entry before the first that is read: a lane that is ahead may be in a later one already.
        let last = cursors.lanes.values().filter(|cursor| cursor.done == from).filter_map(|cursor| cursor.prev).max();
        let epoch = last.map_or(0, |(epoch, _)| epoch);
        let roads = cursors.lanes.iter().map(|(number, cursor)| (*number, Road::new(&gateway, name, *number, *cursor)));
        let reader = Reader::new(&log, from);
        let (more, backlog, lanes) = (log.watch(), log.durable().offset, roads.collect());
        let passes_from = cursors.passes_from;
        let mut stream = Self { name, gateway, log, more, reader, spans, lanes, received, epoch, backlog, passes_from };
        stream.open_lanes();
        Ok(stream)
    }

    /// Reads ahead until a lane has a record's worth or nothing more is durable. Says what could not be read.
    pub fn gather(&mut self, limits: &Limits, now: Instant) -> Result<Vec<Gap>, StoreError> {
        let mut gaps = Vec::new();
        for _ in 0..GROUPS_A_STEP {
            self.turn_span();
            if self.reader.offset() >= self.delivers_to() || !self.has_room(limits) {
                break;
            }
            match self.reader.step()? {
                Step::Group(group) => self.hand_out(group, now),
                Step::Lost { from, to } => gaps.extend(self.lose(from, to)),
                Step::End => break,
            }
        }
        Ok(gaps)
    }

    /// Entries before this offset are delivered.
    #[must_use]
    pub fn delivers_to(&self) -> u64 {
        self.passes_from.unwrap_or(u64::MAX)
    }

    /// Settles every entry before `to` unread, where entries are passed. The lanes go on naming the last one they
    /// delivered as `prev`: to their consumers nothing is missing.
    pub fn pass(&mut self, to: u64) {
        let to = to.min(self.log.durable().offset);
        if to > self.reader.offset() && self.reader.offset() >= self.delivers_to() {
            self.reader = Reader::new(&self.log, to);
            self.lanes.values_mut().for_each(|road| road.from = road.from.max(to));
        }
    }

    /// Whether there is more to read than was read.
    #[must_use]
    pub fn has_more(&self, limits: &Limits) -> bool {
        self.reader.offset() < self.log.durable().offset.min(self.delivers_to()) && self.has_room(limits)
    }

    /// Whether the lanes take more. While all of them wait for a record that has failed, what was read ahead would only
    /// lie in memory.
    fn has_room(&self, limits: &Limits) -> bool {
        let waits = |road: &Road| road.record.as_ref().is_some_and(|on| on.failed > 0);
        !self.drains() && !self.lanes.values().any(|road| road.lane.is_full(limits)) && !self.lanes.values().all(waits)
    }

    /// Seals a record for each lane that has none on the road and has waited long enough or has enough.
    /// A reading that no record may hold is handed back.
    pub fn seal(
        &mut self,
        limits: &Limits,
        sealer: &mut Sealer,
        max_age: std::time::Duration,
        now: Instant,
    ) -> Vec<Sealed> {
        let mut sealed = Vec::new();
        // What is there already is company that need not be waited for.
        let all_read = !self.has_more(limits);
        for road in self.lanes.values_mut() {
            let aged = road.overdue || road.since.is_some_and(|since| now >= since + max_age);
            if road.record.is_some() || !(aged && all_read || road.lane.is_full(limits)) {
                continue;
            }
            let Some(made) = road.lane.seal(limits, sealer) else { continue };
            road.since = (!road.lane.is_empty()).then_some(now);
            road.overdue = road.lane.first().is_some_and(|(first, _)| first < self.backlog);
            if let Sealed::Record(record) = &made {
                road.record = Some(OnRoad { record: record.clone(), failed: 0, due: now, invalid: 0 });
            }
            sealed.push(made);
        }
        sealed
    }

    /// When the next lane without a record on the road becomes ripe by age.
    #[must_use]
    pub fn next_ripe(&self, max_age: std::time::Duration) -> Option<Instant> {
        let waiting = self.lanes.values().filter(|road| road.record.is_none());
        waiting.filter_map(|road| road.since).min().map(|since| since + max_age)
    }

    /// Gives up every entry before `before` that is not settled, on the road or not, and says what that was.
    pub fn shed(&mut self, before: u64, now: Instant) -> Result<Vec<Gap>, StoreError> {
        if before <= self.settled() {
            return Ok(Vec::new());
        }
        let mut removed: BTreeMap<u32, Removed> = BTreeMap::new();
        let mut gaps = Vec::new();
        for (number, road) in &mut self.lanes {
            if let Some(OnRoad { record, .. }) = road.record.take_if(|on| on.record.first < before) {
                let (from, to) = ((record.epoch, record.first), (record.epoch, record.last));
                removed.insert(*number, Removed { from, to, count: record.count });
            }
        }
        loop {
            for (number, road) in &mut self.lanes {
                if let Some(more) = road.lane.shed(before) {
                    removed.insert(*number, Removed::and(removed.get(number).copied(), more));
                }
                road.since = (!road.lane.is_empty()).then_some(road.since.unwrap_or(now));
                road.overdue &= !road.lane.is_empty();
            }
            if self.reader.offset() >= before {
                break;
            }
            match self.reader.step()? {
                Step::Group(group) => self.hand_out(group, now),
                Step::Lost { from, to } => gaps.extend(self.lose(from, to)),
                Step::End => break,
            }
        }
        let shed = removed.into_iter().map(|(lane, removed)| Gap { stream: self.name, lane, removed, reason: "shed" });
        gaps.extend(shed);
        Ok(gaps)
    }

    /// Where every lane stands.
    #[must_use]
    pub fn cursors(&self) -> StreamCursors {
        let cursor = |road: &Road| match (&road.record, road.lane.first()) {
            (Some(on), _) => Cursor { done: on.record.first, prev: on.record.prev },
            (None, Some((first, prev))) => Cursor { done: first, prev },
            (None, None) => Cursor { done: self.reader.offset().max(road.from), prev: road.lane.prev },
        };
        StreamCursors {
            spans: self.spans.clone(),
            lanes: self.lanes.iter().map(|(number, road)| (*number, cursor(road))).collect(),
            passes_from: self.passes_from,
        }
    }

    /// Every entry before this offset is settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.cursors().lanes.values().map(|cursor| cursor.done).min().unwrap_or(0)
    }

    /// When the oldest entry that is not settled, and was read, arrived.
    #[must_use]
    pub fn oldest(&self) -> Option<Micros> {
        let oldest = |road: &Road| road.record.as_ref().map(|on| on.record.arrived.0).or_else(|| road.lane.oldest());
        self.lanes.values().filter_map(oldest).min()
    }

    fn hand_out(&mut self, group: Group, now: Instant) {
        self.epoch = group.epoch;
        let (stamp, first) = (group.stamp, group.first);
        for (offset, entry) in (first..).zip(group.entries) {
            let Entry::Reading { reading, age } = entry else { continue };
            let number = lane_of(&self.spans, offset, &reading.series.device);
            // Shedding may read on into lanes that are not open yet.
            let cursor = Cursor { done: offset, prev: None };
            let road = self.lanes.entry(number).or_insert_with(|| Road::new(&self.gateway, self.name, number, cursor));
            if offset < road.from {
                continue;
            }
            let arrived = Micros(stamp.received - i64::from(age));
            let time = reading.time.unwrap_or(arrived).0;
            let received = self.received.then_some(arrived.0);
            let row = Row { offset, time, received, series: reading.series, fields: reading.fields };
            road.since.get_or_insert(now);
            road.overdue |= offset < self.backlog;
            road.lane.push(row, group.epoch, stamp.synced, arrived);
        }
    }

    /// A gap in each lane of the span that has not passed it: whose entries these were, no one can tell any more. Of
    /// what is passed, the fold tells.
    fn lose(&mut self, from: u64, to: u64) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let end = self.delivers_to();
        if end < to {
            self.reader = Reader::new(&self.log, end);
        }
        let to = to.min(end);
        for (number, road) in self.lanes.iter_mut().filter(|(_, road)| road.from < to) {
            let from = from.max(road.from);
            let removed = Removed { from: (self.epoch, from), to: (self.epoch, to - 1), count: to - from };
            road.lane.skip(removed.to);
            gaps.push(Gap { stream: self.name, lane: *number, removed, reason: "damaged" });
        }
        gaps
    }

    /// Whether the lanes of the next span wait until the earlier ones are empty.
    fn drains(&self) -> bool {
        let [_, next, ..] = self.spans[..] else { return false };
        self.reader.offset() >= next.from
            && self.lanes.values().any(|road| road.record.is_some() || !road.lane.is_empty())
    }

    /// Closes the lanes of each span that has drained and opens those of the next.
    fn turn_span(&mut self) {
        while let [_, next, ..] = self.spans[..]
            && self.reader.offset() >= next.from
            && !self.drains()
        {
            self.spans.remove(0);
            self.lanes.retain(|number, _| *number >= next.base);
            self.open_lanes();
        }
    }

    fn open_lanes(&mut self) {
        let Some(span) = self.spans.first().copied() else { return };
        for number in span.base..span.base + span.lanes {
            let cursor = Cursor { done: span.from, prev: None };
            let gateway = &self.gateway;
            self.lanes.entry(number).or_insert_with(|| Road::new(gateway, self.name, number, cursor));
        }
    }
}

impl Road {
    fn new(gateway: &str, stream: &'static str, number: u32, cursor: Cursor) -> Self {
        Self {
            lane: Lane::new(gateway, stream, number, cursor.prev),
            record: None,
            from: cursor.done,
            since: None,
            overdue: false,
        }
    }
}

/// The spans of this start: as before, and one more where the number of lanes was changed.
fn plan(spans: &[Span], lanes: u32, end: u64) -> Vec<Span> {
    let mut spans = spans.to_vec();
    match spans.last_mut() {
        None => spans.push(Span { from: 0, base: 0, lanes }),
        Some(last) if last.lanes == lanes => {}
        // Nothing was ever put into the last ones: they may as well be others.
        Some(last) if last.from == end => last.lanes = lanes,
        Some(last) => {
            let base = last.base + last.lanes;
            tracing::info!(from_offset = end, base, lanes, "the number of lanes was changed");
            spans.push(Span { from: end, base, lanes });
        }
    }
    spans
}
