//! The in-flight window: messages received and not yet acknowledged, in the order of their arrival.
//!
//! PUBACKs leave in that order, as the standard asks ([MQTT-4.6.0-2]). A message belongs to the connection it came by:
//! when that ends the window is emptied, and the broker sends again what it had no PUBACK for. What was already on its
//! way to the log is committed all the same, and so arrives twice.
//!
//! Invariants:
//! - nothing of an ended connection is ever acknowledged;
//! - what the inbox has no room for waits here, in order, and counts as in flight.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::source::{Delivery, Inlet, NotStored, Receipt, Refused};

/// The digest of a message, for subscriptions that drop repeats.
pub type Digest = [u8; 32];

/// What is known of a message besides its readings.
#[derive(Clone, Debug)]
pub struct Tag<A> {
    /// `None` for `QoS` 0.
    pub ack: Option<A>,
    pub digest: Option<Digest>,
    pub weight: usize,
}

/// A message on its way to the log; without a receipt: there already.
struct Awaited<A> {
    receipt: Option<Receipt>,
    tag: Tag<A>,
}

/// What waits for its turn.
enum Held {
    Delivery(Delivery),
    /// On its way to the log already, or there.
    Known(Option<Receipt>),
}

pub struct Window<A> {
    /// Handed to the inbox.
    committing: VecDeque<Awaited<A>>,
    /// Waiting for room in it.
    held: VecDeque<(Held, Tag<A>)>,
    /// Stored, their PUBACKs not yet handed over.
    stored: VecDeque<Tag<A>>,
    bytes: usize,
    /// Of connections that ended: no longer to be acknowledged, but what they bring to the log is to be known.
    ended: VecDeque<Awaited<A>>,
    recent: Recent,
}

/// The queue has stopped.
#[derive(Debug)]
pub struct Closed;

impl<A> Window<A> {
    #[must_use]
    pub fn new(in_flight: usize) -> Self {
        Self {
            committing: VecDeque::new(),
            held: VecDeque::new(),
            stored: VecDeque::new(),
            bytes: 0,
            ended: VecDeque::new(),
            recent: Recent { digests: VecDeque::new(), most: in_flight },
        }
    }

    /// Messages received and not acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.committing.len() + self.held.len() + self.stored.len()
    }

    /// What they weigh.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message in; it weighs what its readings do. It goes to the inbox at once if nothing waits before it.
    pub fn take(&mut self, delivery: Delivery, tag: Tag<A>, inlet: &mut Inlet) -> Result<(), Closed> {
        let tag = Tag { weight: delivery.weight, ..tag };
        self.hold(Held::Delivery(delivery), tag, inlet)
    }

    /// Takes in a message that holds nothing to be stored: only its acknowledgement waits for its turn.
    pub fn take_empty(&mut self, tag: Tag<A>, inlet: &mut Inlet) -> Result<(), Closed> {
        self.take_known(None, tag, inlet)
    }

    /// The same, where what it repeats has this receipt.
    pub fn take_known(&mut self, receipt: Option<Receipt>, tag: Tag<A>, inlet: &mut Inlet) -> Result<(), Closed> {
        self.hold(Held::Known(receipt), tag, inlet)
    }

    /// Takes in a message that equals one of the last that were stored, or one that an ended connection brought and that
    /// is on its way: it is acknowledged once that is. Gives the tag back if there is none.
    pub fn take_repeat(&mut self, tag: Tag<A>, inlet: &mut Inlet) -> Result<Option<Tag<A>>, Closed> {
        self.forget_ended();
        if tag.digest.is_some_and(|digest| self.recent.digests.contains(&digest)) {
            // It is among the recent ones already.
            let tag = Tag { digest: None, ..tag };
            return self.take_empty(tag, inlet).map(|()| None);
        }
        let same = self.ended.iter().position(|awaited| tag.digest.is_some() && awaited.tag.digest == tag.digest);
        let Some(awaited) = same.and_then(|at| self.ended.remove(at)) else { return Ok(Some(tag)) };
        self.hold(Held::Known(awaited.receipt), tag, inlet).map(|()| None)
    }

    fn hold(&mut self, held: Held, tag: Tag<A>, inlet: &mut Inlet) -> Result<(), Closed> {
        self.bytes += tag.weight;
        self.held.push_back((held, tag));
        self.hand_over(inlet)
    }

    /// Gives to the inbox what it has room for.
    fn hand_over(&mut self, inlet: &mut Inlet) -> Result<(), Closed> {
        while let Some((held, tag)) = self.held.pop_front() {
            let receipt = match held {
                Held::Known(receipt) => receipt,
                Held::Delivery(delivery) => match inlet.try_put(delivery) {
                    Ok(receipt) => Some(receipt),
                    Err(Refused::Full(delivery)) => {
                        self.held.push_front((Held::Delivery(delivery), tag));
                        return Ok(());
                    }
                    Err(Refused::Closed) => return Err(Closed),
                },
            };
            self.committing.push_back(Awaited { receipt, tag });
        }
        Ok(())
    }

    /// Resolves when the oldest message was stored, or the inbox had room for one that waits; never while there is
    /// nothing to wait for.
    pub async fn progress(&mut self, inlet: &mut Inlet) -> Result<(), Closed> {
        let Self { committing, held, .. } = self;
        let first_stored = poll_fn(|context| match poll_first(committing, context) {
            Poll::Ready(Some(stored)) => Poll::Ready(stored),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        });
        let waiting = match held.front() {
            // It has waited for those before it only.
            Some((Held::Known(_), _)) => return self.hand_over(inlet),
            Some((Held::Delivery(delivery), _)) => Some(delivery),
            None => None,
        };
        tokio::select! {
            (result, tag) = first_stored => return self.note(result, tag),
            moved = inlet.progress(waiting) => moved.map_err(|NotStored| Closed)?,
        }
        self.hand_over(inlet)
    }

    fn note(&mut self, result: Result<(), NotStored>, tag: Tag<A>) -> Result<(), Closed> {
        result.map_err(|NotStored| Closed)?;
        self.recent.add(tag.digest);
        self.stored.push_back(tag);
        Ok(())
    }

    /// Hands the PUBACKs of all that is stored to `send`, in order, until it says that it is full: they leave in one
    /// write.
    pub fn acknowledge<E>(&mut self, mut send: impl FnMut(&A) -> Result<(), E>) -> Result<(), Closed> {
        while let Poll::Ready(Some((result, tag))) = poll_first(&mut self.committing, &mut look()) {
            self.note(result, tag)?;
        }
        while let Some(tag) = self.stored.front() {
            if tag.ack.as_ref().is_some_and(|ack| send(ack).is_err()) {
                break;
            }
            self.bytes -= tag.weight;
            self.stored.pop_front();
        }
        Ok(())
    }

    /// The connection has ended: what it brought is no longer ours to acknowledge. Whether some of that is not stored.
    pub fn end_connection(&mut self) -> bool {
        let unstored = !self.held.is_empty() || !self.committing.is_empty();
        self.held.clear();
        self.stored.clear();
        self.bytes = 0;
        self.forget_ended();
        self.ended.append(&mut self.committing);
        unstored
    }

    /// Lets go of what ended connections had brought and is stored by now.
    fn forget_ended(&mut self) {
        while let Poll::Ready(Some((result, tag))) = poll_first(&mut self.ended, &mut look()) {
            if result.is_ok() {
                self.recent.add(tag.digest);
            }
        }
    }
}

/// A message, and whether it was stored.
type Ended<A> = (Result<(), NotStored>, Tag<A>);

/// The first of a row, once it is stored; `None` where the row is empty. Only the first is ever looked at: order is
/// what matters.
fn poll_first<A>(row: &mut VecDeque<Awaited<A>>, context: &mut Context<'_>) -> Poll<Option<Ended<A>>> {
    let Some(first) = row.front_mut() else { return Poll::Ready(None) };
    let result = match &mut first.receipt {
        Some(receipt) => ready!(Pin::new(receipt).poll(context)),
        None => Ok(()),
    };
    Poll::Ready(row.pop_front().map(|awaited| (result, awaited.tag)))
}

/// A look that nobody is woken by.
fn look() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The digests of the messages stored last: an in-flight window of them, since the broker sends no more than that again.
struct Recent {
    digests: VecDeque<Digest>,
    most: usize,
}

impl Recent {
    fn add(&mut self, digest: Option<Digest>) {
        let Some(digest) = digest else { return };
        if self.digests.len() >= self.most {
            self.digests.pop_front();
        }
        self.digests.push_back(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::source::{Inbox, Item, Rejected};
    use tokio::sync::mpsc;

    fn delivery() -> Delivery {
        let reject = Rejected {
            source: "s".into(),
            origin: "o".into(),
            reason: crate::source::Reason::Empty,
            detail: String::new(),
            payload: bytes::Bytes::new(),
            cut: None,
        };
        Delivery { readings: Vec::new(), rejects: vec![reject], weight: 1 }
    }

    fn tag(ack: u16) -> Tag<u16> {
        Tag { ack: Some(ack), digest: Some([ack as u8; 32]), weight: 1 }
    }

    fn confirm(item: Item) {
        match item {
            Item::Delivery { ack, .. } => ack.confirm(),
            other => panic!("{other:?}"),
        }
    }

    fn acknowledged(window: &mut Window<u16>) -> Vec<u16> {
        let mut sent = Vec::new();
        let send = |ack: &u16| {
            sent.push(*ack);
            Ok::<(), ()>(())
        };
        window.acknowledge(send).unwrap();
        sent
    }

    fn inlet(messages: usize) -> (Inlet, mpsc::Receiver<Item>) {
        let (inbox, items) = Inbox::new(messages, 1 << 20, Clock::System);
        (Inlet::new(inbox, "s".into()), items)
    }

    #[test]
    fn pubacks_leave_in_the_order_of_arrival_whatever_is_stored_first() {
        let (mut inlet, mut items) = inlet(10);
        let mut window = Window::new(10);
        for n in 1..=3 {
            window.take(delivery(), tag(n), &mut inlet).unwrap();
        }
        let (first, second, third) = (items.try_recv().unwrap(), items.try_recv().unwrap(), items.try_recv().unwrap());
        confirm(third);
        confirm(second);
        assert_eq!(acknowledged(&mut window), [0; 0]);
        confirm(first);
        assert_eq!(acknowledged(&mut window), [1, 2, 3]);
        assert_eq!((window.len(), window.bytes()), (0, 0));
    }

    #[test]
    fn nothing_of_an_ended_connection_is_acknowledged() {
        let (mut inlet, mut items) = inlet(10);
        let mut window = Window::new(10);
        window.take(delivery(), tag(1), &mut inlet).unwrap();
        assert!(window.end_connection());
        window.take(delivery(), tag(1), &mut inlet).unwrap();
        confirm(items.try_recv().unwrap());
        assert_eq!(acknowledged(&mut window), [0; 0], "the first was of the old connection");
        confirm(items.try_recv().unwrap());
        assert_eq!(acknowledged(&mut window), [1]);
        assert!(window.take_repeat(tag(1), &mut inlet).unwrap().is_none(), "it is stored: acknowledged at once");
        assert_eq!(acknowledged(&mut window), [1]);
        assert_eq!(window.ended.len(), 0);
    }

    #[test]
    fn a_repeat_of_what_is_still_on_its_way_waits_for_it_and_is_not_stored_twice() {
        let (mut inlet, mut items) = inlet(10);
        let mut window = Window::new(10);
        window.take(delivery(), tag(1), &mut inlet).unwrap();
        assert!(window.end_connection());
        assert!(window.take_repeat(tag(2), &mut inlet).unwrap().is_some(), "nothing like it");
        assert!(window.take_repeat(tag(1), &mut inlet).unwrap().is_none());
        assert_eq!(acknowledged(&mut window), [0; 0]);
        confirm(items.try_recv().unwrap());
        assert_eq!(acknowledged(&mut window), [1]);
        assert!(items.try_recv().is_err(), "only once");
    }

    #[test]
    fn what_ended_connections_brought_is_let_go_once_it_is_stored() {
        let (mut inlet, mut items) = inlet(10);
        let mut window = Window::new(10);
        for n in 1..=3 {
            window.take(delivery(), tag(n), &mut inlet).unwrap();
            confirm(items.try_recv().unwrap());
            let _ = window.end_connection();
        }
        assert_eq!(window.ended.len(), 1, "the last, which nobody has looked at since");
    }

    #[test]
    fn what_the_inbox_has_no_room_for_waits_in_order_and_counts() {
        let (mut inlet, mut items) = inlet(1);
        let mut window = Window::new(10);
        for n in 1..=3 {
            window.take(delivery(), tag(n), &mut inlet).unwrap();
        }
        assert_eq!((window.len(), window.held.len()), (3, 2));
        let mut sent = Vec::new();
        while window.len() > 0 {
            confirm(items.try_recv().unwrap());
            window.hand_over(&mut inlet).unwrap();
            sent.extend(acknowledged(&mut window));
        }
        assert_eq!(sent, [1, 2, 3]);
    }

    #[test]
    fn a_message_takes_up_what_its_readings_weigh_until_its_puback_is_handed_over() {
        let (mut inlet, mut items) = inlet(1);
        let mut window = Window::new(10);
        for n in 1..=3 {
            window.take(Delivery { weight: 100 * usize::from(n), ..delivery() }, tag(n), &mut inlet).unwrap();
        }
        assert_eq!(window.bytes(), 600, "whether the inbox has it or it waits");
        for left in [500, 300, 0] {
            confirm(items.try_recv().unwrap());
            assert_eq!(acknowledged(&mut window).len(), 1);
            assert_eq!(window.bytes(), left);
            window.hand_over(&mut inlet).unwrap();
        }
    }

    #[test]
    fn a_full_request_channel_keeps_the_puback_for_later() {
        let (mut inlet, mut items) = inlet(10);
        let mut window = Window::new(10);
        for n in 1..=2 {
            window.take(delivery(), tag(n), &mut inlet).unwrap();
            confirm(items.try_recv().unwrap());
        }
        window.acknowledge(|_| Err(())).unwrap();
        assert_eq!(window.len(), 2);
        assert_eq!(acknowledged(&mut window), [1, 2]);
    }

    #[test]
    fn a_writer_that_is_gone_closes_the_window_and_acknowledges_nothing() {
        let (mut inlet, items) = inlet(10);
        let mut window = Window::new(10);
        window.take(delivery(), tag(1), &mut inlet).unwrap();
        drop(items);
        assert!(window.acknowledge(|_| -> Result<(), ()> { panic!("nothing was stored") }).is_err());
    }
}
