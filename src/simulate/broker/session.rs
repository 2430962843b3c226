//! What the broker remembers of one client, whether it is connected or not. Pure.
//!
//! ```text
//!   push ──▶ waiting ──next──▶ in flight ──acknowledge──▶ gone
//!                                 ▲  │
//!                 resume: again, with DUP, in order
//! ```
//!
//! Invariants:
//! - a `QoS` 1 message leaves only by its PUBACK;
//! - on one connection there are never more than `receive_maximum` messages without a PUBACK (MQTT 5, 3.3.4);
//! - in-flight messages keep their packet ids through a reconnect and go before anything newer (4.4, 4.6).

use std::collections::VecDeque;

use bytes::Bytes;
use rumqttc::mqttbytes::v5::{Publish, SubscribeFilter};
use rumqttc::mqttbytes::{QoS, matches};

/// Bytes of waiting messages above which publishers are held back.
const FULL_BYTES: usize = 8 << 20;
/// What a waiting message weighs beside its bytes.
const OVERHEAD_BYTES: usize = 64;

#[derive(Clone, Debug)]
pub struct Message {
    pub topic: Bytes,
    pub payload: Bytes,
    pub qos: QoS,
}

impl Message {
    fn weight(&self) -> usize {
        self.topic.len() + self.payload.len() + OVERHEAD_BYTES
    }

    fn publish(&self, id: u16, dup: bool) -> Publish {
        let Self { topic, payload, qos } = self.clone();
        Publish { dup, qos, retain: false, topic, pkid: id, payload, properties: None }
    }
}

#[derive(Debug, Default)]
pub struct Session {
    filters: Vec<(String, QoS)>,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// In the order they were first sent, so their ids rise around the circle of ids.
    in_flight: VecDeque<(u16, Message)>,
    /// How many of `in_flight`, from the front, were sent on this connection.
    sent: usize,
    last_id: u16,
    receive_maximum: usize,
    connected: bool,
}

/// What taking a message out of the queue meant to those who wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Same,
    /// The queue has just become half empty.
    Again,
}

impl Session {
    /// A new connection: everything in flight goes again.
    pub fn resume(&mut self, receive_maximum: u16) {
        self.receive_maximum = usize::from(receive_maximum);
        self.sent = 0;
        self.connected = true;
    }

    pub fn disconnect(&mut self) {
        self.connected = false;
    }

    pub fn subscribe(&mut self, filter: &SubscribeFilter) {
        let path = unshared(&filter.path);
        let qos = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        self.filters.retain(|(known, _)| known != path);
        self.filters.push((path.to_owned(), qos));
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|(known, _)| known != unshared(filter));
        self.filters.len() < before
    }

    /// The `QoS` the client asked for this topic with; `None`: it did not ask.
    pub fn wants(&self, topic: &str) -> Option<QoS> {
        self.filters
            .iter()
            .filter(|(filter, _)| matches(topic, filter))
            .map(|(_, qos)| *qos)
            .max_by_key(|qos| *qos as u8)
    }

    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= FULL_BYTES
    }

    /// Puts a message into the queue. `QoS` 0 for a client that is away is dropped, as MQTT allows.
    pub fn push(&mut self, message: Message) {
        if message.qos == QoS::AtMostOnce && !self.connected {
            return;
        }
        self.waiting_bytes += message.weight();
        self.waiting.push_back(message);
    }

    /// The next message to send, if the client's window has room for it.
    pub fn next(&mut self) -> Option<(Publish, Room)> {
        if self.sent >= self.receive_maximum {
            return None;
        }
        if let Some((id, message)) = self.in_flight.get(self.sent) {
            self.sent += 1;
            return Some((message.publish(*id, true), Room::Same));
        }
        let id = match self.waiting.front()?.qos {
            QoS::AtMostOnce => 0,
            _ => self.free_id()?,
        };
        let message = self.waiting.pop_front()?;
        let before = self.waiting_bytes;
        self.waiting_bytes -= message.weight();
        let half = FULL_BYTES / 2;
        let room = if before >= half && self.waiting_bytes < half { Room::Again } else { Room::Same };
        let publish = message.publish(id, false);
        if id != 0 {
            self.last_id = id;
            self.in_flight.push_back((id, message));
            self.sent += 1;
        }
        Some((publish, room))
    }

    /// A PUBACK; `false`: there is no such message.
    pub fn acknowledge(&mut self, id: u16) -> bool {
        let Some(at) = self.in_flight.iter().position(|(known, _)| *known == id) else { return false };
        self.in_flight.remove(at);
        if at < self.sent {
            self.sent -= 1;
        }
        true
    }

    /// Messages that were not yet acknowledged.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Ids go round in a circle, so the first one in use that a new one could meet is the oldest.
    fn free_id(&self) -> Option<u16> {
        let id = self.last_id.checked_add(1).unwrap_or(1);
        let taken = self.in_flight.front().is_some_and(|(oldest, _)| *oldest == id);
        (!taken).then_some(id)
    }
}

/// With one member in its group a shared subscription is an ordinary one, and simulate runs one gateway.
fn unshared(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_group, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(receive_maximum: u16) -> Session {
        let mut session = Session::default();
        session.subscribe(&SubscribeFilter::new("sensors/+/telemetry", QoS::AtLeastOnce));
        session.resume(receive_maximum);
        session
    }

    fn message(payload: &str) -> Message {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Message { topic: Bytes::from_static(b"sensors/a/telemetry"), payload, qos: QoS::AtLeastOnce }
    }

    fn sent(session: &mut Session) -> Vec<(u16, bool, String)> {
        std::iter::from_fn(|| session.next())
            .map(|(publish, _)| (publish.pkid, publish.dup, String::from_utf8(publish.payload.to_vec()).unwrap()))
            .collect()
    }

    fn again(id: u16, payload: &str) -> (u16, bool, String) {
        (id, true, payload.to_owned())
    }

    fn first(id: u16, payload: &str) -> (u16, bool, String) {
        (id, false, payload.to_owned())
    }

    #[test]
    fn no_more_is_sent_than_the_client_said_it_can_hold() {
        let mut session = session(2);
        for payload in ["a", "b", "c", "d"] {
            session.push(message(payload));
        }
        assert_eq!(sent(&mut session), [first(1, "a"), first(2, "b")]);
        assert!(session.acknowledge(1));
        assert_eq!(sent(&mut session), [first(3, "c")]);
        assert_eq!(session.pending(), 3);
    }

    #[test]
    fn what_was_not_acknowledged_comes_again_first_in_order_and_marked() {
        let mut session = session(3);
        for payload in ["a", "b", "c", "d"] {
            session.push(message(payload));
        }
        sent(&mut session);
        session.acknowledge(2);
        session.disconnect();
        session.push(message("e"));
        session.resume(10);
        assert_eq!(sent(&mut session), [again(1, "a"), again(3, "c"), first(4, "d"), first(5, "e")]);
    }

    #[test]
    fn a_smaller_window_after_a_reconnect_holds_the_repeats_too() {
        let mut session = session(3);
        for payload in ["a", "b", "c"] {
            session.push(message(payload));
        }
        sent(&mut session);
        session.resume(1);
        assert_eq!(sent(&mut session), [again(1, "a")]);
        session.acknowledge(1);
        assert_eq!(sent(&mut session), [again(2, "b")]);
    }

    #[test]
    fn an_id_in_flight_is_never_given_twice() {
        let mut session = session(u16::MAX);
        session.push(message("held"));
        sent(&mut session);
        for _ in 0..u16::MAX - 1 {
            session.push(message("x"));
            let (publish, _) = session.next().unwrap();
            session.acknowledge(publish.pkid);
        }
        session.push(message("y"));
        assert!(session.next().is_none(), "id 1 is still held");
        session.acknowledge(1);
        assert_eq!(sent(&mut session), [first(1, "y")]);
    }

    #[test]
    fn a_full_queue_says_once_that_it_has_room_again() {
        let mut session = session(u16::MAX);
        let big = "x".repeat(1 << 20);
        while !session.is_full() {
            session.push(message(&big));
        }
        let rooms: Vec<Room> = std::iter::from_fn(|| session.next()).map(|(_, room)| room).collect();
        assert_eq!(rooms.iter().filter(|room| **room == Room::Again).count(), 1);
    }

    #[test]
    fn qos_0_is_kept_only_for_a_client_that_is_there() {
        let mut session = session(1);
        let message = Message { qos: QoS::AtMostOnce, ..message("a") };
        session.push(message.clone());
        session.disconnect();
        session.push(message);
        session.resume(1);
        assert_eq!(sent(&mut session), [first(0, "a")]);
    }
}
