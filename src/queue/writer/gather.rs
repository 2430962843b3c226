//! What goes into one entry group: when it closes is said in the head of [`super`].

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Writer;
use crate::clock::Mono;
use crate::queue::entry::Entry;
use crate::source::{Ack, Delivery, Item};

const CLOSE_BYTES: usize = 64 * 1024;
const CLOSE_MESSAGES: usize = 4096;
const BURST_MESSAGES: usize = 4;
const BURST_SILENCE: Duration = Duration::from_millis(2);

/// Messages on their way into one entry group.
#[derive(Default)]
pub(super) struct Gathered {
    pub deliveries: Vec<(Delivery, Mono, Ack, OwnedSemaphorePermit)>,
    /// With the number of messages before each.
    pub events: Vec<(usize, Entry)>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, item: Item) {
        match item {
            Item::Delivery { delivery, at, ack, room } => {
                self.bytes += delivery.weight;
                self.deliveries.push((delivery, at, ack, room));
            }
            Item::Up(source) => self.events.push((self.deliveries.len(), Entry::Up(source))),
            Item::Down(source) => self.events.push((self.deliveries.len(), Entry::Down(source))),
        }
    }

    pub fn messages(&self) -> usize {
        self.deliveries.len()
    }

    fn is_large(&self) -> bool {
        self.bytes >= CLOSE_BYTES || self.messages() >= CLOSE_MESSAGES
    }
}

impl Writer {
    pub(super) async fn gather(&mut self, first: Item, opened: Instant, follows_ack: bool) -> Gathered {
        let deadline = opened + self.options.linger;
        let mut gathered = Gathered::default();
        gathered.add(first);
        loop {
            while !gathered.is_large()
                && let Ok(item) = self.inbox.try_recv()
            {
                gathered.add(item);
            }
            if gathered.is_large() || gathered.messages() >= self.options.in_flight {
                return gathered;
            }
            let burst = follows_ack || gathered.messages() >= BURST_MESSAGES;
            let until = if burst { deadline.min(Instant::now() + BURST_SILENCE) } else { deadline };
            match timeout_at(until, self.inbox.recv()).await {
                Ok(Some(item)) => gathered.add(item),
                Ok(None) | Err(_) => return gathered,
            }
        }
    }
}
