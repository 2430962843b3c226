//! The door. A source turns what a sensor sent into deliveries, puts them into the inbox, and acknowledges to
//! the sensor only once the receipt says that the delivery is on stable storage.
//!
//! ```text
//!   sensor ──▶ source ── Delivery ──▶ Inbox ──▶ writer ── append, fsync ──▶ log
//!      ▲          ▲                               │
//!  PUBACK, ACK   └─────────── Receipt ◀── Ack ───┘
//! ```
//!
//! Invariants:
//! - only the queue's writer confirms an [`Ack`]; a dropped `Ack` makes the receipt fail, never succeed;
//! - the inbox is bounded in messages and in bytes; a full inbox gives the delivery back;
//! - a source knows the inbox and receipts, never the queue.

mod delivery;
pub mod filter;
mod inlet;
pub mod modbus;
pub mod mqtt;
pub mod port;
mod remembered;
pub mod serial;
mod standing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

pub use self::delivery::{Cut, Delivery, Reason, Rejected};
pub use self::inlet::Inlet;

use crate::clock::{Clock, Mono, Now};
use crate::reading::Micros;

/// What the writer finds in the inbox.
#[derive(Debug)]
pub enum Item {
    Delivery {
        delivery: Delivery,
        /// The moment of arrival.
        at: Mono,
        ack: Ack,
        /// Its share of the inbox, given back once it is stored.
        room: OwnedSemaphorePermit,
    },
    /// A source is connected.
    Up(Arc<str>),
    /// A source has lost its connection.
    Down(Arc<str>),
}

/// The writer's half of an acknowledgement.
#[derive(Debug)]
#[must_use = "an acknowledgement that is dropped tells the source that nothing was stored"]
pub struct Ack(oneshot::Sender<()>);

impl Ack {
    /// Says that the delivery is on stable storage. Only `queue/writer.rs` may.
    pub fn confirm(self) {
        // A source that is gone has no use for it: the broker will send again.
        let _ = self.0.send(());
    }
}

/// The source's half: resolves once the delivery is on stable storage.
#[derive(Debug)]
#[must_use = "without its receipt a delivery cannot be acknowledged"]
pub struct Receipt(oneshot::Receiver<()>);

/// The writer is gone without having stored the delivery.
#[derive(Debug, thiserror::Error)]
#[error("the queue stopped before this delivery was stored")]
pub struct NotStored;

impl Future for Receipt {
    type Output = Result<(), NotStored>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| NotStored)
    }
}

/// Why the inbox did not take a delivery.
#[derive(Debug)]
pub enum Refused {
    /// No room now; the delivery comes back.
    Full(Delivery),
    /// The writer is gone.
    Closed,
}

/// Where sources put what they received.
#[derive(Clone, Debug)]
pub struct Inbox {
    items: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    capacity: usize,
    clock: Clock,
}

impl Inbox {
    /// An inbox for so many messages and so many bytes, and the writer's end of it.
    #[must_use]
    pub fn new(messages: usize, bytes: usize, clock: Clock) -> (Self, mpsc::Receiver<Item>) {
        let (items, receiver) = mpsc::channel(messages);
        (Self { items, room: Arc::new(Semaphore::new(bytes)), capacity: bytes, clock }, receiver)
    }

    /// The clock by which what comes is stamped.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The moment of arrival, where the clock can be right: for payloads that count their times from it.
    #[must_use]
    pub fn arrival(&self) -> Option<Micros> {
        let now = self.now();
        now.synced().then_some(now.wall)
    }

    /// Takes the delivery if there is room, without waiting.
    pub fn try_put(&self, delivery: Delivery) -> Result<Receipt, Refused> {
        let slot = match self.items.try_reserve() {
            Ok(slot) => slot,
            Err(mpsc::error::TrySendError::Full(())) => return Err(Refused::Full(delivery)),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Refused::Closed),
        };
        let Ok(room) = self.room.clone().try_acquire_many_owned(self.weight(&delivery)) else {
            return Err(Refused::Full(delivery));
        };
        let (ack, receipt) = acknowledgement();
        slot.send(Item::Delivery { delivery, at: self.clock.now().mono, ack, room });
        Ok(receipt)
    }

    /// Waits for room.
    pub async fn put(&self, delivery: Delivery) -> Result<Receipt, NotStored> {
        let at = self.clock.now().mono;
        let weight = self.weight(&delivery);
        let room = self.room.clone().acquire_many_owned(weight).await.map_err(|_| NotStored)?;
        let (ack, receipt) = acknowledgement();
        self.items.send(Item::Delivery { delivery, at, ack, room }).await.map_err(|_| NotStored)?;
        Ok(receipt)
    }

    /// Resolves when there is room for a delivery that came back; another source may still be quicker.
    pub async fn room_for(&self, delivery: &Delivery) -> Result<(), NotStored> {
        drop(self.room.acquire_many(self.weight(delivery)).await.map_err(|_| NotStored)?);
        self.items.reserve().await.map(drop).map_err(|_| NotStored)
    }

    /// One message heavier than the whole inbox still passes, alone.
    fn weight(&self, delivery: &Delivery) -> u32 {
        delivery.weight.clamp(1, self.capacity).try_into().unwrap_or(u32::MAX)
    }
}

fn acknowledgement() -> (Ack, Receipt) {
    let (sender, receiver) = oneshot::channel();
    (Ack(sender), Receipt(receiver))
}

/// Why a source ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the queue has stopped")]
    QueueStopped,
    #[error("cannot set up the connection: {0}")]
    Setup(String),
    #[error(transparent)]
    Template(#[from] crate::decode::TemplateError),
}

impl From<NotStored> for SourceError {
    fn from(_: NotStored) -> Self {
        Self::QueueStopped
    }
}

/// What a source is doing, for the status page, `/readyz` and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    /// Connected, but not all that was asked for was granted.
    Partly {
        why: String,
    },
    /// Not connected; tried again.
    Down {
        why: String,
    },
    /// Given up until the configuration changes.
    Stopped {
        why: String,
    },
}

impl State {
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected | Self::Partly { .. })
    }
}

/// Where a source says what it is doing.
pub type StateSender = watch::Sender<State>;
