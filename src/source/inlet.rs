//! One source's way into the inbox.
//!
//! What a source says of itself, that it is up or down, goes into the log in its place: behind all that the source brought
//! before, and in front of all that it brings after. It is said at once where the inbox has room. Where not, it waits here,
//! and the source goes on with what it does: a connection is polled, a port is read, and a stop is heard.
//!
//! Invariants:
//! - while something is unsaid the inbox is full for what the source brings;
//! - two words wait at the most: nothing came between an "up" that was not said and the "down" that followed, so neither
//!   need be.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::{Delivery, Inbox, Item, NotStored, Receipt, Refused};
use crate::clock::Now;
use crate::reading::Micros;

#[derive(Debug)]
pub struct Inlet {
    inbox: Inbox,
    source: Arc<str>,
    unsaid: VecDeque<Item>,
}

impl Inlet {
    #[must_use]
    pub fn new(inbox: Inbox, source: Arc<str>) -> Self {
        Self { inbox, source, unsaid: VecDeque::new() }
    }

    /// The source is connected.
    pub fn up(&mut self) -> Result<(), NotStored> {
        self.unsaid.push_back(Item::Up(self.source.clone()));
        self.say().map(drop)
    }

    /// The source has lost its connection.
    pub fn down(&mut self) -> Result<(), NotStored> {
        if self.unsaid.pop_back_if(|last| matches!(last, Item::Up(_))).is_none() {
            self.unsaid.push_back(Item::Down(self.source.clone()));
        }
        self.say().map(drop)
    }

    /// Says what there is room for; whether that was all.
    fn say(&mut self) -> Result<bool, NotStored> {
        while let Some(word) = self.unsaid.pop_front() {
            match self.inbox.items.try_send(word) {
                Ok(()) => {}
                Err(TrySendError::Full(word)) => {
                    self.unsaid.push_front(word);
                    return Ok(false);
                }
                Err(TrySendError::Closed(_)) => return Err(NotStored),
            }
        }
        Ok(true)
    }

    /// Takes the delivery if there is room, without waiting.
    pub fn try_put(&mut self, delivery: Delivery) -> Result<Receipt, Refused> {
        match self.say() {
            Ok(true) => self.inbox.try_put(delivery),
            Ok(false) => Err(Refused::Full(delivery)),
            Err(NotStored) => Err(Refused::Closed),
        }
    }

    /// Whether something could be taken now.
    pub fn has_room(&mut self) -> Result<bool, NotStored> {
        Ok(self.say()? && self.inbox.room_for(&Delivery::default()).now_or_never().is_some())
    }

    /// Resolves when a word more was said; and once all are, when there is room for a delivery that came back, for which
    /// another source may still be quicker. Never while there is nothing to wait for.
    pub async fn progress(&mut self, held: Option<&Delivery>) -> Result<(), NotStored> {
        if !self.unsaid.is_empty() {
            let slot = self.inbox.items.reserve().await.map_err(|_| NotStored)?;
            if let Some(word) = self.unsaid.pop_front() {
                slot.send(word);
            }
            return Ok(());
        }
        match held {
            Some(delivery) => self.inbox.room_for(delivery).await,
            None => pending().await,
        }
    }

    /// Waits until then, and meanwhile says what is unsaid.
    pub async fn sleep_until(&mut self, until: Instant) -> Result<(), NotStored> {
        let mut slept = pin!(sleep_until(until));
        loop {
            tokio::select! {
                () = &mut slept => return Ok(()),
                said = self.progress(None) => said?,
            }
        }
    }

    /// The clock by which what comes is stamped.
    #[must_use]
    pub fn now(&self) -> Now {
        self.inbox.now()
    }

    /// The moment of arrival, where the clock can be right: for payloads that count their times from it.
    #[must_use]
    pub fn arrival(&self) -> Option<Micros> {
        self.inbox.arrival()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use tokio::sync::mpsc;

    fn inlet(messages: usize) -> (Inlet, mpsc::Receiver<Item>) {
        let (inbox, items) = Inbox::new(messages, 1 << 20, Clock::System);
        (Inlet::new(inbox, "s".into()), items)
    }

    /// One letter a thing in the inbox.
    fn taken(items: &mut mpsc::Receiver<Item>) -> String {
        std::iter::from_fn(|| items.try_recv().ok())
            .map(|item| match item {
                Item::Up(_) => 'u',
                Item::Down(_) => 'd',
                Item::Delivery { .. } => 'x',
            })
            .collect()
    }

    #[test]
    fn what_is_unsaid_stands_in_front_of_what_comes_after_it_and_nobody_waits() {
        let (mut inlet, mut items) = inlet(1);
        drop(inlet.try_put(Delivery::default()).unwrap());
        inlet.up().unwrap();
        assert!(matches!(inlet.try_put(Delivery::default()), Err(Refused::Full(_))));
        assert_eq!(taken(&mut items), "x");
        assert!(
            matches!(inlet.try_put(Delivery::default()), Err(Refused::Full(_))),
            "there was room for the word alone"
        );
        assert_eq!(taken(&mut items), "u");
        drop(inlet.try_put(Delivery::default()).unwrap());
        assert_eq!(taken(&mut items), "x");
    }

    #[test]
    fn a_source_that_comes_and_goes_before_it_is_heard_leaves_two_words_at_the_most() {
        let (mut inlet, mut items) = inlet(1);
        inlet.up().unwrap();
        for _ in 0..10 {
            inlet.down().unwrap();
            inlet.up().unwrap();
            assert!(inlet.unsaid.len() <= 2);
        }
        let mut said = String::new();
        while !inlet.unsaid.is_empty() {
            said += &taken(&mut items);
            inlet.say().unwrap();
        }
        assert_eq!(said + &taken(&mut items), "udu");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unsaid_is_said_while_its_source_sleeps() {
        let (mut inlet, mut items) = inlet(1);
        inlet.up().unwrap();
        inlet.down().unwrap();
        let hears = async {
            let heard = (items.recv().await, items.recv().await);
            assert!(matches!(heard, (Some(Item::Up(_)), Some(Item::Down(_)))), "{heard:?}");
        };
        let until = Instant::now() + std::time::Duration::from_mins(5);
        let (slept, ()) = tokio::join!(inlet.sleep_until(until), hears);
        slept.unwrap();
        assert!(Instant::now() >= until);
    }

    #[test]
    fn a_writer_that_is_gone_is_noticed() {
        let (mut inlet, items) = inlet(1);
        inlet.up().unwrap();
        inlet.down().unwrap();
        drop(items);
        assert!(inlet.has_room().is_err());
        assert!(matches!(inlet.try_put(Delivery::default()), Err(Refused::Closed)));
    }
}
