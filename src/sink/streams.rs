//! The streams of a gateway, in the order in which they go on the road: what is missing, rows, readings.
//!
//! Invariant: a generation goes when every lane of its stream has passed it, and one of readings only when the fold has
//! too.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::losses::Gap;
use super::stream::{OnRoad, Stream};
use crate::batch::{Limits, Sealed, Sealer};
use crate::queue::{Cursors, StoreError};

/// Records in one `PutRecords`.
const RECORDS_MAX: usize = 500;

/// A lane, by stream and number.
pub type Address = (&'static str, u32);

pub struct Streams {
    pub gaps: Stream,
    pub rows: Stream,
    pub readings: Stream,
    /// Readings before this offset are folded; the highest number where there are no windows.
    pub folded: watch::Receiver<u64>,
}

impl Streams {
    #[must_use]
    pub fn all(&self) -> [&Stream; 3] {
        [&self.gaps, &self.rows, &self.readings]
    }

    fn all_mut(&mut self) -> [&mut Stream; 3] {
        [&mut self.gaps, &mut self.rows, &mut self.readings]
    }

    /// Reads ahead in each, and says what could not be read. Where only rows are wanted, readings are settled by
    /// being folded.
    pub fn gather(&mut self, limits: &Limits, now: Instant) -> Result<Vec<Gap>, StoreError> {
        let folded = self.folded();
        if !self.readings.forwards {
            self.readings.pass(folded.min(self.readings.log.durable().offset));
        }
        let mut lost = Vec::new();
        for stream in self.all_mut() {
            lost.extend(stream.gather(limits, now)?);
        }
        Ok(lost)
    }

    pub fn seal(&mut self, limits: &Limits, sealer: &mut Sealer, max_age: Duration, now: Instant) -> Vec<Sealed> {
        self.all_mut().into_iter().flat_map(|stream| stream.seal(limits, sealer, max_age, now)).collect()
    }

    /// Whether there is more to read than was read.
    #[must_use]
    pub fn has_more(&self, limits: &Limits) -> bool {
        self.all().into_iter().any(|stream| stream.has_more(limits))
    }

    /// The lanes whose record goes into the next request, of so many bytes.
    #[must_use]
    pub fn due(&self, now: Instant, max_request: usize) -> Vec<Address> {
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for stream in self.all() {
            for (number, road) in &stream.lanes {
                let Some(on) = road.record.as_ref().filter(|on| on.due <= now) else { continue };
                let together = chosen.len() < RECORDS_MAX && bytes + on.record.size() <= max_request && !on.is_alone();
                if chosen.is_empty() || together {
                    bytes += on.record.size();
                    chosen.push((stream.name, *number));
                    if on.is_alone() {
                        return chosen;
                    }
                }
            }
        }
        chosen
    }

    pub fn road_record(&mut self, (name, lane): Address) -> &mut Option<OnRoad> {
        let stream = self.all_mut().into_iter().find(|stream| stream.name == name);
        let road = stream.and_then(|stream| stream.lanes.get_mut(&lane));
        &mut road.expect("a lane with a record on the road is open").record
    }

    #[must_use]
    pub fn on_road(&self, (name, lane): Address) -> Option<&OnRoad> {
        let stream = self.all().into_iter().find(|stream| stream.name == name)?;
        stream.lanes.get(&lane)?.record.as_ref()
    }

    /// Every record on the road.
    pub fn on_the_road(&self) -> impl Iterator<Item = &OnRoad> {
        let lanes = self.all().into_iter().flat_map(|stream| stream.lanes.values());
        lanes.filter_map(|road| road.record.as_ref())
    }

    #[must_use]
    pub fn cursors(&self) -> Cursors {
        Cursors { streams: self.all().map(|stream| (stream.name.to_owned(), stream.cursors())).into() }
    }

    /// Readings before this offset are folded, or there are no windows to wait for.
    #[must_use]
    pub fn folded(&self) -> u64 {
        *self.folded.borrow()
    }

    /// Whether there is a generation that nobody needs.
    pub fn can_release(&self) -> Result<bool, StoreError> {
        for stream in self.all() {
            if stream.log.oldest_end()?.is_some_and(|end| end.offset <= self.unneeded(stream)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets the generations go that nobody needs; the cursors that say so are on stable storage.
    pub fn release(&self) -> Result<(), StoreError> {
        for stream in self.all() {
            stream.log.release(self.unneeded(stream))?;
        }
        Ok(())
    }

    /// Nobody needs what lies before this offset.
    fn unneeded(&self, stream: &Stream) -> u64 {
        let settled = stream.settled();
        if stream.name == self.readings.name { settled.min(self.folded()) } else { settled }
    }

    /// When a lane becomes ripe by age, or a record goes again.
    #[must_use]
    pub fn next_due(&self, max_age: Duration) -> Option<Instant> {
        let ripe = self.all().into_iter().filter_map(|stream| stream.next_ripe(max_age));
        ripe.chain(self.on_the_road().map(|on| on.due)).min()
    }

    /// Whatever is in the logs now was seen.
    pub fn mark_seen(&mut self) {
        self.all_mut().into_iter().for_each(|stream| stream.more.mark_unchanged());
        self.folded.mark_unchanged();
    }

    /// Resolves when a log has more than was seen, or more is folded.
    pub async fn changed(&mut self) {
        tokio::select! {
            _ = self.gaps.more.changed() => {}
            _ = self.rows.more.changed() => {}
            _ = self.readings.more.changed() => {}
            _ = self.folded.changed() => {}
        }
    }
}
