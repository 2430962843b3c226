//! The streams of a gateway, in the order in which they go on the road: what is missing, rows, readings.
//!
//! Invariants:
//! - rows go before readings wherever a request cannot hold both, and are given up after them;
//! - a reading goes from the log when it is settled and folded, never before;
//! - where only rows are wanted, a reading from there on is settled by being folded, and no gap tells of it; what was
//!   queued before is delivered.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::losses::Gap;
use super::stream::{OnRoad, Stream};
use crate::batch::{Limits, Sealed, Sealer};
use crate::queue::{Cursors, ShedBefore, StoreError};

/// Records in one `PutRecords`.
const RECORDS_MAX: usize = 500;

/// A lane, by stream and number.
pub type Address = (&'static str, u32);

pub struct Streams {
    pub gaps: Stream,
    pub rows: Stream,
    pub readings: Stream,
    /// Readings before this offset are folded. `None`: there are no windows, and nothing is held back for them.
    pub folded: Option<watch::Receiver<u64>>,
}

impl Streams {
    fn all(&self) -> [&Stream; 3] {
        [&self.gaps, &self.rows, &self.readings]
    }

    fn all_mut(&mut self) -> [&mut Stream; 3] {
        [&mut self.gaps, &mut self.rows, &mut self.readings]
    }

    fn folded(&self) -> u64 {
        self.folded.as_ref().map_or(u64::MAX, |folded| *folded.borrow())
    }

    /// Reads ahead in each, and says what could not be read.
    pub fn gather(&mut self, limits: &Limits, now: Instant) -> Result<Vec<Gap>, StoreError> {
        let mut lost = self.gaps.gather(limits, now)?;
        lost.extend(self.rows.gather(limits, now)?);
        lost.extend(self.readings.gather(limits, now)?);
        self.readings.pass(self.folded());
        Ok(lost)
    }

    /// Whether there is more to read than was read.
    #[must_use]
    pub fn has_more(&self, limits: &Limits) -> bool {
        self.all().into_iter().any(|stream| stream.has_more(limits))
    }

    pub fn seal(&mut self, limits: &Limits, sealer: &mut Sealer, max_age: Duration, now: Instant) -> Vec<Sealed> {
        self.all_mut().into_iter().flat_map(|stream| stream.seal(limits, sealer, max_age, now)).collect()
    }

    /// Gives up what lies before these offsets, and says what that was. Readings that are not folded stay until they
    /// are: they could not be released; and where that settles them, there is never one to give up.
    pub fn shed(&mut self, asked: ShedBefore, now: Instant) -> Result<Vec<Gap>, StoreError> {
        let readings = asked.readings.min(self.folded()).min(self.readings.delivers_to());
        let mut gaps = self.readings.shed(readings, now)?;
        gaps.extend(self.rows.shed(asked.rows, now)?);
        Ok(gaps)
    }

    /// The lanes whose record goes into the next request, of so many bytes. Behind the first that finds no room
    /// nothing else does, or it would be overtaken by what matters less.
    #[must_use]
    pub fn due(&self, now: Instant, max_request: usize) -> Vec<Address> {
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for (at, on) in self.on_the_road().filter(|(_, on)| on.due <= now) {
            if on.is_alone() {
                if chosen.is_empty() {
                    return vec![at];
                }
                continue;
            }
            bytes += on.record.size();
            if chosen.len() == RECORDS_MAX || bytes > max_request && !chosen.is_empty() {
                break;
            }
            chosen.push(at);
        }
        chosen
    }

    /// Every record on the road.
    pub fn on_the_road(&self) -> impl Iterator<Item = (Address, &OnRoad)> {
        self.all().into_iter().flat_map(|stream| {
            stream.lanes.iter().filter_map(|(number, road)| Some(((stream.name, *number), road.record.as_ref()?)))
        })
    }

    #[must_use]
    pub fn on_road(&self, (name, lane): Address) -> Option<&OnRoad> {
        let stream = self.all().into_iter().find(|stream| stream.name == name)?;
        stream.lanes.get(&lane)?.record.as_ref()
    }

    pub fn road_record(&mut self, (name, lane): Address) -> &mut Option<OnRoad> {
        let stream = self.all_mut().into_iter().find(|stream| stream.name == name);
        let road = stream.and_then(|stream| stream.lanes.get_mut(&lane));
        &mut road.expect("a lane with a record on the road is open").record
    }

    /// When a lane becomes ripe by age, or a record goes again.
    #[must_use]
    pub fn next_due(&self, max_age: Duration) -> Option<Instant> {
        let ripe = self.all().into_iter().filter_map(|stream| stream.next_ripe(max_age));
        ripe.chain(self.on_the_road().map(|(_, on)| on.due)).min()
    }

    #[must_use]
    pub fn cursors(&self) -> Cursors {
        Cursors { streams: self.all().map(|stream| (stream.name.to_owned(), stream.cursors())).into() }
    }

    /// Whether there is a generation that nobody needs.
    pub fn can_release(&self) -> Result<bool, StoreError> {
        for stream in self.all() {
            if stream.log.oldest_end()?.is_some_and(|end| end.offset <= self.needed_from(stream)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets the generations go that nobody needs; cursors that say so are on stable storage.
    pub fn release(&self) -> Result<(), StoreError> {
        for stream in self.all() {
            stream.log.release(self.needed_from(stream))?;
        }
        Ok(())
    }

    /// What lies before this offset is settled, and of readings folded as well.
    fn needed_from(&self, stream: &Stream) -> u64 {
        let settled = stream.settled();
        if stream.name == self.readings.name { settled.min(self.folded()) } else { settled }
    }

    /// Readings that are durable and not settled.
    #[must_use]
    pub fn queued_readings(&self) -> u64 {
        self.readings.log.durable().offset.saturating_sub(self.readings.settled())
    }

    /// Rows that are durable and not settled.
    #[must_use]
    pub fn queued_rows(&self) -> u64 {
        self.rows.log.durable().offset.saturating_sub(self.rows.settled())
    }

    /// Says that whatever is in the logs now, and folded, is seen.
    pub fn mark_seen(&mut self) {
        self.all_mut().into_iter().for_each(|stream| stream.more.mark_unchanged());
        self.folded.iter_mut().for_each(watch::Receiver::mark_unchanged);
    }

    /// Resolves when there is more in a log, or folded, than was seen.
    pub async fn changed(&mut self) {
        let Self { gaps, rows, readings, folded, .. } = self;
        let more_is_folded = async {
            // Without windows nothing is folded, and a fold that has ended folds no more.
            let Some(folded) = folded else { return std::future::pending().await };
            let Ok(()) = folded.changed().await else { return std::future::pending().await };
        };
        tokio::select! {
            _ = gaps.more.changed() => {}
            _ = rows.more.changed() => {}
            _ = readings.more.changed() => {}
            () = more_is_folded => {}
        }
    }
}
