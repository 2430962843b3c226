//! Deliveries on their way to the log: one that waits for room in the inbox, those handed over, and those stored.

use std::collections::VecDeque;

use futures_util::FutureExt as _;

use super::link::Ticket;
use crate::clock::Now;
use crate::reading::Micros;
use crate::source::{Delivery, Inlet, Receipt, Refused, SourceError};

pub struct Pending<'a> {
    inlet: &'a mut Inlet,
    /// What found no room; nothing more is taken before it has.
    held: Option<(Delivery, Option<Ticket>)>,
    /// In the inbox or behind it, with the ticket of each that is to be acknowledged.
    committing: VecDeque<Awaited>,
}

/// Without a receipt: there is nothing to be stored, only its turn is waited for.
type Awaited = (Option<Receipt>, Ticket);

impl<'a> Pending<'a> {
    pub fn new(inlet: &'a mut Inlet) -> Self {
        Self { inlet, held: None, committing: VecDeque::new() }
    }

    /// When something comes now, where the clock can be right.
    pub fn arrival(&self) -> Option<Micros> {
        self.inlet.arrival()
    }

    /// The clock by which what comes is stamped.
    pub fn now(&self) -> Now {
        self.inlet.now()
    }

    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Deliveries that are to be acknowledged.
    pub fn len(&self) -> usize {
        self.committing.len()
    }

    pub fn is_empty(&self) -> bool {
        self.committing.is_empty() && self.held.is_none()
    }

    /// Hands a delivery over, or keeps it until there is room. Without a ticket nobody waits to hear that it is stored.
    pub fn put(&mut self, delivery: Delivery, ticket: Option<Ticket>) -> Result<(), SourceError> {
        match self.inlet.try_put(delivery) {
            Ok(receipt) => self.committing.extend(ticket.map(|ticket| (Some(receipt), ticket))),
            Err(Refused::Full(delivery)) => self.held = Some((delivery, ticket)),
            Err(Refused::Closed) => return Err(SourceError::QueueStopped),
        }
        Ok(())
    }

    /// Takes a ticket for which nothing is to be stored. It is given back in its turn: what it repeats may still be on its
    /// way.
    pub fn put_empty(&mut self, ticket: Ticket) {
        self.committing.push_back((None, ticket));
    }

    /// Lets go of what found no room; says whether there was any.
    pub fn let_go(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// The ticket of the oldest delivery, once that is stored.
    pub fn stored(&mut self) -> Result<Option<Ticket>, SourceError> {
        let Some(stored) = first(&mut self.committing).now_or_never() else { return Ok(None) };
        stored?;
        Ok(self.committing.pop_front().map(|(_, ticket)| ticket))
    }

    /// Resolves when the oldest delivery was stored, or there was room: what is held has been offered again then.
    /// Never while there is nothing to wait for. A ticket that it gives, [`Self::stored`] does not give again.
    pub async fn progress(&mut self) -> Result<Option<Ticket>, SourceError> {
        let Self { inlet, held, committing } = self;
        tokio::select! {
            stored = first(committing) => {
                stored?;
                return Ok(committing.pop_front().map(|(_, ticket)| ticket));
            }
            moved = inlet.progress(held.as_ref().map(|(delivery, _)| delivery)) => moved?,
        }
        if let Some((delivery, ticket)) = self.held.take() {
            self.put(delivery, ticket)?;
        }
        Ok(None)
    }
}

async fn first(committing: &mut VecDeque<Awaited>) -> Result<(), SourceError> {
    match committing.front_mut() {
        Some((Some(receipt), _)) => Ok(receipt.await?),
        Some((None, _)) => Ok(()),
        None => std::future::pending().await,
    }
}
