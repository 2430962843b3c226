//! What becomes of one message: readings, a dead letter, or nothing but its PUBACK.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::client::Message;
use super::window::{Digest, Tag};
use super::{Door, SourceError};
use crate::source::{Cut, Delivery, Reason, Refused, Rejected};

/// What is kept of a payload above `max_payload`.
const OVERSIZE_KEPT: usize = 64 * 1024;

impl Door {
    pub(super) fn message(&mut self, message: Message) -> Result<(), SourceError> {
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let decoder = self.decoders.iter().position(|decoder| decoder.matches(&topic));
        let subscription = decoder.map(|at| &self.mqtt.subscriptions[at]);
        let wants_retained = subscription.is_none_or(|subscription| subscription.retained);
        let drops_repeats = subscription.is_some_and(|subscription| subscription.drop_repeats);
        let requests_rebirth = subscription.is_some_and(|subscription| subscription.request_rebirth);
        let digest = drops_repeats.then(|| digest(&message));
        let weight = message.payload.len() + topic.len() + 128;
        let tag = Tag { ack: message.ack, digest, weight };
        if message.dup {
            self.metrics.door_repeats.with_label_values(&[&*self.name]).inc();
        }
        if message.retain && !wants_retained {
            self.count("retained");
            return match tag.ack {
                Some(_) => Ok(self.window.take_empty(tag, &mut self.inlet)?),
                None => Ok(()),
            };
        }
        let tag = if message.dup { self.window.take_repeat(tag, &mut self.inlet)? } else { Some(tag) };
        let Some(tag) = tag else {
            self.count("repeat");
            return Ok(());
        };
        let mut delivery = match decoder {
            _ if message.payload.len() > self.mqtt.max_payload => self.oversize(&topic, &message.payload),
            Some(at) => self.decoders[at].decode_at(&topic, &message.payload, self.inlet.arrival()),
            // A filter the configuration has lost: the broker had this for us before the UNSUBSCRIBE.
            None => self.unasked(&topic, &message.payload),
        };
        delivery.weight = delivery.weight.max(weight);
        if let (true, Some(at)) = (requests_rebirth, decoder) {
            self.ask_rebirth(at);
        }
        let filtered = self.exceptions.apply(&mut delivery.readings, self.inlet.now());
        self.metrics.readings.with_label_values(&[&*self.name, "filtered"]).inc_by(filtered);
        if delivery.is_empty() {
            // What it repeats may have come as QoS 0 and still be on its way.
            return match tag.ack {
                Some(_) => Ok(self.window.take_known(self.unconfirmed.take(), tag, &mut self.inlet)?),
                None => Ok(()),
            };
        }
        if tag.ack.is_none() {
            // QoS 0 has no window to wait in.
            let readings = delivery.readings.len() as u64;
            match self.inlet.try_put(delivery) {
                Ok(receipt) => self.unconfirmed = Some(receipt),
                Err(Refused::Full(_)) => {
                    self.dropped(readings);
                    self.exceptions.forget();
                }
                Err(Refused::Closed) => return Err(SourceError::QueueStopped),
            }
            return Ok(());
        }
        Ok(self.window.take(delivery, tag, &mut self.inlet)?)
    }

    fn oversize(&self, topic: &str, payload: &Bytes) -> Delivery {
        let detail = format!("a payload of {} bytes, and max_payload is {}", payload.len(), self.mqtt.max_payload);
        let kept = payload.slice(..payload.len().min(OVERSIZE_KEPT));
        let cut = Cut { length: payload.len() as u64, sha256: Sha256::digest(payload).into() };
        self.reject(topic, Reason::Oversize, detail, Bytes::copy_from_slice(&kept), Some(cut))
    }

    fn unasked(&self, topic: &str, payload: &Bytes) -> Delivery {
        let detail = "no subscription of the configuration has this topic".to_owned();
        self.reject(topic, Reason::Malformed, detail, payload.clone(), None)
    }

    fn reject(&self, topic: &str, reason: Reason, detail: String, payload: Bytes, cut: Option<Cut>) -> Delivery {
        let weight = payload.len();
        let rejected = Rejected { source: self.name.clone(), origin: topic.into(), reason, detail, payload, cut };
        Delivery { readings: Vec::new(), rejects: vec![rejected], weight }
    }

    fn count(&self, outcome: &str) {
        self.metrics.readings.with_label_values(&[&*self.name, outcome]).inc();
    }

    fn dropped(&self, readings: u64) {
        self.metrics.readings.with_label_values(&[&*self.name, "dropped"]).inc_by(readings.max(1));
    }
}

/// Topic and payload together.
fn digest(message: &Message) -> Digest {
    let mut sum = Sha256::new();
    sum.update((message.topic.len() as u64).to_be_bytes());
    sum.update(&message.topic);
    sum.update(&message.payload);
    sum.finalize().into()
}
