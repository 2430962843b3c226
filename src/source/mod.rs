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

pub mod modbus;
pub mod mqtt;
pub mod port;
pub mod serial;
mod standing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::clock::{Clock, Mono};
use crate::reading::Reading;

/// What one message held.
#[derive(Debug, Default)]
pub struct Delivery {
    pub readings: Vec<Reading>,
    /// The parts that could not become readings; they go to the dead letters.
    pub rejects: Vec<Rejected>,
    /// What it weighs in the inbox, bytes.
    pub weight: usize,
}

/// Something that could not become a reading, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub source: Arc<str>,
    /// The topic or the port it came by.
    pub origin: Arc<str>,
    pub reason: Reason,
    /// A sentence for the person who reads it.
    pub detail: String,
    /// The bytes, or their first 64 KiB.
    pub payload: Bytes,
    /// The whole length and its digest where `payload` was cut.
    pub cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub length: u64,
    pub sha256: [u8; 32],
}

/// Why something became a dead letter; the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The payload is not in the format the subscription names.
    Malformed,
    /// It parses, but holds no field.
    Empty,
    /// Its time cannot be read.
    Time,
    /// A value is outside what can be stored: not finite, too deep, too many fields.
    Value,
    /// Larger than `max_payload`.
    Oversize,
    /// Larger than a record may be.
    RecordTooLarge,
    /// Kinesis takes other records, but not this one.
    Refused,
}

impl Reason {
    pub const ALL: [Self; 7] =
        [Self::Malformed, Self::Empty, Self::Time, Self::Value, Self::Oversize, Self::RecordTooLarge, Self::Refused];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::Time => "time",
            Self::Value => "value",
            Self::Oversize => "oversize",
            Self::RecordTooLarge => "record-too-large",
            Self::Refused => "refused",
        }
    }
}

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

    /// Puts into the log that a source has connected.
    pub async fn up(&self, source: &Arc<str>) -> Result<(), NotStored> {
        self.items.send(Item::Up(source.clone())).await.map_err(|_| NotStored)
    }

    /// Puts into the log that a source has lost its connection.
    pub async fn down(&self, source: &Arc<str>) -> Result<(), NotStored> {
        self.items.send(Item::Down(source.clone())).await.map_err(|_| NotStored)
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
