//! Bytes and where they came from to readings, or a named reason why not.
//!
//! ```text
//!  topic or port ─▶ places: device, tags ───────┐
//!                                               ▼
//!  payload ─▶ json | raw ─▶ gather: fields, ─▶ Delivery { readings, rejects }
//!                           time, device
//! ```
//!
//! | payload | becomes |
//! | --- | --- |
//! | object | one reading; nested names join with `.`, places in arrays are `.0`, null says nothing |
//! | array of objects | a reading each; a bad element is rejected alone, with its own bytes |
//! | bare value | the field `value` |
//!
//! Invariants:
//! - pure: no async, clock, I/O or logging; the same bytes give the same readings for ever;
//! - every payload leaves at least one reading or one reject: nothing vanishes;
//! - work and memory are bounded by the payload's length and the limits below.

mod gather;
mod json;
mod places;
mod raw;
mod time;
mod topic;

use std::sync::Arc;

use bytes::Bytes;

pub use self::topic::{Pattern, TemplateError};

use self::gather::Gather;
use self::json::Shape;
use self::places::{PlaceId, Places};
use crate::config::{Format, Payload, Subscription};
use crate::reading::{Reading, Value};
use crate::source::{Delivery, Reason, Rejected};

/// Levels of objects and arrays in one reading.
pub const MAX_DEPTH: usize = 32;
/// Fields of one reading.
pub const MAX_FIELDS: usize = 1_000;
/// Bytes of a field's name, nested names joined.
pub const MAX_NAME_BYTES: usize = 256;
/// Readings of one message.
pub const MAX_READINGS: usize = 10_000;

/// Decodes the messages of one subscription, or of one port.
pub struct Decoder {
    source: Arc<str>,
    /// None for a port, where there are no topics.
    filter: Option<Pattern>,
    format: Format,
    places: Places,
    gather: Gather,
}

/// Why one reading is none.
struct Fault {
    reason: Reason,
    detail: String,
}

impl Fault {
    fn value(detail: String) -> Self {
        Self { reason: Reason::Value, detail }
    }
}

impl Decoder {
    pub fn new(source: Arc<str>, subscription: &Subscription) -> Result<Self, TemplateError> {
        let filter = Pattern::filter(&subscription.filter)?;
        let template = subscription.topic.as_deref().map(Pattern::template).transpose()?;
        if let (Some(template), Some(text)) = (&template, &subscription.topic)
            && !filter.meets(template)
        {
            let filter = subscription.filter.clone();
            return Err(TemplateError::Never { filter, template: text.clone() });
        }
        let places = Places::new(source.clone(), template, None);
        Ok(Self::with(source, Some(filter), places, &subscription.payload))
    }

    /// Decodes what comes by a port: where the payload names no device it is `device`, else the source's name.
    #[must_use]
    pub fn for_port(source: Arc<str>, device: Option<&str>, payload: &Payload) -> Self {
        let places = Places::new(source.clone(), None, Some(device.map_or(source.clone(), Into::into)));
        Self::with(source, None, places, payload)
    }

    fn with(source: Arc<str>, filter: Option<Pattern>, places: Places, payload: &Payload) -> Self {
        Self { gather: Gather::new(payload), format: payload.format, source, filter, places }
    }

    /// The port tells who is at its other end: the device from now on, where the payload names none.
    pub fn set_device(&mut self, device: &str) {
        self.places.set_device(device.into());
    }

    /// Whether the subscription's filter takes the topic.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.matches(topic))
    }

    /// Readings, rejects, or both; never neither. `origin` is the topic, or the port.
    #[must_use]
    pub fn decode(&mut self, origin: &str, payload: &Bytes) -> Delivery {
        let place = self.places.find(origin);
        let mut delivery = Delivery::default();
        if payload.trim_ascii().is_empty() {
            let fault = Fault { reason: Reason::Empty, detail: "the payload is empty".to_owned() };
            delivery.rejects.push(self.reject(place, payload.clone(), fault));
        } else {
            match self.format {
                Format::Raw => {
                    let outcome = raw::one(payload, &mut self.gather);
                    self.take(place, outcome, payload.clone(), &mut delivery);
                }
                Format::Json => self.json(place, payload, &mut delivery),
            }
        }
        delivery.weight = weight(payload, &delivery);
        delivery
    }

    fn json(&mut self, place: PlaceId, payload: &Bytes, delivery: &mut Delivery) {
        match json::shape(payload) {
            Ok(Shape::One(text)) => {
                let outcome = json::one(text, &mut self.gather);
                self.take(place, outcome, payload.clone(), delivery);
            }
            Ok(Shape::Many(elements)) => {
                for (index, text) in elements.iter().enumerate() {
                    let outcome = json::element(text, &mut self.gather).map_err(|fault| Fault {
                        detail: format!("element {} of {}: {}", index + 1, elements.len(), fault.detail),
                        ..fault
                    });
                    self.take(place, outcome, payload.slice_ref(text.get().as_bytes()), delivery);
                }
            }
            Err(fault) => delivery.rejects.push(self.reject(place, payload.clone(), fault)),
        }
    }

    /// Turns what was gathered into a reading, or the fault into a reject.
    fn take(&mut self, place: PlaceId, outcome: Result<(), Fault>, bytes: Bytes, delivery: &mut Delivery) {
        match outcome.and_then(|()| self.gather.finish()) {
            Ok(told) => {
                let series = self.places.series(place, self.gather.device());
                delivery.readings.push(Reading { time: told.time, series, fields: told.fields });
            }
            Err(fault) => delivery.rejects.push(self.reject(place, bytes, fault)),
        }
    }

    fn reject(&self, place: PlaceId, payload: Bytes, fault: Fault) -> Rejected {
        Rejected {
            source: self.source.clone(),
            origin: self.places.origin(place).clone(),
            reason: fault.reason,
            detail: fault.detail,
            payload,
            cut: None,
        }
    }
}

/// What a delivery takes in memory: the payload, which rejects share, and what was made of it.
fn weight(payload: &Bytes, delivery: &Delivery) -> usize {
    let readings = delivery.readings.len() * size_of::<Reading>();
    let fields: usize = delivery.readings.iter().map(|reading| reading.fields.len()).sum();
    let rejects: usize = delivery.rejects.iter().map(|rejected| size_of::<Rejected>() + rejected.detail.len()).sum();
    payload.len() + readings + fields * size_of::<(Arc<str>, Value)>() + rejects
}

#[cfg(test)]
mod tests;
