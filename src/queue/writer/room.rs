//! Whether there is room for more, and what is asked for where there is not.

use super::{Appender, Appenders, StoreError, StoreState, WhenFull, Writer};
use crate::queue::retention::Room;

impl Writer {
    /// Looks whether there is room, and where it gets tight asks delivery to give up the oldest generation.
    pub(super) fn make_room(&mut self) -> Result<Room, StoreError> {
        let mut room = self.retention.look()?;
        if room == Room::Full {
            // What makes room needs some: a gap record, or a generation that follows the one to be let go.
            self.store.drop_ballast()?;
        }
        if room > Room::Enough && self.options.when_full == WhenFull::ShedOldest {
            self.retention.forget();
            room = self.retention.look()?;
            if room > Room::Enough {
                self.ask_to_shed(room)?;
            }
        }
        let now = StoreState { full: room == Room::Full, used_bytes: self.retention.used() };
        let turned = self.state.send_replace(now).full != now.full;
        self.metrics.queue_full.set(now.full.into());
        match (turned, now.full) {
            (true, true) => tracing::warn!(used_bytes = now.used_bytes, "the queue is full; sources are held back"),
            (true, false) => tracing::info!(used_bytes = now.used_bytes, "the queue has room again"),
            (false, _) => {}
        }
        Ok(room)
    }

    /// Asks for the oldest readings, and where there are none and it is full for the oldest rows. A generation that is
    /// still being written is sealed for that only when it is full: where rows fill the disk, it would be one a commit.
    fn ask_to_shed(&mut self, room: Room) -> Result<(), StoreError> {
        let mut asked = *self.shed_before.borrow();
        if room < Room::Full {
            let end = self.appenders.readings.log().oldest_end()?;
            asked.readings = end.map_or(0, |end| end.offset).max(asked.readings);
        } else if let Some(end) = self.oldest_end(|appenders| &mut appenders.readings)? {
            asked.readings = end.max(asked.readings);
        } else if let Some(end) = self.oldest_end(|appenders| &mut appenders.rows)? {
            asked.rows = end.max(asked.rows);
        }
        self.shed_before.send_if_modified(|before| std::mem::replace(before, asked) != asked);
        Ok(())
    }

    /// Where the oldest generation of a log ends, which is sealed if it is the newest too; `None`: nothing is in it.
    fn oldest_end(&mut self, of: fn(&mut Appenders) -> &mut Appender) -> Result<Option<u64>, StoreError> {
        let appender = of(&mut self.appenders);
        if let Some(end) = appender.log().oldest_end()? {
            return Ok(Some(end.offset));
        }
        if appender.is_fresh() {
            return Ok(None);
        }
        appender.rotate()?;
        Ok(Some(appender.next().offset))
    }
}
