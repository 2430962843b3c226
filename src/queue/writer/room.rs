//! Whether there is room for more, and what is asked for where there is not.

use super::{Appender, Appenders, StoreError, StoreState, WhenFull, Writer};
use crate::queue::retention::Room;

impl Writer {
    /// Looks whether there is room, and where it gets tight asks delivery to give up the oldest generation.
    pub(super) fn make_room(&mut self) -> Result<Room, StoreError> {
        let mut room = self.retention.look()?;
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

    /// Asks for the oldest readings; and where there are none, and not before it is full, for the oldest rows.
    fn ask_to_shed(&mut self, room: Room) -> Result<(), StoreError> {
        let mut asked = *self.shed_before.borrow();
        let Appenders { readings, rows, .. } = &mut self.appenders;
        if let Some(end) = oldest_end(readings)? {
            asked.readings = end.max(asked.readings);
        } else if room == Room::Full
            && let Some(end) = oldest_end(rows)?
        {
            asked.rows = end.max(asked.rows);
        }
        self.shed_before.send_if_modified(|before| std::mem::replace(before, asked) != asked);
        Ok(())
    }
}

/// Where the oldest generation of a log ends, sealing it where it is the only one; `None` where that is empty.
fn oldest_end(log: &mut Appender) -> Result<Option<u64>, StoreError> {
    match log.log().oldest_end()? {
        Some(end) => Ok(Some(end.offset)),
        None if log.is_fresh() => Ok(None),
        None => {
            log.rotate()?;
            Ok(Some(log.next().offset))
        }
    }
}
