//! Places in the code where a process stands still until it is killed: a kill at random hardly ever meets them. Without
//! the feature `faults` they are nothing.

use std::future::Future;
use std::pin::pin;

#[cfg(feature = "faults")]
use super::end::meet;

#[cfg(not(feature = "faults"))]
fn meet(_: Point) {}

/// In the order in which a reading comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A generation is sealed, and has no successor yet.
    Sealed,
    /// A generation is made, and nobody has it yet.
    Created,
    /// A group is in sled's buffer.
    Appended,
    /// sled has written it to its file.
    Flushed,
    /// It is on stable storage, and not acknowledged.
    Synced,
    /// A PUBACK has left.
    Acknowledged,
    /// Rows are on stable storage, and the checkpoint that counts their readings is not.
    RowsSynced,
    /// A snapshot of the fold's state is on stable storage, and what it replaces is still there.
    Snapshot,
    /// A request is on the road.
    MidRequest,
    /// Kinesis has taken records, and no cursor has moved.
    Taken,
    /// Cursors are saved, and what they let go is still there.
    CursorsSaved,
    /// A generation that goes has lost its name, and not its files.
    Renamed,
}

impl Point {
    pub const ALL: [Self; 12] = [
        Self::Sealed,
        Self::Created,
        Self::Appended,
        Self::Flushed,
        Self::Synced,
        Self::Acknowledged,
        Self::RowsSynced,
        Self::Snapshot,
        Self::MidRequest,
        Self::Taken,
        Self::CursorsSaved,
        Self::Renamed,
    ];
    /// The variable that names the socket.
    pub const VARIABLE: &str = "TIDEGATE_POINT";

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Created => "created",
            Self::Appended => "appended",
            Self::Flushed => "flushed",
            Self::Synced => "synced",
            Self::Acknowledged => "acknowledged",
            Self::RowsSynced => "rows-synced",
            Self::Snapshot => "snapshot",
            Self::MidRequest => "mid-request",
            Self::Taken => "taken",
            Self::CursorsSaved => "cursors-saved",
            Self::Renamed => "renamed",
        }
    }

    /// The process is here. It does not return where it is to end here.
    pub fn reached(self) {
        meet(self);
    }

    /// The process is here as soon as `deed` has begun and is not yet done.
    pub async fn inside<T>(self, deed: impl Future<Output = T>) -> T {
        let mut deed = pin!(deed);
        std::future::poll_fn(|context| {
            let done = deed.as_mut().poll(context);
            if done.is_pending() {
                self.reached();
            }
            done
        })
        .await
    }
}
